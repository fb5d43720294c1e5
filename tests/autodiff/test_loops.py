"""Gradients of random loops over time, against those of the same graph with all steps written."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from inkle.autodiff import gradient
from inkle.check import generate, loops, patterns
from inkle.check.generate import Generator
from inkle.check.reference import evaluate
from inkle.check.unroll import unrolled
from inkle.ir import dtype as dt
from inkle.ir import forms, ops, scan, tensor
from inkle.ir.node import elementwise, toposort
from inkle.ir.scan import Recurrence
from inkle.ir.spec import check_tensor

BATCH = 25
MOST_NODES = 3_000  # of a gradient that is differentiated again
MOST = 1e12  # where values are larger, their digits are no longer comparable


@pytest.fixture(autouse=True)
def smooth_programs(monkeypatch):
    """Programs of float64, mostly loops, on data without special values."""
    makers = [
        (each, weight * (5 if each is loops.loop else 1))
        for each, weight in patterns.MAKERS
        if each is not patterns.cast
    ]
    monkeypatch.setattr(generate, "MAKERS", tuple(makers))
    monkeypatch.setattr(generate, "DTYPES", (*[dt.float64] * 8, dt.int32, dt.bool_))
    monkeypatch.setattr(generate, "random_data", random_data)


def random_data(random, dtype, shape):
    rng = np.random.default_rng(random.getrandbits(64))
    if dtype.is_float:
        return generate.to_array(0.7 * rng.standard_normal(shape), dtype)
    return generate.to_array(rng.integers(0, 5, shape), dtype)


def nodes_of(roots, found):
    """Return the nodes below `roots`, those of steps among them."""
    for node in toposort(roots):
        if node not in found:
            found[node] = None
            if node.op is forms.SCAN:
                nodes_of(scan.step_of(node), found)
    return found


def random_loops(seed):
    """Return (outputs that depend on loops, leaves to differentiate by, data), or None."""
    workshop = Generator(seed)
    workshop.grow(8)
    outputs = [
        node
        for node in workshop.pool
        if node.dtype.is_float and any(each.op is forms.SCAN for each in toposort([node]))
    ][-2:]
    if any(n.dtype in (dt.float16, dt.bfloat16) for n in nodes_of(outputs, {})):
        return None
    wrt = [n for n in toposort(outputs) if n in workshop.leaves and n.dtype.is_float]
    return (outputs, wrt, workshop.leaves) if outputs and wrt else None


def seeds_of_gradients(outputs, leaves, first, random):
    found = [tensor.param(first + i, node.dtype, node.shape) for i, node in enumerate(outputs)]
    leaves.update({node: random_data(random, node.dtype, node.shape) for node in found})
    return found


def filled(parts, wrt):
    """Return gradients with zeros where there is none."""
    return [
        tensor.full(0, node.dtype, node.shape) if part is None else part
        for part, node in zip(parts, wrt, strict=True)
    ]


def check_close(mine, plain, leaves, tolerance):
    check_tensor(mine)
    with np.errstate(all="ignore"):
        pairs = [*zip(evaluate(mine, leaves), evaluate(plain, leaves), strict=True)]
    for a, b in pairs:
        largest = np.abs(b).max(initial=1.0)
        # Zero times infinity: a step that nobody looks at gives NaN in a loop alone.
        if np.isfinite(largest) and largest < MOST and not np.isnan(a).any():
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * largest)


def run(seed):
    made = random_loops(seed)
    if made is None:
        return False
    outputs, wrt, leaves = made
    random = Random(seed)
    plain = unrolled(outputs)
    is_single = any(node.dtype is dt.float32 for node in nodes_of(outputs, {}))
    tolerance = 1e-3 if is_single else 1e-9
    above = seeds_of_gradients(outputs, leaves, 900, random)

    first, expected = (filled(gradient(each, above, wrt), wrt) for each in (outputs, plain))

    check_close(first, expected, leaves, tolerance)
    if len(toposort(expected)) < MOST_NODES:
        again = seeds_of_gradients(first, leaves, 950, random)
        both = [*wrt, *above]
        second, expected = (filled(gradient(each, again, both), both) for each in (first, expected))
        check_close(second, expected, leaves, tolerance)
    return True


@pytest.mark.parametrize("first", range(0, 100, BATCH))
def test_gradients_of_loops_are_those_of_their_steps(first):
    assert sum(run(seed) for seed in range(first, first + BATCH)) > BATCH // 3


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", range(1000, 3000, 100))
def test_many_gradients_of_loops_are_those_of_their_steps(first):
    assert sum(run(seed) for seed in range(first, first + 100)) > 30


def test_what_no_result_depends_on_has_no_gradient():
    """Not a gradient of zeros: times the infinite derivative of log at 0, that would be NaN."""
    a, b = (tensor.param(slot, dt.float64, ()) for slot in range(2))
    step = Recurrence((a * 2.0, elementwise(ops.LOG, (a * b,))), 0, 3)
    last = scan.last_of(step, scan.carry((a, b), step, 0, 2))

    found = gradient([last], [tensor.full(1, dt.float64, ())], [a, b])

    values = evaluate(filled(found, [a, b]), {a: np.array(0.0), b: np.array(0.0)})
    assert [value.item() for value in values] == [8.0, 0.0]
