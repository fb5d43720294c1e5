"""Products and sums over shared axes: matmul, einsum, scans.

A contraction is EXPAND, multiply, REDUCE; the compiler sees one loop nest. Products of float16 and
bfloat16 are accumulated in float32.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from inkle.errors import DTypeError, ShapeError
from inkle.ir import forms, ops, tensor
from inkle.ir.bounds import bounds
from inkle.ir.dtype import DType, bool_, int64
from inkle.ir.node import Node, Shape
from inkle.ir.op import Op
from inkle.ir.size import most
from inkle.rules.broadcast import constant_below
from inkle.tensor.arguments import broadcast_shape, check_axis
from inkle.tensor.base import meet
from inkle.tensor.cutting import windows
from inkle.tensor.dtypes import DTypeLike, as_dtype
from inkle.tensor.reduction import Reduction, accumulator
from inkle.tensor.written_out import written_out

MOST_COUNTED = 1 << 20  # floats hold more numbers than that


class Linear(Reduction):
    """Mixin of contractions and scans."""

    __slots__ = ()

    def matmul(self, other: Any, dtype: DTypeLike | None = None) -> Self:
        """Return the matrix product.

        Args:
            other: tensor of shape (..., k, n) or (k,).
            dtype: accumulate and return in this dtype, e.g. int32 for int8 factors. By default
                floats of 16 bits accumulate in float32, and the result has the factors' dtype.

        Returns:
            (..., m, n) for factors (..., m, k) and (..., k, n); axes in front broadcast. A vector
            counts as a row on the left and as a column on the right, and its axis vanishes.

        Raises:
            ShapeError: if the inner sizes differ, or a factor has no axes.
        """
        a, b = self._factors(other, "matmul")
        if not a.shape or not b.shape:
            raise ShapeError(
                f"matmul needs at least one axis on both sides, got {a.shape} and {b.shape}; "
                f"use * for numbers"
            )
        return self._new(matmul_node(a, b, None if dtype is None else as_dtype(dtype)))

    def _factors(self, other: Any, what: str) -> tuple[Node, Node]:
        a = self.node
        b = self._operand(other, what)
        if not isinstance(b, Node):
            raise DTypeError(f"{what} needs a tensor, got {other!r}; use * for numbers")
        if a.dtype is not b.dtype:
            dtype = meet(a, b)
            a, b = a.cast(dtype), b.cast(dtype)
        return a, b

    def dot(self, other: Any, dtype: DTypeLike | None = None) -> Self:
        """Return the matrix product (another name of `matmul`)."""
        return self.matmul(other, dtype)

    def __matmul__(self, other: Any) -> Self:
        return self.matmul(other)

    def __rmatmul__(self, other: Any) -> Self:
        if not isinstance(other, np.ndarray):
            return NotImplemented
        return self._from_array(other).matmul(self)

    def outer(self, other: Any) -> Self:
        """Return the product of each element of a vector with each of another, (n, m)."""
        a, b = self._factors(other, "outer")
        if len(a.shape) != 1 or len(b.shape) != 1:
            raise ShapeError(f"outer needs two vectors, got {a.shape} and {b.shape}")
        shape = (*a.shape, *b.shape)
        left = tensor.expand(tensor.reshape(a, (shape[0], 1)), shape)
        return self._new(left * tensor.expand(tensor.reshape(b, (1, shape[1])), shape))

    @staticmethod
    def einsum(formula: str, *operands: Any, dtype: DTypeLike | None = None) -> Any:
        """Return the sum of products that `formula` describes (Einstein's convention).

        Args:
            formula: letters of the axes of each operand, and after "->" of the result, e.g.
                "bij,bjk->bik"; "..." stands for axes that broadcast. Without "->" the result has
                the letters that occur once, in alphabetical order.
            operands: one tensor per group of letters.
            dtype: as for `matmul`.

        Returns:
            Tensor with the axes of the result.

        Example:
            >>> Tensor.einsum("i,i->", Tensor([1.0, 2.0]), Tensor([3.0, 4.0])).item()
            11.0
        """
        tensors = operands[0] if len(operands) == 1 and isinstance(operands[0], list) else operands
        for each in tensors:
            if not isinstance(each, Linear):
                raise DTypeError(f"einsum needs tensors, got {each!r:.60}")
        if not tensors:
            raise ShapeError("einsum needs at least one tensor")
        first: Linear = tensors[0]
        nodes = [first._factors(each, "einsum")[1] for each in tensors]
        return first._new(einsum_node(formula, nodes, None if dtype is None else as_dtype(dtype)))

    # --- scans ------------------------------------------------------------------------------------

    def cumsum(self, axis: int = 0, *, dim: int | None = None) -> Self:
        """Return the sum of all elements up to each one along `axis`; bools and integers: int64."""
        node = self.node
        result = node.dtype if node.dtype.is_float else accumulator(node.dtype)
        wide = node.cast(accumulator(node.dtype))
        return self._new(
            self._scan(wide, ops.ADD, axis if dim is None else dim, "cumsum").cast(result)
        )

    def cumprod(self, axis: int = 0, *, dim: int | None = None) -> Self:
        """Return the product of all elements up to each one along `axis`."""
        node = self.node
        result = node.dtype if node.dtype.is_float else accumulator(node.dtype)
        wide = node.cast(accumulator(node.dtype))
        return self._new(
            self._scan(wide, ops.MUL, axis if dim is None else dim, "cumprod").cast(result)
        )

    def cummax(self, axis: int = 0, *, dim: int | None = None) -> tuple[Self, Self]:
        """Return the largest element up to each one along `axis`, and its last place, int64.

        Example:
            >>> [each.tolist() for each in Tensor([1, 3, 2, 3]).cummax()]
            [[1, 3, 3, 3], [0, 1, 1, 3]]
        """
        return self._running(ops.MAXIMUM, axis if dim is None else dim, "cummax")

    def cummin(self, axis: int = 0, *, dim: int | None = None) -> tuple[Self, Self]:
        """Return the smallest element up to each one along `axis`, and its last place, int64."""
        return self._running(ops.MINIMUM, axis if dim is None else dim, "cummin")

    def _running(self, op: Op, axis: int, what: str) -> tuple[Self, Self]:
        """Return the running extreme, and where it stands."""
        x = self._numbers()
        values = self._scan(x, op, axis, what)
        if not x.shape:
            return self._new(values), self._new(tensor.full(0, int64, ()))
        number = check_axis(axis, len(x.shape), what)
        found = x.eq(values) | x.ne(x) if x.dtype.is_float else x.eq(values)
        row = tuple([n if i == number else 1 for i, n in enumerate(x.shape)])
        places = tensor.expand(tensor.reshape(tensor.arange(x.shape[number]), row), x.shape)
        last = tensor.prefix(found.where(places, 0), ops.MAXIMUM, number)
        return self._new(values), self._new(last)

    def _numbers(self) -> Node:
        node = self.node
        if node.dtype is bool_:
            raise DTypeError("cummax and cummin need numbers, got bool; convert first: x.int()")
        return node

    def _scan(self, x: Node, op: Op, axis: int, what: str) -> Node:
        if not x.shape:
            check_axis(axis, 1, what)
            return x
        number = check_axis(axis, len(x.shape), what)
        order = [i for i in range(len(x.shape)) if i != number]
        if op is ops.MUL or not _has_closed_form(x):
            return tensor.prefix(x, op, number)
        last = tensor.permute(x, [*order, number])  # windows: the scheduler finds the closed form
        inverse = sorted(range(len(x.shape)), key=[*order, number].__getitem__)
        return tensor.permute(_by_windows(last, op), inverse)


@written_out
def matmul_node(a: Node, b: Node, dtype: DType | None) -> Node:
    """Return the matrix product of two nodes of one dtype; see `Linear.matmul`."""
    row, column = len(a.shape) == 1, len(b.shape) == 1
    if row:
        a = tensor.reshape(a, (1, *a.shape))
    if column:
        b = tensor.reshape(b, (*b.shape, 1))
    m, k = a.shape[-2:]
    if b.shape[-2] != k:
        left, right = a.shape[1:] if row else a.shape, b.shape[:-1] if column else b.shape
        raise ShapeError(f"matmul of {left} and {right}: inner sizes {k} and {b.shape[-2]} differ")
    n = b.shape[-1]
    batch = broadcast_shape(a.shape[:-2], b.shape[:-2], "matmul")
    full = (*batch, m, n, k)
    ones = (1,) * (len(batch) - len(a.shape) + 2)
    rows = tensor.reshape(a, (*ones, *a.shape[:-2], m, 1, k))
    order = [*range(len(b.shape) - 2), len(b.shape) - 1, len(b.shape) - 2]
    ones = (1,) * (len(batch) - len(b.shape) + 2)
    columns = tensor.reshape(tensor.permute(b, order), (*ones, *b.shape[:-2], 1, n, k))
    out = contract(rows, columns, full, (len(full) - 1,), dtype)
    shape = (*batch, *(() if row else (m,)), *(() if column else (n,)))
    return tensor.reshape(out, shape)


def contract(a: Node, b: Node, full: Shape, axes: tuple[int, ...], dtype: DType | None) -> Node:
    """Return the sum over `axes` of the products of `a` and `b`, both repeated to `full`."""
    if a.dtype is bool_:
        raise DTypeError("products of bools are not summed; convert first: x.int() or x.float()")
    result = dtype or a.dtype
    wide = accumulator(result) if result.is_float else result
    left, right = tensor.expand(a, full).cast(wide), tensor.expand(b, full).cast(wide)
    return tensor.reduce(left * right, ops.ADD, axes).cast(result)


# --- einsum ---------------------------------------------------------------------------------------


def einsum_node(formula: str, nodes: list[Node], dtype: DType | None) -> Node:
    """Contract operands from left to right, summing each letter as soon as nobody needs it."""
    groups, result = parse_formula(formula, [len(node.shape) for node in nodes])
    sizes: dict[str, int] = {}
    singles = []
    for letters, node in zip(groups, nodes, strict=True):
        each, names = _diagonals(node, letters)
        for letter, n in zip(names, each.shape, strict=True):
            known = sizes.setdefault(letter, n)
            if n != known and 1 not in (n, known):
                raise ShapeError(f"einsum {formula!r}: axis {letter!r} is {known} and {n} long")
            sizes[letter] = max(known, n) if 0 not in (n, known) else 0
        singles.append((each, names))
    node, names = singles[0]
    for i in range(1, len(singles)):
        later = set(result).union(*(more for _, more in singles[i + 1 :]))
        node, names = _contract_letters((node, names), singles[i], later, sizes, dtype)
    extra = tuple([i for i, letter in enumerate(names) if letter not in result])
    if dtype is not None:
        node = node.cast(dtype)
    if extra:
        wide = accumulator(node.dtype) if node.dtype.is_float else node.dtype
        node = tensor.reduce(node.cast(wide), ops.ADD, extra).cast(node.dtype)
    names = [letter for letter in names if letter in result]
    node = tensor.permute(node, [names.index(letter) for letter in result])
    return tensor.expand(node, tuple([sizes[letter] for letter in result]))


def parse_formula(formula: str, ranks: list[int]) -> tuple[list[list[str]], list[str]]:
    """Return the letters of each operand and of the result; axes of "..." get names of digits."""
    if not isinstance(formula, str):
        raise DTypeError(f"einsum needs a formula such as 'ij,jk->ik' first, got {formula!r:.60}")
    text = formula.replace(" ", "")
    left, arrow, right = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ranks):
        raise ShapeError(f"einsum {formula!r} describes {len(inputs)} operands, got {len(ranks)}")
    groups = []
    for group, rank in zip(inputs, ranks, strict=True):
        named = len(group.replace("...", ""))
        dots = rank - named if "..." in group else 0
        hidden = "".join(
            map(chr, range(1000 - dots, 1000))
        )  # aligned at the end, as broadcasting is
        letters = list(group.replace("...", hidden))
        if len(letters) != rank or any(not c.isalpha() for c in group.replace("...", "")):
            raise ShapeError(f"einsum {formula!r}: {group!r} does not describe {rank} axes")
        groups.append(letters)
    every = [letter for group in groups for letter in group]
    hidden_axes = sorted({letter for letter in every if ord(letter) >= 900})
    if arrow:
        result = list(right.replace("...", "".join(hidden_axes)))
    else:
        once = sorted(c for c in set(every) if every.count(c) == 1 and ord(c) < 900)
        result = hidden_axes + once
    if len(set(result)) < len(result) or any(letter not in every for letter in result):
        raise ShapeError(f"einsum {formula!r}: the result repeats a letter or has a new one")
    return groups, result


def _diagonals(node: Node, letters: list[str]) -> tuple[Node, list[str]]:
    """Take the diagonal of axes that share a letter."""
    names = list(letters)
    for letter in set(letters):
        while names.count(letter) > 1:
            first = names.index(letter)
            second = names.index(letter, first + 1)
            n = node.shape[first]
            if node.shape[second] != n:
                raise ShapeError(f"einsum: axis {letter!r} is {n} and {node.shape[second]} long")
            moved = tensor.shear(node, second, first, 1)  # the diagonal becomes column 0
            node = tensor.shrink(moved, second, 0, min(1, n))
            if n == 0:
                node = tensor.reduce(node, ops.ADD, (second,))
            else:
                shape = node.shape
                node = tensor.reshape(node, shape[:second] + shape[second + 1 :])
            del names[second]
    return node, names


def _contract_letters(
    left: tuple[Node, list[str]],
    right: tuple[Node, list[str]],
    needed: set[str],
    sizes: dict[str, int],
    dtype: DType | None,
) -> tuple[Node, list[str]]:
    """Multiply two operands and sum the letters that are not needed any more."""
    (a, a_names), (b, b_names) = left, right
    names = list(dict.fromkeys([*a_names, *b_names]))
    kept = [letter for letter in names if letter in needed]
    summed = [letter for letter in names if letter not in needed]
    order = kept + summed
    full = tuple([sizes[letter] for letter in order])
    axes = tuple(range(len(kept), len(order)))
    first, second = _aligned(a, a_names, order), _aligned(b, b_names, order)
    return contract(first, second, full, axes, dtype), kept


def _aligned(x: Node, names: list[str], order: list[str]) -> Node:
    """Return `x` with one axis per letter of `order`, of length 1 where it has none."""
    present = [letter for letter in order if letter in names]
    moved = tensor.permute(x, [names.index(letter) for letter in present])
    lengths = dict(zip(present, moved.shape, strict=True))
    return tensor.reshape(moved, tuple([lengths.get(letter, 1) for letter in order]))


# --- scans ----------------------------------------------------------------------------------------


def _has_closed_form(x: Node) -> bool:
    """Whether `x` is a constant, or counts along one axis: the scheduler needs no loop for it."""
    while x.op is not forms.CONST and x.op is not forms.ARANGE:
        source = x.src[0] if x.src else x
        is_sum = x.op in (ops.ADD, ops.MUL) and x.src[1].op is forms.CONST and x.dtype.is_integer
        is_moved = x.op in (forms.EXPAND, forms.PERMUTE) or (
            x.op is forms.RESHAPE and _without_ones(x.shape) == _without_ones(source.shape)
        )
        if not (is_sum or is_moved or (x.op is ops.CAST and _is_exact(source, x.dtype))):
            return False
        if is_sum and bounds(x) == x.dtype.limits():
            return False  # it may wrap
        x = source
    return x.op is forms.CONST or x.arg <= MOST_COUNTED


def _is_exact(x: Node, dtype: DType) -> bool:
    """Whether a cast of `x` keeps every value, as far as bounds tell."""
    if constant_below(x) is not None:
        return True
    low, high = bounds(x)
    if low is None or high is None or dtype is bool_:
        return False
    exact = 1 << (dtype.mantissa + 1)
    first, last = (-exact, exact) if dtype.is_float else dtype.limits()
    return first <= low and high <= last


def _without_ones(shape: Shape) -> list[int]:
    return [n for n in shape if n != 1]


def _by_windows(x: Node, op: Op) -> Node:
    """Return the running combination along the last axis: one window per element."""
    axis, n = len(x.shape) - 1, x.shape[-1]
    if most(n) <= 1:
        return x
    spec = [(0, 0, 0)] * axis + [(n - 1, 0, 0)]
    parts = windows(tensor.pad(x, spec), axis, n, 1, 1)  # parts[i, j] = x[i + j - (n - 1)]
    assert op.identity is not None, op
    if op.identity(x.dtype) != 0:
        inside = windows(tensor.pad(tensor.full(True, bool_, x.shape), spec), axis, n, 1, 1)
        parts = inside.where(parts, op.identity(x.dtype))
    return tensor.reduce(parts, op, (axis + 1,))
