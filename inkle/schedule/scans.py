"""Loops over time: SCANs with the same recurrence and sources become one repeated group of kernels.

One step is scheduled like any graph, once. What it sees are rows of larger arrays:

    rows of arrays      step k reads row k
    what is carried     step k reads row k and writes row k + 1, modulo the rows that are kept
    stacked values      step k writes row k

so the kernels are those of a single step, and nothing is copied between steps. Before the first one
the initial values are computed right into their row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from inkle.ir import forms, scan, tensor
from inkle.ir.dtype import index
from inkle.ir.loop import Kernel, load, range_, store
from inkle.ir.node import Node, const, rebuild, substitute, toposort
from inkle.ir.plan import Launch, Memory, Place, Plan, Repeat, Role
from inkle.ir.scan import RING, Recurrence
from inkle.ir.tensor import param
from inkle.rewrite.affine import ZERO, total_of
from inkle.schedule.built import Reason
from inkle.schedule.cost import size_of
from inkle.schedule.movement import flatten
from inkle.schedule.nest import Demand, Link, Nest, Storage, Store, stored_as

if TYPE_CHECKING:
    from inkle.schedule.lower import Planner


@dataclass(eq=False, slots=True)
class Loop:
    """A loop over time in the making.

    Attributes:
        src: sources of its SCANs.
        recurrence: their recurrence.
        results: its SCANs: what is wanted of it.
        nest: what stands for it among the nests.
    """

    src: tuple[Node, ...]
    recurrence: Recurrence
    results: list[Node] = field(default_factory=list)
    nest: Nest | None = None

    def is_pointwise(self) -> bool:
        """Whether one kernel runs the whole loop (`pointwise_loops` made it so)."""
        others = [node.arg[1:] for node in self.results]
        nodes = [*self.recurrence.following, *[n for n, _ in others if isinstance(n, Node)]]
        is_kept = all(isinstance(result, Node) or rows == 1 for result, rows in others)
        return is_kept and bool(self.recurrence.following) and scan.is_pointwise(nodes)


@dataclass(frozen=True, slots=True)
class BuiltLoop:
    """A loop over time of the plan in the making.

    Attributes:
        repeat: its places count `used`.
        used: memory.
        lines: of the user's program.
        reason: why it is there.
    """

    repeat: Repeat
    used: tuple[Storage, ...]
    lines: tuple[str, ...]
    reason: Reason

    def launch(self, memory: Sequence[int]) -> Repeat:
        """Return the loop, given where `used` is."""
        return self.repeat.at(memory)


def without_empty(outputs: Sequence[Node]) -> list[Node]:
    """Return `outputs` with loops that neither carry nor read nor make arrays without elements.

    Before: SCAN(a, empty; step)      After: SCAN(a; step with zeros of no element in its place)
    """
    done: dict[Node, Node] = {}
    for node in toposort(outputs):
        new = rebuild(node, tuple([done[source] for source in node.src]))
        done[node] = _without_empty(new) if node.op is forms.SCAN else new
    return [done[node] for node in outputs]


def _without_empty(node: Node) -> Node:
    recurrence, result, rows = node.arg
    if 0 in node.shape:
        return tensor.full(0, node.dtype, node.shape)
    kept = [slot for slot, source in enumerate(node.src) if 0 not in source.shape]
    if len(kept) == len(node.src):
        return node
    names = {}
    for slot, source in enumerate(node.src):
        shape = recurrence.shape_in_step(slot, source)
        old = param(slot, source.dtype, shape)
        is_empty = slot not in kept
        names[old] = (
            tensor.full(0, source.dtype, shape)
            if is_empty
            else param(kept.index(slot), source.dtype, shape)
        )
    done = substitute(scan.step_of(node), names)
    count = recurrence.carried
    step = replace(
        recurrence,
        following=tuple([done[recurrence.following[slot]] for slot in kept if slot < count]),
        sliced=sum(count <= slot < count + recurrence.sliced for slot in kept),
    )
    src = [node.src[slot] for slot in kept]
    if isinstance(result, Node):
        return scan.stack(src, step, done[result])
    return scan.carry(src, step, kept.index(result), rows)


def one_row_array_each(outputs: Sequence[Node]) -> list[Node]:
    """Return `outputs` where no value is carried in two arrays: a history has the last value, too.

    Before: SCAN(s, r, (i, RING)) beside SCAN(s, r, (i, steps + 1))
    After:  the rows of the second that hold the same values
    """
    order = toposort(outputs)
    full = {
        (node.src, node.arg[0], node.arg[1])
        for node in order
        if node.op is forms.SCAN and isinstance(node.arg[1], int) and node.arg[2] > RING
    }
    if not full:
        return list(outputs)
    done: dict[Node, Node] = {}
    for node in order:
        new = rebuild(node, tuple([done[source] for source in node.src]))
        if node.op is forms.SCAN and (node.src, *node.arg[:2]) in full and node.arg[2] == RING:
            new = _last_two(new)
        done[node] = new
    return [done[node] for node in outputs]


def _last_two(ring: Node) -> Node:
    """Return what a ring holds in the end, from the history of the same value."""
    recurrence, number, _ = ring.arg
    rows = scan.history(ring.src, recurrence, number)
    last = recurrence.last_row(rows.shape[0])
    first = min(last, rows.shape[0] - RING)
    pair = tensor.shrink(rows, 0, first, first + RING)
    is_swapped = (last - first) != recurrence.last_row(RING)
    return tensor.flip(pair, [0]) if is_swapped else pair


def loops_of(order: Sequence[Node]) -> dict[Node, Loop]:
    """Return, for each SCAN of a graph, the loop over time that it is a result of."""
    loops: dict[tuple[object, ...], Loop] = {}
    found: dict[Node, Loop] = {}
    for node in order:
        if node.op is forms.SCAN:
            key = (node.src, node.arg[0])
            found[node] = loops.setdefault(key, Loop(node.src, node.arg[0]))
            found[node].results.append(node)
    return found


def store_scan(plan: Planner, node: Node, reason: str) -> list[Nest]:
    """Return the nest of the loop over time that a SCAN is a result of."""
    loop = plan.loops[node]
    if loop.nest is None:
        loop.nest = _add_fold(plan, loop) if loop.is_pointwise() else _add_loop(plan, loop, reason)
    return [loop.nest]


def _add_fold(plan: Planner, loop: Loop) -> Nest:
    """Add the nest that runs a whole loop, the time innermost; it writes all that is wanted."""
    recurrence, src = loop.recurrence, loop.src
    shape = recurrence.steps, *recurrence.following[0].shape
    nest = plan.add_nest(shape, "a loop over time writes it")
    nest.is_open = False
    time, *rest = nest.index
    nest.prefixes.append(frozenset(nest.loops) - time.ranges)
    row = total_of([(time, -1)]).shifted(recurrence.steps - 1) if recurrence.is_reversed else time
    at = (row, *rest)
    links = []
    for slot, source in enumerate(src):
        is_row = recurrence.carried <= slot < recurrence.carried + recurrence.sliced
        links.append(plan.want(nest, source, source.shape, at if is_row else at[1:], ()))
    for node in loop.results:
        plan.storage.setdefault(node, Storage(node.dtype, size_of(node), node))
        wanted = node.arg[1]
        is_last = not isinstance(wanted, Node)
        whole = scan.stack(src, recurrence, recurrence.following[wanted]) if is_last else node
        whole.origin = whole.origin or node.origin
        value = Demand(whole, nest, whole.shape, at, ())
        value.links = links
        nest.reductions.append(value)
        place = flatten(at[1:], whole.shape[1:]) if is_last else value.position
        nest.stores.append(Store(node, place, Link((), value)))
    return nest


def _add_loop(plan: Planner, loop: Loop, reason: str) -> Nest:
    """Add a nest that stands for the whole loop, and those that compute initial values."""
    recurrence, src = loop.recurrence, loop.src
    nest = plan.add_nest((), reason)
    nest.is_open, nest.repeats = False, loop
    wanted = {node.arg[1] for node in loop.results}
    unseen = [i for i in range(recurrence.carried) if i not in wanted]
    loop.results += [scan.carry(src, recurrence, i, RING) for i in unseen]
    for node in loop.results:
        plan.storage.setdefault(node, Storage(node.dtype, size_of(node), node))
        nest.stores.append(Store(node, ZERO, Link((), node)))
        if isinstance(node.arg[1], int):
            nest.before.add(_add_initial(plan, node))
    for source in dict.fromkeys(map(stored_as, src[recurrence.carried :])):
        plan.demand(nest, source, source.shape, (ZERO,) * len(source.shape), ())
    return nest


def _add_initial(plan: Planner, carry: Node) -> Nest:
    """Add the nest that computes the initial value of something carried into its row."""
    recurrence, number, rows = carry.arg
    initial = carry.src[number]
    nest = plan.add_nest(initial.shape, "initial value of a loop")
    link = plan.want(nest, initial, initial.shape, nest.index, ())
    row = recurrence.first_row(rows) * size_of(initial)
    nest.stores.append(Store(carry, flatten(nest.index, initial.shape).shifted(row), link))
    return nest


def repeated(
    loop: Loop, storage: Mapping[Node, Storage], schedule: Callable[[Sequence[Node]], Plan]
) -> tuple[Repeat, list[Storage]]:
    """Return the launches of a loop over time, and the memory that its places count.

    Args:
        loop: all of whose results have memory.
        storage: memory of stored nodes.
        schedule: makes the plan of one step.
    """
    recurrence = loop.recurrence
    carries = {node.arg[1]: node for node in loop.results if isinstance(node.arg[1], int)}
    stacks = [node for node in loop.results if isinstance(node.arg[1], Node)]
    step = schedule([*recurrence.following, *[node.arg[1] for node in stacks]])
    sight = _Sight(recurrence)
    written = [
        *[
            sight.carried(storage[carries[i]], carries[i], recurrence.row_after())
            for i in range(recurrence.carried)
        ],
        *[sight.in_turn(storage[node]) for node in stacks],
    ]
    places: list[Place] = []
    for number, memory in enumerate(step.memory):
        slot = memory.number
        if memory.role is Role.TEMPORARY:
            room = Storage(memory.dtype, memory.size)
            room.copies = memory.copies
            place = sight.whole(room)
        elif memory.role is Role.OUTPUT:
            place = written[step.outputs.index(number)]
        elif slot < recurrence.carried:
            place = sight.carried(storage[carries[slot]], carries[slot], recurrence.row_before())
        elif slot < recurrence.carried + recurrence.sliced:
            place = sight.in_turn(storage[stored_as(loop.src[slot])])
        else:
            place = sight.whole(storage[stored_as(loop.src[slot])])
        places.append(place)
    launches = list(step.launches)
    for number, place in enumerate(written):
        source = step.outputs[number]
        if places[source] is not place:  # an input unchanged, or one value wanted twice
            launches.append(_copy(step.memory[source], len(places), source))
            places.append(place)
    return Repeat(recurrence.steps, tuple(places), tuple(launches)), sight.used


class _Sight:
    """What one step sees of memory; collects that memory in `used`."""

    def __init__(self, recurrence: Recurrence) -> None:
        self._recurrence = recurrence
        self.used: list[Storage] = []

    def whole(self, storage: Storage) -> Place:
        """Return the place of memory that all steps share."""
        self.used.append(storage)
        return Place(len(self.used) - 1)

    def in_turn(self, storage: Storage) -> Place:
        """Return the place of an array of which step t sees row t."""
        steps, is_reversed = self._recurrence.steps, self._recurrence.is_reversed
        start, by = (steps - 1, -1) if is_reversed else (0, 1)
        return replace(self.whole(storage), width=storage.size // steps, start=start, step=by,
                       rows=steps)  # fmt: skip

    def carried(self, storage: Storage, carry: Node, first: tuple[int, int]) -> Place:
        """Return the place of something carried, given its first row and the way to the next."""
        rows = carry.shape[0]
        return replace(self.whole(storage), width=storage.size // rows, start=first[0],
                       step=first[1], rows=rows)  # fmt: skip


def _copy(memory: Memory, to: int, source: int) -> Launch:
    """Return the launch that copies one place of a loop to another."""
    i = range_(0, memory.size)
    at = i if memory.size > 1 else const(0, index)
    new, old = [param(slot, memory.dtype, (memory.size,)) for slot in (0, 1)]
    return Launch(Kernel((store(new, at, load(old, at)),), (i,) if memory.size > 1 else ()),
                  (to, source))  # fmt: skip
