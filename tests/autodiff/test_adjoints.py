"""Adjoints of the movement operations: <A x, g> = <x, Aᵀ g>, exactly, on small whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle.autodiff import gradient
from inkle.check.reference import evaluate
from inkle.ir import ops, tensor
from inkle.ir.dtype import float64, int64
from inkle.ir.node import Node
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
