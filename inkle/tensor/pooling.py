"""Pooling over the last one, two or three axes: maxima, means and norms of windows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Self

from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.ir import ops, tensor
from inkle.ir.dtype import bool_, int64
from inkle.ir.node import Node, Shape
from inkle.tensor.arguments import Flag, as_int, as_ints, as_number, check_each, check_shape
from inkle.tensor.convolution import Convolution, Each, image_windows, padded_windows
from inkle.tensor.cutting import pad_node
from inkle.tensor.reduction import sum_node


class Pooling(Convolution):
    """Mixin of pooling. Any axes may stand in front of those that are pooled."""

    __slots__ = ()

    # --- maxima -----------------------------------------------------------------------------------

    def max_pool1d(
        self,
        kernel_size: Each,
        stride: Each | None = None,
        padding: Each = 0,
        dilation: Each = 1,
        *,
        ceil_mode: Flag = False,
        return_indices: Flag = False,
    ) -> Any:
        """Return the largest element of each window of the last axis; see `max_pool2d`.

        Example:
            >>> Tensor([1.0, 5.0, 2.0, 4.0]).max_pool1d(2).tolist()
            [5.0, 4.0]
        """
        return self._max_pool(
            1, kernel_size, stride, padding, dilation, ceil_mode=ceil_mode,
            return_indices=return_indices,
        )  # fmt: skip

    def max_pool2d(
        self,
        kernel_size: Each = 2,
        stride: Each | None = None,
        padding: Each = 0,
        dilation: Each = 1,
        *,
        ceil_mode: Flag = False,
        return_indices: Flag = False,
    ) -> Any:
        """Return the largest element of each window of the last two axes; NaN if it has one.

        Args:
            kernel_size: size of the window, one number or (height, width).
            stride: distance of windows; by default their size.
            padding: border on which no maximum is taken, at most half the window.
            dilation: distance of neighbouring elements of a window.
            ceil_mode: keep windows that reach beyond the lower or right border.
            return_indices: also where each stands first in the flattened image, int64.

        Returns:
            (..., height out, width out). Equal largest elements share the gradient.

        Example:
            >>> x = Tensor.arange(16).reshape(1, 4, 4)
            >>> x.max_pool2d(2).tolist()
            [[[5, 7], [13, 15]]]
        """
        return self._max_pool(
            2, kernel_size, stride, padding, dilation, ceil_mode=ceil_mode,
            return_indices=return_indices,
        )  # fmt: skip

    def max_pool3d(
        self,
        kernel_size: Each,
        stride: Each | None = None,
        padding: Each = 0,
        dilation: Each = 1,
        *,
        ceil_mode: Flag = False,
        return_indices: Flag = False,
    ) -> Any:
        """Return the largest element of each window of the last three axes; see `max_pool2d`.

        Example:
            >>> Tensor.ones(2, 4, 4, 4).max_pool3d(2).shape
            (2, 2, 2, 2)
        """
        return self._max_pool(
            3, kernel_size, stride, padding, dilation, ceil_mode=ceil_mode,
            return_indices=return_indices,
        )  # fmt: skip

    def _max_pool(
        self,
        dims: int,
        kernel_size: Each,
        stride: Each | None,
        padding: Each,
        dilation: Each,
        *,
        ceil_mode: Flag,
        return_indices: Flag,
    ) -> Any:
        x = self.node
        pool = _Pool(x, dims, kernel_size, stride, padding, dilation, f"max_pool{dims}d")
        identity = ops.MAXIMUM.identity
        assert identity is not None
        views = pool.windows(x, identity(x.dtype), ceil_mode=ceil_mode)
        top = tensor.reduce(views, ops.MAXIMUM, pool.axes)
        if not return_indices:
            return self._new(top)
        coordinates = [
            tensor.broadcast_to(
                tensor.reshape(tensor.arange(out) * s - p, (out, 1)) if out else
                tensor.full(0, int64, (0, 1)), (out, k)
            ) + tensor.broadcast_to(tensor.arange(k) * d, (out, k))
            for out, k, s, p, d in zip(views.shape[-2 * dims :: 2], pool.size, pool.stride,
                                       pool.padding, pool.dilation, strict=True)
        ]  # fmt: skip
        return self._new(top), self._new(places_of_maxima(x, views, top, coordinates))

    def max_unpool1d(
        self,
        indices: Any,
        kernel_size: Each,
        stride: Each | None = None,
        padding: Each = 0,
        output_size: Sequence[int] | None = None,
    ) -> Self:
        """Return maxima put back where `max_pool1d` found them; see `max_unpool2d`.

        Example:
            >>> Tensor([[5.0, 4.0]]).max_unpool1d(Tensor([[1, 3]]), 2).tolist()
            [[0.0, 5.0, 0.0, 4.0]]
        """
        return self._max_unpool(1, indices, kernel_size, stride, padding, output_size)

    def max_unpool2d(
        self,
        indices: Any,
        kernel_size: Each = 2,
        stride: Each | None = None,
        padding: Each = 0,
        output_size: Sequence[int] | None = None,
    ) -> Self:
        """Return maxima put back where `max_pool2d` found them, and 0 elsewhere.

        Args:
            indices: what `max_pool2d` returned with them.
            kernel_size: size of the window of the pool.
            stride: distance of its windows; by default their size.
            padding: its padding.
            output_size: shape of the result, or its last two sizes; by default the smallest image
                that the pool would have made this of.

        Returns:
            (..., height out, width out).

        Example:
            >>> x = Tensor([[1.0, 2.0], [4.0, 3.0]])
            >>> x.max_pool2d(2, return_indices=True)[0].max_unpool2d(Tensor([[2]]), 2).tolist()
            [[0.0, 0.0], [4.0, 0.0]]
        """
        return self._max_unpool(2, indices, kernel_size, stride, padding, output_size)

    def max_unpool3d(
        self,
        indices: Any,
        kernel_size: Each,
        stride: Each | None = None,
        padding: Each = 0,
        output_size: Sequence[int] | None = None,
    ) -> Self:
        """Return maxima put back where `max_pool3d` found them; see `max_unpool2d`.

        Example:
            >>> y, places = Tensor.rand(2, 4, 4, 4).max_pool3d(2, return_indices=True)
            >>> y.max_unpool3d(places, 2).shape
            (2, 4, 4, 4)
        """
        return self._max_unpool(3, indices, kernel_size, stride, padding, output_size)

    def _max_unpool(
        self,
        dims: int,
        indices: Any,
        kernel_size: Each,
        stride: Each | None,
        padding: Each,
        output_size: Sequence[int] | None,
    ) -> Self:
        what = f"max_unpool{dims}d"
        x, places = self.node, self._operand(indices, what)
        if not isinstance(places, Node) or not places.dtype.is_integer or dims > len(x.shape):
            raise DTypeError(f"{what} needs an integer tensor of indices, got {indices!r:.60}")
        if places.shape != x.shape:
            raise ShapeError(f"{what}: values {x.shape} and indices {places.shape} differ")
        lead, image = x.shape[: len(x.shape) - dims], x.shape[len(x.shape) - dims :]
        size = check_each(kernel_size, dims, "kernel_size", least=1)
        steps = size if stride is None else check_each(stride, dims, "stride", least=1)
        pads = check_each(padding, dims, "padding", least=0)
        if output_size is None:
            rows = zip(image, size, steps, pads, strict=True)
            out: Shape = tuple([(n - 1) * s + k - 2 * p for n, k, s, p in rows])
        else:
            sizes = as_ints(output_size, "output_size")[-dims:]
            out = check_shape((check_each(sizes, dims, "output_size", least=0),), what)
        if min(out) < 0:
            raise ShapeError(f"{what}: padding {pads} leaves nothing of an image for {x.shape}")
        flat = tensor.reshape(x, (prod(lead), prod(image)))
        base = tensor.full(0, x.dtype, (prod(lead), prod(out)))
        where = tensor.reshape(places, flat.shape)
        return self._new(
            tensor.reshape(tensor.scatter(base, flat, [where], (0, -1), None), (*lead, *out))
        )

    # --- means and norms --------------------------------------------------------------------------

    def avg_pool1d(
        self,
        kernel_size: Each,
        stride: Each | None = None,
        padding: Each = 0,
        *,
        ceil_mode: Flag = False,
        count_include_pad: Flag = True,
    ) -> Self:
        """Return the mean of each window of the last axis; see `avg_pool2d`.

        Example:
            >>> Tensor([1.0, 5.0, 2.0, 4.0]).avg_pool1d(2).tolist()
            [3.0, 3.0]
        """
        return self._avg_pool(
            1, kernel_size, stride, padding, 1, None, ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )  # fmt: skip

    def avg_pool2d(
        self,
        kernel_size: Each = 2,
        stride: Each | None = None,
        padding: Each = 0,
        *,
        ceil_mode: Flag = False,
        count_include_pad: Flag = True,
        divisor_override: int | None = None,
        dilation: Each = 1,
    ) -> Self:
        """Return the mean of each window of the last two axes.

        Args:
            kernel_size: size of the window, one number or (height, width).
            stride: distance of windows; by default their size.
            padding: zeros around the image, at most half the window.
            ceil_mode: keep windows that reach beyond the lower or right border; what lies beyond
                the padding does not count.
            count_include_pad: whether padding counts as zeros of the mean.
            divisor_override: divide the sum by this, not by the number of elements.
            dilation: distance of neighbouring elements of a window.

        Returns:
            (..., height out, width out).

        Example:
            >>> Tensor([[1.0, 2.0], [3.0, 6.0]]).avg_pool2d(2).tolist()
            [[3.0]]
        """
        return self._avg_pool(
            2, kernel_size, stride, padding, dilation, divisor_override, ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )  # fmt: skip

    def avg_pool3d(
        self,
        kernel_size: Each,
        stride: Each | None = None,
        padding: Each = 0,
        *,
        ceil_mode: Flag = False,
        count_include_pad: Flag = True,
        divisor_override: int | None = None,
    ) -> Self:
        """Return the mean of each window of the last three axes; see `avg_pool2d`.

        Example:
            >>> Tensor.ones(4, 4, 4).avg_pool3d(2, padding=1).tolist()[0][0]
            [0.125, 0.25, 0.125]
        """
        return self._avg_pool(
            3, kernel_size, stride, padding, 1, divisor_override, ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )  # fmt: skip

    def _avg_pool(
        self,
        dims: int,
        kernel_size: Each,
        stride: Each | None,
        padding: Each,
        dilation: Each,
        divisor: int | None,
        *,
        ceil_mode: Flag,
        count_include_pad: Flag,
    ) -> Self:
        what = f"avg_pool{dims}d"
        x = self._floats_only(what)
        pool = _Pool(x, dims, kernel_size, stride, padding, dilation, what)
        views = pool.windows(x, 0, ceil_mode=ceil_mode)
        total = sum_node(views, pool.axes)
        if divisor is not None:
            if not as_int(divisor, "divisor_override"):
                raise OptionError(f"{what}: divisor_override must not be 0")
            return self._new(total / divisor)
        if not ceil_mode and (count_include_pad or not any(pool.padding)):
            return self._new(total / prod(pool.size))
        # How many elements count depends on the window: the same pool of ones.
        border = [(p, p) for p in pool.padding]
        none = [(0, 0)] * dims
        ones = tensor.full(1, x.dtype, x.shape[len(x.shape) - dims :])
        padded = pad_node(ones, border, 0)
        if count_include_pad:
            padded = tensor.full(1, x.dtype, padded.shape)
        high = [(0, 0) if h <= 0 else (0, h) for h in pool.beyond(ceil_mode=ceil_mode)]
        counted = pad_node(padded, high if ceil_mode else none, 0)
        counts = image_windows(counted, pool.size, pool.stride, pool.dilation, what)
        number = tensor.reduce(counts, ops.ADD, tuple(range(1, 2 * dims, 2)))
        return self._new(total / tensor.broadcast_to(number, total.shape))

    def lp_pool1d(
        self,
        norm_type: float,
        kernel_size: Each,
        stride: Each | None = None,
        *,
        ceil_mode: Flag = False,
    ) -> Self:
        """Return the sum of x ** p over each window, to the power 1 / p; see `lp_pool2d`.

        Example:
            >>> Tensor([3.0, 4.0, 0.0, 2.0]).lp_pool1d(2, 2).tolist()
            [5.0, 2.0]
        """
        return self._lp_pool(1, norm_type, kernel_size, stride, ceil_mode=ceil_mode)

    def lp_pool2d(
        self,
        norm_type: float,
        kernel_size: Each,
        stride: Each | None = None,
        *,
        ceil_mode: Flag = False,
    ) -> Self:
        """Return the sum of x ** p over each window of the last two axes, to the power 1 / p.

        Args:
            norm_type: p.
            kernel_size: size of the window, one number or (height, width).
            stride: distance of windows; by default their size.
            ceil_mode: keep windows that reach beyond the lower or right border; their sum counts as
                if it were that of a whole window (PyTorch's definition).

        Returns:
            (..., height out, width out).

        Example:
            >>> Tensor([[1.0, 2.0], [2.0, 4.0]]).lp_pool2d(2, 2).tolist()
            [[5.0]]
        """
        return self._lp_pool(2, norm_type, kernel_size, stride, ceil_mode=ceil_mode)

    def _lp_pool(
        self, dims: int, p: float, kernel_size: Each, stride: Each | None, *, ceil_mode: Flag
    ) -> Self:
        power = as_number(p, "norm_type")
        if not power:
            raise OptionError("lp_pool: there is no norm with p = 0")
        size = check_each(kernel_size, dims, "kernel_size", least=1)
        mean = self.pow(power)._avg_pool(
            dims, size, stride, 0, 1, None, ceil_mode=ceil_mode, count_include_pad=True
        )
        return mean.mul(prod(size)).pow(1 / power)


class _Pool:
    """The arguments of a pool, checked, one number per axis.

    Attributes:
        size, stride, padding, dilation: of the windows.
        axes: of the windows that are reduced.
    """

    def __init__(
        self, x: Node, dims: int, size: Each, stride: Each | None, padding: Each, dilation: Each,
        what: str,
    ) -> None:  # fmt: skip
        if len(x.shape) < dims:
            raise ShapeError(f"{what} needs at least {dims} axes, got {x.shape}")
        self.what, self.image = what, x.shape[len(x.shape) - dims :]
        self.size = check_each(size, dims, "kernel_size", least=1)
        self.stride = self.size if stride is None else check_each(stride, dims, "stride", least=1)
        self.dilation = check_each(dilation, dims, "dilation", least=1)
        self.padding = check_each(padding, dims, "padding", least=0)
        self.reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.size, strict=True)]
        if any(2 * p > n for p, n in zip(self.padding, self.reach, strict=True)):
            raise ShapeError(
                f"{what}: padding {self.padding} must be at most half the window {self.size}"
            )
        first = len(x.shape) - dims + 1
        self.axes = tuple(range(first, first + 2 * dims, 2))

    def beyond(self, *, ceil_mode: Flag) -> list[int]:
        """Return how far the last window reaches beyond the padding, for each axis."""
        out = []
        for n, s, p, reach in zip(self.image, self.stride, self.padding, self.reach, strict=True):
            padded, high = n + 2 * p, 0
            if ceil_mode and padded >= reach:
                number = -(-(padded - reach) // s) + 1
                if (number - 1) * s >= padded - p:  # would start behind the image
                    number -= 1
                high = max(0, (number - 1) * s + reach - padded)
            out.append(high)
        return out

    def windows(self, x: Node, fill: bool | int | float, *, ceil_mode: Flag) -> Node:
        """Return windows of the last axes of `x`, which is continued by `fill`."""
        more = self.beyond(ceil_mode=ceil_mode)
        high = tuple([p + n for p, n in zip(self.padding, more, strict=True)])
        return padded_windows(
            x, self.padding, high, fill, self.size, self.stride, self.dilation, self.what
        )


def places_of_maxima(x: Node, views: Node, top: Node, coordinates: Sequence[Node]) -> Node:
    """Return where in the flattened image of `x` the largest element of each window stands first.

    Args:
        x: (..., *image).
        views: its windows, (..., out, window, ...).
        top: largest of each window.
        coordinates: of the elements of `views` in the image, for each of its axes.
    """
    dims = len(coordinates)
    lead = len(views.shape) - 2 * dims
    axes = tuple(range(lead + 1, lead + 2 * dims, 2))
    image = x.shape[len(x.shape) - dims :]
    place, inside = tensor.full(0, int64, views.shape), tensor.full(True, bool_, views.shape)
    for i, each in enumerate(coordinates):
        row = [1] * len(views.shape)
        row[lead + 2 * i : lead + 2 * i + 2] = each.shape
        whole = tensor.expand(tensor.reshape(each, tuple(row)), views.shape)
        place = place * image[i] + whole
        inside = inside & (whole >= 0) & (whole < image[i])
    found = views.eq(tensor.unreduce(top, views.shape, axes))
    if x.dtype.is_float:
        found = found | views.ne(views)
    found = found & inside  # where all elements are the least number, padding is as large
    most = max(prod(image) - 1, 0)
    return tensor.reduce(found.where(place, most), ops.MINIMUM, axes).maximum(0).minimum(most)
