"""Contractions by matrix instructions: the transform, and the choice of an instruction.

The rows of `inkle.ir.dot` say what an instruction multiplies and where in the lanes its operands
are. The transform replaces a reduction over one tile's depth by the instruction, and the ranges of
its rows and columns by the places where the instruction leaves its sums. It moves no data: whether
an operand lies in memory as its lanes want it is left to `stage`.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from inkle.errors import OptionError
from inkle.ir import forms, loop, ops
from inkle.ir.dot import INSTRUCTIONS, Instruction, Layout
from inkle.ir.dtype import index
from inkle.ir.loop import Axis, Kernel, axis_of, extent, number_of, range_
from inkle.ir.node import Node, as_index, bound_ranges, const, rebuild, toposort, transform
from inkle.ir.pseudo import expression, name_of_range
from inkle.kernel.access import coefficient
from inkle.kernel.machine import Machine
from inkle.kernel.narrow import conjunction, conjuncts
from inkle.kernel.regions import Region, length
from inkle.kernel.transforms import fresh_number

LEAST_ROWS = 4  # products per element of B, which has to be re-laid for the instruction
MOST_VECTORS = 4  # in a panel: `kernel.tile` has no wider tiles


def tensorize(
    kernel: Kernel,
    instruction: Instruction,
    columns: Node,
    inner: Node,
    rows: Node | None = None,
) -> Kernel:
    """Multiply tiles by an instruction.

    Before: for lane j in 16:                  After: for lane l in 16:
                for ko in 64:                              for ko in 64:
                    for ki in 4:                               acc[l] = vpdpbusd(acc[l], a, b)
                        acc[j] += int32(A[ko * 4 + ki])    where a[l', u] = A[ko * 4 + u]
                          * int32(B[ko * 4 + ki, j])             b[l', u] = B[ko * 4 + u, l']

    Legal for a sum of products of two factors, cast to the accumulator's type, of which one depends
    on `rows` and the other one on `columns`. A gate that depends on `inner` moves into both
    factors, whose product is then zero; other gates stay around the instruction.

    Args:
        kernel: loop nest; `split` has made ranges of the sizes of a tile.
        instruction: row of `inkle.ir.dot`, of shape m, n and k.
        columns: range of the stores of length n.
        inner: range of one reduction, of length k.
        rows: range of the stores of length m; None if m is 1.

    Raises:
        OptionError: says why the instruction does not compute this.
    """
    tile = (rows, columns, inner)
    gone = [r for r in tile if r is not None]
    node = _reduction(kernel, instruction, gone)
    _check_sizes(kernel, instruction, tile)
    a, b, gate = _factors(node, instruction, tile)
    a, b, gate = _move_gate(a, b, gate, inner, gone)
    lane, register, *ranges = _new_ranges(kernel, instruction)
    at = (lane, register if extent(register) > 1 else const(0, index))
    place = _coordinates(instruction.c, *at, rows, columns)
    lanes, first, second = ranges
    a = _at(a, _coordinates(instruction.a, lanes, first, rows, inner))
    b = _at(b, _coordinates(instruction.b, lanes, second, inner, columns))
    value = loop.dot(instruction, a, b, at, ranges)
    if gate is not None:
        value = _at(gate, place).where(value, const(0, value.dtype))
    value = loop.reduce(ops.ADD, value, [r for r in bound_ranges(node) if r is not inner])
    done = transform(kernel.stores, rebuild, {node: value, **place})
    stores = tuple([done[s] for s in kernel.stores])
    order = tuple([r for r in kernel.order if r not in gone])
    names = " ".join(map(name_of_range, gone))
    note = f"tensorize {names} by {instruction.name} into lane {number_of(lane)}"
    return Kernel(stores, order, (*kernel.schedule, note))


def _require(condition: object, reason: str) -> None:
    if not condition:
        raise OptionError(f"tensorize: {reason}")


def _reduction(kernel: Kernel, instruction: Instruction, gone: list[Node]) -> Node:
    """Return the sum over the innermost range of a tile."""
    name, sums = name_of_range(gone[-1]), instruction.accumulator
    found = _bound_by(kernel, gone[-1])
    _require(len(found) == 1, f"{name} belongs to {len(found)} reductions, not to one")
    (node,) = found
    _require(node.op is forms.REDUCE and node.arg[0] is ops.ADD, f"{name} is no range of a sum")
    _require(node.dtype is sums, f"{instruction.name} sums {sums}, this is {node.dtype}")
    for r in (node.ranges | set(bound_ranges(node))) - set(gone):
        _require(axis_of(r) is not Axis.LANE, f"{name_of_range(r)} has the lanes already")
    return node


def _bound_by(kernel: Kernel, r: Node) -> list[Node]:
    return [node for node in kernel.nodes() if r in bound_ranges(node)]


def _check_sizes(
    kernel: Kernel, instruction: Instruction, tile: tuple[Node | None, Node, Node]
) -> None:
    for r, size in zip(tile, instruction.shape, strict=True):
        if r is None:
            _require(size == 1, f"{instruction.name} needs a range of {size} rows")
            continue
        length_of = f"{name_of_range(r)} has length {expression(r.src[0])}"
        fits = r.src[0].op is forms.CONST and extent(r) == size
        _require(fits, f"{length_of}, {instruction.name} needs {size}; split it first")
        is_free = r is tile[2] or all(r in store.ranges for store in kernel.stores)
        _require(is_free, f"{name_of_range(r)} is no range of the stores")
        for other in kernel.ranges():
            limits = f"{name_of_range(r)} limits {name_of_range(other)}"
            _require(r not in other.src[0].ranges, limits)


def _factors(
    node: Node, instruction: Instruction, tile: tuple[Node | None, Node, Node]
) -> tuple[Node, Node, Node | None]:
    """Return the factors A and B before their casts, and the gate of their product."""
    product, gate = _gated(node.src[0])
    _require(product.op is ops.MUL, f"{expression(product)} is no product of two factors")
    factors = product.src if tile[1] in product.src[1].ranges else product.src[::-1]
    tiles = []
    for i, (what, factor, dtype) in enumerate(
        zip("AB", factors, instruction.operands, strict=True)
    ):
        text = f"{expression(factor)}, as {what},"
        for r, is_own in ((tile[i], True), (tile[1 - i], False)):
            fits = r is None or (r in factor.ranges) is is_own
            name = name_of_range(r) if r is not None else ""
            _require(fits, f"{text} must{' not' * (not is_own)} depend on {name}")
        is_cast = factor.op is ops.CAST and factor.src[0].dtype is dtype
        _require(is_cast, f"{text} must be a cast from {dtype} for {instruction.name}")
        tiles.append(factor.src[0])
    for each in toposort(tiles):
        is_inside = each.op is forms.STAGE and not each.ranges.isdisjoint(set(tile))
        _require(not is_inside, f"{expression(each)} is filled for a part of the tile")
    return tiles[0], tiles[1], gate


def _gated(body: Node) -> tuple[Node, Node | None]:
    """Return the term of a sum, and the gate where it is not zero."""
    if body.op is ops.WHERE and body.src[2].op is forms.CONST and body.src[2].arg == 0:
        return body.src[1], body.src[0]
    return body, None


def _move_gate(
    a: Node, b: Node, gate: Node | None, inner: Node, gone: list[Node]
) -> tuple[Node, Node, Node | None]:
    """Return the factors, zero where parts of the gate on `inner` do not hold, and other parts."""
    parts = conjuncts(gate) if gate is not None else []
    inside = [part for part in parts if inner in part.ranges]
    for part in inside:
        is_shared = part.ranges.isdisjoint(set(gone) - {inner})
        _require(is_shared, f"gate {expression(part)} depends on a row or column")
        a, b = _zero_outside(a, part), _zero_outside(b, part)
    return a, b, conjunction([part for part in parts if part not in inside])


def _zero_outside(tile: Node, gate: Node) -> Node:
    """Return `tile` where `gate` holds, else 0."""
    if tile.op is not forms.LOAD:
        return gate.where(tile, const(0, tile.dtype))
    old = conjuncts(tile.src[2]) if len(tile.src) > 2 else []
    return tile if gate in old else loop.load(tile.src[0], tile.src[1], conjunction([*old, gate]))


def _new_ranges(kernel: Kernel, instruction: Instruction) -> list[Node]:
    """Return lanes and registers of the sums, the lanes of the tiles, and registers of each."""
    first = fresh_number(kernel)
    a, b, c = instruction.a, instruction.b, instruction.c
    sizes = (c.lanes, c.registers, c.lanes, a.registers, b.registers)
    kinds = (Axis.LANE, Axis.UNROLL, Axis.LANE, Axis.UNROLL, Axis.UNROLL)
    return [range_(first + i, sizes[i], kind) for i, kind in enumerate(kinds)]


def _at(value: Node, place: dict[Node, Node]) -> Node:
    return transform([value], rebuild, place)[value]


def _coordinates(
    layout: Layout, lane: Node, register: Node, row: Node | None, column: Node | None
) -> dict[Node, Node]:
    """Return where in the tile an element is, by the ranges that ran over the tile."""
    places = zip((row, column), layout.place(lane, register), strict=True)
    return {r: as_index(place) for r, place in places if r is not None}


# --- choice ---------------------------------------------------------------------------------------


def choose_instruction(
    kernel: Kernel, region: Region, lane: Node | None, machine: Machine, loops: Iterable[Node]
) -> tuple[Instruction, Node] | None:
    """Return the instruction that computes a contraction fast, and the range to take its depth of.

    It must be one of a row by vectors. The row is read as it lies in memory: its elements must be
    side by side along the depth. The panel is re-laid once and has to fit its stage.

    Args:
        kernel: loop nest.
        region: its contraction.
        lane: range of the stores that becomes lanes.
        machine: says which instructions there are.
        loops: ranges that stay whole.
    """
    product, gate = _gated(region.node.src[0])
    is_sum = region.op is forms.REDUCE and region.node.arg[0] is ops.ADD and product.op is ops.MUL
    if lane is None or not is_sum or not all(x.op is ops.CAST for x in product.src):
        return None
    a, b = sorted((x.src[0] for x in product.src), key=lambda x: lane in x.ranges)
    loads = a, loaded(b)
    is_plain = all(x.op is forms.LOAD and len(x.src) == 2 for x in loads)
    if not is_plain or lane in a.ranges or loads[1].src[0].op is not forms.PARAM:
        return None
    whole = set(loops) | (gate.ranges if gate is not None else set())
    depths = [r for r in region.bound if r not in whole and _is_depth(kernel, r, a, b)]
    types = (a.dtype, b.dtype, product.dtype)
    for row in INSTRUCTIONS.values():
        if row.name in machine.instructions and (*row.operands, row.accumulator) == types:
            for r in depths:
                fits = length(lane) >= row.shape[1] and length(r) >= row.shape[2]
                if fits and _is_worth(region, row, b, machine):
                    return row, r
    return None


def loaded(value: Node) -> Node:
    """Return what a value is computed from, element by element in place, with constants alone."""
    while value.op.is_elementwise:
        sources = [s for s in value.src if s.op is not forms.CONST]
        if len(sources) != 1 or sources[0].dtype.itemsize != value.dtype.itemsize:
            break
        [value] = sources
    return value


def _is_depth(kernel: Kernel, r: Node, a: Node, b: Node) -> bool:
    """Whether `r` is a loop of one sum alone, along elements of the row that are side by side."""
    is_loop = axis_of(r) is Axis.LOOP and r.src[0].op is forms.CONST
    is_side_by_side = r in b.ranges and coefficient(a.src[1], r) == 1
    return is_loop and is_side_by_side and len(_bound_by(kernel, r)) == 1


def _is_worth(region: Region, row: Instruction, b: Node, machine: Machine) -> bool:
    """Whether panels fit their stage, and their elements are used often enough to re-lay them."""
    depth = prod(length(r) for r in b.ranges if r in region.bound)
    size = depth * row.shape[1] * MOST_VECTORS * b.dtype.itemsize
    is_reused = region.points >= LEAST_ROWS * prod(map(length, b.ranges))
    return size <= machine.stage_bytes and is_reused
