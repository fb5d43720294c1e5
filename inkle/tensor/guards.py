"""What a captured function depends on besides the values of tensors, described for comparison.

A description is a nested tuple. Numbers, strings and containers are compared by type and value;
tensors by shape, dtype, device, gradients, and which of them are the same; functions by code,
closure and the globals that they name; other objects by their attributes, walked as a tree. What
shows nothing of itself is compared by identity, never by hash or address. Where all classes of an
object are the user's own, only attributes that the user's code names count; a library's code is
not read, its objects count in full.
"""

from __future__ import annotations

import array
import collections
import contextvars
import ctypes
import enum
import functools
import io
import os
import pickle
import random
import sys
import sysconfig
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from inkle.errors import GradientError, TraceError
from inkle.ir import forms
from inkle.ir.dtype import DType
from inkle.ir.node import Node, Shape
from inkle.tensor.base import Core
from inkle.tensor.code import names_of_function, questions
from inkle.tensor.contents import (
    MISSING,
    Reader,
    attributes_of,
    cell_content,
    class_reader,
    function_reader,
    is_python,
    module_reader,
    object_reader,
    read_elements,
    read_mapping,
    read_method,
    read_partial,
    read_slice,
    unwrap,
)
from inkle.tensor.leaves import functional, leaves_below
from inkle.tensor.variable import Bound, Variable
from inkle.tensor.watch import Visit, Watch

MAX_OBJECTS = 20_000  # objects walked before a guard is refused: it would cost more than it saves

# Compared by `==`: they never change.
_VALUES = frozenset(("datetime", "decimal", "fractions", "pathlib", "re", "uuid", "zoneinfo"))
# What objects of these modules hold changes no result: locks, files, loggers.
_IDENTITIES = frozenset(
    ("_ctypes", "_thread", "concurrent", "ctypes", "logging", "multiprocessing", "queue", "socket",
     "subprocess", "threading", "weakref")
)  # fmt: skip
# Where user code names one of these, it may read any attribute.
_REFLECTION = frozenset(
    ("__class__", "__dict__", "asdict", "astuple", "attrgetter", "copy", "deepcopy", "dir", "eval",
     "exec", "fields", "get_parameters", "get_state_dict", "getattr", "globals", "locals",
     "methodcaller", "setattr", "type", "vars")
)  # fmt: skip
_CONSTRUCTION = frozenset(("__init__", "__new__", "__post_init__"))
_LIBRARIES: tuple[str, ...] = tuple(
    {os.path.join(sysconfig.get_path(each), "") for each in ("stdlib", "purelib", "platlib")}
)

Named = tuple[str, object]
NOTHING: Mapping[int, int] = types.MappingProxyType({})


class Same:
    """Equal only to a description of the same object, which it does not keep alive if it can."""

    __slots__ = ("_reference",)

    def __init__(self, value: object) -> None:
        try:
            self._reference: Callable[[], object] = weakref.ref(value)
        except TypeError:
            self._reference = lambda: value

    def __eq__(self, other: object) -> bool:
        value = self._reference()
        return isinstance(other, Same) and value is not None and other._reference() is value

    def __hash__(self) -> int:
        return id(self._reference())  # serves sets of descriptions; equality decides

    def __repr__(self) -> str:
        value = self._reference()
        return str(getattr(value, "__qualname__", f"{value!r:.60}"))


class GuardError(TraceError):
    """Something that cannot be compared; the path to it grows while the error travels."""

    def __init__(self, what: str, *path: str) -> None:
        super().__init__(what)
        self.path = [*path]

    def __str__(self) -> str:
        return f"a captured function depends on {'.'.join(reversed(self.path))}, {self.args[0]}"


