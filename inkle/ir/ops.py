"""The table of elementwise operations. Each is declared here, once, and nowhere else.

Conventions that hold on every target (tests compare all of them on edge values):

- Integers wrap modulo 2**bits; `index` is unbounded.
- x // 0 == 0 and x % 0 == x, so that x == (x // y) * y + x % y always holds, in both families:
  `truncdiv`/`truncmod` round towards zero, `floordiv`/`floormod` towards minus infinity.
- Shifts take their count modulo the width; `>>` is arithmetic for signed types.
- `maximum` and `minimum` are NaN if either side is, and the second side if both are equal.
- `cast` from float to integer truncates, saturates, and takes NaN to 0; to bool it is `x != 0`;
  between integers it wraps; to float it rounds to nearest even.
- Float operations are IEEE 754 with round to nearest even; `fma` rounds once.

A composite operation is defined by other operations and can be expanded everywhere. Transcendental
operations are primitive here; `inkle.rules.transcendental` decomposes them with stated accuracy.
"""

from __future__ import annotations

import math
from typing import Any

from inkle.ir.dtype import DType, Kind
from inkle.ir.op import (
    ANY,
    BITS,
    FLOAT,
    INTEGER,
    NUMBER,
    Op,
    comparison,
    same,
    selection,
    structural,
)

LN2 = math.log(2.0)
LN10 = math.log(10.0)
TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)


def _zero(_: DType) -> int:
    return 0


def _one(_: DType) -> int:
    return 1


def _all_ones(dtype: DType) -> int:
    return 1 if dtype.kind is Kind.BOOL else dtype.limits()[1] if dtype.kind is Kind.UINT else -1


def _lowest(dtype: DType) -> float | int:
    return -math.inf if dtype.is_float else dtype.limits()[0]


def _highest(dtype: DType) -> float | int:
    return math.inf if dtype.is_float else dtype.limits()[1]


def _floordiv(m: Any, a: Any, b: Any) -> Any:
    """Quotient rounded towards minus infinity, from the truncating one; 0 if b is 0."""
    quotient = m.truncdiv(a, b)
    remainder = a - quotient * b
    inexact = m.not_equal(remainder, 0) & m.not_equal(b, 0)
    return m.where(
        m.not_equal(m.less(remainder, 0), m.less(b, 0)) & inexact, quotient - 1, quotient
    )


def _floormod(m: Any, a: Any, b: Any) -> Any:
    return a - _floordiv(m, a, b) * b


def _sign(m: Any, a: Any) -> Any:
    """1, -1, or a itself where it is zero or NaN."""
    return m.where(m.less(0, a), m.like(a, 1), m.where(m.less(a, 0), m.like(a, -1), a))


# --- derivatives that need more than a line -------------------------------------------------------


