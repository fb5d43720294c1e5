"""Reductions over positions that are only compared or counted become indexing or arithmetic.

    sum over v of (x[b] == v) * w[v, d]      ->  w[x[b], d], or 0 where x[b] is no row
    sum over j of (j <= i ? 1 : 0)           ->  i + 1

Such a sum is what one-hot vectors, `eye`, `tril`, windows of ones and the like become under a
reduction. It is read in loop form, where every spelling is a comparison of ranges, folded by
`inkle.rules.folding`, and written in tensor form again, before anything is decided about kernels:
costs and kernel boundaries are those of the folded graph.
"""

from __future__ import annotations

from collections.abc import Sequence

from inkle.ir import forms, tensor
from inkle.ir.node import Node, rebuild, toposort
from inkle.rules.broadcast import constant_below
from inkle.rules.folding import folded
from inkle.schedule.cost import Varying, varying_axes
from inkle.schedule.loop_form import Reader, Writer, index_of, ranges_of

WALKED = forms.MOVEMENT | {forms.DETACH}


def fold_reductions(outputs: Sequence[Node]) -> list[Node]:
    """Return `outputs` with as few loops as possible; without such reductions, the same nodes."""
    order = toposort(outputs)
    synthetic: dict[Node, bool] = {}
    if not any([_is_candidate(node, synthetic) for node in order]):
        return list(outputs)
    folder = _Folder(order)
    return [folder.done[node] for node in outputs]


def _is_candidate(node: Node, synthetic: dict[Node, bool]) -> bool:
    """Note whether `node` is computed from places; return whether it is a reduction of such."""
    op = node.op
    if op.is_elementwise:
        synthetic[node] = any([synthetic[source] for source in node.src])
    elif op in WALKED:
        source = node.src[0]
        made = op in (forms.PAD, forms.SHEAR) and constant_below(source) is not None
        synthetic[node] = made or synthetic[source]
    else:
        synthetic[node] = op is forms.ARANGE
    return op is forms.REDUCE and synthetic[node.src[0]] and 0 not in node.src[0].shape


class _Folder:
    """Folds the reductions of a graph, sources first."""

    def __init__(self, order: Sequence[Node]) -> None:
        self._synthetic: dict[Node, bool] = {}
        self._varying: Varying = {}
        self.done: dict[Node, Node] = {}
        for node in order:
            new = rebuild(node, tuple([self.done[source] for source in node.src]))
            if new.origin is None:
                new.origin = node.origin
            self._note(new)
            if _is_candidate(new, self._synthetic):
                new = self._folded(new)
                self._note(new)
            self.done[node] = new

    def _note(self, node: Node) -> None:
        new = _new_nodes(node, self._synthetic)
        for each in new:
            _is_candidate(each, self._synthetic)
        varying_axes(new, self._varying)

    def _folded(self, node: Node) -> Node:
        """Return `node` with as few loops as possible."""
        body = node.src[0]
        axes = ranges_of(body)
        reader = Reader(self._synthetic, self._varying)
        value = reader.read(body, index_of(axes))
        if value is None:
            return node
        op, reduced = node.arg
        result = folded(op, value, [r for axis in reduced if (r := axes[axis]) is not None])
        if result is None:
            return node
        kept = [r for axis, r in enumerate(axes) if axis not in reduced]
        left = [r for axis in reduced if (r := axes[axis]) is not None]
        writer = Writer([*kept, *left], reader.arrays)
        new = writer.write(result)
        if new.op is forms.CONST:
            return tensor.full(new.arg, node.dtype, node.shape)
        new = tensor.reshape(new, new.shape[: len(kept)])
        new = tensor.broadcast_to(new, node.shape)
        for each in toposort((new,)):
            if each.origin is None:
                each.origin = node.origin
        return new


def _new_nodes(node: Node, known: dict[Node, bool]) -> list[Node]:
    """Return the nodes below `node` that are not known yet, sources first."""
    found, stack = [], [node]
    while stack:
        top = stack[-1]
        missing = [source for source in top.src if source not in known]
        stack += missing
        if not missing:
            stack.pop()
            if top not in known:
                known[top] = False
                found.append(top)
    return found
