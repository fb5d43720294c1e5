"""Padded operands of contractions are staged without padding, each element once for all windows.

A convolution reads x[y + ky, x + kx] behind a gate that says whether that is inside the image, for
every multiply-add anew. What it reads depends on the sums alone:

Before: for y: for x: for ky: for kx: acc += (X[(y + ky) * 56 + x + kx - 57] if ...) * w
After:  for s: for t: T[s * 58 + t] = X[s * 56 + t - 57] if (0 < s < 57) & (0 < t < 57)
        for y: for x: for ky: for kx: acc += T[(y + ky) * 58 + x + kx] * w

A window is a group of ranges of which a load knows a sum only: in its index and in every condition
of its gate their coefficients are in one proportion. Strides, dilations and flipped kernels
(negative coefficients) are windows like others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from inkle.ir import forms, loop, ops
from inkle.ir.bounds import bounds
from inkle.ir.dtype import index
from inkle.ir.loop import Axis, Kernel, axis_of, flat_index, longest, range_
from inkle.ir.node import Node, const, rebuild, transform
from inkle.kernel.machine import Machine
from inkle.kernel.narrow import conjuncts
from inkle.kernel.regions import Region, regions_of
from inkle.kernel.scopes import SEQUENTIAL
from inkle.kernel.transforms import fresh_number, split
from inkle.rewrite.affine import SUMS, Affine, affine_of

GATE_CYCLES = 0.3  # what a gate costs in a tile, for each vector of multiply-adds that it serves
FILL_CYCLES = {True: 0.25, False: 2.0}  # per element of a tile, with and without vectors
COMPARISONS = frozenset({ops.LESS, ops.LESS_EQUAL})


@dataclass(frozen=True, slots=True)
class Window:
    """Ranges of which an index knows only the sum of `factors[i]` * `members[i]`.

    Attributes:
        members: ranges, or expressions of ranges within bounds; the first one has factor 1.
        factors: may be negative.
    """

    members: tuple[Node, ...]
    factors: tuple[int, ...]

    def ranges(self) -> set[Node]:
        """Return all ranges of its members."""
        return {r for member in self.members for r in member.ranges}

    def _limits(self) -> tuple[int, int]:
        low = high = 0
        for member, factor in zip(self.members, self.factors, strict=True):
            ends = [factor * end for end in _bounds(member)]
            low, high = low + min(ends), high + max(ends)
        return low, high

    @property
    def offset(self) -> int:
        """What is added so that the least sum is 0."""
        return -self._limits()[0]

    @property
    def span(self) -> int:
        """How many values the sum may have."""
        low, high = self._limits()
        return high - low + 1

    def place(self) -> Node:
        """Return the sum, from 0 on."""
        return Affine(dict(zip(self.members, self.factors, strict=True)), self.offset).node()

    def slides_along(self, r: Node) -> bool:
        """Whether a step along one of its members leads to what others have seen in part."""
        if r not in self.members or len(self.members) == 1:
            return False
        rest = [pair for pair in zip(self.members, self.factors, strict=True) if pair[0] is not r]
        others = sum([abs(k) * (_bounds(m)[1] - _bounds(m)[0]) for m, k in rest])
        return abs(self.factors[self.members.index(r)]) <= others


def _bounds(member: Node) -> tuple[int, int]:
    low, high = bounds(member)
    assert low is not None
    assert high is not None
    return low, high


def stage_windows(kernel: Kernel, region: Region, machine: Machine) -> Kernel:
    """Stage the padded operands of a contraction, as far as they fit in fast memory."""
    done: set[Node] = set()
    while True:
        region = next((r for r in regions_of(kernel) if _is_like(r, region)), region)
        for load in region.loads:
            if load in done or not _is_gated_inside(region, load):
                continue
            done.add(load)
            windows = _largest_tile(kernel, region, load, machine)
            if windows:
                kernel = _staged(kernel, load, windows, machine)
                break
        else:
            return kernel


def stage_rows(kernel: Kernel, region: Region, load: Node, block: Node, machine: Machine) -> Kernel:
    """Stage an operand that panels meet again and again, for all rows of a block.

    Args:
        kernel: loop nest, in order.
        region: its contraction.
        load: of the operand; its gate, if there is one, is a function of windows.
        block: loop over the blocks of rows.
        machine: says what fits.
    """
    outside = {block, *[r for r in kernel.order if axis_of(r) is Axis.GRID]}
    windows = windows_of(load, [r for r in load.ranges if r not in outside])
    room = prod([window.span for window in windows or ()]) * load.dtype.itemsize
    return (
        _staged(kernel, load, windows, machine)
        if windows and room <= machine.stage_bytes
        else kernel
    )


def _is_like(region: Region, other: Region) -> bool:
    return region.op is other.op and region.bound == other.bound


def _is_gated_inside(region: Region, load: Node) -> bool:
    """Whether the gate of a load of an argument is looked at again and again in a reduction."""
    if load.src[0].op is not forms.PARAM or len(load.src) < 3:
        return False
    return any(r in load.src[2].ranges for r in region.bound)


def _largest_tile(kernel: Kernel, region: Region, load: Node, machine: Machine) -> list[Window]:
    """Return the windows of the largest tile that fits; none if there is no such, or no use."""
    bound = frozenset(region.bound)
    inner = [r for r in load.ranges if axis_of(r) is not Axis.GRID]
    inner = [r for r in inner if r in bound or axis_of(r) not in SEQUENTIAL]
    outer = [r for r in kernel.order if r in load.ranges and r not in inner]
    outer = [r for r in outer if axis_of(r) is Axis.LOOP]
    best: list[Window] = []
    while True:
        windows = windows_of(load, inner)
        if windows is None:
            return best
        size = prod([window.span for window in windows])
        if size * load.dtype.itemsize > machine.stage_bytes * 2 // 3:
            return best
        if _is_worth_it(kernel, region, load, windows, machine):
            best = windows
        if not outer:
            return best
        inner.append(outer.pop())


def _is_worth_it(
    kernel: Kernel, region: Region, load: Node, windows: Sequence[Window], machine: Machine
) -> bool:
    """Whether filling a tile, as often as that will be, costs less than the gates do."""
    inner = {r for window in windows for r in window.ranges()}
    outer = [i for i, r in enumerate(kernel.order) if r in load.ranges and r not in inner]
    filled = prod([longest(r) for r in kernel.order[: max(outer, default=-1) + 1]])
    lanes = machine.lanes(load.dtype.itemsize)
    size = prod([window.span for window in windows])
    filling = filled * size * FILL_CYCLES[windows[-1].span >= 4]
    return filling < GATE_CYCLES * region.points / lanes


def sliding(region: Region) -> frozenset[Node]:
    """Return the output ranges along which windows of gated operands overlap."""
    found: set[Node] = set()
    for load in region.loads:
        if _is_gated_inside(region, load):
            bound = [r for r in region.bound if r in load.ranges]
            for r in load.ranges.difference(bound):
                windows = windows_of(load, [*bound, r]) or ()
                found |= {r for window in windows if window.slides_along(r)}
    return frozenset(found)


def windows_of(load: Node, inner: Sequence[Node]) -> list[Window] | None:
    """Return the windows that a load sees of some ranges, far apart ones first: see `_closeness`.

    None if its index or its gate is no function of such windows, with ranges of their own.
    """
    if any(r.src[0].op is not forms.CONST for r in inner):
        return None
    at = affine_of(load.src[1])
    tests = [_difference(test) for test in (conjuncts(load.src[2]) if len(load.src) > 2 else ())]
    if None in tests:
        return None
    sums = [at, *[test for test in tests if test is not None]]
    wanted = frozenset(inner)
    known = dict.fromkeys([atom for s in sums for atom in s.terms if atom.ranges & wanted])
    if any(atom.ranges - wanted or None in bounds(atom) for atom in known):
        return None
    if sum([len(atom.ranges) for atom in known]) > len({r for atom in known for r in atom.ranges}):
        return None  # x and x // 2 do not go their own ways
    windows: list[Window] = []
    for atom in sorted(known, key=lambda atom: abs(at.terms.get(atom, 0))):
        for i, window in enumerate(windows):
            factor = _proportion(sums, window.members[0], atom)
            is_row = abs(at.terms.get(window.members[0], 0)) == 1  # what lies side by side stays so
            if factor is not None and abs(factor) < window.span + is_row:
                windows[i] = Window((*window.members, atom), (*window.factors, factor))
                break
        else:
            windows.insert(0, Window((atom,), (1,)))
    return sorted(windows, key=_closeness)


def _closeness(window: Window) -> int:
    """Return 2 for windows of lanes, 1 for those of copies in registers alone, 0 for others.

    What one step of the innermost loop reads should lie side by side.
    """
    kinds = {axis_of(r) for r in window.ranges()}
    return 2 if Axis.LANE in kinds else 1 if kinds == {Axis.UNROLL} else 0


def _difference(test: Node) -> Affine | None:
    """Return what a comparison of positions compares with 0; None for other conditions."""
    if test.op not in COMPARISONS or test.src[0].dtype is not index:
        return None
    return affine_of(test.src[0]).plus(affine_of(test.src[1]), -1)


def _proportion(sums: Sequence[Affine], one: Node, other: Node) -> int | None:
    """Return how many steps of `one` a step of `other` is, the same number in all sums."""
    found: int | None = None
    for each in sums:
        a, b = each.terms.get(one, 0), each.terms.get(other, 0)
        if not a and not b:
            continue
        if not a or b % a or (found is not None and found != b // a):
            return None
        found = b // a
    return found or None


def _summed(node: Node, src: tuple[Node, ...]) -> Node:
    """Return a node with other sources; sums of positions in their normal form."""
    new = rebuild(node, src)
    return affine_of(new).node() if new.dtype is index and new.op in SUMS else new


def _staged(kernel: Kernel, load: Node, windows: Sequence[Window], machine: Machine) -> Kernel:
    """Return the kernel with a tile of a load in fast memory, laid out over windows."""
    first = fresh_number(kernel)
    spans = [window.span for window in windows]
    fresh = [range_(first + i, span) for i, span in enumerate(spans)]
    swap: dict[Node, Node] = {}
    for window, r in zip(windows, fresh, strict=True):
        swap |= dict.fromkeys(window.members, const(0, index))
        swap[window.members[0]] = r - window.offset if window.offset else r
    filled = transform([load], _summed, swap)[load]
    memory = loop.stage(first + len(fresh), filled, flat_index(fresh, spans), fresh, prod(spans))
    places = [window.place() for window in windows]
    staged = loop.load(memory, affine_of(flat_index(places, spans)).node())
    done = transform(kernel.stores, rebuild, {load: staged})
    stores = tuple([done[store] for store in kernel.stores])
    note = f"stage windows of argument {load.src[0].arg[0]} over {' '.join(map(str, spans))}"
    kernel = replace(
        kernel,
        stores=stores,
        order=(*kernel.order, *fresh),
        schedule=(*kernel.schedule, note),
    )
    at = affine_of(load.src[1])
    lane = len(windows) - 1
    if _closeness(windows[lane]) < 2:  # else it is lanes that are used
        steps = [abs(at.terms.get(window.members[0], 0)) for window in windows]
        lane = steps.index(1) if 1 in steps else lane
    lanes = min(machine.lanes(load.dtype.itemsize), 1 << (spans[lane].bit_length() - 1))
    if lanes < 4:
        return kernel
    return split(kernel, fresh[lane], lanes, Axis.LOOP, Axis.LANE, "overlap")[0]
