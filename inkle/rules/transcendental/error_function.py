"""erf and erfc."""

from __future__ import annotations

from inkle.ir.node import Node
from inkle.rules.transcendental.coefficients import ERF, LOG_ERFC
from inkle.rules.transcendental.exponential import scaled_exp
from inkle.rules.transcendental.formats import (
    flip_sign,
    format_of,
    in_float32,
    polynomial,
    sign_bits,
)

ERF_EDGE = 0.92
ERF_ONE = {32: 4.0, 64: 6.0}  # erf is 1 from here


@in_float32
def erf(x: Node) -> Node:
    """Return the error function: 1 - exp(log(erfc(|x|))) with the sign of x, a polynomial near 0.

    Where the logarithm is used, erfc is small against its 1, and so is an error in it.
    """
    bits = format_of(x).bits
    a = x.abs()
    far = 1.0 - scaled_exp(polynomial(LOG_ERFC[bits], (a > ERF_ONE[bits]).where(ERF_ONE[bits], a)), 0)
    near = polynomial(ERF[bits], a * a).fma(a, a)
    return flip_sign((a < ERF_EDGE).where(near, far), sign_bits(x))
