"""Rules that look right and are not: each must be refuted by the prover."""

from inkle.ir import ops
from inkle.ir.dtype import bool_, int8, int32
from inkle.ir.node import const
from inkle.ir.op import BOOL, FLOAT, INTEGER, NUMBER
from inkle.rewrite.pattern import hole
from inkle.rewrite.rule import FIXED, INDEX, function_rule, rule


@function_rule(
    "narrow_and_back", (ops.CAST,), INTEGER, lambda: [hole("x", int32).cast(int8).cast(int32)]
)
def narrow_and_back(node, known):
    return node.src[0].src[0] if node.src[0].op is ops.CAST else None


TRUE = const(True, bool_)
WRONG = (
    narrow_and_back,
    rule("add_zero_of_floats", lambda x: (x + 0.0, x), FLOAT),  # -0.0
    rule("sub_self_of_floats", lambda x: (x - x, x.wrap(0)), FLOAT),  # inf
    rule("mul_zero_of_floats", lambda x: (x * 0.0, x.wrap(0)), FLOAT),  # NaN, -1.0
    rule("neg_sub_of_floats", lambda x, y: (-(x - y), y - x), FLOAT),  # zero sign
    rule("not_less_of_floats", lambda x, y: (~(x < y), y <= x), FLOAT),  # NaN
    rule("equal_self_of_floats", lambda x: (x.eq(x), TRUE), FLOAT),  # NaN
    rule("maximum_commutes", lambda x, y: (x.maximum(y), y.maximum(x)), NUMBER),  # zero signs
    rule("reciprocal", lambda x, a: (x / a, x * (1.0 / a)), FLOAT),  # rounds twice
    rule("fused", lambda x, y, z: (x * y + z, x.fma(y, z)), FLOAT),  # rounds once
    rule("square_of_root", lambda x: (x.sqrt() * x.sqrt(), x), FLOAT),
    rule("float_associative", lambda x, y, z: ((x + y) + z, x + (y + z)), FLOAT),
    rule("div_of_div_unconditional", lambda x, a, b: ((x // a) // b, x // (a * b)), INDEX),
    rule("mod_of_sum", lambda x, y, a: ((x + y) % a, x % a + y % a, a > 0), INDEX),
    rule("div_of_sum", lambda x, y, a: ((x + y) // a, x // a + y // a, a > 0), INDEX),
    rule("div_self_everywhere", lambda x: (x // x, x.wrap(1)), INDEX),  # 0 // 0 is 0
    rule("mod_is_small", lambda x, y: (x % y < y, TRUE), INDEX),  # y <= 0
    rule("small_mod_inclusive", lambda x, y: (x % y, x, (x >= 0) & (x <= y)), INDEX),  # x == y
    rule("truncating_is_floor", lambda x, y: (x.truncdiv(y), x // y, y > 0), INDEX),  # x < 0
    rule("mixed_recombine", lambda x, y: (x.truncdiv(y) * y + x % y, x), INDEX),
    rule("mirrored_quotient_off_by_one", lambda x, a: (x // a, -(-x // a), a > 0), INDEX),
    rule("low_digits_too_large", lambda x, y, a: ((x * a + y) // a, x, (y >= 0) & (y <= a)), INDEX),
    rule("less_without_wrapping", lambda x, y, a: (x + a < y + a, x < y), FIXED),
    rule("div_multiple_that_wraps", lambda x, a: ((x * a) // a, x, a.ne(0)), FIXED),
    rule("shifts_add_up", lambda x, a, b: ((x << a) << b, x << (a + b)), FIXED),  # a + b >= width
    rule("shift_back", lambda x, a: ((x >> a) << a, x), FIXED),
    rule("abs_is_positive", lambda x: (abs(x) >= 0, TRUE), FIXED),  # the lowest value
    rule("abs_of_negated", lambda x: (abs(-x), abs(x)), FIXED),  # unsigned
    rule("wrong_at_one_value", lambda x: (x.eq(0x12345678), x.wrap(0).ne(0)), FIXED),
    rule("absorption", lambda p, q: (p & (p | q), q), BOOL),
    rule("where_swapped", lambda p, x, y: (p.where(x, y), (~p).where(x, y)), FIXED),
    rule(
        "where_of_both", lambda p, q, x, y: (p.where(q.where(x, y), y), (p | q).where(x, y)), BOOL
    ),
)
