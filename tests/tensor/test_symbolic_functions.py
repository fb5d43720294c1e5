"""Functions of a vector and a symbolic size, against NumPy: what users write in one line."""

from typing import Any

import numpy as np
import pytest

from inkle import Tensor, Variable, grad, jit
from inkle.errors import DTypeError, IndexRangeError
from tests.tensor.test_symbolic import Function

n = Variable("n", 1, 9)
X = np.arange(9, dtype=np.float32)

ONE_TRACE: dict[str, tuple[Function, Function]] = {
    "clip": (
        lambda x, n: x.clip(0, n),
        lambda x, n: x.clip(0, n),
    ),
    "where": (
        lambda x, n: (x < n).where(n, 0.0),
        lambda x, n: np.where(x < n, n, 0),
    ),
    "where2": (
        lambda x, n: (x < n).where(x, n),
        lambda x, n: np.where(x < n, x, n),
    ),
    "full": (
        lambda x, n: Tensor.full((3,), n),
        lambda x, n: np.full(3, n),
    ),
    "full n": (
        lambda x, n: Tensor.full((n,), 2.0),
        lambda x, n: np.full(n, 2),
    ),
    "max": (
        lambda x, n: x.maximum(n),
        lambda x, n: np.maximum(x, n),
    ),
    "pow": (
        lambda x, n: x**n,
        lambda x, n: x**n,
    ),
    "rsub": (
        lambda x, n: n - x,
        lambda x, n: n - x,
    ),
    "floordiv": (
        lambda x, n: x.int() // n,
        lambda x, n: x.astype(int) // n,
    ),
    "mod": (
        lambda x, n: x.int() % n,
        lambda x, n: x.astype(int) % n,
    ),
    "eq": (
        lambda x, n: (x.eq(n)).float(),
        lambda x, n: (x == n).astype("f"),
    ),
    "==": (
        lambda x, n: (x == n).float(),
        lambda x, n: (x == n).astype("f"),
    ),
    "one_hot": (
        lambda x, n: x[:n].long().one_hot(9).float(),
        lambda x, n: np.eye(9)[:n],
    ),
    "roll": (
        lambda x, n: x.roll(2)[:n],
        lambda x, n: np.roll(x, 2)[:n],
    ),
    "topk": (
        lambda x, n: x.topk(n)[0],
        lambda x, n: np.sort(x)[::-1][:n],
    ),
    "neg idx": (
        lambda x, n: x[-n:],
        lambda x, n: x[-n:],
    ),
    "tail": (
        lambda x, n: x[n - 1 :],
        lambda x, n: x[n - 1 :],
    ),
    "step": (
        lambda x, n: x[:n:3],
        lambda x, n: x[:n:3],
    ),
    "rev": (
        lambda x, n: x[:n].flip(0),
        lambda x, n: x[:n][::-1],
    ),
    "unsq expand": (
        lambda x, n: x[None].expand(n, 9).sum(0),
        lambda x, n: x * n,
    ),
    "repeat": (
        lambda x, n: x.repeat(n),
        lambda x, n: np.tile(x, n),
    ),
    "repeat_interleave": (
        lambda x, n: x[:n].repeat_interleave(3),
        lambda x, n: np.repeat(x[:n], 3),
    ),
    "assign": (
        lambda x, n: (x * 1)[:n].contiguous(),
        lambda x, n: x[:n],
    ),
    "pad n": (
        lambda x, n: x[:n].pad((0, 9 - n)),
        lambda x, n: np.pad(x[:n], (0, 9 - n)),
    ),
    "einsum": (
        lambda x, n: Tensor.einsum("i,j->ij", x[:n], x),
        lambda x, n: np.outer(x[:n], x),
    ),
    "einsum2": (
        lambda x, n: Tensor.einsum("i,i->", x[:n], x[:n]),
        lambda x, n: (x[:n] ** 2).sum(),
    ),
    "var": (
        lambda x, n: x[:n].var(),
        lambda x, n: x[:n].var(ddof=1) if n > 1 else np.nan,
    ),
    "dropout": (
        lambda x, n: x[:n].dropout(0.0),
        lambda x, n: x[:n],
    ),
    "logsumexp": (
        lambda x, n: x[:n].logsumexp(0),
        lambda x, n: np.log(np.exp(x[:n]).sum()),
    ),
    "tril": (
        lambda x, n: Tensor.ones(n, n).tril().sum(1),
        lambda x, n: np.arange(1, n + 1),
    ),
    "diag": (
        lambda x, n: x[:n].diag().sum(0),
        lambda x, n: x[:n],
    ),
    "meshgrid": (
        lambda x, n: Tensor.meshgrid(x[:n], x)[0],
        lambda x, n: np.meshgrid(x[:n], x, indexing="ij")[0],
    ),
    "cumprod": (
        lambda x, n: (x[:n] + 1).cumprod(0),
        lambda x, n: np.cumprod(x[:n] + 1),
    ),
    "cummax": (
        lambda x, n: x[:n].cummax(0)[0],
        lambda x, n: np.maximum.accumulate(x[:n]),
    ),
    "split reshape": (
        lambda x, n: x.repeat(n).reshape(n, 9).sum(1),
        lambda x, n: np.full(n, 36),
    ),
    "split reshape2": (
        lambda x, n: x.repeat(n).reshape(9, n).sum(1),
        lambda x, n: np.tile(x, n).reshape(9, n).sum(1),
    ),
    "interp": (
        lambda x, n: x[Tensor.arange(n) * 2 % 9],
        lambda x, n: x[np.arange(n) * 2 % 9],
    ),
    "setitem": (
        lambda x, n: (lambda y: (y.__setitem__(slice(None, n), 0.0), y)[1])(x * 1),
        lambda x, n: np.where(np.arange(9) < n, 0, x),
    ),
    "gradmean": (
        lambda x, n: grad(lambda y: (y[:n] ** 2).mean())(x),
        lambda x, n: np.where(np.arange(9) < n, 2 * x / n, 0),
    ),
    "sdpa": (
        lambda x, n: (
            Tensor.scaled_dot_product_attention(
                x[:n].reshape(1, 1, n, 1),
                x[:n].reshape(1, 1, n, 1),
                x[:n].reshape(1, 1, n, 1),
                is_causal=True,
            ).reshape(n)
            * 0
        ),
        lambda x, n: x[:n] * 0,
    ),
    "trilmask": (
        lambda x, n: (
            (Tensor.arange(n)[:, None] >= Tensor.arange(n)[None])
            .where(x[:n], -1e9)
            .softmax(-1)
            .sum(-1)
        ),
        lambda x, n: np.ones(n),
    ),
}
PER_VALUE: dict[str, tuple[Function, Function]] = {
    "squeeze": (
        lambda x, n: x[:n].squeeze(),
        lambda x, n: x[:n].squeeze(),
    ),
    "rolln": (
        lambda x, n: x[:n].roll(1),
        lambda x, n: np.roll(x[:n], 1),
    ),
    "sort": (
        lambda x, n: (-x[:n]).sort()[0],
        lambda x, n: np.sort(-x[:n]),
    ),
}


