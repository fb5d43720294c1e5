"""Assignment and views: a tensor expression denotes the values at the time it was written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle.errors import MutationError
from inkle.tensor import Tensor


def test_expression_made_before_an_assignment_keeps_its_values():
    x = Tensor([1, 2, 3])
    before = x * 10

    x.assign(Tensor([7, 8, 9]))

    assert before.tolist() == [10, 20, 30]
    assert x.tolist() == [7, 8, 9]


def test_view_read_after_an_assignment_shows_the_old_values():
    x = Tensor([1, 2, 3])
    view = x[1:]

    x[1] = 9

    assert view.tolist() == [2, 3]
    assert x.tolist() == [1, 9, 3]


@pytest.mark.parametrize(
    "take",
    [
        lambda x: x[1:3],
        lambda x: x[::-1],
        lambda x: x[::2, 1],
        lambda x: x.T,
        lambda x: x.T[1:, ::2],
        lambda x: x.reshape(-1),
        lambda x: x.reshape(-1)[2:9],
        lambda x: x.reshape(2, 2, 3)[1, :, ::-1],
        lambda x: x.flip(0, 1)[1:3, 1],
        lambda x: x[1][2:],
        lambda x: x[1:][1:][0],
        lambda x: x.unsqueeze(0).permute(2, 0, 1)[1],
        lambda x: x[3:1:-1].T[1:].flip(1),
        lambda x: x[2:2],
        lambda x: x,
        lambda x: x.reshape(3, 4).T[::3, 1:].reshape(4),
        lambda x: x.detach()[0],
    ],
)
def test_write_through_a_view_reaches_its_base(take):
    array = np.arange(12.0).reshape(4, 3)
    base = Tensor(array)
    view = take(base)
    places = take(Tensor(np.arange(12).reshape(4, 3))).numpy()
    values = -1 - np.arange(places.size, dtype=np.float64).reshape(places.shape)

    view.assign(Tensor(values))

    array.reshape(-1)[places.reshape(-1)] = values.reshape(-1)
    assert base.tolist() == array.tolist()
    assert view.tolist() == values.tolist()


def test_view_can_be_written_again_and_again():
    base = Tensor([0, 0, 0, 0])
    view = base[1:3]

    for i in range(4):
        view[i % 2] = i + 1

    assert base.tolist() == [0, 3, 4, 0]
    assert view.tolist() == [3, 4]


def test_view_of_a_view_becomes_stale_when_the_first_is_written():
    base = Tensor([0, 0, 0, 0])
    outer = base[1:]
    inner = outer[1:]

    outer.assign(5)

    with pytest.raises(MutationError):
        inner.assign(6)
    assert base.tolist() == [0, 5, 5, 5]


def test_write_through_a_stale_view_names_both_lines():
    base = Tensor([1, 2, 3])
    view = base[:2]
    base[0] = 9

    with pytest.raises(MutationError, match=r"test_mutation.py:\d+.*taken at test_mutation.py:\d+"
                       r".*changed at test_mutation.py:\d+"):  # fmt: skip
        view.assign(0)


def test_realizing_does_not_make_views_stale():
    base = Tensor([1, 2, 3]) * 2
    view = base[:2]
    base.realize()
    view.realize()

    view.assign(0)

    assert base.tolist() == [0, 0, 6]


def test_write_through_an_expanded_view_is_refused():
    with pytest.raises(MutationError, match=r"expanded view \(3, 2\).*clone"):
        Tensor([[1], [2], [3]]).expand(3, 2).assign(0)


def test_write_to_a_computed_view_changes_only_the_temporary():
    x = Tensor([[1, 2], [3, 4]])
    y = (x * 2).reshape(4)

    y[0] = 100

    assert y.tolist() == [100, 4, 6, 8]
    assert x.tolist() == [[1, 2], [3, 4]]


def test_clone_is_independent():
    x = Tensor([1, 2, 3])
    copy = x.clone()

    copy[0] = 9
    x[1] = 8

    assert copy.tolist() == [9, 2, 3]
    assert x.tolist() == [1, 8, 3]


def test_tensor_of_a_tensor_is_a_copy():
    x = Tensor([1, 2, 3])
    copy = Tensor(x)

    x[0] = 9

    assert copy.tolist() == [1, 2, 3]


def test_tensor_does_not_see_later_changes_of_an_array():
    array = np.zeros(3)
    x = Tensor(array)

    array[0] = 1

    assert x.tolist() == [0, 0, 0]


def test_numpy_gives_an_array_of_its_own():
    x = Tensor([1, 2, 3])

    x.numpy()[0] = 9

    assert x.tolist() == [1, 2, 3]


def test_swap_through_views():
    x = Tensor([1, 2])
    first, second = x[0], x[1]

    x[0] = second
    x[1] = first

    assert x.tolist() == [2, 1]


def test_overlapping_copy_reads_before_it_writes():
    x = Tensor([0, 1, 2, 3, 4])

    x[1:] = x[:-1]

    assert x.tolist() == [0, 0, 1, 2, 3]


def test_reversed_copy_onto_itself():
    x = Tensor([0, 1, 2, 3])

    x[::-1] = x

    assert x.tolist() == [3, 2, 1, 0]


def test_augmented_assignment_of_a_slice():
    x = Tensor([1, 2, 3])

    x[1:] += 10

    assert x.tolist() == [1, 12, 13]


def test_many_updates_without_realizing():
    x = Tensor(np.zeros(50))

    for i in range(200):
        x[i % 50] = float(i)

    assert x.tolist() == [float(150 + i) for i in range(50)]


@pytest.mark.parametrize(
    "take",
    [lambda x: x[:], lambda x: x[0:3], lambda x: x.reshape(3, 2), lambda x: x.permute(0, 1),
     lambda x: x.expand(3, 2), lambda x: x.abs(), lambda x: x.floor(), lambda x: x.roll(0, 0)],
)  # fmt: skip
def test_what_changes_nothing_still_keeps_its_values(take):
    base = Tensor(np.arange(6, dtype=np.uint8).reshape(3, 2))
    same = take(base)

    base[:1] = 9

    assert same.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert base.tolist() == [[9, 9], [2, 3], [4, 5]]


def test_view_that_moves_nothing_writes_to_its_base():
    base = Tensor([1.0, 2.0])

    base[:].assign(Tensor([3.0, 4.0]))

    assert base.tolist() == [3.0, 4.0]


# A random program of views, reads and writes; NumPy with a copy at every read is the meaning.
_OPS = st.lists(
    st.tuples(
        st.sampled_from(["view", "read", "write", "whole"]),
        st.integers(0, 5), st.integers(0, 6), st.integers(0, 6), st.sampled_from([1, 2, 3, -1, -2]),
        st.booleans(),
    ),
    max_size=12,
)  # fmt: skip


@given(_OPS)
def test_random_programs_of_views_and_updates_equal_numpy(program):
    array = np.arange(36).reshape(6, 6)
    base, kept = Tensor(array), []
    for i, (what, _, start, stop, step, turned) in enumerate(program):
        rows = slice(start, stop, step)
        ours, theirs = (base.T, array.T) if turned else (base, array)
        if what == "view":
            kept.append((ours[rows], theirs[rows].copy()))
        elif what == "read" and kept:
            base[:1] = base[:1] + kept[-1][0].sum()
            array[:1] += kept[-1][1].sum()
        elif what == "write":
            values = -np.arange(theirs[rows].size).reshape(theirs[rows].shape) - i
            ours[rows].assign(Tensor(values))
            theirs[rows] = values
        elif what == "whole":
            ours[rows] = ours[::-1][rows] + i
            theirs[rows] = theirs[::-1][rows].copy() + i

    np.testing.assert_array_equal(base.numpy(), array)
    for found, expected in kept:
        np.testing.assert_array_equal(found.numpy(), expected)
