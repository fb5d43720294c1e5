"""Every rule is proved; wrong rules are refuted; what Z3 does not know is no proof."""

import pytest

from inkle.check import domains, prove, z3_algebra
from inkle.check.prove import Claim, Counterexample, Proof, Unproved, claims_of, prove_claim
from inkle.errors import InkleError
from inkle.ir import dtype as dtypes
from inkle.ir import ops
from inkle.ir.algebra import fold
from inkle.ir.dtype import Kind, bool_, index, int8, int32, uint8, uint64
from inkle.ir.loop import range_
from inkle.ir.node import const
from inkle.ir.op import FLOAT, INTEGER
from inkle.rewrite.pattern import hole
from inkle.rewrite.rule import INDEX, FunctionRule, rule
from inkle.rules import SIMPLIFY
from inkle.rules.index import LEMMAS
from tests.check.wrong_rules import WRONG

RULES = (*SIMPLIFY.rules, *LEMMAS)
FALSE = const(False, bool_)
# Many samples, or many floats in threes: a second or so each.
SLOW = {"cast_of_cast", "float_neg_fma"}


def settled(claim):
    verdict = prove_claim(claim)
    assert isinstance(verdict, Proof), str(verdict)
    return verdict


@pytest.mark.parametrize("each", RULES, ids=lambda each: each.name)
def test_rule_is_proved(each):
    methods = {method for claim in claims_of(each) for method in methods_for(claim)}
    if isinstance(each, FunctionRule) or each.kinds & FLOAT:
        methods.discard("edge values")
    assert methods <= {"z3", "every value"}


def methods_for(claim):
    """Prove a claim; once more if Z3 gave up: its tactics have time slices, even if we count steps.

    On a machine with much else to do it proves for each constant what it otherwise proves at once.
    """
    for _ in range(3):
        methods = set() if is_slow(claim) else set(settled(claim).methods)
        if "z3 per constant" not in methods:
            break
    return methods


def is_slow(claim):
    """Whether only `make test-all` proves this claim: wide divisions."""
    return claim.rule in SLOW or ("recombine" in claim.rule and claim.dtype[-2:] in ("32", "64"))


@pytest.mark.slow
@pytest.mark.parametrize("each", RULES, ids=lambda each: each.name)
def test_rule_is_proved_for_every_dtype(each):
    for claim in claims_of(each):
        settled(claim)


@pytest.mark.parametrize("each", WRONG, ids=lambda each: each.name)
def test_wrong_rule_is_refuted(each):
    verdict = prove.prove(each)

    assert isinstance(verdict, Counterexample), str(verdict)
    assert verdict.values


def test_counterexample_names_rule_dtype_and_values():
    verdict = prove.prove(rule("off_by_one", lambda x: (x + 1, x), frozenset({Kind.INT})))

    assert str(verdict) == "rule off_by_one is wrong for int8: x = -128"


def test_unknown_is_no_proof(monkeypatch):
    monkeypatch.setattr(prove, "_LONG", 3_000_000)
    monkeypatch.setattr(prove, "_QUICK", 1_000_000)
    x, y = hole("x", uint64), hole("y", uint64)
    prime = const(2**61 - 1, uint64)  # has no divisors, which Z3 cannot find out soon
    small = (x > 1) & (y > 1) & (x < 1 << 31) & (y < 1 << 31)
    claim = Claim("prime", "uint64", (x * y).eq(prime), FALSE, small)

    verdict = prove_claim(claim)

    assert isinstance(verdict, Unproved)
    assert "prime is not proved for uint64" in str(verdict)


def test_division_by_a_variable_is_not_proved_by_samples_of_it():
    x, y = hole("x", index), hole("y", index)

    assert prove._for_each_constant(Claim("quotients", "index", x // y, x, None)) is None


def test_rule_with_constant_divisor_is_proved_for_each_of_a_set():
    each = rule("halves", lambda x, a: ((x % (a * 2)) // a, (x // a) % 2, a > 0), INDEX)
    (claim,) = claims_of(each)

    verdict = prove._for_each_constant(claim)

    assert isinstance(verdict, Proof)
    assert verdict.methods["z3 per constant"] == 14


def test_division_by_zero_is_ours_not_z3s():
    x = hole("x", index)

    assert isinstance(prove.prove_equal(x // 0, x.wrap(0)), Proof)
    assert isinstance(prove.prove_equal(x % 0, x), Proof)
    assert isinstance(prove.prove_equal(x.truncdiv(-3), -(x.truncdiv(3))), Proof)
    assert isinstance(prove.prove_equal(x // -3, -(x // 3)), Counterexample)


@pytest.mark.parametrize("op", [ops.FLOORDIV, ops.FLOORMOD, ops.TRUNCDIV, ops.TRUNCMOD])
def test_z3_agrees_with_exact_evaluation(op):
    for dtype in (int8, uint8):
        a, b = hole("x", dtype), hole("y", dtype)
        for left, right in ((-128, -1), (-7, 2), (7, -2), (5, 0), (-8, 3), (255, 16)):
            m, n = const(left, dtype), const(right, dtype)
            claim = Claim("same", dtype.name, a.apply(op, b), value(op, m, n), a.eq(m) & b.eq(n))
            for as_integers in (False, True):
                translation = z3_algebra.Translation(as_integers=as_integers)
                differs = translation.term(claim.left) != translation.term(claim.right)
                given = translation.term(claim.condition)
                assert z3_algebra.refute([differs, given], 1_000_000)[0] == "none"


def value(op, m, n):
    return fold(m.apply(op, n))


def test_ranges_are_tried_completely():
    i, j = range_(0, 6), range_(1, 5)

    assert prove.prove(rule("any", lambda x: (x + 0, x), INDEX)).methods == {"z3": 1}
    verdict = prove.prove_equal((i * 5 + j) // 5, i)
    assert isinstance(verdict, Proof)
    assert verdict.methods == {"every value": 1}


def test_4_bit_values_are_tried_completely():
    x = hole("x", prove.INT4)

    found = domains.first_difference_of_scalars(abs(x), -x, x < 0, {x: range(-8, 8)})
    assert found is None
    found = domains.first_difference_of_scalars(abs(x), x, None, {x: range(-8, 8)})
    assert found == {x: -7}  # -8 is its own absolute value


def test_edge_floats_are_representable():
    for dtype in dtypes.FLOATS:
        for number in domains.edge_floats(dtype):
            assert number != number or const(number, dtype).arg == number


def test_missing_z3_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(z3_algebra, "z3", None)

    with pytest.raises(InkleError, match=r"pip install z3-solver"):
        prove.prove_equal(hole("x", int32) + 0, hole("x", int32))


def test_sample_that_a_function_rule_does_not_apply_to_is_an_error():
    lazy = FunctionRule(
        "lazy", (ops.ADD,), INTEGER, lambda node, known: None, lambda: [hole("x", int32) + 1]
    )

    with pytest.raises(AssertionError, match="lazy does not apply to its sample"):
        prove.prove(lazy)
