"""Indices out of range in checked mode: what is computed beside a graph, and the error raised.

Outside of checked mode a GATHER reads 0 where its index lies outside, and a SCATTER drops the
value. With INKLE_CHECK=1 each index that bounds do not prove in range gets one more output, the
first place where it lies outside. It is looked at after the run, before any result is kept:

    first = min over all places p of (p if index[p] < -n or index[p] >= n else number of places)

Of an index inside of a loop over time, all steps are looked at: it is stacked, one row per step.

The class numbers of a loss are looked at in the same way (`expect_classes`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Self

from inkle import config
from inkle.engine import storage
from inkle.engine.specialise import narrowed, replaced
from inkle.errors import IndexRangeError
from inkle.ir import forms, ops, scan, tensor
from inkle.ir.bounds import bounds, is_in_range
from inkle.ir.node import Node, Shape, toposort
from inkle.ir.size import Size, least

EFFECTS = {forms.GATHER: "the read gives 0", forms.SCATTER: "the write is dropped"}


@dataclass(frozen=True, slots=True)
class Check:
    """A node of integers that may hold some that it should not.

    Attributes:
        what: line and operation, for the message.
        index: node of the integers.
        loops: the lines of the loops over time around, the outermost first; each is one more axis
            of the integers.
    """

    what: str
    index: Node
    loops: tuple[str, ...]

    def wrong(self, index: Node) -> Node:
        """Return where `index`, the same integers in another shape, is wrong."""
        raise NotImplementedError

    def message(self, where: str, value: int) -> str:
        """Return what to tell about a wrong value."""
        raise NotImplementedError

    def first(self) -> Node:
        """Return the first place where the integers are wrong, or the number of places."""
        places = prod(self.index.shape)
        wrong = self.wrong(self._flat())
        return tensor.reduce(wrong.where(tensor.arange(places), places), ops.MINIMUM, (0,))

    def at(self, place: int) -> Node:
        """Return the integer at a flat place, as a node of shape (1,)."""
        return tensor.slice_(self._flat(), [(place, place + 1, 1)])

    def at_sizes(self, sizes: Mapping[str, int]) -> Self:
        """Return the check with numbers in place of sizes."""
        limits = {name: (value, value) for name, value in sizes.items()}
        return replace(self, index=narrowed([self.index], limits)[0])

    def error(self, place: int, value: int) -> IndexRangeError:
        """Return the error for `value` at a flat place."""
        shape = self.index.shape
        steps, shape = shape[: len(self.loops)], shape[len(self.loops) :]
        where = _coordinates(place % prod(shape), shape)
        what = self.what
        rows = _unravelled(place // prod(shape), steps)
        for row, line in zip(rows[::-1], self.loops[::-1], strict=True):
            what += f" in row {row} of the loop over time of {line}"
        named = replace(self, what=what)
        return IndexRangeError(named.message(f" at position {where}" if where else "", value))

    def _flat(self) -> Node:
        return tensor.reshape(self.index, (prod(self.index.shape),))


@dataclass(frozen=True, slots=True)
class IndexCheck(Check):
    """An index of a GATHER or SCATTER.

    Attributes:
        shape: of the tensor that is indexed.
        axis: of that tensor.
        effect: what happens outside of checked mode.
    """

    shape: Shape
    axis: int
    effect: str

    def at_sizes(self, sizes: Mapping[str, int]) -> Self:
        """Return the check with numbers in place of sizes."""
        limits = {name: (value, value) for name, value in sizes.items()}
        return replace(Check.at_sizes(self, sizes), shape=replaced(self.shape, limits))

    def wrong(self, index: Node) -> Node:
        """Return where `index` lies outside of the axis, counted from its front and its end."""
        n = self.shape[self.axis]
        return _outside_symbolic(index, n) if isinstance(n, Size) else _outside(index, -n, n)

    def message(self, where: str, value: int) -> str:
        """Return what to tell about an index outside."""
        position = where and f"{where} of the index"
        return (
            f"{self.what}: index {value}{position} is out of range for axis {self.axis} with "
            f"{self.shape[self.axis]} elements, of a tensor of shape {self.shape}; without "
            f"INKLE_CHECK=1 {self.effect}"
        )


@dataclass(frozen=True, slots=True)
class ClassCheck(Check):
    """The class numbers of a loss.

    Attributes:
        classes: how many there are.
        ignored: a number besides them that is allowed.
    """

    classes: int
    ignored: int

    def wrong(self, index: Node) -> Node:
        """Return where `index` is neither a class nor the number to ignore."""
        outside = _outside(index, 0, self.classes)
        low, high = index.dtype.limits()
        return outside & index.ne(self.ignored) if low <= self.ignored <= high else outside

    def message(self, where: str, value: int) -> str:
        """Return what to tell about a class that does not exist."""
        return (
            f"{self.what}: class {value}{where} of the target is out of range for {self.classes} "
            f"classes, and is not the ignored {self.ignored}; without INKLE_CHECK=1 its loss is 0"
        )


# What is expected of DETACH(index, number): (classes, ignored, name of the loss). Leaves of
# gradients have numbers above 0.
_expected: dict[int, tuple[int, int, str]] = {}
_numbers: dict[tuple[int, int, str], int] = {}
_next = itertools.count(-1, -1)


def expect_classes(index: Node, classes: int, ignored: int, what: str) -> Node:
    """Return the class numbers of a loss as a node that checked mode looks at."""
    if not config.get("INKLE_CHECK"):
        return index
    key = classes, ignored, what
    number = _numbers.setdefault(key, next(_next))
    _expected[number] = key
    return tensor.detach(index, number)  # nobody else's node: others may use the integers freely


def index_checks(roots: Sequence[Node]) -> list[Check]:
    """Return the checks of a graph that is about to run; none outside of checked mode.

    What has been computed already is not looked at again. The same index of axes of the same
    length (that of an embedding and of its gradient) is checked once, where it is used first.
    """
    if not config.get("INKLE_CHECK"):
        return []
    found: dict[Check, Check] = {}
    for check in _checks(_pending(roots)):
        found.setdefault(_same(check), check)
    return list(found.values())


def _checks(nodes: Iterable[Node]) -> Iterator[Check]:
    """Yield the checks of nodes, sources before users."""
    for node in nodes:
        yield from _unproved(node)
        yield from _classes(node)
        if node.op is forms.SCAN:
            line = node.origin or "an unknown line"
            for check in _checks(toposort(scan.step_of(node))):
                index = scan.stack(node.src, node.arg[0], check.index)
                yield replace(check, index=index, loops=(line, *check.loops))


def _same(check: Check) -> Check:
    """Return what equal checks have in common: not the operation, nor a tensor's other axes."""
    if isinstance(check, IndexCheck):
        n = check.shape[check.axis]
        return IndexCheck("", check.index, (), (n,), 0, "")
    return replace(check, what="", loops=())


