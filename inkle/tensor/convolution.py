"""Convolution over the last one, two or three axes.

A sliding window is a view (EXPAND, SHEAR, SLICE): no index tensor, no copy. A convolution is the
product of the windows with the weight, summed; its gradients are loop nests of the same kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from inkle.errors import ShapeError
from inkle.ir import tensor
from inkle.ir.node import Node
from inkle.tensor.arguments import as_int, as_ints, check_choice, check_each
from inkle.tensor.cutting import pad_node, windows
from inkle.tensor.dtypes import DTypeLike, as_dtype
from inkle.tensor.linear import Linear, contract
from inkle.tensor.written_out import written_out

Each = int | Sequence[int]  # one number for all axes, or one for each


class Convolution(Linear):
    """Mixin of convolutions."""

    __slots__ = ()

    def conv1d(
        self,
        weight: Any,
        bias: Any = None,
        stride: Each = 1,
        padding: Each | str = 0,
        dilation: Each = 1,
        groups: int = 1,
        dtype: DTypeLike | None = None,
    ) -> Self:
        """Return the one-dimensional cross-correlation with `weight`; arguments as for `conv2d`.

        Example:
            >>> Tensor([[1.0, 2.0, 4.0]]).conv1d(Tensor([[[1.0, -1.0]]])).tolist()
            [[-1.0, -2.0]]
        """
        return self._conv(1, weight, bias, stride, padding, dilation, groups, dtype)

    def conv2d(
        self,
        weight: Any,
        bias: Any = None,
        stride: Each = 1,
        padding: Each | str = 0,
        dilation: Each = 1,
        groups: int = 1,
        dtype: DTypeLike | None = None,
    ) -> Self:
        """Return the two-dimensional cross-correlation with `weight`.

        Args:
            weight: (channels out, channels in / groups, kernel height, kernel width).
            bias: (channels out,) or None.
            stride: distance of neighbouring windows, one number or (height, width).
            padding: zeros around the image: one number, (height, width), (left, right, top,
                bottom), "valid" for none, or "same" for as many as keep its size.
            dilation: distance of neighbouring elements of a window.
            groups: channels are divided into this many groups, which do not mix.
            dtype: as for `matmul`.

        Returns:
            (batch, channels out, height out, width out) for self of (batch, channels in, height,
            width); the batch axis may be missing on both sides.

        Raises:
            ShapeError: if shapes do not fit, or the window is larger than the padded image.

        Example:
            >>> x = Tensor.arange(9).float().reshape(1, 1, 3, 3)
            >>> x.conv2d(Tensor.ones(1, 1, 2, 2)).tolist()
            [[[[8.0, 12.0], [20.0, 24.0]]]]
        """
        return self._conv(2, weight, bias, stride, padding, dilation, groups, dtype)

    def conv3d(
        self,
        weight: Any,
        bias: Any = None,
        stride: Each = 1,
        padding: Each | str = 0,
        dilation: Each = 1,
        groups: int = 1,
        dtype: DTypeLike | None = None,
    ) -> Self:
        """Return the three-dimensional cross-correlation with `weight`; arguments as for `conv2d`.

        Example:
            >>> Tensor.ones(1, 4, 5, 6).conv3d(Tensor.ones(2, 1, 3, 3, 3), stride=2).shape
            (2, 1, 2, 2)
        """
        return self._conv(3, weight, bias, stride, padding, dilation, groups, dtype)

    def _conv(
        self,
        dims: int,
        weight: Any,
        bias: Any,
        stride: Each,
        padding: Each | str,
        dilation: Each,
        groups: int,
        dtype: DTypeLike | None,
    ) -> Self:
        what = f"conv{dims}d"
        x, w = self._factors(weight, what)
        if len(x.shape) not in (dims + 1, dims + 2) or len(w.shape) != dims + 2:
            raise ShapeError(
                f"{what} needs an image (batch, channels, {_AXES[dims]}) and a weight of "
                f"{dims + 2} axes, got {x.shape} and {w.shape}"
            )
        batched = len(x.shape) == dims + 2
        image = x if batched else tensor.reshape(x, (1, *x.shape))
        _check_channels(image, w, groups, what)
        steps = check_each(stride, dims, "stride", least=1)
        gaps = check_each(dilation, dims, "dilation", least=1)
        widths = _paddings(padding, w.shape[2:], steps, gaps)
        low, high = zip(*widths, strict=True)
        result = None if dtype is None else as_dtype(dtype)
        views = padded_windows(image, low, high, 0, w.shape[2:], steps, gaps, what)
        out = _correlate(views, w, groups, result)
        if bias is not None:
            out = _add_bias(out, self._factors(bias, what)[1].cast(out.dtype))
        return self._new(out if batched else tensor.reshape(out, out.shape[1:]))

    # --- transposed -------------------------------------------------------------------------------

    def conv_transpose1d(
        self,
        weight: Any,
        bias: Any = None,
        stride: Each = 1,
        padding: Each = 0,
        output_padding: Each = 0,
        groups: int = 1,
        dilation: Each = 1,
    ) -> Self:
        """Return the adjoint of `conv1d`, applied to self; arguments as for `conv_transpose2d`.

        Example:
            >>> Tensor([[1.0, 2.0]]).conv_transpose1d(Tensor([[[1.0, 1.0]]]), stride=2).tolist()
            [[1.0, 1.0, 2.0, 2.0]]
        """
        return self._transposed(1, weight, bias, stride, padding, output_padding, groups, dilation)

    def conv_transpose2d(
        self,
        weight: Any,
        bias: Any = None,
        stride: Each = 1,
        padding: Each = 0,
        output_padding: Each = 0,
        groups: int = 1,
        dilation: Each = 1,
    ) -> Self:
        """Return the adjoint of `conv2d` with the same arguments, applied to self.

        Args:
            weight: (channels in, channels out / groups, kernel height, kernel width).
            bias: (channels out,) or None.
            stride: elements of self stand this far apart in the result.
            padding: cut from each border of the result.
            output_padding: added to the lower and right border.
            groups: channels are divided into this many groups, which do not mix.
            dilation: distance of neighbouring elements of a window.

        Returns:
            (batch, channels out, height out, width out); height out is (height - 1) * stride -
            2 * padding + dilation * (kernel height - 1) + output_padding + 1. The batch axis may be
            missing on both sides.

        Example:
            >>> x = Tensor.ones(1, 1, 4, 4)
            >>> x.conv_transpose2d(Tensor.ones(1, 2, 3, 3), stride=2, padding=1).shape
            (1, 2, 7, 7)
        """
        return self._transposed(2, weight, bias, stride, padding, output_padding, groups, dilation)

    def conv_transpose3d(
        self,
        weight: Any,
        bias: Any = None,
        stride: Each = 1,
        padding: Each = 0,
        output_padding: Each = 0,
        groups: int = 1,
        dilation: Each = 1,
    ) -> Self:
        """Return the adjoint of `conv3d`, applied to self; arguments as for `conv_transpose2d`.

        Example:
            >>> Tensor.ones(1, 2, 2, 2).conv_transpose3d(Tensor.ones(1, 3, 2, 2, 2)).shape
            (3, 3, 3, 3)
        """
        return self._transposed(3, weight, bias, stride, padding, output_padding, groups, dilation)

    def _transposed(
        self,
        dims: int,
        weight: Any,
        bias: Any,
        stride: Each,
        padding: Each,
        output_padding: Each,
        groups: int,
        dilation: Each,
    ) -> Self:
        what = f"conv_transpose{dims}d"
        x, w = self._factors(weight, what)
        batched = len(x.shape) == dims + 2
        image = x if batched else tensor.reshape(x, (1, *x.shape))
        _check_transposed(image, w, groups, dims)
        gaps = check_each(dilation, dims, "dilation", least=1)
        spread = _spread(image, w.shape[2:], stride, gaps, padding, output_padding)
        views = image_windows(spread, w.shape[2:], (1,) * dims, gaps, what)
        out = _correlate(views, _mirrored(w, groups), groups, None)
        if bias is not None:
            out = _add_bias(out, self._factors(bias, what)[1].cast(out.dtype))
        return self._new(out if batched else tensor.reshape(out, out.shape[1:]))


_AXES = {1: "length", 2: "height, width", 3: "depth, height, width"}


def image_windows(
    x: Node, size: Sequence[int], stride: Sequence[int], dilation: Sequence[int], what: str
) -> Node:
    """Return the windows of the last axes: for two of them (..., h, kernel h, w, kernel w)."""
    rank, dims = len(x.shape), len(size)
    for n, k, d in zip(x.shape[rank - dims :], size, dilation, strict=True):
        if k < 1 or d * (k - 1) + 1 > n:
            raise ShapeError(
                f"{what}: a window of {tuple(size)}, dilation {tuple(dilation)}, does not fit the "
                f"padded image of {x.shape[rank - dims :]}"
            )
    for i in reversed(range(dims)):
        x = windows(x, rank - dims + i, size[i], stride[i], dilation[i])
    return x


@written_out
def padded_windows(
    x: Node,
    low: tuple[int, ...],
    high: tuple[int, ...],
    fill: bool | int | float,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    what: str,
) -> Node:
    """Return `image_windows` of `x` with `fill` around its last axes, `low` and `high` of each."""
    lead = [(0, 0)] * (len(x.shape) - len(low))
    padded = pad_node(x, [*lead, *zip(low, high, strict=True)], fill)
    return image_windows(padded, size, stride, dilation, what)


def _check_channels(x: Node, w: Node, groups: int, what: str) -> None:
    if as_int(groups, "groups") < 1 or w.shape[0] % groups:
        raise ShapeError(f"{what}: {groups} groups do not divide {w.shape[0]} channels out")
    if x.shape[1] != w.shape[1] * groups:
        raise ShapeError(
            f"{what}: the image has {x.shape[1]} channels, the weight {w.shape} with {groups} "
            f"groups needs {w.shape[1] * groups}"
        )


def _check_transposed(x: Node, w: Node, groups: int, dims: int) -> None:
    what, axes = f"conv_transpose{dims}d", _AXES[dims]
    if len(x.shape) != dims + 2 or len(w.shape) != dims + 2 or x.shape[1] != w.shape[0]:
        raise ShapeError(
            f"{what} needs (batch, c, {axes}) and a weight (c, out / groups, {axes}), got "
            f"{x.shape} and {w.shape}"
        )
    if as_int(groups, "groups") < 1 or w.shape[0] % groups:
        raise ShapeError(f"{what}: {groups} groups do not divide {w.shape[0]} channels")


def _spread(
    x: Node,
    kernel: Sequence[int],
    stride: Each,
    dilation: Sequence[int],
    padding: Each,
    output_padding: Each,
) -> Node:
    """Return the image whose plain convolution is the transposed one: with zeros in between.

    Each element of `x` reaches as many results as the kernel is long, so that many zeros are around
    it; `padding` cuts some of them off, `output_padding` adds some at the lower and right border.
    """
    between, around = [(0, 0, 0), (0, 0, 0)], [(0, 0), (0, 0)]
    dims = len(kernel)
    for s, d, k, p, extra in zip(
        check_each(stride, dims, "stride", least=1),
        dilation,
        kernel,
        check_each(padding, dims, "padding", least=0),
        check_each(output_padding, dims, "output_padding", least=0),
        strict=True,
    ):
        reach = d * (k - 1)
        between.append((0, 0, s - 1))
        around.append((reach - p, reach - p + extra))
    return pad_node(tensor.pad(x, between), around, 0)


def _mirrored(w: Node, groups: int) -> Node:
    """Return the weight (c, o / groups, ...) mirrored, as (o, c / groups, ...) in groups."""
    c, o, *kernel = w.shape
    axes = range(2, len(w.shape))
    mirrored = tensor.reshape(tensor.flip(w, tuple(axes)), (groups, c // groups, o, *kernel))
    swapped = tensor.permute(mirrored, (0, 2, 1, *[axis + 1 for axis in axes]))
    return tensor.reshape(swapped, (groups * o, c // groups, *kernel))


def _paddings(
    padding: Each | str, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """Return (low, high) of each axis."""
    dims = len(kernel)
    if isinstance(padding, str):
        if check_choice(padding, ("same", "valid"), "padding") == "valid":
            return [(0, 0)] * dims
        if any(s != 1 for s in stride):
            raise ShapeError(f"padding 'same' needs a stride of 1, got {tuple(stride)}")
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return [(n // 2, n - n // 2) for n in reach]
    if isinstance(padding, (tuple, list)) and len(padding) == 2 * dims > 1:
        items = as_ints(padding, "padding")
        if min(items) < 0:
            raise ShapeError(f"padding must be at least 0, got {padding}")
        return list(zip(items[-2::-2], items[::-2], strict=True))
    return [(p, p) for p in check_each(padding, dims, "padding", least=0)]


@written_out
def _correlate(views: Node, w: Node, groups: int, dtype: Any) -> Node:
    """Return the sum over windows and channels of the products of `views` and the weight."""
    b, c, *rest = views.shape
    o, dims = w.shape[0], len(rest) // 2
    out, kernel = rest[::2], rest[1::2]
    per = c // groups
    ones = [1] * dims
    if groups == 1:
        places = range(2, 2 + 2 * dims)
        moved = tensor.permute(views, (0, *places[::2], 1, *places[1::2]))
        image = tensor.reshape(moved, (b, 1, *out, c, *kernel))
        weight = tensor.reshape(w, (1, o, *ones, c, *kernel))
        axes = tuple(range(2 + dims, 3 + 2 * dims))
        return contract(image, weight, (b, o, *out, c, *kernel), axes, dtype)
    split = tensor.reshape(views, (b, groups, per, *rest))
    places = range(3, 3 + 2 * dims)
    moved = tensor.permute(split, (0, 1, *places[::2], 2, *places[1::2]))
    image = tensor.reshape(moved, (b, groups, 1, *out, per, *kernel))
    weight = tensor.reshape(w, (1, groups, o // groups, *ones, per, *kernel))
    full = (b, groups, o // groups, *out, per, *kernel)
    axes = tuple(range(3 + dims, 4 + 2 * dims))
    return tensor.reshape(contract(image, weight, full, axes, dtype), (b, o, *out))


def _add_bias(x: Node, bias: Node) -> Node:
    if bias.shape != (x.shape[1],):
        raise ShapeError(f"bias must be ({x.shape[1]},), one per channel, got {bias.shape}")
    row = (*bias.shape, *[1] * (len(x.shape) - 2))
    return x + tensor.broadcast_to(tensor.reshape(bias, row), x.shape)
