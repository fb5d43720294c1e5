"""GGUF files: metadata, and tensors in blocks of a few bits per element.

    "GGUF", version (uint32), number of tensors, number of metadata (uint64 each)
    metadata      key, type (uint32), value
    tensors       name, number of axes (uint32), sizes (uint64, fastest first), type (uint32),
                  offset of the data from the start of all data (uint64)
    padding       up to a multiple of the metadata "general.alignment" (32)
    data

Texts are a length (uint64) and UTF-8. What the blocks mean is in `inkle.nn.dequantize`.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkle.nn.formats.content import Content, map_file
from inkle.nn.formats.files import PathLike, is_representable

ALIGNMENT = "general.alignment"
MOST_AXES = 4
MOST_NESTED = 4  # arrays in arrays


@dataclass(frozen=True, slots=True)
class BlockType:
    """A row of the table of element types: so many elements in a block of so many bytes."""

    name: str
    elements: int
    size_bytes: int


TYPES = {
    0: BlockType("F32", 1, 4),
    1: BlockType("F16", 1, 2),
    2: BlockType("Q4_0", 32, 18),
    3: BlockType("Q4_1", 32, 20),
    6: BlockType("Q5_0", 32, 22),
    7: BlockType("Q5_1", 32, 24),
    8: BlockType("Q8_0", 32, 34),
    9: BlockType("Q8_1", 32, 36),
    10: BlockType("Q2_K", 256, 84),
    11: BlockType("Q3_K", 256, 110),
    12: BlockType("Q4_K", 256, 144),
    13: BlockType("Q5_K", 256, 176),
    14: BlockType("Q6_K", 256, 210),
    15: BlockType("Q8_K", 256, 292),
    24: BlockType("I8", 1, 1),
    25: BlockType("I16", 1, 2),
    26: BlockType("I32", 1, 4),
    27: BlockType("I64", 1, 8),
    28: BlockType("F64", 1, 8),
    30: BlockType("BF16", 1, 2),
}
_NUMBERS = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 10: "<u8", 11: "<i8",
    12: "<f8",
}  # fmt: skip
_BOOL, _TEXT, _ARRAY = 7, 8, 9


@dataclass(frozen=True, slots=True, eq=False)
class BlockTensor:
    """A tensor as it lies in the file.

    Attributes:
        type: name of the element type, such as "Q4_K".
        shape: sizes of the axes, slowest first; the last is a multiple of a block.
        data: the blocks, one axis of bytes.
    """

    type: str
    shape: tuple[int, ...]
    data: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Entry:
    type: BlockType
    shape: tuple[int, ...]
    offset: int
    at: int  # place of its description


def load(path: PathLike) -> tuple[dict[str, Any], dict[str, BlockTensor]]:
    """Map a GGUF file into memory.

    Returns:
        Metadata by key: numbers, texts, lists of texts, arrays of numbers; and tensors by name,
        views of the file, in the order of their descriptions.

    Raises:
        DataError: if the file cannot be opened or mapped.
        FormatError: if it is damaged or of an unknown version; names file, offset and reason.
    """
    reader = _Reader(map_file(path, "GGUF file"))
    tensors, pairs = reader.start()
    metadata: dict[str, Any] = {}
    for _ in range(pairs):
        at, key = reader.position, reader.text()
        if key in metadata:
            raise reader.content.wrong(at, f"the key {key!r:.80} occurs twice")
        metadata[key] = reader.value(reader.number("<u4"), 0)
    entries: dict[str, _Entry] = {}
    for _ in range(tensors):
        at, name = reader.position, reader.text()
        if name in entries:
            raise reader.content.wrong(at, f"the tensor {name!r:.80} occurs twice")
        entries[name] = reader.entry(at, name)
    return metadata, _place(reader.content, entries, reader.position, metadata)


def _place(
    content: Content, entries: Mapping[str, _Entry], end: int, metadata: Mapping[str, Any]
) -> dict[str, BlockTensor]:
    """Return the tensors; check that each is inside of the file, and none lies on another."""
    alignment = metadata.get(ALIGNMENT, 32)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise content.wrong(end, f"{ALIGNMENT} must be a power of two, got {alignment!r:.40}")
    start = -(-end // alignment) * alignment
    found, places = {}, []
    for name, entry in entries.items():
        size = math.prod(entry.shape) // entry.type.elements * entry.type.size_bytes
        if entry.offset % alignment:
            raise content.wrong(entry.at, f"{name!r:.80} is not at a multiple of {alignment} bytes")
        data = content.array(start + entry.offset, size, f"tensor {name!r:.80}")
        found[name] = BlockTensor(entry.type.name, entry.shape, data)
        places.append((entry.offset, entry.offset + size, name))
    for (_, stop, _), (begin, _, name) in pairwise(sorted(places)):
        if begin < stop:
            raise content.wrong(start + begin, f"tensor {name!r:.80} overlaps the one before")
    return found


class _Reader:
    """A place in the file, and what can be read there."""

    def __init__(self, content: Content) -> None:
        self.content, self.position = content, 0

    def number(self, form: str) -> Any:
        """Return the next number as one of Python's."""
        dtype = np.dtype(form)
        return self.array(dtype, 1)[0].item()

    def array(self, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        """Return the next numbers, as a view of the file."""
        found = self.content.array(self.position, count * dtype.itemsize, f"{count} x {dtype}")
        self.position += found.size
        return found.view(dtype)

    def text(self) -> str:
        """Return the next text."""
        length = self.number("<u8")
        data = self.content.take(self.position, length, "a text")
        self.position += length
        return str(data, "utf-8", "replace")

    def start(self) -> tuple[int, int]:
        """Return the numbers of tensors and of metadata."""
        magic = bytes(self.content.take(0, 4, "the start"))
        if magic != b"GGUF":
            raise self.content.wrong(0, f"it begins with {magic!r}, not with b'GGUF'")
        self.position = 4
        version = self.number("<u4")
        if version not in (2, 3):
            raise self.content.wrong(4, f"version {version}; 2 and 3 are known")
        return self.number("<u8"), self.number("<u8")

    def value(self, kind: int, depth: int) -> Any:
        """Return the next value of metadata."""
        at = self.position
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _BOOL:
            return bool(self.number("<u1"))
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY or depth == MOST_NESTED:
            raise self.content.wrong(at, f"no value of type {kind}, {depth} arrays deep")
        kind, count = self.number("<u4"), self.number("<u8")
        if kind in _NUMBERS:
            return self.array(np.dtype(_NUMBERS[kind]), count)
        if kind == _BOOL:
            return self.array(np.dtype("u1"), count) != 0
        # Each takes at least 8 bytes: the list cannot be longer than the file.
        if 8 * count > len(self.content) - self.position:
            raise self.content.wrong(at, f"an array of {count} values does not fit into the file")
        return [self.value(kind, depth + 1) for _ in range(count)]

    def entry(self, at: int, name: str) -> _Entry:
        """Return the description of a tensor."""
        axes = self.number("<u4")
        if axes > MOST_AXES:
            raise self.content.wrong(at, f"tensor {name!r:.80} has {axes} axes")
        shape = tuple(self.number("<u8") for _ in range(axes))[::-1]
        code, offset = self.number("<u4"), self.number("<u8")
        if code not in TYPES:
            raise self.content.wrong(at, f"tensor {name!r:.80} is of unknown type {code}")
        kind = TYPES[code]
        if not is_representable(shape, 8) or math.prod(shape[-1:]) % kind.elements:
            raise self.content.wrong(
                at, f"tensor {name!r:.80}: shape {shape} is no number of blocks of {kind.name}"
            )
        return _Entry(kind, shape, offset, at)
