"""Index arithmetic, against plain integers at every point of the loops."""

from __future__ import annotations

import gc
import itertools
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle.ir import forms, node, ops
from inkle.ir.loop import range_
from inkle.ir.node import Node
from inkle.rewrite.affine import ZERO, Affine, single, total_of
from inkle.schedule import schedule
from inkle.schedule.gate import joined, needed, simplified, within
from inkle.schedule.index import (
    Computed,
    Condition,
    Replacement,
    depth_of,
    divide,
    divide_exactly,
    division,
    is_exact,
    leaf,
    limits,
    tidy,
)
from tests.schedule.test_cases import embedding

LOOPS = (range_(0, 4), range_(1, 3), range_(2, 6))


def value(a: Affine, point: dict[Node, int]) -> int:
    """Evaluate an index at one point."""
    total = a.constant
    for atom, k in a.terms.items():
        inside = division(atom)
        if inside is None:
            total += k * point[atom]
        else:
            of, by = value(inside[0], point), inside[1]
            total += k * (of % by if atom.op is ops.FLOORMOD else of // by)
    return total


def points() -> list[dict[Node, int]]:
    grids = itertools.product(*[range(loop.src[0].arg) for loop in LOOPS])
    return [dict(zip(LOOPS, each)) for each in grids]


@st.composite
def indices(draw: st.DrawFn) -> Affine:
    """Draw a sum of multiples of loops, with a few divisions."""
    numbers = st.integers(-6, 6)
    total = total_of([(single(loop), draw(numbers)) for loop in LOOPS], draw(st.integers(-9, 9)))
    for _ in range(draw(st.integers(0, 2))):
        part = divide(total, draw(st.integers(1, 8)))[draw(st.integers(0, 1))]
        factors = draw(st.integers(-3, 6)), draw(st.integers(0, 2))
        total = tidy(total_of(zip((part, total), factors)))
    return total


@given(indices(), indices(), st.integers(-4, 4))
def test_sums_have_the_value_of_their_parts(a: Affine, b: Affine, k: int) -> None:
    for point in points():
        x, y = value(a, point), value(b, point)

        assert value(tidy(a.plus(b)), point) == x + y
        assert value(tidy(a.plus(b, -1)), point) == x - y
        assert value(tidy(a.scaled(k)), point) == x * k
        assert value(a.shifted(k), point) == x + k
        assert value(total_of([(a, k), (b, 2)], 1), point) == x * k + y * 2 + 1


@given(indices(), st.integers(1, 30))
def test_division_is_floor_division(a: Affine, n: int) -> None:
    quotient, remainder = divide(a, n)

    for point in points():
        x = value(a, point)
        assert value(quotient, point) == x // n
        assert value(remainder, point) == x % n


@given(indices(), st.integers(1, 12))
def test_quotient_and_remainder_join_again(a: Affine, n: int) -> None:
    quotient, remainder = divide(a, n)

    whole = tidy(remainder.plus(quotient, n))

    for point in points():
        assert value(whole, point) == value(a, point)


@given(indices(), st.integers(1, 12))
def test_exact_division_is_right_where_the_remainder_is_zero(a: Affine, n: int) -> None:
    exact = divide_exactly(a, n)
    again = tidy(exact.scaled(n))

    for point in points():
        if value(a, point) % n == 0:
            assert value(exact, point) == value(a, point) // n
            assert value(again, point) == value(a, point)


@given(indices())
def test_bounds_hold(a: Affine) -> None:
    low, high = limits(a)

    assert all(low <= value(a, point) <= high for point in points())


@given(indices(), indices(), st.integers(0, 2))
def test_replacing_a_loop_is_substitution(a: Affine, new: Affine, which: int) -> None:
    replaced = Replacement({LOOPS[which]: new})(a)

    for point in points():
        inner = {**point, LOOPS[which]: value(new, point)}
        assert value(replaced, point) == value(a, inner)


@given(indices(), st.one_of(st.none(), st.integers(0, 8)))
def test_simplified_conditions_mean_the_same(a: Affine, modulus: int | None) -> None:
    def holds(condition: Condition, point: dict[Node, int]) -> bool:
        x = value(condition.value, point)
        if condition.modulus is None:
            return x >= 0
        return x % condition.modulus == 0 if condition.modulus else x == 0

    condition = Condition(a, modulus)
    found = simplified(condition)

    for point in points():
        expected = holds(condition, point)
        assert (found if isinstance(found, bool) else holds(found, point)) == expected


def test_a_loop_split_by_its_divisor_leaves_no_division() -> None:
    i, j, k = LOOPS
    joined_index = Affine({i: 18, j: 6, k: 1}, 0)

    assert divide(joined_index, 6) == (Affine({i: 3, j: 1}, 0), single(k))
    assert divide(joined_index, 18)[0] == single(i)


def test_an_atom_of_two_values_divides_to_a_linear_term() -> None:
    b = range_(9, 2)

    quotient, remainder = divide(single(b).shifted(1), 2)

    assert quotient == single(b)
    assert remainder == Affine({b: -1}, 1)


def test_joined_gates_keep_the_stronger_bound() -> None:
    i = single(LOOPS[0])
    weak, strong = Condition(i.shifted(-1)), Condition(i.shifted(-2))

    assert joined((weak,), (strong,)) == (strong,)
    assert joined((strong,), (weak,)) == (strong,)


@pytest.mark.parametrize(("extent", "n", "expected"), [(4, 4, ()), (4, 9, ())])
def test_certain_conditions_vanish(extent: int, n: int, expected: tuple[()]) -> None:
    assert within(single(range_(0, extent)), n) == expected


def test_impossible_coordinates_are_recognised() -> None:
    assert within(single(LOOPS[0]).shifted(-9), 4) is None


def test_a_gate_is_needed_only_for_doubtful_coordinates() -> None:
    i, j = single(LOOPS[0]), single(LOOPS[1])
    gate = joined(within(i.shifted(-1), 4) or (), within(j.shifted(-1), 3) or ())

    assert needed(gate, (i, j), (4, 3)) == ()
    assert needed(gate, (i.shifted(-1), j), (4, 3)) == within(i.shifted(-1), 4)


def test_an_exact_quotient_keeps_its_gate() -> None:
    # 2 * (k / 2) is k, which runs to 7, although k / 2 stays below 4.
    k = single(range_(0, 8))
    gate = (Condition(k.scaled(-1).shifted(6)), Condition(k, 2))

    assert is_exact(divide_exactly(k, 2))
    assert needed(gate, (divide_exactly(k, 2),), (4,)) == gate


def test_an_exact_quotient_in_a_final_index_is_a_common_one() -> None:
    i, k = range_(0, 8), range_(1, 9)

    final = Replacement({i: single(k)}, lambda computed: ZERO)(divide_exactly(single(i), 3))

    assert final.node() is k // 3


def test_a_computed_coordinate_stays_until_it_is_known() -> None:
    i, demand = LOOPS[0], frozenset({"anything that can be weakly referenced"})
    a = leaf(Computed(ref(demand), (), 5), 0, 4, frozenset({i})).scaled(3).plus(single(i))

    assert a.ranges == {i}
    assert limits(a) == (0, 15)
    assert leaf(Computed(ref(demand), (), 5), 0, 4, frozenset({i})).scaled(3).plus(single(i)) == a
    assert Replacement({})(a) == a
    assert Replacement({}, lambda computed: single(LOOPS[1]))(a) == Affine({i: 1, LOOPS[1]: 3}, 0)


def test_planning_leaves_no_nodes_behind() -> None:
    def nodes_left() -> int:
        schedule(embedding())
        gc.collect()
        return sum(key[0] is forms.VARIABLE for key in list(node._table))

    assert nodes_left() == nodes_left()


def test_divisions_of_divisions_nest() -> None:
    i, j = LOOPS[0], LOOPS[2]
    inner = divide(Affine({i: 2, j: 1}, 0), 5)[1]
    outer = divide(inner.plus(single(j), 2), 7)[0]

    assert [depth_of(each) for each in (single(i), inner, outer)] == [0, 1, 2]
    assert all(atom.op is not forms.RANGE for atom in outer.terms)


def test_equal_sums_are_equal_keys() -> None:
    i, j, _ = LOOPS

    assert single(i).plus(single(i), -1) == ZERO
    assert {Affine({i: 2, j: 1}, 3): "same"}[Affine({j: 1, i: 2}, 3)] == "same"
    assert Affine({i: 1}, 0) != Affine({i: 1}, 1)
