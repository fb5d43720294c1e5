"""Many launches by one native call: Python is out of the loop.

A graph is one block of 64-bit words:

    header     where the parts below are, and the pool
    table      one word per slot: an address, an int64, or the bits of a float64
    arguments  what kernels get: a copy of their slots, launch after launch
    sources    for each argument, the address of its slot
    functions, pointers, chunks   for each launch: code, its arguments, number of chunks
    items      what runs, in order: the number of a launch n, -1 - n for a loop, or, from the number
               of launches on, a group of launches that run as one: side by side, or block by block
    loops      for each loop: steps, its first move and the last, its first item and the last
    moves      for each: addresses of two slots, bytes of a row, first row, step, number of rows
    groups     for each the address of its words, see `group` and `blocks`

Running it goes through the items. A launch copies its slots to its arguments (`*argument =
**source`), then calls the kernel: a single chunk directly, more through the pool. A loop runs its
own items once per step, after it has moved its slots one row on. A group is one launch of the
chunks of several kernels (only with a clock they run one by one) or of blocks. To give a captured
graph another input, write one word of the table.
"""

from __future__ import annotations

import ctypes
import functools
import operator
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, starmap
from typing import Any, SupportsFloat

from inkle.errors import DeviceError
from inkle.runtime import device
from inkle.runtime.cpu import graph_ir
from inkle.runtime.cpu.blocks import Blocks
from inkle.runtime.cpu.group import Group
from inkle.runtime.cpu.llvm import compile_ir
from inkle.runtime.cpu.pool import Pool, default_pool
from inkle.runtime.device import AnyLaunch, Buffer, Launch, Move, Repeat

__all__ = ["Graph", "Launch", "Move", "Repeat", "float_bits"]

