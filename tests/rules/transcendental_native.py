"""Runs an elementwise graph on NumPy arrays at native speed: the executor of the accuracy tests.

Written for these tests only, apart from inkle's renderer: 2**32 inputs take seconds, and what it
knows of each operation is one line of LLVM IR below.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from inkle.ir import forms
from inkle.ir.dtype import DType, Kind
from inkle.ir.node import Node, intern, toposort

LANES = 16
_names = itertools.count()
_BINARY_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_BINARY_INTEGER = {"add": "add", "sub": "sub", "mul": "mul"}
_BINARY_INTEGER |= {"and": "and", "or": "or", "xor": "xor"}
_COMPARE_FLOAT = {"less": "olt", "less_equal": "ole", "equal": "oeq", "not_equal": "une"}
_COMPARE_SIGNED = {"less": "slt", "less_equal": "sle", "equal": "eq", "not_equal": "ne"}
_COMPARE_UNSIGNED = {"less": "ult", "less_equal": "ule", "equal": "eq", "not_equal": "ne"}
_CALL = {"fma": "fma", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc"}
_CALL |= {"rint": "roundeven", "abs": "fabs"}


def parameter(slot: int, dtype: DType) -> Node:
    """Return the leaf that stands for argument number `slot`."""
    return intern(forms.PARAM, dtype, (), (slot, ()), ())


def scalar_type(dtype: DType) -> str:
    """Return the LLVM name of an element type."""
    if dtype.is_float:
        return {"float16": "half", "bfloat16": "bfloat"}.get(
            dtype.name, "float" if dtype.bits == 32 else "double"
        )
    return "i1" if dtype.kind is Kind.BOOL else f"i{dtype.bits}"


def vector_type(dtype: DType) -> str:
    return f"<{LANES} x {scalar_type(dtype)}>"


def literal(node: Node) -> str:
    if not node.dtype.is_float:
        value = str(node.arg).lower()
    else:
        bits = np.float64(node.arg).view(np.uint64)
        value = f"bitcast (i64 {bits} to double)" if node.dtype.bits == 64 else f"0x{bits:016X}"
    return f"splat ({scalar_type(node.dtype)} {value})"


def line(node: Node, args: list[str]) -> str:
    """Return the right-hand side that computes `node` from the registers `args`."""
    name, kind, out = node.op.name, node.dtype.kind, vector_type(node.dtype)
    source = node.src[0].dtype
    if name in ("cast", "bitcast"):
        return f"{conversion(name, source, node.dtype)} {vector_type(source)} {args[0]} to {out}"
    if name in _COMPARE_FLOAT:
        word = "fcmp" if source.is_float else "icmp"
        table = _COMPARE_FLOAT if source.is_float else _COMPARE_SIGNED
        table = _COMPARE_UNSIGNED if source.kind is Kind.UINT else table
        return f"{word} {table[name]} {vector_type(source)} {args[0]}, {args[1]}"
    if name == "where":
        return f"select <{LANES} x i1> {args[0]}, {out} {args[1]}, {out} {args[2]}"
    if name in _CALL and kind is Kind.FLOAT:
        suffix = f"v{LANES}f{node.dtype.bits}"
        return f"call {out} @llvm.{_CALL[name]}.{suffix}({', '.join(f'{out} {a}' for a in args)})"
    if name == "neg":
        return (
            f"fneg {out} {args[0]}"
            if kind is Kind.FLOAT
            else f"sub {out} zeroinitializer, {args[0]}"
        )
    if name == "not":
        ones = "true" if kind is Kind.BOOL else "-1"
        return f"xor {out} {args[0]}, splat ({scalar_type(node.dtype)} {ones})"
    table = _BINARY_FLOAT if kind is Kind.FLOAT else _BINARY_INTEGER
    return f"{table[name]} {out} {args[0]}, {args[1]}"


def conversion(name: str, source: DType, target: DType) -> str:
    if name == "bitcast":
        return "bitcast"
    if source.is_float and target.is_float:
        return "fpext" if target.bits > source.bits else "fptrunc"
    if source.is_float:
        return "fptosi" if target.kind is Kind.INT else "fptoui"
    signed = source.kind is Kind.INT
    if target.is_float:
        return "sitofp" if signed else "uitofp"
    if target.bits < source.bits and source.kind is not Kind.BOOL:
        return "trunc"
    return "sext" if signed else "zext"


def text(name: str, root: Node) -> str:
    """Return LLVM IR of `void name(ptr out, ptr in0, .., i64 n)`; n is a multiple of LANES."""
    nodes = toposort((root,))
    slots = sorted({n.arg[0] for n in nodes if n.op is forms.PARAM})
    pointers = "".join(f", ptr noalias %p{slot}" for slot in slots)
    body, declares, register = [], set(), {}
    for number, node in enumerate(nodes):
        if node.op is forms.CONST:
            register[node] = literal(node)
            continue
        register[node] = f"%v{number}"
        kind = vector_type(node.dtype)
        if node.op is forms.PARAM:
            element = scalar_type(node.dtype)
            body.append(f"%a{number} = getelementptr {element}, ptr %p{node.arg[0]}, i64 %i")
            body.append(f"%v{number} = load {kind}, ptr %a{number}, align 1")
            continue
        args = [register[source] for source in node.src]
        if node.op.name in ("shl", "shr"):
            mask = f"splat ({scalar_type(node.dtype)} {node.dtype.bits - 1})"
            body.append(f"%c{number} = and {kind} {args[1]}, {mask}")
            word = {"shl": "shl", "shr": "ashr" if node.dtype.kind is Kind.INT else "lshr"}
            body.append(f"%v{number} = {word[node.op.name]} {kind} {args[0]}, %c{number}")
            continue
        body.append(f"%v{number} = {line(node, args)}")
        if node.op.name in _CALL:
            arity = ", ".join([kind] * len(args))
            suffix = f"v{LANES}f{node.dtype.bits}"
            declares.add(f"declare {kind} @llvm.{_CALL[node.op.name]}.{suffix}({arity})")
    element = scalar_type(root.dtype)
    lines = "\n  ".join(body)
    return (
        "\n".join(sorted(declares))
        + f"""
