"""Loops over time against PyTorch, which unrolls them: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import inkle
from inkle.tensor import Tensor
from tests.oracle.compare import numbers

T, B, N, H = 7, 3, 4, 5  # steps, batch, inputs, hidden


def torch_rnn(torch, x, w, u, h, *, reverse=False):
    hs = []
    for row in reversed(x) if reverse else x:
        h = torch.tanh(row @ w + h @ u)
        hs.append(h)
    return h, torch.stack(hs[::-1] if reverse else hs)


def weights():
    shapes = (T, B, N), (N, H), (H, H), (B, H)
    return [(0.5 * numbers(shape, seed=seed)).astype("f") for seed, shape in enumerate(shapes)]


def close(mine, theirs):
    np.testing.assert_allclose(mine.numpy(), theirs.detach().numpy(), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("wanted", ["last", "all", "both"])
def test_an_rnn_and_its_gradients(torch, reverse, wanted):
    arrays = weights()
    mine = [Tensor(each).requires_grad_() for each in arrays]
    theirs = [torch.tensor(each, requires_grad=True) for each in arrays]
    x, w, u, h = mine

    def step(h, row):
        h = (row @ w + h @ u).tanh()
        return h, h

    last, hs = inkle.scan(step, h, x, reverse=reverse)
    their_last, their_hs = torch_rnn(torch, *theirs, reverse=reverse)
    loss, their_loss = {
        "last": (last.sum(), their_last.sum()),
        "all": ((hs**2).mean(), (their_hs**2).mean()),
        "both": ((hs * hs).sum() + (3 * last).exp().mean(),
                 (their_hs * their_hs).sum() + (3 * their_last).exp().mean()),
    }[wanted]  # fmt: skip
    loss.backward()
    their_loss.backward()

    close(last, their_last)
    close(hs, their_hs)
    for a, b in zip(mine, theirs, strict=True):
        close(a.grad, b.grad)


def test_an_lstm_carries_two_tensors(torch):
    x, w, u, h = weights()
    w, u = np.concatenate([w, 2 * w, w, -w], 1), np.concatenate([u, -u, 0.5 * u, u], 1)
    arrays = [x, w, u, h, 0.3 * h]
    mine = [Tensor(each).requires_grad_() for each in arrays]
    theirs = [torch.tensor(each, requires_grad=True) for each in arrays]

    def gates(z, c, sigmoid, tanh):
        i, f, g, o = (z[:, k * H : (k + 1) * H] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

    def step(state, row):
        z = row @ mine[1] + state["h"] @ mine[2]
        h, c = gates(z, state["c"], lambda v: v.sigmoid(), lambda v: v.tanh())
        return {"h": h, "c": c}, h

    state, hs = inkle.scan(step, {"h": mine[3], "c": mine[4]}, mine[0])
    their_h, their_c, rows = theirs[3], theirs[4], []
    for row in theirs[0]:
        z = row @ theirs[1] + their_h @ theirs[2]
        their_h, their_c = gates(z, their_c, torch.sigmoid, torch.tanh)
        rows.append(their_h)
    (hs.sum() + state["c"].sum()).backward()
    (torch.stack(rows).sum() + their_c.sum()).backward()

    close(hs, torch.stack(rows))
    for a, b in zip(mine, theirs, strict=True):
        close(a.grad, b.grad)


STEPS = {
    "elementwise recurrence": lambda s, x: s * 0.9 + x,
    "recurrence with a factor per row": lambda s, x: s * x.sigmoid() + x,
    "product": lambda s, x: s * (1 + 0.1 * x),
    "softmax of the state": lambda s, x: (s + x).softmax(-1),
    "row statistics": lambda s, x: s - x * s.mean(1, keepdim=True),
    "movement": lambda s, x: s.flip(1) * 0.5 + x[:, [1, 0, 2, 3, 4]],
    "state against itself": lambda s, x: (s @ s.T @ x).tanh(),
}


@pytest.mark.parametrize("name", STEPS)
def test_gradients_of_first_and_second_order_by_differences(name):
    step = STEPS[name]
    x = Tensor(0.3 * numbers((4, 3, 5), seed=1).astype(np.float64))
    s = Tensor(0.5 * numbers((3, 5), seed=2).astype(np.float64))

    def loop(s, x):
        return (inkle.fold(step, s, x) ** 2).sum()

    def unrolled(s, x):
        for t in range(4):
            s = step(s, x[t])
        return (s**2).sum()

    def penalty(function):
        return lambda s, x: sum((g * g).sum() for g in inkle.grad(function, argnums=(0, 1))(s, x))

    np.testing.assert_allclose(loop(s, x).item(), unrolled(s, x).item(), rtol=1e-12)
    for mine, theirs in ((loop, unrolled), (penalty(loop), penalty(unrolled))):
        got = inkle.grad(mine, argnums=(0, 1))(s, x)
        want = inkle.grad(theirs, argnums=(0, 1))(s, x)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)
