"""Settings: one table, read from environment variables, changed for a while by `Context`.

No setting changes what a program means; they choose how much is checked, printed, or used.
`inkle env` prints this table.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from inkle.errors import InkleError


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table of settings.

    Attributes:
        name: environment variable.
        default: value when the variable is not set.
        parse: text of the variable to value; raises ValueError on nonsense.
        text: what it does, for people.
    """

    name: str
    default: Any
    parse: Callable[[str], Any]
    text: str


def _positive(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("must not be negative")
    return value


_UNITS = {unit + end: base**power
          for power, unit in enumerate(("", "k", "m", "g", "t"))
          for end, base in (("b", 1000), ("ib", 1024)) if unit or end == "b"}  # fmt: skip


def size_bytes(text: str) -> int:
    """Return the number of bytes that a text stands for: "4096", "2GB", "1.5 GiB".

    Raises:
        ValueError: if it stands for none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    unit = match and _UNITS.get(match[2] or "b")
    if match is None or unit is None:
        raise ValueError("must be a number of bytes, such as 500000000, 2GB or 1.5GiB")
    return int(float(match[1]) * unit)


def readable(size_bytes: int) -> str:
    """Write a size for people.

    Example:
        >>> readable(1536)
        '1.5 KiB'
    """
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _flag(text: str) -> bool:
    if text not in ("0", "1", ""):
        raise ValueError("must be 0 or 1")
    return text == "1"


SETTINGS = {
    row.name: row
    for row in (
        Setting("INKLE_CHECK", False, _flag, "verify each pass, prove bounds, check index tensors"),
        Setting("INKLE_THREADS", 0, _positive, "worker threads; 0: one per usable core"),
        Setting("INKLE_CACHE", "", str, "folder of kernels and data; empty: ~/.cache/inkle"),
        Setting("INKLE_CACHE_MB", 512, _positive, "most MiB of kernels and schedules; 0: no limit"),
        Setting("INKLE_DATA", "", str, "folder that holds data sets such as MNIST's idx files"),
        Setting("INKLE_TARGET", "", str, "CPU: avx512dot, avx512, avx2, sse; empty: this one"),
        Setting("INKLE_MEMORY_LIMIT", 0, size_bytes, "most memory of a run, as 2GB; 0: no limit"),
        Setting("INKLE_EXPLAIN", False, _flag, "print every kernel: line, loop nest, schedule"),
        Setting("INKLE_PROFILE", False, _flag, "time every kernel and print a table at exit"),
        Setting("INKLE_DUMP", "", str, "folder into which every kernel's forms are written"),
    )
}


class _Local(threading.local):
    """What holds in this thread: the settings of the `Context`s around it, innermost last."""

    stack: tuple[dict[str, Any], ...] = ()


_local = _Local()
_read: dict[str, Any] = {}  # values found so far in the environment, and defaults
_together: dict[tuple[str, ...], tuple[Any, ...]] = {}  # the same, for `get_all`


def get(name: str) -> Any:
    """Return the value of setting `name`: innermost `Context`, else environment, else default.

    An environment variable is read once, when its setting is first asked for: settings are looked
    at in every call of a captured function, and looking into `os.environ` takes a microsecond.

    Raises:
        InkleError: if the environment variable holds a value that the setting does not accept.
    """
    for values in reversed(_local.stack):
        if name in values:
            return values[name]
    if name not in _read:
        _read[name] = _from_environment(SETTINGS[name])
    return _read[name]


def get_all(names: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the values of several settings, outside of any `Context` by one look."""
    if _local.stack:
        return tuple([get(name) for name in names])
    found = _together.get(names)
    if found is None:
        found = _together[names] = tuple([get(name) for name in names])
    return found


def read_again() -> None:
    """Forget what environment variables said; for programs that change `os.environ`."""
    _read.clear()
    _together.clear()


def _from_environment(row: Setting) -> Any:
    text = os.environ.get(row.name)
    if text is None:
        return row.default
    try:
        return row.parse(text)
    except ValueError as error:
        raise InkleError(f"environment variable {row.name}={text!r}: {error}; {row.text}") from None


def _checked(row: Setting, value: Any) -> Any:
    """Return a value that a program gives to a setting, as an environment variable would."""
    kinds: Any = (str, os.PathLike) if isinstance(row.default, str) else (int,)
    if row.parse is size_bytes:
        kinds = (int, str)
    try:
        if not isinstance(value, kinds):
            raise ValueError(f"must be {' or '.join(kind.__name__ for kind in kinds)}")
        return row.parse(str(int(value)) if isinstance(value, int) else os.fspath(value))
    except ValueError as error:
        raise InkleError(f"{row.name}={value!r:.60}: {error}; {row.text}") from None


class Context:
    """Change settings inside a `with` block, for this thread only.

    Example:
        >>> with Context(INKLE_THREADS=1):
        ...     get("INKLE_THREADS")
        1
    """

    def __init__(self, **values: Any) -> None:
        unknown = sorted(set(values) - set(SETTINGS))
        if unknown:
            raise InkleError(f"no setting {', '.join(unknown)}; there are {', '.join(SETTINGS)}")
        self._values = {name: _checked(SETTINGS[name], value) for name, value in values.items()}

    def __enter__(self) -> None:
        _local.stack = (*_local.stack, self._values)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _local.stack = _local.stack[:-1]
