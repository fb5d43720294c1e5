"""`jit`: a function of tensors, captured once per signature and run by one native call.

The first call with a signature traces the function without running anything and compiles what it
saw; later calls run that. The signature: shapes, dtypes, devices and aliasing of tensor arguments;
Python arguments; closure cells, globals that the code names, and attributes of `self`, by value. A
changed signature traces again, and `explain()` says why.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from inkle.engine.capture import Captured, Recorder
from inkle.engine.trace import current_trace
from inkle.errors import TraceError
from inkle.tensor.guards import Describer, environment
from inkle.tensor.random import next_key
from inkle.tensor.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")


class _Entry:
    """One signature with its capture and the structure of what the function returned."""

    __slots__ = ("arguments", "captured", "outer", "result")

    def __init__(self, arguments: object, outer: object, captured: Captured, result: Any) -> None:
        self.arguments, self.outer, self.captured, self.result = arguments, outer, captured, result


class Jit(Generic[P, R]):
    """A captured function; made by `jit`."""

    def __init__(self, function: Callable[P, R]) -> None:
        self._function = function
        self._entries: list[_Entry] = []
        self._reasons: list[str] = []
        functools.update_wrapper(self, function)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind to an instance: each has captures of its own."""
        if instance is None:
            return self
        bound: Jit[Any, R] = Jit(self._function.__get__(instance, owner))
        try:
            instance.__dict__[self._function.__name__] = bound  # found first from now on
        except AttributeError:
            raise TraceError(
                f"jit of a method needs instances with a __dict__; {type(instance).__name__} has none"
            ) from None
        return bound

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the capture for this signature; capture first if there is none."""
        if current_trace() is not None:
            return self._function(*args, **kwargs)  # part of the capture around it
        describer = Describer(by_identity=False)
        arguments = describer.describe((args, kwargs))
        outer, _ = environment(self._function)
        entry = next(
            (e for e in self._entries if e.arguments == arguments and e.outer == outer), None
        )
        if entry is None:
            entry = self._capture(arguments, outer, describer, args, kwargs)
        leaves = iter(entry.captured.run(describer.storages, next_key))
        result: R = _rebuild(entry.result, lambda device: Tensor._of(next(leaves), device))
        return result

    def _capture(
        self, arguments: object, outer: object, describer: Describer, args: Any, kwargs: Any
    ) -> _Entry:
        self._note(arguments, outer)
        recorder = Recorder(describer.storages)
        try:
            with recorder:
                returned = self._function(*args, **kwargs)
                outputs: list[Tensor] = []
                result = _structure(returned, outputs)
                nodes = [each._storage.peek() for each in outputs]
        finally:
            assigned = recorder.restore()
        entry = _Entry(arguments, outer, Captured(recorder, nodes, assigned), result)
        self._entries.append(entry)
        return entry

    def _note(self, arguments: object, outer: object) -> None:
        if not self._entries:
            self._reasons.append("first call")
            return
        last = self._entries[-1]
        parts = []
        if last.arguments != arguments:
            parts.append("arguments: " + _difference(last.arguments, arguments))
        if last.outer != outer:
            parts.append("closure, globals or self: " + _difference(last.outer, outer))
        self._reasons.append("; ".join(parts))

    def explain(self) -> str:
        """Return why the function was traced, trace by trace."""
        return "\n".join(f"trace {i}: {reason}" for i, reason in enumerate(self._reasons))


def jit(function: Callable[P, R]) -> Jit[P, R]:
    """Capture a function of tensors and run it by one native call.

    Args:
        function: takes and returns tensors, Python values, and tuples, lists, dicts of them.

    Returns:
        A callable with the same arguments. Outputs are fresh; assignments to tensors that existed
        before the call, arguments included, happen at every call.

    Raises:
        TraceError: when called, if the function needs the value of a tensor that depends on its
            arguments, or depends on something that cannot be compared.

    Example:
        >>> @jit
        ... def double(x):
        ...     return x * 2
        >>> double(Tensor([1.0, 2.0])).tolist()
        [2.0, 4.0]
    """
    return Jit(function)


class _Slot:
    """Where a tensor goes in the result of a capture."""

    __slots__ = ("device",)

    def __init__(self, device: str) -> None:
        self.device = device


def _structure(value: Any, outputs: list[Tensor]) -> Any:
    """Return `value` with slots in place of tensors, which are appended to `outputs`."""
    if isinstance(value, Tensor):
        outputs.append(value)
        return _Slot(value.device)
    if isinstance(value, (list, tuple)):
        parts = [_structure(each, outputs) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {key: _structure(each, outputs) for key, each in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TraceError(
        f"a captured function returned a {type(value).__name__}; it can return tensors, numbers, "
        f"strings, None, and tuples, lists and dicts of them"
    )


def _rebuild(value: Any, make: Callable[[str], Tensor]) -> Any:
    if isinstance(value, _Slot):
        return make(value.device)
    if isinstance(value, (list, tuple)):
        parts = [_rebuild(each, make) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {key: _rebuild(each, make) for key, each in value.items()}
    return value


def _difference(old: object, new: object) -> str:
    """Say in a few words where two descriptions differ first."""
    if isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new):
        for a, b in zip(old, new, strict=True):
            if a != b:
                return _difference(a, b)
    return f"{_short(old)} became {_short(new)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
