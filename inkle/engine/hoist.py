"""Hoisting: what a captured function computes from things that stay the same is computed once.

    def step(x):                                kept = w.T.contiguous()        # ahead
        return x @ w.T.contiguous()      ->     def step(x):
                                                    return x @ kept

Hoisted values depend on literals and on storages that the function reads and does not assign. They
are computed when the capture runs first, and again when a storage holds another leaf than then.
Leaves are referred to weakly, so that a value kept here never stops another capture from writing
over its source; who does that to a leaf with weak references makes a new leaf of the memory (see
`storage.is_followed`). So the identity of leaves says it all.

Only what is worth its memory is hoisted, by the costs that the scheduler uses: computing it must
take twice as long as reading it, and some more for the looking. Elementwise work on a weight that a
consumer reads anyway stays where it is; its sources may still be hoisted.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from inkle.engine.storage import Followers, Storage
from inkle.ir import forms, tensor
from inkle.ir.node import Node, substitute, toposort
from inkle.schedule import Facts
from inkle.schedule.cost import HEAVY, bytes_of, size_of

MOST_BYTES = 512 * 2**20  # that all captures together keep
FACTOR = 2.0  # computing takes this much longer than reading, or nothing is kept
LOOKING_NS = 500.0  # to find out that the sources are the same: Python
FACTS = Facts()
_NOTHING = tensor.buffer(tensor.arange(1).dtype, (0,))


class Kept:
    """Hoisted values that come from the same sources.

    Attributes:
        storages: hold the values once they have been computed.
        nodes: what to compute, over PARAM leaves.
        slots: of these leaves.
        bytes: size of the values.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.storages = [Storage(_NOTHING) for _ in nodes]
        self.nodes, self.slots = numbered(nodes)
        self.bytes = sum(map(bytes_of, nodes))
        self._seen: list[weakref.ref[Node]] | None = None
        Followers.exist = Followers.exist or bool(self.slots)
        _alive.add(self)

    def is_fresh(self, leaves: Sequence[Node]) -> bool:
        """Whether the values have been computed from these leaves."""
        seen = self._seen
        return seen is not None and [each() for each in seen] == leaves

    def keep(self, leaves: Sequence[Node], values: Iterable[Node]) -> None:
        """Remember values that have been computed from `leaves`."""
        for target, value in zip(self.storages, values, strict=True):
            target.outside = value
        self._seen = [weakref.ref(leaf) for leaf in leaves]


_alive: weakref.WeakSet[Kept] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class Hoisted:
    """A graph without what is computed ahead.

    Attributes:
        outputs: the graph, whose PARAM leaves are numbered anew.
        slots: for each of these leaves its old slot, or the storage of a hoisted value.
        kept: the hoisted values.
    """

    outputs: tuple[Node, ...]
    slots: list[int | Storage]
    kept: list[Kept]


def hoist(outputs: Sequence[Node], stable: Collection[int]) -> Hoisted | None:
    """Take out of a canonical graph what is worth to be computed ahead; None if nothing is.

    Args:
        outputs: the graph.
        stable: PARAM slots that hold the same in most calls.
    """
    order = toposort(outputs)
    sources = _sources(order, frozenset(stable))
    chosen = _chosen(order, outputs, sources, _worthwhile(order, sources))
    left = MOST_BYTES - sum(each.bytes for each in list(_alive))
    groups: dict[frozenset[int], list[Node]] = {}
    for node in sorted(chosen, key=bytes_of):
        left -= bytes_of(node)
        if left >= 0:
            groups.setdefault(sources[node], []).append(node)
    if not groups:
        return None
    kept = [Kept(nodes) for nodes in groups.values()]
    old = 1 + max([int(node.arg[0]) for node in order if node.op is forms.PARAM], default=-1)
    storages = [target for each in kept for target in each.storages]
    params = {
        node: tensor.param(old + i, node.dtype, node.shape)
        for i, node in enumerate([node for nodes in groups.values() for node in nodes])
    }
    done = substitute(outputs, params)
    new, slots = numbered([done[node] for node in outputs])
    return Hoisted(new, [s if s < old else storages[s - old] for s in slots], kept)


def numbered(nodes: Sequence[Node]) -> tuple[tuple[Node, ...], list[int]]:
    """Return a graph with its PARAM leaves numbered from 0, and their old slots."""
    params = [node for node in toposort(nodes) if node.op is forms.PARAM]
    new = {node: tensor.param(i, node.dtype, node.shape) for i, node in enumerate(params)}
    done = substitute(nodes, new)
    return tuple([done[node] for node in nodes]), [int(node.arg[0]) for node in params]


def _sources(order: Sequence[Node], stable: Collection[int]) -> dict[Node, frozenset[int]]:
    """Return the stable nodes, each with the slots that it depends on."""
    found: dict[Node, frozenset[int]] = {}
    for node in order:
        if node.op is forms.PARAM:
            if node.arg[0] in stable:
                found[node] = frozenset((int(node.arg[0]),))
        elif not tensor.depends_on_sizes(node) and all(source in found for source in node.src):
            parts = dict.fromkeys([found[source] for source in node.src])
            found[node] = next(iter(parts)) if len(parts) == 1 else frozenset().union(*parts)
    return found


def _worthwhile(order: Sequence[Node], sources: Mapping[Node, object]) -> set[Node]:
    """Return the stable nodes that are better read than computed, if all below are, too."""
    best: dict[Node, float] = {}
    found = set()
    for node in order:
        if node not in sources:
            continue
        if node.op is forms.CONST or node.op is forms.ARANGE:
            best[node] = 0.0
        elif node.op is forms.PARAM:
            best[node] = _reading(node)
        else:
            best[node] = _own_work(node) + sum([best[source] for source in set(node.src)])
            read = _reading(node)
            if node.op not in forms.MOVEMENT and best[node] > FACTOR * read + LOOKING_NS:
                best[node] = read
                found.add(node)
    return found


def _reading(node: Node) -> float:
    """Return the nanoseconds it takes to read a stored node."""
    if bytes_of(node) <= FACTS.cache_bytes:
        return FACTS.near * size_of(node)
    return FACTS.far * bytes_of(node) / 4


def _own_work(node: Node) -> float:
    """Return the nanoseconds it takes to compute a node from its sources."""
    if node.op.is_elementwise:
        return FACTS.flop * HEAVY.get(node.op, 1.0) * size_of(node)
    if node.op in forms.MOVEMENT:
        return 0.0
    if node.op is forms.CAT or node.op is forms.GATHER:
        return 2 * FACTS.flop * size_of(node)
    if node.op is forms.REDUCE:
        return FACTS.launch + FACTS.flop * size_of(node.src[0])
    return FACTS.launch + FACTS.write * bytes_of(node) / 4  # stored by itself, in any case


def _chosen(
    order: Sequence[Node],
    outputs: Sequence[Node],
    sources: Mapping[Node, object],
    worth: Collection[Node],
) -> list[Node]:
    """Return the worthwhile nodes through which alone all others reach the outputs.

    Outputs themselves are never kept: they have to be fresh at every call.
    """
    todo = [node for node in outputs if node in sources]
    found = dict.fromkeys(todo, False)  # reached from the part that varies: whether to keep it
    for node in order:
        if node not in sources:
            for source in node.src:
                if source in sources and source not in found:
                    found[source] = source in worth
                    todo.append(source)
    while todo:
        node = todo.pop()
        if not found[node]:
            for source in node.src:
                if source not in found:
                    found[source] = source in worth
                    todo.append(source)
    return [node for node, keep in found.items() if keep]
