"""Points of loop nests whose bounds depend on other loops, against running the loops."""

from __future__ import annotations

import pytest

from inkle.engine import trip_counts
from inkle.engine.trip_counts import trip_count
from inkle.ir.dtype import index
from inkle.ir.loop import range_
from inkle.ir.node import const


def number(value):
    return const(value, index)


def window(r, y, n, k, stride=1, offset=0):
    """Return the range of the elements 0 ... k - 1 of a window at y that lie inside 0 ... n - 1."""
    place = y * stride - offset
    size = number(k).minimum(number(n) - place) - number(0).maximum(number(0) - place)
    return range_(r, size.maximum(0))


def inside(n, k, count, stride=1, offset=0):
    return sum(0 <= y * stride - offset + j < n for y in range(count) for j in range(k))


def test_constant_loops_are_a_product():
    assert trip_count([range_(0, 3), range_(1, 5), range_(2, 7)]) == 105
    assert trip_count([]) == 1
    assert trip_count([range_(0, 0), range_(1, 5)]) == 0


@pytest.mark.parametrize(("n", "k", "count", "stride", "offset"), [
    (20, 5, 20, 1, 2), (20, 5, 24, 1, 4), (7, 9, 7, 1, 4), (30, 3, 15, 2, 1), (5, 3, 40, 1, 9),
    (100_000, 3, 100_000, 1, 1),
])  # fmt: skip
def test_windows_at_the_border_are_cut(n, k, count, stride, offset):
    y = range_(0, count)

    assert trip_count([y, window(1, y, n, k, stride, offset)]) == inside(
        n, k, count, stride, offset
    )


def test_windows_of_two_axes_are_independent():
    y, x, channel = range_(0, 20), range_(1, 9), range_(2, 6)
    nest = [y, x, channel, window(3, y, 20, 5, 1, 2), window(4, x, 9, 3, 1, 1)]

    assert trip_count(nest) == 6 * inside(20, 5, 20, 1, 2) * inside(9, 3, 9, 1, 1)


def test_windows_that_share_a_loop_are_not():
    y = range_(0, 20)
    nest = [window(1, y, 20, 5, 1, 2), window(2, y, 20, 3, 1, 1)]  # y comes with them
    want = sum(
        sum(0 <= y + j - 2 < 20 for j in range(5)) * sum(0 <= y + j - 1 < 20 for j in range(3))
        for y in range(20)
    )

    assert trip_count(nest) == want


def test_triangle_over_split_loops():
    outer, inner = range_(0, 8), range_(1, 4)

    assert trip_count([range_(2, outer * 4 + inner + 1)]) == 32 * 33 // 2


def test_count_that_would_take_too_long_is_an_upper_bound(monkeypatch):
    monkeypatch.setattr(trip_counts, "MOST_BOXES", 10)
    y = range_(0, 1000)

    found = trip_count([range_(1, y + 1)])

    assert 1000 * 1001 // 2 < found <= 1000 * 1000
