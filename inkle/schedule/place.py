"""Where a value lives: computed inline at each use, or stored by a kernel. By cost, in one look.

A value is looked at when all its users have been placed, so every place that wants it is known, with
the loops around it. The questions, in order:

1. Can it be computed there at all without waste? A contraction only as the last thing of its nest
   before elementwise work (an epilogue); another reduction where its loops can be the outer ones and
   its row stays in cache (row fusion: softmax, layer norm), or where nothing is recomputed.
2. If it is wanted more often than it has elements: is computing it again cheaper than writing it
   once and reading it back?
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from inkle.ir import forms
from inkle.ir.node import Node
from inkle.schedule.cost import Facts, Work, reduced_extent, size_of
from inkle.schedule.nest import Demand, Nest

MAX_DEMANDS = 400  # of one nest: longer chains are cut, so that no kernel gets huge
MAX_MEMORIES = 24  # arrays that one nest reads: registers hold their addresses
MAX_PLACES = 48  # of one value
WASTE = 1.6  # computing a value so many times per element is taken for granted (padding, halos)


class Placer:
    """Decides, given what is known of the graph."""

    def __init__(self, facts: Facts, work: dict[Node, Work], contractions: set[Node]) -> None:
        self._facts = facts
        self._work = work
        self._contractions = contractions

    def is_contraction(self, node: Node) -> bool:
        """Whether `node` uses each element of its sources many times, or is the product there."""
        return node in self._contractions

    def why_store(self, node: Node, demands: Sequence[Demand]) -> str | None:
        """Return why `node` should be stored, or None to compute it wherever it is wanted."""
        if node.op in forms.MOVEMENT or node.op in (forms.CONST, forms.ARANGE, forms.VARIABLE):
            return None
        if not node.dtype.bits:  # index arithmetic cannot be stored, and need not be
            return None
        if len(demands) > MAX_PLACES:
            return f"wanted in {len(demands)} places"
        if node.op is forms.REDUCE:
            return self._why_store_reduce(node, demands)
        return self._why_store_pointwise(node, demands)

    # --- elementwise work, gathers, concatenations --------------------------------------------------

    def _why_store_pointwise(self, node: Node, demands: Sequence[Demand]) -> str | None:
        work, size = self._work[node], size_of(node)
        if self.is_contraction(node) and all(d.is_in_contraction() for d in demands):
            return None  # storing the products is what a contraction is there to avoid
        points = sum([demand.points() for demand in demands])
        if len(demands) == 1:
            demand = demands[0]
            if points <= WASTE * size and not demand.is_in_contraction():
                return self._why_cut(demand, work, node)
        multiplied = [d for d in demands if d.is_in_contraction()]
        if multiplied and work.flops >= 1.0:
            times = sum([d.points() for d in multiplied]) / size
            if times > 2 and times * size * work.flops * self._facts.flop > self._facts.launch:
                return f"operand of a contraction that would compute it {times:.0f} times"
        if node.op is forms.CAT and multiplied and len(node.src) > 2:
            return "pieces of an operand of a contraction"
        inline = points * (work.flops * self._facts.flop + self._read(node, work.bytes, points))
        store = self._cost_of_storing(node, demands, work, points)
        if inline <= store:
            return None
        return f"computing it {points / size:.1f} times per element costs more than storing it"

    def _cost_of_storing(
        self, node: Node, demands: Sequence[Demand], work: Work, points: int
    ) -> float:
        size, itemsize = size_of(node), node.dtype.itemsize
        nests = [d.nest for d in demands]
        free = next((d for d in demands if d.covers() and nests.count(d.nest) == 1), None)
        reads = points - (free.points() if free is not None else 0)
        per_element = work.flops * self._facts.flop + self._read(node, work.bytes, size)
        write = self._facts.write if size * itemsize > self._facts.cache_bytes else self._facts.near
        return (
            size * (per_element + write * itemsize / 4)
            + reads * self._read(node, itemsize, reads)
            + (0.0 if free is not None else self._facts.launch)
        )

    def _read(self, node: Node, bytes_each: float, points: float) -> float:
        """Nanoseconds to read so many bytes, once per point: from memory the first time round."""
        size = size_of(node)
        if size * node.dtype.itemsize <= self._facts.cache_bytes:
            return self._facts.near * bytes_each / 4
        again = max(0.0, 1.0 - size * 2 / max(1.0, points)) if points > 4 * size else 0.0
        cost = self._facts.far * (1 - again) + self._facts.near * again
        return cost * bytes_each / 4

    def _why_cut(self, demand: Demand, work: Work, node: Node) -> str | None:
        """A single use is free, unless the nest has grown too large."""
        nest = demand.nest
        if nest.size > MAX_DEMANDS and node.op.is_elementwise:
            return f"the kernel that uses it has {nest.size} values"
        if len(nest.loaded) >= MAX_MEMORIES and work.bytes > node.dtype.itemsize:
            return f"the kernel that uses it reads {len(nest.loaded)} arrays"
        return None

    # --- reductions -----------------------------------------------------------------------------------

    def _why_store_reduce(self, node: Node, demands: Sequence[Demand]) -> str | None:
        points = sum([demand.points() for demand in demands])
        if len(demands) == 1 and demands[0].outer is not None:
            return None  # joins the reduction around it
        if self.is_contraction(node):
            if len(demands) > 1:
                return f"a contraction wanted in {len(demands)} places"
            return None if self.is_epilogue(demands[0]) else "a contraction inside other loops"
        for demand in demands:
            reason = self.why_not_here(demand)
            if reason:
                return reason
        work, size, extent = self._work[node.src[0]], size_of(node), reduced_extent(node)
        if len(demands) == 1 and points <= WASTE * size:
            return None
        one_pass = extent * (work.flops + 1.0) * self._facts.flop
        inline = points * (one_pass + extent * self._facts.near * work.bytes / 4)
        store = size * (one_pass + extent * self._read(node.src[0], work.bytes, 1))
        store += self._facts.launch + size * self._facts.write + points * self._facts.near
        if inline <= store:
            return None
        return f"a reduction wanted {points / max(1, size):.1f} times per element"

    @staticmethod
    def may_join(demand: Demand) -> bool:
        """Whether a sum inside a sum (with nothing but movement between) becomes one sum."""
        if demand.outer is None or demand.users != 1:
            return False
        own = prod([loop.extent for loop in demand.depends_on()])
        return own <= 2 * WASTE * size_of(demand.node) * demand.share

    @staticmethod
    def is_epilogue(demand: Demand) -> bool:
        """Whether a contraction can be the only reduction of its nest, everything else pointwise."""
        nest = demand.nest
        return demand.is_spread() and not nest.reductions and not nest.is_ordered

    def why_not_here(self, demand: Demand) -> str | None:
        """Return why a reduction that is no contraction cannot be computed inside its nest."""
        nest, node = demand.nest, demand.node
        if nest.contraction is not None:
            return "it would be a second reduction in the kernel of a contraction"
        loops, outputs = demand.depends_on(), frozenset(nest.loops)
        if loops == outputs and demand.points() <= WASTE * size_of(node):
            return None
        work = demand.points() * reduced_extent(node)
        if max(work, nest.points) <= self._facts.small:
            return None if self._fits_prefixes(nest, loops & outputs) else "its loops are not the outer ones"
        row = reduced_extent(node) * max(self._work[node.src[0]].bytes, node.dtype.itemsize)
        if row > self._facts.row_bytes:
            return f"a row of {row / 1024:.0f} KiB does not stay in cache"
        if prod([loop.extent for loop in loops & outputs]) < self._facts.chunks:
            return "too few rows to keep the workers busy"
        if not self._fits_prefixes(nest, loops & outputs):
            return "its loops are not the outer ones"
        return None

    @staticmethod
    def _fits_prefixes(nest: Nest, loops: frozenset[object]) -> bool:
        return all(loops <= prefix or prefix <= loops for prefix in nest.prefixes)

