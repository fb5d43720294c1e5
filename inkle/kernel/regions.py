"""What a kernel does, region by region: the analysis that the choice of a schedule reads.

A region is the body of one reduction or one store: the code that runs once per point of `ranges`.
Costs are in cycles of one core, roughly; only their order matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd, prod

from inkle.ir import forms, ops
from inkle.ir.loop import Kernel, extent, longest, running_ranges
from inkle.ir.node import Node, bound_ranges
from inkle.ir.op import Op
from inkle.ir.size import is_multiple, size_of_node
from inkle.kernel.access import coefficient
from inkle.rewrite.affine import ZERO, affine_of, affine_of_size, factors_of
from inkle.rewrite.nonnegative import expanded, is_nonnegative, slope_of

BROADCAST, CONTIGUOUS, SHUFFLED = 0.5, 0.6, 1.5  # cycles per vector
GATHER, SCATTER, TRANSPOSED = 1.0, 1.5, 0.4  # cycles per element
ACROSS = 6.0  # cycles to combine the lanes of one result
RUNNING = 4.0  # cycles per vector of a running combination: each waits for the one before
STAGE_BYTES = 768 * 1024  # a panel that is larger would leave the second cache
PANEL = 32  # columns of a product that are staged at a time, at least
length = longest
SLOW = {ops.DIV: 8.0, ops.SQRT: 8.0, ops.TRUNCDIV: 10.0, ops.TRUNCMOD: 10.0}  # cycles per vector


@dataclass(frozen=True, eq=False, slots=True)
class Region:
    """The body of one REDUCE, STAGE or STORE.

    Attributes:
        node: the REDUCE, STAGE or STORE.
        ranges: what the body runs over.
        bound: ranges that a reduction removes or a stage fills; empty for a store.
        loads: LOAD nodes of the body, those of inner regions left out.
        work: cycles of arithmetic per vector of the body.
        itemsize: bytes of the widest element computed with.
    """

    node: Node
    ranges: frozenset[Node]
    bound: tuple[Node, ...]
    loads: tuple[Node, ...]
    work: float
    itemsize: int

    @property
    def points(self) -> int:
        """How often the body runs."""
        return prod(length(r) for r in self.ranges)

    @property
    def op(self) -> Op:
        """REDUCE, STAGE or STORE."""
        return self.node.op

    def accesses(self) -> list[tuple[Node, Node]]:
        """Return (access, index expression) of every load, and of the store."""
        found = [(load, load.src[1]) for load in self.loads]
        return [*found, (self.node, self.node.src[1])] if self.op is forms.STORE else found


def has_own_extent(r: Node) -> bool:
    """Whether no other range decides the extent of `r`: a number, or a size of the launch."""
    return not r.src[0].ranges


def bounding(kernel: Kernel) -> frozenset[Node]:
    """Return the ranges that stay loops: extents of other ranges or staged tiles depend on them."""
    extents = [r.src[0].ranges for r in kernel.ranges()]
    staged = [n.ranges for n in kernel.nodes() if n.op is forms.STAGE]
    return frozenset().union(*extents, *staged)


def running(kernel: Kernel) -> frozenset[Node]:
    """Return the ranges whose points come one after the other: not shared out, nor repeated."""
    return running_ranges(kernel.nodes())


_KNOWN_FACTORS = frozenset({forms.RANGE, forms.VARIABLE})


def regions_of(kernel: Kernel) -> list[Region]:
    """Return all regions of a kernel, inner ones before those that use them."""
    return list(_regions(kernel.stores))


@lru_cache(maxsize=256)
def _regions(stores: tuple[Node, ...]) -> tuple[Region, ...]:
    found = [n for n in Kernel(stores, ()).nodes() if n.op in (forms.REDUCE, forms.STAGE)]
    return tuple([_region(node) for node in [*found, *stores]])


def _region(node: Node) -> Region:
    roots = node.src[1:] if node.op is forms.STORE else node.src[:1]
    loads, work, itemsize = [], 0.5 if node.op is forms.REDUCE else 0.0, 1
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        here = stack.pop()
        if here in seen:
            continue
        seen.add(here)
        itemsize = max(itemsize, here.dtype.itemsize)
        if here.op is forms.LOAD:
            loads.append(here)
            stack.extend(here.src[1:])
        elif here.op is not forms.REDUCE:
            work += RUNNING if here.op in (forms.PREFIX, forms.CARRY) else 0.0
            if here.op.is_elementwise and here.dtype.bits:
                work += SLOW.get(here.op, 0.5)
            stack.extend(here.src)
    bound = bound_ranges(node)  # also where the body is a constant, the same at every point
    ranges = node.ranges.union(bound, *(root.ranges for root in roots))
    return Region(node, ranges, bound, tuple(loads), work, itemsize)


def access_cost(region: Region, access: Node, at: Node, lane: Node, lanes: int) -> float:
    """Return cycles of one access per vector when `lane` is spread over `lanes` lanes."""
    step = coefficient(at, lane)
    if step == 0:
        return BROADCAST
    if step == 1:
        return CONTIGUOUS * max(1, access.dtype.itemsize * lanes / 64)
    if access.op is forms.STORE:
        return SCATTER * lanes
    if step in (-1, 2) and len(access.src) == 2:
        return SHUFFLED
    elements = prod(length(r) for r in access.ranges)
    panel = min(length(lane), PANEL) * prod([length(r) for r in access.ranges & {*region.bound}])
    if panel * access.dtype.itemsize > STAGE_BYTES:
        return GATHER * lanes
    reuse = region.points / max(1, elements)
    rows = region.bound or region.ranges - {lane}
    in_blocks = any(coefficient(at, r) == 1 and length(r) >= lanes for r in rows)
    if not region.bound:
        return (TRANSPOSED if in_blocks else GATHER) * lanes
    copying = TRANSPOSED if in_blocks else 2 * GATHER
    return min(GATHER * lanes, CONTIGUOUS + copying * lanes / reuse)  # staged: copied once


def vector_cost(region: Region, lane: Node, lanes: int) -> float:
    """Return cycles of a region with `lane` as its vector axis."""
    n = length(lane)
    rounds, across = -(-n // lanes) / n, 0.0
    if lane in region.bound and region.op is forms.REDUCE:  # its rest is peeled: 28 = 16 + 8 + 4
        rounds = (n // lanes + (n % lanes).bit_count()) / n
        across = ACROSS * region.points / prod([length(r) for r in region.bound])
    per_vector = region.work + sum(
        access_cost(region, access, at, lane, lanes) for access, at in region.accesses()
    )
    return region.points * rounds * per_vector + across


def scalar_cost(region: Region) -> float:
    """Return cycles of a region without vectors."""
    return region.points * (region.work + 0.6 * len(region.accesses()) + 1.0)


def linear_terms(at: Node) -> list[tuple[int, Node]]:
    """Return [(factor, atom)] with `at` = sum of factor * atom + constant."""
    terms: list[tuple[int, Node]] = []
    stack = [(1, at)]
    while stack:
        factor, node = stack.pop()
        if node.op is ops.ADD:
            stack.extend((factor, source) for source in node.src)
        elif node.op is ops.SUB:
            stack.extend([(factor, node.src[0]), (-factor, node.src[1])])
        elif node.op is ops.NEG:
            stack.append((-factor, node.src[0]))
        elif node.op is ops.MUL and any(s.op is forms.CONST for s in node.src):
            left, right = node.src
            const, rest = (left, right) if left.op is forms.CONST else (right, left)
            stack.append((factor * int(const.arg), rest))
        elif node.op is not forms.CONST:
            terms.append((factor, node))
    return terms


def may_overlap(kernel: Kernel) -> bool:
    """Whether elements may be computed twice: not if a store changes what would be read again."""
    read = {node.src[0] for node in kernel.nodes() if node.op is forms.LOAD}
    return all(store.arg is None and store.src[0] not in read for store in kernel.stores)


def _has_products(at: Node) -> bool:
    return any(atom.op is ops.MUL for _, atom in linear_terms(at))


def _is_parallel_symbolic(at: Node, r: Node) -> bool:
    """Like `is_parallel`, where strides or extents are known at launch only."""
    index = expanded(affine_of(at))
    own, _ = slope_of(index, r)
    if own is None or own.ranges or not is_nonnegative(own.shifted(-1)):
        return False
    stride = size_of_node(own.node())
    size, fine = stride * extent(r), ZERO
    for other in index.ranges - {r}:
        slope, _ = slope_of(index, other)
        if slope is None or slope.ranges or not is_nonnegative(slope):
            return False
        step = size_of_node(slope.node())
        if not is_multiple(step, size):
            fine = fine.plus(affine_of_size(step * extent(other) - step))
    others = [atom for atom in index.terms for f in factors_of(atom) if f.op not in _KNOWN_FACTORS]
    return not others and is_nonnegative(own.plus(fine, -1).shifted(-1))


def is_parallel(store: Node, r: Node) -> bool:
    """Whether different values of `r` surely write different elements, all else being arbitrary.

    With the index as c * r + (other terms): r and the fine terms, which span less than c, together
    span less than the common divisor of the coarse ones.
    """
    if r.src[0].op is not forms.CONST or _has_products(store.src[1]):
        return _is_parallel_symbolic(store.src[1], r)
    own = coefficient(store.src[1], r)
    if not own:
        return False
    span, fine, coarse = abs(own) * (extent(r) - 1), 0, 0
    for factor, atom in linear_terms(store.src[1]):
        if atom is r or atom.op is forms.VARIABLE:
            continue  # an argument of the launch is the same for all
        if abs(factor) > span:
            coarse = gcd(coarse, factor)
        elif atom.op is forms.RANGE:
            fine += abs(factor) * (length(atom) - 1)
        else:
            return False
    return fine < abs(own) and (not coarse or span + fine < coarse)
