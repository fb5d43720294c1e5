"""Rewrites of the tensor graph before lowering."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import float32, int32
from inkle.ir.node import Node
from inkle.schedule import Facts
from inkle.schedule.prepare import prepare
from tests.schedule.running import check

CHUNKED = Facts(chunk=8, chunks=4)


@pytest.mark.parametrize("shape", [(64,), (4, 40), (40, 4), (7, 7, 7), (97,), (2, 3, 37), (127, 2)])
@pytest.mark.parametrize("op", [ops.ADD, ops.MAXIMUM], ids=lambda op: op.name)
def test_reductions_in_stages_are_right(shape: tuple[int, ...], op: ops.Op) -> None:
    x = tensor.param(0, int32, shape)
    outputs = [tensor.reduce(x, op, axes) for axes in ({*range(len(shape))}, {0}, {len(shape) - 1})]
    data = np.random.default_rng(0).integers(-99, 99, shape).astype(np.int32)

    check(outputs, {x: data}, CHUNKED)


def test_chunks_are_stored_between_the_stages() -> None:
    x = tensor.param(0, float32, (1024,))

    [total] = prepare([tensor.reduce(x, ops.ADD, (0,))], CHUNKED)

    kept = [node for node in total.toposort() if node.op is forms.CONTIGUOUS]
    assert [node.shape for node in kept] == [(128,), (16,), (2,)][: len(kept)]
    assert kept


def test_mask_of_relu_comes_from_its_result() -> None:
    x, g = tensor.param(0, float32, (8,)), tensor.param(1, float32, (8,))
    mask = x <= 0.0
    y = mask.where(0.0, x)

    _, dx = prepare([y, mask.where(0.0, g)], Facts())

    assert dx.src[0].op is ops.LESS_EQUAL
    assert dx.src[0].src[0] is y


def test_mask_of_relu_keeps_nan_and_zero() -> None:
    x, g = tensor.param(0, float32, (6,)), tensor.param(1, float32, (6,))
    arrays: dict[Node, np.ndarray] = {
        x: np.array([-1.0, -0.0, 0.0, 2.0, np.nan, np.inf], np.float32),
        g: np.arange(1, 7, dtype=np.float32),
    }
    below, above = x <= 0.0, tensor.const(0.0, float32) < x

    check(
        [below.where(0.0, x), below.where(0.0, g), above.where(x, 0.0), above.where(g, 0.0)], arrays
    )


def test_graphs_without_such_patterns_stay_the_same_objects() -> None:
    x = tensor.param(0, float32, (8, 8))
    y = tensor.reduce(x.exp() + 1.0, ops.ADD, (1,))

    assert prepare([y], Facts()) == [y]
