"""Gates: conditions under which a value counts, and what they say about index expressions.

    facts_of(0 < i + k & i + k < 29)   ->   i + k lies within 1 .. 28

`simplify_under` uses such facts. LOADs inside the simplified expression are left alone: they run
whatever the gate outside says, so their index and their own gate must stay right everywhere. For
the same reason a fact that reads memory under a gate is never used to weaken a condition: it could
be the very gate of that memory.
"""

from __future__ import annotations

from inkle.ir import forms, ops
from inkle.ir.dtype import bool_, index
from inkle.ir.node import Node, const, toposort
from inkle.rewrite.affine import Affine, Direction, affine_of
from inkle.rewrite.known import Bounds, Known, intersect
from inkle.rules.boolean import FALSE, TRUE, joined, parts_of
from inkle.rules.simplify import SIMPLIFY

_COMPARISONS = (ops.LESS, ops.LESS_EQUAL, ops.EQUAL)


def facts_of(parts: list[Node]) -> dict[Direction, Bounds]:
    """Return what comparisons of index expressions say: bounds of sums, in both directions."""
    facts: dict[Direction, Bounds] = {}
    for part in parts:
        if part.op not in _COMPARISONS or part.src[0].dtype is not index:
            continue
        total = affine_of(part.src[0]).plus(affine_of(part.src[1]), -1)
        if not total.terms:
            continue
        highest = -total.constant - (part.op is ops.LESS)
        unit = total.divisor()
        _add(facts, total, (None, highest // unit))
        if part.op is ops.EQUAL:
            _add(facts, total, (-(-highest // unit), None))
    return facts


def _add(facts: dict[Direction, Bounds], total: Affine, limits: Bounds) -> None:
    low, high = limits
    mirrored = (None if high is None else -high, None if low is None else -low)
    for key, value in ((total.direction(), limits), (total.scaled(-1).direction(), mirrored)):
        facts[key] = intersect(facts.get(key, (None, None)), value)


def simplify_under(node: Node, gate: Node) -> Node:
    """Simplify `node`, whose value counts only where `gate` holds.

    Args:
        node: an expression of loop form, such as the index of a LOAD.
        gate: the bool expression in force.

    Returns:
        Node equal to `node` wherever `gate` is true.

    Example:
        >>> i = range_(0, 32)
        >>> simplify_under(i % 28, i < 28) is i
        True
    """
    return _under(SIMPLIFY.simplify(node), parts_of(SIMPLIFY.simplify(gate), ops.AND))


def simplify_gate(gate: Node) -> Node:
    """Simplify a conjunction, each part under what the others say; parts that follow vanish."""
    parts = parts_of(SIMPLIFY.simplify(gate), ops.AND)
    if len(parts) == 1:
        return parts[0]
    for part in list(reversed(parts)):
        others = [each for each in parts if each is not part]
        new = _under(part, others)
        if new is FALSE:
            return FALSE
        parts = [new if each is part else each for each in parts]
        parts = [each for each in parts if each is not TRUE]
    return SIMPLIFY.simplify(joined(parts, ops.AND)) if parts else TRUE


def _under(node: Node, parts: list[Node]) -> Node:
    """Simplify `node` under the facts of `parts`; all of them are simplified already."""
    if node.dtype is bool_:
        parts = [part for part in parts if not _reads_gated_memory(part)]
    fixed: dict[Node, Node] = {}
    for part in parts:
        if part is TRUE:
            continue
        negation = part.src[0] if part.op is ops.NOT else ~part
        fixed[part], fixed[negation] = TRUE, FALSE
    known = Known(facts_of(parts))
    nodes = toposort((node,))
    fixed.update({each: each for each in nodes if each.op is forms.LOAD})
    if not known.facts and fixed.keys().isdisjoint(nodes):
        return node
    result = SIMPLIFY.rewrite((node,), known, fixed)[0]
    low, high = known.bounds(result)
    if low is not None and low == high and result.op is not forms.CONST:
        return const(low, result.dtype)
    return SIMPLIFY.simplify(result)


def _reads_gated_memory(part: Node) -> bool:
    return any(each.op is forms.LOAD and len(each.src) > 2 for each in toposort((part,)))
