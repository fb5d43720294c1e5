"""Loaders cut data sets into batches, in an order that depends on seed and epoch alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from inkle import Tensor
from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.nn import DataLoader, default_collate, prefetch

X, Y = np.arange(14.0).reshape(7, 2), np.arange(7)


class Squares:
    """A data set without arrays."""

    def __len__(self):
        return 7

    def __getitem__(self, number):
        if number >= 7:
            raise IndexError
        return {"x": np.full(2, number), "y": number**2, "name": f"n{number}"}


def threads():
    return [each for each in threading.enumerate() if each.name == "inkle-prefetch"]


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_arrays_are_cut_in_order(ahead):
    got = list(DataLoader((X, Y), 3, prefetch=ahead))

    assert [len(y) for _, y in got] == [3, 3, 1]
    assert np.array_equal(np.concatenate([x for x, _ in got]), X)
    assert np.array_equal(np.concatenate([y for _, y in got]), Y)
    assert not threads()


def test_samples_are_collated():
    first, *_ = DataLoader(Squares(), 3)

    assert first["x"].shape == (3, 2)
    assert first["y"].tolist() == [0, 1, 4]
    assert first["name"] == ["n0", "n1", "n2"]


def test_every_epoch_has_an_order_of_its_own_that_can_be_repeated():
    def epochs(loader, count):
        return [np.concatenate([y for _, y in loader]).tolist() for _ in range(count)]

    first = epochs(DataLoader((X, Y), 3, shuffle=True, seed=5), 3)
    later = DataLoader((X, Y), 3, shuffle=True, seed=5)
    later.epoch = 2

    assert epochs(later, 1) == first[2:]
    assert first[0] != first[1]
    assert all(sorted(each) == list(range(7)) for each in first)


def test_the_last_batch_can_be_left_out():
    loader = DataLoader(Squares(), 3, drop_last=True)

    assert len(loader) == len(list(loader)) == 2


def test_a_function_makes_the_batches():
    assert list(DataLoader(Squares(), 4, collate_fn=len)) == [4, 3]


def test_collating_stacks_numbers_tensors_and_parts():
    got = default_collate([(1, Tensor([1.0]), [np.float32(2)]), (3, Tensor([2.0]), [4])])

    assert got[0].tolist() == [1, 3]
    assert got[1].tolist() == [[1.0], [2.0]]
    assert got[2][0].tolist() == [2, 4]


def test_items_are_taken_ahead_but_not_too_far():
    taken, reached = [], threading.Event()

    def items():
        for number in range(10):
            taken.append(number)
            if number == 3:
                reached.set()
            yield number

    ahead = prefetch(items(), depth=2)

    assert next(ahead) == 0
    assert reached.wait(10)
    assert len(taken) == 4  # one was read, two wait, one is in the thread's hand
    assert list(ahead) == list(range(1, 10))


def test_an_error_comes_where_its_item_would_have_come():
    def items():
        yield 1
        raise KeyError("lost")

    ahead = prefetch(items())

    assert next(ahead) == 1
    with pytest.raises(KeyError, match="lost"):
        next(ahead)
    assert not threads()


def test_leaving_a_loop_early_ends_the_thread():
    for _ in DataLoader((X, Y), 1):
        break

    assert not threads()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DataLoader(3), DTypeError, r"has len and \[number\], got int"),
        (lambda: DataLoader((X, Y), 0), ShapeError, "at least 1, got 0"),
        (lambda: DataLoader((X, Y[:3])), ShapeError, "agree in their number of rows"),
        (lambda: DataLoader((X, Y), prefetch=-1), OptionError, "prefetch must be at least 0"),
        (lambda: DataLoader((X, Y), collate_fn=len), OptionError, "arrays are cut, not collated"),
        (lambda: default_collate([X, Y]), ShapeError, r"one shape, got \[\(7,\), \(7, 2\)\]"),
        (lambda: prefetch([], 0), OptionError, "depth of at least 1, got 0"),
        (lambda: prefetch(3), DTypeError, "something to iterate over, got int"),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
