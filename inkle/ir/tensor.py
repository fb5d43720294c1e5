"""Constructors of the tensor form: check arguments, infer shapes, simplify what is trivial.

They serve the Tensor API, gradients and rules alike, so their messages name shapes and values. A
constructor returns its source where the operation would change nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod

from inkle.errors import DTypeError, ShapeError
from inkle.ir import forms
from inkle.ir.dtype import DType, bool_, index, int64
from inkle.ir.node import Node, Shape, const, intern, leaf
from inkle.ir.op import Op
from inkle.ir.size import Size, count, least, most

Slice = tuple[int, int, int]
Padding = tuple[int, int, int]
_buffer_numbers = itertools.count()


def buffer(dtype: DType, shape: Shape) -> Node:
    """Return a new leaf with an identity of its own: the elements of one storage, row major."""
    number = next(_buffer_numbers)  # one call of C code: no lock
    return leaf(forms.BUFFER, dtype, (number, shape), shape)


def reserve_buffers(number: int) -> None:
    """Let new buffers be numbered from above `number`, which a graph read from text has taken."""
    global _buffer_numbers
    _buffer_numbers = itertools.count(max(next(_buffer_numbers), number) + 1)


def param(slot: int, dtype: DType, shape: Shape) -> Node:
    """Return argument number `slot` of a program; row-major elements of `shape`."""
    return intern(forms.PARAM, dtype, (), (slot, shape), shape)


def arange(n: int, dtype: DType = int64) -> Node:
    """Return 0, 1, ..., n - 1 as a node of shape (n,)."""
    return intern(forms.ARANGE, dtype, (), n, (n,))


def full(value: bool | int | float, dtype: DType, shape: Shape) -> Node:
    """Return a constant of any shape; a size is one, too."""
    if isinstance(value, Size):
        return broadcast_to(value.index_node().cast(dtype), shape)
    return broadcast_to(const(value, dtype), shape)


def broadcast_to(x: Node, shape: Shape) -> Node:
    """Return `x` with axes added in front and axes of length 1 repeated (NumPy's rule)."""
    if x.shape == shape:
        return x
    missing = len(shape) - len(x.shape)
    if missing < 0:
        raise ShapeError(f"cannot broadcast {x.shape} to {shape}: it has more axes")
    return expand(reshape(x, (1,) * missing + x.shape), shape)


def reshape(x: Node, shape: Shape) -> Node:
    """Return the same elements, in row-major order, as another shape."""
    if shape == x.shape:
        return x
    if prod(shape) != prod(x.shape):
        raise ShapeError(
            f"cannot reshape {x.shape} with {prod(x.shape)} elements to {shape} with "
            f"{prod(shape)}; sizes must have equal products"
        )
    if x.op is forms.RESHAPE:
        return reshape(x.src[0], shape)
    return intern(forms.RESHAPE, x.dtype, (x,), shape, shape)


def permute(x: Node, order: Sequence[int]) -> Node:
    """Return `x` with axis i taken from axis order[i]."""
    axes = tuple(order)
    if sorted(axes) != list(range(len(x.shape))):
        raise ShapeError(f"permute needs each axis of {x.shape} once, got {axes}")
    if axes == tuple(range(len(axes))):
        return x
    if x.op is forms.PERMUTE:
        return permute(x.src[0], [x.arg[axis] for axis in axes])
    return intern(forms.PERMUTE, x.dtype, (x,), axes, tuple([x.shape[axis] for axis in axes]))


def expand(x: Node, shape: Shape) -> Node:
    """Return `x` with axes of length 1 repeated to `shape` (of equal rank)."""
    if shape == x.shape:
        return x
    if len(shape) != len(x.shape) or any(
        n not in (1, m) or m < 0 for n, m in zip(x.shape, shape, strict=True)
    ):
        raise ShapeError(f"cannot expand {x.shape} to {shape}: only axes of length 1 can grow")
    return intern(forms.EXPAND, x.dtype, (x,), shape, shape)


def slice_(x: Node, spec: Sequence[Slice]) -> Node:
    """Return elements range(start, stop, step) along each axis; 0 <= start, stop <= n, step > 0."""
    if len(spec) != len(x.shape):
        raise ShapeError(f"slice of {x.shape} needs {len(x.shape)} ranges, got {len(spec)}")
    for n, (start, stop, step) in zip(x.shape, spec, strict=True):
        if step <= 0 or not (0 <= start <= n and stop <= n):
            raise ShapeError(f"slice {start}:{stop}:{step} does not fit an axis of length {n}")
    # One spelling for one meaning: stop is the index after the last element taken.
    lengths = [count(*each) for each in spec]
    exact = tuple(
        [
            (start, start + (m - 1) * step + 1, step if most(m) > 1 else 1)
            if most(m)
            else (0, 0, 1)
            for (start, _, step), m in zip(spec, lengths, strict=True)
        ]
    )
    if exact == tuple([(0, n, 1) for n in x.shape]):
        return x
    return intern(forms.SLICE, x.dtype, (x,), exact, tuple(lengths))


def shrink(x: Node, axis: int, start: int, stop: int, step: int = 1) -> Node:
    """Return `x` sliced along one axis."""
    return slice_(
        x, [(start, stop, step) if i == axis else (0, n, 1) for i, n in enumerate(x.shape)]
    )


def pad(x: Node, spec: Sequence[Padding]) -> Node:
    """Return `x` with zeros: `low` in front, `high` behind, `interior` between, per axis."""
    if len(spec) != len(x.shape) or any(least(n) < 0 for each in spec for n in each):
        raise ShapeError(f"pad of {x.shape} needs {len(x.shape)} triples >= 0, got {tuple(spec)}")
    if not any(
        low != 0 or high != 0 or (inner and most(n) > 1)
        for n, (low, high, inner) in zip(x.shape, spec, strict=True)
    ):
        return x
    exact = tuple(
        (low, high, inner if inner and n > 1 else 0)
        for n, (low, high, inner) in zip(x.shape, spec, strict=True)
    )
    shape = tuple(
        low + high + n + (max(n - 1, 0) * inner if inner else 0)
        for n, (low, high, inner) in zip(x.shape, exact, strict=True)
    )
    return intern(forms.PAD, x.dtype, (x,), exact, shape)


def flip(x: Node, axes: Sequence[int]) -> Node:
    """Return `x` with `axes` reversed."""
    kept = tuple(sorted(axis for axis in axes if most(x.shape[axis]) > 1))
    return intern(forms.FLIP, x.dtype, (x,), kept, x.shape) if kept else x


def shear(x: Node, axis: int, by: int, factor: int) -> Node:
    """Return out[.., i, .., j, ..] = x[.., i + factor*j, .., j, ..]; zero where outside.

    The adjoint is a shear with the opposite factor. EXPAND, SHEAR and SLICE make sliding windows.
    """
    if axis == by or not (0 <= axis < len(x.shape) and 0 <= by < len(x.shape)):
        raise ShapeError(f"shear needs two different axes of {x.shape}, got {axis} and {by}")
    if factor == 0 or most(x.shape[by]) <= 1:
        return x
    return intern(forms.SHEAR, x.dtype, (x,), (axis, by, factor), x.shape)


def reduce(x: Node, op: Op, axes: Sequence[int]) -> Node:
    """Combine the elements along `axes`, which vanish; an empty axis gives the identity of `op`."""
    removed = tuple(sorted(set(axes)))
    shape = tuple([n for i, n in enumerate(x.shape) if i not in removed])
    ones = [axis for axis in removed if x.shape[axis] == 1]
    if ones:
        x = reshape(x, tuple([n for i, n in enumerate(x.shape) if i not in ones]))
        removed = tuple(
            axis - sum(one < axis for one in ones) for axis in removed if axis not in ones
        )
    if not removed:
        return x
    if op.identity is None:
        raise DTypeError(f"{op.name} has no identity to start a reduction from")
    return intern(forms.REDUCE, x.dtype, (x,), (op, removed), shape)


def prefix(x: Node, op: Op, axis: int) -> Node:
    """Return the combination of each element with all before it along `axis`."""
    if not 0 <= axis < len(x.shape):
        raise ShapeError(f"prefix needs an axis of {x.shape}, got {axis}")
    if op.identity is None:
        raise DTypeError(f"{op.name} has no identity to start a running combination from")
    if most(x.shape[axis]) <= 1:
        return x
    return intern(forms.PREFIX, x.dtype, (x,), (op, axis), x.shape)


def unreduce(x: Node, shape: Shape, axes: Sequence[int]) -> Node:
    """Return `x`, reduced from `shape` over `axes`, repeated along these axes again."""
    ones = tuple([1 if i in axes else n for i, n in enumerate(shape)])
    return expand(reshape(x, ones), shape)


def gather(x: Node, indices: Sequence[Node], spec: Sequence[int]) -> Node:
    """Read `x` at computed coordinates.

    Args:
        x: source of rank r.
        indices: integer nodes, all of the shape of the result.
        spec: for each axis of `x`, -k - 1 to use indices[k], or the axis of the result whose
            coordinate is used.

    Returns:
        Node of the shape of the indices. Negative indices wrap once; others outside read 0
        (the engine raises in checked mode).
    """
    shape = indices[0].shape
    _check_map("gather", x, shape, indices, spec)
    return intern(forms.GATHER, x.dtype, (x, *indices), tuple(spec), shape)


def scatter(
    base: Node, values: Node, indices: Sequence[Node], spec: Sequence[int], combine: Op | None
) -> Node:
    """Return `base` with `values` put (or combined) where `gather` with this spec would read.

    Duplicates are combined in row-major order of `values`; with `combine` None the last one wins.
    Negative indices wrap once; values whose index lies outside are dropped.
    """
    _check_map("scatter", base, values.shape, indices, spec)
    if base.dtype is not values.dtype:
        raise DTypeError(f"scatter of {values.dtype} into {base.dtype}; cast the values first")
    return intern(
        forms.SCATTER, base.dtype, (base, values, *indices), (combine, tuple(spec)), base.shape
    )


def _check_map(
    name: str, x: Node, shape: Shape, indices: Sequence[Node], spec: Sequence[int]
) -> None:
    if len(spec) != len(x.shape):
        raise ShapeError(f"{name} on {x.shape} needs {len(x.shape)} entries, got {tuple(spec)}")
    for each in indices:
        if each.shape != shape or not (each.dtype.is_integer or each.dtype is index):
            raise ShapeError(f"{name} needs integer indices of shape {shape}, got {each!r}")
    for n, entry in zip(x.shape, spec, strict=True):
        if entry >= len(shape) or entry < -len(indices) or (entry >= 0 and shape[entry] > n):
            raise ShapeError(f"{name} map {tuple(spec)} does not fit {x.shape} and {shape}")


def cat(parts: Sequence[Node], axis: int) -> Node:
    """Return `parts` one after the other along `axis`."""
    first = parts[0]
    for part in parts[1:]:
        same = [
            a == b or i == axis
            for i, (a, b) in enumerate(zip(first.shape, part.shape, strict=False))
        ]
        if part.dtype is not first.dtype or len(part.shape) != len(first.shape) or not all(same):
            one, two = f"{first.shape} {first.dtype}", f"{part.shape} {part.dtype}"
            raise ShapeError(f"cat along {axis}: {one} and {two} differ")
    kept = [part for part in parts if most(part.shape[axis])] or [first]
    if len(kept) == 1:
        return kept[0]
    total = sum(part.shape[axis] for part in kept)
    shape = tuple(total if i == axis else n for i, n in enumerate(first.shape))
    return intern(forms.CAT, first.dtype, tuple(kept), axis, shape)


def update(base: Node, values: Node, region: Sequence[Slice]) -> Node:
    """Return `base` with the region (one (start, stop, step) per axis) replaced by `values`."""
    exact = tuple(region)
    for n, (start, stop, step) in zip(base.shape, exact, strict=True):
        if step <= 0 or not (0 <= start <= n and stop <= n):
            raise ShapeError(f"update {start}:{stop}:{step} does not fit an axis of length {n}")
    shape = tuple(count(*each) for each in exact)
    if values.shape != shape or values.dtype is not base.dtype:
        raise ShapeError(f"update of a region {shape} of {base.dtype} with {values!r}")
    if 0 in shape:
        return base
    if exact == tuple((0, n, 1) for n in base.shape):
        return values
    return intern(forms.UPDATE, base.dtype, (base, values), exact, base.shape)


def contiguous(x: Node) -> Node:
    """Return `x`, stored in memory in row-major order."""
    return (
        x
        if x.op in (forms.BUFFER, forms.PARAM, forms.CONTIGUOUS)
        else intern(forms.CONTIGUOUS, x.dtype, (x,), None, x.shape)
    )


def detach(x: Node, owner: int | None = None) -> Node:
    """Return `x`, through which no gradient flows.

    `owner` makes it a leaf of differentiation with an identity of its own: the number of the
    parameter whose value this is. Equal values of two parameters stay two nodes.
    """
    if x.op is forms.DETACH and owner is None:
        return x if x.arg is None else detach(x.src[0])
    return intern(forms.DETACH, x.dtype, (x,), owner, x.shape)


def gradient(y: Node, g: Node, x: Node) -> Node:
    """Return the gradient of the sum of y * g by `x`, to be written out later.

    Args:
        y: float node.
        g: cotangent of its shape and dtype.
        x: float node that `y` was computed from.
    """
    return intern(forms.GRADIENT, x.dtype, (y, g, x), None, x.shape)


def is_true(x: Node) -> bool:
    """Whether `x` is the constant True."""
    return x.op is forms.CONST and x.dtype is bool_ and bool(x.arg)


def depends_on_sizes(node: Node) -> bool:
    """Whether the value of a node, given those of its sources, depends on variables."""
    if node.op is forms.VARIABLE or any(isinstance(n, Size) for n in node.shape):
        return True
    return node.op is forms.SLICE and any(isinstance(n, Size) for each in node.arg for n in each)
