"""Blocks of memory that are read along one axis and wanted along another: a lane transpose.

A load whose lanes are `step` elements apart, for UNROLL points that are neighbours in memory,

    lane l, point u:   B[base + step * l + u]      as many points as lanes

is a square block. Its rows are contiguous: they are loaded as vectors and transposed in registers,
in log2(lanes) rounds of shuffles: 16 loads and 64 shuffles in the place of 256 gathered elements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inkle.ir.loop import extent
from inkle.ir.node import Node
from inkle.ir.program import Value
from inkle.kernel.access import coefficient
from inkle.kernel.scopes import Scope, Shape

if TYPE_CHECKING:
    from inkle.kernel.linearize import Linearizer

Point = dict[Node, int]
NEAR = (-1, 0, 1, 2)  # distances of lanes that one or two vector loads serve
LARGEST = 16  # rows of a block: all of them are in registers at once


def block_of(load: Node, shape: Shape) -> Node | None:
    """Return the UNROLL range that makes a square block of the lanes of `load`, if there is one."""
    at, lane = load.src[1], shape.lane
    if lane is None or extent(lane) > LARGEST or len(load.src) > 2 or load.dtype.bits < 8:
        return None
    step = coefficient(at, lane)
    if step is None or step in NEAR:
        return None
    for r in shape.unroll:
        if extent(r) == extent(lane) and coefficient(at, r) == 1:
            return r
    return None


def load_block(owner: Linearizer, load: Node, r: Node, point: Point, shape: Shape) -> None:
    """Emit the block of `load` at `point`; remember its value for each point of `r`."""
    memory, at = load.src
    assert shape.lane is not None
    scope, lanes = owner.scope_of(shape), extent(shape.lane)
    first = {**point, r: 0}
    where, step = owner.address(at, first, shape.lane)
    assert step is not None, f"{load} has no distance between lanes"
    pointer = owner.value(memory, first)
    rows = []
    for i in range(lanes):
        place = owner.offset(where, i * step, scope) if i else where
        rows.append(owner.emit(scope, "load", load.dtype, lanes, (pointer, place), 1))
    for i, column in enumerate(transposed(owner, rows, scope)):
        here = {**point, r: i}
        owner.remember(load, [here[each] for each in shape.unroll], column, scope)


def transposed(owner: Linearizer, rows: list[Value], scope: Scope) -> list[Value]:
    """Return vectors of which number i has lane i of each row.

    Round k swaps, between rows that differ in bit k of their number, the lanes that differ in it.
    """
    lanes, dtype = rows[0].lanes, rows[0].dtype
    bit = 1
    while bit < lanes:
        low = tuple([i if not i & bit else lanes + i - bit for i in range(lanes)])
        high = tuple([i + bit if not i & bit else lanes + i for i in range(lanes)])
        swapped = list(rows)
        for i in range(lanes):
            if not i & bit:
                pair = rows[i], rows[i + bit]
                swapped[i] = owner.emit(scope, "shuffle", dtype, lanes, pair, low)
                swapped[i + bit] = owner.emit(scope, "shuffle", dtype, lanes, pair, high)
        rows = swapped
        bit *= 2
    return rows
