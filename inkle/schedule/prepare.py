"""The tensor graph before lowering: three rewrites that save memory traffic, by structure alone.

    mask of relu        x <= 0, beside r = (x <= 0 ? 0 : x), is r <= 0: x need not be stored for it
    scatter of rows     a SCATTER without collisions becomes a comparison with the coordinate
    long reductions     few results of many elements: chunks first, then their results, in order

Every rewrite keeps values bit for bit, except that a sum in two stages rounds differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import int32, int64, uint64
from inkle.ir.node import Node, const, elementwise, rebuild, toposort
from inkle.ir.op import Op
from inkle.ir.size import Size
from inkle.schedule.cost import Facts, size_of

MOST_CHUNKS = 64  # of a running combination
MOST_COMPARED = 1 << 12  # coordinates that a scattered value is compared with


def prepare(outputs: Sequence[Node], facts: Facts) -> list[Node]:
    """Return `outputs`, rewritten; nodes that nothing applies to stay the same objects."""
    order = toposort(outputs)
    masks = _relu_masks(order)
    done: dict[Node, Node] = {}
    for node in order:
        if node in done:
            continue
        src = tuple([_source(node, source, masks, done) for source in node.src])
        done[node] = new = _rewritten(rebuild(node, src), facts)
        if new.origin is None:
            new.origin = node.origin
        relu = masks.get(node)
        if relu is not None and relu not in done:
            done[relu] = rebuild(relu, tuple([done.get(s, s) for s in relu.src]))
    return [done[node] for node in outputs]


def _rewritten(node: Node, facts: Facts) -> Node:
    if node.op is forms.REDUCE:
        return _in_stages(node, facts)
    if node.op is forms.PREFIX:
        return _running_in_stages(node, facts)
    if node.op is forms.SCATTER:
        return _compared(node)
    return node


# --- mask of relu ---------------------------------------------------------------------------------


def _relu_masks(order: Sequence[Node]) -> dict[Node, Node]:
    """Return {x <= 0: (x <= 0).where(0, x)} and {0 < x: (0 < x).where(x, 0)}."""
    masks: dict[Node, Node] = {}
    for node in order:
        if node.op is not ops.WHERE:
            continue
        test, a, b = node.src
        below = test.op is ops.LESS_EQUAL and test.src[0] is b and _is_zero(test.src[1])
        above = test.op is ops.LESS and test.src[1] is a and _is_zero(test.src[0])
        if (below and _is_zero(a)) or (above and _is_zero(b)):
            masks[test] = node
    return masks


def _is_zero(node: Node) -> bool:
    while node.op is forms.EXPAND or node.op is forms.RESHAPE:
        node = node.src[0]
    return node.op is forms.CONST and node.arg == 0


def _source(node: Node, source: Node, masks: dict[Node, Node], done: dict[Node, Node]) -> Node:
    relu = masks.get(source)
    if relu is None or node is relu:
        return done[source]
    zero = const(0, relu.dtype)
    r = done[relu]
    pair = (r, zero) if source.op is ops.LESS_EQUAL else (zero, r)
    return elementwise(source.op, pair)


# --- scatter --------------------------------------------------------------------------------------


def _compared(node: Node) -> Node:
    """Write a SCATTER in which no two values can meet as a selection by comparing coordinates."""
    base, values, *indices = node.src
    combine, spec = node.arg
    direct = [entry for entry in spec if entry >= 0]
    extent = prod([n for entry, n in zip(spec, base.shape, strict=True) if entry < 0])
    rest = prod([n for axis, n in enumerate(values.shape) if axis not in direct])
    if any(isinstance(n, Size) for n in (*base.shape, *values.shape)):
        return node
    fits = all(e < 0 or values.shape[e] == n for e, n in zip(spec, base.shape, strict=True))
    if not fits or rest != 1 or len(set(direct)) != len(direct) or extent > MOST_COMPARED:
        return node
    if any(each.dtype is uint64 or not each.dtype.bits for each in indices):
        return node
    match: Node | None = None
    for axis, (entry, n) in enumerate(zip(spec, base.shape, strict=True)):
        if entry < 0:
            wide = int64 if indices[-entry - 1].dtype.bits >= 32 else int32
            at = indices[-entry - 1].cast(wide)
            at = (at < 0).where(at + n, at)
            ones = tuple([n if i == axis else 1 for i in range(len(spec))])
            row = tensor.expand(tensor.reshape(tensor.arange(n, wide), ones), base.shape)
            equal = _laid_out(at, spec, base.shape).eq(row)
            match = equal if match is None else match & equal
    value = _laid_out(values, spec, base.shape)
    assert match is not None
    return match.where(value if combine is None else elementwise(combine, (base, value)), base)


def _laid_out(x: Node, spec: Sequence[int], shape: tuple[int, ...]) -> Node:
    """Return `x` with the axes that `spec` names in their places, repeated along all others."""
    direct = [entry for entry in spec if entry >= 0]
    order = [*direct, *[axis for axis in range(len(x.shape)) if axis not in direct]]
    ones = tuple([n if entry >= 0 else 1 for entry, n in zip(spec, shape, strict=True)])
    return tensor.expand(tensor.reshape(tensor.permute(x, order), ones), shape)


# --- reductions in stages -------------------------------------------------------------------------


def _in_stages(node: Node, facts: Facts) -> Node:
    """Reduce chunks first where there are too few results to keep the workers busy.

    Before: REDUCE(x (n, m), axes (0, 1))
    After:  REDUCE(CONTIGUOUS(REDUCE(x as (n, m/p, p), axes (2,))), axes (0, 1))
    """
    x, (op, axes) = node.src[0], node.arg
    total = size_of(x)
    if size_of(node) >= facts.chunks or total < 2 * facts.chunk:
        return node
    if any(isinstance(n, Size) for n in x.shape):
        return node
    inner, left = [], facts.chunk
    for axis in reversed(axes):
        n = x.shape[axis]
        if n <= left:
            inner.append(axis)
            left //= n
            continue
        piece = max([d for d in _divisors(n) if d <= left], default=1)
        own = piece * prod([x.shape[a] for a in inner])
        if own == 1 or own * 16 < facts.chunk:
            return _without_tail(node, axis, left)
        shape = (*x.shape[:axis], n // piece, piece, *x.shape[axis + 1 :])
        axes = tuple([a if a <= axis else a + 1 for a in axes])
        inner = [a + 1 for a in inner] + [axis + 1]
        x = tensor.reshape(x, shape)
        axes = (*axes, axis + 1)
        break
    rest = [a for a in axes if a not in inner]
    if not rest or not inner:
        return node
    part = tensor.contiguous(tensor.reduce(x, op, inner))
    rest = [a - sum(i < a for i in inner) for a in rest]
    return tensor.reshape(_in_stages(tensor.reduce(part, op, rest), facts), node.shape)


def _without_tail(node: Node, axis: int, piece: int) -> Node:
    """Reduce what whole chunks of `axis` cover, and combine it with the rest."""
    x, (op, axes) = node.src[0], node.arg
    n = x.shape[axis]
    whole = n - n % piece
    if whole in (0, n):
        return node
    chunks = tensor.reshape(
        tensor.shrink(x, axis, 0, whole),
        (*x.shape[:axis], whole // piece, piece, *x.shape[axis + 1 :]),
    )
    part = tensor.contiguous(tensor.reduce(chunks, op, [axis + 1]))
    return elementwise(
        op,
        (tensor.reduce(part, op, axes), tensor.reduce(tensor.shrink(x, axis, whole, n), op, axes)),
    )


# --- running combinations in stages ---------------------------------------------------------------


def _running_in_stages(node: Node, facts: Facts) -> Node:
    """Run along chunks where there are too few rows to keep the workers busy.

    Before: PREFIX(x (n,))
    After:  op(what all chunks before give together, PREFIX(x as (n/p, p), axis 1)), as (n,)

    The chunks before are combined for each chunk anew: there are few, and no kernel between.
    """
    x, (op, axis) = node.src[0], node.arg
    n = x.shape[axis]
    if any(isinstance(size, Size) for size in x.shape):
        return node
    rows = size_of(node) // n if n else 0
    if not rows or rows >= facts.chunks or size_of(node) < 2 * facts.chunk:
        return node
    most = min(MOST_CHUNKS, size_of(node) // facts.chunk)
    count = max([d for d in range(1, most + 1) if n % d == 0])
    if count < 2 or count * rows < facts.chunks:
        return _running_without_tail(node, most, facts)
    shape = (*x.shape[:axis], count, n // count, *x.shape[axis + 1 :])
    chunks = tensor.reshape(x, shape)
    totals = tensor.contiguous(tensor.reduce(chunks, op, (axis + 1,)))
    before = _combined_before(totals, op, axis)
    inner = tensor.prefix(chunks, op, axis + 1)
    whole = elementwise(op, (tensor.unreduce(before, shape, (axis + 1,)), inner))
    return tensor.reshape(whole, node.shape)


def _running_without_tail(node: Node, most: int, facts: Facts) -> Node:
    """Run along what whole chunks cover, and go on from there with the rest."""
    x, (op, axis) = node.src[0], node.arg
    n = x.shape[axis]
    whole = n - n % most
    if whole in (0, n) or most * size_of(node) < n * facts.chunks:
        return node
    first = _running_in_stages(tensor.prefix(tensor.shrink(x, axis, 0, whole), op, axis), facts)
    rest = tensor.prefix(tensor.shrink(x, axis, whole, n), op, axis)
    total = tensor.expand(tensor.shrink(first, axis, whole - 1, whole), rest.shape)
    return tensor.cat([first, elementwise(op, (total, rest))], axis)


def _combined_before(x: Node, op: Op, axis: int) -> Node:
    """Return the combination of all elements before each one along a short `axis`."""
    n = x.shape[axis]
    shape = (*x.shape[: axis + 1], n, *x.shape[axis + 1 :])
    ones = tuple([n if a in (axis, axis + 1) else 1 for a in range(len(shape))])
    here = tensor.reshape(tensor.arange(n, int32), ones[: axis + 1] + (1,) * (len(ones) - axis - 1))
    there = tensor.reshape(tensor.arange(n, int32), (1,) * (axis + 1) + ones[axis + 1 :])
    is_before = tensor.expand(there, shape) < tensor.expand(here, shape)
    values = tensor.expand(tensor.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:])), shape)
    assert op.identity is not None
    return tensor.reduce(is_before.where(values, op.identity(x.dtype)), op, (axis + 1,))


def _divisors(n: int) -> list[int]:
    small = [d for d in range(1, min(n, 1 << 12) + 1) if d * d <= n and n % d == 0]
    return small + [n // d for d in small]
