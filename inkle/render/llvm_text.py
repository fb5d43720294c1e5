"""Building LLVM IR line by line: names, blocks, calls and their declarations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from inkle.ir.dtype import DType
from inkle.ir.program import Value
from inkle.render.llvm_types import suffix, type_of


class LlvmText:
    """The text of one function so far, and the names of its values."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names: dict[Value, str] = {}
        self._declared: set[str] = set()
        self._count = itertools.count()
        self._block = "entry"

    def _out(self, text: str) -> None:
        self._lines.append("  " + text)

    def _new(self, text: str) -> str:
        name = f"%v{next(self._count)}"
        self._lines.append(f"  {name} = {text}")
        return name

    def _label(self, name: str) -> None:
        self._lines.append(f"{name}:")
        self._block = name

    def _call(
        self, result: str, function: str, args: Sequence[tuple[str, str]], flags: str = ""
    ) -> str:
        self._declared.add(f"declare {result} {function}({', '.join(kind for kind, _ in args)})")
        passed = ", ".join(f"{kind} {value}" for kind, value in args)
        return f"call {flags}{result} {function}({passed})"

    def _intrinsic(self, name: str, dtype: DType, lanes: int, args: Sequence[str]) -> str:
        kind = type_of(dtype, lanes)
        function = f"@llvm.{name}.{suffix(dtype, lanes)}"
        return self._new(self._call(kind, function, [(kind, arg) for arg in args]))


def type_of_mask(lanes: int) -> str:
    """Return the type of a condition over `lanes` lanes."""
    return "i1" if lanes == 1 else f"<{lanes} x i1>"


def zero(lanes: int) -> str:
    """Return the literal 0 of an integer or a vector of integers."""
    return "0" if lanes == 1 else "zeroinitializer"
