"""Symbolic sizes beyond one tile and one chunk, with several workers, for every kind of tail."""

from typing import Any

import numpy as np
import pytest

from inkle import Context, Tensor, Variable, jit
from tests.tensor.test_symbolic import Array, Function, floats

n = Variable("n", 1, 700)
SIZES = (1, 2, 5, 16, 17, 63, 64, 65, 127, 333, 699, 700)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q: Array, k: Array) -> Array:
    return softmax(np.einsum("htd,hsd->hts", q, k) * 0.1) @ k


def convolution(x: Array, w: Array) -> Array:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    return np.einsum("bchwij,ocij->bohw", windows, w)


CASES: dict[str, tuple[Function, Function, Function, dict[str, dict[int, Variable]], float]] = {
    "m": (lambda a, b: (a @ b + 1).relu(), lambda a, b: np.maximum(a @ b + 1, 0),
          lambda s: (floats(s, 130), floats(130, 257)), {"a": {0: n}}, 0),
    "n": (lambda a, b: a @ b, lambda a, b: a @ b,
          lambda s: (floats(130, 67), floats(67, s)), {"b": {1: n}}, 0),
    "k": (lambda a, b: a @ b, lambda a, b: a @ b,
          lambda s: (floats(130, s), floats(s, 120)), {"a": {1: n}, "b": {0: n}}, 0),
    "transposed left": (lambda a, b: a.T @ b, lambda a, b: a.T @ b,
                        lambda s: (floats(s, 130), floats(s, 120)), {"a": {0: n}, "b": {0: n}}, 0),
    "transposed right": (lambda a, b: a @ b.T, lambda a, b: a @ b.T,
                         lambda s: (floats(130, 64), floats(s, 64)), {"b": {0: n}}, 0),
    "softmax of columns": (lambda x: x.softmax(-1), softmax, lambda s: (floats(300, s),),
                           {"x": {1: n}}, 1e-5),
    "softmax of rows": (lambda x: x.softmax(-1), softmax, lambda s: (floats(s, 300),),
                        {"x": {0: n}}, 1e-5),
    "sum of columns": (lambda x: x.sum(0), lambda x: x.sum(0), lambda s: (floats(s, 600),),
                       {"x": {0: n}}, 0),
    "sum": (lambda x: x.sum(), lambda x: x.sum(), lambda s: (floats(s, 600),), {"x": {0: n}}, 0),
    "transposed rows": (lambda x: x.T * 2, lambda x: x.T * 2, lambda s: (floats(s, 600),),
                        {"x": {0: n}}, 0),
    "transposed columns": (lambda x: x.T * 2, lambda x: x.T * 2, lambda s: (floats(600, s),),
                           {"x": {1: n}}, 0),
    "attention": (lambda q, k: (q @ k.transpose(-1, -2) * 0.1).softmax(-1) @ k, attention,
                  lambda s: (floats(4, s, 32), floats(4, s, 32)), {"q": {1: n}, "k": {1: n}}, 1e-4),
    "convolution": (lambda x, w: x.conv2d(w, padding=1), convolution,
                    lambda s: (floats(s, 4, 8, 8), floats(8, 4, 3, 3)), {"x": {0: n}}, 0),
    "norm": (lambda x: x.layernorm(),
             lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5),
             lambda s: (floats(s, 256),), {"x": {0: n}}, 1e-4),
    "cumulative sum": (lambda x: x.cumsum(0), lambda x: x.cumsum(0), lambda s: (floats(s, 6),),
                       {"x": {0: n}}, 0),
}  # fmt: skip


@pytest.mark.parametrize("threads", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CASES)
def test_values_for_all_kinds_of_tails(name: str, threads: int) -> None:
    mine, theirs, make, axes, tolerance = CASES[name]
    captured: Any = jit(mine, sizes=axes)

    with Context(INKLE_THREADS=threads):
        for size in SIZES:
            given = make(size)
            found = captured(*map(Tensor, given)).numpy()
            np.testing.assert_allclose(
                found, theirs(*given), tolerance, tolerance, err_msg=str(size)
            )

    assert captured.stats().traces == 1


def test_profile_and_explanation_of_symbolic_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    with Context(INKLE_PROFILE=1, INKLE_EXPLAIN=1):
        captured: Any = jit(lambda x: (x * 3).sum(1), sizes={"x": {0: n}})
        captured(Tensor.ones(5, 4)).realize()

    assert "n: 1..700" in capsys.readouterr().err
