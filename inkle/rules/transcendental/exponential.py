"""exp, exp2, expm1.

They split x = n*ln(2) + r, |r| <= ln(2)/2 (Cody and Waite 1980), take a polynomial in r and scale
by 2**n. `n` is rounded by adding `Format.shifter`, which leaves it in the low bits of the sum:
shifted up by the width of the mantissa, those are the exponent of 2**n.
"""

from __future__ import annotations

from dataclasses import dataclass

from inkle.ir.node import Node
from inkle.rules.signs import is_never_positive
from inkle.rules.transcendental.coefficients import EXP2, EXPM1
from inkle.rules.transcendental.formats import Format, format_of, in_float32, polynomial

LOG2_E = 1.4426950408889634


@dataclass(frozen=True, slots=True)
class Limits:
    """Where the exponential of a format ends.

    Attributes:
        ln2_high, ln2_low: ln(2) as a sum; n * ln2_high is exact for every exponent n.
        zero: exp is 0 up to here, and so are the factors of 2**n: there is nothing to underflow,
            which takes processors a hundred cycles, and masked scores are full of it.
        infinity: exp is inf from here.
        minus_one: expm1 is -1 up to minus this; tanh is 1 from half of it.
        cosh_infinity: sinh and cosh are inf from here.
        exp2_zero, exp2_infinity: the same for exp2.
        lift: 2**(n + lift) is a normal number for every n of a result that is not 0, and
        zero_alone: it is 0 from here on.
    """

    ln2_high: float
    ln2_low: float
    zero: float
    infinity: float
    minus_one: float
    cosh_infinity: float
    exp2_zero: float
    exp2_infinity: float
    lift: int
    zero_alone: float


LIMITS = {
    32: Limits(
        0.693359375, -0.00021219444, -176.06, 88.75, 20.0, 89.5, -150.0, 128.0, 24, -104.667
    ),
    64: Limits(
        0.6931471803691238,
        1.9082149292705877e-10,
        -1418.1795,
        709.8,
        40.0,
        710.5,
        -1075.0,
        1024.0,
        53,
        -745.8266,
    ),
}


def clamp(x: Node, low: float, high: float) -> Node:
    """Return x held within [low, high]; NaN stays NaN, which `minimum` would pay more for."""
    x = (x < low).where(low, x)
    return (x > high).where(high, x)


def split(x: Node, spare: int) -> tuple[Node, Node]:
    """Return r and shifted n of x = n*ln(2) + r: the low bits of the shifted are n + `spare`."""
    limits, shifter = LIMITS[format_of(x).bits], format_of(x).shifter + spare
    shifted = x.fma(LOG2_E, shifter)
    n = shifted - shifter
    return n.fma(-limits.ln2_low, n.fma(-limits.ln2_high, x)), shifted


def scale(x: Node, shifted: Node) -> Node:
    """Return x * 2**n in two steps, so that only the last one rounds (subnormals) or overflows.

    The low bits of `shifted` are n + 2*bias; each half of them is the exponent of one factor.
    """
    form = format_of(x)
    bits = shifted.bitcast(form.unsigned)
    half = bits >> 1
    for exponent in (half, bits - half):
        x = x * (exponent << form.mantissa).bitcast(x.dtype)
    return x


def power_of_two(shifted: Node, form: Format) -> Node:
    """Return 2**k as a float, if the low bits of `shifted` are k + bias."""
    return (shifted.bitcast(form.unsigned) << form.mantissa).bitcast(shifted.dtype)


@in_float32
def exp(x: Node) -> Node:
    """Return e**x."""
    if is_never_positive(x):
        return _exp_at_most_one(x)
    form = format_of(x)
    limits = LIMITS[form.bits]
    r, shifted = split(clamp(x, limits.zero, limits.infinity), 2 * form.bias)
    return scale(polynomial((1.0, 1.0, *EXPM1[form.bits]), r), shifted)


def _exp_at_most_one(x: Node) -> Node:
    """Return e**x for x <= 0: nothing overflows, so one factor holds 2**n, but for a constant."""
    form = format_of(x)
    limits = LIMITS[form.bits]
    x = (x < limits.zero_alone).where(limits.zero_alone, x)
    r, shifted = split(x, form.bias + limits.lift)
    curve = polynomial((1.0, 1.0, *EXPM1[form.bits]), r)
    return curve * power_of_two(shifted, form) * 2.0**-limits.lift


@in_float32
def exp2(x: Node) -> Node:
    """Return 2**x; exact where x is an integer."""
    form = format_of(x)
    limits, shifter = LIMITS[form.bits], form.shifter + 2 * form.bias
    x = clamp(x, limits.exp2_zero, limits.exp2_infinity)
    shifted = x + shifter
    return scale(polynomial((1.0, *EXP2[form.bits]), x - (shifted - shifter)), shifted)


@in_float32
def expm1(x: Node) -> Node:
    """Return e**x - 1, accurate near zero."""
    form = format_of(x)
    limits = LIMITS[form.bits]
    r, shifted = split(clamp(x, -limits.minus_one, limits.infinity), form.bias - 1)
    half = power_of_two(shifted, form)
    curve = polynomial(EXPM1[form.bits], r) * (r * r)
    y = curve.fma(half, r.fma(half, half - 0.5)) * 2.0
    # Near zero halving would lose the last bit of a subnormal, and the sign of -0.0.
    return (x.abs() < 2.0 ** -(form.mantissa + 2)).where(x, y)


def scaled_exp(x: Node, down: int) -> Node:
    """Return exp(x) * 2**-down for x that neither under- nor overflows so."""
    form = format_of(x)
    r, shifted = split(x, form.bias - down)
    return polynomial((1.0, 1.0, *EXPM1[form.bits]), r) * power_of_two(shifted, form)
