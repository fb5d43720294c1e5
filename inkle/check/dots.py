"""What a DOT means: the product of two tiles, by its definition, at many points at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inkle.check.arrays import combine, reduce_axes
from inkle.check.numpy_algebra import Array, apply, numpy_dtype, to_bits
from inkle.errors import InternalError
from inkle.ir import ops
from inkle.ir.dot import INSTRUCTIONS, Layout
from inkle.ir.node import Node
from inkle.ir.text import expression

if TYPE_CHECKING:
    from inkle.check.points import Points


def dot_value(points: Points, node: Node) -> Array:
    """Return the value of a DOT: products are rounded to the accumulator's type, then summed."""
    a, b, lane, register, lanes, *registers = node.src
    row = INSTRUCTIONS[node.arg]
    m, n, k = row.shape
    tiles = [
        _tile(points, node, operand, layout, (lanes, r), shape)
        for operand, layout, r, shape in zip(
            (a, b), (row.a, row.b), registers, ((m, k), (k, n)), strict=True
        )
    ]
    dtype = row.accumulator
    left, right = (
        apply(ops.CAST, dtype, [tile], [narrow])
        for tile, narrow in zip(tiles, row.operands, strict=True)
    )
    products = combine(
        ops.MUL, dtype, left[..., :, None, :], right.swapaxes(-1, -2)[..., None, :, :]
    )
    sums = reduce_axes(ops.ADD, dtype, products, (products.ndim - 1,))
    i, j = row.c.place(points.values[lane], points.values[register])
    place = np.asarray(i * n + j)[..., None]
    flat = sums.reshape(*sums.shape[:-2], m * n)
    shape = np.broadcast_shapes(place.shape[:-1], flat.shape[:-1])
    flat = np.broadcast_to(flat, (*shape, m * n))
    found: Array = np.take_along_axis(flat, np.broadcast_to(place, (*shape, 1)), -1)[..., 0]
    return found


def _tile(
    points: Points,
    node: Node,
    operand: Node,
    layout: Layout,
    ranges: tuple[Node, Node],
    shape: tuple[int, int],
) -> Array:
    """Return the tile that lanes and registers hold, with two more axes: its rows and columns."""
    axes = [points.space.axes[r] for r in ranges]
    value = np.broadcast_to(points.values[operand], points.shape(operand.ranges | set(ranges)))
    held = np.moveaxis(value, axes, (-2, -1))
    row, column = layout.place(np.arange(layout.lanes)[:, None], np.arange(layout.registers))
    place = np.broadcast_to(row * shape[1] + column, held.shape[-2:])
    tile = np.zeros((*held.shape[:-2], shape[0] * shape[1]), numpy_dtype(operand.dtype))
    tile[..., place] = held
    given, kept = (
        to_bits(np.ascontiguousarray(x), operand.dtype) for x in (held, tile[..., place])
    )
    if (given != kept).any():
        raise InternalError(f"lanes hold different values of one element: {expression(node)}")
    return np.expand_dims(tile, sorted(axes)).reshape(*_without(value.shape, axes), *shape)


def _without(shape: tuple[int, ...], axes: list[int]) -> tuple[int, ...]:
    return tuple([1 if axis in axes else n for axis, n in enumerate(shape)])
