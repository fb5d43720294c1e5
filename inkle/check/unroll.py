"""Graphs without loops over time: every step of every SCAN written out, one after the other.

    SCAN(s0, xs; s' = f(s, x))     ->     cat(f(s0, xs[0]), f(f(s0, xs[0]), xs[1]), ...)

What a loop means, told once more in operations that know nothing of loops: for error bounds, and
as an oracle for gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

from inkle.ir import forms, scan, tensor
from inkle.ir.node import Node, rebuild, toposort, transform


def unrolled(roots: Sequence[Node]) -> list[Node]:
    """Return nodes of the tensor form with the values of `roots`, without a SCAN below them."""
    done = transform(
        roots, lambda node, src: _all_steps(node, src) if node.op is forms.SCAN
        else rebuilt(node, src),
    )  # fmt: skip
    return [done[root] for root in roots]


def rebuilt(node: Node, src: tuple[Node, ...]) -> Node:
    """Return `node` with other sources of the same shapes and dtypes."""
    from_constructor = forms.CONTIGUOUS, forms.DETACH
    if src != node.src and node.op in from_constructor:  # these vanish on some sources
        is_contiguous = node.op is forms.CONTIGUOUS
        return tensor.contiguous(src[0]) if is_contiguous else tensor.detach(src[0], node.arg)
    return rebuild(node, src)


def _all_steps(node: Node, src: Sequence[Node]) -> Node:
    """Return the rows of a SCAN of these sources."""
    recurrence, result, rows = node.arg
    count, steps = recurrence.carried, recurrence.steps
    inside = unrolled(scan.step_of(node))  # loops in loops
    params = [each for each in toposort(inside) if each.op is forms.PARAM]
    carried, sliced = list(src[:count]), src[count : count + recurrence.sliced]
    found: dict[int, Node] = {}
    if not isinstance(result, Node):
        found[recurrence.first_row(rows)] = carried[result]
    written, by = recurrence.row_after()
    for k in range(steps):
        t = steps - 1 - k if recurrence.is_reversed else k
        seen = [*carried, *[_row(x, t) for x in sliced], *src[count + recurrence.sliced :]]
        done = transform(inside, rebuilt, {param: seen[param.arg[0]] for param in params})
        carried = [done[each] for each in inside[:count]]
        if isinstance(result, Node):
            found[t] = done[inside[-1]]
        else:
            found[(written + by * k) % rows] = carried[result]
    parts = [tensor.reshape(found[row], (1, *found[row].shape)) for row in range(rows)]
    return tensor.cat(parts, 0)


def _row(x: Node, t: int) -> Node:
    return tensor.reshape(tensor.shrink(x, 0, t, t + 1), x.shape[1:])
