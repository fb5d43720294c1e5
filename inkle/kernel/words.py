"""Operands of matrix instructions: the elements that one lane holds, side by side in a word.

    register u4 of 4 bytes:   byte[u4 = 0], ..., byte[u4 = 3], one after the other in memory
    word:                     one uint32 of each lane

Elements that lie side by side in memory are loaded as a word. Others are shifted together, the
first one into the lowest bits: every target is little-endian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inkle.errors import RenderError
from inkle.ir import forms, ops
from inkle.ir.dtype import BY_NAME, DType
from inkle.ir.loop import Axis, axis_of, extent
from inkle.ir.node import Node, bound_ranges
from inkle.ir.program import Value
from inkle.kernel.access import coefficient
from inkle.kernel.scopes import Shape

if TYPE_CHECKING:
    from inkle.kernel.linearize import Linearizer

Point = dict[Node, int]


def word_type(dtype: DType, size: int) -> DType:
    """Return the unsigned integer that holds `size` elements of `dtype`.

    Raises:
        RenderError: if there is none.
    """
    found = BY_NAME.get(f"uint{dtype.bits * size}")
    if found is None:
        raise RenderError(f"no word holds {size} elements of {dtype}")
    return found


def emit_dot(owner: Linearizer, node: Node, point: Point, sums: Value) -> Value:
    """Return `sums` plus the product of two tiles; not yet in any block."""
    a, b, *_ = node.src
    _, *registers = bound_ranges(node)
    words = [word(owner, tile, r, point) for tile, r in zip((a, b), registers, strict=True)]
    operands = [owner.spread(each, sums.lanes, owner.innermost) for each in words]
    return Value("dot", node.dtype, sums.lanes, (sums, *operands), node.arg)


def word(owner: Linearizer, node: Node, register: Node, point: Point) -> Value:
    """Return `node` at all values of `register`, as one word of each lane."""
    shape = owner.shape_of(node)
    scope = owner.scope_of(shape)
    key = (word, node, tuple([point[r] for r in shape.unroll if r is not register]))
    found = scope.values.get(key)
    if found is None:
        is_whole = node.op is forms.LOAD and len(node.src) == 2
        if is_whole and coefficient(node.src[1], register) == 1:
            found = _load(owner, node, shape, register, point)
        else:
            found = _shift_together(owner, node, shape, register, point)
        scope.values[key] = found
    return found


def _load(owner: Linearizer, node: Node, shape: Shape, register: Node, point: Point) -> Value:
    memory, at = node.src
    first = {**point, register: 0}
    where, step = owner.address(at, first, shape.lane)
    source = (owner.value(memory, first), where)
    kind, lanes = word_type(node.dtype, extent(register)), _lanes(shape)
    return owner.emit(owner.scope_of(shape), "load", kind, lanes, source, step)


def _shift_together(
    owner: Linearizer, node: Node, shape: Shape, register: Node, point: Point
) -> Value:
    scope, lanes = owner.scope_of(shape), _lanes(shape)
    bits, kind = word_type(node.dtype, 1), word_type(node.dtype, extent(register))
    total: Value | None = None
    for i in range(extent(register)):
        part = owner.spread(owner.value(node, {**point, register: i}), lanes, scope)
        if node.dtype is not bits:
            part = owner.emit(scope, ops.BITCAST, bits, lanes, (part,))
        part = owner.emit(scope, ops.CAST, kind, lanes, (part,))
        if total is not None:
            count = owner.literal(node.dtype.bits * i, kind, lanes)
            part = owner.emit(scope, ops.SHL, kind, lanes, (part, count))
            part = owner.emit(scope, ops.OR, kind, lanes, (total, part))
        total = part
    assert total is not None, f"register {register} has no elements"
    return total


def _lanes(shape: Shape) -> int:
    return extent(shape.lane) if shape.lane is not None else 1


# --- staging --------------------------------------------------------------------------------------


def fill_stage(owner: Linearizer, node: Node, outer: Point) -> Value:
    """Fill fast memory with a loop nest of its own, and return it."""
    value, at, *ranges = node.src
    memory = Value("local", node.dtype, 1, (), node.arg)
    loops = owner.open_loops(ranges)
    shape = Shape(value.ranges | at.ranges)
    lanes = _lanes(shape)
    scope = owner.innermost
    filled = [r for r in shape.unroll if r in ranges]
    register = _register(node, shape.lane)
    for each in owner.points([r for r in filled if r is not register]):
        point = {**outer, **each}
        if register is None:
            stored = owner.value(value, point)
        else:
            stored = word(owner, value, register, point)
            point[register] = 0
        where, step = owner.address(at, point, shape.lane)
        stored = owner.spread(stored, lanes, scope)
        scope.block.append(Value("store", stored.dtype, lanes, (memory, where, stored), step))
    owner.close_loops(loops)
    return memory


def _register(node: Node, lane: Node | None) -> Node | None:
    """Return the UNROLL range that runs over the elements of one lane side by side, if any."""
    _, at, *ranges = node.src
    for r in ranges:
        if axis_of(r) is Axis.UNROLL and lane is not None:
            is_word = f"uint{node.dtype.bits * extent(r)}" in BY_NAME
            if is_word and (coefficient(at, r), coefficient(at, lane)) == (1, extent(r)):
                return r
    return None
