"""Stable sorting: of the order of short rows by counting, of long ones by a library.

The rank of an element is the number of elements that come before it: one REDUCE, in the kernel of
whatever uses it. Long rows are sorted by NumPy, whose sorts of integers use vectors. Elements are
made unsigned integers in the same order, with their places in the lower bits: equal ones keep their
order. Elements of 64 bits leave no room for places, and are sorted by a slower, stable sort.
"""

from __future__ import annotations

from inkle.ir import host, ops, tensor
from inkle.ir.dtype import Kind, bool_, int16, int32, int64, uint8, uint16, uint32, uint64
from inkle.ir.node import Node

SHORT = 32  # elements that are ranked by comparing each with each
FEW = 8  # one in so many elements, or fewer, are found without sorting the rest
_SIGNED = {16: int16, 32: int32, 64: int64}
_UNSIGNED = {8: uint8, 16: uint16, 32: uint32, 64: uint64}
_PLACE_BITS = 32


def argsort_node(x: Node, *, descending: bool, first: int | None = None) -> Node:
    """Return int64 places that sort the last axis of `x` stably; NaN counts as the largest.

    Args:
        x: at least one axis.
        descending: from the largest on; equal elements keep their order even so.
        first: return only so many of each row; few are found without sorting all.
    """
    n = int(x.shape[-1])  # which elements are compared depends on it
    rows = 1
    for size in x.shape[:-1]:
        rows *= size
    count = n if first is None else first
    shape = (*x.shape[:-1], count)
    if n <= 1 or not rows or not count:
        return tensor.full(0, int64, shape)
    keys = order_keys(tensor.reshape(x, (rows, n)))
    if descending:
        keys = ~keys
    places = _by_ranks(keys) if n <= SHORT else _by_library(keys, count)
    return tensor.reshape(tensor.shrink(places, 1, 0, count), shape)


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


def _by_library(keys: Node, count: int) -> Node:
    """Return the places of `count` elements of each row in order, or of all."""
    rows, n = (int(size) for size in keys.shape)
    if keys.dtype is uint64:
        return host.call("argsort", [keys], (), (rows, n), int64)
    places = tensor.broadcast_to(tensor.arange(n).cast(uint64), (rows, n))
    marked = (keys.cast(uint64) << _PLACE_BITS) | places
    if count * FEW <= n:
        done = host.call("smallest", [marked], (count,), (rows, count), uint64)
    else:
        done = host.call("sort", [marked], (), (rows, n), uint64)
    found = (done & ((1 << _PLACE_BITS) - 1)).cast(int64)
    return found.minimum(n - 1)  # tells bounds so


def _by_ranks(keys: Node) -> Node:
    """Return the places of the elements of each row in order, by how many come before each."""
    rows, n = keys.shape
    full = (rows, n, n)
    mine = tensor.expand(tensor.reshape(keys, (rows, n, 1)), full)
    other = tensor.expand(tensor.reshape(keys, (rows, 1, n)), full)
    i = tensor.broadcast_to(tensor.reshape(tensor.arange(n), (n, 1)), full)
    j = tensor.broadcast_to(tensor.arange(n), full)
    before = (other < mine) | (other.eq(mine) & (j < i))
    rank = tensor.reduce(before.cast(int64), ops.ADD, (2,)).minimum(n - 1)  # tells bounds so
    places = tensor.broadcast_to(tensor.arange(n), (rows, n))
    blank = tensor.full(0, int64, (rows, n))
    return tensor.contiguous(tensor.scatter(blank, places, [rank], (0, -1), None))