def _d_maximum(g: Any, out: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """The larger side gets the gradient; equal sides share it, as in PyTorch."""
    half = g * 0.5
    tie = a.eq(b)
    return tie.where(half, (b < a).where(g, 0.0)), tie.where(half, (a < b).where(g, 0.0))


def _d_minimum(g: Any, out: Any, a: Any, b: Any) -> tuple[Any, Any]:
    half = g * 0.5
    tie = a.eq(b)
    return tie.where(half, (a < b).where(g, 0.0)), tie.where(half, (b < a).where(g, 0.0))


def _d_pow(g: Any, out: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """d(a**b) = b*a**(b-1) da + log(a)*a**b db; both 0 where the factor in front is 0."""
    da = b.eq(0.0).where(0.0, g * b * a.pow(b - 1.0))
    db = (a.eq(0.0) & (b >= 0.0)).where(0.0, g * out * a.log())
    return da, db


def _d_atan2(g: Any, out: Any, y: Any, x: Any) -> tuple[Any, Any]:
    scale = g / (x * x + y * y)
    return x * scale, -y * scale


# --- arithmetic -----------------------------------------------------------------------------------

ADD = Op(
    "add", 2, lambda m, a, b: a + b, same, NUMBER,
    lambda g, out, a, b: (g, g),
    commutative=True, associative=True, identity=_zero,
)  # fmt: skip
SUB = Op("sub", 2, lambda m, a, b: a - b, same, NUMBER, lambda g, out, a, b: (g, -g))
MUL = Op(
    "mul", 2, lambda m, a, b: a * b, same, NUMBER,
    lambda g, out, a, b: (g * b, g * a),
    commutative=True, associative=True, identity=_one,
)  # fmt: skip
FMA = Op(
    "fma", 3, lambda m, a, b, c: m.fma(a, b, c), same, FLOAT,
    lambda g, out, a, b, c: (g * b, g * a, g),
)  # fmt: skip
DIV = Op(
    "div", 2, lambda m, a, b: m.true_divide(a, b), same, FLOAT,
    lambda g, out, a, b: (g / b, -g * out / b),
)  # fmt: skip
NEG = Op("neg", 1, lambda m, a: -a, same, NUMBER, lambda g, out, a: (-g,))
ABS = Op("abs", 1, lambda m, a: m.absolute(a), same, NUMBER, lambda g, out, a: (g * a.sign(),))
SIGN = Op("sign", 1, _sign, same, NUMBER, composite=True)
TRUNCDIV = Op("truncdiv", 2, lambda m, a, b: m.truncdiv(a, b), same, INTEGER)
TRUNCMOD = Op(
    "truncmod", 2, lambda m, a, b: a - m.truncdiv(a, b) * b, same, INTEGER, composite=True
)
FLOORDIV = Op("floordiv", 2, _floordiv, same, INTEGER, composite=True)
FLOORMOD = Op("floormod", 2, _floormod, same, INTEGER, composite=True)
MAXIMUM = Op(
    "maximum", 2, lambda m, a, b: m.where(m.less(b, a) | m.isnan(a), a, b), same, NUMBER,
    _d_maximum, composite=True, associative=True, idempotent=True, identity=_lowest,
)  # fmt: skip
MINIMUM = Op(
    "minimum", 2, lambda m, a, b: m.where(m.less(a, b) | m.isnan(a), a, b), same, NUMBER,
    _d_minimum, composite=True, associative=True, idempotent=True, identity=_highest,
)  # fmt: skip

# --- rounding -------------------------------------------------------------------------------------

FLOOR = Op("floor", 1, lambda m, a: m.floor(a), same, FLOAT)
CEIL = Op("ceil", 1, lambda m, a: m.ceil(a), same, FLOAT)
TRUNC = Op("trunc", 1, lambda m, a: m.trunc(a), same, FLOAT)
RINT = Op("rint", 1, lambda m, a: m.rint(a), same, FLOAT)

# --- transcendental -------------------------------------------------------------------------------

SQRT = Op("sqrt", 1, lambda m, a: m.sqrt(a), same, FLOAT, lambda g, out, a: (g / (out * 2.0),))
RSQRT = Op("rsqrt", 1, lambda m, a: m.rsqrt(a), same, FLOAT,
           lambda g, out, a: (g * out / (a * -2.0),))  # fmt: skip
EXP = Op("exp", 1, lambda m, a: m.exp(a), same, FLOAT, lambda g, out, a: (g * out,))
EXP2 = Op("exp2", 1, lambda m, a: m.exp2(a), same, FLOAT, lambda g, out, a: (g * out * LN2,))
EXPM1 = Op("expm1", 1, lambda m, a: m.expm1(a), same, FLOAT,
           lambda g, out, a: (g * (out + 1.0),))  # fmt: skip
LOG = Op("log", 1, lambda m, a: m.log(a), same, FLOAT, lambda g, out, a: (g / a,))
LOG2 = Op("log2", 1, lambda m, a: m.log2(a), same, FLOAT, lambda g, out, a: (g / (a * LN2),))
LOG10 = Op("log10", 1, lambda m, a: m.log10(a), same, FLOAT, lambda g, out, a: (g / (a * LN10),))
LOG1P = Op("log1p", 1, lambda m, a: m.log1p(a), same, FLOAT, lambda g, out, a: (g / (a + 1.0),))
SIN = Op("sin", 1, lambda m, a: m.sin(a), same, FLOAT, lambda g, out, a: (g * a.cos(),))
COS = Op("cos", 1, lambda m, a: m.cos(a), same, FLOAT, lambda g, out, a: (-g * a.sin(),))
TAN = Op("tan", 1, lambda m, a: m.tan(a), same, FLOAT,
         lambda g, out, a: (g * (out * out + 1.0),))  # fmt: skip
ASIN = Op("asin", 1, lambda m, a: m.asin(a), same, FLOAT,
          lambda g, out, a: (g / (1.0 - a * a).sqrt(),))  # fmt: skip
ACOS = Op("acos", 1, lambda m, a: m.acos(a), same, FLOAT,
          lambda g, out, a: (-g / (1.0 - a * a).sqrt(),))  # fmt: skip
ATAN = Op("atan", 1, lambda m, a: m.atan(a), same, FLOAT,
          lambda g, out, a: (g / (a * a + 1.0),))  # fmt: skip
ATAN2 = Op("atan2", 2, lambda m, a, b: m.atan2(a, b), same, FLOAT, _d_atan2)
SINH = Op("sinh", 1, lambda m, a: m.sinh(a), same, FLOAT, lambda g, out, a: (g * a.cosh(),))
COSH = Op("cosh", 1, lambda m, a: m.cosh(a), same, FLOAT, lambda g, out, a: (g * a.sinh(),))
TANH = Op("tanh", 1, lambda m, a: m.tanh(a), same, FLOAT,
          lambda g, out, a: (g * (1.0 - out * out),))  # fmt: skip
ASINH = Op("asinh", 1, lambda m, a: m.asinh(a), same, FLOAT,
           lambda g, out, a: (g / (a * a + 1.0).sqrt(),))  # fmt: skip
ACOSH = Op("acosh", 1, lambda m, a: m.acosh(a), same, FLOAT,
           lambda g, out, a: (g / (a * a - 1.0).sqrt(),))  # fmt: skip
ATANH = Op("atanh", 1, lambda m, a: m.atanh(a), same, FLOAT,
           lambda g, out, a: (g / (1.0 - a * a),))  # fmt: skip
ERF = Op("erf", 1, lambda m, a: m.erf(a), same, FLOAT,
         lambda g, out, a: (g * (a * -a).exp() * TWO_OVER_SQRT_PI,))  # fmt: skip
ERFC = Op("erfc", 1, lambda m, a: m.erfc(a), same, FLOAT,
          lambda g, out, a: (g * (a * -a).exp() * -TWO_OVER_SQRT_PI,))  # fmt: skip
POW = Op("pow", 2, lambda m, a, b: m.pow(a, b), same, FLOAT, _d_pow)

# --- bits -----------------------------------------------------------------------------------------

AND = Op("and", 2, lambda m, a, b: a & b, same, BITS, commutative=True, associative=True,
         idempotent=True, identity=_all_ones)  # fmt: skip
OR = Op("or", 2, lambda m, a, b: a | b, same, BITS, commutative=True, associative=True,
        idempotent=True, identity=_zero)  # fmt: skip
XOR = Op("xor", 2, lambda m, a, b: a ^ b, same, BITS, commutative=True, associative=True,
         identity=_zero)  # fmt: skip
NOT = Op("not", 1, lambda m, a: m.invert(a), same, BITS)
SHL = Op("shl", 2, lambda m, a, b: m.shift_left(a, b), same, INTEGER)
SHR = Op("shr", 2, lambda m, a, b: m.shift_right(a, b), same, INTEGER)

# --- comparison and selection ---------------------------------------------------------------------

LESS = Op("less", 2, lambda m, a, b: m.less(a, b), comparison, NUMBER)
LESS_EQUAL = Op("less_equal", 2, lambda m, a, b: m.less_equal(a, b), comparison, NUMBER)
EQUAL = Op("equal", 2, lambda m, a, b: m.equal(a, b), comparison, ANY, commutative=True)
NOT_EQUAL = Op("not_equal", 2, lambda m, a, b: m.not_equal(a, b), comparison, ANY, commutative=True)
WHERE = Op(
    "where", 3, lambda m, c, a, b: m.where(c, a, b), selection, ANY,
    lambda g, out, c, a, b: (None, c.where(g, 0.0), c.where(0.0, g)),
)  # fmt: skip

# --- change of type; the target dtype is the dtype of the node ------------------------------------

CAST = Op("cast", 1, lambda m, a: m.cast(a), structural, ANY,
          lambda g, out, a: (g.cast(a.dtype) if a.dtype.is_float else None,))  # fmt: skip
BITCAST = Op("bitcast", 1, lambda m, a: m.bitcast(a), structural, ANY)

TABLE: dict[str, Op] = {op.name: op for op in list(globals().values()) if isinstance(op, Op)}
