"""Decomposition keeps values, and leaves only operations that the target has."""

import math
import random

import pytest

from inkle.errors import RenderError
from inkle.ir import algebra, ops
from inkle.ir import dtype as dt
from inkle.ir.dtype import bfloat16, float16, float32, float64, index, int8, int32, int64, uint8
from inkle.ir.loop import range_
from inkle.ir.node import round_float, toposort
from inkle.rules.decompose import decompose
from inkle.rules.transcendental import DECOMPOSITIONS
from tests.rules.expressions import free, same, value_of
from tests.strategies import edges

HALVES = (float16, bfloat16)


def primitive(op, dtype):
    """A target with nothing but primitive operations, and floats of 32 and 64 bits."""
    if dtype in HALVES:
        return op is ops.BITCAST
    return not op.composite and op.name not in DECOMPOSITIONS


def tiny(op, dtype):
    """A target that lacks an operation which nothing else makes."""
    return op is not ops.XOR


def decomposed(node):
    (result,) = decompose([node], primitive)
    assert all(
        primitive(each.op, each.src[-1].dtype)
        for each in toposort([result])
        if each.op.is_elementwise
    )
    return result


INTEGER_OPS = (
    ops.FLOORDIV, ops.FLOORMOD, ops.TRUNCMOD, ops.MAXIMUM, ops.MINIMUM,
)  # fmt: skip


@pytest.mark.parametrize("dtype", [int8, uint8, int64], ids=str)
@pytest.mark.parametrize("op", INTEGER_OPS, ids=str)
def test_composite_integer_operations(op, dtype):
    x, y = free("x", dtype), free("y", dtype)
    result = decomposed(x.apply(op, y))

    for a in edges(dtype):
        for b in edges(dtype):
            point = {x: a, y: b}
            assert value_of(result, point) == value_of(x.apply(op, y), point)


@pytest.mark.parametrize("dtype", [int8, uint8, int32], ids=str)
@pytest.mark.parametrize("c", [1, 2, 8, 7, -3])
def test_division_by_a_constant(dtype, c):
    x = free("x", dtype)
    for node in (x // c, x % c):
        result = decomposed(node)
        assert all(value_of(result, {x: a}) == value_of(node, {x: a}) for a in edges(dtype))


def test_powers_of_two_divide_by_shifting():
    n = free("n", int32)

    assert decomposed(n // 8) is n >> 3
    assert decomposed(n % 8) is n & 7


def test_positive_index_divides_by_truncating():
    i = range_(0, 100)

    assert decomposed(i // 7) is i.truncdiv(7)
    assert decomposed(i // 7 - i // 7 * 2).op is ops.SUB
    assert decomposed(free("x", index) // 7).op is ops.WHERE


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=str)
def test_maximum_and_sign_of_floats(dtype):
    x, y = free("x", dtype), free("y", dtype)
    for node in (x.maximum(y), x.minimum(y), x.sign()):
        result = decomposed(node)
        for a in edges(dtype):
            for b in edges(dtype):
                point = {x: a, y: b}
                assert same(value_of(result, point), value_of(node, point))


@pytest.mark.parametrize("half", HALVES, ids=str)
def test_every_half_is_the_float32_of_equal_value(half):
    x = free("x", half)
    result = decomposed(x.cast(float32))

    for bits in range(0, 1 << 16, 61):
        value = algebra.from_bits(bits, half)
        assert same(value_of(result, {x: value}), value)


def near_ties(half, count):
    """Yield numbers on, just above and just below the middle between two halves."""
    chance = random.Random(0)
    for _ in range(count):
        bits = chance.getrandbits(15)
        low, high = algebra.from_bits(bits, half), algebra.from_bits(bits + 1, half)
        if math.isfinite(high) and math.isfinite(low):
            middle = (low + high) / 2
            yield chance.choice(
                (middle, math.nextafter(middle, 0), math.nextafter(middle, math.inf), low)
            )


@pytest.mark.parametrize("half", HALVES, ids=str)
@pytest.mark.parametrize("wide", [float32, float64], ids=str)
def test_floats_are_rounded_once_to_halves(half, wide):
    x = free("x", wide)
    result = decomposed(x.cast(half))

    for number in [*edges(wide), *near_ties(half, 300)]:
        for signed in (number, -number):
            value = round_float(signed, wide)
            assert same(value_of(result, {x: value}), round_float(value, half)), value


@pytest.mark.parametrize("half", HALVES, ids=str)
@pytest.mark.parametrize(
    "dtype", [dt.bool_, int8, int32, dt.uint32, int64, dt.uint64, index], ids=str
)
def test_integers_are_rounded_once_to_halves(half, dtype):
    x = free("x", dtype)
    result = decomposed(x.cast(half))
    chance = random.Random(1)
    wide = [chance.getrandbits(chance.randrange(1, 63)) for _ in range(60)]
    numbers = [*edges(dtype), *wide, *(-n for n in wide)]
    low, high = (-(2**63), 2**63 - 1) if dtype is index else dtype.limits()

    for value in numbers:
        if low <= value <= high:
            expected = value_of(x.cast(half), {x: value})
            exact = algebra.round_fraction(algebra.Fraction(value), half) if value else 0.0
            assert same(expected, exact)
            assert same(value_of(result, {x: value}), exact), value


@pytest.mark.parametrize("half", HALVES, ids=str)
def test_arithmetic_of_halves_is_rounded_once(half):
    x, y, z = (free(name, half) for name in "xyz")
    nodes = (x + y, x - y, x * y, x / y, x.sqrt(), x.fma(y, z), x.maximum(y), x < y, -x)
    results = [decomposed(node) for node in nodes]
    chance = random.Random(2)

    for _ in range(80):
        point = {v: algebra.from_bits(chance.getrandbits(16), half) for v in (x, y, z)}
        for node, result in zip(nodes, results):
            assert same(value_of(result, point), value_of(node, point)), (node.op, point)


@pytest.mark.parametrize("half", HALVES, ids=str)
def test_fma_of_halves_at_ties(half):
    x, y, z = (free(name, half) for name in "xyz")
    node = x.fma(y, z)
    result = decomposed(node)
    one_up = 1 + 2.0**-half.mantissa

    for tiny_part in (2.0**-24, -(2.0**-24), 0.0):
        for factor in (one_up, 1.0, -one_up):
            for scale in (0.5, 2.0**-half.mantissa, 2.0 ** -(half.mantissa + 1)):
                point = {x: factor, y: round_float(scale, half), z: round_float(tiny_part, half)}
                assert same(value_of(result, point), value_of(node, point))


def test_transcendental_operations_are_expanded():
    f = free("f", float32)

    result = decomposed(f.exp() + free("h", float16).exp().cast(float32))

    assert not {"exp", "exp2"} & {each.op.name for each in toposort([result])}


def test_what_the_target_has_is_left_alone():
    n, f = free("n", int32), free("f", float32)
    nodes = [n // 7, f.exp(), n.maximum(3), free("h", float16) + 1.0]

    assert decompose(nodes, lambda op, dtype: True) == nodes


def test_missing_primitive_is_an_error_that_names_it():
    with pytest.raises(RenderError, match="the target has no xor on int32"):
        decompose([free("n", int32) ^ free("m", int32)], tiny)
