"""Many launches by one native call: Python is out of the loop.

A graph is one block of 64-bit words:

    header     where the parts below are, how many, and the pool
    table      one word per slot: an address, an int64, or the bits of a float64
    arguments  what kernels get: a copy of their slots, launch after launch
    sources    for each argument, the address of its slot
    functions, pointers, chunks   for each launch: code, its arguments, number of chunks

Running it copies the table into the arguments (`*argument = **source`), then calls the kernels in
order: a single chunk directly, more through the pool. To give a captured graph another input, write
one word of the table.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import operator
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import starmap
from typing import Any, SupportsFloat

from inkle.errors import DeviceError
from inkle.runtime import device
from inkle.runtime.cpu.llvm import compile_ir
from inkle.runtime.cpu.pool import Pool, default_pool
from inkle.runtime.cpu.system import Platform, system_ir
from inkle.runtime.device import Buffer, Launch

__all__ = ["Graph", "Launch", "float_bits"]

MAX_CHUNKS = 2**31 - 1  # what the pool counts; see pool_ir
WORD_BYTES = 8
# Byte offsets in the header.
POOL, PARFOR, ARGUMENTS, SOURCES, N_ARGUMENTS = 0, 8, 16, 24, 32
FUNCTIONS, POINTERS, CHUNKS, N_LAUNCHES = 40, 48, 56, 64
HEADER_WORDS = 9

Call = tuple[Any, ...]  # a function and its arguments
Words = ctypes.Array[ctypes.c_int64]


class Graph(device.Graph):
    """Launches that run in order by one native call of the calling thread.

    One thread at a time may run a graph or change its slots; different graphs are independent.

    Attributes:
        slot_table: one int64 per slot, read at every run. `bind` writes it and keeps buffers alive;
            who writes it directly sees to that.
        pool: shares out launches of more than one chunk.

    Args:
        launches: what to run; may be empty.
        slots: length of the slot table; default: as many as the launches use.
        pool: default: the pool of INKLE_THREADS, or of one thread per core.
        release_gil: let other Python threads run meanwhile. False saves 50 ns, and up to 5 ms if
            another thread is busy, but stops them all; for graphs of a few microseconds.

    Raises:
        DeviceError: if a launch has a slot or a number of chunks out of range.
    """

    def __init__(
        self,
        launches: Sequence[Launch],
        *,
        slots: int | None = None,
        pool: Pool | None = None,
        release_gil: bool = True,
    ) -> None:
        used = [slot for launch in launches for slot in launch.slots]
        n_slots = max(used, default=-1) + 1 if slots is None else slots
        _check(launches, n_slots)
        self.pool = pool or default_pool()
        self._block = (
            ctypes.c_int64 * (HEADER_WORDS + n_slots + 2 * len(used) + 3 * len(launches))
        )()
        parts = _Parts(self._block, HEADER_WORDS)
        self.slot_table = parts.take(n_slots)
        arguments = parts.take(len(used))
        sources = parts.take(len(used))
        functions = parts.take(len(launches))
        pointers = parts.take(len(launches))
        self._chunks = parts.take(len(launches))
        self._write_header(arguments, sources, functions, pointers)
        table = ctypes.addressof(self.slot_table)
        sources[:] = [table + WORD_BYTES * slot for slot in used]
        functions[:] = [launch.function for launch in launches]
        pointers[:] = [*_starts(launches, ctypes.addressof(arguments))]
        self._chunks[:] = [launch.chunks for launch in launches]
        self._parallel = any(launch.chunks > 1 for launch in launches)
        self._bound: dict[int, Buffer] = {}
        self._address = ctypes.addressof(self._block)
        make = ctypes.CFUNCTYPE if release_gil else ctypes.PYFUNCTYPE
        self._run = make(None, ctypes.c_void_p)(_native()["run_graph"])

    def bind(self, slot: int, value: Buffer | int | float) -> None:
        """Set the argument in `slot`; a buffer is kept alive until the slot is bound again."""
        if isinstance(value, Buffer):
            self._bound[slot] = value
            self.slot_table[slot] = value.address
        else:
            self._bound.pop(slot, None)
            self.slot_table[slot] = scalar_bits(value)

    def set_chunks(self, launch: int, chunks: int) -> None:
        """Change the number of chunks of the launch with that index."""
        _check_chunks(chunks)
        self._chunks[launch] = chunks
        self._parallel = self._parallel or chunks > 1

    def run(self, then: Iterable[Call] = ()) -> None:
        """Run all launches; returns when they are done.

        Args:
            then: calls of C functions to make afterwards, functions first; Python finds no moment
                for a signal handler between the launches and the last of them.
        """
        if self._parallel and not self.pool.started:
            self.pool.start()
        deque(starmap(operator.call, [(self._run, self._address), *then]), maxlen=0)

    def run_timed(self, then: Iterable[Call] = ()) -> list[float]:
        """Like `run`; returns the seconds that each launch took, by a clock read in between."""
        if self._parallel and not self.pool.started:
            self.pool.start()
        times = (ctypes.c_int64 * (len(self._chunks) + 1))()
        run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(_native()["run_graph_timed"])
        first = (run, self._address, ctypes.addressof(times))
        deque(starmap(operator.call, [first, *then]), maxlen=0)
        return [(end - start) * 1e-9 for start, end in itertools.pairwise(times)]

    def _write_header(
        self, arguments: Words, sources: Words, functions: Words, pointers: Words
    ) -> None:
        self._block[POOL // WORD_BYTES] = self.pool.address
        self._block[PARFOR // WORD_BYTES] = self.pool.parfor
        self._block[ARGUMENTS // WORD_BYTES] = ctypes.addressof(arguments)
        self._block[SOURCES // WORD_BYTES] = ctypes.addressof(sources)
        self._block[N_ARGUMENTS // WORD_BYTES] = len(arguments)
        self._block[FUNCTIONS // WORD_BYTES] = ctypes.addressof(functions)
        self._block[POINTERS // WORD_BYTES] = ctypes.addressof(pointers)
        self._block[CHUNKS // WORD_BYTES] = ctypes.addressof(self._chunks)
        self._block[N_LAUNCHES // WORD_BYTES] = len(functions)


def scalar_bits(value: int | SupportsFloat) -> int:
    """Return a scalar argument as the 64-bit word that kernels read: int64, or float64's bits."""
    try:
        return operator.index(value)  # type: ignore[arg-type]  # raises for what is no integer
    except TypeError:
        return float_bits(float(value))


