"""How far two right answers may be apart: forward error analysis beside the reference.

Every float element gets a bound on the distance between the reference and any executor that keeps
to the numerics contract: operations are rounded as written, transcendental functions are within a
few ulp, and the terms of a REDUCE may be associated in any order (and products be fused into sums).
Integers and bools are exact; so are floats until the first transcendental function or inexact sum.
An exact value bounds nothing: where the error is 0, results must be equal bit for bit (up to NaN
payloads, and the sign of a zero that is a sum).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inkle.check.numpy_algebra import Array, apply, numpy_dtype
from inkle.check.reference import evaluate
from inkle.check.unroll import unrolled
from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import DType, float64
from inkle.ir.node import Node, intern, rebuild, toposort

TRANSCENDENTAL_ULPS = 8  # each side may be off by half of that
EXACT = frozenset(
    {ops.ADD, ops.SUB, ops.MUL, ops.DIV, ops.FMA, ops.NEG, ops.ABS, ops.SIGN, ops.MAXIMUM,
     ops.MINIMUM, ops.FLOOR, ops.CEIL, ops.TRUNC, ops.RINT, ops.SQRT, ops.WHERE, ops.CAST,
     ops.BITCAST}
)  # fmt: skip


@dataclass(frozen=True, eq=False, slots=True)
class Bounded:
    """A value and, for floats, how far another right answer may be from each element."""

    value: Array
    error: Array

    @property
    def is_exact(self) -> bool:
        """Whether every right answer has these very elements."""
        return not self.error.any()


def bounded_values(
    nodes: Sequence[Node],
    leaves: Mapping[Node, Array],
    known: dict[Node, Bounded] | None = None,
) -> list[Bounded]:
    """Return the values of `nodes` with their errors.

    Args:
        nodes: of the tensor form.
        leaves: values of PARAM and BUFFER nodes.
        known: results of earlier calls with the same leaves; extended.
    """
    memo = {} if known is None else known
    with np.errstate(all="ignore"):
        for node in toposort(nodes):
            if node not in memo:
                memo[node] = _step(node, leaves, [memo[source] for source in node.src])
    return [memo[node] for node in nodes]


def _step(node: Node, leaves: Mapping[Node, Array], sources: list[Bounded]) -> Bounded:
    if node in leaves or not node.src:
        value = evaluate([node], leaves)[0]
        return Bounded(value, np.zeros(value.shape))
    if node.op is forms.SCAN:
        return _loop(node, sources)
    value = _value(node, [source.value for source in sources])
    if not node.dtype.is_float:
        # Discrete values from inexact ones may differ by anything: the generator avoids that.
        unsure = any(not s.is_exact for s in sources if s.value.dtype.kind == "f")
        return Bounded(value, np.full(value.shape, np.inf if unsure else 0.0))
    if node.op.is_elementwise:
        return Bounded(value, _elementwise_error(node, value, sources))
    if node.op is forms.REDUCE:
        return Bounded(value, _reduction_error(node, sources[0]))
    if node.op is forms.PREFIX:
        return Bounded(value, _running_error(node, sources[0]))
    return Bounded(value, _moved_error(node, sources))


def _loop(node: Node, sources: list[Bounded]) -> Bounded:
    """Evaluate a loop over time step by step: errors grow from one to the next."""
    leaves = _stand_ins(node.src)
    again = unrolled([rebuild(node, tuple(leaves))])
    return bounded_values(again, {}, dict(zip(leaves, sources, strict=True)))[0]


def _value(node: Node, sources: Sequence[Array]) -> Array:
    """Evaluate one node from the values of its sources."""
    leaves = _stand_ins(node.src)
    again = intern(node.op, node.dtype, tuple(leaves), node.arg, node.shape)
    return evaluate([again], dict(zip(leaves, sources, strict=True)))[0]


def _stand_ins(src: Sequence[Node]) -> list[Node]:
    """Return leaves with the dtypes and shapes of `src` (constants stay: they broadcast)."""
    return [
        s if s.op is forms.CONST else tensor.param(-1 - i, s.dtype, s.shape)
        for i, s in enumerate(src)
    ]


def epsilon(dtype: DType) -> float:
    """Return the distance between 1 and the next number."""
    return float(2.0**-dtype.mantissa)


def tiny(dtype: DType) -> float:
    """Return the smallest positive number, or near it."""
    smallest = {16: 6e-8 if dtype.mantissa == 10 else 1e-40, 32: 1.5e-45, 64: 5e-324}
    return smallest[dtype.bits]


def _elementwise_error(node: Node, value: Array, sources: list[Bounded]) -> Array:
    """Change each operand by its error, both ways, and see; then add what rounding may add."""
    dtypes = [source.dtype for source in node.src]
    values = [source.value for source in sources]
    error = np.zeros(value.shape)
    for i, source in enumerate(sources):
        if source.is_exact or not dtypes[i].is_float:
            continue
        for sign in (-1.0, 1.0):
            moved = list(values)
            moved[i] = (values[i] + sign * source.error).astype(values[i].dtype)
            other = apply(node.op, node.dtype, moved, dtypes)
            error = np.maximum(error, _distance(other, value))
    # several operands move at once
    error = error * sum(not source.is_exact for source in sources)
    if node.op in EXACT and all(source.is_exact for source in sources):
        return error
    ulps = 2 if node.op in EXACT else TRANSCENDENTAL_ULPS
    rounding = ulps * (epsilon(node.dtype) * np.abs(value.astype(np.float64)) + tiny(node.dtype))
    return np.where(np.isfinite(value), error * 1.01 + rounding, error)


def _distance(a: Array, b: Array) -> Array:
    a, b = a.astype(np.float64), b.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    gap = np.abs(a - b)
    return np.where(same, 0.0, np.where(np.isnan(gap), np.inf, gap))


def _running_error(node: Node, source: Bounded) -> Array:
    """Return the error of each element as that of a reduction of what it has combined."""
    op, axis = node.arg
    error = np.zeros(node.shape)
    for i in range(node.shape[axis]):
        upto = tuple(slice(None) if a != axis else slice(i + 1) for a in range(len(node.shape)))
        part = Bounded(source.value[upto], source.error[upto])
        x = tensor.param(0, node.dtype, part.value.shape)
        total = tensor.reduce(x, op, (axis,))
        at = (*upto[:axis], i, *upto[axis + 1 :])
        same = total.shape != x.shape and total.op is forms.REDUCE
        error[at] = _reduction_error(total, part) if same else part.error.reshape(error[at].shape)
    return error


def _reduction_error(node: Node, source: Bounded) -> Array:
    op, axes = node.arg
    wide, error = source.value.astype(np.float64), source.error
    if op in (ops.MAXIMUM, ops.MINIMUM):
        return np.asarray(error.max(axis=axes, initial=0.0))
    terms = int(np.prod([source.value.shape[axis] for axis in axes]))
    if op is ops.ADD:
        size = np.abs(wide).sum(axis=axes)
        rounding = (terms + 8) * epsilon(node.dtype) * size + tiny(node.dtype)
        if (
            source.is_exact
            and _all_integers(wide)
            and size.max(initial=0.0) < 2**node.dtype.mantissa
        ):
            return np.zeros(node.shape)
        return np.where(np.isfinite(size), error.sum(axis=axes) + rounding, _uncertain(wide, axes))
    size = np.abs(wide).prod(axis=axes)
    if source.is_exact and _all_integers(wide) and size.max(initial=0.0) < 2**node.dtype.mantissa:
        return np.zeros(node.shape)
    relative = (error / np.maximum(np.abs(wide), 1e-300)).sum(axis=axes)
    return np.asarray(size * (relative + (terms + 8) * epsilon(node.dtype)) + tiny(node.dtype))


def _uncertain(wide: Array, axes: tuple[int, ...]) -> Array:
    """Return the error of sums that are not finite: none if a term says so, else anything."""
    return np.where(np.isfinite(wide).all(axis=axes), np.inf, 0.0)


def _all_integers(wide: Array) -> bool:
    return bool(np.all(wide == np.rint(wide)))


def _moved_error(node: Node, sources: list[Bounded]) -> Array:
    """Errors move as the values do; those of values that are added up, add up."""
    dtypes = [float64 if s.dtype.is_float else s.dtype for s in node.src]
    leaves = [tensor.param(-1 - i, d, node.src[i].shape) for i, d in enumerate(dtypes)]
    arrays = [s.error if d is float64 else s.value for d, s in zip(dtypes, sources, strict=True)]
    arg = node.arg
    if node.op is forms.SCATTER and node.arg[0] is not None:
        arg = (ops.ADD if arg[0] is ops.ADD else ops.MAXIMUM, arg[1])
    moved = intern(node.op, float64, tuple(leaves), arg, node.shape)
    error = evaluate([moved], dict(zip(leaves, arrays, strict=True)))[0]
    if node.op is forms.SCATTER and node.arg[0] is ops.ADD:
        sizes = [np.abs(s.value.astype(np.float64)) if s.value.dtype.kind == "f" else s.value
                 for s in sources]  # fmt: skip
        total = evaluate([moved], dict(zip(leaves, sizes, strict=True)))[0]
        whole = all(s.is_exact and _all_integers(s.value) for s in sources)
        if not (whole and total.max(initial=0.0) < 2**node.dtype.mantissa):
            error = error + 8 * epsilon(node.dtype) * total
    return error


def mismatch(got: Array, want: Bounded, dtype: DType) -> str | None:
    """Return what is wrong with `got`, or None.

    Signs of zeros are not compared: a sum may start from either zero.
    """
    held = numpy_dtype(dtype)
    if got.shape != want.value.shape:
        return f"shape {got.shape}, not {want.value.shape}"
    if got.dtype != held:
        return f"dtype {got.dtype}, not {held}"
    with np.errstate(all="ignore"):
        far = _distance(got, want.value) > want.error
    if dtype.kind.value in ("int", "uint", "index"):
        far = (got != want.value) & (want.error == 0)
    if not far.any():
        return None
    spot = tuple(int(i) for i in np.argwhere(far)[0])
    return (
        f"{int(far.sum())} of {far.size} elements differ; at {spot} got {got[spot]!r}, "
        f"want {want.value[spot]!r} within {want.error[spot]:.3g}"
    )
