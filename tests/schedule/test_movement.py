"""Movement operations as index arithmetic."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle.check.reference import evaluate
from inkle.ir import tensor
from inkle.ir.dtype import int32
from inkle.ir.loop import range_
from inkle.ir.node import Node
from inkle.rewrite.affine import single
from inkle.schedule.movement import MOVES, flatten, grouped, reindex
from tests.schedule.test_index import value


@st.composite
def shapes_of_one_size(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draw two shapes with equal products."""
    primes = draw(st.lists(st.sampled_from([2, 2, 3, 5]), min_size=0, max_size=5))

    def shape() -> tuple[int, ...]:
        sizes = [1] * draw(st.integers(1, 4))
        for prime in primes:
            sizes[draw(st.integers(0, len(sizes) - 1))] *= prime
        return tuple(sizes)

    return shape(), shape()


def loops_over(shape: tuple[int, ...]) -> list[Node]:
    return [range_(i, n) for i, n in enumerate(shape)]


@given(shapes_of_one_size())
def test_reshape_keeps_the_row_major_position(shapes: tuple[tuple[int, ...], ...]) -> None:
    old, new = shapes
    loops = loops_over(old)

    index = reindex(tuple(map(single, loops)), old, new)

    for place, point in enumerate(itertools.product(*map(range, old))):
        at = [value(each, dict(zip(loops, point))) for each in index]
        assert tuple(at) == tuple(int(i) for i in np.unravel_index(place, new))


@given(shapes_of_one_size())
def test_reshape_there_and_back_is_the_identity(shapes: tuple[tuple[int, ...], ...]) -> None:
    old, new = shapes
    loops = tuple(map(single, loops_over(old)))

    position = flatten(reindex(loops, old, new), new)

    assert value(position, {}) == 0 if prod(old) == 1 else True
    for place, point in enumerate(itertools.product(*map(range, old))):
        assert value(position, dict(zip(loops_over(old), point))) == place


def test_axes_that_split_or_merge_do_not_mix_with_others() -> None:
    groups = grouped((6, 20, 7), (2, 3, 4, 5, 7))

    assert groups == (
        (slice(0, 1), slice(0, 2)),
        (slice(1, 2), slice(2, 4)),
        (slice(2, 3), slice(4, 5)),
    )


X = tensor.param(0, int32, (3, 4))


@pytest.mark.parametrize(
    "node",
    [
        tensor.permute(X, (1, 0)),
        tensor.flip(X, (1,)),
        tensor.slice_(X, ((0, 3, 2), (1, 4, 1))),
        tensor.pad(X, ((1, 2, 0), (0, 1, 2))),
        tensor.shear(X, 0, 1, 1),
        tensor.shear(X, 1, 0, -2),
        tensor.expand(tensor.reshape(tensor.param(0, int32, (3,)), (3, 1)), (3, 5)),
    ],
    ids=lambda node: node.op.name,
)
def test_movement_reads_what_numpy_moves(node: tensor.Node) -> None:
    source = node.src[0]
    data = np.arange(1, prod(source.shape) + 1, dtype=np.int32).reshape(source.shape)
    leaf = node
    while leaf.src:
        leaf = leaf.src[0]
    [expected] = evaluate([node], {leaf: data.reshape(leaf.shape)})
    loops = loops_over(node.shape)

    index, gate = MOVES[node.op](node, tuple(map(single, loops)))

    for point in itertools.product(*map(range, node.shape)):
        at = dict(zip(loops, point))
        holds = all(
            value(c.value, at) >= 0 if c.modulus is None else value(c.value, at) % c.modulus == 0
            for c in gate
        )
        got = data[tuple(value(each, at) for each in index)] if holds else 0
        assert got == expected[point]
