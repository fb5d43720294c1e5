"""One value of the tensor form, written as an expression over loops, and back.

    read(REDUCE node)    ->  REDUCE over ranges; ARANGE is a range, masks are comparisons of ranges;
                             any other array x is GATHER(x, i, j, ...): its element at i, j, ...
    Writer(...).write    ->  tensor form again: an element at sums of ranges is a view (SHEAR and
                             SLICE), at computed coordinates a GATHER

In between, all spellings of a mask look alike, and rules about loops apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inkle.ir import forms, loop, ops, tensor
from inkle.ir.dtype import index
from inkle.ir.node import Node, Shape, const, elementwise, intern
from inkle.rewrite.affine import ZERO, Affine, affine_of, single
from inkle.schedule.cost import Varying
from inkle.schedule.index import Computed, Condition, Gate, Replacement
from inkle.schedule.movement import MOVES, Index, reindex

MOST_NODES = 300  # of one expression: more is no mask
_SAME = frozenset({forms.RESHAPE, forms.DETACH})


class Reader:
    """Writes the body of one reduction over ranges, one per axis.

    Args:
        synthetic: the nodes whose values are computed from their places, at least in part.
        varying: the axes along which each node varies.

    Attributes:
        arrays: the nodes that elements are read from, by the number of their stand-in.
    """

    def __init__(self, synthetic: Mapping[Node, bool], varying: Varying) -> None:
        self._synthetic = synthetic
        self._varying = varying
        self._final = Replacement({}, _no_memory)
        self._done: dict[tuple[Node, Index], Node] = {}
        self.arrays: list[Node] = []

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
            wanted, gate = self._sources(*key)
            missing = [each for each in wanted if each not in self._done]
            if missing:
                stack.extend(reversed(missing))
                continue
            stack.pop()
            self._done[key] = self._value(key, [self._done[each] for each in wanted], gate)
        return self._done[node, at]

    def _sources(self, node: Node, at: Index) -> tuple[list[tuple[Node, Index]], Gate | None]:
        """Return the elements that an element is computed from, and where it is; None: nowhere."""
        if node.op in MOVES:
            moved = MOVES[node.op](node, at)
            return ([], None) if moved is None else ([(node.src[0], moved[0])], moved[1])
        if node.op in _SAME:
            return [(node.src[0], reindex(at, node.shape, node.src[0].shape))], ()
        if node.op.is_elementwise and self._synthetic[node]:
            return [(each, at if each.shape else ()) for each in node.src], ()
        return [], ()

    def _value(self, key: tuple[Node, Index], src: list[Node], gate: Gate | None) -> Node:
        node, at = key
        if gate is None:
            return const(0, node.dtype)
        if node.op in MOVES or node.op in _SAME:
            test = self._conjunction(gate)
            return src[0] if test is None else test.where(src[0], const(0, node.dtype))
        if node.op is forms.CONST:
            return node
        if node.op is forms.ARANGE:
            return self._final(at[0]).node().cast(node.dtype)
        if src:
            return intern(node.op, node.dtype, tuple(src), node.arg, ())
        return self._element(node, at)

    def _element(self, node: Node, at: Index) -> Node:
        """Return the element of an array; where it does not vary, its first one."""
        varying = self._varying[node]
        places = [self._final(i) if axis in varying else ZERO for axis, i in enumerate(at)]
        memory = tensor.param(-1 - len(self.arrays), node.dtype, node.shape)
        if node in self.arrays:
            memory = tensor.param(-1 - self.arrays.index(node), node.dtype, node.shape)
        else:
            self.arrays.append(node)
        src = (memory, *[each.node() for each in places])
        return intern(forms.GATHER, node.dtype, src, tuple(range(-1, -len(src), -1)), ())

    def _conjunction(self, gate: Gate) -> Node | None:
        total: Node | None = None
        for condition in gate:
            part = self._condition(condition)
            total = part if total is None else total & part
        return total

    def _condition(self, condition: Condition) -> Node:
        node = self._final(condition.value).node()
        if condition.modulus is None:
            return const(0, index) <= node
        return (node % condition.modulus if condition.modulus else node).eq(0)


def _no_memory(at: Computed) -> Affine:
    raise AssertionError("no index is computed from memory before placement")


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
        return self._arrays[-1 - node.src[0].arg[0]]

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
            at = const(0, index) if at.op is forms.CONST else at
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

