"""Both algebras of numbers, against functions that share no code with the op table."""

from __future__ import annotations

import itertools
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from inkle.check import numpy_algebra
from inkle.check.numpy_algebra import apply, constant, to_array
from inkle.ir import algebra, ops
from inkle.ir import dtype as dt
from inkle.ir.dtype import DType, Kind
from tests.check.numpy_oracle import ORACLE, TRANSCENDENTAL, host_dtype
from tests.strategies import edges

NAMES = {row.name: row for row in dt.ALL}


def operand_dtypes(op, dtype):
    return [dt.bool_, dtype, dtype] if op is ops.WHERE else [dtype] * op.arity


def grid(op, dtype):
    """Return all combinations of edge values, as lists of Python numbers."""
    return [list(column) for column in zip(*itertools.product(
        *(edges(each) for each in operand_dtypes(op, dtype))))]  # fmt: skip


def same_numbers(got, want):
    """Compare values and signs of zero; all NaN are one."""
    got, want = np.asarray(got, object), np.asarray(want, object)
    for a, b in zip(got.ravel(), want.ravel(), strict=True):
        if a != a and b != b:
            continue
        if a != b or (isinstance(a, float) and np.signbit(a) != np.signbit(b)):
            return False
    return True


def cases(names):
    return [
        pytest.param(ops.TABLE[name], dtype, id=f"{name}-{dtype}")
        for name in names
        for dtype in dt.ALL
        if dtype.kind in ops.TABLE[name].kinds
    ]


def result_dtype(op, dtype):
    return op.dtype_rule(op, tuple(operand_dtypes(op, dtype)))


def by_numpy(op, dtype, columns):
    sources = operand_dtypes(op, dtype)
    arrays = [
        np.array([constant(v, each) for v in column]) for column, each in zip(columns, sources)
    ]
    return apply(op, result_dtype(op, dtype), arrays, sources)


def by_python(op, dtype, columns):
    target = result_dtype(op, dtype)
    return [algebra.evaluate(op, target, dtype, *row) for row in zip(*columns)]


@pytest.mark.parametrize("op, dtype", cases(ORACLE))
def test_basic_operation_equals_its_oracle(op, dtype):
    columns = grid(op, dtype)
    arrays = [
        np.array(column, object).astype(host_dtype(each))
        for column, each in zip(columns, operand_dtypes(op, dtype))
    ]

    with np.errstate(all="ignore"):
        want = ORACLE[op.name](*arrays)
    want = want.astype(np.float64) if dtype.is_float and want.dtype != bool else want

    assert same_numbers(by_numpy(op, dtype, columns).tolist(), want.tolist())
    assert same_numbers(by_python(op, dtype, columns), want.tolist())


@pytest.mark.parametrize("op, dtype", cases(TRANSCENDENTAL))
def test_transcendental_operation_is_within_one_ulp_of_its_oracle(op, dtype):
    columns = grid(op, dtype)
    with np.errstate(all="ignore"):
        want = np.asarray(TRANSCENDENTAL[op.name](*[np.array(c, np.float64) for c in columns]))
    # NumPy's own float64 functions are off by more than one: SVML promises four.
    ulps = 4 if dtype is dt.float64 else 1

    for got in (by_numpy(op, dtype, columns), np.array(by_python(op, dtype, columns))):
        assert distance(got.astype(np.float64), want, dtype).max() <= ulps


def distance(got, want, dtype):
    """Return how many representable numbers lie between the two, 0 where both are NaN."""
    got, want = (to_array(x, dtype) for x in (got, np.where(np.isnan(want), np.nan, want)))
    bits = [
        numpy_algebra.to_bits(np.ascontiguousarray(x), dtype).astype(object) for x in (got, want)
    ]
    top = 1 << (dtype.bits - 1)
    ordered = [np.where(b >= top, top - b, b) for b in bits]
    return np.where(np.isnan(got) & np.isnan(want), 0, np.abs(ordered[0] - ordered[1]))


@pytest.mark.parametrize("name", [*ORACLE, *TRANSCENDENTAL])
def test_oracle_names_are_rows_of_the_table(name):
    assert name in ops.TABLE


