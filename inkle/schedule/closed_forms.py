"""Reductions over positions that are only compared or counted become indexing or arithmetic.

    sum over v of (x[b] == v) * w[v, d]      ->  w[x[b], d], or 0 where x[b] is no row
    sum over j of (j <= i ? 1 : 0)           ->  i + 1

Such a sum is what one-hot vectors, `eye`, `tril`, windows of ones and the like become under a
reduction. It is read in loop form, where every spelling is a comparison of ranges, folded by
`inkle.rules.folding`, and written in tensor form again, before anything is decided about kernels:
costs and kernel boundaries are those of the folded graph.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from inkle.ir import forms, loop, ops, tensor
from inkle.ir.dtype import index
from inkle.ir.node import Node, const, rebuild, toposort
from inkle.rules.folding import folded, written_at
from inkle.rules.masks import NORMALISE
from inkle.schedule.cost import Varying, varying_axes
from inkle.schedule.loop_form import Reader, Writer, index_of, ranges_of

SHORTEST_SCATTERED = 32  # rows: a sum over fewer compared ones is as fast, and runs in parallel
PLACES, MEMORY = 1, 2  # what the values of a node are computed from
WALKED = forms.MOVEMENT | {forms.DETACH}
_EDGED = frozenset({forms.PAD, forms.SHEAR})


def fold_reductions(outputs: Sequence[Node]) -> list[Node]:
    """Return `outputs` with as few loops as possible; without such reductions, the same nodes."""
    order = toposort(outputs)
    origins: dict[Node, int] = {}
    if not any(_is_candidate(node, origins) for node in order):
        return list(outputs)
    folder = _Folder(order)
    return [folder.done[node] for node in outputs]


def _is_candidate(node: Node, origins: dict[Node, int]) -> bool:
    """Note what `node` is computed from; return whether it reduces places, or reads at some."""
    op = node.op
    total = 0
    if tensor.depends_on_sizes(node):
        origins[node] = MEMORY
        return False
    if op.is_elementwise or op in WALKED:
        for source in node.src:
            total |= origins[source]
        if op in _EDGED and not total & MEMORY:
            total = PLACES  # zeros outside of constants
    elif op is forms.ARANGE:
        total = PLACES
    elif op is not forms.CONST:
        for source in node.src:
            total |= origins[source]
        if op is forms.CAT:
            total |= 0 if total & MEMORY else PLACES
        elif op is not forms.GATHER or not total & PLACES:
            total = MEMORY
    origins[node] = total
    if op is forms.GATHER:
        return all(origins[each] == PLACES for each in node.src[1:]) and 0 not in node.shape
    if op is not forms.REDUCE or 0 in node.src[0].shape:
        return False
    return bool(origins[node.src[0]] & PLACES)


class _Folder:
    """Folds the reductions of a graph, sources first."""

    def __init__(self, order: Sequence[Node]) -> None:
        self._origins: dict[Node, int] = {}
        self._varying: Varying = {}
        self.done: dict[Node, Node] = {}
        for node in order:
            src = tuple([self.done[source] for source in node.src])
            is_moved = node.op is forms.PERMUTE and src != node.src
            new = tensor.permute(src[0], node.arg) if is_moved else rebuild(node, src)
            if new.origin is None:
                new.origin = node.origin
            if _is_candidate(new, self._origins):
                new = self._folded(new) if new.op is forms.REDUCE else self._viewed(new)
                for each in _unknown(new, self._origins, lambda each: each.src):
                    _is_candidate(each, self._origins)
                    if each.origin is None:
                        each.origin = node.origin
            elif node.op is forms.CONTIGUOUS and self._is_closed(node.src[0]):
                new = new.src[0]  # cheaper than to store it
            self.done[node] = new

    def _is_closed(self, node: Node) -> bool:
        """Whether a reduction became arithmetic."""
        return node.op is forms.REDUCE and not self._origins[self.done[node]] & MEMORY

    def _is_synthetic(self, node: Node) -> bool:
        return bool(self._origins[node] & PLACES)

    def _axes(self, node: Node) -> frozenset[int]:
        """Return the axes along which `node` may vary, zeros outside of a value included."""
        for each in _unknown(node, self._varying, _followed):
            if each.op in _EDGED:
                self._varying[each] = frozenset(range(len(each.shape)))
            else:
                varying_axes([each], self._varying)
        return self._varying[node]

    def _viewed(self, node: Node) -> Node:
        """Return a GATHER at places that lie inside as a view, or with plain index arithmetic."""
        axes = ranges_of(node)
        reader = Reader(self._is_synthetic, self._axes)
        value = reader.read(node, index_of(axes))
        value = None if value is None else NORMALISE.simplify(value)
        if value is None or value.op is not forms.GATHER:
            return node
        return _written(Writer(axes, reader.arrays).write(value), node)

    def _folded(self, node: Node) -> Node:
        """Return `node` with as few loops as possible."""
        axes = ranges_of(node.src[0])
        reader = Reader(self._is_synthetic, self._axes)
        value = reader.read(node.src[0], index_of(axes))
        if value is None:
            return node
        op, reduced = node.arg
        kept = [r for axis, r in enumerate(axes) if axis not in reduced]
        inner = [r for axis in reduced if (r := axes[axis]) is not None]
        hopeless = reader.compared.isdisjoint(inner) and value.ranges.issuperset(inner)
        result = None if hopeless else folded(op, value, inner)
        if result is not None:
            new = _written(Writer([*kept, *inner], reader.arrays).write(result), node)
        elif op is ops.ADD:
            new = _scattered(node, value, kept, inner, reader)
        else:
            return node
        return new


def _written(value: Node, node: Node) -> Node:
    """Return a value that has an axis of length 1 for each loop of `node`, in place of it."""
    if value.op is forms.CONST:
        return tensor.full(value.arg, node.dtype, node.shape)
    value = tensor.reshape(value, value.shape[: len(node.shape)])
    return tensor.broadcast_to(value, node.shape)


def _scattered(
    node: Node, value: Node, kept: list[Node | None], inner: list[Node], reader: Reader
) -> Node:
    """Return a sum of one-hot rows as a SCATTER: the gradient of an embedding so spelled.

    Before: out[v, d] = sum over t of (x[t] == v ? g[t, d] : 0)
    After:  out[x[t], d] += g[t, d] for all t, where 0 <= x[t] < n
    """
    compared = [r for r in kept if r is not None and r in reader.compared]
    r = max(compared, key=loop.extent, default=None)
    if r is None or loop.extent(r) < SHORTEST_SCATTERED:
        return node
    found = written_at(value, r)
    if found is None or found[0].ranges.isdisjoint(inner):
        return node
    e, n = found[0], const(loop.extent(r), index)
    others: list[Node | None] = [each for each in kept if each is not r]
    writer = Writer([*inner, *others], reader.arrays)
    shape = writer.shape(frozenset([*inner, *[each for each in others if each is not None]]))
    rows = tensor.broadcast_to(writer.write(found[1]), shape)
    at = writer.write(((e >= 0) & (e < n)).where(e, n))  # n is outside, and so dropped
    # Rows first, whatever the order of the axes: they are written as a whole.
    base = tensor.full(0, node.dtype, (loop.extent(r), *shape[len(inner) :]))
    spec = [-1, *range(len(inner), len(shape))]
    summed = tensor.scatter(base, rows, [tensor.broadcast_to(at, shape)], spec, ops.ADD)
    place = kept.index(r)
    return tensor.permute(summed, [*range(1, place + 1), 0, *range(place + 1, len(kept))])


def _followed(node: Node) -> tuple[Node, ...]:
    """Return the sources that decide along which axes `node` varies."""
    is_followed = node.op.is_elementwise or node.op in WALKED
    return node.src if is_followed and node.op not in _EDGED else ()


def _unknown(
    root: Node, known: Container[Node], sources: Callable[[Node], tuple[Node, ...]]
) -> list[Node]:
    """Return what is below `root` and not known yet, sources first."""
    found: dict[Node, None] = {}
    stack = [root]
    while stack:
        top = stack[-1]
        missing = [each for each in sources(top) if each not in known and each not in found]
        stack += missing
        if not missing:
            stack.pop()
            if top not in known:
                found[top] = None
    return list(found)
