"""What the one rule of linearisation works with: open loops, and what a value depends on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from inkle.errors import RenderError
from inkle.ir.loop import Axis, axis_of, number_of
from inkle.ir.node import Node
from inkle.ir.program import Loop, Value

SEQUENTIAL = frozenset({Axis.LOOP, Axis.GRID, Axis.WORKER})


@dataclass(eq=False, slots=True)
class Scope:
    """One open loop: its block, and what has been computed in it."""

    block: list[Value | Loop]
    range: Node | None
    values: dict[Any, Value] = field(default_factory=dict)


class Shape:
    """What the rule asks of a node, computed once: its loops, UNROLL ranges and lane."""

    __slots__ = ("lane", "loops", "unroll")

    def __init__(self, ranges: frozenset[Node]) -> None:
        self.loops = [r for r in ranges if axis_of(r) in SEQUENTIAL]
        self.unroll = sorted((r for r in ranges if axis_of(r) is Axis.UNROLL), key=number_of)
        lanes = [r for r in ranges if axis_of(r) is Axis.LANE]
        if len(lanes) > 1:
            raise RenderError(f"a value depends on two lane ranges: {lanes}")
        self.lane = lanes[0] if lanes else None
