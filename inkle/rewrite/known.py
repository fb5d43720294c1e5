"""What is known about the values in a graph while it is rewritten: bounds, and facts of a gate.

Rules ask their conditions here. `Known()` knows what holds everywhere; `Known(facts)` also knows
what a gate says about sums of index expressions, such as 0 <= i + k < 28.
"""

from __future__ import annotations

from collections.abc import Mapping

from inkle.ir import forms, ops
from inkle.ir.bounds import bounds
from inkle.ir.dtype import Kind
from inkle.ir.node import Node, toposort
from inkle.rewrite.affine import SUMS, Affine, Direction, affine_of

Bounds = tuple[int | None, int | None]


def intersect(a: Bounds, b: Bounds) -> Bounds:
    """Return the bounds of a value that lies within both `a` and `b`."""
    low = a[0] if b[0] is None else b[0] if a[0] is None else max(a[0], b[0])
    high = a[1] if b[1] is None else b[1] if a[1] is None else min(a[1], b[1])
    return low, high


class Known:
    """Bounds of nodes, and comparisons proved from them.

    Args:
        facts: bounds of sums without constant, keyed by direction: what a gate says. Each is given
            for both signs.
    """

    __slots__ = ("_memo", "_sums", "facts")

    def __init__(self, facts: Mapping[Direction, Bounds] | None = None) -> None:
        self.facts = facts or {}
        self._sums = [(dict(key), value) for key, value in self.facts.items() if len(key) > 1]
        self._memo: dict[Node, Bounds] = {}

    def bounds(self, node: Node) -> Bounds:
        """Return (lowest, highest) value of `node`; None where there is no limit."""
        if not self.facts or node.dtype.kind is not Kind.INDEX:
            return bounds(node)
        found = self._memo.get(node)
        if found is None:
            for each in toposort((node,)):  # sources first: deep expressions do not recurse
                if each.dtype.kind is Kind.INDEX and each not in self._memo:
                    self._memo[each] = intersect(self._narrowed(each), bounds(each))
            found = self._memo[node]
        return found

    def _narrowed(self, node: Node) -> Bounds:
        """Return what facts say about `node`, whose sources are in the memo."""
        if node.op in SUMS:
            total = affine_of(node)
            if node not in total.terms:
                return self.span(total)
        return self._atom(node)

    def span(self, total: Affine) -> Bounds:
        """Return the bounds of a sum."""
        low: int | None = total.constant
        high: int | None = total.constant
        least: int | None
        most: int | None
        for atom, k in total.terms.items():
            if atom.op is forms.RANGE and atom.src[0].op is forms.CONST and not self.facts:
                least, most = 0, atom.src[0].arg - 1  # a shortcut: most atoms are such loops
            else:
                least, most = self.bounds(atom)
            if k < 0:
                least, most = most, least
            low = None if low is None or least is None else low + least * k
            high = None if high is None or most is None else high + most * k
        for terms, limits in self._sums:
            rest = _remove(total, terms)
            if rest is not None:
                k, others = rest
                first, second = self.span(others)
                fact_low, fact_high = limits
                both = (
                    None if first is None or fact_low is None else first + fact_low * k,
                    None if second is None or fact_high is None else second + fact_high * k,
                )
                low, high = intersect((low, high), both)
        return low, high

    def _atom(self, node: Node) -> Bounds:
        """Bounds of an atom whose sources may be narrowed by facts."""
        within = self.facts.get(frozenset(((node, 1),)), (None, None))
        if node.op in (ops.FLOORDIV, ops.FLOORMOD) and node.src[1].op is forms.CONST:
            divisor = node.src[1].arg
            low, high = self.bounds(node.src[0])
            if divisor > 0 and node.op is ops.FLOORDIV:
                quotient = (
                    None if low is None else low // divisor,
                    None if high is None else high // divisor,
                )
                return intersect(within, quotient)
            if divisor <= 0 or low is None or high is None:
                return within
            if low // divisor == high // divisor:
                return intersect(within, (low % divisor, high % divisor))
        return within

    def less(self, a: Node, b: Node) -> bool:
        """Whether a < b is proved."""
        high, low = self.bounds(a)[1], self.bounds(b)[0]
        return high is not None and low is not None and high < low

    def less_equal(self, a: Node, b: Node) -> bool:
        """Whether a <= b is proved."""
        high, low = self.bounds(a)[1], self.bounds(b)[0]
        return high is not None and low is not None and high <= low

    def equal(self, a: Node, b: Node) -> bool:
        """Whether a == b is proved."""
        low, high = self.bounds(a)
        return low is not None and low == high and self.bounds(b) == (low, high)

    def not_equal(self, a: Node, b: Node) -> bool:
        """Whether a != b is proved."""
        return self.less(a, b) or self.less(b, a)

    def true(self, condition: Node) -> bool:
        """Whether the bool expression `condition` is proved."""
        return self.bounds(condition)[0] == 1


def _remove(total: Affine, terms: dict[Node, int]) -> tuple[int, Affine] | None:
    """Return k > 0 and total - k * terms, if that removes all atoms of `terms`."""
    atom, unit = next(iter(terms.items()))
    k, rest = divmod(total.terms.get(atom, 0), unit)
    if rest or k <= 0 or any(total.terms.get(each, 0) != k * n for each, n in terms.items()):
        return None
    return k, total.without(*terms)
