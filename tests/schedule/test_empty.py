"""Axes of length 0 and reductions over nothing, for every operation."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.ir import ops, tensor
from inkle.ir.dtype import float32, int32
from inkle.ir.node import Node
from tests.schedule.graphs import matmul
from tests.schedule.running import check

NONE = tensor.param(0, float32, (0, 3))
SOME = tensor.param(1, float32, (2, 3))
IDS = tensor.param(2, int32, (2, 3))
NO_IDS = tensor.param(3, int32, (0, 3))
WIDE = tensor.param(4, float32, (3, 0))
NO_ROWS = tensor.param(5, float32, (0, 3))

GRAPHS: dict[str, Node] = {
    "pointwise": NONE * 2.0 + NONE,
    "reshape": tensor.reshape(NONE, (3, 0, 7)),
    "permute": tensor.permute(NONE, (1, 0)),
    "expand": tensor.expand(tensor.reshape(NONE, (0, 1, 3)), (0, 4, 3)),
    "expand to nothing": tensor.expand(tensor.reshape(SOME, (2, 1, 3)), (2, 0, 3)),
    "slice to nothing": tensor.shrink(SOME, 0, 1, 1),
    "slice of nothing": tensor.shrink(NONE, 1, 0, 2),
    "pad": tensor.pad(NONE, ((2, 1, 0), (0, 0, 0))),
    "pad with interior": tensor.pad(NONE, ((2, 1, 3), (1, 0, 1))),
    "flip": tensor.flip(NONE, (0, 1)),
    "shear": tensor.shear(NONE, 0, 1, 1),
    "sum": tensor.reduce(NONE, ops.ADD, (0,)),
    "maximum": tensor.reduce(NONE, ops.MAXIMUM, (0,)),
    "product": tensor.reduce(NONE, ops.MUL, (0, 1)),
    "sum to nothing": tensor.reduce(NONE, ops.ADD, (1,)),
    "sum of sums": tensor.reduce(tensor.reduce(NONE, ops.ADD, (0,)), ops.ADD, (0,)),
    "matmul inside": matmul(WIDE, NONE),
    "matmul outside": matmul(NONE, WIDE),
    "gather from nothing": tensor.gather(NONE, [IDS], (-1, 1)),
    "gather nothing": tensor.gather(SOME, [NO_IDS], (-1, 1)),
    "scatter nothing": tensor.scatter(SOME, NONE, [NO_IDS], (-1, 1), ops.ADD),
    "scatter into nothing": tensor.scatter(NONE, SOME, [IDS], (-1, 1), ops.ADD),
    "cat": tensor.cat([NONE, SOME, NONE], 0),
    "cat of nothing": tensor.cat([NONE, NONE], 0),
    "update with nothing": tensor.update(SOME, NO_ROWS, ((1, 1, 1), (0, 3, 1))),
    "update of nothing": tensor.update(NONE, NONE, ((0, 0, 1), (0, 3, 1))),
    "contiguous": tensor.contiguous(NONE + 1.0),
    "used again": tensor.pad(NONE + 1.0, ((1, 1, 0), (0, 0, 0))) + SOME,
    "arange": tensor.arange(0, int32),
    "mean of nothing": tensor.reduce(NONE, ops.ADD, (0, 1)) / 0.0,
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_empty_axes(name: str) -> None:
    node = GRAPHS[name]
    leaves = (NONE, SOME, IDS, NO_IDS, WIDE, NO_ROWS)
    arrays = {
        leaf: np.ones(leaf.shape, np.int32 if leaf.dtype is int32 else np.float32)
        for leaf in leaves
    }

    plan = check([node], arrays)

    if 0 in node.shape:
        assert not plan.launches
