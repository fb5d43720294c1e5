"""Indexing: `x[...]` and `x[...] = v`.

Slices, integers, None and Ellipsis make views; integer tensors (or lists, or NumPy arrays) gather
elements. Rules are NumPy's: index tensors broadcast with each other and with integers beside them,
and their shape takes the place of the indexed axes if these are neighbours, else comes first. A
bool mask of k axes stands for k index tensors, the places where it is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Self

import numpy as np

from inkle.engine.storage import from_array
from inkle.engine.trace import current_trace
from inkle.errors import DTypeError, IndexRangeError, ShapeError
from inkle.ir import forms, tensor
from inkle.ir.dtype import DType
from inkle.ir.elementwise import Scalar
from inkle.ir.node import Node, Shape, const
from inkle.ir.size import Size, count
from inkle.ir.tensor import Slice
from inkle.tensor.arguments import as_int, broadcast_shape
from inkle.tensor.base import FAMILY, Core, meet_scalar
from inkle.tensor.cutting import Cutting
from inkle.tensor.masks import (
    check_mask,
    count_now,
    is_mask,
    mask_node,
    places_now,
    rank_node,
)
from inkle.tensor.movement import Movement
from inkle.tensor.origin import stamp, user_line
from inkle.tensor.views import Step, View, apply_steps, write_back, written_at

ALL = slice(None)  # by identity: an axis that nobody mentioned
_NUMBERS = frozenset((int, type(None)))


@dataclass(slots=True)
class Selection:
    """An index, taken apart.

    Attributes:
        steps: the part made of slices, integers and None, as movement steps.
        shape: of the result of `steps`.
        axes: axes (of the result of `steps`) that index tensors select from.
        indices: the integer node of each of these axes.
        apart: whether something else stands between the entries that select elements.
        mask: the only array of the index, where that is a mask and wanted as such.
        place: first axis (of the result of `steps`) of the mask.
    """

    steps: tuple[Step, ...]
    shape: Shape
    axes: list[int]
    indices: list[Node]
    apart: bool
    mask: Any = None
    place: int = 0


class Indexing(Cutting):
    """Mixin of indexing and assignment."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Self:
        selection = parse(index, self)
        view = self._moved(*selection.steps)
        if not selection.indices:
            return view
        x = view.node
        indices, spec = gather_map(x.shape, selection)
        return self._new(tensor.gather(x, indices, spec))

    def __setitem__(self, index: Any, value: Any) -> None:
        selection = parse(index, self, chosen_by_mask=True)
        line = user_line()
        if not selection.indices and selection.mask is None:
            values = self._values(value, selection.shape, "assignment")
            self._write(selection.steps, values, line)
            return
        target = apply_steps(self.node, selection.steps)
        if selection.mask is not None:
            target = self._chosen(target, selection, value)
        else:
            indices, spec = gather_map(target.shape, selection)
            values = self._values(value, indices[0].shape, "assignment")
            target = tensor.scatter(target, values, indices, spec, None)
        self._write(selection.steps, target, line)

    def _chosen(self, target: Node, selection: Selection, value: Any) -> Node:
        """Return `target` with `value` where a mask, its only index, is true.

        Values for each element that is selected are found by the rank of the element, so that how
        many there are need not be known inside of a captured function.
        """
        assert selection.mask is not None
        mask, (at, rank) = mask_node(selection.mask), (selection.place, selection.mask.ndim)
        before, after = target.shape[:at], target.shape[at + rank :]
        place = 0 if selection.apart else at
        others, block = (
            (*before, *after),
            len(after) if not selection.apart else len(before + after),
        )
        value = _as_array(value) if isinstance(value, (list, tuple)) else value
        shape = getattr(value, "shape", ())
        number = shape[-1 - block] if len(shape) > block else 1
        values = self._values(value, (*others[:place], number, *others[place:]), "assignment")
        if number != 1:
            if current_trace() is None and count_now(selection.mask) != number:
                raise ShapeError(
                    f"assignment of {number} values, shape {shape}, to the "
                    f"{count_now(selection.mask)} places where a mask of {mask.shape} is true"
                )
            if not number:
                return target
        if selection.apart:
            order = [*range(1, at + 1), 0, *range(at + 1, len(values.shape))]
            values = tensor.permute(values, order)
        where = (*[1] * at, *mask.shape, *[1] * len(after))
        if number == 1:
            values = tensor.reshape(values, (*before, *[1] * rank, *after))
            values = tensor.expand(values, target.shape)
        else:
            index = tensor.expand(tensor.reshape(rank_node(mask), where), target.shape)
            spec = [*range(at), -1, *range(at + rank, len(target.shape))]
            values = tensor.gather(values, [index], spec)
        chosen = tensor.expand(tensor.reshape(mask, where), target.shape)
        return chosen.where(values, target)

    def assign(self, value: Any) -> Self:
        """Make `value` the new value of this tensor, and of what it is a view of.

        No gradient flows through it: it is how state changes. (One does flow through `x[...] = v`.)
        Expressions made earlier keep the values of their time.

        Args:
            value: tensor or number that broadcasts to this shape; its dtype is converted if its
                family (bool, integer, float) fits.

        Returns:
            This tensor.

        Raises:
            MutationError: if this is a view, and its base has changed since it was taken.
        """
        values = self._values(value, self.shape, "assign")
        self._write((), tensor.detach(values), user_line())
        return self

    def _become(self, node: Node, line: str) -> None:
        """Make `node`, of this shape and dtype, the new value; no gradient flows through it."""
        self._write((), node, line)

    def _values(self, value: Any, shape: Shape, what: str) -> Node:
        """Return `value` as a node of `shape` and of the dtype of self."""
        dtype = self.dtype
        if isinstance(value, (list, tuple)):
            value = _as_array(value)
        given: Node | Scalar = self._operand(value, what)
        if not isinstance(given, Node):
            if meet_scalar(dtype, given) is not dtype:
                raise DTypeError(f"{what}: {given!r} does not fit {dtype}; cast the tensor first")
            return tensor.broadcast_to(const(given, dtype), shape)
        if not _fits(given.dtype, dtype):
            raise DTypeError(f"{what} of {given.dtype} to {dtype} loses values; cast them first")
        extra = len(given.shape) - len(shape)
        if extra > 0 and given.shape[:extra] == (1,) * extra:
            given = tensor.reshape(given, given.shape[extra:])
        if broadcast_shape(given.shape, shape, what) != shape:
            raise ShapeError(f"{what}: values of {given.shape} do not fit a target of {shape}")
        return tensor.broadcast_to(given.cast(dtype), shape)

    def _write(self, steps: tuple[Step, ...], values: Node, line: str) -> None:
        """Replace what `steps` show of this tensor by `values`, here and in the base of a view."""
        view = self._view
        if view is None:
            self._store(write_back(self.node, steps, values) if steps else values, line)
            return
        view.check_current(line)
        base = view.base
        node = write_back(view.source, view.steps + steps, values)
        _put(base, node, line)
        self._view = View(base, node, node, view.steps, line)
        self._store(apply_steps(node, view.steps), line)

    def _store(self, node: Node, line: str) -> None:
        """Make `node` the current value of this tensor's own storage."""
        _put(self._storage, node, line)


