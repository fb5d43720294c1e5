"""Chains of kernels over rows, block by block: the same results, with room for a block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from inkle import Context, Tensor
from inkle.autodiff import gradient
from inkle.check.fuzz import fuzz
from inkle.check.plans import run_plan
from inkle.check.reference import evaluate
from inkle.ir import ops, tensor
from inkle.ir.dtype import float32
from inkle.ir.node import Node
from inkle.ir.op import Op
from inkle.ir.plan import Blocks, Plan, Role, kernel_calls
from inkle.schedule import blocks, chains, neighbours, schedule
from inkle.schedule.built import Built
from tests.fuzz import executors
from tests.schedule.networks import softmax


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let arrays of a few kilobytes be large."""
    monkeypatch.setattr(chains, "FROM_BYTES", 4 << 10)
    monkeypatch.setattr(blocks, "LARGEST_BYTES", 4 << 10)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2 << 10)
    monkeypatch.setattr(blocks, "LEAST_ROWS", 2)
    monkeypatch.setattr(blocks, "IN_TURN_BYTES", 4 << 10)


def matmul(x: Node, y: Node) -> Node:
    """Return the product of batches of matrices."""
    (batch, m, k), n = x.shape, y.shape[2]
    left = tensor.expand(tensor.reshape(x, (batch, m, 1, k)), (batch, m, n, k))
    turned = tensor.reshape(tensor.permute(y, (0, 2, 1)), (batch, 1, n, k))
    return tensor.reduce(left * tensor.expand(turned, (batch, m, n, k)), ops.ADD, (3,))


def attention(q: Node, k: Node, v: Node) -> Node:
    scores = matmul(q, tensor.permute(k, (0, 2, 1))) * 0.5
    return matmul(softmax(scores), v)


def inputs(*shapes: tuple[int, ...]) -> dict[Node, np.ndarray]:
    random = np.random.default_rng(0)
    nodes = [tensor.param(i, float32, shape) for i, shape in enumerate(shapes)]
    return {node: random.normal(size=node.shape).astype(np.float32) for node in nodes}


def check(outputs: list[Node], arrays: dict[Node, np.ndarray]) -> Plan:
    with Context(INKLE_CHECK=True):
        plan = schedule(outputs)
    found = run_plan(plan, list(arrays.values()))
    for got, want in zip(found, evaluate(outputs, arrays), strict=True):
        np.testing.assert_allclose(got.reshape(want.shape), want, rtol=1e-4, atol=1e-5)
    return plan


def room(plan: Plan) -> int:
    """Return the bytes of all temporaries."""
    return sum(m.size * m.dtype.itemsize for m in plan.memory if m.role is Role.TEMPORARY)


def combined(plan: Plan) -> set[Op | None]:
    """Return the operations with which kernels add to memory."""
    kernels = [launch.kernel for launch, _ in kernel_calls(plan.launches)]
    return {store.arg for kernel in kernels for store in kernel.stores}


def whole(monkeypatch: pytest.MonkeyPatch, outputs: list[Node]) -> int:
    """Return the bytes of temporaries without blocks."""
    with monkeypatch.context() as patch:
        patch.setattr(chains, "FROM_BYTES", 1 << 60)
        return room(schedule(outputs))


