"""What the decompositions need to know of float32 and float64, and the bit tricks they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps

from inkle.ir.dtype import DType, float32, float64, int32, int64, uint32, uint64
from inkle.ir.node import Node


@dataclass(frozen=True, slots=True)
class Format:
    """Layout and limits of a binary float format.

    Attributes:
        bits: width.
        mantissa: explicit bits of the fraction; bit number `mantissa` is the exponent's lowest.
        bias: what is added to an exponent before it is stored.
        signed, unsigned: integers of the same width.
        shifter: 1.5 * 2**mantissa. Adding it rounds to an integer, which then stands in the low
            bits of the sum (two's complement): no conversion, which would have to saturate.
    """

    bits: int
    mantissa: int
    bias: int
    signed: DType
    unsigned: DType

    @property
    def shifter(self) -> float:
        """The number whose unit in the last place is one."""
        return 1.5 * 2.0**self.mantissa

    @property
    def sign_bit(self) -> int:
        """Mask of the sign."""
        return 1 << (self.bits - 1)

    @property
    def one(self) -> int:
        """Bits of 1.0."""
        return self.bias << self.mantissa

    @property
    def smallest_normal(self) -> float:
        """The smallest number that is not subnormal."""
        return 2.0 ** (1 - self.bias)


FORMATS = {
    float32: Format(32, 23, 127, int32, uint32),
    float64: Format(64, 52, 1023, int64, uint64),
}


def format_of(x: Node) -> Format:
    """Return the format of a float32 or float64 value."""
    return FORMATS[x.dtype]


def in_float32(function: Callable[..., Node]) -> Callable[..., Node]:
    """Let `function`, written for float32 and float64, take float16 and bfloat16 through float32.

    The result is rounded twice, which costs at most 2**-13 of a unit in the last place of float16.
    """

    @wraps(function)
    def decompose(*args: Node) -> Node:
        dtype = args[0].dtype
        if dtype.bits > 16:
            return function(*args)
        return function(*[x.cast(float32) for x in args]).cast(dtype)

    return decompose


def polynomial(coefficients: Sequence[float], x: Node) -> Node:
    """Return the polynomial with `coefficients`, lowest power first, by Horner's rule."""
    *rest, last = coefficients
    total = x.fma(last, rest.pop())
    for c in reversed(rest):
        total = total.fma(x, c)
    return total


def odd_polynomial(coefficients: Sequence[float], x: Node) -> Node:
    """Return x + x*z*P(z), z = x*x."""
    z = x * x
    return (polynomial(coefficients, z) * z).fma(x, x)


def sign_bits(x: Node) -> Node:
    """Return the sign of x, alone, as unsigned bits."""
    form = format_of(x)
    return x.bitcast(form.unsigned) & form.sign_bit


def flip_sign(x: Node, signs: Node) -> Node:
    """Return x, negated where the unsigned `signs` have their top bit; all other bits are zero."""
    return (x.bitcast(signs.dtype) ^ signs).bitcast(x.dtype)
