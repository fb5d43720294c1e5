"""Which launches pass large arrays to each other and to nobody else: chains, to be cut in blocks.

The launches that use a large array, and arrays like it, are a family. Where one of them waits for a
launch outside that waits for another, they cannot run block by block together: the way back of a
network waits for its end. So a family falls into generations, and a generation is a chain. What it
needs of an earlier one is computed again, if that is cheap beside keeping it:

    scores, weights, out       of block 0, 1, ...         the first generation
    ...                                                   other launches
    scores', weights', dscores, dq, dk of block 0, 1, ... the second one, with two launches again
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from operator import itemgetter

from inkle.ir import forms
from inkle.ir.loop import Kernel, extent
from inkle.schedule.built import Built, BuiltBlocks
from inkle.schedule.cost import HEAVY, Facts
from inkle.schedule.nest import Storage

FROM_BYTES = 8 << 20  # arrays of a family that take less together are left alone
LONGEST = 12  # launches of a chain: the longer, the more blocks would have to agree on
LARGEST = 3 * LONGEST  # launches of a family
WORTH = 12.0  # times the cost of writing and reading an array that computing it again may take

Made = Built | BuiltBlocks
Cut = Callable[[Sequence[Built], Sequence[Storage], Facts], list[Made] | None]


@dataclass(eq=False, slots=True)
class Step:
    """Launches that stay together: one, or all blocks of a chain (`is_cut`)."""

    launches: Sequence[Made]
    reads: set[Storage]
    writes: set[Storage]
    is_cut: bool

    @property
    def built(self) -> Built:
        """The launch of a step that is not cut."""
        [built] = self.launches
        assert isinstance(built, Built)
        return built

    def touches(self) -> set[Storage]:
        """Return all memory that it uses."""
        return self.reads | self.writes


def cut_chains(
    built: Sequence[Built], fixed: Mapping[Storage, int], facts: Facts, cut: Cut
) -> list[Made]:
    """Return the launches with every chain that `cut` can cut in blocks.

    Args:
        built: launches, in an order in which they may run.
        fixed: inputs and outputs, which are not temporaries.
        facts: of the machine.
        cut: returns a chain in blocks, given the arrays that nobody else uses; None if it cannot.
    """
    steps = [step_of([each]) for each in built]
    tried: set[Storage] = set()
    large = _large(steps, fixed)
    users = _users(steps)
    while large:
        seed = large.pop()
        if seed in tried:
            continue
        arrays, members = _family(seed, users, fixed)
        tried |= arrays
        if members:
            family = _Family(arrays, [step for step, _ in members], steps, fixed, facts)
            found = family.cut(cut)
            if found:
                steps, users = found, _users(found)
                large = _large(steps, fixed)
    return [launch for step in steps for launch in step.launches]


def step_of(launches: Sequence[Made], *, is_cut: bool = False) -> Step:
    """Return launches that stay together, with all that they read and write."""
    kernels = {id(each.kernel) if isinstance(each, Built) else id(each): each for each in launches}
    reads = set().union(*[each.loaded() for each in kernels.values()])
    writes = set().union(*[each.written() for each in kernels.values()])
    return Step(launches, reads, writes, is_cut)


def bytes_of(storage: Storage) -> int:
    """Return the size of an array."""
    return storage.size * storage.dtype.itemsize


def _large(steps: Sequence[Step], fixed: Mapping[Storage, int]) -> list[Storage]:
    """Return the arrays that a family may grow from, the largest last, the first of equal ones."""
    found = [s for step in steps if not step.is_cut for s in step.built.used]
    left = [s for s in dict.fromkeys(found) if s not in fixed]
    left = [s for s in left if bytes_of(s) * LONGEST >= FROM_BYTES]
    return sorted(left, key=bytes_of, reverse=True)[::-1]


Users = dict[Storage, list[tuple[Step, int]]]  # the steps that use an array, with their places


def _users(steps: Sequence[Step]) -> Users:
    found: Users = {}
    for place, step in enumerate(steps):
        for storage in step.touches():
            found.setdefault(storage, []).append((step, place))
    return found


def _family(
    seed: Storage, users: Users, fixed: Mapping[Storage, int]
) -> tuple[set[Storage], list[tuple[Step, int]]]:
    """Return arrays of half the elements of `seed` at least, and the steps that pass them on.

    No steps if blocks of others have a part in it. Of a family that is too large, only what lives
    while `seed` does.
    """
    arrays, members = {seed}, list(users[seed])
    first, last = members[0][1], members[-1][1]
    is_narrow = False
    stack = list(members)
    while stack:
        step, _ = stack.pop()
        for storage in step.touches() - arrays:
            if storage in fixed or 2 * storage.size < seed.size:
                continue
            more = users[storage]
            if is_narrow and not first <= more[0][1] <= more[-1][1] <= last:
                continue
            arrays.add(storage)
            fresh = [each for each in more if each not in members]
            members += fresh
            stack += fresh
        if len(members) > LARGEST and not is_narrow:
            is_narrow = True
            arrays, members = {seed}, list(users[seed])
            stack = list(members)
    if any(step.is_cut for step, _ in members) or len(members) > LARGEST:
        return arrays, []
    return arrays, sorted(members, key=itemgetter(1))


class _Family:
    """The steps that pass some large arrays on."""

    def __init__(
        self,
        arrays: set[Storage],
        members: list[Step],
        steps: list[Step],
        fixed: Mapping[Storage, int],
        facts: Facts,
    ) -> None:
        self._arrays, self._members, self._steps = arrays, members, steps
        self._fixed, self._facts = fixed, facts
        self._place = {step: i for i, step in enumerate(steps)}
        self._generation = self._generations()

    def cut(self, cut: Cut) -> list[Step] | None:
        """Return all steps with those of the family in blocks; None if that is not possible."""
        chains: list[tuple[list[Step], list[Built]]] = []
        for number in range(max(self._generation.values()) + 1):
            mine = [step for step in self._members if self._generation[step] == number]
            again = self._computed_again(mine)
            if again is None or len(again) + len(mine) > LONGEST:
                return None
            names = {old: new for old, _, new in again}
            own = [step.built.renamed(names) for step in mine]
            chains.append((mine, [launch for _, launch, _ in again] + own))
        users = self._users([chain for _, chain in chains])
        rooms: dict[int, list[Storage]] = {}
        for storage, numbers in users.items():
            if len(numbers) == 1 and -1 not in numbers:
                rooms.setdefault(min(numbers), []).append(storage)
        if sum([bytes_of(s) for own in rooms.values() for s in own]) < FROM_BYTES:
            return None
        steps = self._steps
        for number, (mine, chain) in enumerate(chains):
            done = cut(chain, rooms.get(number, ()), self._facts)
            if done is None:
                return None
            steps = gathered(steps, mine, step_of(done, is_cut=True))
        return steps

    def _generations(self) -> dict[Step, int]:
        """Return for each member how many times the way to it leaves the family."""
        needs = needs_of(self._steps)
        members = set(self._members)
        found: dict[Step, int] = {}
        after: dict[Step, int] = {}  # of other steps: the generation of a member that needs them
        for step in self._steps:
            before = needs[step]
            if step in members:
                found[step] = max([found.get(b, after.get(b, 0)) for b in before], default=0)
            else:
                ways = [found[b] + 1 if b in members else after[b] for b in before]
                after[step] = max(ways, default=0)
        return found

    def _computed_again(self, mine: Sequence[Step]) -> list[tuple[Storage, Built, Storage]] | None:
        """Return what computes arrays of earlier generations, in order: (array, launch, copy).

        None if that costs too much, or if what it is computed from is no longer there.
        """
        number = self._generation[mine[0]]
        writers: dict[Storage, list[Step]] = {}
        for step in self._steps:
            for storage in step.writes:
                writers.setdefault(storage, []).append(step)
        wanted: dict[Storage, Step] = {}
        stack = [s for step in mine for s in step.reads & self._arrays]
        kept = 0.0
        while stack:
            storage = stack.pop()
            [writer, *others] = writers[storage]
            if storage in wanted or (not others and self._generation[writer] == number):
                continue
            if others:
                return None
            wanted[storage] = writer
            kept += bytes_of(storage) / 4 * (self._facts.write + self._facts.far)
            stack += writer.reads & self._arrays
            if any(
                self._place[later] > self._place[writer]
                for storage in writer.reads - self._arrays
                for later in writers.get(storage, ())
            ):
                return None
        copies = {storage: Storage(storage.dtype, storage.size, storage.node) for storage in wanted}
        found = []
        for storage in sorted(wanted, key=lambda s: self._place[wanted[s]]):
            launch = wanted[storage].built
            stores = [s for s in launch.kernel.stores if launch.memory_of(s) is storage]
            launch = launch.with_stores(stores, launch.used)
            found.append((storage, launch.renamed(copies), copies[storage]))
        cost = sum([time_of(launch.kernel, self._facts) for _, launch, _ in found])
        return found if cost <= WORTH * kept else None

    def _users(self, chains: Sequence[Sequence[Built]]) -> dict[Storage, set[int]]:
        """Return for temporaries of the chains which of these use them; -1 stands for others."""
        users: dict[Storage, set[int]] = {}
        for number, chain in enumerate(chains):
            for launch in chain:
                for storage in launch.used:
                    if storage not in self._fixed:
                        users.setdefault(storage, set()).add(number)
        for step in set(self._steps) - set(self._members):
            for storage in step.touches() & users.keys():
                users[storage].add(-1)
        return users


def time_of(kernel: Kernel, facts: Facts) -> float:
    """Return nanoseconds of arithmetic of one core."""
    total = 0.0
    for node in kernel.nodes():
        if node.op is forms.REDUCE:
            total += prod(map(extent, node.src[0].ranges))
        elif node.op.is_elementwise and node.dtype.bits:
            total += HEAVY.get(node.op, 1.0) * prod(map(extent, node.ranges))
    return total * facts.flop


def needs_of(steps: Sequence[Step]) -> dict[Step, set[Step]]:
    """Return for each step those that must run earlier, as far as they do not follow."""
    writer: dict[Storage, Step] = {}
    readers: dict[Storage, list[Step]] = {}
    needs: dict[Step, set[Step]] = {}
    for step in steps:
        mine = {writer[s] for s in step.touches() if s in writer}
        for storage in step.writes:
            mine.update(readers.pop(storage, ()))
            writer[storage] = step
        for storage in step.reads:
            readers.setdefault(storage, []).append(step)
        needs[step] = mine - {step}
    return needs


def gathered(steps: Sequence[Step], chain: Sequence[Step], blocks: Step) -> list[Step]:
    """Return steps with `blocks` in place of a chain; what is between waits, if it needs any."""
    members = set(chain)
    places = [i for i, step in enumerate(steps) if step in members]
    needs = needs_of(steps)
    before: list[Step] = []
    after: list[Step] = []
    waiting = set(members)
    for step in steps[places[0] : places[-1] + 1]:
        if step in members:
            continue
        if needs[step] & waiting:
            waiting.add(step)
            after.append(step)
        else:
            before.append(step)
    return [*steps[: places[0]], *before, blocks, *after, *steps[places[-1] + 1 :]]
