"""Indexing: `x[...]` and `x[...] = v`.

Slices, integers, None and Ellipsis make views; integer tensors (or lists, or NumPy arrays) gather
elements. Rules are PyTorch's: an integer selects first, index tensors broadcast with each other,
and their shape takes the place of the indexed axes if these are neighbours, else comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Self

import numpy as np

from inkle.engine.storage import from_array
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
from inkle.tensor.movement import Movement
from inkle.tensor.origin import stamp, user_line
from inkle.tensor.views import Step, View, apply_steps, write_back, written_at

MASK_HELP = (
    "a bool mask selects a number of elements that depends on values; use mask.where(x, y), or "
    "index with integers"
)

ALL = slice(None)  # by identity: an axis that nobody mentioned


@dataclass(slots=True)
class Selection:
    """An index, taken apart.

    Attributes:
        steps: the part made of slices, integers and None, as movement steps.
        shape: of the result of `steps`.
        axes: axes (of the result of `steps`) that index tensors select from.
        indices: the integer node of each of these axes.
    """

    steps: tuple[Step, ...]
    shape: Shape
    axes: list[int]
    indices: list[Node]


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
        selection = parse(index, self)
        line = user_line()
        if not selection.indices:
            values = self._values(value, selection.shape, "assignment")
            self._write(selection.steps, values, line)
            return
        target = apply_steps(self.node, selection.steps)
        indices, spec = gather_map(target.shape, selection)
        values = self._values(value, indices[0].shape, "assignment")
        target = tensor.scatter(target, values, indices, spec, None)
        self._write(selection.steps, target, line)

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


def parse(index: Any, x: Movement) -> Selection:
    """Take an index of tensor `x` apart, checking every entry against its axis."""
    shape = x.shape
    entries = _full_entries(list(index) if isinstance(index, tuple) else [index], shape)
    ranges: list[Slice] = []
    flipped: list[int] = []
    kept: list[int] = []  # shape after slicing, without axes that integers selected
    axes: list[int] = []
    indices: list[Node] = []
    for each in entries:
        axis = len(ranges)
        if each is None:
            kept.append(1)
            continue
        n = shape[axis]
        if each is ALL:
            ranges.append((0, n, 1))
            kept.append(n)
            continue
        if isinstance(each, slice):
            each_range, backwards = _range(each, n)
            ranges.append(each_range)
            kept.append(count(*each_range))
            if backwards:
                flipped.append(axis)
            continue
        chosen = _index_node(each, n, axis, x)
        if not isinstance(chosen, Node):
            ranges.append((chosen, chosen + 1, 1))
        else:
            ranges.append((0, n, 1))
            axes.append(len(kept))
            indices.append(chosen)
            kept.append(n)
    steps: tuple[Step, ...] = ((forms.SLICE, tuple(ranges)),)
    if flipped:
        steps = (*steps, (forms.FLIP, tuple(flipped)))
    result = tuple(kept)
    return Selection((*steps, (forms.RESHAPE, result)), result, axes, indices)


def _full_entries(entries: list[Any], shape: Shape) -> list[Any]:
    """Return one entry per axis (and per new axis): Ellipsis and what is missing become ALL."""
    used, dots = 0, []
    for i, each in enumerate(entries):
        if each is Ellipsis:
            dots.append(i)
        elif each is not None:
            used += 1
    if len(dots) > 1:
        raise IndexRangeError("an index may hold one Ellipsis (...), got two")
    if used > len(shape):
        raise IndexRangeError(f"{used} indices are too many for a tensor of shape {shape}")
    at = dots[0] if dots else len(entries)
    entries[at : at + 1] = [ALL] * (len(shape) - used)
    return entries


def _range(each: slice, n: int) -> tuple[Slice, bool]:
    """Return a slice of an axis of `n` with a positive step, and whether to reverse it."""
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
    if isinstance(each, (bool, np.bool_)):
        raise DTypeError(f"index of axis {axis} is a bool; {MASK_HELP}")
    if isinstance(each, Core):
        node = x._operand(each, "indexing")
        assert isinstance(node, Node)
        if not node.dtype.is_integer:
            extra = MASK_HELP if not node.dtype.is_float else "use x.long()"
            raise DTypeError(f"index of axis {axis} has dtype {node.dtype}, not integer; {extra}")
        return node
    if isinstance(each, (list, tuple, np.ndarray, range)):
        return from_array(_checked(_as_array(each), n, axis))
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
        extra = MASK_HELP if array.dtype.kind == "b" else "convert it first"
        raise DTypeError(f"index of axis {axis} holds {array.dtype}, not integers; {extra}")
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
    neighbours = axes == list(range(axes[0], axes[0] + len(axes)))
    place = axes[0] if neighbours else 0
    others = [axis for axis in range(len(shape)) if axis not in axes]
    before = [axis for axis in others if axis < axes[0]] if neighbours else []
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
