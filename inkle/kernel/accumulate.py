"""Accumulators of reductions: a tile of registers, combined over loops, copies and lanes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from inkle.ir import forms, ops
from inkle.ir.loop import Axis, axis_of, extent, number_of
from inkle.ir.node import Node, bound_ranges, convert_scalar
from inkle.ir.op import Op
from inkle.ir.program import Value

if TYPE_CHECKING:
    from inkle.kernel.linearize import Linearizer, Scope

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
        fused = self.owner.fused and self.op is ops.ADD
        if fused and dtype.is_float and body.op is ops.MUL:
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
            scope.values[(self.node, tuple([outer[r] for r in self.outer]))] = total
            self.owner._home[total] = scope
