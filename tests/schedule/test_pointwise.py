"""Loops over time that one kernel runs: which they are, what they cost, right for every machine."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from inkle.autodiff import gradient
from inkle.check.plans import run_plan
from inkle.check.reference import evaluate
from inkle.engine import pipeline
from inkle.ir import ops, scan, tensor
from inkle.ir.dtype import bool_, float16, float32, int32
from inkle.ir.loop import Axis, Kernel, axis_of, extent
from inkle.ir.plan import Launch, Repeat
from inkle.ir.scan import RING, Recurrence
from inkle.ir.text import from_text, to_text
from inkle.kernel.machine import Machine
from inkle.schedule import schedule
from tests.schedule.running import FACTS, check

SHAPES = ((), (1,), (7,), (3, 5), (2, 1, 70))


def data(nodes):
    rng = np.random.default_rng(1)
    return {n: rng.integers(-3, 4, n.shape).astype(n.dtype.name) for n in nodes}


def linear(steps, shape, *, is_reversed=False, dtype=float32):
    """Return sources and recurrence of s' = a * s + x."""
    s, a, x = (tensor.param(i, dtype, shape) for i in range(3))
    src = [tensor.param(i, dtype, (steps, *shape)[not i :]) for i in range(3)]
    return src, Recurrence((a * s + x,), 2, steps, is_reversed)


def paired(steps, shape, *, is_reversed=False):
    """Return sources and recurrence of a maximum, where it was found, and a toggle."""
    top, at, odd, x, bias = (
        tensor.param(i, dtype, shape) for i, dtype in enumerate((int32, int32, bool_, int32, int32))
    )
    x = x + bias
    better = top < x
    new = (better.where(x, top), better.where(at + 1, at), odd ^ better)
    src = [tensor.param(i, n.dtype, shape) for i, n in enumerate((top, at, odd, x, bias))]
    src[3] = tensor.param(3, int32, (steps, *shape))
    return src, Recurrence(new, 1, steps, is_reversed)


def results(src, r):
    """Return all kinds of results of each value carried, by name."""
    found = {}
    for i, new in enumerate(r.following):
        found |= {
            f"last {i}": scan.last_of(r, scan.carry(src, r, i, RING)),
            f"after {i}": scan.after(r, scan.history(src, r, i)),
            f"before {i}": scan.before(r, scan.history(src, r, i)),
            f"history {i}": scan.history(src, r, i),
            f"inside {i}": scan.stack(src, r, new.src[0]),
        }
    return found


@pytest.mark.parametrize("make", [linear, paired])
@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_results_together_and_alone(make, is_reversed, steps):
    src, r = make(steps, (3, 5), is_reversed=is_reversed)
    nodes = results(src, r)
    arrays = data(src)
    for wanted in [[each] for each in nodes.values()] + [list(nodes.values())]:
        for facts in FACTS:
            plan = check(wanted, arrays, facts)
            assert not any(isinstance(each, Repeat) for each in plan.launches)


@pytest.mark.parametrize("kind", ["last", "after", "before", "inside"])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_one_kernel(kind, is_reversed):
    for make in (linear, paired):
        src, r = make(100, (3, 5), is_reversed=is_reversed)
        wanted = [node for name, node in results(src, r).items() if name.startswith(kind)]
        assert len(schedule(wanted).launches) == 1


def test_what_comes_before_the_loop_is_in_its_kernel():
    src, r = linear(100, (3, 5))
    src = [src[0] * 2.0, tensor.flip(src[1], [0]) + 1.0, src[2]]
    [launch] = schedule([scan.stack(src, r, r.following[0])]).launches

    assert len(launch.memory) == 4


@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_gradient_is_one_kernel(is_reversed):
    src, r = linear(100, (3, 5), is_reversed=is_reversed)
    ys = scan.after(r, scan.history(src, r, 0))
    forward = schedule([ys])
    g = tensor.param(3, float32, ys.shape)
    both = schedule([ys, *gradient([ys], [g], src)])

    assert (len(forward.launches), len(both.launches)) == (1, 2)
    check([ys, *gradient([ys], [g], src)], data([*src, g]))


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_fold_keeps_no_rows(is_reversed):
    src, r = linear(100, (3, 5), is_reversed=is_reversed)
    plan = schedule([scan.last_of(r, scan.carry(src, r, 0, RING))])

    assert [m.size for m in plan.memory] == [15, 1500, 1500, 15]


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("shape", [*SHAPES, (33, 70)], ids=str)
def test_lowered_for_a_machine(vector_bytes, threads, shape):
    machine = Machine(vector_bytes=vector_bytes, threads=threads, masks=vector_bytes == 64)
    for src, r in (linear(6, shape), paired(6, shape, is_reversed=True),
                   linear(6, shape, dtype=float16)):  # fmt: skip
        nodes = list(results(src, r).values())
        plan = schedule(nodes)
        launches = [replace(e, kernel=pipeline.lower(e.kernel, machine)) for e in plan.launches]
        arrays = data(src)
        found = run_plan(replace(plan, launches=tuple(launches)), list(arrays.values()))
        for got, want in zip(found, evaluate(nodes, arrays), strict=True):
            np.testing.assert_array_equal(got.reshape(want.shape), want)


