"""Results of captured functions, taken apart into tensors and the rest; signatures compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from inkle.errors import TraceError
from inkle.ir.size import Size
from inkle.tensor.base import Core

NO_SIZES: Mapping[str, int] = MappingProxyType({})


class Slot:
    """Stands for tensor `number` in the result of a captured function."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return "·"


def structure(value: Any, tensors: list[Any]) -> Any:
    """Return `value` with slots in place of tensors, which are appended to `tensors`, each once.

    Raises:
        TraceError: if there is something in it that cannot be made anew at every call.
    """
    if isinstance(value, Core):
        for number, each in enumerate(tensors):
            if each is value:
                return Slot(number)
        tensors.append(value)
        return Slot(len(tensors) - 1)
    value = getattr(value, "now", value)  # of a bound variable
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, Size)):
        return value
    if not _is_container(value):
        raise TraceError(
            f"a captured function returned a {type(value).__name__}; it can return tensors, "
            f"numbers, strings, None, and tuples, lists and dicts of them"
        )
    return _map(value, lambda each: structure(each, tensors))


def rebuild(value: Any, tensors: Sequence[Any], sizes: Mapping[str, int] = NO_SIZES) -> Any:
    """Return what `structure` took apart, with other tensors, and sizes as numbers."""
    if isinstance(value, Slot):
        return tensors[value.number]
    if isinstance(value, Size):
        return value.at(sizes)
    if _is_container(value):
        return _map(value, lambda each: rebuild(each, tensors, sizes))
    return value


def _is_container(value: Any) -> bool:
    return type(value) in (tuple, list, dict) or (
        isinstance(value, tuple) and hasattr(value, "_fields")
    )


def _map(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: change(each) for key, each in value.items()}
    parts = [change(each) for each in value]
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


def difference(old: Any, new: Any) -> str:
    """Say in a few words where two descriptions differ first.

    Example:
        >>> difference((("lr", (int, 1)),), (("lr", (int, 2)),))
        'lr: 1 became 2'
    """
    path: list[str] = []
    while _goes_on(old) and _goes_on(new):
        added = _names(new) - _names(old)
        gone = _names(old) - _names(new)
        if added or gone:
            words = [f"{name} is new" for name in sorted(added)]
            words += [f"{name} is gone" for name in sorted(gone)]
            return ": ".join([".".join(path), ", ".join(words)]).removeprefix(": ")
        if len(old) != len(new):
            break
        old, new = next((a, b) for a, b in zip(old, new, strict=True) if a != b)
        name = _name(old)
        if name and name == _name(new):
            path.append(name)
            old, new = old[1], new[1]
    return ": ".join([".".join(path), f"{_show(old)} became {_show(new)}"]).removeprefix(": ")


def _goes_on(value: object) -> bool:
    """Whether a description has parts worth looking into: it is no number, string or shape."""
    if not isinstance(value, tuple) or all(isinstance(each, int) for each in value):
        return False
    return not (len(value) == 2 and isinstance(value[0], type) and not isinstance(value[1], tuple))


def _name(value: Any) -> str:
    """Return the name of a named part, "" for any other."""
    is_named = isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)
    return value[0] if is_named else ""


def _names(value: tuple[Any, ...]) -> set[str]:
    return {_name(each) for each in value} - {""}


def _show(value: object) -> str:
    if not _goes_on(value) and isinstance(value, tuple) and len(value) == 2:
        kind, value = value if isinstance(value[0], type) else (None, value)
        if kind is float:
            value = float.fromhex(str(value))
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def flatten(value: Any, leaf: Callable[[Any], Any]) -> tuple[Any, list[Any]]:
    """Return the tree of a value, with slots in place of its leaves, and `leaf` of each of them.

    Whatever is no tuple, list or dict is a leaf; None is part of the tree. Trees of one structure
    have one repr.

    Example:
        >>> flatten({"h": 1, "c": (2, None)}, float)
        ({'h': ·, 'c': (·, None)}, [1.0, 2.0])
    """
    leaves: list[Any] = []

    def take(each: Any) -> Any:
        if each is None:
            return None
        if _is_container(each):
            return _map(each, take)
        leaves.append(leaf(each))
        return Slot(len(leaves) - 1)

    return take(value), leaves