class Describer:
    """Walks values and describes them; collects tensors on the way.

    Attributes:
        tensors: every tensor found, in order.
        bound: the bound variables found.
        numbers: of compound things and tensors, by identity, in the order of the walk.
        questions: what user code asks the world outside, such as the time; nothing describes that.

    Args:
        names: all names that user code is known to use. Those of functions that the walk finds are
            added; if there are new ones, the description may lack something: describe again.
        home: top-level package of the captured function: no library, wherever it is installed.
        outer: numbers of what another walk has described already, by identity.
        shapes: of tensors that have symbolic sizes, by identity.
    """

    def __init__(
        self,
        names: set[str],
        home: str = "",
        outer: Mapping[int, int] = NOTHING,
        shapes: Mapping[int, Shape] = MappingProxyType({}),
    ) -> None:
        self.tensors: list[Core] = []
        self.bound: list[Bound] = []
        self._shapes = shapes
        self.questions: set[str] = set()
        self._visits: dict[int, Visit] = {}
        self._asked: list[object] = []
        self._is_watchable = True
        self._home = home
        self._names = names
        self._known = frozenset(names)
        self._all = not names.isdisjoint(_REFLECTION)
        self._outer = outer
        self.numbers: dict[int, int] = {}

    def describe(self, value: Any) -> object:
        """Return a description of `value`.

        Raises:
            TraceError: for a NumPy array (its values may change unseen), an iterator (so may its
                position), or a huge object.
        """
        handler = _HANDLER_OF.get(type(value)) or _find_handler(type(value))
        self._asked.append(value)
        if handler not in _COMPOUND:
            self._is_watchable = self._is_watchable and handler not in _UNSEEN
            return handler(self, value)
        number = self.numbers.get(id(value))
        if number is not None:
            return "again", number
        number = self._outer.get(id(value))
        if number is not None:
            if isinstance(value, Core):
                self.tensors.append(value)
            return "closed over", number
        self.numbers[id(value)] = len(self.numbers)
        if len(self.numbers) > MAX_OBJECTS:
            raise GuardError(f"which leads to more than {MAX_OBJECTS} objects; let it use fewer")
        before, self._asked = self._asked, []
        # An id means something only while its object lives: the visit keeps it.
        self._visits[id(value)] = Visit(value, self._reader(value), self._asked)
        try:
            return handler(self, value)
        finally:
            self._asked = before

    def watch(self, root: Any) -> Watch | None:
        """Return what says whether the description of `root` would be another one now.

        Returns:
            None if it depends on something that changes inside, as a bytearray does.
        """
        visit = self._visits.get(id(root))
        if not self._is_watchable or visit is None or visit.read is None:
            return None
        try:
            return Watch(root, self._visits)
        except LookupError:
            return None

    def _reader(self, value: Any) -> Reader | None:
        """Return what reads the contents of a compound thing; None if it is what it is."""
        if isinstance(value, types.FunctionType):
            library = self._is_library(value.__globals__.get("__name__"))
            names = None if library else names_of_function(value)
            return function_reader(names.outside, names.modules) if names else function_reader()
        if isinstance(value, types.ModuleType):
            return None if self._is_library(value.__name__) else module_reader(self._known)
        if isinstance(value, type):
            return None if self._is_library(value.__module__) else class_reader(value)
        if isinstance(value, Core) and not hasattr(value, "__dict__"):
            # The environment looks at all tensors; what a user's class adds is not watched.
            self._is_watchable = self._is_watchable and self._is_library(type(value).__module__)
            return None
        return _READERS.get(_HANDLER_OF[type(value)]) or object_reader(value)

    def named(self, pairs: Iterable[tuple[str, Any]]) -> tuple[Named, ...]:
        """Describe values with their names, which appear in messages."""
        return tuple([(name, self._part(name, value)) for name, value in pairs])

    def _part(self, name: str, value: Any) -> object:
        try:
            return self.describe(value)
        except RecursionError:
            raise GuardError("which is nested too deeply to be compared", name) from None
        except GuardError as error:
            error.path.append(name)
            raise

    def _tensor(self, value: Core) -> object:
        self.tensors.append(value)
        own = self.named(getattr(value, "__dict__", {}).items())
        if not self._is_library(type(value).__module__):
            own = (("class", self.describe(type(value))), *own)
        return *describe_tensor(value, self._shapes), own

    # --- containers -------------------------------------------------------------------------------

    def _sequence(self, value: Iterable[Any]) -> object:
        return (*self._own(value), *[self.describe(each) for each in value])

    def _mapping(self, value: Any) -> object:
        pairs = [(self.describe(k), self._part(f"[{k!r}]", v)) for k, v in value.items()]
        return (*self._own(value), *pairs)

    def _set(self, value: Iterable[Any]) -> object:
        return *self._own(value), frozenset([self.describe(each) for each in value])

    def _own(self, value: Any) -> tuple[object, ...]:
        """Describe what a container is and holds besides its elements."""
        kind = type(value)
        if kind in (tuple, list, dict, set):
            return (kind,)
        return self.describe(kind), *self.named(getattr(value, "__dict__", {}).items())

    def _slice(self, value: slice) -> object:
        return slice, self._sequence((value.start, value.stop, value.step))

    # --- code -------------------------------------------------------------------------------------

    def _function(self, function: types.FunctionType) -> object:
        code = function.__code__
        cells = map(cell_content, function.__closure__ or ())
        parts: list[object] = [self.named(zip(code.co_freevars, cells, strict=True))]
        parts.append(self._sequence(function.__defaults__ or ()))
        parts.append(self.named((function.__kwdefaults__ or {}).items()))
        if not self._is_library(function.__globals__.get("__name__")):
            names = names_of_function(function)
            self._names |= names.used
            outside = function.__globals__
            pairs = [(each, outside[each]) for each in names.outside if each in outside]
            pairs += [(each, sys.modules[each]) for each in names.modules if each in sys.modules]
            self.questions |= questions(names, outside, [value for _, value in pairs])
            parts.append(self.named(pairs))
            parts.append(self.named(vars(function).items()))
        return Same(code), *parts

    def _method(self, method: types.MethodType) -> object:
        return self.describe(method.__self__), self.describe(method.__func__)

    def _partial(self, partial: functools.partial[Any]) -> object:
        return functools.partial, self._sequence((partial.func, partial.args, partial.keywords))

    def _module(self, module: types.ModuleType) -> object:
        if self._is_library(module.__name__):
            return Same(module)
        outside = vars(module)
        names = sorted(self._known & outside.keys())
        return Same(module), *self.named((each, outside[each]) for each in names)

    def _class(self, cls: type) -> object:
        if self._is_library(cls.__module__):
            return Same(cls)
        parts: list[tuple[str, Any]] = []
        for name, value in vars(cls).items():
            value = unwrap(value)
            if not (name.startswith("__") and name.endswith("__")):
                wanted = self._uses(name)
            elif name in _CONSTRUCTION:  # runs if somebody names the class, or calls super()
                wanted = self._uses(name) or self._uses(cls.__name__)
            else:
                wanted = isinstance(value, types.FunctionType)
            if wanted:
                parts.append((name, value))
        return Same(cls), self._sequence(cls.__bases__), *self.named(parts)

    def _is_library(self, module: str | None) -> bool:
        """Whether code of a module is not read: it is installed, and not the function's own."""
        if module is None or module not in sys.modules:
            return False
        package = module.partition(".")[0]
        return package == "inkle" or (package != self._home and _is_installed(module))

    def _uses(self, name: str) -> bool:
        return self._all or name in self._known

    # --- objects ----------------------------------------------------------------------------------

    def _object(self, value: Any) -> object:
        kind = type(value)
        wrapped = getattr(value, "__wrapped__", None)
        if callable(wrapped):  # a captured function, or one with an lru_cache
            return Same(kind), self.describe(wrapped)
        attributes = list(attributes_of(value))
        if not attributes and not is_python(kind):
            if hasattr(kind, "__next__"):
                raise GuardError(
                    f"a {kind.__name__}: an iterator, whose position would be frozen; take its "
                    f"items outside and pass them as arguments"
                )
            return Same(value)
        if not any(self._is_library(cls.__module__) for cls in kind.__mro__[:-1]):
            attributes = [(name, each) for name, each in attributes if self._uses(name)]
        return self.describe(kind), *self.named(attributes)

    def _refuse_array(self, value: np.ndarray[Any, Any]) -> object:
        raise GuardError(
            f"a NumPy array of shape {value.shape}, whose values may change unseen; make it a "
            f"tensor first: Tensor(array)"
        )


