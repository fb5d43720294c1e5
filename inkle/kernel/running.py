"""Running combinations (PREFIX) and folds (FOLD): what is carried along a loop in registers.

total = 0                              a vector of totals where lanes lie along another axis;
for t:                                 along the loop itself, lanes are combined with those
    total += x[t]                      before them in log2(lanes) rounds of shuffles, and the
    out[t] = total                     last lane goes on to the next vector

state = initial                        a fold carries several values, of any dtypes; lanes lie along
for t:                                 other axes
    out[t] = value(state, x[t])
    state = following(state, x[t])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from inkle.ir import forms
from inkle.ir.loop import Axis, axis_of, carried, extent, runs_over
from inkle.ir.node import Node, convert_scalar, toposort
from inkle.ir.op import Op
from inkle.ir.program import Loop, Value
from inkle.kernel.scopes import SEQUENTIAL, Scope

if TYPE_CHECKING:
    from inkle.kernel.linearize import Linearizer

Point = dict[Node, int]
RUNNING = frozenset({forms.PREFIX, forms.CARRY, forms.FOLD})


class Running:
    """What runs along the loops of a kernel, while they are open: a PREFIX, or a CARRY."""

    def __init__(self, owner: Linearizer, nodes: Sequence[Node]) -> None:
        self._owner = owner
        self._over = {node: node.src[1:] for node in nodes if node.op is forms.PREFIX}
        self._following: dict[Node, Node] = {}
        for node in nodes:
            for each, following in carried(node) if node.op is forms.FOLD else ():
                self._over[each], self._following[each] = runs_over(node), following
        self._totals: dict[Node, list[Value]] = {}
        self._next: dict[Node, list[Value]] = {}
        self._open: dict[Node, list[Node]] = {}

    def begin(self, r: Node, loop: Loop, stores: Sequence[Node]) -> None:
        """Carry the totals that `stores` need through a loop that has just been opened."""
        mine = [node for node, ranges in self._over.items() if r in ranges]
        used = set(toposort(stores)) if mine else set()
        self._open[r] = [node for node in mine if node in used]
        for node in self._open[r]:
            first, *_ = self._loops(node)
            initial = self._initial(node) if r is first else self._totals[node]
            self._totals[node] = [Value("carry", v.dtype, v.lanes) for v in initial]
            loop.initial = [*loop.initial, *initial]
            loop.carries = [*loop.carries, *self._totals[node]]
        for node in self._open[r]:  # now: the stores may write over what this reads
            if node in self._following and r is self._loops(node)[-1]:
                self._next[node] = self._after(node)

    def end(self, r: Node, loop: Loop) -> None:
        """Hand the totals on to the next round of a loop that is about to be closed."""
        done = 0
        for node in self._open.pop(r):
            totals = self._next.pop(node, self._totals[node])
            loop.following = [*loop.following, *totals]
            self._totals[node] = loop.carries[done : done + len(totals)]
            done += len(totals)

    def _loops(self, node: Node) -> list[Node]:
        return [each for each in self._over[node] if axis_of(each) in SEQUENTIAL]

    def _initial(self, node: Node) -> list[Value]:
        """Return what it begins with, for every point of the UNROLL ranges around."""
        owner, lanes = self._owner, self._lanes(node)
        points = list(owner.points(self._around(node)))
        if node.op is forms.CARRY:
            scope = owner.innermost
            return [owner.spread(owner.value(node.src[0], p), lanes, scope) for p in points]
        op: Op = node.arg[0]
        assert op.identity is not None
        start = convert_scalar(op.identity(node.dtype), node.dtype)
        return [owner.literal(start, node.dtype, lanes) for _ in points]

    def _lanes(self, node: Node) -> int:
        lane = self._owner.shape_of(node).lane
        return extent(lane) if lane is not None else 1

    def _around(self, node: Node) -> list[Node]:
        """Return the UNROLL ranges that it depends on and does not run along."""
        return [r for r in self._owner.shape_of(node).unroll if r not in self._over[node]]

    def value(self, node: Node, point: Point, scope: Scope) -> Value:
        """Return the register that holds a PREFIX, CARRY or FOLD at a point."""
        if node.op is forms.PREFIX:
            return self._combined(node, point, scope)
        if node.op is forms.CARRY:
            return self._carried(node, point)
        return self._owner.spread(self._owner.value(node.src[0], point), self._lanes(node), scope)

    # --- folds ------------------------------------------------------------------------------------

    def _copies(self, carry: Node) -> list[Point]:
        """Return the points of the UNROLL ranges that a fold runs along, in turn."""
        return list(self._owner.points([r for r in self._over[carry] if axis_of(r) is Axis.UNROLL]))

    def _after(self, carry: Node) -> list[Value]:
        """Return what is handed on to the next round, for every point of the ranges around."""
        owner, last = self._owner, self._copies(carry)[-1]
        return [
            self._followed(carry, {**point, **last}) for point in owner.points(self._around(carry))
        ]

    def _followed(self, carry: Node, point: Point) -> Value:
        owner = self._owner
        value = owner.value(self._following[carry], point)
        return owner.spread(value, self._lanes(carry), owner.innermost)

    def _carried(self, carry: Node, point: Point) -> Value:
        """Return what is carried to a point: from the round before, or from the copy before."""
        around, copies = self._around(carry), self._copies(carry)
        here = copies.index({r: point[r] for r in copies[0]})
        if here:
            return self._followed(carry, {**point, **copies[here - 1]})
        if carry not in self._totals:  # no loop: UNROLL ranges alone
            self._totals[carry] = self._initial(carry)
        place = list(self._owner.points(around)).index({r: point[r] for r in around})
        return self._totals[carry][place]

    # --- running combinations ---------------------------------------------------------------------

    def _combined(self, node: Node, point: Point, scope: Scope) -> Value:
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
