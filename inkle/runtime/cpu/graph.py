"""Many launches by one native call: Python is out of the loop.

A graph is one block of 64-bit words:

    header     where the parts below are, and the pool
    table      one word per slot: an address, an int64, or the bits of a float64
    arguments  what kernels get: a copy of their slots, launch after launch
    sources    for each argument, the address of its slot
    functions, pointers, chunks   for each launch: code, its arguments, number of chunks
    items      what runs, in order: the number of a launch n, or -1 - n for a loop
    loops      for each loop: steps, its first move and the last, its first item and the last
    moves      for each: addresses of two slots, bytes of a row, first row, step, number of rows

Running it goes through the items. A launch copies its slots to its arguments (`*argument =
**source`), then calls the kernel: a single chunk directly, more through the pool. A loop runs its
own items once per step, after it has moved its slots one row on. To give a captured graph another
input, write one word of the table.
"""

from __future__ import annotations

import ctypes
import functools
import operator
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, starmap
from typing import Any, SupportsFloat

from inkle.errors import DeviceError
from inkle.runtime import device
from inkle.runtime.cpu.llvm import compile_ir
from inkle.runtime.cpu.pool import Pool, default_pool
from inkle.runtime.cpu.system import Platform, system_ir
from inkle.runtime.device import Buffer, Launch, Move, Repeat

__all__ = ["Graph", "Launch", "Move", "Repeat", "float_bits"]

