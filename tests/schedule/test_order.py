"""The order of launches."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inkle.ir.dtype import float32
from inkle.ir.plan import Launch, Memory, Plan, Role
from inkle.schedule import order
from inkle.schedule.lives import Lives
from inkle.schedule.order import dependencies, free_early
from tests.schedule.plans import kernel, random_plan, results


@pytest.fixture(autouse=True)
def small_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at plans of any size."""
    monkeypatch.setattr(order, "FROM_BYTES", 0)


def plan_of(*launches: tuple[int, ...], outputs: tuple[int, ...], size: int = 1024) -> Plan:
    """Return a plan: each launch writes its first memory and reads the others; 0 is the input."""
    count = 1 + max(place for launch in launches for place in launch)
    roles = [Role.OUTPUT if i in outputs else Role.TEMPORARY for i in range(count)]
    memory = [Memory(role, i, float32, size) for i, role in enumerate(roles)]
    memory[0] = Memory(Role.INPUT, 0, float32, 8)
    for number, place in enumerate(outputs):
        memory[place] = Memory(Role.OUTPUT, number, float32, 8)
    steps = [
        Launch(kernel(memory[own], [memory[p] for p in read], own), (own, *read))
        for own, *read in launches
    ]
    return Plan(tuple(memory), tuple(steps), outputs)


def test_what_frees_memory_runs_as_soon_as_it_can() -> None:
    plan = plan_of((1, 0), (2, 0), (3, 0), (4, 1), (5, 2), (6, 3), outputs=(4, 5, 6))

    found = free_early(plan)

    assert [launch.memory[0] for launch in found.launches] == [1, 4, 2, 5, 3, 6]
    assert Lives(found).peak_bytes < Lives(plan).peak_bytes


def test_an_order_that_needs_no_less_is_left_alone() -> None:
    plan = plan_of((1, 0), (2, 1), (3, 2), outputs=(3,))

    assert free_early(plan) is plan


def test_readers_of_a_version_stay_before_the_writer_of_the_next() -> None:
    writes = plan_of((1, 0), (2, 1), (1, 0), (3, 1), outputs=(2, 3))

    assert dependencies(writes.launches) == [set(), {0}, {0, 1}, {2}]


@pytest.mark.parametrize("seed", range(40))
def test_results_do_not_depend_on_the_order(seed: int) -> None:
    plan = random_plan(seed)

    found = free_early(plan)

    assert sorted(map(id, found.launches)) == sorted(map(id, plan.launches))
    assert results(found) == results(plan)
    assert Lives(found).peak_bytes <= Lives(plan).peak_bytes


def test_some_random_plans_need_less_in_another_order() -> None:
    plans = [random_plan(seed) for seed in range(40)]

    assert sum(free_early(plan) is not plan for plan in plans) > 10


def test_an_input_that_is_written_over_is_read_before() -> None:
    plan = plan_of((1, 0), (2, 1), (0, 2), outputs=(1,))
    plan = replace(plan, in_place=(0,))

    assert dependencies(plan.launches) == [set(), {0}, {0, 1}]
