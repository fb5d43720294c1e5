"""Expensive values that two passes over a row both need are computed once, into fast memory.

Before: for j: total += exp(x[i, j] - top)       After: for j: T[j] = exp(x[i, j] - top)
        for j: out[i, j] = exp(x[i, j] - top) / total   for j: total += T[j]
                                                        for j: out[i, j] = T[j] / total
"""

from __future__ import annotations

from dataclasses import replace

from inkle.ir import forms, loop
from inkle.ir.loop import Kernel, extent, number_of, range_
from inkle.ir.node import Node, bound_ranges, rebuild, toposort, transform
from inkle.kernel.machine import Machine
from inkle.kernel.regions import SLOW

LEAST_WORK = 6.0  # operations that are dearer than a store and two loads from the first cache


def share(kernel: Kernel, machine: Machine) -> Kernel:
    """Stage values that a reduction and the code after it both compute for every element."""
    for node in kernel.nodes():
        if node.op is not forms.REDUCE or len(bound_ranges(node)) != 1:
            continue
        (r,) = bound_ranges(node)
        if r.src[0].op is not forms.CONST:
            continue
        found = _twin(kernel, node, r, machine)
        if found is not None:
            return share(_stage_twins(kernel, *found), machine)
    return kernel


def _twin(
    kernel: Kernel, node: Node, r: Node, machine: Machine
) -> tuple[Node, Node, Node, Node] | None:
    """Return (value, its range, the same value elsewhere, the range there), dearest value first."""
    present = set(kernel.nodes())
    others = [
        c for c in kernel.order if c is not r and c.src[0] is r.src[0] and c not in node.ranges
    ]
    inside = [n for n in toposort([node.src[0]]) if r in n.ranges and n.dtype.bits]
    for c in others:
        renamed = transform([node.src[0]], rebuild, {r: c})
        for value in reversed(inside):
            twin = renamed[value]
            fits = extent(r) * value.dtype.itemsize <= machine.stage_bytes // 4
            if twin in present and fits and _work(value, r) >= LEAST_WORK:
                return value, r, twin, c
    return None


def _work(value: Node, r: Node) -> float:
    """Return the operations per element of `r` that `value` costs."""
    mine = [n for n in toposort([value]) if n.op.is_elementwise and r in n.ranges and n.dtype.bits]
    return sum(SLOW.get(n.op, 1.0) for n in mine)


def _stage_twins(kernel: Kernel, value: Node, r: Node, twin: Node, c: Node) -> Kernel:
    numbers = [number_of(x) for x in kernel.ranges()]
    numbers += [n.arg[0] for n in kernel.nodes() if n.op is forms.STAGE]
    fresh = range_(max(numbers) + 1, r.src[0])
    filled = transform([value], rebuild, {r: fresh})[value]
    memory = loop.stage(max(numbers) + 2, filled, fresh, [fresh], extent(r))
    swap = {value: loop.load(memory, r), twin: loop.load(memory, c)}
    done = transform(kernel.stores, rebuild, swap)
    return replace(
        kernel,
        stores=tuple(done[s] for s in kernel.stores),
        order=(*kernel.order, fresh),
        schedule=(*kernel.schedule, f"share a value of loops {number_of(r)} and {number_of(c)}"),
    )
