"""What compound things hold: for each kind a reader of its contents, quick enough for every call.

A reader returns all objects on which the description of a thing depends (see `guards`), its class
included where it is not the plain one. It may return more; what was not described is not compared.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

MISSING = object()  # stands for a name without a value
Reader = Callable[[Any], Sequence[Any]]


def read_elements(value: Iterable[Any]) -> Sequence[Any]:
    """Return the elements of a sequence or set."""
    if type(value) in (list, tuple):
        return value  # type: ignore[return-value]  # the two are sequences
    return [type(value), *value, *_read_own(value)]


def read_mapping(value: Mapping[Any, Any]) -> Sequence[Any]:
    """Return keys and values."""
    if type(value) is dict:
        return [*value, *value.values()]
    return [type(value), *value, *value.values(), *_read_own(value)]


def read_slice(value: slice) -> Sequence[Any]:
    """Return the three numbers."""
    return (value.start, value.stop, value.step)


def read_method(method: types.MethodType) -> Sequence[Any]:
    """Return what is bound to what."""
    return (method.__self__, method.__func__)


def read_partial(partial: functools.partial[Any]) -> Sequence[Any]:
    """Return the function and the arguments that it has already."""
    return (partial.func, partial.args, partial.keywords)


def object_reader(value: Any) -> Reader:
    """Return a reader of the class and the attributes of what is like `value`."""
    slots = slot_names(type(value))
    if not slots and hasattr(value, "__dict__"):
        return read_attributes
    return lambda value: [
        type(value), *_read_own(value), *[getattr(value, each, MISSING) for each in slots]
    ]  # fmt: skip


def read_attributes(value: Any) -> Sequence[Any]:
    """Return the class and the attributes of an object without slots."""
    own = value.__dict__
    return [type(value), *own, *own.values()]


def class_reader(cls: type) -> Reader:
    """Return a reader of bases, attributes, and what is inside properties, static methods, ..."""
    wrapped = [name for name, value in vars(cls).items() if unwrap(value) is not value]
    return functools.partial(read_class, wrapped) if wrapped else read_plain_class


def read_class(wrapped: Sequence[str], cls: type) -> Sequence[Any]:
    """Return bases, names and values of attributes, and what is inside those that are wrapped."""
    own = vars(cls)
    return [*cls.__bases__, *own, *own.values(), *[unwrap(own.get(each)) for each in wrapped]]


def read_plain_class(cls: type) -> Sequence[Any]:
    """Return bases, names and values of attributes."""
    return read_class((), cls)


def function_reader(names: Sequence[str] = (), modules: Sequence[str] = ()) -> Reader:
    """Return a reader of functions that name these globals, and import these modules."""
    return functools.partial(read_function, names, modules)


def read_function(
    names: Sequence[str], modules: Sequence[str], function: types.FunctionType
) -> Sequence[Any]:
    """Return code, globals, modules, closed-over values, defaults and attributes."""
    outside = function.__globals__
    found = [function.__code__, *[outside.get(each, MISSING) for each in names]]
    if modules:
        found += [sys.modules.get(each, MISSING) for each in modules]
    if function.__closure__:
        found += map(cell_content, function.__closure__)
    if function.__defaults__:
        found += function.__defaults__
    for more in (function.__kwdefaults__, function.__dict__):
        if more:
            found += (*more, *more.values())
    return found


def module_reader(known: frozenset[str]) -> Reader:
    """Return a reader of modules of which only the `known` names count."""

    def read(module: types.ModuleType) -> Sequence[Any]:
        outside = vars(module)
        names = sorted(known & outside.keys())
        return [*names, *[outside[each] for each in names]]

    return read


def cell_content(cell: types.CellType) -> Any:
    """Return the value of a closed-over name."""
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def unwrap(value: Any) -> Any:
    """Return the function inside a property, cached property, static or class method."""
    value = getattr(value, "fget", None) or getattr(value, "func", value)
    return getattr(value, "__func__", value)


def slot_names(kind: type) -> tuple[str, ...]:
    """Return the attributes that instances hold in slots."""
    found: list[str] = []
    for cls in kind.__mro__:
        slots = cls.__dict__.get("__slots__", ())
        found += (slots,) if isinstance(slots, str) else slots
    return tuple(found)


def _read_own(value: Any) -> Sequence[Any]:
    own = getattr(value, "__dict__", {})
    return [*own, *own.values()]


def attributes_of(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of an object, with their names."""
    yield from getattr(value, "__dict__", {}).items()
    for name in slot_names(type(value)):
        if hasattr(value, name):
            yield name, getattr(value, name)


def is_python(kind: type) -> bool:
    """Whether instances hold nothing but attributes: no class adds a field that only C sees."""
    return all(
        "__dict__" in vars(cls)
        or "__slots__" in vars(cls)
        or (cls.__base__ is not None and cls.__basicsize__ == cls.__base__.__basicsize__)
        for cls in kind.__mro__[:-1]
    )
