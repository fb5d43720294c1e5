"""Reading pickles without running them.

A pickle is a program for a small machine with a stack. This machine knows the instructions that
make numbers, texts, lists, tuples and dicts. Whatever would import something or call it goes to the
two functions that the caller hands in, as a name and its arguments: nothing in a file can make
Python import or call anything. Every instruction takes memory in proportion to its own length in
the file, so a small file cannot fill the memory. Keys are plain numbers and texts: nested tuples
that share their parts take exponential time to hash.

Source: Python's `pickletools`, which documents each instruction (protocols 0 to 5).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from inkle.errors import FormatError
from inkle.nn.formats.content import Content

MOST_DIGITS = 4300  # of an integer in text; Python's own limit
_MARK = object()
_SCALARS = (str, int, float, bool, bytes, type(None))


@dataclass(frozen=True, slots=True)
class Name:
    """What a pickle calls a class or a function: a module and a name in it; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:100]


Call = Callable[[Name, tuple[Any, ...]], Any]
Persistent = Callable[[Any], Any]


def read_pickle(
    content: Content, start: int, call: Call, persistent: Persistent
) -> tuple[Any, int]:
    """Read one pickle.

    Args:
        content: the file.
        start: byte at which the pickle begins.
        call: makes the object for a name and its arguments; raises FormatError for names that it
            does not know. What the arguments are is for it to check.
        persistent: makes the object for a persistent id.

    Returns:
        The value and the byte behind the pickle. Lists may contain themselves.

    Raises:
        FormatError: names file, offset and reason.
    """
    machine = _Machine(content, start, call, persistent)
    while True:
        at = machine.position
        code = machine.content.take(at, 1, "the next instruction")[0]
        machine.position += 1
        if code == ord("."):
            return machine.pop(), machine.position
        run = _INSTRUCTIONS.get(code)
        if run is None:
            raise content.wrong(at, f"there is no instruction {bytes([code])!r}")
        try:
            run(machine)
        except _MisuseError as error:
            raise content.wrong(at, str(error)) from None


class _MisuseError(Exception):
    """An instruction that does not fit what is on the stack."""


class _Machine:
    """Stack, memory and place of a pickle that is being read."""

    def __init__(self, content: Content, start: int, call: Call, persistent: Persistent) -> None:
        self.content, self.position = content, start
        self.call, self.persistent = call, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    # --- bytes of the file ---

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        found = bytes(self.content.take(self.position, size, "an instruction"))
        self.position += size
        return found

    def number(self, form: str) -> Any:
        """Return the next number, laid out as `struct` says."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """Return the text up to the next line end."""
        for most in (256, 65_536):  # most lines are short
            window = bytes(self.content.data[self.position : self.position + most])
            length = window.find(b"\n")
            if length >= 0:
                self.position += length + 1
                return _text(window[:length])
        raise _MisuseError("a line of text does not end")

    # --- stack ---

    def pop(self) -> Any:
        """Take the topmost value."""
        if not self.stack or self.stack[-1] is _MARK:
            raise self.content.wrong(self.position - 1, "the stack is empty")
        return self.stack.pop()

    def top(self, kind: type | tuple[type, ...], what: str) -> Any:
        """Return the topmost value, which must be of `kind`."""
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise _MisuseError(f"there is no {what} on the stack")
        return self.stack[-1]

    def push(self, value: Any) -> None:
        """Put a value on top."""
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        """Take everything down to the last mark."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise _MisuseError("there is no mark on the stack")

    def last(self, count: int) -> list[Any]:
        """Take the topmost `count` values, the topmost last."""
        return [self.pop() for _ in range(count)][::-1]


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise _MisuseError("a text is not UTF-8") from None


def _key(value: Any) -> Hashable:
    if isinstance(value, _SCALARS):
        return value
    raise _MisuseError(f"a key is a number or a text, not a {type(value).__name__}")


