"""Batches: every row once, rows of several arrays together, orders that repeat."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.nn.batches import batches

IMAGES = np.arange(10 * 6).reshape(10, 2, 3)
LABELS = np.arange(10)


def test_rows_come_in_order_as_views():
    got = list(batches((IMAGES, LABELS), 4))

    assert [len(images) for images, _ in got] == [4, 4, 2]
    assert np.array_equal(np.concatenate([images for images, _ in got]), IMAGES)
    assert np.array_equal(np.concatenate([labels for _, labels in got]), LABELS)
    assert all(np.shares_memory(images, IMAGES) for images, _ in got)


def test_shuffling_takes_each_row_once_and_keeps_rows_together():
    got = list(batches((IMAGES, LABELS), 3, shuffle=True, seed=1))

    labels = np.concatenate([labels for _, labels in got])
    assert sorted(labels) == list(range(10))
    assert labels.tolist() != list(range(10))
    for images, some in got:
        assert np.array_equal(images, IMAGES[some])


def test_the_seed_chooses_the_order():
    def order(seed):
        return [row for (rows,) in batches([LABELS], 3, shuffle=True, seed=seed) for row in rows]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order((1, 2)) != order((1, 3))


def test_a_second_pass_takes_the_same_order():
    one = batches([LABELS], 3, shuffle=True)

    assert [rows.tolist() for (rows,) in one] == [rows.tolist() for (rows,) in one]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 3, 4, 7, 8])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_the_length_is_the_number_of_batches(rows, size, drop_last, shuffle):
    one = batches([np.arange(rows)], size, shuffle=shuffle, drop_last=drop_last)

    got = [len(batch) for (batch,) in one]

    assert len(one) == len(got)
    if drop_last:
        assert got == [size] * (rows // size)
    else:
        assert sum(got) == rows
        assert all(got)


@pytest.mark.parametrize(
    ("arrays", "size", "message"),
    [
        ([LABELS], 0, "size of a batch must be at least 1, got 0"),
        ([LABELS], -3, "at least 1, got -3"),
        ([], 1, "needs at least one array"),
        ([IMAGES, LABELS[:9]], 1, r"number of rows, got shapes \[\(10, 2, 3\), \(9,\)\]"),
        ([np.array(3)], 1, r"number of rows, got shapes \[\(\)\]"),
        ([LABELS], 1.5, "size of a batch must be an integer, got 1.5"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_once(arrays, size, message):
    with pytest.raises((ShapeError, DTypeError), match=message):
        batches(arrays, size)


@pytest.mark.parametrize("seed", ["a", -1, 1.5])
def test_seeds_that_are_none_are_refused(seed):
    with pytest.raises(OptionError, match=f"integer >= 0, or several, got {seed!r}"):
        batches([LABELS], 2, shuffle=True, seed=seed)
