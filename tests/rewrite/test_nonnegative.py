"""What is proved never to be negative is never negative; and what kernels need is proved."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle.check.numpy_algebra import to_array
from inkle.check.reference import evaluate
from inkle.ir.dtype import index
from inkle.ir.loop import range_
from inkle.ir.node import Node, const
from inkle.ir.size import variable
from inkle.rewrite.affine import affine_of
from inkle.rewrite.nonnegative import is_nonnegative

n, m = variable("n", 1, 5), variable("m", 2, 4)
N, M = n.index_node(), m.index_node()
i, j = range_(0, n), range_(1, m)


def proved(node: Node, *facts: Node) -> bool:
    return is_nonnegative(affine_of(node), [affine_of(fact) for fact in facts])


@pytest.mark.parametrize(
    "node",
    [
        N * M - 1 - (i * M + j),
        N - 1 - i,
        i * M + j,
        (N - 1 - i) * M + j,
        N * 784 - 1 - (i * 784 + range_(2, 784)),
        N - 1 - (N - 1).minimum(range_(3, 7)),
        (N - 4).maximum(0).minimum(i),
        N * M - N,
        N - (N // 2) * 2,
        N - 1 - (range_(4, N.truncdiv(4)) * 4 + range_(5, 4)),
    ],
)
def test_what_kernels_need_is_proved(node: Node) -> None:
    assert proved(node)


def test_rows_of_a_tile_in_a_chunk_are_inside() -> None:
    size = variable("size", 1, 700)
    s = size.index_node()
    batch, chunk = range_(4, 4), range_(5, (s + 19).truncdiv(20))
    left = (s - chunk * 20).minimum(20)
    tile, copy = range_(14, (left + 1).truncdiv(2)), range_(15, 2)
    row = chunk * 20 + ((tile * 2).minimum(left - 2).maximum(0) + copy).minimum(left - 1)
    rest = range_(9, (s - s.truncdiv(4) * 4).minimum(3))
    at = s * s * batch + s * row + s.truncdiv(4) * 4 + rest

    assert proved(at)
    assert proved(s * s * 4 - 1 - at)
    assert not proved(s * s * 4 - 2 - at)


def test_gates_are_used() -> None:
    lane = range_(3, 8)

    assert not proved(N - 1 - lane)
    assert proved(N - 1 - lane, N - 1 - lane)
    assert proved(N * 3 - 3 - lane * 3, N - 1 - lane)


@pytest.mark.parametrize("node", [N - 2, N - 2 - i, M - N, N * M - 2 - (i * M + j), i - 1])
def test_what_is_negative_somewhere_is_not_proved(node: Node) -> None:
    assert not proved(node)


def sums() -> st.SearchStrategy[Any]:
    atoms = st.sampled_from([N, M, i, j, N * M, i * M, j * N, (N - 2).minimum(M), N // 2])
    return st.lists(st.tuples(atoms, st.integers(-3, 3)), min_size=1, max_size=4)


@given(sums(), st.integers(-4, 8))
def test_proofs_hold_for_all_values(terms: Any, constant: int) -> None:
    total = const(constant, index)
    for atom, k in terms:
        total = total + atom * k

    if proved(total):
        for a, b in itertools.product(range(1, 6), range(2, 5)):
            for x, y in itertools.product(range(a), range(b)):
                values = {N: a, M: b, i: x, j: y}
                leaves = {leaf: to_array(value, index) for leaf, value in values.items()}
                assert evaluate((total,), leaves)[0] >= 0, values
