"""The header of a safetensors file: every claim is checked before it is used.

    bytes 0-7   n, length of the header, little-endian uint64
    8 .. 8 + n  {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...,
                 "__metadata__": {"text": "text", ...}}, padded with spaces
    8 + n ..    data, little-endian, row-major; the offsets cover it without hole or overlap

The reader accepts no file that the reference implementation refuses. Besides, it refuses duplicate
names, unknown fields, and shapes that NumPy cannot represent.

Source: https://github.com/huggingface/safetensors, README, section "Format".
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeGuard

import numpy as np

from inkle.errors import FormatError
from inkle.nn.formats.files import MAX_EXTENT, is_representable

MAX_HEADER_BYTES = 100_000_000  # the reference implementation's limit
METADATA = "__metadata__"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ElementType:
    """A row of the table of element types: width, and NumPy's type where it has one."""

    bits: int
    numpy: np.dtype[Any] | None = None


# In the order in which tensors are written, last row first: wide types first keeps all aligned.
ELEMENT_TYPES = {
    "BOOL": ElementType(8, np.dtype("?")),
    "F4": ElementType(4),
    "F6_E2M3": ElementType(6),
    "F6_E3M2": ElementType(6),
    "U8": ElementType(8, np.dtype("u1")),
    "I8": ElementType(8, np.dtype("i1")),
    "F8_E5M2": ElementType(8),
    "F8_E4M3": ElementType(8),
    "F8_E8M0": ElementType(8),
    "F8_E4M3FNUZ": ElementType(8),
    "F8_E5M2FNUZ": ElementType(8),
    "I16": ElementType(16, np.dtype("<i2")),
    "U16": ElementType(16, np.dtype("<u2")),
    "F16": ElementType(16, np.dtype("<f2")),
    "BF16": ElementType(16),
    "I32": ElementType(32, np.dtype("<i4")),
    "U32": ElementType(32, np.dtype("<u4")),
    "F32": ElementType(32, np.dtype("<f4")),
    "C64": ElementType(64, np.dtype("<c8")),
    "F64": ElementType(64, np.dtype("<f8")),
    "I64": ElementType(64, np.dtype("<i8")),
    "U64": ElementType(64, np.dtype("<u8")),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor lies: bytes `start` to `stop` of the file, and what they mean."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Header:
    """A checked header: entries in the order of their data, and the free text beside them."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]


def read_header_of(file: BinaryIO, name: str) -> Header:
    """Read and check the header of an open file, called `name` in errors.

    Raises:
        FormatError: names the file, the tensor and the reason.
    """
    size_bytes = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    if len(prefix) < 8:
        raise FormatError(f"{name}: no safetensors file: it has {len(prefix)} bytes, fewer than 8")
    length = int.from_bytes(prefix, "little")
    if length > min(size_bytes - 8, MAX_HEADER_BYTES):
        raise FormatError(
            f"{name}: no safetensors file: its first 8 bytes announce a header of {length} bytes, "
            f"but {size_bytes - 8} bytes follow and at most {MAX_HEADER_BYTES} are allowed"
        )
    return parse_header(file.read(length), size_bytes - 8 - length, name)


def parse_header(text: bytes, data_bytes: int, name: str) -> Header:
    """Check a header, without the eight bytes of its length.

    Args:
        text: UTF-8 JSON.
        data_bytes: how many bytes follow it in the file.
        name: what to call the file in errors.

    Raises:
        FormatError: names the file, the tensor and the reason.
    """
    try:
        fields = _parse_json(text)
        metadata = fields.pop(METADATA, {})
        if not _is_metadata(metadata):
            raise FormatError(f"{METADATA} must map text to text")
        start = 8 + len(text)
        entries = [(name, _parse_entry(name, field, start)) for name, field in fields.items()]
        entries.sort(key=lambda item: (item[1].start, item[1].stop))
        _check_cover(entries, start, data_bytes)
    except FormatError as error:
        raise FormatError(f"{name}: no valid safetensors header: {error}") from None
    return Header(dict(entries), metadata)


def _parse_json(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise FormatError(f"it must begin with {b'{'!r}, got {text[:1]!r}")
    try:
        fields = json.loads(text.decode(), object_pairs_hook=_unique, parse_int=_parse_integer)
    except FormatError:  # a ValueError too; it already says what is wrong
        raise
    except RecursionError:
        raise FormatError("its JSON is nested too deeply") from None
    except ValueError as error:  # neither UTF-8 nor JSON, or an integer of thousands of digits
        raise FormatError(f"it is no UTF-8 JSON: {error}") from None
    assert isinstance(fields, dict), f"JSON that begins with a brace is an object, got {fields!r}"
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise FormatError(f"the name {twice!r:.80} occurs twice")
    if not all(_is_text(name) for name in fields):
        raise FormatError("a name holds half of a surrogate pair")
    return fields


def _parse_integer(digits: str) -> int:
    if digits == "-0":  # JSON, but no unsigned integer for the reference implementation
        raise FormatError("-0 is no size and no offset")
    return int(digits)


def _is_text(value: object) -> bool:
    """Tell whether it is text that UTF-8 can hold: half of a surrogate pair is not."""
    return isinstance(value, str) and _SURROGATE.search(value) is None


def _is_metadata(value: object) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(_is_text(text) for text in value.values())


def _are_sizes(value: object) -> TypeGuard[list[int]]:
    # `type`, because True and False are integers to isinstance.
    return isinstance(value, list) and all(
        type(size) is int and 0 <= size <= MAX_EXTENT for size in value
    )


def _parse_entry(name: str, field: object, data_start: int) -> Entry:
    if not isinstance(field, dict) or set(field) != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"tensor {name!r:.80} needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = field["dtype"], field["shape"], field["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ELEMENT_TYPES:
        raise FormatError(f"tensor {name!r:.80} has the unknown element type {dtype!r:.80}")
    if not _are_sizes(shape):
        raise FormatError(f"tensor {name!r:.80}: shape must be a list of sizes, got {shape!r:.80}")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise FormatError(
            f"tensor {name!r:.80}: data_offsets must be two offsets, got {offsets!r:.80}"
        )
    bits = ELEMENT_TYPES[dtype].bits
    if not is_representable(tuple(shape), -(-bits // 8)):
        raise FormatError(f"tensor {name!r:.80}: no array can have shape {shape!r:.80}")
    start, stop = offsets
    if 8 * (stop - start) != math.prod(shape) * bits:
        raise FormatError(
            f"tensor {name!r:.80}: {dtype} of shape {shape!r:.80} needs "
            f"{math.prod(shape) * bits / 8:.16g} bytes, its offsets {start} and {stop} hold "
            f"{stop - start}"
        )
    return Entry(dtype, tuple(shape), data_start + start, data_start + stop)


def _check_cover(entries: list[tuple[str, Entry]], data_start: int, data_bytes: int) -> None:
    """Check that entries, in order of their start, cover the data exactly once."""
    end = data_start
    for name, entry in entries:
        if entry.start != end:
            problem = "overlaps the one before" if entry.start < end else "leaves a hole before it"
            raise FormatError(
                f"tensor {name!r:.80} {problem}: it starts at byte {entry.start - data_start} of "
                f"the data instead of {end - data_start}"
            )
        end = entry.stop
    if end - data_start != data_bytes:
        raise FormatError(
            f"its tensors cover {end - data_start} bytes, but {data_bytes} bytes of data follow"
        )
