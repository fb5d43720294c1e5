"""Kernels that become one: the same loops, and much of the same data, or little work altogether.

Adam reads and writes several arrays of one shape; the two sums of a batch norm run over one array;
a handful of vectors of 32 elements is not worth a kernel each. A nest may also join the nest whose
result it reads, if it reads at every point what that nest has just stored there: the value is
passed on in a register. Nests are looked at in the order in which they run, each once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from inkle.ir.loop import extent
from inkle.ir.node import Node
from inkle.ir.size import most
from inkle.rewrite.affine import single
from inkle.schedule.cost import Facts, bytes_of
from inkle.schedule.index import Replacement
from inkle.schedule.nest import Demand, Nest, Store
from inkle.schedule.place import MAX_REDUCTIONS
from inkle.schedule.walk import post_order

MOST_STORES = 12
MOST_MEMORIES = 28  # arrays of one kernel
MOST_VALUES = 500  # so that no kernel gets huge
LATEST = 6  # groups of one shape that are tried, the last ones first
MOST_SEARCHED = 256

Key = tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]


@dataclass(eq=False, slots=True)
class Group:
    """Nests that run as one kernel.

    Attributes:
        nests: in the order in which they run.
        before: groups that must run earlier.
        after: groups that must run later.
        stores: what it writes, by node.
        loads: the nodes it reads from memory.
        reductions: extents of its reductions.
        level: longest chain of groups before it: what waits for the group is above.
    """

    nests: list[Nest]
    before: set[Group] = field(default_factory=set)
    after: set[Group] = field(default_factory=set)
    stores: dict[Node, Store] = field(default_factory=dict)
    loads: set[Node] = field(default_factory=set)
    reductions: set[tuple[int, ...]] = field(default_factory=set)
    level: int = 0

    def wait_for(self, before: set[Group]) -> None:
        """Put this group, and all that wait for it, above those of `before`."""
        self.before |= before
        for each in before:
            each.after.add(self)
        level = 1 + max([each.level for each in before], default=0)
        stack = [(self, level)]
        while stack:
            group, level = stack.pop()
            if level > group.level:
                group.level = level
                stack.extend([(each, level + 1) for each in group.after])


def fuse_siblings(nests: Sequence[Nest], facts: Facts) -> list[list[Nest]]:
    """Return the nests of each kernel.

    Args:
        nests: in an order in which they may run.
        facts: of the machine.
    """
    groups: list[Group] = []
    home: dict[Nest, Group] = {}
    open_groups: dict[tuple[int, ...], list[Group]] = {}
    for nest in nests:
        before = {home[each] for each in nest.before if each in home}
        group = None
        if _may_fuse(nest):
            extents = tuple(map(extent, nest.loops))
            latest = open_groups.setdefault(extents, [])
            group = _join(nest, before, latest[-LATEST:], facts)
        if group is None:
            group = Group([nest])
            group.wait_for(before)
            groups.append(group)
            if _may_fuse(nest):
                latest.append(group)
                _note(group, nest)
        home[nest] = group
    return [group.nests for group in groups]


def _may_fuse(nest: Nest) -> bool:
    return nest.is_open and nest.contraction is None and not nest.is_ordered


def _note(group: Group, nest: Nest) -> None:
    group.loads.update(nest.loaded)
    group.stores.update({store.node: store for store in nest.stores})
    group.reductions.update(_extents(nest))


def _extents(nest: Nest) -> set[tuple[int, ...]]:
    return {tuple(map(extent, demand.loops)) for demand in nest.reductions}


def _join(nest: Nest, before: set[Group], groups: Sequence[Group], facts: Facts) -> Group | None:
    for group in reversed(groups):
        if not (_is_worthwhile(nest, group, facts) and _fits(nest, group)):
            continue
        if _reaches(before - {group}, group):
            continue
        passed = _passed_on(nest, group)
        if passed is None:
            continue
        for demand, store in passed:
            demand.is_loaded = False
            demand.links = [store.link]
            demand.is_passed_on = True
        group.wait_for(before - {group})
        group.nests.append(nest)
        _note(group, nest)
        return group
    return None


def _is_worthwhile(nest: Nest, group: Group, facts: Facts) -> bool:
    """Whether the nests share much of what they read, or do little work."""
    reads = set(nest.loaded)
    shared = sum([bytes_of(node) for node in reads & (group.loads | group.stores.keys())])
    least = min(sum(map(bytes_of, reads)), sum(map(bytes_of, group.loads)))
    if shared and 2 * shared >= least:
        return True
    return all(_points(each) <= facts.small for each in [nest, *group.nests])


def _points(nest: Nest) -> int:
    return nest.points * max([most(prod(each)) for each in _extents(nest)], default=1)


def _fits(nest: Nest, group: Group) -> bool:
    """Whether one kernel can hold both: alike reductions, few arrays, loops that nest."""
    stores = len(group.stores) + len(nest.stores)
    if stores > MOST_STORES or stores + len(group.loads.union(nest.loaded)) > MOST_MEMORIES:
        return False
    if nest.size + sum(each.size for each in group.nests) > MOST_VALUES:
        return False
    if len(nest.reductions) + sum(len(each.reductions) for each in group.nests) > MAX_REDUCTIONS:
        return False
    own = _extents(nest)
    if own and group.reductions and not own & group.reductions:
        return False
    place = {loop: i for i, loop in enumerate(nest.loops)}
    for each in group.nests:
        theirs = {loop: i for i, loop in enumerate(each.loops)}
        for prefix in nest.prefixes:
            mine = {place[loop] for loop in prefix}
            for other in each.prefixes:
                known = {theirs[loop] for loop in other}
                if not (mine <= known or known <= mine):
                    return False
    return True


def _reaches(start: set[Group], goal: Group) -> bool:
    """Whether `goal` must run before one of `start`; True also if that takes long to find out."""
    seen = set(start)
    stack = list(start)
    while stack:
        for group in stack.pop().before:
            if group is goal or len(seen) > MOST_SEARCHED:
                return True
            if group not in seen and group.level > goal.level:
                seen.add(group)
                stack.append(group)
    return False


def _passed_on(nest: Nest, group: Group) -> list[tuple[Demand, Store]] | None:
    """Return loads of what the group stores, if each is of the element stored at the same point.

    None if the nest reads another element, or waits for the group for another reason.
    """
    direct = [each for each in group.nests if each in nest.before]
    if not direct:
        return []
    read = {group.stores[node].node for node in nest.loaded if node in group.stores}
    written = {store.node for each in direct for store in each.stores}
    if any(not (read & {s.node for s in each.stores}) for each in direct) or not read <= written:
        return None
    found = []
    for demand in post_order([nest]):
        store = group.stores.get(demand.node)
        if store is None or not demand.is_loaded:
            continue
        owner = next(each for each in group.nests if store in each.stores)
        same = {a: single(b) for a, b in zip(nest.loops, owner.loops, strict=True)}
        if demand.gate or store.gate or store.combine:
            return None
        if Replacement(same)(demand.position) != store.at:
            return None
        found.append((demand, store))
    return found
