"""Register tiles for contractions, and staging of what would be gathered.

A contraction is a reduction in which some operand does not depend on some output range: a tile of
outputs then shares its loads. With u rows and v vectors, u * v accumulators cost u + v loads.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod

from inkle.ir import forms
from inkle.ir.loop import Axis, Kernel, axis_of, extent, number_of
from inkle.ir.node import Node, bound_ranges, toposort
from inkle.kernel.access import coefficient
from inkle.kernel.machine import Machine
from inkle.kernel.regions import (
    Region,
    bounding,
    has_own_extent,
    length,
    may_overlap,
    regions_of,
)
from inkle.kernel.scopes import SEQUENTIAL
from inkle.kernel.tensorize import choose_instruction, loaded, tensorize
from inkle.kernel.transforms import fresh_number, has_variables, reorder, split, stage
from inkle.kernel.transpose import LARGEST, NEAR
from inkle.kernel.windows import sliding, stage_rows, stage_windows

ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 10)
VECTORS = (1, 2, 3, 4)
MULTIPLY_ADDS, LOADS = 2.0, 1.5  # per cycle; loads would do 2, but never do
FAR_BYTES = 2048  # rows this far apart share sets of the first cache and miss in the TLB
LATENCY = 8  # multiply-adds that must be in flight: 4 cycles on 2 ports
SPARE = 4  # registers left to the code generator; with fewer it spills accumulators
STREAM_CYCLES = 2.0  # of a vector of a panel, which comes from the second cache
PANELS = 4  # of columns: with fewer, staging rows costs more than it saves
ROWS_OF_BLOCK, LEAST_OF_BLOCK = 120, 90  # rows that are staged together: each block stages panels
NEARLY = 0.9  # as good: then tiles along windows, whose padded operands are staged for all of them
BROADCAST_CYCLES, ROUND_CYCLES = 0.25, 0.7  # measured: what a row and an iteration cost besides


def contraction(kernel: Kernel) -> Region | None:
    """Return the heaviest region whose loads can be shared by a tile of outputs."""
    found = [region for region in regions_of(kernel) if is_contraction(region)]
    return max(found, key=lambda region: region.points, default=None)


def is_contraction(region: Region) -> bool:
    """Whether two loads run along a reduction, and one of them not along some output range."""
    bound = frozenset(region.bound)
    along = [load for load in region.loads if load.ranges & bound]
    if region.op is not forms.REDUCE or len(along) < 2:
        return False
    return any(region.ranges - bound - load.ranges for load in along)


@dataclass(frozen=True, slots=True)
class Tile:
    """How many points of each output range, and how many vectors, one tile holds."""

    rows: tuple[tuple[Node, int], ...]
    vectors: int
    score: float


def choose_tile(
    region: Region,
    lane: Node | None,
    lanes: int,
    machine: Machine,
    stored: frozenset[Node],
    *,
    whole: bool = False,
) -> Tile:
    """Return the tile with the most multiply-adds per cycle, waste at the edges included.

    A panel that has to be staged for it must fit in fast memory. With `whole`, tiles must divide
    what they tile: tails can neither overlap nor be left out.
    """
    # Not ranges of a reduction around this one: a last tile that overlaps would count twice there.
    free = [
        r
        for r in sorted(region.ranges & stored, key=number_of)
        if r is not lane
        and axis_of(r) is Axis.LOOP
        and (r.src[0].op is forms.CONST or has_variables(r.src[0]))
        and length(r) > 1
    ]
    best = Tile((), 1, 0.0)
    most = machine.stage_bytes // _panel_bytes(region, lane, lanes)
    several = [v for v in VECTORS if lane is not None and _fits(lane, lanes * v, whole)]
    several = [v for v in several if v <= max(most, 1)] or [1]
    for pair in itertools.combinations(free, 2) if len(free) > 1 else [tuple(free)]:
        uses = _uses(region, pair, lane)
        for counts in itertools.product(*([u for u in ROWS if _fits(r, u, whole)] for r in pair)):
            rows = prod(counts)
            for vectors in several:
                if rows * vectors > machine.registers - SPARE:
                    break
                score = _rate(uses, counts, vectors, machine)
                if score <= best.score:
                    continue
                score *= _useful(pair, counts) * _useful_lanes(lane, lanes * vectors)
                if score > best.score * 1.001:
                    taken = zip(pair, counts, strict=True)
                    best = Tile(tuple((r, u) for r, u in taken if u > 1), vectors, score)
    return best


def _panel_bytes(region: Region, lane: Node | None, lanes: int) -> int:
    """Return the size of one vector of all rows of an operand that has to be staged.

    Its lanes lie apart in memory, or its rows do, and are many.
    """
    found = [1]
    for load in region.loads:
        step = coefficient(load.src[1], lane) if lane is not None else 0
        if step not in (0, 1) or (step == 1 and _has_far_rows(region, load, all)):
            rows = prod([length(r) for r in region.bound if r in load.ranges])
            found.append(rows * lanes * load.dtype.itemsize)
    return max(found)


def _has_far_rows(
    region: Region, load: Node, which: Callable[[Iterable[bool]], bool] = any
) -> bool:
    """Whether a step along a reduction, or each of them, leads to another page, or nearly so."""
    steps = [coefficient(load.src[1], r) for r in region.bound if r in load.ranges]
    return which([step is None or step * load.dtype.itemsize >= FAR_BYTES for step in steps])


def _fits(r: Node, count: int, whole: bool) -> bool:
    return length(r) >= count and not (whole and length(r) % count)


def _uses(
    region: Region, pair: tuple[Node, ...], lane: Node | None
) -> list[tuple[list[int], bool, int]]:
    """Return (axes of the tile it depends on, whether it is a vector, how many) of all loads."""
    found = Counter(
        (tuple(i for i, r in enumerate(pair) if r in load.ranges), lane in load.ranges)
        for load in region.loads
    )
    return [(list(axes), is_vector, n) for (axes, is_vector), n in found.items()]


def _rate(
    uses: list[tuple[list[int], bool, int]], counts: tuple[int, ...], vectors: int, machine: Machine
) -> float:
    """Return multiply-adds per cycle of a tile; 0 if it does not fit the registers."""
    adds = vectors * prod(counts)
    loads, held, streamed, broadcasts = 0, 0, 0, 0
    for axes, is_vector, n in uses:
        count = n
        for axis in axes:
            count *= counts[axis]
        if is_vector:
            held += n * vectors
            loads += count * vectors
            streamed += count * vectors
        else:
            broadcasts += count
            loads += count
    if adds + held > machine.registers - SPARE:
        return 0.0
    streaming = STREAM_CYCLES * streamed
    cycles = max(adds / MULTIPLY_ADDS, loads / LOADS, streaming, LATENCY / MULTIPLY_ADDS)
    return adds / (cycles + BROADCAST_CYCLES * broadcasts + ROUND_CYCLES)


def _useful(pair: tuple[Node, ...], counts: tuple[int, ...]) -> float:
    """Return the share of a tile's rows that is no waste at the edges."""
    share = 1.0
    for r, u in zip(pair, counts, strict=True):
        n = length(r)
        share *= n / (-(-n // u) * u)
    return share


def _useful_lanes(lane: Node | None, width: int) -> float:
    if lane is None or lane.src[0].op is not forms.CONST:
        return 1.0
    n = length(lane)
    return n / (-(-n // width) * width)


def tile_contraction(
    kernel: Kernel, lane: Node | None, machine: Machine, loops: frozenset[Node]
) -> Kernel:
    """Split output ranges into a register tile, order the loops, stage gathered operands.

    Ranges in `loops` stay whole.
    """
    region = contraction(kernel)
    assert region is not None
    if lane is not None and lane not in region.ranges:
        lane = None
    dot = choose_instruction(kernel, region, lane, machine, loops | bounding(kernel))
    lanes = dot[0].shape[1] if dot is not None else _lanes(region, lane, machine)
    overlap = may_overlap(kernel)
    free = _stored(kernel) - loops - bounding(kernel)
    tile = choose_tile(region, lane, lanes, machine, free, whole=not overlap)
    near = sliding(region)
    if near and dot is None:
        other = choose_tile(region, lane, lanes, machine, free & near, whole=not overlap)
        tile = other if other.score >= NEARLY * tile.score else tile
    outer: list[Node] = []
    blocked = _far_rows(region, lane, lanes, tile, machine) if overlap else None
    block: Node | None = None
    for r, count in tile.rows:
        inner = r
        if blocked is not None and r is blocked[0]:
            kernel, block, inner = split(kernel, r, blocked[1], Axis.LOOP, Axis.LOOP, "overlap")
        kernel, _, _ = split(kernel, inner, count, Axis.LOOP, Axis.UNROLL, "overlap")
    if lane is not None and lanes > 1:
        exact = lane.src[0].op is forms.CONST and length(lane) % (lanes * tile.vectors) == 0
        full = overlap or exact
        kernel, outer, lane = _vectors(kernel, lane, lanes, tile.vectors, full=full)
        if dot is not None and full:
            row, depth = dot
            kernel, _, inner = split(kernel, depth, row.shape[2], Axis.LOOP, Axis.LOOP, "peel")
            kernel = tensorize(kernel, row, lane, inner)
    kernel = _order(kernel, outer, [block] if block is not None else [])
    region = contraction(kernel)
    if region is not None and block is not None:
        far = [x for x in region.loads if block in x.ranges and _has_far_rows(region, x)]
        kernel = stage_rows(kernel, region, far[0], block, machine) if far else kernel
    elif region is not None and not loops:  # else gates become bounds of loops
        kernel = stage_windows(kernel, region, machine)
    return stage_gathers(kernel, machine)


def _far_rows(
    region: Region, lane: Node | None, lanes: int, tile: Tile, machine: Machine
) -> tuple[Node, int] | None:
    """Return (range, rows of a block) where rows lie side by side, and far apart along the sum.

    Such an operand (a transposed left factor) is staged by blocks of rows, if several panels of
    columns meet each block.
    """
    if lane is None or length(lane) < PANELS * lanes * tile.vectors:
        return None
    for load in region.loads:
        if lane in load.ranges or len(load.src) > 2 or not _has_far_rows(region, load):
            continue
        depth = prod([length(r) for r in region.bound if r in load.ranges])
        most = machine.stage_bytes // 2 // (depth * load.dtype.itemsize)
        for r, count in tile.rows:
            is_row = coefficient(load.src[1], r) == 1 and r.src[0].op is forms.CONST
            rows = min(most, ROWS_OF_BLOCK) // count * count
            if is_row and rows >= LEAST_OF_BLOCK and extent(r) > rows:
                return r, rows
    return None


def _stored(kernel: Kernel) -> frozenset[Node]:
    """Return the ranges that every store runs over."""
    first, *others = [store.ranges for store in kernel.stores]
    return first.intersection(*others)


def _lanes(region: Region, lane: Node | None, machine: Machine) -> int:
    if lane is None:
        return 1
    lanes = machine.lanes(min(region.itemsize, 8))
    while lanes > length(lane):
        lanes //= 2
    return lanes


def _vectors(
    kernel: Kernel, lane: Node, lanes: int, vectors: int, *, full: bool
) -> tuple[Kernel, list[Node], Node]:
    """Split the lane range into rounds, vectors and lanes; return the loop of rounds and lanes."""
    if full:
        kernel, outer, inner = split(kernel, lane, lanes * vectors, Axis.LOOP, Axis.LOOP, "overlap")
        kernel, _, inner = split(kernel, inner, lanes, Axis.UNROLL, Axis.LANE)
    else:
        kernel, outer, inner = split(kernel, lane, lanes, Axis.LOOP, Axis.LANE, "mask")
    return kernel, [outer] if outer in kernel.order else [], inner


def _order(kernel: Kernel, first: list[Node], blocks: list[Node]) -> Kernel:
    """Chunks, blocks of rows, then the loop over vectors, then other output loops, then reductions.

    Output loops that a panel to be staged depends on come before those that it does not: it is
    staged once for all the rows that it meets. Where it meets none, vectors come last.
    """
    stored = frozenset().union(*(store.ranges for store in kernel.stores))
    grid = [r for r in kernel.order if axis_of(r) is Axis.GRID]
    taken = {*grid, *blocks, *first}
    free = [r for r in kernel.order if r in stored and r not in taken]
    panels = _panels(kernel)
    free.sort(key=lambda r: not any(r in load.ranges for load in panels))
    bound = [r for r in kernel.order if r not in stored and r not in first]
    is_reused = any(r not in load.ranges for load in panels for r in free)
    rows = [*first, *free] if is_reused or not panels else [*free, *first]
    return reorder(kernel, [*grid, *blocks, *rows, *bound])


def _panels(kernel: Kernel) -> list[Node]:
    """Return the operands that are likely to be staged: what lanes would gather, else vectors."""
    region = contraction(kernel)
    found: list[tuple[Node, int | None]] = []
    for load in region.loads if region is not None else ():
        lanes = [r for r in load.ranges if axis_of(r) is Axis.LANE]
        found += [(load, coefficient(load.src[1], r)) for r in lanes]
    gathered = [load for load, step in found if step != 1]
    return gathered or [load for load, _ in found]


def stage_gathers(kernel: Kernel, machine: Machine) -> Kernel:
    """Stage loads that would gather lanes or jump pages, when each element is used often."""
    for region in regions_of(kernel):
        for load in region.loads:
            inner = _worth_staging(kernel, region, load, machine)
            if inner:
                return stage_gathers(_stage_by_blocks(kernel, load, inner), machine)
    return kernel


def _made_of(kernel: Kernel, load: Node) -> Node:
    """Return what all users of a load make of it, element by element in place; else the load."""
    values = [n for n in kernel.nodes() if n.op.is_elementwise and loaded(n) is load]
    users = [n for n in kernel.nodes() if load in n.src and n not in values]
    used = {source for value in values for source in value.src}
    last = [value for value in values if value not in used]
    return last[0] if len(last) == 1 and not users else load


def _stage_by_blocks(kernel: Kernel, load: Node, inner: list[Node]) -> Kernel:
    """Stage a load; if its rows lie along another range than the lanes, transpose it by blocks."""
    lane = next(r for r in inner if axis_of(r) is Axis.LANE)
    rows = [r for r in inner if coefficient(load.src[1], r) == 1 and axis_of(r) in SEQUENTIAL]
    first = fresh_number(kernel)
    value = _made_of(kernel, load)
    kernel = stage(kernel, value, inner)
    lanes = extent(lane)
    if value is not load:
        return kernel
    if coefficient(load.src[1], lane) in NEAR or lanes > LARGEST:
        return kernel
    if not rows or rows[0].src[0].op is not forms.CONST or extent(rows[0]) < lanes:
        return kernel
    number = first + inner.index(rows[0])
    fresh = next(r for r in kernel.order if number_of(r) == number)
    return split(kernel, fresh, lanes, Axis.LOOP, Axis.UNROLL, "overlap")[0]


def _worth_staging(kernel: Kernel, region: Region, load: Node, machine: Machine) -> list[Node]:
    """Return the ranges of the tile to stage for `load`, or nothing."""
    lane = next((r for r in load.ranges if axis_of(r) is Axis.LANE), None)
    if lane is None or load.src[0].op is not forms.PARAM:
        return []
    registers = _registers(kernel, region, load)
    inner = [*_tile_ranges(kernel, region, load, lane, registers), *registers]
    if not all(map(has_own_extent, inner)):
        return []
    size = prod(length(r) for r in inner) * load.dtype.itemsize
    reuse = region.points / max(1, prod(length(r) for r in load.ranges if r not in registers))
    if size > machine.stage_bytes or reuse < 4:
        return []
    held = prod(extent(r) for r in registers)  # elements side by side in a lane
    scattered = any(coefficient(load.src[1], r) != 1 for r in registers)
    if scattered or coefficient(load.src[1], lane) not in (0, held):
        return inner
    return inner if _has_far_rows(region, load) and reuse >= 32 else []


def _registers(kernel: Kernel, region: Region, load: Node) -> list[Node]:
    """Return the ranges over the elements that one lane holds for a matrix instruction."""
    if not any(n.op is forms.DOT for n in kernel.nodes()):
        return []
    dots = [n for n in toposort(region.node.src[:1]) if n.op is forms.DOT]
    bound = frozenset().union(*[bound_ranges(n) for n in dots])
    return [r for r in load.ranges & bound if axis_of(r) is Axis.UNROLL]


def _tile_ranges(
    kernel: Kernel, region: Region, load: Node, lane: Node, registers: list[Node]
) -> list[Node]:
    """Return what the tile is laid out over: reduced ranges, vectors, lanes innermost."""
    bound = [r for r in kernel.order if r in load.ranges and r in set(bound_ranges(region.node))]
    copies = [r for r in load.ranges if axis_of(r) is Axis.UNROLL and r not in registers]
    unroll = sorted(copies, key=number_of)
    return [*bound, *unroll, lane]
