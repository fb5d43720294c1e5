"""Comparing tensors in tests, with messages that say where they differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkle.errors import OptionError
from inkle.ir.dtype import DType, bfloat16, float32
from inkle.tensor import Tensor

# (relative, absolute), PyTorch's of torch.testing.assert_close; all others must be equal.
TOLERANCES = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
}


def assert_close(
    actual: Any,
    expected: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_dtype: bool = True,
    msg: str = "",
) -> None:
    """Check that |actual - expected| <= atol + rtol * |expected| in every element.

    Args:
        actual: tensor, array, number, or list of numbers.
        expected: likewise; infinities must be equal.
        rtol: relative tolerance; by default, as `atol`, what suits the less precise dtype: 1.3e-6
            and 1e-5 for float32, 1e-3 and 1e-5 for float16, 0 for integers.
        atol: absolute tolerance; give both or none.
        equal_nan: NaN equals NaN.
        check_dtype: dtypes must be the same.
        msg: stands before what is said about the difference.

    Raises:
        AssertionError: says how many elements differ, by how much at most, and where.
        OptionError: if only one tolerance is given, or one is negative.

    Example:
        >>> assert_close(Tensor([1.0, 2.0]), [1.0, 2.0000001])
    """
    if (rtol is None) != (atol is None):
        raise OptionError("assert_close needs both of rtol and atol, or neither")
    if min(rtol or 0, atol or 0) < 0:
        raise OptionError(f"tolerances must be at least 0, got rtol {rtol} and atol {atol}")
    a, b = _tensor(actual), _tensor(expected)
    head = f"{msg}: " if msg else ""
    if a.shape != b.shape:
        raise AssertionError(f"{head}shapes differ: {a.shape} is not {b.shape}")
    is_plain = not isinstance(actual, (Tensor, np.ndarray)) or not isinstance(
        expected, (Tensor, np.ndarray)
    )
    if check_dtype and not is_plain and a.dtype is not b.dtype:
        raise AssertionError(f"{head}dtypes differ: {a.dtype} is not {b.dtype}")
    if rtol is None or atol is None:
        rtol, atol = map(max, zip(_tolerances(a.dtype), _tolerances(b.dtype), strict=True))
    x, y = _wide(a), _wide(b)
    with np.errstate(invalid="ignore", over="ignore"):
        bad = ~((x == y) | (np.abs(x - y) <= atol + rtol * np.abs(y)) & np.isfinite(y))
    if equal_nan:
        bad &= ~(np.isnan(x) & np.isnan(y))
    if bad.any():
        raise AssertionError(head + _difference(x, y, bad, rtol, atol))


def _tensor(value: Any) -> Tensor:
    return value.detach() if isinstance(value, Tensor) else Tensor(value)


def _tolerances(dtype: DType) -> tuple[float, float]:
    return TOLERANCES.get(dtype.name, (0.0, 0.0))


def _wide(x: Tensor) -> NDArray[Any]:
    """Return the elements as float64, or as they are where that would round them."""
    if x.dtype is bfloat16:
        x = x.cast(float32)
    array = x.numpy()
    if array.dtype.itemsize < 8:
        return array.astype(np.float64)
    # 80 bits hold 64-bit integers exactly on x86; elsewhere large ones are compared rounded.
    return array.astype(np.longdouble) if x.dtype.is_integer else array


def _difference(
    x: NDArray[Any], y: NDArray[Any], bad: NDArray[np.bool_], rtol: float, atol: float
) -> str:
    with np.errstate(invalid="ignore"):
        distance = np.where(bad, np.abs(x - y), -1).astype(np.float64)
    place = np.unravel_index(np.argmax(np.where(np.isnan(distance), np.inf, distance)), x.shape)
    index = ", ".join(map(str, map(int, place)))
    return (
        f"{bad.sum()} of {bad.size} elements differ by more than {atol:g} + {rtol:g} * |expected|; "
        f"most at [{index}]: {x[place]} is not {y[place]}"
    )
