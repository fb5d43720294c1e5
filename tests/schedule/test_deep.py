"""Long chains: nothing recurses, and time grows with the number of operations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from inkle.ir import tensor
from inkle.ir.dtype import float32
from inkle.ir.node import Node
from inkle.schedule import schedule
from tests.schedule.graphs import matmul
from tests.schedule.networks import softmax
from tests.schedule.running import check

X = tensor.param(0, float32, (16, 16))


def pointwise(y: Node, i: int) -> Node:
    return y * 0.5 + 1.0 if i % 2 else y.maximum(0.25)


def movement(y: Node, i: int) -> Node:
    return tensor.shrink(tensor.pad(tensor.permute(y, (1, 0)), ((1, 0, 0), (0, 0, 0))), 0, 0, 16)


def reshapes(y: Node, i: int) -> Node:
    mixed = tensor.permute(tensor.reshape(y, (32, 8)), (1, 0))
    return tensor.reshape(mixed, (16, 16))


def inputs(y: Node, i: int) -> Node:
    return y + tensor.param(i % 300, float32, (16, 16))


def branches(y: Node, i: int) -> Node:
    return y + tensor.flip(y, (0,))


def products(y: Node, i: int) -> Node:
    return matmul(y, X)


def rows(y: Node, i: int) -> Node:
    return softmax(y) + X


def writes(y: Node, i: int) -> Node:
    return tensor.update(y, tensor.shrink(X, 0, 0, 2), ((i % 14, i % 14 + 2, 1), (0, 16, 1)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "length", "most"),
    [
        (pointwise, 10_000, 60), (movement, 3_000, 1), (reshapes, 300, 160), (inputs, 3_000, 300),
        (branches, 3_000, 120), (products, 1_500, 1_500), (rows, 1_000, 2_000),
        (writes, 2_000, 2_001),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)  # fmt: skip
def test_long_chains(step: Callable[[Node, int], Node], length: int, most: int) -> None:
    y = X
    for i in range(length):
        y = step(y, i)

    plan = schedule([y])

    assert len(plan.launches) <= most
    # Temporaries reuse each other's bytes: what they take does not grow with the chain.
    assert plan.arena_bytes <= 16 * 256 * 4


@pytest.mark.parametrize("step", [pointwise, movement, reshapes, branches, rows, writes])
def test_chains_compute_what_they_mean(step: Callable[[Node, int], Node]) -> None:
    y = X
    for i in range(24):
        y = step(y, i)

    check([y], {X: np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)})
