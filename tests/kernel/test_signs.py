"""Products of bytes of one sign: rewritten for instructions that take unsigned by signed ones."""

from __future__ import annotations

import numpy as np
import pytest

from inkle import Tensor
from inkle.check.interpreter import run_kernel
from inkle.engine import pipeline
from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import DType, int8, int16, int32, uint8
from inkle.ir.loop import Kernel
from inkle.ir.node import Node
from inkle.kernel.machine import Machine
from inkle.schedule import schedule

VNNI = Machine(instructions=frozenset({"vpdpbusd", "vpdpbusd_swapped"}))


def product(m: int, k: int, n: int, a: DType, b: DType, *, turned: bool = False) -> Node:
    x, y = tensor.param(0, a, (m, k)), tensor.param(1, b, (n, k) if turned else (k, n))
    left = tensor.expand(tensor.reshape(x.cast(int32), (m, 1, k)), (m, n, k))
    columns = y if turned else tensor.permute(y, (1, 0))
    right = tensor.expand(tensor.reshape(columns.cast(int32), (1, n, k)), (m, n, k))
    return tensor.reduce(left * right, ops.ADD, (2,))


def lowered(node: Node, machine: Machine = VNNI) -> tuple[Kernel, Kernel]:
    [launch] = schedule([node]).launches
    return launch.kernel, pipeline.lower(launch.kernel, machine)


def instructions(kernel: Kernel) -> set[str]:
    return {node.arg for node in kernel.nodes() if node.op is forms.DOT}


def bytes_of(dtype: DType, *shape: int) -> np.ndarray:
    """Return bytes with the extreme ones among them."""
    low, high = dtype.limits()
    found = np.random.default_rng(0).integers(low, high, shape, endpoint=True)
    found.flat[:4] = low, high, low, high
    return found.astype(dtype.name)


@pytest.mark.parametrize(("a", "b"), [(int8, int8), (uint8, uint8)])
@pytest.mark.parametrize(("m", "k", "n"), [(6, 16, 64), (7, 19, 33), (4, 130, 16)])
def test_products_of_one_sign_take_the_instruction(
    a: DType, b: DType, m: int, k: int, n: int
) -> None:
    work, kernel = lowered(product(m, k, n, a, b))
    assert instructions(kernel) == {"vpdpbusd_swapped" if a is int8 else "vpdpbusd"}
    x, y = bytes_of(a, m, k), bytes_of(b, k, n)
    for each in (work, kernel):
        out = np.zeros(m * n, np.int32)
        run_kernel(each, {0: out, 1: x, 2: y})
        np.testing.assert_array_equal(out.reshape(m, n), x.astype(np.int32) @ y.astype(np.int32))


def test_sums_wrap_as_they_did() -> None:
    n = 140_000  # times 128 * 128: more than 2^31
    x, y = np.full((4, n), -128, np.int8), np.full((n, 16), -128, np.int8)
    want = (x.astype(np.int64) @ y.astype(np.int64)).astype(np.int32)

    np.testing.assert_array_equal(Tensor(x).matmul(Tensor(y), dtype="int32").numpy(), want)


def test_other_products_stay_as_they_are() -> None:
    plain = Machine()
    assert not instructions(lowered(product(8, 64, 64, int8, int8), plain)[1])
    assert not instructions(lowered(product(8, 64, 64, int16, int16))[1])
    mixed = lowered(product(8, 64, 64, uint8, int8))[1]
    assert not [n for n in mixed.nodes() if n.op is ops.XOR]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("shape", [(64, 64, 64), (37, 83, 65), (5, 1000, 17)])
def test_native_products(dtype: type, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    rng, limits = np.random.default_rng(1), np.iinfo(dtype)
    x = rng.integers(limits.min, limits.max, (m, k), endpoint=True).astype(dtype)
    y = rng.integers(limits.min, limits.max, (k, n), endpoint=True).astype(dtype)

    found = Tensor(x).matmul(Tensor(y), dtype="int32").numpy()

    np.testing.assert_array_equal(found, x.astype(np.int32) @ y.astype(np.int32))
