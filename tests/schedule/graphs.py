"""Random tensor graphs over PARAM leaves, for comparing schedules with the reference evaluator."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import DType, float32, int32
from inkle.ir.node import Node, const

Pick = Callable[[int], int]  # pick(n): one of 0 .. n - 1


class Growing:
    """Grows a graph by random operations.

    Args:
        pick: source of choices.
        dtype: of all values (indices are made from them by casts).
    """

    def __init__(self, pick: Pick, dtype: DType, *, most: int = 200) -> None:
        self.pick = pick
        self.dtype = dtype
        self.most = most
        self.pool: list[Node] = []
        for _ in range(1 + pick(3)):
            self.leaf(self.shape())

    def shape(self) -> tuple[int, ...]:
        sizes = (2, 3, 4, 1, 5, 6, 0)
        while True:
            shape = tuple(
                sizes[self.pick(7 if self.pick(6) == 5 else 6)] for _ in range(self.pick(4))
            )
            if prod(shape) <= self.most:
                return shape

    def leaf(self, shape: tuple[int, ...]) -> Node:
        slot = sum(node.op is forms.PARAM for node in self.pool)
        self.pool.append(tensor.param(slot, self.dtype, shape))
        return self.pool[-1]

    def any(self) -> Node:
        return self.pool[-1 - self.pick(len(self.pool))]

    def like(self, x: Node) -> Node:
        """Return a node of the shape of `x`."""
        same = [node for node in self.pool if node.shape == x.shape and node.dtype is x.dtype]
        kind = self.pick(4)
        if kind == 0 or not same:
            return tensor.full(self.pick(5) - 2, x.dtype, x.shape)
        if kind == 1 and x.shape:
            axis = self.pick(len(x.shape))
            ones = [1] * len(x.shape)
            ones[axis] = x.shape[axis]
            row = tensor.reshape(tensor.arange(x.shape[axis], int32), tuple(ones))
            return tensor.expand(row, x.shape).cast(x.dtype)
        return same[self.pick(len(same))]

    def step(self) -> None:
        """Add one random operation to the pool."""
        actions = (
            self.pointwise, self.pointwise, self.reshape, self.permute, self.expand, self.slice,
            self.pad, self.flip, self.shear, self.reduce, self.reduce, self.gather, self.scatter,
            self.cat, self.update, self.contract, self.window,
        )  # fmt: skip
        x = self.any()
        made = actions[self.pick(len(actions))](x)
        if made is not None and prod(made.shape) <= self.most:
            self.pool.append(made)

    def pointwise(self, x: Node) -> Node:
        y = self.like(x)
        kind = self.pick(6)
        if kind == 0:
            return x + y
        if kind == 1:
            return x.maximum(y)
        if kind == 2:
            return (x < y).where(x, y)
        if kind == 3:
            return x * y if self.dtype is int32 else x.minimum(2.0) * y
        if kind == 4:
            return x - y
        return -x

    def reshape(self, x: Node) -> Node:
        sizes = [n for n in x.shape if n != 1]
        if self.pick(2) and x.shape and prod(x.shape):
            flat = prod(x.shape)
            divisors = [d for d in range(1, flat + 1) if flat % d == 0]
            first = divisors[self.pick(len(divisors))]
            return tensor.reshape(x, (first, flat // first))
        if len(sizes) > 1:
            at = self.pick(len(sizes) - 1)
            sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
        if self.pick(2):
            sizes.insert(self.pick(len(sizes) + 1), 1)
        return tensor.reshape(x, tuple(sizes))

    def permute(self, x: Node) -> Node:
        axes = list(range(len(x.shape)))
        order = [axes.pop(self.pick(len(axes))) for _ in range(len(axes))]
        return tensor.permute(x, order)

    def expand(self, x: Node) -> Node:
        at = self.pick(len(x.shape) + 1)
        shape = (*x.shape[:at], 1, *x.shape[at:])
        n = (2, 3, 1, 4, 0)[self.pick(5 if self.pick(5) == 4 else 4)]
        return tensor.expand(tensor.reshape(x, shape), (*shape[:at], n, *shape[at + 1 :]))

    def slice(self, x: Node) -> Node:
        spec = []
        for n in x.shape:
            start = self.pick(n + 1)
            spec.append((start, start + self.pick(n - start + 1), 1 + self.pick(3)))
        return (
            tensor.slice_(x, spec)
            if self.pick(3)
            else tensor.slice_(x, [(0, n, 2) for n in x.shape])
        )

    def pad(self, x: Node) -> Node:
        return tensor.pad(x, [(self.pick(3), self.pick(3), self.pick(4) // 2) for _ in x.shape])

    def flip(self, x: Node) -> Node:
        return tensor.flip(x, [axis for axis in range(len(x.shape)) if self.pick(2)])

    def shear(self, x: Node) -> Node | None:
        if len(x.shape) < 2:
            return None
        axis = self.pick(len(x.shape))
        by = (axis + 1 + self.pick(len(x.shape) - 1)) % len(x.shape)
        return tensor.shear(x, axis, by, (1, -1, 2, -2)[self.pick(4)])

    def reduce(self, x: Node) -> Node:
        op = (ops.ADD, ops.MAXIMUM, ops.ADD, ops.MINIMUM)[self.pick(4)]
        return tensor.reduce(x, op, [axis for axis in range(len(x.shape)) if self.pick(2)])

    def indices(self, shape: tuple[int, ...]) -> Node:
        fitting = [node for node in self.pool if node.shape == shape]
        if not fitting:
            return tensor.full(self.pick(5) - 2, int32, shape)
        return fitting[self.pick(len(fitting))].cast(int32)

    def gather(self, x: Node) -> Node | None:
        like = self.any()
        if not x.shape or not like.shape:
            return None
        spec, indices = [], []
        for n in x.shape:
            direct = [axis for axis, m in enumerate(like.shape) if m <= n]
            if direct and self.pick(2):
                spec.append(direct[self.pick(len(direct))])
            else:
                indices.append(self.indices(like.shape))
                spec.append(-len(indices))
        return tensor.gather(x, indices, spec) if indices else None

    def scatter(self, x: Node) -> Node | None:
        like = self.any()
        if not x.shape or not like.shape or like.dtype is not x.dtype:
            return None
        spec, indices = [], []
        for n in x.shape:
            direct = [a for a, m in enumerate(like.shape) if m <= n and a not in spec]
            if direct and self.pick(2):
                spec.append(direct[self.pick(len(direct))])
            else:
                indices.append(self.indices(like.shape))
                spec.append(-len(indices))
        combine = (None, ops.ADD, ops.MAXIMUM)[self.pick(3)]
        return tensor.scatter(x, like, indices, spec, combine) if indices else None

    def cat(self, x: Node) -> Node | None:
        if not x.shape:
            return None
        axis = self.pick(len(x.shape))
        parts = [x]
        for _ in range(1 + self.pick(3)):
            fitting = [
                node for node in self.pool
                if len(node.shape) == len(x.shape)
                and all(a == b or i == axis for i, (a, b) in enumerate(zip(node.shape, x.shape)))
            ]  # fmt: skip
            parts.append(fitting[self.pick(len(fitting))])
        return tensor.cat(parts, axis)

    def update(self, x: Node) -> Node | None:
        region = []
        for n in x.shape:
            start = self.pick(n + 1)
            region.append((start, start + self.pick(n - start + 1), 1 + self.pick(2)))
        shape = tuple(len(range(*each)) for each in region)
        fitting = [node for node in self.pool if node.shape == shape]
        if fitting and self.pick(3):
            return tensor.update(x, fitting[self.pick(len(fitting))], region)
        return tensor.update(x, tensor.full(self.pick(5), x.dtype, shape), region)

    def contract(self, x: Node) -> Node | None:
        """Matrix product of the pool's matrices."""
        right = [
            node for node in self.pool if len(node.shape) == 2 and node.shape[0] == x.shape[-1:]
        ]
        right = [node for node in self.pool if len(node.shape) == 2 and len(x.shape) == 2
                 and node.shape[0] == x.shape[1]]  # fmt: skip
        if not right:
            return None
        y = right[self.pick(len(right))]
        return matmul(x, y)

    def window(self, x: Node) -> Node | None:
        if not x.shape or x.shape[-1] < 2:
            return None
        return window(x, len(x.shape) - 1, 2, 1 + self.pick(2))


