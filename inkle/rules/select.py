"""Rules about where(condition, a, b)."""

from __future__ import annotations

from inkle.ir.dtype import bool_
from inkle.ir.node import const
from inkle.ir.op import ANY, BOOL
from inkle.rewrite.rule import rule

_TRUE, _FALSE = const(True, bool_), const(False, bool_)

RULES = (
    rule("where_true", lambda x, y: (_TRUE.where(x, y), x), ANY),
    rule("where_false", lambda x, y: (_FALSE.where(x, y), y), ANY),
    rule("where_same", lambda p, x: (p.where(x, x), x), ANY),
    rule("where_not", lambda p, x, y: ((~p).where(x, y), p.where(y, x)), ANY),
    rule("where_as_condition", lambda p: (p.where(_TRUE, _FALSE), p), BOOL),
    rule("where_as_not", lambda p: (p.where(_FALSE, _TRUE), ~p), BOOL),
    rule("where_as_and", lambda p, q: (p.where(q, _FALSE), p & q), BOOL),
    rule("where_as_or", lambda p, q: (p.where(_TRUE, q), p | q), BOOL),
    rule("where_inside", lambda p, x, y, z: (p.where(p.where(x, y), z), p.where(x, z)), ANY),
    rule("where_outside", lambda p, x, y, z: (p.where(x, p.where(y, z)), p.where(x, z)), ANY),
    rule(
        "where_and",
        lambda p, q, x, y: (p.where(q.where(x, y), y), (p & q).where(x, y)),
        ANY,
    ),
    rule(
        "where_or",
        lambda p, q, x, y: (p.where(x, q.where(x, y)), (p | q).where(x, y)),
        ANY,
    ),
)
