"""Loops over time whose state goes through elementwise operations alone, made fit for one kernel.

    s' = a * s + f(x)        the step keeps what needs the state, p * s + q; its sources p and q,
    y  = (s' * c).sum()      and what no step needs, such as y, are computed for all rows at once

Movement commutes with elementwise operations: where a state is moved, a moved state is carried too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from inkle.ir import forms, scan, tensor
from inkle.ir.batch import batched, can_batch
from inkle.ir.node import Node, Shape, intern, rebuild, substitute, toposort
from inkle.ir.op import Op
from inkle.ir.scan import MOST_IN_REGISTERS, Loop, Recurrence, above
from inkle.ir.tensor import param
from inkle.schedule.cost import size_of

Moves = tuple[tuple[Op, Any, Shape], ...]  # operation, attribute, shape; the first one first
Key = tuple[Node, Moves]  # a node of a step, moved

NOTHING: Mapping[Node, Node] = MappingProxyType({})
MOVES = frozenset({forms.RESHAPE, forms.EXPAND, forms.PERMUTE, forms.FLIP, forms.SLICE})
WIDER = frozenset({forms.RESHAPE, forms.EXPAND})  # they are nothing if they keep the shape
SAME = frozenset({forms.CONTIGUOUS, forms.DETACH})
LIGHT = MOVES | SAME
MOST_KEPT = 1024  # elements of a state that is kept at all steps, only to be summed afterwards


class _Refused(Exception):  # noqa: N818 - found out on the way, no error
    """The loop is none that one kernel can run."""


def pointwise_loops(outputs: Sequence[Node]) -> list[Node]:
    """Return `outputs`, where steps of such loops hold what needs the state, and nothing else.

    Their SCANs are then all of the values at every step, or the last one of something carried.
    """
    order = toposort(outputs)
    groups: dict[object, list[Node]] = {}
    for node in order:
        if node.op is forms.SCAN:
            groups.setdefault((node.src, node.arg[0]), []).append(node)
    if not groups:
        return list(outputs)
    only_before = _only_before(order, set(outputs))
    done: dict[Node, Node] = {}
    for node in order:
        if node in done:
            continue
        src = tuple([done[source] for source in node.src])
        if node.op is forms.SCAN:
            results = groups.pop((node.src, node.arg[0]), [])
            found = _rewritten(src, node.arg[0], results, only_before) if results else {}
            for old, new in found.items():
                new.origin = new.origin or old.origin
            done |= found
            if node in done:
                continue
        done[node] = new = _rebuilt(node, src)
        if new.origin is None:
            new.origin = node.origin
    return [done[node] for node in outputs]


def _rewritten(
    src: tuple[Node, ...],
    recurrence: Recurrence,
    results: Sequence[Node],
    only_before: Collection[Node],
) -> dict[Node, Node]:
    """Return what stands for each result of a loop; nothing if it stays as it is."""
    try:
        return _Rewriting(src, recurrence, results, only_before).run()
    except _Refused:
        return {}


def _rebuilt(node: Node, src: tuple[Node, ...]) -> Node:
    """Return `node` with other sources; the rows of a loop that it cuts out are a result as is."""
    if node.op is forms.SLICE and node.src[0].op is forms.SCAN:
        whole, (start, stop, _), at = src[0], node.arg[0], 0
        if whole.op is forms.PAD and node.shape == whole.src[0].shape and start == whole.arg[0][0]:
            return whole.src[0]
        for part in whole.src if whole.op is forms.CAT else ():
            if (start, stop) == (at, at + part.shape[0]) and part.shape == node.shape:
                return part
            at += part.shape[0]
    return rebuild(node, src)


def _only_before(order: Sequence[Node], outputs: set[Node]) -> set[Node]:
    """Return the SCANs that hold all values of something carried, the last of which is unused."""
    users: dict[Node, list[Node]] = {}
    for node in order:
        for source in node.src:
            if _is_history(source):
                users.setdefault(source, []).append(node)
    return {
        source
        for source, found in users.items()
        if source not in outputs
        and all(scan.before(source.arg[0], source) is user for user in found)
    }


def _is_history(node: Node) -> bool:
    """Whether a node is a SCAN that holds all values of something carried."""
    return node.op is forms.SCAN and isinstance(node.arg[1], int) and node.arg[2] > scan.RING


class _Rewriting:
    """One loop, and what becomes of its results.

    The step is looked at over leaves of its own: the graph around it has PARAMs, too.
    """

    def __init__(
        self,
        src: tuple[Node, ...],
        recurrence: Recurrence,
        results: Sequence[Node],
        only_before: Collection[Node],
    ) -> None:
        self.recurrence, self._results, self._only_before = recurrence, results, only_before
        count, rows = recurrence.carried, recurrence.carried + recurrence.sliced
        roots = [*recurrence.following, *[n.arg[1] for n in results if isinstance(n.arg[1], Node)]]
        leaves = {
            param(slot, x.dtype, recurrence.shape_in_step(slot, x)): _leaf(
                x, recurrence.shape_in_step(slot, x)
            )
            for slot, x in enumerate(src)
        }
        self._step = substitute(roots, leaves)
        mine = list(leaves.values())
        self.carried = dict(zip(mine[:count], src, strict=False))
        self._rows = dict(zip(mine[count:rows], src[count:], strict=False))
        self._shared = dict(zip(mine[rows:], src[rows:], strict=True))
        self.following = {
            leaf: self._step[node]
            for leaf, node in zip(self.carried, recurrence.following, strict=True)
        }
        order = toposort([self._step[root] for root in roots])
        self.changing = above(order, self.carried)
        self.varying = above(order, self._rows)
        heavy = [n for n in order if n in self.changing and n.src and n.op not in LIGHT]
        self._heavy = above(order, [node for node in heavy if not node.op.is_elementwise])

    def run(self) -> dict[Node, Node]:
        """Return what stands for each result.

        Raises:
            _Refused: if the state goes through anything but elementwise operations and movement.
        """
        if self.recurrence.steps == 1:
            return {node: self._only_step(node) for node in self._results}
        lasting, wanted = self._wanted()
        stacked: dict[Node, Node] = {}
        last: dict[Node, Node] = {}
        for shape in dict.fromkeys([each.shape for each in (*lasting, *wanted)]):
            nodes = [node for node in wanted if node.shape == shape]
            ends = [leaf for leaf in lasting if leaf.shape == shape]
            made = _Made(self, shape, nodes, [e for e in ends if self.following[e] not in nodes])
            stacked |= {node: made.stacked(node) for node in nodes}
            for leaf in ends:
                rows = stacked.get(self.following[leaf])
                last[leaf] = made.last(leaf) if rows is None else self._last_row(rows)
        return {node: self._result(node, stacked, last) for node in self._results}

    def _wanted(self) -> tuple[list[Node], list[Node]]:
        """Return of what the last value is wanted, and of which nodes of the step all values.

        Values before all steps are those after, moved by one, where these are wanted, too.

        Raises:
            _Refused: if more than a few states would be kept for the sake of their sums alone.
        """
        carried = list(self.carried)
        lasting: dict[Node, None] = {}
        found: dict[Node, None] = {}
        before: dict[Node, None] = {}
        summed: dict[Node, None] = {}
        for result in self._results:
            wanted = result.arg[1]
            if not isinstance(wanted, Node):
                leaf = carried[wanted]
                if result.arg[2] == scan.RING:
                    lasting[leaf] = None
                elif result in self._only_before:
                    before[leaf] = None
                else:
                    found[self.following[leaf]] = None
            elif self._step[wanted] in self._heavy:
                used = set(toposort([self._step[wanted]]))
                summed |= {leaf: None for leaf in carried if leaf in used}
            elif self._step[wanted] in self.changing:
                found[self._step[wanted]] = None
        extra = [
            leaf for leaf in summed if leaf not in before and self.following[leaf] not in found
        ]
        if sum(map(size_of, extra)) > MOST_KEPT:
            raise _Refused
        found |= {leaf: None for leaf in (*before, *extra) if self.following[leaf] not in found}
        return list(lasting), list(found)

    def _result(self, node: Node, stacked: Mapping[Node, Node], last: Mapping[Node, Node]) -> Node:
        """Return what stands for a SCAN, given values of all steps, and last values."""
        _, wanted, rows = node.arg
        if not isinstance(wanted, Node):
            leaf = list(self.carried)[wanted]
            return self._ring(last[leaf]) if rows == scan.RING else self._history(leaf, stacked)
        inner = self._step[wanted]
        if inner in stacked:
            return stacked[inner]
        before = {}
        for leaf, following in self.following.items():
            if leaf in stacked:
                before[leaf] = stacked[leaf]
            elif following in stacked:
                before[leaf] = scan.before(self.recurrence, self._history(leaf, stacked))
        return self.at_all_steps(inner, before)

    def _history(self, leaf: Node, stacked: Mapping[Node, Node]) -> Node:
        """Return all values of something carried; 0 for the last if no one looks at it."""
        is_reversed = self.recurrence.is_reversed
        if self.following[leaf] not in stacked:
            spec = [(int(is_reversed), int(not is_reversed), 0), *[(0, 0, 0)] * len(leaf.shape)]
            return tensor.pad(stacked[leaf], spec)
        first = tensor.reshape(self.carried[leaf], (1, *leaf.shape))
        parts = [first, stacked[self.following[leaf]]]
        return tensor.cat(parts[::-1] if is_reversed else parts, 0)

    def _ring(self, last: Node) -> Node:
        """Return the last value of something carried where a ring has it."""
        at = self.recurrence.last_row(scan.RING)
        spec = [(at, scan.RING - 1 - at, 0), *[(0, 0, 0)] * len(last.shape)]
        return tensor.pad(tensor.reshape(last, (1, *last.shape)), spec)

    def _last_row(self, rows: Node) -> Node:
        at = 0 if self.recurrence.is_reversed else self.recurrence.steps - 1
        return tensor.reshape(tensor.shrink(rows, 0, at, at + 1), rows.shape[1:])

    def _only_step(self, node: Node) -> Node:
        """Return a result of a loop of one step, which is none."""
        _, wanted, _ = node.arg
        rows = {leaf: tensor.reshape(x, leaf.shape) for leaf, x in self._rows.items()}
        known = {**self.carried, **rows, **self._shared}
        leaf = None if isinstance(wanted, Node) else list(self.carried)[wanted]
        [root] = pointwise_loops([self._step[wanted] if leaf is None else self.following[leaf]])
        value = substitute([root], known)[root]
        new = tensor.reshape(value, (1, *value.shape))
        return new if leaf is None else self._history(leaf, {self.following[leaf]: new})

    def at_all_steps(self, node: Node, carried: Mapping[Node, Node] = NOTHING) -> Node:
        """Return the values of a node of the step at all steps, given those of what is carried.

        Raises:
            _Refused: if that is not known of its operations.
        """
        steps = self.recurrence.steps
        known = {**self._rows, **carried}
        rows = {leaf: _leaf(x, x.shape) for leaf, x in known.items()}
        if not can_batch([node], rows):
            raise _Refused
        found = batched([node], rows, steps)[node]
        if len(found.shape) == len(node.shape):
            found = tensor.expand(tensor.reshape(found, (1, *found.shape)), (steps, *found.shape))
        values = {rows[leaf]: x for leaf, x in known.items()}
        return substitute([found], {**values, **self._shared})[found]

    def shared(self, node: Node) -> Node:
        """Return the value of a node of the step that is the same at all of them."""
        return substitute([node], self._shared)[node]


class _Made:
    """The loop that gives those values of one shape that are wanted.

    Args:
        old: the loop as it was.
        shape: of all that the new one carries and sees.
        wanted: nodes of the old step whose values are wanted.
        ends: what is carried, of which the last value is wanted.
    """

    def __init__(
        self, old: _Rewriting, shape: Shape, wanted: Sequence[Node], ends: Sequence[Node]
    ) -> None:
        self._old, self._shape = old, shape
        self._carried: dict[Key, Node] = {}
        self._rows: dict[Key, Node] = {}
        self._shared: dict[Key, Node] = {}
        self._new: dict[Key, Node] = {}
        following: dict[Key, Node] = {}
        roots = [node for node in wanted if node in old.changing]
        for root in (*roots, *ends):
            self._write((root, ()))
        while len(following) < len(self._carried):
            if len(self._carried) > MOST_IN_REGISTERS:
                raise _Refused
            key = next(key for key in self._carried if key not in following)
            leaf, moves = key
            following[key] = self._whole(self._write((old.following[leaf], moves)))
        reverse = old.recurrence.is_reversed
        self._places = list(following)
        self._loop = Loop(
            {self._new[key]: start for key, start in self._carried.items()},
            {self._new[key]: x for key, x in self._rows.items()},
            {self._new[key]: x for key, x in self._shared.items()},
            list(following.values()), [self._new[root, ()] for root in roots],
            old.recurrence.steps, is_reversed=reverse,
        )  # fmt: skip

    def stacked(self, node: Node) -> Node:
        """Return the values of a node of the old step at all steps."""
        if node not in self._old.changing:
            return self._old.at_all_steps(node)
        return self._loop.stacked(self._new[node, ()])

    def last(self, carried: Node) -> Node:
        """Return the final value of something carried."""
        return self._loop.last(self._places.index((carried, ())), rows=1)

    def _whole(self, value: Node) -> Node:
        """Return what is carried on, a literal in full shape."""
        if value.op is not forms.CONST:
            return value
        self._shared[value, ()] = tensor.full(value.arg, value.dtype, self._shape)
        return self._new.setdefault((value, ()), tensor.buffer(value.dtype, self._shape))

    def _write(self, root: Key) -> Node:
        """Return a node of the old step, moved, as one of the new step."""
        stack = [root]
        while stack:
            key = stack[-1]
            if key in self._new:
                stack.pop()
                continue
            wanted = self._sources(key)
            missing = [each for each in wanted if each not in self._new]
            if missing:
                stack += missing
                continue
            stack.pop()
            node, moves = key
            src = tuple([self._new[each] for each in wanted])
            if not wanted:
                self._new[key] = self._leaf(node, moves)
            elif node.op.is_elementwise:
                self._new[key] = intern(node.op, node.dtype, src, node.arg, self._shape)
            else:
                self._new[key] = src[0]
        return self._new[root]

    def _sources(self, key: Key) -> list[Key]:
        node, moves = key
        if node not in self._old.changing or not node.src:
            return []
        if node.op in MOVES:
            return [(node.src[0], ((node.op, node.arg, node.shape), *moves))]
        if node.op not in SAME and not node.op.is_elementwise:
            raise _Refused
        return [(source, moves) for source in node.src]

    def _leaf(self, node: Node, moves: Moves) -> Node:
        """Return what a new step sees of something that needs no state, or of the state itself."""
        if node in self._old.carried:
            self._carried[node, moves] = _moved(self._old.carried[node], moves)
            return tensor.buffer(node.dtype, self._shape)
        core = node
        while core.op in MOVES or core.op in SAME:
            core = core.src[0]
        if core.op is forms.CONST:
            return core
        value = _moved(node, moves)
        if node in self._old.varying:
            self._rows[node, moves] = self._old.at_all_steps(value)
        else:
            self._shared[node, moves] = self._old.shared(value)
        return tensor.buffer(node.dtype, self._shape)


def _moved(x: Node, moves: Moves) -> Node:
    for op, arg, shape in moves:
        x = x if x.shape == shape and op in WIDER else intern(op, x.dtype, (x,), arg, shape)
    return x


def _leaf(like: Node, shape: Shape) -> Node:
    return tensor.buffer(like.dtype, shape)
