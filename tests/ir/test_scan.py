"""Loops over time in the tensor form: text, spec, and graphs for all rows at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle.check.generate import random_program
from inkle.check.reference import evaluate
from inkle.check.unroll import unrolled
from inkle.errors import SpecError
from inkle.ir import forms, ops, scan, tensor
from inkle.ir.batch import batched, can_batch
from inkle.ir.dtype import float32, float64
from inkle.ir.node import intern
from inkle.ir.scan import RING, Recurrence
from inkle.ir.spec import check_tensor
from inkle.ir.text import from_text, to_text

H, X = (tensor.param(slot, float32, (3,)) for slot in (0, 1))
SRC = (tensor.param(0, float32, (3,)), tensor.param(1, float32, (5, 3)))


def recurrence(**changes):
    return Recurrence(**{"following": (H * 0.5 + X,), "sliced": 1, "steps": 5} | changes)


def results(r):
    return [scan.carry(SRC, r, 0, RING), scan.history(SRC, r, 0), scan.stack(SRC, r, H * X)]


@pytest.mark.parametrize("is_reversed", [False, True])
def test_text_reads_back(is_reversed):
    found = results(recurrence(is_reversed=is_reversed))

    assert from_text(to_text(found)) == found
    check_tensor(found)


def test_a_scan_as_text():
    assert to_text(results(recurrence())[:1]) == (
        "%0 = param:float32[3] (0, (3,))\n"
        "%1 = param:float32[5, 3] (1, (5, 3))\n"
        "%2 = const:float32 0.5\n"
        "%3 = mul:float32[3] %0 %2\n"
        "%4 = param:float32[3] (1, (3,))\n"
        "%5 = add:float32[3] %3 %4\n"
        "%6 = scan:float32[2, 3] %0 %1 (((%5,), 1, 5, False), 0, 2)\n"
        "outputs %6\n"
    )


WRONG = {
    "another shape is carried on": lambda: scan.history(
        SRC, recurrence(following=(tensor.shrink(H, 0, 0, 2),)), 0
    ),
    "another number of rows": lambda: intern(
        forms.SCAN, float32, SRC, (recurrence(), 0, 3), (3, 3)
    ),
    "rows of an array of another length": lambda: scan.history(SRC, recurrence(steps=4), 0),
    "no such carry": lambda: intern(forms.SCAN, float32, SRC, (recurrence(), 1, 2), (2, 3)),
    "a step that reads what it does not get": lambda: scan.history(
        SRC, recurrence(following=(tensor.param(2, float32, (3,)),)), 0
    ),
    "a step that sees an array in another shape": lambda: scan.history(
        SRC, recurrence(following=(tensor.shrink(tensor.param(1, float32, (5, 3)), 0, 0, 1)
                                   .apply(ops.NEG),)), 0
    ),
    "a step with memory of its own": lambda: scan.history(
        SRC, recurrence(following=(H + tensor.buffer(float32, (3,)),)), 0
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_the_spec_refuses(name):
    with pytest.raises(SpecError):
        check_tensor([WRONG[name]()])


@given(st.integers(0, 100_000), st.data())
def test_a_graph_for_all_rows_does_what_it_does_for_each(seed, data):
    program = random_program(seed, size=6)
    outputs = unrolled(program.outputs)  # a loop is not one for all rows
    leaves = list(program.leaves)
    chosen = [leaf for leaf in leaves if data.draw(st.booleans())] or leaves[:1]
    n = 3
    arrays = dict(program.leaves)
    rows = {leaf: tensor.param(100 + leaf.arg[0], leaf.dtype, (n, *leaf.shape)) for leaf in chosen}
    assert can_batch(outputs, rows)
    done = batched(outputs, rows, n)
    new = [done[node] for node in outputs]
    check_tensor(new)
    stacked = {
        rows[leaf]: np.stack([np.roll(arrays[leaf], k) for k in range(n)]) for leaf in chosen
    }
    with np.errstate(all="ignore"):
        found = evaluate(new, {**arrays, **stacked})
        for k in range(n):
            one = {**arrays, **{leaf: stacked[rows[leaf]][k] for leaf in chosen}}
            expected = evaluate(outputs, one)
            for node, whole, want in zip(outputs, found, expected, strict=True):
                got = whole[k] if whole.ndim > len(node.shape) else whole
                np.testing.assert_allclose(got, want, rtol=1e-6)


def test_constants_stay_as_they_are():
    x = tensor.param(0, float64, (2,))
    row = tensor.param(1, float64, (4, 2))
    found = batched([x * 2.0 + tensor.full(1.0, float64, (2,))], {x: row}, 4)

    assert all(node.op is not forms.EXPAND or node.shape != (4,) for node in found.values())
