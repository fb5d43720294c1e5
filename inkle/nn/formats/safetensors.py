"""safetensors files: named tensors behind a JSON header, mapped into memory without a copy.

The layout is described in `safetensors_header`. Nothing in a file is executed. The writer's
bytes equal those of the reference implementation.

Source: https://github.com/huggingface/safetensors, README, section "Format".
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inkle.errors import DataError, DTypeError, FormatError, ShapeError
from inkle.nn.formats.files import PathLike, open_to_read, write_atomically
from inkle.nn.formats.safetensors_header import (
    ELEMENT_TYPES,
    MAX_HEADER_BYTES,
    METADATA,
    Header,
    read_header_of,
)

_RANK = {name: rank for rank, name in enumerate(ELEMENT_TYPES)}
_NAME_OF = {row.numpy: name for name, row in ELEMENT_TYPES.items() if row.numpy is not None}


@dataclass(frozen=True, slots=True, eq=False)
class RawTensor:
    """Bytes with an element type and a shape; the type may be one that NumPy does not have.

    Attributes:
        dtype: name of the element type in the format, such as "F32" or "BF16".
        shape: sizes of the axes.
        data: one contiguous axis of uint8, little-endian elements in row-major order.

    Raises:
        DTypeError: if the format has no type `dtype`, or `data` is not as described.
        ShapeError: if `data` does not have the size of the shape.
    """

    dtype: str
    shape: tuple[int, ...]
    data: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.dtype not in ELEMENT_TYPES:
            raise DTypeError(
                f"no element type {self.dtype!r}; there are {', '.join(ELEMENT_TYPES)}"
            )
        data = self.data
        if data.dtype != np.uint8 or data.ndim != 1 or not data.flags.c_contiguous:
            raise DTypeError(
                f"data must be one contiguous axis of uint8, got {data.dtype} of shape "
                f"{data.shape}, strides {data.strides}"
            )
        bits = math.prod(self.shape) * ELEMENT_TYPES[self.dtype].bits
        if min(self.shape, default=0) < 0 or bits != 8 * data.size:
            raise ShapeError(
                f"{self.dtype} of shape {self.shape} needs {bits / 8:.16g} bytes, got {data.size}"
            )

    def numpy(self) -> NDArray[Any]:
        """View the bytes as an array of NumPy's type, without a copy.

        Raises:
            DTypeError: if NumPy has no such type; use `data` then.
            FormatError: if a boolean is neither 0 nor 1.
        """
        dtype = ELEMENT_TYPES[self.dtype].numpy
        if dtype is None:
            raise DTypeError(f"NumPy has no type for {self.dtype}; use the bytes in .data")
        # NumPy takes a byte of 2 as True here and as different from True there.
        if dtype == np.bool_ and self.data.size and self.data.max() > 1:
            raise FormatError(f"BOOL tensor with a byte {self.data.max()}; it must be 0 or 1")
        return self.data.view(dtype).reshape(self.shape)


def read_header(path: PathLike) -> Header:
    """Read and check the header of a safetensors file; the data are not touched.

    Raises:
        DataError: if the file cannot be opened.
        FormatError: if the header is not valid or does not fit the file.
    """
    with open_to_read(path) as file:
        return read_header_of(file, os.fspath(path))


def load(path: PathLike) -> dict[str, RawTensor]:
    """Map a safetensors file into memory.

    The file must not be shortened while the tensors live: the system ends a program that reads a
    mapped page behind the end. (`save` never does that; it puts a new file in the old one's place.)

    Returns:
        The tensors in the order of their data: read-only views of the file, nothing is read yet.

    Raises:
        DataError: if the file cannot be opened or mapped.
        FormatError: if the header is not valid or does not fit the file.

    Example:
        >>> weights = load("model.safetensors")
        >>> weights["bias"].numpy()
        array([0.5, 0.25], dtype=float32)
    """
    with open_to_read(path) as file:
        header = read_header_of(file, os.fspath(path))
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot map {os.fspath(path)} into memory: {error}") from error
    content = np.frombuffer(mapped, np.uint8)
    return {
        name: RawTensor(entry.dtype, entry.shape, content[entry.start : entry.stop])
        for name, entry in header.entries.items()
    }


def save(
    path: PathLike,
    tensors: Mapping[str, ArrayLike | RawTensor],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file in full, or leave what was at `path` untouched.

    The data begin at a multiple of 8 bytes, and wide types come first: every tensor is aligned.

    Args:
        path: file to make or replace.
        tensors: arrays by name; `RawTensor` for types that NumPy does not have.
        metadata: free text to keep beside them.

    Raises:
        DataError: if the file cannot be written.
        DTypeError: if an array has no type of the format, or a name or metadata are not text.
        FormatError: if a name is reserved or cannot be written as UTF-8.
    """
    arrays = {
        name: tensor if isinstance(tensor, RawTensor) else np.asarray(tensor)
        for name, tensor in tensors.items()
    }
    header, order = _build_header(arrays, metadata or {})
    write_atomically(path, _chunks(header, [arrays[name] for name in order]))


def _chunks(header: bytes, tensors: list[RawTensor | NDArray[Any]]) -> Iterator[bytes | memoryview]:
    yield len(header).to_bytes(8, "little")
    yield header
    for tensor in tensors:  # converted one by one, so that no second copy of all is in memory
        yield (tensor.data if isinstance(tensor, RawTensor) else _little_endian(tensor)).data


def _little_endian(array: NDArray[Any]) -> NDArray[np.uint8]:
    flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
    return flat.view(np.uint8)


def _build_header(
    tensors: Mapping[str, RawTensor | NDArray[Any]], metadata: Mapping[str, str]
) -> tuple[bytes, list[str]]:
    """Return the padded header and the order of the data."""
    types = {_checked_name(name): _type_name(name, tensor) for name, tensor in tensors.items()}
    order = sorted(tensors, key=lambda name: (-_RANK[types[name]], name))
    fields: dict[str, object] = {METADATA: _checked_metadata(metadata)} if metadata else {}
    start = 0
    for name in order:
        shape = [int(size) for size in tensors[name].shape]  # JSON takes no NumPy integers
        stop = start + math.prod(shape) * ELEMENT_TYPES[types[name]].bits // 8
        fields[name] = {"dtype": types[name], "shape": shape, "data_offsets": (start, stop)}
        start = stop
    try:
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"name or metadata cannot be written as UTF-8: {error}") from None
    if len(text) > MAX_HEADER_BYTES:
        raise FormatError(f"header of {len(text)} bytes; at most {MAX_HEADER_BYTES} are allowed")
    return text + b" " * (-len(text) % 8), order


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise DTypeError(f"names of tensors must be str, got {name!r}")
    if name == METADATA:
        raise FormatError(f"a tensor cannot be called {METADATA}: the format reserves this name")
    return name


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    for pair in metadata.items():
        if not all(isinstance(part, str) for part in pair):
            raise DTypeError(f"metadata must map str to str, got {pair}")
    return dict(sorted(metadata.items()))


def _type_name(name: str, tensor: RawTensor | NDArray[Any]) -> str:
    if isinstance(tensor, RawTensor):
        return tensor.dtype
    found = _NAME_OF.get(tensor.dtype.newbyteorder("<"))
    if found is None:
        raise DTypeError(
            f"tensor {name!r}: safetensors has no type for {tensor.dtype}; convert it, "
            "or pass a RawTensor"
        )
    return found
