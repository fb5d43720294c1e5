"""Rules about integers of fixed width, which wrap; some hold for floats and unbounded integers too.

Sums of index expressions have a normal form of their own (`inkle.rules.index`).
"""

from __future__ import annotations

from inkle.ir import ops
from inkle.ir.dtype import Kind, bool_, float32, int32
from inkle.ir.forms import CONST
from inkle.ir.node import Node
from inkle.ir.op import ANY, FLOAT, INTEGER, NUMBER
from inkle.rewrite.known import Known
from inkle.rewrite.pattern import hole
from inkle.rewrite.rule import FIXED, function_rule, rule

_X, _F, _P = hole("x", int32), hole("x", float32), hole("p", bool_)
SIGNED = frozenset({Kind.INT, Kind.INDEX})


@function_rule(
    "constant_right",
    (ops.ADD, ops.MUL, ops.AND, ops.OR, ops.XOR, ops.EQUAL, ops.NOT_EQUAL),
    ANY,
    lambda: [3 + _X, _X.wrap(5) & _X, 2.0 * _F, _P.wrap(True).apply(ops.OR, _P), _X.wrap(1).eq(_X)],
)
def constant_right(node: Node, known: Known) -> Node | None:
    """Put the constant of a commutative operation on the right."""
    first, second = node.src
    if first.op is not CONST or second.op is CONST:
        return None
    return second.apply(node.op, first)


RULES = (
    constant_right,
    # Not floats: -0.0 + 0 is +0.0.
    rule("add_zero", lambda x: (x + 0, x), FIXED),
    rule("add_constants", lambda x, a, b: ((x + a) + b, x + (a + b)), FIXED),
    rule("add_back", lambda x, y: ((x - y) + y, x), FIXED),
    rule("sub_back", lambda x, y: ((x + y) - y, x), FIXED),
    rule("sub_sum", lambda x, y: (x - (x + y), -y), FIXED),
    rule("sub_self", lambda x: (x - x, x.wrap(0)), FIXED),  # not floats: inf - inf is NaN
    rule("sub_constant", lambda x, a: (x - a, x + -a), FIXED),
    rule("zero_sub", lambda x: (x.wrap(0) - x, -x), FIXED),  # not floats: 0.0 - 0.0 is +0.0
    rule("neg_sub", lambda x, y: (-(x - y), y - x), FIXED),  # not floats: -(x - x) is -0.0
    rule("neg_neg", lambda x: (-(-x), x), FIXED | FLOAT),  # noqa: B002 - no decrement
    rule("add_neg", lambda x, y: (x + -y, x - y), FIXED | FLOAT),
    rule("sub_neg", lambda x, y: (x - -y, x + y), FIXED | FLOAT),
    rule("mul_zero", lambda x: (x * 0, x.wrap(0)), FIXED),  # not floats: NaN, inf, -0.0
    rule("mul_one", lambda x: (x * 1, x), NUMBER),
    rule("mul_minus_one", lambda x: (x * -1, -x), FIXED | FLOAT),
    rule("mul_constants", lambda x, a, b: ((x * a) * b, x * (a * b)), FIXED),
    rule("mul_neg", lambda x, y: (-x * -y, x * y), NUMBER),
    rule("add_multiples", lambda x, a, b: (x * a + x * b, x * (a + b)), FIXED),
    rule("add_multiple", lambda x, a: (x * a + x, x * (a + 1)), FIXED),
    rule("div_one", lambda x: (x // 1, x), FIXED),
    rule("mod_one", lambda x: (x % 1, x.wrap(0)), FIXED),
    rule("truncdiv_one", lambda x: (x.truncdiv(1), x), INTEGER),
    rule("truncmod_one", lambda x: (x.truncmod(1), x.wrap(0)), INTEGER),
    rule("div_zero", lambda x: (x // 0, x.wrap(0)), FIXED),
    rule("mod_zero", lambda x: (x % 0, x), FIXED),
    rule("truncdiv_zero", lambda x: (x.truncdiv(0), x.wrap(0)), INTEGER),
    rule("truncmod_zero", lambda x: (x.truncmod(0), x), INTEGER),
    rule("recombine", lambda x, y: ((x // y) * y + x % y, x), FIXED),
    rule("truncate_recombine", lambda x, y: (x.truncdiv(y) * y + x.truncmod(y), x), INTEGER),
    rule("fixed_small_div", lambda x, y: (x // y, x.wrap(0), (x >= 0) & (x < y)), FIXED),
    rule("fixed_small_mod", lambda x, y: (x % y, x, (x >= 0) & (x < y)), FIXED),
    rule("small_truncdiv", lambda x, y: (x.truncdiv(y), x.wrap(0), (x >= 0) & (x < y)), FIXED),
    rule("small_truncmod", lambda x, y: (x.truncmod(y), x, (x >= 0) & (x < y)), FIXED),
    rule("abs_abs", lambda x: (abs(abs(x)), abs(x)), NUMBER),
    rule("abs_neg", lambda x: (abs(-x), abs(x)), SIGNED | FLOAT),
    rule("abs_positive", lambda x: (abs(x), x, x >= 0), INTEGER),
    rule("abs_negative", lambda x: (abs(x), -x, x <= 0), INTEGER),
    rule("maximum_same", lambda x: (x.maximum(x), x), NUMBER),
    rule("minimum_same", lambda x: (x.minimum(x), x), NUMBER),
    rule("maximum_again", lambda x, y: (x.maximum(y).maximum(y), x.maximum(y)), NUMBER),
    rule("minimum_again", lambda x, y: (x.minimum(y).minimum(y), x.minimum(y)), NUMBER),
    rule("maximum_is_first", lambda x, y: (x.maximum(y), x, x >= y), INTEGER),
    rule("maximum_is_second", lambda x, y: (x.maximum(y), y, x <= y), INTEGER),
    rule("minimum_is_first", lambda x, y: (x.minimum(y), x, x <= y), INTEGER),
    rule("minimum_is_second", lambda x, y: (x.minimum(y), y, x >= y), INTEGER),
    rule(
        "maximum_constants",
        lambda x, a, b: (x.maximum(a).maximum(b), x.maximum(a.maximum(b))),
        INTEGER,
    ),
    rule(
        "minimum_constants",
        lambda x, a, b: (x.minimum(a).minimum(b), x.minimum(a.minimum(b))),
        INTEGER,
    ),
)
