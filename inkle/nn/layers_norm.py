"""Layers that bring activations to mean 0 and variance 1: over the batch, or within each sample."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from inkle.errors import ShapeError
from inkle.ir.dtype import int64
from inkle.ir.size import is_exactly
from inkle.nn import init, pending
from inkle.tensor import Tensor, is_training
from inkle.tensor.arguments import check_shape
from inkle.tensor.random import FRACTION_BITS


class BatchNorm:
    """Normalise each channel over the batch and all positions (Ioffe & Szegedy 2015).

    Inside `inkle.training()` the statistics are those of the batch, and the running ones move
    towards them (the running variance towards the unbiased one); outside, the running ones serve.

    Attributes:
        weight: float32, shape (num_features,), at first 1; None without `affine`.
        bias: float32, shape (num_features,), at first 0; None without `affine`.
        running_mean: float32, shape (num_features,), a buffer; None without `track_running_stats`.
        running_var: likewise.
        num_batches_tracked: int64, no axes, a buffer: how often the running statistics moved.

    Args:
        num_features: channels, the length of axis 1 of the input.
        eps: added to the variance.
        momentum: share of the new statistics in the running ones.
        affine: whether to learn a scale and an offset per channel.
        track_running_stats: False uses the statistics of the batch always.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        shape = (init.size(num_features, "num_features"),)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = init.constant(shape, 1).requires_grad_() if affine else None
        self.bias = init.constant(shape, 0).requires_grad_() if affine else None
        self.running_mean = init.constant(shape, 0) if track_running_stats else None
        self.running_var = init.constant(shape, 1) if track_running_stats else None
        self.num_batches_tracked = init.constant((), 0, int64) if track_running_stats else None

    def __call__(self, x: Tensor) -> Tensor:
        """Return a tensor like `x`, which is (batch, num_features, ...).

        Raises:
            ShapeError: if axis 1 has another length, or a batch has but one value per channel.
        """
        x = init.given(x, "BatchNorm")
        if x.ndim < 2 or x.shape[1] != self.num_features:
            raise ShapeError(
                f"BatchNorm({self.num_features}) needs shape (batch, {self.num_features}, ...), "
                f"got {x.shape}"
            )
        use_batch = is_training() or self.running_mean is None
        if use_batch and is_exactly(x.shape[0] * prod(x.shape[2:]), 1):
            raise ShapeError(
                f"BatchNorm: one value per channel has no variance, got shape {x.shape}; use more "
                "samples, or leave inkle.training()"
            )
        out = x.batch_norm(
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=use_batch,
            momentum=self.momentum,
            eps=self.eps,
        )
        if use_batch and self.num_batches_tracked is not None:
            assert self.running_mean is not None
            assert self.running_var is not None
            self.num_batches_tracked.assign(self.num_batches_tracked + 1)
            pending.note(self.running_mean, self.running_var, self.num_batches_tracked)
        return out


BatchNorm1d = BatchNorm2d = BatchNorm3d = BatchNorm  # PyTorch's names; ours takes any rank


class LayerNorm:
    """Normalise each sample over its last axes (Ba, Kiros & Hinton 2016).

    Attributes:
        weight: float32, of `normalized_shape`, at first 1; None without `elementwise_affine`.
        bias: float32, of `normalized_shape`, at first 0; None without `bias` or the above.

    Args:
        normalized_shape: lengths of the last axes, or of the last axis.
        eps: added to the variance.
        elementwise_affine: whether to learn a scale and an offset per element.
        bias: whether the latter has an offset.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        *,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        shape = self.normalized_shape = check_shape((normalized_shape,), "LayerNorm")
        self.eps = eps
        self.weight = init.constant(shape, 1).requires_grad_() if elementwise_affine else None
        has_bias = elementwise_affine and bias
        self.bias = init.constant(shape, 0).requires_grad_() if has_bias else None

    def __call__(self, x: Tensor) -> Tensor:
        """Return a tensor like `x`, whose last axes are `normalized_shape`."""
        x = init.given(x, "LayerNorm")
        return x.layer_norm(self.normalized_shape, self.weight, self.bias, self.eps)


class GroupNorm:
    """Normalise each sample over groups of channels and all positions (Wu & He 2018).

    Attributes:
        weight: float32, shape (num_channels,), at first 1; None without `affine`.
        bias: float32, shape (num_channels,), at first 0; None without `affine`.

    Args:
        num_groups: divides `num_channels`.
        num_channels: the length of axis 1 of the input.
        eps: added to the variance.
        affine: whether to learn a scale and an offset per channel.
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, *, affine: bool = True
    ) -> None:
        self.num_groups = init.size(num_groups, "num_groups", least=1)
        self.num_channels = init.size(num_channels, "num_channels")
        if num_channels % num_groups:
            raise ShapeError(
                f"GroupNorm: {num_groups} groups do not divide {num_channels} channels"
            )
        self.eps = eps
        shape = (num_channels,)
        self.weight = init.constant(shape, 1).requires_grad_() if affine else None
        self.bias = init.constant(shape, 0).requires_grad_() if affine else None

    def __call__(self, x: Tensor) -> Tensor:
        """Return a tensor like `x`, which is (batch, num_channels, ...)."""
        x = init.given(x, "GroupNorm")
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ShapeError(
                f"GroupNorm({self.num_groups}, {self.num_channels}) needs shape (batch, "
                f"{self.num_channels}, ...), got {x.shape}"
            )
        return x.group_norm(self.num_groups, self.weight, self.bias, self.eps)


class InstanceNorm(GroupNorm):
    """Normalise each channel of each sample over its positions (Ulyanov et al. 2016).

    Attributes:
        weight: float32, shape (num_features,), at first 1; None without `affine`.
        bias: float32, shape (num_features,), at first 0; None without `affine`.

    Args:
        num_features: channels, the length of axis 1 of the input.
        eps: added to the variance.
        affine: whether to learn a scale and an offset per channel.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, *, affine: bool = False) -> None:
        super().__init__(init.size(num_features, "num_features", least=1), num_features, eps,
                         affine=affine)  # fmt: skip


InstanceNorm1d = InstanceNorm2d = InstanceNorm3d = InstanceNorm


class RMSNorm:
    """Divide each sample by the root mean square of its last axes (Zhang & Sennrich 2019).

    Attributes:
        weight: float32, of `normalized_shape`, at first 1; None without `elementwise_affine`.

    Args:
        normalized_shape: lengths of the last axes, or of the last axis.
        eps: added to the mean square; None: the distance of numbers at 1 in the input's dtype.
        elementwise_affine: whether to learn a scale per element.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        *,
        elementwise_affine: bool = True,
    ) -> None:
        shape = self.normalized_shape = check_shape((normalized_shape,), "RMSNorm")
        self.eps = eps
        self.weight = init.constant(shape, 1).requires_grad_() if elementwise_affine else None

    def __call__(self, x: Tensor) -> Tensor:
        """Return a tensor like `x`, whose last axes are `normalized_shape`."""
        x = init.given(x, "RMSNorm")
        count = len(self.normalized_shape)
        if not count or x.shape[-count:] != self.normalized_shape:
            raise ShapeError(f"RMSNorm over {self.normalized_shape} does not fit {x.shape}")
        eps = 2.0 ** (1 - FRACTION_BITS[x.dtype.name]) if self.eps is None else self.eps
        out = x.rms_norm(tuple(range(-count, 0)), eps)
        return out if self.weight is None else out * self.weight
