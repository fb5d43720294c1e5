"""Reductions that need an earlier one over the same long row read it once, in pieces.

    top = max(x);  total = sum(exp(x - top))          two passes over x, from memory if x is long

becomes, with the row in pieces that stay in cache,

    top[c] = max(x[c]);  total[c] = sum(exp(x[c] - top[c]))         for each piece c
    top = max(top[c]);   total = sum(total[c] * exp(top[c] - top))

since the state of a piece can be moved from its own `top[c]` to that of all. How that is done is a
table of actions, `ACTIONS`: a scaling for exponentials (Milakov & Gimelshein 2018), one more square
for distances from the mean (Chan, Golub & LeVeque 1979), a reset for places of extremes. An action
applies only if the earlier reduction is of the very expression that the later one compares with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from inkle.ir import forms, ops, tensor
from inkle.ir.node import Node, const, elementwise, rebuild, toposort
from inkle.ir.op import Op
from inkle.schedule.cost import Facts

Found = tuple[Node, Node, Node]  # the row, the earlier reduction, the value made of it
LEAST = 16  # a piece is that part of a chunk at least: shorter ones are not worth their launch


def in_one_pass(outputs: Sequence[Node], facts: Facts) -> list[Node]:
    """Return `outputs` with dependent reductions of long rows in pieces."""
    order = toposort(outputs)
    done: dict[Node, Node] = {}
    earlier: dict[Node, Node] = {}
    plans: dict[Node, tuple[Found, Action, int]] = {}
    for node in order:
        for match, action in ACTIONS if node.op is forms.REDUCE else ():
            found = match(node)
            piece = _piece(node, facts) if found is not None else 0
            if found is not None and piece:
                plans[node] = found, action, piece
                earlier.setdefault(found[1], node)
    if not plans:
        return list(outputs)
    for node in order:
        first = earlier.get(node, node)
        if first in plans and node not in done:
            (x, reduced, value), action, piece = plans[first]
            pieces = _in_pieces(done[x], piece, len(node.arg[1]))
            done[reduced], done[first] = action(pieces, reduced, value)
        elif node not in done:
            done[node] = rebuild(node, tuple([done[source] for source in node.src]))
        if done[node].origin is None:
            done[node].origin = node.origin
    return [done[node] for node in outputs]


def _piece(node: Node, facts: Facts) -> int:
    """Return how many elements of the reduced axes make a piece; 0 if they are not worth it."""
    x, axes = node.src[0], node.arg[1]
    rank = len(x.shape)
    length = prod([x.shape[axis] for axis in axes])
    if tuple(axes) != tuple(range(rank - len(axes), rank)):
        return 0
    if length * x.dtype.itemsize <= facts.row_bytes:
        return 0
    least = max(1, facts.chunk // LEAST)
    return next((d for d in range(facts.chunk, least - 1, -1) if length % d == 0), 0)


def _in_pieces(x: Node, piece: int, axes: int) -> Node:
    """Return `x` with its last axes as (number of pieces, elements of a piece)."""
    kept = x.shape[: len(x.shape) - axes]
    return tensor.reshape(x, (*kept, prod(x.shape[len(kept) :]) // piece, piece))


def _spread(value: Node, x: Node) -> Node:
    """Return what was reduced over the last axis of `x`, along it again."""
    return tensor.unreduce(value, x.shape, (len(x.shape) - 1,))


def _over_last(x: Node, op: Op) -> Node:
    return tensor.reduce(x, op, (len(x.shape) - 1,))


def _distance(node: Node, x_minus: Node) -> tuple[Node, Node] | None:
    """Return (x, value) if an expression is x minus a value repeated along the reduced axes."""
    if x_minus.op is not ops.SUB:
        return None
    x, other = x_minus.src
    if other.op is not forms.EXPAND or other.src[0].op is not forms.RESHAPE:
        return None
    value = other.src[0].src[0]
    if value.shape != node.shape or tensor.unreduce(value, x.shape, node.arg[1]) is not other:
        return None
    return x, value


# --- exponentials ---------------------------------------------------------------------------------


def _exponentials(node: Node) -> Found | None:
    """Match sum(exp(x - top)), top being max(x), or 0 where that is infinite."""
    body = node.src[0]
    pair = _distance(node, body.src[0]) if body.op is ops.EXP else None
    if pair is None or node.arg[0] is not ops.ADD:
        return None
    x, value = pair
    top = tensor.reduce(x, ops.MAXIMUM, node.arg[1])
    return (x, top, value) if value in (top, _or_zero(top)) else None


def _or_zero(top: Node) -> Node:
    """Return a maximum, or 0 where it is infinite or NaN."""
    return (top.abs() < float("inf")).where(top, 0)


def _scaled(x: Node, reduced: Node, value: Node) -> tuple[Node, Node]:
    """Return (max(x), sum(exp(x - top))) over the last two axes.

    A piece of -inf adds nothing, unless all is -inf; one whose maximum is that of the row is not
    scaled, so that -inf - -inf does not become NaN.
    """
    reference = _or_zero if value is not reduced else _itself
    tops = tensor.contiguous(_over_last(x, ops.MAXIMUM))
    totals = tensor.contiguous(_over_last((x - _spread(reference(tops), x)).exp(), ops.ADD))
    top = _over_last(tops, ops.MAXIMUM)
    all_tops = _spread(top, tops)
    factor = (reference(tops) - _spread(reference(top), tops)).exp()
    moved = tops.eq(all_tops).where(totals, totals * factor)
    lowest = const(float("-inf"), x.dtype)
    is_empty = tops.eq(lowest) & elementwise(ops.LESS, (lowest, all_tops))
    return top, _over_last(is_empty.where(0.0, moved), ops.ADD)


def _itself(top: Node) -> Node:
    return top


# --- distances from the mean ----------------------------------------------------------------------


def _squares(node: Node) -> Found | None:
    """Match sum((x - mean)**2), the mean being sum(x) / n."""
    body = node.src[0]
    is_square = body.op is ops.MUL and body.src[0] is body.src[1]
    pair = _distance(node, body.src[0]) if is_square else None
    if pair is None or node.arg[0] is not ops.ADD:
        return None
    x, value = pair
    total = tensor.reduce(x, ops.ADD, node.arg[1])
    n = prod([x.shape[axis] for axis in node.arg[1]])
    return (x, total, value) if value is total / n else None


def _shifted(x: Node, reduced: Node, value: Node) -> tuple[Node, Node]:
    """Return (sum(x), sum((x - mean)**2)) over the last two axes."""
    pieces, piece = x.shape[-2:]
    sums = tensor.contiguous(_over_last(x, ops.ADD))
    means = sums / piece
    distance = x - _spread(means, x)
    squares = tensor.contiguous(_over_last(distance * distance, ops.ADD))
    total = _over_last(sums, ops.ADD)
    between = means - _spread(total / (pieces * piece), means)
    return total, _over_last(squares + between * between * piece, ops.ADD)


# --- places of extremes ---------------------------------------------------------------------------


def _places(node: Node) -> Found | None:
    """Match min(where(x == top, place, n)), top being the largest or smallest x; NaN may count."""
    body = node.src[0]
    if not node.arg[0].idempotent or body.op is not ops.WHERE or body.src[2].op is not forms.CONST:
        return None
    test, place, _ = body.src
    equal = test.src[0] if test.op is ops.OR else test
    if equal.op is not ops.EQUAL or not all(n.op in POSITIONS for n in toposort([place])):
        return None
    x = equal.src[0]
    if test.op is ops.OR and test.src[1] is not x.ne(x):
        return None
    for op in (ops.MAXIMUM, ops.MINIMUM):
        top = tensor.reduce(x, op, node.arg[1])
        if equal.src[1] is tensor.unreduce(top, x.shape, node.arg[1]):
            return x, top, node
    return None


def _reset(x: Node, reduced: Node, node: Node) -> tuple[Node, Node]:
    """Return the extreme, and what it says of places: a piece with another extreme says nothing."""
    test, place, other = node.src[0].src
    op, own = reduced.arg[0], node.arg[0]
    tops = tensor.contiguous(_over_last(x, op))
    top = _over_last(tops, op)

    def is_there(values: Node, extreme: Node) -> Node:
        found = values.eq(_spread(extreme, values))
        return found | values.ne(values) if test.op is ops.OR else found

    cut = tensor.reshape(place, x.shape)
    inside = tensor.contiguous(_over_last(is_there(x, tops).where(cut, other), own))
    return top, _over_last(is_there(tops, top).where(inside, other), own)


POSITIONS = frozenset({forms.ARANGE, forms.CONST, forms.RESHAPE, forms.EXPAND, ops.CAST})
Action = Callable[[Node, Node, Node], tuple[Node, Node]]
#: What matches a reduction that depends on another, and what computes both from pieces.
ACTIONS: tuple[tuple[Callable[[Node], Found | None], Action], ...] = (
    (_exponentials, _scaled),
    (_squares, _shifted),
    (_places, _reset),
)
