"""Rules as data: what may be written, what is refused, and how they match."""

import pytest

from inkle.errors import RewriteError
from inkle.ir import ops
from inkle.ir.dtype import bool_, float32, index, int8, int32, uint8
from inkle.ir.loop import range_
from inkle.ir.node import const
from inkle.ir.op import BOOL, FLOAT, INTEGER, NUMBER
from inkle.rewrite.engine import RuleSet
from inkle.rewrite.pattern import hole, operand_dtype
from inkle.rewrite.rule import FIXED, INDEX, Rule, rule
from inkle.rules import INDEX_RULES, SIMPLIFY
from tests.rules.expressions import free

R0, R1 = range_(0, 6), range_(1, 4)
X, Y, N, M = free("x"), free("y"), free("n", int32), free("m", int32)


def apply(each, node):
    return RuleSet([each]).simplify(node)


def test_rule_of_the_house_style():
    each = rule(
        "div_of_div", lambda x, a, b: ((x // a) // b, x // (a * b), (a > 0) & (b > 0)), INDEX
    )

    assert apply(each, X // 3 // 5) is X // 15
    assert apply(each, X // 3 // -5) is X // 3 // -5
    assert apply(each, X // Y // 5) is X // Y // 5


def test_unbound_variable_is_an_error_that_names_it():
    with pytest.raises(RewriteError, match=r"rule bad: y must occur on the left side"):
        rule("bad", lambda x, y: (x + 0, x + y), INTEGER)
    with pytest.raises(RewriteError, match=r"rule bad: c must occur on the left side"):
        rule("bad", lambda x, c: (x + 0, x, c > 0), INTEGER)


def test_variables_without_a_meaning_are_refused():
    with pytest.raises(RewriteError, match="'u': x y z w stand for expressions"):
        rule("bad", lambda u: (u + 0, u), INTEGER)
    with pytest.raises(RewriteError, match="'xs'"):
        rule("bad", lambda xs: (xs + 0, xs), INTEGER)


def test_sides_must_agree_in_dtype_and_left_must_be_an_operation():
    with pytest.raises(RewriteError, match="sides of dtype bool and index"):
        rule("bad", lambda x: (x < x, x), INDEX)
    with pytest.raises(RewriteError, match="the left side must be an operation"):
        rule("bad", lambda x: (x, x + 0), INDEX)
    with pytest.raises(RewriteError, match=r"must give \(left, right\[, condition\]\)"):
        rule("bad", lambda x: (x + 0,), INDEX)


def test_rule_holds_for_its_kinds_only():
    each = rule("add_zero", lambda x: (x + 0, x), FIXED)

    assert apply(each, N + 0) is N
    assert apply(each, X + 0) is X + 0
    assert apply(each, free("f", float32) + 0.0) is free("f", float32) + 0.0


def test_constants_take_the_dtype_of_the_node():
    each = rule("ones", lambda x: (x & -1, x), FIXED)

    u = free("u", uint8)
    assert apply(each, u & 255) is u
    assert apply(each, u & 127) is u & 127


def test_zeros_of_floats_differ():
    each = rule("add_minus_zero", lambda x: (x + -0.0, x), FLOAT)

    f = free("f", float32)
    assert apply(each, f + -0.0) is f
    assert apply(each, f + 0.0) is f + 0.0


def test_commutative_operations_match_in_both_orders():
    each = rule("factor", lambda x, y: (x * y + x, x * (y + 1)), FIXED)

    expected = {N * (M + 1)}
    for node in (N * M + N, M * N + N, N + N * M, N + M * N):
        assert {apply(each, node)} <= {N * (M + 1), *expected}


def test_repeated_variable_matches_the_same_node_only():
    each = rule("same", lambda x: (x - x, x.wrap(0)), FIXED)

    assert apply(each, (N + M) - (N + M)) is N.wrap(0)
    assert apply(each, (N + M) - (M + N)) is (N + M) - (M + N)


def test_conditions_are_proved_from_bounds():
    each = rule("small", lambda x, a: (x % a, x, (x >= 0) & (x < a)), INDEX)

    assert apply(each, (R0 * 4 + R1) % 24) is R0 * 4 + R1
    assert apply(each, (R0 * 4 + R1) % 23) is (R0 * 4 + R1) % 23
    assert apply(each, X % 24) is X % 24


def test_condition_may_compare_computed_constants():
    each = rule("shift", lambda x, a, b: ((x << a) << b, x << (a + b), a + b < 8), FIXED)

    n = free("n", int8)
    assert apply(each, (n << 3) << 4) is n << 7
    assert apply(each, (n << 3) << 5) is (n << 3) << 5


def test_condition_that_is_not_known_does_not_hold():
    each = rule("self", lambda x: (x // x, x.wrap(1), x.ne(0)), INDEX)

    assert apply(each, (R0 + 1) // (R0 + 1)) is const(1, index)
    assert apply(each, R0 // R0) is R0 // R0


def test_conditions_about_bool_variables():
    each = rule("known", lambda p, x, y: (p.where(x, y), x, p), NUMBER)

    assert apply(each, (R0 < 6).where(N, M)) is N
    assert apply(each, (R0 < 5).where(N, M)) is (R0 < 5).where(N, M)


def test_comparisons_inside_other_operations_check_their_operands_dtype():
    each = rule("both", lambda x, a, b: ((x < a) & (x < b), x < a.minimum(b)), INDEX)

    assert apply(each, (X < 3) & (X < 5)) is (X < 3)
    assert apply(each, (N < 3) & (N < 5)) is ((N < 3) & (N < 5))


def test_casts_in_patterns_check_their_target():
    each = rule("back", lambda p: (p.cast(int32).cast(bool_), p), BOOL)
    p = free("p", bool_)

    assert apply(each, p.cast(int32).cast(bool_)) is p
    assert apply(each, p.cast(uint8).cast(bool_)) is p.cast(uint8).cast(bool_)


def test_holes_say_what_they_stand_for():
    assert hole("x", int32).dtype is int32
    assert hole("p", int32).dtype.name == "bool"
    assert hole("a", int32).arg == ("a", True)


def test_sides_are_kept_per_dtype():
    each = rule("add_zero", lambda x: (x + 0, x), FIXED)

    assert each.sides(int8) is each.sides(int8)
    assert each.sides(int8).left.dtype is int8
    assert each.root is ops.ADD


@pytest.mark.parametrize("rules", [SIMPLIFY, INDEX_RULES], ids=["simplify", "index"])
def test_rules_about_operands_of_their_own_dtype_are_so_for_every_dtype(rules):
    """`matchers` looks at two dtypes only."""
    for each in rules.rules:
        if isinstance(each, Rule):
            own = [operand_dtype(each.sides(dtype).left) is dtype for dtype in each.dtypes()]
            assert all(own) == all(own[-2:]), each.name
