"""Graphs: launches in order by one native call, with arguments that can be changed in place."""

from __future__ import annotations

import ctypes
import gc
import struct
import threading
import time
from collections.abc import Callable

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from inkle.errors import DeviceError
from inkle.runtime.cpu.graph import (
    MAX_CHUNKS,
    Graph,
    Launch,
    Move,
    Repeat,
    float_bits,
    scalar_bits,
)
from inkle.runtime.cpu.memory import Allocator
from inkle.runtime.cpu.pool import Pool
from tests.runtime.kernels import BUSY, COUNT, INCREMENT, SCALE, address, words

MakePool = Callable[[int], Pool]

# x[0] += scalar (float64), arguments x and scalar.
ADD_SCALAR = """
define void @add_scalar(ptr %args, i64 %chunk) {
  %at = getelementptr i64, ptr %args, i64 1
  %x = load ptr, ptr %args
  %scalar = load double, ptr %at
  %value = load double, ptr %x
  %sum = fadd double %value, %scalar
  store double %sum, ptr %x
  ret void
}"""


@pytest.fixture
def pool() -> Pool:
    return Pool(1)


def test_launches_run_in_order(pool: Pool):
    x = words(1)
    scale = address(SCALE)
    step = Launch(address("define void @step(ptr %args, i64 %chunk) {\n" + _ADD_ONE), (0,))
    graph = Graph([step, Launch(scale, (0, 1)), step, Launch(scale, (0, 2))], pool=pool)
    for slot, value in enumerate((ctypes.addressof(x), 10, 7)):
        graph.bind(slot, value)

    graph.run()

    assert x[0] == ((0 + 1) * 10 + 1) * 7


# out[0] = old[0] * 10 + x[0] (int64).
APPEND = """
define void @append(ptr %args, i64 %chunk) {
  %at.old = getelementptr i64, ptr %args, i64 1
  %at.x = getelementptr i64, ptr %args, i64 2
  %out = load ptr, ptr %args
  %old = load ptr, ptr %at.old
  %x = load ptr, ptr %at.x
  %before = load i64, ptr %old
  %digit = load i64, ptr %x
  %moved = mul i64 %before, 10
  %after = add i64 %moved, %digit
  store i64 %after, ptr %out
  ret void
}"""


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_a_loop_moves_its_slots_from_step_to_step(pool: Pool, steps: int):
    ring, digits, history = words(2), words(5), words(5)
    digits[:] = [1, 2, 3, 4, 5]
    moves = [
        Move(0, 3, 8, 1, 1, 2),  # the row that is written, of two
        Move(0, 4, 8, 0, 1, 2),  # the row that is read
        Move(1, 5, 8, 4, -1, 5),  # digits from the end
        Move(2, 6, 8, 0, 1, 5),
    ]
    append = address(APPEND)
    loop = Repeat(steps, moves, [Launch(append, (3, 4, 5)), Launch(append, (6, 4, 5))])
    graph = Graph([loop], slots=7, pool=pool)
    for slot, array in enumerate((ring, digits, history)):
        graph.bind(slot, ctypes.addressof(array))

    graph.run()

    written = [5, 54, 543, 5432, 54321][:steps]
    assert list(history) == written + [0] * (5 - steps)
    assert ring[steps % 2] == (written[-1] if steps else 0)


def test_loops_in_loops_and_their_times(pool: Pool):
    table = words(12)
    add = address("define void @step(ptr %args, i64 %chunk) {\n" + _ADD_ONE)
    inner = Repeat(4, [Move(1, 2, 8, 0, 1, 4)], [Launch(add, (2,))])
    outer = Repeat(3, [Move(0, 1, 32, 2, -1, 3)], [inner, Launch(add, (1,))])
    graph = Graph([Launch(add, (0,)), outer, Launch(add, (0,))], slots=3, pool=pool)
    graph.bind(0, ctypes.addressof(table))

    seconds = graph.run_timed()

    assert list(table) == [4, 1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1]
    assert len(seconds) == 4
    assert all(each >= 0 for each in seconds)


def test_a_loop_with_slots_out_of_range_is_refused(pool: Pool):
    with pytest.raises(DeviceError, match="the table has 2"):
        Graph([Repeat(2, [Move(0, 5, 8, 0, 1, 1)], [])], slots=2, pool=pool)


def test_rebinding_a_slot_changes_every_launch_that_uses_it(pool: Pool):
    allocator = Allocator()
    first, second = allocator.allocate(4), allocator.allocate(4)
    for buffer in (first, second):
        buffer.numpy()[:] = 0
    graph = Graph([Launch(address(INCREMENT), (0,))] * 5, pool=pool)

    graph.bind(0, first)
    graph.run()
    graph.bind(0, second)
    graph.run()
    graph.run()

    assert [b.numpy(np.float32)[0] for b in (first, second)] == [5, 10]


def test_bound_buffer_stays_alive_until_its_slot_is_bound_again(pool: Pool):
    allocator = Allocator()
    graph = Graph([Launch(address(INCREMENT), (0,))], pool=pool)

    graph.bind(0, allocator.allocate(4))
    gc.collect()
    assert allocator.report().live_bytes > 0
    graph.bind(0, 0)

    assert allocator.report().live_bytes == 0


@pytest.mark.parametrize("value", [2.5, np.float32(2.5), np.float64(2.5)])
def test_float_argument_arrives_as_float64(pool: Pool, value: float):
    x = (ctypes.c_double * 1)(1.0)
    graph = Graph([Launch(address(ADD_SCALAR), (0, 1))], pool=pool)
    graph.bind(0, ctypes.addressof(x))

    graph.bind(1, value)
    graph.run()

    assert x[0] == 3.5