def _as_array(value: Any) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(value)
    except ValueError:
        raise ShapeError(
            f"lists must have equal lengths at each level, got {value!r:.60}"
        ) from None


def _put(storage: Any, node: Node, line: str) -> None:
    stamp(node, line)
    storage.current = node
    written_at[storage] = line


def _fits(given: DType, dtype: DType) -> bool:
    """Whether values may be converted unasked: to the same family (bool, integer, float) or up."""
    return FAMILY[given.kind] <= FAMILY[dtype.kind]


def parse(index: Any, x: Movement, *, chosen_by_mask: bool = False) -> Selection:
    """Take an index of tensor `x` apart, checking every entry against its axis.

    Args:
        index: what stands in the brackets.
        x: the tensor.
        chosen_by_mask: whether a mask that is the only array of the index is wanted as such, not as
            the places where it is true.
    """
    shape = x.shape
    given = [_entry(each) for each in index] if isinstance(index, tuple) else [_entry(index)]
    arrays = [each for each in given if isinstance(each, (Core, np.ndarray))]
    chosen = chosen_by_mask and len(arrays) == 1 and is_mask(arrays[0]) and arrays[0].ndim > 0
    apart = bool(arrays) and _is_apart(given)
    parts = _Parts(x)
    for each in _full_entries(given, shape):
        if each is None:
            parts.kept.append(1)
        elif arrays and is_mask(each):
            parts.mask(each, find=not chosen)
        elif isinstance(each, slice):
            parts.slice(each)
        else:
            parts.select(each)
    steps: tuple[Step, ...] = ((forms.SLICE, tuple(parts.ranges)),)
    if parts.flipped:
        steps = (*steps, (forms.FLIP, tuple(parts.flipped)))
    result = tuple(parts.kept)
    steps = (*steps, (forms.RESHAPE, result))
    mask = arrays[0] if chosen else None
    return Selection(steps, result, parts.axes, parts.indices, apart, mask, parts.place)


