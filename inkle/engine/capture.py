"""Capture of a function: what a trace saw, compiled into one call from inputs and state to outputs.

Inputs are storages whose value is replaced by a placeholder while the function is traced. Every
older storage that the function reads is an implicit input, known by identity, never by version;
every storage that it assigns is an output of the capture as well. Nothing runs during a trace,
except what does not depend on inputs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from inkle.engine import profile, storage, trace
from inkle.engine.executable import Executable
from inkle.engine.realize import canonicalize, executable_for, realize
from inkle.engine.storage import Storage
from inkle.errors import TraceError
from inkle.ir import tensor
from inkle.ir.node import Node

RandomCounter = Callable[[int], int]


class Recorder:
    """Sees what a traced function reads, assigns, realizes and draws at random."""

    def __init__(self, inputs: Sequence[Storage]) -> None:
        self.inputs = list(inputs)
        self.born = next(storage.serials)
        self.originals: dict[Storage, Node] = {}
        self.reads: dict[Node, Storage] = {}
        self.random: list[tuple[Node, int]] = []
        self.placeholders: dict[Node, int] = {}
        self._before: Callable[[Storage], None] | None = None

    def __enter__(self) -> Recorder:
        for number, each in enumerate(self.inputs):
            value = each.peek()
            placeholder = tensor.buffer(value.dtype, value.shape)
            self.originals[each] = value
            self.placeholders[placeholder] = number
            each.current = placeholder
        trace.push(self)
        self._before = storage.set_reader(self._on_read)
        return self

    def __exit__(self, *_: object) -> None:
        storage.set_reader(self._before)
        trace.pop()

    def restore(self) -> list[tuple[Storage, Node]]:
        """Give every storage its value from before the trace; return those that were assigned."""
        changed = []
        for each, original in self.originals.items():
            now = each.peek()
            if now is not original and now not in self.placeholders:
                changed.append((each, now))
            each.current = original
        return changed

    def _on_read(self, target: Storage) -> None:
        if target.serial > self.born or target in self.originals:
            return
        value = target.peek()
        leaf = storage.realized(value)
        if leaf is None:  # older than the trace, hence independent of its inputs
            leaf = _outside(lambda: realize([value]))[0]
        if target.peek() is not leaf:
            target.current = leaf
        self.reads[leaf] = target

    # --- hooks of `Trace` -------------------------------------------------------------------------

    def on_assign(self, target: Storage) -> None:
        """Remember the value that `target` had before the trace."""
        if target.serial < self.born and target not in self.originals:
            self._on_read(target)
            self.originals[target] = target.peek()

    def on_realize(self, nodes: Sequence[Node]) -> None:
        """Raise TraceError if a value depends on inputs: it does not exist yet."""
        changed = {each.peek() for each, old in self.originals.items() if each.peek() is not old}
        dynamic = {*self.placeholders, *(leaf for leaf, _ in self.random)}
        for root in nodes:
            for node in root.toposort():
                if node in dynamic or (node in changed and node not in self.placeholders):
                    raise TraceError(
                        f"{root.origin or 'a captured function'}: this value depends on the inputs "
                        f"of a captured function, so it has none while the function is captured; "
                        f"return the tensor and read it outside, or use where() instead of `if`"
                    )

    def random_counter(self, count: int) -> Node:
        """Return a leaf that will hold the key of the next `count` draws at every call."""
        leaf = storage.from_array(np.zeros(1, np.uint64))
        self.random.append((leaf, count))
        return leaf


def _outside(action: Callable[[], list[Node]]) -> list[Node]:
    """Run `action` as if no capture were in progress."""
    stack, trace._local.stack = trace._local.stack, []
    before = storage.set_reader(None)
    try:
        return action()
    finally:
        trace._local.stack = stack
        storage.set_reader(before)


class Captured:
    """A compiled trace: inputs and state in, outputs and state out, by one native call."""

    def __init__(
        self,
        recorder: Recorder,
        outputs: Sequence[Node],
        assigned: Sequence[tuple[Storage, Node]],
    ) -> None:
        roots = [*outputs, *(node for _, node in assigned)]
        graph, leaves = canonicalize(roots)
        self.executable: Executable = executable_for(graph)
        self._n_outputs = len(outputs)
        self._like = [(node.dtype, node.shape) for node in roots]
        self._sources = [self._source(recorder, leaf) for leaf in leaves]
        self._random = recorder.random
        places = {each: number for number, each in enumerate(recorder.inputs)}
        self._targets = [(places.get(each), each) for each, _ in assigned]
        self._lock = threading.Lock()

    @staticmethod
    def _source(recorder: Recorder, leaf: Node) -> int | Storage | Node:
        """Return the number of an input, a storage to read, or the leaf of a constant."""
        if leaf in recorder.placeholders:
            return recorder.placeholders[leaf]
        return recorder.reads.get(leaf, leaf)

    def run(self, inputs: Sequence[Storage], counter: RandomCounter) -> list[Node]:
        """Run on these inputs; update the state; return fresh leaves of the outputs."""
        with self._lock:
            for leaf, count in self._random:
                storage.to_array(leaf)[...] = counter(count)
            values = [self._leaf(source, inputs) for source in self._sources]
            buffers = profile.run(self.executable, [storage.buffer_of(leaf) for leaf in values])
            leaves = [
                storage.new_leaf(dtype, shape, buffer)
                for (dtype, shape), buffer in zip(self._like, buffers, strict=True)
            ]
            for (place, target), leaf in zip(self._targets, leaves[self._n_outputs :], strict=True):
                (target if place is None else inputs[place]).current = leaf
            return leaves[: self._n_outputs]

    @staticmethod
    def _leaf(source: int | Storage | Node, inputs: Sequence[Storage]) -> Node:
        if isinstance(source, Node):
            return source
        target = source if isinstance(source, Storage) else inputs[source]
        leaf = storage.realized(target.peek())
        if leaf is None:
            (leaf,) = realize([target.peek()])
            target.current = leaf
        return leaf
