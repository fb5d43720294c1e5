"""What each elementwise operation means, said by NumPy's, Python's or ml_dtypes' own functions.

Shares no code with the op table: comparisons of two readers of the table cannot see an error in it.
"""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from inkle.ir import dtype as dt
from inkle.ir.dtype import DType


def host_dtype(dtype: DType) -> np.dtype:
    """Return the NumPy (or ml_dtypes) type of the same name."""
    return np.dtype(ml_dtypes.bfloat16 if dtype is dt.bfloat16 else dtype.name)


def _nonzero(b):
    return np.where(b == 0, 1, b).astype(b.dtype)


def _truncdiv(a, b):
    """Exact, on Python integers; the smallest divided by -1 wraps when NumPy stores it back."""
    out = np.zeros(a.shape, a.dtype)
    for i in np.ndindex(*a.shape):
        p, q = int(a[i]), int(b[i])
        if q:
            quotient = abs(p) // abs(q) * (1 if (p < 0) == (q < 0) else -1)
            out[i] = (
                np.array([quotient], object).astype(np.int64).astype(a.dtype)[0]
                if (quotient < 2**63)
                else a[i]
            )
    return out


def _truncmod(a, b):
    return np.where(b == 0, a, np.fmod(a, _nonzero(b)))


def _shift(function):
    return lambda a, b: function(a, b % (a.dtype.itemsize * 8))


def _sign(a):
    return np.where((a == 0) | (a != a), a, np.sign(a))


ORACLE = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
    "abs": np.abs, "sign": _sign, "truncdiv": _truncdiv, "truncmod": _truncmod,
    "floordiv": lambda a, b: np.where(b == 0, 0, np.floor_divide(a, _nonzero(b))),
    "floormod": lambda a, b: np.where(b == 0, a, np.mod(a, _nonzero(b))),
    # NumPy leaves open which zero is the larger; we say the second.
    "maximum": lambda a, b: np.where(a == b, b, np.maximum(a, b)),
    "minimum": lambda a, b: np.where(a == b, b, np.minimum(a, b)),
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint, "sqrt": np.sqrt,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert,
    "shl": _shift(np.left_shift), "shr": _shift(np.right_shift),
    "less": np.less, "less_equal": np.less_equal, "equal": np.equal, "not_equal": np.not_equal,
    "where": np.where,
}  # fmt: skip

TRANSCENDENTAL = {
    "rsqrt": lambda a: 1 / np.sqrt(a), "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1,
    "log": np.log, "log2": np.log2, "log10": np.log10, "log1p": np.log1p,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "atan2": np.arctan2, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "pow": np.power,
    "erf": np.vectorize(math.erf, otypes="d"), "erfc": np.vectorize(math.erfc, otypes="d"),
}  # fmt: skip
