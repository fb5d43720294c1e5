"""Kernels shaped for a GPU, on the interpreter: blocks, warps, 32 lanes, shared memory."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.check.interpreter import KernelFault, run_kernel
from inkle.ir import dtype as dt
from inkle.ir import ops
from inkle.ir.loop import Axis, Kernel, load, range_, reduce, stage, store
from inkle.ir.node import const
from inkle.ir.spec import check_loop
from inkle.ir.tensor import param
from inkle.ir.text import from_text, pseudo_code, to_text

M, N, K = 32, 64, 16
PRINTED = """\
kernel(A: float32 out, B: float32, C: float32)  \
l3: lane 32, u4: unroll 4, u6: unroll 8, l8: lane 32, u9: unroll 2
for grid g0 in 2:
  for grid g1 in 2:
    for worker w2 in 4:
      acc0[u4, l3] = 0.0
      for loop i5 in 2:
        S0 = stage of 256 float32
        for worker w7 in 4:
          S0[(u9 * 4 + w7) * 32 + l8] = C[(i5 * 8 + u9 * 4 + w7) * 64 + g1 * 32 + l8]
        acc0[u4, l3] += B[(g0 * 16 + w2 * 4 + u4) * 16 + i5 * 8 + u6] * S0[u6 * 32 + l3]
      A[(g0 * 16 + w2 * 4 + u4) * 64 + g1 * 32 + l3] = acc0[u4, l3]
"""
TILE = 8  # of K, staged at a time
WORKERS, LANES = 4, 32


def matmul(*, skew=0, rows=TILE):
    """C = A @ B: a block makes 16 x 32 of C with 4 warps of 4 rows; tiles of B go through memory
    that the block shares, filled by all of its threads."""
    c, a, b = (param(i, dt.float32, (n,)) for i, n in enumerate((M * N, M * K, K * N)))
    gm, gn = range_(0, M // 16, Axis.GRID), range_(1, N // LANES, Axis.GRID)
    w, lane = range_(2, WORKERS, Axis.WORKER), range_(3, LANES, Axis.LANE)
    row = range_(4, 4, Axis.UNROLL)
    ko, ki = range_(5, K // TILE), range_(6, TILE, Axis.UNROLL)
    fill_w, fill_lane = range_(7, WORKERS, Axis.WORKER), range_(8, LANES, Axis.LANE)
    fill_k = range_(9, rows // WORKERS, Axis.UNROLL)
    k = fill_k * WORKERS + fill_w
    value = load(b, (ko * TILE + k) * N + gn * LANES + fill_lane)
    place = k * LANES + ((fill_lane + skew) % LANES if skew else fill_lane)
    tile = stage(0, value, place, [fill_w, fill_lane, fill_k], TILE * LANES)
    i = gm * 16 + w * 4 + row
    product = load(a, i * K + ko * TILE + ki) * load(tile, ki * LANES + lane)
    total = reduce(ops.ADD, product, [ko, ki])
    return Kernel((store(c, i * N + gn * LANES + lane, total),), (gm, gn, w, ko, fill_w))


def run(kernel):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((M, K), (K, N)))
    arrays = {0: np.zeros((M, N), np.float32), 1: a, 2: b}
    check_loop(kernel)
    run_kernel(kernel, arrays)
    return arrays[0], a @ b


def test_a_matrix_product_through_shared_memory():
    got, want = run(matmul())

    assert np.array_equal(got, want)


def test_a_wrong_layout_gives_a_wrong_product():
    got, want = run(matmul(skew=1))

    assert not np.array_equal(got, want)


def test_a_tile_that_is_filled_in_part_is_caught():
    with pytest.raises(KernelFault, match="load of stage 0 reads an element that was never"):
        run(matmul(rows=TILE // 2))


def test_the_kernel_prints_and_reads_back():
    kernel = matmul()

    assert from_text(to_text(kernel)) == kernel
    assert pseudo_code(kernel) == PRINTED


def test_rows_are_reduced_across_lanes():
    x, out = param(1, dt.float32, (8 * LANES,)), param(0, dt.float32, (8,))
    w, lane = range_(0, 8, Axis.WORKER), range_(1, LANES, Axis.LANE)
    largest = reduce(ops.MAXIMUM, load(x, w * LANES + lane), [lane])
    again = range_(2, LANES, Axis.LANE)
    total = reduce(ops.ADD, (load(x, w * LANES + again) - largest).exp(), [again])
    data = np.random.default_rng(1).standard_normal((8, LANES)).astype(np.float32)
    arrays = {0: np.zeros(8, np.float32), 1: data}

    run_kernel(Kernel((store(out, w, largest + total.log()),), (w,)), arrays)

    want = np.log(np.exp(data.astype(np.float64)).sum(1))
    np.testing.assert_allclose(arrays[0], want, rtol=1e-6)


def test_warps_that_reduce_into_one_element_without_a_common_tile_race():
    x, out = param(1, dt.int32, (8 * LANES,)), param(0, dt.int32, (1,))
    w, lane = range_(0, 8, Axis.WORKER), range_(1, LANES, Axis.LANE)
    part = reduce(ops.ADD, load(x, w * LANES + lane), [lane])
    arrays = {0: np.zeros(1, np.int32), 1: np.ones(8 * LANES, np.int32)}

    with pytest.raises(KernelFault, match="race: element 0 of argument 0"):
        run_kernel(Kernel((store(out, w // 8, part, combine=ops.ADD),), (w,)), arrays)


def test_warps_join_their_parts_through_shared_memory():
    x, out = param(1, dt.int32, (8 * LANES,)), param(0, dt.int32, (1,))
    w, lane = range_(0, 8, Axis.WORKER), range_(1, LANES, Axis.LANE)
    all_w = range_(2, 8, Axis.UNROLL)
    part = reduce(ops.ADD, load(x, w * LANES + lane), [lane])
    parts = stage(3, part, w, [w], 8)
    total = reduce(ops.ADD, load(parts, all_w), [all_w])
    arrays = {0: np.zeros(1, np.int32), 1: np.arange(8 * LANES, dtype=np.int32)}
    kernel = Kernel((store(out, const(0, dt.index), total),), (w,))

    check_loop(kernel)
    run_kernel(kernel, arrays)

    assert arrays[0][0] == np.arange(8 * LANES).sum()
