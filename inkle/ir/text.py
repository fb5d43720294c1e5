"""Graphs as text that reads back exactly: golden tests, bug reports, caches.

One node per line; sources come before users. Dtype and shape, sources, then the attribute:

    %0 = param:float32[4] (0, (4,))
    %1 = const:float32 1.5
    %2 = add:float32[4] %0 %1
    %3 = reduce:float32 %2 (add, (0,))
    outputs %3

Kernels end with `stores`, `order` and one `schedule` line per transform. A size that is known at
launch is `#7`, where %7 is the same as an index expression. Reading gives the same nodes that a
program would build: pure ones are interned, BUFFER keeps its number (and numbers given out later
are larger). Floats are written so that they read back bit for bit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from inkle.errors import FormatError
from inkle.ir import forms, ops
from inkle.ir.algebra import from_bits, to_bits
from inkle.ir.dtype import BY_NAME, DType, float64
from inkle.ir.loop import Axis, Kernel
from inkle.ir.node import Node, Shape, intern, toposort
from inkle.ir.op import Op
from inkle.ir.pseudo import expression, pseudo_code
from inkle.ir.scan import Recurrence, step_of
from inkle.ir.size import Size, size_of_node
from inkle.ir.tensor import reserve_buffers

__all__ = ["expression", "from_text", "pseudo_code", "to_text"]

_OPS = {**ops.TABLE, **forms.TABLE}
_AXES = {axis.value: axis for axis in Axis}
_WORDS: dict[str, Any] = {"None": None, "True": True, "False": False, **_AXES, **ops.TABLE}
_INTEGERS = {int}  # a tuple of them is written as Python does
_LINE = re.compile(r"%(\d+) = (\w+):(\w+)(?:\[([\d#, ]*)\])?((?: %\d+)*)(?: (.+))?")
_TOKEN = re.compile(
    r"\s*([%#]\d+|0x[0-9a-f]{16}|-?[\d.]+(?:e[+-]?\d+)?|'(?:[^'\\]|\\.)*'|\w+|[(),])"
)


def to_text(program: Sequence[Node] | Kernel) -> str:
    """Return a tensor graph (its outputs) or a kernel as text."""
    writer = _Writer()
    if isinstance(program, Kernel):
        writer.nodes([*program.stores, *program.order])
        writer.references("stores", program.stores)
        writer.references("order", program.order)
        writer.lines += [f"schedule {writer.value(note)}" for note in program.schedule]
    else:
        writer.nodes(program)
        writer.references("outputs", program)
    return "\n".join(writer.lines) + "\n"


class _Writer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self._number: dict[Node, int] = {}

    def nodes(self, roots: Sequence[Node]) -> None:
        """Append a line for every node below `roots` that has no number yet."""
        number, value = self._number, self.value
        for node in toposort(roots):
            if node in number:
                continue
            if node.op is forms.SCAN:  # the nodes of its step are written before it
                self.nodes(step_of(node))
            shape = f"[{value(node.shape)[1:-1].rstrip(',')}]" if node.shape else ""
            argument = "" if node.arg is None else f" {value(node.arg)}"
            number[node] = mine = len(number)
            sources = "".join([f" %{number[source]}" for source in node.src])
            self.lines.append(
                f"%{mine} = {node.op.name}:{node.dtype.name}{shape}{sources}{argument}"
            )

    def references(self, word: str, nodes: Sequence[Node]) -> None:
        """Append a line that names nodes."""
        self.lines.append(word + "".join(f" %{self._number[node]}" for node in nodes))

    def value(self, value: Any) -> str:
        """Return an attribute, or a part of one; write the nodes of sizes in it before."""
        if isinstance(value, tuple):
            if {*map(type, value)} <= _INTEGERS:
                return repr(value)
            parts = ", ".join([self.value(each) for each in value])
            return f"({parts},)" if len(value) == 1 else f"({parts})"
        if isinstance(value, Size):
            node = value.index_node()
            self.nodes([node])
            return f"#{self._number[node]}"
        if isinstance(value, Recurrence):
            step = value.following, value.sliced, value.steps, value.is_reversed
            return self.value(step)
        if isinstance(value, Node):
            return f"%{self._number[value]}"
        if isinstance(value, Op):
            return value.name
        if isinstance(value, Axis):
            return value.value
        if isinstance(value, float):
            return repr(value) if value - value == 0 else f"{to_bits(value, float64):#018x}"
        if isinstance(value, str):
            return "'" + value.encode("unicode_escape").decode().replace("'", "\\'") + "'"
        assert value is None or isinstance(value, int), f"no text for attribute {value!r}"
        return repr(value)


def from_text(text: str) -> list[Node] | Kernel:
    """Return the outputs of a tensor graph, or a kernel, from what `to_text` wrote.

    Raises:
        FormatError: if the text is anything else; names the line.
    """
    reader = _Reader()
    for number, line in enumerate(text.splitlines(), 1):
        try:
            reader.read(line)
        except (KeyError, IndexError, ValueError, TypeError, StopIteration) as error:
            raise FormatError(
                f"line {number}, {line!r}: not the text of a graph ({error})"
            ) from None
    return reader.program()


class _Reader:
    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {}
        self.parts: dict[str, tuple[Node, ...]] = {}
        self.schedule: list[str] = []

    def read(self, line: str) -> None:
        """Read one line."""
        word, _, rest = line.partition(" ")
        if not line:
            return
        if line[0] == "%":
            self.node(line)
        elif word == "schedule":
            self.schedule.append(str(_parse(rest, {})))
        elif word in ("outputs", "stores", "order"):
            self.parts[word] = tuple(self.nodes[int(name[1:])] for name in rest.split())
        else:
            raise ValueError(f"unknown word {word!r}")

    def node(self, line: str) -> None:
        """Read the line of a node."""
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError("expected %number = op:dtype[shape] sources attribute")
        number, op, dtype, shape, sources, argument = match.groups()
        src = tuple(self.nodes[int(name[1:])] for name in sources.split())
        arg: Any = _parse(argument, self.nodes) if argument else None
        if op == forms.SCAN.name:
            arg = (Recurrence(*arg[0]), *arg[1:])
        kind: DType = BY_NAME[dtype]
        if op == forms.CONST.name and kind.is_float:
            arg = float(arg)
        extents: Shape = _parse(f"({shape or ''})", self.nodes)
        self.nodes[int(number)] = intern(_OPS[op], kind, src, arg, extents)
        if op == forms.BUFFER.name:
            reserve_buffers(arg[0])

    def program(self) -> list[Node] | Kernel:
        """Return what was read."""
        if "outputs" in self.parts:
            return list(self.parts["outputs"])
        if {"stores", "order"} <= set(self.parts):
            return Kernel(self.parts["stores"], self.parts["order"], tuple(self.schedule))
        raise FormatError("the text of a graph ends with its outputs, or with stores and order")


def _parse(text: str, nodes: Mapping[int, Node]) -> Any:
    """Return the attribute that `text` stands for."""
    position, tokens = 0, []
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"unexpected {text[position:]!r}")
        tokens.append(match.group(1))
        position = match.end()
    stream = iter(tokens)
    value = _value(next(stream), stream, nodes)
    if next(stream, None) is not None:
        raise ValueError("text after the attribute")
    return value


def _value(token: str, stream: Iterator[str], nodes: Mapping[int, Node]) -> Any:
    if token == "(":
        return _tuple(stream, nodes)
    if token[0] == "%":
        return nodes[int(token[1:])]
    if token[0] == "#":
        return size_of_node(nodes[int(token[1:])])
    if token[0] == "'":
        return token[1:-1].encode("ascii").decode("unicode_escape")
    if token in _WORDS:
        return _WORDS[token]
    if token.startswith("0x"):
        return from_bits(int(token, 16), float64)
    return float(token) if any(c in token for c in ".e") else int(token)


def _tuple(stream: Iterator[str], nodes: Mapping[int, Node]) -> tuple[Any, ...]:
    items: list[Any] = []
    token = next(stream)
    while token != ")":
        items.append(_value(token, stream, nodes))
        token = next(stream)
        if token == ",":
            token = next(stream)
    return tuple(items)
