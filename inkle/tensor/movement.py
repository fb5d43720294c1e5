"""Movement: the same elements in another shape, order or place. Nothing is computed.

Results of reshape, permute, expand, slicing and flip are views: writing to one writes to the tensor
it was taken from (see `inkle.tensor.views`); reading one shows the values of the time it was taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Self

from inkle.errors import ShapeError
from inkle.ir import forms, tensor
from inkle.ir.size import is_exactly
from inkle.tensor.activations import Activations
from inkle.tensor.arguments import (
    Axes,
    as_int,
    as_ints,
    check_axes,
    check_axis,
    check_shape,
    fill_in,
    flatten_args,
)
from inkle.tensor.origin import stamp, user_line
from inkle.tensor.views import Step, View, apply_step


class Movement(Activations):
    """Mixin of movement operations."""

    __slots__ = ()

    def _moved(self, *steps: Step) -> Self:
        """Return the view that `steps` make of this tensor."""
        start = node = self.node
        for step in steps:
            node = apply_step(node, step)
        # Also where nothing moves: a view does not show what is assigned to this tensor later.
        line = user_line()
        stamp(node, line)
        storage, view = self._storage, self._view
        if view is None:
            view = View(storage, storage.current, start, steps, line)
        else:
            view = View(view.base, view.version, view.source, view.steps + steps, line)
        return self._of(node, storage.device, view)

    # --- shape ------------------------------------------------------------------------------------

    def reshape(self, *shape: Any) -> Self:
        """Return the same elements, in row-major order, as another shape.

        Args:
            shape: sizes, as numbers or one tuple; one may be -1: whatever is left.

        Returns:
            A view.

        Raises:
            ShapeError: if the sizes do not multiply to the number of elements.

        Example:
            >>> Tensor.arange(6).reshape(2, -1).shape
            (2, 3)
        """
        old = self.shape
        sizes = tuple([as_int(n, "size in reshape") for n in flatten_args(shape)])
        return self._moved((forms.RESHAPE, fill_in(sizes, old, "reshape")))

    def view(self, *shape: Any) -> Self:
        """Return the same elements as another shape (another name of `reshape`)."""
        return self.reshape(*shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Self:
        """Return a view with axes `start_dim` ... `end_dim` merged into one."""
        shape = self.shape
        if not shape:
            return self._moved((forms.RESHAPE, (1,)))
        first = check_axis(start_dim, len(shape), "flatten")
        last = check_axis(end_dim, len(shape), "flatten")
        if first > last:
            raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
        merged = prod(shape[first : last + 1])
        return self._moved((forms.RESHAPE, (*shape[:first], merged, *shape[last + 1 :])))

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Self:
        """Return a view with axis `dim` split into axes of `sizes` (one may be -1)."""
        shape = self.shape
        axis = check_axis(dim, len(shape), "unflatten")
        split = fill_in(as_ints(sizes, "size in unflatten"), (shape[axis],), "unflatten")
        return self._moved((forms.RESHAPE, (*shape[:axis], *split, *shape[axis + 1 :])))

    def squeeze(self, dim: Axes = None) -> Self:
        """Return a view without axes of length 1: all of them, or those of `dim` that are."""
        shape = self.shape
        axes = check_axes(dim, len(shape), "squeeze")
        kept = tuple([n for i, n in enumerate(shape) if i not in axes or not is_exactly(n, 1)])
        return self._moved((forms.RESHAPE, kept))

    def unsqueeze(self, dim: int) -> Self:
        """Return a view with a new axis of length 1 at `dim`."""
        shape = self.shape
        axis = check_axis(dim, len(shape) + 1, "unsqueeze")
        return self._moved((forms.RESHAPE, (*shape[:axis], 1, *shape[axis:])))

    def expand(self, *shape: Any) -> Self:
        """Return a view with axes of length 1 repeated, and new axes in front.

        Args:
            shape: sizes, as numbers or one tuple; -1 keeps the size.

        Returns:
            A view, which cannot be written to.
        """
        old = self.shape
        sizes = tuple([as_int(n, "size in expand") for n in flatten_args(shape)])
        missing = len(sizes) - len(old)
        if missing < 0:
            raise ShapeError(f"cannot expand {old} to {sizes}: it has more axes")
        padded = (1,) * missing + old
        full = tuple([n if m == -1 else m for n, m in zip(padded, sizes, strict=True)])
        if -1 in sizes[:missing]:
            raise ShapeError(f"cannot expand {old} to {sizes}: a new axis needs its size, not -1")
        return self._moved((forms.RESHAPE, padded), (forms.EXPAND, full))

    def broadcast_to(self, *shape: Any) -> Self:
        """Return a view of `shape` (another name of `expand`)."""
        return self.expand(*shape)

    def repeat(self, *repeats: Any) -> Self:
        """Return copies of the tensor laid side by side, `repeats[i]` along axis i."""
        counts = check_shape(repeats, "repeat")
        old = self.shape
        if len(counts) < len(old):
            raise ShapeError(f"repeat of {old} needs at least {len(old)} counts, got {counts}")
        padded = (1,) * (len(counts) - len(old)) + old
        apart = tuple([m for n in padded for m in (1, n)])
        copies = tuple([m for c, n in zip(counts, padded, strict=True) for m in (c, n)])
        final = tuple([c * n for c, n in zip(counts, padded, strict=True)])
        node = tensor.expand(tensor.reshape(self.node, apart), copies)
        return self._new(tensor.reshape(node, final))

    def repeat_interleave(self, repeats: int, dim: int | None = None) -> Self:
        """Return each element repeated `repeats` times along `dim` (None: flattened first)."""
        x = self.flatten() if dim is None else self
        axis = check_axis(0 if dim is None else dim, x.ndim, "repeat_interleave")
        (count,) = check_shape((as_int(repeats, "repeats"),), "repeat_interleave")
        shape = x.shape
        apart = (*shape[: axis + 1], 1, *shape[axis + 1 :])
        copies = (*shape[: axis + 1], count, *shape[axis + 1 :])
        final = (*shape[:axis], shape[axis] * count, *shape[axis + 1 :])
        node = tensor.expand(tensor.reshape(x.node, apart), copies)
        return self._new(tensor.reshape(node, final))

    # --- order ------------------------------------------------------------------------------------

    def permute(self, *order: Any) -> Self:
        """Return a view whose axis i is axis order[i] of this tensor."""
        axes = flatten_args(order)
        ndim = self.ndim
        if len(axes) != ndim:
            raise ShapeError(f"permute of {self.shape} needs {ndim} axes, got {tuple(axes)}")
        return self._moved((forms.PERMUTE, tuple([check_axis(a, ndim, "permute") for a in axes])))

    def transpose(self, dim0: int = 1, dim1: int = 0) -> Self:
        """Return a view with two axes exchanged."""
        ndim = self.ndim
        a, b = check_axis(dim0, ndim, "transpose"), check_axis(dim1, ndim, "transpose")
        order = list(range(ndim))
        order[a], order[b] = b, a
        return self._moved((forms.PERMUTE, tuple(order)))

    @property
    def T(self) -> Self:  # noqa: N802  (the name that everybody knows)
        """The axes in reverse order."""
        return self._moved((forms.PERMUTE, tuple(range(self.ndim))[::-1]))

    @property
    def mT(self) -> Self:  # noqa: N802  (PyTorch's name)
        """The last two axes exchanged."""
        return self.transpose(-2, -1)

    def movedim(self, source: int, destination: int) -> Self:
        """Return a view with axis `source` moved to place `destination`."""
        ndim = self.ndim
        a, b = check_axis(source, ndim, "movedim"), check_axis(destination, ndim, "movedim")
        order = [axis for axis in range(ndim) if axis != a]
        order.insert(b, a)
        return self._moved((forms.PERMUTE, tuple(order)))

    def flip(self, *axis: Any) -> Self:
        """Return a view with the given axes reversed."""
        axes = check_axes(flatten_args(axis), self.ndim, "flip")
        return self._moved((forms.FLIP, axes))

    def roll(self, shifts: Any, dims: Any = None) -> Self:
        """Return the elements moved by `shifts` places along `dims`, around the end.

        Args:
            shifts: one number, or one per axis of `dims`.
            dims: axes; None rolls the flattened tensor.

        Returns:
            Tensor of the same shape.
        """
        if dims is None:
            return self.flatten().roll(shifts, 0).reshape(self.shape)
        moves, axes = as_ints(shifts, "shift of roll"), as_ints(dims, "axis of roll")
        if len(moves) != len(axes):
            raise ShapeError(f"roll needs one shift per axis, got {moves} for axes {axes}")
        node = self.node
        for move, dim in zip(moves, axes, strict=True):
            axis = check_axis(dim, self.ndim, "roll")
            n = node.shape[axis]
            cut = -as_int(move, "shift in roll") % n if n else 0
            if cut:
                tail = tensor.shrink(node, axis, cut, n)
                node = tensor.cat([tail, tensor.shrink(node, axis, 0, cut)], axis)
        return self._new(node)
