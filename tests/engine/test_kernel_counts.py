"""How many kernels the functions of tensors take: rows, prologues, epilogues, siblings, pieces."""

from __future__ import annotations

import numpy as np
import pytest

from inkle import Tensor
from inkle.engine.realize import canonicalize
from inkle.ir.plan import Plan
from inkle.schedule import schedule, side_by_side


def arrays(*shapes: tuple[int, ...]) -> list[Tensor]:
    return [Tensor(np.zeros(shape, np.float32)).realize() for shape in shapes]


def plan_of(*tensors: Tensor) -> Plan:
    graph, _ = canonicalize([tensor.node for tensor in tensors])
    return side_by_side(schedule(graph))


X, W, G, B = arrays((512, 768), (768, 256), (768,), (256,))
IMAGES, FILTERS, SAME, C, D = arrays((16, 32, 28, 28), (64, 32, 3, 3), (32, 32, 3, 3), (64,), (32,))
ROWS, TABLE, PLACES = arrays((512, 10), (1000, 128), (64, 128))
LABELS, WORDS = (Tensor(np.zeros(n, np.int32)).realize() for n in (512, 64))

ONE_KERNEL = {
    # A row stays in cache from its first reduction to its last use.
    "softmax": lambda: X.softmax(),
    "log-softmax": lambda: X.log_softmax(),
    "log-sum-exp": lambda: X.logsumexp(1),
    "layer norm": lambda: X.layer_norm(768, G, G),
    "RMS norm": lambda: X.rms_norm() * G,
    "batch norm": lambda: IMAGES.batch_norm(None, None, D, D, training=True),
    "batch norm, evaluation": lambda: IMAGES.batch_norm(D, D, D, D, training=False),
    "normalize": lambda: X.normalize(),
    "cross entropy": lambda: ROWS.cross_entropy(LABELS),
    "moments": lambda: (X.mean(1), X.var(1)),
    "embedding, positions, layer norm": lambda: (TABLE[WORDS] + PLACES).layernorm(),
    # What follows a product or a convolution, element by element, is its end.
    "linear, GELU": lambda: (X @ W + B).gelu(),
    "linear, residual": lambda: (X @ W + B).tanh() + X[:, :256],
    "convolution, bias, ReLU": lambda: IMAGES.conv2d(FILTERS, C, padding=1).relu(),
    "convolution, batch norm, ReLU": lambda: (
        IMAGES.conv2d(FILTERS).batch_norm(C, C, C, C, training=False).relu()
    ),
    "convolution, residual": lambda: (IMAGES.conv2d(SAME, padding=1) + IMAGES).relu(),
    # What comes before it, as long as it is next to nothing.
    "cast, product": lambda: X.half().float() @ W,
    "transposed product": lambda: X.T @ X,
    "pad, convolution": lambda: IMAGES.pad((1, 1, 1, 1)).conv2d(FILTERS),
    "gather, product": lambda: TABLE[WORDS] @ W[:128, :64],
    # Several results of the same data, or of the same loops.
    "three results": lambda: (X + 1, X * 2, X.exp()),
    "two sums": lambda: (X.sum(1), (X * X).sum(1)),
    # Pieces.
    "cat of one array's functions": lambda: Tensor.cat(X, X * 2, X + 1, X.relu()),
    "roll": lambda: X.roll(3, 1) + X,
    "pads": lambda: X.pad((1, 1)).pad((0, 0, 2, 2)).relu(),
}


@pytest.mark.parametrize("name", ONE_KERNEL)
def test_one_kernel(name: str):
    made = ONE_KERNEL[name]()

    plan = plan_of(*made) if isinstance(made, tuple) else plan_of(made)

    assert [launch.why for launch in plan.launches[1:]] == []
