"""Columns behind masks of positions: not visited where no row of a block sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from inkle.ir import ops, tensor
from inkle.ir.dtype import float32
from inkle.ir.loop import extent
from inkle.ir.node import Node, const, elementwise
from inkle.ir.plan import Plan, kernel_calls
from inkle.schedule import blocks, chains, hidden
from inkle.schedule.hidden import KEEPS, Kept, visible_columns
from tests.schedule.networks import softmax
from tests.schedule.test_blocks import attention_with_loss, check, inputs, matmul

T = 64
Mask = Callable[[Node, Node], Node]


@pytest.fixture(autouse=True)
def narrowed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let small arrays be large, and rows of 64 long; list which blocks had hidden columns."""
    found: list[bool] = []

    def spied(*args: Any) -> Any:
        less = visible_columns(*args)
        found.append(less is not None)
        return less

    monkeypatch.setattr(blocks, "visible_columns", spied)
    monkeypatch.setattr(chains, "FROM_BYTES", 4 << 10)
    monkeypatch.setattr(blocks, "LARGEST_BYTES", 64 << 10)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 << 10)
    monkeypatch.setattr(blocks, "LEAST_ROWS", 4)
    monkeypatch.setattr(blocks, "IN_TURN_BYTES", 4 << 10)
    monkeypatch.setattr(hidden, "LEAST", 16)
    monkeypatch.setattr(hidden, "STEP", 8)
    return found


def positions() -> tuple[Node, Node]:
    """Return the row and the column of each score."""
    rows = tensor.expand(tensor.reshape(tensor.arange(T), (1, T, 1)), (2, T, T))
    return rows, tensor.expand(tensor.reshape(tensor.arange(T), (1, 1, T)), (2, T, T))


def scores_of(q: Node, k: Node) -> Node:
    return matmul(q, tensor.permute(k, (0, 2, 1)))


def lowest() -> Node:
    return tensor.full(float("-inf"), float32, (2, T, T))


def columns(plan: Plan) -> set[int]:
    """Return the lengths of all loops of blocks that are about as long as a row."""
    blocks_ = [launch.kernel for launch, _ in kernel_calls(plan.launches)]
    return {extent(r) for kernel in blocks_ for r in kernel.ranges()} - {T}


def attend(mask: Mask) -> tuple[list[Node], dict[Node, np.ndarray]]:
    arrays = inputs((2, T, 4), (2, T, 4), (2, T, 4))
    q, k, v = arrays
    scores = mask(*positions()).where(scores_of(q, k), lowest())
    return [matmul(softmax(scores), v)], arrays


