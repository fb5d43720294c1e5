"""Traps of captured functions: values that a function asks for while it is captured."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from inkle import Tensor, jit
from inkle.errors import TraceError


def traces(function) -> int:
    return len(function.explain().splitlines())


@pytest.fixture
def x():
    return Tensor([1.0])


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.item(),
        lambda x: bool(x > 0),
        lambda x: x.numpy(),
        lambda x: (x * 2).tolist(),
        lambda x: float(x.sum()),
        lambda x: range(x.int()),
        lambda x: np.asarray(x + 1),
        lambda x: 1 if x == 1 else 2,
        lambda x: f"{x:.2f}",
        lambda x: x.data(),
    ],
)
def test_value_that_depends_on_arguments_is_refused(x, look):
    asks = jit(lambda x: (look(x), x)[1])

    with pytest.raises(TraceError, match=r"test_jit_values.py:\d+: .*depends on its arguments"):
        asks(x)
    assert x.tolist() == [1.0]


def test_refusal_names_the_line_that_asks(x):
    @jit
    def asks(x):
        y = x + 1
        if y.sum() > 1:  # this line
            y = y * 2
        return y

    line = asks.__wrapped__.__code__.co_firstlineno + 3
    with pytest.raises(TraceError, match=rf"test_jit_values.py:{line}: "):
        asks(x)


def test_value_of_random_numbers_is_refused():
    with pytest.raises(TraceError, match="depends on its random numbers"):
        jit(lambda: Tensor.rand(1).item())()


def test_values_that_depend_on_no_argument_just_work(x):
    @jit
    def scale(x):
        table = Tensor([1.0, 2.0, 3.0])
        return x * table.sum().item() + float(Tensor.arange(3).max())

    assert scale(x).item() == 8.0
    assert scale(x + 1).item() == 14.0
    assert traces(scale) == 1


def test_value_of_a_closed_over_tensor_counts_until_it_changes(x):
    limit = Tensor([2.0])

    @jit
    def scale(x):
        return x * 10 if (limit * 2).item() > 3 else x

    assert scale(x).item() == 10.0
    assert scale(x + 1).item() == 20.0
    limit.assign(Tensor([1.0]))
    assert scale(x).item() == 1.0
    limit.assign(limit * 5)
    assert scale(x).item() == 10.0
    assert traces(scale) == 3
    assert "values that it has looked at" in scale.explain()


def test_value_of_an_expression_that_nobody_has_computed(x):
    limit = Tensor([1.0]) * 2
    scale = jit(lambda x: x * limit.item() + limit)

    assert scale(x).item() == 4.0
    assert scale(x).item() == 4.0
    assert traces(scale) == 1


def test_value_of_a_tensor_that_the_function_changes_is_refused(x):
    steps = Tensor([0])

    @jit
    def step(x):
        if steps.item() % 2:
            x = x * 2
        steps.assign(steps + 1)
        return x

    line = step.__wrapped__.__code__.co_firstlineno + 2
    with pytest.raises(TraceError, match=rf"test_jit_values.py:{line}: .*that it changes itself"):
        step(x)
    assert steps.item() == 0


def test_realize_inside_does_nothing_harmful(x):
    @jit
    def double(x):
        y = (x * 2).realize()
        return (y + 1).realize()

    assert double(x).item() == 3.0
    assert double(x + 1).item() == 5.0


def test_printing_inside_shows_that_it_is_being_captured(x, capsys):
    jit(lambda x: (print(x * 2), x)[1])(x)

    assert "<Tensor of (1,), dtype=float32, being captured>" in capsys.readouterr().out


def test_shapes_and_lengths_are_known_inside(x):
    @jit
    def flatten(x):
        n = len(x) * x.shape[1]
        return x.reshape(n) * x.ndim

    assert flatten(Tensor([[1.0, 2.0]])).tolist() == [2.0, 4.0]
    assert flatten(Tensor([[1.0], [2.0], [3.0]])).tolist() == [2.0, 4.0, 6.0]


def test_tensor_that_escapes_from_a_failed_trace_says_so(x):
    kept = []

    @jit
    def fail(x):
        kept.append(x * 2)
        raise KeyError("stop")

    with pytest.raises(KeyError):
        fail(x)
    with pytest.raises(TraceError, match=r"shape \(.*\) .* captured function, .* no value outside"):
        kept[0].item()
    with pytest.raises(TraceError, match=r"shape \(.*\) .* captured function, .* no value outside"):
        (kept[0] + x).item()
    assert (x + 1).item() == 2.0


def test_tensors_in_reference_cycles_do_not_count_as_stored_outside(x):
    @jit
    def cyclic(x):
        ring = [x + 1]
        ring.append(ring)
        return ring[0] * 2

    gc.collect()

    assert [cyclic(x).item() for _ in range(3)] == [4.0] * 3
    assert traces(cyclic) == 1
