"""Tensors of random numbers.

The state is a seed and the number of draws so far. A draw hands a fresh 64-bit key to the graph as
a tiny buffer, so the kernels of two draws are the same; under a capture the key is filled in at
every call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from inkle.engine.storage import from_array
from inkle.engine.trace import current_trace
from inkle.errors import DTypeError, ShapeError, TraceError
from inkle.ir import tensor
from inkle.ir.dtype import DType, float32, float64, int64, uint64
from inkle.ir.node import Node, Shape
from inkle.runtime.locks import fork_safe_lock
from inkle.tensor.arguments import as_int, check_shape
from inkle.tensor.creation import Creation, check_fits
from inkle.tensor.dtypes import DTypeLike, as_dtype
from inkle.tensor.origin import user_line
from inkle.tensor.threefry import GOLDEN, MASK64, mix64, random_words

FRACTION_BITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}  # every sum is exact


class _State:
    """The seed and the number of draws; one for the process, guarded by a lock."""

    def __init__(self) -> None:
        self.lock = fork_safe_lock()
        self.seed = 0
        self.draws = 0


_state = _State()


def manual_seed(seed: int = 0) -> None:
    """Start the stream of random numbers over; equal seeds give equal streams.

    Raises:
        TraceError: inside a captured function: it would happen once, not at every call.
    """
    if current_trace() is not None:
        raise TraceError(f"{user_line()}: manual_seed inside a captured function; seed outside")
    with _state.lock:
        _state.seed, _state.draws = as_int(seed, "seed") & MASK64, 0


def random_state() -> tuple[int, int]:
    """Return the seed and the number of draws so far, which continue the stream."""
    with _state.lock:
        return _state.seed, _state.draws


def restore_random_state(seed: int, draws: int) -> None:
    """Continue the stream where `random_state` was asked."""
    with _state.lock:
        _state.seed, _state.draws = seed & MASK64, draws


def next_key(draws: int = 1) -> int:
    """Return the key of the next draw, and count `draws` draws."""
    with _state.lock:
        number = _state.draws
        _state.draws += draws
        return mix64((mix64(_state.seed) + number * GOLDEN) & MASK64)


def _key_leaf() -> Node:
    trace = current_trace()
    leaf = None if trace is None else trace.random_counter(1)
    return from_array(np.array([next_key()], np.uint64)) if leaf is None else leaf


class Random(Creation):
    """Mixin of random tensors. Shapes are numbers or one tuple; floats are float32 by default."""

    __slots__ = ()

    @staticmethod
    def manual_seed(seed: int = 0) -> None:
        """Start the stream of random numbers over; equal seeds give equal streams."""
        manual_seed(seed)

    @classmethod
    def _drawn(cls, node: Node, dtype: DType, device: str | None, *, requires_grad: bool) -> Self:
        # Stored, not recomputed inside every kernel that reads it.
        node = tensor.contiguous(node.cast(dtype))
        return cls._created(node, device, requires_grad=requires_grad)

    @classmethod
    def rand(
        cls,
        *shape: Any,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        requires_grad: bool = False,
    ) -> Self:
        """Return numbers spread evenly over [0, 1).

        Example:
            >>> Tensor.rand(2, 3).shape
            (2, 3)
        """
        result = _float_dtype(dtype, "rand")
        node = uniform(check_shape(shape, "rand"), result)
        return cls._drawn(node, result, device, requires_grad=requires_grad)

    @classmethod
    def uniform(
        cls,
        *shape: Any,
        low: float = 0.0,
        high: float = 1.0,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        requires_grad: bool = False,
    ) -> Self:
        """Return numbers spread evenly over `low` ... `high`."""
        result = _float_dtype(dtype, "uniform")
        node = uniform(check_shape(shape, "uniform"), result) * (high - low) + low
        return cls._drawn(node, result, device, requires_grad=requires_grad)

    @classmethod
    def randn(
        cls,
        *shape: Any,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        requires_grad: bool = False,
    ) -> Self:
        """Return numbers of the standard normal distribution."""
        result = _float_dtype(dtype, "randn")
        node = normal(check_shape(shape, "randn"), result)
        return cls._drawn(node, result, device, requires_grad=requires_grad)

    @classmethod
    def normal(
        cls,
        *shape: Any,
        mean: float = 0.0,
        std: float = 1.0,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        requires_grad: bool = False,
    ) -> Self:
        """Return numbers of the normal distribution with this mean and standard deviation."""
        result = _float_dtype(dtype, "normal")
        node = normal(check_shape(shape, "normal"), result) * std + mean
        return cls._drawn(node, result, device, requires_grad=requires_grad)

    @classmethod
    def randint(
        cls,
        *shape: Any,
        low: int = 0,
        high: int = 10,
        dtype: DTypeLike | None = None,
        device: str | None = None,
    ) -> Self:
        """Return whole numbers of low ... high - 1, int64 by default.

        Also as in PyTorch: `randint(low, high, (sizes))`.
        """
        if len(shape) > 1 and isinstance(shape[-1], (tuple, list)):
            low, high = (0, shape[0]) if len(shape) == 2 else shape[:2]
            shape = (shape[-1],)
        result = int64 if dtype is None else as_dtype(dtype)
        low, high = as_int(low, "low of randint"), as_int(high, "high of randint")
        if high <= low:
            raise ShapeError(f"randint needs low < high, got {low} and {high}")
        check_fits((low, high - 1), int64 if result.is_float else result, "randint")
        sizes = check_shape(shape, "randint")
        w0, w1 = random_words(_key_leaf(), sizes)
        bits = w0.cast(uint64) | w1.cast(uint64).shl(32)
        node = bits.floormod(high - low).cast(int64) + low
        return cls._drawn(node, result, device, requires_grad=False)

    @classmethod
    def bernoulli(cls, p: float, *shape: Any, dtype: DTypeLike | None = None) -> Self:
        """Return 1 with probability `p`, else 0."""
        result = _float_dtype(dtype, "bernoulli")
        node = uniform(check_shape(shape, "bernoulli"), float32) < p
        return cls._drawn(node, result, None, requires_grad=False)

    @classmethod
    def scaled_uniform(cls, *shape: Any, **options: Any) -> Self:
        """Return numbers spread evenly over ± 1 / sqrt(number of elements)."""
        sizes = check_shape(shape, "scaled_uniform")
        return cls._symmetric(sizes, max(1, math.prod(sizes)) ** -0.5, **options)

    @classmethod
    def glorot_uniform(cls, *shape: Any, **options: Any) -> Self:
        """Return numbers spread evenly over ± sqrt(6 / (fan in + fan out)).

        Glorot & Bengio 2010, equation 16.
        """
        sizes = check_shape(shape, "glorot_uniform")
        _need_axes(sizes, "glorot_uniform")
        return cls._symmetric(sizes, math.sqrt(6 / (sizes[0] + _fan_in(sizes))), **options)

    @classmethod
    def kaiming_uniform(cls, *shape: Any, a: float = 0.01, **options: Any) -> Self:
        """Return numbers spread evenly over ± sqrt(6 / ((1 + a²) fan in)) (He et al. 2015)."""
        sizes = check_shape(shape, "kaiming_uniform")
        _need_axes(sizes, "kaiming_uniform")
        return cls._symmetric(sizes, math.sqrt(6 / ((1 + a * a) * _fan_in(sizes))), **options)

    @classmethod
    def kaiming_normal(cls, *shape: Any, a: float = 0.01, **options: Any) -> Self:
        """Return normal numbers of deviation sqrt(2 / ((1 + a²) fan in)) (He et al. 2015)."""
        sizes = check_shape(shape, "kaiming_normal")
        _need_axes(sizes, "kaiming_normal")
        return cls.normal(*sizes, std=math.sqrt(2 / ((1 + a * a) * _fan_in(sizes))), **options)

    @classmethod
    def _symmetric(cls, sizes: Shape, bound: float, **options: Any) -> Self:
        return cls.uniform(*sizes, low=-bound, high=bound, **options)

    def rand_like(self, dtype: DTypeLike | None = None) -> Self:
        """Return `rand` of the shape (and dtype) of self."""
        return self.rand(*self.shape, dtype=self._dtype_or(dtype), device=self.device)

    def randn_like(self, dtype: DTypeLike | None = None) -> Self:
        """Return `randn` of the shape (and dtype) of self."""
        return self.randn(*self.shape, dtype=self._dtype_or(dtype), device=self.device)


def _float_dtype(dtype: DTypeLike | None, what: str) -> DType:
    result = float32 if dtype is None else as_dtype(dtype)
    if not result.is_float:
        raise DTypeError(f"{what} makes floats, not {result}; use randint, or cast the result")
    return result


def _need_axes(shape: Sequence[int], what: str) -> None:
    if not shape or 0 in shape[1:]:
        raise ShapeError(f"{what} needs an axis of outputs, and inputs of at least 1; got {shape}")


def _fan_in(shape: Sequence[int]) -> int:
    return math.prod(shape[1:])


def uniform(shape: Shape, dtype: DType) -> Node:
    """Return random floats in [0, 1), with all the bits of fraction that `dtype` holds."""
    w0, w1 = random_words(_key_leaf(), shape)
    return _fraction(w0, w1, dtype)


def _fraction(w0: Node, w1: Node, dtype: DType) -> Node:
    bits = FRACTION_BITS[dtype.name]
    if dtype is float64:
        whole = w0.shr(5).cast(float64) * (1 << 26) + w1.shr(6).cast(float64)
        return whole * 2.0**-53
    return w0.shr(32 - bits).cast(dtype) * 2.0**-bits


def normal(shape: Shape, dtype: DType) -> Node:
    """Return normal numbers by the method of Box & Muller (1958).

    Two words make one number: its radius and its angle. The radius needs a fraction above 0.
    """
    w0, w1 = random_words(_key_leaf(), shape)
    wide = float64 if dtype is float64 else float32
    bits = 32 if wide is float64 else 24
    radius = (w0.shr(32 - bits).cast(wide) + 1.0) * 2.0**-bits
    angle = w1.shr(32 - bits).cast(wide) * (2.0**-bits * 2 * math.pi)
    return (radius.log() * -2.0).sqrt() * angle.cos()
