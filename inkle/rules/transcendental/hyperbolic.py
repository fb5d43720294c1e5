"""sinh, cosh, tanh and their inverses: polynomials near zero, exp and log away from it."""

from __future__ import annotations

from inkle.ir.node import Node, const
from inkle.rules.transcendental.coefficients import ACOSH, ASINH, ATANH, SINH, TANH
from inkle.rules.transcendental.exponential import LIMITS, scaled_exp
from inkle.rules.transcendental.formats import (
    flip_sign,
    format_of,
    in_float32,
    odd_polynomial,
    polynomial,
    sign_bits,
)
from inkle.rules.transcendental.logarithm import LN2, curve, split

# From an edge on the result is at least 1/2 or 1: its ulp is no smaller than those of what it is
# made of, whose errors would count double below.
TANH_EDGE = 0.5493061443340549  # tanh is 1/2
ASINH_EDGE = 1.1752011936438014  # asinh is 1
ACOSH_EDGE = 1.5430806348152437  # acosh is 1
HUGE = {32: 2.0**30, 64: 2.0**60}  # x*x + 1 == x*x, and no overflow yet


@in_float32
def tanh(x: Node) -> Node:
    """Return the hyperbolic tangent: 1 - 2/(exp(2|x|) + 1) with the sign of x."""
    bits = format_of(x).bits
    a = x.abs()
    limit = LIMITS[bits].minus_one
    twice = a + a
    y = scaled_exp((twice > limit).where(limit, twice), 0)
    y = (a < TANH_EDGE).where(odd_polynomial(TANH[bits], a), 1.0 - 2.0 / (y + 1.0))
    return flip_sign(y, sign_bits(x))


@in_float32
def sinh(x: Node) -> Node:
    """Return the hyperbolic sine: (y - 1/y) / 2, y = exp(|x|), with the sign of x."""
    bits = format_of(x).bits
    a = x.abs()
    limit = LIMITS[bits].cosh_infinity
    quarter = scaled_exp((a > limit).where(limit, a), 2)
    y = (a < 1.0).where(odd_polynomial(SINH[bits], a), (quarter - 0.0625 / quarter) * 2.0)
    return flip_sign(y, sign_bits(x))


@in_float32
def cosh(x: Node) -> Node:
    """Return the hyperbolic cosine: (y + 1/y) / 2, y = exp(|x|), in quarters against overflow."""
    limit = LIMITS[format_of(x).bits].cosh_infinity
    a = x.abs()
    quarter = scaled_exp((a > limit).where(limit, a), 2)
    return (quarter + 0.0625 / quarter) * 2.0


def log_of_sum(x: Node, root: Node) -> Node:
    """Return log(x + root) for a root that is x where x is huge: then log(x) + log(2)."""
    huge = x > HUGE[format_of(x).bits]
    e, f = split(huge.where(x, x + root))
    y = (e + huge.where(const(1.0, x.dtype), 0.0)).fma(LN2, curve(f).fma(f * f, f))
    return (x < float("inf")).where(y, x)


@in_float32
def asinh(x: Node) -> Node:
    """Return the inverse hyperbolic sine: log(|x| + sqrt(x*x + 1)) with the sign of x."""
    a = x.abs()
    far = log_of_sum(a, a.fma(a, 1.0).sqrt())
    near = odd_polynomial(ASINH[format_of(x).bits], a)
    return flip_sign((a < ASINH_EDGE).where(near, far), sign_bits(x))


@in_float32
def acosh(x: Node) -> Node:
    """Return the inverse hyperbolic cosine, log(x + sqrt(x*x - 1)); NaN below 1."""
    far = log_of_sum(x, x.fma(x, -1.0).sqrt())
    t = x - 1.0
    s = (t + t).sqrt()  # NaN below 1
    near = (polynomial(ACOSH[format_of(x).bits], t) * t).fma(s, s)
    return (x < ACOSH_EDGE).where(near, far)


@in_float32
def atanh(x: Node) -> Node:
    """Return the inverse hyperbolic tangent: log((1 + |x|) / (1 - |x|)) / 2 with the sign of x."""
    a = x.abs()
    ratio = (1.0 + a) / (1.0 - a)
    e, f = split(ratio)
    far = e.fma(LN2, curve(f).fma(f * f, f)) * 0.5
    far = (a < 1.0).where(far, a.eq(1.0).where(ratio, float("nan")))
    near = odd_polynomial(ATANH[format_of(x).bits], a)
    return flip_sign((a < 0.5).where(near, far), sign_bits(x))
