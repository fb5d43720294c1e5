"""Pools of as many windows as wanted, which cover the last axes evenly."""

from __future__ import annotations

from math import gcd
from typing import Any, Self

from inkle.errors import ShapeError
from inkle.ir import ops, tensor
from inkle.ir.dtype import bool_
from inkle.ir.node import Node
from inkle.tensor.arguments import Flag, check_each, check_shape
from inkle.tensor.pooling import Pooling, places_of_maxima
from inkle.tensor.reduction import sum_node


class Adaptive(Pooling):
    """Mixin of adaptive pools."""

    __slots__ = ()

    def adaptive_avg_pool1d(self, output_size: Any) -> Self:
        """Return means of `output_size` windows of the last axis; see `adaptive_avg_pool2d`.

        Example:
            >>> Tensor([1.0, 2.0, 3.0]).adaptive_avg_pool1d(2).tolist()
            [1.5, 2.5]
        """
        return self._adaptive_avg(1, output_size)

    def adaptive_avg_pool2d(self, output_size: Any) -> Self:
        """Return means of windows that cover the last two axes evenly, `output_size` of them.

        Window i of an axis of length n is from floor(i n / out) to ceil((i + 1) n / out).

        Args:
            output_size: one number, or (height, width), where None keeps the size.

        Returns:
            (..., height out, width out).

        Example:
            >>> Tensor.arange(8).float().reshape(1, 2, 4).adaptive_avg_pool2d((1, 2)).tolist()
            [[[2.5, 4.5]]]
        """
        return self._adaptive_avg(2, output_size)

    def adaptive_avg_pool3d(self, output_size: Any) -> Self:
        """Return means of windows of the last three axes; see `adaptive_avg_pool2d`.

        Example:
            >>> Tensor.ones(4, 5, 6, 7).adaptive_avg_pool3d((2, None, 3)).shape
            (4, 2, 6, 3)
        """
        return self._adaptive_avg(3, output_size)

    def _adaptive_avg(self, dims: int, output_size: Any) -> Self:
        x = self._floats_only(f"adaptive_avg_pool{dims}d")
        windows = _Adaptive(x, dims, output_size, f"adaptive_avg_pool{dims}d")
        total = sum_node(windows.inside.where(windows.views, 0), windows.axes)
        number = sum_node(windows.inside.cast(x.dtype), windows.axes)
        return self._new(total / number)

    def adaptive_max_pool1d(self, output_size: Any, *, return_indices: Flag = False) -> Any:
        """Return maxima of `output_size` windows of the last axis; see `adaptive_max_pool2d`.

        Example:
            >>> Tensor([1, 2, 3]).adaptive_max_pool1d(2).tolist()
            [2, 3]
        """
        return self._adaptive_max(1, output_size, return_indices=return_indices)

    def adaptive_max_pool2d(self, output_size: Any, *, return_indices: Flag = False) -> Any:
        """Return maxima of windows that cover the last two axes evenly; see `adaptive_avg_pool2d`.

        Args:
            output_size: one number, or (height, width), where None keeps the size.
            return_indices: also where each stands first in the flattened image, int64.

        Returns:
            (..., height out, width out).

        Example:
            >>> Tensor([[1, 2, 3], [4, 5, 6]]).adaptive_max_pool2d(1, return_indices=True)[1].item()
            5
        """
        return self._adaptive_max(2, output_size, return_indices=return_indices)

    def adaptive_max_pool3d(self, output_size: Any, *, return_indices: Flag = False) -> Any:
        """Return maxima of windows of the last three axes; see `adaptive_max_pool2d`.

        Example:
            >>> Tensor.ones(4, 5, 6, 7).adaptive_max_pool3d(3).shape
            (4, 3, 3, 3)
        """
        return self._adaptive_max(3, output_size, return_indices=return_indices)

    def _adaptive_max(self, dims: int, output_size: Any, *, return_indices: Flag) -> Any:
        x = self.node
        windows = _Adaptive(x, dims, output_size, f"adaptive_max_pool{dims}d")
        identity = ops.MAXIMUM.identity
        assert identity is not None
        views = windows.inside.where(windows.views, identity(x.dtype))
        top = tensor.reduce(views, ops.MAXIMUM, windows.axes)
        if not return_indices:
            return self._new(top)
        return self._new(top), self._new(places_of_maxima(x, views, top, windows.coordinates))


class _Adaptive:
    """Windows of the last axes that cover them evenly, as many as wanted.

    Attributes:
        views: (..., out, window, out, window, ...), windows as long as the longest.
        inside: where these are part of the window.
        coordinates: of their elements in the image, (out, window) for each axis.
        axes: of the windows.
    """

    def __init__(self, x: Node, dims: int, output_size: Any, what: str) -> None:
        first = len(x.shape) - dims
        if first < 0 or 0 in x.shape[first:]:
            raise ShapeError(f"{what} needs {dims} axes that are not empty, got {x.shape}")
        given = output_size if isinstance(output_size, (tuple, list)) else [output_size] * dims
        if len(given) != dims:
            raise ShapeError(f"{what}: output_size needs {dims} numbers, got {output_size!r:.60}")
        image = x.shape[first:]
        wanted = [n if m is None else m for n, m in zip(image, given, strict=True)]
        out = check_shape((check_each(wanted, dims, "output_size", least=0),), what)
        views, inside, self.coordinates = x, tensor.full(True, bool_, ()), list[Node]()
        for axis, (n, m) in enumerate(zip(image, out, strict=True)):
            start = tensor.arange(m) * n // max(m, 1)
            stop = (tensor.arange(m) * n + (n + m - 1)) // max(m, 1)
            # Of ceil((r + n) / m) with r = i n mod m, which is a multiple of gcd(n, m) below m.
            longest = -(-(m - gcd(n, m) + n) // m) if m else 1
            full = (m, longest)
            offset = tensor.broadcast_to(tensor.arange(longest), full)
            place = tensor.expand(tensor.reshape(start, (m, 1)), full) + offset
            within = place < tensor.expand(tensor.reshape(stop, (m, 1)), full)
            place = place.minimum(n - 1)
            views = gathered(views, first + 2 * axis, place)
            old = tensor.reshape(inside, (*inside.shape, 1, 1))
            grown = (*inside.shape, *full)
            inside = tensor.expand(old, grown) & tensor.broadcast_to(within, grown)
            self.coordinates.append(place)
        self.views, self.inside = views, tensor.broadcast_to(inside, views.shape)
        self.axes = tuple(range(first + 1, first + 2 * dims, 2))


def gathered(x: Node, axis: int, place: Node) -> Node:
    """Return `x` read at the places of a matrix along `axis`, which becomes two axes."""
    shape = (*x.shape[:axis], *place.shape, *x.shape[axis + 1 :])
    row = (*[1] * axis, *place.shape, *[1] * (len(x.shape) - axis - 1))
    index = tensor.expand(tensor.reshape(place, row), shape)
    spec = [i if i < axis else i + 1 for i in range(len(x.shape))]
    spec[axis] = -1
    return tensor.gather(x, [index], spec)