def float_bits(value: float) -> int:
    """Return the bits of a float64 as a signed 64-bit integer.

    Example:
        >>> hex(float_bits(1.0))
        '0x3ff0000000000000'
    """
    return ctypes.c_int64.from_buffer(ctypes.c_double(value)).value


class _Parts:
    """Hands out one part of a block of words after the other."""

    def __init__(self, block: Words, first: int) -> None:
        self._block = block
        self._next = first

    def take(self, count: int) -> Words:
        part = (ctypes.c_int64 * count).from_buffer(self._block, WORD_BYTES * self._next)
        self._next += count
        return part


def _starts(launches: Sequence[Launch], address: int) -> Iterator[int]:
    """Yield where the arguments of each launch begin."""
    for launch in launches:
        yield address
        address += WORD_BYTES * len(launch.slots)


def _check(launches: Sequence[Launch], n_slots: int) -> None:
    for number, launch in enumerate(launches):
        _check_chunks(launch.chunks)
        if launch.function == 0:
            raise DeviceError(f"launch {number} has no function")
        for slot in launch.slots:
            if not 0 <= slot < n_slots:
                raise DeviceError(f"launch {number} uses slot {slot}; the table has {n_slots}")


def _check_chunks(chunks: int) -> None:
    if not 0 <= chunks <= MAX_CHUNKS:
        raise DeviceError(f"a launch has 0 to {MAX_CHUNKS} chunks, got {chunks}")


@functools.cache
def _native() -> dict[str, int]:
    return compile_ir(graph_ir(), ("run_graph", "run_graph_timed"))


def graph_ir(platform: Platform | None = None) -> str:
    """Return the module that runs graphs, for this platform or another."""
    return "\n".join((system_ir(platform), _GRAPH_IR))


def _load(name: str, kind: str, offset: int) -> str:
    return f"""%at.{name} = getelementptr i8, ptr %graph, i64 {offset}
  %{name} = load {kind}, ptr %at.{name}"""


_GRAPH_IR = f"""
define internal void @gather(ptr %graph) nounwind {{
entry:
  {_load("arguments", "ptr", ARGUMENTS)}
  {_load("sources", "ptr", SOURCES)}
  {_load("n", "i64", N_ARGUMENTS)}
  br label %next
next:
  %i = phi i64 [0, %entry], [%i1, %copy]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %copy, label %done
copy:
  %from = getelementptr ptr, ptr %sources, i64 %i
  %to = getelementptr i64, ptr %arguments, i64 %i
  %slot = load ptr, ptr %from
  %word = load i64, ptr %slot
  store i64 %word, ptr %to
  %i1 = add i64 %i, 1
  br label %next
done:
  ret void
}}

define internal void @launch(ptr %graph, i64 %i) nounwind {{
  {_load("functions", "ptr", FUNCTIONS)}
  {_load("pointers", "ptr", POINTERS)}
  {_load("chunks", "ptr", CHUNKS)}
  %at.function = getelementptr ptr, ptr %functions, i64 %i
  %at.args = getelementptr ptr, ptr %pointers, i64 %i
  %at.n = getelementptr i64, ptr %chunks, i64 %i
  %function = load ptr, ptr %at.function
  %args = load ptr, ptr %at.args
  %n = load i64, ptr %at.n
  %single = icmp eq i64 %n, 1
  br i1 %single, label %direct, label %shared
direct:
  call void %function(ptr %args, i64 0)
  ret void
shared:
  {_load("pool", "ptr", POOL)}
  {_load("parfor", "ptr", PARFOR)}
  call void %parfor(ptr %pool, ptr %function, ptr %args, i64 %n)
  ret void
}}

define void @run_graph(ptr %graph) nounwind {{
entry:
  %modes = call i64 @use_plain_floats()
  call void @gather(ptr %graph)
  {_load("n", "i64", N_LAUNCHES)}
  br label %next
next:
  %i = phi i64 [0, %entry], [%i1, %run]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %run, label %done
run:
  call void @launch(ptr %graph, i64 %i)
  %i1 = add i64 %i, 1
  br label %next
done:
  call void @restore_floats(i64 %modes)
  ret void
}}

define void @run_graph_timed(ptr %graph, ptr %times) nounwind {{
entry:
  %modes = call i64 @use_plain_floats()
  call void @gather(ptr %graph)
  {_load("n", "i64", N_LAUNCHES)}
  br label %next
next:
  %i = phi i64 [0, %entry], [%i1, %run]
  %time = call i64 @now()
  %at = getelementptr i64, ptr %times, i64 %i
  store i64 %time, ptr %at
  %more = icmp ult i64 %i, %n
  br i1 %more, label %run, label %done
run:
  call void @launch(ptr %graph, i64 %i)
  %i1 = add i64 %i, 1
  br label %next
done:
  call void @restore_floats(i64 %modes)
  ret void
}}
"""
