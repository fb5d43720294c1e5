"""Movement operations as index arithmetic: which element of the source an element of the result is.

    permute   reorders coordinates              flip    n - 1 - i
    expand    coordinate 0                      slice   start + step*i
    reshape   row-major position, split anew    pad     (i - low) / (interior + 1), with a gate
    shear     i + factor*j, with a gate

There is no second algebra of views: compositions are sums. A gate says where the element exists;
the term is 0 elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

from inkle.ir import forms
from inkle.ir.node import Node, Shape
from inkle.ir.op import Op
from inkle.ir.size import most
from inkle.rewrite.affine import ZERO, Affine, total_of
from inkle.schedule.gate import all_of, joined, within
from inkle.schedule.index import Condition, Gate, divide, divide_exactly, tidy

Index = tuple[Affine, ...]
Moved = tuple[Index, Gate] | None  # None: no element of the result comes from the source


def flatten(index: Sequence[Affine], shape: Sequence[int]) -> Affine:
    """Return the row-major position of `index` in an array of `shape`."""
    parts, stride = [], 1
    for each, n in zip(reversed(index), reversed(shape), strict=True):
        if n != 1:
            parts.append((each, stride))
            stride *= n
    return parts[0][0] if len(parts) == 1 else tidy(total_of(parts))


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


@lru_cache(maxsize=1024)  # graphs have few shapes; `cost` asks for them, too
def merges(old: Shape, new: Shape) -> bool:
    """Whether a reshape does nothing but join neighbouring axes."""
    return 0 not in old and all(a.stop - a.start == 1 for _, a in grouped(old, new))


@lru_cache(maxsize=4096)
def grouped(old: Shape, new: Shape) -> tuple[tuple[slice, slice], ...]:
    """Return the axes of two shapes of equal sizes in the smallest groups of equal products."""
    groups = []
    i = j = 0
    while i < len(old) or j < len(new):
        first, second = i, j
        left = right = 1
        while (left == right == 1 and (i < len(old) or j < len(new))) or left != right:
            if i == len(old) and j == len(new):
                break  # sizes that are 1 here and there
            if (most(left) <= most(right) and i < len(old)) or j == len(new):
                left, i = left * old[i], i + 1
            else:
                right, j = right * new[j], j + 1
        groups.append((slice(first, i), slice(second, j)))
    return tuple(groups)


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


def sliced(index: Index, spans: Sequence[tuple[int, int, int]]) -> Index:
    """Return the coordinates that `index` has in what (start, stop, step) per axis is cut from."""
    pairs = zip(index, spans, strict=True)
    return tuple([tidy(i.scaled(step)).shifted(start) for i, (start, _, step) in pairs])


def _permute(node: Node, index: Index) -> Moved:
    out = [ZERO] * len(index)
    for each, axis in zip(index, node.arg, strict=True):
        out[axis] = each
    return tuple(out), ()


def _expand(node: Node, index: Index) -> Moved:
    sizes = node.src[0].shape
    return tuple([ZERO if n == 1 else each for each, n in zip(index, sizes, strict=True)]), ()


def _slice(node: Node, index: Index) -> Moved:
    return sliced(index, node.arg), ()


def _flip(node: Node, index: Index) -> Moved:
    return tuple(
        [
            i.scaled(-1).shifted(n - 1) if axis in node.arg else i
            for axis, (i, n) in enumerate(zip(index, node.shape, strict=True))
        ]
    ), ()


def _pad(node: Node, index: Index) -> Moved:
    out: list[Affine] = []
    gate: Gate = ()
    for i, n, (low, high, interior) in zip(index, node.src[0].shape, node.arg, strict=True):
        if low == high == interior == 0:
            out.append(i)
            continue
        moved, spacing = i.shifted(-low), interior + 1
        conditions = [Condition(moved), Condition(moved.scaled(-1).shifted((n - 1) * spacing))]
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
    moved = tidy(total_of([(index[axis], 1), (index[by], factor)]))
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
}
