"""The analytic choice of a schedule: which axis is lanes, what is tiled, staged and shared out.

1. The LANE range of the stores, by the cost of every access in every region.
2. Lanes of reductions that do not depend on it (rows, sums over the contiguous axis).
3. A register tile for the heaviest contraction, staging what it would otherwise gather.
4. GRID: chunks of an outer range, as many as keep the workers busy, none when the kernel is small.

Every choice is made by cost, none by the name of an operation.
"""

from __future__ import annotations

from math import prod

from inkle.ir import forms
from inkle.ir.loop import Axis, Kernel, axis_of, extent, number_of, runs_over
from inkle.ir.node import Node
from inkle.kernel.access import coefficient
from inkle.kernel.machine import Machine
from inkle.kernel.narrow import limiting_ranges, narrow
from inkle.kernel.regions import (
    Region,
    bounding,
    has_own_extent,
    is_parallel,
    length,
    may_overlap,
    regions_of,
    running,
    scalar_cost,
    vector_cost,
)
from inkle.kernel.signs import mixed_signs
from inkle.kernel.tensorize import choose_instruction
from inkle.kernel.tile import contraction, is_contraction, stage_gathers, tile_contraction
from inkle.kernel.transforms import Tail, reorder, split
from inkle.kernel.transpose import LARGEST, NEAR

CHUNK_CYCLES = 30_000  # about 10 us: below, sharing out costs more than it gains
PANELS_PER_THREAD = 4  # at least, where chunks are panels: each stages its own
PANEL = 64  # columns of a contraction that are staged at a time
MORE_CHUNKS = 3  # times as many, if they are all of one length then
FINER = 8  # times as many chunks where the size is known at launch
CHUNKS_PER_THREAD = 8  # enough to balance workers of unequal speed
MOST_COPIED = 2_400.0  # cycles of a step that are written out, so that compiling it takes no time


def choose_schedule(kernel: Kernel, machine: Machine) -> Kernel:
    """Return `kernel` with its axes bound to this machine.

    Args:
        kernel: loop nest whose ranges are all LOOP.
        machine: facts of the processor.

    Returns:
        A kernel that computes the same; `schedule` lists what was done.
    """
    if not kernel.order:
        return kernel
    kernel = _with_mixed_signs(kernel, machine)
    loops = limiting_ranges(kernel) if contraction(kernel) is not None else frozenset()
    regions = regions_of(kernel)
    lane = _choose_lane(kernel, regions, loops, machine)
    cost = _total(regions, lane, machine)
    kernel, lane = _share_out(kernel, regions, lane, cost, machine)
    kernel = _all_reduce_lanes(kernel, lane, machine)
    heavy = contraction(kernel)
    if heavy is not None and not running(kernel):
        return narrow(tile_contraction(kernel, lane, machine, limiting_ranges(kernel)))
    if lane is not None:
        kernel = _store_lanes(kernel, lane, machine)
    return stage_gathers(_running_innermost(_lanes_innermost(kernel)), machine)


def chunk_weight(kernel: Kernel, machine: Machine) -> float:
    """Return how much work a chunk of a scheduled kernel is, in chunks of a useful size."""
    cycles = sum(map(scalar_cost, regions_of(kernel))) / machine.lanes(4)
    chunks = prod([length(r) for r in kernel.ranges() if axis_of(r) is Axis.GRID])
    return cycles / chunks / CHUNK_CYCLES


def _with_mixed_signs(kernel: Kernel, machine: Machine) -> Kernel:
    """Return the kernel with products that an instruction takes, if signs alone keep it from it."""
    heavy = contraction(kernel)
    stored = [r for r in kernel.order if all(r in store.ranges for store in kernel.stores)]
    for r in reversed(stored if heavy is not None else ()):
        mixed = mixed_signs(kernel, heavy.node, r, machine) if heavy is not None else None
        region = contraction(mixed) if mixed is not None else None
        if mixed is None or region is None:
            continue
        if choose_instruction(mixed, region, r, machine, bounding(mixed)) is not None:
            return mixed
    return kernel


# --- lanes ----------------------------------------------------------------------------------------


