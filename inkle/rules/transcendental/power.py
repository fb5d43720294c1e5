"""pow and rsqrt."""

from __future__ import annotations

import math

from inkle.ir.node import Node
from inkle.rules.transcendental.coefficients import EXP2, LOG2, TWO_LOG2_E, TWO_THIRDS_LOG2_E
from inkle.rules.transcendental.exponential import LIMITS, clamp, scale
from inkle.rules.transcendental.formats import (
    flip_sign,
    format_of,
    in_float32,
    polynomial,
    sign_bits,
)
from inkle.rules.transcendental.logarithm import split

# |log2(x)| is at least 2**-25 (2**-54) unless x is 1: larger exponents change nothing.
LARGEST_EXPONENT = {32: 2.0**33, 64: 2.0**65}


@in_float32
def rsqrt(x: Node) -> Node:
    """Return 1/sqrt(x)."""
    return 1.0 / x.sqrt()


def product(x: Node, y: Node | float) -> tuple[Node, Node]:
    """Return x*y exactly, as a sum."""
    high = x * y
    return high, x.fma(y, -high)


def fast_sum(x: Node, y: Node) -> tuple[Node, Node]:
    """Return x + y exactly, as a sum, if |x| >= |y| or x is 0 (Dekker 1971)."""
    high = x + y
    return high, y - (high - x)


def log2_as_sum(x: Node) -> tuple[Node, Node]:
    """Return log2(x) of a positive, finite x as a sum, to about 2**-10 ulp of its first term.

    With q = (m - 1)/(m + 1), log2(m) = 2/log(2) * (q + q**3/3) + ...; q and these terms are sums.
    """
    bits = format_of(x).bits
    e, f = split(x)
    inverse = 1.0 / (f + 2.0)
    q = f * inverse
    left = q.fma(-f, q.fma(-2.0, f))  # f - q*(2 + f)
    q, q_low = fast_sum(q, left * inverse)
    square, square_low = product(q, q)
    cube, cube_low = product(q, square)
    cube_low = square.fma(q_low * 3.0, q.fma(square_low, cube_low))
    (two, two_low), (third, third_low) = TWO_LOG2_E[bits], TWO_THIRDS_LOG2_E[bits]
    line, line_low = product(q, two)
    line_low = q_low.fma(two, q.fma(two_low, line_low))
    bend, bend_low = product(cube, third)
    bend_low = cube_low.fma(third, cube.fma(third_low, bend_low))
    rest = polynomial(LOG2[bits], square) * (cube * square)
    high, low = fast_sum(e, line)
    high, lower = fast_sum(high, bend)
    return high, (low + lower) + ((line_low + bend_low) + rest)


def exp2_of_product(y: Node, high: Node, low: Node) -> Node:
    """Return 2**(y * (high + low)), |y * high| below the square root of the largest number."""
    form = format_of(y)
    limits, shifter = LIMITS[form.bits], form.shifter + 2 * form.bias
    exact, error = product(y, high)
    error = y.fma(low, error)
    p = clamp(exact, limits.exp2_zero - 1.0, limits.exp2_infinity + 1.0)
    error = p.eq(exact).where(error, 0.0)
    shifted = (p + error) + shifter
    r = (p - (shifted - shifter)) + error
    return scale(polynomial((1.0, *EXP2[form.bits]), r), shifted)


@in_float32
def pow(x: Node, y: Node) -> Node:  # noqa: A001  (the operation's name)
    """Return x**y with all the special cases of C (ISO/IEC 9899, F.10.4.4)."""
    form = format_of(x)
    a = x.abs()
    limit = LARGEST_EXPONENT[form.bits]
    result = exp2_of_product(clamp(y, -limit, limit), *log2_as_sum(a))
    whole = y.trunc().eq(y)
    half = y * 0.5
    odd = whole & half.trunc().ne(half)
    result = ((x < 0.0) & ~whole).where(math.nan, result)
    # Of 0, inf and NaN it is the number itself or its inverse, unless y is NaN.
    infinity_bits = ((1 << (form.bits - form.mantissa - 1)) - 1) << form.mantissa
    regular = a.bitcast(form.unsigned) - 1 < infinity_bits - 1
    result = (regular | y.ne(y)).where(result, (y < 0.0).where(1.0 / a, a))
    result = flip_sign(result, odd.where(sign_bits(x), 0))
    return (y.eq(0.0) | x.eq(1.0)).where(1.0, result)