def _set_items(machine: _Machine, items: list[Any]) -> None:
    if len(items) % 2:
        raise _MisuseError("a key has no value")
    target = machine.top(dict, "dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[_key(key)] = value


def _make_dict(machine: _Machine) -> None:
    items = machine.since_mark()
    machine.push({})
    _set_items(machine, items)


def _add_items(machine: _Machine) -> None:
    items = machine.since_mark()
    machine.top(set, "set").update(map(_key, items))


def _append(machine: _Machine, items: list[Any]) -> None:
    machine.top(list, "list").extend(items)


def _integer(machine: _Machine) -> None:
    text = machine.line().strip()
    plain = text.removesuffix("L").removeprefix("-")
    if not plain.isdecimal() or len(plain) > MOST_DIGITS:
        raise _MisuseError(f"{text[:40]!r} is no integer")
    machine.push({"00": False, "01": True}.get(text, int(text.removesuffix("L"))))


def _long(machine: _Machine, size: int) -> None:
    machine.push(int.from_bytes(machine.take(size), "little", signed=True))


def _float(machine: _Machine) -> None:
    text = machine.line()
    try:
        machine.push(float(text))
    except ValueError:
        raise _MisuseError(f"{text[:40]!r} is no number") from None


def _quoted(machine: _Machine) -> None:
    text = machine.line()
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"" or "\\" in text:
        raise _MisuseError("a text in quotes is needed, without backslashes")
    machine.push(text[1:-1])


def _stack_global(machine: _Machine) -> None:
    module, name = machine.last(2)
    if not isinstance(module, str) or not isinstance(name, str):
        raise _MisuseError("a module and a name are texts")
    machine.push(Name(module, name))


def _reduce(machine: _Machine) -> None:
    name, arguments = machine.last(2)
    if not isinstance(name, Name) or not isinstance(arguments, tuple):
        raise _MisuseError("a call needs a name and a tuple of arguments")
    try:
        machine.push(machine.call(name, arguments))
    except FormatError as error:
        raise _MisuseError(str(error)) from None


def _persistent(machine: _Machine) -> None:
    try:
        machine.push(machine.persistent(machine.pop()))
    except FormatError as error:
        raise _MisuseError(str(error)) from None


def _build(machine: _Machine) -> None:
    """Drop attributes of a dict, such as the `_metadata` of PyTorch's; nothing else takes any."""
    machine.pop()
    machine.top(dict, "dict, and nothing else takes attributes,")


def _put(machine: _Machine, number: int) -> None:
    machine.memo[number] = machine.top(object, "value")


def _get(machine: _Machine, number: int) -> None:
    if number not in machine.memo:
        raise _MisuseError(f"nothing has been kept as number {number}")
    machine.push(machine.memo[number])


def _line_number(machine: _Machine) -> int:
    text = machine.line()
    if not text.isdecimal() or len(text) > 18:
        raise _MisuseError(f"{text[:40]!r} is no number of a kept value")
    return int(text)


def _skip(machine: _Machine, size: int) -> None:
    machine.take(size)


def _text_of(form: str) -> Callable[[_Machine], None]:
    return lambda m: m.push(_text(m.take(m.number(form))))


def _bytes_of(form: str) -> Callable[[_Machine], None]:
    return lambda m: m.push(m.take(m.number(form)))


def _old_text_of(form: str) -> Callable[[_Machine], None]:
    return lambda m: m.push(m.take(m.number(form)).decode("latin-1"))


_ROWS: dict[bytes, Callable[[_Machine], Any]] = {
    # frames
    b"\x80": lambda m: _skip(m, 1),
    b"\x95": lambda m: _skip(m, 8),
    # constants
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": _integer,
    b"L": _integer,
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: _long(m, m.number("<B")),
    b"\x8b": lambda m: _long(m, m.number("<i")),
    b"F": _float,
    b"G": lambda m: m.push(m.number(">d")),
    # texts and bytes
    b"S": _quoted,
    b"V": lambda m: m.push(m.line()),
    b"T": _old_text_of("<i"),
    b"U": _old_text_of("<B"),
    b"X": _text_of("<I"),
    b"\x8c": _text_of("<B"),
    b"\x8d": _text_of("<Q"),
    b"B": _bytes_of("<I"),
    b"C": _bytes_of("<B"),
    b"\x8e": _bytes_of("<Q"),
    # containers
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.since_mark()),
    b"a": lambda m: _append(m, [m.pop()]),
    b"e": lambda m: _append(m, m.since_mark()),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"\x85": lambda m: m.push(tuple(m.last(1))),
    b"\x86": lambda m: m.push(tuple(m.last(2))),
    b"\x87": lambda m: m.push(tuple(m.last(3))),
    b"}": lambda m: m.push({}),
    b"d": _make_dict,
    b"s": lambda m: _set_items(m, m.last(2)),
    b"u": lambda m: _set_items(m, m.since_mark()),
    b"\x8f": lambda m: m.push(set()),
    b"\x90": _add_items,
    # stack and memory
    b"(": lambda m: m.push(_MARK),
    b"0": lambda m: m.pop(),
    b"1": lambda m: m.since_mark(),
    b"2": lambda m: m.push(m.top(object, "value")),
    b"p": lambda m: _put(m, _line_number(m)),
    b"q": lambda m: _put(m, m.number("<B")),
    b"r": lambda m: _put(m, m.number("<I")),
    b"\x94": lambda m: _put(m, len(m.memo)),
    b"g": lambda m: _get(m, _line_number(m)),
    b"h": lambda m: _get(m, m.number("<B")),
    b"j": lambda m: _get(m, m.number("<I")),
    # names and calls: values for the functions of whoever reads the file
    b"c": lambda m: m.push(Name(m.line(), m.line())),
    b"\x93": _stack_global,
    b"R": _reduce,
    b"\x81": _reduce,
    b"b": _build,
    b"Q": _persistent,
}
_INSTRUCTIONS = {code[0]: run for code, run in _ROWS.items()}
