"""Rules about conditions: and, or, not, and comparisons that bounds decide."""

from __future__ import annotations

from inkle.ir import ops
from inkle.ir.dtype import bool_, int32
from inkle.ir.node import Node, const
from inkle.ir.op import ANY, BOOL, INTEGER, NUMBER, Op
from inkle.rewrite.known import Known
from inkle.rewrite.pattern import hole
from inkle.rewrite.rule import FIXED, function_rule, rule

_P, _Q, _R = (hole(name, bool_) for name in "pqr")
_X = hole("x", int32)
_NESTED = frozenset({ops.AND, ops.OR})
TRUE, FALSE = const(True, bool_), const(False, bool_)


def parts_of(condition: Node, op: Op) -> list[Node]:
    """Return the parts of a nest of `op` (AND or OR), each once, in order."""
    found: dict[Node, None] = {}
    stack = [condition]
    while stack:
        node = stack.pop()
        if node.op is op and node.dtype is bool_:
            stack += [node.src[1], node.src[0]]
        else:
            found[node] = None
    return list(found)


def joined(parts: list[Node], op: Op) -> Node:
    """Return the left-leaning nest of `op` over `parts`."""
    total = parts[0]
    for part in parts[1:]:
        total = total.apply(op, part)
    return total


@function_rule(
    "repeated_part",
    (ops.AND, ops.OR),
    BOOL,
    lambda: [
        (_P & _Q) & (_P & _R), _P & (_Q & _R), (_P & _Q) & ~_P, (_P | _Q) | (_Q | _R),
        (_P | _Q) | ~_Q, (_P | _Q) & _P, (_P & _Q) | _P,
    ],
)  # fmt: skip
def repeated_part(node: Node, known: Known) -> Node | None:
    """Keep each part of a conjunction or disjunction once; decide p & ~p; absorb p & (p | q)."""
    op = node.op
    other, absorbing = (ops.OR, FALSE) if op is ops.AND else (ops.AND, TRUE)
    neutral = FALSE if op is ops.OR else TRUE
    parts = [part for part in parts_of(node, op) if part is not neutral]
    present = set(parts)
    if absorbing in present or any(part.op is ops.NOT and part.src[0] in present for part in parts):
        return absorbing
    kept = [
        part for part in parts if part.op is not other or present.isdisjoint(parts_of(part, other))
    ]
    new = joined(kept, op) if kept else neutral
    return None if new is node else new


def nest_of(node: Node) -> object:
    """Return AND or OR for the conjunctions and disjunctions that `repeated_part` looks through."""
    return node.op if node.op in _NESTED and node.dtype is bool_ else None


RULES = (
    rule("and_true", lambda p: (p & True, p), BOOL),
    rule("and_false", lambda p: (p & False, FALSE), BOOL),
    rule("or_false", lambda p: (p | False, p), BOOL),
    rule("or_true", lambda p: (p | True, TRUE), BOOL),
    rule("xor_false", lambda p: (p ^ False, p), BOOL),
    rule("xor_true", lambda p: (p ^ True, ~p), BOOL),
    rule("xor_same", lambda p: (p ^ p, FALSE), BOOL),
    rule("equal_true", lambda p: (p.eq(True), p), BOOL),
    rule("equal_false", lambda p: (p.eq(False), ~p), BOOL),
    rule("not_equal_false", lambda p: (p.ne(False), p), BOOL),
    rule("not_equal_true", lambda p: (p.ne(True), ~p), BOOL),
    repeated_part,
    rule("not_not", lambda x: (~~x, x), INTEGER | BOOL),
    # Not floats: NaN is neither less than x nor at least x.
    rule("not_less", lambda x, y: (~(x < y), y <= x), INTEGER),
    rule("not_less_equal", lambda x, y: (~(x <= y), y < x), INTEGER),
    rule("not_equal", lambda x, y: (~(x.eq(y)), x.ne(y)), ANY),
    rule("not_not_equal", lambda x, y: (~(x.ne(y)), x.eq(y)), ANY),
    rule("less_self", lambda x: (x < x, FALSE), NUMBER),
    rule("less_equal_self", lambda x: (x <= x, TRUE), INTEGER),
    rule("equal_self", lambda x: (x.eq(x), TRUE), INTEGER | BOOL),
    rule("not_equal_self", lambda x: (x.ne(x), FALSE), INTEGER | BOOL),
    rule("less_by_bounds", lambda x, y: (x < y, TRUE, x < y), FIXED),
    rule("not_less_by_bounds", lambda x, y: (x < y, FALSE, y <= x), FIXED),
    rule("less_equal_by_bounds", lambda x, y: (x <= y, TRUE, x <= y), FIXED),
    rule("not_less_equal_by_bounds", lambda x, y: (x <= y, FALSE, y < x), FIXED),
    rule("unequal_by_bounds", lambda x, y: (x.eq(y), FALSE, x.ne(y)), FIXED),
    rule("not_equal_by_bounds", lambda x, y: (x.ne(y), TRUE, x.ne(y)), FIXED),
)
