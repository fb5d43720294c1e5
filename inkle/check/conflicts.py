"""Whether the order of a kernel's points could show: races, and reads that may come too late.

Everything here is about one element that is touched at two points. A point is where a LOAD or STORE
stands, with the values of the ranges it depends on; an `Access` lists all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from inkle.check.numpy_algebra import Array
from inkle.check.points import PARALLEL, KernelFault, Points, Space, disagreement, name_of
from inkle.ir.loop import Axis, Kernel, axis_of, number_of
from inkle.ir.node import Node
from inkle.ir.text import expression


@dataclass(eq=False, slots=True)
class Access:
    """All executions of one LOAD or STORE: which element, what value, at which point.

    Attributes:
        node: the LOAD or STORE.
        turn: position of the (first) store that it belongs to.
        at: elements, one array per box of points.
        values: what is stored; nothing for loads.
        points: for each range that the node depends on, its value at each execution.
    """

    node: Node
    turn: int
    at: list[Array] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)
    points: dict[Node, list[Array]] = field(default_factory=dict)

    def add(self, points: Points, at: Array, mask: Array, values: Array | None = None) -> None:
        """Add the executions in one box of points, where `mask` holds."""
        shape = points.shape(self.node.ranges)
        mask = np.broadcast_to(mask, shape)
        self.at.append(np.broadcast_to(at, shape)[mask])
        if values is not None:
            self.values.append(np.broadcast_to(values, shape)[mask])
        for r in self.node.ranges:
            column = np.broadcast_to(points.value(r), shape)[mask]
            self.points.setdefault(r, []).append(column)

    def elements(self) -> Array:
        """Return the element of each execution."""
        return np.concatenate(self.at) if self.at else np.zeros(0, np.int64)

    def stored(self) -> Array:
        """Return the value of each execution."""
        return np.concatenate(self.values)

    def number(self, space: Space, ranges: Iterable[Node]) -> Array:
        """Return the row-major number of each execution among the points of `ranges`."""
        out = np.zeros(sum(each.size for each in self.at), np.int64)
        for r in ranges:
            out = out * space.lengths[r] + np.concatenate(self.points[r])
        return out

    def place(self, execution: int) -> str:
        """Return the point of one execution, as text."""
        return ", ".join(
            f"{axis_of(r).value} {number_of(r)} = {np.concatenate(self.points[r])[execution]}"
            for r in sorted(self.points, key=number_of)
        )


def in_time(kernel: Kernel, ranges: Iterable[Node]) -> list[Node]:
    """Return the LOOP ranges in their order, then the UNROLL ranges: how points succeed."""
    held = frozenset(ranges)
    loops = [r for r in kernel.order if r in held and axis_of(r) is Axis.LOOP]
    copies = sorted((r for r in held if axis_of(r) is Axis.UNROLL), key=number_of)
    return [*loops, *copies]


def at_once(ranges: Iterable[Node]) -> list[Node]:
    """Return the ranges whose points run in parallel."""
    return sorted((r for r in ranges if axis_of(r) in PARALLEL), key=number_of)


def check_same_store(kernel: Kernel, space: Space, store: Access) -> None:
    """Raise if parallel points of one store disagree about an element."""
    at, who = store.elements(), store.number(space, at_once(store.node.ranges))
    order = np.argsort(store.number(space, in_time(kernel, store.node.ranges)), kind="stable")
    # To combine twice is never the same as once: who differs, whatever the values are.
    values = store.stored() if store.node.arg is None else who
    dtype = store.node.src[2].dtype if store.node.arg is None else None
    clash = disagreement(at[order], who[order], values[order], dtype)
    if clash is not None:
        first, *_, last = (int(i) for i in np.flatnonzero(at == clash))
        raise _fault("race", (store, first), (store, last), clash)


def check_two_stores(kernel: Kernel, space: Space, first: Access, second: Access) -> None:
    """Raise if an element that two stores write could be left by the first one."""
    shared = _shared(first, second)
    if not shared.size:
        return
    a, b = first.node.ranges, second.node.ranges
    loops, others = (_loops(kernel, each) for each in (a, b))
    common = [r for r in loops if r in b]
    late = np.zeros(shared.size, bool)
    if (
        _long(space, at_once(a ^ b))
        or common != loops[: len(common)]
        or common != others[: len(common)]
    ):
        late[:] = True
    low, high = _extremes(shared, first, first.number(space, at_once(a & b)))
    low_, high_ = _extremes(shared, second, second.number(space, at_once(a & b)))
    late |= (low != high) | (low_ != high_) | (low != low_)
    _, end = _extremes(shared, first, first.number(space, common))
    start, _ = _extremes(shared, second, second.number(space, common))
    late |= end > start
    if late.any():
        _raise_first("two stores in no order", first, second, shared[late])


def check_reads(kernel: Kernel, space: Space, load: Access, store: Access) -> None:
    """Raise if a load could see what a store writes: it must come before, or at the same point."""
    shared = _shared(load, store)
    if not shared.size:
        return
    free = frozenset().union(*(each.ranges for each in kernel.stores))
    reads, writes = load.node.ranges, store.node.ranges
    loops = _loops(kernel, writes)
    common = [r for r in loops if r in reads]
    late = np.zeros(shared.size, bool)
    if load.turn > store.turn or common != loops[: len(common)]:
        late[:] = True
    if _long(space, at_once((writes - reads) | (reads & free) - writes)):
        late[:] = True
    same = sorted((r for r in reads & writes if axis_of(r) is not Axis.LOOP), key=number_of)
    low, high = _extremes(shared, load, load.number(space, same))
    low_, high_ = _extremes(shared, store, store.number(space, same))
    late |= (low != high) | (low_ != high_) | (low != low_)
    _, end = _extremes(shared, load, load.number(space, common))
    start, _ = _extremes(shared, store, store.number(space, common))
    late |= end > start
    if late.any():
        _raise_first("read that may see a write", load, store, shared[late])


def _shared(a: Access, b: Access) -> Array:
    """Return the elements that both touch, ascending."""
    if a.node.src[0].arg[0] != b.node.src[0].arg[0]:
        return np.zeros(0, np.int64)
    return np.intersect1d(a.elements(), b.elements())


def _loops(kernel: Kernel, ranges: frozenset[Node]) -> list[Node]:
    return [r for r in kernel.order if r in ranges and axis_of(r) is Axis.LOOP]


def _long(space: Space, ranges: Sequence[Node]) -> bool:
    return any(space.lengths[r] > 1 for r in ranges)


def _extremes(shared: Array, access: Access, numbers: Array) -> tuple[Array, Array]:
    """Return the smallest and the largest number among the executions that touch each element."""
    at = access.elements()
    place = np.searchsorted(shared, at)
    touches = shared[np.minimum(place, shared.size - 1)] == at
    low = np.full(shared.size, np.iinfo(np.int64).max)
    high = np.full(shared.size, np.iinfo(np.int64).min)
    np.minimum.at(low, place[touches], numbers[touches])
    np.maximum.at(high, place[touches], numbers[touches])
    return low, high


def _raise_first(what: str, a: Access, b: Access, elements: Array) -> None:
    element = int(elements[0])
    first = int(np.flatnonzero(a.elements() == element)[0])
    last = int(np.flatnonzero(b.elements() == element)[-1])
    raise _fault(what, (a, first), (b, last), element)


def _fault(what: str, a: tuple[Access, int], b: tuple[Access, int], element: int) -> KernelFault:
    (one, i), (two, j) = a, b
    return KernelFault(
        f"{what}: element {element} of {name_of(one.node.src[0])}, "
        f"by {one.node.op} at ({one.place(i)}) and by {two.node.op} at ({two.place(j)}): "
        f"{expression(one.node)}; {expression(two.node)}"
    )
