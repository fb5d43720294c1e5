"""asin, acos, atan, atan2."""

from __future__ import annotations

from inkle.ir.node import Node, const
from inkle.rules.transcendental.coefficients import ASIN, ATAN, HALF_PI
from inkle.rules.transcendental.formats import (
    flip_sign,
    format_of,
    in_float32,
    odd_polynomial,
    polynomial,
    sign_bits,
)


def complement(angle: Node) -> Node:
    """Return pi/2 - angle."""
    high, low, _ = HALF_PI[format_of(angle).bits]
    return (high - angle) + low


def folded(x: Node) -> tuple[Node, Node, Node]:
    """Return whether |x| < 1/2, and as a sum asin(|x|) there, else asin(sqrt((1 - |x|) / 2))."""
    a = x.abs()
    near = a < 0.5
    z = near.where(a * a, a.fma(-0.5, 0.5))  # beyond 1 the root of a negative number is NaN
    s = near.where(a, z.sqrt())
    return near, s, polynomial(ASIN[format_of(x).bits], z) * z * s


@in_float32
def asin(x: Node) -> Node:
    """Return the inverse sine: beyond 1/2, pi/2 - 2*asin(sqrt((1 - |x|) / 2)); NaN beyond 1."""
    near, s, rest = folded(x)
    high, low, _ = HALF_PI[format_of(x).bits]
    # pi/4 twice: next to it the difference is exact, and from there on small.
    far = ((high / 2 - (s + s)) + rest.fma(-2.0, low)) + high / 2
    return flip_sign(near.where(s + rest, far), sign_bits(x))


@in_float32
def acos(x: Node) -> Node:
    """Return the inverse cosine: pi/2 - asin(x), or beyond 1/2 the double angle; NaN beyond 1."""
    near, s, rest = folded(x)
    y = s + rest
    twice = y + y
    high, low, _ = HALF_PI[format_of(x).bits]
    far = (x < 0.0).where((2.0 * high - twice) + 2.0 * low, twice)
    return near.where(complement(flip_sign(y, sign_bits(x))), far)


@in_float32
def atan(x: Node) -> Node:
    """Return the inverse tangent: beyond 1, pi/2 less that of 1/|x|."""
    a = x.abs()
    far = a > 1.0
    y = odd_polynomial(ATAN[format_of(x).bits], far.where(1.0 / a, a))
    return flip_sign(far.where(complement(y), y), sign_bits(x))


@in_float32
def atan2(y: Node, x: Node) -> Node:
    """Return the angle of the point (x, y), in (-pi, pi]; signs of zeros and infinities as in C."""
    form = format_of(x)
    a, b = x.abs(), y.abs()
    steep = a < b
    small, large = steep.where(a, b), steep.where(b, a)
    ratio = small / large
    # 0/0 is to be 0, inf/inf is to be 1.
    ratio = small.eq(large).where((large * 2.0).ne(0.0).cast(x.dtype), ratio)
    angle = odd_polynomial(ATAN[form.bits], ratio)
    backwards = x.bitcast(form.signed) < 0  # -0.0 too
    angle = steep.ne(backwards).where(-angle, angle)
    high, low, _ = HALF_PI[form.bits]
    base = steep.where(high, backwards.where(const(2.0 * high, x.dtype), 0.0))
    return flip_sign(base + base.fma(low / high, angle), sign_bits(y))
