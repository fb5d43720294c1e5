"""Where a value lives: computed inline at each use, or stored by a kernel. By cost, in one look.

A value is looked at when all its users have been placed, so every place that wants it is known,
with the loops around it. The questions, in order:

1. Can it be computed there at all without waste? A contraction only as the last thing of its nest
   before elementwise work (an epilogue); another reduction where its loops can be the outer ones
   and its row stays in cache (row fusion: softmax, layer norm), or where nothing is recomputed.
2. If it is wanted more often than it has elements: is computing it again cheaper than writing it
   once and reading it back?
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from inkle.ir import forms
from inkle.ir.dtype import bool_
from inkle.ir.loop import extent, longest
from inkle.ir.node import Node
from inkle.rewrite.affine import single
from inkle.schedule.cost import (
    Facts,
    Work,
    bytes_of,
    carried,
    contractions_of,
    reduced_extent,
    size_of,
    varying_axes,
    work_here,
    work_of,
)
from inkle.schedule.movement import reindex
from inkle.schedule.nest import Demand, Nest

MAX_DEMANDS = 400  # of one nest: longer chains are cut, so that no kernel gets huge
MAX_MEMORIES = 24  # arrays that one nest reads: registers hold their addresses
MAX_REDUCTIONS = 16  # of one nest: each is a loop, and lowering looks at all loops for each
MAX_PLACES = 48  # of one value
IN_ONE_NEST = 0.6  # computing it again in one kernel needs no synchronisation, and finds data near
SHORT = 16  # elements of a reduction that may be repeated, such as a pooling window
MASK = 4.0  # operations that compare positions, as often as they are needed
WASTE = 1.6  # computing a value so many times per element is taken for granted (padding, halos)


def running_loop(demand: Demand) -> frozenset[Node]:
    """Return the loop along which a running combination goes, as its index has it."""
    index = reindex(demand.index, demand.view, demand.node.shape)
    loops: frozenset[Node] = index[demand.node.arg[1]].ranges
    return loops


def is_large(nest: Nest) -> bool:
    """Whether a nest should not grow any more."""
    memories = len(nest.loaded) + len(nest.stores)
    return nest.size > MAX_DEMANDS or memories >= MAX_MEMORIES


def _points_outside(demand: Demand) -> int:
    """Return how often a reduction is computed in its nest: its loops become the outer ones.

    Not if vectors would then go along them, through many rows at once.
    """
    stores = demand.nest.stores
    terms = stores[0].at.terms if stores else {}
    if min(terms, key=lambda loop: abs(terms[loop]), default=None) in demand.depends_on:
        return demand.points()
    return min(demand.points(), prod(map(longest, demand.depends_on)))


class Placer:
    """Decides, given what is known of the graph."""

    def __init__(self, facts: Facts, order: Sequence[Node], outputs: set[Node]) -> None:
        self._facts = facts
        self.varying = varying_axes(order)
        self.contractions = contractions_of(order, self.varying)
        self._carried = carried(order, self.contractions, outputs)
        self._work = work_of(order, self._carried)

    def is_contraction(self, node: Node) -> bool:
        """Whether `node` uses each element of its sources many times, or is the product there."""
        return node in self.contractions

    def why_store(self, node: Node, demands: Sequence[Demand]) -> str | None:
        """Return why `node` should be stored, or None to compute it wherever it is wanted."""
        if node.op in forms.MOVEMENT or node.op in (forms.CONST, forms.ARANGE, forms.VARIABLE):
            return None
        if not node.dtype.bits:  # index arithmetic cannot be stored, and need not be
            return None
        if len(demands) > MAX_PLACES:
            return f"{len(demands)} places want it"
        if node.op is forms.REDUCE:
            return self._why_store_reduce(node, demands)
        if node.op is forms.PREFIX:
            fits = len(demands) == 1 and self.can_run(demands[0])
            return None if fits else "a running combination whose loop is not that of its user"
        return self._why_store_pointwise(node, demands)

    # --- elementwise work, gathers, concatenations ------------------------------------------------

    def _why_store_pointwise(self, node: Node, demands: Sequence[Demand]) -> str | None:
        size = size_of(node)
        work = self._work[node] if node not in self._carried else work_here(node, self._work)
        if self.is_contraction(node) and all(d.is_in_contraction() for d in demands):
            return None  # storing the products is what a contraction is there to avoid
        if node in self._carried and not (len(demands) == 1 and self.is_epilogue(demands[0])):
            return "else the contraction that ends in it would be stored, which is no smaller"
        if node.dtype is bool_ and not work.leaves and work.flops <= MASK:
            return None  # it takes memory for nothing, and says which columns nobody needs
        points = sum([demand.points() for demand in demands])
        if len(demands) == 1:
            demand = demands[0]
            if points <= WASTE * size and not demand.is_in_contraction():
                return self._why_cut(demand, work, node)
        # Measured: relu(x) @ w takes 1.5 times as long with relu inside (512x768x256, 1024 cubed).
        multiplied = [d for d in demands if d.is_in_contraction()]
        if multiplied and work.flops >= 1.0:
            times = sum([d.points() for d in multiplied]) / size
            is_short = size <= self._facts.small and node.op.is_elementwise
            launch = self._facts.call if is_short else self._facts.launch
            if times >= 1.5 and times * size * work.flops * self._facts.flop > launch:
                return f"as an operand of a contraction it would be computed {times:.0f} times"
        if node.op is forms.CAT and multiplied and len(node.src) > 2:
            return "it is an operand of a contraction, made of pieces"
        inline = sum([self._cost_here(demand, work, size) for demand in demands])
        if len({demand.nest for demand in demands}) == 1:
            inline *= IN_ONE_NEST
        store = self._cost_of_storing(node, demands, work)
        if inline <= store:
            return None
        often = f"{points / size:.1f} times per element"
        return f"it is wanted {often}, and costs more than to be read again"

    def _cost_here(self, demand: Demand, work: Work, size: int) -> float:
        points = demand.points()
        return points * work.flops * self._facts.flop + self._reading(work.bytes, points / size)

    def _cost_of_storing(self, node: Node, demands: Sequence[Demand], work: Work) -> float:
        size, total = size_of(node), bytes_of(node)
        nests = [d.nest for d in demands]
        free = next((d for d in demands if d.covers() and nests.count(d.nest) == 1), None)
        write = self._facts.write if total > self._facts.cache_bytes else self._facts.near
        cost = (
            size * work.flops * self._facts.flop + self._reading(work.bytes, 1) + total / 4 * write
        )
        cost += sum([self._reading(total, d.points() / size) for d in demands if d is not free])
        return cost + (0.0 if free is not None else self._facts.launch)

    def _reading(self, total: int, times: float) -> float:
        """Nanoseconds to read `total` bytes so many times: from memory the first time round."""
        if total <= self._facts.cache_bytes:
            return self._facts.near * total / 4 * times
        first = min(times, 2.0)
        return total / 4 * (self._facts.far * first + self._facts.near * (times - first))

    @staticmethod
    def _why_cut(demand: Demand, work: Work, node: Node) -> str | None:
        """A single use is free, unless the nest has grown too large."""
        nest = demand.nest
        if nest.size > MAX_DEMANDS and (node.op.is_elementwise or node.op is forms.GATHER):
            return f"the kernel that uses it is large already, with {nest.size} values"
        if len(nest.loaded) >= MAX_MEMORIES and len(work.leaves) > 1:
            return f"the kernel that uses it reads {len(nest.loaded)} arrays already"
        return None

    # --- reductions -------------------------------------------------------------------------------

    def _why_store_reduce(self, node: Node, demands: Sequence[Demand]) -> str | None:
        points = sum([demand.points() for demand in demands])
        if all(demand.outer is not None for demand in demands):
            return None  # joins the reduction around it
        if self.is_contraction(node):
            if len(demands) > 1:
                return f"{len(demands)} places want the result of this contraction"
            return (
                None
                if self.is_epilogue(demands[0])
                else "a contraction is computed once, not inside the loops of what uses it"
            )
        for demand in demands:
            reason = self.why_not_here(demand)
            if reason:
                return reason
        points = sum(map(_points_outside, demands))
        work, size, reduced = self._work[node.src[0]], size_of(node), reduced_extent(node)
        if len(demands) == 1 and points <= WASTE * size:
            return None
        each = reduced * (work.flops + 1.0) * self._facts.flop  # nanoseconds of one element
        is_near = work.bytes <= self._facts.row_bytes * size  # a row that is read for other reasons
        inline = sum([self._reading(work.bytes, d.points() / size) for d in demands])
        if is_near:
            inline = self._facts.near * work.bytes / 4 * points / size
        inline += points * each
        store = size * (each + self._facts.write) + self._reading(work.bytes, 1)
        store += points * self._facts.near
        if not any(demand.covers() for demand in demands):
            store += self._facts.launch
        if inline <= store:
            return None
        return f"each result of this reduction is wanted {points / size:.1f} times"

    def may_join(self, demands: Sequence[Demand]) -> bool:
        """Whether a reduction joins the one around it, nothing but movement being between them.

        In several places, only a short one that is no contraction: it is computed again in each.
        """
        node = demands[0].node
        if any(demand.outer is None or demand.users != 1 for demand in demands):
            return False
        if len(demands) > 1 and (self.is_contraction(node) or reduced_extent(node) > SHORT):
            return False
        limit = 2 * WASTE * size_of(node)
        points = [prod(map(longest, d.depends_on)) / d.share for d in demands]
        return all(each <= limit for each in points)

    def fits_here(self, demand: Demand) -> bool:
        """Whether the nest of `demand` can compute the value, contractions and rows included."""
        node = demand.node
        if node in self._carried or (node.op is forms.REDUCE and self.is_contraction(node)):
            return self.is_epilogue(demand)
        if node.op is forms.PREFIX:
            return self.can_run(demand)
        return node.op is not forms.REDUCE or self.why_not_here(demand) is None

    def can_run(self, demand: Demand) -> bool:
        """Whether a running combination can follow a loop of its nest, as the innermost one."""
        nest, node = demand.nest, demand.node
        if not demand.covers() or nest.contraction is not None or nest.is_ordered:
            return False
        index = reindex(demand.index, demand.view, node.shape)
        own = index[node.arg[1]]
        loops = [r for r in nest.loops if own == single(r) and extent(r) == node.shape[node.arg[1]]]
        others = [r for axis, each in enumerate(index) if axis != node.arg[1] for r in each.ranges]
        if not loops or loops[0] in others:
            return False
        return self._fits_prefixes(nest, frozenset(nest.loops) - own.ranges)

    @staticmethod
    def is_epilogue(demand: Demand) -> bool:
        """Whether a contraction can be the only reduction of its nest, all else pointwise."""
        nest = demand.nest
        return demand.is_spread() and not nest.reductions and not nest.is_ordered

    def why_not_here(self, demand: Demand) -> str | None:
        """Return why a reduction that is no contraction cannot be computed inside its nest."""
        nest, node = demand.nest, demand.node
        if nest.contraction is not None:
            return "it would be a second reduction in the kernel of a contraction"
        if len(nest.reductions) >= MAX_REDUCTIONS:
            return f"the kernel that uses it has {len(nest.reductions)} reductions already"
        if not nest.reductions and any(store.node in self._carried for store in nest.stores):
            return "it would keep a contraction out of its kernel"
        loops, outputs = demand.depends_on, frozenset(nest.loops)
        if loops == outputs and demand.points() <= WASTE * size_of(node):
            return None
        if nest.is_ordered:
            return "its loops would come first, and change the order of writes that may collide"
        work = demand.points() * reduced_extent(node)
        if max(work, nest.points) <= self._facts.small:
            return (
                None
                if self._fits_prefixes(nest, loops & outputs)
                else "its loops are not the outer ones"
            )
        row = self._work[node.src[0]].bytes / size_of(node)
        if row > self._facts.row_bytes:
            return f"a row of {row / 1024:.0f} KiB does not stay in cache"
        if prod(map(longest, loops & outputs)) < self._facts.chunks:
            return "too few rows to keep the workers busy"
        if not self._fits_prefixes(nest, loops & outputs):
            return "its loops are not the outer ones"
        return None

    @staticmethod
    def _fits_prefixes(nest: Nest, loops: frozenset[object]) -> bool:
        return all(loops <= prefix or prefix <= loops for prefix in nest.prefixes)
