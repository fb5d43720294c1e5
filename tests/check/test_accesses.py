"""Accesses are proved to lie within their memory, or a case that does not is named."""

import pytest

from inkle.check.accesses import prove_in_bounds
from inkle.ir.dtype import float32, index, int32, int64
from inkle.ir.loop import Kernel, load, range_, reduce, stage, store
from inkle.ir.node import const
from inkle.ir.ops import ADD
from inkle.ir.tensor import param
from tests.strategies import variable

IN, OUT = param(0, float32, (28, 28)), param(1, float32, (30, 30))
INDICES = param(2, int64, (28,))
R0, R1, R2, R3 = range_(0, 28), range_(1, 28), range_(2, 3), range_(3, 3)
ONE = const(1.0, float32)


def unproved(*stores):
    return [str(each) for each in prove_in_bounds(Kernel(tuple(stores), ()))]


def padded(*, right_edge=28):
    row, column = R0 + R2 - 1, R1 + R3 - 1
    gate = (row >= 0) & (row < 28) & (column >= 0) & (column < right_edge)
    return load(IN, row * 28 + column, gate)


def test_padded_convolution_is_proved():
    assert unproved(store(OUT, R0 * 30 + R1, reduce(ADD, padded(), [R2, R3]))) == []


def test_gate_that_is_one_too_wide_is_found():
    (problem,) = unproved(store(OUT, R0 * 30 + R1, reduce(ADD, padded(right_edge=29), [R2, R3])))

    assert "load at" in problem
    assert "not proved to lie within 0 .. 783; outside for" in problem


def test_store_outside_is_found():
    (problem,) = unproved(store(IN, R0 * 29 + R1, ONE))

    assert "store at i0 * 29 + i1: not proved to lie within 0 .. 783" in problem


def test_negative_index_is_found():
    assert len(unproved(store(IN, R0 * 28 - R1, ONE))) == 1


def test_loaded_values_are_unknown():
    position = load(INDICES, R0).cast(index)

    assert unproved(store(IN, position * 28 + R1, ONE, (position >= 0) & (position < 28))) == []
    (problem,) = unproved(store(IN, position * 28 + R1, ONE, position >= 0))
    assert "C[i0] = " in problem


def test_fixed_width_index_that_may_wrap_is_found():
    position = load(INDICES, R0).cast(int32)

    assert len(unproved(store(IN, (position + 1).cast(index), ONE, position < 783))) == 1
    gate = (position < 783) & (position >= -1)
    assert unproved(store(IN, (position + 1).cast(index), ONE, gate)) == []


def test_bits_of_loaded_values_are_bounded():
    position = load(INDICES, R0) & 511

    assert unproved(store(IN, position.cast(index), ONE)) == []


def test_extents_of_ranges_are_facts():
    inner = range_(5, const(28, index).minimum(R0 + 1))

    assert unproved(store(IN, (R0 - inner) * 28 + R1, ONE)) == []
    assert len(unproved(store(IN, (R0 - inner - 1) * 28 + R1, ONE))) == 1


def test_sizes_known_at_launch():
    n = variable("n", 1, 28)
    r = range_(6, n)

    assert unproved(store(IN, r * 28 + R1, ONE)) == []
    assert len(unproved(store(IN, r * 29 + R1, ONE))) == 1


def test_staged_tiles_are_checked():
    r = range_(7, 8)
    tile = stage(0, load(IN, R0 * 28 + r), r, [r], 8)

    assert unproved(store(IN, R0, load(tile, R2))) == []
    assert len(unproved(store(IN, R0, load(stage(0, ONE, r + 1, [r], 8), R2)))) == 1
    assert len(unproved(store(IN, R0, load(tile, R1)))) == 1


def test_access_that_never_happens_is_fine():
    assert unproved(store(IN, R0 * 1000, ONE, const(False, (R0 < 3).dtype))) == []


@pytest.mark.parametrize("size", [1, 28])
def test_division_needs_z3(size):
    position = (R0 * R0) // 28

    problems = unproved(store(param(3, float32, (27 * 27 // 28 + size - 1,)), position, ONE))

    assert bool(problems) == (size == 1)
