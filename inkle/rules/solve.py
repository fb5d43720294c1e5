"""Conditions on a range, solved for it: r == e, low <= r, r < high, r = e modulo c.

A comparison of index expressions becomes a sum compared with 0; the lemmas in `closed_forms` say
what that means for the range in it:

    3*r + x < 0     ->  r < -(x // 3)
    (r + x) // 4 == y   ->  4*y - x <= r & r < 4*y + 4 - x
    (r + x) % 4 == y    ->  r = y - x modulo 4, where 0 <= y < 4
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce

from inkle.ir import forms, ops
from inkle.ir.dtype import index
from inkle.ir.node import Node, const
from inkle.rewrite.affine import Affine, affine_of
from inkle.rules.closed_forms import ZERO, Span


@dataclass(slots=True)
class Solution:
    """The values of a range that meet some conditions.

    Attributes:
        equal: the only value that does; None: there may be more.
        lows: bounds from below, included.
        highs: bounds from above, not included.
        congruent: pairs (e, c): r is e modulo c.
        gates: conditions without the range; there is no value where they do not hold.
    """

    equal: Node | None = None
    lows: list[Node] = field(default_factory=list)
    highs: list[Node] = field(default_factory=list)
    congruent: list[tuple[Node, Node]] = field(default_factory=list)
    gates: list[Node] = field(default_factory=list)

    def joined(self, other: Solution | None) -> Solution | None:
        """Return the values that meet both; None if that cannot be said, as for two equations."""
        if other is None or (self.equal is not None and other.equal is not None):
            return None
        return Solution(
            self.equal if other.equal is None else other.equal,
            self.lows + other.lows,
            self.highs + other.highs,
            self.congruent + other.congruent,
            self.gates + other.gates,
        )

    def span(self, n: int) -> Span:
        """Return the bounds within 0 .. n."""
        low = reduce(lambda a, b: a.maximum(b), self.lows) if self.lows else ZERO
        high = reduce(lambda a, b: a.minimum(b), self.highs) if self.highs else const(n, index)
        return low, high


def solve(condition: Node, r: Node) -> Solution | None:
    """Return the values of `r` for which a comparison of index expressions holds, or None."""
    if condition.op not in (ops.EQUAL, ops.LESS, ops.LESS_EQUAL):
        return None
    x, y = condition.src
    if x.dtype is not index:
        return None
    total = affine_of(x).plus(affine_of(y), -1)
    if condition.op is ops.EQUAL:
        return _zero(total, r)
    return _negative(total.shifted(-1) if condition.op is ops.LESS_EQUAL else total, r)


def linear(total: Affine, r: Node) -> tuple[Node, int, Affine] | None:
    """Return (atom, k, rest) such that total = k * atom + rest, and `r` is in the atom alone."""
    found = [(atom, k) for atom, k in total.terms.items() if r in atom.ranges]
    if len(found) != 1:
        return None
    [(atom, k)] = found
    return atom, k, total.without(atom)


def _divisor(atom: Node) -> int:
    """Return c if `atom` is something // c or something % c with c > 0, else 0."""
    if atom.op not in (ops.FLOORDIV, ops.FLOORMOD) or atom.src[1].op is not forms.CONST:
        return 0
    return max(0, int(atom.src[1].arg))


def _negative(total: Affine, r: Node) -> Solution | None:
    """Solve total < 0."""
    parts = linear(total, r)
    if parts is None:
        return None
    atom, k, rest = parts
    limit = rest.node() // abs(k)  # k > 0: atom < -limit; k < 0: limit < atom
    if atom is r:
        return Solution(highs=[-limit]) if k > 0 else Solution(lows=[limit + 1])
    c = _divisor(atom)
    if not c or atom.op is ops.FLOORMOD:
        return None
    inner = affine_of(atom.src[0])
    if k > 0:
        return _negative(inner.plus(affine_of(limit), c), r)
    return _negative(affine_of(limit).scaled(c).shifted(c - 1).plus(inner, -1), r)


def _zero(total: Affine, r: Node) -> Solution | None:
    """Solve total == 0."""
    parts = linear(total, r)
    if parts is None:
        return None
    atom, k, rest = parts
    if k < 0:
        k, rest = -k, rest.scaled(-1)
    whole = rest.scaled(-1).node()  # k * atom == whole
    gates = [] if k == 1 else [(whole % k).eq(0)]
    if atom is r:
        return Solution(equal=whole // k, gates=gates)
    c = _divisor(atom)
    if not c:
        return None
    inner, goal = affine_of(atom.src[0]), affine_of(whole // k)
    if atom.op is ops.FLOORDIV:
        above = _negative(goal.scaled(c).plus(inner, -1).shifted(-1), r)  # goal * c <= inner
        below = _negative(inner.plus(goal, -c).shifted(-c), r)  # inner < goal * c + c
        return None if above is None else Solution(gates=gates).joined(above.joined(below))
    within = linear(inner, r)
    if within is None or within[0] is not r or abs(within[1]) != 1:
        return None
    e = goal.plus(within[2], -1).scaled(within[1]).node()
    gates += [goal.node() >= ZERO, goal.node() < c]
    return Solution(congruent=[(e, const(c, index))], gates=gates)
