"""Convolution and pooling over the last two axes.

A sliding window is a view (EXPAND, SHEAR, SLICE): no index tensor, no copy. A convolution is the
product of the windows with the weight, summed; its gradients are loop nests of the same kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from inkle.errors import ShapeError
from inkle.ir import ops, tensor
from inkle.ir.node import Node
from inkle.tensor.arguments import Flag, as_int, check_pair
from inkle.tensor.cutting import pad_node, windows
from inkle.tensor.dtypes import DTypeLike, as_dtype
from inkle.tensor.linear import Linear, contract
from inkle.tensor.reduction import sum_node

Pair = int | Sequence[int]


class Convolution(Linear):
    """Mixin of convolution and pooling."""

    __slots__ = ()

    def conv2d(
        self,
        weight: Any,
        bias: Any = None,
        groups: int = 1,
        stride: Pair = 1,
        dilation: Pair = 1,
        padding: Pair = 0,
        dtype: DTypeLike | None = None,
    ) -> Self:
        """Return the two-dimensional cross-correlation with `weight`.

        Args:
            weight: (channels out, channels in / groups, kernel height, kernel width).
            bias: (channels out,) or None.
            groups: channels are divided into this many groups, which do not mix.
            stride: distance of neighbouring windows, one number or (height, width).
            dilation: distance of neighbouring elements of a window.
            padding: zeros around the image: one number, (height, width), or (left, right, top,
                bottom).
            dtype: as for `matmul`.

        Returns:
            (batch, channels out, height out, width out) for self of (batch, channels in, height,
            width); the batch axis may be missing on both sides.

        Raises:
            ShapeError: if shapes do not fit, or the window is larger than the padded image.
        """
        x, w = self._factors(weight, "conv2d")
        if len(x.shape) not in (3, 4) or len(w.shape) != 4:
            raise ShapeError(
                f"conv2d needs an image (batch, channels, height, width) and a weight of 4 axes, "
                f"got {x.shape} and {w.shape}"
            )
        image = x if len(x.shape) == 4 else tensor.reshape(x, (1, *x.shape))
        _check_channels(image, w, groups)
        stride, dilation = (
            check_pair(stride, "stride", least=1),
            check_pair(dilation, "dilation", least=1),
        )
        image = pad_node(image, [(0, 0), (0, 0), *_paddings(padding)], 0)
        result = None if dtype is None else as_dtype(dtype)
        views = image_windows(image, w.shape[2:], stride, dilation, "conv2d")
        out = _correlate(views, w, groups, result)
        if bias is not None:
            out = _add_bias(out, self._factors(bias, "conv2d")[1].cast(out.dtype))
        return self._new(out if len(x.shape) == 4 else tensor.reshape(out, out.shape[1:]))

    def conv_transpose2d(
        self,
        weight: Any,
        bias: Any = None,
        groups: int = 1,
        stride: Pair = 1,
        dilation: Pair = 1,
        padding: Pair = 0,
        output_padding: Pair = 0,
    ) -> Self:
        """Return the adjoint of `conv2d` with the same arguments, applied to self.

        Args:
            weight: (channels in, channels out / groups, kernel height, kernel width).
            bias: (channels out,) or None.
            groups: channels are divided into this many groups, which do not mix.
            stride: elements of self stand this far apart in the result.
            dilation: distance of neighbouring elements of a window.
            padding: cut from each border of the result.
            output_padding: added to the lower and right border.

        Returns:
            (batch, channels out, height out, width out); height out is (height - 1) * stride -
            2 * padding + dilation * (kernel height - 1) + output_padding + 1.
        """
        x, w = self._factors(weight, "conv_transpose2d")
        _check_transposed(x, w, groups)
        gaps = check_pair(dilation, "dilation", least=1)
        spread = _spread(x, w.shape[2:], stride, gaps, padding, output_padding)
        views = image_windows(spread, w.shape[2:], (1, 1), gaps, "conv_transpose2d")
        out = _correlate(views, _transposed(w, groups), groups, None)
        if bias is not None:
            out = _add_bias(out, self._factors(bias, "conv_transpose2d")[1].cast(out.dtype))
        return self._new(out)

    def max_pool2d(
        self,
        kernel_size: Pair = 2,
        stride: Pair | None = None,
        dilation: Pair = 1,
        padding: Pair = 0,
        *,
        ceil_mode: Flag = False,
    ) -> Self:
        """Return the largest element of each window of the last two axes; NaN if it has one.

        Args:
            kernel_size: size of the window, one number or (height, width).
            stride: distance of windows; by default their size.
            dilation: distance of neighbouring elements of a window.
            padding: border on which no maximum is taken, at most half the window.
            ceil_mode: keep windows that reach beyond the lower or right border.

        Returns:
            (..., height out, width out). Equal largest elements share the gradient.
        """
        x = self.node
        identity = ops.MAXIMUM.identity
        assert identity is not None
        views, _ = self._pool(
            x,
            kernel_size,
            stride,
            dilation,
            padding,
            identity(x.dtype),
            "max_pool2d",
            ceil_mode=ceil_mode,
        )
        rank = len(x.shape)
        return self._new(tensor.reduce(views, ops.MAXIMUM, (rank - 1, rank + 1)))

    def avg_pool2d(
        self,
        kernel_size: Pair = 2,
        stride: Pair | None = None,
        dilation: Pair = 1,
        padding: Pair = 0,
        *,
        ceil_mode: Flag = False,
        count_include_pad: Flag = True,
    ) -> Self:
        """Return the mean of each window of the last two axes.

        Args:
            kernel_size: size of the window, one number or (height, width).
            stride: distance of windows; by default their size.
            dilation: distance of neighbouring elements of a window.
            padding: zeros around the image, at most half the window.
            ceil_mode: keep windows that reach beyond the lower or right border; what lies beyond
                the padding does not count.
            count_include_pad: whether padding counts as zeros of the mean.

        Returns:
            (..., height out, width out).
        """
        x = self._floats_only("avg_pool2d")
        views, size = self._pool(
            x, kernel_size, stride, dilation, padding, 0, "avg_pool2d", ceil_mode=ceil_mode
        )
        rank = len(x.shape)
        axes = (rank - 1, rank + 1)
        total = sum_node(views, axes)
        padded = check_pair(padding, "padding", least=0)
        if not ceil_mode and (count_include_pad or padded == (0, 0)):
            return self._new(total / (size[0] * size[1]))
        border = [(p, p) if count_include_pad else (0, 0) for p in padded]
        ones = tensor.full(1, x.dtype, x.shape[-2:])
        counted = tensor.full(1, x.dtype, pad_node(ones, border, 0).shape)
        inner = [(0, 0) if count_include_pad else (p, p) for p in padded]
        counts, _ = self._pool(
            pad_node(counted, inner, 0), kernel_size, stride, dilation, 0, 0, "avg_pool2d",
            ceil_mode=ceil_mode, limit=views.shape[-4::2],
        )  # fmt: skip
        number = tensor.reduce(counts, ops.ADD, (1, 3))
        return self._new(total / tensor.broadcast_to(number, total.shape))

    def _pool(
        self,
        x: Node,
        kernel_size: Pair,
        stride: Pair | None,
        dilation: Pair,
        padding: Pair,
        fill: bool | int | float,
        what: str,
        *,
        ceil_mode: Flag,
        limit: Sequence[int] | None = None,
    ) -> tuple[Node, tuple[int, int]]:
        """Return windows of the last two axes, (..., h, kernel h, w, kernel w), and their size."""
        if len(x.shape) < 2:
            raise ShapeError(f"{what} needs at least two axes, got {x.shape}")
        size = check_pair(kernel_size, "kernel_size", least=1)
        steps = size if stride is None else check_pair(stride, "stride", least=1)
        gaps = check_pair(dilation, "dilation", least=1)
        pads = check_pair(padding, "padding", least=0)
        if any(2 * p > k for p, k in zip(pads, size, strict=True)):
            raise ShapeError(f"{what}: padding {pads} must be at most half the window {size}")
        high = [0, 0]
        for i in range(2):
            n, reach = x.shape[-2 + i] + 2 * pads[i], gaps[i] * (size[i] - 1) + 1
            if limit is not None:
                high[i] = max(0, (limit[i] - 1) * steps[i] + reach - n)
            elif ceil_mode and n >= reach:
                number = -(-(n - reach) // steps[i]) + 1
                if (number - 1) * steps[i] >= n - pads[i]:  # would start behind the image
                    number -= 1
                high[i] = max(0, (number - 1) * steps[i] + reach - n)
        widths = [(0, 0)] * (len(x.shape) - 2) + [
            (p, p + h) for p, h in zip(pads, high, strict=True)
        ]
        return image_windows(pad_node(x, widths, fill), size, steps, gaps, what), size


def image_windows(
    x: Node, size: Sequence[int], stride: Sequence[int], dilation: Sequence[int], what: str
) -> Node:
    """Return the windows of the last two axes: (..., h, kernel h, w, kernel w)."""
    rank = len(x.shape)
    for n, k, d in zip(x.shape[-2:], size, dilation, strict=True):
        if k < 1 or d * (k - 1) + 1 > n:
            raise ShapeError(
                f"{what}: a window of {tuple(size)}, dilation {tuple(dilation)}, does not fit the "
                f"padded image of {x.shape[-2:]}"
            )
    x = windows(x, rank - 1, size[1], stride[1], dilation[1])
    return windows(x, rank - 2, size[0], stride[0], dilation[0])


def _check_channels(x: Node, w: Node, groups: int) -> None:
    if as_int(groups, "groups") < 1 or w.shape[0] % groups:
        raise ShapeError(f"conv2d: {groups} groups do not divide {w.shape[0]} channels out")
    if x.shape[1] != w.shape[1] * groups:
        raise ShapeError(
            f"conv2d: the image has {x.shape[1]} channels, the weight {w.shape} with {groups} "
            f"groups needs {w.shape[1] * groups}"
        )


def _check_transposed(x: Node, w: Node, groups: int) -> None:
    if len(x.shape) != 4 or len(w.shape) != 4 or x.shape[1] != w.shape[0]:
        raise ShapeError(
            f"conv_transpose2d needs (batch, c, height, width) and a weight (c, out / groups, "
            f"height, width), got {x.shape} and {w.shape}"
        )
    if as_int(groups, "groups") < 1 or w.shape[0] % groups:
        raise ShapeError(f"conv_transpose2d: {groups} groups do not divide {w.shape[0]} channels")


def _spread(
    x: Node,
    kernel: Sequence[int],
    stride: Pair,
    dilation: Sequence[int],
    padding: Pair,
    output_padding: Pair,
) -> Node:
    """Return the image whose plain convolution is the transposed one: with zeros in between.

    Each element of `x` reaches as many results as the kernel is long, so that many zeros are around
    it; `padding` cuts some of them off, `output_padding` adds some at the lower and right border.
    """
    between, around = [(0, 0, 0), (0, 0, 0)], [(0, 0), (0, 0)]
    for s, d, k, p, extra in zip(
        check_pair(stride, "stride", least=1),
        dilation,
        kernel,
        check_pair(padding, "padding", least=0),
        check_pair(output_padding, "output_padding", least=0),
        strict=True,
    ):
        reach = d * (k - 1)
        between.append((0, 0, s - 1))
        around.append((reach - p, reach - p + extra))
    return pad_node(tensor.pad(x, between), around, 0)


def _transposed(w: Node, groups: int) -> Node:
    """Return the weight (c, o / groups, h, w) mirrored, as (o, c / groups, h, w) in groups."""
    c, o, height, width = w.shape
    mirrored = tensor.reshape(tensor.flip(w, (2, 3)), (groups, c // groups, o, height, width))
    swapped = tensor.permute(mirrored, (0, 2, 1, 3, 4))
    return tensor.reshape(swapped, (groups * o, c // groups, height, width))


def _paddings(padding: Pair) -> list[tuple[int, int]]:
    """Return (low, high) of height and of width."""
    if not isinstance(padding, int) and len(padding) == 4:
        left, right, top, bottom = (as_int(p, "padding") for p in padding)
        if min(left, right, top, bottom) < 0:
            raise ShapeError(f"padding must be at least 0, got {padding}")
        return [(top, bottom), (left, right)]
    high, wide = check_pair(padding, "padding", least=0)
    return [(high, high), (wide, wide)]


def _correlate(views: Node, w: Node, groups: int, dtype: Any) -> Node:
    """Return the sum over windows and channels of the products of `views` and the weight."""
    b, c, oh, kh, ow, kw = views.shape
    o = w.shape[0]
    per = c // groups
    if groups == 1:
        moved = tensor.permute(views, (0, 2, 4, 1, 3, 5))
        image = tensor.reshape(moved, (b, 1, oh, ow, c, kh, kw))
        weight = tensor.reshape(w, (1, o, 1, 1, c, kh, kw))
        return contract(image, weight, (b, o, oh, ow, c, kh, kw), (4, 5, 6), dtype)
    split = tensor.reshape(views, (b, groups, per, oh, kh, ow, kw))
    image = tensor.reshape(
        tensor.permute(split, (0, 1, 3, 5, 2, 4, 6)), (b, groups, 1, oh, ow, per, kh, kw)
    )
    weight = tensor.reshape(w, (1, groups, o // groups, 1, 1, per, kh, kw))
    full = (b, groups, o // groups, oh, ow, per, kh, kw)
    return tensor.reshape(contract(image, weight, full, (5, 6, 7), dtype), (b, o, oh, ow))


def _add_bias(x: Node, bias: Node) -> Node:
    if bias.shape != (x.shape[1],):
        raise ShapeError(f"bias must be ({x.shape[1]},), one per channel, got {bias.shape}")
    return x + tensor.broadcast_to(tensor.reshape(bias, (*bias.shape, 1, 1)), x.shape)
