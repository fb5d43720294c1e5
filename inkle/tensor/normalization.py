"""Softmax and the normalisations of layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Self

from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.ir import ops, tensor
from inkle.ir.dtype import float32
from inkle.ir.node import Node, Shape
from inkle.tensor.arguments import Axes, as_int, as_ints, as_number, check_axes, check_axis
from inkle.tensor.base import Core
from inkle.tensor.dtypes import DTypeLike, as_dtype
from inkle.tensor.modes import modes
from inkle.tensor.products import Products
from inkle.tensor.random import uniform
from inkle.tensor.reduction import logsumexp_node, mean_node, sum_node, var_node
from inkle.tensor.written_out import written_out


class Normalization(Products):
    """Mixin of softmax, normalisations and dropout."""

    __slots__ = ()

    def softmax(
        self, axis: int = -1, dtype: DTypeLike | None = None, *, dim: int | None = None
    ) -> Self:
        """Normalise exp(x) to sum to one along `axis`.

        Subtracts the maximum first, so that no finite input overflows (Blanchard et al. 2021,
        algorithm 3.2).

        Args:
            axis: axis of length n; negative counts from the end.
            dtype: convert to this float dtype first.
            dim: PyTorch's name of `axis`.

        Returns:
            Float tensor of the same shape; rows with a NaN are NaN.

        Example:
            >>> Tensor([0.0, 0.0]).softmax().tolist()
            [0.5, 0.5]
        """
        x, axes = self._prepare(axis if dim is None else dim, dtype, "softmax")
        return self._new(softmax_node(x, axes))

    def softmin(
        self, axis: int = -1, dtype: DTypeLike | None = None, *, dim: int | None = None
    ) -> Self:
        """Return softmax of -x."""
        x, axes = self._prepare(axis if dim is None else dim, dtype, "softmin")
        return self._new(softmax_node(-x, axes))

    def log_softmax(
        self, axis: int = -1, dtype: DTypeLike | None = None, *, dim: int | None = None
    ) -> Self:
        """Return log(softmax(x)) = x - logsumexp(x), accurate where softmax is tiny."""
        x, axes = self._prepare(axis if dim is None else dim, dtype, "log_softmax")
        return self._new(log_softmax_node(x, axes))

    def _prepare(
        self, axis: int, dtype: DTypeLike | None, what: str
    ) -> tuple[Node, tuple[int, ...]]:
        x = self._float() if dtype is None else self.node.cast(as_dtype(dtype))
        if not x.dtype.is_float:
            raise DTypeError(f"{what} gives floats, not {x.dtype}")
        if not x.shape:
            check_axes(axis, 1, what)
            return x, ()
        return x, check_axes(axis, len(x.shape), what)

    def layernorm(self, axis: Axes = -1, eps: float = 1e-5) -> Self:
        """Return (x - mean) / sqrt(var + eps) along `axis`, with the biased variance."""
        x = self._floats_only("layernorm")
        axes = check_axes(axis, len(x.shape), "layernorm")
        return self._new(normalized(x, axes, as_number(eps, "eps of layernorm")))

    def layer_norm(
        self,
        normalized_shape: int | Sequence[int],
        weight: Any = None,
        bias: Any = None,
        eps: float = 1e-5,
    ) -> Self:
        """Return `layernorm` over the last axes, of `normalized_shape`, times weight plus bias."""
        shape = as_ints(normalized_shape, "normalized_shape")
        x = self._floats_only("layer_norm")
        if not shape or x.shape[-len(shape) :] != shape:
            raise ShapeError(f"layer_norm over {shape} does not fit a tensor of {x.shape}")
        axes = tuple(range(len(x.shape) - len(shape), len(x.shape)))
        result = self._new(normalized(x, axes, eps))
        if weight is not None:
            result = result * weight
        return result if bias is None else result + bias

    def rms_norm(self, axis: Axes = -1, eps: float = 1e-6) -> Self:
        """Return x / sqrt(mean(x²) + eps) along `axis` (Zhang & Sennrich 2019)."""
        x = self._floats_only("rms_norm")
        axes = check_axes(axis, len(x.shape), "rms_norm")
        wide = x.cast(float32) if x.dtype.bits == 16 else x
        scale = (mean_node(wide * wide, axes) + eps).rsqrt()
        return self._new((wide * tensor.unreduce(scale, x.shape, axes)).cast(x.dtype))

    def batchnorm(
        self, weight: Any, bias: Any, mean: Any, invstd: Any, axis: int | tuple[int, ...] = 1
    ) -> Self:
        """Return (x - mean) * invstd * weight + bias, one of each per channel.

        Args:
            weight: (channels,) or None for 1.
            bias: (channels,) or None for 0.
            mean: (channels,).
            invstd: (channels,): 1 / sqrt(variance + eps).
            axis: the axis (or axes) of channels.

        Returns:
            Tensor like self.
        """
        x = self._floats_only("batchnorm")
        axes = check_axes(axis, len(x.shape), "batchnorm")
        row = tuple([n if i in axes else 1 for i, n in enumerate(x.shape)])
        center, scale = self._channel(mean, row, "mean"), self._channel(invstd, row, "invstd")
        if weight is not None:
            scale = scale * self._channel(weight, row, "weight")
        out = (x - tensor.expand(center, x.shape)) * tensor.expand(scale, x.shape)
        if bias is not None:
            out = out + tensor.expand(self._channel(bias, row, "bias"), x.shape)
        return self._new(out)

    def _channel(self, value: Any, row: Shape, what: str) -> Node:
        """Return a value per channel as a node of shape `row`."""
        node = self._operand(value, "batchnorm")
        if not isinstance(node, Node) or prod(node.shape) != prod(row):
            shape = node.shape if isinstance(node, Node) else "a number"
            raise ShapeError(f"batchnorm: {what} needs {prod(row)} elements, got {shape}")
        return tensor.reshape(node.cast(self.dtype), row)

    def batch_norm(
        self,
        running_mean: Any = None,
        running_var: Any = None,
        weight: Any = None,
        bias: Any = None,
        *,
        training: bool | None = None,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Self:
        """Normalise each channel (axis 1) by statistics of the batch or by running ones.

        Args:
            running_mean: (channels,) tensor; in training it moves towards the batch's mean.
            running_var: (channels,) tensor; moves towards the batch's unbiased variance.
            weight: (channels,) or None.
            bias: (channels,) or None.
            training: use the statistics of this batch; None: inside `inkle.training()`.
            momentum: share of the new statistics in the running ones.
            eps: added to the variance.

        Returns:
            Tensor like self.
        """
        x = self._floats_only("batch_norm")
        if len(x.shape) < 2:
            raise ShapeError(f"batch_norm needs (batch, channels, ...), got {x.shape}")
        for each in (running_mean, running_var, weight, bias):
            _need_tensor(each, "batch_norm")
        use_batch = modes.training if training is None else training
        if not use_batch and running_mean is not None and running_var is not None:
            return self.batchnorm(weight, bias, running_mean, (running_var + eps).rsqrt())
        axes = tuple([i for i in range(len(x.shape)) if i != 1])
        center = mean_node(x, axes)
        spread = var_node(x, center, axes, 0)
        if use_batch and running_mean is not None and running_var is not None:
            n = prod(x.shape) // max(1, x.shape[1])
            unbiased = spread * (n / max(n - 1, 1))
            for running, new in ((running_mean, center), (running_var, unbiased)):
                old = running.node
                running.assign(self._new(old + (new.cast(old.dtype) - old) * momentum))
        invstd = (spread + eps).rsqrt()
        return self.batchnorm(weight, bias, self._new(center), self._new(invstd))

    def group_norm(
        self, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
    ) -> Self:
        """Normalise over groups of channels (axis 1) and all later axes (Wu & He 2018)."""
        x = self._floats_only("group_norm")
        num_groups = as_int(num_groups, "num_groups of group_norm")
        for each in (weight, bias):
            _need_tensor(each, "group_norm")
        if len(x.shape) < 2 or num_groups < 1 or x.shape[1] % num_groups:
            raise ShapeError(f"group_norm: {num_groups} groups do not divide axis 1 of {x.shape}")
        n, c, *rest = x.shape
        split = tensor.reshape(x, (n, num_groups, c // num_groups, *rest))
        axes = tuple(range(2, len(split.shape)))
        out = self._new(tensor.reshape(normalized(split, axes, eps), x.shape))
        row = (c, *[1] * len(rest))
        if weight is not None:
            out = out * weight.reshape(row)
        return out if bias is None else out + bias.reshape(row)

    def normalize(self, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Self:
        """Return x divided by max(its p-norm along `dim`, eps)."""
        if as_number(p, "p of normalize") == 0:
            raise OptionError("normalize: there is no norm with p = 0")
        norm = (self.abs() ** p).sum(dim, keepdim=True) ** (1 / p)
        return self / norm.clamp(min=eps)

    def dropout(self, p: float = 0.5, *, training: bool | None = None) -> Self:
        """Zero each element with probability `p` and scale the rest by 1 / (1 - p).

        Args:
            p: probability, 0 ... 1.
            training: False leaves the tensor as it is; None: only inside `inkle.training()`.

        Returns:
            Tensor like self.
        """
        if not 0 <= as_number(p, "p of dropout") <= 1:
            raise ShapeError(f"dropout needs a probability 0 ... 1, got {p}")
        if p == 0 or not (modes.training if training is None else training):
            return self
        x = self._floats_only("dropout")
        if p == 1:
            return self._new(x * 0)
        keep = uniform(x.shape, float32) >= p
        return self._new(keep.where(x * (1 / (1 - p)), 0))

    def glu(self, dim: int = -1) -> Self:
        """Return the first half of axis `dim` times sigmoid of the second (Dauphin et al. 2017).

        Example:
            >>> Tensor([3.0, 0.0]).glu().tolist()
            [1.5]
        """
        axis = check_axis(dim, self.ndim, "glu")
        if self.shape[axis] % 2:
            raise ShapeError(f"glu needs an even number of elements, got {self.shape} along {dim}")
        first, second = self.split([self.shape[axis] // 2] * 2, axis)
        return first * second.sigmoid()

    def rrelu(
        self, lower: float = 1 / 8, upper: float = 1 / 3, *, training: bool | None = None
    ) -> Self:
        """Return x, times a random slope in training (else the mean one) where x is negative.

        Args:
            lower: least slope.
            upper: largest slope.
            training: draw slopes; None: inside `inkle.training()`.

        Example:
            >>> Tensor([-48.0, 1.0]).rrelu().tolist()
            [-11.0, 1.0]
        """
        x = self._float()
        low, high = as_number(lower, "lower of rrelu"), as_number(upper, "upper of rrelu")
        if low > high:
            raise OptionError(f"rrelu needs lower <= upper, got {lower} and {upper}")
        drawn = modes.training if training is None else training
        slope: Any = (low + high) / 2
        if drawn:
            slope = uniform(x.shape, float32).cast(x.dtype) * (high - low) + low
        return self._new((x <= 0).where(x * slope, x))


def _need_tensor(value: Any, what: str) -> None:
    if value is not None and not isinstance(value, Core):
        raise DTypeError(f"{what} needs a tensor or None, got {value!r:.60}")


@written_out
def softmax_node(x: Node, axes: tuple[int, ...]) -> Node:
    """Return exp(x - max) over its sum along `axes`; the maximum takes no part in the gradient."""
    top = tensor.detach(tensor.reduce(x, ops.MAXIMUM, axes))
    e = (x - tensor.unreduce(top, x.shape, axes)).exp()
    # One division a row; the sum is at least 1, so its reciprocal neither over- nor underflows.
    return e * tensor.unreduce(1.0 / sum_node(e, axes), x.shape, axes)


@written_out
def log_softmax_node(x: Node, axes: tuple[int, ...]) -> Node:
    """Return x - logsumexp(x) along `axes`."""
    return x - tensor.unreduce(logsumexp_node(x, axes), x.shape, axes)


@written_out
def normalized(x: Node, axes: tuple[int, ...], eps: float) -> Node:
    """Return (x - mean) / sqrt(var + eps) along `axes`; floats of 16 bits compute in float32."""
    wide = x.cast(float32) if x.dtype.bits == 16 else x
    distance = wide - tensor.unreduce(mean_node(wide, axes), x.shape, axes)
    scale = (mean_node(distance * distance, axes) + eps).rsqrt()
    return (distance * tensor.unreduce(scale, x.shape, axes)).cast(x.dtype)
