"""Captures apart from the Python code that they come from: taken from a function, and run again.

Arguments and results are trees of tensors and plain values, with slots in place of tensors. `plain`
writes them as nested tuples of strings and numbers, which compare by type and value and can be
written to a file.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING, Any

from inkle.engine.capture import Captured
from inkle.engine.program import Draws, Program, Restored
from inkle.engine.storage import Storage
from inkle.errors import FormatError, TraceError
from inkle.ir import tensor
from inkle.ir.dtype import BY_NAME
from inkle.ir.node import Node, Shape
from inkle.tensor.entry import Entry, output, settle, storages_of
from inkle.tensor.guards import flow
from inkle.tensor.random import next_key
from inkle.tensor.structure import Slot, rebuild
from inkle.tensor.tensor import Tensor

if TYPE_CHECKING:
    from inkle.tensor.base import Core

Plain = tuple[Any, ...]  # a word that says what it is, then numbers, strings, or more of the kind
Kind = tuple[Shape, str, str]  # of a tensor: shape, dtype, and how gradients reach it
Source = int | Tensor | Node | Draws  # number of an argument, state, a constant, random numbers


@dataclass(frozen=True, slots=True)
class Portable:
    """A capture as plain data.

    Attributes:
        arguments: (positional, by keyword).
        kinds: of the tensors among them, slot by slot.
        training: the mode in which it was captured.
        result: what is returned.
        flows: of each tensor in it, whether it comes from leaves of gradients.
        outputs: a graph over PARAM leaves: results, then gradients, then what is assigned.
        sources: what fills these leaves.
        grads: state whose `.grad` changes; True: it becomes None, and no output is meant for it.
        assigned: numbers of arguments, or state.
    """

    arguments: Plain
    kinds: tuple[Kind, ...]
    training: bool
    result: Plain
    flows: tuple[bool, ...]
    outputs: tuple[Node, ...]
    sources: tuple[Source, ...]
    grads: tuple[tuple[Tensor, bool], ...]
    assigned: tuple[int | Tensor, ...]

    def state(self) -> list[Tensor]:
        """Return the tensors that it refers to, each once."""
        found = [*self.sources, *(owner for owner, _ in self.grads), *self.assigned]
        return list({id(s._storage): s for s in found if isinstance(s, Tensor)}.values())


def refuse(reason: str) -> TraceError:
    """Return the error for a capture that cannot be saved."""
    return TraceError(f"this captured function cannot be saved: {reason}")


def portable(entry: Entry, closed_over: Sequence[Core]) -> Portable:
    """Return what a capture does.

    Args:
        entry: the capture.
        closed_over: the tensors that the function refers to now.

    Raises:
        TraceError: if plain data and tensors cannot say it.
    """
    arguments = entry.arguments
    if isinstance(arguments, str):
        raise refuse(arguments)
    finder = _Finder(arguments.places, entry.n_arguments, closed_over)
    for kind, _ in entry.outputs:
        if kind is not Tensor:
            raise refuse(f"it returns a {kind.__name__}, a class that a file does not hold")
    left = [(finder.owner(owner), none) for owner, none in entry.left]
    kept = {id(owner._storage) for owner, none in left if not none}
    for each in entry.found:
        owner = finder.owner(each.owner)
        if each.found is not None or id(owner._storage) in kept:
            raise refuse(
                "it uses gradients that an earlier call has left in .grad; let it begin with "
                "zero_grad()"
            )
    program = entry.program
    sources = tuple([finder.source(each) for each in program.sources])
    state = {id(each._storage) for each in sources if isinstance(each, Tensor)}
    for place in program.pinned:
        pinned = finder.source(place)
        if isinstance(pinned, Tensor) and id(pinned._storage) in state:
            raise refuse("it has looked at the value of a tensor that it also computes with")
    return Portable(
        plain(arguments.tree), arguments.kinds, entry.is_training, plain(entry.result),
        tuple([flows for _, flows in entry.outputs]), program.outputs, sources, tuple(left),
        tuple([finder.target(each) for each in program.targets]),
    )  # fmt: skip


class _Finder:
    """Finds what stands in the places of a capture.

    Args:
        slots: places of the tensors among the arguments.
        n_arguments: places of arguments; those of what is closed over come next, then gradients.
        closed_over: in these.
    """

    def __init__(self, slots: Sequence[int], n_arguments: int, closed_over: Sequence[Core]) -> None:
        self._slots = {place: slot for slot, place in enumerate(slots)}
        self._first = n_arguments
        self._closed_over = closed_over
        self._others: dict[Storage, Tensor] = {}

    def source(self, place: int | Storage | Node | Draws) -> Source:
        """Return what fills a leaf."""
        return place if isinstance(place, (Node, Draws)) else self.target(place)

    def target(self, place: int | Storage) -> int | Tensor:
        """Return what is assigned."""
        if isinstance(place, Storage):
            if place not in self._others:
                self._others[place] = other = Tensor._of(place.outside, place.device)
                other._storage = place
            return self._others[place]
        if place in self._slots:
            return self._slots[place]
        if place < self._first:
            raise refuse("a tensor is inside of an argument that is no list, tuple or dict")
        if place - self._first >= len(self._closed_over):
            raise refuse("it uses gradients that an earlier call has left in .grad")
        return self._tensor(self._closed_over[place - self._first])

    def owner(self, owner: Any) -> Tensor:
        """Return a tensor whose gradient counts."""
        found = self.target(owner) if isinstance(owner, int) else self._tensor(owner())
        if isinstance(found, int):
            raise refuse("it uses or leaves the gradient of an argument; return the gradient")
        return found

    @staticmethod
    def _tensor(value: Core | None) -> Tensor:
        if not isinstance(value, Tensor):
            raise refuse("it leaves a gradient in a tensor that is gone")
        return value


class Replay:
    """Runs a portable capture. What it assigns changes the tensors in it."""

    def __init__(self, what: Portable) -> None:
        self.what = what
        self._result = tree(what.result)
        inputs = [Storage(tensor.buffer(BY_NAME[name], shape)) for shape, name, _ in what.kinds]
        program = Program(
            what.outputs,
            tuple([each._storage if isinstance(each, Tensor) else each for each in what.sources]),
            tuple([each._storage if isinstance(each, Tensor) else each for each in what.assigned]),
        )
        restored = Restored(program, inputs)
        self._captured = Captured(restored, inputs, restored.results)

    def run(self, arguments: Sequence[Tensor]) -> Any:
        """Run on the tensors among the arguments; return the result."""
        with self._captured.lock:
            settle([arguments[number] for number in self._captured.reads])
            leaves = self._captured.run(storages_of(arguments), next_key)
            numbers = itertools.count()
            outputs = [output(leaves[next(numbers)], flows=flows) for flows in self.what.flows]
            grads = [
                (owner, "_grad", None if none else output(leaves[next(numbers)]))
                for owner, none in self.what.grads
            ]
            deque(starmap(setattr, grads), maxlen=0)  # at once: Ctrl-C comes before or after
        return rebuild(self._result, outputs)


def kinds_of(tensors: Sequence[Core]) -> tuple[Kind, ...]:
    """Return what a capture depends on besides the values of its arguments."""
    return tuple([(each.shape, each.dtype.name, flow(each)) for each in tensors])


def plain(value: Any) -> Plain:
    """Return a tree of slots and values as nested tuples.

    Raises:
        TraceError: for an instance of a class of the user's own.
    """
    kind = type(value)
    if kind is Slot:
        return "tensor", value.number
    if kind in (float, complex):
        parts = (value,) if kind is float else (value.real, value.imag)
        return kind.__name__, *[
            float.hex(part) for part in parts
        ]  # NaN equals itself, 0.0 not -0.0
    if kind in (type(None), bool, int, str):
        return kind.__name__, value
    if kind is bytes:
        return "bytes", value.hex()
    if kind in (list, tuple):
        return kind.__name__, *[plain(each) for each in value]
    if kind is dict:
        return "dict", *[(plain(key), plain(each)) for key, each in value.items()]
    raise refuse(f"there is a {kind.__name__}, a class that a file does not hold, in its "
                 f"arguments or its result")  # fmt: skip


def tree(value: Any) -> Any:
    """Return what `plain` has written; lists in place of tuples are fine, too.

    Raises:
        FormatError: if it is anything else.
    """
    try:
        word, *parts = value
        return _READERS[word](parts)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(f"no value: {value!r:.60} ({error})") from None


def _only(kind: type, parts: Sequence[Any]) -> Any:
    (found,) = parts
    if type(found) is not kind:
        raise TypeError(f"expected {kind.__name__}")
    return found


_READERS: dict[str, Any] = {
    "tensor": lambda parts: Slot(_only(int, parts)),
    "float": lambda parts: float.fromhex(_only(str, parts)),
    "complex": lambda parts: complex(*[float.fromhex(part) for part in parts]),
    "NoneType": lambda parts: _only(type(None), parts),
    "bool": lambda parts: _only(bool, parts),
    "int": lambda parts: _only(int, parts),
    "str": lambda parts: _only(str, parts),
    "bytes": lambda parts: bytes.fromhex(_only(str, parts)),
    "list": lambda parts: [tree(each) for each in parts],
    "tuple": lambda parts: tuple([tree(each) for each in parts]),
    "dict": lambda parts: {tree(key): tree(each) for key, each in parts},
}
