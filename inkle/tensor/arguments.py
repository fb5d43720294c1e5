"""Checks of what users pass: axes, shapes, sizes. Each returns the argument in one spelling."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any, SupportsIndex

import numpy as np

from inkle.errors import DTypeError, IndexRangeError, ShapeError
from inkle.ir.node import Shape
from inkle.ir.size import Size, least, most

MOST_ELEMENTS = 2**63 - 1
Axes = int | Sequence[int] | None
ShapeLike = int | Sequence[int]


def as_int(value: SupportsIndex, what: str) -> int:
    """Return `value` as a Python integer (NumPy's integers count, floats and bools do not)."""
    if type(value) is int:
        return value
    value = getattr(value, "now", value)  # of a bound variable
    if isinstance(value, Size):
        return value
    if isinstance(value, bool):
        raise DTypeError(f"{what} must be an integer, got {value}")
    try:
        return operator.index(value)
    except TypeError:
        raise DTypeError(f"{what} must be an integer, got {value!r}") from None


def as_ints(value: SupportsIndex | Sequence[SupportsIndex], what: str) -> tuple[int, ...]:
    """Return one integer or several as a tuple of Python integers."""
    if isinstance(value, (tuple, list)):
        return tuple([as_int(each, what) for each in value])
    return (as_int(value, what),)  # type: ignore[arg-type]  # anything else is refused there


def as_number(value: Any, what: str) -> int | float:
    """Return `value` as a Python number (NumPy's numbers count)."""
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        number: int | float = value.item()
        return number
    symbolic = getattr(value, "now", value)  # of a bound variable
    if isinstance(symbolic, (int, Size)):
        return symbolic
    raise DTypeError(f"{what} must be a number, got {value!r:.60}")


def check_axis(axis: int, ndim: int, what: str) -> int:
    """Return `axis` counted from the front.

    Raises:
        IndexRangeError: if a tensor of `ndim` axes has no such axis.
    """
    number = as_int(axis, f"axis of {what}")
    if not -ndim <= number < ndim:
        have = f"its axes are {-ndim} to {ndim - 1}" if ndim else "it has no axes"
        raise IndexRangeError(f"{what}: no axis {number} in a tensor of {ndim} axes; {have}")
    return number % ndim


def check_axes(axes: Axes, ndim: int, what: str) -> tuple[int, ...]:
    """Return distinct axes counted from the front, in ascending order; None means all of them."""
    if axes is None:
        return tuple(range(ndim))
    if type(axes) is tuple and len(axes) == 1:
        (axes,) = axes
    if type(axes) is int and -ndim <= axes < ndim:  # mostly
        return (axes % ndim,)
    given = as_ints(axes, f"axis of {what}")
    found = tuple([check_axis(axis, ndim, what) for axis in given])
    if len(set(found)) < len(found):
        raise ShapeError(f"{what}: axes {given} name an axis twice")
    return tuple(sorted(found))


def flatten_args(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the items of `f(1, 2, 3)` and `f((1, 2, 3))` alike."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        return tuple(args[0])
    return args


def check_shape(args: tuple[Any, ...], what: str) -> Shape:
    """Return the shape given as `f(2, 3)` or `f((2, 3))`; sizes must not be negative."""
    shape = tuple([as_int(n, f"size in {what}") for n in flatten_args(args)])
    if any(n < 0 for n in shape):
        raise ShapeError(f"{what}: sizes must not be negative, got {shape}")
    if most(prod(shape)) > MOST_ELEMENTS:
        raise ShapeError(f"{what}: {shape} has more elements than 64 bits can count")
    return shape


def fill_in(shape: Shape, old: Shape, what: str) -> Shape:
    """Return `shape` with its one -1 replaced by the size that keeps the number of elements."""
    if not shape or min(map(least, shape)) >= 0:
        return shape
    unknown = shape.count(-1)
    if min(map(least, shape)) < -1 or unknown > 1:
        raise ShapeError(f"{what}: sizes must be >= 0, at most one -1; got {shape}")
    known = prod(n for n in shape if n != -1)
    total = prod(old)
    if known == 0 or total % known != 0:
        raise ShapeError(
            f"{what}: cannot infer -1 in {shape}: {old} has {total} elements, "
            f"which is no multiple of {known}"
        )
    return tuple([total // known if n == -1 else n for n in shape])


def _hint(n: int, m: int) -> str:
    if isinstance(n, Size) or isinstance(m, Size):
        return " for all values of their variables: one Variable in both places"
    return ""


def broadcast_shape(a: Shape, b: Shape, what: str) -> Shape:
    """Return the shape in which `a` and `b` meet: axes align at the end, 1 meets anything."""
    if a == b:
        return a
    rank = max(len(a), len(b))
    long_a, long_b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    out = []
    for n, m in zip(long_a, long_b, strict=True):
        if n != m and n != 1 and m != 1:
            raise ShapeError(
                f"{what}: cannot broadcast {a} with {b}; counted from the end, "
                f"sizes must be equal or 1{_hint(n, m)}"
            )
        out.append(m if n == 1 else n)
    return tuple(out)


def check_pair(value: int | Sequence[int], what: str, *, least: int) -> tuple[int, int]:
    """Return one number for each of two axes, given as one or as two."""
    items = as_ints(value, what)
    if len(items) not in (1, 2):
        raise ShapeError(f"{what} must be one number or two, got {value!r}")
    first, second = items[0], items[-1]
    if min(first, second) < least:
        raise ShapeError(f"{what} must be at least {least}, got {value!r}")
    return first, second


def check_each(value: int | Sequence[int], n: int, what: str, *, least: int) -> tuple[int, ...]:
    """Return one number for each of `n` axes, given as one for all or as one for each."""
    items = as_ints(value, what)
    if len(items) not in (1, n):
        raise ShapeError(f"{what} must be one number or {n}, got {value!r}")
    if min(items) < least:
        raise ShapeError(f"{what} must be at least {least}, got {value!r}")
    return items if len(items) == n else items * n


def check_choice(value: Any, choices: tuple[str, ...], what: str) -> str:
    """Return `value` if it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ShapeError(f"{what} must be one of {', '.join(map(repr, choices))}; got {value!r}")
    return value


# The builtin type, for classes whose methods are called `bool`, `int` and `float`.
Flag = bool
Float = float
Int = int
