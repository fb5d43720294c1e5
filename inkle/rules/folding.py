"""Reductions over a range that is only compared or counted, without the loop (loop form).

    sum over r of (r == e ? v[r] : 0)           ->  0 <= e < n ? v[e] : 0
    sum over r of (r < e ? c : 0)               ->  c * min(max(e, 0), n)
    sum over r of (a <= r < b ? r : 0)          ->  Gauss's formula
    any r of (r == e and p)                     ->  0 <= e < n and p
    max over r of (r <= e ? r : 0)              ->  min(e, n - 1) where that is not empty

The body is taken apart into cases (conditions, value): outside of its conditions, a case is the
identity of the operation. A case folds if an equation leaves one value of r, or if the value is
free of r or linear in it and the conditions can be counted. All cases fold, or the loop stays.

A float that is multiplied by a mask is selected by it: the zeros of the mask contribute nothing,
even where 0 * inf would have been NaN. This is the only place where a value is not kept bit for bit
(re-associated sums aside), see docs/decisions/arange-folding.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import combinations
from math import isfinite

from inkle.ir import forms, loop, ops
from inkle.ir.dtype import bool_, index
from inkle.ir.node import Node, const, substitute, toposort
from inkle.ir.op import Op
from inkle.rewrite.affine import affine_of
from inkle.rewrite.known import Known
from inkle.rules import closed_forms
from inkle.rules.boolean import FALSE, TRUE, parts_of
from inkle.rules.cast import fits
from inkle.rules.closed_forms import ONE, ZERO
from inkle.rules.gates import simplify_gate
from inkle.rules.masks import NORMALISE, is_exact_float
from inkle.rules.solve import Solution, linear, solve

MOST_CASES = 8  # of one body
MOST_PARTS = 12  # conditions of one case
MOST_BRANCHES = 5  # alternatives among them: each doubles the work
MOST_DEPTH = 40  # of a body
FAR = 1 << 62  # sums of indices are computed as int64 in the end
Case = tuple[tuple[Node, ...], Node]
_BRANCHES = frozenset({ops.OR, ops.NOT, ops.NOT_EQUAL})
_KNOWN = Known()


def folded(op: Op, value: Node, ranges: Sequence[Node]) -> Node | None:
    """Return the reduction of `value` with `op` over `ranges`, with as few loops as possible.

    Returns:
        None if every loop stays.
    """
    value = NORMALISE.simplify(value)
    left = list(ranges)
    again = True
    while again:
        again = False
        for r in left:
            new = _over(op, value, r)
            if new is not None:
                value = NORMALISE.simplify(new)
                left.remove(r)
                again = True
                break
    if len(left) == len(ranges):
        return None
    if left:
        return _hoisted(op, value, left)
    if op is ops.ADD and value.dtype.is_float and _may_be_minus_zero(value):
        return value + 0.0  # a sum starts from 0.0, and so never is -0.0
    return value


def _may_be_minus_zero(value: Node) -> bool:
    if value.op is ops.WHERE:
        return any(_may_be_minus_zero(each) for each in value.src[1:])
    if value.op is ops.CAST:
        return value.src[0].dtype.is_float
    return value.op is not forms.CONST or str(value.arg) == "-0.0"


def _hoisted(op: Op, value: Node, ranges: list[Node]) -> Node:
    """Take conditions that do not depend on the loops out of them."""
    identity = _identity(op, value)
    if value.op is not ops.WHERE or value.src[2] is not identity:
        return loop.reduce(op, value, ranges)
    parts = parts_of(value.src[0], ops.AND)
    inner = [part for part in parts if not part.ranges.isdisjoint(ranges)]
    outer = [part for part in parts if part.ranges.isdisjoint(ranges)]
    return _where(outer, loop.reduce(op, _where(inner, value.src[1], identity), ranges), identity)


def _identity(op: Op, value: Node) -> Node:
    assert op.identity is not None
    return const(op.identity(value.dtype), value.dtype)


def conjunction(parts: Sequence[Node]) -> Node:
    """Return whether all of `parts` hold."""
    return reduce(lambda p, q: p & q, parts)


def _where(parts: Sequence[Node], value: Node, otherwise: Node) -> Node:
    return conjunction(parts).where(value, otherwise) if parts else value


def written_at(value: Node, r: Node) -> tuple[Node, Node] | None:
    """Return (e, v) if `value` is v where r == e, and 0 elsewhere; neither depends on r."""
    cases = _Cases(ops.ADD, r).of(NORMALISE.simplify(value))
    if cases is None or len(cases) != 1:
        return None
    [(parts, inner)] = cases
    about = [part for part in parts if r in part.ranges]
    found = solve(about[0], r) if len(about) == 1 else None
    if found is None or found.equal is None or r in inner.ranges:
        return None
    gates = [*found.gates, *[part for part in parts if r not in part.ranges]]
    inner = _where(gates, inner, _identity(ops.ADD, inner))
    return NORMALISE.simplify(found.equal), NORMALISE.simplify(inner)


# --- one loop -------------------------------------------------------------------------------------


def _over(op: Op, body: Node, r: Node) -> Node | None:
    """Return the reduction of `body` over `r` without a loop, or None."""
    if op is ops.AND and body.dtype is bool_:
        some = _over(ops.OR, NORMALISE.simplify(~body), r)
        return None if some is None else ~some
    cases = _Cases(op, r).of(body)
    if cases is None:
        return None
    totals: list[Node] = []
    for parts, value in cases:
        total = _case(op, parts, value, r)
        if total is None:
            return None
        totals.append(total)
    return reduce(lambda a, b: a.apply(op, b), totals) if totals else _identity(op, body)


def _case(op: Op, parts: Sequence[Node], value: Node, r: Node) -> Node | None:
    """Return the reduction over `r` of `value` where all `parts` hold, else the identity."""
    identity = _identity(op, value)
    inner = list(dict.fromkeys([part for part in parts if r in part.ranges]))
    outer = [part for part in parts if r not in part.ranges]
    branches = sum(each.op in _BRANCHES for each in toposort(inner))
    if len(inner) > MOST_PARTS or branches > MOST_BRANCHES:
        return None
    total = _selected(inner, value, r, identity)
    if total is None and r not in value.ranges:
        total = _repeated(op, value, inner, r)
    elif total is None:
        total = _varying(op, value, inner, r)
    return None if total is None else _where(outer, total, identity)


def _selected(parts: list[Node], value: Node, r: Node, identity: Node) -> Node | None:
    """Return `value` at the only r that an equation among `parts` allows."""
    found = _equation(parts, r)
    if found is None or found.equal is None:
        return None
    e = NORMALISE.simplify(found.equal)
    done = substitute([*parts, value], {r: e})
    gates = [*found.gates, e >= ZERO, e < loop.extent(r), *[done[each] for each in parts]]
    return _where(gates, done[value], identity)


def _equation(parts: list[Node], r: Node) -> Solution | None:
    """Return the only value of r that a part allows, or two parts: e <= r and r < e + 1."""
    lows: list[Node] = []
    highs: list[Node] = []
    for part in parts:
        found = solve(part, r)
        if found is not None:
            if found.equal is not None:
                return found
            lows += found.lows
            highs += found.highs
    for low in lows if len(lows) * len(highs) <= MOST_PARTS else ():
        for high in highs:
            if NORMALISE.simplify(high - low) is ONE:
                return Solution(equal=low)
    return None


def _repeated(op: Op, value: Node, parts: list[Node], r: Node) -> Node | None:
    """Combine a value that does not depend on r with itself as often as `parts` hold."""
    n = loop.extent(r)
    if op is ops.ADD and value.dtype.is_float and n > 1 << (value.dtype.mantissa + 1):
        return None  # the count would be rounded
    count = _sum(parts, ONE, r)
    if count is None:
        return None
    count = NORMALISE.simplify(count)
    identity = _identity(op, value)
    if op is ops.ADD:
        times = value * count.cast(value.dtype)
        finite = value.op is forms.CONST and isfinite(value.arg)
        if not parts or finite or not value.dtype.is_float:
            return times
        return (count > ZERO).where(times, identity)  # not 0 * inf
    if op.idempotent or (op is ops.MUL and value.op is forms.CONST and value.arg in (0, 1)):
        return (count > ZERO).where(value, identity)
    return None


def _varying(op: Op, value: Node, parts: list[Node], r: Node) -> Node | None:
    """Reduce a value that is linear in r."""
    if op is ops.ADD:
        if value.op is ops.MUL and not value.dtype.is_float:
            for x, y in (value.src, value.src[::-1]):
                if r not in x.ranges:
                    total = _varying(op, y, parts, r)
                    return None if total is None else total * x
        inner = _as_index(value, wraps=True)
        total = None if inner is None else _sum(parts, inner, r)
        return None if total is None else total.cast(value.dtype)
    inner = _as_index(value, wraps=False)
    slope = None if inner is None else linear(affine_of(inner), r)
    if slope is None or slope[0] is not r or op not in (ops.MAXIMUM, ops.MINIMUM):
        return None
    found = _solved(parts, r)
    if found is None or found.congruent:
        return None
    span, n = found.span(loop.extent(r)), const(loop.extent(r), index)
    is_last = (op is ops.MAXIMUM) == (slope[1] > 0)
    at = (closed_forms.last_between if is_last else closed_forms.first_between)(span, n, ZERO)
    some = closed_forms.count_between(span, n) > ZERO
    best = substitute((value,), {r: NORMALISE.simplify(at)})[value]
    return _where([*found.gates, some], best, _identity(op, value))


def _as_index(value: Node, *, wraps: bool) -> Node | None:
    """Return the index expression that an integer, or an exact float, is cast from."""
    if value.dtype is index:
        return value
    if value.op is not ops.CAST or value.src[0].dtype is not index:
        return None
    inner = value.src[0]
    if value.dtype.is_float:
        return inner if is_exact_float(value, _KNOWN) else None
    return inner if wraps or fits(inner, value.dtype, _KNOWN) else None


# --- sums of index expressions --------------------------------------------------------------------


def _sum(parts: list[Node], value: Node, r: Node) -> Node | None:
    """Return the sum over r of an index that is linear in r, where all `parts` hold."""
    for part in parts:
        others = [each for each in parts if each is not part]
        if part.op is ops.OR:
            return _inclusion(others, part.src[0], part.src[1], value, r)
        opposite = _opposite(part)
        if opposite is not None:
            whole, without = _sum(others, value, r), _sum([*others, *opposite], value, r)
            return None if whole is None or without is None else whole - without
    selected = _selected(parts, value, r, ZERO)
    if selected is not None:
        return selected
    found = _solved(parts, r)
    return None if found is None else _sum_over(found, value, r)


def _opposite(part: Node) -> list[Node] | None:
    """Return the parts of p if `part` is its negation."""
    if part.op is ops.NOT:
        return parts_of(part.src[0], ops.AND)
    return [part.src[0].eq(part.src[1])] if part.op is ops.NOT_EQUAL else None


def _inclusion(parts: list[Node], p: Node, q: Node, value: Node, r: Node) -> Node | None:
    """Sum where p holds, where q does, less where both do."""
    if len(parts) > MOST_PARTS:
        return None
    first, second = parts_of(p, ops.AND), parts_of(q, ops.AND)
    one, other = _sum([*parts, *first], value, r), _sum([*parts, *second], value, r)
    if one is None or other is None:
        return None
    both = _sum([*parts, *first, *second], value, r)
    return None if both is None else one + other - both


def _solved(parts: list[Node], r: Node) -> Solution | None:
    total: Solution | None = Solution()
    for part in parts:
        if r not in part.ranges:
            assert total is not None
            total.gates.append(part)
            continue
        total = None if total is None else total.joined(solve(part, r))
        if total is None:
            return None
    return total


def _sum_over(found: Solution, value: Node, r: Node) -> Node | None:
    n = const(loop.extent(r), index)
    span = found.span(loop.extent(r))
    if found.congruent:
        if r in value.ranges or len(found.congruent) > 1:
            return None
        count = closed_forms.count_congruent(span, n, *found.congruent[0])
        return _where(found.gates, count * value, ZERO)
    count = closed_forms.count_between(span, n)
    if r not in value.ranges:
        return _where(found.gates, count * value, ZERO)
    slope = linear(affine_of(value), r)
    low, high = _KNOWN.bounds(value)
    if slope is None or slope[0] is not r or low is None or high is None:
        return None
    if max(abs(low), abs(high), n.arg) * n.arg >= FAR:
        return None
    total = closed_forms.sum_between(span, n) * slope[1] + count * slope[2].node()
    return _where(found.gates, total, ZERO)


# --- cases ----------------------------------------------------------------------------------------


class _Cases:
    """Takes bodies of one reduction apart into values and the conditions under which they count."""

    def __init__(self, op: Op, r: Node) -> None:
        self._op = op
        self._r = r
        self._done: dict[Node, list[Case] | None] = {}
        self._depth = 0

    def of(self, node: Node) -> list[Case] | None:
        """Return the cases of `node`; None: too many."""
        if node not in self._done:
            if self._depth > MOST_DEPTH:
                return None
            self._depth += 1
            self._done[node] = self._taken_apart(node)
            self._depth -= 1
        return self._done[node]

    def _taken_apart(self, node: Node) -> list[Case] | None:
        if node is _identity(self._op, node):
            return []
        if self._r not in node.ranges:
            return [((), node)]
        if node.op is ops.CAST and node.src[0].op is ops.WHERE:
            test, x, y = node.src[0].src
            node = test.where(x.cast(node.dtype), y.cast(node.dtype))
        if node.op is ops.WHERE:
            test, x, y = node.src
            return _joined(self._under(test, x), self._under(~test, y))
        if node.dtype is bool_:
            return self._under(node, TRUE) if self._op is ops.OR else [((), node)]
        if node.op is ops.CAST and node.src[0].dtype is bool_:
            test = node.src[0]
            yes, no = const(1, node.dtype), const(0, node.dtype)
            return _joined(self._under(test, yes), self._under(~test, no))
        return self._summed(node) if self._op is ops.ADD else [((), node)]

    def _under(self, test: Node, value: Node) -> list[Case] | None:
        """Return the cases of `value` where `test` holds."""
        test = NORMALISE.simplify(test)
        if test is FALSE:
            return []
        parts = () if test is TRUE else tuple(parts_of(test, ops.AND))
        found = self.of(value)
        return None if found is None else [((*parts, *more), each) for more, each in found]

    def _summed(self, node: Node) -> list[Case] | None:
        """Take apart what distributes over a sum."""
        found = [self.of(source) for source in node.src]
        first, last = found[0], found[-1]
        if first is None or last is None:
            return None
        if node.op is ops.ADD:
            return _joined(first, last)
        if node.op is ops.SUB:
            return _joined(first, [(parts, -value) for parts, value in last])
        if node.op is ops.NEG:
            return [(parts, -value) for parts, value in first]
        if node.op is ops.CAST and len(first) == 1:
            return [(parts, value.cast(node.dtype)) for parts, value in first]
        if node.op is ops.MUL and any(parts for parts, _ in first + last):
            if node.dtype.is_float and not (_is_disjoint(first) and _is_disjoint(last)):
                return None  # x * (a + b) would be rounded twice
            if len(first) * len(last) > MOST_CASES:
                return None
            return [((*p, *q), x * y) for p, x in first for q, y in last]
        return [((), node)]


def _joined(first: list[Case] | None, second: list[Case] | None) -> list[Case] | None:
    if first is None or second is None or len(first) + len(second) > MOST_CASES:
        return None
    return first + second


def _is_disjoint(cases: list[Case]) -> bool:
    """Whether no two of the cases hold at once."""
    tests = [conjunction([TRUE, *parts]) for parts, _ in cases]
    return all(simplify_gate(p & q) is FALSE for p, q in combinations(tests, 2))