def _lanes_of(regions: list[Region], r: Node, machine: Machine) -> int:
    """Return the vector length for range `r`: full registers of the main element, or less."""
    size = max((g.itemsize for g in regions if r in g.ranges), default=4)
    lanes = machine.lanes(min(size, 4))
    while lanes > length(r):
        lanes //= 2
    return lanes


def _region_cost(
    region: Region, lane: Node | None, regions: list[Region], machine: Machine
) -> float:
    if lane is not None and lane in region.ranges:
        return vector_cost(region, lane, _lanes_of(regions, lane, machine))
    own = [r for r in region.bound if has_own_extent(r) and length(r) >= 4]
    costs = [vector_cost(region, r, _lanes_of(regions, r, machine)) for r in own]
    return min([scalar_cost(region), *costs])


def _total(regions: list[Region], lane: Node | None, machine: Machine) -> float:
    return sum(_region_cost(region, lane, regions, machine) for region in regions)


def _choose_lane(
    kernel: Kernel, regions: list[Region], loops: frozenset[Node], machine: Machine
) -> Node | None:
    """Return the output range to spread over lanes, or None if lanes of reductions do better."""
    last = [n.src[-1] for n in kernel.nodes() if n.op is forms.PREFIX]
    loops |= bounding(kernel) | running(kernel).difference(last)
    candidates = [
        r
        for r in kernel.order
        if length(r) >= 2
        and r not in loops
        and all(r in store.ranges and is_parallel(store, r) for store in kernel.stores)
    ]
    heavy = contraction(kernel)
    for r in reversed(candidates):
        if heavy is not None and choose_instruction(kernel, heavy, r, machine, loops) is not None:
            return r
    best: Node | None = None
    least = _total(regions, None, machine)
    for r in reversed(candidates):  # later ranges are inner ones: first choice when equal
        cost = _total(regions, r, machine)
        if cost < least * 0.99:
            best, least = r, cost
    return best


def _store_lanes(kernel: Kernel, lane: Node, machine: Machine) -> Kernel:
    """Split the lane range into vectors; several per round when the body is short."""
    regions = regions_of(kernel)
    lanes = _lanes_of(regions, lane, machine)
    if lanes < 2:
        return kernel
    heavy = sum(g.work + len(g.loads) for g in regions)
    copies = 4 if heavy < 12 else 2 if heavy < 30 else 1
    in_turn = running(kernel)
    row_by_row = any(g.bound for g in regions) or (in_turn and lane not in in_turn)
    if heavy < 12 and lane.src[0].op is forms.CONST and row_by_row:
        copies = machine.registers // 2  # rows far apart: take much of each at once
    carries = sum(node.op is forms.CARRY for node in kernel.nodes())
    if carries:  # rows far apart, and each waits for the one before
        copies = machine.registers // 2
        while copies > 1 and (copies * carries > machine.registers or copies * heavy > MOST_COPIED):
            copies //= 2
    n = length(lane)
    while copies > 1 and n < lanes * copies * 2:
        copies //= 2
    overlap = may_overlap(kernel) and lane not in in_turn
    rows = _rows_of_blocks(kernel, lane, lanes) if overlap and not in_turn else None
    if rows is not None:
        kernel, _, _ = split(kernel, rows, lanes, Axis.LOOP, Axis.UNROLL, "overlap")
        copies = 1
    exact = lane.src[0].op is forms.CONST and n % (lanes * copies) == 0
    if copies > 1 and (overlap or exact):
        kernel, _, inner = split(kernel, lane, lanes * copies, Axis.LOOP, Axis.LOOP, "overlap")
        kernel, _, _ = split(kernel, inner, lanes, Axis.UNROLL, Axis.LANE)
        return kernel
    tail: Tail = "overlap" if overlap else "mask"
    kernel, _, _ = split(kernel, lane, lanes, Axis.LOOP, Axis.LANE, tail)
    return kernel


