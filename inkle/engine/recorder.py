"""What a trace of a function sees: placeholders of what is older, and what the function assigns.

While a function is traced, each storage that is older than the trace shows it a placeholder; what
it assigns stays in the trace.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from inkle.engine import storage
from inkle.engine.realize import realize
from inkle.engine.storage import Storage
from inkle.engine.trace import tracing
from inkle.errors import TraceError
from inkle.ir import tensor
from inkle.ir.dtype import uint64
from inkle.ir.node import Node, Shape, substitute, toposort

NO_SHAPES: Mapping[Storage, Shape] = MappingProxyType({})


class Recorder:
    """Sees what a traced function reads, assigns, asks the value of, and draws at random.

    Attributes:
        grads: id of a tensor -> the tensor, and the gradient that the function has given it.
        found_grads: id of a tensor -> the tensor, and the gradient that the function found there.
        pinned: storages whose values the function has looked at, with the leaf of that value.

    Args:
        inputs: storages that have no value during the trace.
        borders: storages whose value comes from leaves of gradients: number that marks the way.
        line: says which line of the user's program is running.
        shapes: of inputs that have symbolic sizes.
    """

    def __init__(
        self,
        inputs: Sequence[Storage],
        borders: dict[Storage, int],
        line: Callable[[], str],
        shapes: Mapping[Storage, Shape] = NO_SHAPES,
    ) -> None:
        self.shapes = dict(shapes)
        self.grads: dict[int, tuple[Any, Any]] = {}
        self.found_grads: dict[int, tuple[Any, Any]] = {}
        self.pinned: dict[Storage, Node] = {}
        self._borders = borders
        self._line = line
        self._first = next(storage.serials)
        self._seen: dict[Storage, Node] = {}  # what older storages show the function
        self._placeholders: dict[Node, Storage] = {}
        self._counters: dict[Node, int] = {}
        self._assigned: dict[Storage, Node] = {}
        self._pin_lines: dict[Storage, str] = {}
        self._births: list[weakref.ref[Storage]] = []
        for each in inputs:
            self.read(each)
        self._inputs = frozenset(self._placeholders)

    def is_inside(self, target: Storage) -> bool:
        """Whether the function has made `target` itself."""
        return target.serial > self._first

    def assigned(self) -> dict[Storage, Node]:
        """Return what the function has assigned to storages older than the trace.

        Raises:
            TraceError: if it has looked at the value of one of them: a capture has only one value.
        """
        for each, line in self._pin_lines.items():
            if each in self._assigned:
                raise TraceError(
                    f"{line}: a captured function looks at the value of a tensor of shape "
                    f"{each.outside.shape} that it changes itself; compute with the tensor "
                    f"(where() instead of `if`), or keep the number in Python"
                )
        return self._assigned

    def escaped(self) -> list[Storage]:
        """Return the storages made by the function that live on and depend on what varies."""
        alive = [each for each in (reference() for reference in self._births) if each is not None]
        varying = {*self._placeholders, *self._counters}
        for node in toposort([each.outside for each in alive]):
            if not varying.isdisjoint(node.src):
                varying.add(node)
        return [each for each in alive if each.outside in varying]

    def source(self, leaf: Node) -> Storage | int | None:
        """Return what fills a leaf of the traced graph: a storage, or a number of draws."""
        return self._placeholders.get(leaf) or self._counters.get(leaf)

    def is_stable(self, leaf: Node) -> bool:
        """Whether a leaf is a constant, or holds what the function neither gets nor assigns."""
        source = self.source(leaf)
        if isinstance(source, Storage):
            return leaf not in self._inputs and source not in self._assigned
        return source is None

    # --- hooks of `Trace` -------------------------------------------------------------------------

    def born(self, target: Storage) -> None:
        """Note a storage that the traced function has made."""
        self._births.append(weakref.ref(target))

    def read(self, target: Storage) -> Node:
        """Return the value that the traced function sees in `target`."""
        if self.is_inside(target):
            return target.outside
        seen = self._seen.get(target)
        if seen is None:
            shape = self.shapes.get(target, target.outside.shape)
            seen = tensor.buffer(target.outside.dtype, shape)
            self._placeholders[seen] = target
            if target in self._borders:
                seen = tensor.detach(seen, self._borders[target])
            self._seen[target] = seen
        return seen

    def write(self, target: Storage, node: Node) -> None:
        """Let the traced function see `node` in `target` from now on."""
        if self.is_inside(target):
            target.outside = node
        else:
            self._seen[target] = self._assigned[target] = node

    def read_grad(self, owner: Any, outside: Any) -> Any:
        """Return the gradient that the function sees in a tensor, given the one outside."""
        if id(owner) in self.grads:
            return self.grads[id(owner)][1]
        if self.is_inside(owner._storage):
            return outside  # nobody else can see it
        if outside is not None and owner._storage in self.shapes:
            self.shapes.setdefault(outside._storage, self.shapes[owner._storage])
        return self.found_grads.setdefault(id(owner), (owner, outside))[1]

    def write_grad(self, owner: Any, grad: Any) -> None:
        """Let the traced function see `grad` as the gradient of `owner` from now on."""
        self.grads[id(owner)] = owner, grad

    def resolve(self, nodes: Sequence[Node]) -> list[Node]:
        """Return nodes outside of the trace that have the values of `nodes`.

        Raises:
            TraceError: if they depend on inputs of the traced function: they have no value yet.
        """
        values: dict[Node, Node] = {}
        for node in toposort(nodes):
            if node in self._inputs or node in self._counters:
                what = "random numbers" if node in self._counters else "arguments"
                raise TraceError(
                    f"{self._line()}: a captured function needs the value of a tensor that depends "
                    f"on its {what}, and has none while it is captured; return the tensor and "
                    f"read it outside, or use where() instead of `if`"
                )
            if node in self._placeholders:
                values[node] = self._pin(self._placeholders[node])
        found = substitute(nodes, values)
        return [found[node] for node in nodes]

    def _pin(self, target: Storage) -> Node:
        if target not in self.pinned:
            with tracing(None):
                (self.pinned[target],) = realize([target.outside])
            self._pin_lines[target] = self._line()
        return self.pinned[target]

    def random_counter(self, count: int) -> Node:
        """Return a leaf that will hold the key of the next `count` draws at every call."""
        leaf = tensor.buffer(uint64, (1,))
        self._counters[leaf] = count
        return leaf
