"""Plans that fit a limit: values that are kept for long are dropped, and computed again.

    launch     a       b  ...  peak  ...  c              a       b  ...  peak  ...  a'  c
    x          W       R                  R       ->     W       R
    x'                                                                              W   R

At the launch where most memory is in use, of all temporaries that live across it unused the one is
dropped whose writer is the cheapest to run again, per byte: the same kernel on the same values, so
results do not change by a bit. What the writer reads must be in memory anyway, or be computed again
before it. Repeated until the plan fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

from inkle.config import readable
from inkle.errors import MemoryFailure
from inkle.ir import forms
from inkle.ir.host import call_in
from inkle.ir.loop import Kernel, extent
from inkle.ir.node import bound_ranges
from inkle.ir.plan import Launch, Plan, Role, kernel_calls
from inkle.schedule.cost import Facts
from inkle.schedule.lives import Lives
from inkle.schedule.memory import place_temporaries

MOST_AGAIN = 8  # launches that are run again for one value
GROWTH = 4  # a plan has at most so many times as many launches
FACTS = Facts()


def fit(plan: Plan, limit_bytes: int) -> Plan:
    """Return `plan` with a place for all memory, in which a run takes at most `limit_bytes`.

    Raises:
        MemoryFailure: if there is no such plan; names the least that is possible, and the lines.
    """
    target, search = limit_bytes, _Search(plan)
    best = place_temporaries(plan)
    while best.needed_bytes > limit_bytes:
        is_reached = search.lower_to(target)
        placed = place_temporaries(search.plan)
        best = min(best, placed, key=lambda each: each.needed_bytes)
        if not is_reached and best.needed_bytes > limit_bytes:
            raise MemoryFailure(_complaint(best, limit_bytes))
        # No layout is perfect: some more has to go.
        target -= max(limit_bytes // 100, placed.needed_bytes - limit_bytes, 1)
    return best


def _complaint(plan: Plan, limit_bytes: int) -> str:
    lives = Lives(plan)
    largest = sorted(lives.at(lives.peak), key=lambda place: -plan.memory[place].size_bytes)[:3]
    held = ", ".join(
        f"{m.dtype} {m.shape} of {m.line or 'a line not known'}"
        for m in [plan.memory[place] for place in largest]
    )
    lines = " and ".join(lines_of(plan, lives.peak)[:2])
    return (
        f"{lines + ': ' if lines else ''}a memory limit of {readable(limit_bytes)} cannot be met: "
        f"at least {readable(plan.needed_bytes)} are needed, of which results take "
        f"{readable(plan.output_bytes)}; the largest values there are {held}; raise the limit, or "
        f"use smaller batches"
    )


def lines_of(plan: Plan, step: int) -> tuple[str, ...]:
    """Return the lines of the user's program that a launch, or a loop of launches, computes."""
    calls = [launch for launch, _ in kernel_calls(plan.launches[step : step + 1])]
    return tuple(dict.fromkeys(line for launch in calls for line in launch.lines))


def _is_lower(new: Sequence[int], old: Sequence[int]) -> bool:
    """Whether fewer launches than before are at the peak, and none is above it."""
    peak = max(old)
    return max(new) < peak or (max(new) == peak and new.count(peak) < old.count(peak))


@dataclass(frozen=True, slots=True)
class _Choice:
    """What may be dropped, and computed again.

    Attributes:
        place: position of the memory.
        before: number of the launch that wants it next.
        again: numbers of the launches to run once more.
        moved: numbers of launches that are there for the second time already, and come earlier.
        held: for each memory that they read, the one that has its value by then.
        price: nanoseconds per byte.
    """

    place: int
    before: int
    again: tuple[int, ...]
    moved: tuple[int, ...]
    held: Mapping[int, int]
    price: float