def matmul(x: Node, y: Node) -> Node:
    """Return the matrix product of two matrices, as the Tensor API writes it."""
    (m, k), (_, n) = x.shape, y.shape
    left = tensor.expand(tensor.reshape(x, (m, 1, k)), (m, n, k))
    right = tensor.expand(tensor.reshape(tensor.permute(y, (1, 0)), (1, n, k)), (m, n, k))
    return tensor.reduce(left * right, ops.ADD, [2])


def window(x: Node, axis: int, size: int, stride: int = 1, dilation: int = 1) -> Node:
    """Return sliding windows of `axis`: a new axis of length `size` after it."""
    shape, n = x.shape, x.shape[axis]
    ones = (*shape[: axis + 1], 1, *shape[axis + 1 :])
    wide = (*shape[: axis + 1], size, *shape[axis + 1 :])
    x = tensor.shear(tensor.expand(tensor.reshape(x, ones), wide), axis, axis + 1, dilation)
    return tensor.shrink(x, axis, 0, n - dilation * (size - 1), stride)


def conv2d(x: Node, w: Node, stride: int = 1, padding: int = 0) -> Node:
    """Return the convolution of (batch, in, h, w) with (out, in, kh, kw)."""
    b, c, _, _ = x.shape
    o, _, kh, kw = w.shape
    if padding:
        x = tensor.pad(x, [(0, 0, 0), (0, 0, 0), (padding, padding, 0), (padding, padding, 0)])
    x = window(window(x, 3, kw, stride), 2, kh, stride)  # b c oh kh ow kw
    oh, ow = x.shape[2], x.shape[4]
    full = (b, o, c, oh, kh, ow, kw)
    x = tensor.expand(tensor.reshape(x, (b, 1, c, oh, kh, ow, kw)), full)
    w = tensor.expand(tensor.reshape(w, (1, o, c, 1, kh, 1, kw)), full)
    return tensor.reduce(x * w, ops.ADD, [2, 4, 6])


def random_graph(pick: Pick, dtype: DType = int32, size: int = 8) -> list[Node]:
    """Return the outputs of a random graph."""
    growing = Growing(pick, dtype)
    for _ in range(1 + pick(size)):
        growing.step()
    outputs = [growing.pool[-1]]
    return outputs + [growing.any() for _ in range(pick(3))]


def arrays_for(outputs: list[Node], seed: int) -> dict[Node, np.ndarray]:
    """Return values for the PARAM leaves: small integers; floats also have inf and NaN."""
    rng = np.random.default_rng(seed)
    found = {}
    for node in {n for out in outputs for n in out.toposort() if n.op is forms.PARAM}:
        array = rng.integers(-4, 5, node.shape)
        if node.dtype is float32:
            array = array.astype(np.float32)
            special = np.array([np.inf, -np.inf, np.nan], np.float32)
            array = np.where(rng.random(node.shape) < 0.15, rng.choice(special, node.shape), array)
        found[node] = np.asarray(array, np.float32 if node.dtype is float32 else np.int32)
    return found


def zero(dtype: DType) -> Node:
    """Return the constant 0."""
    return const(0, dtype)
