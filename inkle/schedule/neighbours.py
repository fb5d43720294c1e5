"""Launches that pass an array on to each other alone become one launch, block by block.

What `chains` does for the sake of memory, for large arrays and with everything computed again that
is needed again, is done here for the sake of launches, in a simple way: from one array on, the
launches that use it, then those of the next array, as long as they can be cut in blocks that do not
need each other.

    scores, weights, out   (12 heads)     ->     scores, weights, out of head 0; of head 1; ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from inkle.schedule.built import Built, BuiltBlocks
from inkle.schedule.chains import Cut, Made, Step, bytes_of, gathered, needs_of, step_of
from inkle.schedule.cost import Facts
from inkle.schedule.nest import Storage

FROM_BYTES = 128 << 10  # of what is passed on: below, launches cost less than rows of their own
LEAST_BYTES = 64 << 10  # of an array to begin with
MOST = 6  # launches of a chain
NEAR = 32  # launches from its first to its last, with those in between: what follows at once

Wiring = tuple[object, ...]  # kernels, and which memory they share


def join_neighbours(
    built: Sequence[Made], fixed: Mapping[Storage, int], facts: Facts, cut: Cut
) -> list[Made]:
    """Return the launches, some chains of them as blocks; arguments as of `chains.cut_chains`."""
    steps = [step_of([each]) for each in built]
    joiner = _Joiner(steps, fixed, facts, cut)
    for storage in joiner.seeds():
        found = joiner.grown(storage)
        if found is not None:
            joiner.accept(*found)
    return joiner.launches()


class _Joiner:
    """Finds chains, from one array to the next."""

    def __init__(
        self, steps: list[Step], fixed: Mapping[Storage, int], facts: Facts, cut: Cut
    ) -> None:
        self._places: list[Step | None] = [*steps]  # a chain leaves empty places
        self._fixed, self._facts, self._cut = fixed, facts, cut
        self._users: dict[Storage, list[Step]] = {}
        for step in steps:
            for storage in step.touches():
                self._users.setdefault(storage, []).append(step)
        self._place = {step: i for i, step in enumerate(steps)}
        self._done: set[Step] = set()
        self._known: dict[Wiring, tuple[list[Built], BuiltBlocks | None]] = {}

    def launches(self) -> list[Made]:
        """Return all launches, those of the chains found as blocks."""
        return [launch for step in self._places if step is not None for launch in step.launches]

    def seeds(self) -> list[Storage]:
        """Return the arrays that are worth it, the largest first."""
        found = [s for s in self._users if self._is_passed_on(s) and bytes_of(s) >= LEAST_BYTES]
        return sorted(found, key=lambda s: (-bytes_of(s), self._place[self._users[s][0]]))

    def _is_passed_on(self, storage: Storage) -> bool:
        """Whether launches, each on its own so far, write an array and read it."""
        users = self._users[storage]
        if storage in self._fixed or not 2 <= len(users) <= MOST:
            return False
        if any(step in self._done or not _is_plain(step) for step in users):
            return False
        first, last = self._span(users)
        return last - first <= NEAR

    def grown(self, seed: Storage) -> tuple[list[Step], BuiltBlocks] | None:
        """Return the launches of a chain around an array, and what they become."""
        if not self._is_passed_on(seed):
            return None
        members, best = list(self._users[seed]), None
        found = self._joined(members)
        while found is not None:
            best = members, found
            found = None
            for storage in self._next(members):
                more = self._with(members, self._users[storage])
                found = self._joined(more) if len(more) <= MOST else None
                if found is not None:
                    members = more
                    break
        return best

    def _next(self, members: Sequence[Step]) -> list[Storage]:
        """Return arrays that members pass on to others, or get from others, the largest first."""
        touched = dict.fromkeys([s for step in members for s in step.built.used])
        found = [s for s in touched if self._is_passed_on(s) and bytes_of(s) >= LEAST_BYTES]
        found = [s for s in found if not set(self._users[s]) <= set(members)]
        return sorted(found, key=lambda s: -bytes_of(s))

    def _with(self, members: Sequence[Step], more: Iterable[Step]) -> list[Step]:
        return sorted({*members, *more}, key=self._place.__getitem__)

    def _joined(self, members: Sequence[Step]) -> BuiltBlocks | None:
        """Return the blocks of these launches; None if there is no way, or no use."""
        rooms = self._rooms(members)
        if sum(map(bytes_of, rooms)) < FROM_BYTES or not self._are_together(members):
            return None
        chain = [step.built for step in members]
        wiring = _wiring(chain, rooms)
        if wiring not in self._known:
            found = self._cut(chain, rooms, self._facts)
            blocks = found[0] if found and isinstance(found[0], BuiltBlocks) else None
            self._known[wiring] = chain, blocks
        first, blocks = self._known[wiring]
        return blocks if first is chain or blocks is None else blocks.instead_of(first, chain)

    def _rooms(self, members: Sequence[Step]) -> list[Storage]:
        """Return the arrays that only these launches use."""
        mine = set(members)
        touched = dict.fromkeys([s for step in members for s in step.built.used])
        return [s for s in touched if s not in self._fixed and mine.issuperset(self._users[s])]

    def _are_together(self, members: Sequence[Step]) -> bool:
        """Whether no launch in between needs one of them and is needed by another."""
        mine = set(members)
        after: set[Step] = set()
        for step, before in needs_of(self._between(members)).items():
            if step in mine:
                if before & after:
                    return False
            elif before & (mine | after):
                after.add(step)
        return True

    def accept(self, members: Sequence[Step], blocks: BuiltBlocks) -> None:
        """Put blocks in the place of launches."""
        self._done |= set(members)
        first, last = self._span(members)
        new = gathered(self._between(members), members, step_of([blocks], is_cut=True))
        self._places[first : last + 1] = [*new, *[None] * (last + 1 - first - len(new))]
        for i, step in enumerate(new, first):
            self._place[step] = i

    def _span(self, members: Sequence[Step]) -> tuple[int, int]:
        places = [self._place[step] for step in members]
        return min(places), max(places)

    def _between(self, members: Sequence[Step]) -> list[Step]:
        """Return the steps from the first of some to the last."""
        first, last = self._span(members)
        return [step for step in self._places[first : last + 1] if step is not None]


def _is_plain(step: Step) -> bool:
    return isinstance(step.launches[0], Built) and not step.is_cut


def _wiring(chain: Sequence[Built], rooms: Sequence[Storage]) -> Wiring:
    """Return what a chain looks like, whatever memory it uses: equal layers are tried once."""
    number: dict[Storage, int] = {}
    used = [tuple([number.setdefault(s, len(number)) for s in built.used]) for built in chain]
    kernels = [(built.kernel.stores, built.kernel.order) for built in chain]
    return (*kernels, *used, *[number[room] for room in rooms])
