"""Cheap proof that a description would come out the same: nothing that it was read from changed.

A description (see `guards`) is a function of the things it walks through. While it is made, the
walk notes every compound thing, and what it asked about. A watch remembers the identities of these
contents; as long as each thing still holds the same objects, describing it again would give the
same result, and a call of a captured function need not do it.

The check is written as one function of Python, for the things at hand: it reads all contents and
compares identities once. For an object `o` with an attribute `parts`, a list, it says

    v0 = root
    if type(v0) is not t0:
        return False
    d0 = v0.__dict__
    v1 = d0['parts']
    if type(v1) is not t1:
        return False
    return [*d0, end] == keys and [*map(id, [*d0.values(), *v1, end])] == ids

Names of attributes are compared as strings, which is quicker.

Things are read before it is known that they are those of the description, but never one of another
type; `end` tells a short list before a long one from a long one before a short one.

A watch keeps nothing alive that can be referred to weakly; if such an object dies, its identity
means nothing any more, and the watch is over. Lists, dicts and their like are reached again through
what holds them, and compared by what they hold. What a walk has asked about and a reader does not
find makes watching impossible: a reader that forgets something costs time, never soundness.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from types import CodeType, FunctionType
from typing import Any

from inkle.tensor.contents import (
    MISSING,
    Reader,
    cell_content,
    read_attributes,
    read_elements,
    read_function,
    read_plain_class,
)

END = object()  # of the contents of one thing


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


class _Check:
    """Writes the function that compares what is there with what was described.

    Attributes:
        names: what the text names.
        ids: of the contents that count, one thing after the other.
    """

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"end": END, "compress": compress, "missing": MISSING}
        self.ids: list[int] = []
        self._lines: list[str] = []
        self._contents: list[str] = []
        self._attributes: list[str] = []
        self._keys: list[object] = []  # names of attributes

    def add(self, number: int, place: str, visit: Visit) -> list[tuple[Any, str]]:
        """Compare a thing that is found at `place`; return what it holds, with the places of that.

        Raises:
            LookupError: if more of it was described than is found in it.
        """
        assert visit.read is not None
        value, contents = visit.value, visit.read(visit.value)
        asked = {id(each) for each in visit.asked}
        # Names count in any case: an attribute that comes or goes may be one that code names.
        # So does a name without a value: it may get one, as a global that hides a built-in name.
        mask = [
            id(each) in asked or each is MISSING or isinstance(each, (str, CodeType))
            for each in contents
        ]
        ids = [*map(id, compress(contents, mask))]
        if not asked.issubset(ids):
            raise LookupError(f"more of {value!r:.60} was described than is found in it")
        kind = self.names[f"t{number}"] = type(value)
        self._lines += (f"v{number} = {place}", *_unless(f"type(v{number}) is t{number}"))
        if visit.read in (read_attributes, read_plain_class) and {*map(type, vars(value))} <= {str}:
            return [(kind, f"t{number}"), *self._add_attributes(number, value, asked)]
        if isinstance(visit.read, partial) and visit.read.func is read_function and all(mask):
            places = self._add_function(number, value, *visit.read.args)
            if len(places) == len(contents):
                self.ids += ids
                return [*zip(contents, places, strict=True)]
        if visit.read is read_elements and kind in (list, tuple) and all(mask):
            self._contents.append(f"*v{number}, end")
            places = [f"v{number}[{i}]" for i in range(len(contents))]
        else:
            places = self._add_any(number, visit.read, mask)
        self.ids += (*ids, id(END))
        return [*compress(zip(contents, places, strict=True), mask)]

    def _add_attributes(self, number: int, value: Any, asked: set[int]) -> list[tuple[Any, str]]:
        """Compare the attributes of an object or a class, and its bases."""
        own = vars(value)
        self._lines.append(f"d{number} = v{number}.__dict__")
        self._attributes.append(f"*d{number}, end")
        self._keys += (*own, END)
        found = [(v, f"d{number}[{name!r}]") for name, v in own.items() if id(v) in asked]
        every = len(found) == len(own)
        self._contents += [f"*d{number}.values()"] if every else [place for _, place in found]
        self.ids += [id(each) for each, _ in found]
        if isinstance(value, type):
            bases = [(each, f"v{number}.__bases__[{i}]") for i, each in enumerate(value.__bases__)]
            self._contents.append(f"*v{number}.__bases__, end")
            self.ids += (*map(id, value.__bases__), id(END))
            found += bases
        return found

    def _add_function(
        self, number: int, function: FunctionType, names: Sequence[str], modules: Sequence[str]
    ) -> list[str]:
        """Compare code, globals and closure of a function without anything else; return places."""
        cells = function.__closure__ or ()
        globals_ = [f"g{number}.get({each!r}, missing)" for each in names]
        closed_over = [f"k{number}[{i}].cell_contents" for i in range(len(cells))]
        places = [f"v{number}.__code__", *globals_, *closed_over]
        more = function.__defaults__ or function.__kwdefaults__ or function.__dict__
        if more or modules or any(cell_content(each) is MISSING for each in cells):
            return []
        self._lines += (
            f"g{number}, k{number} = v{number}.__globals__, v{number}.__closure__ or ()",
            f"more = v{number}.__defaults__ or v{number}.__kwdefaults__ or v{number}.__dict__",
            *_unless(f"len(k{number}) == {len(cells)} and not more"),
        )
        self._contents += places
        return places

    def _add_any(self, number: int, read: Reader, mask: list[bool]) -> list[str]:
        """Compare by a call of the reader; return the places of the contents."""
        self.names[f"r{number}"], self.names[f"m{number}"] = read, mask
        self._lines.append(f"c{number} = r{number}(v{number})")
        contents = f"c{number}"
        if not all(mask):
            self._lines += _unless(f"len(c{number}) == {len(mask)}")
            contents = f"compress(c{number}, m{number})"
        self._contents.append(f"*{contents}, end")
        return [f"c{number}[{i}]" for i in range(len(mask))]

    def function(self) -> Callable[[Any], bool]:
        """Return it; it may raise a LookupError or a ValueError instead of saying no."""
        self.names |= {"ids": self.ids, "keys": self._keys}
        attributes, contents = ", ".join(self._attributes), ", ".join(self._contents)
        same = f"[{attributes}] == keys and [*map(id, [{contents}])] == ids"
        lines = [*self._lines, f"return {same}"]
        exec(_compiled("\n    ".join(("def holds(root):", *lines))), self.names)
        found: Callable[[Any], bool] = self.names.pop("holds")  # no cycle: it refers to the names
        return found


def _unless(condition: str) -> tuple[str, str]:
    return f"if not ({condition}):", "    return False"


@functools.lru_cache(maxsize=64)  # where only values have changed, the text is the same again
def _compiled(text: str) -> CodeType:
    return compile(text, "<watch>", "exec")


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
        visits = {key: visit for key, visit in visits.items() if visit.read is not None}
        check = _Check()
        places = {id(root): "root"}
        todo = [root]
        for number, value in enumerate(todo):
            for each, place in check.add(number, places[id(value)], visits[id(value)]):
                self._keep(each, visited=id(each) in visits)
                if id(each) in visits and id(each) not in places:
                    places[id(each)] = place
                    todo.append(each)
        if len(todo) != len(visits):
            raise LookupError("something was described that nothing holds")
        self._check = check.function()

    def holds(self, root: Any) -> bool:
        """Whether describing `root` now would give what it gave."""
        try:
            return self._alive and self._check(root)
        except (LookupError, ValueError):  # no such attribute; a name that has no value any more
            return False

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
