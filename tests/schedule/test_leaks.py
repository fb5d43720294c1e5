"""What is computed outside of a gate never reaches a result: 1/0, log(0), 0 * inf, NaN."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from inkle.ir import ops, tensor
from inkle.ir.dtype import float32, int32
from inkle.ir.node import Node, const
from tests.schedule.graphs import matmul, window
from tests.schedule.networks import Leaves
from tests.schedule.running import FACTS, check

HOT: tuple[Callable[[Node], Node], ...] = (  # not finite at 0, where a gate gives 0
    lambda x: const(1.0, float32) / x,
    lambda x: x.log(),
    lambda x: x * float("inf"),
    lambda x: x / x,
    lambda x: x - float("inf"),
    lambda x: x.rsqrt(),
    lambda x: x * 0.5 + 1.0,
)


def grow(x: Node, leaves: Leaves, rng: random.Random) -> Node:
    """Return a function of `x` in which something is outside of something."""
    rank, kind = len(x.shape), rng.randrange(9)
    axis = rng.randrange(rank)
    n = x.shape[axis]
    if kind <= 2:
        return rng.choice(HOT)(x)
    if kind == 3:
        return tensor.pad(
            x, [(rng.randrange(2), rng.randrange(2), rng.randrange(2)) for _ in x.shape]
        )
    if kind == 4 and n > 1:
        return tensor.shrink(x, axis, rng.randrange(n), n, 1 + rng.randrange(2))
    if kind == 5 and n > 1:
        return tensor.reduce(window(x, axis, 2), rng.choice([ops.ADD, ops.MAXIMUM]), (axis + 1,))
    if kind == 6 and rank == 2:  # some of the indices are out of range: 0
        at = tensor.expand(tensor.reshape(leaves.new(3, dtype=int32), (3, 1)), (3, x.shape[1]))
        return tensor.gather(x, [at], [-1, 1])
    if kind == 7 and rank == 2:
        return matmul(x, leaves.new(x.shape[1], 3))
    return tensor.cat([x, rng.choice(HOT)(x)], axis)


def values(leaf: Node, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if leaf.dtype is int32:
        return rng.integers(-9, 9, leaf.shape).astype(np.int32)
    hot = rng.choice(np.array([0.0, -0.0, np.inf, np.nan, 2.0], np.float32), leaf.shape)
    plain = rng.integers(1, 4, leaf.shape).astype(np.float32)
    return np.where(rng.random(leaf.shape) < 0.1, hot, plain).astype(np.float32)


@pytest.mark.parametrize("seed", range(120))
def test_nothing_from_outside_of_a_gate_reaches_a_result(seed: int) -> None:
    rng, leaves = random.Random(seed), Leaves()
    x = leaves.new(3, 4)
    seen = []
    for _ in range(rng.randint(2, 6)):
        x = grow(x, leaves, rng)
        seen.append(x)
        if np.prod(x.shape) > 300:
            break
    outputs = [x, rng.choice(seen)]

    check(outputs, {leaf: values(leaf, seed) for leaf in leaves.all}, FACTS[seed % len(FACTS)])
