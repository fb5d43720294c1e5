"""Elementwise operations against PyTorch: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import inkle
from inkle.tensor import Tensor
from tests.oracle.compare import check, numbers

EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 3.0, -3.0, 6.0, 100.0, -100.0]
# name of the method here and in torch (or torch.nn.functional), lowest and highest argument
UNARY = [
    ("neg", "neg", -2, 2), ("abs", "abs", -2, 2), ("square", "square", -2, 2),
    ("reciprocal", "reciprocal", 0.1, 3), ("sqrt", "sqrt", 0.1, 3), ("rsqrt", "rsqrt", 0.1, 3),
    ("exp", "exp", -2, 2), ("exp2", "exp2", -2, 2), ("expm1", "expm1", -2, 2),
    ("log", "log", 0.1, 3), ("log2", "log2", 0.1, 3), ("log10", "log10", 0.1, 3),
    ("log1p", "log1p", -0.5, 3), ("sin", "sin", -9, 9), ("cos", "cos", -9, 9),
    ("tan", "tan", -1, 1), ("asin", "asin", -0.9, 0.9), ("acos", "acos", -0.9, 0.9),
    ("atan", "atan", -5, 5), ("sinh", "sinh", -3, 3), ("cosh", "cosh", -3, 3),
    ("tanh", "tanh", -3, 3), ("asinh", "asinh", -5, 5), ("acosh", "acosh", 1.1, 5),
    ("atanh", "atanh", -0.9, 0.9), ("erf", "erf", -3, 3), ("erfc", "erfc", -3, 3),
    ("sigmoid", "sigmoid", -5, 5), ("deg2rad", "deg2rad", -5, 5), ("rad2deg", "rad2deg", -5, 5),
]  # fmt: skip
KINKED = [
    "relu", "relu6", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus", "softsign",
    "logsigmoid", "hardtanh", "hardsigmoid", "hardswish", "leaky_relu",
]  # fmt: skip
BINARY = [
    ("add", -2, 2), ("sub", -2, 2), ("mul", -2, 2), ("div", 0.5, 2), ("maximum", -2, 2),
    ("minimum", -2, 2), ("atan2", -2, 2), ("pow", 0.1, 2), ("logaddexp", -3, 3), ("hypot", 0.1, 3),
    ("copysign", -2, 2), ("fmod", 0.5, 9),
]  # fmt: skip
SHAPES = [((), ()), ((3,), ()), ((2, 3), (3,)), ((2, 1, 4), (3, 1)), ((0, 3), (1, 3)), ((1,), (1,))]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "oracle", "low", "high"), UNARY)
def test_function_and_gradient(torch, name, oracle, low, high, dtype):
    x = numbers((3, 5), low=low, high=high, dtype=dtype)

    check(torch, lambda x: getattr(x, name)(), lambda x: getattr(torch, oracle)(x), [x])


@pytest.mark.parametrize("name", ["exp", "tanh", "erf", "sqrt", "neg"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (1, 1), (2, 0, 3), (7,)])
def test_function_of_odd_shapes(torch, name, shape):
    x = numbers(shape, low=0.1, high=2)

    check(torch, lambda x: getattr(x, name)(), lambda x: getattr(torch, name)(x), [x])


@pytest.mark.parametrize("name", KINKED)
def test_activation_and_gradient_at_kinks_and_far_out(torch, name):
    x = np.concatenate([np.array(EDGES), numbers((20,), low=-8, high=8)])
    oracle = getattr(torch.nn.functional, name)

    # PyTorch keeps the constant 1/6 of hardsigmoid's gradient in float32.
    tolerance = 1e-7 if name == "hardsigmoid" else 1e-10
    check(torch, lambda x: getattr(x, name)(), oracle, [x], tolerance=tolerance)


@pytest.mark.parametrize("name", [*KINKED, "sigmoid", "tanh"])
def test_activation_propagates_nan_and_inf(torch, name):
    if name in ("silu", "hardswish"):  # PyTorch gives NaN at -inf; the limit is 0
        assert abs(getattr(Tensor([-np.inf]), name)().item()) < 1e-30
        x = np.array([np.nan, np.inf])
    else:
        x = np.array([np.nan, np.inf, -np.inf])
    oracle = getattr(torch, name, None) or getattr(torch.nn.functional, name)

    check(torch, lambda x: getattr(x, name)(), oracle, [x], gradients=False)


@pytest.mark.parametrize("name", ["sigmoid", "silu", "softplus", "logsigmoid", "mish", "elu"])
def test_gradient_is_finite_where_exponentials_overflow(torch, name):
    x = np.array([-800.0, -90.0, 0.0, 90.0, 800.0], np.float32)
    oracle = getattr(torch, name, None) or getattr(torch.nn.functional, name)

    check(torch, lambda x: getattr(x, name)(), oracle, [x])


def test_gelu_with_tanh(torch):
    x = numbers((30,), low=-5, high=5)
    oracle = torch.nn.functional.gelu

    check(torch, lambda x: x.gelu("tanh"), lambda x: oracle(x, approximate="tanh"), [x])


@pytest.mark.parametrize(("name", "low", "high"), BINARY)
@pytest.mark.parametrize("shapes", SHAPES)
def test_pair_broadcasts_values_and_gradients(torch, name, low, high, shapes):
    a = numbers(shapes[0], low=low, high=high, seed=1)
    b = numbers(shapes[1], low=low, high=high, seed=2)

    check(torch, lambda a, b: getattr(a, name)(b), lambda a, b: getattr(torch, name)(a, b), [a, b])


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_equal_sides_share_the_gradient(torch, name):
    a, b = np.array([1.0, 2.0, 3.0, 0.0]), np.array([1.0, 3.0, 2.0, -0.0])

    check(torch, lambda a, b: getattr(a, name)(b), lambda a, b: getattr(torch, name)(a, b), [a, b])


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_extremum_of_nan_is_nan(torch, name):
    a, b = np.array([np.nan, 1.0, np.nan]), np.array([1.0, np.nan, np.nan])

    check(torch, lambda a, b: getattr(a, name)(b), lambda a, b: getattr(torch, name)(a, b), [a, b],
          gradients=False)  # fmt: skip


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, 5, -1, -2, 0.5, -0.5, 1.5, 2.0])
def test_power_of_a_number(torch, exponent):
    x = numbers((9,), low=0.2, high=2)

    check(torch, lambda x: (x**exponent) + x, lambda x: (x**exponent) + x, [x])


@pytest.mark.parametrize("exponent", [2, 3, 4, 2.0, 7])
def test_power_at_zero_and_below(torch, exponent):
    x = np.array([0.0, -0.0, -1.5, 2.0])

    check(torch, lambda x: x**exponent, lambda x: x**exponent, [x])


@pytest.mark.parametrize("base", [2, 0.5, 3.0])
def test_number_to_a_power(torch, base):
    x = numbers((9,))

    check(torch, lambda x: base**x, lambda x: base**x, [x])


def test_operators_with_numbers_on_the_left(torch):
    x = numbers((5,), low=0.5, high=3)

    check(torch, lambda x: 2 - x + 3 * x / (1 / x), lambda x: 2 - x + 3 * x / (1 / x), [x])
    check(torch, lambda x: 7 // x + 7 % x, lambda x: 7 // x + 7 % x, [x], gradients=False)


@pytest.mark.parametrize("mode", [None, "floor", "trunc"])
@pytest.mark.parametrize("dtype", ["float64", "int64", "int32", "uint8"])
def test_division_and_its_roundings(torch, mode, dtype):
    a = (
        np.array([7, 8, 9, 0, 250], dtype)
        if dtype == "uint8"
        else np.array([7, -7, 8, -9, 0], dtype)
    )
    b = np.array([2, 3, 3, 5, 7], dtype) if dtype == "uint8" else np.array([2, 2, -3, 3, -5], dtype)

    check(torch, lambda a, b: a.div(b, mode), lambda a, b: torch.div(a, b, rounding_mode=mode),
          [a, b], gradients=mode is None)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int8"])
def test_remainders(torch, dtype):
    a = np.array([7, -7, 7, -7, 0, 6, 100, -100], dtype)
    b = np.array([3, 3, -3, -3, 5, 3, 7, 7], dtype)

    check(torch, lambda a, b: a % b, torch.remainder, [a, b], gradients=False)
    check(torch, lambda a, b: a.fmod(b), torch.fmod, [a, b], gradients=False)
    check(torch, lambda a, b: a // b, torch.floor_divide, [a, b], gradients=False)


def test_remainder_of_floats_with_infinity(torch):
    a, b = np.array([5.0, -5.0, 5.0, -5.0]), np.array([np.inf, np.inf, -np.inf, -np.inf])

    check(torch, lambda a, b: a % b, torch.remainder, [a, b], gradients=False)
    check(torch, lambda a, b: a.fmod(b), torch.fmod, [a, b], gradients=False)


def test_remainder_of_floats_just_below_a_multiple():
    a = np.array([5.999999, 0.3, 1e10, -0.3, 3e14, 1e13], np.float32)
    b = np.array([2, 0.1, 3, 0.1, 7, -11], np.float32)

    found = (Tensor(a) % Tensor(b)).numpy()

    np.testing.assert_array_equal(found, np.remainder(a, b))


def test_gradient_of_remainder(torch):
    a, b = np.array([7.3, -7.3, 2.2]), np.array([2.0, 2.0, -0.7])

    check(torch, lambda a, b: a % b, torch.remainder, [a, b])


@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "round"])
def test_rounding(torch, name):
    x = np.array([-2.5, -1.5, -0.5, -0.2, 0.0, 0.5, 1.5, 2.5, 2.7, np.nan, np.inf])

    check(torch, lambda x: getattr(x, name)(), lambda x: getattr(torch, name)(x), [x])


@pytest.mark.parametrize(("low", "high"), [(None, 1.0), (-1.0, None), (-1.0, 1.0), (1.0, -1.0)])
def test_clamp_by_numbers(torch, low, high):
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])

    check(torch, lambda x: x.clamp(low, high), lambda x: torch.clamp(x, low, high), [x])
    assert np.isnan(Tensor([np.nan]).clamp(low, high).item())


def test_clamp_by_tensors(torch):
    x, low = numbers((3, 4)), numbers((4,), seed=1)

    check(torch, lambda x, low: x.clamp(min=low), lambda x, low: torch.clamp(x, min=low), [x, low])


def test_where(torch):
    mask, x, y = numbers((3, 1)), numbers((4,), seed=1), numbers((3, 4), seed=2)

    check(torch, lambda m, x, y: (m > 0).where(x, y), lambda m, x, y: torch.where(m > 0, x, y),
          [mask, x, y])  # fmt: skip
    check(torch, lambda m, x: (m > 0).where(x, 0), lambda m, x: torch.where(m > 0, x, 0), [mask, x])
    check(torch, lambda m, x: (m > 0).where(1.5, x), lambda m, x: torch.where(m > 0, 1.5, x),
          [mask, x])  # fmt: skip


def test_where_of_two_numbers():
    mask = Tensor([True, False])

    assert mask.where(1, 0).tolist() == [1, 0]
    assert mask.where(1.5, 0).tolist() == [1.5, 0.0]


def test_lerp_and_masked_fill(torch):
    x, y = numbers((4,)), numbers((4,), seed=1)

    check(torch, lambda x, y: x.lerp(y, 0.3), lambda x, y: torch.lerp(x, y, 0.3), [x, y])
    check(torch, lambda x, y: x.masked_fill(y > 0, -9.0), lambda x, y: x.masked_fill(y > 0, -9.0),
          [x, y])  # fmt: skip


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
@pytest.mark.parametrize("dtype", ["float64", "int64", "uint8", "bool"])
def test_comparison(torch, name, dtype):
    a = np.array([0, 1, 1, 2, 0]).astype(dtype)
    b = np.array([0, 1, 2, 1, 1]).astype(dtype)

    method = {"eq": "__eq__", "ne": "__ne__"}.get(name, f"__{name}__")
    check(torch, lambda a, b: getattr(a, method)(b), getattr(torch, name), [a, b])


def test_comparison_with_nan(torch):
    a, b = np.array([np.nan, np.nan, 1.0]), np.array([np.nan, 1.0, np.nan])

    for name in ("eq", "ne"):
        check(torch, lambda a, b, n=name: getattr(a, n)(b), getattr(torch, name), [a, b])
    check(torch, lambda a, b: a < b, torch.lt, [a, b])
    check(torch, lambda a, b: a <= b, torch.le, [a, b])


@pytest.mark.parametrize("name", ["isnan", "isinf", "isfinite"])
def test_predicate(torch, name):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, 1e300])

    check(torch, lambda x: getattr(x, name)(), getattr(torch, name), [x])


def test_isinf_of_one_sign():
    x = Tensor([float("inf"), -float("inf"), 1.0])

    assert x.isinf(detect_negative=False).tolist() == [True, False, False]
    assert x.isinf(detect_positive=False).tolist() == [False, True, False]


@pytest.mark.parametrize("equal_nan", [False, True])
def test_isclose(torch, equal_nan):
    a = np.array([1.0, 1.0, np.inf, np.inf, -np.inf, np.nan, 0.0])
    b = np.array([1.0 + 1e-6, 1.1, np.inf, 1.0, np.inf, np.nan, 1e-9])

    check(torch, lambda a, b: a.isclose(b, equal_nan=equal_nan),
          lambda a, b: torch.isclose(a, b, equal_nan=equal_nan), [a, b])  # fmt: skip


@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_or", "bitwise_xor"])
@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_bits(torch, name, dtype):
    a, b = np.array([0, 1, 5, 7]).astype(dtype), np.array([1, 1, 3, 0]).astype(dtype)

    check(torch, lambda a, b: getattr(a, name)(b), getattr(torch, name), [a, b])


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int64"])
def test_shifts_and_not(torch, dtype):
    a, b = np.array([1, 5, 100, 7]).astype(dtype), np.array([0, 1, 3, 2]).astype(dtype)

    check(torch, lambda a, b: a << b, lambda a, b: a << b, [a, b])
    check(torch, lambda a, b: a >> b, lambda a, b: a >> b, [a, b])
    check(torch, lambda a: ~a, lambda a: ~a, [a])


def test_shifts_of_negative_numbers_are_arithmetic(torch):
    a = np.array([-8, -1], np.int32)

    check(torch, lambda a: a >> 1, lambda a: a >> 1, [a])


@pytest.mark.parametrize("name", ["logical_and", "logical_or"])
def test_logic(torch, name):
    a, b = np.array([0.0, 1.5, np.nan, 0.0]), np.array([0, 0, 2, 1])

    check(torch, lambda a, b: getattr(a, name)(b), getattr(torch, name), [a, b], gradients=False)
    check(torch, lambda a: a.logical_not(), torch.logical_not, [a], gradients=False)


@pytest.mark.parametrize("name", ["add", "mul", "maximum", "minimum"])
def test_arithmetic_of_bools(torch, name):
    a, b = np.array([False, False, True, True]), np.array([False, True, False, True])

    check(torch, lambda a, b: getattr(a, name)(b), getattr(torch, name), [a, b])


@pytest.mark.parametrize("source", ["float32", "float64", "int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize(
    "target", ["float32", "float64", "int64", "int32", "int8", "uint8", "bool"]
)
def test_cast(torch, source, target):
    x = np.array([0, 1, 2, 100, 3]).astype(source)

    check(torch, lambda x: x.cast(target), lambda x: x.to(getattr(torch, target)), [x],
          gradients=False)  # fmt: skip


def test_cast_from_float_saturates_and_takes_nan_to_zero():
    x = Tensor([1e20, -1e20, float("nan"), 300.7, -0.9])

    assert x.cast("int32").tolist() == [2**31 - 1, -(2**31), 0, 300, 0]
    assert x.cast("uint8").tolist() == [255, 0, 0, 255, 0]


def test_gradient_through_cast(torch):
    x = numbers((4,), dtype="float32")

    check(torch, lambda x: x.double() * 3, lambda x: x.double() * 3, [x], tolerance=1e-6)


PROMOTIONS = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize("a", PROMOTIONS)
@pytest.mark.parametrize("b", PROMOTIONS)
@pytest.mark.parametrize("ranks", [(1, 1), (0, 1), (1, 0), (0, 0)])
def test_promotion_of_two_tensors(torch, a, b, ranks):
    x, y = (np.ones((1,) * rank, dtype) for rank, dtype in zip(ranks, (a, b)))

    result = torch.result_type(torch.tensor(x), torch.tensor(y))

    assert Tensor(x).mul(Tensor(y)).dtype.name == str(result).removeprefix("torch.")


@pytest.mark.parametrize("a", PROMOTIONS)
@pytest.mark.parametrize("number", [True, 1, 1.5])
def test_promotion_of_a_tensor_and_a_number(torch, a, number):
    result = torch.result_type(torch.ones(1, dtype=getattr(torch, a)), number)

    assert (Tensor(np.ones(1, a)) * number).dtype.name == str(result).removeprefix("torch.")


def test_bfloat16_meets_float16_in_float32():
    x = Tensor([1.0])

    assert (x.bfloat16() + x.half()).dtype is inkle.tensor.dtypes.float32
    assert (x.bfloat16() + 1.5).tolist() == [2.5]


def test_bitcast_reads_the_same_bits():
    x = Tensor([1.0, -2.0])

    assert x.bitcast("int32").tolist() == [0x3F800000, -0x40000000]
    assert x.bitcast("int32").bitcast("float32").tolist() == [1.0, -2.0]