def _pending(roots: Sequence[Node]) -> list[Node]:
    """Return the nodes below `roots` that have not been computed, sources before users."""
    seen: set[Node] = set()
    out: list[Node] = []
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            out.append(node)
        elif node not in seen and not storage.is_realized(node):
            seen.add(node)
            stack.append((node, True))
            stack.extend([(source, False) for source in reversed(node.src) if source not in seen])
    return out


def _unproved(node: Node) -> Iterator[Check]:
    """Yield a check for each axis of a GATHER or SCATTER whose index may lie outside."""
    if node.op not in EFFECTS or 0 in node.src[-1].shape:
        return
    x = node.src[0]
    spec, first = (node.arg, 1) if node.op is forms.GATHER else (node.arg[1], 2)
    for axis, entry in enumerate(spec):
        if entry < 0:
            index = node.src[first - entry - 1]
            while index.op is forms.EXPAND:
                index = index.src[0]  # the same values, fewer times
            n = least(x.shape[axis])
            if not is_in_range(index, -n, n):
                what = f"{node.origin or 'unknown line'}: {node.op.name}"
                yield IndexCheck(what, index, (), x.shape, axis, EFFECTS[node.op])


def _classes(node: Node) -> Iterator[Check]:
    """Yield the check of the class numbers of a loss."""
    expected = _expected.get(node.arg) if node.op is forms.DETACH else None
    if expected is not None and 0 not in node.shape:
        classes, ignored, what = expected
        if not is_in_range(node, 0, classes):
            line = node.origin or "unknown line"
            yield ClassCheck(f"{line}: {what}", node, (), classes, ignored)


def _outside_symbolic(index: Node, n: int) -> Node:
    """Return where `index` lies outside of an axis whose size is known at launch."""
    above = index >= tensor.full(n, index.dtype, index.shape)
    if index.dtype.limits()[0] == 0:
        return above
    return above | (index < tensor.full(-n, index.dtype, index.shape))


def _outside(index: Node, start: int, stop: int) -> Node:
    """Return where `index` is none of start ... stop - 1, which bounds do not prove."""
    low, high = bounds(index)
    # A limit that the bounds keep may be no number of the dtype: 200 of an int8, -1 of a uint8.
    below = index < start if low is None or low < start else None
    above = index >= stop if high is None or high >= stop else None
    if below is None or above is None:
        found = above if below is None else below
        assert found is not None, (index, start, stop)
        return found
    return below | above


def _coordinates(place: int, shape: Shape) -> Shape:
    """Return a flat place as one coordinate for each axis that is longer than 1."""
    pairs = zip(_unravelled(place, shape), shape, strict=True)
    return tuple([here for here, n in pairs if n > 1])


def _unravelled(place: int, shape: Shape) -> Shape:
    """Return a flat place as one coordinate for each axis."""
    out: list[int] = []
    for n in reversed(shape):
        place, here = divmod(place, n)
        out.append(here)
    return tuple(out[::-1])