VISIBLE: dict[str, tuple[Mask, set[int]]] = {
    "what comes before": (lambda i, j: j <= i, {16, 32, 48}),
    "what comes after": (lambda i, j: i <= j, {16, 32, 48}),
    "a window": (lambda i, j: (j <= i) & (i < j + 8), {24}),
    "a block on the diagonal": (lambda i, j: (j // 16).eq(i // 16), {16}),
}


@pytest.mark.parametrize("name", VISIBLE)
def test_blocks_visit_the_columns_that_they_see(name: str) -> None:
    mask, lengths = VISIBLE[name]
    outputs, arrays = attend(mask)

    plan = check(outputs, arrays)

    assert lengths <= columns(plan)


def test_gradients_visit_the_columns_that_they_see() -> None:
    arrays = inputs((2, T, 4), (2, T, 4), (2, T, 4))
    q, k, v = arrays
    i, j = positions()

    def attention(q: Node, k: Node, v: Node) -> Node:
        return matmul(softmax((j <= i).where(scores_of(q, k), lowest())), v)

    plan = check(attention_with_loss(q, k, v, attention), arrays)

    assert {16, 32, 48} <= columns(plan)
    kernels = {each.kernel for each, _ in kernel_calls(plan.launches)}
    sums = [s for kernel in kernels for s in kernel.stores if s.arg is not None]
    assert {16, 32, 48} <= {extent(r) for store in sums for r in store.ranges}


def test_rows_that_see_nothing_are_nan() -> None:
    outputs, arrays = attend(lambda i, j: j + 20 <= i)

    plan = check(outputs, arrays)

    assert {8, 32} & columns(plan)


def test_a_row_with_nan_is_nan() -> None:
    outputs, arrays = attend(lambda i, j: j <= i)
    q, k, _ = arrays
    arrays[q][0, 5] = np.nan  # one row
    arrays[k][1, 7] = np.inf  # one column, which row 6 does not see

    check(outputs, arrays)


LOOK_ALIKES: dict[str, Callable[[Node, Node, Node, Node], list[Node]]] = {
    "a finite value behind the mask": lambda s, see, v, w: [
        matmul(softmax(see.where(s, tensor.full(-5.0, float32, (2, T, T)))), v)
    ],
    "something added to what is hidden": lambda s, see, v, w: [
        matmul(see.where(s, lowest()).exp() + 0.5, v)
    ],
    "another sign": lambda s, see, v, w: [
        matmul(1.0 / ((-see.where(s, lowest())).exp() + 1.0) + 1.0, v)
    ],
    "a minimum": lambda s, see, v, w: [
        tensor.reduce(see.where(s, lowest()).exp(), ops.MINIMUM, (2,))
    ],
    "a mask from memory": lambda s, see, v, w: [
        matmul(softmax((matmul(w, tensor.permute(v, (0, 2, 1))) < 1.0).where(s, lowest())), v)
    ],
    "weights that are a result": lambda s, see, v, w: [
        matmul(softmax(see.where(s, lowest())), v),
        softmax(see.where(s, lowest())),
    ],
    "another use without the mask": lambda s, see, v, w: [
        matmul(softmax(see.where(s, lowest())), v),
        matmul(s * s, v),
    ],
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_only_looks_hidden_is_visited(name: str, narrowed: list[bool]) -> None:
    arrays = inputs((2, T, 4), (2, T, 4), (2, T, 4))
    q, k, v = arrays
    i, j = positions()

    check(LOOK_ALIKES[name](scores_of(q, k), j <= i, v, q), arrays)

    assert narrowed
    assert not any(narrowed)


FINITE = [0.0, -0.0, 1e-45, 0.5, -3.0, 700.0, -800.0, 3.4e38, -3.4e38]
OF = {Kept.ZERO: [0.0, -0.0], Kept.LOWEST: [-np.inf], Kept.ANYTHING: FINITE}


@pytest.mark.parametrize("op", KEEPS, ids=lambda op: op.name)
def test_what_the_table_says_holds_for_all_finite_values(op: ops.Op) -> None:
    """A factor or divisor that is not finite, or zero, is what the table does not look at."""
    x, y = tensor.param(0, float32, ()), tensor.param(1, float32, ())
    for a in Kept:
        for b in Kept if op.arity == 2 else [Kept.ANYTHING]:
            src = (x, y) if op.arity == 2 else (x,)
            node = x.cast(float32) if op is ops.CAST else elementwise(op, src)
            claimed = KEEPS[op](node, [a, b][: len(src)])
            for value in OF[a]:
                for other in OF[b]:
                    if op is ops.DIV and other == 0:
                        continue
                    with np.errstate(all="ignore"):
                        found = NUMPY[op](np.float32(value), np.float32(other))
                    assert claimed is Kept.ANYTHING or found in OF[claimed], (a, b, value, other)


NUMPY: dict[ops.Op, Callable[[np.float32, np.float32], np.float32]] = {
    ops.MUL: lambda x, y: x * y,
    ops.ADD: lambda x, y: x + y,
    ops.SUB: lambda x, y: x - y,
    ops.DIV: lambda x, y: x / y,
    ops.NEG: lambda x, y: -x,
    ops.CAST: lambda x, y: x,
    ops.EQUAL: lambda x, y: np.float32(x == y),
    ops.EXP: lambda x, y: np.exp(x),
    ops.EXP2: lambda x, y: np.exp2(x),
}


def test_a_positive_factor_keeps_the_lowest_value() -> None:
    x = tensor.param(0, float32, ())
    for factor, claimed in ((0.125, Kept.LOWEST), (0.0, Kept.ANYTHING), (-1.0, Kept.ANYTHING)):
        node = elementwise(ops.MUL, (x, const(factor, float32)))
        assert KEEPS[ops.MUL](node, [Kept.LOWEST, Kept.ANYTHING]) is claimed
