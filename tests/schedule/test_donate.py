"""Outputs over inputs: what is allowed, what is refused, and that results stay the same."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.check.plans import run_plan
from inkle.check.reference import evaluate
from inkle.ir import ops, tensor
from inkle.ir.dtype import float32, int32
from inkle.ir.node import Node
from inkle.ir.plan import Plan, Role
from inkle.schedule import schedule
from inkle.schedule.donate import overwrite_at_peak
from inkle.schedule.lives import Lives
from tests.schedule.graphs import matmul
from tests.schedule.plans import random_plan, results

SHAPE = (6, 8)


def inputs(*shapes: tuple[int, ...]) -> tuple[list[Node], dict[Node, np.ndarray]]:
    random = np.random.default_rng(0)
    nodes = [tensor.param(i, float32, shape) for i, shape in enumerate(shapes)]
    arrays = {node: random.normal(size=node.shape).astype(np.float32) for node in nodes}
    return nodes, arrays


def check(outputs: list[Node], arrays: dict[Node, np.ndarray], wanted: dict[int, int]) -> Plan:
    """Donate, run on the interpreter, compare; return the plan."""
    expected = evaluate(outputs, arrays)
    plan = schedule(outputs, donated=wanted)
    found = run_plan(plan, [array.copy() for array in arrays.values()])
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got.reshape(want.shape), want, rtol=1e-5, atol=1e-5)
    return plan


def test_an_elementwise_update_is_written_over_its_input() -> None:
    (x, g), arrays = inputs(SHAPE, SHAPE)

    plan = check([x - g * 0.1], arrays, {0: 0})

    assert plan.in_place == (0,)
    assert len(plan.memory) == 2
    assert plan.launches[0].memory == (plan.outputs[0], 1)


def test_an_update_inside_a_contraction() -> None:
    (w, a, b), arrays = inputs((6, 4), (6, 5), (5, 4))

    plan = check([w - matmul(a, b) * 0.5], arrays, {0: 0})

    assert plan.in_place == (0,)


def test_adam_writes_over_three_states_in_one_kernel() -> None:
    (p, m, v, g), arrays = inputs(SHAPE, SHAPE, SHAPE, SHAPE)
    arrays[v] = abs(arrays[v])
    new_m, new_v = m * 0.9 + g * 0.1, v * 0.99 + g * g * 0.01

    plan = check([p - new_m / (new_v.sqrt() + 1e-8), new_m, new_v], arrays, {0: 0, 1: 1, 2: 2})

    assert plan.in_place == (0, 1, 2)
    assert len(plan.launches) == 1


def test_a_row_of_a_cache_costs_a_row() -> None:
    (cache, row), arrays = inputs((64, 8), (1, 8))

    plan = check([tensor.update(cache, row, ((3, 4, 1), (0, 8, 1)))], arrays, {0: 0})

    assert plan.in_place == (0,)
    [launch] = plan.launches
    assert [r.src[0].arg for r in launch.kernel.ranges()] == [8]


def test_values_scattered_into_an_input() -> None:
    (table, values), arrays = inputs((5, 4), (3, 4))
    rows = tensor.param(2, int32, (3,))
    arrays[rows] = np.array([4, 1, 4], np.int32)
    where = tensor.expand(tensor.reshape(rows, (3, 1)), (3, 4))
    plan = check([tensor.scatter(table, values, [where], [-1, 1], ops.ADD)], arrays, {0: 0})

    assert plan.in_place == (0,)


@pytest.mark.parametrize("case", ["flip", "other shape", "unchanged", "twice", "later", "swap"])
def test_what_is_not_safe_stays_apart(case: str) -> None:
    (x, y), arrays = inputs(SHAPE, SHAPE)
    wanted = {0: 0}
    outputs = {
        "flip": [tensor.flip(x, (0,)) + x],
        "other shape": [tensor.slice_(x, ((0, 3, 1), (0, 8, 1))) * 2.0],
        "unchanged": [x * 2.0, x],
        "twice": [x * 2.0, x * 2.0],
        # the product reads all of x, and may only run once the sum is known
        "later": [x + 1.0, matmul(x, tensor.permute(x + 1.0, (1, 0)))],
        "swap": [y + 1.0, x + 2.0],
    }[case]
    if case == "swap":
        wanted = {0: 0, 1: 1}

    plan = check(outputs, arrays, wanted)

    assert len(plan.in_place) < len(wanted)


def test_inputs_that_nothing_reads_are_left_alone() -> None:
    (_, y), arrays = inputs(SHAPE, SHAPE)

    assert check([y * 2.0], arrays, {0: 0}).in_place == ()
    assert check([y * 2.0], arrays, {0: 7}).in_place == ()


def test_a_value_at_the_peak_is_written_over_what_dies_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inkle.schedule.donate.FROM_BYTES", 0)
    (x, w), arrays = inputs((64, 64), (64, 64))
    scores = matmul(x, w)
    rows = tensor.contiguous(tensor.reduce(scores, ops.ADD, (1,)))
    plain = tensor.expand(tensor.reshape(rows, (64, 1)), (64, 64))

    plan = check([matmul(tensor.contiguous(scores - plain), w)], arrays, {})

    assert sum(memory.role is Role.TEMPORARY and memory.size == 4096 for memory in plan.memory) == 1


@pytest.mark.parametrize("seed", range(40))
def test_random_plans_with_values_written_over_others(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inkle.schedule.donate.FROM_BYTES", 0)
    plan = random_plan(seed)

    found = overwrite_at_peak(plan)

    assert results(found) == results(plan)
    assert Lives(found).peak_bytes <= Lives(plan).peak_bytes


def test_some_random_plans_need_less_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inkle.schedule.donate.FROM_BYTES", 0)

    lower = [overwrite_at_peak(plan) is not plan for plan in map(random_plan, range(40))]

    assert sum(lower) > 5


def test_what_is_stored_beside_a_value_is_not_what_dies_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inkle.schedule.donate.FROM_BYTES", 0)
    [x], arrays = inputs((3, 2, 7, 5))

    check([tensor.contiguous(tensor.flip(x, (0, 3))).apply(ops.CEIL)], arrays, {})
