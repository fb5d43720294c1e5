"""What a captured function depends on besides its tensors, described so that it can be compared.

A description is a nested tuple. Numbers, strings and containers are compared by type and value;
tensors by shape, dtype, device and which of them are the same; other objects by their attributes,
walked as a tree; functions, classes and modules by identity. Nothing is compared by hash or address.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np

from inkle.engine.storage import Storage
from inkle.errors import TraceError
from inkle.ir.dtype import DType
from inkle.tensor.base import Core

MAX_OBJECTS = 20_000  # objects walked before a guard is refused: it would cost more than it saves
_PLAIN = (bool, int, str, bytes, complex, type(None), type(Ellipsis))
_SAME = (types.ModuleType, types.BuiltinFunctionType, type, types.CodeType, DType)


class Same:
    """Equal only to a description of the same object, which it keeps alive."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]  # descriptions are compared, never hashed


class Describer:
    """Walks values and describes them; collects the storages of tensors on the way.

    Args:
        by_identity: whether tensors are told apart by storage (what a function closes over) or only
            by their order (arguments).
    """

    def __init__(self, *, by_identity: bool) -> None:
        self.storages: list[Storage] = []
        self._by_identity = by_identity
        self._numbers: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._kept: list[object] = []

    def describe(self, value: Any) -> object:
        """Return a description of `value`.

        Raises:
            TraceError: for a NumPy array (its values may change unseen) or a huge object.
        """
        kind = type(value)
        if kind is float:
            return kind, value.hex()  # NaN equals itself here, and 0.0 is not -0.0
        if isinstance(value, _PLAIN):
            return kind, value
        if isinstance(value, Core):
            return self._tensor(value)
        if isinstance(value, np.ndarray):
            raise TraceError(
                f"a captured function depends on a NumPy array of shape {value.shape}, whose values "
                f"may change unseen; make it a tensor first: Tensor(array)"
            )
        if isinstance(value, _SAME):
            return Same(value)
        return self._compound(value)

    def _tensor(self, value: Core) -> object:
        current = value._storage.peek()
        number = self._numbers.setdefault(id(value._storage), len(self.storages))
        if number == len(self.storages):
            self.storages.append(value._storage)
        which: object = Same(value._storage) if self._by_identity else number
        wanted = getattr(value, "requires_grad", False)
        return "tensor", which, current.shape, Same(current.dtype), value._storage.device, wanted

    def _compound(self, value: Any) -> object:
        number = self._seen.get(id(value))
        if number is not None:
            return "again", number
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)  # an id means something only while its object lives
        if len(self._seen) > MAX_OBJECTS:
            raise TraceError(f"a captured function depends on more than {MAX_OBJECTS} objects")
        if isinstance(value, (list, tuple)):
            return (type(value), *[self.describe(each) for each in value])
        if isinstance(value, dict):
            return (dict, *[(self.describe(k), self.describe(v)) for k, v in value.items()])
        if isinstance(value, (set, frozenset)):
            return type(value), frozenset(value)
        if isinstance(value, types.FunctionType):
            return Same(value.__code__), self.closure(value)
        if isinstance(value, types.MethodType):
            return self.describe(value.__func__), self.describe(value.__self__)
        attributes = _attributes(value)
        if attributes is None:
            return Same(value)
        return (type(value), *[(name, self.describe(each)) for name, each in attributes])

    def closure(self, function: types.FunctionType) -> object:
        """Describe closure cells, defaults, and the globals that the code of `function` names."""
        cells = []
        for cell in function.__closure__ or ():
            try:
                cells.append(self.describe(cell.cell_contents))
            except ValueError:  # an empty cell: a name that is not assigned yet
                cells.append("empty")
        defaults = [self.describe(each) for each in function.__defaults__ or ()]
        outside = [
            (name, self.describe(function.__globals__[name]))
            for name in _names(function.__code__)
            if name in function.__globals__
        ]
        return tuple(cells), tuple(defaults), tuple(outside)


def _names(code: types.CodeType) -> list[str]:
    """Return the names that `code` and the functions inside it may read from globals."""
    found = list(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found.extend(_names(const))
    return list(dict.fromkeys(found))


def _attributes(value: Any) -> list[tuple[str, Any]] | None:
    """Return the attributes of a plain object, or None for one that shows none."""
    if type(value).__module__.partition(".")[0] in (
        "numpy",
        "inkle.engine",
        "builtins",
        "threading",
    ):
        return None
    found = list(getattr(value, "__dict__", {}).items())
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        names = (slots,) if isinstance(slots, str) else slots
        found.extend((name, getattr(value, name)) for name in names if hasattr(value, name))
    return found or None


def environment(function: Callable[..., Any]) -> tuple[object, list[Storage]]:
    """Describe what `function` sees besides its arguments; return the storages in it, too."""
    describer = Describer(by_identity=True)
    inner = function
    described: object = None
    if isinstance(inner, types.MethodType):
        described, inner = describer.describe(inner.__self__), inner.__func__
    if isinstance(inner, types.FunctionType):
        return (described, describer.closure(inner)), describer.storages
    return (described, describer.describe(inner)), describer.storages
