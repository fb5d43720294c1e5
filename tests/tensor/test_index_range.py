"""Indices out of range: zeros and dropped writes, and in checked mode an error that says where."""

from __future__ import annotations

import numpy as np
import pytest

from inkle import Context, Tensor
from inkle.errors import IndexRangeError

pytestmark = pytest.mark.compiled


def ints(values, dtype="int64"):
    return Tensor(np.array(values, dtype))


TABLE = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
ROWS = [0, -1, 3, -4, 100, -(2**63)]
READ = [[1.0, 2.0], [5.0, 6.0], *[[0.0, 0.0]] * 4]
READERS = [
    lambda t, i: t[i],
    lambda t, i: t.index_select(0, i),
    lambda t, i: i.embedding(t),
    lambda t, i: t.gather(0, i.reshape(-1, 1).expand(6, 2)),
]
FIRST = r"index 3 at position \(2,\) of the index is out of range for axis 0 with 3 elements"


def writes():
    t = Tensor(TABLE)
    t[ints(ROWS) + 0] = 7.0
    added = Tensor(TABLE).scatter_add(0, ints([[0, 9], [-1, -9]]) + 0, Tensor.ones(2, 2))
    return t, added


def gradient():
    t = Tensor(TABLE).requires_grad_()
    t[ints(ROWS) + 0].sum().backward()
    return t.grad


@pytest.mark.parametrize("read", READERS)
def test_reads_out_of_range_give_zero_and_negative_ones_wrap_once(read):
    with Context(INKLE_CHECK=False):
        assert read(Tensor(TABLE), ints(ROWS) + 0).tolist() == READ


@pytest.mark.parametrize("read", READERS)
def test_reads_out_of_range_are_an_error_in_checked_mode(read):
    found = read(Tensor(TABLE), ints(ROWS) + 0)

    with pytest.raises(IndexRangeError, match=r"test_index_range\.py:\d+: gather: " + FIRST):
        found.tolist()


def test_writes_out_of_range_are_dropped():
    with Context(INKLE_CHECK=False):
        t, added = [each.tolist() for each in writes()]

    assert t == [[7.0, 7.0], [3.0, 4.0], [7.0, 7.0]]
    assert added == [[2.0, 2.0], [3.0, 4.0], [6.0, 6.0]]


def test_writes_out_of_range_are_an_error_in_checked_mode():
    t, added = writes()

    with pytest.raises(IndexRangeError, match=r"test_index_range\.py:\d+: scatter: " + FIRST):
        t.tolist()
    with pytest.raises(IndexRangeError, match=r"index 9 at position \(0, 1\)"):
        added.tolist()


def test_gradients_of_reads_out_of_range_are_dropped():
    with Context(INKLE_CHECK=False):
        assert gradient().tolist() == [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]


def test_gradients_of_reads_out_of_range_are_an_error_in_checked_mode():
    with pytest.raises(IndexRangeError, match=FIRST):
        gradient().tolist()


def test_indices_that_are_known_are_checked_at_once():
    t = Tensor(TABLE)

    with pytest.raises(IndexRangeError, match=r"index 3 is out of range for axis 0 with 3"):
        t[[0, 3]]
    with pytest.raises(IndexRangeError, match=r"-4"):
        t[-4]


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8", "uint32", "uint64"])
@pytest.mark.parametrize("rows", [5, 127, 128, 200, 256, 300])
def test_limits_that_the_dtype_of_an_index_cannot_hold(dtype, rows):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    table = Tensor.arange(rows)
    fine = sorted({max(low, -rows), 0, min(high, rows - 1)})

    assert table[ints(fine, dtype)].tolist() == [each % rows for each in fine]
    for wrong in (max(low, -rows - 1), min(high, rows)):
        if not -rows <= wrong < rows:
            with pytest.raises(IndexRangeError, match=f"index {wrong} "):
                table[ints([0, wrong], dtype)].tolist()


def test_each_of_several_indices_is_checked():
    table = Tensor.arange(12).reshape(3, 4)
    rows, columns = ints([[0], [2]]), ints([0, 3, 4])

    with pytest.raises(IndexRangeError, match=r"index 4 at .*\(2,\).* axis 1 with 4 elements"):
        table[rows, columns].tolist()
    with pytest.raises(IndexRangeError, match=r"index 3 at .*\(0,\).* axis 0 with 3 elements"):
        table[rows + 3, columns - 1].tolist()


def test_index_without_axes_has_no_position():
    with pytest.raises(IndexRangeError, match=r"gather: index 3 is out of range for axis 0"):
        Tensor([1.0, 2.0, 3.0])[Tensor(3) + 0].item()


def test_axis_of_no_elements_has_no_valid_index():
    with pytest.raises(IndexRangeError, match=r"index 0 .* axis 0 with 0 elements"):
        Tensor.zeros(0, 3)[ints([0, 0])].tolist()
    assert Tensor.zeros(0, 3)[ints([])].tolist() == []


def test_error_leaves_everything_else_as_it_was():
    table, i = Tensor(TABLE), ints([1, 7])
    fine, wrong = table[i.clamp(0, 2)], table[i]

    with pytest.raises(IndexRangeError):
        Tensor.realize(fine, wrong)

    assert fine.tolist() == TABLE[1:]
    i.assign(ints([1, 2]))
    assert table[i].tolist() == TABLE[1:]


def test_functions_that_compute_their_own_indices_stay_in_range():
    x = Tensor(np.random.default_rng(0).normal(size=(3, 70)).astype(np.float32)).requires_grad_()
    images = x.reshape(1, 3, 7, 10)
    labels = ints([3, -100, 69])

    x.sort(1)[0].sum().backward()
    Tensor.realize(
        *x.sort(0), *x.topk(5), x.argsort(descending=True), Tensor.randperm(100),
        x.cross_entropy(labels), ints([4, 9]).one_hot(5), images.max_pool2d(3, padding=1),
        images.avg_pool2d(2, padding=1), images.pad((1, 2, 3, 4)), x.cumsum(1), x.grad,
    )  # fmt: skip
