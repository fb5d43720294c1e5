"""Settings: one table, read from environment variables, changed for a while by `Context`.

No setting changes what a program means; they choose how much is checked, printed, or used.
`inkle env` prints this table.
"""

from __future__ import annotations

import os
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


def _flag(text: str) -> bool:
    if text not in ("0", "1", ""):
        raise ValueError("must be 0 or 1")
    return text == "1"


SETTINGS = {
    row.name: row
    for row in (
        Setting("INKLE_CHECK", False, _flag, "verify the graph after every pass and prove bounds"),
        Setting("INKLE_THREADS", 0, _positive, "worker threads; 0: one per usable core"),
        Setting("INKLE_CACHE", "", str, "folder of kernels and data; empty: ~/.cache/inkle"),
        Setting("INKLE_CACHE_MB", 512, _positive, "most MiB of compiled kernels; 0: no limit"),
        Setting("INKLE_DATA", "", str, "folder that holds data sets such as MNIST's idx files"),
        Setting("INKLE_TARGET", "", str, "CPU target: avx512, avx2, sse; empty: this machine"),
        Setting("INKLE_EXPLAIN", False, _flag, "print every kernel: line, loop nest, schedule"),
        Setting("INKLE_PROFILE", False, _flag, "time every kernel and print a table at exit"),
        Setting("INKLE_DUMP", "", str, "folder into which every kernel's forms are written"),
    )
}
_local = threading.local()


def get(name: str) -> Any:
    """Return the value of setting `name`: innermost `Context`, else environment, else default.

    Raises:
        InkleError: if the environment variable holds a value that the setting does not accept.
    """
    row = SETTINGS[name]
    for values in reversed(getattr(_local, "stack", ())):
        if name in values:
            return values[name]
    text = os.environ.get(name)
    if text is None:
        return row.default
    try:
        return row.parse(text)
    except ValueError as error:
        raise InkleError(f"environment variable {name}={text!r}: {error}; {row.text}") from None


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
        self._values = values

    def __enter__(self) -> None:
        if not hasattr(_local, "stack"):
            _local.stack = []
        _local.stack.append(self._values)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _local.stack.pop()
