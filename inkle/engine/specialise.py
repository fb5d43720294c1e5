"""Graphs for narrower bounds of their variables, as the questions of a trace need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inkle.ir import forms, ops, spec
from inkle.ir.node import Node, as_index, elementwise, intern, transform
from inkle.ir.size import Size, size_of_node, variable

_MARKS = frozenset({forms.CONTIGUOUS, forms.DETACH, forms.COPY})
Limits = Mapping[str, tuple[int, int]]


def narrowed(nodes: Sequence[Node], limits: Limits) -> list[Node]:
    """Return a graph of the tensor form with other bounds of its variables."""

    def step(node: Node, src: tuple[Node, ...]) -> Node:
        if node.op is forms.VARIABLE:
            name, low, high = node.arg
            new = as_index(variable(name, *limits.get(name, (low, high))))
        elif node.op.is_elementwise:
            new = _apply(node, src)
        else:
            arg, shape = replaced(node.arg, limits), replaced(node.shape, limits)
            if node.op in _MARKS:
                shape = src[0].shape
            is_plain = not src or node.op in _MARKS
            new = (
                intern(node.op, node.dtype, src, arg, shape)
                if is_plain
                else spec.infer(node.op, src, arg)
            )
        if new.origin is None:
            new.origin = node.origin
        return new

    done = transform(nodes, step)
    return [done[node] for node in nodes]


def _apply(node: Node, src: tuple[Node, ...]) -> Node:
    if node.op is ops.CAST or node.op is ops.BITCAST:
        return src[0].convert(node.op, node.dtype)
    return elementwise(node.op, src)


def replaced(value: Any, limits: Limits) -> Any:
    """Return an attribute or a shape with narrower sizes in it; some may be numbers then."""
    if isinstance(value, tuple):
        return tuple([replaced(each, limits) for each in value])
    if not isinstance(value, Size):
        return value
    total: Any = 0
    for atoms, k in value.terms.items():
        for atom in atoms:
            k = k * _atom(atom, limits)
        total = total + k
    return total + value.constant


def _atom(atom: Node, limits: Limits) -> int:
    if atom.op is forms.VARIABLE:
        name, low, high = atom.arg
        return variable(name, *limits.get(name, (low, high)))
    of: int = replaced(size_of_node(atom.src[0]), limits)
    return of // int(atom.src[1].arg)
