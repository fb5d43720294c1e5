"""Bounds and divisibility, against exact evaluation of samples."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle.ir import algebra, forms, ops, tensor
from inkle.ir import dtype as dt
from inkle.ir.bounds import bounds, constant_value, divides, divisor, is_in_range
from inkle.ir.loop import load, range_, reduce, stage
from inkle.ir.node import Node, const, toposort
from tests.strategies import integer_expressions, variable

PAIRWISE = (
    "floordiv", "floormod", "truncdiv", "truncmod", "mul", "sub", "maximum", "and", "or", "xor",
    "less", "equal", "shr",
)  # fmt: skip


def evaluate(node: Node, rng: random.Random) -> list[tuple[Node, int]]:
    """Return every node below with its value at one random point."""
    known: dict[Node, int] = {}
    for each in toposort((node,)):
        if each.op is forms.CONST:
            known[each] = each.arg
        elif each.op is forms.RANGE:
            known[each] = rng.choice([0, each.src[0].arg - 1, rng.randrange(each.src[0].arg)])
        elif each.op is forms.VARIABLE:
            known[each] = rng.choice([each.arg[1], each.arg[2], rng.randint(*each.arg[1:])])
        else:
            operands = [known[source] for source in each.src]
            known[each] = algebra.evaluate(each.op, each.dtype, each.src[-1].dtype, *operands)
    return list(known.items())


@given(st.data(), st.sampled_from([dt.index, dt.int8, dt.uint8, dt.int32, dt.uint64]))
def test_values_lie_within_bounds_and_are_multiples_of_the_divisor(data, dtype):
    node = data.draw(integer_expressions(dtype))
    rng = random.Random(0)

    for _ in range(8):
        for each, value in evaluate(node, rng):
            low, high = bounds(each)
            assert low is None or low <= value, (each, value, low, high)
            assert high is None or value <= high, (each, value, low, high)
            k = divisor(each)
            assert value % k == 0 if k else value == 0, (each, value, k)


def all_pairs(low, high):
    return [(a, b) for a in range(low, high + 1) for b in range(a, high + 1)]


@pytest.mark.parametrize("name", PAIRWISE)
def test_every_small_interval_is_covered_and_ends_are_tight_enough(name):
    op = ops.TABLE[name]
    for a, b in all_pairs(-4, 4):
        for c, d in all_pairs(-3, 3):
            x, y = variable("x", a, b), variable("y", c, d)
            node = x.apply(op, y)
            found = [
                algebra.evaluate(op, node.dtype, dt.index, p, q)
                for p in range(a, b + 1)
                for q in range(c, d + 1)
            ]

            low, high = bounds(node)

            assert low <= min(found) <= max(found) <= high, (a, b, c, d)
            if name in ("mul", "sub", "maximum", "floordiv", "truncdiv", "less"):
                assert (low, high) == (min(found), max(found)), (a, b, c, d)


def test_wrapping_gives_the_limits_of_the_dtype():
    x = variable("x", 100, 120, dt.int8)

    assert bounds(x + 7) == (107, 127)
    assert bounds(x + 8) == (-128, 127)
    assert bounds(x.cast(dt.int32) + 8) == (108, 128)
    assert bounds(x.cast(dt.uint8) * 2) == (200, 240)
    assert bounds((x - 121).cast(dt.uint8)) == (0, 255)


def test_leaves():
    memory = tensor.param(0, dt.int8, (4,))
    r = range_(0, 4)

    assert bounds(r) == (0, 3)
    assert bounds(range_(1, variable("n", 0, 5))) == (0, 4)
    assert bounds(range_(1, 0)) == (0, 0)
    assert bounds(load(memory, r)) == (-128, 127)
    assert bounds(load(memory, r).cast(dt.index) * 3) == (-384, 381)
    assert bounds(const(1.5, dt.float32)) == (None, None)
    assert bounds(const(1.5, dt.float32).cast(dt.index) + 0) == (-(2**63), 2**63 - 1)
    assert bounds(tensor.arange(5)) == (0, 4)
    assert bounds(const(True, dt.bool_)) == (1, 1)


def test_a_staged_value_has_the_bounds_of_what_is_stored():
    r, s = range_(0, 4), range_(1, 4)
    memory = stage(0, r + 3, r, [r], 4)

    assert bounds(load(memory, s)) == (3, 6)
    assert bounds(load(memory, s, s < 2)) == (0, 6)


def test_tensor_form_follows_movement_and_zeros():
    x = tensor.arange(6) + 2

    assert bounds(tensor.reshape(x, (2, 3))) == (2, 7)
    assert bounds(tensor.pad(x, [(1, 0, 0)])) == (0, 7)
    assert bounds(tensor.cat([x, tensor.arange(20)], 0)) == (0, 19)
    assert bounds(tensor.reduce(x, ops.MAXIMUM, [0])) == (2, 7)


def test_reductions():
    r, empty = range_(0, 4), range_(1, variable("n", 0, 5))
    wide, narrow = (r - 1), (r - 1).cast(dt.int8)

    assert bounds(reduce(ops.ADD, wide, [r])) == (-4, 8)
    assert bounds(reduce(ops.ADD, wide, [r, empty])) == (-20, 40)
    assert bounds(reduce(ops.MAXIMUM, wide, [r])) == (-1, 2)
    assert bounds(reduce(ops.MAXIMUM, narrow, [empty])) == (-128, 2)
    assert bounds(reduce(ops.MUL, narrow, [r])) == (-128, 127)
    assert bounds(reduce(ops.AND, r < 2, [r])) == (0, 1)


def test_facts_can_be_assumed():
    r = range_(0, 100)
    i = load(tensor.param(0, dt.int64, (9,)), r).cast(dt.index)

    assert bounds(r * 2, {r: (3, 4)}) == (6, 8)
    assert is_in_range(i + 1, 1, 9, {i: (0, 7)})
    assert not is_in_range(i + 1, 1, 9)
    assert bounds(r * 2) == (0, 198)
    assert constant_value(r // 10, {r: (20, 29)}) == 2


def test_is_in_range_is_half_open():
    r = range_(0, 8)

    assert is_in_range(r, 0, 8)
    assert not is_in_range(r, 0, 7)
    assert not is_in_range(r, 1, 8)


def test_divisibility():
    r, s = range_(0, 8), range_(1, 4)

    assert divides(r * 12 + s * 8, 4)
    assert not divides(r * 12 + s * 8, 8)
    assert divides((r * 12 + 24) // 4, 3)
    assert divides((r << 3) % 16, 8)
    assert divides(const(0, dt.index), 7)
    assert not divides(r, 0)
    # 6 divides 6 * x for index, but not modulo 2**8
    assert divides(variable("x", 0, 99) * 6, 3)
    assert not divides(variable("x", 0, 99, dt.uint8) * 6, 3)


def test_deep_graphs_do_not_recurse():
    node = total = range_(0, 2)
    for _ in range(5_000):
        total = total + node

    assert bounds(total) == (0, 5_001)
    assert divides(total * 4, 4)


def test_huge_values_become_unbounded():
    x = variable("x", 1, 2)
    for _ in range(12):
        x = x * x

    assert bounds(x) == (1, None)
    assert bounds(x - x) == (None, None)
