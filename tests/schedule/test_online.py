"""Reductions that depend on an earlier one over the same row, in pieces of long rows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import inf, nan

import numpy as np
import pytest

from inkle import Context
from inkle.check.plans import run_plan
from inkle.ir import ops, tensor
from inkle.ir.dtype import float32, float64
from inkle.ir.node import Node
from inkle.ir.op import Op
from inkle.schedule import Facts, schedule
from inkle.schedule.online import in_one_pass

SMALL = Facts(row_bytes=8, chunk=2)  # rows of more than two numbers go in pieces of two
AXES = (1,)


def top_of(x: Node) -> Node:
    return tensor.reduce(x, ops.MAXIMUM, AXES)


def or_zero(top: Node) -> Node:
    return (top.abs() < inf).where(top, 0)


def exponentials(x: Node, value: Node) -> Node:
    return tensor.reduce((x - tensor.unreduce(value, x.shape, AXES)).exp(), ops.ADD, AXES)


def mean_of(x: Node) -> Node:
    return tensor.reduce(x, ops.ADD, AXES) / x.shape[1]


def squares(x: Node, value: Node) -> Node:
    distance = x - tensor.unreduce(value, x.shape, AXES)
    return tensor.reduce(distance * distance, ops.ADD, AXES)


def run(outputs: list[Node], arrays: list[np.ndarray], facts: Facts = SMALL) -> list[np.ndarray]:
    with Context(INKLE_CHECK=True):
        plan = schedule(outputs, facts=facts)
    with np.errstate(all="ignore"):
        found = run_plan(plan, arrays)
    return [got.reshape(node.shape) for got, node in zip(found, outputs, strict=True)]


def is_changed(outputs: list[Node]) -> bool:
    return list(in_one_pass(outputs, SMALL)) != outputs


@pytest.mark.parametrize("reference", [lambda top: top, or_zero], ids=["max", "max or zero"])
def test_exponentials_are_right_for_every_row_of_four_edge_values(
    reference: Callable[[Node], Node],
) -> None:
    values = [-inf, -800.0, -1.0, 0.0, 2.0, 800.0, inf, nan]
    rows = np.array(list(product(values, repeat=4)), np.float32)
    x = tensor.param(0, float32, rows.shape)
    outputs = [top_of(x), exponentials(x, reference(top_of(x)))]

    assert is_changed(outputs)
    top, total = run(outputs, [rows])

    with np.errstate(all="ignore"):
        wide = rows.astype(np.float64)
        largest = wide.max(1, keepdims=True)
        if reference is or_zero:
            largest = np.where(np.abs(largest) < inf, largest, 0)
        terms = np.exp(wide - largest)
        terms[terms > 3.4e38] = inf
        want = terms.sum(1)
    np.testing.assert_array_equal(top, rows.max(1))
    np.testing.assert_allclose(total, want, rtol=1e-6)


@pytest.mark.parametrize("shape", [(3, 6), (1, 48), (5, 40)])
def test_squares_are_right_for_random_rows(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(0).normal(1000.0, 1.0, shape)
    x = tensor.param(0, float64, shape)
    outputs = [squares(x, mean_of(x)), mean_of(x)]

    assert is_changed(outputs)
    found, mean = run(outputs, [rows], Facts(row_bytes=8, chunk=4))

    np.testing.assert_allclose(found, ((rows - rows.mean(1, keepdims=True)) ** 2).sum(1), rtol=1e-9)
    np.testing.assert_allclose(mean, rows.mean(1), rtol=1e-12)


def test_squares_of_rows_that_are_not_finite_are_nan() -> None:
    rows = np.array([[1, 2, inf, 4], [nan, 1, 1, 1], [-inf, 1, inf, 1], [1, 2, 3, 4]], np.float32)
    x = tensor.param(0, float32, rows.shape)

    (found,) = run([squares(x, mean_of(x))], [rows])

    np.testing.assert_array_equal(found, [nan, nan, nan, 5.0])


def test_several_axes_and_more_users_of_the_maximum() -> None:
    values = np.random.default_rng(1).normal(size=(2, 3, 8)).astype(np.float32)
    x = tensor.param(0, float32, values.shape)
    top = tensor.reduce(x, ops.MAXIMUM, (1, 2))
    e = (x - tensor.unreduce(top, x.shape, (1, 2))).exp()
    total = tensor.reduce(e, ops.ADD, (1, 2))
    outputs = [e / tensor.unreduce(total, x.shape, (1, 2)), top + total.log()]

    assert is_changed(outputs)
    weights, both = run(outputs, [values])

    terms = np.exp(values.astype(np.float64))
    np.testing.assert_allclose(weights, terms / terms.sum((1, 2), keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(both, np.log(terms.sum((1, 2))), rtol=1e-5)


def places(x: Node, top: Node, *, nan_counts: bool = True) -> Node:
    found = x.eq(tensor.unreduce(top, x.shape, AXES))
    found = found | x.ne(x) if nan_counts else found
    row = tensor.expand(tensor.reshape(tensor.arange(x.shape[1]), (1, x.shape[1])), x.shape)
    return tensor.reduce(found.where(row, x.shape[1]), ops.MINIMUM, AXES)


@pytest.mark.parametrize("op", [ops.MAXIMUM, ops.MINIMUM], ids=["argmax", "argmin"])
def test_places_of_extremes_are_right_for_every_row_of_four_edge_values(op: Op) -> None:
    rows = np.array(list(product([-inf, -1.0, 0.0, 2.0, inf, nan], repeat=4)), np.float32)
    x = tensor.param(0, float32, rows.shape)
    top = tensor.reduce(x, op, AXES)
    outputs = [top, places(x, top), places(x, top, nan_counts=False)]

    assert is_changed(outputs)
    extreme, place, plain = run(outputs, [rows])

    want = rows.argmax(1) if op is ops.MAXIMUM else rows.argmin(1)
    np.testing.assert_array_equal(extreme, rows.max(1) if op is ops.MAXIMUM else rows.min(1))
    np.testing.assert_array_equal(place, want)
    np.testing.assert_array_equal(plain, np.where(np.isnan(rows).any(1), 4, want))


LOOK_ALIKES: dict[str, Callable[[Node, Node], Node]] = {
    "the maximum of something else": lambda x, y: exponentials(y, top_of(x)),
    "the maximum of a multiple": lambda x, y: exponentials(x * 2.0, top_of(x)),
    "a minimum": lambda x, y: exponentials(x, tensor.reduce(x, ops.MINIMUM, AXES)),
    "half of the maximum": lambda x, y: exponentials(x, top_of(x) * 0.5),
    "a product": lambda x, y: tensor.reduce(
        (x - tensor.unreduce(top_of(x), x.shape, AXES)).exp(), ops.MUL, AXES
    ),
    "the other way round": lambda x, y: tensor.reduce(
        (tensor.unreduce(top_of(x), x.shape, AXES) - x).exp(), ops.ADD, AXES
    ),
    "along the other axis": lambda x, y: tensor.reduce(
        (x - tensor.expand(tensor.reshape(top_of(x), (1, 4)), (4, 4))).exp(), ops.ADD, AXES
    ),
    "the mean of something else": lambda x, y: squares(y, mean_of(x)),
    "a sum over too many": lambda x, y: squares(x, tensor.reduce(x, ops.ADD, AXES) / 5),
    "the place in something else": lambda x, y: places(y, top_of(x)),
    "a product of two distances": lambda x, y: tensor.reduce(
        (x - tensor.unreduce(mean_of(x), x.shape, AXES))
        * (y - tensor.unreduce(mean_of(y), y.shape, AXES)),
        ops.ADD,
        AXES,
    ),
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_only_looks_alike_is_refused(name: str) -> None:
    x, y = tensor.param(0, float32, (4, 4)), tensor.param(1, float32, (4, 4))

    assert not is_changed([LOOK_ALIKES[name](x, y)])


@pytest.mark.parametrize("facts", [Facts(), Facts(row_bytes=8, chunk=48)], ids=["short", "prime"])
def test_rows_in_cache_and_rows_that_cannot_be_cut_stay_whole(facts: Facts) -> None:
    x = tensor.param(0, float32, (4, 997))
    outputs = [exponentials(x, top_of(x))]

    assert list(in_one_pass(outputs, facts)) == outputs


def test_a_long_row_is_read_by_one_kernel() -> None:
    x = tensor.param(0, float32, (4, 1 << 20))

    plan = schedule([exponentials(x, top_of(x))])

    reads = [kernel for kernel in plan.launches if 0 in kernel.memory]
    assert len(reads) == 1
