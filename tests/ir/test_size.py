"""Sizes against the numbers that they stand for."""

import itertools
import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle.errors import ShapeError
from inkle.ir.size import (
    Size,
    answering,
    count,
    is_multiple,
    least,
    most,
    relation_text,
    size_of_node,
    value_of,
    variable,
)

N, M = (1, 6), (0, 4)
n, m = variable("n", *N), variable("m", *M)
VALUES = [{"n": i, "m": j} for i, j in itertools.product(range(1, 7), range(5))]


def expressions() -> st.SearchStrategy[Any]:
    """Return sizes, with numbers among them."""
    leaves = st.one_of(st.sampled_from([n, m]), st.integers(-3, 5))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(st.sampled_from([operator.add, operator.sub, operator.mul]), inner, inner),
            st.tuples(st.just(operator.floordiv), inner, st.integers(1, 5)),
            st.tuples(st.just(operator.mod), inner, st.integers(1, 5)),
        ),
        max_leaves=5,
    )


def built(tree: Any, values: dict[str, int] | None) -> Any:
    """Return a tree as a size, or its value."""
    if not isinstance(tree, tuple):
        return tree if values is None else value_of(tree, values)
    apply, a, b = tree
    return apply(built(a, values), built(b, values))


@given(expressions())
def test_arithmetic_is_that_of_the_values(tree: Any) -> None:
    size = built(tree, None)

    assert [value_of(size, values) for values in VALUES] == [built(tree, v) for v in VALUES]


@given(expressions())
def test_bounds_hold(tree: Any) -> None:
    size = built(tree, None)

    assert all(least(size) <= built(tree, values) <= most(size) for values in VALUES)


@given(expressions(), expressions())
def test_comparisons_that_bounds_decide_hold_for_all_values(a: Any, b: Any) -> None:
    for compare in (operator.lt, operator.le, operator.gt, operator.ge):
        try:
            found = compare(built(a, None), built(b, None))
        except ShapeError:
            continue
        assert all(compare(built(a, v), built(b, v)) == found for v in VALUES)


@given(expressions(), expressions())
def test_equal_sizes_are_equal_for_all_values(a: Any, b: Any) -> None:
    x, y = built(a, None), built(b, None)

    if x == y:
        assert hash(x) == hash(y)
        assert all(built(a, v) == built(b, v) for v in VALUES)


@given(expressions())
def test_nodes_are_read_back(tree: Any) -> None:
    size = built(tree, None)

    if isinstance(size, Size):
        assert size_of_node(size.index_node()) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [(n * 3 + 1, "3*n + 1"), (n - m - 2, "-1*m + n - 2"), ((n + 1) // 2, "(n + 1)//2"),
     ((4 * n + 2) // 4, "n"), (n * m * 2 // n, "2*m"), (n * m, "m*n")],
)  # fmt: skip
def test_normal_form(size: Any, text: str) -> None:
    assert repr(size) == text


def test_constants_are_integers() -> None:
    assert type(n - n) is int
    assert type(n * 3 // n) is int
    assert n * 3 // n == 3
    assert type(variable("k", 4, 4)) is int


def test_multiples() -> None:
    assert is_multiple(n * m * 6, n * 3)
    assert is_multiple(0, n)
    assert not is_multiple(n + 1, n)
    assert not is_multiple(6, n)


def test_corner_bounds_are_exact() -> None:
    assert (least(n * m - n), most(n * m - n)) == (-6, 18)


def test_quotients_keep_their_remainder_in_mind() -> None:
    double = (n + 1) // 2 * 2

    assert double <= n + 1
    assert double >= n


@given(st.integers(0, 3), st.integers(1, 3))
def test_count_is_that_of_a_range(start: int, step: int) -> None:
    stop = n + 4

    assert [value_of(count(start, stop, step), v) for v in VALUES] == [
        len(range(start, v["n"] + 4, step)) for v in VALUES
    ]


@pytest.mark.parametrize("ask", [int, bool, float, range, lambda k: k < 3, lambda k: [1, 2][k]])
def test_open_question_is_an_error(ask: Callable[[Any], Any]) -> None:
    with pytest.raises(ShapeError, match="n"):
        ask(n - 1)


def test_questions_are_answered() -> None:
    asked = []

    class Answers:
        def holds(self, size: Size, relation: str) -> bool:
            asked.append(relation_text(size, relation))
            return True

        def value(self, size: Size) -> int:
            asked.append(repr(size))
            return 3

    with answering(Answers()):
        assert n < m
        assert n == 4
        assert [*range(n)] == [0, 1, 2]
        assert {3: "three"}[n] == "three"
        assert n > 0  # bounds know

    assert asked[:2] == ["n < m", "n == 4"]
    assert len(asked) == 4 + 1  # the key is hashed, and then compared


def test_equality_outside_of_a_trace_is_that_of_the_form() -> None:
    assert n != 3
    assert n == 0 + n
