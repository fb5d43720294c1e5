"""The meaning of the tensor form: evaluates a graph with NumPy, one operation at a time.

Plain on purpose, one function per operation: this is what fuzzers compare executors with. It keeps
to the dtypes of the graph (each intermediate result is rounded to its dtype) and reduces in pairs
(`inkle.check.arrays.reduce_axes` says exactly how). bfloat16 is held as float32, index as int64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from inkle.check.arrays import reduce_axes, running, wrap_index, write_in_order
from inkle.check.library import value_of
from inkle.check.numpy_algebra import Array, apply, constant, numpy_dtype, to_array
from inkle.errors import InternalError
from inkle.ir import forms, ops
from inkle.ir.dtype import index
from inkle.ir.node import Node, toposort
from inkle.ir.op import Op
from inkle.ir.scan import step_of


def evaluate(nodes: Sequence[Node], leaves: Mapping[Node, Array]) -> list[Array]:
    """Return the values of `nodes`.

    Args:
        nodes: of the tensor form.
        leaves: the values of BUFFER, PARAM and VARIABLE nodes (any other node may be given too, and
            is then not computed).

    Returns:
        One fresh array per node, of its shape and of the dtype that `numpy_dtype` says.

    Raises:
        InternalError: if a leaf is missing or has another shape.
    """
    values: dict[Node, Array] = {}
    for node, array in leaves.items():
        values[node] = to_array(array, node.dtype)
        if values[node].shape != node.shape:
            raise InternalError(f"{node!r} got an array of shape {values[node].shape}")
    for node in toposort(nodes):
        if node in values:
            continue
        rule = _RULES.get(node.op)
        if node.op.is_elementwise:
            sources = [source.dtype for source in node.src]
            value = apply(node.op, node.dtype, [values[source] for source in node.src], sources)
        elif rule is not None:
            value = rule(node, *[values[source] for source in node.src])
        else:
            raise InternalError(f"no value given for {node!r}")
        assert value.shape == node.shape, f"{node!r} has shape {value.shape}"
        values[node] = value
    return [np.array(values[node]) for node in nodes]


def _const(node: Node) -> Array:
    return constant(node.arg, node.dtype)


def _arange(node: Node) -> Array:
    return apply(ops.CAST, node.dtype, [np.arange(node.arg)], [index])


def _pad(node: Node, x: Array) -> Array:
    out = np.zeros(node.shape, x.dtype)
    steps = [inner + 1 for _, _, inner in node.arg]
    starts = [low for low, _, _ in node.arg]
    out[
        tuple(
            slice(start, start + (n - 1) * step + 1 if n else start, step)
            for start, step, n in zip(starts, steps, x.shape, strict=True)
        )
    ] = x
    return out


def _slices(spec: Sequence[tuple[int, int, int]]) -> tuple[slice, ...]:
    return tuple(slice(*each) for each in spec)


def _shear(node: Node, x: Array) -> Array:
    axis, by, factor = node.arg
    i, j = coordinate(x.shape, axis), coordinate(x.shape, by)
    source = i + factor * j
    is_inside = (source >= 0) & (source < x.shape[axis])
    if not x.size:
        return x
    safe = np.broadcast_to(np.where(is_inside, source, 0), x.shape)
    return np.where(is_inside, np.take_along_axis(x, safe, axis), np.zeros((), x.dtype))


def coordinate(shape: tuple[int, ...], axis: int) -> Array:
    """Return each position along `axis`, shaped to broadcast with an array of `shape`."""
    return np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])


def _reduce(node: Node, x: Array) -> Array:
    op, axes = node.arg
    return reduce_axes(op, node.dtype, x, axes)


def _prefix(node: Node, x: Array) -> Array:
    op, axis = node.arg
    return np.moveaxis(running(op, node.dtype, np.moveaxis(x, axis, -1)), -1, axis)


def _positions(
    x: Array, shape: tuple[int, ...], spec: Sequence[int], indices: Sequence[Array]
) -> tuple[Array, Array]:
    """Return the flat position in `x` of each coordinate of `shape`, and where there is one."""
    at, is_valid = np.zeros(shape, np.int64), np.ones(shape, bool)
    for n, entry in zip(x.shape, spec, strict=True):
        along = indices[-entry - 1] if entry < 0 else coordinate(shape, entry)
        position, inside = wrap_index(along, n)
        at, is_valid = at * n + position, is_valid & inside
    return at, is_valid


def _gather(node: Node, x: Array, *indices: Array) -> Array:
    at, is_valid = _positions(x, node.shape, node.arg, indices)
    if not x.size:
        return np.zeros(node.shape, x.dtype)
    return np.where(is_valid, x.ravel()[np.where(is_valid, at, 0)], np.zeros((), x.dtype))


def _scatter(node: Node, base: Array, values: Array, *indices: Array) -> Array:
    op, spec = node.arg
    out = np.array(base).reshape(-1)
    at, is_valid = _positions(base, values.shape, spec, indices)
    write_in_order(out, at[is_valid], values[is_valid], op, node.dtype)
    return out.reshape(base.shape)


def _update(node: Node, base: Array, values: Array) -> Array:
    out = np.array(base)
    out[_slices(node.arg)] = values
    return out


def _scan(node: Node, *sources: Array) -> Array:
    recurrence, result, rows = node.arg
    inner = step_of(node)
    params = {each.arg[0]: each for each in toposort(inner) if each.op is forms.PARAM}
    count, sliced, steps = recurrence.carried, recurrence.sliced, recurrence.steps
    carried = list(sources[:count])
    out = np.zeros(node.shape, numpy_dtype(node.dtype))
    if not isinstance(result, Node):
        out[recurrence.first_row(rows)] = carried[result]
    for k in range(steps):
        t = steps - 1 - k if recurrence.is_reversed else k
        seen = [*carried, *(x[t] for x in sources[count : count + sliced])]
        seen += sources[count + sliced :]
        values = evaluate(inner, {param: seen[slot] for slot, param in params.items()})
        carried = values[:count]
        if isinstance(result, Node):
            out[t] = values[-1]
        else:
            start, step = recurrence.row_after()
            out[(start + step * k) % rows] = carried[result]
    return out


def _same(node: Node, x: Array) -> Array:
    return x


_RULES: dict[Op, Callable[..., Array]] = {
    forms.CONST: _const,
    forms.ARANGE: _arange,
    forms.RESHAPE: lambda node, x: x.reshape(node.arg),
    forms.PERMUTE: lambda node, x: x.transpose(node.arg),
    forms.EXPAND: lambda node, x: np.broadcast_to(x, node.arg),
    forms.SLICE: lambda node, x: x[_slices(node.arg)],
    forms.PAD: _pad,
    forms.FLIP: lambda node, x: np.flip(x, node.arg),
    forms.SHEAR: _shear,
    forms.REDUCE: _reduce,
    forms.PREFIX: _prefix,
    forms.GATHER: _gather,
    forms.SCATTER: _scatter,
    forms.CAT: lambda node, *parts: np.concatenate(parts, axis=node.arg),
    forms.UPDATE: _update,
    forms.SCAN: _scan,
    forms.HOST: lambda node, *arrays: value_of(node.arg, arrays),
    forms.CONTIGUOUS: _same,
    forms.DETACH: _same,
    forms.COPY: _same,
}


def empty_leaves(nodes: Sequence[Node]) -> dict[Node, Array]:
    """Return zeros for every BUFFER and PARAM below `nodes`."""
    return {
        node: np.zeros(node.shape, numpy_dtype(node.dtype))
        for node in toposort(nodes)
        if node.op in (forms.BUFFER, forms.PARAM)
    }
