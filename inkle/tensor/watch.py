"""Cheap proof that a description would come out the same: nothing that it was read from changed.

A description (see `guards`) is a function of the things it walks through. While it is made, the
walk notes every compound thing, and what it asked about. A watch remembers the identities of these
contents; as long as each thing still holds the same objects, describing it again would give the
same result, and a call of a captured function need not do it.

A watch keeps nothing alive that can be referred to weakly; if such an object dies, its identity
means nothing any more, and the watch is over. Lists, dicts and their like are reached again through
what holds them, and compared by what they hold. What a walk has asked about and a reader does not
find makes watching impossible: a reader that forgets something costs time, never soundness.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from itertools import compress
from types import CodeType
from typing import Any

from inkle.tensor.contents import MISSING, Reader


@dataclass(slots=True)
class Visit:
    """One compound thing that a walk has described.

    Attributes:
        value: the thing.
        read: returns its contents, among them all that its description depends on; None if its
            identity says everything.
        asked: what the walk has described of it.
    """

    value: Any
    read: Reader | None
    asked: list[Any] = field(default_factory=list)


class _Part:
    """What is remembered of one visit."""

    __slots__ = ("_ids", "_kind", "_mask", "_parts", "_read")

    def __init__(self, visit: Visit) -> None:
        assert visit.read is not None
        contents = visit.read(visit.value)
        asked = {id(each) for each in visit.asked}
        # Names count in any case: an attribute that comes or goes may be one that code names.
        # So does a name without a value: it may get one, as a global that hides a built-in name.
        mask = [
            id(each) in asked or each is MISSING or isinstance(each, (str, CodeType))
            for each in contents
        ]
        self._kind = type(visit.value)
        self._read = visit.read
        self._mask = None if all(mask) else mask
        self._ids = [*map(id, compress(contents, mask))]
        self._parts: list[tuple[int, _Part]] = []
        if not asked.issubset(self._ids):
            raise LookupError(f"more of {visit.value!r:.60} was described than is found in it")

    def compared(self, value: Any) -> list[tuple[int, Any]]:
        """Return the contents that count, with their numbers."""
        contents = self._read(value)
        return [*compress(enumerate(contents), self._mask or [True] * len(contents))]

    def add(self, number: int, part: _Part) -> None:
        """Compare the content with that number, too."""
        self._parts.append((number, part))

    def holds(self, value: Any) -> bool:
        """Whether `value` has the contents that were described."""
        if type(value) is not self._kind:  # the address of a dead list may be another thing's now
            return False
        contents = self._read(value)
        if self._mask is None:
            if [*map(id, contents)] != self._ids:
                return False
        elif (
            len(contents) != len(self._mask)
            or [*map(id, compress(contents, self._mask))] != self._ids
        ):
            return False
        for number, part in self._parts:  # noqa: SIM110  (a generator takes half as long again)
            if not part.holds(contents[number]):
                return False
        return True


class Watch:
    """Says whether anything that a walk has read is different now.

    Args:
        root: where the walk began.
        visits: what it has described, by identity.

    Raises:
        LookupError: if it cannot be watched.
    """

    def __init__(self, root: Any, visits: dict[int, Visit]) -> None:
        self._alive = True
        self._kept: list[Any] = []  # what knows no weak references: numbers, strings
        self._references: dict[int, weakref.ref[Any]] = {}
        self._root = _Part(visits[id(root)])
        visits = {key: visit for key, visit in visits.items() if visit.read is not None}
        parts = {id(root): self._root}
        todo = [(root, self._root)]
        while todo:
            value, part = todo.pop()
            for number, each in part.compared(value):
                self._keep(each, visited=id(each) in visits)
                if id(each) in visits and id(each) not in parts:
                    parts[id(each)] = _Part(visits[id(each)])
                    part.add(number, parts[id(each)])
                    todo.append((each, parts[id(each)]))
        if len(parts) != len(visits):
            raise LookupError("something was described that nothing holds")

    def holds(self, root: Any) -> bool:
        """Whether describing `root` now would give what it gave."""
        return self._alive and self._root.holds(root)

    def _keep(self, each: Any, *, visited: bool) -> None:
        if id(each) in self._references:
            return
        try:
            self._references[id(each)] = weakref.ref(each, self._end)
        except TypeError:
            if not visited:
                self._kept.append(each)

    def _end(self, _: object) -> None:
        self._alive = False
