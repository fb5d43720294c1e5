"""Loops over time written out: the same values, and no loop left."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.check.generate import random_program
from inkle.check.reference import evaluate
from inkle.check.unroll import unrolled
from inkle.ir import forms, scan, tensor
from inkle.ir.dtype import float64
from inkle.ir.node import toposort
from inkle.ir.scan import Recurrence
from inkle.ir.spec import check_tensor


@pytest.mark.parametrize("first", range(0, 120, 40))
def test_random_programs_keep_their_values(first):
    for seed in range(first, first + 40):
        program = random_program(seed)
        plain = unrolled(program.outputs)

        check_tensor(plain)
        assert not any(node.op is forms.SCAN for node in toposort(plain))
        before, after = (evaluate(each, program.leaves) for each in (program.outputs, plain))
        for a, b in zip(before, after, strict=True):
            assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


@pytest.mark.parametrize("is_reversed", [False, True])
def test_every_result_of_a_loop(is_reversed):
    s, x, w = (tensor.param(slot, float64, ()) for slot in range(3))
    step = Recurrence((s * w + x,), 1, 3, is_reversed)
    src = s, tensor.param(1, float64, (3,)), w
    rows = np.array([1.0, 2.0, 3.0])
    leaves = {src[0]: np.array(1.0), src[1]: rows, src[2]: np.array(0.5)}

    plain = unrolled([scan.carry(src, step, 0, 2), scan.history(src, step, 0),
                      scan.stack(src, step, s + x)])  # fmt: skip

    found, state = [1.0], 1.0
    for row in rows[::-1] if is_reversed else rows:
        state = state * 0.5 + row
        found.append(state)
    seen = np.array(found[:3])[:: -1 if is_reversed else 1] + rows
    pair = [found[2], found[3]]  # rows of a ring: counted from the front, or from the end
    ring, history, stack = evaluate(plain, leaves)
    assert history.tolist() == (found[::-1] if is_reversed else found)
    assert stack.tolist() == seen.tolist()
    assert ring[step.last_row(2)] == pair[1]
    assert sorted(ring.tolist()) == sorted(pair)
