# ruff: noqa: D102 - algebra methods are named after the operations of the table that they serve
"""The algebra of Python numbers: evaluates one operation on constants, with the standard library.

Integers are exact here and wrap when `const` stores them. Floats are Python's doubles: each basic
operation on operands of a narrower type is exact or rounded to 53 bits, which is enough bits that
rounding once more to that type gives what a single rounding would (2p + 2 <= 53, Figueroa 1995);
`fma` is computed exactly. Transcendental functions return IEEE special values and never raise.
A NaN keeps its payload through `bitcast` only.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from fractions import Fraction

from inkle.ir import forms
from inkle.ir.dtype import DType, Kind, float32
from inkle.ir.elementwise import Scalar
from inkle.ir.interval import INDEX_WIDTH
from inkle.ir.node import Node, const, convert_scalar, round_float
from inkle.ir.op import Op

INF = math.inf
NAN = math.nan


def fold(node: Node) -> Node:
    """Return an elementwise node of constants as a constant; any other node unchanged."""
    if not node.op.is_elementwise or any(source.op is not forms.CONST for source in node.src):
        return node
    values = [source.arg for source in node.src]
    return const(evaluate(node.op, node.dtype, node.src[-1].dtype, *values), node.dtype)


def evaluate(op: Op, dtype: DType, source: DType, *values: Scalar) -> Scalar:
    """Return `op` of Python numbers.

    Args:
        op: an elementwise operation.
        dtype: of the result.
        source: dtype of the last operand.
        values: operands; floats must be representable in their dtype.

    Returns:
        Python number that `dtype` can hold.

    Example:
        >>> evaluate(ops.ADD, int8, int8, 100, 100)
        -56
    """
    assert op.meaning is not None, f"{op} is not elementwise"
    return convert_scalar(op.meaning(ScalarAlgebra(source, dtype), *values), dtype)


def to_bits(value: Scalar, dtype: DType) -> int:
    """Return the bits of `value` in memory, as an unsigned integer."""
    if not dtype.is_float:
        return int(value) & ((1 << dtype.bits) - 1)
    value = float(value)
    bits: int = struct.unpack("<Q", struct.pack("<d", value))[0]
    if dtype.bits == 64:
        return bits
    if value != value:  # by hand: the processor would set the quiet bit of a signalling NaN
        fraction = (bits & ((1 << 52) - 1)) >> (52 - dtype.mantissa) or 1 << (dtype.mantissa - 1)
        return (bits >> 63) << (dtype.bits - 1) | _exponent_mask(dtype) | fraction
    if dtype.mantissa == 7:
        return to_bits(value, float32) >> 16
    layout = ("<I", "<f") if dtype.bits == 32 else ("<H", "<e")
    return int(struct.unpack(layout[0], struct.pack(layout[1], value))[0])


def from_bits(bits: int, dtype: DType) -> Scalar:
    """Return the value of `dtype` that `bits` stand for; a bool is whether any bit is set."""
    if not dtype.is_float:
        return convert_scalar(bits, dtype)
    if dtype.bits == 64:
        return float(struct.unpack("<d", struct.pack("<Q", bits))[0])
    fraction = bits & ((1 << dtype.mantissa) - 1)
    if bits & _exponent_mask(dtype) == _exponent_mask(dtype) and fraction:
        sign = bits >> (dtype.bits - 1)
        wide = sign << 63 | 0x7FF << 52 | fraction << (52 - dtype.mantissa)
        return float(struct.unpack("<d", struct.pack("<Q", wide))[0])
    if dtype.mantissa == 7:
        return from_bits(bits << 16, float32)
    layout = ("<I", "<f") if dtype.bits == 32 else ("<H", "<e")
    return float(struct.unpack(layout[1], struct.pack(layout[0], bits))[0])


def _exponent_mask(dtype: DType) -> int:
    """Return the bits that are all set in infinities and NaNs."""
    width = dtype.bits - 1 - dtype.mantissa
    return ((1 << width) - 1) << dtype.mantissa


def round_fraction(exact: Fraction, dtype: DType) -> float:
    """Return a rational number other than 0 rounded once, to nearest even, in float `dtype`."""
    try:
        wide = exact.numerator / exact.denominator  # Python rounds this quotient correctly
    except OverflowError:
        return INF if exact > 0 else -INF
    if dtype.bits == 64 or Fraction(wide) == exact:
        return round_float(wide, dtype)
    # Rounding twice goes wrong at a tie. The neighbour with an odd fraction never looks like one.
    if to_bits_of_double(wide) % 2 == 0:
        wide = math.nextafter(wide, INF if exact > Fraction(wide) else -INF)
    return round_float(wide, dtype)


def to_bits_of_double(value: float) -> int:
    """Return the 64 bits of a Python float."""
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def _try(
    function: Callable[[float], float], a: float, *, invalid: float = NAN, large: float = INF
) -> float:
    """Return function(a), with IEEE's values where Python raises."""
    try:
        return function(a)
    except ValueError:
        return invalid
    except OverflowError:
        return large


def _round_with(function: Callable[[float], int], a: float) -> float:
    """Round to an integer, keeping infinities, NaN and the sign of zero."""
    return a if math.isinf(a) or a != a else math.copysign(float(function(a)), a)


