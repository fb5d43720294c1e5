"""One capture of a function: what its trace has seen, and what happens when it runs.

A capture has places: the tensors of a call, in the order in which its description finds them
(arguments first), and then the gradients that the function reads. Other storages are known by
identity.
"""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from sys import getrefcount
from typing import Any

from inkle.engine.capture import NO_FORMERS, Captured
from inkle.engine.memory_use import MemoryUse
from inkle.engine.program import Program
from inkle.engine.recorder import Recorder
from inkle.engine.storage import Storage
from inkle.errors import TraceError
from inkle.ir import forms
from inkle.ir.node import Node, Shape
from inkle.tensor.base import Core
from inkle.tensor.guards import flow
from inkle.tensor.leaves import Crossed
from inkle.tensor.random import next_key
from inkle.tensor.structure import rebuild, structure
from inkle.tensor.tensor import Tensor
from inkle.tensor.variable import Condition, Sizes


@dataclass(slots=True)  # not frozen: one is made in every call, and `frozen` takes a microsecond
class Call:
    """One call: what it depends on, and the tensors in that, of which the first are arguments.

    Attributes:
        questions: what it asks the world outside, which the signature does not say.
        sizes: values of variables.
    """

    signature: tuple[object, ...]
    tensors: list[Core]
    n_arguments: int
    questions: frozenset[str]
    sizes: Sizes


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a function was called with, apart from values of tensors.

    Attributes:
        tree: (positional, by keyword), with slots in place of tensors.
        places: of these tensors, among those of the call.
        kinds: shape, dtype, and how gradients reach it, of each.
    """

    tree: object
    places: tuple[int, ...]
    kinds: tuple[tuple[Shape, str, str], ...]

    @classmethod
    def of(cls, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | str:
        """Return the arguments of a call, or why they cannot be written down."""
        found: list[Core] = []
        try:
            tree = structure((args, kwargs), found)
        except TraceError:
            return "its arguments are not only tensors, numbers, and lists and dicts of them"
        places = {id(each): place for place, each in enumerate(call.tensors)}
        kinds = tuple([(each.shape, each.dtype.name, flow(each)) for each in found])
        return cls(tree, tuple([places[id(each)] for each in found]), kinds)


@dataclass(frozen=True, slots=True)
class _Gradient:
    """The gradient that a function found in a tensor.

    Attributes:
        owner: place of the tensor among those of the call, or itself where it is none of them.
        found: None, or its dtype, how it takes part in gradients, and its place or -1.
    """

    owner: int | weakref.ref[Core]
    found: tuple[object, ...] | None


class Entry:
    """One signature with its capture.

    Attributes:
        signature: description of the call.
        arguments: of the call; or why they cannot be written down.
        n_arguments: how many tensors they have.
        is_training: the mode.
        result: of the function, with slots in place of tensors.
        outputs: class of each of these, and whether gradients would flow on from it.
        found: gradients that the function reads.
        left: tensors that it leaves a gradient in; True: it leaves None.

    Args:
        call: the call that was traced.
        trace: what the trace saw.
        escaped: storages to fill, at the only run.
    """

    def __init__(self, call: Call, trace: Traced, escaped: Sequence[Storage]) -> None:
        self.signature = call.signature
        self._conditions = call.sizes.conditions
        self.arguments = trace.arguments
        self.n_arguments = call.n_arguments
        self.is_training = trace.is_training
        self._escaped = escaped
        self.outputs = trace.outputs
        self.result = trace.result
        places = {id(each): number for number, each in enumerate(call.tensors)}
        self.found = [
            _Gradient(places.get(id(owner), weakref.ref(owner)), _describe_grad(grad, places))
            for owner, grad in trace.found_grads
        ]
        self.left = [
            (places.get(id(owner), weakref.ref(owner)), node is None)
            for owner, node in trace.left_grads
        ]
        numbers = itertools.count(len(self.outputs))
        self._numbers = [-1 if none else next(numbers) for _, none in self.left]
        self._always_leaves = bool(escaped) or -1 in self._numbers
        self._left = frozenset(self._numbers)
        self._first_escaped = next(numbers)
        nodes = [*trace.nodes, *(node for _, node in trace.left_grads if node is not None)]
        inputs = self._inputs(call.tensors)
        assert inputs is not None
        self._captured = Captured(
            trace.recorder,
            storages_of(inputs),
            [*nodes, *(each.outside for each in escaped)],
            closed_over=range(call.n_arguments, len(call.tensors)),
            limits=call.sizes.limits(),
            n_results=len(self.outputs),
        )

    @property
    def program(self) -> Program:
        """What is computed."""
        return self._captured.program

    @property
    def hoisted_bytes(self) -> int:
        """Memory of the values that are computed ahead."""
        return self._captured.kept_bytes

    def memory_use(self) -> MemoryUse:
        """Return what the memory of a run is for."""
        return self._captured.memory_use()

    def matches(self, call: Call) -> bool:
        """Whether the capture is what the function would do in this call."""
        if call.signature != self.signature:
            return False
        if self._conditions and self._failed(call) is not None:
            return False
        if not self.found and not self.program.pinned:
            return True
        inputs = self._inputs(call.tensors)
        return inputs is not None and self._captured.holds(storages_of(inputs))

    def failed(self, call: Call) -> str:
        """Return which condition on sizes a call of this signature fails; "" if none."""
        failed = self._failed(call) if call.signature == self.signature else None
        return "" if failed is None else str(failed)

    def _failed(self, call: Call) -> Condition | None:
        values = call.sizes.values
        return next((each for each in self._conditions if not each.holds(values)), None)

    def _inputs(self, tensors: Sequence[Core]) -> list[Core] | None:
        """Return `tensors` and the gradients that the function reads; None if these do not fit."""
        inputs = list(tensors)
        if not self.found:
            return inputs
        places = {id(each): number for number, each in enumerate(tensors)}
        for each in self.found:
            owner = _pick(each.owner, tensors)
            grad = None if owner is None else owner._grad
            if _describe_grad(grad, places) != each.found:
                return None
            if grad is not None and id(grad) not in places:
                places[id(grad)] = len(inputs)
                inputs.append(grad)
        return inputs

    def _former_grads(self, owners: Sequence[Core | None]) -> dict[int, Storage]:
        """Return the gradients that the call replaces, and nobody else holds, by output."""
        grads = [None if owner is None else owner._grad for owner in owners]
        counts = [*map(getrefcount, grads)]
        return {
            number: grad._storage
            for number, grad, count in zip(self._numbers, grads, counts, strict=True)
            if grad is not None and count <= _ALONE and grad._history is None and number >= 0
        }

    def run(self, call: Call) -> Any:
        """Run the capture; return the result of the function."""
        with self._captured.lock:
            inputs = (self._inputs(call.tensors) or []) if self.found else call.tensors
            storages = storages_of(inputs)
            self._settle(inputs, storages)
            sizes = call.sizes.values
            tensors = call.tensors
            owners = [tensors[each] if isinstance(each, int) else each() for each, _ in self.left]
            former = self._former_grads(owners) if owners else NO_FORMERS
            leaves = self._captured.run(storages, next_key, former, sizes)
            pairs = enumerate(self.outputs)
            outputs = [output(leaves[i], kind, flows=flows) for i, (kind, flows) in pairs]
            if self._always_leaves or not self._left.isdisjoint(leaves):
                self._leave(owners, leaves)
            return rebuild(self.result, outputs, sizes)

    def _settle(self, inputs: Sequence[Core], storages: Sequence[Storage]) -> None:
        """Compute those of `inputs` that are read, and still expressions, as `realize()` does."""
        reads = self._captured.reads
        pending = [i for i in reads if storages[i].outside.op is not forms.BUFFER]
        if pending:
            settle([inputs[i] for i in pending])

    def _leave(self, owners: Sequence[Core | None], leaves: Mapping[int, Node]) -> None:
        """Leave gradients that are not where they were before; fill storages that live on."""
        pairs = zip(owners, self._numbers, strict=True)
        grads = [
            (owner, "_grad", output(leaves[number]) if number >= 0 else None)
            for owner, number in pairs
            if owner is not None and (number < 0 or number in leaves)
        ]
        if grads:
            # One call of C code, which Ctrl-C cannot interrupt halfway.
            deque(starmap(setattr, grads), maxlen=0)
        for number, each in enumerate(self._escaped, self._first_escaped):
            each.outside = leaves[number]


@dataclass(slots=True)
class Traced:
    """What is left of a trace.

    Attributes:
        recorder: saw it.
        result: what the function returned, with slots in place of tensors.
        nodes: of these tensors.
        outputs: for each of them its class, and whether it comes from leaves of gradients.
        found_grads: tensors, and the gradients that the function found there.
        left_grads: tensors, and the nodes of the gradients that it left there.
        arguments: of the call; or why they cannot be written down.
        is_training: the mode.
    """

    recorder: Recorder
    result: object
    nodes: list[Node]
    outputs: list[tuple[type[Tensor], bool]]
    found_grads: list[tuple[Core, Core | None]]
    left_grads: list[tuple[Core, Node | None]]
    arguments: Arguments | str
    is_training: bool


def storages_of(tensors: Sequence[Core]) -> list[Storage]:
    """Return where the values of tensors live."""
    return [each._storage for each in tensors]


def _pick(place: int | weakref.ref[Core], tensors: Sequence[Core]) -> Core | None:
    return tensors[place] if isinstance(place, int) else place()


def _describe_grad(grad: Core | None, places: dict[int, int]) -> tuple[object, ...] | None:
    if grad is None:
        return None
    return grad.dtype.name, flow(grad), places.get(id(grad), -1)


def settle(tensors: Sequence[Core]) -> None:
    """Compute those of `tensors` that are still expressions, as `realize()` does."""
    pending = [each for each in tensors if each._storage.outside.op is not forms.BUFFER]
    if pending:
        first, *others = pending
        assert isinstance(first, Tensor)
        first.realize(*others)


def output(leaf: Node, kind: type[Tensor] = Tensor, *, flows: bool = False) -> Tensor:
    """Return a tensor of a result; gradients that should flow on from it meet a border."""
    made = kind._of(leaf, "CPU")
    if flows:
        made._history = Crossed(leaf)
    return made


def _count_alone() -> int:
    """Return what `getrefcount` gives in `_former_grads` for what only its owner holds."""
    owner = Traced.__new__(Traced)
    owner.result = object()
    return max(map(getrefcount, [owner.result]))


_ALONE = _count_alone()
