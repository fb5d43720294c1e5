"""Gradients of whole programs against PyTorch: second derivatives, accumulation, networks."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.tensor import Tensor, grad
from tests.oracle.compare import agree, check, numbers

TWICE = {
    "polynomial": lambda x: (x**3 + 2 * x).sum(),
    "tanh": lambda x: x.tanh().sum(),
    "exp of product": lambda x: (x * x.exp()).sum(),
    "softmax": lambda x: (x.softmax(-1) ** 2).sum(),
    "logsumexp": lambda x: x.logsumexp(1).sum(),
    "movement": lambda x: (x.T.reshape(4, 3)[1:, ::2] ** 3).sum(),
    "matmul": lambda x: (x @ x.T).sin().sum(),
    "mean and variance": lambda x: (x.var(1) * x.mean(1)).sum(),
    "max": lambda x: (x.amax(1) ** 3).sum(),
    "where": lambda x: (x > 0).where(x**3, x**2).sum() if isinstance(x, Tensor) else
    (x > 0).to(x.dtype).mul(x**3).add((x <= 0).to(x.dtype).mul(x**2)).sum(),
    "cumsum": lambda x: (x.cumsum(1) ** 3).sum(),
    "sigmoid": lambda x: x.sigmoid().sum(),
    "sqrt": lambda x: (x * x + 1).sqrt().sum(),
    "erf": lambda x: x.erf().sum(),
    "power": lambda x: ((x * x + 0.5) ** 1.7).sum(),
    "quotient": lambda x: (x / (x * x + 1)).sum(),
    "gather": lambda x: (x[[0, 2, 2]] ** 3).sum(),
}  # fmt: skip


@pytest.mark.parametrize("name", TWICE)
def test_second_derivative(torch, name):
    x = numbers((3, 4))
    function = TWICE[name]
    mine, theirs = Tensor(x).requires_grad_(), torch.tensor(x, requires_grad=True)

    (first,) = function(mine).gradient(mine)
    (expected,) = torch.autograd.grad(function(theirs), theirs, create_graph=True)
    agree(first, expected)
    weights = numbers((3, 4), seed=5)
    (second,) = (first * Tensor(weights)).sum().gradient(mine)
    (wanted,) = torch.autograd.grad((expected * torch.tensor(weights)).sum(), theirs)

    agree(second, wanted, tolerance=1e-9)


def test_second_derivatives_of_a_convolution(torch):
    x, w = numbers((2, 2, 6, 5)), numbers((3, 2, 3, 2), seed=1)

    def second(conv2d, grad_of, x, w):
        y = conv2d(x, w)
        gx, gw = grad_of((y * y * y).sum(), (x, w))
        return grad_of((gx * gx).sum() + (gw * gw).sum(), (x, w))

    mine = [Tensor(each).requires_grad_() for each in (x, w)]
    theirs = [torch.tensor(each, requires_grad=True) for each in (x, w)]
    ours = second(
        lambda x, w: x.conv2d(w, stride=2, padding=1), lambda y, xs: y.gradient(*xs), *mine
    )
    expected = second(
        lambda x, w: torch.conv2d(x, w, stride=2, padding=1),
        lambda y, xs: torch.autograd.grad(y, xs, create_graph=True),
        *theirs,
    )

    for found, wanted in zip(ours, expected):
        agree(found, wanted, tolerance=1e-9)


def test_third_derivative_by_nested_grad():
    third = grad(grad(grad(lambda x: (x**4).sum())))

    assert third(Tensor(2.0)).item() == 48.0


def test_hessian_of_max_pool(torch):
    check(torch, lambda x: x.max_pool2d(2, 1) ** 2, lambda x: torch.max_pool2d(x, 2, 1) ** 2,
          [numbers((1, 1, 4, 4))])  # fmt: skip


def test_network_with_shared_weights(torch):
    def network(x, w, b, v):
        for _ in range(3):
            x = (x @ w + b).relu()
        return (x @ v).log_softmax(-1)

    arrays = [
        numbers((5, 4)),
        numbers((4, 4), seed=1),
        numbers((4,), seed=2),
        numbers((4, 3), seed=3),
    ]

    check(torch, network, network, arrays)


def test_gradient_accumulates_over_calls(torch):
    x = numbers((3,))
    mine, theirs = Tensor(x).requires_grad_(), torch.tensor(x, requires_grad=True)

    for _ in range(3):
        (mine * mine).sum().backward()
        (theirs * theirs).sum().backward()

    agree(mine.grad, theirs.grad)


def test_deep_chain_is_differentiated_without_recursion():
    x = Tensor(np.ones(2)).requires_grad_()
    y = x
    for _ in range(10_000):
        y = y + x

    y.sum().backward()

    assert x.grad.tolist() == [10_001.0, 10_001.0]
