"""The order of launches, and which memory temporaries use.

Launches run as late as their users allow, in the order of the graph, readers of a version of an
array before the writer of the next. Temporaries of one dtype reuse each other's memory once they
are dead: the smallest block that fits, else the largest, grown.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from inkle.errors import InternalError
from inkle.ir.plan import Memory, Role
from inkle.schedule.nest import Nest, Storage


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
    followers: list[list[int]] = [[] for _ in groups]
    for i, needs in enumerate(waiting):
        for each in needs:
            followers[each].append(i)
    left = [len(needs) for needs in waiting]
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


def place_temporaries(
    uses: Sequence[Sequence[Storage]], fixed: Mapping[Storage, int], first: int
) -> tuple[list[Memory], dict[Storage, int]]:
    """Choose memory for every storage that is not `fixed`.

    Args:
        uses: what each launch reads or writes, in order.
        fixed: places of inputs and outputs in the plan.
        first: place of the first temporary.

    Returns:
        The temporaries, and the place of each storage.
    """
    last: dict[Storage, int] = {}
    for step, storages in enumerate(uses):
        for storage in storages:
            last[storage] = step
    sizes: list[int] = []
    blocks: list[Storage] = []
    free: list[int] = []
    place: dict[Storage, int] = {}
    for step, storages in enumerate(uses):
        for storage in storages:
            if storage not in fixed and storage not in place:
                place[storage] = _take(storage, free, sizes, blocks)
        dead = [each for each in dict.fromkeys(storages) if last[each] == step]
        free += [place[storage] for storage in dead if storage not in fixed]
    memory = [
        Memory(Role.TEMPORARY, i, block.dtype, size)
        for i, (block, size) in enumerate(zip(blocks, sizes, strict=True))
    ]
    return memory, {storage: first + i for storage, i in place.items()} | dict(fixed)


def _take(storage: Storage, free: list[int], sizes: list[int], blocks: list[Storage]) -> int:
    fitting = [i for i in free if blocks[i].dtype is storage.dtype]
    large = [i for i in fitting if sizes[i] >= storage.size]
    if large or fitting:
        best = min(large, key=sizes.__getitem__) if large else max(fitting, key=sizes.__getitem__)
        free.remove(best)
        sizes[best] = max(sizes[best], storage.size)
        return best
    blocks.append(storage)
    sizes.append(storage.size)
    return len(blocks) - 1
