"""Reverse-mode differentiation of a tensor graph.

Gradients are found in one sweep from the outputs to the leaves (Griewank & Walther, *Evaluating
Derivatives*, chapter 3): when a node is reached, its gradient is complete, because all its users
come before it; its adjoint adds to the gradients of its sources. The result is an ordinary graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inkle.autodiff.adjoints import adjoint, zeros_like
from inkle.autodiff.scans import adjoints
from inkle.errors import GradientError, InternalError
from inkle.ir import forms
from inkle.ir.node import Node, rebuild, toposort


def gradient(
    outputs: Sequence[Node], cotangents: Sequence[Node], wrt: Sequence[Node]
) -> list[Node | None]:
    """Return the gradients of sum(outputs * cotangents) with respect to nodes of its graph.

    Args:
        outputs: float nodes.
        cotangents: for each output, a node of the same shape and dtype.
        wrt: float nodes; they need not be leaves.

    Returns:
        For each node of `wrt` its gradient, of the same shape and dtype; None if no output depends
        on it in a differentiable way (DETACH, integers and comparisons cut the dependence).

    Raises:
        GradientError: if a node is not floating point, or lies behind an operation that has no
            derivative.
    """
    for node in (*outputs, *wrt):
        if not node.dtype.is_float:
            raise GradientError(f"gradients need float values, got {node.dtype} of {node.shape}")
    targets = set(wrt)
    path, inner = _path(outputs, targets)
    on_path = set(path)
    totals: dict[Node, Node] = {}
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if output in on_path:
            _accumulate(totals, output, cotangent)
    loops = _loops(path)
    for node in reversed(path):
        g = totals.get(node)
        parts: Sequence[Node | None] = ()
        if node.op is forms.SCAN and node in inner:
            parts = loops[_loop_of(node)].pull_back(node, g)
        elif g is not None and node in inner:
            parts = adjoint(node, g)
        for source, part in zip(node.src, parts, strict=False):
            if part is not None and source in on_path:
                _accumulate(totals, source, part)
                if node.origin is not None:
                    _inherit_origin(part, node.origin)
    return [_total(totals, node) if node in on_path else None for node in wrt]


class _Loop:
    """The results of one loop over time, which are differentiated together."""

    def __init__(self) -> None:
        self.waiting: set[Node] = set()
        self._gradients: dict[Node, Node] = {}

    def pull_back(self, node: Node, g: Node | None) -> Sequence[Node | None]:
        """Note the gradient of one result; return those of the sources when it was the last."""
        if g is not None:
            self._gradients[node] = g
        self.waiting.discard(node)
        return () if self.waiting or not self._gradients else adjoints(self._gradients, gradient)


def _loops(path: Sequence[Node]) -> dict[object, _Loop]:
    loops: dict[object, _Loop] = {}
    for node in path:
        if node.op is forms.SCAN:
            loops.setdefault(_loop_of(node), _Loop()).waiting.add(node)
    return loops


def _loop_of(node: Node) -> object:
    return node.src, node.arg[0]


def differentiable_below(node: Node, seen: set[Node] | None = None) -> list[Node]:
    """Return `node` and the nodes below it that a gradient could reach; it ends at DETACH.

    Args:
        node: where to begin.
        seen: nodes to leave out, with what is below them; grows.
    """
    seen = set() if seen is None else seen
    found = [] if node in seen else [node]
    seen.add(node)
    for each in found:
        if each.op is not forms.DETACH:
            for source in each.src:
                if source not in seen and source.dtype.is_float:
                    seen.add(source)
                    found.append(source)
    return found


def write_out(roots: Sequence[Node]) -> list[Node]:
    """Replace the GRADIENT nodes below `roots` by what they stand for.

    Returns:
        The roots of a graph without them; nodes with no such node below stay the same.
    """
    order = toposort(roots)
    groups: dict[tuple[Node, ...], list[Node]] = {}
    for node in order:
        if node.op is forms.GRADIENT:
            groups.setdefault(node.src[:2], []).append(node)
    if not groups:
        return list(roots)
    done: dict[Node, Node] = {}
    for node in order:
        if node.op is not forms.GRADIENT:
            done[node] = new = rebuild(node, tuple([done[source] for source in node.src]))
            if new.origin is None:
                new.origin = node.origin
            if new.memory is None:
                new.memory = node.memory
        elif node not in done:
            group = groups[node.src[:2]]  # one sweep for all of them
            output, cotangent = [done[source] for source in node.src[:2]]
            parts = gradient([output], [cotangent], [done[each.src[2]] for each in group])
            for each, part in zip(group, parts, strict=True):
                done[each] = zeros_like(each) if part is None else part
                if each.origin is not None:
                    _inherit_origin(done[each], each.origin)
    return [done[root] for root in roots]


def _total(totals: dict[Node, Node], node: Node) -> Node:
    found = totals.get(node)
    return zeros_like(node) if found is None else found


def _path(outputs: Iterable[Node], targets: set[Node]) -> tuple[list[Node], set[Node]]:
    """Return the nodes between `targets` and `outputs`, sources before users.

    And those of them that have sources among them.
    """
    depends: dict[Node, bool] = {}
    path: list[Node] = []
    inner: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(output, False) for output in outputs]
    while stack:
        node, expanded = stack.pop()
        if not expanded:
            if node in depends:
                continue
            depends[node] = False  # known to be visited; final when expanded
            stack.append((node, True))
            if node.op is not forms.DETACH:
                stack.extend(
                    [(s, False) for s in node.src if s.dtype.is_float and s not in depends]
                )
            continue
        is_inner = False
        if node.op is not forms.DETACH:
            for source in node.src:
                is_inner = is_inner or depends.get(source, False)
        if is_inner or node in targets:
            depends[node] = True
            path.append(node)
            if is_inner:
                inner.add(node)
    return path, inner


def _accumulate(totals: dict[Node, Node], node: Node, part: Node) -> None:
    if part.shape != node.shape or part.dtype is not node.dtype:
        raise InternalError(f"gradient of {node!r} came out as {part!r}")
    before = totals.get(node)
    totals[node] = part if before is None else before + part


def _inherit_origin(part: Node, origin: str) -> None:
    """Note that the new nodes of `part` stem from the user's line of the node they belong to."""
    stack = [part]
    while stack:
        node = stack.pop()
        if node.origin is None and node.src:
            node.origin = origin
            stack.extend(node.src)
