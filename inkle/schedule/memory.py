"""Which memory temporaries use: that of others before and after them, and of outputs to come.

    launch      0  1  2  3  4  5
    output      .  .  .  .  W  W         first written by launch 4
    a           W  R  .  .  .  .         lies in the output
    b           .  W  W  R  .  .         lies in the output, behind a
    c           .  .  .  W  R  R         lies in the arena

The longest-lived and largest are placed first, each in the tightest gap between those that live at
the same time: in an output that is as good as any, else in the arena.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from inkle.ir.plan import Memory, Plan, Role, Spot
from inkle.schedule.lives import Lives

ALIGN = 64  # bytes: temporaries start at cache lines
ENOUGH = 1.05  # of the most that lives at a time: no other layout is tried
APART = 64  # one part in so many of the memory is given to temporaries that share none
MANY = 2000  # in larger plans one layout has to do: it takes time in proportion to the square
HOST_BYTES = 1 << 20  # smaller outputs are left alone: a word more to set before each run


class _Block(NamedTuple):
    """Bytes that are taken from one launch to another."""

    start: int
    end: int
    first: int
    last: int


class _Room:
    """Memory of a certain size (None: of any) in which blocks find places."""

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._blocks: list[_Block] = []
        self.end = 0

    def take(self, size: int, first: int, last: int) -> int | None:
        """Return where `size` bytes lie from launch `first` to `last`; None if there is no room.

        In the smallest gap between blocks of that time, else behind them.
        """
        if self._size is not None and size > self._size:
            return None
        position, best, tightest = 0, None, size
        for start, end, begin, until in self._blocks:
            if begin <= last and until >= first:
                gap = start - position
                if gap >= size and (best is None or gap < tightest):
                    best, tightest = position, gap
                position = max(position, end)
        if best is None and (self._size is None or self._size - position >= size):
            best = position
        if best is not None:
            insort(self._blocks, _Block(best, best + size, first, last))
            self.end = max(self.end, best + size)
        return best


Order = Callable[[Memory, int], tuple[int, ...]]  # of what is placed, given how long it lives
ORDERS: tuple[Order, ...] = (
    lambda memory, length: (-memory.size_bytes * length,),
    lambda memory, length: (-length, -memory.size_bytes),
    lambda memory, length: (-memory.size_bytes, -length),
)


def place_temporaries(plan: Plan) -> Plan:
    """Return `plan` with a place for every temporary: the first layout that is tight enough."""
    lives = Lives(plan)
    found: list[Plan] = []
    for order in ORDERS if len(plan.memory) <= MANY else ORDERS[:1]:
        found.append(_placed(plan, lives, order))
        if found[-1].needed_bytes <= ENOUGH * lives.peak_bytes:
            break
    return min(found, key=lambda each: each.arena_bytes)


def _placed(plan: Plan, lives: Lives, order: Order) -> Plan:
    arena = _Room(None)
    apart = _apart(plan, lives)
    hosts = [(place, _Room(plan.memory[place].size_bytes)) for place in _hosts(plan, lives)]
    length = {place: lives.last[place] + 1 - first for place, first in lives.first.items()}
    temporaries = [p for p in lives.first if plan.memory[p].role is Role.TEMPORARY]
    memory = list(plan.memory)
    for place in sorted(temporaries, key=lambda p: (*order(memory[p], length[p]), p)):
        size = -(-memory[place].size_bytes // ALIGN) * ALIGN
        first, last = lives.first[place], lives.last[place]
        if place in apart:
            first, last = 0, len(plan.launches)
        rooms = [(host, room) for host, room in hosts if last < lives.first[host]]
        where = _taken([*rooms, (None, arena)], size, first, last)
        memory[place] = replace(memory[place], spot=where)
    return replace(plan, memory=tuple(memory))


def _apart(plan: Plan, lives: Lives) -> set[int]:
    """Return the smallest temporaries: they share no memory, so that nobody waits for it."""
    left = lives.peak_bytes // APART
    found = set()
    temporaries = [p for p in lives.first if plan.memory[p].role is Role.TEMPORARY]
    for place in sorted(temporaries, key=lambda p: plan.memory[p].size_bytes):
        left -= max(plan.memory[place].size_bytes, ALIGN)
        if left < 0:
            break
        found.add(place)
    return found


def _taken(rooms: Iterable[tuple[int | None, _Room]], size: int, first: int, last: int) -> Spot:
    for host, room in rooms:
        offset = room.take(size, first, last)
        if offset is not None:
            return Spot(host, offset)
    raise AssertionError("the arena has room for all")


def _hosts(plan: Plan, lives: Lives) -> list[int]:
    """Return the outputs that have room for something, the smallest first."""
    found = [
        place
        for place, first in lives.first.items()
        if first
        and plan.memory[place].role is Role.OUTPUT
        and plan.memory[place].exact is None
        and plan.memory[place].size_bytes >= HOST_BYTES
    ]
    return sorted(found, key=lambda place: plan.memory[place].size_bytes)
