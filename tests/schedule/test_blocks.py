"""Chains of kernels over rows, block by block: the same results, with room for a block."""

from __future__ import annotations

import numpy as np
import pytest

from inkle import Context, Tensor
from inkle.check.fuzz import fuzz
from inkle.check.interpreter import run_plan
from inkle.check.reference import evaluate
from inkle.ir import ops, tensor
from inkle.ir.dtype import float32
from inkle.ir.node import Node
from inkle.ir.plan import Plan, Role
from inkle.schedule import blocks, schedule
from tests.fuzz import executors
from tests.schedule.networks import softmax


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let arrays of a few kilobytes be large."""
    monkeypatch.setattr(blocks, "FROM_BYTES", 4 << 10)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2 << 10)
    monkeypatch.setattr(blocks, "LEAST_ROWS", 2)


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


def whole(monkeypatch: pytest.MonkeyPatch, outputs: list[Node]) -> int:
    """Return the bytes of temporaries without blocks."""
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "FROM_BYTES", 1 << 60)
        return room(schedule(outputs))


@pytest.mark.parametrize("places", [32, 33, 48, 61])
@pytest.mark.parametrize("heads", [1, 3])
def test_attention_has_room_for_a_few_rows(
    monkeypatch: pytest.MonkeyPatch, heads: int, places: int
) -> None:
    arrays = inputs((heads, places, 4), (heads, places, 4), (heads, places, 4))
    outputs = [attention(*arrays)]

    plan = check(outputs, arrays)

    assert room(plan) <= max(whole(monkeypatch, outputs) // 2, 2 * blocks.FROM_BYTES)
    assert len({launch.kernel for launch in plan.launches}) <= 4
    assert len(plan.launches) > 4


def test_values_that_depend_on_the_row_stay_right() -> None:
    arrays = inputs((2, 40, 4), (2, 40, 4), (2, 40, 4))
    q, k, v = arrays
    scores = matmul(q, tensor.permute(k, (0, 2, 1)))
    rows = tensor.expand(tensor.reshape(tensor.arange(40), (1, 40, 1)), (2, 40, 40))
    columns = tensor.expand(tensor.reshape(tensor.arange(40), (1, 1, 40)), (2, 40, 40))
    hidden = tensor.full(float("-inf"), float32, (2, 40, 40))
    masked = (rows < columns).where(hidden, scores)

    plan = check([matmul(softmax(masked), v)], arrays)

    assert any(launch.values for launch in plan.launches)


def test_chains_that_disagree_on_rows_stay_whole() -> None:
    arrays = inputs((1, 64, 64), (1, 64, 64))
    x, y = arrays
    turned = matmul(tensor.permute(matmul(x, y), (0, 2, 1)), x)  # its rows are the columns

    plan = check([turned], arrays)

    assert not any(launch.values for launch in plan.launches)


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

    assert not any(launch.values for launch in plan.launches)


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


def test_random_programs_in_tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "FROM_BYTES", 1)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 64)
    monkeypatch.setattr(blocks, "LEAST_ROWS", 1)

    found = fuzz(executors.by_schedule, range(100), "tests.fuzz.executors:by_schedule", size=20)

    assert not found, found[0]
