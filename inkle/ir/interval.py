# ruff: noqa: D102 - algebra methods are named after the operations of the table that they serve
"""Interval arithmetic: the algebra that runs the op table over sets of integers.

An `Interval` holds every integer from `low` to `high`, both included; an infinite end is the float
infinity, a finite one is always an `int`. Results are those of *unbounded* integers; it is
`inkle.ir.bounds` that falls back to the limits of a fixed-width dtype when a result does not fit.
Booleans are 0 and 1.

Where a definition uses an operand twice (`x - x // y * y`), running it over intervals would lose
sight of that; `SHARPER` holds direct rules for those operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from inkle.ir import ops
from inkle.ir.dtype import DType, Kind
from inkle.ir.op import Op

INF = math.inf
HUGE = 1 << 512  # ends beyond count as infinite: Python refuses 2**1024 + inf
INDEX_WIDTH = 64  # shifts of `index` take their count modulo this

End = int | float


class Interval:
    """All integers from `low` to `high`, both included."""

    __slots__ = ("high", "low")

    def __init__(self, low: End, high: End) -> None:
        self.low: End = low if low > -HUGE else -INF
        self.high: End = high if high < HUGE else INF

    def __repr__(self) -> str:
        return f"[{self.low}, {self.high}]"

    def __add__(self, other: Interval | int) -> Interval:
        other = _wrap(other)
        return Interval(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Interval | int) -> Interval:
        other = _wrap(other)
        return Interval(self.low - other.high, self.high - other.low)

    def __mul__(self, other: Interval | int) -> Interval:
        other = _wrap(other)
        ends = [_times(x, y) for x in (self.low, self.high) for y in (other.low, other.high)]
        return Interval(min(ends), max(ends))

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low)

    def __and__(self, other: Interval) -> Interval:
        if _are_points(self, other):
            return point(int(self.low) & int(other.low))
        if self.low >= 0 or other.low >= 0:
            return Interval(0, min(x.high for x in (self, other) if x.low >= 0))
        return Interval(_word(self, other).low, max(self.high, other.high))

    def __or__(self, other: Interval) -> Interval:
        if _are_points(self, other):
            return point(int(self.low) | int(other.low))
        word = _word(self, other)
        if self.low >= 0 and other.low >= 0:
            return Interval(max(self.low, other.low), word.high)
        return word

    def __xor__(self, other: Interval) -> Interval:
        if _are_points(self, other):
            return point(int(self.low) ^ int(other.low))
        word = _word(self, other)
        return Interval(0, word.high) if self.low >= 0 and other.low >= 0 else word

    def hull(self, other: Interval) -> Interval:
        """Return the smallest interval that holds both."""
        return Interval(min(self.low, other.low), max(self.high, other.high))

    def is_within(self, other: Interval) -> bool:
        """Whether every integer of self is one of `other`."""
        return other.low <= self.low and self.high <= other.high


EVERYTHING = Interval(-INF, INF)
ZERO = Interval(0, 0)
TRUTH = Interval(0, 1)


def point(value: int) -> Interval:
    """Return the interval of one integer."""
    return Interval(value, value)


def _wrap(value: Interval | int) -> Interval:
    return value if isinstance(value, Interval) else point(value)


def _are_points(a: Interval, b: Interval) -> bool:
    return a.low == a.high and b.low == b.high


def _times(x: End, y: End) -> End:
    return 0 if x == 0 or y == 0 else x * y  # 0 · inf is 0 here: ends are limits, not values


def _word(a: Interval, b: Interval) -> Interval:
    """Return the two's complement range of the fewest bits that hold all of `a` and `b`."""
    ends = (a.low, a.high, b.low, b.high)
    if any(math.isinf(end) for end in ends):
        return EVERYTHING
    bits = max(int(end if end >= 0 else ~int(end)).bit_length() for end in ends)
    return Interval(-(1 << bits), (1 << bits) - 1)


# --- division -------------------------------------------------------------------------------------


def _trunc(x: End, y: End) -> End:
    """Return x / y rounded towards zero, at ends that may be infinite (y is not 0)."""
    if math.isinf(y):
        return 0
    if math.isinf(x):
        return x if y > 0 else -x
    quotient = abs(int(x)) // abs(int(y))
    return quotient if (x < 0) == (y < 0) else -quotient


def _floor(x: End, y: End) -> End:
    """Return x / y rounded towards minus infinity, at ends that may be infinite (y is not 0)."""
    if math.isinf(y):
        return 0 if x == 0 or (x < 0) == (y < 0) else -1
    if math.isinf(x):
        return x if y > 0 else -x
    return int(x) // int(y)


def _signed_parts(b: Interval) -> tuple[Interval | None, Interval | None]:
    """Return the negative and the positive part of `b`."""
    negative = Interval(b.low, min(b.high, -1)) if b.low < 0 else None
    positive = Interval(max(b.low, 1), b.high) if b.high > 0 else None
    return negative, positive


def _divide(a: Interval, b: Interval, quotient: Callable[[End, End], End]) -> Interval:
    """Divide; quotients are monotone in each operand while the divisor keeps its sign."""
    out = [ZERO] if b.low <= 0 <= b.high else []
    for part in _signed_parts(b):
        if part is not None:
            ends = [quotient(x, y) for x in (a.low, a.high) for y in (part.low, part.high)]
            out.append(Interval(min(ends), max(ends)))
    return _hull(out)


def _hull(parts: list[Interval]) -> Interval:
    total = parts[0]
    for part in parts[1:]:
        total = total.hull(part)
    return total


