"""Values of loop-form expressions at many points of their ranges at once.

Each range of a kernel is an axis of every array here, of length 1 where a value does not depend on
it. A reduction combines along its axes; memory that is staged is one tile per point of the ranges
around it. Reads are checked: an element outside the memory, or one that nobody has written, raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from inkle.check.arrays import reduce_axes, running
from inkle.check.dots import dot_value
from inkle.check.numpy_algebra import Array, apply, constant, numpy_dtype, to_array, to_bits
from inkle.errors import InternalError
from inkle.ir import forms
from inkle.ir.dtype import DType, index
from inkle.ir.loop import Axis, Kernel, axis_of, carried, number_of, runs_over
from inkle.ir.node import Node, bound_ranges, toposort
from inkle.ir.text import expression

PARALLEL = frozenset({Axis.GRID, Axis.WORKER, Axis.LANE})


class KernelFault(InternalError):  # noqa: N818 - the kernel's fault, not an error of this module
    """A kernel did what no kernel may do; names the node, the point and the memory."""


@dataclass(eq=False, slots=True)
class Memory:
    """One array that kernels read and write.

    Attributes:
        data: the elements, flat; changed in place.
        dtype: of the elements.
        written: which elements have a value.
    """

    data: Array
    dtype: DType
    written: Array

    @staticmethod
    def of(array: Array, dtype: DType) -> Memory:
        """Return memory with these elements; shares them if `array` is held as `dtype` is."""
        data = to_array(array, dtype).reshape(-1)
        return Memory(data, dtype, np.ones(data.shape, bool))

    @staticmethod
    def undefined(size: int, dtype: DType) -> Memory:
        """Return memory that must be written before it is read."""
        return Memory(np.zeros(size, numpy_dtype(dtype)), dtype, np.zeros(size, bool))


def name_of(memory: Node) -> str:
    """Return what to call a memory in a message."""
    return f"argument {memory.arg[0]}" if memory.op is forms.PARAM else f"stage {memory.arg[0]}"


class Space:
    """The ranges of a kernel: one axis each, in loop order, with lengths and ragged extents."""

    def __init__(self, kernel: Kernel, variables: Mapping[str, int]) -> None:
        self.variables = variables
        place = {r: i for i, r in enumerate(kernel.order)}
        ranges = sorted(kernel.ranges(), key=lambda r: (place.get(r, len(place)), number_of(r)))
        self.axes = {r: i for i, r in enumerate(ranges)}
        self.lengths = {r: self._length(r) for r in ranges}
        self.ragged = [r for r in ranges if r.src[0].ranges]
        folds = [node for node in kernel.nodes() if node.op is forms.FOLD]
        self.folds = {each: fold for fold in folds for each, _ in carried(fold)}

    def _length(self, r: Node) -> int:
        """Return the extent of `r`, or the largest one if it depends on other ranges."""
        outer = sorted(r.src[0].ranges, key=number_of)
        if not outer:
            values = evaluate_free(r.src[0], self.variables, {})
        else:  # rare and small: at every point of the ranges around
            lengths = [self._length(each) for each in outer]
            grids = np.meshgrid(*[np.arange(n) for n in lengths], indexing="ij")
            values = evaluate_free(r.src[0], self.variables, dict(zip(outer, grids, strict=True)))
        return max(int(values.max(initial=0)), 0)


def evaluate_free(root: Node, variables: Mapping[str, int], known: Mapping[Node, Array]) -> Array:
    """Return the value of an expression without memory, given those of its ranges."""
    values = dict(known)
    for node in toposort((root,)):
        if node not in values:
            values[node] = _scalar_value(node, variables, values)
    return values[root]


def _scalar_value(node: Node, variables: Mapping[str, int], values: Mapping[Node, Array]) -> Array:
    if node.op.is_elementwise:
        sources = [source.dtype for source in node.src]
        return apply(node.op, node.dtype, [values[source] for source in node.src], sources)
    if node.op is forms.CONST:
        return constant(node.arg, node.dtype)
    if node.op is forms.VARIABLE:
        name, low, high = node.arg
        if name not in variables or not low <= variables[name] <= high:
            raise InternalError(f"variable {name} needs a value in {low}..{high}, got {variables}")
        return np.asarray(variables[name], numpy_dtype(node.dtype))
    raise InternalError(f"{node!r} has no place in a kernel")


Observer = Callable[[Node, Array, Array, "Points"], None]


class Points:
    """A box of points: some consecutive values of every range.

    Args:
        space: all ranges.
        box: first value and length of the ranges that do not run over all of their values.
        memories: what PARAM slots stand for.
        observe: called with each LOAD of a PARAM, the positions read, and where it reads at all.
    """

    def __init__(
        self,
        space: Space,
        box: Mapping[Node, tuple[int, int]],
        memories: Mapping[int, Memory],
        observe: Observer | None = None,
    ) -> None:
        self.space, self.memories, self.observe = space, memories, observe
        self.box = {r: box.get(r, (0, n)) for r, n in space.lengths.items()}
        self.values: dict[Node, Array] = {}
        self._tiles: dict[Node, Memory] = {}

    def value(self, root: Node) -> Array:
        """Return the value of `root`, with one axis per range of the kernel."""
        for node in toposort((root,)):
            if node not in self.values and node.op not in (forms.PARAM, forms.STORE):
                if node.op is forms.CARRY:
                    self._run(self.space.folds[node])
                else:
                    self.values[node] = self._step(node)
        return self.values[root]

    def _run(self, fold: Node) -> None:
        """Find the values of all that a FOLD carries, at one of its points after the other."""
        pairs, ranges = carried(fold), runs_over(fold)
        inside = set(dict(pairs))
        for node in toposort([following for _, following in pairs]):
            if inside.intersection(node.src):
                inside.add(node)
            elif node not in inside and node.op is not forms.PARAM:
                self.value(node)
        state = {each: self.value(each.src[0]) for each, _ in pairs}
        rows = {each: np.zeros(self.shape(each.ranges), state[each].dtype) for each in state}
        for at in product(*[range(self.space.lengths[r]) for r in ranges]):
            place = {self.space.axes[r]: slice(i, i + 1) for r, i in zip(ranges, at, strict=True)}
            here = Points(
                self.space,
                {**self.box, **dict(zip(ranges, ((i, 1) for i in at), strict=True))},
                self.memories,
            )
            for node, value in self.values.items():
                here.values[node] = value[
                    tuple(
                        [
                            place.get(axis, slice(None)) if n > 1 else slice(None)
                            for axis, n in enumerate(value.shape)
                        ]
                    )
                ]
            for each, value in state.items():
                where = tuple([place.get(axis, slice(None)) for axis in range(rows[each].ndim)])
                rows[each][where] = value
                here.values[each] = value
            state = {each: here.value(following) for each, following in pairs}
        self.values.update(rows)

    def shape(self, ranges: frozenset[Node]) -> tuple[int, ...]:
        """Return the shape of a value that depends on `ranges`."""
        return tuple(self.box[r][1] if r in ranges else 1 for r in self.space.axes)

    def active(self, ranges: frozenset[Node]) -> Array:
        """Return where every range is below its extent, which may depend on other ranges."""
        out = np.ones((1,) * len(self.space.axes), bool)
        for r in self.space.ragged:
            if r in ranges:
                out = out & (self.value(r) < self.value(r.src[0]))
        return out

    def _step(self, node: Node) -> Array:
        if node.op is forms.RANGE:
            low, n = self.box[node]
            axes = len(self.space.axes)
            return np.arange(low, low + n).reshape(
                [-1 if i == self.space.axes[node] else 1 for i in range(axes)]
            )
        if node.op is forms.REDUCE:
            return self._reduce(node)
        if node.op is forms.PREFIX:
            return self._prefix(node)
        if node.op is forms.FOLD:
            return np.broadcast_to(self.values[node.src[0]], self.shape(node.ranges))
        if node.op is forms.LOAD:
            return self._load(node)
        if node.op is forms.DOT:
            return dot_value(self, node)
        if node.op is forms.STAGE:
            self._tiles[node] = self._stage(node)
            return np.zeros((), bool)
        value = _scalar_value(node, self.space.variables, self.values)
        return value.reshape((1,) * len(self.space.axes)) if value.ndim == 0 else value

    def _reduce(self, node: Node) -> Array:
        ranges = frozenset(bound_ranges(node))
        inside = node.src[0].ranges | ranges
        value = np.broadcast_to(self.values[node.src[0]], self.shape(inside))
        active = self.active(inside)
        op = node.arg[0]
        if not active.all():
            value = np.where(active, value, constant(op.identity(node.dtype), node.dtype))
        axes = tuple(sorted(self.space.axes[r] for r in ranges))
        return np.expand_dims(reduce_axes(op, node.dtype, value, axes), axes)

    def _prefix(self, node: Node) -> Array:
        value = np.broadcast_to(self.values[node.src[0]], self.shape(node.ranges))
        op = node.arg[0]
        active = self.active(node.ranges)
        if not active.all():
            value = np.where(active, value, constant(op.identity(node.dtype), node.dtype))
        axes = [self.space.axes[r] for r in node.src[1:]]
        last = list(range(-len(axes), 0))
        moved = np.moveaxis(value, axes, last)
        flat = moved.reshape((*moved.shape[: -len(axes)], -1))
        return np.moveaxis(running(op, node.dtype, flat).reshape(moved.shape), last, axes)

    # --- memory -----------------------------------------------------------------------------------

    def _load(self, node: Node) -> Array:
        memory, at, *gate = node.src
        position = np.broadcast_to(self.values[at], self.shape(node.ranges))
        mask = self.active(node.ranges)
        if gate:
            mask = mask & self.values[gate[0]]
        mask = np.broadcast_to(mask, position.shape)
        if memory.op is forms.STAGE:
            held, size = self._tiles[memory], memory.arg[1]
            self.check_inside(node, position, mask, size)
            position = self.number(memory.ranges) * size + position
        else:
            held = self.memories[memory.arg[0]]
            self.check_inside(node, position, mask, held.data.size)
            if self.observe:
                self.observe(node, position, mask, self)
        if not mask.any():
            return np.zeros(position.shape, held.data.dtype)
        safe = np.where(mask, position, 0)
        unwritten = mask & ~held.written[safe]
        if unwritten.any():
            raise self.fault("reads an element that was never written", node, unwritten)
        return np.where(mask, held.data[safe], np.zeros((), held.data.dtype))

    def check_inside(self, access: Node, position: Array, mask: Array, size: int) -> None:
        """Raise if an access reaches outside its memory where its gate holds."""
        outside = mask & ((position < 0) | (position >= size))
        if outside.any():
            where = int(position[tuple(np.argwhere(outside)[0])])
            raise self.fault(f"is out of bounds: element {where} of {size}", access, outside)

    def number(self, ranges: frozenset[Node], *, whole: bool = False) -> Array:
        """Return the row-major number of each point among those of `ranges`, in loop order.

        Args:
            ranges: which ranges count.
            whole: number all points of the kernel instead of those of this box.
        """
        out = np.zeros((1,) * len(self.space.axes), np.int64)
        for r in self.space.axes:
            if r in ranges:
                low, n = self.box[r]
                digit, base = (self.value(r), self.space.lengths[r]) if whole else (
                    self.value(r) - low, n
                )  # fmt: skip
                out = out * base + digit
        return out

    def _stage(self, node: Node) -> Memory:
        """Fill one tile per point of the ranges around."""
        value, at, *_ = node.src
        size = node.arg[1]
        ranges = frozenset(bound_ranges(node))
        inside = node.ranges | ranges
        shape = self.shape(inside)
        position = np.broadcast_to(self.values[at], shape)
        mask = np.broadcast_to(self.active(inside), shape)
        self.check_inside(node, position, mask, size)
        tiles = int(np.prod(self.shape(node.ranges), dtype=np.int64))
        memory = Memory.undefined(tiles * size, node.dtype)
        flat = (self.number(node.ranges) * size + position)[mask]
        stored = np.broadcast_to(self.values[value], shape)[mask]
        memory.data[flat] = stored
        memory.written[flat] = True
        # Filling points that run in parallel must not disagree: else the last one is not defined.
        parallel = frozenset(r for r in ranges if axis_of(r) in PARALLEL)
        who = np.broadcast_to(self.number(parallel), shape)[mask]
        clash = disagreement(flat, who, stored, node.dtype)
        if clash is not None:
            where = np.zeros(shape, bool)
            where[mask] = flat == clash
            raise self.fault("is filled differently by parallel points", node, where)
        return memory

    # --- messages ---------------------------------------------------------------------------------

    def fault(self, what: str, node: Node, where: Array) -> KernelFault:
        """Return an error that names the first point at which `where` holds."""
        spot = np.argwhere(where)[0] if where.any() else np.zeros(where.ndim, np.int64)
        point = ", ".join(
            f"{axis_of(r).value} {number_of(r)} = {self.box[r][0] + int(spot[axis])}"
            for r, axis in self.space.axes.items()
            if where.shape[axis] > 1 or r in node.ranges
        )
        memory = node if node.op is forms.STAGE else node.src[0]
        place = f"at {point}" if point else "at the only point"
        return KernelFault(f"{node.op} of {name_of(memory)} {what}; {place}: {expression(node)}")


def disagreement(at: Array, who: Array, values: Array, dtype: DType | None) -> int | None:
    """Return an element that two different points left with different bits, if there is one.

    All NaN are one: which bits an operation gives them is not defined.

    Args:
        at: elements written, in the order of time.
        who: number of the point that wrote.
        values: what was written.
        dtype: of the values; None: compare them as they are.
    """
    order = np.lexsort((who, at))  # stable: the last write of a point to an element stays last
    at, who, values = at[order], who[order], values[order]
    is_last = np.ones(at.size, bool)
    is_last[:-1] = (at[1:] != at[:-1]) | (who[1:] != who[:-1])
    at, values = at[is_last], values[is_last]
    if dtype is not None and dtype is not index:
        same = np.where(values != values, np.nan, values) if dtype.is_float else values
        values = to_bits(same.astype(values.dtype), dtype)
    found = np.flatnonzero((at[1:] == at[:-1]) & (values[1:] != values[:-1]))
    return int(at[found[0]]) if found.size else None
