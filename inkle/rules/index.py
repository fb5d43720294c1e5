"""Rules of index arithmetic: unbounded integers with known bounds.

Sums, quotients and comparisons are brought to normal forms by code, since "collect equal terms" is
no pattern. What that code relies on is stated as LEMMAS, which are proved like every rule.
"""

from __future__ import annotations

from collections.abc import Iterable

from inkle.ir import forms, ops
from inkle.ir.dtype import index
from inkle.ir.loop import range_
from inkle.ir.node import Node
from inkle.rewrite.affine import SUMS, affine_of
from inkle.rewrite.known import Known
from inkle.rewrite.pattern import hole
from inkle.rewrite.rule import INDEX, function_rule, rule
from inkle.rules import index_compare
from inkle.rules.index_division import quotient, remainder
from inkle.rules.index_sums import normalised, sum_of

_X, _Y, _Z = (hole(name, index) for name in "xyz")
_I, _J, _K = range_(0, 6), range_(1, 4), range_(2, 12)


@function_rule(
    "collect_terms",
    (ops.ADD, ops.SUB, ops.NEG, ops.MUL),
    INDEX,
    lambda: [
        _X + _Y + _X,
        3 - (_Y - _X) * 2,
        -(_X - 5),
        (_X + 2) * (_Y - _Z),
        (_X // 5) * 10 + (_X % 5) * 2 + _Y,
        (_X // 4) % 3 * 4 + _X % 4,
        (_X // 12) * 12 + (_X // 4) % 3 * 4 + _X % 4,
        _X * 3 - _X // 7 * 21,
        _X // _Y * _Y + _X % _Y,
    ],
)
def collect_terms(node: Node, known: Known) -> Node | None:
    """Bring a sum to its normal form."""
    total = sum_of(node)
    if total is None:
        return None
    new = normalised(total, known).node()
    return None if new is node else new


def nest_of(node: Node) -> object:
    """Return one object for all nodes that `collect_terms` looks through; None for others."""
    if node.op not in SUMS or node.dtype is not index or not node.src:
        return None
    return None if node.op is ops.MUL and node.src[1].op is not forms.CONST else SUMS


def _division_samples() -> Iterable[Node]:
    joined = (_I * 4 + _J) * 12 + _K
    for numerator, divisor in (
        (_X * 8 + _Y, 4), (_X * 9 + 7, 3), (_X // 3, 5), (_X % 12, 4), (_X * 8 + _Y % 12 + 8, 4),
        (15 - _X, 4), (-_X, 7), (joined, 48), (joined, 12), (joined, 24), (_K + 12, 12), (_K, 12),
        (_X * -6 + 1, -4), (_X, 1), (_X, -1), (_X, 0), (287 - joined, 48),
    ):  # fmt: skip
        yield numerator // divisor
        if numerator is not _X // 3:
            yield numerator % divisor
    yield (_X // 3 + _Y) // 5


@function_rule("divide_terms", (ops.FLOORDIV, ops.FLOORMOD), INDEX, _division_samples)
def divide_terms(node: Node, known: Known) -> Node | None:
    """Bring a quotient or a remainder by a constant to its normal form."""
    x, c = node.src
    if c.op is not forms.CONST:
        return None
    if c.arg == 0:
        return x.wrap(0) if node.op is ops.FLOORDIV else x
    divide = quotient if node.op is ops.FLOORDIV else remainder
    new = normalised(divide(affine_of(x), c.arg, known), known).node()
    return None if new is node else new


@function_rule(
    "compare_terms",
    (ops.LESS, ops.LESS_EQUAL, ops.EQUAL, ops.NOT_EQUAL),
    INDEX,
    lambda: [
        _X + 3 <= _Y,
        _X < 5 + _Y + _X * 2,
        *[
            compare(x, y)
            for x, y in (
                (_X * 2, _Y * 2 + 5), (_I, 6), (_I, -1), (5 - _X, _Y - _X), (-_X, 3), (_X + 1, _X),
                (_I * 12 + _K, 36), (_X + 1, 0), (_J * 12 + _K, _X * 12), (_I * 4 + _J, 11),
            )
            for compare in (Node.less, Node.less_equal, Node.equal, Node.not_equal)
            if (x, compare) not in ((_I * 4 + _J, Node.less), (_J * 12 + _K, Node.less_equal))
        ],
    ],
)  # fmt: skip
def compare_terms(node: Node, known: Known) -> Node | None:
    """Bring a comparison to its normal form, or decide it."""
    x, y = node.src
    if node.op is ops.LESS:
        new = index_compare.less(x, y, known)
    elif node.op is ops.LESS_EQUAL:
        new = index_compare.less(x, y, known, slack=1)
    else:
        new = index_compare.equal(x, y, known)
        if node.op is ops.NOT_EQUAL:
            new = index_compare.negated(new, node)
    return None if new is node else new


RULES = (
    collect_terms,
    divide_terms,
    compare_terms,
    rule("div_self", lambda x: (x // x, x.wrap(1), x.ne(0)), INDEX),
    rule("mod_self", lambda x: (x % x, x.wrap(0)), INDEX),
    rule("zero_div", lambda x: (x.wrap(0) // x, x.wrap(0)), INDEX),
    rule("zero_mod", lambda x: (x.wrap(0) % x, x.wrap(0)), INDEX),
    rule("small_div", lambda x, y: (x // y, x.wrap(0), (x >= 0) & (x < y)), INDEX),
    rule("small_mod", lambda x, y: (x % y, x, (x >= 0) & (x < y)), INDEX),
    rule("mod_of_mod", lambda x, y: ((x % y) % y, x % y), INDEX),
    rule("div_multiple", lambda x, y: ((x * y) // y, x, y.ne(0)), INDEX),
    rule("mod_multiple", lambda x, y: ((x * y) % y, x.wrap(0)), INDEX),
    rule("div_multiple_sum", lambda x, y, z: ((x * y + z) // y, x + z // y, y.ne(0)), INDEX),
    rule("mod_multiple_sum", lambda x, y, z: ((x * y + z) % y, z % y, y.ne(0)), INDEX),
    rule("truncdiv_positive", lambda x, y: (x.truncdiv(y), x // y, (x >= 0) & (y >= 0)), INDEX),
    rule("truncmod_positive", lambda x, y: (x.truncmod(y), x % y, (x >= 0) & (y >= 0)), INDEX),
)

# What the normal forms are made of; proved, and never applied as patterns.
LEMMAS = (
    rule("lemma_multiples_leave", lambda x, y, a: ((x * a + y) // a, x + y // a, a > 0), INDEX),
    rule("lemma_multiples_vanish", lambda x, y, a: ((x * a + y) % a, y % a, a > 0), INDEX),
    rule(
        "lemma_low_digits_of_quotient",
        lambda x, y, a, b: ((x * a + y) // (a * b), x // b, (a > 0) & (b > 0) & (y >= 0) & (y < a)),
        INDEX,
    ),
    rule(
        "lemma_low_digits_of_remainder",
        lambda x, y, a, b: (
            (x * a + y) % (a * b),
            (x % b) * a + y,
            (a > 0) & (b > 0) & (y >= 0) & (y < a),
        ),
        INDEX,
    ),
    rule(
        "lemma_quotients_nest",
        lambda x, y, a, b: ((x // a + y) // b, (x + y * a) // (a * b), (a > 0) & (b > 0)),
        INDEX,
    ),
    rule(
        "lemma_remainder_vanishes",
        lambda x, y, a, b: ((y + x % (a * b)) % a, (y + x) % a, (a > 0) & (b > 0)),
        INDEX,
    ),
    rule(
        "lemma_digits_join",
        lambda x, a, b: ((x // a) % b * a + x % a, x % (a * b), (a > 0) & (b > 0)),
        INDEX,
    ),
    # (x % (a*b)) // a == (x // a) % b: by lemma_digits_join the numerator is
    # (x // a) % b * a + x % a, of which lemma_multiples_leave leaves (x // a) % b + (x % a) // a.
    rule("lemma_remainder_moves_out", lambda x, a: ((x % a) // a, x.wrap(0), a > 0), INDEX),
    rule("lemma_mirrored_quotient", lambda x, a: (x // a, -1 - (-1 - x) // a, a > 0), INDEX),
    rule("lemma_mirrored_remainder", lambda x, a: (x % a, a - 1 - (-1 - x) % a, a > 0), INDEX),
    rule("lemma_negative_divisor", lambda x, a: (x // a, -x // -a, a < 0), INDEX),
    rule("lemma_negative_modulus", lambda x, a: (x % a, -(-x % -a), a < 0), INDEX),
    rule("lemma_recombined", lambda x, a: ((x // a) * a + x % a, x), INDEX),
    rule(
        "lemma_less_by_upper_digits",
        lambda x, y, a, b: (x * a + y < a * b, x < b, (a > 0) & (y >= 0) & (y < a)),
        INDEX,
    ),
    rule(
        "lemma_equal_by_digits",
        lambda x, y, a, b: (
            (x * a + y).eq(b),
            x.eq(b // a) & y.eq(b % a),
            (a > 0) & (y >= 0) & (y < a),
        ),
        INDEX,
    ),
)
