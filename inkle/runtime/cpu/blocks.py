"""Blocks of rows: many runs of a few launches, shared out among threads as one launch.

A unit is a list of runs, a run a chain of launches that one thread makes one after the other. Runs
differ in some integer arguments, their values; and every thread has rooms of its own for what a
chain passes on:

    run_blocks(words, unit)        for unit = 0 .. units - 1, in any order, on any threads

A thread takes a room that is free (there are as many as threads that may come), copies the
arguments of each launch to its stack, and on the way adds the place of its room to some, and puts
values in the place of others. The words, after those that every group has:

    functions, pointers   of all launches of the graph
    starts                for each unit its first run; at the end, how many there are
    runs, words of a run  for each run: the first launch, the one after the last, and the values
    changes               for each argument of the launches: bytes from one room to the next, and
                          the number of the value that it takes; -1: none
    longest               arguments of a launch
    rooms, taken          how many there are, and for each whether it is taken (1)
    times                 where to add the nanoseconds that each launch took; 0: nowhere
    wall                  nanoseconds that all took, with a clock
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from itertools import accumulate, chain

from inkle.runtime import device
from inkle.runtime.cpu.group import COMMON_WORDS, WORD_BYTES, Words, load

NAMES = ("functions", "pointers", "starts", "runs", "run_words", "changes", "longest", "rooms",
         "taken", "times", "wall")  # fmt: skip
OFFSETS = {name: WORD_BYTES * (COMMON_WORDS + i) for i, name in enumerate(NAMES)}
N_WORDS = COMMON_WORDS + len(NAMES)


class Blocks:
    """Blocks of rows in a graph.

    Attributes:
        address: of the words.
        units: how many there are.

    Args:
        members: numbers of the launches in their graph.
        blocks: what runs.
        functions, pointers: words of all launches of the graph.
        run: address of `run_blocks`.
    """

    def __init__(
        self,
        members: range,
        blocks: device.Blocks,
        functions: Words,
        pointers: Words,
        run: int,
    ) -> None:
        self.units = len(blocks.units)
        starts = [0, *accumulate(map(len, blocks.units))]
        runs = [*chain.from_iterable(blocks.units)]
        run_words = 2 + len(blocks.values)
        words = [
            word
            for first, last, values in runs
            for word in (first + members.start, last + members.start, *values)
        ]
        changes = [*chain.from_iterable(_changes(blocks))]
        sizes = [len(starts), len(words), len(changes), blocks.rooms]
        places = [*accumulate(sizes, initial=N_WORDS)]
        self._words = (ctypes.c_int64 * places[-1])()
        self.address = ctypes.addressof(self._words)
        at = [self.address + WORD_BYTES * place for place in places]
        self._words[: places[3]] = [
            run, members.start, members.stop, self.units, 0,
            ctypes.addressof(functions), ctypes.addressof(pointers),
            at[0], at[1], run_words, at[2],
            max([len(launch.slots) for launch in blocks.launches]), blocks.rooms, at[3], 0, 0,
            *starts, *words, *changes,
        ]  # fmt: skip

    def take_wall(self) -> int:
        """Return the nanoseconds that all took since the last call, as far as a clock ran."""
        place = OFFSETS["wall"] // WORD_BYTES
        wall, self._words[place] = self._words[place], 0
        return wall


def _changes(blocks: device.Blocks) -> Iterator[tuple[int, int]]:
    number = {slot: i for i, slot in enumerate(blocks.values)}
    strides = dict(blocks.strides)
    for launch in blocks.launches:
        for slot in launch.slots:
            yield strides.get(slot, 0), number.get(slot, -1)


def _load(name: str, kind: str) -> str:
    return load(name, kind, OFFSETS[name], "words")


def blocks_ir() -> str:
    """Return the function `run_blocks`."""
    return _BLOCKS_IR


_BLOCKS_IR = f"""
define internal i64 @take_room(ptr %taken, i64 %rooms) nounwind {{
entry:
  br label %look
look:
  %r = phi i64 [0, %entry], [%r.next, %other]
  %at = getelementptr i64, ptr %taken, i64 %r
  %swap = cmpxchg ptr %at, i64 0, i64 1 acquire monotonic
  %mine = extractvalue {{i64, i1}} %swap, 1
  br i1 %mine, label %found, label %other
other:
  call void @pause()
  %r1 = add i64 %r, 1
  %inside = icmp ult i64 %r1, %rooms
  %r.next = select i1 %inside, i64 %r1, i64 0
  br label %look
found:
  ret i64 %r
}}

; Before a launch: a process that was forked in the middle of one has nobody who would do it.
define internal void @free_rooms(ptr %words) nounwind {{
entry:
  {_load("rooms", "i64")}
  {_load("taken", "ptr")}
  br label %next
next:
  %r = phi i64 [0, %entry], [%r1, %one]
  %more = icmp ult i64 %r, %rooms
  br i1 %more, label %one, label %done
one:
  %at = getelementptr i64, ptr %taken, i64 %r
  store atomic i64 0, ptr %at monotonic, align 8
  %r1 = add i64 %r, 1
  br label %next
done:
  ret void
}}

