"""Adjoints of the movement operations: <A x, g> = <x, Aᵀ g>, exactly, on small whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle.autodiff import gradient
from inkle.autodiff.adjoints import sum_of_products
from inkle.check.reference import evaluate
from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import float16, float64, int64
from inkle.ir.node import Node, const, toposort
from inkle.ir.spec import check_tensor

CASES = {
    "reshape": ((2, 6), lambda x: tensor.reshape(x, (3, 4))),
    "reshape of nothing": ((0, 3), lambda x: tensor.reshape(x, (3, 0))),
    "reshape of a number": ((), lambda x: tensor.reshape(x, (1, 1))),
    "permute": ((2, 3, 4), lambda x: tensor.permute(x, (2, 0, 1))),
    "expand": ((1, 3, 1), lambda x: tensor.expand(x, (4, 3, 2))),
    "expand to nothing": ((1, 3), lambda x: tensor.expand(x, (0, 3))),
    "slice": ((7, 5), lambda x: tensor.slice_(x, [(1, 6, 2), (0, 5, 4)])),
    "slice, last step does not fit": ((8,), lambda x: tensor.slice_(x, [(1, 8, 3)])),
    "slice of nothing with a step": ((7, 3), lambda x: tensor.slice_(x, [(5, 5, 3), (0, 3, 2)])),
    "slice of an empty tensor": ((0, 3), lambda x: tensor.slice_(x, [(0, 0, 2), (1, 3, 1)])),
    "slice of one element": ((5,), lambda x: tensor.slice_(x, [(4, 5, 1)])),
    "pad": ((3, 2), lambda x: tensor.pad(x, [(1, 2, 0), (0, 1, 0)])),
    "pad with an interior": ((3, 2), lambda x: tensor.pad(x, [(1, 0, 2), (2, 1, 1)])),
    "pad of nothing": ((0, 2), lambda x: tensor.pad(x, [(2, 1, 0), (0, 0, 3)])),
    "pad of one element with an interior": ((1,), lambda x: tensor.pad(x, [(1, 1, 5)])),
    "flip": ((3, 4), lambda x: tensor.flip(x, (0, 1))),
    "shear": ((5, 3), lambda x: tensor.shear(x, 0, 1, 1)),
    "shear backwards": ((5, 3), lambda x: tensor.shear(x, 1, 0, -2)),
    "shear of nothing": ((0, 3), lambda x: tensor.shear(x, 0, 1, 1)),
    "sum": ((3, 4, 2), lambda x: tensor.reduce(x, ops.ADD, (0, 2))),
    "sum of nothing": ((3, 0), lambda x: tensor.reduce(x, ops.ADD, (1,))),
    "sum over ones": ((1, 3, 1), lambda x: tensor.reduce(x, ops.ADD, (0, 2))),
    "cat": ((3, 2), lambda x: tensor.cat([x, tensor.flip(x, (0,)), x], 1)),
    "update, base": ((5, 3), lambda x: tensor.update(x, _constant((2, 2)) * 0.0,
                                                     [(1, 4, 2), (0, 2, 1)])),
    "update, values": ((2, 2), lambda x: tensor.update(_constant((5, 3)) * 0.0, x,
                                                       [(1, 4, 2), (0, 2, 1)])),
    "contiguous": ((2, 3), lambda x: tensor.contiguous(x)),
    "gather": ((4, 3), lambda x: tensor.gather(x, [_index([[0, 9], [-1, 0]])], (-1, 1))),
    "gather from nothing": ((0, 3), lambda x: tensor.gather(x, [_index([[0, 9]])], (-1, 1))),
    "gather along two": ((4, 3), lambda x: tensor.gather(x, [_index([1, 1]), _index([2, 2])],
                                                         (-1, -2))),
    "scatter add, base": ((4,), lambda x: tensor.scatter(x, _constant((3,)) * 0.0,
                                                         [_index([0, 0, 9])], (-1,), ops.ADD)),
    "scatter add, values": ((3,), lambda x: tensor.scatter(_constant((4,)) * 0.0, x,
                                                           [_index([0, 0, 9])], (-1,), ops.ADD)),
    "scatter, base": ((4,), lambda x: tensor.scatter(x, _constant((3,)) * 0.0,
                                                     [_index([0, 0, 2])], (-1,), None)),
    "scatter, values": ((3,), lambda x: tensor.scatter(_constant((4,)) * 0.0, x,
                                                       [_index([0, 0, -2])], (-1,), None)),
    "window": ((9, 2), lambda x: tensor.shrink(tensor.shear(tensor.expand(
        tensor.reshape(x, (9, 1, 2)), (9, 3, 2)), 0, 1, 2), 0, 0, 5, 2)),
}  # fmt: skip


def _constant(shape: tuple[int, ...]) -> Node:
    return tensor.full(1.0, float64, shape)


def _index(values: list) -> Node:
    """Return integers, built from an arange so that no leaf is needed."""
    array = np.array(values)
    parts = [tensor.full(int(v), int64, (1,)) for v in array.reshape(-1)]
    return tensor.reshape(tensor.cat(parts, 0), array.shape)


def _whole(shape, seed):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float64)


def _check_adjoint(x: Node, out: Node) -> None:
    """Compare both sides of <A x, g> = <x, Aᵀ g>."""
    g = tensor.buffer(float64, out.shape)
    (gx,) = gradient([out], [g], [x])
    assert gx is not None
    assert (gx.shape, gx.dtype) == (x.shape, x.dtype)
    check_tensor([out, gx])
    values = {x: _whole(x.shape, 1), g: _whole(out.shape, 2)}
    image, back = evaluate([out, gx], values)
    assert (image * values[g]).sum() == (values[x] * back).sum()


@pytest.mark.parametrize("name", CASES)
def test_adjoint_of(name):
    shape, function = CASES[name]
    x = tensor.buffer(float64, shape)

    _check_adjoint(x, function(x))


def _repeated(values: Node, shape: tuple[int, ...]) -> Node:
    return tensor.expand(tensor.reshape(values, (1, *values.shape)), shape)


def test_sum_of_products_keeps_constant_factors_outside():
    """s and v do not depend on the axis that is summed: what is summed depends on neither."""
    g, d = tensor.buffer(float64, (5, 3)), tensor.buffer(float64, (5, 3))
    s, v = tensor.buffer(float64, (3,)), tensor.buffer(float64, (3,))
    whole = g * _repeated(s, g.shape) + -(_repeated(v, g.shape) * d)

    out = sum_of_products(whole, (0,))

    sums = [node for node in toposort([out]) if node.op is forms.REDUCE]
    assert [node.src[0] for node in sums] == [g, d]
    values = {x: _whole(x.shape, i) for i, x in enumerate((g, d, s, v))}
    expected = (values[g] * values[s] - values[d] * values[v]).sum(0)
    np.testing.assert_array_equal(evaluate([out], values)[0], expected)


def test_sum_of_products_of_numbers():
    s = tensor.buffer(float64, (3,))

    out = sum_of_products(const(2.0, float64) * _repeated(s, (5, 3)), (0,))

    np.testing.assert_array_equal(evaluate([out], {s: np.arange(3.0)})[0], 10 * np.arange(3.0))


def test_sum_of_products_is_one_sum_where_a_term_has_no_constant_factor():
    g, d = tensor.buffer(float64, (5, 3)), tensor.buffer(float64, (5, 3))
    whole = g * _repeated(tensor.buffer(float64, (3,)), g.shape) + d * g

    assert sum_of_products(whole, (0,)).src[0] is whole


@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_sum_of_products_drops_no_nan(special):
    g, s = tensor.buffer(float64, (4, 3)), tensor.buffer(float64, (3,))
    values = {g: np.ones((4, 3)), s: np.array([special, 1.0, -special])}
    values[g][2, 1] = special

    (found,) = evaluate([sum_of_products(g * _repeated(s, g.shape), (0,))], values)

    np.testing.assert_array_equal(found, (values[g] * values[s]).sum(0))


def test_sum_of_products_in_half_precision_does_not_overflow():
    """100,000 ones are more than float16 holds; a hundredth of them is not."""
    g, s = tensor.full(1.0, float16, (100_000, 1)), tensor.buffer(float16, (1,))

    (found,) = evaluate(
        [sum_of_products(g * _repeated(s, g.shape), (0,))], {s: np.array([0.01], np.float16)}
    )

    assert found.dtype == np.float16
    np.testing.assert_allclose(found.astype(float), 1000, rtol=1e-3)


@given(st.data())
def test_adjoint_of_random_chains_of_movement(data):
    rank = data.draw(st.integers(1, 3))
    shape = tuple(data.draw(st.integers(0, 4)) for _ in range(rank))
    x = out = tensor.buffer(float64, shape)
    for _ in range(data.draw(st.integers(1, 6))):
        out = _random_movement(data, out)

    _check_adjoint(x, out)


def _random_movement(data, x):
    rank = len(x.shape)
    kind = data.draw(
        st.sampled_from(
            ["slice", "pad", "flip", "shear", "permute", "expand", "sum", "cat", "merge"]
        )
    )
    axis = data.draw(st.integers(0, max(0, rank - 1)))
    if not rank:
        return tensor.reshape(x, (1,))
    n = x.shape[axis]
    if kind == "slice":
        start = data.draw(st.integers(0, n))
        return tensor.shrink(
            x, axis, start, data.draw(st.integers(0, n)), data.draw(st.integers(1, 3))
        )
    if kind == "pad":
        widths = [(0, 0, 0)] * rank
        widths[axis] = tuple(data.draw(st.integers(0, 2)) for _ in range(3))
        return tensor.pad(x, widths)
    if kind == "flip":
        return tensor.flip(x, (axis,))
    if kind == "shear" and rank > 1:
        return tensor.shear(x, axis, (axis + 1) % rank, data.draw(st.integers(-2, 2)))
    if kind == "permute":
        return tensor.permute(x, data.draw(st.permutations(range(rank))))
    if kind == "expand" and rank < 4:
        ones = tensor.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))
        return tensor.expand(ones, (*x.shape[:axis], data.draw(st.integers(0, 3)), *x.shape[axis:]))
    if kind == "sum":
        return tensor.reduce(x, ops.ADD, (axis,))
    if kind == "cat":
        return tensor.cat([x, tensor.flip(x, (axis,))], axis)
    return tensor.reshape(x, (int(np.prod(x.shape)),))
