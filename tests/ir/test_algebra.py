"""Constant folding; the values themselves are tested in tests/check/test_numpy_algebra.py."""

from __future__ import annotations

import math

import pytest

from inkle.ir import algebra, ops
from inkle.ir import dtype as dt
from inkle.ir.node import const
from inkle.ir.tensor import param
from tests.strategies import edges


def test_fold_gives_a_constant_of_the_result_dtype():
    assert algebra.fold(const(100, dt.int8) + const(100, dt.int8)) is const(-56, dt.int8)
    assert algebra.fold(const(1.5, dt.float32) < 2.0) is const(True, dt.bool_)
    assert algebra.fold(const(0.1, dt.float32) + 0.2) is const(0.30000001192092896, dt.float32)


def test_fold_leaves_other_nodes_alone():
    x = param(0, dt.int32, (2,))

    assert algebra.fold(x + 1) is not None
    assert algebra.fold(x + 1) is x + 1
    assert algebra.fold(x) is x
    assert algebra.fold(const(1, dt.int32)) is const(1, dt.int32)


@pytest.mark.parametrize("op", [op for op in ops.TABLE.values() if dt.Kind.FLOAT in op.kinds])
def test_folding_floats_never_raises(op):
    column = edges(dt.float64)
    for a in column:
        for b in column if op.arity > 1 else [0.0]:
            row = [a, b, b][: op.arity] if op is not ops.WHERE else [True, a, b]
            algebra.evaluate(op, dt.int8 if op is ops.CAST else dt.float64, dt.float64, *row)


def test_index_is_unbounded():
    big = const(2**80, dt.index)

    assert algebra.fold(big * big) is const(2**160, dt.index)
    assert algebra.fold(~big) is const(-(2**80) - 1, dt.index)
    assert algebra.fold(big << 65) is const(2**81, dt.index)


def test_cast_of_a_float_to_index_saturates_like_int64():
    inf, nan = const(math.inf, dt.float32), const(math.nan, dt.float32)

    assert algebra.fold(inf.cast(dt.index)) is const(2**63 - 1, dt.index)
    assert algebra.fold(nan.cast(dt.index)) is const(0, dt.index)


def test_zero_divisors_have_the_documented_results():
    for dtype in (dt.int8, dt.uint8, dt.index):
        for name in ("floordiv", "truncdiv"):
            assert algebra.evaluate(ops.TABLE[name], dtype, dtype, 7, 0) == 0
        for name in ("floormod", "truncmod"):
            assert algebra.evaluate(ops.TABLE[name], dtype, dtype, 7, 0) == 7


def test_maximum_takes_the_second_of_equals_and_propagates_nan():
    zero, minus = const(0.0, dt.float32), const(-0.0, dt.float32)
    nan = const(math.nan, dt.float32)

    assert algebra.fold(zero.maximum(minus)) is minus
    assert algebra.fold(minus.maximum(zero)) is zero
    assert math.isnan(algebra.fold(nan.maximum(1.0)).arg)
    assert math.isnan(algebra.fold(zero.minimum(nan)).arg)


def test_large_integers_round_once_to_narrow_floats():
    just_above_a_tie = 2**62 + 2**38 + 1

    assert const(just_above_a_tie, dt.float32).arg == 2.0**62 + 2.0**39
    assert const(2**62 + 2**38, dt.float32).arg == 2.0**62
    assert const(10**400, dt.float32).arg == math.inf
