"""The decompositions of transcendental functions: accuracy, special values, shape of the graphs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inkle.ir import ops
from inkle.ir.dtype import float32, float64
from inkle.ir.node import toposort
from inkle.rules.transcendental import DECOMPOSITIONS, coefficients
from tests.rules.transcendental_accuracy import (
    BINARY,
    SLOW_ORACLE,
    arity,
    graph_of,
    node_count,
    rough_error,
    sample,
    sweep_float32,
)
from tests.rules.transcendental_native import compile_graph
from tests.rules.transcendental_oracle import errors_in_ulp, exact, reference
from tools import fit_polynomials

UNARY = sorted(set(DECOMPOSITIONS) - BINARY)
PROMISED_ULP = 2.0  # docs/accuracy.md has the measured errors
FLOATS = (float32, float64)
TRANSCENDENTAL = frozenset(DECOMPOSITIONS) | {"sqrt"}
INF, NAN = math.inf, math.nan

# Operations that a function costs inside every kernel (float32); raise one knowingly.
NODE_BUDGETS = {"exp": 20, "exp2": 20, "log": 28, "log2": 30, "tanh": 30, "erf": 35, "sin": 100}

no_wide_oracle = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="the C library has no 80-bit floats here"
)
needs_torch = {"erf", "erfc"}  # oracles of float32


def evaluate(name: str, dtype: object, *args: float) -> np.ndarray:
    """Return the function at one point, as an array of one element of the dtype."""
    function = compile_graph(graph_of(name, dtype))
    return function(*[np.array([x], dtype.name) for x in args])


def test_every_transcendental_operation_has_a_decomposition():
    primitives = {"fma", "sqrt", "floor", "ceil", "trunc"}

    functions = {name for name in ops.TABLE if hasattr(math, name)} - primitives

    assert functions <= set(DECOMPOSITIONS)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", DECOMPOSITIONS)
def test_a_graph_has_no_transcendental_operation_left(name, dtype):
    left = {node.op.name for node in toposort((graph_of(name, dtype),))} & TRANSCENDENTAL

    assert left <= {"sqrt"}


@pytest.mark.parametrize("name", DECOMPOSITIONS)
def test_float32_needs_no_float64(name):
    """Targets without float64 (WebGPU) have these functions too."""
    assert all(node.dtype is not float64 for node in toposort((graph_of(name, float32),)))


@pytest.mark.parametrize("name", NODE_BUDGETS)
def test_a_graph_is_small(name):
    assert node_count(name, float32) <= NODE_BUDGETS[name]


# --- accuracy -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", UNARY)
def test_float32_is_accurate_on_a_sample(name):
    if name in needs_torch:
        pytest.importorskip("torch")

    worst = sweep_float32(name, step=2003)  # prime: every exponent, all kinds of mantissa

    assert worst.ulp <= PROMISED_ULP, worst


@pytest.mark.slow
@pytest.mark.parametrize("name", UNARY)
def test_float32_is_accurate_around_its_edges(name):
    if name in needs_torch:
        pytest.importorskip("torch")

    worst = sample(name, float32, 1 << 18)

    assert worst.ulp <= PROMISED_ULP, worst


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BINARY))
def test_float32_of_two_arguments_is_accurate_on_a_sample(name):
    worst = sample(name, float32, 1 << 20)

    assert worst.ulp <= PROMISED_ULP, worst


@no_wide_oracle
@pytest.mark.slow
@pytest.mark.parametrize("name", DECOMPOSITIONS)
def test_float64_is_accurate_on_a_sample(name):
    worst = sample(name, float64, 2000 if name in SLOW_ORACLE else 1 << 18)

    assert worst.ulp <= PROMISED_ULP, worst


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", UNARY)
def test_float32_is_accurate_everywhere(name):
    if name in needs_torch:
        pytest.importorskip("torch")

    worst = sweep_float32(name)

    assert worst.inputs == 2**32
    assert worst.ulp <= PROMISED_ULP, worst


@pytest.mark.parametrize(
    "x",
    [
        1e22, 2.0**120, 3.4028234663852886e38, 16367173.0 * 2.0**72, 1.5707963705062866,
        51390296064.0, 2.0**20, 2.0**20 - 0.0625, 355.0, 103993.0, 511391.59375, 338687.25,
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_circular_functions_reduce_huge_and_unlucky_arguments(name, x, dtype):
    x = float(np.dtype(dtype.name).type(x))

    got = evaluate(name, dtype, x)

    assert errors_in_ulp(got, exact(name, np.array([x])))[0] <= PROMISED_ULP


def test_sine_of_the_double_next_to_a_multiple_of_half_pi():
    """No double is closer to one (Muller 2006, table 11.1)."""
    x = 6381956970095103 * 2.0**797

    got = evaluate("cos", float64, x)

    assert errors_in_ulp(got, exact("cos", np.array([x])))[0] <= PROMISED_ULP


@pytest.mark.parametrize("name", ["sin", "cos", "tanh", "erf"])
def test_bounded_functions_do_not_leave_their_bounds(name):
    bits = np.arange(0, 2**32, 9973, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)

    y = compile_graph(graph_of(name, float32))(x[np.isfinite(x)])

    assert np.abs(y).max() <= 1.0


@pytest.mark.parametrize("name", ["exp", "log", "tanh", "erf", "expm1", "atan", "asinh"])
def test_monotonic_functions_are_nearly_monotonic(name):
    """A step back of more than one ulp would show where two formulas meet."""
    x = np.sort(np.random.default_rng(0).uniform(0.01, 6.0, 1 << 16).astype(np.float32))

    y = compile_graph(graph_of(name, float32))(x)

    assert np.all(y[:-1] - y[1:] <= np.spacing(np.abs(y[1:])))


# --- the coefficients -----------------------------------------------------------------------------


def test_the_tool_fits_the_coefficients_in_the_table():
    exponential = next(spec for spec in fit_polynomials.SPECS if spec.name == "EXPM1")

    found, error = fit_polynomials.fit(exponential, 32)

    assert [np.float32(x) for x in found] == [np.float32(x) for x in coefficients.EXPM1[32]]
    assert error < -26


@pytest.mark.exhaustive
def test_the_tool_writes_the_table():
    assert fit_polynomials.table() == fit_polynomials.TARGET.read_text()


# --- the instruments themselves -------------------------------------------------------------------


def test_an_error_is_counted_in_units_of_the_last_place_of_the_true_value():
    one = np.float32(1)
    got = np.array([one, np.nextafter(one, np.float32(2)), np.nextafter(one, np.float32(0))])
    want = np.array([1.0, 1.0, 1.0])

    assert errors_in_ulp(got.astype(np.float32), want).tolist() == [0.0, 1.0, 0.5]


def test_an_error_at_the_ends_of_the_format_is_counted():
    largest = np.finfo(np.float32).max
    got = np.array([INF, largest, 1e-45, 0.0, NAN, 1.0, NAN], np.float32)
    want = np.array([2.0**128 - 2.0**103, INF, 2.0**-149 * 3, 2.0**-150, NAN, NAN, 1.0])

    assert errors_in_ulp(got, want).tolist() == [0.5, 1.0, 2.0, 0.5, 0.0, INF, INF]


def test_rough_errors_agree_with_careful_ones():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2**32, 1 << 16, dtype=np.uint32).view(np.float32)
    x = x[np.isfinite(x)]
    want = x * (1 + rng.uniform(-4e-7, 4e-7, x.size))

    rough, careful = rough_error()(x, want), errors_in_ulp(x, want)

    wrong = x != want.astype(np.float32)
    assert np.allclose(rough[wrong], careful[wrong], rtol=1e-6)
    assert np.all(rough[~wrong] == 0)


@pytest.mark.parametrize("name", DECOMPOSITIONS)
def test_the_oracles_agree_with_mpmath(name):
    if name in needs_torch:
        pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    args = [rng.uniform(0.1, 0.9, 8).astype(np.float32) for _ in range(arity(name))]
    if name == "acosh":
        args = [args[0] + np.float32(1)]

    wide, true = reference(name, *args), exact(name, *args)

    assert np.all(np.abs(wide - true) <= 1e-14 * np.abs(true))
