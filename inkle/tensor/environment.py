"""What a captured function depends on besides its arguments, and whether that is still so.

Describing it (see `guards`) walks through everything that the function refers to. The result is
kept together with a watch, which tells in a few microseconds that another walk would find the same.
"""

from __future__ import annotations

import pickle
import random
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from inkle.ir import forms
from inkle.tensor.base import Core
from inkle.tensor.guards import Describer, describe_tensor, flow
from inkle.tensor.tensor import Tensor
from inkle.tensor.variable import Bound, Sizes


class Environment:
    """What a captured function depends on besides its arguments.

    Attributes:
        description: of the function.
        numbers: of what it was read from, by identity.
        questions: what the function asks the world outside.
        bound: the bound variables that it refers to.

    Args:
        function: with all that it refers to.
        names: names that user code is known to use; grows.
        home: top-level package of the function.
    """

    def __init__(self, function: Callable[..., Any], names: set[str], home: str) -> None:
        self._names = names
        self._n_names = -1
        while not self.is_complete():
            self._n_names = len(names)
            describer = Describer(names, home)
            name = getattr(function, "__name__", "it")
            self.description = describer.named([(name, function)])[0]
        self.numbers: Mapping[int, int] = describer.numbers
        self.questions = frozenset(describer.questions)
        self.bound = describer.bound
        self._tensors = [weakref.ref(each) for each in describer.tensors]
        self._flows = [flow(each) for each in describer.tensors]
        self._watch = describer.watch(function)

    def is_complete(self) -> bool:
        """Whether all names that user code is known to use have been looked at."""
        return len(self._names) == self._n_names

    def tensors(self) -> list[Core]:
        """Return the tensors that are still alive: all of them, if `holds` says so."""
        return [each for each in [reference() for reference in self._tensors] if each is not None]

    def holds(self, function: Callable[..., Any], tensors: Sequence[Core]) -> bool:
        """Whether it is certain that another walk would give the same description."""
        return (
            self._watch is not None
            and self.is_complete()
            and self._watch.holds(function)
            and [*map(flow, tensors)] == self._flows
        )


def describe_plain(
    values: Iterable[Any], outer: Mapping[int, int], sizes: Sizes
) -> list[object] | None:
    """Describe tensors and numbers as `Describer` does, quicker; None if there is anything else.

    Args:
        values: arguments of a captured function.
        outer: identities of what it closes over, which `Describer` must be told of.
        sizes: of the call; those of bound variables are added.
    """
    found: list[object] = []
    seen = set()
    for each in values:
        kind = type(each)
        if kind is Tensor:
            if id(each) in outer or id(each) in seen:
                return None
            seen.add(id(each))
            found.append((*describe_tensor(each, sizes.shapes), ()))
        elif kind is Bound:
            sizes.take_bound((each,))
            found.append(("size", each.variable))
        elif kind in (int, bool, str, type(None)):
            found.append((kind, each))
        elif kind is float:
            found.append((float, float.hex(each)))
        else:
            return None
    return found


class Recent:
    """The last call with plain tensors; another one that looks like it has the same signature.

    Attributes:
        signature: of the call.

    Args:
        signature: see there.
        around: what the function depends on besides.
        names: of arguments by keyword.
        settings: in force.
        tensors: all arguments.
    """

    def __init__(
        self,
        signature: tuple[object, ...],
        around: Environment,
        names: Iterable[str],
        settings: tuple[object, ...],
        tensors: Sequence[Core],
    ) -> None:
        self.signature = signature
        self._around, self._names, self._settings = around, [*names], settings
        self._kinds = [(each.shape, each.dtype, each.device) for each in tensors]

    def is_like(
        self,
        around: Environment,
        names: Iterable[str],
        settings: tuple[object, ...],
        values: Sequence[Any],
    ) -> bool:
        """Whether a call has the same signature for certain.

        Compares what `describe_plain` describes of tensors in memory that are no leaves.
        """
        if (
            around is not self._around
            or settings is not self._settings
            or len(values) != len(self._kinds)
            or [*names] != self._names
        ):
            return False
        for each, (shape, dtype, device) in zip(values, self._kinds, strict=True):
            if type(each) is not Tensor or each._history is not None:
                return False
            storage = each._storage
            node = storage.outside
            if node.op is not forms.BUFFER or node.dtype is not dtype or node.shape != shape:
                return False
            if storage.device != device or id(each) in around.numbers:
                return False
        return len({*map(id, values)}) == len(values)


def hidden_state() -> object:
    """Describe state that a function may change unseen: the random numbers of Python and NumPy."""
    numpy_random = sys.modules.get("numpy.random")
    numpy_state = pickle.dumps(numpy_random.get_state()) if numpy_random else None
    return random.getstate(), numpy_state
