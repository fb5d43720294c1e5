"""Bool masks and mixed indices against NumPy, nonzero and its kin against PyTorch."""

from __future__ import annotations

import random

import numpy as np
import pytest

from inkle.errors import DTypeError, OptionError, ShapeError, TraceError
from inkle.tensor import Tensor
from inkle.tensor.jit import jit
from tests.oracle.compare import agree, check, numbers

ENDS = (slice(None), slice(1, None), slice(None, None, -1), slice(0, 1))


def random_index(rng, dice, shape):
    """Return an index of any mixture of entries; NumPy may refuse it."""
    index, axis, dots, length = [], 0, False, dice.choice([1, 2, 3])
    while axis < len(shape) and len(index) < 5:
        n, kind = shape[axis], dice.choice(["int", "slice", "array", "mask", "new", "dots", "bool"])
        if kind == "int":
            index.append(dice.randint(-n, n - 1))
        elif kind == "slice":
            index.append(dice.choice(ENDS))
        elif kind == "array":
            index.append(rng.integers(-n, n, dice.choice([(length,), (1,), (), (2, length)])))
        elif kind == "mask":
            rank = dice.randint(1, len(shape) - axis)
            index.append(rng.random(shape[axis : axis + rank]) < 0.5)
            axis += rank - 1
        elif kind == "new":
            index.append(None)
        elif kind == "bool" and dice.random() < 0.3:
            index.append(dice.choice([True, np.array(False), np.True_]))
        elif kind == "dots" and not dots:
            index.append(Ellipsis)
            dots = True
            axis += dice.randint(0, len(shape) - axis)
        axis += kind in ("int", "slice", "array", "mask")
    return tuple(index)


def compare_indices(first, count):
    """Compare reading and assigning with NumPy's, for `count` random indices."""
    seen = 0
    for seed in range(first, first + count):
        rng, dice = np.random.default_rng(seed), random.Random(seed)
        shape = tuple(dice.randint(1, 3) for _ in range(dice.randint(1, 4)))
        x = rng.random(shape)
        index = random_index(rng, dice, shape)
        try:
            expected = x[index]
        except IndexError:
            continue
        seen += 1
        ours = tuple(Tensor(each) if isinstance(each, np.ndarray) and dice.random() < 0.5 else each
                     for each in index)  # fmt: skip
        np.testing.assert_array_equal(Tensor(x)[ours].numpy(), expected, err_msg=f"{seed}")
        if np.unique(np.arange(x.size).reshape(shape)[index]).size != expected.size:
            continue  # which of the values for one place wins is nobody's promise
        for value in (7.0, rng.random(expected.shape), rng.random(expected.shape[1:])):
            y, z = x.copy(), Tensor(x)
            y[index] = value
            z[ours] = value
            np.testing.assert_array_equal(z.numpy(), y, err_msg=f"{seed}")
    assert seen > count // 2


def test_random_indices_read_and_assign_as_in_numpy():
    compare_indices(0, 150)


@pytest.mark.exhaustive
def test_many_random_indices_read_and_assign_as_in_numpy():
    compare_indices(1000, 5000)


@pytest.mark.parametrize(
    "index", [np.s_[0, :, [0, 1]], np.s_[:, [0, 1], :, 0], np.s_[[0, 1], ..., [1, 0]]], ids=str
)
def test_integers_beside_index_tensors_are_placed_as_in_numpy(index):
    x = numbers((2, 3, 4, 5))

    agree(Tensor(x)[index], x[index])


def test_gradient_of_a_masked_selection(torch):
    x, mask = numbers((3, 4)), numbers((3, 4), seed=1) > 0

    check(torch, lambda x: x[Tensor(mask)] * 2, lambda x: x[torch.tensor(mask)] * 2, [x])


@pytest.mark.parametrize("shape", [(2,), (1,), ()])
def test_gradient_of_a_masked_assignment(torch, shape):
    mask = np.array([[True, False, False], [False, False, True]])

    def function(x, v, where):
        y = x * 2
        y[where] = v
        return y * y

    check(torch, lambda x, v: function(x, v, Tensor(mask)),
          lambda x, v: function(x, v, torch.tensor(mask)),
          [numbers((2, 3)), numbers(shape, seed=1)])  # fmt: skip


def test_masked_assignment_works_inside_of_a_captured_function():
    @jit
    def clear(x, v):
        x[x < 0] = 0.0
        x[x > 1] = v
        return x

    for seed in range(3):
        x = numbers((3, 5), seed=seed)
        y = np.where(x < 0, 0, x)
        v = np.arange(float((y > 1).sum()))
        y[y > 1] = v

        agree(clear(Tensor(x), Tensor(v)), y)


def test_assignment_through_a_mask_counts_its_values():
    x = Tensor([1.0, 2.0, 3.0])

    with pytest.raises(ShapeError, match=r"assignment of 3 values, shape \(3,\), to the 2 places"):
        x[x > 1] = Tensor([1.0, 2.0, 3.0])


def test_a_mask_of_another_shape_is_an_error():
    with pytest.raises(
        ShapeError, match=r"a mask of \(2,\) at axis 1 .* \(3, 4\): it needs \(4,\)"
    ):
        Tensor.zeros(3, 4)[:, Tensor([True, False])]


