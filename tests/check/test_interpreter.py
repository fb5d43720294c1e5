"""The reference interpreter of kernels: what it computes, and what it catches."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.check.interpreter import KernelFault, Memory, boxes, run_kernel
from inkle.check.plans import run_plan
from inkle.check.points import Space, disagreement
from inkle.errors import InternalError
from inkle.ir import dtype as dt
from inkle.ir import ops
from inkle.ir.loop import Axis, Kernel, load, range_, reduce, stage, store
from inkle.ir.node import const
from inkle.ir.plan import Launch, Plan, Role
from inkle.ir.plan import Memory as PlanMemory
from inkle.ir.tensor import param
from tests.strategies import variable

N = 12
A, B = (param(slot, dt.int32, (N,)) for slot in range(2))
ARRAY = np.arange(1, N + 1, dtype=np.int32)


def run(stores, order, arrays=None, **variables):
    """Return argument 0 after the kernel has run; argument 1 is 1, 2, ... 12."""
    arrays = {0: np.zeros(N, np.int32), 1: ARRAY.copy()} if arrays is None else arrays
    stores = stores if isinstance(stores, tuple) else (stores,)
    run_kernel(Kernel(stores, tuple(order)), arrays, variables)
    return arrays[0]


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", Axis)
def test_every_axis_kind_computes_the_same(axis):
    r = range_(0, N, axis)
    order = [r] if axis in (Axis.GRID, Axis.WORKER, Axis.LOOP) else []

    assert np.array_equal(run(store(A, r, load(B, r) * 2 + 1), order), ARRAY * 2 + 1)


def test_a_gate_limits_loads_and_stores():
    r = range_(0, 16)
    value = load(B, r + 1, r < N - 1)

    got = run(store(A, r, value, r < N), [r])

    assert got.tolist() == [*ARRAY[1:], 0]


def test_reductions_over_several_axes():
    i, j, k = range_(0, 3), range_(1, 2), range_(2, 2, Axis.LANE)
    value = reduce(ops.ADD, load(B, i * 4 + j * 2 + k), [j, k])

    assert run(store(A, i, value), [i, j])[:3].tolist() == ARRAY.reshape(3, 4).sum(1).tolist()


def test_a_reduction_of_something_that_does_not_depend_on_the_range():
    i, k = range_(0, N), range_(1, 5)

    assert np.array_equal(run(store(A, i, reduce(ops.ADD, load(B, i), [k])), [i, k]), ARRAY * 5)


def test_extents_that_depend_on_other_ranges():
    i = range_(0, 4)
    k = range_(1, i + 1)
    rest = range_(2, const(N, dt.index) - i * 4, Axis.UNROLL)

    triangle = run(store(A, i, reduce(ops.ADD, load(B, k), [k])), [i, k])
    tail = run(store(A, i * 4 + rest.minimum(3), load(B, i * 4 + rest.minimum(3))), [i])

    assert triangle[:4].tolist() == [1, 3, 6, 10]
    assert np.array_equal(tail, ARRAY)


def test_an_empty_reduction_gives_the_identity():
    k = range_(0, 0)

    got = run(store(A, const(0, dt.index), reduce(ops.MAXIMUM, load(B, k), [k])), [k])

    assert got[0] == -(2**31)


def test_an_empty_store_writes_nothing():
    r = range_(0, variable("n", 0, 5))

    assert run(store(A, r, load(B, r)), [r], n=0).tolist() == [0] * N
    assert run(store(A, r, load(B, r)), [r], n=2).tolist() == [1, 2] + [0] * 10


def test_a_variable_needs_a_value_within_its_limits():
    r = range_(0, variable("n", 0, 5))

    with pytest.raises(InternalError, match=r"variable n needs a value in 0\.\.5, got \{'n': 6\}"):
        run(store(A, r, load(B, r)), [r], n=6)


def test_a_stage_is_one_tile_per_outer_point():
    i, j, t = range_(0, 3), range_(1, 4), range_(2, 4, Axis.LANE)
    tile = stage(3, load(B, i * 4 + t), const(3, dt.index) - t, [t], 4)

    got = run(store(A, i * 4 + j, load(tile, j)), [i, j])

    assert got.tolist() == ARRAY.reshape(3, 4)[:, ::-1].ravel().tolist()


def test_stores_to_the_same_memory_happen_in_order():
    r = range_(0, N)
    stores = (store(A, r, const(7, dt.int32)), store(A, r, load(B, r), combine=ops.ADD))

    assert np.array_equal(run(stores, [r]), ARRAY + 7)


def test_a_combining_store_adds_duplicates_in_loop_order():
    memory = param(0, dt.float64, (1,))
    i, j = range_(0, 2), range_(1, 2)
    values = param(1, dt.float64, (4,))
    add = store(memory, const(0, dt.index), load(values, i * 2 + j), combine=ops.ADD)
    data = np.array([2.0**53, 1.0, -(2.0**53), 1.0])

    rows, columns = ({0: np.zeros(1), 1: data} for _ in range(2))
    run_kernel(Kernel((add,), (i, j)), rows)
    run_kernel(Kernel((add,), (j, i)), columns)

    assert rows[0][0] == ((2.0**53 + 1.0) - 2.0**53) + 1.0
    assert columns[0][0] == ((2.0**53 - 2.0**53) + 1.0) + 1.0


def test_the_last_of_several_writes_in_a_loop_stays():
    r = range_(0, N)

    assert run(store(A, r // 4, load(B, r)), [r])[:3].tolist() == [4, 8, 12]


def test_in_place_updates_read_the_old_value():
    r = range_(0, N, Axis.GRID)

    got = run(store(A, r, load(A, r) * 2), [r], {0: ARRAY.copy()})

    assert np.array_equal(got, ARRAY * 2)


def test_a_loop_may_overwrite_what_it_has_already_read():
    r = range_(0, N - 1)

    got = run(store(A, r, load(A, r + 1)), [r], {0: ARRAY.copy()})

    assert got.tolist() == [*ARRAY[1:], N]


def test_bfloat16_values_are_rounded_when_computed():
    memory = param(0, dt.bfloat16, (2,))
    r = range_(0, 2)
    arrays = {0: np.array([1.0, 256.0], np.float32)}

    run_kernel(Kernel((store(memory, r, load(memory, r) + 1.0),), (r,)), arrays)

    assert arrays[0].tolist() == [2.0, 256.0]


def test_large_kernels_run_box_by_box():
    i, j = range_(0, 1000, Axis.GRID), range_(1, 1000)
    big, out = param(1, dt.int32, (1_000_000,)), param(0, dt.int32, (1000,))
    body = store(out, i, reduce(ops.ADD, load(big, i * 1000 + j), [j]))
    kernel = Kernel((body,), (i, j))
    data = np.arange(1_000_000, dtype=np.int32)
    arrays = {0: np.zeros(1000, np.int32), 1: data}

    run_kernel(kernel, arrays)

    assert len(boxes(Space(kernel, {}), body)) > 1
    assert np.array_equal(arrays[0], data.reshape(1000, 1000).sum(1, dtype=np.int32))


# --- faults ---------------------------------------------------------------------------------------


def test_an_access_out_of_bounds_is_named():
    r = range_(0, N + 1, Axis.LANE)

    message = r"load of argument 1 is out of bounds: element 12 of 12; at lane 0 = 12"
    with pytest.raises(KernelFault, match=message):
        run(store(A, r, load(B, r)), [])
    with pytest.raises(
        KernelFault, match=r"store of argument 0 is out of bounds: element -1 of 12"
    ):
        run(store(A, range_(0, 3) - 1, const(1, dt.int32)), [range_(0, 3)])


def test_reading_what_was_never_written_is_caught():
    r = range_(0, N)
    arrays = {0: Memory.undefined(N, dt.int32), 1: ARRAY}

    with pytest.raises(KernelFault, match=r"load of argument 0 reads an element that was never"):
        run(store(A, r, load(A, r)), [r], arrays)
    with pytest.raises(KernelFault, match=r"store combines with elements of argument 0 that were"):
        run(store(A, r, load(B, r), combine=ops.ADD), [r], arrays)


def test_reading_a_hole_of_a_stage_is_caught():
    r, t = range_(0, 4), range_(1, 2)
    tile = stage(3, load(B, t), t * 2, [t], 4)

    with pytest.raises(KernelFault, match=r"load of stage 3 reads an element .*at loop 0 = 1"):
        run(store(A, r, load(tile, r)), [r, t])


def test_an_access_outside_a_stage_is_caught():
    r, t = range_(0, 4), range_(1, 4)

    with pytest.raises(KernelFault, match=r"stage of stage 3 is out of bounds: element 4 of 4"):
        run(store(A, r, load(stage(3, load(B, t), t + 1, [t], 4), r)), [r, t])
    with pytest.raises(KernelFault, match=r"load of stage 3 is out of bounds: element 4 of 4"):
        run(store(A, r, load(stage(3, load(B, t), t, [t], 4), r + 1)), [r, t])


@pytest.mark.parametrize("axis", [Axis.GRID, Axis.WORKER, Axis.LANE])
def test_parallel_points_that_write_different_values_to_one_element_race(axis):
    r = range_(0, N, axis)
    order = [r] if axis is not Axis.LANE else []

    message = rf"race: element 0 of argument 0, by store at \({axis.value} 0 = 0\)"
    with pytest.raises(KernelFault, match=message):
        run(store(A, r // 2, load(B, r)), order)


def test_parallel_points_may_write_the_same_value():
    r = range_(0, N, Axis.GRID)

    assert run(store(A, r // 2, r.cast(dt.int32) // 2), [r])[:6].tolist() == list(range(6))


def test_parallel_points_may_not_combine_into_one_element():
    r = range_(0, N, Axis.GRID)

    with pytest.raises(KernelFault, match="race: element 0"):
        run(store(A, r // N, const(1, dt.int32), combine=ops.ADD), [r])


def test_points_agree_about_any_nan_and_not_about_zeros_of_two_signs():
    nans = np.array([0x7FC00000, 0xFFC00001], np.uint32).view(np.float32)
    at, who = np.zeros(2, np.int64), np.arange(2)

    assert disagreement(at, who, nans, dt.float32) is None
    assert disagreement(at, who, np.array([0.0, -0.0], np.float32), dt.float32) == 0


def test_parallel_points_that_fill_a_stage_differently_race():
    r, t = range_(0, 4), range_(1, 4, Axis.WORKER)
    tile = stage(3, load(B, t), t // 2, [t], 2)

    with pytest.raises(KernelFault, match="stage of stage 3 is filled differently by parallel"):
        run(store(A, r, load(tile, r // 2)), [r, t])


def test_a_read_of_what_another_point_writes_is_caught():
    grid, loop = range_(0, N - 1, Axis.GRID), range_(0, N - 1)
    message = r"read that may see a write: element 1 of argument 0, by load at"

    with pytest.raises(KernelFault, match=message):
        run(store(A, grid, load(A, grid + 1)), [grid])
    with pytest.raises(KernelFault, match=message):
        run(store(A, loop + 1, load(A, loop)), [loop])


def test_a_store_that_hits_what_a_later_store_reads_is_caught():
    r = range_(0, N)
    other = param(2, dt.int32, (N,))
    arrays = {0: ARRAY.copy(), 1: ARRAY, 2: np.zeros(N, np.int32)}
    first, second = store(A, r, load(B, r)), store(other, r, load(A, r))

    with pytest.raises(KernelFault, match="read that may see a write"):
        run((first, second), [r], arrays)
    run((second, first), [r], arrays)
    assert np.array_equal(arrays[2], ARRAY)


def test_stores_of_unrelated_parallel_points_to_one_memory_are_caught():
    g, h = range_(0, N, Axis.GRID), range_(1, N, Axis.GRID)
    zero = store(A, g, const(0, dt.int32))

    with pytest.raises(KernelFault, match="two stores in no order: element 0"):
        run((zero, store(A, h, load(B, h), combine=ops.ADD)), [g, h])


def test_stores_that_a_shared_loop_interleaves_are_caught():
    r = range_(0, N - 1)

    with pytest.raises(KernelFault, match="two stores in no order: element 1"):
        run((store(A, r, load(B, r)), store(A, r + 1, load(B, r) + 5)), [r])


# --- plans ----------------------------------------------------------------------------------------


def plan_of(kernel, outputs=(1,)):
    memory = (PlanMemory(Role.INPUT, 0, dt.int32, N), PlanMemory(Role.OUTPUT, 0, dt.int32, N))
    return Plan(memory, (Launch(kernel, (1, 0)),), outputs)


def test_a_plan_runs_its_launches_and_keeps_its_inputs():
    r = range_(0, N)
    given = ARRAY.copy()

    double, same = run_plan(plan_of(Kernel((store(A, r, load(B, r) * 2),), (r,)), (1, 0)), [given])

    assert np.array_equal(double, ARRAY * 2)
    assert np.array_equal(same, ARRAY)
    assert np.array_equal(given, ARRAY)


def test_an_output_that_is_not_written_is_caught():
    r = range_(0, N - 1)

    with pytest.raises(KernelFault, match="output 0: element 11 was never written"):
        run_plan(plan_of(Kernel((store(A, r, load(B, r)),), (r,))), [ARRAY])
