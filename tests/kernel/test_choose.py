"""The analytic choice: right for every machine, and of the kind that is fast."""

import numpy as np
import pytest

from inkle.ir import forms, ops
from inkle.ir.dtype import float32, index
from inkle.ir.loop import Axis, Kernel, axis_of, load, range_, reduce, store
from inkle.ir.node import const
from inkle.kernel.access import coefficient
from inkle.kernel.choose import choose_schedule
from inkle.kernel.machine import Machine
from tests.kernel.kernels import flat, matmul, numbers, row_normalize, run, transposed_convolution

MACHINES = {
    "avx512": Machine(64, 32, threads=2),
    "avx2": Machine(32, 16, threads=2, masks=False),
    "neon": Machine(16, 32, threads=4, masks=False),
}
machines = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


def lane_stride(kernel):
    """Distance between lanes of every load in the kernel, as a set of words."""
    found = set()
    for node in kernel.nodes():
        if node.op is forms.LOAD:
            lanes = [r for r in node.ranges if axis_of(r) is Axis.LANE]
            found |= {coefficient(node.src[1], r) for r in lanes}
    return found


@machines
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (5, 3, 2), (64, 64, 64), (33, 70, 17), (1, 100, 300), (200, 1, 50)]
)
def test_matmul_of_any_shape_is_exact_on_integers(machine, shape):
    m, n, k = shape
    a, b, out = numbers(m, k), numbers(k, n, seed=1), np.full((m, n), np.nan, np.float32)

    run(choose_schedule(matmul(m, n, k)[0], machine), out, a, b)

    np.testing.assert_array_equal(out, a @ b)


@machines
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (65, 77)])
def test_sums_along_either_axis_load_contiguous_vectors(machine, axis, shape):
    rows, columns = shape
    kept, gone = (columns, rows) if axis == 0 else (rows, columns)
    i, j = range_(0, kept), range_(1, gone)
    at = j * columns + i if axis == 0 else i * columns + j
    value = reduce(ops.ADD, load(flat(1, rows * columns), at), (j,))
    kernel = choose_schedule(Kernel((store(flat(0, kept), i, value),), (i, j)), machine)
    x, out = numbers(*shape), np.empty(kept, np.float32)

    run(kernel, out, x)

    np.testing.assert_array_equal(out, x.sum(axis=axis))
    assert lane_stride(kernel) <= {1} or columns == 3  # rows too short for vectors: gathered


@machines
def test_rows_with_a_reduction_use_lanes_for_both_passes(machine):
    kernel = choose_schedule(row_normalize(70, 131), machine)
    x, out = numbers(70, 131), np.empty((70, 131), np.float32)

    run(kernel, out, x)

    np.testing.assert_array_equal(out, x - x.max(axis=1, keepdims=True))
    assert lane_stride(kernel) == {1}


@machines
def test_transposed_convolution_has_no_gate_left_in_its_loops(machine):
    kernel = choose_schedule(transposed_convolution(50, 5), machine)
    g, w, out = numbers(50), numbers(5, seed=1), np.empty(54, np.float32)

    run(kernel, out, g, w)

    np.testing.assert_array_equal(out, np.convolve(g, w))


def test_a_large_kernel_is_shared_out_and_a_small_one_is_not():
    large = choose_schedule(matmul(256, 256, 256)[0], MACHINES["avx512"])
    small = choose_schedule(matmul(8, 8, 8)[0], MACHINES["avx512"])

    assert any(axis_of(r) is Axis.GRID for r in large.order)
    assert not any(axis_of(r) is Axis.GRID for r in small.order)


@pytest.mark.parametrize("columns", [1, 10, 63, 64, 65, 127, 129, 200])
def test_chunks_of_a_large_kernel_with_few_lanes_come_to_an_end(columns):
    m, k = 3000, 40
    a, b, out = numbers(m, k), numbers(k, columns, seed=1), np.empty((m, columns), np.float32)

    run(choose_schedule(matmul(m, columns, k)[0], MACHINES["avx512"]), out, a, b)

    np.testing.assert_array_equal(out, a @ b)


@machines
@pytest.mark.parametrize("shape", [(11, 52), (64, 64), (3, 200)])
def test_a_sum_of_constants_over_two_axes_has_one_lane(machine, shape):
    """The body depends on no axis: a constant that appears when operations are written out."""
    i, j = (range_(number, extent) for number, extent in enumerate(shape))
    total = reduce(ops.ADD, const(1.0, float32), (i, j))
    kernel = Kernel((store(flat(0, 1), const(0, index), total),), (i, j))
    out = np.zeros(1, np.float32)

    run(choose_schedule(kernel, machine), out)

    assert out.item() == shape[0] * shape[1]
