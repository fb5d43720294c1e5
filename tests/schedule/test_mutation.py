"""UPDATE, SCATTER and CAT: where they copy, where they write in place, and what they cost."""

from __future__ import annotations

import numpy as np

from inkle.ir import forms, ops, scan, tensor
from inkle.ir.dtype import float32, int32
from inkle.ir.node import Node
from inkle.ir.plan import Plan, Role
from inkle.ir.scan import RING, Recurrence
from inkle.schedule import schedule
from tests.schedule.networks import Leaves
from tests.schedule.running import check


def small(*nodes: Node) -> dict[Node, np.ndarray]:
    """Return small values for leaves; integer leaves hold numbers that may serve as indices."""
    rng = np.random.default_rng(0)
    return {
        node: rng.integers(-3, 4, node.shape).astype(np.int32)
        if node.dtype is int32
        else rng.integers(-4, 5, node.shape).astype(np.float32)
        for node in nodes
    }


def temporaries(plan: Plan) -> int:
    return sum(memory.role is Role.TEMPORARY for memory in plan.memory)


def test_a_chain_of_updates_copies_once() -> None:
    leaves = Leaves()
    x = base = leaves.new(50)
    values = [leaves.new(5) for _ in range(8)]
    for i, each in enumerate(values):
        x = tensor.update(x, each, ((i * 5, i * 5 + 5, 1),))

    plan = check([x], small(base, *values))

    assert len(plan.launches) == 9
    assert temporaries(plan) == 0


def test_a_reader_of_an_older_version_runs_before_the_writer() -> None:
    leaves = Leaves()
    base, a, b = leaves.new(20), leaves.new(5), leaves.new(5)
    first = tensor.update(base * 2.0, a, ((0, 5, 1),))
    total = tensor.reduce(first, ops.ADD, (0,))
    second = tensor.update(first, b, ((3, 8, 1),))

    plan = check([second, total], small(base, a, b))

    assert temporaries(plan) == 0


def test_an_older_version_that_is_wanted_later_is_copied() -> None:
    leaves = Leaves()
    base, a = leaves.new(20), leaves.new(5)
    first = tensor.update(base, a, ((0, 5, 1),))
    second = tensor.update(first, a * 2.0, ((3, 8, 1),))

    check([first, second, first * second], small(base, a))


def test_an_update_that_reads_its_base_elsewhere_copies() -> None:
    base = Leaves().new(20)
    doubled = tensor.update(base * 1.0, base, ((0, 20, 1),))
    moved = tensor.update(doubled, tensor.shrink(doubled, 0, 0, 10), ((5, 15, 1),))

    check([moved], small(base))


def test_an_update_with_its_own_reversal_is_right() -> None:
    base, a = tensor.param(0, float32, (12,)), tensor.param(1, float32, (4,))
    first = tensor.update(base, a, ((2, 10, 2),))
    second = tensor.update(first, tensor.flip(first, (0,)), ((0, 12, 1),))
    third = tensor.update(first, tensor.shrink(tensor.flip(first, (0,)), 0, 0, 6), ((6, 12, 1),))

    check([second, third], small(base, a))


def test_an_update_of_a_computed_base_is_computed_in_place() -> None:
    leaves = Leaves()
    x, a = leaves.new(1000), leaves.new(10)

    plan = check([tensor.update(x.exp(), a, ((0, 10, 1),))], small(x, a))

    assert len(plan.launches) == 2
    assert temporaries(plan) == 0


def test_the_beginning_of_a_larger_array_is_copied() -> None:
    """Its memory is too small for the whole of the array, which would be computed into it."""
    leaves = Leaves()
    x, row = leaves.new(5, 4), leaves.new(1, 4)
    base = tensor.shrink(tensor.contiguous(x * 2.0), 0, 0, 3)
    updated = tensor.update(base, row, ((0, 1, 1), (0, 4, 1)))

    check([updated], small(x, row))