class _Changed(NamedTuple):
    """A plan with launches that run again, and what there is to know of it.

    Attributes:
        plan: the plan.
        first_run: for each launch, its number in the plan that was given.
        origin: for memory that was added, the one in the plan given that it is a copy of.
        copies: these, the other way round.
    """

    plan: Plan
    first_run: list[int]
    origin: dict[int, int]
    copies: dict[int, tuple[int, ...]]


class _Search:
    """A plan on its way to a lower peak.

    Attributes:
        plan: so far.
        lives: of its memory.
    """

    def __init__(self, plan: Plan) -> None:
        self._most = GROWTH * len(plan.launches)
        self._costs: dict[int, float] = {}  # of launches of the plan given
        self._accept(_Changed(plan, list(range(len(plan.launches))), {}, {}))

    def _accept(self, changed: _Changed) -> None:
        plan, self._first_run, self._origin, self._copies = changed
        self.plan, self.lives = plan, Lives(plan)
        self._users: list[list[int]] = [[] for _ in plan.memory]
        self._writers: list[list[int]] = [[] for _ in plan.memory]
        for step, launch in enumerate(plan.launches):
            for place in dict.fromkeys(launch.memory):
                self._users[place].append(step)
            for place in launch.written:
                self._writers[place].append(step)

    def lower_to(self, target: int) -> bool:
        """Drop values until at most `target` bytes live at a time; False: that cannot be done."""
        while self.lives.peak_bytes > target:
            if not self._lower():
                return False
        return True

    def _lower(self) -> bool:
        """Lower the peak by one value, if that is possible."""
        if len(self.plan.launches) > self._most:
            return False
        choices = [self._choice(place) for place in self.lives.at(self.lives.peak)]
        for choice in sorted([c for c in choices if c is not None], key=lambda c: c.price):
            changed = self._with(choice)
            if _is_lower(Lives(changed.plan).live_bytes, self.lives.live_bytes):
                self._accept(changed)
                return True
        return False

    # --- what can be computed again ---------------------------------------------------------------

    def _choice(self, place: int) -> _Choice | None:
        """Return how to do without a memory at the peak; None if that is impossible."""
        peak, memory = self.lives.peak, self.plan.memory[place]
        if memory.role is not Role.TEMPORARY or peak in self._users[place] or not memory.size:
            return None
        before = next(step for step in self._users[place] if step > peak)
        again: dict[int, None] = {}
        moved: dict[int, None] = {}
        held: dict[int, int] = {}
        missing = [place]
        while missing:
            wanted = missing.pop()
            step = self._run_of(wanted, before)
            if step is None or len(again) == MOST_AGAIN:
                return None
            if step in again or step in moved:
                continue
            (again if step < before else moved)[step] = None
            launch = self.plan.launches[step]
            for source in set(launch.memory) - launch.written:
                found = self._held(source, step, before)
                if found is None:
                    missing.append(source)
                else:
                    held[source] = found
        cost = sum(self._cost(step) for step in again)
        price = cost / memory.size_bytes
        return _Choice(place, before, tuple(again), tuple(moved), held, price)

    def _run_of(self, place: int, before: int) -> int | None:
        """Return the launch to run again for a memory, or that is run again later anyway."""
        for copy in self._copies.get(self._origin.get(place, place), ()):
            if self._writers[copy][0] >= before:
                return self._writers[copy][0]
        if len(self._writers[place]) != 1 or self.plan.memory[place].role is not Role.TEMPORARY:
            return None
        step = self._writers[place][0]
        launch = self.plan.launches[step]
        if step >= self.lives.peak or not isinstance(launch, Launch) or not _is_pure(launch.kernel):
            return None
        return step

    def _held(self, source: int, step: int, before: int) -> int | None:
        """Return the memory that holds, before a launch, what launch `step` reads in `source`.

        None if there is none, or if it would have to be kept across the peak for that.
        """
        if any(step < writer < before for writer in self._writers[source]):
            return None  # another version
        if self.plan.memory[source].role is not Role.TEMPORARY:
            return source
        for copy in (source, *self._copies.get(self._origin.get(source, source), ())):
            if self.lives.first[copy] < before and self.lives.last[copy] >= self.lives.peak:
                return copy
        return None

    def _cost(self, step: int) -> float:
        first = self._first_run[step]
        if first not in self._costs:
            launch = self.plan.launches[step]
            assert isinstance(launch, Launch)
            self._costs[first] = cost_of(launch.kernel)
        return self._costs[first]

    # --- running again ----------------------------------------------------------------------------

    def _with(self, choice: _Choice) -> _Changed:
        """Return the plan in which launches run again before the next use of a memory."""
        plan, before = self.plan, choice.before
        memory, origin = list(plan.memory), dict(self._origin)
        copies = dict(self._copies)
        made: dict[int, int] = {}  # original -> the copy that will be there
        own: dict[int, dict[int, int]] = {}  # by launch: what it writes instead
        for step in choice.moved:
            made |= {origin.get(place, place): place for place in plan.launches[step].written}
        for step in choice.again:
            own[step] = {}
            for place in sorted(plan.launches[step].written):
                copy, first = len(memory), origin.get(place, place)
                fresh = replace(memory[place], role=Role.TEMPORARY, number=copy)
                memory.append(fresh)
                origin[copy], own[step][place], made[first] = first, copy, copy
                copies[first] = (*copies.get(first, ()), copy)
        inserted = []
        for step in sorted((*choice.again, *choice.moved), key=self._first_run.__getitem__):
            launch, write = plan.launches[step], own.get(step, {})
            used: dict[int, int] = {}
            for place in launch.memory:
                read = choice.held.get(place, made.get(origin.get(place, place), place))
                used[place] = write.get(place, place) if place in launch.written else read
            inserted.append((self._first_run[step], launch.at(used)))
        swap = {choice.place: made[origin.get(choice.place, choice.place)]}
        for write in own.values():
            swap |= {place: copy for place, copy in write.items() if self._is_idle(place, before)}
        steps = [*zip(self._first_run, plan.launches, strict=True)]
        later = [
            (run, launch.at({place: swap.get(place, place) for place in launch.memory}))
            for step, (run, launch) in enumerate(steps[before:], before)
            if step not in choice.moved
        ]
        done = [*steps[:before], *inserted, *later]
        changed = replace(plan, memory=tuple(memory), launches=tuple([each for _, each in done]))
        return _Changed(changed, [run for run, _ in done], origin, copies)

    def _is_idle(self, place: int, before: int) -> bool:
        """Whether a memory lives across the peak, and nothing uses it until launch `before`."""
        lives, users = self.lives, self._users[place]
        crosses = lives.first[place] < lives.peak < lives.last[place]
        is_kept = self.plan.memory[place].role is Role.TEMPORARY and len(self._writers[place]) == 1
        return crosses and is_kept and not any(lives.peak <= step < before for step in users)


def _is_pure(kernel: Kernel) -> bool:
    """Whether running a kernel again gives the same: it reads nothing that it writes."""
    if call_in(kernel) is not None:
        return False  # nobody knows what that costs
    written = {store.src[0] for store in kernel.stores}
    loads = [node for node in kernel.nodes() if node.op is forms.LOAD]
    return all(s.arg is None for s in kernel.stores) and written.isdisjoint(
        [load.src[0] for load in loads]
    )


def cost_of(kernel: Kernel) -> float:
    """Return roughly the nanoseconds that a kernel takes on one core."""
    points = 0
    for node in kernel.nodes():
        if node.op is forms.REDUCE or node.op is forms.STORE:
            ranges = node.ranges.union(bound_ranges(node))
            points += prod([extent(r) for r in ranges])
    moved: int = sum(param.arg[1][0] * param.dtype.itemsize for param in kernel.params())
    return FACTS.launch + FACTS.flop * points + FACTS.far * moved / 4
