"""Captures as JSON: graphs as text, arguments and results as trees, tensors by name.

What is read is checked as far as the safety of memory depends on it: a file may come from anybody.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from inkle.engine.program import Draws
from inkle.errors import FormatError
from inkle.ir import forms, spec
from inkle.ir.node import Node, toposort
from inkle.ir.text import from_text, to_text
from inkle.tensor import Tensor
from inkle.tensor.portable import Kind, Plain, Portable, Source, plain, tree


class Names:
    """Gives names to the tensors of captures.

    Attributes:
        leaves: names of those that require gradients.
    """

    def __init__(self, known: Mapping[str, Tensor]) -> None:
        self.leaves: set[str] = set()
        self._known: dict[object, str] = {
            each._storage: name for name, each in reversed([*known.items()])
        }
        self._taken = set(known)
        self._tensors: dict[object, tuple[str, Tensor]] = {}

    def name(self, value: Tensor | Node) -> str:
        """Return the name of state or of a constant."""
        key = value if isinstance(value, Node) else value._storage
        if key not in self._tensors:
            what = "constant" if isinstance(value, Node) else "state"
            free = (f"{what}.{i}" for i in itertools.count())
            name = self._known.get(key) or next(n for n in free if n not in self._taken)
            self._taken.add(name)
            tensor = Tensor._of(value, "CPU") if isinstance(value, Node) else value
            self._tensors[key] = name, tensor
        name, tensor = self._tensors[key]
        if isinstance(value, Tensor) and value._history is not None and value._history.owner:
            self.leaves.add(name)
        return name

    def write(self, what: Portable) -> dict[str, Any]:
        """Return a capture as JSON has it."""
        return {
            "arguments": what.arguments, "kinds": what.kinds, "training": what.training,
            "result": what.result, "flows": what.flows, "graph": to_text(what.outputs),
            "sources": [self._source(each) for each in what.sources],
            "grads": [(self.name(owner), none) for owner, none in what.grads],
            "assigned": [self._source(each) for each in what.assigned],
        }  # fmt: skip

    def _source(self, source: Source) -> tuple[str, int | str]:
        if isinstance(source, Draws):
            return "random", source.count
        if isinstance(source, int):
            return "argument", source
        return "tensor", self.name(source)

    def snapshot(self) -> dict[str, Tensor]:
        """Return the values now, by name; later assignments do not change them."""
        tensors = dict(self._tensors.values())
        if tensors:
            Tensor.realize(*tensors.values())
        return {name: Tensor._of(each._storage.outside, "CPU") for name, each in tensors.items()}


def read_capture(content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Portable:
    """Return a capture, checked as far as the safety of memory depends on it."""
    if " = variable:" in content["graph"]:  # the only way to a symbolic size, in a step, too
        raise FormatError("a size that is known at launch in a graph of captured functions")
    graph = from_text(content["graph"])
    if not isinstance(graph, list):
        raise FormatError("a kernel in place of a graph")
    kinds = tuple([_read_kind(each) for each in content["kinds"]])
    sources = tuple([_read_source(each, kinds, tensors) for each in content["sources"]])
    assigned = tuple([_read_source(each, kinds, tensors) for each in content["assigned"]])
    grads = tuple([(tensors[name], none is True) for name, none in content["grads"]])
    what = Portable(
        plain(tree(content["arguments"])), kinds, content["training"] is True,
        plain(tree(content["result"])), tuple([each is True for each in content["flows"]]),
        tuple(graph), sources, grads,
        tuple([each for each in assigned if isinstance(each, (int, Tensor))]),
    )  # fmt: skip
    _check(what)
    return what


def _read_kind(value: Any) -> Kind:
    shape, dtype, flow = value
    if not all(type(n) is int and n >= 0 for n in shape) or flow not in ("", "leaf", "derived"):
        raise FormatError(f"no kind of tensor: {value!r:.60}")
    return tuple(shape), str(dtype), flow


def _read_source(
    value: Any, kinds: tuple[Kind, ...], tensors: Mapping[str, Tensor]
) -> int | Tensor | Draws:
    word, which = value
    if word == "tensor":
        return tensors[which]
    if type(which) is int and word == "random" and which > 0:
        return Draws(which)
    if type(which) is int and word == "argument" and 0 <= which < len(kinds):
        return which
    raise FormatError(f"no source of values: {value!r:.60}")


def _check(what: Portable) -> None:
    """Check that the graph is one, and that it fits what goes in and what comes out of it."""
    spec.check_tensor(what.outputs)
    for node in toposort(what.outputs):
        if node.op is forms.BUFFER:
            raise FormatError("memory from elsewhere in a graph of captured functions")
        if node.op is forms.PARAM:
            slot = node.arg[0]
            if not 0 <= slot < len(what.sources):
                raise FormatError(f"there is nothing for parameter {slot}")
            _require_like(node, what.sources[slot], what)
    owners = [owner for owner, none in what.grads if not none]
    n = len(what.flows)
    if len(what.outputs) != n + len(owners) + len(what.assigned):
        raise FormatError(f"{len(what.outputs)} outputs of the graph do not fit the rest")
    for node, target in zip(what.outputs[n:], (*owners, *what.assigned), strict=True):
        _require_like(node, target, what)
    _require_slots(what.arguments, len(what.kinds))
    _require_slots(what.result, n)


def _require_like(node: Node, source: Source, what: Portable) -> None:
    if isinstance(source, int):
        shape, dtype, _ = what.kinds[source]
    elif isinstance(source, Draws):
        shape, dtype = (1,), "uint64"
    else:
        shape, dtype = source.shape, source.dtype.name
    if (node.shape, node.dtype.name) != (shape, dtype):
        raise FormatError(f"{node.op} of {node.shape} {node.dtype} for {shape} {dtype}")


def _require_slots(value: Plain, count: int) -> None:
    """Check that the tensors in a tree are numbered from 0 to count - 1."""
    numbers = set()
    stack: list[Any] = [value]
    while stack:
        each = stack.pop()
        if each[0] == "tensor":
            numbers.add(each[1])
        elif each[0] in ("list", "tuple"):
            stack += each[1:]
        elif each[0] == "dict":
            stack += [part for pair in each[1:] for part in pair]
    if numbers != set(range(count)):
        raise FormatError(f"slots {sorted(numbers)} for {count} tensors")
