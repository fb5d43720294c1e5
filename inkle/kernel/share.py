"""Expensive values that two passes over a row both need are computed once, into fast memory.

Before: for j: total += exp(x[i, j] - top)       After: for j: T[j] = exp(x[i, j] - top)
        for j: out[i, j] = exp(x[i, j] - top) / total   for j: total += T[j]
                                                        for j: out[i, j] = T[j] / total
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from inkle.ir import forms, loop
from inkle.ir.dtype import bool_
from inkle.ir.loop import Kernel, longest, number_of, range_
from inkle.ir.node import Node, bound_ranges, rebuild, toposort, transform
from inkle.kernel.machine import Machine
from inkle.kernel.regions import SLOW, has_own_extent

LEAST_WORK = 6.0  # operations that are dearer than a store and two loads from the first cache


def share(kernel: Kernel, machine: Machine) -> Kernel:
    """Stage values that a reduction and the code after it both compute for every element."""
    found = _first_twins(kernel, machine)
    while found is not None:
        kernel = _stage_twins(kernel, *found)
        found = _first_twins(kernel, machine)
    return kernel


def _first_twins(kernel: Kernel, machine: Machine) -> tuple[Node, Node, Node, Node] | None:
    """Return (value, its range, the same value elsewhere, the range there), dearest value first.

    No conditions: what is proved of an access is proved from its gate, which memory would hide.
    """
    nodes = kernel.nodes()
    reduces = [n for n in nodes if n.op is forms.REDUCE and len(bound_ranges(n)) == 1]
    if not reduces:
        return None
    looks = _looks(nodes, frozenset([bound_ranges(n)[0] for n in reduces]) | set(kernel.order))
    twins: dict[int, dict[Node, Node]] = {}  # by look: the range where, the value there
    for (node, r), look in looks.items():
        twins.setdefault(look, {})[r] = node
    for node in reduces:
        (r,) = bound_ranges(node)
        if not has_own_extent(r):
            continue
        others = [
            c for c in kernel.order if c is not r and c.src[0] is r.src[0] and c not in node.ranges
        ]
        inside = [
            n for n in toposort([node.src[0]])
            if r in n.ranges and n.dtype.bits and n.dtype is not bool_
            and len(twins[looks[n, r]]) > 1
            and longest(r) * n.dtype.itemsize <= machine.stage_bytes // 4
        ]  # fmt: skip
        for c in others if inside else ():
            for value in reversed(inside):
                twin = twins[looks[value, r]].get(c)
                if twin is not None and _is_dear(value, r):
                    return value, r, twin, c
    return None


def _looks(nodes: Sequence[Node], ranges: frozenset[Node]) -> dict[tuple[Node, Node], int]:
    """Number values by what they look like in terms of one of `ranges`, whichever that is.

    Returns:
        For each value and each of `ranges` that it depends on: a number. Values that would be the
        same node if their ranges were the same one have equal numbers.
    """
    numbers: dict[tuple[object, ...], int] = {}
    looks: dict[tuple[Node, Node], int] = {}
    for node in nodes:
        for r in node.ranges & ranges:
            key: tuple[object, ...]
            if node is r:
                key = (r.src[0],)
            else:
                src = [looks.get((source, r), source) for source in node.src]
                key = (node.op, node.dtype, node.arg, *src)
            looks[node, r] = numbers.setdefault(key, len(numbers))
    return looks


def _is_dear(value: Node, r: Node) -> bool:
    """Whether `value` costs LEAST_WORK or more operations per element of `r`."""
    total = 0.0
    seen = {value}
    stack = [value]
    while stack and total < LEAST_WORK:
        node = stack.pop()
        if node.op.is_elementwise and node.dtype.bits:
            total += SLOW.get(node.op, 1.0)
        for source in node.src:
            if source not in seen and r in source.ranges:
                seen.add(source)
                stack.append(source)
    return total >= LEAST_WORK


def _stage_twins(kernel: Kernel, value: Node, r: Node, twin: Node, c: Node) -> Kernel:
    numbers = [number_of(x) for x in kernel.ranges()]
    numbers += [n.arg[0] for n in kernel.nodes() if n.op is forms.STAGE]
    fresh = range_(max(numbers) + 1, r.src[0])
    filled = transform([value], rebuild, {r: fresh})[value]
    memory = loop.stage(max(numbers) + 2, filled, fresh, [fresh], longest(r))
    swap = {value: loop.load(memory, r), twin: loop.load(memory, c)}
    done = transform(kernel.stores, rebuild, swap)
    return replace(
        kernel,
        stores=tuple(done[s] for s in kernel.stores),
        order=(*kernel.order, fresh),
        schedule=(*kernel.schedule, f"share a value of loops {number_of(r)} and {number_of(c)}"),
    )