class _Parts:
    """What entries of an index have been found to mean, axis by axis.

    Attributes:
        x: the tensor.
        ranges: of its axes.
        flipped: axes that are read backwards.
        kept: lengths of axes after slicing, without those that integers selected.
        axes, indices, place: see `Selection`.
    """

    def __init__(self, x: Movement) -> None:
        self.x, self.shape = x, x.shape
        self.ranges: list[Slice] = []
        self.flipped: list[int] = []
        self.kept: list[int] = []
        self.axes: list[int] = []
        self.indices: list[Node] = []
        self.place = 0

    def mask(self, each: Any, *, find: bool) -> None:
        """Take axes that a mask selects from; `find` its places."""
        axis, self.place = len(self.ranges), len(self.kept)
        check_mask(each, self.shape, axis)
        rows = self.shape[axis : axis + each.ndim]
        self.ranges += [(0, n, 1) for n in rows]
        if not each.ndim:  # a new axis of length 1, of which it takes one element or none
            self.indices.append(from_array(np.zeros(count_now(each), np.int64)))
            self.axes.append(self.place)
            rows = (1,)
        elif find:
            self.indices += places_now(each)
            self.axes += range(self.place, self.place + each.ndim)
        self.kept += rows

    def slice(self, each: slice) -> None:
        """Take an axis of which a slice is kept."""
        axis = len(self.ranges)
        n = self.shape[axis]
        if each is ALL:
            self.ranges.append((0, n, 1))
            self.kept.append(n)
            return
        each_range, backwards = _range(each, n)
        self.ranges.append(each_range)
        self.kept.append(count(*each_range))
        if backwards:
            self.flipped.append(axis)

    def select(self, each: Any) -> None:
        """Take an axis that an integer or an array of integers selects from."""
        axis = len(self.ranges)
        n = self.shape[axis]
        found = _index_node(each, n, axis, self.x)
        if not isinstance(found, Node):
            self.ranges.append((found, found + 1, 1))
            return
        self.ranges.append((0, n, 1))
        self.axes.append(len(self.kept))
        self.indices.append(found)
        self.kept.append(n)


def _entry(each: Any) -> Any:
    """Return an entry of an index; lists and bools become arrays."""
    if type(each) is int or type(each) is slice or each is None:
        return each
    if isinstance(each, (list, tuple, range, bool, np.bool_)):
        return _as_array(each)
    return each


def _is_apart(entries: Sequence[Any]) -> bool:
    """Whether a slice, None or Ellipsis stands between entries that select elements."""
    found = [i for i, each in enumerate(entries)
             if not (each is None or each is Ellipsis or isinstance(each, slice))]  # fmt: skip
    return found[-1] - found[0] >= len(found)


def _full_entries(entries: list[Any], shape: Shape) -> list[Any]:
    """Return one entry per axis (and per new axis): Ellipsis and what is missing become ALL."""
    used, dots = 0, []
    for i, each in enumerate(entries):
        if each is Ellipsis:
            dots.append(i)
        elif each is not None:
            used += each.ndim if is_mask(each) else 1
    if len(dots) > 1:
        raise IndexRangeError("an index may hold one Ellipsis (...), got two")
    if used > len(shape):
        raise IndexRangeError(f"{used} indices are too many for a tensor of shape {shape}")
    at = dots[0] if dots else len(entries)
    entries[at : at + 1] = [ALL] * (len(shape) - used)
    return entries


