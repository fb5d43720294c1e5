"""Blocks in a graph: runs of a few launches shared out among threads, each with its room."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest

from inkle.runtime.cpu.graph import Graph, Launch, Move, Repeat
from inkle.runtime.cpu.pool import Pool
from inkle.runtime.device import Blocks, Run
from tests.runtime.kernels import address, words

MakePool = Callable[[int], Pool]

# room[0] = value, after it has been something else for a while; arguments room and value.
PUT = """
define void @put(ptr %args, i64 %chunk) {
entry:
  %at.value = getelementptr i64, ptr %args, i64 1
  %room = load ptr, ptr %args
  %value = load i64, ptr %at.value
  br label %next
next:
  %i = phi i64 [0, %entry], [%i1, %next]
  %other = sub i64 %value, %i
  store volatile i64 %other, ptr %room
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, 300
  br i1 %more, label %next, label %done
done:
  store volatile i64 %value, ptr %room
  ret void
}"""

# out[value] += room[0]; arguments out, value, room.
TAKE = """
define void @take(ptr %args, i64 %chunk) {
  %at.value = getelementptr i64, ptr %args, i64 1
  %at.room = getelementptr i64, ptr %args, i64 2
  %out = load ptr, ptr %args
  %value = load i64, ptr %at.value
  %room = load ptr, ptr %at.room
  %x = load volatile i64, ptr %room
  %to = getelementptr i64, ptr %out, i64 %value
  %old = load i64, ptr %to
  %sum = add i64 %old, %x
  store i64 %sum, ptr %to
  ret void
}"""

ROOM, OUT, VALUE = 0, 1, 2
STRIDE = 64


def blocks(units: list[list[Run]], rooms: int) -> Blocks:
    put = Launch(address(PUT), (ROOM, VALUE))
    take = Launch(address(TAKE), (OUT, VALUE, ROOM))
    return Blocks([put, take], units, [VALUE], [(ROOM, STRIDE)], rooms)


def memory(rooms: int, outputs: int) -> tuple[ctypes.Array, ctypes.Array]:
    return words(rooms * STRIDE // 8), words(outputs)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_do_not_see_each_others_rooms(make_pool: MakePool, threads: int):
    room, out = memory(threads, 2000)
    units = [[Run(0, 2, (i,))] for i in range(2000)]
    graph = Graph([blocks(units, threads)], pool=make_pool(threads))
    graph.bind(ROOM, ctypes.addressof(room))
    graph.bind(OUT, ctypes.addressof(out))

    for _ in range(3):
        graph.run()

    assert [*out] == [3 * i for i in range(2000)]


def test_threads_wait_for_a_room_if_there_are_too_few(make_pool: MakePool):
    room, out = memory(1, 200)
    graph = Graph([blocks([[Run(0, 2, (i,))] for i in range(200)], 1)], pool=make_pool(3))
    graph.bind(ROOM, ctypes.addressof(room))
    graph.bind(OUT, ctypes.addressof(out))

    graph.run()

    assert [*out] == [*range(200)]


def test_runs_of_a_unit_follow_each_other(make_pool: MakePool):
    room, out = memory(2, 4)
    unit = [Run(0, 1, (1,)), Run(1, 2, (2,)), Run(1, 2, (3,)), Run(0, 2, (0,))]
    graph = Graph([blocks([unit], 2)], pool=make_pool(2))
    graph.bind(ROOM, ctypes.addressof(room))
    graph.bind(OUT, ctypes.addressof(out))

    graph.run()

    assert [*out] == [0, 0, 1, 1]


def test_blocks_run_inside_of_loops(make_pool: MakePool):
    room, out = memory(2, 12)
    inner, row = 3, 8 * 4
    put = Launch(address(PUT), (ROOM, VALUE))
    take = Launch(address(TAKE), (inner, VALUE, ROOM))
    units = [[Run(0, 2, (i,))] for i in range(4)]
    each = Blocks([put, take], units, [VALUE], [(ROOM, STRIDE)], 2)
    graph = Graph([Repeat(3, [Move(OUT, inner, row, 0, 1, 3)], [each])], pool=make_pool(2))
    graph.bind(ROOM, ctypes.addressof(room))
    graph.bind(OUT, ctypes.addressof(out))

    graph.run()

    assert [*out] == [0, 1, 2, 3] * 3


def test_a_clock_divides_the_time_among_the_launches(make_pool: MakePool):
    room, out = memory(2, 500)
    graph = Graph([blocks([[Run(0, 2, (i,))] for i in range(500)], 2)], pool=make_pool(2))
    graph.bind(ROOM, ctypes.addressof(room))
    graph.bind(OUT, ctypes.addressof(out))

    first = graph.run_timed()
    graph.run()
    second = graph.run_timed()

    assert [*out] == [3 * i for i in range(500)]
    for put, take in (first, second):
        assert put > take > 0


def test_rooms_that_were_taken_when_the_process_was_forked_are_free_again(make_pool: MakePool):
    room, out = memory(2, 50)
    graph = Graph([blocks([[Run(0, 2, (i,))] for i in range(50)], 2)], pool=make_pool(2))
    graph.bind(ROOM, ctypes.addressof(room))
    graph.bind(OUT, ctypes.addressof(out))
    [group] = graph._groups.values()
    group._words[-2:] = [1, 1]  # as a unit leaves them that never ends

    graph.run()

    assert [*out] == [*range(50)]
