"""Running combinations (PREFIX): what the loop has combined so far, carried in registers.

total = 0                              a vector of totals where lanes lie along another axis;
for t:                                 along the loop itself, lanes are combined with those
    total += x[t]                      before them in log2(lanes) rounds of shuffles, and the
    out[t] = total                     last lane goes on to the next vector
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from inkle.ir import forms
from inkle.ir.loop import Axis, axis_of, extent
from inkle.ir.node import Node, convert_scalar, toposort
from inkle.ir.op import Op
from inkle.ir.program import Loop, Value
from inkle.kernel.scopes import SEQUENTIAL, Scope

if TYPE_CHECKING:
    from inkle.kernel.linearize import Linearizer

Point = dict[Node, int]


class Running:
    """The totals of all running combinations of a kernel, while its loops are open."""

    def __init__(self, owner: Linearizer, nodes: Sequence[Node]) -> None:
        self._owner = owner
        self._nodes = [node for node in nodes if node.op is forms.PREFIX]
        self._totals: dict[Node, list[Value]] = {}
        self._open: dict[Node, list[Node]] = {}

    def begin(self, r: Node, loop: Loop, stores: Sequence[Node]) -> None:
        """Carry the totals that `stores` need through a loop that has just been opened."""
        mine = [node for node in self._nodes if r in node.src[1:]]
        used = set(toposort(stores)) if mine else set()
        self._open[r] = [node for node in mine if node in used]
        for node in self._open[r]:
            first = next(each for each in node.src[1:] if axis_of(each) in SEQUENTIAL)
            initial = self._initial(node) if r is first else self._totals[node]
            self._totals[node] = [Value("carry", v.dtype, v.lanes) for v in initial]
            loop.initial = [*loop.initial, *initial]
            loop.carries = [*loop.carries, *self._totals[node]]

    def end(self, r: Node, loop: Loop) -> None:
        """Hand the totals on to the next round of a loop that is about to be closed."""
        done = 0
        for node in self._open.pop(r):
            totals = self._totals[node]
            loop.following = [*loop.following, *totals]
            self._totals[node] = loop.carries[done : done + len(totals)]
            done += len(totals)

    def _initial(self, node: Node) -> list[Value]:
        """Return the identity for every point of the UNROLL ranges around."""
        op: Op = node.arg[0]
        assert op.identity is not None
        start = convert_scalar(op.identity(node.dtype), node.dtype)
        owner, lanes = self._owner, self._lanes(node)
        return [owner.literal(start, node.dtype, lanes) for _ in owner.points(self._around(node))]

    def _lanes(self, node: Node) -> int:
        lane = self._owner.shape_of(node).lane
        return extent(lane) if lane is not None else 1

    def _around(self, node: Node) -> list[Node]:
        """Return the UNROLL ranges that it depends on and does not run along."""
        return [r for r in self._owner.shape_of(node).unroll if r not in node.src[1:]]

    def value(self, node: Node, point: Point, scope: Scope) -> Value:
        """Return a running combination at a point; all points of its own ranges come in turn."""
        owner, op = self._owner, node.arg[0]
        around = self._around(node)
        places = list(owner.points(around))
        place = places.index({r: point[r] for r in around})
        if node not in self._totals:  # no loop: UNROLL ranges and lanes alone
            self._totals[node] = self._initial(node)
        total = self._totals[node][place]
        unroll, lanes = owner.shape_of(node).unroll, self._lanes(node)
        along = any(axis_of(r) is Axis.LANE for r in node.src[1:])
        for inner in owner.points([r for r in node.src[1:] if axis_of(r) is Axis.UNROLL]):
            here = {**point, **inner}
            new = owner.spread(owner.value(node.src[0], here), lanes, scope)
            if along:
                new = self._along_lanes(op, new, scope)
            out = owner.emit(scope, op, node.dtype, lanes, (total, new))
            owner.remember(node, [here[r] for r in unroll], out, scope)
            if along:
                new = owner.emit(
                    scope, "shuffle", new.dtype, lanes, (new, new), (lanes - 1,) * lanes
                )
            total = owner.emit(scope, op, node.dtype, lanes, (total, new)) if along else out
        self._totals[node][place] = total
        return scope.values[(node, tuple([point[r] for r in unroll]))]

    def _along_lanes(self, op: Op, x: Value, scope: Scope) -> Value:
        """Return each lane combined with those before it."""
        assert op.identity is not None
        start = convert_scalar(op.identity(x.dtype), x.dtype)
        nothing = self._owner.literal(start, x.dtype, x.lanes)
        step = 1
        while step < x.lanes:
            places = tuple([x.lanes if i < step else i - step for i in range(x.lanes)])
            moved = self._owner.emit(scope, "shuffle", x.dtype, x.lanes, (x, nothing), places)
            x = self._owner.emit(scope, op, x.dtype, x.lanes, (moved, x))
            step *= 2
        return x
