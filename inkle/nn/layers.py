"""Layers: plain objects that are called with a tensor, and hold parameters as attributes.

A parameter is a `Tensor` that requires a gradient, a buffer (such as a running mean) one that does
not. Names, shapes and first values are PyTorch's, so that weights move between the two. There is no
base class: `inkle.nn.state` finds the tensors of any object. Whether a layer trains is decided by
`inkle.training()`, not by a flag of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.nn import init
from inkle.tensor import Tensor

Layer = Callable[[Tensor], Tensor]


class Sequential(list[Layer]):
    """Layers applied one after the other: a list that can be called.

    Functions count as layers, too: `Tensor.relu`, a lambda.

    Args:
        layers: the layers, or one list of them.

    Example:
        >>> model = Sequential([Linear(784, 32), Tensor.relu, Linear(32, 10)])
        >>> model(Tensor.zeros(1, 784)).shape
        (1, 10)
    """

    def __init__(self, *layers: Layer | Iterable[Layer]) -> None:
        if len(layers) == 1 and not callable(layers[0]):
            layers = tuple(layers[0])
        super().__init__()
        for each in layers:
            if not callable(each):
                raise DTypeError(f"Sequential holds layers, got {type(each).__name__}")
            self.append(each)

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x` after all layers."""
        for layer in self:
            x = layer(x)
        return x


class ModuleList(list[Any]):
    """A list of layers, under PyTorch's name: `get_state_dict` walks any list."""


class ModuleDict(dict[str, Any]):
    """A dict of layers, under PyTorch's name."""


class Identity:
    """A layer that returns what it gets."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x`."""
        return x


class Flatten:
    """A layer that joins axes `start_dim` to `end_dim` into one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x` with fewer axes."""
        return init.given(x, "Flatten").flatten(self.start_dim, self.end_dim)


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
