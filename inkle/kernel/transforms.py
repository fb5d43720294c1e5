"""Transforms of loop nests: each takes a kernel and returns one that computes the same.

Nothing is copied in the graph: a transform replaces ranges by expressions of other ranges, or a
load by a load from a staged tile. A kernel remembers its transforms as text (`Kernel.schedule`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from inkle.ir import forms, loop, ops
from inkle.ir.bounds import bounds
from inkle.ir.loop import Axis, Kernel, axis_of, extent, flat_index, longest, number_of, range_
from inkle.ir.node import Node, bound_ranges, const, convert_scalar, rebuild, transform
from inkle.ir.op import Op

Tail = Literal["exact", "bound", "overlap", "mask", "peel"]
ORDERED = frozenset({Axis.GRID, Axis.WORKER, Axis.LOOP})


def split(
    kernel: Kernel, r: Node, factor: int, outer: Axis, inner: Axis, tail: Tail = "exact"
) -> tuple[Kernel, Node, Node]:
    """Split a range into an outer and an inner one.

    Before: for i in range(n):            After: for io in range(n / factor):
                body(i)                              for ii in range(factor):
                                                         body(io * factor + ii)

    `tail` says what happens when `factor` does not divide n:

    - "exact": it must divide.
    - "bound": the inner loop of the last round is shorter (inner must be LOOP).
    - "overlap": the last tile starts earlier and computes some elements again, the same way; for
      ranges of stores without combining op, and n >= factor.
    - "mask": the body is gated by io * factor + ii < n.
    - "peel": a reduction over the rest is combined with that over the full tiles; for ranges of
      reductions.

    Returns:
        The kernel and the two new ranges.
    """
    if r.src[0].op is not forms.CONST:
        return _split_varying(kernel, r, factor, outer, inner, tail)
    n = extent(r)
    first = fresh_number(kernel)
    rest = n % factor
    if rest == 0:
        tail = "exact"
    assert rest == 0 or tail != "exact", f"{factor} does not divide {n}"
    rounds = n // factor if tail == "peel" else -(-n // factor)
    new_outer = range_(first, rounds, outer)
    start = new_outer * factor if factor != 1 else new_outer
    if tail == "overlap":
        start = start.minimum(n - factor)
    size: Node | int = (n - start).minimum(factor) if tail == "bound" else factor
    new_inner = range_(first + 1, size, inner)
    place = start + new_inner if rounds > 1 else new_inner
    if factor == 1:
        place = new_outer
    note = f"split {_name(r)} by {factor} into {outer.value} {first}, {inner.value} {first + 1}"
    if tail == "peel":
        kernel = _peel(kernel, r, rounds * factor, first + 2, inner)
    kernel = _replace(kernel, r, place, [new_outer, new_inner])
    if tail == "mask":
        kernel = _mask(kernel, [new_outer, new_inner], place < n)
    return _noted(kernel, note + (f" ({tail})" if rest else "")), new_outer, new_inner


def _split_varying(
    kernel: Kernel, r: Node, factor: int, outer: Axis, inner: Axis, tail: Tail
) -> tuple[Kernel, Node, Node]:
    """Split a range whose extent varies.

    Extents that are sizes of the launch may be too short for one tile. Where tiles overlap, copies
    (UNROLL) then compute the last element several times, and other tiles are masked besides.
    (Extents of chunks are long enough.)
    """
    n, first = r.src[0], fresh_number(kernel)
    low = bounds(n)[0]
    is_short = has_variables(n) and (low is None or low < factor)
    rounds = n.truncdiv(factor) if tail == "peel" else (n + (factor - 1)).truncdiv(factor)
    new_outer = range_(first, rounds, outer)
    start = new_outer * factor
    new_inner = range_(first + 1, (n - start).minimum(factor) if tail == "bound" else factor, inner)
    if tail in ("overlap", "exact"):
        start = start.minimum(n - factor).maximum(0) if is_short else start.minimum(n - factor)
    place = start + new_inner
    is_copied = is_short and tail == "overlap" and inner is Axis.UNROLL
    if is_copied:
        place = place.minimum(n - 1)
    note = f"split {_name(r)} by {factor} into {outer.value} {first}, {inner.value} {first + 1}"
    if tail == "peel":
        kernel = _peel_varying(kernel, r, factor, first + 2)
    kernel = _replace(kernel, r, place, [new_outer, new_inner])
    if tail == "mask" or (is_short and tail in ("overlap", "exact") and not is_copied):
        kernel = _mask(kernel, [new_outer, new_inner], place < n)
    return _noted(kernel, f"{note} ({tail})"), new_outer, new_inner


def has_variables(n: Node) -> bool:
    """Whether an expression depends on sizes that are known at launch."""
    return any(node.op is forms.VARIABLE for node in n.toposort())


def pad(kernel: Kernel, r: Node, multiple: int) -> tuple[Kernel, Node]:
    """Round the extent of a range up; the points beyond are gated.

    Before: for i in range(10): body(i)    After (8): for i in range(16): if i < 10: body(i)
    """
    n = extent(r)
    if n % multiple == 0:
        return kernel, r
    new = range_(fresh_number(kernel), -(-n // multiple) * multiple, axis_of(r))
    kernel = _mask(_replace(kernel, r, new, [new]), [new], new < n)
    return _noted(kernel, f"pad {_name(r)} to {extent(new)} as {number_of(new)}"), new


def bind(kernel: Kernel, r: Node, axis: Axis) -> tuple[Kernel, Node]:
    """Change what the iterations of `r` become.

    Before: for i in range(8): body(i)     After (LANE): body(<0, 1, ..., 7>)
    """
    new = range_(fresh_number(kernel), r.src[0], axis)
    kernel = _replace(kernel, r, new, [new])
    return _noted(kernel, f"bind {_name(r)} to {axis.value} {number_of(new)}"), new


def reorder(kernel: Kernel, order: Sequence[Node]) -> Kernel:
    """Nest the loops in another order, outermost first.

    Before: for i: for j: body(i, j)       After: for j: for i: body(i, j)

    Any order is legal: reductions are associative by contract, stores do not depend on each other.
    """
    assert sorted(map(number_of, order)) == sorted(map(number_of, kernel.order)), "other ranges"
    if tuple(order) == kernel.order:
        return kernel
    names = " ".join(str(number_of(r)) for r in order)
    return _noted(replace(kernel, order=tuple(order)), f"reorder {names}")


def stage(kernel: Kernel, value: Node, inner: Sequence[Node]) -> Kernel:
    """Compute a tile of `value`, over `inner` under the loops outside, into fast memory.

    Before: for k: for j: use(B[k * n + j])
    After:  for k: for j: T[k * 64 + j] = B[k * n + j]
            for k: for j: use(T[k * 64 + j])

    The tile is laid out as `inner`, outermost first. Of a load it is a packed, padded or transposed
    copy; of any other value, a producer fused into its consumer at a loop. UNROLL ranges inside the
    lanes, such as the registers of a matrix instruction, are the elements side by side in a lane.
    """
    first = fresh_number(kernel)
    kinds = [axis_of(r) for r in inner]
    lane = kinds.index(Axis.LANE) if Axis.LANE in kinds else len(inner)
    fresh = [
        range_(first + i, r.src[0], kinds[i] if i >= lane else Axis.LOOP)
        for i, r in enumerate(inner)
    ]
    sizes = [longest(r) for r in inner]  # of a size of the launch, room for the largest
    total = 1
    for size in sizes:
        total *= size
    swap = dict(zip(inner, fresh, strict=True))
    filled = transform([value], _rebuild, swap)[value]
    memory = loop.stage(first + len(inner), filled, flat_index(fresh, sizes), fresh, total)
    staged = loop.load(memory, flat_index(list(inner), sizes))
    done = transform(kernel.stores, _rebuild, {value: staged})
    stores = tuple(done[s] for s in kernel.stores)
    order = kernel.order + tuple(r for r in fresh if axis_of(r) in ORDERED)
    names = " ".join(str(number_of(r)) for r in inner)
    return _noted(
        replace(kernel, stores=stores, order=order), f"stage {_memory(value)} over {names}"
    )


# --- how ------------------------------------------------------------------------------------------


def fresh_number(kernel: Kernel) -> int:
    """Return a range number that is not in use."""
    used = [number_of(r) for r in kernel.nodes() if r.op is forms.RANGE]
    staged = [n.arg[0] for n in kernel.nodes() if n.op is forms.STAGE]
    highest: int = max([-1, *used, *staged])
    return highest + 1


def _name(r: Node) -> str:
    return f"{axis_of(r).value} {number_of(r)}"


def _memory(value: Node) -> str:
    is_argument = value.op is forms.LOAD and value.src[0].op is forms.PARAM
    return f"argument {value.src[0].arg[0]}" if is_argument else f"a {value.op.name}"


def _noted(kernel: Kernel, note: str) -> Kernel:
    return replace(kernel, schedule=(*kernel.schedule, note))


def _rebuild(node: Node, src: tuple[Node, ...]) -> Node:
    return rebuild(node, src)


def _replace(kernel: Kernel, r: Node, place: Node, new: Sequence[Node]) -> Kernel:
    """Replace range `r` by the expression `place` over the ranges `new`."""
    new = [each for each in new if each in place.ranges]

    def step(node: Node, src: tuple[Node, ...]) -> Node:
        over = bound_ranges(node) or loop.runs_over(node)
        if node.op is not forms.DOT and r in over:
            keep = len(node.src) - len(over)
            ranges = [n for old in over for n in (new if old is r else [old])]
            renewed = {
                old: new_node for old, new_node in zip(node.src, src, strict=True) if old is not r
            }
            src = (*src[:keep], *[renewed.get(each, each) for each in ranges])
            if len(src) == keep:
                return src[0]
        return rebuild(node, src)

    done = transform(kernel.stores, step, {r: place})
    stores = tuple(done[s] for s in kernel.stores)
    order: list[Node] = []
    for old in kernel.order:
        order.extend(
            [n for n in new if axis_of(n) in ORDERED] if old is r else [done.get(old, old)]
        )
    return replace(kernel, stores=stores, order=tuple(order))


def _gate_loads(value: Node, ranges: Sequence[Node], gate: Node) -> Node:
    """Gate every load below `value` that depends on one of `ranges`."""
    watched = frozenset(ranges)

    def step(node: Node, src: tuple[Node, ...]) -> Node:
        node = rebuild(node, src)
        if node.op is forms.LOAD and node.ranges & watched:
            old = node.src[2:]
            return loop.load(node.src[0], node.src[1], old[0] & gate if old else gate)
        return node

    return transform([value], step)[value]


def _gated(value: Node, op: Op, gate: Node) -> Node:
    assert op.identity is not None
    identity = const(convert_scalar(op.identity(value.dtype), value.dtype), value.dtype)
    if value.op is ops.WHERE and value.src[2] is identity:
        return (gate & value.src[0]).where(value.src[1], identity)
    return gate.where(value, identity)


def _mask(kernel: Kernel, new: Sequence[Node], gate: Node) -> Kernel:
    """Gate loads, reductions and stores that depend on the ranges `new` by `gate`."""
    watched = frozenset(new)

    def step(node: Node, src: tuple[Node, ...]) -> Node:
        node = rebuild(node, src)
        if node.op is forms.LOAD and node.ranges & watched:
            old = node.src[2:]
            return loop.load(node.src[0], node.src[1], old[0] & gate if old else gate)
        if node.op is forms.REDUCE and watched & set(bound_ranges(node)):
            return loop.reduce(
                node.arg[0], _gated(node.src[0], node.arg[0], gate), bound_ranges(node)
            )
        if node.op is forms.STORE and node.ranges & watched:
            old = node.src[3:]
            memory, at, value = node.src[:3]
            return loop.store(memory, at, value, old[0] & gate if old else gate, node.arg)
        return node

    done = transform(kernel.stores, step)
    return replace(kernel, stores=tuple(done[s] for s in kernel.stores))


def _peel(kernel: Kernel, r: Node, start: int, number: int, inner: Axis) -> Kernel:
    """Add to every reduction over `r` one over its rest from `start` on."""
    n = extent(r)
    rest = range_(number, n - start if inner is not Axis.LANE else _power(n - start), inner)

    def step(node: Node, src: tuple[Node, ...]) -> Node:
        if node.op is not forms.REDUCE or r not in bound_ranges(node):
            return rebuild(node, src)
        op: Op = node.arg[0]
        body = transform([src[0]], _rebuild, {r: rest + start})[src[0]]
        if extent(rest) != n - start:
            body = _gated(_gate_loads(body, [rest], rest < n - start), op, rest < n - start)
        ranges = [rest if each is r else each for each in bound_ranges(node)]
        peeled = loop.reduce(op, body, ranges)
        return loop.reduce(op, src[0], bound_ranges(node)).apply(op, peeled)

    done = transform(kernel.stores, step)
    order = list(kernel.order)
    if axis_of(rest) in ORDERED:
        order.insert(order.index(r) + 1, rest)
    return replace(kernel, stores=tuple(done[s] for s in kernel.stores), order=tuple(order))


def _peel_varying(kernel: Kernel, r: Node, factor: int, number: int) -> Kernel:
    """Add to every reduction over `r` one over what is left when `factor` does not divide it."""
    n = r.src[0]
    start = n.truncdiv(factor) * factor
    rest = range_(number, (n - start).minimum(factor - 1))

    def step(node: Node, src: tuple[Node, ...]) -> Node:
        if node.op is not forms.REDUCE or r not in bound_ranges(node):
            return rebuild(node, src)
        op: Op = node.arg[0]
        body = transform([src[0]], _rebuild, {r: start + rest})[src[0]]
        peeled = loop.reduce(op, body, [rest if each is r else each for each in bound_ranges(node)])
        return loop.reduce(op, src[0], bound_ranges(node)).apply(op, peeled)

    done = transform(kernel.stores, step)
    order = list(kernel.order)
    order.insert(order.index(r) + 1, rest)
    return replace(kernel, stores=tuple(done[s] for s in kernel.stores), order=tuple(order))


def _power(n: int) -> int:
    """Return the least power of two that is at least `n`: vectors have such lengths."""
    return 1 << (n - 1).bit_length()
