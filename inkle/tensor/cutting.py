"""Cutting, padding, joining and sliding windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from inkle.errors import DTypeError, ShapeError
from inkle.ir import forms, tensor
from inkle.ir.dtype import bool_
from inkle.ir.elementwise import Scalar
from inkle.ir.node import Node, const
from inkle.ir.size import most
from inkle.tensor.arguments import (
    as_int,
    as_ints,
    check_axis,
    check_choice,
    check_pair,
    check_shape,
    flatten_args,
)
from inkle.tensor.base import meet
from inkle.tensor.movement import Movement

Widths = Sequence[int] | Sequence[tuple[int, int] | None]


class Cutting(Movement):
    """Mixin of cutting, padding and joining."""

    __slots__ = ()

    def shrink(self, ranges: Sequence[tuple[int, int] | None]) -> Self:
        """Return a view of elements start ... stop - 1 along each axis (None: all)."""
        shape = self.shape
        if not isinstance(ranges, (tuple, list)) or len(ranges) != len(shape):
            raise ShapeError(f"shrink of {shape} needs {len(shape)} ranges, got {ranges!r:.60}")
        spec = []
        for each, n in zip(ranges, shape, strict=True):
            start, stop = (0, n) if each is None else check_pair(each, "range of shrink", least=0)
            if not 0 <= start <= stop <= n:
                raise ShapeError(f"shrink: {start} ... {stop} does not fit an axis of length {n}")
            spec.append((start, stop, 1))
        return self._moved((forms.SLICE, tuple(spec)))

    def narrow(self, dim: int, start: int, length: int) -> Self:
        """Return a view of `length` elements of axis `dim` from `start` on."""
        axis = check_axis(dim, self.ndim, "narrow")
        ranges: list[tuple[int, int] | None] = [None] * self.ndim
        ranges[axis] = (start, start + length)
        return self.shrink(ranges)

    def pad(self, padding: Widths, mode: str = "constant", value: Scalar = 0) -> Self:
        """Return the tensor with elements added around it; negative widths cut.

        Args:
            padding: PyTorch's order (last axis first: low, high, then the one before ...), or one
                (low, high) pair per axis, first axis first, where None means (0, 0).
            mode: "constant", "reflect", "replicate" or "circular".
            value: what "constant" fills with.

        Returns:
            Tensor of the same dtype.

        Example:
            >>> Tensor([1, 2]).pad((1, 0)).tolist()
            [0, 1, 2]
        """
        check_choice(mode, ("constant", "reflect", "replicate", "circular"), "mode of pad")
        widths = pad_widths(padding, self.ndim)
        if mode != "constant":
            return self._new(pad_by_copy(self.node, widths, mode))
        if isinstance(value, float) and not self.dtype.is_float:
            raise DTypeError(f"pad of {self.dtype} with {value}: convert the tensor first")
        return self._new(pad_node(self.node, widths, value))

    def cat(self, *others: Any, dim: int = 0) -> Self:
        """Return tensors joined along an existing axis: `x.cat(y, z)` or `Tensor.cat(x, y, z)`.

        Dtypes meet; all other axes must agree.
        """
        parts = _tensors((self, *others), "cat")
        axis = check_axis(dim, parts[0].ndim, "cat")
        nodes = _same_dtype([part.node for part in parts])
        for node in nodes:
            rest, first = list(node.shape), list(nodes[0].shape)
            if len(rest) != len(first) or rest[:axis] + rest[axis + 1 :] != (
                first[:axis] + first[axis + 1 :]
            ):
                shapes = ", ".join(str(part.shape) for part in parts)
                raise ShapeError(f"cat along axis {axis} needs equal other axes, got {shapes}")
        joined: Self = parts[0]._new(tensor.cat(nodes, axis))
        return joined

    def stack(self, *others: Any, dim: int = 0) -> Self:
        """Return tensors of one shape along a new axis: `x.stack(y)` or `Tensor.stack([x, y])`."""
        parts = _tensors((self, *others), "stack")
        shape = parts[0].shape
        if any(part.shape != shape for part in parts):
            shapes = ", ".join(str(part.shape) for part in parts)
            raise ShapeError(f"stack needs equal shapes, got {shapes}")
        axis = check_axis(dim, len(shape) + 1, "stack")
        row = (*shape[:axis], 1, *shape[axis:])
        nodes = _same_dtype([part.node for part in parts])
        rows = [tensor.reshape(node, row) for node in nodes]
        joined: Self = parts[0]._new(tensor.cat(rows, axis))
        return joined

    def split(self, sizes: int | Sequence[int], dim: int = 0) -> tuple[Self, ...]:
        """Return views that divide axis `dim`.

        Args:
            sizes: one size for all pieces (the last may be smaller), or the size of each; these
                must add up to the length of the axis.
            dim: axis to divide.
        """
        axis = check_axis(dim, self.ndim, "split")
        n = self.shape[axis]
        if not isinstance(sizes, (tuple, list)):
            (size,) = as_ints(sizes, "size of split")
            if size <= 0:
                raise ShapeError(f"split: pieces must have at least 1 element, got {size}")
            pieces = [min(size, n - start) for start in range(0, n, size)] or [0]
        else:
            pieces = list(check_shape((sizes,), "split"))
            if sum(pieces) != n:
                raise ShapeError(
                    f"split: sizes {tuple(pieces)} must add up to {n}, the axis' length"
                )
        out, start = [], 0
        for piece in pieces:
            out.append(self.narrow(axis, start, piece))
            start += piece
        return tuple(out)

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Self, ...]:
        """Return at most `chunks` views of equal size (the last may be smaller) along `dim`."""
        axis = check_axis(dim, self.ndim, "chunk")
        if as_int(chunks, "chunks") <= 0:
            raise ShapeError(f"chunk needs at least 1 chunk, got {chunks}")
        return self.split(max(1, -(-self.shape[axis] // chunks)), axis)

    def unbind(self, dim: int = 0) -> tuple[Self, ...]:
        """Return a view per index of axis `dim`, without that axis."""
        axis = check_axis(dim, self.ndim, "unbind")
        rest = self.shape[:axis] + self.shape[axis + 1 :]
        pieces = [self.narrow(axis, i, 1) for i in range(self.shape[axis])]
        return tuple([piece.reshape(rest) for piece in pieces])

    def unfold(self, dim: int, size: int, step: int) -> Self:
        """Return every window of `size` elements of axis `dim`, `step` apart.

        Returns:
            Tensor with the number of windows at axis `dim`, and a new last axis of length `size`.
        """
        axis = check_axis(dim, self.ndim, "unfold")
        n = self.shape[axis]
        if not 0 < size <= n or step <= 0:
            raise ShapeError(f"unfold: windows of {size}, {step} apart, do not fit {n} elements")
        node = windows(self.node, axis, size, step, 1)
        order = [i for i in range(len(node.shape)) if i != axis + 1]
        return self._new(tensor.permute(node, [*order, axis + 1]))

    def diagonal(self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Self:
        """Return the elements x[.., i, .., i + offset, ..] as a new last axis."""
        ndim = self.ndim
        a, b = check_axis(dim1, ndim, "diagonal"), check_axis(dim2, ndim, "diagonal")
        offset = as_int(offset, "offset of diagonal")
        if a == b:
            raise ShapeError(f"diagonal needs two different axes, got {dim1} and {dim2}")
        x = self.node
        x = tensor.permute(x, [*[i for i in range(ndim) if i not in (a, b)], a, b])
        rows, columns = x.shape[-2:]
        length = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
        x = tensor.shrink(x, ndim - 2, max(-offset, 0) if length else 0,
                          max(-offset, 0) + length if length else 0)  # fmt: skip
        if not length:
            return self._new(tensor.reshape(x, (*x.shape[:-2], 0)))
        # x[i, j + i] moves the diagonal into a column.
        x = tensor.shear(x, ndim - 1, ndim - 2, 1)
        x = tensor.shrink(x, ndim - 1, max(offset, 0), max(offset, 0) + 1)
        return self._new(tensor.reshape(x, x.shape[:-1]))


def windows(x: Node, axis: int, size: int, stride: int, dilation: int) -> Node:
    """Return sliding windows of `axis`: a new axis of length `size` after it. A pure view.

    out[.., i, j, ..] = x[.., i * stride + j * dilation, ..]
    """
    shape = x.shape
    span = dilation * (size - 1)
    grown = (*shape[: axis + 1], 1, *shape[axis + 1 :])
    x = tensor.reshape(x, grown)
    x = tensor.expand(x, (*shape[: axis + 1], size, *shape[axis + 1 :]))
    x = tensor.shear(x, axis, axis + 1, dilation)
    return tensor.shrink(x, axis, 0, max(0, shape[axis] - span), stride)


def pad_widths(padding: Widths, ndim: int) -> list[tuple[int, int]]:
    """Return one (low, high) pair per axis, in order."""
    if not isinstance(padding, (tuple, list)):
        raise DTypeError(f"pad needs a tuple of widths, got {padding!r:.60}")
    items: list[Any] = list(padding)
    if any(each is None or isinstance(each, (tuple, list)) for each in items):
        pairs = [(0, 0) if each is None else each for each in items]
        if len(pairs) != ndim or any(
            not isinstance(p, (tuple, list)) or len(p) != 2 for p in pairs
        ):
            raise ShapeError(f"pad needs {ndim} (low, high) pairs or None, got {items}")
        return [(as_int(low, "pad width"), as_int(high, "pad width")) for low, high in pairs]
    numbers = [as_int(each, "pad width") for each in items]
    if len(numbers) % 2 or len(numbers) > 2 * ndim:
        raise ShapeError(
            f"pad needs an even number of widths, at most {2 * ndim} for {ndim} axes; got {numbers}"
        )
    pairs_from_last = list(zip(numbers[::2], numbers[1::2], strict=True))
    return [(0, 0)] * (ndim - len(pairs_from_last)) + pairs_from_last[::-1]


def pad_node(x: Node, widths: Sequence[tuple[int, int]], value: Scalar) -> Node:
    """Return `x` with `value` around it; negative widths cut."""
    cut = [
        (_positive(-low), n - _positive(-high), 1)
        for (low, high), n in zip(widths, x.shape, strict=True)
    ]
    if any(start > stop or stop < 0 for start, stop, _ in cut):
        raise ShapeError(f"pad: cutting {list(widths)} leaves less than nothing of {x.shape}")
    x = tensor.slice_(x, cut)
    spec = [(_positive(low), _positive(high), 0) for low, high in widths]
    padded = tensor.pad(x, spec)
    if padded is x or (value == 0 and str(value)[0] != "-"):
        return padded
    inside = tensor.pad(tensor.full(True, bool_, x.shape), spec)
    return inside.where(padded, const(value, x.dtype))


def _positive(width: int) -> int:
    """Return a width that is not below 0; bounds of a size decide if they can."""
    return 0 if most(width) <= 0 else max(width, 0)


def pad_by_copy(x: Node, widths: Sequence[tuple[int, int]], mode: str) -> Node:
    """Return `x` continued at its edges by its own elements."""
    for axis, (low, high) in enumerate(widths):
        n = x.shape[axis]
        limit = {"reflect": n - 1, "circular": n, "replicate": max(low, high) if n else 0}[mode]
        if min(low, high) < 0 or max(low, high) > limit:
            raise ShapeError(
                f"pad {mode}: widths {low}, {high} of axis {axis} must be 0 to {limit}"
            )
        x = tensor.cat(
            [_border(x, axis, low, mode, "low"), x, _border(x, axis, high, mode, "high")], axis
        )
    return x


def _border(x: Node, axis: int, width: int, mode: str, side: str) -> Node:
    """Return the `width` elements that go in front of (or behind) axis `axis`."""
    n = x.shape[axis]
    if not width:
        return tensor.shrink(x, axis, 0, 0)
    if mode == "replicate":
        edge = tensor.shrink(x, axis, 0, 1) if side == "low" else tensor.shrink(x, axis, n - 1, n)
        return tensor.expand(
            edge, tuple([width if i == axis else m for i, m in enumerate(x.shape)])
        )
    if mode == "circular":
        start = n - width if side == "low" else 0
        return tensor.shrink(x, axis, start, start + width)
    start = 1 if side == "low" else n - 1 - width
    return tensor.flip(tensor.shrink(x, axis, start, start + width), [axis])


def _tensors(parts: tuple[Any, ...], what: str) -> list[Any]:
    """Return the tensors given one by one or as one list."""
    found = list(flatten_args(parts))
    if not found:
        raise ShapeError(f"{what} needs at least one tensor")
    for part in found:
        if not isinstance(part, Movement):
            raise DTypeError(f"{what} needs tensors, got {type(part).__name__} {part!r:.60}")
    return found


def _same_dtype(nodes: list[Node]) -> list[Node]:
    target = nodes[0]
    for node in nodes[1:]:
        if node.dtype is not target.dtype:
            dtype = meet(target, node)
            target = target.cast(dtype)
    return [node.cast(target.dtype) for node in nodes]