def _rows_of_blocks(kernel: Kernel, lane: Node, lanes: int) -> Node | None:
    """Return the loop along which a load is contiguous that lanes would gather: blocks of both.

    A block is transposed in registers, so it is for one load, and nothing else in them.
    """
    stored = [g for g in regions_of(kernel) if g.op is forms.STORE]
    loads = [load for g in stored for load in g.loads if coefficient(load.src[1], lane) not in NEAR]
    if len(set(loads)) != 1 or not 2 <= lanes <= LARGEST or lane.src[0].op is not forms.CONST:
        return None
    (load,) = set(loads)
    if len(load.src) > 2 or coefficient(load.src[1], lane) is None:
        return None
    for r in kernel.order:
        is_plain = axis_of(r) is Axis.LOOP and r.src[0].op is forms.CONST
        if r is not lane and is_plain and coefficient(load.src[1], r) == 1 and extent(r) >= lanes:
            return r if all(r in store.ranges for store in kernel.stores) else None
    return None


def _all_reduce_lanes(kernel: Kernel, lane: Node | None, machine: Machine) -> Kernel:
    """Give lanes to reductions and stages, outer ones first: inner ones may use their lanes."""
    tried: set[frozenset[int]] = set()
    while True:
        for region in reversed(regions_of(kernel)):
            key = frozenset(map(number_of, region.bound))
            if region.op is forms.STORE or key in tried:
                continue
            tried.add(key)
            changed = _reduce_lanes(kernel, region, lane, machine)
            if changed is not kernel:
                kernel = changed
                break
        else:
            return kernel


def _reduce_lanes(kernel: Kernel, region: Region, lane: Node | None, machine: Machine) -> Kernel:
    """Give a reduction that does not depend on the stores' lanes its own."""
    if (lane is not None and lane in region.ranges) or any(
        axis_of(r) is Axis.LANE for r in region.ranges
    ):
        return kernel
    taken = [g.ranges for g in regions_of(kernel) if any(axis_of(r) is Axis.LANE for r in g.ranges)]
    # Peeled reductions share loops with those they came from; a stage is filled once per loop.
    busy = bounding(kernel).union(*taken)
    own = [
        r
        for r in region.bound
        if r in kernel.order
        and r not in busy
        and has_own_extent(r)
        and axis_of(r) is Axis.LOOP
        and length(r) >= 4
    ]
    if not own:
        return kernel
    regions = [region]
    best = min(own, key=lambda r: vector_cost(region, r, _lanes_of(regions, r, machine)))
    lanes = _lanes_of(regions, best, machine)
    if vector_cost(region, best, lanes) > scalar_cost(region):
        return kernel
    copies = 1 if is_contraction(region) else 4  # a tile of outputs has accumulators enough
    while copies > 1 and length(best) < lanes * copies:
        copies //= 2
    tail: Tail = "peel" if region.op is forms.REDUCE else "overlap"
    is_short = best.src[0].op is not forms.CONST and length(best) < 2 * lanes * copies
    if is_short and tail == "peel":
        return split(kernel, best, lanes, Axis.LOOP, Axis.LANE, "mask")[0]
    kernel, _, inner = split(kernel, best, lanes * copies, Axis.LOOP, Axis.LOOP, tail)
    if copies > 1:
        kernel, _, _ = split(kernel, inner, lanes, Axis.UNROLL, Axis.LANE)
    else:
        kernel, _, _ = split(kernel, inner, lanes, Axis.LOOP, Axis.LANE)
    return kernel


def _lanes_innermost(kernel: Kernel) -> Kernel:
    """Put the loop over vectors of the stores inside the other output loops."""
    lanes = [r for r in kernel.ranges() if axis_of(r) is Axis.LANE]
    stored = [r for r in lanes if any(r in store.ranges for store in kernel.stores)]
    if not stored:
        return kernel
    newest = number_of(stored[0])
    mine = [r for r in kernel.order if number_of(r) in (newest - 1, newest - 2, newest - 3)
            and axis_of(r) is Axis.LOOP and all(r in s.ranges for s in kernel.stores)]  # fmt: skip
    loops = [r for r in mine if number_of(r) == max(map(number_of, mine))]
    free = [r for r in kernel.order if r not in loops and any(r in s.ranges for s in kernel.stores)]
    bound = [r for r in kernel.order if r not in loops and r not in free]
    # A reduction over rows of lanes is computed once: loops that it does not know stay inside.
    rows = [g.ranges for g in regions_of(kernel) if g.bound and g.ranges & {*loops, stored[0]}]
    inside = [r for r in free if any(r not in each for each in rows)]
    return reorder(kernel, [*(r for r in free if r not in inside), *loops, *inside, *bound])


