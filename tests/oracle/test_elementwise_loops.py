"""Elementwise loops over time, each in one kernel, against loops of NumPy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import inkle
from inkle import Tensor, dtypes
from tests.oracle.compare import numbers

T = 6


def sigmoid(x):
    return x.sigmoid()


def welford(state, x):
    n, mean, m2 = state
    n = n + 1.0
    gap = x - mean
    mean = mean + gap / n
    return (n, mean, m2 + gap * (x - mean)), mean


def gated(state, row):
    """An LSTM without products: four gates of one row, two values carried."""
    h, c = state
    i, f, o = (row * k + h * (1 - 0.3 * k) for k in (0.5, 1.0, 1.5))
    c = sigmoid(f) * c + sigmoid(i) * (row + h).tanh()
    h = sigmoid(o) * c.tanh()
    return (h, c), h - c


def several(state, x):
    a, b = state
    return (b * 0.5 + x, a - b), a * b + x


RECURRENCES = {
    "linear": (lambda s, x: (x.sigmoid() * s + x, s), 1),
    "moving average": (lambda s, x: (0.9 * s + 0.1 * x,) * 2, 1),
    "product": (lambda s, x: (s * (1 + 0.1 * x), s + x), 1),
    "momentum": (lambda v, x: ((v[0] * 0.8 + x, v[1] - 0.1 * v[0]), v[1]), 2),
    "gates of two carries": (gated, 2),
    "swapped": (several, 2),
    "state unused": (lambda s, x: (x * 2.0, s + x), 1),
    "state unchanged": (lambda s, x: (s, s * x), 1),
    "mirrored": (lambda s, x: (s.flip((1,)) * 0.5 + x, s.flip((1,)) - x), 1),
    "a sum of the state": (lambda s, x: (s * 0.5 + x, (s * x).sum(1)), 1),
}
SHAPES = ((T, 3, 5), (T, 1, 33), (1, 2, 3), (2, 2, 3))


def state_of(count, start):
    return start[0] if count == 1 else tuple(start[:count])


def loop(step, state, xs, *, reverse):
    rows = []
    for t in reversed(range(len(xs))) if reverse else range(len(xs)):
        state, y = step(state, xs[t])
        rows.append(y)
    return state, rows[::-1] if reverse else rows


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", RECURRENCES)
def test_values_and_gradients(torch, name, reverse, shape):
    step, count = RECURRENCES[name]
    arrays = [numbers(shape, seed=1), *[numbers(shape[1:], seed=2 + i) for i in range(2)]]
    mine = [Tensor(each).requires_grad_() for each in arrays]
    theirs = [torch.tensor(each, requires_grad=True) for each in arrays]

    last, ys = inkle.scan(step, state_of(count, mine[1:]), mine[0], reverse=reverse)
    their_last, rows = loop(step, state_of(count, theirs[1:]), theirs[0], reverse=reverse)
    their_ys = torch.stack(rows)
    weight = np.cos(np.arange(their_ys.numel())).reshape(their_ys.shape)
    (sum((each * each).sum() for each in parts(last)) + (ys * Tensor(weight)).sum()).backward()
    loss = sum((each * each).sum() for each in parts(their_last))
    (loss + (their_ys * torch.tensor(weight)).sum()).backward()

    for a, b in [*zip(parts(last), parts(their_last), strict=True), (ys, their_ys)]:
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-12)
    for a, b in zip(mine, theirs, strict=True):
        want = np.zeros(b.shape) if b.grad is None else b.grad.numpy()
        got = np.zeros(b.shape) if a.grad is None else a.grad.numpy()
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["linear", "product", "gates of two carries", "swapped"])
def test_second_order_gradients(torch, name):
    step, count = RECURRENCES[name]
    arrays = [0.5 * numbers((4, 2, 3), seed=1), *[numbers((2, 3), seed=2 + i) for i in range(2)]]

    def penalty(x):
        def loss(x):
            last, ys = inkle.scan(step, state_of(count, [Tensor(a) for a in arrays[1:]]), x)
            return (ys * ys).sum() + sum((each * each).sum() for each in parts(last))

        g = inkle.grad(loss)(x)
        return (g * g).sum()

    x = torch.tensor(arrays[0], requires_grad=True)
    last, rows = loop(
        step, state_of(count, [torch.tensor(a) for a in arrays[1:]]), x, reverse=False
    )
    loss = sum((y * y).sum() for y in rows) + sum((each * each).sum() for each in parts(last))
    (g,) = torch.autograd.grad(loss, x, create_graph=True)
    (want,) = torch.autograd.grad((g * g).sum(), x)

    got = inkle.grad(penalty)(Tensor(arrays[0]))
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("shape", [(9, 4), (9, 33), (9,), (1, 4), (0, 4), (2, 1)], ids=str)
def test_statistics_with_a_scalar_count(shape):
    x = numbers(shape, seed=3)
    zeros = np.zeros(shape[1:])
    (n, mean, m2), means = inkle.scan(welford, (0.0, Tensor(zeros), Tensor(zeros)), Tensor(x))

    assert n.item() == len(x)
    want = [x[: t + 1].mean(0) for t in range(len(x))]
    np.testing.assert_allclose(means.numpy(), np.array(want).reshape(shape), rtol=1e-6, atol=1e-7)
    if len(x):
        np.testing.assert_allclose(mean.numpy(), x.mean(0), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(m2.numpy(), ((x - x.mean(0)) ** 2).sum(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(40,), (17, 5), (8, 70)], ids=str)
def test_carries_of_several_dtypes(shape, reverse):
    x = np.random.default_rng(0).integers(-50, 50, shape).astype(np.int32)
    start = np.full(shape[1:], -99, np.int32)

    def step(state, x):
        top, count, odd, total = state
        better = x > top
        state = (
            better.where(x, top),
            better.where(count + 1, count),
            odd ^ (x % 2 == 1),
            total * 0.5 + x.cast(dtypes.float32),
        )
        return state, (better, state[0])

    begin = (
        Tensor(start), Tensor(start * 0).cast(dtypes.int64), Tensor(start > 0),
        Tensor(start * 0).cast(dtypes.float32),
    )  # fmt: skip
    last, (better, tops) = inkle.scan(step, begin, Tensor(x), reverse=reverse)

    rows = x[::-1] if reverse else x
    want_tops = np.maximum.accumulate(rows, 0)
    changes = np.diff(np.concatenate([start[None], want_tops]), axis=0) != 0
    total = np.zeros(shape[1:], np.float32)
    for row in rows:
        total = total * np.float32(0.5) + row.astype(np.float32)
    turn = slice(None, None, -1) if reverse else slice(None)
    np.testing.assert_array_equal(tops.numpy(), want_tops[turn])
    np.testing.assert_array_equal(better.numpy(), changes[turn])
    np.testing.assert_array_equal(last[0].numpy(), x.max(0))
    np.testing.assert_array_equal(last[1].numpy(), changes.sum(0))
    np.testing.assert_array_equal(last[2].numpy(), (x % 2).sum(0) % 2 == 1)
    np.testing.assert_allclose(last[3].numpy(), total, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_rounded_at_every_step(torch, dtype):
    x = numbers((20, 37), seed=4, dtype="float32")
    mine, theirs = Tensor(x).cast(getattr(dtypes, dtype)), torch.tensor(x).to(getattr(torch, dtype))
    _, ys = inkle.scan(lambda s, x: (s * 0.5 + x,) * 2, Tensor.zeros(37, dtype=mine.dtype), mine)
    state, rows = torch.zeros(37, dtype=theirs.dtype), []
    for row in theirs:
        state = state * 0.5 + row
        rows.append(state)

    got, want = ys.cast(dtypes.float32).numpy(), torch.stack(rows).float().numpy()
    np.testing.assert_array_equal(got, want)
