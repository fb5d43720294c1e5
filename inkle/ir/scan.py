"""Loops over time in the tensor form: one step as a graph, and what is wanted of the steps.

A recurrence is a step written once: how the new values of what is carried come from the old ones,
from one row of each array that is read row by row, and from what all steps share. A SCAN is one
result of it. SCANs of one recurrence with the same sources are one loop, whatever is wanted of it;
which is why differentiation may ask for any node of the step, later.

    carry   an array of rows: the value of something carried, before each step and after the last
    stack   an array of rows: the value of any node of the step, at each step
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inkle.errors import ShapeError
from inkle.ir import forms
from inkle.ir.node import Node, intern, substitute, toposort
from inkle.ir.tensor import param, reshape, shrink

MOST_IN_REGISTERS = 16  # values that a kernel carries; more are carried in memory
RING = 2  # rows that are kept where only the last value is wanted: one is read, one written


@dataclass(frozen=True, slots=True)
class Recurrence:
    """One step, over PARAM leaves.

    Attributes:
        following: the new values of what is carried. Slots 0 .. len(following) - 1 are the old
            ones; the next `sliced` slots are rows of arrays; the rest is shared by all steps.
        sliced: how many arrays are read row by row, along their first axis.
        steps: how many there are, at least one.
        is_reversed: whether the last row comes first.
    """

    following: tuple[Node, ...]
    sliced: int
    steps: int
    is_reversed: bool = False

    @property
    def carried(self) -> int:
        """How many values are carried from step to step."""
        return len(self.following)

    def shape_in_step(self, slot: int, source: Node) -> tuple[int, ...]:
        """Return the shape that a step sees of `source` number `slot`."""
        is_sliced = self.carried <= slot < self.carried + self.sliced
        return source.shape[1:] if is_sliced else source.shape

    def row_before(self) -> tuple[int, int]:
        """Return (row that the first step reads, distance to that of the next), modulo the rows."""
        return (self.steps, -1) if self.is_reversed else (0, 1)

    def row_after(self) -> tuple[int, int]:
        """Return (row that the first step writes, distance to that of the next)."""
        start, step = self.row_before()
        return start + step, step

    def first_row(self, rows: int) -> int:
        """Return the row of a carry that holds the value before the first step."""
        return self.row_before()[0] % rows

    def last_row(self, rows: int) -> int:
        """Return the row of a carry that holds the value after the last step."""
        start, step = self.row_before()
        return (start + step * self.steps) % rows


def carry(src: Sequence[Node], recurrence: Recurrence, number: int, rows: int) -> Node:
    """Return the values of carried `number`: all, in steps + 1 rows, or the last 1 or RING."""
    like = src[number]
    arg = (recurrence, number, rows)
    return intern(forms.SCAN, like.dtype, tuple(src), arg, (rows, *like.shape))


def stack(src: Sequence[Node], recurrence: Recurrence, node: Node) -> Node:
    """Return the value of a node of the step at every step, in the order of the rows it reads."""
    arg = (recurrence, node, recurrence.steps)
    return intern(forms.SCAN, node.dtype, tuple(src), arg, (recurrence.steps, *node.shape))


def step_of(node: Node) -> list[Node]:
    """Return the graph of one step of a SCAN: what is carried on, then what is stacked, if any."""
    recurrence, result, _ = node.arg
    return [*recurrence.following, *([result] if isinstance(result, Node) else [])]


def history(src: Sequence[Node], recurrence: Recurrence, number: int) -> Node:
    """Return all values of carried `number`, in steps + 1 rows."""
    return carry(src, recurrence, number, recurrence.steps + 1)


def is_pointwise(nodes: Iterable[Node]) -> bool:
    """Whether the values of a step are elementwise ones of arrays of one shape.

    Then each element of what is carried goes its own way, and one kernel runs the whole loop.
    """
    inside = [node for node in toposort(nodes) if node.op is not forms.CONST]
    return all(
        node.shape == inside[0].shape and (node.op is forms.PARAM or node.op.is_elementwise)
        for node in inside
    )


def last_of(recurrence: Recurrence, rows: Node) -> Node:
    """Return the value after the last step from all rows of a carry."""
    last = recurrence.last_row(rows.shape[0])
    return reshape(shrink(rows, 0, last, last + 1), rows.shape[1:])


def before(recurrence: Recurrence, rows: Node) -> Node:
    """Return from a `history` the values before each step, in the order of what steps read."""
    first = 1 if recurrence.is_reversed else 0
    return shrink(rows, 0, first, first + recurrence.steps)


def after(recurrence: Recurrence, rows: Node) -> Node:
    """Return from a `history` the values after each step, in the order of what steps read."""
    first = 0 if recurrence.is_reversed else 1
    return shrink(rows, 0, first, first + recurrence.steps)


def above(order: Sequence[Node], start: Iterable[Node]) -> set[Node]:
    """Return the nodes that depend on those of `start`, and these; `order`: sources first."""
    found = set(start)
    for node in order:
        if any(source in found for source in node.src):
            found.add(node)
    return found


class Loop:
    """A loop over time whose step is given over leaves that stand for what it sees.

    Args:
        carried: leaf -> initial value.
        rows: leaf -> array of which it is a row; those that nothing needs are left out.
        shared: leaf -> value; likewise.
        following: what is carried on, in the order of `carried`.
        others: nodes of the step whose values may be asked for.
        steps: how many there are.
        is_reversed: whether the last row comes first.
    """

    def __init__(
        self,
        carried: Mapping[Node, Node],
        rows: Mapping[Node, Node],
        shared: Mapping[Node, Node],
        following: Sequence[Node],
        others: Sequence[Node],
        steps: int,
        *,
        is_reversed: bool,
    ) -> None:
        used = set(toposort([*following, *others]))
        self._rows = {leaf: array for leaf, array in rows.items() if leaf in used}
        known = {leaf: value for leaf, value in shared.items() if leaf in used}
        seen = [*carried.items(), *self._rows.items(), *known.items()]
        slots = {leaf: param(i, leaf.dtype, leaf.shape) for i, (leaf, _) in enumerate(seen)}
        self._names = substitute([*following, *others], slots)
        self._places = {leaf: place for place, leaf in enumerate(carried)}
        self._ends = {node: place for place, node in enumerate(following)}
        self._src = tuple([value for _, value in seen])
        new = tuple([self._names[node] for node in following])
        self._recurrence = Recurrence(new, len(self._rows), steps, is_reversed)

    def last(self, place: int, rows: int = RING) -> Node:
        """Return the final value of what is carried in that place, of which `rows` are kept."""
        return last_of(self._recurrence, carry(self._src, self._recurrence, place, rows))

    def stacked(self, node: Node) -> Node:
        """Return the values that a node of the step has at all steps, as a result of their own."""
        return stack(self._src, self._recurrence, self._names[node])

    def at_every_step(self, node: Node) -> Node:
        """Return the values that a node of the step has at all steps, one row each."""
        src, recurrence = self._src, self._recurrence
        if node in self._rows:
            return self._rows[node]
        if node in self._places:
            return before(recurrence, history(src, recurrence, self._places[node]))
        if node in self._ends:
            return after(recurrence, history(src, recurrence, self._ends[node]))
        return self.stacked(node)


def infer(src: Sequence[Node], arg: tuple[Recurrence, int | Node, int]) -> Node:
    """Return the SCAN with these fields, checked.

    Raises:
        ShapeError: if sources, recurrence and result do not fit each other.
    """
    recurrence, result, rows = arg
    _check_sources(src, recurrence)
    if isinstance(result, Node):
        found = stack(src, recurrence, result)
    else:
        if not 0 <= result < recurrence.carried or rows not in (1, RING, recurrence.steps + 1):
            raise ShapeError(f"a scan of {recurrence.steps} steps has no carry {result} in {rows}")
        found = carry(src, recurrence, result, rows)
    if found.shape[0] != rows:
        raise ShapeError(f"a scan of {recurrence.steps} steps has no result of {rows} rows")
    return found


def _check_sources(src: Sequence[Node], recurrence: Recurrence) -> None:
    if recurrence.steps < 1 or len(src) < recurrence.carried + recurrence.sliced:
        raise ShapeError(f"a scan of {recurrence.steps} steps over {len(src)} sources")
    for source, new in zip(src, recurrence.following, strict=False):
        if (source.dtype, source.shape) != (new.dtype, new.shape):
            raise ShapeError(f"a scan begins with {source!r} and goes on with {new!r}")
    for source in src[recurrence.carried :][: recurrence.sliced]:
        if source.shape[:1] != (recurrence.steps,):
            raise ShapeError(f"a scan of {recurrence.steps} steps cannot read rows of {source!r}")
