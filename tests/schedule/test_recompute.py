"""Values that are dropped and computed again, so that a plan fits a limit."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from inkle.errors import MemoryFailure
from inkle.ir.dtype import float32
from inkle.ir.plan import Launch, Memory, Plan, Role
from inkle.schedule import schedule
from inkle.schedule.memory import place_temporaries
from inkle.schedule.recompute import fit
from tests.schedule import networks as net
from tests.schedule.plans import kernel, random_plan, results

SIZES = (256, 1000, 1024, 4096)


def layers(count: int, *, size: int = 1024) -> Plan:
    """Return a plan of the shape of training: values forward, each wanted again on the way back."""
    memory = [Memory(Role.INPUT, 0, float32, 16)]
    launches: list[Launch] = []

    def add(*read: int, role: Role = Role.TEMPORARY) -> int:
        memory.append(Memory(role, 0 if role is Role.OUTPUT else len(memory), float32, size))
        body = kernel(memory[-1], [memory[place] for place in read], len(memory))
        launches.append(Launch(body, (len(memory) - 1, *read), ("model.py:7",)))
        return len(memory) - 1

    kept = [add(0)]
    for _ in range(count - 1):
        kept.append(add(kept[-1]))
    back = add(kept[-1])
    for i, place in enumerate(reversed(kept)):
        back = add(back, place, role=Role.OUTPUT if i == count - 1 else Role.TEMPORARY)
    return Plan(tuple(memory), tuple(launches), (back,))


def test_a_value_is_computed_again_before_its_next_use() -> None:
    plan = layers(3)

    found = fit(plan, place_temporaries(plan).needed_bytes - 4096)

    assert len(found.launches) == len(plan.launches) + 1
    assert len({id(each.kernel) for each in found.launches}) == len(plan.launches)
    assert results(found) == results(plan)


@pytest.mark.parametrize("percent", [80, 60, 40, 25])
def test_deep_networks_fit_a_fraction_of_what_they_take(percent: int) -> None:
    plan = layers(30)
    limit = place_temporaries(plan).needed_bytes * percent // 100

    found = fit(plan, limit)

    assert found.needed_bytes <= limit
    assert results(found) == results(plan)


def test_what_fits_is_left_alone() -> None:
    plan = layers(5)

    assert fit(plan, 1 << 40) == place_temporaries(plan)


@pytest.mark.parametrize("seed", range(60))
def test_random_plans_give_the_same_bits_with_less_memory(seed: int) -> None:
    plan = random_plan(seed, 60, SIZES)
    whole = place_temporaries(plan).needed_bytes
    expected = results(plan)

    for percent in (95, 85, 70):
        try:
            found = fit(plan, whole * percent // 100)
        except MemoryFailure:
            break
        assert found.needed_bytes <= whole * percent // 100
        assert results(found) == expected


def test_many_random_plans_can_do_with_less() -> None:
    lower = 0
    for seed in range(30):
        plan = random_plan(seed, 60, SIZES)
        with contextlib.suppress(MemoryFailure):
            lower += len(fit(plan, place_temporaries(plan).needed_bytes * 9 // 10).launches) > 60

    assert lower > 5


def test_what_the_writer_has_read_and_lost_is_not_computed_again() -> None:
    """An input is written over before the value would be computed from it again."""
    plan = layers(2)
    big = [*plan.memory]
    big[0] = replace(big[0], size=1024)
    over = Launch(kernel(big[0], [big[3]], 1), (0, 3))
    launches = [
        Launch(kernel(big[1], [big[0]], 2), (1, 0)), *plan.launches[1:3], over, *plan.launches[3:]
    ]  # fmt: skip
    plan = replace(plan, memory=tuple(big), launches=tuple(launches))
    whole = place_temporaries(plan).needed_bytes

    for percent in (90, 70, 50):
        try:
            found = fit(plan, whole * percent // 100)
        except MemoryFailure:
            break
        assert results(found) == results(plan)
        assert all(each.memory[1:] != (0,) for each in found.launches[4:])


def test_a_limit_that_cannot_be_met_says_what_can() -> None:
    plan = layers(10)

    message = (
        r"model.py:7: a memory limit of 8.0 KiB cannot be met: at least (\S+) KiB are needed, of "
        r"which results take 4.0 KiB"
    )
    with pytest.raises(MemoryFailure, match=message) as error:
        fit(plan, 8192)

    least = float(str(error.value).split("at least ")[1].split()[0])
    assert fit(plan, int(least * 1024) + 64).needed_bytes <= least * 1024 + 64


def test_a_training_step_fits() -> None:
    limit = schedule(net.mnist_step(64)).needed_bytes * 95 // 100

    assert schedule(net.mnist_step(64), limit_bytes=limit).needed_bytes <= limit
