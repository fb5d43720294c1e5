"""Every transform keeps what a kernel computes, for sizes that divide and sizes that do not."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle.ir import ops
from inkle.ir.dtype import float32
from inkle.ir.loop import Axis, Kernel, load, range_, reduce, store
from inkle.ir.node import const, rebuild, transform
from inkle.kernel.narrow import narrow
from inkle.kernel.transforms import bind, pad, reorder, split, stage
from tests.kernel.kernels import flat, matmul, numbers, row_normalize, run, transposed_convolution


def check_matmul(kernel, m, n, k):
    a, b, out = numbers(m, k), numbers(k, n, seed=1), np.full((m, n), np.nan, np.float32)

    run(kernel, out, a, b)

    np.testing.assert_array_equal(out, a @ b)


@pytest.mark.parametrize("tail", ["bound", "overlap", "mask"])
@pytest.mark.parametrize("size", [4, 7, 8, 9])
def test_split_of_an_output_range_covers_every_element(tail, size):
    kernel, i, _, _ = matmul(size, 5, 3)

    kernel, _, _ = split(kernel, i, 4, Axis.LOOP, Axis.LOOP, tail)

    check_matmul(kernel, size, 5, 3)


@pytest.mark.parametrize("tail", ["bound", "mask", "peel"])
@pytest.mark.parametrize("size", [4, 7, 8, 9])
def test_split_of_a_reduction_counts_every_element_once(tail, size):
    kernel, _, _, k = matmul(3, 5, size)

    kernel, _, _ = split(kernel, k, 4, Axis.LOOP, Axis.LOOP, tail)

    check_matmul(kernel, 3, 5, size)


@pytest.mark.parametrize("size", [16, 17, 31, 40])
def test_lanes_of_a_reduction_are_combined_across(size):
    kernel, _, _, k = matmul(3, 5, size)

    kernel, _, _ = split(kernel, k, 16, Axis.LOOP, Axis.LANE, "peel")

    check_matmul(kernel, 3, 5, size)


@given(
    m=st.integers(1, 20), n=st.integers(1, 40), k=st.integers(1, 9),
    rows=st.integers(1, 6), lanes=st.sampled_from([2, 4, 8, 16]), staged=st.booleans(),
)  # fmt: skip
def test_register_tiles_of_any_size_keep_the_product(m, n, k, rows, lanes, staged):
    kernel, i, j, inner = matmul(m, n, k)

    kernel, _, _ = split(
        kernel, i, rows, Axis.LOOP, Axis.UNROLL, "overlap" if rows <= m else "mask"
    )
    kernel, _, lane = split(
        kernel, j, lanes, Axis.LOOP, Axis.LANE, "overlap" if lanes <= n else "mask"
    )
    if staged and lanes <= n:
        second = next(x for x in kernel.nodes() if x.op.name == "load" and x.src[0].arg[0] == 2)
        kernel = stage(kernel, second, [inner, lane])

    check_matmul(kernel, m, n, k)


def test_reorder_puts_the_reduction_outside_nothing_and_keeps_the_product():
    kernel, i, j, inner = matmul(6, 7, 5)

    kernel = reorder(kernel, [j, i, inner])

    check_matmul(kernel, 6, 7, 5)


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("multiple", [4, 5, 8])
def test_padded_ranges_compute_nothing_beyond_their_end(which, multiple):
    kernel, *ranges = matmul(6, 7, 5)

    kernel, new = pad(kernel, ranges[which], multiple)
    kernel, _, _ = split(kernel, new, multiple, Axis.LOOP, Axis.UNROLL)

    check_matmul(kernel, 6, 7, 5)


def test_a_computed_value_is_staged_at_the_loop_of_its_consumer():
    kernel = row_normalize(5, 33)
    largest = next(node for node in kernel.nodes() if node.op.name == "reduce")
    (inner,) = largest.src[1:]
    (value,) = (node for node in largest.src if node.op.name == "load")
    doubled = value + value
    total = transform(kernel.stores, rebuild, {value: doubled})
    kernel = replace(kernel, stores=tuple(total[s] for s in kernel.stores))
    x, out = numbers(5, 33), np.empty((5, 33), np.float32)

    run(stage(kernel, doubled, [inner]), out, x)

    np.testing.assert_array_equal(out, x - 2 * x.max(axis=1, keepdims=True))


def test_bind_to_grid_makes_chunks():
    kernel, i, _, _ = matmul(6, 7, 5)

    kernel, _ = bind(kernel, i, Axis.GRID)

    check_matmul(kernel, 6, 7, 5)


def test_a_reduction_inside_a_row_is_computed_once_per_row():
    x, out = numbers(5, 33), np.empty((5, 33), np.float32)

    run(row_normalize(5, 33), out, x)

    np.testing.assert_array_equal(out, x - x.max(axis=1, keepdims=True))


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 3), (3, 5), (16, 4)])
def test_narrowed_loops_visit_exactly_the_gated_points(n, k):
    g, w, out = numbers(n), numbers(k, seed=1), np.empty(n + k - 1, np.float32)
    kernel = narrow(transposed_convolution(n, k))

    run(kernel, out, g, w)

    assert kernel.schedule, "nothing was narrowed"
    np.testing.assert_array_equal(out, np.convolve(g, w))


def test_narrowing_leaves_one_version_of_a_load_that_a_condition_reads_too():
    y, i = range_(0, 6), range_(1, 3)
    at = y - i
    gate = (at >= 0) & (at < 4)
    x = load(flat(1, 4), at, gate)
    chosen = (x < 0.0).where(x * 2.0, x)
    total = reduce(ops.ADD, gate.where(chosen, const(0.0, float32)), (i,))
    kernel = narrow(Kernel((store(flat(0, 6), y, total),), (y, i)))
    g, out = numbers(4), np.empty(6, np.float32)

    run(kernel, out, g)

    assert len([node for node in kernel.nodes() if node.op.name == "load"]) == 1
    np.testing.assert_array_equal(out, np.convolve(np.where(g < 0, 2 * g, g), np.ones(3)))


def test_a_gated_term_keeps_infinity_of_the_other_factor_out():
    g, w, out = np.ones(3, np.float32), np.array([1, np.inf], np.float32), np.empty(4, np.float32)

    run(transposed_convolution(3, 2), out, g, w)

    np.testing.assert_array_equal(out, [1, np.inf, np.inf, np.inf])


def test_the_schedule_lists_what_was_done():
    kernel, i, _, _ = matmul(6, 7, 5)

    kernel, _, _ = split(kernel, i, 4, Axis.LOOP, Axis.UNROLL, "overlap")

    assert kernel.schedule == ("split loop 0 by 4 into loop 3, unroll 4 (overlap)",)
