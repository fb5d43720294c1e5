"""The fuzzer itself: its programs are sound and varied; it finds, shrinks and prints mistakes."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from inkle.check.fuzz import Program, failure, fuzz, minimise
from inkle.check.generate import random_program
from inkle.check.reference import evaluate
from inkle.check.show import to_python
from inkle.check.tolerance import bounded_values, mismatch
from inkle.ir import dtype as dt
from inkle.ir import forms, ops, tensor
from inkle.ir.node import rebuild, toposort, transform
from inkle.ir.spec import check_tensor
from inkle.ir.text import from_text, to_text


def right(outputs, leaves):
    return evaluate(outputs, leaves)


def with_op_replaced(old, new):
    """Return an executor that takes one operation for another."""

    def step(node, src):
        if node.op is old:
            return src[0].apply(new, *src[1:])
        return rebuild(node, src)

    def execute(outputs, leaves):
        done = transform(outputs, step)
        return evaluate([done[node] for node in outputs], leaves)

    return execute


def wrong_subtraction(outputs, leaves):
    return with_op_replaced(ops.SUB, ops.ADD)(outputs, leaves)


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_programs_are_sound_and_the_reference_agrees_with_itself(first):
    for seed in range(first, first + 20):
        program = random_program(seed)

        check_tensor(program.outputs)
        assert failure(program, right) is None
        assert [int(p.arg[0]) for p in program.leaves] == list(range(len(program.leaves)))


def test_programs_are_the_same_in_every_process_and_read_back_from_text():
    for seed in range(20):
        program, again = random_program(seed), random_program(seed)

        assert program.outputs == again.outputs
        assert from_text(to_text(program.outputs)) == list(program.outputs)
        for a, b in zip(program.arrays(), again.arrays(), strict=True):
            assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def test_programs_use_every_structural_operation_and_most_dtypes():
    seen = collections.Counter()
    dtypes = set()
    for seed in range(150):
        for node in toposort(random_program(seed).outputs):
            seen[node.op] += 1
            dtypes.add(node.dtype)

    structural = set(forms.TABLE.values()) - {
        forms.BUFFER, forms.VARIABLE, forms.COPY, forms.GRADIENT,
        forms.RANGE, forms.LOAD, forms.STORE, forms.STAGE, forms.DOT, forms.CARRY, forms.FOLD,
    }  # fmt: skip
    assert structural <= set(seen)
    assert len([op for op in seen if op.is_elementwise]) > 30
    assert len(dtypes) > 8


def test_a_wrong_operation_is_found_and_the_program_shrinks_to_it():
    found = fuzz(wrong_subtraction, range(100), "tests.check.test_fuzz:wrong_subtraction")

    assert len(found) == 1
    code = [line for line in found[0].splitlines() if line.startswith("x")]
    assert any(".sub(" in line for line in code)
    assert len(code) <= 4, found[0]


def test_printed_code_shows_the_failure_when_it_is_run(capsys):
    [report] = fuzz(wrong_subtraction, range(100), "tests.check.test_fuzz:wrong_subtraction")

    exec(report.split("\n\n", 1)[1], {})

    assert capsys.readouterr().out.strip() == report.split("\n", 1)[0].split(": ", 1)[1]


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_printed_code_builds_the_same_program(first):
    for seed in range(first, first + 20):
        program = random_program(seed)
        code = to_python(program, "inkle.check.reference:evaluate")
        scope = {}

        exec(code.rsplit("\n", 2)[0], scope)

        outputs = eval(code.splitlines()[-1].split("Program(")[1].split(", leaves")[0], scope)
        assert outputs == program.outputs
        for node, array in program.leaves.items():
            assert scope["leaves"][node].dtype == array.dtype
            assert np.array_equal(scope["leaves"][node], array, equal_nan=array.dtype.kind == "f")


def test_an_executor_that_raises_is_a_failure_with_its_place():
    def execute(outputs, leaves):
        raise RuntimeError("lost")

    assert "RuntimeError in execute" in failure(random_program(0), execute)


def test_an_executor_that_changes_its_inputs_is_caught():
    x = tensor.param(0, dt.int32, (2,))

    def execute(outputs, leaves):
        leaves[x][:] = 9
        return [np.zeros(2, np.int32)]

    program = Program((x * 0,), {x: np.ones(2, np.int32)})
    assert failure(program, execute) == "the data of argument 0 were changed"


def test_wrong_shapes_and_dtypes_are_failures():
    x = tensor.param(0, dt.int32, (2,))
    program = Program((x,), {x: np.ones(2, np.int32)})

    assert "shape (1, 2), not (2,)" in failure(program, lambda o, v: [np.ones((1, 2), np.int32)])
    assert "dtype int64, not int32" in failure(program, lambda o, v: [np.ones(2, np.int64)])
    assert failure(program, lambda o, v: []) == "0 results, not 1"


def test_minimise_keeps_what_fails():
    program = random_program(3, size=20)

    small = minimise(program, lambda p: any(n.op is forms.REDUCE for n in toposort(p.outputs)))

    if any(n.op is forms.REDUCE for n in toposort(program.outputs)):
        assert small.size() <= 2


# --- tolerance ------------------------------------------------------------------------------------


def bounded(node, *arrays):
    leaves = {tensor.param(i, dt.BY_NAME[a.dtype.name], a.shape): a for i, a in enumerate(arrays)}
    return bounded_values([node], leaves)[0]


X = tensor.param(0, dt.float32, (4,))
WHOLE = np.array([1, 2, 3, -4], np.float32)
BROKEN = np.array([0.1, 0.2, 1e6, -0.3], np.float32)


def test_sums_of_small_integers_and_rounded_arithmetic_are_exact():
    assert bounded(tensor.reduce(X * 3.0, ops.ADD, (0,)), WHOLE).is_exact
    assert bounded(X * 0.1 + 0.7, BROKEN).is_exact
    assert bounded((X / 3.0).sqrt(), np.abs(BROKEN)).is_exact


def test_other_sums_may_be_off_by_their_rounding():
    error = bounded(tensor.reduce(X, ops.ADD, (0,)), BROKEN).error

    assert 0.05 < error < 5


def test_errors_grow_through_what_follows_and_move_with_the_elements():
    y = tensor.pad(X.exp() * 1000.0, [(1, 0, 0)])
    error = bounded(y, WHOLE).error

    assert error[0] == 0
    assert 1e-4 < error[3] / 1000 / np.exp(3.0) * 1e3 < 1e-2


def test_discrete_values_that_depend_on_rounded_ones_are_not_certain():
    assert not np.isfinite(bounded(X.exp() < 2.0, WHOLE).error).any()
    assert bounded(X < 2.0, WHOLE).is_exact


def test_mismatch_names_the_first_place():
    want = bounded(X * 2.0, WHOLE)

    assert mismatch(WHOLE * 2, want, dt.float32) is None
    wrong = mismatch(WHOLE * np.float32(2) + [0, 0, 1, 0], want, dt.float32)
    assert wrong == "dtype float64, not float32"
    wrong = mismatch((WHOLE * 2 + [0, 0, 1, 0]).astype(np.float32), want, dt.float32)
    assert wrong.startswith("1 of 4 elements differ; at (2,) got np.float32(7.0), want")


def test_nan_and_infinity_must_be_where_they_are():
    want = bounded(X * 1.0, np.array([np.nan, np.inf, 1, -np.inf], np.float32))

    assert mismatch(want.value.copy(), want, dt.float32) is None
    assert mismatch(np.array([np.nan, np.nan, 1, -np.inf], np.float32), want, dt.float32)
    assert mismatch(np.array([0, np.inf, 1, -np.inf], np.float32), want, dt.float32)
    assert mismatch(np.array([np.nan, np.inf, 1, np.inf], np.float32), want, dt.float32)
