"""Element types by the names that users write, and how Python and NumPy values map to them.

`inkle.dtypes` is this module: `dtypes.float32`, `dtypes.half`, `dtypes.int`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from inkle.errors import DTypeError
from inkle.ir.dtype import (
    BY_NAME,
    DType,
    Kind,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    promote,
    uint8,
    uint16,
    uint32,
    uint64,
)
from inkle.ir.size import Size

DTypeLike = DType | str | type | np.dtype[Any]

default_float = float32  # what a Python float becomes, as in PyTorch
default_int = int64

ALIASES = {
    "bool_": bool_, "half": float16, "float": float32, "double": float64,
    "char": int8, "short": int16, "int": int32, "long": int64, "uchar": uint8, "byte": uint8,
}  # fmt: skip
# PyTorch's and C's names; they shadow builtins in this module only, and nothing below uses those.
half, float, double = float16, float32, float64  # noqa: A001
char, short, int, long, uchar = int8, int16, int32, int64, uint8  # noqa: A001
bool = bool_  # noqa: A001

_PYTHON = {"bool": bool_, "int": int64, "float": float32}  # what torch.tensor makes of them


def as_dtype(dtype: DTypeLike) -> DType:
    """Return the element type that `dtype` names: ours, a name, a NumPy dtype or a Python type.

    Raises:
        DTypeError: if there is no such type.

    Example:
        >>> as_dtype("half"), as_dtype(np.dtype("int8")), as_dtype(bool)
        (float16, int8, bool)
    """
    if isinstance(dtype, DType):
        if dtype.kind in (Kind.INDEX, Kind.VOID):
            raise DTypeError(f"{dtype} is no element type of tensors")
        return dtype
    name: object = dtype
    if dtype is Size:
        return int64
    if isinstance(dtype, type) and dtype.__name__ in _PYTHON:
        return _PYTHON[dtype.__name__]
    if name is not None and not isinstance(name, str):  # NumPy takes None for float64
        try:
            name = np.dtype(dtype).name
        except (TypeError, ValueError):
            name = str(dtype)
    found = ALIASES.get(str(name)) or BY_NAME.get(str(name))
    if found is None or found.kind in (Kind.INDEX, Kind.VOID):
        names = ", ".join(key for key, each in BY_NAME.items() if each.bits)
        raise DTypeError(f"no element type {dtype!r:.60}; there are {names}")
    return found


__all__ = [
    "ALIASES", "DType", "DTypeLike", "as_dtype", "promote", "default_float", "default_int",
    "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "bfloat16", "float32", "float64",
    "bool", "char", "short", "int", "long", "uchar", "half", "float", "double",
]  # fmt: skip
