"""Rules about floats: only what holds bit for bit, for NaN, infinities and -0.0 as well.

(A NaN stays a NaN; which one is not promised.)
"""

from __future__ import annotations

from math import frexp, isfinite

from inkle.ir import ops
from inkle.ir.dtype import float16, float32, float64
from inkle.ir.forms import CONST
from inkle.ir.node import Node, const
from inkle.ir.op import FLOAT
from inkle.rewrite.known import Known
from inkle.rewrite.pattern import hole
from inkle.rewrite.rule import function_rule, rule

_X, _H, _D = hole("x", float32), hole("x", float16), hole("x", float64)


@function_rule(
    "divide_by_power_of_two",
    (ops.DIV,),
    FLOAT,
    lambda: [_X / 8.0, _X / -0.5, _H / 4.0, _D / 2.0**-1000, _X / 2.0**-126],
)
def divide_by_power_of_two(node: Node, known: Known) -> Node | None:
    """Multiply by the reciprocal where it is exact: both round the same number once."""
    x, c = node.src
    if c.op is not CONST or c.arg == 0 or not isfinite(c.arg) or abs(frexp(c.arg)[0]) != 0.5:
        return None
    if abs(frexp(c.arg)[1]) > 1022:
        return None  # 1 / c could leave the range of double
    factor = const(1.0 / c.arg, node.dtype)
    return x * factor if isfinite(factor.arg) and factor.arg * c.arg == 1.0 else None


RULES = (
    rule("float_sub_zero", lambda x: (x - 0.0, x), FLOAT),
    rule("float_add_minus_zero", lambda x: (x + -0.0, x), FLOAT),  # not + 0.0: -0.0 + 0.0 is 0.0
    rule("float_minus_zero_sub", lambda x: (x.wrap(-0.0) - x, -x), FLOAT),
    rule("float_div_one", lambda x: (x / 1.0, x), FLOAT),
    rule("float_div_minus_one", lambda x: (x / -1.0, -x), FLOAT),
    divide_by_power_of_two,
    rule("float_div_neg", lambda x, y: (-x / -y, x / y), FLOAT),
    rule("float_neg_fma", lambda x, y, z: ((-x).fma(-y, z), x.fma(y, z)), FLOAT),
    rule("float_fma_one", lambda x, y: (x.fma(1.0, y), x + y), FLOAT),
    rule("float_square_of_abs", lambda x: (abs(x) * abs(x), x * x), FLOAT),
    rule("float_floor_again", lambda x: (x.floor().floor(), x.floor()), FLOAT),
    rule("float_ceil_again", lambda x: (x.ceil().ceil(), x.ceil()), FLOAT),
    rule("float_trunc_again", lambda x: (x.trunc().trunc(), x.trunc()), FLOAT),
    rule("float_rint_again", lambda x: (x.rint().rint(), x.rint()), FLOAT),
)
