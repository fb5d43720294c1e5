"""How often the body of a loop nest runs, where some loops have bounds that others decide.

    for y in range(20):
        for k in range(max(0, 2 - y), min(5, 22 - y)):    runs 94 times, not 100
            ...

A box of values of the deciding loops in which bounds prove every extent constant is counted at
once; others are cut in two. The inner part of a padded convolution is one box, its border a few.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from inkle.ir import forms
from inkle.ir.bounds import bounds, constant_value
from inkle.ir.node import Node

MOST_BOXES = 1000  # looked at for one count, some 50 µs each; the rest counts with upper bounds

Box = dict[Node, tuple[int, int]]  # range -> smallest and largest value


def trip_count(ranges: Iterable[Node]) -> int:
    """Return the number of points of a loop nest over `ranges`, in whatever order."""
    nest = {*ranges}.union(*[r.src[0].ranges for r in ranges])
    varying = [r for r in nest if r.src[0].op is not forms.CONST]
    decided = {*varying}.union(*[r.src[0].ranges for r in varying])
    total = prod([int(r.src[0].arg) for r in nest - decided])
    return total * prod([_points(group) for group in _groups(varying)])


def _groups(varying: list[Node]) -> list[list[Node]]:
    """Put ranges together whose extents depend on the same loops."""
    groups: list[tuple[set[Node], list[Node]]] = []
    for r in varying:
        around, members = {r, *r.src[0].ranges}, [r]
        for each in [group for group in groups if not around.isdisjoint(group[0])]:
            groups.remove(each)
            around |= each[0]
            members += each[1]
        groups.append((around, members))
    return [members for _, members in groups]


def _points(group: list[Node]) -> int:
    """Return the sum, over the loops that decide, of the product of the extents of `group`."""
    deciding = {each for r in group for each in r.src[0].ranges}
    if any(each.src[0].op is not forms.CONST for each in deciding):
        return prod([_most(r, {}) for r in deciding.union(group)])  # no kernel nests them yet
    boxes: list[Box] = [{r: (0, int(r.src[0].arg) - 1) for r in deciding}]
    total = seen = 0
    while boxes:
        box = boxes.pop()
        sides = {r: high - low + 1 for r, (low, high) in box.items()}
        extents = [constant_value(r.src[0], box) for r in group]
        seen += 1
        known = [each for each in extents if each is not None]
        if len(known) < len(group) and seen < MOST_BOXES and max(sides.values(), default=1) > 1:
            boxes.extend(_halves(box, max(sides, key=sides.__getitem__)))
            continue
        if len(known) < len(group):
            known = [_most(r, box) for r in group]
        total += prod(known) * prod(sides.values())
    return total


def _halves(box: Box, r: Node) -> list[Box]:
    low, high = box[r]
    middle = (low + high) // 2
    return [{**box, r: (low, middle)}, {**box, r: (middle + 1, high)}]


def _most(r: Node, box: Box) -> int:
    """Return an upper bound of the extent of a range; 1 if there is none."""
    high = bounds(r.src[0], box)[1]
    return 1 if high is None else max(high, 0)
