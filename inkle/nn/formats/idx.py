"""The idx format of MNIST and its relatives: one array with a header of a few bytes.

    bytes 0-1   zero
    byte  2     element type (table below)
    byte  3     number of axes, r
    4 + 4 * i   size of axis i, big-endian uint32, i < r
    4 + 4 * r   elements, row-major, big-endian

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section "File formats".
Sizes are checked against the file before anything is allocated.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkle.errors import FormatError
from inkle.nn.formats.files import PathLike, is_representable, open_to_read

ELEMENT_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_LONGEST_HEADER = 4 + 4 * 255


def read_idx(path: PathLike) -> NDArray[Any]:
    """Read the array of an idx file (not compressed).

    Args:
        path: the file.

    Returns:
        A new array in the machine's byte order.

    Raises:
        DataError: if the file cannot be opened.
        FormatError: if it is no complete idx file; names file, offset and reason.
    """
    with open_to_read(path) as file:
        name = os.fspath(path)
        header = file.read(_LONGEST_HEADER)
        dtype, shape, start = _parse_header(header, os.fstat(file.fileno()).st_size, name)
        file.seek(start)
        elements = np.fromfile(file, dtype, math.prod(shape))
    if elements.size != math.prod(shape):
        raise FormatError(f"{name}: at byte {start}: the file shrank while it was read")
    return _in_native_order(elements.reshape(shape))


def parse_idx(content: bytes, name: str) -> NDArray[Any]:
    """Parse the bytes of an idx file.

    Args:
        content: the whole file.
        name: what to call it in errors.

    Returns:
        A read-only view of `content` where elements are single bytes, else a new array in the
        machine's byte order.

    Raises:
        FormatError: if it is no complete idx file; names file, offset and reason.

    Example:
        >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]), "digits").tolist()
        [7, 8, 9]
    """
    dtype, shape, start = _parse_header(content[:_LONGEST_HEADER], len(content), name)
    return _in_native_order(np.frombuffer(content, dtype, offset=start).reshape(shape))


def _parse_header(
    header: bytes, size_bytes: int, name: str
) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return element type, shape and start of the elements of a file of `size_bytes`."""

    def wrong(offset: int, reason: str) -> FormatError:
        return FormatError(f"{name}: no valid idx file, at byte {offset}: {reason}")

    if len(header) < 4:
        raise wrong(len(header), f"the header is cut off, the file has {size_bytes} bytes")
    if header[:2] == b"\x1f\x8b":
        raise wrong(0, "this is a gzip file; decompress it first")
    if header[:2] != b"\0\0":
        raise wrong(0, f"begins with {header[:2].hex(' ')}, not with 00 00")
    dtype = ELEMENT_TYPES.get(header[2])
    if dtype is None:
        raise wrong(2, f"unknown element type 0x{header[2]:02x}")
    axes = header[3]
    start = 4 + 4 * axes
    if len(header) < start:
        raise wrong(len(header), f"the sizes of {axes} axes end at byte {start}")
    shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(4, start, 4))
    if not is_representable(shape, dtype.itemsize):
        raise wrong(4, f"no array can have shape {shape}")
    expected = start + math.prod(shape) * dtype.itemsize
    if size_bytes != expected:
        raise wrong(
            min(size_bytes, expected),
            f"the file has {size_bytes} bytes, but shape {shape} of {dtype.name} needs {expected}",
        )
    return dtype, shape, start


def _in_native_order(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(array.dtype.newbyteorder("="), copy=False)