def describe_tensor(value: Core, shapes: Mapping[int, Shape]) -> tuple[object, ...]:
    """Describe a tensor without attributes of its own: all but its value, and symbolic sizes."""
    storage = value._storage
    shape = shapes.get(id(value), storage.outside.shape) if shapes else storage.outside.shape
    return "tensor", shape, storage.outside.dtype.name, storage.device, flow(value)


def flow(value: Core) -> str:
    """Say how gradients reach a tensor: it is a "leaf", "derived" from one, or "" neither."""
    history = value._history
    if history is not None and history.owner:
        return "leaf"
    node = value._storage.outside if history is None else value.node
    if node.op is forms.BUFFER:
        return ""
    if functional and leaves_below(node, functional):
        raise GradientError(
            "grad: no gradient flows through a captured function; capture the gradient function "
            "instead: jit(grad(f))"
        )
    return "derived" if leaves_below(node) else ""


@functools.lru_cache(maxsize=4096)
def _is_installed(module: str) -> bool:
    """Whether a module belongs to Python or to an installed package."""
    file: str | None = getattr(sys.modules[module], "__file__", None)
    if file is None:  # built in, or made by a program, or typed at a prompt
        origin = getattr(getattr(sys.modules[module], "__spec__", None), "origin", None)
        return origin in ("built-in", "frozen")
    return os.path.abspath(file).startswith(_LIBRARIES)


