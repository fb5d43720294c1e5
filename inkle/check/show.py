"""A tensor program as runnable Python code: what a fuzzer prints when it has found something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from inkle.check.generate import Program
from inkle.check.numpy_algebra import Array
from inkle.ir import forms, ops
from inkle.ir.dtype import DType
from inkle.ir.node import Node, toposort
from inkle.ir.op import Op
from inkle.ir.scan import step_of

_METHODS = {ops.AND: "and_", ops.OR: "or_", ops.NOT: "not_"}
_CALLS = {
    forms.RESHAPE: "reshape", forms.PERMUTE: "permute", forms.EXPAND: "expand",
    forms.SLICE: "slice_", forms.PAD: "pad", forms.FLIP: "flip",
}  # fmt: skip
HEAD = """\
from math import inf, nan

import numpy as np

from inkle.check.fuzz import Program, failure
from inkle.ir import dtype as dt, host, ops, scan, tensor
from inkle.ir.node import const
from inkle.ir.scan import Recurrence
"""


def to_python(program: Program, executor: str) -> str:
    """Return code that builds `program` and compares an executor with the reference.

    Args:
        program: what failed.
        executor: import path of the executor, "package.module:function".
    """
    module, _, function = executor.partition(":")
    names: dict[Node, str] = {}
    lines = [HEAD + f"from {module} import {function} as execute\n"]
    _add_nodes(program.outputs, names, lines)
    lines.append("leaves = {")
    for node, array in program.leaves.items():
        lines.append(f"    {names[node]}: {_array(array)},")
    lines.append("}")
    outputs = ", ".join(names[node] for node in program.outputs)
    lines.append(f"print(failure(Program(({outputs},), leaves), execute))")
    return "\n".join(lines) + "\n"


def _add_nodes(roots: Sequence[Node], names: dict[Node, str], lines: list[str]) -> None:
    """Append a line for every node below `roots` that has no name yet, and give it one."""
    for node in toposort(roots):
        if node in names:
            continue
        if node.op is forms.SCAN:
            _add_nodes(step_of(node), names, lines)
            call = _loop(node, names)
        else:
            call = _construct(node, [names[source] for source in node.src])
        names[node] = f"x{len(names)}"
        lines.append(f"{names[node]} = {call}")


def _loop(node: Node, names: dict[Node, str]) -> str:
    """Return the call that makes a SCAN."""
    recurrence, result, rows = node.arg
    following = _list([names[each] for each in recurrence.following])
    rest = f"{recurrence.sliced}, {recurrence.steps}, {recurrence.is_reversed}"
    step = f"{_list([names[source] for source in node.src])}, Recurrence({following}, {rest})"
    if isinstance(result, Node):
        return f"scan.stack({step}, {names[result]})"
    return f"scan.carry({step}, {result}, {rows})"


def _list(parts: Sequence[str]) -> str:
    return f"({', '.join(parts)}{',' * (len(parts) == 1)})"


def _construct(node: Node, src: list[str]) -> str:
    """Return the call that makes one node."""
    op, arg = node.op, node.arg
    dtype = _dtype(node.dtype)
    if op is ops.CAST or op is ops.BITCAST:
        return f"{src[0]}.{op.name}({dtype})"
    if op.is_elementwise:
        return f"{src[0]}.{_METHODS.get(op, op.name)}({', '.join(src[1:])})"
    if op in _CALLS:
        return f"tensor.{_CALLS[op]}({src[0]}, {_text(arg)})"
    calls = {
        forms.CONST: lambda: f"const({_text(arg)}, {dtype})",
        forms.PARAM: lambda: f"tensor.param({arg[0]}, {dtype}, {arg[1]})",
        forms.ARANGE: lambda: f"tensor.arange({arg}, {dtype})",
        forms.SHEAR: lambda: f"tensor.shear({src[0]}, {', '.join(map(str, arg))})",
        forms.REDUCE: lambda: f"tensor.reduce({src[0]}, {_text(arg[0])}, {arg[1]})",
        forms.PREFIX: lambda: f"tensor.prefix({src[0]}, {_text(arg[0])}, {arg[1]})",
        forms.GATHER: lambda: f"tensor.gather({src[0]}, [{', '.join(src[1:])}], {arg})",
        forms.SCATTER: lambda: (
            f"tensor.scatter({src[0]}, {src[1]}, [{', '.join(src[2:])}], {arg[1]}, {_text(arg[0])})"
        ),
        forms.CAT: lambda: f"tensor.cat([{', '.join(src)}], {arg})",
        forms.UPDATE: lambda: f"tensor.update({src[0]}, {src[1]}, {arg})",
        forms.HOST: lambda: (
            f"host.call({arg.name!r}, {_list(src)}, {arg.params}, {arg.shape}, {dtype}, "
            f"{arg.result})"
        ),
        forms.CONTIGUOUS: lambda: f"tensor.contiguous({src[0]})",
        forms.DETACH: lambda: f"tensor.detach({src[0]})",
    }
    return calls[op]()


def _dtype(dtype: DType) -> str:
    return f"dt.{dtype.name}{'_' if dtype.name == 'bool' else ''}"


def _text(value: Any) -> str:
    return f"ops.{value.name.upper()}" if isinstance(value, Op) else repr(value)


def _array(array: Array) -> str:
    if array.size == 0:
        return f"np.zeros({array.shape}, np.{array.dtype.name})"
    first = array.flat[0]
    if array.size > 1 and (array == first).all() and not np.signbit(array).any():
        return f"np.full({array.shape}, {first.item()!r}, np.{array.dtype.name})"
    if array.dtype.kind in "iu" and np.array_equal(array.ravel(), np.arange(array.size)):
        return f"np.arange({array.size}, dtype=np.{array.dtype.name}).reshape({array.shape})"
    name = "bool_" if array.dtype == bool else array.dtype.name
    return f"np.array({array.tolist()}, np.{name})"