@pytest.mark.parametrize("value", [-3, np.int32(-3), np.int64(-3)])
def test_integer_argument_arrives_as_int64(pool: Pool, value: int):
    x = words(1)
    x[0] = 5
    graph = Graph([Launch(address(SCALE), (0, 1))], pool=pool)
    graph.bind(0, ctypes.addressof(x))

    graph.bind(1, value)
    graph.run()

    assert x[0] == -15


@hypothesis.given(st.floats(width=64))
def test_float_bits_are_those_of_ieee_754(value: float):
    assert float_bits(value) == struct.unpack("<q", struct.pack("<d", value))[0]
    assert scalar_bits(True) == 1


@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=30), st.integers(1, 3)
)
@hypothesis.settings(max_examples=20)
def test_random_graphs_run_every_chunk_of_every_launch(
    launches: list[tuple[int, int]], threads: int
):
    counters = [words(10) for _ in range(4)]
    pool = Pool(threads)
    graph = Graph([Launch(address(COUNT), (s,), n) for s, n in launches], slots=4, pool=pool)
    for slot, counter in enumerate(counters):
        graph.bind(slot, ctypes.addressof(counter))

    graph.run()

    for slot, counter in enumerate(counters):
        sizes = [n for s, n in launches if s == slot]
        assert list(counter) == [sum(n > chunk for n in sizes) for chunk in range(10)]
    assert pool.stop()


def test_empty_graph_runs(pool: Pool):
    Graph([], pool=pool).run()

    assert Graph([], pool=pool).run_timed() == []


def test_chunks_can_be_changed(make_pool: MakePool):
    counter = words(8)
    graph = Graph([Launch(address(COUNT), (0,), 8)] * 2, pool=make_pool(2))
    graph.bind(0, ctypes.addressof(counter))

    graph.set_chunks(1, 3)
    graph.run()
    graph.set_chunks(0, 0)
    graph.run()

    assert list(counter) == [3, 3, 3, 1, 1, 1, 1, 1]


def test_timed_run_does_the_work_and_measures_each_launch(make_pool: MakePool):
    counts = words(2)
    launches = [Launch(address(BUSY), (0, slot), 2) for slot in (1, 2, 1)]
    graph = Graph(launches, pool=make_pool(2))
    for slot, value in enumerate((ctypes.addressof(counts), 1_000, 2_000_000)):
        graph.bind(slot, value)
    start = time.perf_counter()

    seconds = graph.run_timed()

    assert list(counts) == [3, 3]
    assert len(seconds) == 3
    assert min(seconds) >= 0
    assert max(seconds) == seconds[1]
    assert sum(seconds) <= time.perf_counter() - start


def test_other_threads_run_during_a_graph(pool: Pool):
    assert _progress_of_another_thread(pool) > 0


def test_graph_that_keeps_the_interpreter_computes_the_same(make_pool: MakePool):
    counter = words(5)
    graph = Graph([Launch(address(COUNT), (0,), 5)], pool=make_pool(2), release_gil=False)
    graph.bind(0, ctypes.addressof(counter))

    graph.run()

    assert list(counter) == [1] * 5


def test_graphs_on_many_threads_share_a_pool(make_pool: MakePool):
    def work() -> None:
        counter = words(5)
        graph = Graph([Launch(address(COUNT), (0,), n) for n in (1, 5, 2)] * 20, pool=pool)
        graph.bind(0, ctypes.addressof(counter))
        for _ in range(50):
            graph.run()
        found.append(list(counter))

    pool = make_pool(3)
    found: list[list[int]] = []
    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [[3000, 2000, 1000, 1000, 1000]] * 5


@pytest.mark.parametrize(
    ("launch", "message"),
    [
        (Launch(0, ()), "launch 0 has no function"),
        (Launch(1, (0, 2)), "launch 0 uses slot 2; the table has 2"),
        (Launch(1, (-1,)), "launch 0 uses slot -1; the table has 2"),
        (Launch(1, (), -1), f"0 to {MAX_CHUNKS} chunks, got -1"),
        (Launch(1, (), MAX_CHUNKS + 1), f"0 to {MAX_CHUNKS} chunks, got {MAX_CHUNKS + 1}"),
    ],
)
def test_impossible_launch_is_refused(pool: Pool, launch: Launch, message: str):
    with pytest.raises(DeviceError, match=message):
        Graph([launch], slots=2, pool=pool)


_ADD_ONE = """
  %x = load ptr, ptr %args
  %value = load i64, ptr %x
  %sum = add i64 %value, 1
  store i64 %sum, ptr %x
  ret void
}"""


def _progress_of_another_thread(pool: Pool) -> int:
    """Return how many steps another Python thread makes while a graph of some 30 ms runs."""

    def step() -> None:
        started.set()
        while not ended:
            steps.append(1)

    counts = words(1)
    graph = Graph([Launch(address(BUSY), (0, 1))], pool=pool)
    graph.bind(0, ctypes.addressof(counts))
    graph.bind(1, 10_000_000)
    started, ended, steps = threading.Event(), [], []
    thread = threading.Thread(target=step)
    thread.start()
    started.wait()
    before = len(steps)
    graph.run()
    progress = len(steps) - before
    ended.append(True)
    thread.join()
    return progress
