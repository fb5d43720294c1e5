"""Movement operations as index arithmetic: which element of the source an element of the result is.

    permute   reorders coordinates              flip    n - 1 - i
    expand    coordinate 0                      slice   start + step*i
    reshape   row-major position, split anew    pad     (i - low) / (interior + 1), with a gate
    shear     i + factor*j, with a gate

There is no second algebra of views: compositions are sums. A gate says where the element exists;
the term is 0 elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

from inkle.ir import forms
from inkle.ir.node import Node, Shape
from inkle.ir.op import Op
from inkle.schedule.gate import all_of, joined, within
from inkle.schedule.index import (
    ZERO,
    Affine,
    Condition,
    Gate,
    add,
    bounds,
    divide,
    divide_exactly,
    number,
    scale,
    shift,
    subtract,
)

Index = tuple[Affine, ...]
Moved = tuple[Index, Gate] | None  # None: no element of the result comes from the source


def flatten(index: Sequence[Affine], shape: Sequence[int]) -> Affine:
    """Return the row-major position of `index` in an array of `shape`."""
    total, stride = ZERO, 1
    for each, n in zip(reversed(index), reversed(shape), strict=True):
        if n != 1:
            total = add(total, scale(each, stride))
            stride *= n
    return total


def reindex(index: Index, old: Shape, new: Shape) -> Index:
    """Return coordinates in `new` of the element at `index` of `old`, in row-major order.

    Axes are taken in groups of equal products, so that axes that merely split or merge, or that
    have length 1, never mix with others: only what truly mixes is divided.

    Example: from (6, 20) to (2, 3, 5, 4), i and j give (i // 3, i % 3, j // 4, j % 4).
    """
    if old == new:
        return index
    out: list[Affine] = []
    for mine, theirs in grouped(old, new):
        out += _regroup(index[mine], old[mine], new[theirs])
    return tuple(out)


def grouped(old: Shape, new: Shape) -> Iterator[tuple[slice, slice]]:
    """Yield the axes of two shapes of equal sizes in the smallest groups of equal products."""
    i = j = 0
    while i < len(old) or j < len(new):
        first, second = i, j
        left = right = 1
        while (left == right == 1 and (i < len(old) or j < len(new))) or left != right:
            if (left <= right and i < len(old)) or j == len(new):
                left, i = left * old[i], i + 1
            else:
                right, j = right * new[j], j + 1
        yield slice(first, i), slice(second, j)


def _regroup(index: Index, old: Shape, new: Shape) -> list[Affine]:
    if sum(n != 1 for n in old) == sum(n != 1 for n in new) <= 1:
        real = [each for each, n in zip(index, old, strict=True) if n != 1]
        return [real[0] if n != 1 else ZERO for n in new]
    rest = flatten(index, old)
    out = []
    left = prod(new)
    for n in reversed(new):
        left //= n
        if n == 1:
            out.append(ZERO)
        elif left == 1:
            out.append(rest)
        else:
            rest, coordinate = divide(rest, n)
            out.append(coordinate)
    return out[::-1]


def _permute(node: Node, index: Index) -> Moved:
    out = [ZERO] * len(index)
    for each, axis in zip(index, node.arg, strict=True):
        out[axis] = each
    return tuple(out), ()


def _expand(node: Node, index: Index) -> Moved:
    sizes = node.src[0].shape
    return tuple([ZERO if n == 1 else each for each, n in zip(index, sizes, strict=True)]), ()


def _slice(node: Node, index: Index) -> Moved:
    moved = [
        shift(scale(i, step), start) for i, (start, _, step) in zip(index, node.arg, strict=True)
    ]
    return tuple(moved), ()


def _flip(node: Node, index: Index) -> Moved:
    return tuple(
        [
            subtract(number(n - 1), i) if axis in node.arg else i
            for axis, (i, n) in enumerate(zip(index, node.shape, strict=True))
        ]
    ), ()


def _pad(node: Node, index: Index) -> Moved:
    out: list[Affine] = []
    gate: Gate = ()
    for i, n, (low, high, interior) in zip(index, node.src[0].shape, node.arg, strict=True):
        if not (low or high or interior):
            out.append(i)
            continue
        moved, spacing = shift(i, -low), interior + 1
        conditions = [Condition(moved), Condition(subtract(number((n - 1) * spacing), moved))]
        if interior:
            conditions.append(Condition(moved, spacing))
            moved = divide_exactly(moved, spacing)
        more = all_of(conditions)
        if more is None or n == 0:
            return None
        gate = joined(gate, more)
        out.append(moved)
    return tuple(out), gate


def _shear(node: Node, index: Index) -> Moved:
    axis, by, factor = node.arg
    moved = add(index[axis], scale(index[by], factor))
    gate = within(moved, node.shape[axis])
    if gate is None:
        return None
    return (*index[:axis], moved, *index[axis + 1 :]), gate


MOVES: dict[Op, Callable[[Node, Index], Any]] = {
    forms.PERMUTE: _permute,
    forms.EXPAND: _expand,
    forms.SLICE: _slice,
    forms.FLIP: _flip,
    forms.PAD: _pad,
    forms.SHEAR: _shear,
    forms.RESHAPE: lambda node, index: (reindex(index, node.shape, node.src[0].shape), ()),
}


def is_inside(index: Index, shape: Shape) -> bool:
    """Whether all coordinates are certainly inside `shape`."""
    return all(bounds(i)[0] >= 0 and bounds(i)[1] < n for i, n in zip(index, shape, strict=True))