def test_every_row_of_the_table_has_an_oracle():
    assert {*ORACLE, *TRANSCENDENTAL, "fma", "cast", "bitcast"} == set(ops.TABLE)


# --- change of type -------------------------------------------------------------------------------


def cast_oracle(value, target: DType):
    """Return what the table says, from exact rationals."""
    if target.kind is Kind.BOOL:
        return value != 0
    if target.is_float:
        if isinstance(value, float):
            return float(np.float64(value).astype(host_dtype(target)))
        if target.bits == 64:
            return float(value)
        return nearest(Fraction(int(value)), target) if value else 0.0
    low, high = target.limits()
    if isinstance(value, float):
        if value != value:
            return 0
        return int(min(max(value, low), high))
    return (int(value) - low) % (1 << target.bits) + low


@pytest.mark.parametrize("target", dt.ALL)
@pytest.mark.parametrize("source", dt.ALL)
def test_cast_saturates_from_floats_wraps_integers_and_rounds_once(source, target):
    ties = [2**62 + 2**38 + 1, 2**62 + 2**38 - 1, 2**25 + 1, 2049, 257, 259, 2**60 + 2**52 + 1]
    column = edges(source)
    if source.is_integer:
        column += [tie for tie in ties if tie <= source.limits()[1]]
    with np.errstate(all="ignore"):
        want = [cast_oracle(value, target) for value in column]

    held = np.array([constant(v, source) for v in column])
    got = apply(ops.CAST, target, [held], [source])

    assert same_numbers(got.tolist(), want)
    assert same_numbers([algebra.evaluate(ops.CAST, target, source, v) for v in column], want)


@pytest.mark.parametrize("dtype", dt.FLOATS)
def test_bitcast_keeps_every_bit(dtype):
    word = NAMES[f"uint{dtype.bits}"]
    width = dtype.bits - 1 - dtype.mantissa
    infinity = ((1 << width) - 1) << dtype.mantissa
    sign = 1 << (dtype.bits - 1)
    patterns = [0, 1, infinity, infinity + 1, infinity | (1 << dtype.mantissa - 1), infinity - 1, 7]
    patterns += [sign | pattern for pattern in patterns]

    held = constant_column(patterns, word)
    back = apply(ops.BITCAST, word, [apply(ops.BITCAST, dtype, [held], [word])], [dtype])
    alone = [
        algebra.evaluate(ops.BITCAST, word, dtype, algebra.evaluate(ops.BITCAST, dtype, word, p))
        for p in patterns
    ]

    assert back.tolist() == patterns
    assert alone == patterns


def constant_column(column, dtype):
    return np.array([constant(value, dtype) for value in column])


@pytest.mark.parametrize("dtype", dt.FLOATS)
def test_bitcast_of_a_constant_equals_memory(dtype):
    word = NAMES[f"uint{dtype.bits}"]
    column = [v for v in edges(dtype) if v == v]
    want = np.array(column, object).astype(host_dtype(dtype)).view(word.name).tolist()

    assert [algebra.evaluate(ops.BITCAST, word, dtype, v) for v in column] == want
    assert [algebra.evaluate(ops.BITCAST, dtype, word, v) for v in want] == column


# --- fma ------------------------------------------------------------------------------------------

FMA_CASES = [
    (0.1, 10.0, -1.0), (1 + 2.0**-7, 1 + 2.0**-7, 2.0**-16), (1.0, 1.0, 2.0**-60), (3.0, 0.0, -0.0),
    (-0.0, 2.0, 0.0), (-0.0, 2.0, -0.0), (1e200, 1e200, -np.inf), (1e200, -1e200, np.inf),
    (np.inf, 0.0, 1.0), (np.inf, 1.0, -np.inf), (2.0, 3.0, -6.0), (1e-200, 1e-200, 5e-324),
    (1e-200, 1e-200, 0.0), (2.0**-75, 2.0**-75, 0.0), (-(2.0**-75), 2.0**-75, 0.0),
    (1e300, 1e300, 1.0),
    (1 + 2.0**-23, 1 - 2.0**-24, 2.0**-80), (2.0**700, 2.0**-600, 1 + 2.0**-52), (np.nan, 1.0, 1.0),
]  # fmt: skip


