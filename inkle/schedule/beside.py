"""Launches that do not need each other run side by side: one launch for the machine.

    launch a, launch b (reads a), launch c, launch d (reads c)   ->   a beside c, b beside d

The kernels stay what they are; what falls away is the wait between them. Memory stays what it is,
too: launches that use the same bytes, one after the other, keep their order. What reads and
writes little moves to the first place where it can run. All else stays where it is, next to what it
reads: data would leave the cache on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from inkle.ir.host import call_in
from inkle.ir.plan import AnyLaunch, Launch, Plan, Repeat

LITTLE_BYTES = 256 * 1024  # what may wait in a cache for long


def side_by_side(plan: Plan) -> Plan:
    """Return `plan` with launches in groups, all of them in an order that they may run in."""
    groups: list[list[AnyLaunch]] = []
    read: dict[int, int] = {}  # for each memory, after which groups it may be written
    written: dict[int, int] = {}  # and read
    before = former_occupants(plan)
    for launch in plan.launches:
        outputs = written_by(launch)
        first = max([written.get(place, 0) for place in launch.memory])
        for place in outputs:
            for same in (place, *before.get(place, ())):
                first = max(first, read.get(same, 0), written.get(same, 0))
        touched = sum([plan.memory[place].size_bytes for place in launch.memory])
        number = _group_for(launch, groups, first, is_little=touched <= LITTLE_BYTES)
        if number == len(groups):
            groups.append([])
        groups[number].append(launch)
        for place in launch.memory:
            table = written if place in outputs else read
            table[place] = max(table.get(place, 0), number + 1)
    launches = [
        replace(each, joins=i > 0) if isinstance(each, Launch) else each
        for group in groups
        for i, each in enumerate(group)
    ]
    return replace(plan, launches=tuple(launches))


def former_occupants(plan: Plan) -> dict[int, list[int]]:
    """Return for temporaries, and outputs that they lie in, what had some of their bytes before.

    Right before: whoever was there still earlier has been waited for by these.
    """
    found: dict[int, list[int]] = {}
    rooms: dict[int | None, list[tuple[int, int, int]]] = {}  # start, end, and who is there
    for place in dict.fromkeys([place for launch in plan.launches for place in launch.memory]):
        spot, size = plan.memory[place].spot, plan.memory[place].size_bytes
        if spot is None:
            found[place] = [occupant for _, _, occupant in rooms.get(place, ())]
            continue
        start, end = spot.offset, spot.offset + size
        room = rooms.setdefault(spot.host, [])
        met = [each for each in room if each[0] < end and start < each[1]]
        found[place] = [occupant for _, _, occupant in met]
        left = [
            (low, high, occupant)
            for a, b, occupant in met
            for low, high in ((a, start), (end, b))
            if low < high
        ]
        apart = [each for each in room if not (each[0] < end and start < each[1])]
        rooms[spot.host] = [*apart, *left, (start, end, place)]
    return found


def _group_for(
    launch: AnyLaunch, groups: Sequence[Sequence[AnyLaunch]], first: int, *,
    is_little: bool,
) -> int:  # fmt: skip
    """Return the number of the group that a launch joins, at least `first`; a loop has its own."""
    if _is_alone(launch):
        return len(groups)  # a library function is called by the thread that waits
    number = first if is_little else max(first, len(groups) - 1)
    while number < len(groups) and _is_alone(groups[number][0]):
        number += 1
    return number


def _is_alone(launch: AnyLaunch) -> bool:
    return not isinstance(launch, Launch) or call_in(launch.kernel) is not None


def written_by(launch: AnyLaunch) -> set[int]:
    """Return the places in the plan's memory that a launch writes, or may write."""
    return set(launch.memory if isinstance(launch, Repeat) else launch.written)
