"""Signs of floats that follow from how a value is computed.

`is_never_positive(x)` says that x is at most 0, or NaN. The case that matters most is the row of a
softmax: x[i] minus the maximum of x over a range that reaches i. One structural proof serves exp,
whose result then cannot overflow, wherever such a difference appears.
"""

from __future__ import annotations

from inkle.ir import forms, ops
from inkle.ir.bounds import bounds
from inkle.ir.node import Node, substitute

DEPTH = 8  # operations looked through: expressions may be deep, and share what they consist of


def is_never_positive(x: Node, depth: int = DEPTH) -> bool:
    """Whether a float is certain to be at most 0 or NaN; infinities count.

    Example:
        >>> is_never_positive(-(y * y)), is_never_positive(y * y)
        (True, False)
    """
    if x.op is forms.CONST:
        return not x.arg > 0
    if depth == 0:
        return False
    src = x.src
    below = [is_never_positive(each, depth - 1) for each in src] if x.op in _MONOTONE else []
    if x.op is ops.SUB:
        return _is_at_most(*src) or (below[0] and is_never_negative(src[1], depth - 1))
    if x.op is ops.NEG:
        return is_never_negative(src[0], depth - 1)
    if x.op is ops.MUL:
        return any(
            below[i] and is_never_negative(src[1 - i], depth - 1)
            for i in (0, 1)
        )  # fmt: skip
    return any(below) if x.op is ops.MINIMUM else bool(below) and all(below)


def is_never_negative(x: Node, depth: int = DEPTH) -> bool:
    """Whether a float is certain to be at least 0 (of either sign) or NaN."""
    if x.op is forms.CONST:
        return not x.arg < 0
    if depth == 0:
        return False
    if x.op in (ops.ABS, ops.SQRT) or (x.op is ops.MUL and x.src[0] is x.src[1]):
        return True
    below = [is_never_negative(each, depth - 1) for each in x.src] if x.op in _MONOTONE else []
    if x.op is ops.SUB:
        return _is_at_most(x.src[1], x.src[0])
    return any(below) if x.op is ops.MAXIMUM else bool(below) and all(below)


_MONOTONE = frozenset({ops.ADD, ops.SUB, ops.MUL, ops.MINIMUM, ops.MAXIMUM})


def _is_at_most(x: Node, greatest: Node) -> bool:
    """Whether `greatest` is a maximum over a range, and `x` what it maximises, at some point.

    Infinities do no harm: inf - inf is NaN. Nor does an empty range: then no point has an x.
    """
    if greatest.op is not forms.REDUCE or greatest.arg != (ops.MAXIMUM,) or len(greatest.src) != 2:
        return False
    body, over = greatest.src
    candidates = [over, *(x.ranges - body.ranges)]
    return x.op is body.op and any(
        bounds(r) == bounds(over) and substitute((body,), {over: r})[body] is x
        for r in candidates
    )  # fmt: skip
