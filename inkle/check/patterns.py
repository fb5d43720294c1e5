"""Pieces of random tensor programs: every operation of the tensor form, and patterns of real code.

Each maker takes the workshop (random numbers, and values made so far) and returns a node, or None
where it does not apply. Those that need a certain shape ask the workshop to `fit` a value to it,
which makes chains of movement operations of all kinds on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from inkle.check import loops
from inkle.ir import dtype as dt
from inkle.ir import host, ops, tensor
from inkle.ir.dtype import DType, Kind
from inkle.ir.node import Node, Shape
from inkle.ir.op import Op

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33)


class Workshop(loops.Workshop, Protocol):
    """What makers need."""

    def pick(self, kinds: frozenset[Kind] | None = None) -> Node:
        """Return a value made so far, of one of these kinds; later ones are likelier."""

    def of(self, dtype: DType, shape: Shape) -> Node:
        """Return some value of this dtype and shape."""

    def indices(self, shape: Shape, n: int) -> Node:
        """Return integers, most of which are positions in an axis of length `n`."""


Maker = Callable[[Workshop], Node | None]
NUMBERS = frozenset({Kind.INT, Kind.UINT, Kind.FLOAT})
INTEGERS = frozenset({Kind.INT, Kind.UINT})
FLOATS = frozenset({Kind.FLOAT})
ELEMENTWISE = tuple(op for op in ops.TABLE.values() if op not in (ops.CAST, ops.BITCAST, ops.WHERE))


def elementwise(w: Workshop) -> Node | None:
    """Any row of the op table."""
    op = w.random.choice(ELEMENTWISE)
    x = w.pick(op.kinds)
    if x.dtype.kind not in op.kinds:
        return None
    others = [w.of(x.dtype, x.shape) for _ in range(op.arity - 1)]
    if others and w.random.random() < 0.3:
        others[-1] = x.wrap(w.random.choice([0, 1, 2, -1, 3]))
    return x.apply(op, *others)


def where(w: Workshop) -> Node | None:
    """A choice by comparison."""
    x = w.pick()
    a, b = w.of(x.dtype, x.shape), w.of(x.dtype, x.shape)
    condition = w.of(dt.bool_, x.shape) if w.random.random() < 0.5 else a.equal(b)
    return condition.where(a, x)


def cast(w: Workshop) -> Node | None:
    """A change of type."""
    x = w.pick()
    same = [d for d in dt.ALL if d.bits == x.dtype.bits and dt.bool_ not in (d, x.dtype)]
    if same and w.random.random() < 0.15:
        if x.dtype.is_float:  # the bits of a NaN that an operation makes are not defined
            x = x.ne(x).where(0.0, x)
        return x.bitcast(w.random.choice(same))
    return x.cast(w.random.choice(dt.ALL))


# --- movement -------------------------------------------------------------------------------------


def reshape(w: Workshop) -> Node | None:
    """Axes merged, split, or of length 1 added and removed."""
    x = w.pick()
    shape = list(x.shape)
    for _ in range(w.random.randint(1, 3)):
        choice = w.random.random()
        at = w.random.randrange(len(shape) + 1)
        if choice < 0.4 and len(shape) > 1:
            at = w.random.randrange(len(shape) - 1)
            shape[at : at + 2] = [shape[at] * shape[at + 1]]
        elif choice < 0.7 and at < len(shape):
            factors = [f for f in range(2, shape[at]) if shape[at] % f == 0]
            if factors:
                factor = w.random.choice(factors)
                shape[at : at + 1] = [factor, shape[at] // factor]
        elif choice < 0.85 or 1 not in shape:
            shape.insert(at, 1)
        else:
            shape.remove(1)
    return tensor.reshape(x, tuple(shape)) if len(shape) <= 6 else None


def permute(w: Workshop) -> Node | None:
    """Axes in another order."""
    x = w.pick()
    return tensor.permute(x, w.random.sample(range(len(x.shape)), len(x.shape)))


def expand(w: Workshop) -> Node | None:
    """A new axis along which all is equal."""
    x = w.pick()
    at = w.random.randrange(len(x.shape) + 1)
    x = tensor.reshape(x, (*x.shape[:at], 1, *x.shape[at:]))
    n = w.random.choice((0, *SIZES[:7]))
    return tensor.expand(x, (*x.shape[:at], n, *x.shape[at + 1 :]))


def slice_(w: Workshop) -> Node | None:
    """Part of each axis, now and then nothing."""
    x = w.pick()
    return tensor.slice_(x, [_part(w, n) for n in x.shape])


def _part(w: Workshop, n: int) -> tuple[int, int, int]:
    if w.random.random() < 0.5:
        return 0, n, 1
    start = w.random.randint(0, n // 2)
    return (
        start,
        w.random.randint(min(start + (w.random.random() < 0.9), n), n),
        w.random.choice((1, 1, 2, 3)),
    )


def pad(w: Workshop) -> Node | None:
    """Zeros around and between."""
    x = w.pick()
    return tensor.pad(
        x,
        [
            (w.random.randint(0, 3), w.random.randint(0, 3), w.random.choice((0, 0, 1, 2)))
            if w.random.random() < 0.6
            else (0, 0, 0)
            for _ in x.shape
        ],
    )


def flip(w: Workshop) -> Node | None:
    """Some axes reversed."""
    x = w.pick()
    return tensor.flip(x, [axis for axis in range(len(x.shape)) if w.random.random() < 0.5])


def shear(w: Workshop) -> Node | None:
    """A sliding position."""
    x = w.pick()
    if len(x.shape) < 2:
        return None
    axis, by = w.random.sample(range(len(x.shape)), 2)
    return tensor.shear(x, axis, by, w.random.choice((-2, -1, 1, 1, 2, 3)))


def marker(w: Workshop) -> Node | None:
    """A value that is stored, or kept out of gradients."""
    x = w.pick()
    return tensor.contiguous(x) if w.random.random() < 0.5 else tensor.detach(x)


def cat(w: Workshop) -> Node | None:
    """Values one after the other."""
    x = w.pick()
    if not x.shape:
        return None
    axis = w.random.randrange(len(x.shape))
    parts = [x]
    for _ in range(w.random.randint(1, 2)):
        n = w.random.choice((0, 1, x.shape[axis], 3))
        shape = tuple(n if i == axis else m for i, m in enumerate(x.shape))
        parts.insert(w.random.randrange(2), w.of(x.dtype, shape))
    return tensor.cat(parts, axis)


def update(w: Workshop) -> Node | None:
    """A region replaced, sometimes by what was read from it."""
    base = w.pick()
    if not base.shape:
        return None
    region = [_part(w, n) for n in base.shape]
    shape = tuple(len(range(*part)) for part in region)
    values = tensor.slice_(base, region) + 1 if base.dtype.is_integer else w.of(base.dtype, shape)
    return tensor.update(base, values, region)


def gather(w: Workshop) -> Node | None:
    """Computed positions along some axes."""
    x = w.pick()
    if not x.shape:
        return None
    shape, spec, indices = _map(w, x.shape)
    return tensor.gather(x, indices, spec) if indices and len(shape) <= 5 else None


def scatter(w: Workshop) -> Node | None:
    """Values put, added or compared at computed positions."""
    base = w.pick(NUMBERS)
    if not base.shape:
        return None
    shape, spec, indices = _map(w, base.shape)
    combines: tuple[Op | None, ...] = (None, ops.ADD, ops.MAXIMUM)
    if not indices:
        return None
    return tensor.scatter(base, w.of(base.dtype, shape), indices, spec, w.random.choice(combines))


def _map(w: Workshop, source: Shape) -> tuple[Shape, list[int], list[Node]]:
    """Return (shape of the values, map, index nodes) for a gather or scatter."""
    rank = len(source)
    by_index = w.random.randrange(rank)
    shape = tuple(
        w.random.choice((1, 2, 5, 9)) if axis == by_index else min(n, w.random.choice((n, n, 3)))
        for axis, n in enumerate(source)
    )
    spec = [-1 if axis == by_index else axis for axis in range(rank)]
    indices = [w.indices(shape, source[by_index])]
    if rank > 1 and w.random.random() < 0.3:
        other = w.random.choice([axis for axis in range(rank) if axis != by_index])
        spec[other] = -2
        indices.append(w.indices(shape, source[other]))
    return shape, spec, indices


# --- reductions -----------------------------------------------------------------------------------


def reduce(w: Workshop) -> Node | None:
    """Some axes combined."""
    op = w.random.choice(
        (ops.ADD, ops.ADD, ops.ADD, ops.MAXIMUM, ops.MINIMUM, ops.MUL, ops.AND, ops.OR, ops.XOR)
    )
    x = w.pick(op.kinds)
    if x.dtype.kind not in op.kinds:
        return None
    axes = [axis for axis in range(len(x.shape)) if w.random.random() < 0.5]
    return tensor.reduce(x, op, axes)


def _like_rows(x: Node, row: Node) -> Node:
    """Return `row`, which lacks the last axis of `x`, repeated along it."""
    return tensor.expand(tensor.reshape(row, (*row.shape, 1)), x.shape)


def matmul(w: Workshop) -> Node | None:
    """A product of matrices, from broadcasting and a sum."""
    dtype = w.random.choice((dt.float32, dt.float32, dt.int32, dt.float64))
    m, n, k = (w.random.choice(SIZES) for _ in range(3))
    a, b = w.of(dtype, (m, k)), w.of(dtype, (k, n))
    wide = (m, n, k)
    left = tensor.expand(tensor.reshape(a, (m, 1, k)), wide)
    right = tensor.expand(tensor.reshape(tensor.permute(b, (1, 0)), (1, n, k)), wide)
    return tensor.reduce(left * right, ops.ADD, (2,))


def window(x: Node, axis: int, size: int, stride: int, dilation: int) -> Node:
    """Return sliding windows of `axis`: a new axis of length `size` after it. A pure view."""
    n = x.shape[axis]
    x = tensor.reshape(x, (*x.shape[: axis + 1], 1, *x.shape[axis + 1 :]))
    x = tensor.expand(x, (*x.shape[: axis + 1], size, *x.shape[axis + 2 :]))
    x = tensor.shear(x, axis, axis + 1, dilation)
    return tensor.shrink(x, axis, 0, max(n - dilation * (size - 1), 0), stride)


def convolution(w: Workshop) -> Node | None:
    """A convolution or pooling over one or two axes."""
    dtype = w.random.choice((dt.float32, dt.int32))
    size, stride, dilation = (w.random.choice(c) for c in ((1, 2, 3), (1, 2), (1, 1, 2)))
    x = w.of(dtype, (w.random.choice((1, 2)), w.random.choice((1, 3)), w.random.choice((5, 8, 9))))
    padding = w.random.choice((0, 0, 1, 2))
    x = tensor.pad(x, [(0, 0, 0), (0, 0, 0), (padding, padding, 0)])
    if x.shape[2] < dilation * (size - 1) + 1:
        return None
    views = window(x, 2, size, stride, dilation)  # batch, channel, place, tap
    if w.random.random() < 0.3:
        return tensor.reduce(views, ops.MAXIMUM, (3,))
    out = w.random.choice((1, 2, 4))
    batch, channels, places, _ = views.shape
    wide = (batch, out, channels, places, size)
    views = tensor.expand(tensor.reshape(views, (batch, 1, channels, places, size)), wide)
    taps = w.of(dtype, (out, channels, size))
    taps = tensor.expand(tensor.reshape(taps, (1, out, channels, 1, size)), wide)
    return tensor.reduce(views * taps, ops.ADD, (2, 4))


def softmax(w: Workshop) -> Node | None:
    """Several reductions over rows, and their consumers."""
    x = w.of(dt.float32, (w.random.choice(SIZES), w.random.choice(SIZES)))
    largest = tensor.reduce(x, ops.MAXIMUM, (1,))
    powers = (x - _like_rows(x, largest)).exp()
    return powers / _like_rows(x, tensor.reduce(powers, ops.ADD, (1,)))


def normalize(w: Workshop) -> Node | None:
    """Mean and variance of rows."""
    x = w.of(dt.float32, (w.random.choice(SIZES), w.random.choice(SIZES)))
    n = float(x.shape[1])
    centred = x - _like_rows(x, tensor.reduce(x, ops.ADD, (1,)) / n)
    variance = tensor.reduce(centred * centred, ops.ADD, (1,)) / n
    return centred / _like_rows(x, (variance + 1e-5).sqrt())


def one_hot(w: Workshop) -> Node | None:
    """A choice by comparing an ARANGE with indices, summed away again."""
    rows, n = w.random.choice(SIZES), w.random.choice(SIZES)
    wide = (rows, n)
    index = tensor.expand(tensor.reshape(w.indices((rows,), n).cast(dt.int64), (rows, 1)), wide)
    place = tensor.expand(tensor.reshape(tensor.arange(n), (1, n)), wide)
    table = tensor.expand(tensor.reshape(w.of(dt.float32, (n,)), (1, n)), wide)
    return tensor.reduce(index.equal(place).where(table, 0.0), ops.ADD, (1,))


def running_sum(w: Workshop) -> Node | None:
    """Sums of the elements up to each one, as a masked product."""
    n = w.random.choice(SIZES)
    x = w.of(w.random.choice((dt.int32, dt.float32)), (n,))
    wide = (n, n)
    row = tensor.expand(tensor.reshape(tensor.arange(n), (n, 1)), wide)
    column = tensor.expand(tensor.reshape(tensor.arange(n), (1, n)), wide)
    values = tensor.expand(tensor.reshape(x, (1, n)), wide)
    return tensor.reduce((column <= row).where(values, 0), ops.ADD, (1,))


def running(w: Workshop) -> Node | None:
    """Each element combined with all before it along an axis."""
    op = w.random.choice((ops.ADD, ops.ADD, ops.MAXIMUM, ops.MINIMUM, ops.MUL, ops.XOR))
    x = w.pick(op.kinds)
    if x.dtype.kind not in op.kinds or not x.shape:
        return None
    return tensor.prefix(x, op, w.random.randrange(len(x.shape)))


def ordered(w: Workshop) -> Node | None:
    """Rows in order, by a library function: of integers, which leave no doubt about equal ones."""
    x = w.pick(frozenset({Kind.INT, Kind.UINT}))
    if x.dtype.is_float or x.dtype is dt.bool_ or not x.shape:
        return None
    return host.call("sort", [x], (), x.shape, x.dtype)


MAKERS: tuple[tuple[Maker, int], ...] = (
    (elementwise, 20), (where, 4), (cast, 5), (reshape, 6), (permute, 5), (expand, 5), (slice_, 6),
    (pad, 5), (flip, 3), (shear, 4), (marker, 2), (cat, 4), (update, 3), (gather, 4), (scatter, 3),
    (reduce, 12), (matmul, 3), (convolution, 3), (softmax, 2), (normalize, 2), (one_hot, 2),
    (running_sum, 1), (running, 4), (ordered, 2), (loops.loop, 8),
)  # fmt: skip
POINTWISE = MAKERS[:3]  # what keeps each element to itself
