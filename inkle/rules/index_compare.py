"""Comparisons of sums, in normal form (index arithmetic).

Both sides are brought together as T < c, T a sum without constant, and written with positive terms
on the left, negative ones on the right and the constant wherever it needs no sign:

    g*x + y < g*n   ->  x < n                  if 0 <= y < g (and the like for any bounds of y)
    g*x + y == c    ->  x == c // g & y == c % g    if 0 <= y < g
    x <= y          ->  x < y + 1
"""

from __future__ import annotations

from math import gcd

from inkle.ir import ops
from inkle.ir.dtype import bool_
from inkle.ir.node import Node, const, intern
from inkle.ir.op import Op
from inkle.rewrite.affine import Affine, affine_of
from inkle.rewrite.known import Known
from inkle.rules.index_sums import normalised

TRUE = const(True, bool_)
FALSE = const(False, bool_)


def less(x: Node, y: Node, known: Known, slack: int = 0) -> Node:
    """Return x < y + slack in normal form."""
    total = normalised(affine_of(x).plus(affine_of(y), -1), known)
    limit = slack - total.constant
    terms = Affine(total.terms, 0)
    low, high = known.span(terms)
    if high is not None and high < limit:
        return TRUE
    if low is not None and low >= limit:
        return FALSE
    terms, limit = _without_low_digits(terms, limit, known)
    return _written(terms, limit)


def equal(x: Node, y: Node, known: Known) -> Node:
    """Return x == y in normal form."""
    total = normalised(affine_of(x).plus(affine_of(y), -1), known)
    goal = -total.constant
    terms = Affine(total.terms, 0)
    low, high = known.span(terms)
    if (high is not None and high < goal) or (low is not None and low > goal):
        return FALSE
    if low is not None and low == high:
        return TRUE
    unit = terms.divisor()
    if goal % unit:
        return FALSE
    digits = _equal_digits(terms, goal, known)
    if digits is not None:
        return digits
    return _equality(terms.divided(unit), goal // unit)


def negated(condition: Node, instead: Node) -> Node:
    """Return `not condition` where `condition` came from `equal`; `instead` if it is unchanged."""
    if condition is TRUE or condition is FALSE:
        return FALSE if condition is TRUE else TRUE
    if condition.op is ops.EQUAL:
        return intern(ops.NOT_EQUAL, bool_, condition.src, None, ())
    if condition.op is ops.AND:
        first, second = (negated(source, instead) for source in condition.src)
        return intern(ops.OR, bool_, (first, second), None, ())
    return instead


def _written(terms: Affine, limit: int) -> Node:
    """Return terms < limit as a graph."""
    positive = Affine({atom: k for atom, k in terms.terms.items() if k > 0}, 0)
    negative = Affine({atom: -k for atom, k in terms.terms.items() if k < 0}, 0)
    if not positive.terms:
        return _compare(ops.LESS, Affine({}, -limit), negative)
    if limit < 0 and negative.terms:
        return _compare(ops.LESS, positive.shifted(-limit), negative)
    if limit == 1 and negative.terms:
        return _compare(ops.LESS_EQUAL, positive, negative)
    return _compare(ops.LESS, positive, negative.shifted(limit))


def _equality(terms: Affine, goal: int) -> Node:
    """Return terms == goal as a graph; the first term is positive."""
    if terms.ordered()[0][1] < 0:
        terms, goal = terms.scaled(-1), -goal
    positive = Affine({atom: k for atom, k in terms.terms.items() if k > 0}, 0)
    negative = Affine({atom: -k for atom, k in terms.terms.items() if k < 0}, 0)
    if goal < 0 and negative.terms:
        return _compare(ops.EQUAL, positive.shifted(-goal), negative)
    return _compare(ops.EQUAL, positive, negative.shifted(goal))


def _compare(op: Op, x: Affine, y: Affine) -> Node:
    return intern(op, bool_, (x.node(), y.node()), None, ())


def _units(terms: Affine) -> list[int]:
    """Return common divisors of the largest coefficients, largest first."""
    unit, units = 0, []
    for k in sorted({abs(k) for k in terms.terms.values()}, reverse=True):
        unit = gcd(unit, k)
        if unit > 1 and unit not in units:
            units.append(unit)
    return units


def _apart(terms: Affine, unit: int) -> tuple[Affine, Affine]:
    """Return the terms that `unit` divides, divided, and the others."""
    upper = {atom: k // unit for atom, k in terms.terms.items() if k % unit == 0}
    low = {atom: k for atom, k in terms.terms.items() if k % unit}
    return Affine(upper, 0), Affine(low, 0)


def _without_low_digits(terms: Affine, limit: int, known: Known) -> tuple[Affine, int]:
    """Return (upper, c) such that terms < limit is upper < c: small terms that cannot matter go."""
    for unit in _units(terms):
        upper, low = _apart(terms, unit)
        first, last = known.span(low)
        if first is None or last is None:
            continue
        bound = -((first - limit) // unit)
        # All of upper < bound holds, and nothing else: unit * upper + low jumps over the limit.
        if unit * (bound - 1) + last < limit:
            return upper, bound
    return terms, limit


def _equal_digits(terms: Affine, goal: int, known: Known) -> Node | None:
    """Return terms == goal as equality of upper and of lower digits, where that says the same."""
    for unit in _units(terms):
        upper, low = _apart(terms, unit)
        first, last = known.span(low)
        if not low.terms or first is None or last is None or last - first >= unit:
            continue
        high_goal, low_goal = divmod(goal - first, unit)
        if low_goal > last - first:
            return FALSE
        both = (_equality(upper, high_goal), _equality(low, low_goal + first))
        return intern(ops.AND, bool_, both, None, ())
    return None
