"""Compare two graphs bit for bit on every point of a small domain, or on edge values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from inkle.check.numpy_algebra import Array, apply, constant, numpy_dtype
from inkle.errors import InternalError
from inkle.ir import algebra, forms, ops
from inkle.ir.dtype import DType, Kind, bool_, uint64
from inkle.ir.elementwise import Scalar
from inkle.ir.loop import extent
from inkle.ir.node import Node, const, toposort

Domain = Sequence[Scalar]
MAX_POINTS = 70_000
_SMALL_INDEX = tuple(range(-7, 8))
_FEW_INDEX = (-5, -3, -1, 0, 1, 2, 3, 4, 6)


def leaves_of(*roots: Node) -> list[Node]:
    """Return what values are chosen for: holes, ranges and everything else that is no operation."""
    found = []
    stack = list(reversed(roots))
    seen = set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op.is_elementwise:
            stack.extend(reversed(node.src))
        elif node.op is not forms.CONST:
            found.append(node)
    return found


def first_difference(
    left: Node, right: Node, condition: Node | None, domains: Mapping[Node, Domain]
) -> dict[Node, Scalar] | None:
    """Return values of the leaves for which `condition` holds and the sides differ, if any.

    Every combination of values from `domains` is tried. Two NaN are equal; 0.0 and -0.0 are not.
    """
    if any(node.op is ops.CAST and node.src[0].dtype is uint64 for node in toposort([left, right])):
        return first_difference_of_scalars(
            left, right, condition, domains
        )  # index has 64 bits there
    leaves = list(domains)
    shape = [len(domains[leaf]) for leaf in leaves]
    values: dict[Node, Array] = {}
    for i, leaf in enumerate(leaves):
        axis = [1] * len(leaves)
        axis[i] = shape[i]
        dtype = leaf.dtype
        array = np.array([constant(const(v, dtype).arg, dtype) for v in domains[leaf]])
        values[leaf] = array.astype(numpy_dtype(dtype)).reshape(axis)
    roots = [left, right] if condition is None else [left, right, condition]
    _evaluate(roots, values)
    differs = ~_same(values[left], values[right])
    if condition is not None:
        differs = differs & values[condition]
    differs = np.broadcast_to(differs, shape)
    if not differs.any():
        return None
    where = np.unravel_index(int(np.argmax(differs)), differs.shape)
    return {leaf: domains[leaf][int(i)] for leaf, i in zip(leaves, where, strict=True)}


def _evaluate(roots: Sequence[Node], values: dict[Node, Array]) -> None:
    for node in toposort(roots):
        if node in values:
            continue
        if node.op is forms.CONST:
            values[node] = constant(node.arg, node.dtype)
        elif node.op.is_elementwise:
            sources = [source.dtype for source in node.src]
            values[node] = apply(node.op, node.dtype, [values[s] for s in node.src], sources)
        elif not _below_leaf(node):
            raise InternalError(f"no domain for {node!r}")


def _below_leaf(node: Node) -> bool:
    return node.op is forms.CONST or node.dtype.kind is Kind.INDEX


def _same(a: Array, b: Array) -> Array:
    if a.dtype.kind != "f":
        return np.equal(a, b)
    both_nan = np.isnan(a) & np.isnan(b)
    same: Array = both_nan | (np.equal(a, b) & (np.signbit(a) == np.signbit(b)))
    return same


def first_difference_of_scalars(
    left: Node, right: Node, condition: Node | None, domains: Mapping[Node, Domain]
) -> dict[Node, Scalar] | None:
    """Like `first_difference`, one point at a time: for dtypes NumPy lacks, such as 4-bit ones."""
    roots = [left, right] if condition is None else [left, right, condition]
    order = [node for node in toposort(roots) if node.op.is_elementwise]
    constants = {node: node.arg for node in toposort(roots) if node.op is forms.CONST}
    for point in product(*domains.values()):
        values = {**constants, **dict(zip(domains, point, strict=True))}
        for node in order:
            operands = [values[source] for source in node.src]
            values[node] = algebra.evaluate(node.op, node.dtype, node.src[-1].dtype, *operands)
        a, b = values[left], values[right]
        same = a == b and math.copysign(1, a) == math.copysign(1, b)
        both_nan = a != a and b != b
        if not (same or both_nan) and (condition is None or values[condition]):
            return dict(zip(domains, point, strict=True))
    return None


def complete_domains(leaves: Sequence[Node]) -> dict[Node, Domain] | None:
    """Return every value of each leaf, if all of them together are few enough to try."""
    domains: dict[Node, Domain] = {}
    points = 1
    for leaf in leaves:
        values = _all_values(leaf)
        if values is None:
            return None
        domains[leaf] = values
        points *= len(values)
        if points > MAX_POINTS:
            return None
    return domains


def _all_values(leaf: Node) -> Domain | None:
    if leaf.op is forms.RANGE:
        return range(extent(leaf)) if leaf.src[0].op is forms.CONST else None
    if leaf.dtype is bool_:
        return (False, True)
    if leaf.dtype.is_integer and leaf.dtype.bits <= 8:
        low, high = leaf.dtype.limits()
        return range(low, high + 1)
    return None


def small_domains(leaves: Sequence[Node]) -> dict[Node, Domain]:
    """Return values worth trying for each leaf; fewer where there are many leaves."""
    many = len(leaves) > 3
    return {leaf: _edge_values(leaf, many=many) for leaf in leaves}


def _edge_values(leaf: Node, *, many: bool) -> Domain:
    dtype = leaf.dtype
    if leaf.op is forms.RANGE:
        return _all_values(leaf) or _FEW_INDEX
    if dtype is bool_:
        return (False, True)
    if dtype.kind is Kind.INDEX:
        return _FEW_INDEX if many else _SMALL_INDEX
    if dtype.is_float:
        return edge_floats(dtype)[:: 3 if many else 1]
    low, high = dtype.limits()
    near = {0, 1, 2, 3, 5, 7, 8, 10, low, low + 1, high, high - 1, high // 2, high // 2 + 1}
    values = {const(v, dtype).arg for v in near | {-v for v in near}}
    return sorted(values)[:: 2 if many else 1]


def edge_floats(dtype: DType) -> list[float]:
    """Return floats where mistakes show: zeros, infinities, NaN, the ends of every range."""
    bias = (1 << (dtype.bits - dtype.mantissa - 2)) - 1
    tiny, smallest = 2.0 ** (1 - bias), 2.0 ** (1 - bias - dtype.mantissa)
    largest = (2.0 - 2.0**-dtype.mantissa) * 2.0**bias
    step = 2.0**-dtype.mantissa
    positive = [
        0.0, 1.0, math.inf, smallest, largest, 0.5, 1.0 + step, tiny, 3.0, 2.0, tiny - smallest,
        1.0 - step / 2, 2.0 ** dtype.mantissa, 2.0 ** dtype.mantissa + 1, 1.5, 1 / 3, 0.1, 100.0,
        2.0 * smallest, largest / 2, 2.5, 7.0,
    ]  # fmt: skip
    rounded = [float(const(value, dtype).arg) for value in positive]
    return [signed for value in rounded for signed in (value, -value)] + [math.nan]
