"""Axes of length 0 and reductions over nothing, for every operation."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.ir import ops, scan, tensor
from inkle.ir.dtype import float32, int32
from inkle.ir.node import Node
from inkle.ir.scan import RING, Recurrence
from tests.schedule.graphs import matmul
from tests.schedule.running import check

NONE = tensor.param(0, float32, (0, 3))
SOME = tensor.param(1, float32, (2, 3))
IDS = tensor.param(2, int32, (2, 3))
NO_IDS = tensor.param(3, int32, (0, 3))
WIDE = tensor.param(4, float32, (3, 0))
NO_ROWS = tensor.param(5, float32, (0, 3))


def loops() -> dict[str, Node]:
    """Loops over time in which something has no elements."""
    s, none = (tensor.param(0, float32, shape) for shape in ((3,), (0, 3)))
    start = tensor.reshape(tensor.shrink(SOME, 0, 0, 1), (3,))
    zeros = tensor.reduce(tensor.param(1, float32, (0, 3)), ops.ADD, (0,))
    row = tensor.param(1, float32, (3,))
    shared = Recurrence((s + zeros,), 0, 2)
    two = Recurrence((s + 1.0, tensor.param(1, float32, (0, 3))), 0, 2)
    alone = Recurrence((none,), 0, 3)
    rows = Recurrence((s * 2.0 + tensor.pad(tensor.param(1, float32, (0,)), ((1, 2, 0),)),), 1, 2)
    return {
        "shared by a loop": scan.history((start, NONE), shared, 0),
        "computed, and shared by a loop": scan.history((start, NONE * 2.0), shared, 0),
        "carried beside": scan.history((start, NONE), two, 0),
        "carried": scan.carry((start, NONE), two, 1, RING),
        "carried unchanged": scan.history((NONE,), alone, 0),
        "made in a step": scan.stack(
            (start, SOME), Recurrence((s + row,), 1, 2), tensor.shrink(row, 0, 1, 1)
        ),
        "rows of a loop": scan.history((start, tensor.shrink(SOME, 1, 2, 2)), rows, 0),
    }


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
    **loops(),
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
