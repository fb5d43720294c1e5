"""In which order the axes of a temporary lie in memory.

What a contraction stores and reads is best laid out with an axis innermost that can be spread over
vector lanes everywhere: one that varies in one operand only, and slides in no window. For a
convolution that is the channel: all its three nests (values, gradients of input and of weight) then
load and store contiguous vectors. The axis is found by what varies along it, not by its name, and
follows the value through elementwise and movement operations. Inputs and outputs of a program are
row major always.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod

from inkle.ir import forms, ops
from inkle.ir.node import Node, Shape
from inkle.ir.size import least
from inkle.schedule.cost import Varying

LEAST_LANES = 8  # a shorter axis does not fill half a vector
ONE_TO_ONE = frozenset({forms.SLICE, forms.PAD, forms.FLIP, forms.SHEAR, forms.EXPAND})
SAME = frozenset({forms.DETACH, forms.CONTIGUOUS})
ROW_MAJOR_USERS = frozenset(
    {forms.SCATTER, forms.UPDATE, forms.CAT, forms.GATHER, forms.SCAN, forms.HOST}
)


def layouts_of(
    order: Sequence[Node], contractions: Collection[Node], varying: Varying
) -> dict[Node, tuple[int, ...]]:
    """Return, for nodes that should not be stored row major, their axes from outer to inner.

    Args:
        order: all nodes, sources first.
        contractions: the REDUCEs (and their products) that are contractions.
        varying: the axes along which each node may vary.
    """
    inner = _inner_axes(order, contractions, varying)
    barred = _barred(order, inner)
    return {
        node: tuple([a for a in range(len(node.shape)) if a != axis] + [axis])
        for node, axis in inner.items()
        if axis != _last(node) and node not in barred
    }


def _last(node: Node) -> int:
    """Return the innermost axis of row-major order, axes of length 1 left out."""
    return max([a for a, n in enumerate(node.shape) if n != 1], default=-1)


def _inner_axes(
    order: Sequence[Node], contractions: Collection[Node], varying: Varying
) -> dict[Node, int]:
    windows = _window_axes(order)
    inner: dict[Node, int] = {}
    for node in order:
        axis = None
        if node in contractions and node.op is forms.REDUCE:
            axis = _lane_axis(node, varying, windows)
        if axis is None:
            axis = _follow(node, inner)
        if axis is not None and least(node.shape[axis]) >= LEAST_LANES:
            inner[node] = axis
    return inner


def _lane_axis(
    node: Node, varying: dict[Node, frozenset[int]], windows: dict[Node, frozenset[int]]
) -> int | None:
    """Return the last kept axis that varies in one factor only and is part of no window."""
    body = product = node.src[0]
    while product.op is forms.RESHAPE:
        product = product.src[0]
    if product.op is not ops.MUL:
        return None
    left, right = (varying[source] for source in product.src)
    sliding = windows[product.src[0]] | windows[product.src[1]]
    kept = [axis for axis in range(len(body.shape)) if axis not in node.arg[1]]
    for place in reversed(range(len(kept))):
        axis = _reshaped(kept[place], body.shape, product.shape)
        if axis is None or least(product.shape[axis]) < LEAST_LANES or axis in sliding:
            continue
        if (axis in left) != (axis in right):
            return place
    return None


def _reshaped(axis: int, old: Shape, new: Shape) -> int | None:
    """Return which axis of `new` is `axis` of `old`, if there is one."""
    before, n = prod(old[:axis]), old[axis]
    places = [place for place, m in enumerate(new) if m == n and prod(new[:place]) == before]
    return places[0] if places else None


def _window_axes(order: Sequence[Node]) -> dict[Node, frozenset[int]]:
    """Return the axes of each node along which a SHEAR has slid something."""
    found: dict[Node, frozenset[int]] = {}
    for node in order:
        if node.op.is_elementwise:
            found[node] = frozenset().union(*[found[source] for source in node.src])
        elif node.op is forms.SHEAR:
            found[node] = found[node.src[0]] | set(node.arg[:2])
        elif node.op in forms.MOVEMENT or node.op in SAME:
            moved = [_moved(node, axis) for axis in found[node.src[0]]]
            found[node] = frozenset([axis for axis in moved if axis is not None])
        else:
            found[node] = frozenset()
    return found


def _follow(node: Node, inner: dict[Node, int]) -> int | None:
    """Return the axis of `node` that is the inner axis of a source."""
    if node.op.is_elementwise:
        shared = [inner[s] for s in node.src if s in inner and s.shape == node.shape]
        return shared[0] if shared else None
    if node.op in forms.MOVEMENT or node.op in SAME or node.op is forms.REDUCE:
        source = node.src[0]
        return _moved(node, inner[source]) if source in inner else None
    return None


def _moved(node: Node, axis: int) -> int | None:
    """Return where `axis` of the source is in a moved or reduced node; None if it is gone."""
    if node.op in ONE_TO_ONE or node.op in SAME:
        return axis
    if node.op is forms.PERMUTE:
        return int(node.arg.index(axis))
    if node.op is forms.REDUCE:
        gone = node.arg[1]
        return None if axis in gone else axis - sum(a < axis for a in gone)
    if node.op is forms.RESHAPE:
        return _reshaped(axis, node.src[0].shape, node.shape)
    return None


def _barred(order: Sequence[Node], inner: dict[Node, int]) -> set[Node]:
    """Return nodes whose users want them row major: some axis merges with the inner one there."""
    barred: set[Node] = set()
    for node in reversed(order):
        if node.op in ROW_MAJOR_USERS:
            barred.update(node.src)
            barred.add(node)
        elif node in barred and (
            node.op in forms.MOVEMENT or node.op in SAME or node.op.is_elementwise
        ):
            barred.update(node.src)
        elif node.op is forms.RESHAPE and node.src[0] in inner and node not in inner:
            barred.add(node.src[0])
    return barred
