"""Where temporaries lie."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inkle.check.points import KernelFault
from inkle.ir.dtype import float32, int32
from inkle.ir.plan import Launch, Memory, Plan, Role, Spot
from inkle.schedule import memory as memories
from inkle.schedule import schedule
from inkle.schedule.lives import Lives
from inkle.schedule.memory import ALIGN, place_temporaries
from tests.schedule import networks as net
from tests.schedule.graphs import matmul
from tests.schedule.networks import Leaves
from tests.schedule.plans import kernel, random_plan, results

SEEDS = range(40)


@pytest.fixture
def small_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let temporaries lie in outputs of any size."""
    monkeypatch.setattr(memories, "HOST_BYTES", 0)


def chain(*sizes: int, last: Role = Role.OUTPUT) -> Plan:
    """Return a plan in which each launch reads what the one before has written."""
    made = [Memory(Role.INPUT, 0, float32, 4)]
    made += [Memory(Role.TEMPORARY, i, float32, size) for i, size in enumerate(sizes)]
    made[-1] = replace(made[-1], role=last, number=0)
    launches = [Launch(kernel(made[i], [made[i - 1]], 1), (i, i - 1)) for i in range(1, len(made))]
    return Plan(tuple(made), tuple(launches), (len(sizes),))


def places(plan: Plan) -> list[Spot | None]:
    return [each.spot for each in plan.memory if each.role is Role.TEMPORARY]


def test_dead_temporaries_make_room() -> None:
    plan = place_temporaries(chain(16, 16, 16, 16))

    assert places(plan) == [Spot(None, 0), Spot(None, 64), Spot(None, 0)]
    assert plan.arena_bytes == 128


def test_element_types_share_memory() -> None:
    plan = chain(16, 16, 16, 16)
    other = replace(plan.memory[3], dtype=int32)
    plan = replace(plan, memory=(*plan.memory[:3], other, plan.memory[4]))

    assert place_temporaries(plan).arena_bytes == 128


def test_a_value_never_lies_where_it_is_computed_from() -> None:
    plan = place_temporaries(chain(100, 100, 1))

    assert plan.arena_bytes == -(-400 // ALIGN) * ALIGN + 400


def test_the_tightest_gap_is_taken() -> None:
    room = memories._Room(None)
    for size, first, last in ((640, 0, 1), (64, 0, 9), (128, 0, 1), (64, 0, 9)):
        room.take(size, first, last)

    assert room.take(128, 3, 4) == 704
    assert room.take(128, 3, 4) == 0
    assert room.take(640, 3, 4) == 896


def test_an_output_has_room_until_it_is_written(small_hosts: None) -> None:
    plan = place_temporaries(chain(16, 16, 16, 64))

    assert places(plan)[:2] == [Spot(4, 0), Spot(4, 64)]
    assert places(plan)[2] == Spot(None, 0)  # read by the launch that writes the output


def test_small_outputs_are_left_alone() -> None:
    plan = place_temporaries(chain(16, 16, 16, 64))

    assert all(place is not None and place.host is None for place in places(plan))


@pytest.mark.parametrize("seed", SEEDS)
def test_results_are_the_same_in_any_layout(seed: int, small_hosts: None) -> None:
    plan = random_plan(seed)

    placed = place_temporaries(plan)

    assert results(placed) == results(plan)


def test_the_interpreter_sees_a_temporary_that_is_written_over() -> None:
    plan = place_temporaries(chain(16, 16, 16, 16))
    wrong = [replace(m, spot=Spot(None, 0)) if m.spot else m for m in plan.memory]

    with pytest.raises(KernelFault, match="never written"):
        results(replace(plan, memory=tuple(wrong)))


def over_bound(plan: Plan) -> float:
    """Return how much memory a plan takes, compared with what its order needs at least."""
    outputs = sum(each.size_bytes for each in plan.memory if each.role is Role.OUTPUT)
    return (plan.arena_bytes + outputs) / max(Lives(plan).peak_bytes, outputs)


@pytest.mark.parametrize("sizes", [(64, 100, 1000, 1024, 4096), (1024,), (256, 1024, 4096, 16384)])
def test_layouts_are_within_a_tenth_of_what_the_order_needs(
    sizes: tuple[int, ...], small_hosts: None
) -> None:
    ratios = [over_bound(place_temporaries(random_plan(s, 300, sizes))) for s in range(8)]

    assert sum(ratios) / len(ratios) <= 1.05
    assert max(ratios) <= 1.10


def test_a_training_step_is_within_a_tenth_of_what_its_order_needs() -> None:
    assert over_bound(schedule(net.mnist_step(512))) <= 1.10


def test_a_chain_of_products_needs_room_for_two() -> None:
    leaves = Leaves()
    x, w = leaves.new(32, 32), leaves.new(32, 32)
    for _ in range(10):
        x = matmul(x, w)

    plan = schedule([x])

    assert plan.arena_bytes == 2 * 32 * 32 * 4


def test_outputs_are_fresh_memory() -> None:
    x = Leaves().new(8)

    plan = schedule([x, x + 1.0])

    roles = [plan.memory[place].role for place in plan.outputs]
    assert roles == [Role.INPUT, Role.OUTPUT]
