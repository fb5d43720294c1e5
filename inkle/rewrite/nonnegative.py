"""Prove that a sum of products is never negative, where bounds of its terms are not enough.

    n*m - 1 - (i*m + j)  >= 0    for i in range(n), j in range(m)

Bounds alone tell little about such a sum: i*m may be as large as n*m - m, and n*m as small as 1,
but not at once. So atoms are eliminated, one after the other: in `rest + slope*x` with a slope that
is never positive, x is replaced by its upper bound, which may be another sum (x <= n - 1); else by
its lower bound. What is left in the end is a number. Nothing is proved by giving up.
"""

from __future__ import annotations

from collections.abc import Sequence

from inkle.ir import forms, ops
from inkle.ir.dtype import index
from inkle.ir.node import Node, const, intern, toposort
from inkle.rewrite.affine import ZERO, Affine, affine_of, factors_of, multiplied, single, total_of
from inkle.rewrite.known import Known

STEPS = 1000  # sums looked at for one proof
DEEPEST = 40  # eliminations one after the other
_KNOWN = Known()
_QUOTIENTS = frozenset({ops.FLOORDIV, ops.TRUNCDIV, ops.SHR})


def is_nonnegative(total: Affine, facts: Sequence[Affine] = ()) -> bool:
    """Whether `total >= 0` is proved.

    Args:
        total: a sum.
        facts: sums that are never negative.
    """
    found = [*facts, *extent_facts(total)]
    return _Proof([expanded(each) for each in found]).holds(expanded(total))


def extent_facts(*sums: Affine) -> list[Affine]:
    """Return `extent - 1 - r`, never negative, for the ranges below whose extent is no number."""
    facts = []
    for node in toposort([atom for each in sums for atom in each.terms]):
        if node.op is forms.RANGE and node.src[0].op is not forms.CONST:
            facts += [
                affine_of(limit).plus(single(node), -1).shifted(-1) for limit in _parts(node.src[0])
            ]
    return facts


def _parts(limit: Node) -> list[Node]:
    """Return what a range stays below: of a minimum, both."""
    if limit.op is ops.MINIMUM:
        return [part for source in limit.src for part in _parts(source)]
    return [limit]


class _Proof:
    def __init__(self, facts: Sequence[Affine]) -> None:
        self._facts = facts
        self._left = STEPS
        self._depth = 0
        self._failed: set[Affine] = set()

    def holds(self, total: Affine) -> bool:
        """Whether `total` is never negative."""
        low, high = _KNOWN.span(total)
        if low is not None and low >= 0:
            return True
        if (high is not None and high < 0) or total in self._failed or self._left <= 0:
            return False
        if self._depth == DEEPEST:
            return False
        self._left -= 1
        self._failed.add(total)  # not while it is tried itself
        self._depth += 1
        found = any(self._holds_without(x, total) for x in _unknowns(total))
        self._depth -= 1
        if found:
            self._failed.discard(total)
        return found

    def _holds_without(self, x: Node, total: Affine) -> bool:
        slope, rest = slope_of(total, x)
        sign = 0 if slope is None else self._sign(slope)
        return slope is not None and sign != 0 and self._without(x, slope, rest, rising=sign > 0)

    def _sign(self, slope: Affine) -> int:
        low, high = _KNOWN.span(slope)
        if low is not None and low >= 0:
            return 1
        if high is not None and high <= 0:
            return -1
        return 1 if self.holds(slope) else -1 if self.holds(slope.scaled(-1)) else 0

    def _without(self, x: Node, slope: Affine, rest: Affine, *, rising: bool) -> bool:
        """Whether rest + slope * x is never negative, x being as small (large) as it can be."""

        def at(bound: Affine) -> bool:
            return self.holds(rest.plus(multiplied(slope, bound)))

        if x.op is ops.MINIMUM or x.op is ops.MAXIMUM:
            simple_first = sorted(x.src, key=lambda source: len(source.toposort()))
            ends = (at(_sum_of(source)) for source in simple_first)
            return all(ends) if rising == (x.op is ops.MINIMUM) else any(ends)
        for fact in self._facts:
            if fact.terms.get(x) == (1 if rising else -1):  # x >= bound, or x <= bound
                bound = fact.without(x)
                if at(bound.scaled(-1) if rising else bound):
                    return True
        if x.op is ops.FLOORDIV and self._divided(x, slope, rest, rising=rising):
            return True
        end = _KNOWN.bounds(x)[0 if rising else 1]
        return end is not None and at(Affine({}, end))

    def _divided(self, x: Node, slope: Affine, rest: Affine, *, rising: bool) -> bool:
        """Use k * (a // k) <= a, and k * (a // k) > a - k, where k divides the slope."""
        of, by = x.src
        low = _KNOWN.bounds(of)[0]
        if by.op is not forms.CONST or by.arg <= 0 or low is None or low < 0:
            return False
        numbers = [*slope.terms.values(), slope.constant]
        if any(k % by.arg for k in numbers):
            return False
        bound = _sum_of(of).shifted(1 - by.arg if rising else 0)
        return self.holds(rest.plus(multiplied(slope.divided(by.arg), bound)))


def _unknowns(total: Affine) -> list[Node]:
    """Return the atoms to eliminate, and factors of atoms: inner ranges first, variables last.

    Quotients late: their bounds are loose, and often they cancel.
    """
    found = dict.fromkeys([factor for atom in total.terms for factor in factors_of(atom)])
    inside = {r for each in found if each.op is not forms.RANGE for r in each.ranges}

    def rank(x: Node) -> tuple[int, int]:
        if x.op is forms.RANGE:
            return 2 if x in inside else 0, -x.arg[0]
        return 4 if x.op is forms.VARIABLE else 3 if x.op is ops.FLOORDIV else 1, 0

    return sorted(found, key=rank)


def expanded(a: Affine) -> Affine:
    """Return a sum with products of sums multiplied out, and quotients in one spelling."""
    if all(atom.op is forms.RANGE or atom.op is forms.VARIABLE for atom in a.terms):
        return a
    parts = []
    for atom, k in a.terms.items():
        total = Affine({}, 1)
        for factor in factors_of(atom):
            total = multiplied(total, _sum_of(factor) if factor is not atom else _quotient(atom))
        parts.append((total, k))
    return total_of(parts, a.constant)


def _sum_of(node: Node) -> Affine:
    return expanded(affine_of(node))


def _quotient(atom: Node) -> Affine:
    """Return an atom; if it divides what is not negative by a number, as a FLOORDIV."""
    if atom.op not in _QUOTIENTS or atom.src[1].op is not forms.CONST:
        return single(atom)
    of, by = atom.src[0], int(atom.src[1].arg)
    low = _KNOWN.bounds(of)[0]
    if low is None or low < 0 or by <= 0:
        return single(atom)
    src = (_sum_of(of).node(), const(1 << by if atom.op is ops.SHR else by, index))
    return single(intern(ops.FLOORDIV, index, src, None, ()))


def slope_of(total: Affine, x: Node) -> tuple[Affine | None, Affine]:
    """Return the coefficient of `x` in a sum, and the rest; None where it is not linear in it."""
    slope, rest = ZERO, Affine({}, total.constant)
    for atom, k in total.terms.items():
        factors = factors_of(atom)
        if x not in factors:
            rest = rest.plus(single(atom), k)
            continue
        if factors.count(x) > 1:
            return None, total
        one = Affine({}, k)
        for other in factors:
            if other is not x:
                one = multiplied(one, single(other))
        slope = slope.plus(one)
    return slope, rest
