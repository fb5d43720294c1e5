"""Layers: plain objects that are called with a tensor, and hold parameters as attributes.

A parameter is a `Tensor` that requires a gradient, a buffer (such as a running mean) one that does
not. Names, shapes and first values are PyTorch's, so that weights move between the two. There is no
base class: `inkle.nn.state` finds the tensors of any object. Whether a layer trains is decided by
`inkle.training()`, not by a flag of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.nn import init
from inkle.tensor import Tensor
from inkle.tensor.arguments import check_choice, check_pair

Layer = Callable[[Tensor], Tensor]


class Sequential(list[Layer]):
    """Layers applied one after the other: a list that can be called.

    Functions count as layers, too: `Tensor.relu`, a lambda.

    Example:
        >>> model = Sequential([Linear(784, 32), Tensor.relu, Linear(32, 10)])
        >>> model(Tensor.zeros(1, 784)).shape
        (1, 10)
    """

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x` after all layers."""
        for layer in self:
            x = layer(x)
        return x


class Linear:
    """Affine map of the last axis: x @ weight.T + bias.

    Attributes:
        weight: float32, shape (out_features, in_features).
        bias: float32, shape (out_features,), or None.

    Args:
        in_features: length of the last axis of the input.
        out_features: length of the last axis of the result.
        bias: whether to add one.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        self.in_features = init.size(in_features, "in_features")
        self.out_features = init.size(out_features, "out_features")
        self.weight = init.uniform((out_features, in_features), in_features)
        self.bias = init.uniform((out_features,), in_features) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        """Return (..., out_features) for an input of (..., in_features)."""
        x = init.given(x, "Linear")
        if x.shape[-1:] != (self.in_features,):
            raise ShapeError(
                f"Linear({self.in_features}, {self.out_features}) needs {self.in_features} values "
                f"along the last axis, got shape {x.shape}"
            )
        out = x @ self.weight.T
        return out if self.bias is None else out + self.bias


class Conv2d:
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
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        *,
        bias: bool = True,
    ) -> None:
        self.in_channels = init.size(in_channels, "in_channels")
        self.out_channels = init.size(out_channels, "out_channels")
        self.groups = init.size(groups, "groups", least=1)
        if in_channels % groups or out_channels % groups:
            raise ShapeError(
                f"Conv2d: {groups} groups must divide the {in_channels} channels in and the "
                f"{out_channels} channels out"
            )
        self.kernel_size = check_pair(kernel_size, "kernel_size", least=1)
        self.stride = check_pair(stride, "stride", least=1)
        self.dilation = check_pair(dilation, "dilation", least=1)
        self.padding = self._paddings(padding)
        inputs = in_channels // groups
        fan_in = inputs * self.kernel_size[0] * self.kernel_size[1]
        self.weight = init.uniform((out_channels, inputs, *self.kernel_size), fan_in)
        self.bias = init.uniform((out_channels,), fan_in) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        """Return (batch, out_channels, height out, width out); the batch axis may be missing."""
        return init.given(x, "Conv2d").conv2d(
            self.weight,
            self.bias,
            groups=self.groups,
            stride=self.stride,
            dilation=self.dilation,
            padding=self.padding,
        )

    def _paddings(self, padding: int | Sequence[int] | str) -> tuple[int, ...]:
        """Return (height, width), or (left, right, top, bottom)."""
        if not isinstance(padding, str):
            return check_pair(padding, "padding", least=0)
        if check_choice(padding, ("same", "valid"), "padding") == "valid":
            return (0, 0)
        if self.stride != (1, 1):
            raise ShapeError(f"padding 'same' needs stride 1, got {self.stride}")
        high, wide = (d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True))
        return (wide // 2, wide - wide // 2, high // 2, high - high // 2)


class Embedding:
    """Table from which rows are looked up by number.

    Attributes:
        weight: float32, shape (num_embeddings, embedding_dim).

    Args:
        num_embeddings: rows, one for each number 0 ... num_embeddings - 1.
        embedding_dim: length of a row.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        self.num_embeddings = init.size(num_embeddings, "num_embeddings")
        self.embedding_dim = init.size(embedding_dim, "embedding_dim")
        self.weight = init.normal((num_embeddings, embedding_dim))

    def __call__(self, index: Tensor) -> Tensor:
        """Return the rows of `index`, shape (*index.shape, embedding_dim)."""
        index = init.given(index, "Embedding")
        if not index.dtype.is_integer:
            raise DTypeError(f"Embedding needs integers, got {index.dtype} of shape {index.shape}")
        return self.weight[index]


class Dropout:
    """In training, zero each element with probability `p` and divide the others by 1 - p.

    Args:
        p: probability, 0 to 1.
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise OptionError(f"Dropout needs a probability from 0 to 1, got {p}")
        self.p = p

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x` with elements dropped; outside `inkle.training()` `x` itself."""
        return init.given(x, "Dropout").dropout(self.p)