Handler = Callable[[Describer, Any], object]


def _same(_: Describer, value: Any) -> object:
    return Same(value)


def _value(_: Describer, value: Any) -> object:
    return type(value), value


def _float(_: Describer, value: float) -> object:
    return type(value), float.hex(value)  # NaN equals itself here, and 0.0 is not -0.0


def _bound(describer: Describer, value: Bound) -> object:
    describer.bound.append(value)
    return "size", value.variable


def _bits(_: Describer, value: Any) -> object:
    return type(value), value.tobytes()


def _state(_: Describer, value: Any) -> object:
    return type(value), pickle.dumps(value)


def _memory(_: Describer, value: Any) -> object:
    return type(value), bytes(value)


def _context(describer: Describer, value: contextvars.ContextVar[Any]) -> object:
    return Same(value), describer.describe(value.get(MISSING))


def _weak(describer: Describer, value: weakref.ref[Any]) -> object:
    return type(value), describer.describe(value())


# Nothing tells a watch that these have changed: who uses them pays for describing at every call.
_UNSEEN: frozenset[Handler] = frozenset((_state, _memory, _context, _weak))


_READERS: dict[Handler, Reader] = {
    Describer._sequence: read_elements,
    Describer._mapping: read_mapping,
    Describer._set: read_elements,
    Describer._slice: read_slice,
    Describer._method: read_method,
    Describer._partial: read_partial,
}
# Compound things may contain themselves and be shared.
_COMPOUND: frozenset[Handler] = frozenset(
    (*_READERS, Describer._tensor, Describer._function, Describer._module, Describer._class,
     Describer._object)
)  # fmt: skip
# The first row that fits decides.
_HANDLERS: tuple[tuple[type | tuple[type, ...], Handler], ...] = (
    (Core, Describer._tensor),
    (Bound, _bound),
    (Variable, _value),
    ((enum.Enum, Node, DType, io.IOBase, types.CodeType, types.BuiltinFunctionType), _same),
    (float, _float),
    ((int, str, bytes, complex, type(None), type(...), type(NotImplemented), range), _value),
    (np.generic, _bits),
    (np.ndarray, Describer._refuse_array),
    ((array.array, bytearray, random.Random), _state),
    (slice, Describer._slice),
    ((list, tuple, collections.deque), Describer._sequence),
    ((dict, types.MappingProxyType), Describer._mapping),
    ((set, frozenset), Describer._set),
    (types.FunctionType, Describer._function),
    (types.MethodType, Describer._method),
    (functools.partial, Describer._partial),
    (type, Describer._class),
    (types.ModuleType, Describer._module),
)


# Looked at before the module of a class decides.
_FIRST: tuple[tuple[type | tuple[type, ...], Handler], ...] = (
    (threading.local, Describer._object),
    (contextvars.ContextVar, _context),
    (weakref.ref, _weak),
    ((memoryview, ctypes._SimpleCData, ctypes.Structure, ctypes.Array), _memory),
)


_HANDLER_OF: weakref.WeakKeyDictionary[type, Handler] = weakref.WeakKeyDictionary()


def _find_handler(kind: type) -> Handler:
    """Return what describes instances of `kind`."""
    _HANDLER_OF[kind] = handler = _choose_handler(kind)
    return handler


def _choose_handler(kind: type) -> Handler:
    for kinds, handler in _FIRST:
        if issubclass(kind, kinds):
            return handler
    root = kind.__module__.partition(".")[0]
    if root in _VALUES:
        return _value
    if root in _IDENTITIES:
        return _same
    if kind.__module__.startswith("numpy.random"):
        return _state
    for kinds, handler in _HANDLERS:
        if issubclass(kind, kinds):
            return handler
    return Describer._object