@pytest.mark.parametrize("places", [32, 33, 48, 61])
@pytest.mark.parametrize("heads", [1, 3])
def test_attention_has_room_for_a_few_rows(
    monkeypatch: pytest.MonkeyPatch, heads: int, places: int
) -> None:
    arrays = inputs((heads, places, 4), (heads, places, 4), (heads, places, 4))
    outputs = [attention(*arrays)]

    plan = check(outputs, arrays)

    assert room(plan) <= max(whole(monkeypatch, outputs) // 2, 2 * blocks.LARGEST_BYTES)
    calls = [*kernel_calls(plan.launches)]
    assert len({launch.kernel for launch, _ in calls}) <= 4
    assert sum(times for _, times in calls) > 4


def test_values_that_depend_on_the_row_stay_right() -> None:
    arrays = inputs((2, 40, 4), (2, 40, 4), (2, 40, 4))
    q, k, v = arrays
    scores = matmul(q, tensor.permute(k, (0, 2, 1)))
    rows = tensor.expand(tensor.reshape(tensor.arange(40), (1, 40, 1)), (2, 40, 40))
    columns = tensor.expand(tensor.reshape(tensor.arange(40), (1, 1, 40)), (2, 40, 40))
    hidden = tensor.full(float("-inf"), float32, (2, 40, 40))
    masked = (rows < columns).where(hidden, scores)

    plan = check([matmul(softmax(masked), v)], arrays)

    assert any(launch.values for launch, _ in kernel_calls(plan.launches))


def test_sums_over_rows_are_added_up_block_by_block() -> None:
    arrays = inputs((1, 64, 64), (1, 64, 64))
    x, y = arrays
    turned = matmul(tensor.permute(matmul(x, y), (0, 2, 1)), x)  # sums over the rows of x @ y

    plan = check([turned], arrays)

    assert any(launch.values for launch, _ in kernel_calls(plan.launches))
    assert ops.ADD in combined(plan)


def test_chains_that_disagree_on_rows_stay_whole() -> None:
    arrays = inputs((1, 64, 64), (1, 64, 64))
    x, y = arrays
    product = matmul(x, y)
    both = product.exp() * tensor.permute(product, (0, 2, 1)).exp()  # rows are the others' columns

    plan = check([matmul(both, x)], arrays)

    assert not any(launch.values for launch, _ in kernel_calls(plan.launches))


def test_kernels_that_look_at_the_next_row_stay_whole() -> None:
    arrays = inputs((1, 64, 4), (1, 64, 4))
    q, k = arrays
    scores = matmul(q, tensor.permute(k, (0, 2, 1)))
    top = tensor.expand(
        tensor.reshape(tensor.reduce(scores, ops.MAXIMUM, (2,)), (1, 64, 1)), scores.shape
    )
    weights = (scores - top).exp()
    later = tensor.slice_(weights, ((0, 1, 1), (1, 64, 1), (0, 64, 1)))
    earlier = tensor.slice_(weights, ((0, 1, 1), (0, 63, 1), (0, 64, 1)))

    plan = check([tensor.reduce(later * earlier, ops.ADD, (2,))], arrays)

    assert not any(launch.values for launch, _ in kernel_calls(plan.launches))


def test_scores_that_are_a_result_are_stored_whole() -> None:
    arrays = inputs((1, 48, 4), (1, 48, 4), (1, 48, 4))
    q, k, v = arrays
    scores = matmul(q, tensor.permute(k, (0, 2, 1)))

    plan = check([matmul(softmax(scores), v), scores], arrays)

    assert any(m.role is Role.OUTPUT and m.size == 48 * 48 for m in plan.memory)


def test_native_code_takes_the_row_as_an_argument() -> None:
    random = np.random.default_rng(1)
    q, k, v = (random.normal(size=(3, 45, 8)).astype(np.float32) for _ in range(3))
    for threads in (1, 2):
        with Context(INKLE_THREADS=threads):
            found = (Tensor(q) @ Tensor(k).transpose(1, 2)).softmax(-1) @ Tensor(v)
            scores = q.astype(np.float64) @ k.transpose(0, 2, 1)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            want = weights / weights.sum(-1, keepdims=True) @ v
            np.testing.assert_allclose(found.numpy(), want, rtol=1e-4, atol=1e-5)


# --- the way back ---------------------------------------------------------------------------------


def attention_with_loss(
    q: Node, k: Node, v: Node, attend: Callable[[Node, Node, Node], Node] = attention
) -> list[Node]:
    """Return attention, and its gradients through a loss that needs all of it."""
    out = attend(q, k, v)
    loss = tensor.reduce(out * out, ops.ADD, (0, 1, 2))
    seed = tensor.full(1.0, float32, ())
    found = gradient([loss * loss], [seed], [q, k, v])
    return [out, *[g for g in found if g is not None]]


@pytest.mark.parametrize("places", [40, 53, 72])
@pytest.mark.parametrize("heads", [1, 3])
def test_scores_are_computed_again_on_the_way_back(
    monkeypatch: pytest.MonkeyPatch, heads: int, places: int
) -> None:
    arrays = inputs((heads, places, 4), (heads, places, 4), (heads, places, 4))
    outputs = attention_with_loss(*arrays)

    plan = check(outputs, arrays)

    assert sum(times for _, times in kernel_calls(plan.launches)) > 20
    assert room(plan) <= whole(monkeypatch, outputs) // 2
    assert all(m.size < places * places for m in plan.memory)


def test_what_is_dear_to_compute_again_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "WORTH", 0.0)
    arrays = inputs((1, 64, 4), (1, 64, 4), (1, 64, 4))

    plan = check(attention_with_loss(*arrays), arrays)

    assert any(m.size == 64 * 64 for m in plan.memory)


@pytest.mark.parametrize("op", [ops.ADD, ops.MAXIMUM, ops.MUL])
def test_reductions_over_rows_continue_from_block_to_block(op: Op) -> None:
    arrays = inputs((2, 37, 4), (2, 37, 4))
    q, k = arrays
    scores = matmul(q, tensor.permute(k, (0, 2, 1)))
    top = tensor.expand(
        tensor.reshape(tensor.reduce(scores, ops.MAXIMUM, (2,)), (2, 37, 1)), scores.shape
    )
    weights = (scores - top).exp() + 0.5
    columns = tensor.reduce(weights, op, (1,)) * 3.0 + 1.0

    plan = check([columns, tensor.reduce(weights, ops.ADD, (2,))], arrays)

    assert op in combined(plan)


