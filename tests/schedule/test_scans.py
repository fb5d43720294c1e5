"""Loops over time: right on all cost models, in no more memory than they need."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.autodiff import gradient
from inkle.ir import ops, scan, tensor
from inkle.ir.dtype import float32
from inkle.ir.node import Node, elementwise
from inkle.ir.plan import Repeat, Role, kernel_calls
from inkle.ir.scan import RING, Recurrence
from inkle.schedule import schedule
from tests.schedule.running import FACTS, check

B, H = 3, 4


def product(a: Node, b: Node) -> Node:
    rows = tensor.expand(tensor.reshape(a, (B, H, 1)), (B, H, H))
    columns = tensor.expand(tensor.reshape(b, (1, H, H)), (B, H, H))
    return tensor.reduce(rows * columns, ops.ADD, (1,))


def rnn(steps: int, *, is_reversed: bool = False) -> tuple[tuple[Node, ...], Recurrence]:
    h, x, w = (tensor.param(i, float32, shape) for i, shape in enumerate(((B, H), (B, H), (H, H))))
    new = elementwise(ops.TANH, (product(h, w) + x,))
    shapes = (B, H), (steps, B, H), (H, H)
    src = tuple(tensor.param(i, float32, shape) for i, shape in enumerate(shapes))
    return src, Recurrence((new,), 1, steps, is_reversed)


def data(nodes):
    rng = np.random.default_rng(1)
    return {node: rng.standard_normal(node.shape).astype(np.float32) for node in nodes}


def wanted(steps: int, *, is_reversed: bool = False) -> dict[str, Node]:
    src, r = rnn(steps, is_reversed=is_reversed)
    last = scan.last_of(r, scan.carry(src, r, 0, RING))
    return {
        "last": last,
        "all": scan.after(r, scan.history(src, r, 0)),
        "before": scan.before(r, scan.history(src, r, 0)),
        "inside": scan.stack(src, r, r.following[0].src[0]),
        "an input": scan.stack(src, r, tensor.param(1, float32, (B, H))),
        "used": tensor.reduce(scan.after(r, scan.history(src, r, 0)) * 2.0, ops.ADD, (0,)) + last,
    }


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("facts", FACTS)
def test_results_together_and_alone(steps, is_reversed, facts):
    results = wanted(steps, is_reversed=is_reversed)
    src, _ = rnn(steps)
    arrays = data(src)
    for nodes in [[each] for each in results.values()] + [list(results.values())]:
        plan = check(nodes, arrays, facts)
        is_loop = steps > 1 and nodes != [results["an input"]]
        assert sum(isinstance(each, Repeat) for each in plan.launches) == is_loop


@pytest.mark.parametrize("is_reversed", [False, True])
def test_gradients_run(is_reversed):
    results = wanted(5, is_reversed=is_reversed)
    src, _ = rnn(5)
    loss = tensor.reduce(results["used"], ops.ADD, (0, 1))
    grads = gradient([loss], [tensor.full(1, float32, ())], list(src))
    plan = check([loss, *grads], data(src))

    assert sum(isinstance(each, Repeat) for each in plan.launches) == 2


def temporaries(plan) -> int:
    return sum(m.size for m in plan.memory if m.role is Role.TEMPORARY)


def test_a_fold_keeps_two_states_however_many_steps():
    def room(steps):
        return temporaries(schedule([wanted(steps)["last"]]))

    assert room(4) == room(4000) <= 3 * B * H


def test_one_kernel_per_step_and_none_but_that():
    plan = schedule([wanted(100)["all"]])

    assert [times for _, times in kernel_calls(plan.launches)] in ([1, 100], [1, 100, 1])


def test_a_value_is_carried_in_one_array():
    results = wanted(100)
    plan = schedule([results["all"], results["last"]])

    assert temporaries(plan) <= 101 * B * H


def test_memory_of_a_step_is_reused_by_the_next():
    src, r = rnn(50)
    deep = r.following[0]
    for _ in range(3):
        deep = elementwise(ops.TANH, (product(deep, tensor.param(2, float32, (H, H))),))
    plan = schedule([scan.last_of(r, scan.carry(src, Recurrence((deep,), 1, 50), 0, RING))])

    assert temporaries(plan) <= 6 * B * H