def _running_innermost(kernel: Kernel) -> Kernel:
    """Put the loops of running combinations inside the other loops of the stores: in registers."""
    in_turn = running(kernel)
    if not in_turn:
        return kernel
    free = frozenset().union(*[store.ranges for store in kernel.stores])
    kinds = {r: 0 if r in free - in_turn else 1 if r in free else 2 for r in kernel.order}
    turns = {r: i for node in kernel.nodes() for i, r in enumerate(runs_over(node))}
    return reorder(kernel, sorted(kernel.order, key=lambda r: (kinds[r], turns.get(r, 0))))


# --- chunks ---------------------------------------------------------------------------------------


def _share_out(
    kernel: Kernel, regions: list[Region], lane: Node | None, cost: float, machine: Machine
) -> tuple[Kernel, Node | None]:
    """Split outer ranges of the stores into GRID chunks of useful size.

    Returns:
        The kernel, and the lane range inside its chunk.
    """
    wanted = min(int(cost / CHUNK_CYCLES), CHUNKS_PER_THREAD * machine.threads)
    if machine.threads < 2 or wanted < 2:
        return kernel, lane
    in_turn = running(kernel)
    outer = [
        r
        for r in kernel.order
        if axis_of(r) is Axis.LOOP
        and length(r) > 1
        and r not in in_turn
        and all(r in store.ranges and is_parallel(store, r) for store in kernel.stores)
    ]
    panels = PANELS_PER_THREAD * machine.threads * PANEL
    wide = lane if lane is not None and length(lane) >= panels and contraction(kernel) else None
    outer.sort(key=lambda r: (r is not wide, _inner_sharing(regions, r), kernel.order.index(r)))
    chunks = 1
    grid: list[Node] = []
    for r in outer:
        if chunks >= wanted or (wide is not None and chunks >= PANELS_PER_THREAD * machine.threads):
            break
        is_symbolic = r.src[0].op is not forms.CONST
        if is_symbolic and any(one.src[0].op is not forms.CONST for one in grid):
            continue  # chunks are counted at launch: one factor of their number may be a size
        again = _inner_sharing(regions, r)
        parts = min(length(r), -(-wanted // chunks))
        if is_symbolic:  # of the largest size; of a smaller one, as many as are worth it
            parts = min(length(r), FINER * parts, int(cost / CHUNK_CYCLES))
        if again:  # so many times in all: no more than what it costs anyway
            parts = min(parts, sum(region.points for region in regions) // again)
        if parts < 2:
            continue
        size = _chunk_size(r, parts, lane, regions, machine)
        if size >= length(r):
            continue
        kernel, one, inner = split(kernel, r, size, Axis.GRID, Axis.LOOP, "bound")
        if r is lane:
            lane = inner
        grid.insert(0 if is_symbolic else len(grid), one)
        chunks *= length(one)
    rest = [r for r in kernel.order if r not in grid]
    return reorder(kernel, [*grid, *rest]), lane


def _inner_sharing(regions: list[Region], r: Node) -> int:
    """Reductions that do not depend on `r` would be repeated in every chunk of it."""
    return int(sum(region.points for region in regions if region.bound and r not in region.ranges))


def _chunk_size(
    r: Node, parts: int, lane: Node | None, regions: list[Region], machine: Machine
) -> int:
    """Return the length of a chunk of `r`: of lanes, whole tiles of vectors in every chunk."""
    n = length(r)
    size = -(-n // parts)
    if r is lane:
        unit = _lanes_of(regions, r, machine) * 4
        is_product = any(is_contraction(region) for region in regions)  # wants whole tiles
        while not is_product and n < 2 * unit * machine.threads and unit > machine.lanes(4):
            unit //= 2
        size = -(-size // unit) * unit
        while size < n and 0 < n % size < unit:
            size += unit
    elif n % size:  # chunks of one length can be tiled
        exact = [p for p in range(parts, MORE_CHUNKS * parts) if n % p == 0]
        size = n // exact[0] if exact else size
    return size
