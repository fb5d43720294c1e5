"""Launches side by side: never two that use each other's memory, and as few groups as may be."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from inkle.check.plans import run_plan
from inkle.ir import forms, tensor
from inkle.ir.dtype import float32, int32
from inkle.ir.node import Node
from inkle.ir.plan import Launch, Memory, Plan, Role, Spot
from inkle.schedule import schedule, side_by_side
from inkle.schedule.beside import former_occupants
from tests.schedule import networks as net
from tests.schedule.graphs import arrays_for, matmul, random_graph
from tests.schedule.networks import Leaves
from tests.schedule.plans import kernel


def groups(*outputs: Node) -> list[int]:
    return [len(group) for group in side_by_side(schedule(outputs)).groups()]


def adam_step(count: int) -> tuple[list[Node], dict[int, int]]:
    """Return an Adam step over parameters of different shapes, and what it writes over what."""
    rng, leaves = random.Random(0), Leaves()
    step = leaves.new()
    outputs: list[Node] = []
    donated = {}
    for _ in range(count):
        p, g, m, v = (
            leaves.new(*shape) for shape in [(rng.randint(9, 90), rng.randint(1, 30))] * 4
        )
        new = net.adam(p, g, m, v, step)
        donated |= {len(outputs) + i: x.arg[0] for i, x in enumerate((p, m, v))}
        outputs += new
    return outputs, donated


def reads(launch: Launch) -> set[int]:
    nodes = launch.kernel.nodes()
    loads = [n for n in nodes if n.op is forms.LOAD and n.src[0].op is forms.PARAM]
    return {launch.memory[load.src[0].arg[0]] for load in loads}


def writes(launch: Launch) -> set[int]:
    return {launch.memory[store.src[0].arg[0]] for store in launch.kernel.stores}


def overlap(plan: Plan, one: int, other: int) -> bool:
    """Whether two memories of a plan have bytes in common."""
    rooms = []
    for place in (one, other):
        memory = plan.memory[place]
        room, start = (place, 0) if memory.spot is None else memory.spot
        rooms.append((room, start, start + memory.size_bytes))
    (a, first, end), (b, start, last) = rooms
    return a == b and first < last and start < end


def test_an_adam_step_over_150_parameters_is_at_most_three_launches() -> None:
    outputs, donated = adam_step(150)

    plan = side_by_side(schedule(outputs, donated=donated))

    assert len(plan.launches) > 100
    assert len(plan.groups()) <= 3
    assert len(plan.in_place) == len(outputs)


def test_planning_an_optimizer_step_grows_no_worse_than_n_log_n() -> None:
    """Counted in calls of functions, not in seconds."""

    def calls(count: int) -> int:
        found = 0

        def note(frame: Any, event: str, argument: Any) -> None:
            nonlocal found
            found += event in ("call", "c_call")

        outputs, donated = adam_step(count)
        sys.setprofile(note)
        side_by_side(schedule(outputs, donated=donated))
        sys.setprofile(None)
        return found

    assert calls(80) < 4 * 1.3 * calls(20)


def test_updates_of_disjoint_regions_run_side_by_side() -> None:
    leaves = Leaves()
    a, b, v = leaves.new(4, 8), leaves.new(6, 8), leaves.new(2, 8)
    regions = [((0, 2, 1), (0, 8, 1)), ((2, 4, 1), (0, 8, 1))]

    assert groups(*[tensor.update(x, v * 2.0, r) for x, r in zip((a, b), regions)]) == [2, 2]


def test_what_reads_a_result_waits_for_it() -> None:
    leaves = Leaves()
    x, v, w = (leaves.new(64, 64) for _ in range(3))

    assert groups(matmul(matmul(x, v), w)) == [1, 1]
    assert groups(matmul(matmul(x, v), w), matmul(w, v)) == [2, 1]


def test_what_overwrites_memory_waits_for_its_readers() -> None:
    """The copy of x and the reader of x may run together, not the reader and the writer over x."""
    leaves = Leaves()
    x, y = leaves.new(64, 64), leaves.new(64, 64)
    plan = schedule([matmul(x, y), x * 2.0 + 1.0], donated={1: 0})

    assert plan.in_place == (0,)
    assert [len(group) for group in side_by_side(plan).groups()] == [1, 1]


def test_small_launches_move_and_large_ones_stay_next_to_what_they_read() -> None:
    [copy] = schedule([Leaves().new(16) + 1.0]).launches
    sizes = [1 << 20] * 3 + [16] * 2 + [1 << 20] * 2 + [16]
    memory = tuple([Memory(Role.TEMPORARY, i, float32, size) for i, size in enumerate(sizes)])
    moves = {"a": (1, 0), "b": (2, 1), "c": (4, 3), "d": (6, 5), "e": (7, 4)}
    launches = [replace(copy, memory=places, lines=(name,)) for name, places in moves.items()]

    found = side_by_side(Plan(memory, tuple(launches), ()))

    assert ["".join(e.lines[0] for e in group) for group in found.groups()] == ["ac", "bde"]


def test_plans_without_launches_and_with_one() -> None:
    x = tensor.param(0, float32, (4,))

    assert groups(x) == []
    assert groups(x + 1.0) == [1]


@pytest.mark.parametrize("seed", range(60))
def test_launches_side_by_side_may_run_in_any_order(seed: int) -> None:
    rng = random.Random(seed)
    outputs = random_graph(rng.randrange, int32 if seed % 2 else float32, 12)
    arrays = arrays_for(outputs, seed)
    plan = schedule(outputs)
    found = side_by_side(plan)

    for group in found.groups():
        for i, one in enumerate(group):
            for other in group[:i] + group[i + 1 :]:
                for mine in writes(one):
                    for theirs in reads(other) | writes(other):
                        assert not overlap(found, mine, theirs)
    mixed = replace(found, launches=tuple([e for group in found.groups() for e in group[::-1]]))
    slots = {node.arg[0]: array for node, array in arrays.items()}
    inputs = [slots.get(i, np.zeros(0)) for i in range(max(slots, default=-1) + 1)]
    with np.errstate(all="ignore"):
        want, got = run_plan(plan, inputs), run_plan(mixed, inputs)
    for a, b in zip(want, got, strict=True):
        np.testing.assert_array_equal(a, b)


def test_who_had_the_bytes_before_is_waited_for() -> None:
    made = [Memory(Role.INPUT, 0, float32, 4)]
    for size, spot in ((32, Spot(None, 0)), (16, Spot(None, 64)), (16, Spot(None, 0))):
        made.append(Memory(Role.TEMPORARY, len(made), float32, size, spot))
    made.append(Memory(Role.OUTPUT, 0, float32, 16))
    made.append(Memory(Role.TEMPORARY, 5, float32, 16, Spot(4, 0)))
    order = [(1, 0), (2, 0), (5, 0), (3, 0), (4, 0)]
    launches = [Launch(kernel(made[i], [made[j]], 1), (i, j)) for i, j in order]

    found = former_occupants(Plan(tuple(made), tuple(launches), (4,)))

    assert {place: before for place, before in found.items() if before} == {2: [1], 3: [1], 4: [5]}
