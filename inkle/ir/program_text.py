"""Programs as readable text: the form between a loop nest and the text of a target.

    program(A: float32 out, B: float32, C: float32), 1 chunk
    for i0 in 16:
      x0: index = mul i0, 8
      acc0: float32x8 = 0.0
      for i1 in 256:
        x1: index = mul i1, 128
        x2: index = add x1, x0
        x3: float32 = load B[i1]
        x4: float32x8 = splat x3
        x5: float32x8 = load C[x2]
        x6: float32x8 = fma x4, x5, acc0
        next acc0 = x6
      store A[x0] = acc0

A line is a value: its name, its type (`float32x8` has 8 lanes), what makes it. Literals stand where
they are used. `next` says what carried values are in the following iteration, all at once; after
the loop the name stands for the final state. Lanes of a load or store lie side by side unless it
says `step`; `if` is its mask. The text is for people; nothing reads it back.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from inkle.ir.op import Op
from inkle.ir.program import Loop, Program, Value
from inkle.ir.pseudo import literal, name_of_param

ROW = 8  # carried values in a line
_NAMES: dict[str | Op, Callable[[Value], str]] = {
    "const": lambda value: literal(value.arg, value.dtype),
    "param": lambda value: name_of_param(value.arg),
    "variable": lambda value: str(value.arg[0]),
    "chunk": lambda _: "chunk",
    "local": lambda value: f"S{value.arg[0]}",
}


class _Printer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[Value, str] = {}
        self.numbers = {letter: itertools.count() for letter in ("x", "i", "acc")}

    def line(self, depth: int, text: str) -> None:
        self.lines.append("  " * depth + text)

    def new(self, value: Value, letter: str) -> str:
        self.names[value] = f"{letter}{next(self.numbers[letter])}"
        return self.names[value]

    def named(self, values: Iterable[Value]) -> str:
        return ", ".join([self.names[value] for value in values])

    def body(self, body: list[Value | Loop], depth: int) -> None:
        for item in body:
            if isinstance(item, Loop):
                self.loop(item, depth)
            elif item.code in _NAMES:
                self.names[item] = _NAMES[item.code](item)
            elif item.code == "store":
                memory, where, stored, *mask = item.src
                place = self.place(item, stored.lanes, memory, where, mask)
                self.line(depth, f"store {place} = {self.names[stored]}")
            else:
                text = self.text(item)
                self.line(depth, f"{self.new(item, 'x')}: {_type(item)} = {text}")

    def loop(self, loop: Loop, depth: int) -> None:
        pairs = zip(loop.carries, loop.initial, strict=True)
        rows = itertools.groupby(pairs, lambda pair: (_type(pair[0]), self.names[pair[1]]))
        for (kind, start), row in rows:
            names = [self.new(carry, "acc") for carry, _ in row]
            self.line(depth, f"{', '.join(names)}: {kind} = {start}")
        counter, extent = self.new(loop.counter, "i"), self.names[loop.extent]
        self.line(depth, f"for {counter} in {extent}{' (may be 0)' * loop.may_be_empty}:")
        self.body(loop.body, depth + 1)
        for i in range(0, len(loop.carries), ROW):
            carries, values = loop.carries[i : i + ROW], loop.following[i : i + ROW]
            self.line(depth + 1, f"next {self.named(carries)} = {self.named(values)}")

    def text(self, value: Value) -> str:
        if value.code == "load":
            memory, where, *mask = value.src
            return f"load {self.place(value, value.lanes, memory, where, mask)}"
        argument = "" if value.arg is None or isinstance(value.code, Op) else f" {value.arg}"
        return f"{value.code}{argument} {self.named(value.src)}".rstrip()

    def place(
        self, value: Value, lanes: int, memory: Value, where: Value, mask: list[Value]
    ) -> str:
        step = f", step {value.arg}" if lanes > 1 and value.arg not in (1, None) else ""
        condition = f" if {self.named(mask)}" if mask else ""
        return f"{self.names[memory]}[{self.names[where]}{step}{condition}]"


def _type(value: Value) -> str:
    return f"{value.dtype}x{value.lanes}" if value.lanes > 1 else str(value.dtype)


def program_text(program: Program) -> str:
    """Return a program as readable text."""
    printer = _Printer()
    parameters = [
        f"{name_of_param(p.slot)}: {p.dtype}{' out' * p.written}" for p in program.parameters
    ]
    plural = "s" * (program.chunks != 1)
    printer.line(0, f"program({', '.join(parameters)}), {program.chunks} chunk{plural}")
    printer.body(list(program.locals), 0)
    for memory in program.locals:
        printer.line(0, f"{printer.names[memory]}: {memory.arg[1]} {memory.dtype}")
    printer.body(program.body, 0)
    return "\n".join(printer.lines) + "\n"