@pytest.mark.parametrize(
    "read", [lambda x: x[x > 0], lambda x: x.nonzero(), lambda x: x.masked_select(x > 0),
             lambda x: x.unique()]
)  # fmt: skip
def test_sizes_that_depend_on_arguments_of_a_captured_function_are_an_error(read):
    with pytest.raises(TraceError, match=r"test_masks.py:\d+: how many elements .*size=n"):
        jit(read)(Tensor([1.0, -1.0]))


ARRAYS = [
    np.array([[0, 3, 0], [1, 0, 2]]), np.zeros((2, 3)), np.ones((2, 0)), np.array(3), np.array(0.0),
    np.array([1.0, np.nan, -0.0, 0.0, 1.0]), np.array([True, False, True]),
    np.array([5, 5, 2, 7, 2], np.uint8),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ARRAYS)))
def test_nonzero(torch, number):
    x = ARRAYS[number]

    agree(Tensor(x).nonzero(), torch.tensor(x).nonzero())
    pairs = zip(Tensor(x).nonzero(as_tuple=True), torch.tensor(x).nonzero(as_tuple=True))
    for mine, expected in pairs:
        agree(mine, expected)
    if x.ndim:
        for size in (0, 2, 9):
            expected = torch.tensor(x).nonzero_static(size=size)
            agree(jit(lambda x, n=size: x.nonzero_static(size=n))(Tensor(x)), expected)


@pytest.mark.parametrize("size", [0, 1, 3, 8])
def test_masked_select_of_a_given_size(size):
    x = numbers((2, 4))
    found = x[x > 0][:size]

    ours = jit(lambda x: x.masked_select(x > 0, size, -1.0))(Tensor(x))

    agree(ours, np.concatenate([found, np.full(size - len(found), -1.0)]))


def test_gradient_of_a_masked_select_of_a_given_size(torch):
    check(torch, lambda x: x.masked_select(x > 0, 12)[:4],
          lambda x: x.masked_select(x > 0)[:4], [numbers((3, 4))])  # fmt: skip


def test_masked_select_and_scatter_broadcast(torch):
    x, mask, source = numbers((3, 1)), numbers((4,), seed=1) > 0, numbers((20,), seed=2)

    check(torch, lambda x: x.masked_select(Tensor(mask)),
          lambda x: x.masked_select(torch.tensor(mask)), [x])  # fmt: skip
    check(torch, lambda x, s: x.masked_scatter(Tensor(mask[:1]), s),
          lambda x, s: x.masked_scatter(torch.tensor(mask[:1]), s), [x, source])  # fmt: skip


@pytest.mark.parametrize("number", range(len(ARRAYS)))
def test_unique(torch, number):
    x = ARRAYS[number]

    ours = Tensor(x).unique(return_inverse=True, return_counts=True)
    expected = torch.tensor(x).unique(return_inverse=True, return_counts=True)
    bounded = jit(
        lambda x: x.unique(6, x.dtype.is_float and 9, return_inverse=True, return_counts=True)
    )(Tensor(x))

    n = len(expected[0])
    for mine, other, theirs in zip(ours, bounded, expected):
        agree(mine, theirs)
        assert other.dtype == mine.dtype
    agree(bounded[0][:n], expected[0])
    agree(bounded[1], expected[1])
    agree(bounded[2], np.concatenate([expected[2], np.zeros(6 - n, np.int64)]))
    assert bounded[0][n:].tolist() == [9 if x.dtype.kind == "f" else 0] * (6 - n)


def test_unique_of_too_small_a_size_leaves_out_the_largest():
    values, inverse, counts = Tensor([4, 1, 4, 2, 3]).unique(
        2, return_inverse=True, return_counts=True
    )

    assert (values.tolist(), counts.tolist()) == ([1, 2], [1, 1])
    assert inverse.tolist() == [2, 0, 2, 1, 2]


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_unique_slices(torch, dim):
    x = np.array([[1, 0, 1], [2, 0, 2], [1, 0, 1]])

    options = {"dim": dim, "return_inverse": True, "return_counts": True}
    for mine, expected in zip(Tensor(x).unique(**options), torch.tensor(x).unique(**options)):
        agree(mine, expected)


@pytest.mark.parametrize("x", [[1, 1, 2, 2, 2, 1], [], [3], [[1, 1], [1, 2]]], ids=str)
def test_unique_consecutive(torch, x):
    x = np.array(x, np.int64)

    options = {"return_inverse": True, "return_counts": True}
    theirs = torch.tensor(x).unique_consecutive(**options)
    for mine, expected in zip(Tensor(x).unique_consecutive(**options), theirs):
        agree(mine, expected)


WRONG = [
    (lambda x: x.nonzero(size=-1), ShapeError, r"size of nonzero must be 0 to .*, got -1"),
    (lambda x: x.nonzero(size=2.5), DTypeError, r"size of nonzero must be an integer, got 2.5"),
    (lambda x: x.masked_select(x), DTypeError, r"masked_select needs a bool tensor"),
    (lambda x: x.long().masked_select(x > 0, 3, 0.5), DTypeError, r"0.5 does not fit int64"),
    (lambda x: x.unique(3, dim=0), OptionError, r"a size or a dim, not both"),
    (lambda x: x[x], DTypeError, r"dtype float32, not integer or bool"),
]


@pytest.mark.parametrize(("function", "error", "message"), WRONG)
def test_wrong_arguments(function, error, message):
    with pytest.raises(error, match=message):
        function(Tensor([1.0, 2.0]))
