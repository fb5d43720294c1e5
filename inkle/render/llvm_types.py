"""LLVM's words for our types and literals, and the table of elementwise operations it has."""

from __future__ import annotations

import math
import struct

from inkle.ir import ops
from inkle.ir.dtype import DType, Kind, bfloat16, float16, round_half_bits
from inkle.ir.op import Op

REGISTER = {
    "bool": "i1",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "uint8": "i8",
    "uint16": "i16",
    "uint32": "i32",
    "uint64": "i64",
    "float16": "half",
    "bfloat16": "i16",  # its bits
    "float32": "float",
    "float64": "double",
    "index": "i64",
}
SUFFIX = {"half": "f16", "float": "f32", "double": "f64"}

# Operations that are one instruction, by family of the operands.
INSTRUCTION: dict[Op, dict[Kind, str]] = {
    ops.ADD: {Kind.FLOAT: "fadd", Kind.INT: "add", Kind.UINT: "add", Kind.INDEX: "add nsw"},
    ops.SUB: {Kind.FLOAT: "fsub", Kind.INT: "sub", Kind.UINT: "sub", Kind.INDEX: "sub nsw"},
    ops.MUL: {Kind.FLOAT: "fmul", Kind.INT: "mul", Kind.UINT: "mul", Kind.INDEX: "mul nsw"},
    ops.DIV: {Kind.FLOAT: "fdiv"},
    ops.AND: dict.fromkeys((Kind.INT, Kind.UINT, Kind.INDEX, Kind.BOOL), "and"),
    ops.OR: dict.fromkeys((Kind.INT, Kind.UINT, Kind.INDEX, Kind.BOOL), "or"),
    ops.XOR: dict.fromkeys((Kind.INT, Kind.UINT, Kind.INDEX, Kind.BOOL), "xor"),
}
# Operations that are one intrinsic of floats.
INTRINSIC: dict[Op, str] = {
    ops.ABS: "fabs",
    ops.FLOOR: "floor",
    ops.CEIL: "ceil",
    ops.TRUNC: "trunc",
    ops.RINT: "roundeven",
    ops.SQRT: "sqrt",
    ops.FMA: "fma",
}
# Matrix instructions: intrinsic, type of A and B, and whether it takes B first.
DOT = {
    "vpdpbusd": ("llvm.x86.avx512.vpdpbusd.512", "<64 x i8>", False),
    "vpdpbusd_swapped": ("llvm.x86.avx512.vpdpbusd.512", "<64 x i8>", True),
    "vpdpbusd_8": ("llvm.x86.avx512.vpdpbusd.256", "<32 x i8>", False),
    "vpdpbusd_8_swapped": ("llvm.x86.avx512.vpdpbusd.256", "<32 x i8>", True),
    "vdpbf16ps": ("llvm.x86.avx512bf16.dpbf16ps.512", "<32 x bfloat>", False),
}
COMPARISON: dict[Op, dict[Kind, str]] = {
    ops.LESS: {Kind.FLOAT: "fcmp olt", Kind.INT: "icmp slt", Kind.UINT: "icmp ult"},
    ops.LESS_EQUAL: {Kind.FLOAT: "fcmp ole", Kind.INT: "icmp sle", Kind.UINT: "icmp ule"},
    ops.EQUAL: {Kind.FLOAT: "fcmp oeq", Kind.INT: "icmp eq", Kind.UINT: "icmp eq"},
    ops.NOT_EQUAL: {Kind.FLOAT: "fcmp une", Kind.INT: "icmp ne", Kind.UINT: "icmp ne"},
}
for _row in COMPARISON.values():
    _row[Kind.INDEX] = _row[Kind.INT]
    _row[Kind.BOOL] = _row[Kind.UINT]
# Operations that the renderer writes with a few instructions.
SPELLED = frozenset(
    {
        ops.NEG,
        ops.NOT,
        ops.ABS,
        ops.TRUNCDIV,
        ops.TRUNCMOD,
        ops.MAXIMUM,
        ops.MINIMUM,
        ops.SHL,
        ops.SHR,
    }
    | {ops.WHERE, ops.CAST, ops.BITCAST}
)
HALVES = (float16, bfloat16)


def supports(op: Op, dtype: DType) -> bool:
    """Whether this target has `op` on operands of `dtype`; everything else is decomposed."""
    if dtype in HALVES and op not in (ops.CAST, ops.BITCAST, ops.WHERE):
        return False
    if op in SPELLED:
        return True
    if op in INTRINSIC and dtype.kind is Kind.FLOAT:
        return True
    table = INSTRUCTION.get(op) or COMPARISON.get(op)
    return table is not None and dtype.kind in table


def type_of(dtype: DType, lanes: int) -> str:
    """Return the register type of a value."""
    base = REGISTER[dtype.name]
    return base if lanes == 1 else f"<{lanes} x {base}>"


def memory_type(dtype: DType, lanes: int) -> str:
    """Return the type in memory: a bool is a byte."""
    base = "i8" if dtype.kind is Kind.BOOL else REGISTER[dtype.name]
    return base if lanes == 1 else f"<{lanes} x {base}>"


def suffix(dtype: DType, lanes: int, *, memory: bool = False) -> str:
    """Return the overload suffix of an intrinsic: v16f32, i64, ..."""
    base = "i8" if memory and dtype.kind is Kind.BOOL else REGISTER[dtype.name]
    base = SUFFIX.get(base, base)
    return base if lanes == 1 else f"v{lanes}{base}"


def literal(value: bool | int | float, dtype: DType, lanes: int = 1) -> str:
    """Return a literal; floats by their bits, so that nothing is lost."""
    text = _scalar(value, dtype)
    return text if lanes == 1 else f"splat ({REGISTER[dtype.name]} {text})"


def _scalar(value: bool | int | float, dtype: DType) -> str:
    if dtype.kind is Kind.BOOL:
        return "true" if value else "false"
    if dtype.kind is not Kind.FLOAT:
        return str(int(value))
    number = float(value)
    if dtype is bfloat16:
        return str(round_half_bits(number, dtype))
    if dtype.bits == 16:
        return f"0xH{round_half_bits(number, dtype):04X}"
    if dtype.bits == 32 and not (math.isinf(number) or number != number):
        number = struct.unpack("<f", struct.pack("<f", number))[0]
    bits = struct.unpack("<Q", struct.pack("<d", number))[0]
    if dtype.bits == 32 and number != number:
        bits &= 0xFFFFFFFFE0000000  # LLVM wants float literals exactly representable
    return f"0x{bits:016X}"
