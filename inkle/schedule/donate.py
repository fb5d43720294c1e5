"""Values that take the place of what is not needed afterwards.

A captured function reads its state and leaves new state. Where nobody else holds the old value, the
new one may be written over it:

    OUTPUT 3 := INPUT 0 - 0.1 * grad            INPUT 0 := INPUT 0 - 0.1 * grad
    OUTPUT 5 := copy of INPUT 1          ->     (nothing)
    OUTPUT 5[7:8] := row                        INPUT 1[7:8] := row

That is safe if every other launch that reads the input runs before the one that writes, and if that
one reads each element at the very point that overwrites it. Where most memory is in use,
temporaries are written over in the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from inkle.ir import forms
from inkle.ir.bounds import bounds
from inkle.ir.host import call_in
from inkle.ir.loop import Kernel
from inkle.ir.node import Node, substitute, toposort
from inkle.ir.plan import AnyLaunch, Launch, Plan, Role
from inkle.ir.tensor import param
from inkle.rewrite.affine import affine_of
from inkle.schedule.lives import FROM_BYTES, Lives


def donate(plan: Plan, wanted: Mapping[int, int]) -> Plan:
    """Return `plan` with outputs written over inputs, where that is safe.

    Args:
        plan: of a schedule.
        wanted: for outputs by number, the PARAM slot of the input that is not needed afterwards.

    Returns:
        A plan in which such an output is the memory of the input; `in_place` has their slots.
    """
    inputs = {m.number: i for i, m in enumerate(plan.memory) if m.role is Role.INPUT}
    returned = Counter(plan.outputs)
    launches: dict[int, AnyLaunch] = dict(enumerate(plan.launches))
    users: dict[int, set[int]] = {place: set() for place in range(len(plan.memory))}
    for number, launch in launches.items():
        for place in launch.memory:
            users[place].add(number)
    moved: dict[int, int] = {}
    for output, slot in wanted.items():
        new, old = plan.outputs[output], inputs.get(slot)
        if old is None or returned[old] or returned[new] > 1 or not _fits(plan, new, old):
            continue
        involved = {i: launches[i] for i in sorted(users[new] | users[old])}
        written = _written_over(involved, new, old)
        if written is not None:
            for number in involved.keys() - written.keys():
                del launches[number]
            launches |= written
            users[new], users[old] = set(), set(written)
            moved[new] = old
            returned[old] += 1  # no other output takes its place
    if not moved:
        return plan
    slots = tuple(sorted(plan.memory[old].number for old in moved.values()))
    return _without(replace(plan, launches=tuple(launches.values()), in_place=slots), moved)


def overwrite_at_peak(plan: Plan) -> Plan:
    """Return `plan` with values at its peak written over temporaries that die there.

    Before: logits live, and gradient := softmax(logits) - labels, which reads them last
    After:  logits := softmax(logits) - labels

    Only where that lowers the peak: a kernel that writes where it reads is another kernel, and is
    compiled by itself.
    """
    while True:
        lives = Lives(plan)
        peak = lives.peak_bytes
        lower = _overwritten(plan, lives) if peak > FROM_BYTES else None
        if lower is None or Lives(lower).peak_bytes >= peak:
            return plan
        plan = lower


def _overwritten(plan: Plan, lives: Lives) -> Plan | None:
    """Return the plan with one value fewer at its peak."""
    step = lives.peak
    launch = plan.launches[step]
    if not isinstance(launch, Launch):
        return None
    here = [p for p in launch.memory if plan.memory[p].role is not Role.INPUT]
    born = [p for p in here if lives.first[p] == step]
    dying = [
        p
        for p in here
        if plan.memory[p].role is Role.TEMPORARY and lives.first[p] < step == lives.last[p]
    ]
    for old in sorted(dying, key=lambda place: -plan.memory[place].size_bytes):
        for new in born:
            a, b = plan.memory[new], plan.memory[old]
            if new == old or a.dtype is not b.dtype or a.size != b.size:
                continue
            merged = _merged(launch, new, old)
            if merged is not None:
                launches = (*plan.launches[:step], merged, *plan.launches[step + 1 :])
                return _without(replace(plan, launches=launches), {old: new})
    return None


def _fits(plan: Plan, new: int, old: int) -> bool:
    """Whether an output is fresh, and the input like it."""
    a, b = plan.memory[new], plan.memory[old]
    alike = a.dtype is b.dtype and a.size == b.size and a.exact == b.exact
    return a.role is Role.OUTPUT and alike


def _written_over(
    launches: Mapping[int, AnyLaunch], new: int, old: int
) -> dict[int, AnyLaunch] | None:
    """Return launches with memory `old` in place of `new`, without copies; None if not safe.

    Args:
        launches: all that use one of them, by number, in order.
        new: memory of an output.
        old: memory of an input.
    """
    launches = {i: each for i, each in launches.items() if not _is_copy(each, new, old)}
    writers = [i for i, each in launches.items() if new in each.memory]
    readers = [i for i, each in launches.items() if old in each.memory]
    if not writers or (readers and readers[-1] > writers[0]):
        return None
    first = writers[0]
    if readers and readers[-1] == first:
        both = launches[first]
        merged = _merged(both, new, old) if isinstance(both, Launch) else None
        if merged is None:
            return None
        launches[first] = merged
    places = {place: place for e in launches.values() for place in e.memory} | {new: old}
    return {i: each.at(places) for i, each in launches.items()}


def _is_copy(launch: AnyLaunch, new: int, old: int) -> bool:
    """Whether a launch does nothing but copy memory `old` to `new`, element by element."""
    if not isinstance(launch, Launch) or launch.memory != (new, old):
        return False
    if len(launch.kernel.stores) != 1:
        return False
    store = launch.kernel.stores[0]
    value = store.src[2]
    return (
        len(store.src) == 3
        and store.arg is None
        and value.op is forms.LOAD
        and value.src[0].op is forms.PARAM
        and value.src[1:] == store.src[1:2]
        and value.src[0] is not store.src[0]
    )


def _merged(launch: Launch, new: int, old: int) -> Launch | None:
    """Return a launch whose slot of `old` is also that of `new`; None if it reads what it wrote."""
    kernel = launch.kernel
    if call_in(kernel) is not None:
        return None  # library functions may read what they have written
    params = {int(node.arg[0]): node for node in kernel.params()}
    written, read = params[launch.memory.index(new)], params[launch.memory.index(old)]
    stores = [store for store in kernel.stores if store.src[0] is written]
    loads = [n for n in kernel.nodes() if n.op is forms.LOAD and n.src[0] in (read, written)]
    if len(stores) != 1 or stores[0].arg is not None or not _is_injective(stores[0]):
        return None
    if any(load.src[0] is written or load.src[1] is not stores[0].src[1] for load in loads):
        return None
    memory = tuple([place for place in launch.memory if place != old])
    slots = {place: slot for slot, place in enumerate(memory)} | {old: memory.index(new)}
    renumbered = {
        node: param(slots[launch.memory[slot]], node.dtype, node.arg[1])
        for slot, node in params.items()
    }
    done = substitute(kernel.stores, renumbered)
    ordered = _readers_first([done[each] for each in kernel.stores])
    if ordered is None:
        return None
    return replace(launch, kernel=Kernel(tuple(ordered), kernel.order), memory=memory)


def _readers_first(stores: Sequence[Node]) -> list[Node] | None:
    """Return stores so that each comes after all that read what it overwrites; None for a cycle."""
    reads = [{n.src[0] for n in toposort([s]) if n.op is forms.LOAD} for s in stores]
    left = list(range(len(stores)))
    ordered = []
    while left:
        free = [i for i in left if not any(stores[i].src[0] in reads[j] for j in left if j != i)]
        if not free:
            return None
        ordered.append(stores[free[0]])
        left.remove(free[0])
    return ordered


def _is_injective(store: Node) -> bool:
    """Whether different points write different elements: coefficients as of mixed radix digits."""
    terms = affine_of(store.src[1]).terms
    if {atom for atom in terms if atom.op is forms.RANGE} != set(store.ranges):
        return False
    span = 0
    moving = [(atom, k) for atom, k in terms.items() if atom.ranges]  # others are the same for all
    for atom, k in sorted(moving, key=lambda term: abs(term[1])):
        low, high = bounds(atom)
        if atom.op is not forms.RANGE or low is None or high is None or abs(k) <= span:
            return False
        span += abs(k) * (high - low)
    return True


def _without(plan: Plan, moved: Mapping[int, int]) -> Plan:
    """Return the plan without the memories that others have taken the place of."""
    kept = [place for place in range(len(plan.memory)) if place not in moved]
    places = {place: i for i, place in enumerate(kept)}
    places |= {new: places[old] for new, old in moved.items()}
    return replace(
        plan,
        memory=tuple([plan.memory[place] for place in kept]),
        launches=tuple([each.at(places) for each in plan.launches]),
        outputs=tuple([places[place] for place in plan.outputs]),
    )
