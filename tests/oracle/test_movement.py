"""Movement and indexing against PyTorch and NumPy: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.tensor import Tensor
from tests.oracle.compare import agree, check, numbers

SAME = [  # written alike in both
    ((2, 3, 4), lambda x: x.reshape(4, 6)),
    ((2, 3, 4), lambda x: x.reshape(-1)),
    ((2, 3, 4), lambda x: x.reshape((3, -1))),
    ((), lambda x: x.reshape(1, 1)),
    ((0, 3), lambda x: x.reshape(3, 0)),
    ((2, 3, 4), lambda x: x.flatten()),
    ((2, 3, 4), lambda x: x.flatten(1)),
    ((2, 3, 4), lambda x: x.flatten(0, 1)),
    ((), lambda x: x.flatten()),
    ((2, 6), lambda x: x.unflatten(1, (2, -1))),
    ((1, 3, 1), lambda x: x.squeeze()),
    ((1, 3, 1), lambda x: x.squeeze(0)),
    ((1, 3, 1), lambda x: x.squeeze(1)),
    ((2, 3), lambda x: x.unsqueeze(-1)),
    ((2, 3), lambda x: x.unsqueeze(0)),
    ((2, 1, 4), lambda x: x.expand(2, 3, 4)),
    ((4,), lambda x: x.expand(2, -1, -1) if x.ndim > 1 else x.expand(3, 4)),
    ((1, 4), lambda x: x.expand(3, -1)),
    ((1, 0), lambda x: x.expand(3, 0)),
    ((2, 3), lambda x: x.repeat(2, 3)),
    ((2, 3), lambda x: x.repeat(2, 1, 2)),
    ((2, 3), lambda x: x.repeat(0, 1)),
    ((2, 3), lambda x: x.repeat_interleave(2, 1)),
    ((2, 3), lambda x: x.repeat_interleave(3)),
    ((2, 3, 4), lambda x: x.permute(2, 0, 1)),
    ((2, 3, 4), lambda x: x.permute((-1, 0, 1))),
    ((2, 3, 4), lambda x: x.transpose(0, 2)),
    ((2, 3, 4), lambda x: x.transpose(-1, -2)),
    ((2, 3), lambda x: x.T),
    ((2, 3, 4), lambda x: x.mT),
    ((2, 3, 4), lambda x: x.movedim(0, 2)),
    ((2, 3, 4), lambda x: x.movedim(-1, 0)),
    ((2, 3), lambda x: x.flip(0)),
    ((2, 3), lambda x: x.flip((0, 1))),
    ((2, 3), lambda x: x.flip(-1)),
    ((2, 3), lambda x: x.roll(1, 0)),
    ((2, 3), lambda x: x.roll(-4, 1)),
    ((2, 3), lambda x: x.roll((1, 2), (0, 1))),
    ((2, 3), lambda x: x.roll(2)),
    ((5, 3), lambda x: x.narrow(0, 1, 3)),
    ((7, 2), lambda x: x.unfold(0, 3, 2)),
    ((2, 7), lambda x: x.unfold(1, 3, 1)),
    ((2, 7), lambda x: x.unfold(1, 7, 5)),
    ((3, 4), lambda x: x.diagonal()),
    ((3, 4), lambda x: x.diagonal(1)),
    ((3, 4), lambda x: x.diagonal(-2)),
    ((3, 4), lambda x: x.diagonal(4)),
    ((2, 3, 4), lambda x: x.diagonal(1, 2, 0)),
    ((4, 5), lambda x: x.tril()),
    ((4, 5), lambda x: x.triu(1)),
    ((2, 4, 3), lambda x: x.tril(-1)),
    ((4,), lambda x: x.diag()),
    ((4, 3), lambda x: x.diag()),
    ((0, 3), lambda x: x.T),
    ((2, 3), lambda x: x.clone()),
    ((2, 3), lambda x: x.contiguous()),
]


@pytest.mark.parametrize("number", range(len(SAME)))
def test_movement_and_its_gradient(torch, number):
    shape, function = SAME[number]

    check(torch, function, function, [numbers(shape)])


@pytest.mark.parametrize(
    "widths", [(1, 2), (0, 0), (1, 0, 2, 3), (-1, 2), (-1, -1, 1, 1), (0, 3, 0, 0)]
)
@pytest.mark.parametrize("value", [0, 1.5, float("-inf")])
def test_pad_with_a_constant(torch, widths, value):
    x = numbers((3, 4))

    check(torch, lambda x: x.pad(widths, value=value),
          lambda x: torch.nn.functional.pad(x, widths, value=value), [x])  # fmt: skip


def test_pad_with_pairs_from_the_first_axis_on(torch):
    x = numbers((3, 4))

    check(torch, lambda x: x.pad(((1, 0), None)),
          lambda x: torch.nn.functional.pad(x, (0, 0, 1, 0)), [x])  # fmt: skip


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_pad_with_own_elements(torch, mode):
    x = numbers((2, 3, 4, 5))

    check(torch, lambda x: x.pad((2, 1, 1, 2), mode),
          lambda x: torch.nn.functional.pad(x, (2, 1, 1, 2), mode), [x])  # fmt: skip


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cat_and_stack(torch, dim):
    x, y = numbers((2, 3)), numbers((2, 3), seed=1)

    check(torch, lambda x, y: x.cat(y, x, dim=dim), lambda x, y: torch.cat([x, y, x], dim), [x, y])
    check(torch, lambda x, y: x.stack(y, dim=dim), lambda x, y: torch.stack([x, y], dim), [x, y])


def test_cat_with_an_empty_tensor_and_another_dtype(torch):
    x, y, z = numbers((2, 3)), numbers((0, 3)), np.ones((1, 3), np.float32)

    check(torch, lambda x, y, z: Tensor.cat(x, y, z), lambda x, y, z: torch.cat([x, y, z]),
          [x, y, z], tolerance=1e-6)  # fmt: skip


@pytest.mark.parametrize(("sizes", "dim"), [(2, 0), (3, 1), ((1, 4), 0), ((0, 5), 0), (10, 0)])
def test_split(torch, sizes, dim):
    x = numbers((5, 4))

    ours, theirs = (
        Tensor(x).split(sizes, dim),
        torch.tensor(x).split(list(sizes) if isinstance(sizes, tuple) else sizes, dim),
    )

    assert len(ours) == len(theirs)
    for mine, expected in zip(ours, theirs):
        agree(mine, expected)


@pytest.mark.parametrize(("chunks", "dim"), [(2, 0), (3, 0), (5, 1), (7, 1)])
def test_chunk(torch, chunks, dim):
    x = numbers((5, 4))

    ours, theirs = Tensor(x).chunk(chunks, dim), torch.tensor(x).chunk(chunks, dim)

    assert [each.shape for each in ours] == [tuple(each.shape) for each in theirs]
    for mine, expected in zip(ours, theirs):
        agree(mine, expected)


def test_unbind_and_iteration(torch):
    x = numbers((3, 2))

    for mine, expected in zip(Tensor(x).unbind(1), torch.tensor(x).unbind(1)):
        agree(mine, expected)
    for mine, expected in zip(Tensor(x), torch.tensor(x)):
        agree(mine, expected)


def test_meshgrid(torch):
    x, y = numbers((3,)), numbers((2,))

    for how in ("ij", "xy"):
        ours = Tensor.meshgrid(Tensor(x), Tensor(y), indexing=how)
        theirs = torch.meshgrid(torch.tensor(x), torch.tensor(y), indexing=how)
        for mine, expected in zip(ours, theirs):
            agree(mine, expected)


# --- indexing -------------------------------------------------------------------------------------

BASIC = [
    np.s_[0], np.s_[-1], np.s_[1, 2], np.s_[1, -1, 3], np.s_[:], np.s_[1:], np.s_[:-1], np.s_[::2],
    np.s_[1:5:3], np.s_[:, 1], np.s_[..., 0], np.s_[0, ...], np.s_[None], np.s_[:, None, 1],
    np.s_[..., None], np.s_[1:1], np.s_[5:2], np.s_[:, 1:2, ::3], np.s_[1, None, 2:, None],
    np.s_[-2:, :1], np.s_[100:], np.s_[...],
]  # fmt: skip
BACKWARD = [np.s_[::-1], np.s_[::-2], np.s_[3:0:-1], np.s_[:, ::-1, 1::-1], np.s_[0:3:-1]]
_T = np.array([[0, 2], [1, -1]])
ADVANCED = [
    (lambda i: i[0],), (lambda i: i,), (slice(None), lambda i: i[0]),
    (lambda i: i, lambda i: i), (lambda i: i, slice(None), lambda i: i[0]),
    (slice(None), lambda i: i, lambda i: i), (0, lambda i: i), (lambda i: i, 0),
    (slice(0, 2), lambda i: i[1], slice(1, 3)),
    (Ellipsis, lambda i: i), (None, lambda i: i[0]), (lambda i: i[0], None, lambda i: i[0]),
    (lambda i: i[0, 0],), (lambda i: i[:0],),
]  # fmt: skip


@pytest.mark.parametrize("index", BASIC, ids=str)
def test_slicing_and_its_gradient(torch, index):
    check(torch, lambda x: x[index], lambda x: x[index], [numbers((3, 4, 5))])


@pytest.mark.parametrize("index", BACKWARD, ids=str)
def test_slicing_backwards(index):
    x = numbers((4, 3, 5))

    agree(Tensor(x)[index], x[index])


@pytest.mark.parametrize("number", range(len(ADVANCED)))
def test_indexing_with_tensors_and_its_gradient(torch, number):
    def index(tensor):
        return tuple(each(tensor) if callable(each) else each for each in ADVANCED[number])

    check(torch, lambda x: x[index(Tensor(_T))], lambda x: x[index(torch.tensor(_T))],
          [numbers((3, 4, 5))])  # fmt: skip


def test_indexing_with_lists_and_arrays():
    x = numbers((4, 3))

    agree(Tensor(x)[[0, 2, -1]], x[[0, 2, -1]])
    agree(Tensor(x)[np.array([1, 1]), [0, 2]], x[np.array([1, 1]), [0, 2]])


@pytest.mark.parametrize("index", [*BASIC, *BACKWARD], ids=str)
def test_assignment_to_a_slice(index):
    x = numbers((4, 5, 6))
    value = numbers(x[index].shape, seed=3)
    ours = Tensor(x)

    ours[index] = Tensor(value)
    x[index] = value

    agree(ours, x)


@pytest.mark.parametrize("number", range(len(ADVANCED)))
def test_assignment_through_index_tensors(torch, number):
    x = numbers((3, 4, 5))
    ours, theirs = Tensor(x), torch.tensor(x)

    def index(tensor):
        return tuple(each(tensor) if callable(each) else each for each in ADVANCED[number])

    ours[index(Tensor(_T))] = 7.0
    theirs[index(torch.tensor(_T))] = 7.0

    agree(ours, theirs)


def test_assignment_broadcasts_and_converts():
    x = Tensor(np.zeros((3, 4)))

    x[1] = 5
    x[:, 2] = Tensor([1, 2, 3])
    x[2, :2] = Tensor(np.ones((1, 1, 2), np.float32))

    assert x.tolist() == [[0, 0, 1, 0], [5, 5, 2, 5], [1, 1, 3, 0]]


def test_gradient_through_assignment(torch):
    def function(x, v):
        y = x * 2
        y[1:3] = v
        y[0, ::2] = y[0, 1].clone() * v[0, 0]
        return y * y

    check(torch, function, function, [numbers((4, 3)), numbers((2, 3), seed=1)])


def test_gradient_through_assignment_by_tensor(torch):
    index = np.array([2, 0])

    def ours(x, v):
        y = x * 2
        y[Tensor(index)] = v
        return y * y

    def theirs(x, v):
        y = x * 2
        y[torch.tensor(index)] = v
        return y * y

    check(torch, ours, theirs, [numbers((4, 3)), numbers((2, 3), seed=1)])