def test_blocks_give_the_same_bits_at_every_run() -> None:
    random = np.random.default_rng(2)
    arrays = [random.normal(size=(2, 53, 8)).astype(np.float32) for _ in range(3)]

    def step(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        for each in (q, k, v):
            each.requires_grad = True
        out = q.scaled_dot_product_attention(k, v, is_causal=True)
        (out * out).sum().backward()
        return (out, q.grad, k.grad, v.grad)

    runs = []
    for threads in (1, 2, 2):
        with Context(INKLE_THREADS=threads):
            runs.append([each.numpy() for each in step(*map(Tensor, arrays))])
    for run in runs[1:]:
        for a, b in zip(runs[0], run, strict=True):
            np.testing.assert_array_equal(a, b)


def test_random_programs_in_tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "FROM_BYTES", 1)
    monkeypatch.setattr(blocks, "LARGEST_BYTES", 1 << 20)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 64)
    monkeypatch.setattr(blocks, "LEAST_ROWS", 1)

    found = fuzz(executors.by_schedule, range(100), "tests.fuzz.executors:by_schedule", size=20)

    assert not found, found[0]


# --- blocks that do not need each other -----------------------------------------------------------


def blocks_of(plan: Plan) -> list[Blocks]:
    return [each for each in plan.launches if isinstance(each, Blocks)]


def test_blocks_that_do_not_need_each_other_are_one_launch() -> None:
    arrays = inputs((12, 24, 4), (12, 24, 4), (12, 24, 4))

    plan = check([attention(*arrays)], arrays)

    [only] = plan.launches
    assert isinstance(only, Blocks)
    assert len(only.units) >= 12
    assert only.rooms


def test_sums_over_rows_stay_with_one_worker() -> None:
    """Gradients of keys are added up over the rows of a head: the units are heads."""
    arrays = inputs((16, 40, 4), (16, 40, 4), (16, 40, 4))

    plan = check(attention_with_loss(*arrays), arrays)

    [back] = [each for each in blocks_of(plan) if any(len(unit) > 1 for unit in each.units)]
    assert len(back.units) == 16
    sums = [store for launch in back.launches for store in launch.kernel.stores if store.arg]
    assert sums


def test_small_chains_are_joined_where_they_follow_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chains, "FROM_BYTES", 1 << 60)
    monkeypatch.setattr(neighbours, "FROM_BYTES", 1)
    monkeypatch.setattr(neighbours, "LEAST_BYTES", 1)
    arrays = inputs((8, 24, 4), (8, 24, 4), (8, 24, 4))
    q, k, v = arrays

    plan = check([attention(attention(q, k, v), k, v)], arrays)

    assert all(len(each.launches) == 3 for each in blocks_of(plan)) or len(plan.launches) == 1
    assert sum(len(each.launches) for each in blocks_of(plan)) == 6


def test_equal_chains_are_cut_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "FROM_BYTES", 1 << 60)
    monkeypatch.setattr(neighbours, "FROM_BYTES", 1)
    monkeypatch.setattr(neighbours, "LEAST_BYTES", 1)
    calls: list[int] = []

    def spied(chain: list[Built], *args: Any) -> Any:
        calls.append(len(chain))
        return blocks.in_blocks(chain, *args)

    monkeypatch.setattr("inkle.schedule.plan.in_blocks", spied)
    layers = 5
    arrays = inputs(*[(8, 24, 4)] * (2 * layers + 1))
    x, *others = arrays
    for k, v in zip(others[::2], others[1::2], strict=True):
        x = tensor.contiguous(tensor.permute(attention(x, k, v), (1, 0, 2)))
        x = tensor.reshape(x * 0.5, (8, 24, 4))

    plan = check([x], arrays)

    assert sum(len(each.launches) for each in blocks_of(plan)) >= 2 * layers
    assert len(calls) < 4 * layers


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_native_blocks_have_a_room_for_each_worker(threads: int) -> None:
    random = np.random.default_rng(3)
    q, k, v = (random.normal(size=(16, 45, 8)).astype(np.float32) for _ in range(3))
    with Context(INKLE_THREADS=threads):
        for _ in range(5):
            found = (Tensor(q) @ Tensor(k).transpose(1, 2)).softmax(-1) @ Tensor(v)
            scores = q.astype(np.float64) @ k.transpose(0, 2, 1)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            want = weights / weights.sum(-1, keepdims=True) @ v
            np.testing.assert_allclose(found.numpy(), want, rtol=1e-4, atol=1e-5)


def test_random_programs_in_joined_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "FROM_BYTES", 1 << 60)
    monkeypatch.setattr(neighbours, "FROM_BYTES", 1)
    monkeypatch.setattr(neighbours, "LEAST_BYTES", 1)
    monkeypatch.setattr(blocks, "UNITS", 2)
    monkeypatch.setattr(blocks, "LEAST_ROWS", 1)

    for executor in ("by_schedule", "by_engine"):
        run = getattr(executors, executor)
        found = fuzz(run, range(100), f"tests.fuzz.executors:{executor}", size=20)
        assert not found, found[0]
