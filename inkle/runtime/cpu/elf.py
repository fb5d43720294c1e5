"""Read the symbol table of an ELF object file (System V ABI, chapter 4), as LLVM writes it.

Only what guards the loader: LLVM ends the process when it loads code with an unknown symbol.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAGIC_64_LITTLE = b"\x7fELF\x02\x01"
SYMBOL_TABLE = 2  # SHT_SYMTAB
UNDEFINED = 0  # SHN_UNDEF: the symbol lives elsewhere
_SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, flags, address, offset, size, link, ...
_SYMBOL = struct.Struct("<IBBHQQ")  # name, info, other, section, value, size


def undefined_symbols(content: bytes) -> list[str]:
    """Return the names that an object file uses and does not define.

    Other formats than 64-bit little-endian ELF (Windows, macOS) give an empty list.
    """
    if not content.startswith(MAGIC_64_LITTLE):
        return []
    sections = _sections(content)
    names = []
    for _, kind, _, _, offset, size, link, *_ in sections:
        if kind == SYMBOL_TABLE:
            strings = sections[link][4]
            table = content[offset : offset + size]
            names += [_string(content, strings + name) for name in _undefined(table)]
    return names


def _sections(content: bytes) -> list[tuple[int, ...]]:
    (offset,) = struct.unpack_from("<Q", content, 40)  # e_shoff
    (count,) = struct.unpack_from("<H", content, 60)  # e_shnum
    return list(_SECTION.iter_unpack(content[offset : offset + count * _SECTION.size]))


def _undefined(table: bytes) -> Iterator[int]:
    """Yield the string offset of each undefined symbol; the first entry is always empty."""
    for name, _, _, section, _, _ in _SYMBOL.iter_unpack(table[_SYMBOL.size :]):
        if section == UNDEFINED:
            yield name


def _string(content: bytes, offset: int) -> str:
    return content[offset : content.index(b"\0", offset)].decode()
