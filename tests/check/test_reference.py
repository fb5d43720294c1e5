"""The tensor form's reference, against NumPy's own functions."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.check.reference import empty_leaves, evaluate
from inkle.errors import InternalError, ShapeError
from inkle.ir import dtype as dt
from inkle.ir import ops, tensor
from inkle.ir.node import const

A = np.arange(24, dtype=np.int32).reshape(2, 3, 4)


def run(build, *arrays):
    """Return build(nodes of these arrays), evaluated."""
    leaves = [tensor.param(i, dt.BY_NAME[a.dtype.name], a.shape) for i, a in enumerate(arrays)]
    return evaluate([build(*leaves)], dict(zip(leaves, arrays)))[0]


@pytest.mark.parametrize(
    "build, want",
    [
        (lambda x: tensor.reshape(x, (4, 6)), A.reshape(4, 6)),
        (lambda x: tensor.permute(x, (2, 0, 1)), A.transpose(2, 0, 1)),
        (lambda x: tensor.slice_(x, [(0, 2, 1), (1, 3, 1), (0, 4, 3)]), A[:, 1:3, 0:4:3]),
        (lambda x: tensor.shrink(x, 1, 2, 2), A[:, 2:2]),
        (lambda x: tensor.flip(x, (0, 2)), A[::-1, :, ::-1]),
        (lambda x: tensor.reduce(x, ops.ADD, (0, 2)), A.sum((0, 2))),
        (lambda x: tensor.reduce(x, ops.MAXIMUM, (1,)), A.max(1)),
        (lambda x: tensor.reduce(x, ops.MUL, (2,)), A.prod(2, dtype=np.int32)),
        (lambda x: tensor.cat([x, x + 1], 1), np.concatenate([A, A + 1], 1)),
        (lambda x: x * 2 - 1, A * 2 - 1),
        (lambda x: tensor.broadcast_to(tensor.shrink(x, 0, 0, 1), (2, 3, 4)), A[:1].repeat(2, 0)),
        (lambda x: tensor.contiguous(tensor.detach(x)), A),
    ],
)
def test_operation_equals_numpy(build, want):
    got = run(build, A)

    assert got.dtype == np.int32
    assert np.array_equal(got, want)


def test_pad_puts_zeros_around_and_between():
    x = np.array([[1, 2], [3, 4]], np.int32)

    got = run(lambda x: tensor.pad(x, [(1, 0, 0), (0, 2, 1)]), x)

    assert got.tolist() == [[0, 0, 0, 0, 0], [1, 0, 2, 0, 0], [3, 0, 4, 0, 0]]


def test_pad_of_an_empty_axis():
    got = run(lambda x: tensor.pad(x, [(1, 1, 3)]), np.zeros(0, np.float32))

    assert got.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("factor", [-2, -1, 1, 3])
def test_shear_shifts_each_position_along_the_other_axis(factor):
    want = np.zeros_like(A)
    for i, j in np.ndindex(4, 3):
        if 0 <= i + factor * j < 4:
            want[:, j, i] = A[:, j, i + factor * j]

    assert np.array_equal(run(lambda x: tensor.shear(x, 2, 1, factor), A), want)


def test_windows_make_a_convolution():
    x, w = np.arange(10.0), np.array([1.0, -2.0, 3.0])

    def convolve(x, w):
        rows = tensor.expand(tensor.reshape(x, (10, 1)), (10, 3))
        windows = tensor.shrink(tensor.shear(rows, 0, 1, 1), 0, 0, 8)
        return tensor.reduce(windows * tensor.broadcast_to(w, (8, 3)), ops.ADD, (1,))

    assert np.array_equal(run(convolve, x, w), np.correlate(x, w))


def test_gather_wraps_negative_indices_once_and_reads_zero_outside():
    index = np.array([[0, 2], [-1, -3], [-4, 3]], np.int64)
    x = np.array([[1, 2], [3, 4], [5, 6]], np.int32)

    got = run(lambda x, i: tensor.gather(x, [i], [-1, 1]), x, index)

    assert got.tolist() == [[1, 6], [5, 2], [0, 0]]


def test_gather_with_two_index_arrays():
    rows, columns = np.array([0, 1, 1], np.uint8), np.array([2, 0, -1], np.int8)

    got = run(lambda x, i, j: tensor.gather(x, [i, j], [-1, 0, -2]), A[:2], rows, columns)

    assert got.tolist() == [A[0, 0, 2], A[1, 1, 0], A[1, 2, 3]]


def test_gather_treats_a_huge_unsigned_index_as_outside():
    index = np.array([2**64 - 1, 1], np.uint64)

    got = run(lambda x, i: tensor.gather(x, [i], [-1]), np.array([5, 6], np.int8), index)

    assert got.tolist() == [0, 6]


def test_gather_from_an_empty_axis_reads_zero():
    got = run(lambda x, i: tensor.gather(x, [i], [-1]), np.zeros(0, np.int8), np.zeros(2, np.int32))

    assert got.tolist() == [0, 0]


def test_scatter_overwrites_with_the_last_and_drops_outside():
    base = np.zeros(3, np.int32)
    values = np.array([1, 2, 3, 4], np.int32)
    index = np.array([0, -3, 5, 2], np.int64)

    got = run(lambda b, v, i: tensor.scatter(b, v, [i], [-1], None), base, values, index)

    assert got.tolist() == [2, 0, 4]


def test_scatter_combines_duplicates_in_order():
    base = np.array([1.0, 10.0])
    values = np.array([2.0**53, 1.0, -(2.0**53), 1.0])
    index = np.array([0, 0, 0, 1], np.int64)

    got = run(lambda b, v, i: tensor.scatter(b, v, [i], [-1], ops.ADD), base, values, index)

    want = 1.0 + 2.0**53
    for value in (1.0, -(2.0**53)):
        want += value
    assert got.tolist() == [want, 11.0]


def test_update_replaces_a_strided_region():
    got = run(
        lambda b, v: tensor.update(b, v, [(1, 6, 2)]),
        np.zeros(6, np.int32),
        np.array([1, 2, 3], np.int32),
    )

    assert got.tolist() == [0, 1, 0, 2, 0, 3]


def test_update_outside_is_refused_when_built():
    with pytest.raises(ShapeError, match="0:7:1 does not fit an axis of length 6"):
        tensor.update(tensor.param(0, dt.int32, (6,)), tensor.param(1, dt.int32, (7,)), [(0, 7, 1)])


def test_reduce_over_an_empty_axis_gives_the_identity():
    x = np.zeros((2, 0), np.int32)

    assert run(lambda x: tensor.reduce(x, ops.MAXIMUM, (1,)), x).tolist() == [-(2**31)] * 2
    assert run(lambda x: tensor.reduce(x, ops.ADD, (0,)), x).shape == (0,)


def test_reduce_keeps_nan_and_turns_a_sum_of_negative_zeros_into_zero():
    x = np.array([[1.0, np.nan], [-0.0, -0.0]], np.float32)

    assert np.isnan(run(lambda x: tensor.reduce(x, ops.MAXIMUM, (1,)), x)[0])
    assert not np.signbit(run(lambda x: tensor.reduce(x, ops.ADD, (1,)), x)[1])


def test_narrow_sums_are_rounded_to_their_dtype_at_each_step():
    x = np.full(4096, 1.0, np.float16)
    got = run(lambda x: tensor.reduce(x, ops.ADD, (0,)), x)

    assert got.dtype == np.float16
    assert float(got) == 4096.0  # in a row it would stop at 2048


def test_constants_and_arange():
    got = evaluate(
        [tensor.full(7, dt.int8, (2, 2)), tensor.arange(3, dt.float32), const(True, dt.bool_)], {}
    )

    assert [x.tolist() for x in got] == [[[7, 7], [7, 7]], [0.0, 1.0, 2.0], True]


def test_a_missing_leaf_is_named():
    with pytest.raises(InternalError, match=r"no value given for <buffer:int32 \(2,\)"):
        evaluate([tensor.buffer(dt.int32, (2,)) + 1], {})


def test_results_do_not_share_memory_with_leaves():
    x = tensor.param(0, dt.int32, (2,))
    array = empty_leaves([x])[x]

    evaluate([x], {x: array})[0][:] = 5

    assert array.tolist() == [0, 0]
