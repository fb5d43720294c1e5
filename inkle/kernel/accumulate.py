"""Accumulators of reductions: a tile of registers, combined over loops, copies and lanes."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from inkle.ir import forms, ops
from inkle.ir.dtype import bool_
from inkle.ir.loop import Axis, axis_of, extent, number_of
from inkle.ir.node import Node, bound_ranges, convert_scalar
from inkle.ir.op import Op
from inkle.ir.program import Value
from inkle.kernel.words import emit_dot

if TYPE_CHECKING:
    from inkle.kernel.linearize import Linearizer
    from inkle.kernel.scopes import Scope

Point = dict[Node, int]


class Tile:
    """The accumulators of one reduction: one per point of the UNROLL ranges, inner and outer."""

    def __init__(self, owner: Linearizer, node: Node) -> None:
        self.owner, self.node = owner, node
        self.op: Op = node.arg[0]
        self.body = node.src[0]
        self.outer = owner.shape_of(node).unroll
        inner = sorted((r for r in bound_ranges(node) if axis_of(r) is Axis.UNROLL), key=number_of)
        self.points = [{**a, **b} for a in owner.points(self.outer) for b in owner.points(inner)]
        self.per_result = max(1, len(self.points) // max(1, len(list(owner.points(self.outer)))))
        lane = owner.shape_of(self.body).lane
        bound_lanes = [r for r in bound_ranges(node) if axis_of(r) is Axis.LANE]
        self.across = bool(bound_lanes)
        self.lane = lane if lane is not None else (bound_lanes[0] if bound_lanes else None)
        self.lanes = extent(self.lane) if self.lane is not None else 1

    @property
    def width(self) -> int:
        """How many values the loops carry."""
        return len(self.points)

    def initial(self) -> list[Value]:
        """Return the identity for every accumulator."""
        assert self.op.identity is not None
        start = convert_scalar(self.op.identity(self.node.dtype), self.node.dtype)
        return [self.owner.literal(start, self.node.dtype, self.lanes) for _ in self.points]

    def step(self, state: list[Value]) -> list[Value]:
        """Return the accumulators after one more point of the loops."""
        return [self._combine(old, point) for old, point in zip(state, self.points, strict=True)]

    def _combine(self, old: Value, point: Point) -> Value:
        gate, body = self._gated()
        scope = self.owner.innermost
        dtype, lanes = self.node.dtype, self.lanes
        fused = self.owner.machine.fused and self.op is ops.ADD
        if self.op is ops.ADD and body.op is forms.DOT:
            new = emit_dot(self.owner, body, point, old)
        elif fused and dtype.is_float and body.op is ops.MUL:
            factors = [self._operand(source, point) for source in body.src]
            new = Value(ops.FMA, dtype, lanes, (*factors, old))
        else:
            new = Value(self.op, dtype, lanes, (old, self._operand(body, point)))
        scope.block.append(new)
        if gate is None:
            return new
        condition = self.owner.value(gate, point)
        chosen = Value(ops.WHERE, dtype, lanes, (condition, new, old))
        scope.block.append(chosen)
        return chosen

    @property
    def is_gated(self) -> bool:
        """Whether some points of the loops are left out."""
        return self._gated()[0] is not None

    def _operand(self, node: Node, point: Point) -> Value:
        return self.owner.spread(self.owner.value(node, point), self.lanes, self.owner.innermost)

    def _gated(self) -> tuple[Node | None, Node]:
        """Split `where(gate, body, identity)`: the accumulator is kept where the gate is false."""
        body = self.body
        if body.op is ops.WHERE and body.src[2].op is forms.CONST and self.op.identity is not None:
            other = body.src[2].arg
            if other == convert_scalar(self.op.identity(self.node.dtype), self.node.dtype):
                return body.src[0], body.src[1]
        return None, body

    def finish(self, final: list[Value], scope: Scope) -> None:
        """Join the accumulators of each result, across lanes too, and remember the results."""
        dtype = self.node.dtype
        for i, outer in enumerate(self.owner.points(self.outer)):
            parts = final[i * self.per_result : (i + 1) * self.per_result]
            while len(parts) > 1:  # a balanced tree: shorter chains, smaller rounding error
                pairs = itertools.zip_longest(parts[::2], parts[1::2])
                parts = [
                    a if b is None else self.owner.emit(scope, self.op, dtype, self.lanes, (a, b))
                    for a, b in pairs
                ]
            total = parts[0]
            if self.across:
                total = self.owner.emit(scope, "across", dtype, 1, (total,), self.op)
            self.owner.remember(self.node, [outer[r] for r in self.outer], total, scope)


class ExtremumTile(Tile):
    """Largest or smallest floats. NaNs are noted apart, in masks, and join in at the end.

    A maximum that propagates NaN takes three instructions in a row for each element. A plain one
    takes one; beside it a comparison finds NaNs in two vectors of the same result at once.
    """

    def _flag_of(self, place: int) -> int:
        """Return the number of the mask that accumulator `place` shares with its neighbour."""
        result, part = divmod(place, self.per_result)
        return result * (-(-self.per_result // 2)) + part // 2

    @property
    def width(self) -> int:
        """How many values the loops carry: accumulators, then masks."""
        return len(self.points) + self._flag_of(len(self.points) - 1) + 1

    def initial(self) -> list[Value]:
        """Return the identity for every accumulator, and empty masks."""
        flags = self.width - len(self.points)
        return super().initial() + [self.owner.literal(False, bool_, self.lanes)] * flags

    def step(self, state: list[Value]) -> list[Value]:
        """Return accumulators and masks after one more point of the loops."""
        count, block = len(self.points), self.owner.innermost.block
        values = [self._operand(self.body, point) for point in self.points]
        new = []
        for old, value in zip(state, values, strict=False):
            order = (old, value) if self.op is ops.MAXIMUM else (value, old)
            better = Value(ops.LESS, bool_, self.lanes, order)
            chosen = Value(ops.WHERE, self.node.dtype, self.lanes, (better, value, old))
            block.extend((better, chosen))
            new.append(chosen)
        for number, flag in enumerate(state[count:]):
            mine = [v for i, v in enumerate(values) if self._flag_of(i) == number]
            found = Value("unordered", bool_, self.lanes, (mine[0], mine[-1]))
            joined = Value(ops.OR, bool_, self.lanes, (flag, found))
            block.extend((found, joined))
            new.append(joined)
        return new

    def finish(self, final: list[Value], scope: Scope) -> None:
        """Put NaN where one was seen, and join."""
        count = len(self.points)
        nan = self.owner.literal(math.nan, self.node.dtype, self.lanes)
        marked = [
            self.owner.emit(
                scope,
                ops.WHERE,
                self.node.dtype,
                self.lanes,
                (final[count + self._flag_of(i)], nan, value),
            )
            for i, value in enumerate(final[:count])
        ]
        super().finish(marked, scope)


def tile_for(owner: Linearizer, node: Node) -> Tile:
    """Return the accumulators of the reduction `node`."""
    tile = Tile(owner, node)
    if (
        owner.machine.masks
        and tile.op in (ops.MAXIMUM, ops.MINIMUM)
        and node.dtype.is_float
        and tile.lanes > 1
        and not tile.is_gated
    ):
        return ExtremumTile(owner, node)
    return tile
