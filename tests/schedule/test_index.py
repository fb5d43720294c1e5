"""Index arithmetic, against plain integers at every point of the loops."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle.schedule.gate import joined, needed, simplified, within
from inkle.schedule.index import (
    ZERO,
    Affine,
    Condition,
    Loop,
    Part,
    add,
    bounds,
    divide,
    divide_exactly,
    number,
    replace,
    scale,
    shift,
    single,
    subtract,
)

LOOPS = (Loop(0, 4), Loop(1, 3), Loop(2, 6))


def value(a: Affine, point: dict[Loop, int]) -> int:
    """Evaluate an index at one point."""
    total = a.offset
    for atom, k in a.terms:
        if isinstance(atom, Part):
            of = value(atom.of, point)
            total += k * (of % atom.by if atom.kind == "remainder" else of // atom.by)
        else:
            total += k * point[atom]
    return total


def points() -> list[dict[Loop, int]]:
    grids = itertools.product(*[range(loop.extent) for loop in LOOPS])
    return [dict(zip(LOOPS, each)) for each in grids]


@st.composite
def indices(draw: st.DrawFn) -> Affine:
    """Draw a sum of multiples of loops, with a few divisions."""
    total = number(draw(st.integers(-9, 9)))
    for loop in LOOPS:
        total = add(total, scale(single(loop), draw(st.integers(-6, 6))))
    for _ in range(draw(st.integers(0, 2))):
        part = divide(total, draw(st.integers(1, 8)))[draw(st.integers(0, 1))]
        total = add(scale(part, draw(st.integers(-3, 6))), scale(total, draw(st.integers(0, 2))))
    return total


@given(indices(), indices(), st.integers(-4, 4))
def test_sums_have_the_value_of_their_parts(a: Affine, b: Affine, k: int) -> None:
    for point in points():
        x, y = value(a, point), value(b, point)

        assert value(add(a, b), point) == x + y
        assert value(subtract(a, b), point) == x - y
        assert value(scale(a, k), point) == x * k
        assert value(shift(a, k), point) == x + k


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

    whole = add(scale(quotient, n), remainder)

    for point in points():
        assert value(whole, point) == value(a, point)


@given(indices(), st.integers(1, 12))
def test_exact_division_is_right_where_the_remainder_is_zero(a: Affine, n: int) -> None:
    exact = divide_exactly(a, n)
    again = scale(exact, n)

    for point in points():
        if value(a, point) % n == 0:
            assert value(exact, point) == value(a, point) // n
            assert value(again, point) == value(a, point)


@given(indices())
def test_bounds_hold(a: Affine) -> None:
    low, high = bounds(a)

    assert all(low <= value(a, point) <= high for point in points())


@given(indices(), indices(), st.integers(0, 2))
def test_replacing_a_loop_is_substitution(a: Affine, new: Affine, which: int) -> None:
    replaced = replace(a, {LOOPS[which]: new}, lambda atom: atom)

    for point in points():
        inner = {**point, LOOPS[which]: value(new, point)}
        assert value(replaced, point) == value(a, inner)


@given(indices(), st.one_of(st.none(), st.integers(0, 8)))
def test_simplified_conditions_mean_the_same(a: Affine, modulus: int | None) -> None:
    def holds(condition: Condition, point: dict[Loop, int]) -> bool:
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
    joined_index = add(scale(single(i), 18), add(scale(single(j), 6), single(k)))

    assert divide(joined_index, 6) == (add(scale(single(i), 3), single(j)), single(k))
    assert divide(joined_index, 18)[0] == single(i)


def test_an_atom_of_two_values_divides_to_a_linear_term() -> None:
    b = Loop(9, 2)

    quotient, remainder = divide(shift(single(b), 1), 2)

    assert quotient == single(b)
    assert remainder == subtract(number(1), single(b))


def test_joined_gates_keep_the_stronger_bound() -> None:
    i = single(LOOPS[0])
    weak, strong = Condition(shift(i, -1)), Condition(shift(i, -2))

    assert joined((weak,), (strong,)) == (strong,)
    assert joined((strong,), (weak,)) == (strong,)


@pytest.mark.parametrize(("extent", "n", "expected"), [(4, 4, ()), (4, 9, ())])
def test_certain_conditions_vanish(extent: int, n: int, expected: tuple[()]) -> None:
    assert within(single(Loop(0, extent)), n) == expected


def test_impossible_coordinates_are_recognised() -> None:
    assert within(shift(single(LOOPS[0]), -9), 4) is None


def test_a_gate_is_needed_only_for_doubtful_coordinates() -> None:
    i, j = single(LOOPS[0]), single(LOOPS[1])
    gate = joined(within(shift(i, -1), 4) or (), within(shift(j, -1), 3) or ())

    assert needed(gate, (i, j), (4, 3)) == ()
    assert needed(gate, (shift(i, -1), j), (4, 3)) == within(shift(i, -1), 4)


def test_an_exact_quotient_keeps_its_gate() -> None:
    # 2 * (k / 2) is k, which runs to 7, although k / 2 stays below 4.
    k = single(Loop(0, 8))
    gate = (Condition(subtract(number(6), k)), Condition(k, 2))

    assert needed(gate, (divide_exactly(k, 2),), (4,)) == gate


def test_zero_is_one_value() -> None:
    assert subtract(single(LOOPS[0]), single(LOOPS[0])) == ZERO