def _is_odd(a: float) -> bool:
    return a.is_integer() and a % 2 == 1


class ScalarAlgebra:
    """What `Op.meaning` needs besides Python's operators.

    Args:
        source: dtype of the operands.
        target: dtype of the result.
    """

    __slots__ = ("source", "target", "width")

    def __init__(self, source: DType, target: DType) -> None:
        self.source, self.target = source, target
        self.width = source.bits or INDEX_WIDTH

    # fmt: off
    def like(self, _: Scalar, value: int) -> int: return value
    def where(self, c: bool, a: Scalar, b: Scalar) -> Scalar: return a if c else b
    def less(self, a: Scalar, b: Scalar) -> bool: return a < b
    def less_equal(self, a: Scalar, b: Scalar) -> bool: return a <= b
    def equal(self, a: Scalar, b: Scalar) -> bool: return a == b
    def not_equal(self, a: Scalar, b: Scalar) -> bool: return a != b
    def isnan(self, a: Scalar) -> bool: return a != a
    def absolute(self, a: Scalar) -> Scalar: return abs(a)
    def invert(self, a: int) -> int: return not a if self.source.kind is Kind.BOOL else ~a
    def shift_left(self, a: int, b: int) -> int: return a << b % self.width
    def shift_right(self, a: int, b: int) -> int: return a >> b % self.width
    def cast(self, a: Scalar) -> Scalar: return convert_scalar(a, self.target)
    def bitcast(self, a: Scalar) -> Scalar:
        return from_bits(to_bits(a, self.source), self.target)

    def floor(self, a: float) -> float: return _round_with(math.floor, a)
    def ceil(self, a: float) -> float: return _round_with(math.ceil, a)
    def trunc(self, a: float) -> float: return _round_with(math.trunc, a)
    def rint(self, a: float) -> float: return _round_with(round, a)

    def sqrt(self, a: float) -> float: return _try(math.sqrt, a)
    def rsqrt(self, a: float) -> float: return self.true_divide(1.0, self.sqrt(a))
    def exp(self, a: float) -> float: return _try(math.exp, a)
    def exp2(self, a: float) -> float: return _try(math.exp2, a)
    def expm1(self, a: float) -> float: return _try(math.expm1, a)
    def log(self, a: float) -> float: return _try(math.log, a, invalid=-INF if a == 0 else NAN)
    def log2(self, a: float) -> float: return _try(math.log2, a, invalid=-INF if a == 0 else NAN)
    def log10(self, a: float) -> float: return _try(math.log10, a, invalid=-INF if a == 0 else NAN)
    def log1p(self, a: float) -> float: return _try(math.log1p, a, invalid=-INF if a == -1 else NAN)
    def sin(self, a: float) -> float: return _try(math.sin, a)
    def cos(self, a: float) -> float: return _try(math.cos, a)
    def tan(self, a: float) -> float: return _try(math.tan, a)
    def asin(self, a: float) -> float: return _try(math.asin, a)
    def acos(self, a: float) -> float: return _try(math.acos, a)
    def atan(self, a: float) -> float: return math.atan(a)
    def atan2(self, a: float, b: float) -> float: return math.atan2(a, b)
    def sinh(self, a: float) -> float: return _try(math.sinh, a, large=math.copysign(INF, a))
    def cosh(self, a: float) -> float: return _try(math.cosh, a)
    def tanh(self, a: float) -> float: return math.tanh(a)
    def asinh(self, a: float) -> float: return math.asinh(a)
    def acosh(self, a: float) -> float: return _try(math.acosh, a)
    def atanh(self, a: float) -> float:
        return _try(math.atanh, a, invalid=math.copysign(INF, a) if abs(a) == 1 else NAN)
    def erf(self, a: float) -> float: return math.erf(a)
    def erfc(self, a: float) -> float: return math.erfc(a)
    # fmt: on

    def pow(self, a: float, b: float) -> float:
        """C99's pow; Python raises where a pole or an overflow gives infinity."""
        try:
            return math.pow(a, b)
        except OverflowError:
            return -INF if a < 0 and _is_odd(b) else INF
        except ValueError:
            if a != 0:
                return NAN  # a root of a negative number
            return math.copysign(INF, a) if _is_odd(b) else INF

    def true_divide(self, a: float, b: float) -> float:
        """IEEE division."""
        if b != 0:
            return a / b
        if a == 0 or a != a:
            return NAN
        return math.copysign(INF, a) * math.copysign(1.0, b)

    def truncdiv(self, a: int, b: int) -> int:
        """Quotient towards zero; 0 if b is 0."""
        quotient = abs(a) // abs(b) if b else 0
        return quotient if (a < 0) == (b < 0) else -quotient

    def fma(self, a: float, b: float, c: float) -> float:
        """Return a * b + c, rounded once."""
        if math.isfinite(a) and math.isfinite(b):
            if not math.isfinite(c):
                return c  # a * b may overflow, but c decides
            exact = Fraction(a) * Fraction(b) + Fraction(c)
            if exact:
                return round_fraction(exact, self.target)
        return a * b + c  # infinite, NaN, or exactly zero: the sign is right
