"""Element types: what one number in a tensor is, and which type two of them meet in."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import Enum

from inkle.errors import DTypeError


class Kind(Enum):
    """The families of element type that operations tell apart."""

    BOOL = "bool"
    UINT = "uint"
    INT = "int"
    FLOAT = "float"
    INDEX = "index"
    VOID = "void"

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is a call in Python


@dataclass(frozen=True, slots=True, eq=False)
class DType:
    """One element type; compare by identity.

    Attributes:
        name: short name, NumPy's where NumPy has the type ("float32").
        kind: the family that operation semantics depend on.
        bits: width in memory; 0 for `index` (unbounded integers) and `void` (no value).
        mantissa: explicit bits of the fraction of a float, else 0.
        is_float: whether values are floating point.
    """

    name: str
    kind: Kind
    bits: int
    mantissa: int = 0
    is_float: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_float", self.kind is Kind.FLOAT)

    @property
    def itemsize(self) -> int:
        """Bytes of one element in memory."""
        return self.bits // 8

    @property
    def is_integer(self) -> bool:
        """Whether values are integers of fixed width (neither bool nor index)."""
        return self.kind in (Kind.INT, Kind.UINT)

    def limits(self) -> tuple[int, int]:
        """Smallest and largest value of an integer or bool type."""
        if self.kind is Kind.BOOL:
            return 0, 1
        if self.kind is Kind.UINT:
            return 0, (1 << self.bits) - 1
        if self.kind is Kind.INT:
            return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        raise DTypeError(f"{self.name} has no integer limits")

    def __repr__(self) -> str:
        return self.name


bool_ = DType("bool", Kind.BOOL, 8)
int8 = DType("int8", Kind.INT, 8)
int16 = DType("int16", Kind.INT, 16)
int32 = DType("int32", Kind.INT, 32)
int64 = DType("int64", Kind.INT, 64)
uint8 = DType("uint8", Kind.UINT, 8)
uint16 = DType("uint16", Kind.UINT, 16)
uint32 = DType("uint32", Kind.UINT, 32)
uint64 = DType("uint64", Kind.UINT, 64)
float16 = DType("float16", Kind.FLOAT, 16, 10)
bfloat16 = DType("bfloat16", Kind.FLOAT, 16, 7)
float32 = DType("float32", Kind.FLOAT, 32, 23)
float64 = DType("float64", Kind.FLOAT, 64, 52)
index = DType("index", Kind.INDEX, 0)
void = DType("void", Kind.VOID, 0)

INTEGERS = (int8, int16, int32, int64, uint8, uint16, uint32, uint64)
FLOATS = (float16, bfloat16, float32, float64)
ALL = (bool_, *INTEGERS, *FLOATS)
BY_NAME = {dtype.name: dtype for dtype in (*ALL, index, void)}


def round_half_bits(value: float, dtype: DType) -> int:
    """Return the 16 bits of `value` in float16 or bfloat16; `value` is representable there."""
    if dtype is float16:
        return int.from_bytes(struct.pack("<e", value), "little")
    return int.from_bytes(struct.pack("<f", value), "little") >> 16


def promote(a: DType, b: DType) -> DType:
    """Return the dtype in which values of `a` and `b` meet (PyTorch's table).

    bool < unsigned < signed < float; two signed or two unsigned give the wider; an unsigned meets a
    signed in the narrowest signed type that holds both; float16 meets bfloat16 in float32.

    Raises:
        DTypeError: for uint64 with a signed integer: no integer type holds both.
    """
    if a is b:
        return a
    if a.kind is Kind.BOOL or b.kind is Kind.BOOL:
        return b if a.kind is Kind.BOOL else a
    if a.is_float or b.is_float:
        if not (a.is_float and b.is_float):
            return a if a.is_float else b
        if a.bits == b.bits:
            return float32
        return a if a.bits > b.bits else b
    if a.kind is b.kind:
        return a if a.bits > b.bits else b
    signed, unsigned = (a, b) if a.kind is Kind.INT else (b, a)
    if signed.bits > unsigned.bits:
        return signed
    for wider in (int16, int32, int64):
        if wider.bits > unsigned.bits:
            return wider
    raise DTypeError(f"no integer type holds both {a} and {b}; cast one of them first")