MAX_CHUNKS = 2**31 - 1  # what the pool counts; see pool_ir
WORD_BYTES = 8
# Byte offsets in the header.
POOL, PARFOR, SOURCES, FUNCTIONS, POINTERS, CHUNKS, ITEMS, LOOPS, MOVES = range(0, 72, 8)
ARGUMENTS, N_ITEMS = 72, 80
HEADER_WORDS = 11
LOOP_WORDS, MOVE_WORDS = 5, 6

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
        launches: Sequence[Launch | Repeat],
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
        sizes += [len(flat.items), LOOP_WORDS * len(flat.loops), MOVE_WORDS * len(flat.moves)]
        self._block = (ctypes.c_int64 * (HEADER_WORDS + sum(sizes)))()
        parts = _Parts(self._block, HEADER_WORDS)
        tables = [parts.take(size) for size in sizes]
        self.slot_table, arguments, sources, functions, self._chunks, pointers = tables[:6]
        items, loops, moves = tables[6:]
        table = ctypes.addressof(self.slot_table)
        sources[:] = [table + WORD_BYTES * slot for slot in used]
        functions[:] = [launch.function for launch in calls]
        pointers[:] = [*_starts(calls, ctypes.addressof(arguments))]
        self._chunks[:] = [launch.chunks for launch in calls]
        items[:] = [*flat.items]
        loops[:] = [*chain(*flat.loops)]
        moves[:] = [*chain(*[_words(move, table) for move in flat.moves])]
        header = {
            POOL: self.pool.address, PARFOR: self.pool.parfor, N_ITEMS: len(launches),
            ARGUMENTS: ctypes.addressof(arguments), SOURCES: ctypes.addressof(sources),
            FUNCTIONS: ctypes.addressof(functions), POINTERS: ctypes.addressof(pointers),
            CHUNKS: ctypes.addressof(self._chunks), ITEMS: ctypes.addressof(items),
            LOOPS: ctypes.addressof(loops), MOVES: ctypes.addressof(moves),
        }  # fmt: skip
        for offset, word in header.items():
            self._block[offset // WORD_BYTES] = word
        self._parallel = any(launch.chunks > 1 for launch in calls)
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
        deque(starmap(operator.call, [(self._run, self._address, None), *then]), maxlen=0)

    def run_timed(self, then: Iterable[Call] = ()) -> list[float]:
        """Like `run`; returns the seconds that each launch took, in all steps of its loops.

        A clock is read in between.
        """
        if self._parallel and not self.pool.started:
            self.pool.start()
        times = (ctypes.c_int64 * max(1, len(self._chunks)))()
        run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(_native()["run_graph"])
        first = (run, self._address, ctypes.addressof(times))
        deque(starmap(operator.call, [first, *then]), maxlen=0)
        return [times[i] * 1e-9 for i in range(len(self._chunks))]


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
    """

    def __init__(self, launches: Sequence[Launch | Repeat]) -> None:
        self.launches: list[Launch] = []
        self.moves: list[Move] = []
        self.loops: list[tuple[int, ...]] = []
        self.items: list[int] = []
        self._add(launches)

    def _add(self, launches: Sequence[Launch | Repeat]) -> tuple[int, int]:
        """Add items; return the first and the one after the last."""
        first = len(self.items)
        self.items += [0] * len(launches)
        for place, each in enumerate(launches, first):
            if isinstance(each, Launch):
                self.items[place] = len(self.launches)
                self.launches.append(each)
                continue
            moves = len(self.moves)
            self.moves += each.moves
            number = len(self.loops)
            self.items[place] = -1 - number
            self.loops.append(())
            inside = self._add(each.launches)
            self.loops[number] = (each.steps, moves, moves + len(each.moves), *inside)
        return first, first + len(launches)


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
    return compile_ir(graph_ir(), ("run_graph",))


def graph_ir(platform: Platform | None = None) -> str:
    """Return the module that runs graphs, for this platform or another."""
    return "\n".join((system_ir(platform), _GRAPH_IR))


def _load(name: str, kind: str, offset: int) -> str:
    return f"""%at.{name} = getelementptr i8, ptr %graph, i64 {offset}
  %{name} = load {kind}, ptr %at.{name}"""


_GRAPH_IR = f"""
define internal void @launch(ptr %graph, i64 %i) nounwind {{
entry:
  {_load("arguments", "ptr", ARGUMENTS)}
  {_load("sources", "ptr", SOURCES)}
  {_load("functions", "ptr", FUNCTIONS)}
  {_load("pointers", "ptr", POINTERS)}
  {_load("chunks", "ptr", CHUNKS)}
  %at.function = getelementptr ptr, ptr %functions, i64 %i
  %at.args = getelementptr ptr, ptr %pointers, i64 %i
  %at.end = getelementptr ptr, ptr %at.args, i64 1
  %at.n = getelementptr i64, ptr %chunks, i64 %i
  %function = load ptr, ptr %at.function
  %args = load ptr, ptr %at.args
  %end = load ptr, ptr %at.end
  %n = load i64, ptr %at.n
  %base = ptrtoint ptr %arguments to i64
  %begin = ptrtoint ptr %args to i64
  %skipped = sub i64 %begin, %base
  %from0 = getelementptr i8, ptr %sources, i64 %skipped
  br label %next
next:
  %to = phi ptr [%args, %entry], [%to1, %copy]
  %from = phi ptr [%from0, %entry], [%from1, %copy]
  %more = icmp ult ptr %to, %end
  br i1 %more, label %copy, label %call
copy:
  %slot = load ptr, ptr %from
  %word = load i64, ptr %slot
  store i64 %word, ptr %to
  %to1 = getelementptr i64, ptr %to, i64 1
  %from1 = getelementptr ptr, ptr %from, i64 1
  br label %next
call:
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

define internal void @launch_timed(ptr %graph, i64 %i, ptr %times) nounwind {{
  %start = call i64 @now()
  call void @launch(ptr %graph, i64 %i)
  %end = call i64 @now()
  %spent = sub i64 %end, %start
  %at = getelementptr i64, ptr %times, i64 %i
  %before = load i64, ptr %at
  %total = add i64 %before, %spent
  store i64 %total, ptr %at
  ret void
}}

define internal void @move(ptr %move, i64 %k) nounwind {{
  %at.slot = getelementptr i64, ptr %move, i64 1
  %at.width = getelementptr i64, ptr %move, i64 2
  %at.start = getelementptr i64, ptr %move, i64 3
  %at.step = getelementptr i64, ptr %move, i64 4
  %at.rows = getelementptr i64, ptr %move, i64 5
  %source = load ptr, ptr %move
  %slot = load ptr, ptr %at.slot
  %width = load i64, ptr %at.width
  %start = load i64, ptr %at.start
  %step = load i64, ptr %at.step
  %rows = load i64, ptr %at.rows
  %far = mul i64 %step, %k
  %place = add i64 %start, %far
  %row = urem i64 %place, %rows
  %offset = mul i64 %row, %width
  %base = load i64, ptr %source
  %address = add i64 %base, %offset
  store i64 %address, ptr %slot
  ret void
}}

define internal void @repeat(ptr %graph, i64 %number, ptr %times) nounwind {{
entry:
  {_load("loops", "ptr", LOOPS)}
  {_load("moves", "ptr", MOVES)}
  %word = mul i64 %number, {LOOP_WORDS}
  %loop = getelementptr i64, ptr %loops, i64 %word
  %at.first.move = getelementptr i64, ptr %loop, i64 1
  %at.last.move = getelementptr i64, ptr %loop, i64 2
  %at.first = getelementptr i64, ptr %loop, i64 3
  %at.last = getelementptr i64, ptr %loop, i64 4
  %steps = load i64, ptr %loop
  %first.move = load i64, ptr %at.first.move
  %last.move = load i64, ptr %at.last.move
  %first = load i64, ptr %at.first
  %last = load i64, ptr %at.last
  br label %next
next:
  %k = phi i64 [0, %entry], [%k1, %step]
  %more = icmp ult i64 %k, %steps
  br i1 %more, label %moving, label %done
moving:
  %m = phi i64 [%first.move, %next], [%m1, %one]
  %left = icmp ult i64 %m, %last.move
  br i1 %left, label %one, label %step
one:
  %at = mul i64 %m, {MOVE_WORDS}
  %move = getelementptr i64, ptr %moves, i64 %at
  call void @move(ptr %move, i64 %k)
  %m1 = add i64 %m, 1
  br label %moving
step:
  call void @run_items(ptr %graph, i64 %first, i64 %last, ptr %times)
  %k1 = add i64 %k, 1
  br label %next
done:
  ret void
}}

define internal void @run_items(ptr %graph, i64 %first, i64 %last, ptr %times) nounwind {{
entry:
  {_load("items", "ptr", ITEMS)}
  %plain = icmp eq ptr %times, null
  br label %next
next:
  %i = phi i64 [%first, %entry], [%i1, %done]
  %more = icmp ult i64 %i, %last
  br i1 %more, label %run, label %end
run:
  %at = getelementptr i64, ptr %items, i64 %i
  %item = load i64, ptr %at
  %is.loop = icmp slt i64 %item, 0
  br i1 %is.loop, label %loop, label %kernel
loop:
  %number = sub i64 -1, %item
  call void @repeat(ptr %graph, i64 %number, ptr %times)
  br label %done
kernel:
  br i1 %plain, label %untimed, label %timed
untimed:
  call void @launch(ptr %graph, i64 %item)
  br label %done
timed:
  call void @launch_timed(ptr %graph, i64 %item, ptr %times)
  br label %done
done:
  %i1 = add i64 %i, 1
  br label %next
end:
  ret void
}}

define void @run_graph(ptr %graph, ptr %times) nounwind {{
  %modes = call i64 @use_plain_floats()
  {_load("n", "i64", N_ITEMS)}
  call void @run_items(ptr %graph, i64 0, i64 %n, ptr %times)
  call void @restore_floats(i64 %modes)
  ret void
}}
"""