def test_the_first_row_of_a_loop_over_time_is_copied() -> None:
    s = tensor.param(0, float32, (4,))
    ring = scan.carry((s,), Recurrence((s * 2.0,), 0, 2), 0, RING)
    last = scan.last_of(ring.arg[0], ring)
    value = tensor.param(1, float32, (1,))

    check([tensor.update(last, value, ((1, 2, 1),))], small(s, value))


def test_scatter_into_zeros_fills_once() -> None:
    leaves = Leaves()
    values, ids = leaves.new(12, 5), leaves.new(12, dtype=int32)
    index = tensor.expand(tensor.reshape(ids, (12, 1)), (12, 5))
    table = tensor.scatter(tensor.full(0.0, float32, (4, 5)), values, [index], (-1, 1), ops.ADD)

    plan = check([table], small(values, ids))

    assert len(plan.launches) == 2


def test_axes_that_write_distinct_elements_are_outside_those_that_may_collide() -> None:
    leaves = Leaves()
    values, ids = leaves.new(12, 5), leaves.new(12, dtype=int32)
    index = tensor.expand(tensor.reshape(ids, (12, 1)), (12, 5))
    table = tensor.scatter(tensor.full(0.0, float32, (4, 5)), values, [index], (-1, 1), ops.ADD)

    kernel = schedule([table]).launches[-1].kernel

    assert [int(r.src[0].arg) for r in kernel.order] == [5, 12]


def test_scatter_of_one_value_per_row_is_a_comparison() -> None:
    leaves = Leaves()
    base, values, ids = leaves.new(9, 7), leaves.new(9, 1), leaves.new(9, dtype=int32)
    index = tensor.reshape(ids, (9, 1))
    outputs = [tensor.scatter(base, values, [index], (0, -1), op) for op in (ops.ADD, None)]

    plan = check(outputs, small(base, values, ids))

    assert all(s.arg is None for launch in plan.launches for s in launch.kernel.stores)
    assert len(plan.launches) == 1


def test_the_last_of_equal_indices_wins() -> None:
    leaves = Leaves()
    base, values, ids = leaves.new(4), leaves.new(12), leaves.new(12, dtype=int32)

    check([tensor.scatter(base, values, [ids], (-1,), None)], small(base, values, ids))


def test_repeated_values_are_combined_as_often() -> None:
    """No index depends on the last axis: every value counts three times."""
    leaves = Leaves()
    base, values, ids = leaves.new(4), leaves.new(6), leaves.new(6, dtype=int32)
    wide = tensor.expand(tensor.reshape(values, (6, 1)), (6, 3))
    index = tensor.expand(tensor.reshape(ids, (6, 1)), (6, 3))
    outputs = [tensor.scatter(base, wide, [index], (-1,), op) for op in (ops.ADD, ops.MUL, None)]

    check(outputs, small(base, values, ids))


def test_indices_outside_are_dropped_and_negative_ones_wrap_once() -> None:
    base, values = tensor.param(0, float32, (4,)), tensor.param(1, float32, (6,))
    ids = tensor.param(2, int32, (6,))
    arrays = {
        base: np.arange(4, dtype=np.float32),
        values: np.ones(6, np.float32),
        ids: np.array([0, -1, 4, -5, 3, -4], np.int32),
    }

    check([tensor.scatter(base, values, [ids], (-1,), ops.ADD)], arrays)
    check([tensor.gather(base, [ids], (-1,))], arrays)


def test_parts_of_a_stored_cat_go_where_they_belong() -> None:
    leaves = Leaves()
    parts = [leaves.new(8, n) for n in (3, 5, 3, 7)]

    plan = check([tensor.cat([part * 2.0 for part in parts], 1)], small(*parts))

    assert temporaries(plan) == 0
    assert sum(len(launch.kernel.stores) for launch in plan.launches) == 4


def test_a_slice_of_a_cat_reads_one_part() -> None:
    leaves = Leaves()
    a, b = leaves.new(8), leaves.new(8)
    joined = tensor.cat([a * 2.0, b * 3.0], 0)

    plan = check([tensor.shrink(joined, 0, 9, 14)], small(a, b))

    loads = [n for n in plan.launches[0].kernel.nodes() if n.op is forms.LOAD]
    assert len(plan.launches) == len(loads) == 1
