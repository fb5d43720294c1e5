"""Random graphs: a schedule, run on the reference interpreter, computes what the graph means."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle.check.fuzz import fuzz
from inkle.engine import realize
from inkle.ir.dtype import DType, float32, int32
from inkle.schedule import donate, layout, memory, order
from tests.fuzz import executors
from tests.schedule.graphs import arrays_for, random_graph
from tests.schedule.running import FACTS, Facts, check


@given(st.data(), st.sampled_from([int32, float32]), st.sampled_from(FACTS))
def test_schedules_mean_what_their_graph_means(
    data: st.DataObject, dtype: DType, facts: Facts
) -> None:
    outputs = random_graph(lambda n: data.draw(st.integers(0, n - 1)), dtype)

    check(outputs, arrays_for(outputs, 0), facts)


@pytest.mark.parametrize("block", range(8))
def test_many_random_graphs(block: int) -> None:
    for seed in range(block * 40, block * 40 + 40):
        run_seed(seed, 8)


@pytest.mark.parametrize("block", range(4))
def test_graphs_whose_temporaries_are_laid_out_for_lanes(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "LEAST_LANES", 2)  # so that small axes count

    for seed in range(1000 + block * 40, 1040 + block * 40):
        run_seed(seed, 12)


@pytest.mark.parametrize("name", ["by_schedule", "by_avx512", "by_engine"])
def test_programs_in_as_little_memory_as_can_be(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(donate, "FROM_BYTES", 0)
    monkeypatch.setattr(order, "FROM_BYTES", 0)
    monkeypatch.setattr(memory, "HOST_BYTES", 0)
    monkeypatch.setattr(realize, "_executables", type(realize._executables)())

    found = fuzz(getattr(executors, name), range(60), f"tests.fuzz.executors:{name}", size=30)

    assert not found, found[0]


@pytest.mark.exhaustive
@pytest.mark.parametrize("block", range(40))
def test_large_random_graphs(block: int) -> None:
    for seed in range(10_000 + block * 100, 10_100 + block * 100):
        run_seed(seed, 18)


# Seeds that found mistakes: an exact quotient without its gate; a scatter with an axis that nothing
# depends on; two computed coordinates that turn out to be one value; a coordinate beside no loop; a
# row reduction that changed the order of colliding writes.
@pytest.mark.parametrize(
    ("seed", "size"), [(107, 8), (10655, 16), (32578, 16), (21700, 16), (2072, 14)]
)
def test_graphs_that_once_failed(seed: int, size: int) -> None:
    run_seed(seed, size)


def run_seed(seed: int, size: int) -> None:
    rng = random.Random(seed)
    outputs = random_graph(rng.randrange, float32 if seed % 3 == 0 else int32, size)
    check(outputs, arrays_for(outputs, seed), FACTS[seed % len(FACTS)])
