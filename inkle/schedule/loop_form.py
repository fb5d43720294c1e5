"""One value of the tensor form, written as an expression over loops, and back.

    read(REDUCE node)    ->  REDUCE over ranges; ARANGE is a range, masks are comparisons of ranges;
                             any other array x is GATHER(x, i, j, ...): its element at i, j, ...
    Writer(...).write    ->  tensor form again: an element at sums of ranges is a view (SHEAR and
                             SLICE), at computed coordinates a GATHER

In between, all spellings of a mask look alike, and rules about loops apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from weakref import ref

from inkle.ir import forms, loop, ops, tensor
from inkle.ir.dtype import index
from inkle.ir.node import NO_RANGES, Node, Shape, const, elementwise, intern
from inkle.rewrite.affine import ZERO, Affine, affine_of, single
from inkle.rules.folding import conjunction
from inkle.rules.masks import NORMALISE
from inkle.schedule.index import (
    KNOWN,
    Computed,
    Condition,
    Gate,
    Replacement,
    is_clamped,
    is_within,
    leaf,
)
from inkle.schedule.movement import MOVES, Index, Moved, reindex

MOST_NODES = 300  # of one expression: more is no mask
SAME = frozenset({forms.RESHAPE, forms.DETACH})
Key = tuple[Node, Index]  # an element: of what, and where
Build = Callable[[list[Node]], Node]


class Reader:
    """Writes the body of one reduction over ranges, one per axis.

    Args:
        synthetic: whether the values of a node are computed from their places, at least in part.
        varying: the axes along which each node varies.

    Attributes:
        arrays: the nodes that elements are read from, by the number of their stand-in.
        compared: the ranges that are used for more than reading elements.
    """

    def __init__(
        self, synthetic: Callable[[Node], bool], varying: Callable[[Node], frozenset[int]]
    ) -> None:
        self._synthetic = synthetic
        self._varying = varying
        self._final = Replacement({}, _read)
        self._done: dict[Key, Node] = {}
        self._places: list[Node] = []  # indices refer to them, weakly
        self.arrays: list[Node] = []
        self.compared = NO_RANGES

    def read(self, node: Node, at: Index) -> Node | None:
        """Return the element of `node` at `at` as an expression; None if it is too large."""
        stack = [(node, at)]
        while stack:
            if len(self._done) > MOST_NODES:
                return None
            key = stack[-1]
            if key in self._done:
                stack.pop()
                continue
            wanted, build = self._step(*key)
            missing = [each for each in wanted if each not in self._done]
            if missing:
                stack.extend(reversed(missing))
                continue
            stack.pop()
            self._done[key] = build([self._done[each] for each in wanted])
        return self._done[node, at]

    def _step(self, node: Node, at: Index) -> tuple[list[Key], Build]:
        """Return the elements that an element is computed from, and how."""
        op = node.op
        if op in MOVES:
            return self._moved(node, MOVES[op](node, at))
        if op in SAME:
            return [(node.src[0], reindex(at, node.shape, node.src[0].shape))], _first
        if op is forms.CONST:
            return [], lambda src: node
        if op is forms.ARANGE:
            place = self._final(at[0])
            self.compared |= place.ranges
            return [], lambda src: place.node().cast(node.dtype)
        if not self._synthetic(node):
            return [], lambda src: self._element(node, at)
        if op is forms.GATHER:
            return self._gathered(node, at)
        if op is forms.CAT:
            return self._parts(node, at)
        return [(each, at if each.shape else ()) for each in node.src], lambda src: intern(
            op, node.dtype, tuple(src), node.arg, ()
        )

    def _moved(self, node: Node, moved: Moved) -> tuple[list[Key], Build]:
        if moved is None:
            return [], lambda src: const(0, node.dtype)
        index, gate = moved
        self.compared |= NO_RANGES.union(*[condition.value.ranges for condition in gate])
        return [(node.src[0], index)], lambda src: self._gated(gate, src[0])

    def _parts(self, node: Node, at: Index) -> tuple[list[Key], Build]:
        """Return the parts of a CAT, the last one for all places that no other part has."""
        axis, start = node.arg, 0
        self.compared |= at[axis].ranges
        wanted: list[Key] = []
        ends: list[Node] = []
        for part in node.src:
            wanted.append((part, (*at[:axis], at[axis].shifted(-start), *at[axis + 1 :])))
            start += part.shape[axis]
            ends.append(self._final(at[axis]).node() < start)

        def build(src: list[Node]) -> Node:
            total = src[-1]
            for test, value in zip(ends[-2::-1], src[-2::-1], strict=True):
                total = test.where(value, total)
            return total

        return wanted, build

    def _gathered(self, node: Node, at: Index) -> tuple[list[Key], Build]:
        """Return the indices of a GATHER, and once they are known, the element they name."""
        indices: list[Key] = [(each, at) for each in node.src[1:]]
        if any(each not in self._done for each in indices):
            return indices, _first
        places: list[Affine] = []
        inside: list[Node] = []
        for entry, n in zip(node.arg, node.src[0].shape, strict=True):
            if entry >= 0:
                places.append(at[entry])
                continue
            place = self._wrapped(self._done[indices[-entry - 1]], n)
            inside += [const(0, index) <= place, place < n]
            places.append(self._clamped(place, n))
        zero = const(0, node.dtype)
        return [(node.src[0], tuple(places))], lambda src: conjunction(inside).where(src[0], zero)

    @staticmethod
    def _wrapped(value: Node, n: int) -> Node:
        """Return a value as a coordinate on an axis of length n; negative ones wrap once."""
        place = NORMALISE.simplify(value.cast(index))
        low = KNOWN.bounds(place)[0]
        return place if low is not None and low >= 0 else (place < 0).where(place + n, place)

    def _clamped(self, place: Node, n: int) -> Affine:
        """Return a coordinate as a sum, kept within the axis if it is no sum of ranges."""
        total = affine_of(place)
        if all(atom.op is forms.RANGE for atom in total.terms) and is_within(total, n):
            return total
        place = place.maximum(0).minimum(n - 1)
        self._places.append(place)
        return leaf(Computed(ref(place), (), n), 0, n - 1, place.ranges)

    def _element(self, node: Node, at: Index) -> Node:
        """Return the element of an array; where it does not vary, its first one."""
        varying = self._varying(node)
        places = [self._final(i) if axis in varying else ZERO for axis, i in enumerate(at)]
        memory = tensor.param(-1 - len(self.arrays), node.dtype, node.shape)
        if node in self.arrays:
            memory = tensor.param(-1 - self.arrays.index(node), node.dtype, node.shape)
        else:
            self.arrays.append(node)
        src = (memory, *[each.node() for each in places])
        return intern(forms.GATHER, node.dtype, src, tuple(range(-1, -len(src), -1)), ())

    def _gated(self, gate: Gate, value: Node) -> Node:
        for condition in gate:
            value = self._condition(condition).where(value, const(0, value.dtype))
        return value

    def _condition(self, condition: Condition) -> Node:
        node = self._final(condition.value).node()
        if condition.modulus is None:
            return const(0, index) <= node
        return (node % condition.modulus if condition.modulus else node).eq(0)


def _first(src: list[Node]) -> Node:
    return src[0]


def _read(at: Computed) -> Affine:
    place: Node = at.demand
    return affine_of(place)


class Writer:
    """Writes expressions over `axes` in tensor form, one axis per range (None: length 1)."""

    def __init__(self, axes: Sequence[Node | None], arrays: Sequence[Node]) -> None:
        self._axes = axes
        self._place = {r: axis for axis, r in enumerate(axes) if r is not None}
        self._arrays = arrays
        self._done: dict[Node, Node] = {}

    def write(self, value: Node) -> Node:
        """Return the array of the values of `value` at all points of the axes it depends on."""
        stack = [value]
        while stack:
            node = stack[-1]
            missing = [each for each in self._sources(node) if each not in self._done]
            stack += missing
            if not missing:
                self._done.setdefault(stack.pop(), self._written(node))
        return self._done[value]

    def shape(self, ranges: frozenset[Node]) -> Shape:
        """Return the shape of a value that depends on `ranges`: 1 along all other axes."""
        return tuple([loop.extent(r) if r in ranges else 1 for r in self._axes])

    def _sources(self, node: Node) -> tuple[Node, ...]:
        if node.op is forms.RANGE or node.op is forms.CONST:
            return ()
        if node.op is forms.GATHER:
            return () if self._is_view(node) else node.src[1:]
        return node.src[:1] if node.op is forms.REDUCE else node.src

    def _written(self, node: Node) -> Node:
        done = self._done
        if node.op is forms.CONST:
            return node
        if node.op is forms.RANGE:
            return tensor.reshape(tensor.arange(loop.extent(node), index), self.shape(node.ranges))
        if node.op is forms.GATHER:
            return self._view(node) if self._is_view(node) else self._gathered(node)
        if node.op is forms.REDUCE:
            inner = node.src[0]
            whole = tensor.broadcast_to(done[inner], self.shape(inner.ranges.union(node.src[1:])))
            axes = [self._place[r] for r in node.src[1:]]
            return tensor.reshape(tensor.reduce(whole, node.arg[0], axes), self.shape(node.ranges))
        shape = self.shape(node.ranges)
        src = [done[each] for each in node.src]
        src = [each if each.op is forms.CONST else tensor.broadcast_to(each, shape) for each in src]
        if node.op is ops.CAST or node.op is ops.BITCAST:
            return src[0].convert(node.op, node.dtype)
        return elementwise(node.op, tuple(src))

    # --- elements of arrays -----------------------------------------------------------------------

    def _array(self, node: Node) -> Node:
        number: int = node.src[0].arg[0]
        return self._arrays[-1 - number]

    @staticmethod
    def _is_view(node: Node) -> bool:
        """Whether all coordinates are sums of ranges."""
        atoms = [atom for each in node.src[1:] for atom in affine_of(each).terms]
        return all(atom.op is forms.RANGE for atom in atoms)

    def _view(self, node: Node) -> Node:
        """Return the array at sums of ranges, as a view; 0 outside of it."""
        x = self._array(node)
        places = [affine_of(each) for each in node.src[1:]]
        rank = len(places)
        own: dict[Node, int] = {}  # the axis of a range
        for axis, (place, n) in enumerate(zip(places, x.shape, strict=True)):
            [r] = place.terms if len(place.terms) == 1 else [None]
            if r is not None and r not in own and place == single(r) and loop.extent(r) == n:
                own[r] = axis
        others = sorted(node.ranges - own.keys(), key=loop.number_of)
        x = tensor.reshape(x, (*x.shape, *[1] * len(others)))
        x = tensor.expand(x, (*x.shape[:rank], *[loop.extent(r) for r in others]))
        axis_of = {**own, **{r: rank + i for i, r in enumerate(others)}}
        for axis, place in enumerate(places):
            if axis not in own.values():
                x = _sheared(x, axis, place, axis_of)
        wanted = sorted(axis_of, key=lambda r: self._place[r])
        kept = [axis_of[r] for r in wanted]
        x = tensor.permute(x, [*kept, *[a for a in range(len(x.shape)) if a not in kept]])
        return tensor.reshape(x, self.shape(node.ranges))

    def _gathered(self, node: Node) -> Node:
        """Return the array at computed coordinates; these are kept inside of it."""
        x = self._array(node)
        shape = self.shape(node.ranges)
        spec: list[int] = []
        indices: list[Node] = []
        for each, n in zip(node.src[1:], x.shape, strict=True):
            if each.op is forms.RANGE and loop.extent(each) <= n:
                spec.append(self._place[each])
                continue
            at = self._done[each]
            if at.op is forms.CONST:
                at = const(min(max(at.arg, 0), n - 1), index)
            elif not is_clamped(at, n):
                at = at.maximum(0).minimum(n - 1)
            indices.append(tensor.broadcast_to(at, shape))
            spec.append(-len(indices))
        return tensor.gather(x, indices, spec)


def _sheared(x: Node, axis: int, place: Affine, axis_of: Mapping[Node, int]) -> Node:
    """Return x[place] along one axis, which then has length 1: 0 where that is outside."""
    reach = sum(abs(k) * (loop.extent(r) - 1) for r, k in place.terms.items())
    low = max(0, reach - place.constant)
    high = max(0, place.constant + reach - x.shape[axis] + 1)
    spec = [(0, 0, 0)] * len(x.shape)
    spec[axis] = (low, high, 0)
    x = tensor.pad(x, spec)  # no step leaves the padded axis
    for r, k in place.terms.items():
        x = tensor.shear(x, axis, axis_of[r], k)
    start = place.constant + low
    return tensor.shrink(x, axis, start, start + 1)


def ranges_of(node: Node) -> list[Node | None]:
    """Return a range for each axis of `node` that is longer than 1."""
    return [loop.range_(i, n) if n != 1 else None for i, n in enumerate(node.shape)]


def index_of(axes: Sequence[Node | None]) -> Index:
    """Return the coordinates that ranges stand for."""
    return tuple([ZERO if r is None else single(r) for r in axes])
