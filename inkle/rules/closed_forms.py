"""What a reduction over r = 0, 1, ... n - 1 gives in closed form: index arithmetic, for every n.

    count_between     how many r lie in low <= r < high
    sum_between       their sum (Gauss)
    count_congruent   how many of them are e modulo c
    last_between      the last of them         first_between   the first of them

Each is proved by induction: a lemma gives the value for n = 0, another says that one more r changes
it as the reduction does. Lemmas are rules that no engine applies: `inkle.rules.folding` relies on
them. Those about a*r + b and about quotients say how a condition on r is solved for r.
"""

from __future__ import annotations

from collections.abc import Callable

from inkle.ir.dtype import INTEGERS, DType, bool_, index
from inkle.ir.node import Node, const
from inkle.rewrite.rule import FIXED, INDEX, Rule, rule

ZERO, ONE = const(0, index), const(1, index)
FALSE = const(False, bool_)
Span = tuple[Node, Node]  # low <= r < high


def clipped(span: Span, n: Node) -> Span:
    """Return the part of a span within 0 <= r < n; an empty one ends where it starts."""
    first = span[0].maximum(0)
    return first, span[1].minimum(n).maximum(first)


def count_between(span: Span, n: Node) -> Node:
    """Return the number of r in the span."""
    first, end = clipped(span, n)
    return end - first


def sum_between(span: Span, n: Node) -> Node:
    """Return the sum of all r in the span."""
    first, end = clipped(span, n)
    return triangle(end) - triangle(first)


def triangle(n: Node) -> Node:
    """Return 0 + 1 + ... + (n - 1)."""
    return n * (n - 1) // 2


def count_congruent(span: Span, n: Node, e: Node, c: Node) -> Node:
    """Return the number of r in the span that are e modulo c > 0."""
    first, end = clipped(span, n)
    return (end - 1 - e) // c - (first - 1 - e) // c


def last_between(span: Span, n: Node, missing: Node) -> Node:
    """Return the last r in the span, or `missing`."""
    first, end = clipped(span, n)
    return (first < end).where(end - 1, missing)


def first_between(span: Span, n: Node, missing: Node) -> Node:
    """Return the first r in the span, or `missing`."""
    first, end = clipped(span, n)
    return (first < end).where(first, missing)


# --- proofs ---------------------------------------------------------------------------------------


def _inside(r: Node, span: Span) -> Node:
    return (span[0] <= r) & (r < span[1])


def _term(condition: Node, value: Node) -> Node:
    return condition.where(value, ZERO)


def _starts(total: Callable[[Node], Node]) -> tuple[Node, Node]:
    return total(ZERO), ZERO


INDUCTION = (
    rule("count_start", lambda x, y: _starts(lambda n: count_between((x, y), n)), INDEX),
    rule(
        "count_step",
        lambda x, y, z: (
            count_between((x, y), z + 1),
            count_between((x, y), z) + _term(_inside(z, (x, y)), ONE),
            z >= 0,
        ),
        INDEX,
    ),
    rule("triangle_step", lambda x: (triangle(x + 1), triangle(x) + x), INDEX),
    # sum_between: one more r moves the end of the span, if at all, from r to r + 1
    rule("first_stays", lambda x, y, z: (clipped((x, y), z)[0], x.maximum(0)), INDEX),
    rule("end_at_start", lambda x, y: (clipped((x, y), ZERO)[1], x.maximum(0)), INDEX),
    rule(
        "end_step",
        lambda x, y, z: (
            clipped((x, y), z + 1)[1],
            clipped((x, y), z)[1] + _term(_inside(z, (x, y)), ONE),
            z >= 0,
        ),
        INDEX,
    ),
    rule(
        "end_moves_from_r",
        lambda x, y, z: (_inside(z, (x, y)) & clipped((x, y), z)[1].ne(z), FALSE, z >= 0),
        INDEX,
    ),
    # count_congruent: by end_step and end_moves_from_r, too
    rule(
        "congruent_step",
        lambda x, y, a: ((x - y) // a, (x - 1 - y) // a + _term(((x - y) % a).eq(0), ONE), a > 0),
        INDEX,
    ),
    rule(
        "last_step",
        lambda x, y, z: (
            last_between((x, y), z + 1, -ONE),
            last_between((x, y), z, -ONE).maximum(_inside(z, (x, y)).where(z, -ONE)),
            z >= 0,
        ),
        INDEX,
    ),
    rule(
        "first_step",
        lambda x, y, z, w: (
            first_between((x, y), z + 1, w),
            first_between((x, y), z, w).minimum(_inside(z, (x, y)).where(z, w)),
            (z >= 0) & (z < w),
        ),
        INDEX,
    ),
    # the sum of (r == x ? v(r) : 0), where y is v(x) and w is v(z)
    rule(
        "select_step",
        lambda x, y, z, w: (
            _term((x >= 0) & (x < z), y) + _term(z.eq(x), w),
            _term((x >= 0) & (x < z + 1), y),
            (z >= 0) & (z.ne(x) | y.eq(w)),
        ),
        INDEX,
    ),
    rule("repeated_step", lambda x, y: (x * (y + 1), x * y + x), FIXED | INDEX),
)

SOLUTIONS = (
    rule(
        "equal_multiple",
        lambda x, y, a: ((x * a).eq(y), x.eq(y // a) & (y % a).eq(0), a > 0),
        INDEX,
    ),
    rule("less_multiple", lambda x, y, a: (x * a + y < 0, x < -(y // a), a > 0), INDEX),
    rule("more_multiple", lambda x, y, a: (x * a + y < 0, y // -a < x, a < 0), INDEX),
    rule("quotient_less", lambda x, y, a: (x // a < y, x < y * a, a > 0), INDEX),
    rule("quotient_more", lambda x, y, a: (y < x // a, y * a + a <= x, a > 0), INDEX),
    rule(
        "quotient_equal",
        lambda x, y, a: ((x // a).eq(y), (y * a <= x) & (x < y * a + a), a > 0),
        INDEX,
    ),
    rule(
        "remainder_equal",
        lambda x, y, a: ((x % a).eq(y), (y >= 0) & (y < a) & ((x - y) % a).eq(0), a > 0),
        INDEX,
    ),
)

COUNTS = (
    rule(
        "count_of_or",
        lambda p, q: (_term(p | q, ONE), _term(p, ONE) + _term(q, ONE) - _term(p & q, ONE)),
        INDEX,
    ),
    rule(
        "count_of_not",
        lambda p, q: (_term(p & ~q, ONE), _term(p, ONE) - _term(p & q, ONE)),
        INDEX,
    ),
)


def _sum_of_casts(dtype: DType) -> Rule:
    return rule(
        f"sum_of_casts_{dtype.name}",
        lambda x, y: ((x + y).cast(dtype), x.cast(dtype) + y.cast(dtype)),
        INDEX,
    )


# a sum of casts is the cast of the sum: closed forms may be cast as a whole
CASTS = tuple([_sum_of_casts(dtype) for dtype in INTEGERS])

LEMMAS = (*INDUCTION, *SOLUTIONS, *COUNTS, *CASTS)
