"""What tensors and kernels do to whole arrays: ordered reductions, ordered writes, wrapped indices.

Shared by the two reference definitions, of the tensor form (`reference`) and of the loop form
(`interpreter`), so that both mean the same by "in row-major order".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inkle.check.numpy_algebra import Array, apply, constant
from inkle.ir.dtype import DType
from inkle.ir.op import Op


def combine(op: Op, dtype: DType, a: Array, b: Array) -> Array:
    """Return the binary operation of two arrays of one dtype."""
    return apply(op, dtype, [a, b], [dtype, dtype])


def reduce_axes(op: Op, dtype: DType, x: Array, axes: Sequence[int]) -> Array:
    """Combine the elements along `axes`, which vanish.

    Neighbours are combined, and neighbours of those, each result rounded to `dtype`: the order of
    the elements is kept, and the error of a float sum grows with the logarithm of their number.
    The first operand is the identity of `op`, as in an accumulator: a sum of -0.0 is +0.0.
    """
    assert op.identity is not None, f"{op} has no identity to start a reduction from"
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    x = x.transpose([*kept, *sorted(axes)])
    shape = tuple(x.shape[: len(kept)])
    x = x.reshape((*shape, int(np.prod(x.shape[len(kept) :], dtype=np.int64))))
    while x.shape[-1] > 1:
        pairs = x.shape[-1] // 2 * 2
        combined = combine(op, dtype, x[..., 0:pairs:2], x[..., 1:pairs:2])
        x = np.concatenate([combined, x[..., pairs:]], axis=-1)
    start = np.broadcast_to(constant(op.identity(dtype), dtype), shape)
    return combine(op, dtype, start, x[..., 0]) if x.shape[-1] else np.array(start)


def running(op: Op, dtype: DType, x: Array) -> Array:
    """Combine each element with all before it along the last axis, from the identity on."""
    assert op.identity is not None, f"{op} has no identity to start from"
    out = np.array(x)
    total = np.broadcast_to(constant(op.identity(dtype), dtype), x.shape[:-1])
    for i in range(x.shape[-1]):
        total = out[..., i] = combine(op, dtype, total, x[..., i])
    return out


def write_in_order(memory: Array, at: Array, values: Array, op: Op | None, dtype: DType) -> None:
    """Write `values` to positions `at` of flat `memory`, one after the other.

    Args:
        memory: changed in place.
        at: positions; duplicates are allowed.
        values: of the same shape as `at`.
        op: None to overwrite (the last one wins), else memory[at] = op(memory[at], value).
        dtype: of memory and values.
    """
    at, values = at.ravel(), values.ravel()
    if op is None:
        memory[at] = values  # NumPy promises that the last one wins
        return
    order = np.argsort(at, kind="stable")
    at, values = at[order], values[order]
    positions = np.arange(at.size)
    is_first = np.ones(at.size, bool)
    is_first[1:] = at[1:] != at[:-1]
    rank = positions - np.maximum.accumulate(np.where(is_first, positions, 0))
    for turn in range(int(rank.max(initial=-1)) + 1):
        here = rank == turn
        memory[at[here]] = combine(op, dtype, memory[at[here]], values[here])


def wrap_index(index: Array, n: int) -> tuple[Array, Array]:
    """Return integer positions with negative ones wrapped once, and where they are valid.

    Invalid positions are returned as 0.
    """
    if index.dtype.kind == "u":  # the largest must not become negative
        index = np.minimum(index, min(n, np.iinfo(index.dtype).max))
    index = index.astype(np.int64)
    index = np.where(index < 0, index + n, index)
    is_valid = (index >= 0) & (index < n)
    return np.where(is_valid, index, 0), is_valid
