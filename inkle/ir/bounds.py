"""What is known about integer values at compile time: bounds, divisibility, constancy.

    bounds(node)              smallest and largest possible value
    is_in_range(node, 0, n)   whether 0 <= node < n is certain
    divides(node, k)          whether k divides every value of node
    constant_value(node)      the only possible value, if there is one

Sound for all definitions of the op table: where an exact result does not fit a fixed-width dtype it
may wrap, so the limits of the dtype are returned. Values loaded from memory count as unknown. Facts
may be assumed, e.g. those of a gate in force: `bounds(node, {r: (0, 5)})`.

Facts without assumptions are kept per node for as long as the node lives; graphs may be deep.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, MutableMapping
from functools import cache
from math import gcd

from inkle.ir import forms, ops
from inkle.ir.dtype import DType, Kind, int64
from inkle.ir.interval import (
    EVERYTHING,
    INDEX_WIDTH,
    INF,
    SHARPER,
    TRUTH,
    ZERO,
    Interval,
    IntervalAlgebra,
    point,
)
from inkle.ir.node import Node
from inkle.ir.op import Op

Bounds = tuple[int | None, int | None]
_intervals: MutableMapping[Node, Interval] = weakref.WeakKeyDictionary()
_divisors: MutableMapping[Node, int] = weakref.WeakKeyDictionary()


def bounds(node: Node, given: Mapping[Node, Bounds] | None = None) -> Bounds:
    """Return the smallest and the largest value that `node` can have.

    Args:
        node: an index, integer or bool expression of either form (False is 0, True is 1).
        given: bounds to assume for some nodes below.

    Returns:
        (low, high), both included; None stands for unbounded. (None, None) for floats.

    Example:
        >>> bounds(range_(0, 8) * 3 + 1)
        (1, 22)
    """
    if given is None:
        found = _interval(node, _intervals)
    else:
        memo: dict[Node, Interval] = {}
        for each, (low, high) in given.items():
            memo[each] = Interval(-INF if low is None else low, INF if high is None else high)
        found = _interval(node, memo)
    return (
        None if found.low == -INF else int(found.low),
        None if found.high == INF else int(found.high),
    )


def is_in_range(
    node: Node, low: int, high: int, given: Mapping[Node, Bounds] | None = None
) -> bool:
    """Whether `low <= node < high` is certain (half open, like Python's `range`)."""
    smallest, largest = bounds(node, given)
    return smallest is not None and largest is not None and low <= smallest and largest < high


def constant_value(node: Node, given: Mapping[Node, Bounds] | None = None) -> int | None:
    """Return the only value that an integer or bool `node` can have, or None."""
    low, high = bounds(node, given)
    return low if low is not None and low == high else None


def divides(node: Node, k: int) -> bool:
    """Whether `k` divides every value of `node` is certain (a structural test; k is not 0)."""
    return k != 0 and divisor(node) % k == 0


def _interval(node: Node, memo: MutableMapping[Node, Interval]) -> Interval:
    found = memo.get(node)
    if found is not None:
        return found
    stack = [node]
    while stack:
        top = stack[-1]
        missing = [source for source in _relevant(top) if source not in memo]
        if missing:
            stack.extend(missing)
        else:
            stack.pop()
            if top not in memo:
                memo[top] = _fit(_step(top, memo), top.dtype)
    return memo[node]


def _relevant(node: Node) -> tuple[Node, ...]:
    """Return the sources whose values decide the bounds of `node`."""
    if node.dtype.is_float or node.dtype.kind is Kind.VOID:
        return ()
    if node.op is forms.LOAD:
        memory = node.src[0]
        return (memory,) if memory.op is forms.STAGE else ()
    if node.op is forms.STAGE or node.op in _KEEPS or node.op in _KEEPS_OR_ZERO:
        return node.src[:1]
    if node.op is forms.REDUCE and len(node.arg) == 1:
        return (node.src[0], *(r.src[0] for r in node.src[1:]))
    return node.src


def limits(dtype: DType) -> Interval:
    """Return all values of `dtype`; everything for index and floats."""
    return _limits(dtype)


@cache
def _limits(dtype: DType) -> Interval:
    if dtype.kind in (Kind.INDEX, Kind.FLOAT, Kind.VOID):
        return EVERYTHING
    return Interval(*dtype.limits())


def _fit(found: Interval, dtype: DType) -> Interval:
    """Return `found`, or all values of `dtype` if some of it would wrap."""
    whole = _limits(dtype)
    return found if whole is EVERYTHING or found.is_within(whole) else whole


_algebra = cache(IntervalAlgebra)
_KEEPS = frozenset(
    {forms.RESHAPE, forms.PERMUTE, forms.EXPAND, forms.SLICE, forms.FLIP, forms.CONTIGUOUS,
     forms.DETACH, forms.COPY}
)  # fmt: skip
_KEEPS_OR_ZERO = frozenset({forms.PAD, forms.SHEAR, forms.GATHER})


def _step(node: Node, memo: MutableMapping[Node, Interval]) -> Interval:
    """Return the interval of one node from those of its sources."""
    op = node.op
    if node.dtype.is_float or node.dtype.kind is Kind.VOID:
        return EVERYTHING
    if op.is_elementwise:
        return _elementwise(node, [memo[source] for source in node.src])
    if op is forms.CONST:
        return point(int(node.arg))
    if op is forms.RANGE:
        return Interval(0, max(memo[node.src[0]].high - 1, 0))
    if op is forms.REDUCE:
        return _reduction(node, memo)
    if op is forms.PREFIX and node.arg[0] in (ops.MAXIMUM, ops.MINIMUM):
        return memo[node.src[0]]
    if op in _KEEPS or op is forms.STAGE or op is forms.FOLD:
        return memo[node.src[0]]
    if op in _KEEPS_OR_ZERO:
        return memo[node.src[0]].hull(ZERO)
    if op is forms.LOAD and node.src[0].op is forms.STAGE:
        stored = memo[node.src[0]]
        return stored if len(node.src) == 2 else stored.hull(ZERO)
    return _leaf_or_union(node, memo)


def _leaf_or_union(node: Node, memo: MutableMapping[Node, Interval]) -> Interval:
    op = node.op
    if op is forms.VARIABLE:
        return Interval(node.arg[1], node.arg[2])
    if op is forms.ARANGE:
        longest = node.arg if isinstance(node.arg, int) else node.arg.span()[1]
        return Interval(0, max(longest - 1, 0))
    if op is forms.CAT:
        total = memo[node.src[0]]
        for source in node.src[1:]:
            total = total.hull(memo[source])
        return total
    if op is forms.UPDATE or (op is forms.SCATTER and node.arg[0] is None):
        return memo[node.src[0]].hull(memo[node.src[1]])
    return _limits(node.dtype)


def _elementwise(node: Node, sources: list[Interval]) -> Interval:
    dtype = node.src[-1].dtype
    if dtype.is_float:
        # Floats are not followed. A cast saturates; towards index, at the limits of int64.
        return _limits(int64 if node.dtype.kind is Kind.INDEX else node.dtype)
    sharper = SHARPER.get(node.op)
    if sharper is not None:
        return sharper(*sources)
    assert node.op.meaning is not None
    found = node.op.meaning(_algebra(dtype, node.dtype), *sources)
    assert isinstance(found, Interval)
    return found


def _reduction(node: Node, memo: MutableMapping[Node, Interval]) -> Interval:
    """Bounds of a reduction: of values in one interval, over as many points as another allows."""
    op, value, count = node.arg[0], memo[node.src[0]], point(1)
    if len(node.arg) == 1:
        for r in node.src[1:]:
            size = memo[r.src[0]]
            count = count * Interval(max(size.low, 0), max(size.high, 0))
    else:
        for axis in node.arg[1]:
            n = node.src[0].shape[axis]
            count = count * (point(n) if isinstance(n, int) else Interval(*n.span()))
    if op is ops.ADD:
        return value * count
    if op is ops.MUL and not value.is_within(TRUTH):
        return _limits(node.dtype)
    if op is ops.XOR:
        return (value ^ value if value.low != value.high else value.hull(ZERO)).hull(ZERO)
    if not op.idempotent and op is not ops.MUL:
        return _limits(node.dtype)
    # and, or, max, min: two operands of an interval say what any number of them gives
    sharper = SHARPER.get(op)
    total = sharper(value, value) if sharper else op.meaning(None, value, value)
    total = total.hull(value)
    if count.low >= 1:
        return total
    if node.dtype.kind is Kind.INDEX and sharper:
        return EVERYTHING  # no identity
    return total.hull(point(int(op.identity(node.dtype))))


# --- divisibility ---------------------------------------------------------------------------------


def divisor(node: Node) -> int:
    """Return a number that divides every value of integer `node`; 0 if the value is always 0."""
    found = _divisors.get(node)
    if found is not None:
        return found
    stack = [node]
    while stack:
        top = stack[-1]
        missing = [s for s in top.src if s not in _divisors] if top.op in _DIVISORS else []
        if missing:
            stack.extend(missing)
        else:
            stack.pop()
            if top not in _divisors:
                _divisors[top] = _divisor_step(top)
    return _divisors[node]


def _divisor_step(node: Node) -> int:
    if node.op is forms.CONST:
        return 1 if node.dtype.is_float else abs(int(node.arg))
    rule = _DIVISORS.get(node.op)
    if rule is None or node.dtype.is_float:
        return 1
    found: int = rule(node, [_divisors[source] for source in node.src])
    if node.dtype.kind is not Kind.INDEX:
        return found & -found  # wrapping modulo 2**bits keeps powers of two only
    return found


def _divided(node: Node, known: list[int]) -> int:
    by = abs(int(node.src[1].arg)) if node.src[1].op is forms.CONST else 0
    return known[0] // by if by and known[0] % by == 0 else 1


def _shifted(node: Node, known: list[int]) -> int:
    count = node.src[1]
    width = node.dtype.bits or INDEX_WIDTH
    return known[0] << (int(count.arg) % width) if count.op is forms.CONST else known[0]


_DIVISORS: dict[Op, Callable[[Node, list[int]], int]] = {
    ops.ADD: lambda node, known: gcd(*known),
    ops.SUB: lambda node, known: gcd(*known),
    ops.NEG: lambda node, known: known[0],
    ops.ABS: lambda node, known: known[0],
    ops.MUL: lambda node, known: known[0] * known[1],
    ops.MAXIMUM: lambda node, known: gcd(*known),
    ops.MINIMUM: lambda node, known: gcd(*known),
    ops.WHERE: lambda node, known: gcd(*known[1:]),
    ops.FLOORMOD: lambda node, known: gcd(*known),  # x % y == x - (x // y) * y, also for y == 0
    ops.TRUNCMOD: lambda node, known: gcd(*known),
    ops.FLOORDIV: _divided,
    ops.TRUNCDIV: _divided,
    ops.SHL: _shifted,
    ops.CAST: lambda node, known: 1 if node.src[0].dtype.is_float else known[0],
}
