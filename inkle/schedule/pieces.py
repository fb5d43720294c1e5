"""Functions of concatenated pieces become concatenated functions of the pieces.

    f(cat(a, b, c), y)   ->   cat(f(a, y[:i]), f(b, y[i:j]), f(c, y[j:]))
    sum(cat(a, b), 0)    ->   sum(a, 0) + sum(b, 0)

Inside another kernel each element of a CAT is computed once for every piece, and all values but one
are thrown away. A CAT that is stored costs what its pieces cost. Pieces that are next to nothing,
such as the two of a roll, stay where they are: one kernel is worth more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from inkle.ir import forms, tensor
from inkle.ir.node import Node, elementwise, intern, rebuild, toposort, transform
from inkle.schedule.cost import Facts, Work, size_of, users_of, work_of

MOST_PIECES = 64  # each may become a kernel
LEAST_WASTE = 0.3  # nanoseconds per element; storing it and reading it again takes twice that


def split_into_pieces(outputs: Sequence[Node], facts: Facts) -> list[Node]:
    """Return `outputs` with elementwise work on a CAT, and reductions of it, moved into its pieces.

    Only if that are all uses of the CAT: elementwise ones, or one reduction.
    """
    order = toposort(outputs)
    if not any(node.op is forms.CAT for node in order):
        return list(outputs)
    users, work = users_of(order), work_of(order, ())
    whole = {s for node in order if not node.op.is_elementwise for s in node.src
             if node.op is not forms.REDUCE or users[s] > 1}.union(outputs)  # fmt: skip
    open_cats: set[Node] = set()

    def step(node: Node, src: tuple[Node, ...]) -> Node:
        pairs = zip(node.src, src, strict=True)
        cat = next((new for old, new in pairs if new in open_cats and old not in whole), None)
        new = None if cat is None else _moved(node, src, cat)
        if new is None:
            new = rebuild(node, src)
        if new.op is forms.CAT and (cat is not None or _is_worthwhile(node, work[node], facts)):
            open_cats.add(new)
        if new.origin is None:
            new.origin = node.origin
        return new

    done = transform(outputs, step)
    return [done[node] for node in outputs]


def _is_worthwhile(cat: Node, work: Work, facts: Facts) -> bool:
    """Whether computing all pieces of a CAT at each of its elements would be a waste."""
    pieces = len(cat.src)
    each = work.flops * facts.flop + 2 * len(work.leaves) * facts.near
    waste = each * (pieces - 1) / pieces
    return pieces <= MOST_PIECES and waste > LEAST_WASTE and waste * size_of(cat) > facts.launch


def _moved(node: Node, src: tuple[Node, ...], cat: Node) -> Node | None:
    """Return `node` of `src` as a function of the pieces of `cat`, which is one of these."""
    if node.op.is_elementwise:
        return _elementwise(node, src, cat)
    if node.op is forms.REDUCE:
        return _reduced(node, cat)
    return None


def _elementwise(node: Node, src: tuple[Node, ...], cat: Node) -> Node:
    axis, start = cat.arg, 0
    parts = []
    for piece in cat.src:
        stop = start + piece.shape[axis]
        mine = [piece if s is cat else _part(s, axis, start, stop) for s in src]
        parts.append(intern(node.op, node.dtype, tuple(mine), node.arg, piece.shape))
        start = stop
    return tensor.cat(parts, axis)


def _part(x: Node, axis: int, start: int, stop: int) -> Node:
    """Return part of an operand; a number has none, and the pieces of a CAT stay whole."""
    if not x.shape:
        return x
    if x.op is forms.CAT and x.arg == axis:
        at = 0
        for piece in x.src:
            if (at, at + piece.shape[axis]) == (start, stop):
                return piece
            at += piece.shape[axis]
    return tensor.shrink(x, axis, start, stop)


def _reduced(node: Node, cat: Node) -> Node | None:
    op, axes = node.arg
    parts = [tensor.reduce(piece, op, axes) for piece in cat.src]
    if cat.arg not in axes:
        return tensor.cat(parts, cat.arg - sum(axis < cat.arg for axis in axes))
    if node.dtype.is_float and node.dtype.bits < 32 and not op.idempotent:
        return None  # added up in float32, rounded once
    return reduce(lambda a, b: elementwise(op, (a, b)), parts)
