"""Index arithmetic: views collapse, split loops fall apart, gates that bounds prove vanish."""

import itertools
import math

import pytest

from inkle.ir.dtype import bool_, index
from inkle.ir.forms import CONST
from inkle.ir.loop import flat_index, range_
from inkle.ir.node import const, toposort
from inkle.ir.pseudo import expression
from inkle.rules import INDEX_RULES, SIMPLIFY
from tests.rules.expressions import Maker, leaves_of, value_of


def ranges(*sizes):
    return [range_(number, size) for number, size in enumerate(sizes)]


def unravelled(flat, shape):
    coordinates = []
    for n in reversed(shape):
        coordinates.append(flat % n)
        flat = flat // n
    return coordinates[::-1]


def reshaped(coordinates, shape, new_shape):
    return unravelled(flat_index(coordinates, shape), new_shape)


def divisions(*nodes):
    return [n for n in toposort(nodes) if n.op.name in ("floordiv", "floormod")]


SHAPES = [(2, 3, 4, 5, 6), (24, 30), (120, 6), (720,), (6, 120), (3, 4, 5, 12), (8, 90), (9, 80)]


@pytest.mark.parametrize("there", SHAPES, ids=str)
@pytest.mark.parametrize("back", SHAPES[:5], ids=str)
def test_reshape_round_trips_collapse(there, back):
    start = ranges(*back)

    result = SIMPLIFY.rewrite(reshaped(reshaped(start, back, there), there, back))

    assert result == start


def test_three_reshapes_round_trip():
    start = ranges(6, 4, 10)

    step = reshaped(start, (6, 4, 10), (8, 30))
    step = reshaped(step, (8, 30), (2, 12, 10))
    step = reshaped(step, (2, 12, 10), (6, 4, 10))

    assert SIMPLIFY.rewrite(step) == start


def test_convolution_weight_is_one_affine_expression():
    b, c, i, j = ranges(8, 64, 3, 3)
    rows = reshaped([b, c, i, j], (8, 64, 3, 3), (8, 576))

    result = SIMPLIFY.simplify(flat_index(rows, (8, 576)))

    assert expression(result) == "i0 * 576 + i1 * 9 + i2 * 3 + i3"


def test_split_ranges_fall_apart_under_division():
    outer, inner, k = ranges(16, 64, 7)
    whole = outer * 64 + inner

    assert SIMPLIFY.simplify(whole // 64) is outer
    assert SIMPLIFY.simplify(whole % 64) is inner
    assert SIMPLIFY.simplify((whole * 7 + k) // 448) is outer
    assert SIMPLIFY.simplify((whole * 7 + k) % 7) is k
    assert SIMPLIFY.simplify(whole // 128) is outer // 2
    assert SIMPLIFY.simplify(whole % 32) is inner % 32
    assert SIMPLIFY.simplify(whole // 16) is outer * 4 + inner // 16


def test_flips_pass_through_reshapes():
    i, j = ranges(6, 4)
    flipped = reshaped([5 - i, 3 - j], (6, 4), (24,))

    assert SIMPLIFY.rewrite(reshaped([23 - flipped[0]], (24,), (6, 4))) == [i, j]


def test_stride_of_a_split_range_decides_the_gate_of_interior_padding():
    outer, phase, tap = ranges(14, 2, 3)
    position = outer * 2 + phase - tap

    result = SIMPLIFY.simplify((position % 2).eq(0))

    assert not result.ranges & {outer}


def test_gates_that_bounds_prove_vanish():
    i, k = ranges(28, 3)

    assert SIMPLIFY.simplify((i + k >= 0) & (i + k < 30)) is const(True, bool_)
    assert (
        expression(SIMPLIFY.simplify((i + k >= 1) & (i + k < 29)))
        == "(0 < i0 + i1) & (i0 + i1 < 29)"
    )
    assert SIMPLIFY.simplify((i * 64 + 63 < 28 * 64) & (i < 28)) is const(True, bool_)


def test_ranges_of_length_one_are_zero():
    i, one = ranges(6, 1)

    assert SIMPLIFY.simplify(i * 4 + one * 3 + 1) is i * 4 + 1


def test_symbolic_sizes():
    n = Maker(0).leaves[index][-1]  # 1 .. 9
    i, j = ranges(6, 4)

    assert SIMPLIFY.simplify((i * n + j) - i * n) is j
    assert SIMPLIFY.simplify((i * n) // n) is i
    assert SIMPLIFY.simplify((i * n + (j % n)) % n) is SIMPLIFY.simplify(j % n)
    assert SIMPLIFY.simplify((i // n) * n + i % n) is i


def test_index_rules_are_part_of_all():
    assert {each.name for each in INDEX_RULES.rules} < {each.name for each in SIMPLIFY.rules}


@pytest.mark.parametrize("seed", range(20))
def test_random_views_of_contiguous_memory_are_right_everywhere(seed):
    maker = Maker(seed)
    nodes = maker.reshaped(3)
    results = SIMPLIFY.rewrite(nodes)
    leaves = leaves_of(*nodes)
    points = itertools.product(*(range(leaf.src[0].arg) for leaf in leaves if leaf.op is not CONST))

    for values in itertools.islice(points, 40):
        point = dict(zip(leaves, values))
        for before, after in zip(nodes, results):
            assert value_of(before, point) == value_of(after, point)


def test_views_with_common_factors_need_no_division():
    sizes = (4, 6, 10)
    total = math.prod(sizes)
    flat = flat_index(ranges(*sizes), sizes)

    for factor in (60, 10):
        assert not divisions(SIMPLIFY.simplify(flat // factor), SIMPLIFY.simplify(flat % factor))
    assert SIMPLIFY.simplify(flat // total) is const(0, index)