define void @{name}(ptr noalias %out{pointers}, i64 %n) {{
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  {lines}
  %o = getelementptr {element}, ptr %out, i64 %i
  store {vector_type(root.dtype)} {register[root]}, ptr %o, align 1
  %next = add i64 %i, {LANES}
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""
    )


@cache
def _engine() -> tuple[Any, Any]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=2
    )
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine), machine


def compile_graph(root: Node) -> Callable[..., np.ndarray]:
    """Return a function from NumPy arrays (one per parameter) to the values of `root`."""
    name = f"graph{next(_names)}"
    engine, _ = _engine()
    module = llvm.parse_assembly(text(name, root))
    module.verify()
    engine.add_module(module)
    engine.finalize_object()
    dtypes = {n.arg[0]: n.dtype for n in toposort((root,)) if n.op is forms.PARAM}
    signature = [ctypes.c_void_p] * (1 + len(dtypes)) + [ctypes.c_int64]
    function = ctypes.CFUNCTYPE(None, *signature)(engine.get_function_address(name))
    out_dtype = np.dtype("bool" if root.dtype.name == "bool" else root.dtype.name)

    def call(*arrays: np.ndarray) -> np.ndarray:
        n = arrays[0].size
        padded = -(-n // LANES) * LANES
        sources = [np.ascontiguousarray(a) for a in arrays]
        if padded != n:
            sources = [np.concatenate([a, np.ones(padded - n, a.dtype)]) for a in sources]
        out = np.empty(padded, out_dtype)
        if padded:
            function(out.ctypes.data, *(a.ctypes.data for a in sources), padded)
        return out[:n]

    return call


def assembly(root: Node) -> str:
    """Return the machine code of the loop, to count instructions."""
    _, machine = _engine()
    module = llvm.parse_assembly(text("kernel", root))
    return str(machine.emit_assembly(module))


def in_chunks(work: Callable[[int], Any], count: int, threads: int = 2) -> list[Any]:
    """Return `work(0) .. work(count - 1)`, computed by `threads` threads."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(count)))
