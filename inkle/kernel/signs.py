"""Products of bytes of one sign, for instructions that multiply unsigned by signed ones.

With b' = b + 128, which flips the highest bit of a signed byte and makes an unsigned one of it:

    sum of a * b  =  sum of a * b'  -  128 * sum of a

Exact, as sums of int32 wrap: both sides are equal modulo 2^32. Of two unsigned bytes, b' = b - 128
is the signed one. The sum of a is taken again for each panel of columns, a few percent of the work.
"""

from __future__ import annotations

from dataclasses import replace

from inkle.ir import forms, loop, ops
from inkle.ir.dtype import int8, int32, uint8
from inkle.ir.loop import Kernel, number_of, range_
from inkle.ir.node import Node, bound_ranges, const, rebuild, toposort, transform
from inkle.kernel.machine import Machine
from inkle.kernel.transforms import fresh_number

OTHER = {int8: uint8, uint8: int8}
HIGHEST = {int8: -128, uint8: 128}  # the highest bit, as a number of that type


def mixed_signs(kernel: Kernel, node: Node, lane: Node, machine: Machine) -> Kernel | None:
    """Return a kernel in which a sum of products of bytes multiplies unsigned by signed ones.

    None if it is no such sum, or has them already, or the machine would have no use for them.

    Args:
        kernel: loop nest.
        node: a REDUCE of it.
        lane: the factor that depends on this range changes its sign.
        machine: says which instructions there are.
    """
    if not any(name.startswith("vpdpbusd") for name in machine.instructions):
        return None
    if node.op is not forms.REDUCE or node.arg[0] is not ops.ADD or node.dtype is not int32:
        return None
    product = node.src[0]
    if product.op is not ops.MUL or not all(x.op is ops.CAST for x in product.src):
        return None
    a, b = sorted((x.src[0] for x in product.src), key=lambda x: lane in x.ranges)
    if a.dtype is not b.dtype or a.dtype not in OTHER or lane in a.ranges or lane not in b.ranges:
        return None
    other = OTHER[b.dtype]
    flipped = b.apply(ops.XOR, const(HIGHEST[b.dtype], b.dtype)).bitcast(other)
    mixed = loop.reduce(ops.ADD, a.cast(int32) * flipped.cast(int32), bound_ranges(node))
    swap = _fresh_ranges(kernel, node)
    alone = transform([a], rebuild, swap)[a].cast(int32)
    over = [swap[r] for r in bound_ranges(node) if swap[r] in alone.ranges]
    rest = [r for r in bound_ranges(node) if swap[r] not in alone.ranges]
    if rest:
        return None
    total = mixed + loop.reduce(ops.ADD, alone, over) * const(HIGHEST[b.dtype], int32)
    done = transform(kernel.stores, rebuild, {node: total})
    stores = tuple([done[store] for store in kernel.stores])
    used = {r for r in toposort(stores) if r.op is forms.RANGE}
    order = tuple([r for r in (*kernel.order, *over) if r in used])
    return replace(kernel, stores=stores, order=order)


def _fresh_ranges(kernel: Kernel, node: Node) -> dict[Node, Node]:
    """Return ranges of their own for the sum of one factor: the depth belongs to the products."""
    first = fresh_number(kernel)
    ranges = sorted(bound_ranges(node), key=number_of)
    return {r: range_(first + i, r.src[0], r.arg[1]) for i, r in enumerate(ranges)}
