"""Convolutions over one, two and three axes, and their adjoints, with learnt kernels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from inkle.errors import ShapeError
from inkle.nn import init
from inkle.tensor import Tensor
from inkle.tensor.arguments import check_choice, check_each

Each = int | Sequence[int]  # one number, or one for each axis of the image


class _Conv:
    """What all share; `dims` is the number of axes of an image."""

    dims: int

    def __init__(
        self,
        channels: tuple[int, int],
        sizes: tuple[Each, Each, Each],
        padding: Each | str,
        groups: int,
        *,
        bias: bool,
        is_transposed: bool = False,
    ) -> None:
        name = type(self).__name__
        self.in_channels = init.size(channels[0], "in_channels")
        self.out_channels = init.size(channels[1], "out_channels")
        self.groups = init.size(groups, "groups", least=1)
        if any(each % groups for each in channels):
            raise ShapeError(
                f"{name}: {groups} groups must divide the {channels[0]} channels in and the "
                f"{channels[1]} channels out"
            )
        self.kernel_size, self.stride, self.dilation = (
            check_each(value, self.dims, what, least=1)
            for value, what in zip(sizes, ("kernel_size", "stride", "dilation"), strict=True)
        )
        self.padding: str | tuple[int, ...]
        if isinstance(padding, str):
            self.padding = check_choice(padding, ("same", "valid"), "padding")
            if padding == "same" and max(self.stride) > 1:
                raise ShapeError(f"padding 'same' needs stride 1, got {self.stride}")
        else:
            self.padding = check_each(padding, self.dims, "padding", least=0)
        first, second = channels if is_transposed else channels[::-1]
        shape = (first, second // groups, *self.kernel_size)
        fan_in = prod(shape[1:])  # PyTorch's, of transposed ones too
        self.weight = init.uniform(shape, fan_in)
        self.bias = init.uniform((channels[1],), fan_in) if bias else None


class _Plain(_Conv):
    """Arguments of the convolutions that are not transposed."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Each,
        stride: Each = 1,
        padding: Each | str = 0,
        dilation: Each = 1,
        groups: int = 1,
        *,
        bias: bool = True,
    ) -> None:
        channels, sizes = (in_channels, out_channels), (kernel_size, stride, dilation)
        super().__init__(channels, sizes, padding, groups, bias=bias)

    def __call__(self, x: Tensor) -> Tensor:
        """Return (batch, out_channels, ...) for (batch, in_channels, ...)."""
        x = init.given(x, type(self).__name__)
        run = (x.conv1d, x.conv2d, x.conv3d)[self.dims - 1]
        return run(self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class _Transposed(_Conv):
    """Arguments of the transposed convolutions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Each,
        stride: Each = 1,
        padding: Each = 0,
        output_padding: Each = 0,
        groups: int = 1,
        *,
        bias: bool = True,
        dilation: Each = 1,
    ) -> None:
        channels, sizes = (in_channels, out_channels), (kernel_size, stride, dilation)
        super().__init__(channels, sizes, padding, groups, bias=bias, is_transposed=True)
        self.output_padding = check_each(output_padding, self.dims, "output_padding", least=0)

    def __call__(self, x: Tensor) -> Tensor:
        """Return (batch, out_channels, ...) for (batch, in_channels, ...)."""
        x = init.given(x, type(self).__name__)
        run = (x.conv_transpose1d, x.conv_transpose2d, x.conv_transpose3d)[self.dims - 1]
        assert not isinstance(self.padding, str)
        return run(
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


class Conv1d(_Plain):
    """Cross-correlation of sequences with learnt kernels; arguments as for `Conv2d`.

    Attributes:
        weight: float32, shape (out_channels, in_channels / groups, kernel length).
        bias: float32, shape (out_channels,), or None.
    """

    dims = 1


class Conv2d(_Plain):
    """Cross-correlation of images with learnt kernels.

    Attributes:
        weight: float32, shape (out_channels, in_channels / groups, kernel height, kernel width).
        bias: float32, shape (out_channels,), or None.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result.
        kernel_size: one number, or (height, width).
        stride: distance of neighbouring windows, one number or (height, width).
        padding: zeros around the image, one number or (height, width); "same" keeps its size (with
            stride 1), "valid" is 0.
        dilation: distance of neighbouring elements of a window, one number or (height, width).
        groups: channels are divided into this many groups, which do not mix.
        bias: whether to add one.

    Example:
        >>> Conv2d(3, 8, 3, padding="same")(Tensor.zeros(1, 3, 5, 7)).shape
        (1, 8, 5, 7)
    """

    dims = 2


class Conv3d(_Plain):
    """Cross-correlation of volumes with learnt kernels; arguments as for `Conv2d`.

    Attributes:
        weight: float32, shape (out_channels, in_channels / groups, kernel depth, height, width).
        bias: float32, shape (out_channels,), or None.
    """

    dims = 3


class ConvTranspose1d(_Transposed):
    """Adjoint of `Conv1d`; arguments as for `ConvTranspose2d`.

    Attributes:
        weight: float32, shape (in_channels, out_channels / groups, kernel length).
        bias: float32, shape (out_channels,), or None.
    """

    dims = 1


class ConvTranspose2d(_Transposed):
    """Adjoint of `Conv2d`: spreads each value over a window; makes images larger.

    Attributes:
        weight: float32, shape (in_channels, out_channels / groups, kernel height, kernel width).
        bias: float32, shape (out_channels,), or None.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result.
        kernel_size: one number, or (height, width).
        stride: values of the input stand this far apart in the result.
        padding: cut from each border of the result.
        output_padding: added to the lower and right border.
        groups: channels are divided into this many groups, which do not mix.
        bias: whether to add one.
        dilation: distance of neighbouring elements of a window.

    Example:
        >>> ConvTranspose2d(8, 3, 2, stride=2)(Tensor.zeros(1, 8, 5, 7)).shape
        (1, 3, 10, 14)
    """

    dims = 2


class ConvTranspose3d(_Transposed):
    """Adjoint of `Conv3d`; arguments as for `ConvTranspose2d`.

    Attributes:
        weight: float32, shape (in_channels, out_channels / groups, kernel depth, height, width).
        bias: float32, shape (out_channels,), or None.
    """

    dims = 3
