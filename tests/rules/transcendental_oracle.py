"""What the functions should give, from libraries that share no code with inkle, and errors in ulp.

float32 is judged by NumPy's float64 functions (PyTorch's erf and erfc), float64 by the C library's
80-bit ones; the inputs with the largest errors are judged again by mpmath, whose word counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import numpy as np

MPMATH: dict[str, Callable[..., mpmath.mpf]] = {
    "exp": mpmath.exp, "exp2": lambda x: mpmath.mpf(2) ** x, "expm1": mpmath.expm1,
    "log": mpmath.log, "log2": lambda x: mpmath.log(x, 2), "log10": mpmath.log10,
    "log1p": mpmath.log1p, "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan,
    "asin": mpmath.asin, "acos": mpmath.acos, "atan": mpmath.atan, "atan2": mpmath.atan2,
    "sinh": mpmath.sinh, "cosh": mpmath.cosh, "tanh": mpmath.tanh, "asinh": mpmath.asinh,
    "acosh": mpmath.acosh, "atanh": mpmath.atanh, "erf": mpmath.erf, "erfc": mpmath.erfc,
    "pow": mpmath.power, "rsqrt": lambda x: 1 / mpmath.sqrt(x), "sqrt": mpmath.sqrt,
}  # fmt: skip
NUMPY_NAMES = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh",
    "acosh": "arccosh", "atanh": "arctanh", "pow": "power",
}  # fmt: skip
# mpmath cannot take large arguments of these; there they are constant to 400 bits.
FLAT = {"erf": lambda x: math.copysign(1, x), "erfc": lambda x: 0.0 if x > 0 else 2.0}
FLAT_FROM = 1000.0
WIDER = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.longdouble}
MPMATH_BITS = 400  # enough for the sine of 2**1023 after cancellation, with mpmath's own guard bits


def wide_function(name: str) -> Callable[..., np.ndarray] | None:
    """Return a function over arrays one size up, or None if only mpmath has it."""
    if name == "rsqrt":
        return lambda x: 1 / np.sqrt(x)
    return getattr(np, NUMPY_NAMES.get(name, name), None)


def torch_erf(name: str, x: np.ndarray) -> np.ndarray:
    """Return PyTorch's float64 erf or erfc."""
    import torch  # noqa: PLC0415 - optional: only the oracle tests need it

    return getattr(torch, name)(torch.from_numpy(x)).numpy()


def reference(name: str, *args: np.ndarray) -> np.ndarray:
    """Return the values one size wider, accurate to about one ulp of that size."""
    with np.errstate(invalid="ignore"):
        wide = [x.astype(WIDER[x.dtype]) for x in args]
    function = wide_function(name)
    if function is None and args[0].dtype == np.float32:
        return torch_erf(name, *wide)
    if function is None:
        return exact(name, *args)
    with np.errstate(all="ignore"):
        return function(*wide)


def exact(name: str, *args: np.ndarray) -> np.ndarray:
    """Return mpmath's values as 80-bit floats; only for arguments whose result is finite."""
    out = np.empty(args[0].size, np.longdouble)
    with mpmath.workprec(MPMATH_BITS):
        for i, row in enumerate(zip(*args, strict=True)):
            numbers = [float(x) for x in row]
            if name in FLAT and abs(numbers[0]) > FLAT_FROM:
                out[i] = FLAT[name](numbers[0])
            elif all(math.isfinite(x) for x in numbers):
                out[i] = to_longdouble(MPMATH[name](*[mpmath.mpf(x) for x in numbers]))
            else:
                out[i] = math.nan
    return out


def to_longdouble(value: mpmath.mpf) -> np.longdouble:
    """Return `value` with the first 64 bits of its mantissa."""
    if not mpmath.isfinite(value):
        return np.longdouble(float(value))
    mantissa, exponent = mpmath.frexp(value)
    exponent = max(-16000, min(16000, int(exponent)))  # what an 80-bit float holds
    scaled = int(mpmath.nint(mpmath.ldexp(mantissa, 64)))
    high, low = divmod(scaled, 1 << 32)
    return np.ldexp(np.longdouble(high) * 2**32 + np.longdouble(low), exponent - 64)


def errors_in_ulp(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Return |got - want| in units in the last place of `want` in the format of `got`.

    `want` is wider. Infinity stands for the next power of two; it is right where `want` rounds to
    it. NaN against NaN is 0, NaN against a number is infinite.
    """
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        ends = np.ldexp(want.dtype.type(1), info.maxexp)
        finite = np.where(np.isinf(got), np.copysign(ends, got), got)
        goal = np.clip(want, -ends, ends)
        _, exponent = np.frexp(goal)
        exponent = np.maximum(exponent, info.minexp + 1) - (info.nmant + 1)
        exponent = np.minimum(exponent, info.maxexp - info.nmant - 1)
        error = np.abs(np.ldexp(finite - goal, -exponent))
    error[np.isnan(got) & np.isnan(want)] = 0
    error[np.isnan(got) != np.isnan(want)] = np.inf
    return error
