"""From the graph of one traced step to a loop over time: what is left in the step, what leaves it.

what depends on nothing that changes       is computed once, before the loop
what depends on rows only, with a sum      is computed for all rows at once (`x_t @ w`)
all else                                   is the step
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from inkle.ir import forms, tensor
from inkle.ir.batch import batched, can_batch
from inkle.ir.node import Node, Shape, substitute, toposort
from inkle.ir.scan import Loop, above

HEAVY = frozenset({forms.REDUCE, forms.GATHER, forms.SCATTER, forms.SCAN})


@dataclass(slots=True)
class Step:
    """One step, as it was traced: leaves stand for what changes from step to step.

    Attributes:
        carried: leaf -> initial value.
        rows: leaf -> array whose rows it stands for.
        following: what is carried on, in the order of `carried`.
        outputs: further values that are wanted of every step.
        steps: how many there are, at least one.
        is_reversed: whether the last row comes first.
    """

    carried: dict[Node, Node]
    rows: dict[Node, Node]
    following: Sequence[Node]
    outputs: Sequence[Node]
    steps: int
    is_reversed: bool
    _shared: dict[Node, Node] = field(default_factory=dict)

    def run(self) -> tuple[list[Node], list[Node]]:
        """Return the final values of what is carried, and the outputs of all steps, stacked."""
        order = toposort([*self.following, *self.outputs])
        changing = above(order, self.carried)
        varying = above(order, [*self.carried, *self.rows])
        alone = {
            node: self._without_loop(node, varying)
            for node in self.outputs
            if node not in changing and (node not in varying or can_batch([node], self.rows))
        }
        roots = [*self.following, *[node for node in self.outputs if node not in alone]]
        inside = substitute(roots, self._moved_out(roots, order, changing, varying))
        new = [inside[root] for root in roots]
        count = len(self.carried)
        loop = Loop(
            self.carried, self.rows, self._shared, new[:count], new[count:],
            self.steps, is_reversed=self.is_reversed,
        )  # fmt: skip
        outputs = [
            alone[node] if node in alone else loop.at_every_step(inside[node])
            for node in self.outputs
        ]
        return [loop.last(place) for place in range(count)], outputs

    def _without_loop(self, node: Node, varying: Collection[Node]) -> Node:
        """Return all values of an output that no other step matters to."""
        if node in varying:
            return batched([node], self.rows, self.steps)[node]
        row = tensor.reshape(node, (1, *node.shape))
        return tensor.expand(row, (self.steps, *node.shape))

    def _moved_out(
        self,
        roots: Sequence[Node],
        order: Sequence[Node],
        changing: Collection[Node],
        varying: Collection[Node],
    ) -> dict[Node, Node]:
        """Return leaves in place of what need not be computed in the step."""
        leaves = [node for node in order if not node.src]
        values = above(order, [n for n in leaves if n.op not in (forms.CONST, forms.ARANGE)])
        heavy = above(order, [node for node in order if node in varying and node.op in HEAVY])
        found: dict[Node, Node] = {}
        stack, seen = list(roots), set(roots)
        while stack:
            node = core = stack.pop()
            while core.op in forms.MOVEMENT:
                core = core.src[0]  # the array itself is read: what moves it stays in the step
            if node in changing:
                core = node
            elif core not in values or core in found:
                continue
            elif core not in varying:
                found[core] = _leaf(self._shared, core, core.shape)
                continue
            elif core in heavy and can_batch([core], self.rows):
                rows = batched([core], self.rows, self.steps)[core]
                found[core] = _leaf(self.rows, rows, core.shape)
                continue
            stack.extend([source for source in core.src if source not in seen])
            seen.update(core.src)
        return found


def _leaf(table: dict[Node, Node], value: Node, shape: Shape) -> Node:
    """Return a new leaf that stands for `value`, or for a row of it."""
    leaf = tensor.buffer(value.dtype, shape)
    table[leaf] = value
    return leaf
