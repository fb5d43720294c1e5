"""erf and erfc."""

from __future__ import annotations

from inkle.ir.node import Node
from inkle.rules.transcendental.coefficients import ERF, ERFC, EXPM1, LOG_ERFC
from inkle.rules.transcendental.exponential import scale, scaled_exp, split
from inkle.rules.transcendental.formats import (
    flip_sign,
    format_of,
    in_float32,
    polynomial,
    sign_bits,
)

ERF_EDGE = 0.92
ERFC_EDGE = 0.47  # erfc is 1/2 near here: below, its ulp is that of erf
# Where erfc becomes zero, and the centre of the fit.
ERFC_FAR = {32: (10.1, 2.5), 64: (27.3, 4.0)}
ERF_ONE = {32: 4.0, 64: 6.0}  # erf is 1 from here


@in_float32
def erf(x: Node) -> Node:
    """Return the error function: 1 - exp(log(erfc(|x|))) with the sign of x, a polynomial near 0.

    Where the logarithm is used, erfc is small against its 1, and so is an error in it.
    """
    bits = format_of(x).bits
    one = ERF_ONE[bits]
    a = x.abs()
    far = 1.0 - scaled_exp(polynomial(LOG_ERFC[bits], (a > one).where(one, a)), 0)
    near = polynomial(ERF[bits], a * a).fma(a, a)
    return flip_sign((a < ERF_EDGE).where(near, far), sign_bits(x))


@in_float32
def erfc(x: Node) -> Node:
    """Return the complementary error function: exp(-a*a) * (1 + p)/(1 + 2a), a = |x|.

    To keep the relative error small far out, a*a is a sum, exp and p are taken without their ones,
    and 1/(1 + 2a) and 1 + p are corrected by what their rounding leaves; all meet in the last sum.
    """
    form = format_of(x)
    zero, centre = ERFC_FAR[form.bits]
    near = x.abs()
    a = (near > zero).where(zero, near)
    square = a * a
    r, shifted = split(-square, 2 * form.bias)
    r = r - a.fma(a, -square)
    w = polynomial(EXPM1[form.bits], r).fma(r * r, r)
    p = polynomial(ERFC[form.bits], (a - centre) / (a + centre))
    beyond_one = w.fma(p, p) + w
    scaled = 1.0 + beyond_one
    lost = beyond_one - (scaled - 1.0)
    d = a.fma(2.0, 1.0)
    v = 1.0 / d
    correction = v.fma(-a.fma(2.0, 1.0 - d), (-v).fma(d, 1.0)) * v
    y = scale(scaled.fma(v, lost.fma(v, scaled * correction)), shifted)
    y = (x < 0.0).where(2.0 - y, y)
    close = 1.0 - polynomial(ERF[form.bits], x * x).fma(x, x)
    return (near < ERFC_EDGE).where(close, y)
