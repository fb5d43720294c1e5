"""The kernels of the main cases, as text. `pytest --update-cases` rewrites them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inkle.autodiff.reverse import gradient
from inkle.ir import ops, tensor
from inkle.ir.dtype import float32, int32
from inkle.ir.node import Node
from inkle.ir.pseudo import pseudo_code
from inkle.schedule import explain
from tests.schedule import networks as net
from tests.schedule.graphs import conv2d, matmul, window
from tests.schedule.networks import Leaves, relu, spread

FOLDER = Path(__file__).parent / "cases"


def elementwise() -> list[Node]:
    x, y = Leaves().new(32, 8, 10, 10), tensor.param(1, float32, (8,))
    return [(x * 2.0 + spread(y, x.shape, 1)).maximum(0.0)]


def epilogue() -> list[Node]:
    leaves = Leaves()
    x, w, b = leaves.new(64, 100), leaves.new(100, 50), leaves.new(50)
    return [relu(matmul(x, w) + spread(b, (64, 50), 1))]


def convolution() -> list[Node]:
    leaves = Leaves()
    return [conv2d(leaves.new(8, 16, 32, 32), leaves.new(16, 16, 3, 3), 1, 1)]


def convolution_gradients(stride: int = 1) -> list[Node]:
    leaves = Leaves()
    x, w = leaves.new(8, 16, 32, 32), leaves.new(16, 16, 3, 3)
    y = conv2d(x, w, stride, 1)
    grads = gradient([y], [leaves.new(*y.shape)], [x, w])
    return [each for each in grads if each is not None]


def strided_gradients() -> list[Node]:
    return convolution_gradients(2)


def pooling_gradient() -> list[Node]:
    leaves = Leaves()
    x = leaves.new(4, 8, 20, 20)
    y = net.max_pool(x)
    [dx] = gradient([y], [leaves.new(*y.shape)], [x])
    assert dx is not None
    return [y, dx]


def padded_product() -> list[Node]:
    """A gate belongs to the term: 0 * inf outside must not show."""
    leaves = Leaves()
    x, y = leaves.new(10), leaves.new(12)
    product = tensor.pad(x, ((1, 1, 0),)) * y
    return [tensor.pad(product, ((2, 2, 0),))]


def softmax() -> list[Node]:
    return [net.softmax(Leaves().new(512, 1000))]


def layer_norm() -> list[Node]:
    leaves = Leaves()
    return [net.layer_norm(leaves.new(512, 768), leaves.new(768), leaves.new(768))]


def cross_entropy() -> list[Node]:
    leaves = Leaves()
    return [net.cross_entropy(leaves.new(128, 10), leaves.new(128, dtype=int32))]


def adam() -> list[Node]:
    leaves = Leaves()
    return net.adam(*[leaves.new(300, 20) for _ in range(4)], leaves.new())


def long_sum() -> list[Node]:
    return [tensor.reduce(Leaves().new(1000, 1000), ops.ADD, (0, 1))]


def moments() -> list[Node]:
    """Two reductions that do not need each other share one loop."""
    x = Leaves().new(64, 5000)
    return [net.mean(x, (1,)), net.mean(x * x, (1,))]


def embedding() -> list[Node]:
    leaves = Leaves()
    table, ids = leaves.new(1000, 64), leaves.new(32, dtype=int32)
    index = tensor.expand(tensor.reshape(ids, (32, 1)), (32, 64))
    rows = tensor.gather(table, [index], [-1, 1])
    [g] = gradient([rows], [leaves.new(32, 64)], [table])
    assert g is not None
    return [rows, g]


def updates() -> list[Node]:
    """Versions of one array: one copy, and then in place."""
    leaves = Leaves()
    x, a, b = leaves.new(100), leaves.new(10), leaves.new(20)
    x = tensor.update(x, a, ((5, 15, 1),))
    return [tensor.update(x, b, ((40, 80, 2),))]


def concatenation() -> list[Node]:
    leaves = Leaves()
    return [tensor.cat([leaves.new(8, n) * 2.0 for n in (3, 5, 3, 7)], 1)]


def windows() -> list[Node]:
    x = Leaves().new(4, 30)
    return [tensor.reduce(window(x, 1, 5, 2), ops.MAXIMUM, (2,))]


def reshapes() -> list[Node]:
    """Axes that split become two loops; only what truly mixes is divided."""
    x = Leaves().new(6, 20)
    pooled = tensor.reduce(tensor.reshape(x, (6, 10, 2)), ops.ADD, (2,))
    wide = tensor.expand(tensor.reshape(pooled, (6, 10, 1)), (6, 10, 2))
    mixed = tensor.permute(tensor.reshape(x, (8, 15)), (1, 0))
    return [x - tensor.reshape(wide, (6, 20)), tensor.reshape(mixed, (6, 20))]


CASES: tuple[Callable[[], list[Node]], ...] = (
    elementwise, epilogue, convolution, convolution_gradients, strided_gradients, pooling_gradient,
    padded_product, softmax, layer_norm, cross_entropy, adam, long_sum, moments, embedding, updates,
    concatenation, windows, reshapes,
)  # fmt: skip


def described(outputs: list[Node]) -> str:
    """Return the kernels of a schedule, each with the reasons why it is one of its own."""
    plan, reasons = explain(outputs)
    lines = []
    for launch, reason in zip(plan.launches, reasons):
        lines.append(f"# {', '.join(reason.stores)}: {'; '.join(dict.fromkeys(reason.reasons))}")
        lines.append(f"# memory {', '.join(map(str, launch.memory))}")
        lines.append(pseudo_code(launch.kernel).strip() + "\n")
    return "\n".join(lines)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_kernels_are_as_written_down(case: Callable[[], list[Node]], update_cases: bool) -> None:
    path = FOLDER / f"{case.__name__}.txt"
    found = described(case())

    if update_cases:
        path.parent.mkdir(exist_ok=True)
        path.write_text(found)

    assert found == path.read_text(), "review with pytest --update-cases and git diff"