MAX_CHUNKS = 2**31 - 1  # what the pool counts; see pool_ir
WORD_BYTES = 8
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
        launches: Sequence[AnyLaunch],
        *,
        slots: int | None = None,
        pool: Pool | None = None,
        release_gil: bool = True,
    ) -> None:
        flat = _Flat(launches)
        calls = flat.launches
        used = [slot for launch in calls for slot in launch.slots]
        moved = [slot for move in flat.moves for slot in (move.source, move.slot)]
        n_slots = max([*used, *moved], default=-1) + 1 if slots is None else slots
        _check(calls, flat.moves, n_slots)
        self.pool = pool or default_pool()
        sizes = [n_slots, len(used), len(used), *[len(calls)] * 2, len(calls) + 1]
        sizes += [
            len(flat.items),
            graph_ir.LOOP_WORDS * len(flat.loops),
            graph_ir.MOVE_WORDS * len(flat.moves),
        ]
        sizes.append(len(flat.groups))
        self._block = (ctypes.c_int64 * (graph_ir.HEADER_WORDS + sum(sizes)))()
        parts = _Parts(self._block, graph_ir.HEADER_WORDS)
        tables = [parts.take(size) for size in sizes]
        self.slot_table, arguments, sources, self._functions, self._chunks = tables[:5]
        self._pointers, items, loops, moves, self._group_words = tables[5:]
        table = ctypes.addressof(self.slot_table)
        sources[:] = [table + WORD_BYTES * slot for slot in used]
        self._functions[:] = [launch.function for launch in calls]
        self._pointers[:] = [*_starts(calls, ctypes.addressof(arguments))]
        self._chunks[:] = [launch.chunks for launch in calls]
        items[:] = [*flat.items]
        loops[:] = [*chain(*flat.loops)]
        moves[:] = [*chain(*[_words(move, table) for move in flat.moves])]
        self._launches, self._members = calls, flat.groups
        self._groups: dict[int, Group | Blocks] = {}
        for number in range(len(flat.groups)):
            self._write_group(number)
        words: dict[int, int] = {
            graph_ir.POOL: self.pool.address, graph_ir.PARFOR: self.pool.parfor,
            graph_ir.N_ITEMS: flat.count, graph_ir.N_LAUNCHES: len(calls),
        }  # fmt: skip
        tables_at = {
            graph_ir.ARGUMENTS: arguments, graph_ir.SOURCES: sources,
            graph_ir.FUNCTIONS: self._functions, graph_ir.POINTERS: self._pointers,
            graph_ir.CHUNKS: self._chunks, graph_ir.ITEMS: items, graph_ir.LOOPS: loops,
            graph_ir.MOVES: moves, graph_ir.GROUPS: self._group_words,
        }  # fmt: skip
        words |= {offset: ctypes.addressof(part) for offset, part in tables_at.items()}
        for offset, word in words.items():
            self._block[offset // WORD_BYTES] = word
        self._parallel = self._is_parallel()
        self._bound: dict[int, Buffer] = {}
        self._address = ctypes.addressof(self._block)
        make = ctypes.CFUNCTYPE if release_gil else ctypes.PYFUNCTYPE
        self._run = make(None, ctypes.c_void_p, ctypes.c_void_p)(_native()["run_graph"])

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
        self._launches[launch] = replace(self._launches[launch], chunks=chunks)
        self._chunks[launch] = chunks
        for number, (members, blocks) in enumerate(self._members):
            if launch in members and blocks is None:
                self._write_group(number)
        self._parallel = self._is_parallel()

    def _write_group(self, number: int) -> None:
        members, blocks = self._members[number]
        group: Group | Blocks
        if blocks is not None:
            run = _native()["run_blocks"]
            group = Blocks(members, blocks, self._functions, self._pointers, run)
        else:
            each = [self._launches[i] for i in members]
            run = _native()["run_unit"]
            group = Group(members, each, self._functions, self._pointers, run)
        _check_chunks(group.units)
        self._groups[number] = group
        self._group_words[number] = group.address

    def _is_parallel(self) -> bool:
        units = [group.units for group in self._groups.values()]
        return max([*self._chunks, *units], default=0) > 1

    def run(self, then: Iterable[Call] = ()) -> None:
        """Run all launches; returns when they are done.

        Args:
            then: calls of C functions to make afterwards, functions first; Python finds no moment
                for a signal handler between the launches and the last of them.
        """
        if self._parallel and not self.pool.started:
            self.pool.start()
        deque(starmap(operator.call, [(self._run, self._address, None), *then]), maxlen=0)

    def run_timed(self, then: Iterable[Call] = ()) -> list[float]:
        """Like `run`; returns the seconds that each launch took, in all steps of its loops.

        A clock is read in between, and nothing runs side by side.
        """
        if self._parallel and not self.pool.started:
            self.pool.start()
        times = (ctypes.c_int64 * max(1, len(self._chunks)))()
        run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(_native()["run_graph"])
        first = (run, self._address, ctypes.addressof(times))
        deque(starmap(operator.call, [first, *then]), maxlen=0)
        seconds = [times[i] * 1e-9 for i in range(len(self._chunks))]
        for number, group in self._groups.items():
            if isinstance(group, Blocks):  # threads took their times at once
                members, _ = self._members[number]
                total = sum([seconds[i] for i in members]) or 1.0
                wall = group.take_wall() * 1e-9
                for i in members:
                    seconds[i] *= wall / total
        return seconds


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


class _Flat:
    """Launches and loops as the tables of a graph, the outermost items first.

    Attributes:
        launches: all launches, in the order in which they first run.
        items, loops, moves: see the module's docstring.
        groups: for each the numbers of its launches, and the blocks if it is such.
        count: how many items there are outside of loops.
    """

    def __init__(self, launches: Sequence[AnyLaunch]) -> None:
        self.launches: list[Launch] = []
        self.moves: list[Move] = []
        self.loops: list[tuple[int, ...]] = []
        self.items: list[int] = []
        self.groups: list[tuple[range, device.Blocks | None]] = []
        self._total = _count(launches)
        _, self.count = self._add(launches)

    def _add(self, launches: Sequence[AnyLaunch]) -> tuple[int, int]:
        """Add items; return the first and the one after the last."""
        first = len(self.items)
        together = _together(launches)
        self.items += [0] * len(together)
        for place, each in enumerate(together, first):
            if not isinstance(each, Repeat):
                blocks = None if isinstance(each, list) else each
                number, own = len(self.launches), each if isinstance(each, list) else each.launches
                self.launches += own
                self.items[place] = number
                if blocks is not None or len(own) > 1:
                    self.items[place] = self._total + len(self.groups)
                    self.groups.append((range(number, number + len(own)), blocks))
                continue
            moves = len(self.moves)
            self.moves += each.moves
            number = len(self.loops)
            self.items[place] = -1 - number
            self.loops.append(())
            inside = self._add(each.launches)
            self.loops[number] = (each.steps, moves, moves + len(each.moves), *inside)
        return first, first + len(together)


def _count(launches: Sequence[AnyLaunch]) -> int:
    return sum(1 if isinstance(each, Launch) else _count(each.launches) for each in launches)


def _together(launches: Sequence[AnyLaunch]) -> list[list[Launch] | Repeat | device.Blocks]:
    """Return launches with those that run side by side in one list."""
    found: list[list[Launch] | Repeat | device.Blocks] = []
    for each in launches:
        last = found[-1] if found else None
        if not isinstance(each, Launch):
            found.append(each)
        elif each.joins and isinstance(last, list):
            last.append(each)
        else:
            found.append([each])
    return found


def _words(move: Move, table: int) -> tuple[int, ...]:
    source, slot = (table + WORD_BYTES * each for each in (move.source, move.slot))
    return source, slot, move.width, move.start, move.step, move.rows


def _starts(launches: Sequence[Launch], address: int) -> Iterator[int]:
    """Yield where the arguments of each launch begin, and where the last ones end."""
    for launch in launches:
        yield address
        address += WORD_BYTES * len(launch.slots)
    yield address


def _check(launches: Sequence[Launch], moves: Sequence[Move], n_slots: int) -> None:
    for number, launch in enumerate(launches):
        _check_chunks(launch.chunks)
        if launch.function == 0:
            raise DeviceError(f"launch {number} has no function")
        for slot in launch.slots:
            if not 0 <= slot < n_slots:
                raise DeviceError(f"launch {number} uses slot {slot}; the table has {n_slots}")
    for move in moves:
        if not (0 <= move.source < n_slots and 0 <= move.slot < n_slots and move.rows > 0):
            raise DeviceError(f"a loop has a move out of range, {move}; the table has {n_slots}")


def _check_chunks(chunks: int) -> None:
    if not 0 <= chunks <= MAX_CHUNKS:
        raise DeviceError(f"a launch has 0 to {MAX_CHUNKS} chunks, got {chunks}")


@functools.cache
def _native() -> dict[str, int]:
    return compile_ir(graph_ir.graph_ir(), ("run_graph", "run_unit", "run_blocks"))
