"""The gradient of a loop over time is a loop over time that runs the other way.

With one step as (s', y) = f(s, x, w), the gradients G of what is carried go backwards:

    G, dx = pull back (G, gradient of y at this step) through f at (s, x, w)
    G    += gradient of s before this step

What f computed is taken from the forward loop where that took a reduction (a matrix product), and
computed again where it is elementwise. A gradient that sums products over a step, such as that of a
matrix of weights, is not summed step by step: the factors of all steps are kept, and one product
over all of them follows the loop. Other gradients of what the steps share are carried along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from inkle.ir import forms, ops, scan, tensor
from inkle.ir.batch import batched
from inkle.ir.node import Node, substitute, toposort
from inkle.ir.scan import Loop, Recurrence

Gradient = Callable[[Sequence[Node], Sequence[Node], Sequence[Node]], list[Node | None]]
WALKED = forms.MOVEMENT | {ops.CAST, forms.CONTIGUOUS, forms.DETACH}
HEAVY = frozenset({forms.REDUCE, forms.GATHER, forms.SCATTER, forms.SCAN})
MOST_TERMS = 64  # of a gradient; more are carried along


def adjoints(results: Mapping[Node, Node], gradient: Gradient) -> list[Node | None]:
    """Return the gradients of the sources of SCANs of one loop.

    Args:
        results: the gradient of each SCAN that has one.
        gradient: differentiates a graph: (outputs, their gradients, with respect to what).

    Returns:
        One per source; None for those that hold integers, or that nothing depends on.
    """
    first = next(iter(results))
    src, forward = first.src, first.arg[0]
    step = _Step(src, forward, results)
    floats = _carried_back(forward, results)
    found = step.pull_back(floats, gradient)
    following = [step.total_before(i, found.pop(i, None)) for i in floats]
    factors = {slot: step.factors(part) for slot, part in found.items()}
    first_shared = forward.carried + forward.sliced
    summed = [slot for slot in found if factors[slot] is None and slot >= first_shared]
    following += [step.sum(found[slot]) for slot in summed]
    cuts = [cut for each in factors.values() for cut in each or ()]
    loop = Loop(
        step.carried, step.rows, step.shared, following, [*found.values(), *cuts],
        forward.steps, is_reversed=not forward.is_reversed,
    )  # fmt: skip
    out: list[Node | None] = [None] * len(src)
    for place, slot in enumerate([*floats, *summed]):
        out[slot] = loop.last(place)
    for slot, part in found.items():
        parts = factors[slot]
        if parts is not None:
            rows = {factor: loop.at_every_step(factor) for factor in parts}
            whole = batched([part], rows, forward.steps)[part]
            whole = substitute([whole], step.shared)[whole]
            out[slot] = tensor.reduce(whole, ops.ADD, (0,)) if slot >= first_shared else whole
        elif slot not in summed:
            out[slot] = loop.at_every_step(part)
    return out


def _carried_back(forward: Recurrence, results: Mapping[Node, Node]) -> list[int]:
    """Return the slots of what is carried that some result depends on.

    All others have no gradient, which is not a gradient of zeros: times infinity that is NaN.
    """
    wanted = [node.arg[1] for node in results]
    found = {each for each in wanted if isinstance(each, int)}
    roots = [each for each in wanted if isinstance(each, Node)]
    while True:
        above = _float_nodes([*roots, *[forward.following[i] for i in found]])
        slots = {n.arg[0] for n in above if n.op is forms.PARAM and n.arg[0] < forward.carried}
        if slots <= found:
            return sorted(found)
        found |= slots


def _float_nodes(roots: Sequence[Node]) -> set[Node]:
    """Return the nodes that gradients of `roots` flow to."""
    stack = [root for root in roots if root.dtype.is_float]
    seen = set(stack)
    while stack:
        node = stack.pop()
        if node.op is not forms.DETACH:
            new = [each for each in node.src if each.dtype.is_float and each not in seen]
            stack += new
            seen.update(new)
    return seen


class _Step:
    """One step of the loop that runs the other way, over leaves that stand for what it sees.

    Attributes:
        carried: leaf -> initial value.
        rows: leaf -> array of a row per step.
        shared: leaf -> value.
    """

    def __init__(
        self, src: tuple[Node, ...], forward: Recurrence, results: Mapping[Node, Node]
    ) -> None:
        self.carried: dict[Node, Node] = {}
        self.rows: dict[Node, Node] = {}
        self.shared: dict[Node, Node] = {}
        self._src, self._forward, self._results = src, forward, results
        self._seen: dict[Node, Node] = {}  # node of the forward step -> leaf

    def pull_back(self, floats: Sequence[int], gradient: Gradient) -> dict[int, Node]:
        """Return the gradients, at one step, of what the forward step sees, by slot."""
        forward = self._forward
        outputs = [forward.following[i] for i in floats]
        cotangents = [_leaf(self.carried, self._total_after(i)) for i in floats]
        for node, g in self._results.items():
            if isinstance(node.arg[1], Node):
                outputs.append(node.arg[1])
                cotangents.append(_leaf(self.rows, g, g.shape[1:]))
        inside = toposort(outputs)
        params = {n.arg[0]: n for n in inside if n.op is forms.PARAM and n.dtype.is_float}
        parts = gradient(outputs, cotangents, list(params.values()))
        found = {s: part for s, part in zip(params, parts, strict=True) if part is not None}
        exposed = self._exposed(list(found.values()), inside)
        return dict(zip(found, exposed, strict=True))

    def _carries(self, number: int) -> list[tuple[Node, Node]]:
        """Return the results that are rows of something carried, with their gradients."""
        return [(node, g) for node, g in self._results.items() if node.arg[1] == number]

    def _total_after(self, number: int) -> Node:
        """Return the gradient of what is carried in the end."""
        parts = [scan.last_of(self._forward, g) for _, g in self._carries(number)]
        return _sum(parts, self._src[number])

    def total_before(self, number: int, part: Node | None) -> Node:
        """Return the gradient of what is carried before a step: pulled back, and its own."""
        own = [
            _leaf(self.rows, scan.before(self._forward, g), g.shape[1:])
            for node, g in self._carries(number)
            if node.arg[2] == self._forward.steps + 1
        ]
        return _sum([*([part] if part is not None else []), *own], self._src[number])

    def sum(self, part: Node) -> Node:
        """Return the next value of a running total of `part`."""
        return _leaf(self.carried, _zeros_like(part)) + part

    # --- what the forward step computed -----------------------------------------------------------

    def _exposed(self, roots: Sequence[Node], inside: Sequence[Node]) -> list[Node]:
        """Return `roots` over leaves, in place of what the forward step sees and computes."""
        heavy: set[Node] = set()
        for node in inside:
            if node.op in HEAVY or any(source in heavy for source in node.src):
                heavy.add(node)
        known = set(inside)
        stack, seen = list(roots), set(roots)
        while stack:
            node = stack.pop()
            if node in known and (
                node.op is forms.PARAM or (node in heavy and node.op not in WALKED)
            ):
                self._seen.setdefault(node, self._taken(node))
                continue
            stack.extend([source for source in node.src if source not in seen])
            seen.update(node.src)
        done = substitute(roots, self._seen)
        return [done[root] for root in roots]

    def _taken(self, node: Node) -> Node:
        """Return the leaf for a value that the forward step sees or computes."""
        forward, src = self._forward, self._src
        if node.op is not forms.PARAM:
            if node in forward.following:
                rows = scan.history(src, forward, forward.following.index(node))
                return _leaf(self.rows, scan.after(forward, rows), node.shape)
            return _leaf(self.rows, scan.stack(src, forward, node), node.shape)
        slot = node.arg[0]
        if slot < forward.carried:
            rows = scan.history(src, forward, slot)
            return _leaf(self.rows, scan.before(forward, rows), node.shape)
        if slot < forward.carried + forward.sliced:
            return _leaf(self.rows, src[slot], node.shape)
        return _leaf(self.shared, src[slot])

    # --- products that are summed over all steps at once ------------------------------------------

    def factors(self, part: Node) -> list[Node] | None:
        """Return what a sum of products is made of, as far as it differs from step to step.

        None if `part` is no sum of products: its factors would take more memory than itself.
        """
        if not _is_sum(part):
            return None
        found: dict[Node, None] = {}
        stack, seen = [part], {part}
        while stack:
            node = stack.pop()
            is_product = any(_is_spread(source) for source in node.src) or _is_sum(node)
            if node.op in WALKED or (
                is_product and (node.op is forms.REDUCE or node.op.is_elementwise)
            ):
                stack.extend([source for source in node.src if source not in seen])
                seen.update(node.src)
            elif node.op is not forms.CONST and node not in self.shared:
                found[node] = None
        return list(found)


def _leaf(table: dict[Node, Node], value: Node, shape: tuple[int, ...] | None = None) -> Node:
    """Return a new leaf that stands for `value`, or a row of it of that shape."""
    leaf = tensor.buffer(value.dtype, value.shape if shape is None else shape)
    table[leaf] = value
    return leaf


def _sum(parts: Sequence[Node], like: Node) -> Node:
    total = parts[0] if parts else _zeros_like(like)
    for part in parts[1:]:
        total = total + part
    return total


def _zeros_like(node: Node) -> Node:
    return tensor.full(0, node.dtype, node.shape)


def _is_spread(node: Node) -> bool:
    """Whether a value has been repeated along some axis."""
    while node.op in WALKED:
        if node.op is forms.EXPAND:
            return True
        node = node.src[0]
    return False


def _is_sum(part: Node, most: int = MOST_TERMS) -> bool:
    """Whether a value is a sum over some axis, or a total of such sums."""
    stack = [part]
    for _ in range(most):
        node = stack.pop()
        while node.op in WALKED:
            node = node.src[0]
        if node.op is ops.ADD:
            stack += node.src
        elif node.op is not forms.REDUCE or node.arg[0] is not ops.ADD:
            return False
        if not stack:
            return True
    return False
