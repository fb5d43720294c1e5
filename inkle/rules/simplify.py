"""The rule sets: all families together, and index arithmetic alone."""

from __future__ import annotations

from inkle.rewrite.engine import RuleSet
from inkle.rules import arithmetic, bits, boolean, cast, floats, index, select

INDEX_RULES = RuleSet((*index.RULES, *boolean.RULES))
SIMPLIFY = RuleSet(
    (
        *arithmetic.RULES,
        *bits.RULES,
        *cast.RULES,
        *boolean.RULES,
        *select.RULES,
        *floats.RULES,
        *index.RULES,
    )
)