@pytest.mark.parametrize("name", [*ONE_TRACE, *PER_VALUE])
def test_values(name: str) -> None:
    mine, theirs = (ONE_TRACE | PER_VALUE)[name]
    captured: Any = jit(mine)

    for size in (3, 5, 1, 9):
        found = captured(Tensor(X), n.bind(size)).numpy()
        wanted = theirs(X, size)
        assert found.shape == np.shape(wanted)
        np.testing.assert_allclose(found, wanted, 1e-5, 1e-6, err_msg=str(size))

    assert name in PER_VALUE or captured.stats().traces == 1, captured.explain()


def test_random_numbers_of_symbolic_size() -> None:
    captured: Any = jit(lambda m: (Tensor.rand(m), Tensor.randn(m)))

    for size in (3, 9, 1):
        first, second = captured(n.bind(size)), captured(n.bind(size))
        assert [each.shape for each in first] == [(size,), (size,)]
        assert first[0].tolist() != second[0].tolist()
    assert captured.stats().traces == 1


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(IndexRangeError, match="has a step above 0, got -1; flip it"):
        jit(lambda x, m: x[:m][::-1])(Tensor(X), n.bind(3))
    with pytest.raises(DTypeError, match="a tensor holds numbers"):
        jit(lambda m: Tensor(m))(n.bind(3))
