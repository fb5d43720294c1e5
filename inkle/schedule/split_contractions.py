"""Contractions over a very long axis to few elements go in two stages.

Before: w[o, c] = sum over b, y of g[b, y, o] * x[b, y, c]
After:  p[k, o, c] = sum over b in part k, y of g[b, y, o] * x[b, y, c]
        w[o, c] = sum over k of p[k, o, c]

The gradient of a convolution's weight streams both operands from memory once per tile of outputs.
In parts, the operands of one part stay in cache while all tiles of the output pass over them; the
parts run in parallel and are added in a fixed order, whatever the timing of the workers.

Sums over so many rows that no panel of some columns stays in cache are cut as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from inkle.ir import forms, ops, tensor
from inkle.ir.node import Node, rebuild, toposort, transform
from inkle.ir.size import Size
from inkle.schedule.cost import Facts, Varying, Work, contractions_of, varying_axes, work_of

SHORTEST = 4  # a sum over fewer elements than a fourth of the result's stays in one
LONGEST = 3072  # rows of a panel of 64 columns that stays in cache; of one of 32, twice as many
REUSE = 32  # times that each operand is used
SAVED = 0.1  # of an operation: what panels in cache save for each multiply-add
MOST_PARTS = 64  # enough for balance; each part costs one more array of the output's size


def split_contractions(outputs: Sequence[Node], facts: Facts) -> list[Node]:
    """Return `outputs` with long contractions to few elements split in two."""
    order = toposort(outputs)
    varying = varying_axes(order)
    contractions = contractions_of(order, varying)
    if not any(node.op is forms.REDUCE for node in contractions):
        return list(outputs)
    work = work_of(order, ())
    parts: dict[Node, tuple[int, int]] = {}
    for node in order:
        if node in contractions and node.op is forms.REDUCE and node.src[0].op is ops.MUL:
            found = _parts_of(node, varying, work, facts)
            if found is not None:
                parts[node] = found
    if not parts:
        return list(outputs)

    def step(node: Node, src: tuple[Node, ...]) -> Node:
        new = _in_two(node, src[0], *parts[node]) if node in parts else rebuild(node, src)
        if new.origin is None:
            new.origin = node.origin
        return new

    done = transform(outputs, step)
    return [done[node] for node in outputs]


def _parts_of(
    node: Node, varying: Varying, work: dict[Node, Work], facts: Facts
) -> tuple[int, int] | None:
    """Return (axis of the body to split, number of parts), or None where it would not pay."""
    body = node.src[0]
    if any(isinstance(n, Size) for n in body.shape):
        return None
    return _parts_for_operands(node, varying, facts) or _parts_for_panels(node, varying, facts)


def _parts_for_operands(node: Node, varying: Varying, facts: Facts) -> tuple[int, int] | None:
    """Return (axis, parts) so that the operands of a part stay in cache."""
    body = node.src[0]
    size = body.dtype.itemsize
    operands = sum(size * _elements(factor) for factor in body.src)
    result = size * prod(node.shape)
    axis = max(node.arg[1], key=lambda a: body.shape[a])
    wanted = min(MOST_PARTS, operands // max(1, facts.cache_bytes), body.shape[axis] // 2)
    if wanted < 4 or result * wanted > operands:
        return None
    if prod([body.shape[a] for a in node.arg[1]]) * SHORTEST < prod(node.shape):
        return None  # blocks of the result reuse what they load: a matrix product
    if not all(axis in varying[factor] for factor in body.src):
        return None  # a part would stream the other operand as a whole
    return axis, _divisor(body.shape[axis], wanted)


def _parts_for_panels(node: Node, varying: Varying, facts: Facts) -> tuple[int, int] | None:
    """Return (axis, parts) so that some columns of a part stay in cache; None if they do anyway.

    Products for which that matters use all that they load many times.
    """
    body, reduced = node.src[0], node.arg[1]
    rows = prod([body.shape[a] for a in reduced])
    wanted = -(-rows // LONGEST) if rows > 2 * LONGEST else 1
    left, right = (varying[factor].difference(reduced) for factor in body.src)
    reuse = [
        prod([body.shape[a] for a in one - other]) for one, other in ((left, right), (right, left))
    ]
    if wanted < 2 or min(reuse) < REUSE:
        return None
    for axis in reduced:
        n = body.shape[axis]
        parts = next((d for d in range(wanted, min(2 * wanted, n) + 1) if n % d == 0), 0)
        saved = SAVED * facts.flop * prod(body.shape)
        spent = parts * prod(node.shape) * (facts.write + facts.far)
        if parts and all(axis in varying[factor] for factor in body.src) and spent < saved:
            return axis, parts
    return None


def _elements(factor: Node) -> int:
    """Return how many elements a factor has before movement operations repeat them."""
    while factor.op in forms.MOVEMENT:
        factor = factor.src[0]
    return prod(factor.shape)


def _divisor(n: int, wanted: int) -> int:
    """Return the divisor of `n` nearest to `wanted` from below, 1 at least."""
    return next(d for d in range(wanted, 0, -1) if n % d == 0)


def _in_two(node: Node, body: Node, axis: int, parts: int) -> Node:
    """Return the REDUCE `node` over `body` in `parts` parts along `axis`."""
    if parts < 2:
        return tensor.reduce(body, ops.ADD, node.arg[1])
    shape = body.shape
    split = (*shape[:axis], parts, shape[axis] // parts, *shape[axis + 1 :])
    first = [a + (a >= axis) for a in node.arg[1]]  # the part axis stays, at place `axis`
    partial = tensor.reduce(tensor.reshape(body, split), ops.ADD, first)
    place = axis - sum(a < axis for a in node.arg[1])
    return tensor.reduce(tensor.contiguous(partial), ops.ADD, [place])