def fma_oracle(a, b, c, dtype):
    if not all(np.isfinite([a, b])) or not np.isfinite(c):
        return c if np.isfinite(a) and np.isfinite(b) else a * b + c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c
    top = Fraction(float(ml_dtypes.finfo(host_dtype(dtype)).max))
    if abs(exact) > 2 * top:
        return float(np.sign(float(exact > 0) - 0.5) * np.inf)
    return nearest(exact, dtype)


def nearest(exact, dtype):
    """Round a rational by its binary exponent: half to even, subnormals, overflow."""
    info = ml_dtypes.finfo(host_dtype(dtype))
    lowest = int(np.log2(float(info.smallest_subnormal))) if dtype.bits < 64 else -1074
    size, exponent = abs(exact), 0
    while size >= 2:
        size, exponent = size / 2, exponent + 1
    while size < 1:
        size, exponent = size * 2, exponent - 1
    quantum = Fraction(2) ** max(exponent - dtype.mantissa, lowest)
    rounded = round(abs(exact) / quantum) * quantum
    if rounded > Fraction(float(info.max)):
        return float(np.copysign(np.inf, float(exact > 0) - 0.5))
    return float(np.copysign(float(rounded), float(exact > 0) - 0.5))


@pytest.mark.parametrize("dtype", dt.FLOATS)
def test_fma_rounds_once(dtype):
    rng = np.random.default_rng(0)
    rows = [tuple(algebra.round_float(v, dtype) for v in case) for case in FMA_CASES]
    for _ in range(300):
        a, b = rng.standard_normal(2) * 2.0 ** rng.integers(-20, 20, 2)
        c = -a * b * (1 + rng.integers(-2, 3) * 2.0 ** -rng.integers(1, 50))
        rows.append(tuple(algebra.round_float(float(v), dtype) for v in (a, b, c)))

    with np.errstate(all="ignore"):
        want = [fma_oracle(*row, dtype) for row in rows]
    columns = [constant_column(column, dtype) for column in zip(*rows)]
    got = apply(ops.FMA, dtype, columns, [dtype] * 3)

    assert same_numbers(got.tolist(), want)
    assert same_numbers([algebra.evaluate(ops.FMA, dtype, dtype, *row) for row in rows], want)


# --- how values are held --------------------------------------------------------------------------


def test_bfloat16_is_rounded_like_ml_dtypes():
    rng = np.random.default_rng(1)
    wide = rng.integers(0, 2**64, 20000, np.uint64).view(np.float64)
    narrow = rng.integers(0, 2**32, 20000, np.uint32).view(np.float32)
    narrow = narrow[~np.isnan(narrow)]

    with np.errstate(all="ignore"):
        assert np.array_equal(
            to_array(narrow, dt.bfloat16), narrow.astype(ml_dtypes.bfloat16).astype(np.float32)
        )
        scalar = [algebra.round_float(v, dt.bfloat16) for v in wide[:2000].tolist()]
        assert np.array_equal(
            to_array(wide[:2000], dt.bfloat16), np.array(scalar, np.float32), equal_nan=True
        )


def test_bfloat16_arrays_are_accepted_in_every_spelling():
    values = np.array([1.5, -2.0, 3.140625], np.float32)
    typed = values.astype(ml_dtypes.bfloat16)

    for spelling in (typed, typed.view(np.uint16), values):
        assert np.array_equal(to_array(spelling, dt.bfloat16), values)


def test_no_warning_leaks():
    column = [np.array(edges(dt.int8), np.int8)]

    apply(ops.NEG, dt.int8, column, [dt.int8])
    apply(ops.MUL, dt.int8, column * 2, [dt.int8] * 2)
    apply(ops.DIV, dt.float32, [np.array([1.0], "f"), np.array([0.0], "f")], [dt.float32] * 2)
