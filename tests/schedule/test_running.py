"""Running combinations: one kernel, or two where there are few rows; right for every machine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inkle.check.plans import run_plan
from inkle.check.reference import evaluate
from inkle.engine import pipeline
from inkle.ir import ops, tensor
from inkle.ir.dtype import float16, float32, int32
from inkle.ir.plan import kernel_calls
from inkle.kernel.machine import Machine
from inkle.schedule import Facts, schedule
from tests.schedule.running import FACTS, check

OPS = (ops.ADD, ops.MUL, ops.MAXIMUM, ops.MINIMUM, ops.XOR)
SHAPES = (((1,), 0), ((7,), 0), ((40,), 0), ((3, 50), 1), ((50, 3), 0), ((4, 5, 6), 1))
LONG = (((240,), 0), ((241,), 0), ((2, 240), 1), ((2, 251), 1), ((240, 2), 0), ((3, 240, 2), 1))
SHORT_CHUNKS = Facts(chunk=16, chunks=8)


def data(shape, dtype):
    low, high = (1, 3) if dtype is int32 else (-3, 4)
    return np.random.default_rng(0).integers(low, high, shape).astype(dtype.name)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("op", OPS)
def test_every_combination_along_every_axis(op, shape, axis):
    x = tensor.param(0, int32, shape)
    for facts in FACTS:
        check([tensor.prefix(x, op, axis)], {x: data(shape, int32)}, facts)


@pytest.mark.parametrize(("shape", "axis"), LONG)
@pytest.mark.parametrize("op", OPS[:3])
def test_few_long_rows_run_chunk_by_chunk(op, shape, axis):
    x = tensor.param(0, float32, shape)
    values = np.abs(data(shape, float32)) / 2 if op is ops.MUL else data(shape, float32)
    plan = check([tensor.prefix(x, op, axis)], {x: values}, SHORT_CHUNKS)

    assert 2 <= len(plan.launches) <= 3


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(
    ("shape", "axis"), [*SHAPES[1:], ((33, 70), 0), ((70, 33), 1), ((4, 64, 64), 2)]
)
def test_lowered_for_a_machine(vector_bytes, threads, shape, axis):
    x, y = tensor.param(0, float32, shape), tensor.param(1, float16, shape)
    outputs = [tensor.prefix(x * 2.0, ops.ADD, axis) + 1.0, tensor.prefix(y, ops.MAXIMUM, axis)]
    machine = Machine(vector_bytes=vector_bytes, threads=threads, masks=vector_bytes == 64)
    plan = schedule(outputs)
    launches = [replace(e, kernel=pipeline.lower(e.kernel, machine)) for e in plan.launches]
    arrays = {x: data(shape, float32), y: data(shape, float16)}
    found = run_plan(replace(plan, launches=tuple(launches)), list(arrays.values()))

    for got, want in zip(found, evaluate(outputs, arrays), strict=True):
        np.testing.assert_array_equal(got.reshape(shape), want)


def test_lanes_along_the_outer_of_two_ranges_are_none():
    x = tensor.param(0, float32, (7, 16))
    spread = tensor.pad(x, ((0, 0, 0), (0, 2, 2)))
    plan = schedule([tensor.prefix(spread, ops.ADD, 1)])
    launches = [replace(e, kernel=pipeline.lower(e.kernel, Machine())) for e in plan.launches]
    values = data((7, 16), float32)
    [found] = run_plan(replace(plan, launches=tuple(launches)), [values])

    [want] = evaluate([tensor.prefix(spread, ops.ADD, 1)], {x: values})
    np.testing.assert_array_equal(found.reshape(want.shape), want)


def test_loops_nest_as_the_combination_runs_over_them():
    """A reduction inside depends on the second of two loops along the axis, not on the first."""
    first, x = tensor.param(0, int32, (5,)), tensor.param(1, float32, (1, 4))
    row = tensor.param(2, float32, (16, 1))
    wide = tensor.reshape(tensor.expand(x, (20, 4)), (16, 5))
    spread = tensor.expand(tensor.reshape(tensor.permute(wide, (1, 0)), (1, 5, 16)), (16, 5, 16))
    both = tensor.cat([tensor.reduce(spread, ops.ADD, (2,)), row], 1)
    flat = tensor.reshape(tensor.shrink(tensor.reshape(both, (96,)), 0, 8, 71), (3, 21))
    rows = tensor.shrink(flat.cast(int32), 1, 0, 5)
    output = tensor.prefix(tensor.cat([tensor.reshape(first, (1, 5)), rows], 0), ops.MUL, 0)
    plan = schedule([output])
    launches = [replace(e, kernel=pipeline.lower(e.kernel, Machine())) for e in plan.launches]
    arrays = {node: data(node.shape, node.dtype) for node in (first, x, row)}
    found = run_plan(replace(plan, launches=tuple(launches)), list(arrays.values()))

    np.testing.assert_array_equal(found[0].reshape(4, 5), evaluate([output], arrays)[0])


def kernels(build, shape=(64, 4096), dtype=float32):
    plan = schedule([build(tensor.param(0, dtype, shape))])
    return len([*kernel_calls(plan.launches)])


def test_what_comes_before_and_after_is_in_the_same_kernel():
    assert kernels(lambda x: tensor.prefix(x.exp() * 2.0, ops.ADD, 1).log() + 1.0) == 1
    assert kernels(lambda x: tensor.prefix(tensor.prefix(x, ops.MAXIMUM, 1), ops.ADD, 1)) == 1
    assert kernels(lambda x: tensor.prefix(x, ops.ADD, 1) * tensor.prefix(x, ops.MAXIMUM, 1)) == 1
    assert kernels(lambda x: tensor.prefix(x, ops.ADD, 0)) == 1


def test_what_reads_it_elsewhere_reads_memory():
    assert kernels(lambda x: tensor.flip(tensor.prefix(x, ops.ADD, 1), (1,))) == 2
    assert kernels(lambda x: tensor.prefix(tensor.prefix(x, ops.ADD, 1), ops.ADD, 0)) == 2


def test_sixteen_million_elements_take_two_kernels():
    assert kernels(lambda x: tensor.prefix(x, ops.ADD, 0), (1 << 24,)) == 2
