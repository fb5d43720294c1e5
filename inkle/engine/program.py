"""A captured graph as plain data, which can be written down, and captured again elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from inkle.engine.storage import Storage
from inkle.ir import forms, tensor
from inkle.ir.dtype import uint64
from inkle.ir.node import Node, substitute, toposort

Place = int | Storage | Node  # number of an input, a storage, or the leaf of a constant


@dataclass(frozen=True, slots=True)
class Draws:
    """Stands for the key of the next `count` random draws."""

    count: int


@dataclass(frozen=True, slots=True)
class Program:
    """What a capture computes.

    Attributes:
        outputs: a graph over PARAM leaves: what it returns, then what it assigns.
        sources: what fills each of these leaves.
        targets: what is assigned, a number of an input or a storage for each of the last outputs.
        pinned: places whose values the traced function has looked at.
    """

    outputs: tuple[Node, ...]
    sources: tuple[Place | Draws, ...]
    targets: tuple[int | Storage, ...]
    pinned: tuple[int | Storage, ...] = ()


class Origins(Protocol):
    """Says where the leaves of a traced graph come from; see `Recorder`."""

    pinned: dict[Storage, Node]

    def assigned(self) -> dict[Storage, Node]:
        """Return what is assigned to which storage."""

    def source(self, leaf: Node) -> Storage | int | None:
        """Return what fills a leaf: a storage, a number of draws; None: it is a constant."""

    def is_stable(self, leaf: Node) -> bool:
        """Whether a leaf is a constant, or holds what is neither an argument nor assigned."""


class Restored:
    """Stands for the trace of a program.

    Attributes:
        results: the nodes that are returned.
        pinned: empty.

    Args:
        program: what has been captured.
        inputs: storages in the places of its inputs.
    """

    def __init__(self, program: Program, inputs: Sequence[Storage]) -> None:
        self.pinned: dict[Storage, Node] = {}
        self._inputs = inputs
        self._sources: dict[Node, Storage | int] = {}
        self._leaves: dict[Storage, Node] = {}
        params = {
            node: self._leaf(program.sources[node.arg[0]], node)
            for node in toposort(program.outputs)
            if node.op is forms.PARAM
        }
        done = substitute(program.outputs, params)
        nodes = [done[node] for node in program.outputs]
        count = len(nodes) - len(program.targets)
        self.results = nodes[:count]
        targets = [inputs[t] if isinstance(t, int) else t for t in program.targets]
        self._assigned = dict(zip(targets, nodes[count:], strict=True))

    def _leaf(self, source: Place | Draws, param: Node) -> Node:
        if isinstance(source, Node):
            return source
        if isinstance(source, Draws):
            leaf = tensor.buffer(uint64, (1,))
            self._sources[leaf] = source.count
            return leaf
        target = self._inputs[source] if isinstance(source, int) else source
        if target not in self._leaves:
            self._leaves[target] = leaf = tensor.buffer(param.dtype, param.shape)
            self._sources[leaf] = target
        return self._leaves[target]

    def assigned(self) -> dict[Storage, Node]:
        """Return what is assigned to which storage."""
        return self._assigned

    def source(self, leaf: Node) -> Storage | int | None:
        """Return what fills a leaf."""
        return self._sources.get(leaf)

    def is_stable(self, leaf: Node) -> bool:
        """Whether a leaf is a constant, or holds what is neither an argument nor assigned."""
        source = self.source(leaf)
        if isinstance(source, Storage):
            return source not in self._inputs and source not in self._assigned
        return source is None