def chained(count):
    """Return sources and recurrence of values carried that each take in the one before."""
    leaves = [tensor.param(i, float32, (32, 512)) for i in range(count + 1)]
    new = [a * 0.5 + b for a, b in itertools.pairwise(leaves)]
    src = [tensor.param(i, float32, (32, 512)) for i in range(count)]
    return [*src, tensor.param(count, float32, (9, 32, 512))], Recurrence(tuple(new), 1, 9)


@pytest.mark.parametrize(("carries", "vectors"), [(1, 16), (2, 16), (6, 4), (16, 2)])
def test_vectors_that_are_carried_fit_in_registers(carries, vectors):
    src, r = chained(carries)
    kernel = pipeline.lower(kernel_of([scan.stack(src, r, r.following[0])]), Machine(64, 32, 1))
    copies = [extent(each) for each in kernel.ranges() if axis_of(each) is Axis.UNROLL]

    assert copies == [vectors]


def kernel_of(nodes) -> Kernel:
    [launch] = schedule(nodes).launches
    assert isinstance(launch, Launch)
    return launch.kernel


def test_a_kernel_is_text_and_back():
    src, r = paired(100, (3, 5))
    kernel = kernel_of([scan.stack(src, r, r.following[1]), scan.stack(src, r, r.following[2])])

    assert from_text(to_text(kernel)) == kernel


def test_elements_that_differ_are_carried_by_each_alone():
    """A scalar counter beside an array: the array's kernel counts, too; one that sums does not."""
    n, s, x = (tensor.param(i, float32, shape) for i, shape in enumerate(((), (7,), (7,))))
    count = n + 1.0
    mean = s + (x - s) / tensor.expand(tensor.reshape(count, (1,)), (7,))
    src = [tensor.param(i, float32, shape) for i, shape in enumerate(((), (7,), (50, 7)))]
    r = Recurrence((count, mean), 1, 50)
    plan = check([scan.last_of(r, scan.carry(src, r, 1, RING))], data(src))
    assert len(plan.launches) == 1

    total = s * 0.5 + tensor.expand(tensor.reshape(tensor.reduce(s, ops.ADD, (0,)), (1,)), (7,))
    r = Recurrence((count, total + x), 1, 50)
    arrays = {node: 0 * array for node, array in data(src).items()}
    plan = check([scan.last_of(r, scan.carry(src, r, 1, RING))], arrays)
    assert any(isinstance(each, Repeat) for each in plan.launches)


def test_a_state_that_is_shifted_is_launched_step_by_step():
    s, x = (tensor.param(i, float32, (6,)) for i in range(2))
    moved = tensor.cat([tensor.shrink(s, 0, 1, 6), tensor.shrink(s, 0, 0, 1)], 0)
    r = Recurrence((moved + x,), 1, 9)
    src = [tensor.param(0, float32, (6,)), tensor.param(1, float32, (9, 6))]
    plan = check([scan.last_of(r, scan.carry(src, r, 0, RING))], data(src))

    assert any(isinstance(each, Repeat) for each in plan.launches)


@pytest.mark.parametrize(("shape", "is_repeated"), [((3, 5), False), ((3, 500), True)])
def test_sums_of_the_state_follow_the_loop_if_they_keep_little(shape, is_repeated):
    src, r = linear(4, shape)
    y = tensor.reduce(r.following[0] * tensor.param(2, float32, shape), ops.ADD, (1,))
    sums = scan.stack(src, r, y)
    plan = check([sums], data(src))
    both = check([sums, scan.after(r, scan.history(src, r, 0))], data(src))

    assert any(isinstance(each, Repeat) for each in plan.launches) == is_repeated
    assert not any(isinstance(each, Repeat) for each in both.launches)


def test_a_loop_inside_the_step_of_another():
    src, r = linear(5, (3,))
    inside = [tensor.param(i, float32, each.shape) for i, each in enumerate(src)]
    outer = Recurrence((scan.last_of(r, scan.carry(inside, r, 0, RING)),), 1, 4)
    rows = tensor.param(1, float32, (4, 5, 3))
    node = scan.last_of(outer, scan.carry([src[0], rows, src[2]], outer, 0, RING))
    plan = check([node], data([src[0], rows, src[2]]))

    [repeat] = [each for each in plan.launches if isinstance(each, Repeat)]
    assert len(repeat.launches) == 1


def test_a_step_need_not_use_what_it_sees():
    s, x = (tensor.param(i, float32, (3,)) for i in range(2))
    src = [tensor.param(0, float32, (3,)), tensor.param(1, float32, (4, 3))]
    for new in (x, s, tensor.full(2.0, float32, (3,)), x * 2.0):
        r = Recurrence((new,), 1, 4)
        last = scan.last_of(r, scan.carry(src, r, 0, RING))
        check([scan.history(src, r, 0), last, scan.stack(src, r, s + new)], data(src))
        check([last], data(src))
