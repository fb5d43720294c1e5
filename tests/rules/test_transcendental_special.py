"""The decompositions of transcendental functions at their special values (C, Annex F)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inkle.ir.dtype import bfloat16, float16, float32, float64
from inkle.ir.node import toposort
from inkle.rules.transcendental import DECOMPOSITIONS
from tests.rules.transcendental_accuracy import BINARY, graph_of
from tests.rules.transcendental_native import compile_graph, parameter
from tests.rules.transcendental_oracle import errors_in_ulp, reference

FLOATS = (float32, float64)
INF, NAN, PI = math.inf, math.nan, math.pi

SPECIAL = {
    "rsqrt": [(0.0, INF), (-0.0, -INF), (INF, 0.0), (-1.0, NAN), (-INF, NAN)],
    "exp": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (1e30, INF), (-1e30, 0.0)],
    "exp2": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (-126.0, 2.0**-126), (10.0, 1024.0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0)],
    "log": [(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF), (-1.0, NAN), (-INF, NAN)],
    "log2": [(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF), (-1.0, NAN), (2.0**-126, -126.0)],
    "log10": [(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF), (-1.0, NAN)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-2.0, NAN), (-INF, NAN)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "asin": [(0.0, 0.0), (-0.0, -0.0), (1.5, NAN), (-INF, NAN)],
    "acos": [(1.0, 0.0), (1.5, NAN), (-1.5, NAN), (INF, NAN)],
    "atan": [(0.0, 0.0), (-0.0, -0.0), (INF, PI / 2), (-INF, -PI / 2)],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "cosh": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, INF)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0)],
    "asinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "acosh": [(1.0, 0.0), (0.5, NAN), (-3.0, NAN), (INF, INF), (-INF, NAN)],
    "atanh": [(0.0, 0.0), (-0.0, -0.0), (1.0, INF), (-1.0, -INF), (1.5, NAN), (-INF, NAN)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0)],
    "erfc": [(0.0, 1.0), (INF, 0.0), (-INF, 2.0)],
}  # fmt: skip
POW = [
    (0.0, -3.0, INF), (-0.0, -3.0, -INF), (-0.0, -2.0, INF), (0.0, -0.5, INF), (-0.0, -INF, INF),
    (0.0, 3.0, 0.0), (-0.0, 3.0, -0.0), (-0.0, 2.0, 0.0), (-0.0, 0.5, 0.0), (-0.0, INF, 0.0),
    (-1.0, INF, 1.0), (-1.0, -INF, 1.0), (1.0, NAN, 1.0), (1.0, INF, 1.0), (NAN, 0.0, 1.0),
    (NAN, -0.0, 1.0), (-INF, 0.0, 1.0), (-8.0, 1 / 3, NAN), (-0.5, -2.5, NAN), (-2.0, 3.0, -8.0),
    (-2.0, 2.0, 4.0), (0.5, -INF, INF), (-0.5, -INF, INF), (2.0, -INF, 0.0), (0.5, INF, 0.0),
    (2.0, INF, INF), (-2.0, INF, INF), (-INF, -3.0, -0.0), (-INF, -2.0, 0.0), (-INF, -0.5, 0.0),
    (-INF, 3.0, -INF), (-INF, 2.0, INF), (-INF, 0.5, INF), (INF, -1.0, 0.0), (INF, 0.5, INF),
    (NAN, 1.0, NAN), (2.0, NAN, NAN), (-1.0, NAN, NAN), (INF, NAN, NAN), (0.0, NAN, NAN),
    (-2.0, 16777215.0, -INF), (-2.0, 1e30, INF), (-3.0, -1e30, 0.0), (-1.0, 1e30, 1.0),
    (-1.0, 3.0, -1.0), (2.0, -149.0, 2.0**-149), (1e-40, 0.0, 1.0), (10.0, 0.0, 1.0),
]  # fmt: skip
ATAN2 = [
    (0.0, -0.0, PI), (-0.0, -0.0, -PI), (0.0, 0.0, 0.0), (-0.0, 0.0, -0.0), (0.0, -1.0, PI),
    (-0.0, -1.0, -PI), (0.0, 1.0, 0.0), (-0.0, 1.0, -0.0), (1.0, 0.0, PI / 2),
    (-1.0, -0.0, -PI / 2),
    (1.0, -INF, PI), (-1.0, -INF, -PI), (1.0, INF, 0.0), (-1.0, INF, -0.0), (INF, 1.0, PI / 2),
    (-INF, 1.0, -PI / 2), (INF, -INF, 3 * PI / 4), (-INF, -INF, -3 * PI / 4), (INF, INF, PI / 4),
    (NAN, 1.0, NAN), (1.0, NAN, NAN), (NAN, INF, NAN), (INF, NAN, NAN), (0.0, NAN, NAN),
]  # fmt: skip


def same(got: np.ndarray, want: float) -> bool:
    """Whether `got` is `want`, sign of zero included; any NaN is NaN; angles may be an ulp off."""
    if math.isnan(want):
        return bool(np.isnan(got[0]))
    allowed = 0.0 if math.isinf(want) or np.log2(abs(want) or 1.0).is_integer() else 1.0
    near = errors_in_ulp(got, np.array([want], np.longdouble))[0] <= allowed
    return bool(near and np.signbit(got[0]) == np.signbit(want))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values_are_those_of_c(name, dtype):
    cases = [*SPECIAL[name], (NAN, NAN)]
    function = compile_graph(graph_of(name, dtype))

    wrong = [
        (x, got[0], want)
        for x, want in cases
        if not same(got := function(np.array([x], dtype.name)), want)
    ]

    assert not wrong


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name, cases", [("pow", POW), ("atan2", ATAN2)])
def test_special_pairs_are_those_of_c(name, cases, dtype):
    function = compile_graph(graph_of(name, dtype))

    wrong = []
    for x, y, want in cases:
        got = function(np.array([x], dtype.name), np.array([y], dtype.name))
        if not same(got, want):
            wrong.append((x, y, got[0], want))

    assert not wrong


def test_every_function_has_special_values():
    assert set(SPECIAL) | BINARY == set(DECOMPOSITIONS)


@pytest.mark.parametrize("name", ["expm1", "log1p", "sin", "tan", "asin", "atan", "sinh", "tanh",
                                  "asinh", "atanh"])  # fmt: skip
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_functions_that_are_x_near_zero_return_subnormals_unchanged(name, dtype):
    tiny = np.finfo(dtype.name).smallest_subnormal
    x = np.array([tiny, -tiny, 3 * tiny, 12345 * tiny, -tiny * 99999], dtype.name)

    assert np.array_equal(compile_graph(graph_of(name, dtype))(x), x)


def test_exp_underflows_gradually():
    x = np.array([-87.5, -95.0, -103.0, -103.9, -104.5], np.float32)

    got = compile_graph(graph_of("exp", float32))(x)

    assert np.all(got[:3] > 0)
    assert np.all(errors_in_ulp(got, reference("exp", x)) <= 1)
    assert got[-1] == 0


def test_powers_of_two_are_exact():
    n = np.arange(-149, 128).astype(np.float32)
    powers = np.ldexp(np.float32(1), n.astype(np.int32))

    assert np.array_equal(compile_graph(graph_of("exp2", float32))(n), powers)
    assert np.array_equal(compile_graph(graph_of("log2", float32))(powers), n)
    assert np.array_equal(compile_graph(graph_of("pow", float32))(np.full(277, 2, "f4"), n), powers)


@pytest.mark.parametrize("name", ["exp", "tanh", "sin", "erf"])
def test_float16_is_rounded_from_float32(name):
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    x = x[np.isfinite(x)]

    got = compile_graph(graph_of(name, float16))(x)

    with np.errstate(all="ignore"):
        wide = compile_graph(graph_of(name, float32))(x.astype(np.float32))
        assert np.array_equal(got, wide.astype(np.float16))


def test_bfloat16_is_computed_in_float32():
    graph = DECOMPOSITIONS["exp"](parameter(0, bfloat16))

    assert graph.dtype is bfloat16
    assert {node.op.name for node in toposort((graph,)) if node.dtype is bfloat16} == {
        "param", "cast",
    }  # fmt: skip
