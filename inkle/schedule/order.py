"""The order of launches.

Nests run as late as their users allow, in the order of the graph, readers of a version of an array
before the writer of the next. In a finished plan, what frees memory runs as soon as it can.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import replace

from inkle.errors import InternalError
from inkle.ir.plan import AnyLaunch, Plan, Role
from inkle.schedule.lives import FROM_BYTES, Lives
from inkle.schedule.nest import Nest


def in_order(groups: Sequence[Sequence[Nest]], rank: Mapping[Nest, int]) -> list[Sequence[Nest]]:
    """Return groups of nests (kernels) in an order that respects `before`.

    Args:
        groups: the nests of each kernel.
        rank: where the values of a nest are in the graph; the earliest that may run, runs first.
    """
    group_of = {nest: i for i, group in enumerate(groups) for nest in group}
    waiting = [
        {group_of[b] for nest in group for b in nest.before if b in group_of} - {i}
        for i, group in enumerate(groups)
    ]
    left = [len(needs) for needs in waiting]
    followers = _followers(waiting)
    keys = [max(rank[nest] for nest in group) for group in groups]
    ready = [(keys[i], i) for i, count in enumerate(left) if not count]
    heapq.heapify(ready)
    out = []
    while ready:
        _, i = heapq.heappop(ready)
        out.append(groups[i])
        for follower in followers[i]:
            left[follower] -= 1
            if not left[follower]:
                heapq.heappush(ready, (keys[follower], follower))
    if len(out) != len(groups):
        raise InternalError("kernels of a schedule wait for each other")
    return out


def _followers(waiting: Sequence[set[int]]) -> list[list[int]]:
    followers: list[list[int]] = [[] for _ in waiting]
    for i, needs in enumerate(waiting):
        for each in needs:
            followers[each].append(i)
    return followers


def free_early(plan: Plan) -> Plan:
    """Return `plan` in an order that needs less memory at its peak, if there is one close by.

    A launch after which no more memory is in use than before runs as soon as it can; all others
    keep their order. So gradients are consumed where they arise, and a launch that makes something
    for later waits until room has been made.
    """
    peak = Lives(plan).peak_bytes
    if peak <= FROM_BYTES:
        return plan
    launches = _Eager(plan).run()
    found = replace(plan, launches=tuple(launches))
    return found if Lives(found).peak_bytes < peak else plan


class _Eager:
    """Runs what frees memory first."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sizes = [0 if m.role is Role.INPUT else m.size_bytes for m in plan.memory]
        waiting = dependencies(plan.launches)
        self._left = [len(needs) for needs in waiting]
        self._followers = _followers(waiting)
        self._users: list[set[int]] = [set() for _ in plan.memory]
        for i, launch in enumerate(plan.launches):
            for place in launch.memory:
                self._users[place].add(i)
        self._born: set[int] = set()
        self._ready: list[int] = []
        self._freeing: list[int] = []  # of those that are ready

    def run(self) -> list[AnyLaunch]:
        """Return the launches in the order found."""
        for i, count in enumerate(self._left):
            if not count:
                self._enter(i)
        order: dict[int, None] = {}
        while self._ready or self._freeing:
            i = heapq.heappop(self._freeing or self._ready)
            if i not in order:
                order[i] = None
                self._leave(i)
        return [self._plan.launches[i] for i in order]

    def _enter(self, i: int) -> None:
        heapq.heappush(self._ready, i)
        self._consider(i)

    def _consider(self, i: int) -> None:
        """Note a launch that is ready if it needs no more memory than it frees."""
        need = 0
        for place in dict.fromkeys(self._plan.launches[i].memory):
            if place not in self._born:
                need += self._sizes[place]
            if len(self._users[place]) == 1 and self._plan.memory[place].role is Role.TEMPORARY:
                need -= self._sizes[place]
        if need <= 0:
            heapq.heappush(self._freeing, i)

    def _leave(self, i: int) -> None:
        touched = dict.fromkeys(self._plan.launches[i].memory)
        for place in touched:
            self._users[place].discard(i)
            self._born.add(place)
        for follower in self._followers[i]:
            self._left[follower] -= 1
            if not self._left[follower]:
                self._enter(follower)
        for place in touched:
            if len(self._users[place]) == 1:
                [user] = self._users[place]
                if not self._left[user]:
                    self._consider(user)


def dependencies(launches: Sequence[AnyLaunch]) -> list[set[int]]:
    """Return for each launch those that must run before it: its writers, and readers it ends."""
    writer: dict[int, int] = {}
    readers: dict[int, list[int]] = {}
    before: list[set[int]] = []
    for i, launch in enumerate(launches):
        written = launch.written
        needs = {writer[place] for place in launch.memory if place in writer}
        for place in launch.memory:
            if place in written:
                needs.update(readers.pop(place, ()))
                writer[place] = i
            else:
                readers.setdefault(place, []).append(i)
        needs.discard(i)
        before.append(needs)
    return before
