"""Stable sorting by ranks: blocks by counting, then merges by binary search.

The rank of an element is the number of elements that come before it. Within a block it is one
REDUCE. Two sorted neighbours of length L are merged by looking up, for each element, how many of
the other half come before it: log2(L) steps of GATHERs. Every merge is one scatter of the places.
"""

from __future__ import annotations

from inkle.ir import ops, tensor
from inkle.ir.dtype import Kind, bool_, int16, int32, int64, uint8, uint16, uint32, uint64
from inkle.ir.node import Node

BLOCK = 32  # elements ranked by comparing each with each
_SIGNED = {16: int16, 32: int32, 64: int64}
_UNSIGNED = {8: uint8, 16: uint16, 32: uint32, 64: uint64}


def argsort_node(x: Node, *, descending: bool) -> Node:
    """Return int64 places that sort the last axis of `x` stably; NaN counts as the largest."""
    n = int(x.shape[-1])  # which elements are compared depends on it
    rows = 1
    for size in x.shape[:-1]:
        rows *= size
    if n <= 1 or not rows:
        return tensor.full(0, int64, x.shape)
    keys = order_keys(tensor.reshape(x, (rows, n)))
    if descending:
        keys = ~keys
    width = BLOCK
    padded = -(-n // BLOCK) * BLOCK
    while width < padded:
        width *= 2
    padded = width if padded > BLOCK else padded
    keys, places = _padded(keys, padded)
    keys, places = _sort_blocks(keys, places)
    width = BLOCK
    while width < padded:
        keys, places = _merge(keys, places, width)
        width *= 2
    return tensor.reshape(tensor.shrink(places, 1, 0, n), x.shape)


def order_keys(x: Node) -> Node:
    """Return unsigned integers in the order of the elements; +0.0 and -0.0 are equal."""
    dtype = x.dtype
    if dtype is bool_:
        return x.cast(uint8)
    unsigned = _UNSIGNED[dtype.bits]
    if dtype.kind is Kind.UINT:
        return x
    sign = 1 << (dtype.bits - 1)
    if dtype.kind is Kind.INT:
        return x.bitcast(unsigned) ^ sign
    # Positive floats are in the order of their bits, negative ones in the opposite order.
    bits = (x + 0.0).bitcast(unsigned)
    negative = bits.bitcast(_SIGNED[dtype.bits]) < 0
    ordered = negative.where(~bits, bits ^ sign)
    return x.ne(x).where(unsigned.limits()[1], ordered)


def _padded(keys: Node, width: int) -> tuple[Node, Node]:
    """Lengthen rows by the largest key, which comes after real ones; its places do not matter."""
    rows, n = keys.shape
    places = tensor.broadcast_to(tensor.arange(width), (rows, width))
    if n == width:
        return keys, places
    places = places.minimum(n - 1)  # bounds of the result: what gathers by it is in range
    fill = tensor.full(keys.dtype.limits()[1], keys.dtype, (rows, width - n))
    return tensor.cat([keys, fill], 1), places


def _sort_blocks(keys: Node, places: Node) -> tuple[Node, Node]:
    """Sort blocks of BLOCK elements (the padded length is a multiple)."""
    rows, n = keys.shape
    size = min(BLOCK, n)
    split = (rows, n // size, size)
    blocks = tensor.reshape(keys, split)
    full = (*split, size)
    mine = tensor.expand(tensor.reshape(blocks, (*split, 1)), full)
    other = tensor.expand(tensor.reshape(blocks, (rows, n // size, 1, size)), full)
    i = tensor.broadcast_to(tensor.reshape(tensor.arange(size), (size, 1)), full)
    j = tensor.broadcast_to(tensor.arange(size), full)
    before = (other < mine) | (other.eq(mine) & (j < i))
    rank = tensor.reduce(before.cast(int64), ops.ADD, (3,)).minimum(size - 1)  # tells bounds so
    start = tensor.broadcast_to(
        tensor.reshape(tensor.arange(n // size) * size, (n // size, 1)), split
    )
    return _move(keys, places, tensor.reshape(start + rank, (rows, n)))


def _merge(keys: Node, places: Node, width: int) -> tuple[Node, Node]:
    """Merge neighbouring sorted runs of `width` elements."""
    rows, n = keys.shape
    number = tensor.broadcast_to(tensor.arange(n), (rows, n))
    run = number // width
    is_left = (run % 2).eq(0)
    partner = (run ^ 1) * width  # where the other run starts
    # Count the elements of the other run that come before: those that are smaller, and for a right
    # run the equal ones, too, which keeps the order of equals.
    low = tensor.full(0, int64, (rows, n))
    step = width
    while step:
        probe = low + step
        inside = probe <= width
        at = partner + inside.where(probe - 1, 0).minimum(width - 1)  # tells bounds so
        there = tensor.gather(keys, [at], (0, -1))
        comes_before = (there < keys) | (there.eq(keys) & ~is_left)
        low = (inside & comes_before).where(probe, low)
        step //= 2
    target = (run // 2) * (2 * width) + number % width + low
    return _move(keys, places, target.minimum(n - 1))


def _move(keys: Node, places: Node, target: Node) -> tuple[Node, Node]:
    """Return both with each element at its target in its row."""
    blank = tensor.full(0, int64, places.shape)
    order = tensor.contiguous(tensor.scatter(blank, places, [target], (0, -1), None))
    empty = tensor.full(0, keys.dtype, keys.shape)
    moved = tensor.contiguous(tensor.scatter(empty, keys, [target], (0, -1), None))
    return moved, order