def _range(each: slice, n: int) -> tuple[Slice, bool]:
    """Return a slice of an axis of `n` with a positive step, and whether to reverse it."""
    if not _NUMBERS.issuperset(map(type, (each.start, each.stop, each.step, n))):
        ends = [getattr(end, "now", end) for end in (each.start, each.stop, each.step)]
        if any(isinstance(end, Size) for end in (*ends, n)):
            return _symbolic_range(ends, n), False
    try:
        start, stop, step = each.indices(n)
    except (TypeError, ValueError) as error:
        raise DTypeError(f"slice {each.start}:{each.stop}:{each.step}: {error}") from None
    length = len(range(start, stop, step))
    if not length:
        return (0, 0, 1), False
    if step > 0:
        return (start, start + (length - 1) * step + 1, step), False
    last = start + (length - 1) * step
    return (last, start + 1, -step), length > 1


def _symbolic_range(ends: Sequence[Any], n: int) -> Slice:
    """Return a slice some of whose numbers are sizes known at launch only."""
    first, last = 0 if ends[0] is None else ends[0], n if ends[1] is None else ends[1]
    step = 1 if ends[2] is None else as_int(ends[2], "step of a slice")
    if isinstance(step, Size) or step <= 0:
        raise IndexRangeError(
            f"a slice with symbolic sizes has a step above 0, got {step}; flip it"
        )
    start, stop = _clamped(first, n), _clamped(last, n)
    length = count(start, stop, step)
    if not isinstance(length, Size) and not length:
        return 0, 0, 1
    return start, start + (length - 1) * step + 1, step


def _clamped(end: Any, n: int) -> int:
    """Return an end of a slice within 0 ... n; negative ones count from the end."""
    end = as_int(end, "end of a slice")
    if end < 0:
        end = end + n
    return 0 if end < 0 else n if end > n else end


def _index_node(each: Any, n: int, axis: int, x: Movement) -> int | Node:
    """Return one entry as a position counted from the front, or as an integer node."""
    if type(each) is int and -n <= each < n:
        return each + n if each < 0 else each
    if isinstance(each, Core):
        node = x._operand(each, "indexing")
        assert isinstance(node, Node)
        if not node.dtype.is_integer:
            raise DTypeError(
                f"index of axis {axis} has dtype {node.dtype}, not integer or bool; use x.long()"
            )
        return node
    if isinstance(each, np.ndarray):
        return from_array(_checked(each, n, axis))
    if isinstance(each, EllipsisType) or not hasattr(each, "__index__"):
        raise DTypeError(f"index of axis {axis} must be an integer, slice or tensor, got {each!r}")
    position = as_int(each, f"index of axis {axis}")
    if not -n <= position < n:
        raise IndexRangeError(f"index {position} is out of range for axis {axis} with {n} elements")
    return position + n if position < 0 else position


def _checked(array: np.ndarray[Any, Any], n: int, axis: int) -> np.ndarray[Any, Any]:
    """Return indices known now as int64, after a look at their range."""
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise DTypeError(
            f"index of axis {axis} holds {array.dtype}, not integers; convert it first"
        )
    if array.size and not (-n <= array.min() and array.max() < n):
        wrong = array.max() if array.max() >= n else array.min()
        raise IndexRangeError(f"index {wrong} is out of range for axis {axis} with {n} elements")
    return array.astype(np.int64)


def gather_map(shape: Shape, selection: Selection) -> tuple[list[Node], list[int]]:
    """Return index nodes of the result's shape, and the map that GATHER and SCATTER take."""
    axes = selection.axes
    block: Shape = ()
    for node in selection.indices:
        block = broadcast_shape(block, node.shape, "index tensors")
    place = 0 if selection.apart else axes[0]
    others = [axis for axis in range(len(shape)) if axis not in axes]
    before = [] if selection.apart else [axis for axis in others if axis < axes[0]]
    after = others[len(before) :]
    result = (*[shape[a] for a in before], *block, *[shape[a] for a in after])
    spec = [0] * len(shape)
    for k, axis in enumerate(axes):
        spec[axis] = -k - 1
    for i, axis in enumerate(before):
        spec[axis] = i
    for i, axis in enumerate(after):
        spec[axis] = place + len(block) + i
    indices = [_place(node, block, len(before), len(after), result) for node in selection.indices]
    return indices, spec


def _place(node: Node, block: Shape, before: int, after: int, result: Shape) -> Node:
    """Return an index node as one of the result's shape: constant along all axes but its own."""
    padded = (1,) * (len(block) - len(node.shape)) + node.shape
    ones: Sequence[int] = (*[1] * before, *padded, *[1] * after)
    return tensor.expand(tensor.reshape(node, tuple(ones)), result)
