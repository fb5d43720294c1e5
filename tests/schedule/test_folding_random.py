"""Random masks of random spellings, multiplied, selected and reduced: folded or not, the values."""

import random

import numpy as np
import pytest

from inkle.check.accesses import prove_in_bounds
from inkle.ir import ops, tensor
from inkle.ir.dtype import float32, int32, int64
from inkle.ir.node import Node, const
from inkle.schedule import closed_forms
from inkle.schedule.closed_forms import fold_reductions
from tests.schedule.running import check

COMPARISONS = (Node.eq, Node.eq, Node.eq, Node.less, Node.less_equal, Node.ne)


class Graphs:
    """Makes one random reduction; the same seed gives the same one."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.shape = tuple([self.pick((2, 3, 4, 6)) for _ in range(self.pick((2, 3)))])
        self.axes = range(len(self.shape))
        self.dtype = self.pick((float32, float32, int32))
        self.arrays: dict[Node, np.ndarray] = {}

    def pick(self, choices):
        return self.random.choice(choices)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def laid_out(self, x: Node, axes: list[int]) -> Node:
        ones = tuple([self.shape[axis] if axis in axes else 1 for axis in self.axes])
        return tensor.expand(tensor.reshape(x, ones), self.shape)

    def places(self) -> Node:
        """Return a multiple of the places along one axis, in some spelling."""
        axis, dtype = self.pick(self.axes), self.pick((int32, int64, float32))
        n, way = self.shape[axis], self.pick(("plain", "plain", "flip", "slice", "repeat"))
        row = tensor.arange(n, dtype)
        if way == "slice":
            row = tensor.slice_(tensor.arange(2 * n + 3, dtype), [(3, 2 * n + 3, 2)])
        elif way == "flip":
            row = tensor.flip(row, [0])
        elif way == "repeat" and n % 2 == 0:
            half = tensor.reshape(tensor.arange(n // 2, dtype), (n // 2, 1))
            row = tensor.reshape(tensor.expand(half, (n // 2, 2)), (n,))
        scaled = row * const(self.pick((1, 1, 1, 2, -1)), dtype)
        return self.laid_out(scaled + const(self.pick((0, 0, 1, -2)), dtype), [axis])

    def array(self, dtype) -> Node:
        """Return an input along some of the axes, moved around."""
        axes = [axis for axis in self.axes if self.chance(0.6)]
        order = self.random.sample(axes, len(axes))
        x = tensor.param(len(self.arrays), dtype, tuple([self.shape[axis] for axis in order]))
        numbers = [self.random.randint(-3, 6) for _ in range(int(np.prod(x.shape)))]
        self.arrays[x] = np.array(numbers, dtype=dtype.name).reshape(x.shape)
        x = self.laid_out(tensor.permute(x, [order.index(axis) for axis in axes]), axes)
        axis = self.pick(self.axes)
        if self.chance(0.2):
            x = tensor.flip(x, [axis])
        if self.chance(0.2):
            front = [(1, 0, 0) if each == axis else (0, 0, 0) for each in self.axes]
            x = tensor.shrink(tensor.pad(x, front), axis, 0, self.shape[axis])
        return x

    def number(self) -> Node:
        kind = self.random.random()
        if kind < 0.5:
            return self.places()
        if kind < 0.7:
            return self.places().cast(int64) + self.places().cast(int64)
        if kind < 0.8:
            return self.places().cast(int64) - self.array(int32).cast(int64)
        if kind < 0.9:
            return self.places().cast(int64) // 2
        return self.array(self.pick((int32, int64, float32)))

    def condition(self, depth: int) -> Node:
        kind = self.random.random() if depth else 1.0
        if kind < 0.4:
            op = ops.AND if kind < 0.3 else ops.OR
            return self.condition(depth - 1).apply(op, self.condition(depth - 1))
        if kind < 0.5:
            return ~self.condition(depth - 1)
        x, y = self.number(), self.number()
        common = x.dtype if x.dtype is y.dtype else int64
        if float32 in (x.dtype, y.dtype):
            common = float32
        return self.pick(COMPARISONS)(x.cast(common), y.cast(common))

    def value(self) -> Node:
        kind = self.random.random()
        if kind < 0.5:
            return self.array(self.dtype)
        if kind < 0.7:
            return self.places().cast(self.dtype)
        return tensor.full(self.pick((1, 2)), self.dtype, self.shape)

    def reduction(self) -> Node:
        kind = self.random.random()
        mask = self.condition(1)
        if kind < 0.5:
            body = mask.cast(self.dtype) * self.value()
        elif kind < 0.8:
            body = mask.where(self.value(), const(0, self.dtype))
        else:
            body = mask.cast(self.dtype) * self.value() * self.condition(0).cast(self.dtype)
        if self.chance(0.3):
            body = body * self.value()
        if self.chance(0.25):
            body = tensor.permute(body, self.random.sample(self.axes, len(self.axes)))
        axes = self.random.sample(self.axes, self.pick((1, 1, 2)))
        return tensor.reduce(body, self.pick((ops.ADD, ops.ADD, ops.ADD, ops.MAXIMUM)), axes)


def is_folded(seed: int) -> bool:
    """Check the values of a random graph; return whether something was folded."""
    maker = Graphs(seed)
    output = maker.reduction()
    plan = check([output], maker.arrays)
    if seed % 10 == 0:
        assert all(prove_in_bounds(launch.kernel) == [] for launch in plan.launches)
    return fold_reductions([output])[0] is not output


def test_random_masks(monkeypatch):
    monkeypatch.setattr(closed_forms, "SHORTEST_SCATTERED", 3)

    folded = [is_folded(seed) for seed in range(120)]

    assert sum(folded) > 30  # or the test shows little


@pytest.mark.exhaustive
def test_many_random_masks(monkeypatch):
    monkeypatch.setattr(closed_forms, "SHORTEST_SCATTERED", 3)

    for seed in range(120, 6000):
        is_folded(seed)