def _positive_floormod(a: Interval, b: Interval) -> Interval:
    """Return a % b for b >= 1."""
    if a.low >= 0 and a.high < b.low:
        return a
    if b.low == b.high and not (math.isinf(a.low) or math.isinf(a.high)):
        c = int(b.low)
        if int(a.low) // c == int(a.high) // c:
            return Interval(int(a.low) % c, int(a.high) % c)
    return Interval(0, min(b.high - 1, a.high) if a.low >= 0 else b.high - 1)


def floordiv(a: Interval, b: Interval) -> Interval:
    """Quotient rounded towards minus infinity; 0 for a zero divisor."""
    return _divide(a, b, _floor)


def floormod(a: Interval, b: Interval) -> Interval:
    """Remainder with the sign of the divisor; `a` for a zero divisor."""
    out = [a] if b.low <= 0 <= b.high else []
    negative, positive = _signed_parts(b)
    if positive is not None:
        out.append(_positive_floormod(a, positive))
    if negative is not None:  # a % -c == -(-a % c)
        out.append(-_positive_floormod(-a, -negative))
    return _hull(out)


def truncmod(a: Interval, b: Interval) -> Interval:
    """Remainder with the sign of the dividend; `a` for a zero divisor."""
    out = [a] if b.low <= 0 <= b.high else []
    for part, sign in zip(_signed_parts(b), (-1, 1), strict=True):
        if part is not None:  # only the size of the divisor matters
            size = part if sign > 0 else -part
            if a.high > 0 or a.low == 0:
                out.append(_positive_floormod(Interval(max(a.low, 0), a.high), size))
            if a.low < 0:
                out.append(-_positive_floormod(Interval(max(-a.high, 0), -a.low), size))
    return _hull(out)


def maximum(a: Interval, b: Interval) -> Interval:
    """Return the larger one."""
    return Interval(max(a.low, b.low), max(a.high, b.high))


def minimum(a: Interval, b: Interval) -> Interval:
    """Return the smaller one."""
    return Interval(min(a.low, b.low), min(a.high, b.high))


SHARPER: dict[Op, Callable[[Interval, Interval], Interval]] = {
    ops.FLOORDIV: floordiv,
    ops.FLOORMOD: floormod,
    ops.TRUNCMOD: truncmod,
    ops.MAXIMUM: maximum,
    ops.MINIMUM: minimum,
}


class IntervalAlgebra:
    """What `Op.meaning` needs besides Python's operators.

    Args:
        dtype: that of the sources.
        target: that of the result (casts).
    """

    __slots__ = ("dtype", "target", "width")

    def __init__(self, dtype: DType, target: DType) -> None:
        self.dtype, self.target = dtype, target
        self.width = dtype.bits or INDEX_WIDTH

    # fmt: off
    def like(self, _: Interval, value: int) -> Interval: return point(value)
    def isnan(self, _: Interval) -> Interval: return ZERO
    def less(self, a: Interval | int, b: Interval | int) -> Interval:
        a, b = _wrap(a), _wrap(b)
        return point(1) if a.high < b.low else ZERO if a.low >= b.high else TRUTH
    def less_equal(self, a: Interval | int, b: Interval | int) -> Interval:
        return self.invert_truth(self.less(b, a))
    def equal(self, a: Interval, b: Interval | int) -> Interval:
        b = _wrap(b)
        if a.high < b.low or b.high < a.low:
            return ZERO
        return point(1) if _are_points(a, b) else TRUTH
    def not_equal(self, a: Interval, b: Interval | int) -> Interval:
        return self.invert_truth(self.equal(a, b))
    def where(self, c: Interval, a: Interval, b: Interval) -> Interval:
        return a if c.low == 1 else b if c.high == 0 else a.hull(b)
    def truncdiv(self, a: Interval, b: Interval) -> Interval: return _divide(a, b, _trunc)
    # fmt: on

    def absolute(self, a: Interval) -> Interval:
        """Distance from zero."""
        return a if a.low >= 0 else -a if a.high <= 0 else Interval(0, max(-a.low, a.high))

    @staticmethod
    def invert_truth(a: Interval) -> Interval:
        """Logical not."""
        return Interval(1 - a.high, 1 - a.low)

    def invert(self, a: Interval) -> Interval:
        """Bitwise not; logical for bool. Unsigned results below zero wrap when they are fitted."""
        if self.dtype.kind is Kind.BOOL:
            return self.invert_truth(a)
        if self.dtype.kind is Kind.UINT:
            return point(self.dtype.limits()[1]) - a
        return point(-1) - a

    def _count(self, b: Interval) -> Interval:
        return _positive_floormod(b, point(self.width))

    def shift_left(self, a: Interval, b: Interval) -> Interval:
        """Multiply by a power of two."""
        count = self._count(b)
        return a * Interval(1 << int(count.low), 1 << int(count.high))

    def shift_right(self, a: Interval, b: Interval) -> Interval:
        """Divide by a power of two, rounding down."""
        count = self._count(b)
        return floordiv(a, Interval(1 << int(count.low), 1 << int(count.high)))

    def cast(self, a: Interval) -> Interval:
        """Integers keep their value if it fits the target; to bool, whether it is not 0."""
        return self.not_equal(a, 0) if self.target.kind is Kind.BOOL else a

    def bitcast(self, a: Interval) -> Interval:
        """The same bits; the value is kept if it fits the target."""
        low, high = self.target.limits()
        return a if a.is_within(Interval(low, high)) else Interval(low, high)
