"""Images of another size: interpolation, pixels moved between channels and places, windows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Self

from inkle.errors import OptionError, ShapeError
from inkle.ir import ops, tensor
from inkle.ir.dtype import float32, float64, int64
from inkle.ir.node import Node
from inkle.tensor.adaptive import Adaptive, gathered
from inkle.tensor.arguments import (
    Flag,
    as_int,
    as_number,
    check_choice,
    check_each,
    check_shape,
)
from inkle.tensor.convolution import Each, image_windows
from inkle.tensor.cutting import pad_node

MODES = ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area")
AXES_OF = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}
CUBIC = -0.75  # Keys' parameter a; PyTorch and OpenCV use this one


class Resizing(Adaptive):
    """Mixin of interpolation and of pixels that move."""

    __slots__ = ()

    def interpolate(
        self,
        size: Each | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        *,
        align_corners: Flag | None = None,
        recompute_scale_factor: Flag | None = None,
    ) -> Self:
        """Return images of another size.

        Args:
            size: of the last axes, one number or one for each.
            scale_factor: new sizes over old ones, instead of `size`; results are rounded down.
            mode: "nearest" (PyTorch's old rounding), "nearest-exact", "linear" (one axis),
                "bilinear" or "bicubic" (two), "trilinear" (three), or "area" (means).
            align_corners: of the linear and cubic modes: corners lie on corners, instead of borders
                on borders.
            recompute_scale_factor: use the ratio of the sizes, not the given factor.

        Returns:
            (batch, channels, ...) with the last axes resized; float for all modes but the nearest.

        Raises:
            ShapeError: if the mode is for another number of axes.

        Example:
            >>> Tensor([[[1.0, 3.0]]]).interpolate(4, mode="linear").tolist()
            [[[1.0, 1.5, 2.5, 3.0]]]
            >>> Tensor([[[1, 3]]]).interpolate(scale_factor=2).tolist()
            [[[1, 1, 3, 3]]]
        """
        check_choice(mode, MODES, "mode of interpolate")
        dims = self._resized_axes(size if scale_factor is None else scale_factor, mode)
        if align_corners is not None and mode not in AXES_OF:
            raise OptionError(f"interpolate: align_corners is not for mode {mode!r}")
        old = self.shape[self.ndim - dims :]
        new, factors = _sizes(old, size, scale_factor)
        if 0 in old:
            raise ShapeError(f"interpolate: there is nothing in an image of {self.shape}")
        if recompute_scale_factor:
            factors = [None] * dims
        if mode == "area":
            return self._adaptive_avg(dims, new)
        x = self.node if mode in ("nearest", "nearest-exact") else self._floats_only("interpolate")
        result = x.dtype
        wide = x.cast(float32) if result.is_float and result.bits == 16 else x
        for i, (m, factor) in enumerate(zip(new, factors, strict=True)):
            axis = len(x.shape) - dims + i
            if mode in ("nearest", "nearest-exact"):
                place = _nearest(old[i], m, factor, exact=mode != "nearest")
                wide = tensor.reshape(gathered(wide, axis, tensor.reshape(place, (m, 1))),
                                      (*wide.shape[:axis], m, *wide.shape[axis + 1 :]))  # fmt: skip
            else:
                source = _source(old[i], m, factor, align_corners=bool(align_corners))
                wide = _weighted(wide, axis, source, cubic=mode == "bicubic")
        return self._new(wide.cast(result))

    def _resized_axes(self, given: Any, mode: str) -> int:
        """Return how many axes `interpolate` resizes: as many as there are sizes or factors."""
        dims = len(given) if isinstance(given, (tuple, list)) else self.ndim - 2
        if not 0 < dims <= self.ndim or dims != AXES_OF.get(mode, dims):
            raise ShapeError(
                f"interpolate: mode {mode!r} resizes {AXES_OF.get(mode, 'some')} axes behind batch "
                f"and channels, got {self.shape} and {given!r:.60}"
            )
        return dims

    # --- pixels -----------------------------------------------------------------------------------

    def pixel_shuffle(self, upscale_factor: int) -> Self:
        """Return (..., c * r * r, h, w) as (..., c, h * r, w * r) (Shi et al. 2016).

        Example:
            >>> Tensor([[[1]], [[2]], [[3]], [[4]]]).pixel_shuffle(2).tolist()
            [[[1, 2], [3, 4]]]
        """
        r = as_int(upscale_factor, "upscale_factor")
        if self.ndim < 3 or r < 1 or self.shape[-3] % (r * r):
            raise ShapeError(
                f"pixel_shuffle needs (..., channels, height, width) with channels a multiple of "
                f"{r * r}, got {self.shape}"
            )
        *lead, c, h, w = self.shape
        x = tensor.reshape(self.node, (*lead, c // (r * r), r, r, h, w))
        n = len(lead)
        x = tensor.permute(x, [*range(n + 1), n + 3, n + 1, n + 4, n + 2])
        return self._new(tensor.reshape(x, (*lead, c // (r * r), h * r, w * r)))

    def pixel_unshuffle(self, downscale_factor: int) -> Self:
        """Return (..., c, h * r, w * r) as (..., c * r * r, h, w): the inverse of `pixel_shuffle`.

        Example:
            >>> Tensor([[[1, 2], [3, 4]]]).pixel_unshuffle(2).flatten().tolist()
            [1, 2, 3, 4]
        """
        r = as_int(downscale_factor, "downscale_factor")
        if self.ndim < 3 or r < 1 or self.shape[-2] % r or self.shape[-1] % r:
            raise ShapeError(
                f"pixel_unshuffle needs (..., channels, height, width) with sizes that are "
                f"multiples of {r}, got {self.shape}"
            )
        *lead, c, h, w = self.shape
        x = tensor.reshape(self.node, (*lead, c, h // r, r, w // r, r))
        n = len(lead)
        x = tensor.permute(x, [*range(n + 1), n + 2, n + 4, n + 1, n + 3])
        return self._new(tensor.reshape(x, (*lead, c * r * r, h // r, w // r)))

    def channel_shuffle(self, groups: int) -> Self:
        """Return the channels (axis 1) of all groups taken in turn (Zhang et al. 2017).

        Example:
            >>> Tensor([[1, 2, 3, 4]]).channel_shuffle(2).tolist()
            [[1, 3, 2, 4]]
        """
        number = as_int(groups, "groups")
        if self.ndim < 2 or number < 1 or self.shape[1] % number:
            raise ShapeError(f"channel_shuffle: {groups} groups do not fit axis 1 of {self.shape}")
        b, c, *rest = self.shape
        x = tensor.reshape(self.node, (b, number, c // number, *rest))
        x = tensor.permute(x, [0, 2, 1, *range(3, len(x.shape))])
        return self._new(tensor.reshape(x, self.shape))

    # --- windows as columns -----------------------------------------------------------------------

    def im2col(
        self, kernel_size: Each, dilation: Each = 1, padding: Each = 0, stride: Each = 1
    ) -> Self:
        """Return the windows of images as columns (PyTorch's `unfold` of images).

        Args:
            kernel_size: size of a window, one number or (height, width).
            dilation: distance of neighbouring elements of a window.
            padding: zeros around the image.
            stride: distance of windows.

        Returns:
            (batch, channels * window, windows) for (batch, channels, height, width); the batch axis
            may be missing on both sides.

        Example:
            >>> Tensor([[[1, 2], [3, 4]]]).im2col((1, 2)).tolist()
            [[1, 3], [2, 4]]
        """
        if self.ndim not in (3, 4):
            raise ShapeError(f"im2col needs (batch, channels, height, width), got {self.shape}")
        *lead, c, _, _ = self.shape
        size, gaps, pads, steps = _window(kernel_size, dilation, padding, stride)
        widths = [(0, 0)] * (self.ndim - 2) + [(p, p) for p in pads]
        views = image_windows(pad_node(self.node, widths, 0), size, steps, gaps, "im2col")
        n = len(lead)
        x = tensor.permute(views, [*range(n + 1), n + 2, n + 4, n + 1, n + 3])
        return self._new(tensor.reshape(x, (*lead, c * prod(size), prod(views.shape[n + 1 :: 2]))))

    def col2im(
        self,
        output_size: Each,
        kernel_size: Each,
        dilation: Each = 1,
        padding: Each = 0,
        stride: Each = 1,
    ) -> Self:
        """Return the image in which columns of `im2col` are added at their places (`fold`).

        Args:
            output_size: of the image, one number or (height, width).
            kernel_size: size of a window; this and the following arguments as for `im2col`.
            dilation: distance of neighbouring elements of a window.
            padding: zeros around the image.
            stride: distance of windows.

        Returns:
            (batch, channels, height, width) for (batch, channels * window, windows); the batch axis
            may be missing on both sides.

        Example:
            >>> Tensor.ones(4, 4).col2im(3, 2).tolist()
            [[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]
        """
        size, gaps, pads, steps = _window(kernel_size, dilation, padding, stride)
        image = check_each(output_size, 2, "output_size", least=1)
        rows = list(zip(image, size, gaps, pads, steps, strict=True))
        out = tuple([(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in rows])
        if self.ndim not in (2, 3) or self.shape[-1] != prod(out) or self.shape[-2] % prod(size):
            raise ShapeError(
                f"col2im to {image} of windows {size} needs (batch, channels * {prod(size)}, "
                f"{prod(out)}), got {self.shape}"
            )
        *lead, columns, _ = self.shape
        x = tensor.reshape(self.node, (*lead, columns // prod(size), *size, *out))
        for i, row in enumerate(rows):
            x = _added(x, len(lead) + 1, len(lead) + 3 - i, row)
        return self._new(x)


def _window(
    kernel_size: Each, dilation: Each, padding: Each, stride: Each
) -> tuple[tuple[int, ...], ...]:
    """Return the four arguments, two numbers each."""
    return (
        check_each(kernel_size, 2, "kernel_size", least=1),
        check_each(dilation, 2, "dilation", least=1),
        check_each(padding, 2, "padding", least=0),
        check_each(stride, 2, "stride", least=1),
    )


def _added(x: Node, window: int, axis: int, row: tuple[int, int, int, int, int]) -> Node:
    """Return `x` with the axes of a window and of windows joined to one: the adjoint of windows.

    out[i * s + j * d - p] = sum of x[.., j, .., i, ..], where j is at axis `window`, i at `axis`.
    """
    n, k, d, p, s = row
    low, high = d * (k - 1), max(0, n + 2 * p - ((x.shape[axis] - 1) * s + 1))
    spec = [(0, 0, 0)] * len(x.shape)
    spec[axis] = (0, high, s - 1)
    x = tensor.pad(x, spec)
    x = tensor.shear(x, axis, window, -d) if low else x
    x = tensor.reduce(x, ops.ADD, (window,))  # `axis` is one to the left now, and so the last
    order = [*range(axis - 1), *range(axis, len(x.shape)), axis - 1]
    return tensor.permute(tensor.shrink(x, axis - 1, p, p + n), order)


def _sizes(
    old: Sequence[int], size: Any, scale_factor: Any
) -> tuple[tuple[int, ...], list[float | None]]:
    """Return the new sizes, and for each axis the factor that was given."""
    dims = len(old)
    if (size is None) == (scale_factor is None):
        raise OptionError("interpolate needs a size or a scale_factor, and not both")
    if scale_factor is None:
        return check_shape((check_each(size, dims, "size", least=1),), "interpolate"), [None] * dims
    several = isinstance(scale_factor, (tuple, list))
    items = list(scale_factor) if several else [scale_factor] * dims
    factors: list[float | None] = [as_number(each, "scale_factor") for each in items]
    for each in factors:
        if each is None or not 0 < each < float("inf"):
            raise OptionError(f"interpolate: scale_factor must be above 0, got {each}")
    new = [int(n * float(f or 0)) for n, f in zip(old, factors, strict=True)]
    return check_shape((check_each(new, dims, "size", least=1),), "interpolate"), factors


def _nearest(n: int, m: int, factor: float | None, *, exact: bool) -> Node:
    """Return the nearest places in an axis of n, for each of m."""
    i = tensor.arange(m)
    if factor is None:
        place = (i * 2 + 1) * n // (2 * m) if exact else i * n // m
    else:
        wide = i.cast(float64) + (0.5 if exact else 0.0)
        place = (wide / factor).cast(int64)
    return place.minimum(n - 1).maximum(0)


def _source(n: int, m: int, factor: float | None, *, align_corners: bool) -> Node:
    """Return where each of m elements lies in an axis of n, as float64."""
    i = tensor.arange(m).cast(float64)
    if align_corners:
        return i * ((n - 1) / (m - 1) if m > 1 else 0.0)
    return (i + 0.5) * (n / m if factor is None else 1 / factor) - 0.5


def _weighted(x: Node, axis: int, source: Node, *, cubic: bool) -> Node:
    """Return `x` along `axis` at places between elements: the next 2 (or 4) are weighted."""
    n, (m,) = x.shape[axis], source.shape
    if not cubic:
        source = source.maximum(0.0).minimum(float(n - 1))
    low = source.floor()
    t = (source - low).cast(x.dtype)
    first = low.cast(int64)
    taps: list[tuple[int, Node]] = [(0, 1 - t), (1, t)]
    if cubic:
        weights = [_cubic_far(t + 1), _cubic_near(t), _cubic_near(1 - t), _cubic_far(2 - t)]
        taps = list(enumerate(weights, -1))
    shape = (*x.shape[:axis], m, *x.shape[axis + 1 :])
    row = tuple([m if i == axis else 1 for i in range(len(shape))])
    total: Node | None = None
    for offset, weight in taps:
        place = (first + offset).maximum(0).minimum(n - 1)
        part = tensor.reshape(gathered(x, axis, tensor.reshape(place, (m, 1))), shape)
        part = part * tensor.expand(tensor.reshape(weight, row), shape)
        total = part if total is None else total + part
    assert total is not None
    return total


def _cubic_near(t: Node) -> Node:
    """Return the weight of an element at distance t, 0 ... 1 (Keys 1981, equation 4)."""
    return ((CUBIC + 2) * t - (CUBIC + 3)) * t * t + 1


def _cubic_far(t: Node) -> Node:
    """Return the weight of an element at distance t, 1 ... 2."""
    return ((t - 5) * t + 8) * t * CUBIC - 4 * CUBIC
