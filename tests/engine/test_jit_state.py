"""Traps of captured functions: what they change, and what failures leave behind."""

from __future__ import annotations

import threading
import types

import pytest

from inkle import Tensor, jit, manual_seed
from inkle.errors import MemoryFailure, MutationError, TraceError


def traces(function) -> int:
    return len(function.explain().splitlines())


@pytest.fixture
def x():
    return Tensor([1.0, 2.0])


def test_assignment_to_an_argument_happens_at_every_call(x):
    @jit
    def grow(x):
        x.assign(x * 2)

    grow(x)
    grow(x)

    assert x.tolist() == [4.0, 8.0]
    assert traces(grow) == 1


def test_assignment_to_parts_of_an_argument(x):
    @jit
    def put(x, value):
        x[1:] = value
        x[0] += 1
        return x.sum()

    assert put(x, Tensor([10.0])).item() == 12
    assert put(x, Tensor([20.0])).item() == 23
    assert x.tolist() == [3.0, 20.0]


def test_expression_made_before_the_call_keeps_its_values(x):
    grow = jit(lambda x: x.assign(x * 2))
    before = x + 1

    grow(x)

    assert before.tolist() == [2.0, 3.0]


def test_assignment_to_a_closed_over_tensor(x):
    total = Tensor([0.0, 0.0])

    @jit
    def add(x):
        total.assign(total + x)
        return total * 10

    assert [add(x).tolist() for _ in range(3)] == [[10, 20], [20, 40], [30, 60]]
    assert total.tolist() == [3.0, 6.0]
    assert traces(add) == 1


def test_state_that_is_read_and_written_is_no_constant():
    count = Tensor([0])

    @jit
    def step():
        count.assign(count + 1)
        return count * 1

    assert [step().item() for _ in range(4)] == [1, 2, 3, 4]
    count.assign(Tensor([10]))
    assert step().item() == 11


def test_two_tensors_swap_their_values():
    a, b = Tensor([1.0]), Tensor([2.0])

    @jit
    def swap():
        old = a * 1
        a.assign(b)
        b.assign(old)

    for _ in range(3):
        swap()

    assert (a.item(), b.item()) == (2.0, 1.0)


def test_state_that_had_not_been_computed_before_the_call(x):
    weight = x * 3 + 1

    @jit
    def move(x):
        weight.assign(weight + x)

    move(x)
    move(x)

    assert weight.tolist() == [6.0, 11.0]


def test_view_taken_inside_writes_to_its_base():
    cache = Tensor.zeros(3, 2)

    @jit
    def put(row, at):
        cache[at].assign(row)
        cache.T[1, at] = 9.0

    put(Tensor([1.0, 2.0]), 0)
    put(Tensor([3.0, 4.0]), 2)

    assert cache.tolist() == [[1.0, 9.0], [0.0, 0.0], [3.0, 9.0]]


def test_view_taken_outside_cannot_be_written_to_inside():
    cache = Tensor.zeros(3)
    view = cache[1:]

    @jit
    def put(view):
        view.assign(Tensor([1.0, 2.0]))

    with pytest.raises(TraceError, match=r"test_jit_state.py:\d+: .*taken outside of it, at test_"):
        put(view)
    view[0] = 5.0
    assert cache.tolist() == [0.0, 5.0, 0.0]


def test_view_taken_before_a_call_that_changes_its_base_is_stale():
    cache = Tensor.zeros(3).realize()
    view = cache[1:]
    jit(lambda: cache.assign(cache + 1))()

    with pytest.raises(MutationError, match="take the view again"):
        view.assign(0)
    assert cache.tolist() == [1.0, 1.0, 1.0]


def test_state_created_in_the_first_call(x):
    holder = types.SimpleNamespace(momentum=None)

    @jit
    def step(x):
        if holder.momentum is None:
            holder.momentum = x.zeros_like()
        holder.momentum.assign(holder.momentum * 0.5 + x)
        return holder.momentum + 0

    assert [step(x)[0].item() for _ in range(4)] == [1.0, 1.5, 1.75, 1.875]
    assert holder.momentum[0].item() == 1.875
    assert traces(step) == 2


def test_exception_while_tracing_leaves_all_state_as_it_was(x):
    weight = Tensor([1.0, 1.0], requires_grad=True)
    total = Tensor([0.0, 0.0])
    pending = x * 2
    manual_seed(11)
    want = Tensor.rand(1).item()
    manual_seed(11)
    fail = True

    @jit
    def step(x):
        total.assign(total + x)
        x.assign(x * 10)
        (weight * x * Tensor.rand(2)).sum().backward()
        weight.assign(weight - weight.grad)
        pending.assign(pending + 1)
        if fail:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        step(x)

    assert weight.grad is None
    assert weight.tolist() == [1.0, 1.0]
    assert total.tolist() == [0.0, 0.0]
    assert x.tolist() == [1.0, 2.0]
    assert pending.tolist() == [2.0, 4.0]
    assert Tensor.rand(1).item() == want
    fail = False
    step(x)
    assert x.tolist() == [10.0, 20.0]
    assert pending.tolist() == [3.0, 5.0]


def test_failure_while_running_leaves_all_state_as_it_was(x, monkeypatch):
    weight = Tensor([1.0, 1.0], requires_grad=True)

    @jit
    def step(x):
        (weight * x).sum().backward()
        weight.assign(weight - weight.grad)
        return weight * 2

    step(x)
    weight.grad = None
    before = weight.tolist()

    with monkeypatch.context() as patch:
        patch.setattr("inkle.runtime.cpu.memory.Allocator.allocate_all", _no_memory)
        with pytest.raises(MemoryFailure):
            step(x)

    assert weight.tolist() == before
    assert weight.grad is None
    assert step(x).tolist() == [2 * (b - g) for b, g in zip(before, [1.0, 2.0])]


def _no_memory(*_):
    raise MemoryFailure("none left")


def test_other_threads_do_not_see_a_trace_in_progress(x):
    weight = Tensor([1.0], requires_grad=True)
    seen: list[object] = []

    def look():
        seen.append((weight.tolist(), weight.grad, (weight * 2).item()))

    @jit
    def step():
        weight.sum().backward()
        weight.assign(weight + 1)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    step()

    assert seen == [([1.0], None, 2.0)]
    assert weight.tolist() == [2.0]


def test_deep_recursion_inside(x):
    def dive(x, n):
        return dive(x, n - 1) if n else x + 1

    @jit
    def run(x, n):
        return dive(x, n)

    with pytest.raises(RecursionError):
        run(x, 100_000)
    assert run(x, 50).tolist() == [2.0, 3.0]
