"""Library functions as launches: on whole arrays, in their turn, with their errors."""

from __future__ import annotations

import numpy as np
import pytest

import inkle
from inkle import Context, Tensor
from inkle.check import library
from inkle.check.interpreter import run_kernel
from inkle.check.plans import run_plan
from inkle.check.points import KernelFault, Memory
from inkle.check.reference import evaluate
from inkle.engine.realize import realize
from inkle.engine.storage import from_array, to_array
from inkle.errors import ShapeError
from inkle.ir import host, tensor
from inkle.ir.dtype import float32, uint64
from inkle.ir.node import Node
from inkle.ir.plan import Launch
from inkle.ir.size import variable
from inkle.ir.text import from_text, to_text
from inkle.schedule import schedule, side_by_side

RNG = np.random.default_rng(0)


def sorted_rows(x: Node) -> Node:
    return host.call("sort", [x], (), x.shape, x.dtype)


def test_a_call_is_a_launch_between_others() -> None:
    x = tensor.param(0, uint64, (4, 50))
    y = sorted_rows(tensor.permute(x, (1, 0)) * 2) + 1  # its source is computed, and turned
    array = RNG.integers(0, 1000, (4, 50)).astype(np.uint64)

    plan = schedule([y])

    assert [launch.kernel.stores[0].src[2].op.name for launch in plan.launches].count("host") == 1
    [found] = run_plan(plan, [array])
    np.testing.assert_array_equal(found.reshape(50, 4), np.sort(array.T * 2, -1) + 1)
    np.testing.assert_array_equal(evaluate([y], {x: array})[0], np.sort(array.T * 2, -1) + 1)


def test_calls_run_natively_and_their_graphs_have_a_text() -> None:
    array = RNG.integers(0, 1000, (3, 70)).astype(np.uint64)
    leaf = from_array(array)
    y = sorted_rows(leaf + 5)

    [done] = realize([y])

    np.testing.assert_array_equal(to_array(done), np.sort(array + 5, -1))
    graph = [sorted_rows(tensor.param(0, uint64, (3, 70)))]
    assert from_text(to_text(graph)) == graph


def test_a_call_is_not_side_by_side_with_kernels() -> None:
    x, y = tensor.param(0, uint64, (64,)), tensor.param(1, uint64, (64,))

    plan = side_by_side(schedule([sorted_rows(x), y * 3, y + 7]))

    groups = [[launch for launch in group if isinstance(launch, Launch)] for group in plan.groups()]
    [alone] = [g for g in groups if any(host.call_in(each.kernel) is not None for each in g)]
    assert len(alone) == 1


def test_equal_calls_are_one() -> None:
    x = tensor.param(0, uint64, (64,))
    assert sorted_rows(x) is sorted_rows(x)
    assert len(schedule([sorted_rows(x) + 1, sorted_rows(x) + 2]).launches) == 2


def test_what_it_raises_is_raised_where_it_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(x: np.ndarray) -> list[np.ndarray]:
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setitem(library.FUNCTIONS, "fail", fail)
    x = from_array(np.ones((2, 2), np.float32))

    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        realize([host.call("fail", [x], (), (2, 2), float32)])
    [after] = realize([x + 1.0])  # and nothing is left of it
    np.testing.assert_array_equal(to_array(after), np.full((2, 2), 2.0, np.float32))


def test_arguments_and_several_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(library.FUNCTIONS, "halves", lambda x, at, by: [x[:at] * by, x[at:] * by])
    array = np.arange(6, dtype=np.float32)
    parts = [
        host.call("halves", [from_array(array)], (2, 0.5), (n,), float32, result=i)
        for i, n in enumerate((2, 4))
    ]

    first, second = realize(parts)

    np.testing.assert_array_equal(to_array(first), array[:2] * 0.5)
    np.testing.assert_array_equal(to_array(second), array[2:] * 0.5)


def test_a_source_that_was_never_written_is_a_fault() -> None:
    kernel = host.kernel_of(sorted_rows(tensor.param(0, uint64, (4,))))
    source = Memory.undefined(4, uint64)
    with pytest.raises(KernelFault, match="not all written"):
        run_kernel(kernel, {0: np.zeros(4, np.uint64), 1: source})


def test_sizes_have_to_be_known() -> None:
    size = inkle.Variable("n", 1, 64)
    x = Tensor(np.zeros(64, np.float32))

    step = inkle.jit(lambda x: x.sort()[0], sizes={"x": {0: size}})

    for n in (40, 50):  # a number is asked for, and each is traced
        array = RNG.normal(size=n).astype(np.float32)
        np.testing.assert_array_equal(step(Tensor(array)).numpy(), np.sort(array))
    assert x.shape == (64,)


def test_symbolic_shapes_are_refused() -> None:

    with pytest.raises(ShapeError, match="known sizes"):
        sorted_rows(tensor.param(0, uint64, (variable("n", 1, 8),)))


def test_calls_inside_of_loops_over_time() -> None:
    xs = RNG.normal(size=(5, 40)).astype(np.float32)

    def step(state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        new = (state + x).sort()[0]
        return new, new.sum()

    last, _ = inkle.scan(step, Tensor(np.zeros(40, np.float32)), Tensor(xs))

    want = np.zeros(40, np.float32)
    for x in xs:
        want = np.sort(want + x)
    np.testing.assert_allclose(last.numpy(), want, rtol=1e-6)


def test_a_captured_step_sorts_and_gives_gradients() -> None:
    torch = pytest.importorskip("torch")
    array = RNG.normal(size=(4, 100)).astype(np.float32)
    weights = RNG.normal(size=(4, 100)).astype(np.float32)
    mine = Tensor(weights)
    step = inkle.jit(inkle.grad(lambda x: (x.sort(-1)[0] * mine).sum()))

    other = torch.tensor(array, requires_grad=True)
    (torch.sort(other, dim=-1, stable=True)[0] * torch.tensor(weights)).sum().backward()

    for _ in range(2):
        np.testing.assert_allclose(step(Tensor(array)).numpy(), other.grad.numpy(), rtol=1e-6)
    with Context(INKLE_PROFILE=True):
        step(Tensor(array)).numpy()
