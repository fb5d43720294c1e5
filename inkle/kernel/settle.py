"""What to compute before a deep expression, so that computing it does not recurse deeply."""

from __future__ import annotations

from collections.abc import Callable

from inkle.ir import forms
from inkle.ir.node import Node


def sources_first(root: Node, base: Callable[[Node], Node]) -> list[Node]:
    """Return nodes that `root` needs at the point where it is computed, sources before users.

    That is what operations and loads lead to, and the reductions inside reductions that do not
    depend on these. What else is inside a loop cannot be computed outside.

    Args:
        root: a value of a kernel.
        base: the value that the address of a LOAD is computed from.
    """
    found: list[Node] = []
    seen: set[tuple[Node, bool]] = set()
    stack = [(source, is_here, False) for source, is_here in _sources(root, base, is_here=True)]
    while stack:
        node, is_here, is_done = stack.pop()
        is_here = is_here or (node.op is forms.REDUCE and node.ranges <= root.ranges)
        if is_done:
            found.append(node)
        elif node.src and (node, is_here) not in seen:
            seen.add((node, is_here))
            if is_here:
                stack.append((node, True, True))
            below = _sources(node, base, is_here=is_here)
            stack.extend((source, inside, False) for source, inside in below)
    return found


def _sources(node: Node, base: Callable[[Node], Node], *, is_here: bool) -> list[tuple[Node, bool]]:
    """Return the sources of `node`, and whether they are computed where `node` is."""
    if is_here and node.op is forms.LOAD:
        return [(each, True) for each in (base(node), *node.src[2:])]
    return [(each, is_here and node.op.is_elementwise) for each in node.src]