define internal void @change(ptr %to, ptr %from, i64 %n, ptr %changes, ptr %values, i64 %room)
    nounwind {{
entry:
  br label %next
next:
  %i = phi i64 [0, %entry], [%i1, %one]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %one, label %done
one:
  %at.from = getelementptr i64, ptr %from, i64 %i
  %at.to = getelementptr i64, ptr %to, i64 %i
  %twice = mul i64 %i, 2
  %at.stride = getelementptr i64, ptr %changes, i64 %twice
  %at.number = getelementptr i64, ptr %at.stride, i64 1
  %word = load i64, ptr %at.from
  %stride = load i64, ptr %at.stride
  %number = load i64, ptr %at.number
  %far = mul i64 %stride, %room
  %moved = add i64 %word, %far
  %has.value = icmp sge i64 %number, 0
  %safe = select i1 %has.value, i64 %number, i64 -1
  %at.value = getelementptr i64, ptr %values, i64 %safe
  %value = load i64, ptr %at.value
  %new = select i1 %has.value, i64 %value, i64 %moved
  store i64 %new, ptr %at.to
  %i1 = add i64 %i, 1
  br label %next
done:
  ret void
}}

define void @run_blocks(ptr %words, i64 %unit) nounwind {{
entry:
  {_load("functions", "ptr")}
  {_load("pointers", "ptr")}
  {_load("starts", "ptr")}
  {_load("runs", "ptr")}
  {_load("run_words", "i64")}
  {_load("changes", "ptr")}
  {_load("longest", "i64")}
  {_load("rooms", "i64")}
  {_load("taken", "ptr")}
  {_load("times", "ptr")}
  {load("begin", "i64", 8, "words")}
  %args = alloca i64, i64 %longest
  %at.base = getelementptr ptr, ptr %pointers, i64 %begin
  %base.ptr = load ptr, ptr %at.base
  %base = ptrtoint ptr %base.ptr to i64
  %plain = icmp eq ptr %times, null
  %room = call i64 @take_room(ptr %taken, i64 %rooms)
  %at.begin.run = getelementptr i64, ptr %starts, i64 %unit
  %at.stop = getelementptr i64, ptr %at.begin.run, i64 1
  %start = load i64, ptr %at.begin.run
  %stop = load i64, ptr %at.stop
  br label %next.run
next.run:
  %r = phi i64 [%start, %entry], [%r1, %ran]
  %more.runs = icmp ult i64 %r, %stop
  br i1 %more.runs, label %run, label %done
run:
  %skipped = mul i64 %r, %run_words
  %at.run = getelementptr i64, ptr %runs, i64 %skipped
  %at.end = getelementptr i64, ptr %at.run, i64 1
  %values = getelementptr i64, ptr %at.run, i64 2
  %first = load i64, ptr %at.run
  %end = load i64, ptr %at.end
  br label %next
next:
  %i = phi i64 [%first, %run], [%i1, %called]
  %more = icmp ult i64 %i, %end
  br i1 %more, label %launch, label %ran
launch:
  %i1 = add i64 %i, 1
  %at.from = getelementptr ptr, ptr %pointers, i64 %i
  %at.to = getelementptr ptr, ptr %pointers, i64 %i1
  %from = load ptr, ptr %at.from
  %to = load ptr, ptr %at.to
  %from.word = ptrtoint ptr %from to i64
  %to.word = ptrtoint ptr %to to i64
  %size = sub i64 %to.word, %from.word
  %n = udiv i64 %size, 8
  %behind = sub i64 %from.word, %base
  %twice = mul i64 %behind, 2
  %own = getelementptr i8, ptr %changes, i64 %twice
  call void @change(ptr %args, ptr %from, i64 %n, ptr %own, ptr %values, i64 %room)
  %at.function = getelementptr ptr, ptr %functions, i64 %i
  %function = load ptr, ptr %at.function
  br i1 %plain, label %untimed, label %timed
untimed:
  call void %function(ptr %args, i64 0)
  br label %called
timed:
  %before = call i64 @now()
  call void %function(ptr %args, i64 0)
  %after = call i64 @now()
  %spent = sub i64 %after, %before
  %at.time = getelementptr i64, ptr %times, i64 %i
  %old = atomicrmw add ptr %at.time, i64 %spent monotonic
  br label %called
called:
  br label %next
ran:
  %r1 = add i64 %r, 1
  br label %next.run
done:
  %mine = getelementptr i64, ptr %taken, i64 %room
  store atomic i64 0, ptr %mine release, align 8
  ret void
}}

define internal void @launch_blocks_timed(ptr %graph, ptr %words, i64 %units, ptr %times)
    nounwind {{
  {load("run", "ptr", 0, "words")}
  {load("wall", "i64", OFFSETS["wall"], "words")}
  %at.times = getelementptr i8, ptr %words, i64 {OFFSETS["times"]}
  store ptr %times, ptr %at.times
  %start = call i64 @now()
  call void @share_out(ptr %graph, ptr %run, ptr %words, i64 %units)
  %end = call i64 @now()
  store ptr null, ptr %at.times
  %spent = sub i64 %end, %start
  %total = add i64 %wall, %spent
  store i64 %total, ptr %at.wall
  ret void
}}
"""
