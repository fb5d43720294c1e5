r"""The .npy format: one array with a header of text.

    bytes 0-5    "\x93NUMPY"
    bytes 6-7    version: 1, 2 or 3, and 0
    bytes 8-...  length of the header, uint16 (version 1) or uint32
    header       a Python dict: descr (element type), fortran_order, shape
    elements     row-major, or column-major with fortran_order

The header is read as a literal, which executes nothing; arrays of objects are pickles and refused.

Source: NumPy's documentation, `numpy.lib.format`.
"""

from __future__ import annotations

import ast
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkle.nn.formats.content import Content
from inkle.nn.formats.files import is_representable

MAGIC = b"\x93NUMPY"
MOST_HEADER = 10_000  # bytes, NumPy's own limit


def parse_npy(content: Content) -> NDArray[Any]:
    """Return the array of a .npy file: a view of it; a copy where its bytes are in other order.

    Raises:
        FormatError: if it is damaged, or holds other than bools and numbers; names file, offset
            and reason.
    """
    magic, major, minor = content.unpack("<6sBB", 0, "the start")
    if magic != MAGIC or major not in (1, 2, 3) or minor:
        raise content.wrong(0, f"it begins with {magic!r}, version {major}.{minor}")
    form = "<H" if major == 1 else "<I"
    (length,) = content.unpack(form, 8, "the length of the header")
    start = 8 + (2 if major == 1 else 4)
    if length > MOST_HEADER:
        raise content.wrong(8, f"a header of {length} bytes; at most {MOST_HEADER} are allowed")
    text = bytes(content.take(start, length, "the header"))
    dtype, is_fortran, shape = _parse_header(content, start, text)
    size = math.prod(shape) * dtype.itemsize
    if start + length + size != len(content):
        raise content.wrong(
            start + length,
            f"shape {shape} of {dtype} needs {size} bytes, {len(content) - start - length} follow",
        )
    flat = content.array(start + length, size, "the elements").view(dtype)
    if dtype.kind == "b" and size and flat.view(np.uint8).max() > 1:
        raise content.wrong(start + length, "a bool is a byte other than 0 and 1")
    flat = flat.astype(dtype.newbyteorder("="), copy=False)
    return flat.reshape(shape, order="F" if is_fortran else "C")


def _parse_header(
    content: Content, start: int, text: bytes
) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    try:
        header = ast.literal_eval(text.decode("latin-1").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        raise content.wrong(start, "the header is no literal of Python") from None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise content.wrong(start, "the header needs exactly descr, fortran_order and shape")
    name, is_fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    try:
        dtype = np.dtype(name) if isinstance(name, str) else np.dtype(object)
    except (TypeError, ValueError, SyntaxError):
        dtype = np.dtype(object)
    if dtype.kind not in "biuf" or dtype.itemsize not in (1, 2, 4, 8):
        raise content.wrong(
            start, f"elements of type {name!r:.40}; there are bools, integers and floats"
        )
    sizes = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not sizes or not isinstance(is_fortran, bool):
        raise content.wrong(start, f"shape {shape!r:.60} or order {is_fortran!r:.20} is none")
    if not is_representable(shape, dtype.itemsize):
        raise content.wrong(start, f"no array can have shape {shape!r:.60}")
    return dtype, is_fortran, shape
