"""Launches side by side: the chunks of several kernels become those of one launch.

Kernels that do not need each other need no barrier between them, and where each alone has too
little work to share out, together they may have enough. A group is run as

    run_unit(words, unit)        for unit = 0 .. units - 1, in any order, on any threads

like every other kernel, once the graph has given all of them their arguments. Its chunks are those
of its launches, one launch after the other; a unit is a run of them that is worth taking: large
chunks alone, small ones together. The words, the first of which all kinds of groups have:

    run                   address of the function
    first, last, units    the first launch, the one after the last, how many units there are
    splits                whether its launches can run one by one (1), to be timed
    functions, pointers   of the launches: code, and where its arguments are
    ends                  for each launch, how many chunks there are up to its last
    starts                for each unit its first chunk; at the end, how many chunks there are
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import accumulate

from inkle.runtime.device import Launch

Words = ctypes.Array[ctypes.c_int64]
WORD_BYTES = 8
RUN, FIRST, LAST, UNITS, SPLITS, FUNCTIONS, POINTERS, ENDS, STARTS = range(0, 72, 8)  # byte offsets
COMMON_WORDS = 5
N_WORDS = 9


class Group:
    """Launches that run side by side.

    Attributes:
        address: of the words.
        units: how many there are.

    Args:
        members: numbers of the launches in their graph.
        launches: at least one; none may write what another one uses.
        functions, pointers: words of all launches of the graph.
        run: address of `run_unit`.
    """

    def __init__(
        self,
        members: range,
        launches: Sequence[Launch],
        functions: Words,
        pointers: Words,
        run: int,
    ) -> None:
        chunks = [launch.chunks for launch in launches]
        starts = unit_starts(chunks, [launch.weight for launch in launches])
        self.units = len(starts) - 1
        self._words = (ctypes.c_int64 * (N_WORDS + len(chunks) + len(starts)))()
        self.address = ctypes.addressof(self._words)
        ends = self.address + WORD_BYTES * N_WORDS
        skipped = WORD_BYTES * members.start
        self._words[:] = [
            run, members.start, members.stop, self.units, 1,
            ctypes.addressof(functions) + skipped, ctypes.addressof(pointers) + skipped,
            ends, ends + WORD_BYTES * len(chunks), *accumulate(chunks), *starts,
        ]  # fmt: skip


def unit_starts(chunks: Sequence[int], weights: Sequence[float]) -> list[int]:
    """Return where each unit begins, and the number of all chunks.

    Args:
        chunks: of each launch.
        weights: for each launch, which part of a unit one of its chunks is.

    Example:
        >>> unit_starts([1, 1, 1, 3, 1], [0.5, 0.5, 0.2, 1.0, 0.1])
        [0, 2, 4, 5, 7]
    """
    starts, number, weight = [0], 0, 0.0
    for count, each in zip(chunks, weights, strict=True):
        for _ in range(count):
            number += 1
            weight += each
            if weight >= 1:
                starts.append(number)
                weight = 0.0
    if starts[-1] < number:
        starts.append(number)
    return starts


def group_ir() -> str:
    """Return the function `run_unit`."""
    return _GROUP_IR


def load(name: str, kind: str, offset: int, base: str) -> str:
    """Return LLVM text that reads the word at `offset` bytes from %base as %name."""
    return f"""%at.{name} = getelementptr i8, ptr %{base}, i64 {offset}
  %{name} = load {kind}, ptr %at.{name}"""


def _load(name: str, offset: int) -> str:
    return load(name, "ptr", offset, "group")


_GROUP_IR = f"""
define void @run_unit(ptr %group, i64 %unit) nounwind {{
entry:
  {_load("functions", FUNCTIONS)}
  {_load("pointers", POINTERS)}
  {_load("ends", ENDS)}
  {_load("starts", STARTS)}
  %at.first = getelementptr i64, ptr %starts, i64 %unit
  %at.last = getelementptr i64, ptr %at.first, i64 1
  %first = load i64, ptr %at.first
  %last = load i64, ptr %at.last
  br label %look
look:
  %c = phi i64 [%first, %entry], [%c, %skip], [%c1, %run]
  %i = phi i64 [0, %entry], [%i1, %skip], [%i, %run]
  %start = phi i64 [0, %entry], [%end, %skip], [%start, %run]
  %more = icmp ult i64 %c, %last
  br i1 %more, label %find, label %done
find:
  %at.end = getelementptr i64, ptr %ends, i64 %i
  %end = load i64, ptr %at.end
  %inside = icmp ult i64 %c, %end
  br i1 %inside, label %run, label %skip
skip:
  %i1 = add i64 %i, 1
  br label %look
run:
  %at.function = getelementptr ptr, ptr %functions, i64 %i
  %at.args = getelementptr ptr, ptr %pointers, i64 %i
  %function = load ptr, ptr %at.function
  %args = load ptr, ptr %at.args
  %chunk = sub i64 %c, %start
  call void %function(ptr %args, i64 %chunk)
  %c1 = add i64 %c, 1
  br label %look
done:
  ret void
}}
"""
