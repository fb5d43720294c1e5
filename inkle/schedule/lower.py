"""From outputs to leaves in one pass: indices, gates and placement are decided together.

Every stored value gets a nest: a loop per axis. What it needs is demanded from its sources, with
movement operations turned into index arithmetic on the way; a node is placed once all its users
are, so the pass goes through the graph once, users before sources. Nothing here recurses.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from weakref import ref

from inkle.errors import InternalError
from inkle.ir import forms, ops
from inkle.ir.loop import extent
from inkle.ir.node import Node, Shape, const, toposort
from inkle.ir.size import least, most
from inkle.rewrite.affine import ZERO, Affine, single
from inkle.schedule import calls, mutation, scans
from inkle.schedule.cost import Facts, size_of
from inkle.schedule.gate import joined, needed, within
from inkle.schedule.index import Computed, Gate, Replacement, depth_of, is_clamped, leaf
from inkle.schedule.layout import layouts_of
from inkle.schedule.movement import MOVES, Index, reindex
from inkle.schedule.nest import (
    SAME_MEMORY,
    Demand,
    Link,
    Nest,
    Storage,
    Store,
    new_nest,
    stored_as,
)
from inkle.schedule.place import SHORT, Placer, is_large, running_loop

MAX_DEPTH = 3  # of nested divisions in an index: a deeper one is cut by storing the source
MAX_SEARCH = 512  # nests looked at for a cycle before giving up the fusion
LEAVES = frozenset({forms.CONST, forms.PARAM, forms.ARANGE, forms.VARIABLE})
SPECIAL = frozenset({forms.SCATTER, forms.UPDATE, forms.SCAN, forms.HOST})
WALKED = forms.MOVEMENT | SAME_MEMORY
LOWER = {
    forms.UPDATE: mutation.store_update,
    forms.SCATTER: mutation.store_scatter,
    forms.SCAN: scans.store_scan,
    forms.HOST: calls.store_call,
}


class Planner:
    """Grows the nests of a plan.

    Attributes:
        nests: in order of creation: users before sources.
        homes: for every stored node, the nests after which its value is in memory.
        storage: memory of every stored node.
        forced: nodes yet to be placed that must be stored, and why.
        loops: for every SCAN, the loop over time that it is a result of.
    """

    def __init__(self, outputs: Sequence[Node], facts: Facts) -> None:
        self.facts = facts
        self.order = toposort(outputs)
        self.outputs = set(outputs)
        self.nests: list[Nest] = []
        self.homes: dict[Node, list[Nest]] = {}
        self.storage: dict[Node, Storage] = {}
        self.forced: dict[Node, str] = dict.fromkeys(outputs, "it is a result")
        self.placer = Placer(facts, self.order, self.outputs)
        self.layouts = layouts_of(self.order, self.placer.contractions, self.placer.varying)
        self.loops = scans.loops_of(self.order)
        self._demands: dict[Node, dict[object, Demand]] = {}
        self._numbers = 0

    def run(self) -> None:
        """Place every node that is wanted."""
        for node in self.order:
            if node.op is forms.CONTIGUOUS:
                node = stored_as(node)
                if node.op not in LEAVES:
                    self.forced.setdefault(node, "contiguous() or a long reduction asks for it")
            elif node.op in SPECIAL:
                self.forced.setdefault(node, f"{node.op.name} writes memory")
            if node.op is forms.SCAN and not self.loops[node].is_pointwise():
                for source in node.src[node.arg[0].carried :]:
                    self.forced.setdefault(stored_as(source), "read by a loop over time")
            if node.op is forms.HOST:
                for source in node.src:
                    self.forced.setdefault(stored_as(source), "read by a library function")
        for node in reversed(self.order):
            found = self._demands.pop(node, {})
            demands = [demand for demand in found.values() if demand.nest.is_live]
            if node in self.outputs or demands:
                self._visit(node, demands)

    # --- demands ----------------------------------------------------------------------------------

    def want(self, nest: Nest, node: Node, view: Shape, index: Index, gate: Gate) -> Link:
        """Demand the value of `node` at `index` of `view`, which has as many elements as `node`."""
        conditions: Gate = ()
        while node.op in WALKED and node not in self.forced:
            if node.op not in SAME_MEMORY:
                if view != node.shape:
                    index, view = reindex(index, view, node.shape), node.shape
                    if max([depth_of(each) for each in index], default=0) > MAX_DEPTH:
                        self.forced[node] = "its index would nest too many divisions"
                        break
                    gate = needed(gate, index, view)
                moved = MOVES[node.op](node, index)
                if moved is None:
                    return Link((), const(0, node.dtype))
                index, more = moved
                view = node.src[0].shape
                conditions = joined(conditions, more)
                gate = needed(joined(gate, more), index, view)
            node = node.src[0]
        if node.op is forms.CONST:
            return Link(conditions, node)
        return Link(conditions, self.demand(nest, node, view, index, gate))

    def demand(self, nest: Nest, node: Node, view: Shape, index: Index, gate: Gate) -> Demand:
        """Demand the value of `node` itself, whatever it is."""
        table = self._demands.setdefault(node, {})
        key = (nest.number, view, index, gate)
        demand = table.get(key)
        if demand is None:
            demand = table[key] = Demand(node, nest, view, index, gate)
            nest.size += 1
            if node.op is forms.PARAM:
                demand.is_loaded = True
                nest.loaded[node] = nest.loaded.get(node, 0) + 1
        demand.users += 1
        return demand

    def add_nest(self, shape: Shape, reason: str) -> Nest:
        """Return a new nest with a loop per axis of `shape`."""
        nest = new_nest(len(self.nests), shape, reason, self._numbers)
        self._numbers += len(nest.loops)
        self.nests.append(nest)
        return nest

    # --- placement --------------------------------------------------------------------------------

    def _visit(self, node: Node, demands: list[Demand]) -> None:
        if node.op in LEAVES and node not in self.forced:
            return
        reason = self.forced.pop(node, None)  # from here on, `want` walks through it
        joins = node.op is forms.REDUCE and bool(demands) and self.placer.may_join(demands)
        if reason is not None or not joins:
            for demand in demands:
                demand.outer = None
        reason = reason or self.placer.why_store(node, demands)
        if reason is None:
            for demand in demands:
                self.expand(demand)
        elif node.op is not forms.PARAM and size_of(node):
            self.store(node, demands, reason)

    def store(self, node: Node, demands: list[Demand], reason: str) -> None:
        """Let a nest store `node`, and the others load it."""
        storage = self.storage.setdefault(node, Storage(node.dtype, prod(node.shape), node))
        storage.is_output = storage.is_output or node in self.outputs
        demands, writer = mutation.take_over(self, node, demands)
        layout = None if storage.is_output or writer is not None else self.layouts.get(node)
        if node.op in SPECIAL:
            self.homes[node] = LOWER[node.op](self, node, reason)
        elif node.op is forms.CAT:
            self.homes[node] = mutation.store_parts(self, node, reason)
        else:
            tapped = self._tap(node, demands, writer)
            inside = self._grow(node, demands, writer) if tapped is None else None
            if tapped is not None:
                demands = [demand for demand in demands if demand is not tapped]
            elif inside is not None:
                tapped, demands = (
                    self._stored_beside(inside),
                    [d for d in demands if d is not inside],
                )
            else:
                nest = self.add_nest(node.shape, reason)
                tapped = Demand(node, nest, node.shape, nest.index, ())
            tapped.layout = layout
            self.expand(tapped)
            where = tapped.position, Link((), tapped)
            tapped.nest.stores.append(Store(node, *where, reason=reason))
            self.homes[node] = [tapped.nest]
        for demand in demands:
            demand.is_loaded = True
            demand.layout = layout
            demand.nest.loaded[node] = demand.nest.loaded.get(node, 0) + 1
            demand.nest.before.update(self.homes[node])
        if writer is not None:
            writer.before.update(self.homes[node])

    def _tap(self, node: Node, demands: list[Demand], writer: Nest | None) -> Demand | None:
        """Find a nest that computes all of `node` anyway, and may store it on the way."""
        for demand in reversed(demands):
            nest = demand.nest
            others = {each.nest for each in demands if each is not demand}
            if not nest.is_open or nest in others or not demand.covers() or is_large(nest):
                continue
            if not self.placer.fits_here(demand):
                continue
            if writer is not None:
                others.add(writer)
            if not self.reaches(nest, others):
                return demand
        return None

    def _grow(self, node: Node, demands: list[Demand], writer: Nest | None) -> Demand | None:
        """Find a short reduction over `node` whose nest may store it, in loops of its own.

        The maximum of a window and where it is: the nest of windows computes both. Only where
        something is the same in all of a window; else rows of vectors would be cut up.
        """
        for demand in reversed(demands if node.op.is_elementwise else ()):
            nest = demand.nest
            others = {each.nest for each in demands if each is not demand}
            if not nest.may_grow() or nest in others or is_large(nest):
                continue
            inner = demand.short_loops(SHORT)
            axes = {axis for axis, each in enumerate(demand.index) if each.ranges & set(inner)}
            along = map(self.placer.varying.get, node.src)
            if not inner or not any(v and not v & axes for v in along):
                continue
            if writer is not None:
                others.add(writer)
            if not self.reaches(nest, others):
                return demand
        return None

    def _stored_beside(self, inside: Demand) -> Demand:
        """Compute a demand of a short reduction where it is; return one in loops that store it."""
        nest = inside.nest
        inner = inside.short_loops(SHORT)
        fresh = nest.grow(self._numbers, [extent(loop) for loop in inner])
        self._numbers += len(inner)
        moved = Replacement(dict(zip(inner, map(single, fresh), strict=True)))
        self.expand(inside)
        return Demand(inside.node, nest, inside.view, tuple(map(moved, inside.index)), ())

    @staticmethod
    def reaches(start: Nest, goals: set[Nest]) -> bool:
        """Whether any of `goals` must run before `start`; True also if that takes too long."""
        if not goals:
            return False
        seen, stack = {start}, [start]
        while stack:
            for nest in stack.pop().before:
                if nest in goals or len(seen) > MAX_SEARCH:
                    return True
                if nest not in seen:
                    seen.add(nest)
                    stack.append(nest)
        return False

    # --- inline -----------------------------------------------------------------------------------

    def expand(self, demand: Demand) -> None:
        """Compute a demand in place: demand what it needs from the sources."""
        node, nest = demand.node, demand.nest
        op = node.op
        if op.is_elementwise or op in WALKED:
            wanted = node.src if op.is_elementwise else (node,)
            view, index, gate = demand.view, demand.index, demand.gate
            demand.links = [self.want(nest, each, view, index, gate) for each in wanted]
        elif op is forms.REDUCE:
            self._expand_reduce(demand)
        elif op is forms.PREFIX:
            self._expand_prefix(demand)
        elif op is forms.GATHER:
            self._expand_gather(demand)
        elif op is forms.CAT:
            self._expand_cat(demand)
        elif op not in LEAVES:
            raise InternalError(f"the scheduler cannot lower {node!r}")

    def _coordinates(self, demand: Demand) -> tuple[Index, Gate]:
        """Return the index of a demand in the node's own axes."""
        index = reindex(demand.index, demand.view, demand.node.shape)
        return index, needed(demand.gate, index, demand.node.shape)

    def _expand_reduce(self, demand: Demand) -> None:
        node, nest = demand.node, demand.nest
        body = node.src[0]
        if 0 in body.shape:
            demand.links = [Link((), const(node.arg[0].identity(node.dtype), node.dtype))]
            return
        index, gate = self._coordinates(demand)
        outer = demand
        while outer.outer is not None:
            outer = outer.outer
        is_contraction = self.placer.is_contraction(node) or nest.contraction is outer
        if outer is demand:
            self._register(demand, is_contraction=is_contraction)
        around = self._around(demand, outer)
        kept = iter(index)
        inside: list[Affine] = []
        for axis, n in enumerate(body.shape):
            if axis not in node.arg[1]:
                inside.append(next(kept))
            elif n == 1:
                inside.append(ZERO)
            else:
                loop = nest.add_loop(self._numbers, n, around, is_contraction=is_contraction)
                self._numbers += 1
                around = (*around, loop)
                outer.loops.append(loop)
                inside.append(single(loop))
        gate = needed(gate, tuple(inside), body.shape)
        link = self.want(nest, body, body.shape, tuple(inside), gate)
        demand.links = [link]
        self._offer(demand, link)

    def _expand_prefix(self, demand: Demand) -> None:
        """Combine along a loop of the nest, which has to be the innermost one."""
        node, nest = demand.node, demand.nest
        index, gate = self._coordinates(demand)
        nest.reductions.append(demand)
        around = frozenset(nest.loops) - running_loop(demand)
        if around not in nest.prefixes:
            nest.prefixes.append(around)
        demand.links = [self.want(nest, node.src[0], node.shape, index, gate)]

    def _register(self, demand: Demand, *, is_contraction: bool) -> None:
        """Note a reduction that a nest computes."""
        nest = demand.nest
        nest.reductions.append(demand)
        if is_contraction:
            nest.contraction = demand
        prefix = demand.depends_on & frozenset(nest.loops)
        if len(prefix) < len(nest.loops) and prefix not in nest.prefixes:
            nest.prefixes.append(prefix)

    @staticmethod
    def _around(demand: Demand, outer: Demand) -> tuple[Node, ...]:
        """Return the loops around those of a reduction."""
        if outer is not demand and outer.loops:
            return demand.nest.scopes[outer.loops[-1]].enclosing
        if demand.nest.contraction is demand:
            return demand.nest.loops
        return demand.scope.enclosing

    @staticmethod
    def _offer(demand: Demand, link: Link) -> None:
        """Mark a reduction directly inside another of the same kind: they may become one.

        With a gate between, only sums: what is outside the gate is 0, which adds nothing.
        """
        target = link.target
        if isinstance(target, Node) or target.node.op is not forms.REDUCE:
            return
        op = demand.node.arg[0]
        if target.node.arg[0] is op and (not link.gate or op is ops.ADD):
            target.outer = demand
            target.share = prod([test.modulus for test in link.gate if test.modulus])

    def _expand_gather(self, demand: Demand) -> None:
        node, nest = demand.node, demand.nest
        x = node.src[0]
        index, gate = self._coordinates(demand)
        place = (node.shape, index, gate)
        at, conditions = self.mapped(nest, node.src[1:], node.arg, x.shape, place)
        if conditions is None:
            demand.links = [Link((), const(0, node.dtype))]
            return
        gate = needed(joined(gate, conditions), at, x.shape)
        inner, target = self.want(nest, x, x.shape, at, gate)
        demand.links = [Link(joined(conditions, inner), target)]

    def mapped(
        self,
        nest: Nest,
        indices: Sequence[Node],
        spec: Sequence[int],
        shape: Shape,
        place: tuple[Shape, Index, Gate],
    ) -> tuple[Index, Gate | None]:
        """Return the coordinates in `shape` that a GATHER or SCATTER uses, and where they exist."""
        if 0 in shape:
            return (), None
        view, index, gate = place
        at: list[Affine] = []
        conditions: Gate = ()
        for n, entry in zip(shape, spec, strict=True):
            if entry >= 0:
                at.append(index[entry])
                continue
            source = indices[-entry - 1]
            each = self._computed(self.want(nest, source, view, index, gate), source, n)
            more = within(each, n)
            if more is None:
                return tuple(at), None
            conditions = joined(conditions, more)
            at.append(each)
        return tuple(at), conditions

    def _computed(self, link: Link, source: Node, n: int) -> Affine:
        """Return a value as a coordinate on an axis of length `n`; negative ones wrap once."""
        target = link.target
        if isinstance(target, Node):
            value = int(target.arg)
            return Affine({}, value + n if value < 0 else value)
        if target.node.op is forms.ARANGE and not link.gate:
            return target.row_major()
        low, high = source.dtype.limits() if source.dtype.bits else (-(1 << 62), 1 << 62)
        if is_clamped(target.node, n):
            low, high = 0, most(n) - 1
        if low < 0:
            low, high = min(0, low + least(n)), max(high, most(n) - 1)
        target.nest.coordinates.append(target)
        return leaf(Computed(ref(target), link.gate, n), low, high, target.depends_on)

    def _expand_cat(self, demand: Demand) -> None:
        """One part where the index is certain to be in it, else the parts in turn."""
        node = demand.node
        index, gate = self._coordinates(demand)
        axis, start = node.arg, 0
        found: list[tuple[Node, Index, Gate]] = []
        for part in node.src:
            at = (*index[:axis], index[axis].shifted(-start), *index[axis + 1 :])
            inside = within(at[axis], part.shape[axis])
            start += part.shape[axis]
            if inside is not None:
                found.append((part, at, inside))
            if inside == ():
                found = found[-1:]
                break
        for part, at, inside in found:
            more = needed(joined(gate, inside), at, part.shape)
            demand.links.append(self.want(demand.nest, part, part.shape, at, more))
            demand.choices.append(inside)
