"""log, log2, log10, log1p.

x = m * 2**e with m in [2/3, 4/3), so that e = 0 around 1 and nothing cancels; log(m) is a
polynomial in m - 1. (The split by integer arithmetic on the bits is N. Juffa's.)
"""

from __future__ import annotations

import math

from inkle.ir.node import Node, const
from inkle.rules.transcendental.coefficients import LOG1P, LOG2_E, LOG10_2, LOG10_E
from inkle.rules.transcendental.formats import Format, format_of, in_float32, polynomial

LN2 = 0.6931471805599453
TWO_THIRDS = {32: 0x3F2AAAAB, 64: 0x3FE5555555555555}  # bits of 2/3


def negative_exponent_bits(x: Node, form: Format) -> Node:
    """Return -e of x = m * 2**e, m in [2/3, 4/3), where a float keeps its exponent."""
    unit = 1 << form.mantissa
    return (TWO_THIRDS[form.bits] + unit - 1 - x.bitcast(form.signed)) & -unit


def curve(f: Node) -> Node:
    """Return log(1 + f) - f, |f| <= 1/3, over f*f."""
    return polynomial((-0.5, *LOG1P[format_of(f).bits]), f)


def split(x: Node) -> tuple[Node, Node]:
    """Return e, as a float, and m - 1 of a positive, finite x = m * 2**e."""
    form = format_of(x)
    subnormal = x < form.smallest_normal
    x = subnormal.where(x * 2.0**form.mantissa, x)
    down = negative_exponent_bits(x, form)
    m = (x.bitcast(form.signed) + down).bitcast(x.dtype)
    scaled_by = subnormal.where(const(-float(form.mantissa), x.dtype), 0.0)
    return down.cast(x.dtype).fma(-(2.0**-form.mantissa), scaled_by), m - 1.0


def ends(x: Node, y: Node, zero: float = 0.0) -> Node:
    """Return y, a logarithm, where `x - zero` is positive and finite; else -inf, inf or NaN."""
    y = (x < math.inf).where(y, x)
    y = (x < zero).where(math.nan, y)
    return x.eq(zero).where(-math.inf, y)


def in_base(f: Node, base: dict[int, tuple[float, ...]], addend: Node | float) -> Node:
    """Return log(1 + f) in another base, plus a small addend, before one last rounding."""
    high, low = base[format_of(f).bits]
    return f.fma(high, (curve(f) * (f * f)).fma(high, f.fma(low, addend)))


@in_float32
def log(x: Node) -> Node:
    """Return the natural logarithm."""
    e, f = split(x)
    return ends(x, e.fma(LN2, curve(f).fma(f * f, f)))


@in_float32
def log2(x: Node) -> Node:
    """Return the logarithm to base 2; exact where x is a power of two."""
    e, f = split(x)
    return ends(x, e + in_base(f, LOG2_E, 0.0))


@in_float32
def log10(x: Node) -> Node:
    """Return the logarithm to base 10."""
    e, f = split(x)
    high, low = LOG10_2[format_of(x).bits]
    return ends(x, e.fma(high, in_base(f, LOG10_E, e * low)))


@in_float32
def log1p(x: Node) -> Node:
    """Return log(1 + x), accurate near zero.

    With 1 + x = m * 2**e, m - 1 is x * 2**-e + (2**-e - 1): both terms are exact, for |x| >= 1/3
    wherever e is not 0.
    """
    form = format_of(x)
    down = negative_exponent_bits(x + 1.0, form)
    # 4 * 2**-e: 2**-e itself may be subnormal.
    shrink = (down + (form.one + (2 << form.mantissa))).bitcast(x.dtype)
    f = (x.bitcast(form.signed) + down).bitcast(x.dtype) - shrink.fma(-0.25, 1.0)
    # Signs are such that -0.0 stays -0.0.
    y = down.cast(x.dtype).fma(-LN2 * 2.0**-form.mantissa, curve(f).fma(f * f, f))
    return ends(x, y, -1.0)
