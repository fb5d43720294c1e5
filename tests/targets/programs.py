"""Programs that every target must get right, with their NumPy meaning."""

from __future__ import annotations

import numpy as np


def _arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def _bytes(first, second, seed=0):
    """Unsigned and signed bytes, the extremes among them."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, first).astype(np.uint8),
            rng.integers(-128, 128, second).astype(np.int8)]  # fmt: skip


def _softmax(x):
    e = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _convolve(x, w):
    """Plain sums over windows, stride 1, padding 1; float64."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2] - 2, x.shape[3] - 2
    parts = [
        np.einsum("bchw,oc->bohw", x[:, :, i : i + height, j : j + width], w[:, :, i, j])
        for i in range(3)
        for j in range(3)
    ]
    return sum(parts)


def _to_bfloat16(x):
    """Nearest bfloat16, ties to even, by the bits of the float32."""
    bits = x.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
    return rounded.astype(np.uint32).view(np.float32)


# name -> (arrays, program over tensors, meaning over arrays)
PROGRAMS = {
    "chain": (
        _arrays((1003,), (1003,)),
        lambda a, b: (a * b + 1.5).relu().sqrt(),
        lambda a, b: np.sqrt(np.maximum(a * b + np.float32(1.5), 0)),
    ),
    "transcendental": (
        _arrays((517,)),
        lambda a: a.exp() + a.sin() * a.tanh() + (a * a + 1).log(),
        lambda a: np.exp(a) + np.sin(a) * np.tanh(a) + np.log(a.astype(np.float64) ** 2 + 1),
    ),
    "matmul": (_arrays((37, 65), (65, 83)), lambda a, b: a @ b, lambda a, b: a @ b),
    "sum of rows": (_arrays((70, 133)), lambda a: a.sum(1), lambda a: a.sum(1)),
    "sum of columns": (_arrays((70, 133)), lambda a: a.sum(0), lambda a: a.sum(0)),
    "maximum": (_arrays((70, 133)), lambda a: a.max(0), lambda a: a.max(0)),
    "softmax": (_arrays((33, 129)), lambda a: a.softmax(1), _softmax),
    "transpose": (_arrays((45, 67)), lambda a: a.T.contiguous(), lambda a: a.T),
    "flip and stride": (
        _arrays((9, 50)),
        lambda a: a.flip(1)[:, ::2].contiguous(),
        lambda a: a[:, ::-1][:, ::2],
    ),
    "convolution": (
        _arrays((2, 3, 9, 11), (5, 3, 3, 3)),
        lambda x, w: x.conv2d(w, padding=1),
        _convolve,
    ),
    "integers": (
        [np.arange(-50, 51, dtype=np.int32), np.full(101, -7, np.int32)],
        lambda a, b: (a // b) * 3 + (a % b) - (a >> 1),
        lambda a, b: (a // b) * 3 + (a % b) - (a >> 1),
    ),
    "bools": (
        _arrays((131,)),
        lambda a: ((a > 0) & (a < 1)).where(a, 2.0),
        lambda a: np.where((a > 0) & (a < 1), a, np.float32(2)),
    ),
    "float64": (
        [np.linspace(-3, 3, 77)],
        lambda a: (a * a + 1).log() + a.exp(),
        lambda a: np.log(a * a + 1) + np.exp(a),
    ),
    "float16": (
        [np.linspace(-3, 3, 77).astype(np.float16)],
        lambda a: (a * 2 + 1).cast("float32"),
        lambda a: (a * np.float16(2) + np.float16(1)).astype(np.float32),
    ),
    "bfloat16": (
        [np.linspace(-3, 3, 77, dtype=np.float32)],
        lambda a: (a.cast("bfloat16") * 2).cast("float32"),
        lambda a: 2 * _to_bfloat16(a),
    ),
    "product of bytes": (
        _bytes((37, 70), (70, 53)),
        lambda a, b: a.matmul(b, dtype="int32"),
        lambda a, b: a.astype(np.int32) @ b.astype(np.int32),
    ),
    "product of bfloat16": (
        _arrays((37, 70), (70, 53)),
        lambda a, b: a.cast("bfloat16").matmul(b.cast("bfloat16"), dtype="float32"),
        lambda a, b: _to_bfloat16(a).astype(np.float64) @ _to_bfloat16(b),
    ),
    "softmax and its sum": (_arrays((512, 128)), lambda a: a.softmax(1).sum(), lambda a: 512.0),
    "gather": (
        [*_arrays((40, 19)), np.array([3, -1, 39, 0, 3])],
        lambda x, i: x[i],
        lambda x, i: x[i],
    ),
}
