"""Sums in normal form, and bounds of sums under facts."""

import subprocess
import sys

import pytest

from inkle.ir.dtype import index
from inkle.ir.loop import range_
from inkle.ir.node import const
from inkle.ir.pseudo import expression
from inkle.rewrite.affine import Affine, affine_of, digest, product, total_of
from inkle.rewrite.known import Known, intersect
from tests.rules.expressions import free

X, Y, N = free("x"), free("y"), free("n")
R0, R1, R2 = range_(0, 6), range_(1, 4), range_(2, 12)


def test_equal_sums_become_the_same_node():
    for same in (
        R0 * 4 + R1 + 3,
        3 + R1 + R0 * 4,
        (R0 * 2 + R1) + (3 + R0 * 2),
        -(-R1 - R0 * 4 - 3),
    ):
        assert affine_of(same).node() is R0 * 4 + R1 + 3


def test_negative_terms_are_subtracted_and_constants_come_last():
    assert expression(affine_of(5 - R0 + R1 * 2).node()) == "i1 * 2 - i0 + 5"
    assert expression(affine_of(5 - R0).node()) == "5 - i0"
    assert expression(affine_of(-R0 - 2 - R1).node()) == "i0 * -1 - i1 + -2"


def test_terms_are_ordered_by_their_innermost_range():
    total = R2 + R0 * 144 + (R1 * R0) + N + R1 * 12

    assert expression(affine_of(total).node()) == "n + i0 * 144 + i1 * 12 + i1 * i0 + i2"


def test_products_have_one_order():
    assert product(product(X, Y), N) is product(N, product(Y, X))


def test_sums_can_be_added_scaled_and_divided():
    total = affine_of(R0 * 4 + 8)

    assert total.plus(affine_of(R0 + R1), -4).node() is const(8, index) - R1 * 4
    assert total.scaled(3).node() is R0 * 12 + 24
    assert total.divided(4).node() is R0 + 2
    assert total.shifted(-8).node() is R0 * 4
    assert total.scaled(0) == Affine({}, 0)
    assert total_of([(total, 2), (affine_of(R0 + R1), -8)], 1).node() is 17 - R1 * 8
    assert total.divisor() == 4
    assert total.direction() == frozenset({(R0, 1)})
    assert Affine({}, 0).node() is const(0, index)


@pytest.mark.slow
def test_digests_are_the_same_in_every_process():
    text = "from inkle.ir.loop import range_; from inkle.rewrite.affine import digest; "
    text += "print(digest(range_(0, 6) // 4 + range_(1, 4)))"
    other = subprocess.run([sys.executable, "-c", text], capture_output=True, check=True)

    assert int(other.stdout) == digest(R0 // 4 + R1)


def test_bounds_of_a_sum():
    known = Known()

    assert known.span(affine_of(R0 * 4 - R1 + 1)) == (-2, 21)
    assert known.span(affine_of(R0 + X)) == (None, None)
    assert known.bounds(R0 * 4 + R1) == (0, 23)


def test_facts_about_sums_narrow_sums_that_contain_them():
    fact = {(X, 1), (Y, 1)}
    known = Known({frozenset(fact): (0, 7), frozenset({(X, -1), (Y, -1)}): (-7, 0)})

    assert known.bounds(X + Y + 3) == (3, 10)
    assert known.bounds(X * 2 + Y * 2 + R0) == (0, 19)
    assert known.bounds(3 - X - Y) == (-4, 3)
    assert known.bounds(X - Y) == (None, None)
    assert known.bounds((X + Y) // 4) == (0, 1)
    assert known.bounds((X + Y + 8) % 16) == (8, 15)


def test_deep_expressions_do_not_recurse():
    node = X
    for _ in range(3000):
        node = (node + 1) // 2
    known = Known({frozenset({(X, 1)}): (0, 100)})

    assert known.bounds(node) == (0, 1)


def test_products_of_unknowns_have_no_bounds():
    known = Known({frozenset({(X, 1)}): (0, 3)})

    assert known.bounds(X * Y + 1) == (None, None)


def test_intersection():
    assert intersect((None, 5), (2, None)) == (2, 5)
    assert intersect((1, 9), (3, 4)) == (3, 4)
    assert intersect((None, None), (None, None)) == (None, None)
