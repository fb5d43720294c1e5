"""Where gradients end: tensors that require them, and the graph that a realised tensor keeps.

A tensor that requires a gradient is a leaf: its uses see DETACH(value, number), where the number is
its own. Two parameters of equal value thus stay two nodes, and no gradient flows on to whatever the
value was computed from. A tensor that was computed *from* leaves keeps its expression when it is
realised: reading `loss.item()` must not cut the way back to the parameters.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Container, Iterable
from typing import Any

from inkle.autodiff import differentiable_below
from inkle.ir import forms, tensor
from inkle.ir.node import Node

numbers = itertools.count(1)
owners: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
functional: set[int] = set()  # numbers of the leaves of `grad` calls in progress: nobody owns them


class Border:
    """Owner of gradients that would have to flow through the border of a captured function."""


_border = Border()
CUT = next(numbers)  # DETACH(value, CUT) stands where gradients should flow on, and cannot
owners[CUT] = _border


class History:
    """What a tensor's uses see instead of the current value of its storage.

    Attributes:
        owner: number of the leaf, 0 for a tensor that is not one.
    """

    __slots__ = ("owner", "_known")

    def __init__(self, owner: int, graph: Node, current: Node) -> None:
        self.owner = owner
        # One pair, so that no thread sees halves of two. None for a leaf: whoever remembers a value
        # keeps its memory, which could be written over.
        self._known = None if owner else (current, graph)

    def node(self, current: Node) -> Node:
        """Return the node for uses, given the value of the storage now."""
        if self._known is None:
            return tensor.detach(current, self.owner)
        known, graph = self._known
        # Assigned meanwhile, or being captured, where values are placeholders.
        return graph if current is known else current


class Crossed(History):
    """What uses see of the result of a captured function: gradients on their way in meet a border.

    Args:
        current: the value.
    """

    __slots__ = ()

    def __init__(self, current: Node) -> None:
        self.owner = 0
        self._known = (current, current)

    def node(self, current: Node) -> Node:
        """Return the node for uses, written when somebody asks: most results are only looked at."""
        assert self._known is not None
        return tensor.detach(current, CUT) if current is self._known[0] else current


def leaves_below(node: Node, numbers: Container[int] = owners) -> list[Node]:
    """Return the leaves (DETACH nodes with an owner) from which a gradient could reach `node`.

    Args:
        node: where to begin.
        numbers: which leaves count.
    """
    return leaves_among(differentiable_below(node), numbers)


def comes_from_leaves(node: Node) -> bool:
    """Whether `leaves_below` finds any."""
    seen = {node}
    stack = [node]
    while stack:
        each = stack.pop()
        if each.op is not forms.DETACH:
            fresh = [s for s in each.src if s not in seen and s.dtype.is_float]
            seen.update(fresh)
            stack += fresh
        elif each.arg in owners:
            return True
    return False


def leaves_among(nodes: Iterable[Node], numbers: Container[int] = owners) -> list[Node]:
    """Return those of `nodes` that are leaves with an owner among `numbers`."""
    return [each for each in nodes if each.op is forms.DETACH and each.arg in numbers]
