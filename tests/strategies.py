"""Hypothesis strategies and edge values that tests of several layers share."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from inkle.ir import dtype as dt
from inkle.ir import forms
from inkle.ir.dtype import DType, Kind
from inkle.ir.loop import range_
from inkle.ir.node import Node, const, intern, round_float

FLOAT_EDGES = (
    0.0, -0.0, 1.0, -1.0, 0.5, -1.5, 2.5, 3.0, -7.0, 0.1, -100.25, 1e-3, 255.0, 256.5, 32768.0,
    -65504.0, 7e4, 2.0**31, -(2.0**63), 1e10, -1e30, 3.4e38, 1e300, 2.0**-24, 1e-40, -1e-45, 5e-324,
    math.inf, -math.inf, math.nan,
)  # fmt: skip


def edges(dtype: DType) -> list[bool | int | float]:
    """Return values of `dtype` where definitions tend to differ."""
    if dtype.is_float:
        rounded = [round_float(value, dtype) for value in FLOAT_EDGES]
        return list({(value, math.copysign(1, value)): value for value in rounded}.values())
    if dtype.kind is Kind.BOOL:
        return [False, True]
    low, high = (-(2**70), 2**70) if dtype.kind is Kind.INDEX else dtype.limits()
    near = [low, low + 1, -8, -7, -3, -2, -1, 0, 1, 2, 3, 5, 7, 8, 31, 33, 64, high - 1, high]
    return sorted({value for value in near if low <= value <= high})


def values(dtype: DType) -> st.SearchStrategy[bool | int | float]:
    """Return a strategy of Python numbers that `dtype` can hold."""
    if dtype.kind is Kind.BOOL:
        return st.booleans()
    if dtype.is_float:
        numbers = st.floats().map(lambda value: round_float(value, dtype))
        return st.one_of(st.sampled_from(edges(dtype)), numbers)
    low, high = (-(2**40), 2**40) if dtype.kind is Kind.INDEX else dtype.limits()
    return st.one_of(
        st.sampled_from(edges(dtype)),
        st.integers(low, high),
        st.integers(max(low, -9), min(high, 9)),
    )


def variable(name: str, low: int, high: int, dtype: DType = dt.index) -> Node:
    """Return an integer known at launch."""
    return intern(forms.VARIABLE, dtype, (), (name, low, high), ())


_UNARY = ("neg", "abs", "sign", "not_")
_BINARY = (
    "add", "sub", "mul", "truncdiv", "truncmod", "floordiv", "floormod", "maximum", "minimum",
    "and_", "or_", "xor", "shl", "shr",
)  # fmt: skip
_COMPARE = ("less", "less_equal", "equal", "not_equal")


@st.composite
def integer_expressions(draw: st.DrawFn, dtype: DType, size: int = 8) -> Node:
    """Draw an integer expression of `dtype` over ranges (index) or bounded variables.

    Returns:
        Node whose leaves are constants, RANGEs of index and VARIABLEs with small limits.
    """
    leaves: list[Node] = [
        variable("n", *sorted(draw(st.tuples(st.integers(-9, 9), st.integers(-9, 9)))), dtype)
        if dtype.kind is not Kind.UINT
        else variable("n", *sorted(draw(st.tuples(st.integers(0, 9), st.integers(0, 9)))), dtype),
        const(draw(values(dtype)), dtype),
        const(draw(st.integers(-5, 12)), dtype),
    ]
    if dtype is dt.index:
        leaves += [range_(i, draw(st.integers(1, 9))) for i in range(3)]
    pool = list(leaves)
    for _ in range(draw(st.integers(1, size))):
        pick = st.sampled_from(pool)
        kind = draw(st.integers(0, 9))
        if kind == 0:
            pool.append(getattr(draw(pick), draw(st.sampled_from(_UNARY)))())
        elif kind == 1:
            test = getattr(draw(pick), draw(st.sampled_from(_COMPARE)))(draw(pick))
            pool.append(test.where(draw(pick), draw(pick)))
        elif kind == 2:
            narrow = draw(st.sampled_from(dt.INTEGERS))
            pool.append(draw(pick).cast(narrow).cast(dtype))
        else:
            pool.append(getattr(draw(pick), draw(st.sampled_from(_BINARY)))(draw(pick)))
    return pool[-1]
