"""Launches side by side: every chunk of each runs once, alone, together or in parts."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from itertools import pairwise

import hypothesis
import hypothesis.strategies as st

from inkle.runtime.cpu.graph import Graph, Launch
from inkle.runtime.cpu.group import unit_starts
from inkle.runtime.cpu.pool import Pool
from tests.runtime.kernels import BUSY, COUNT, RENDEZVOUS, SCALE, address, words

MakePool = Callable[[int], Pool]
SIZES = st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans(), st.sampled_from([0, 0.3, 1]))


@hypothesis.given(st.lists(SIZES, max_size=30), st.integers(1, 3))
@hypothesis.settings(max_examples=30)
def test_every_chunk_of_every_launch_runs_once(sizes: list[tuple], threads: int):
    counters = [words(10) for _ in range(4)]
    pool = Pool(threads)
    count = address(COUNT)
    launches = [Launch(count, (s,), n, joins, weight) for s, n, joins, weight in sizes]
    graph = Graph(launches, slots=4, pool=pool)
    for slot, counter in enumerate(counters):
        graph.bind(slot, ctypes.addressof(counter))

    graph.run()
    seconds = graph.run_timed()

    assert len(seconds) == len(sizes)
    for slot, counter in enumerate(counters):
        own = [n for s, n, _, _ in sizes if s == slot]
        assert list(counter) == [2 * sum(n > chunk for n in own) for chunk in range(10)]
    assert pool.stop()


@hypothesis.given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 2)), max_size=20))
def test_units_cover_all_chunks_and_are_worth_taking(launches: list[tuple[int, float]]):
    chunks, weights = [n for n, _ in launches], [w for _, w in launches]
    each = [w for n, w in launches for _ in range(n)]

    starts = unit_starts(chunks, weights)

    assert starts[0] == 0
    assert starts[-1] == sum(chunks)
    assert starts == sorted(set(starts))
    for first, last in list(pairwise(starts))[:-1]:
        assert sum(each[first:last]) >= 1
        assert sum(each[first : last - 1]) < 1


def test_launches_side_by_side_run_at_the_same_time(make_pool: MakePool):
    """Each waits for all three to have begun: one after the other they would wait for ever."""
    arrived = words(1)
    launch = Launch(address(RENDEZVOUS), (0,))
    joining = Launch(address(RENDEZVOUS), (0,), joins=True)
    graph = Graph([launch, joining, joining], pool=make_pool(3))
    graph.bind(0, ctypes.addressof(arrived))

    graph.run()

    assert arrived[0] == 3


def test_what_does_not_join_waits_for_the_group_before(make_pool: MakePool):
    counts, x = words(1), words(1)
    busy = address(BUSY)
    graph = Graph(
        [
            Launch(busy, (0, 1)),
            Launch(busy, (0, 1), joins=True),
            Launch(address(SCALE), (0, 2)),
            Launch(address(COUNT), (3,), 1, joins=True, weight=0.1),
        ],
        pool=make_pool(2),
    )
    values = (ctypes.addressof(counts), 100_000, 10, ctypes.addressof(x))
    for slot, value in enumerate(values):
        graph.bind(slot, value)

    graph.run()

    assert (counts[0], x[0]) == (20, 1)


def test_small_launches_together_run_on_the_calling_thread():
    """No pool is woken for what one thread does at once."""
    counter = words(1)
    pool = Pool(2)
    small = Launch(address(COUNT), (0,), 1, joins=True, weight=0.01)
    graph = Graph([small] * 20, pool=pool)
    graph.bind(0, ctypes.addressof(counter))

    graph.run()

    assert counter[0] == 20
    assert not pool.started


def test_chunks_of_a_launch_in_a_group_can_be_changed(make_pool: MakePool):
    counter = words(8)
    count = address(COUNT)
    graph = Graph([Launch(count, (0,), 2), Launch(count, (0,), 1, joins=True)], pool=make_pool(2))
    graph.bind(0, ctypes.addressof(counter))

    graph.set_chunks(1, 8)
    graph.run()
    graph.set_chunks(0, 0)
    graph.run()

    assert list(counter) == [3, 3, 2, 2, 2, 2, 2, 2]
