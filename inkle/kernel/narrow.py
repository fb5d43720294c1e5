"""Gates of reductions become bounds of loops.

Before: for k in range(5):               After: for k in range(max(0, y - 19), min(5, y + 1)):
            acc += g[y - k] * w[k]                  acc += g[y - k] * w[k]
              where 0 <= y - k < 20

A padded or transposed convolution then runs no gated iteration at all, and no product outside its
gate is ever computed: the gate of the whole term is kept exactly, not moved to one factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from inkle.ir import forms, loop, ops
from inkle.ir.dtype import index
from inkle.ir.loop import Axis, Kernel, axis_of, extent, number_of, range_
from inkle.ir.node import Node, bound_ranges, const, convert_scalar, rebuild, transform
from inkle.kernel.access import coefficient, without


@dataclass(frozen=True, slots=True)
class _Bound:
    """`r >= low` or `r < high`, from one conjunct of a gate."""

    range: Node
    low: Node | None
    high: Node | None


def conjuncts(gate: Node) -> list[Node]:
    """Return the conditions that a gate joins by AND."""
    found: list[Node] = []
    stack = [gate]
    while stack:
        node = stack.pop()
        if node.op is ops.AND:
            stack.extend(reversed(node.src))
        else:
            found.append(node)
    return found


def conjunction(parts: Sequence[Node]) -> Node | None:
    """Return all of `parts` joined by AND; None if there are none."""
    total: Node | None = None
    for part in parts:
        total = part if total is None else total & part
    return total


def narrow(kernel: Kernel) -> Kernel:
    """Turn gates of reductions into loop bounds, where a gate is affine in a reduced LOOP range."""
    for node in kernel.nodes():
        if node.op is forms.REDUCE and node.src[0].op is ops.WHERE:
            narrowed = _narrow_reduce(kernel, node)
            if narrowed is not None:
                return narrow(narrowed)
    return kernel


def limiting_ranges(kernel: Kernel) -> frozenset[Node]:
    """Return the ranges that `narrow` will put into bounds of other loops: they stay loops."""
    found: set[Node] = set()
    for node in kernel.nodes():
        if node.op is forms.REDUCE and node.src[0].op is ops.WHERE:
            for part in conjuncts(node.src[0].src[0]):
                bound = _bound_of(part, node, kernel)
                if bound is not None:
                    found |= part.ranges - {bound.range}
    return frozenset(found)


def _narrow_reduce(kernel: Kernel, node: Node) -> Kernel | None:
    gate, body, other = node.src[0].src
    op = node.arg[0]
    identity = convert_scalar(op.identity(node.dtype), node.dtype)
    if other.op is not forms.CONST or other.arg != identity:
        return None
    users = [
        n
        for n in kernel.nodes()
        if n.op is forms.REDUCE and set(bound_ranges(n)) & set(bound_ranges(node))
    ]
    if users != [node]:  # a sibling may want the whole range
        return None
    taken: list[Node] = []
    limits: dict[Node, tuple[list[Node], list[Node]]] = {}
    for part in conjuncts(gate):
        bound = _bound_of(part, node, kernel)
        if bound is None:
            continue
        taken.append(part)
        lows, highs = limits.setdefault(bound.range, ([], []))
        lows.extend([bound.low] if bound.low is not None else [])
        highs.extend([bound.high] if bound.high is not None else [])
    if not taken:
        return None
    rest = conjunction([part for part in conjuncts(gate) if part not in taken])
    body = _drop(body, frozenset(taken))
    value = body if rest is None else rest.where(body, other)
    return _with_limits(kernel, node, value, limits)


def _with_limits(
    kernel: Kernel, node: Node, value: Node, limits: dict[Node, tuple[list[Node], list[Node]]]
) -> Kernel:
    first = max(number_of(r) for r in kernel.ranges()) + 1
    swap: dict[Node, Node] = {}
    new: dict[Node, Node] = {}
    for i, (r, (lows, highs)) in enumerate(limits.items()):
        start, stop = const(0, index), const(extent(r), index)
        for low in lows:
            start = low.maximum(start)
        for high in highs:
            stop = high.minimum(stop)
        size = stop - start if lows else stop
        new[r] = range_(first + i, size.maximum(0), Axis.LOOP)
        swap[r] = start + new[r] if lows else new[r]
    value = transform([value], rebuild, swap)[value]
    ranges = [new.get(r, r) for r in bound_ranges(node)]
    reduced = loop.reduce(node.arg[0], value, ranges)
    done = transform(kernel.stores, rebuild, {node: reduced})
    order = _after_what_they_need([new.get(r, r) for r in kernel.order])
    names = ", ".join(f"{number_of(r)} to {number_of(n)}" for r, n in new.items())
    return replace(
        kernel,
        stores=tuple(done[s] for s in kernel.stores),
        order=tuple(order),
        schedule=(*kernel.schedule, f"narrow {names}"),
    )


def _after_what_they_need(order: list[Node]) -> list[Node]:
    """Move a loop inside the loops that its bounds depend on."""
    placed: list[Node] = []
    waiting = list(order)
    while waiting:
        ready = next(r for r in waiting if not (r.src[0].ranges & (set(waiting) - {r})))
        placed.append(ready)
        waiting.remove(ready)
    return placed


def _bound_of(part: Node, node: Node, kernel: Kernel) -> _Bound | None:
    """Solve a comparison for one reduced LOOP range of `node`, if it is affine in it."""
    if part.op not in (ops.LESS, ops.LESS_EQUAL) or part.src[0].dtype is not index:
        return None
    left, right = part.src
    if not all(axis_of(r) in (Axis.LOOP, Axis.GRID) for r in part.ranges):
        return None
    bound = [r for r in kernel.order if r in bound_ranges(node) and r in part.ranges]
    for r in bound:
        a, b = coefficient(left, r), coefficient(right, r)
        if a is None or b is None or a - b not in (1, -1) or r.src[0].op is not forms.CONST:
            continue
        if any(other is not r for other in bound):
            return None  # bounds by another reduced range: their order would matter
        rest = without(right, r) - without(left, r)  # (a - b) * r < rest, or <=
        strict = part.op is ops.LESS
        if a - b == 1:
            return _Bound(r, None, rest if strict else rest + 1)
        return _Bound(r, 1 - rest if strict else -rest, None)
    return None


def _drop(value: Node, facts: frozenset[Node]) -> Node:
    """Remove conditions that hold anyway from the gates of loads and choices below `value`."""

    def step(node: Node, src: tuple[Node, ...]) -> Node:
        place = {forms.LOAD: 2, ops.WHERE: 0}.get(node.op)
        if place is None or len(node.src) <= place:
            return rebuild(node, src)
        parts = conjuncts(node.src[place])
        if facts.isdisjoint(parts):
            return rebuild(node, src)
        gate = conjunction([_drop(part, facts) for part in parts if part not in facts])
        if node.op is forms.LOAD:
            return loop.load(src[0], src[1], gate)
        return src[1] if gate is None else gate.where(src[1], src[2])

    return transform([value], step)[value]
