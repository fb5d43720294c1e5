"""What code names: globals, attributes, modules that it imports, questions to the world outside.

Read from the bytecode, once per code object. Functions made inside are part of the code.
"""

from __future__ import annotations

import builtins
import contextlib
import dis
import functools
import importlib.util
import os
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Names:
    """What code, and the functions inside it, name.

    Attributes:
        outside: globals and built-in names that are read.
        modules: what `import` statements inside load, by full name.
        used: all names, and strings that could be some.
    """

    outside: tuple[str, ...]
    modules: tuple[str, ...]
    used: frozenset[str]


@functools.lru_cache(maxsize=4096)
def names_of(code: types.CodeType, package: str = "") -> Names:
    """Return what code names.

    Args:
        code: of a function.
        package: in which it stands, for relative imports.
    """
    outside: dict[str, None] = {}
    modules: dict[str, None] = {}
    level = previous = 0
    for each in dis.get_instructions(code):
        if each.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            outside[each.argval] = None
        elif each.opname == "IMPORT_NAME":  # after the two constants LEVEL and names
            name = "." * level + each.argval
            with contextlib.suppress(ImportError):  # the import would fail, too
                modules[importlib.util.resolve_name(name, package)] = None
        if each.opname == "LOAD_CONST":
            level, previous = previous, each.argval
    used = {*code.co_names}
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            inner = names_of(const, package)
            outside.update(dict.fromkeys(inner.outside))
            modules.update(dict.fromkeys(inner.modules))
            used |= inner.used
        elif isinstance(const, str) and const.isidentifier():
            used.add(const)  # hasattr(self, "name")
    return Names(tuple(outside), tuple(modules), frozenset(used))


def names_of_function(function: types.FunctionType) -> Names:
    """Return what the code of a function names."""
    package = function.__globals__.get("__package__")
    if not isinstance(package, str):
        package = str(function.__globals__.get("__name__", "")).rpartition(".")[0]
    return names_of(function.__code__, package)


# What answers something else each time, as nothing that a function refers to tells.
_CLOCKS = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
_SYSTEM = ("environ", "getenv", "urandom", "getcwd", "listdir", "scandir", "exists", "isfile",
           "isdir", "getmtime", "getsize")  # fmt: skip
_QUESTIONS: dict[str, frozenset[str]] = {
    "builtins": frozenset(("open", "input")),
    "io": frozenset(("open",)),
    "time": frozenset((*_CLOCKS, *(f"{each}_ns" for each in _CLOCKS), "gmtime", "localtime",
                       "ctime", "asctime", "strftime")),
    "datetime": frozenset(("now", "today", "utcnow")),
    "os": frozenset(_SYSTEM),
    "posix": frozenset(_SYSTEM),
    "nt": frozenset(_SYSTEM),
    "genericpath": frozenset(_SYSTEM),
    "secrets": frozenset(("choice", "randbelow", "randbits", "token_bytes", "token_hex")),
    "uuid": frozenset(("uuid1", "uuid4")),
    "pathlib": frozenset(("read_text", "read_bytes", "open", "exists", "is_file", "is_dir", "cwd")),
}  # fmt: skip


def questions(names: Names, outside: Mapping[str, Any], modules: Iterable[Any]) -> set[str]:
    """Return what the code asks the world outside: the time, files, the environment, ...

    Args:
        names: of the code.
        outside: its globals.
        modules: those that it imports itself.
    """
    found = set()
    for value in (*(outside.get(each, getattr(builtins, each, None)) for each in names.outside),
                  *modules):  # fmt: skip
        if value is os.environ:
            found.add("os.environ")
        elif isinstance(value, types.ModuleType):
            asked = _QUESTIONS.get(value.__name__, frozenset()) & names.used
            found |= {f"{value.__name__}.{each}" for each in asked}
        elif isinstance(value, (types.FunctionType, types.BuiltinFunctionType, type)):
            known = _QUESTIONS.get(value.__module__ or "", frozenset())
            asked = known & names.used if isinstance(value, type) else known & {value.__name__}
            found |= {f"{value.__module__}.{each}" for each in asked}
    return found
