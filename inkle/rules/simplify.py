"""The rule sets: all families together, and index arithmetic alone."""

from __future__ import annotations

from inkle.ir.node import Node
from inkle.rewrite.engine import RuleSet
from inkle.rules import arithmetic, bits, boolean, broadcast, cast, floats, index, select


def _nest_of(node: Node) -> object:
    return index.nest_of(node) or boolean.nest_of(node)


INDEX_RULES = RuleSet((*index.RULES, *boolean.RULES), _nest_of)
SIMPLIFY = RuleSet(
    (
        *index.RULES,
        *arithmetic.RULES,
        *bits.RULES,
        *cast.RULES,
        *boolean.RULES,
        *select.RULES,
        *floats.RULES,
        *broadcast.RULES,
    ),
    _nest_of,
)
