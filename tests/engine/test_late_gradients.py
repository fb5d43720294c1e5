"""Gradients that `backward()` promises, and that are written out when a graph is new."""

from __future__ import annotations

import numpy as np
import pytest

import inkle
from inkle import Tensor, nn
from inkle.engine import realize as engine
from inkle.errors import GradientError
from inkle.ir import forms
from inkle.ir.node import intern, toposort

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((3, 2)).astype(np.float32)


@pytest.fixture
def unchecked(setenv):
    """In checked mode gradients are written out at once."""
    setenv("INKLE_CHECK", "0")


@pytest.fixture
def written(monkeypatch, unchecked):
    """Count the graphs that gradients were written out for."""
    calls = []

    def count(roots):
        calls.append(roots)
        return write_out(roots)

    write_out = engine.write_out
    monkeypatch.setattr(engine, "write_out", count)
    return calls


def leaf(values):
    return Tensor(values).requires_grad_()


def test_a_gradient_is_one_node_until_it_is_wanted(unchecked):
    w = leaf(W)
    (Tensor(X) @ w).square().sum().backward()

    assert [n.op for n in toposort([w.grad.node])[-2:]] == [forms.GRADIENT, forms.DETACH]
    np.testing.assert_allclose(w.grad.numpy(), 2 * X.T @ (X @ W), rtol=1e-5)


def test_the_second_step_of_a_loop_writes_nothing_out(written):
    w = leaf(W)
    optimizer = nn.optim.Adam([w])
    for _ in range(4):
        optimizer.zero_grad()
        (Tensor(X) @ w).square().mean().backward()
        optimizer.step()

    assert len(written) <= 2  # making the state, and the step


@pytest.mark.parametrize("looks", ["", "loss", "hidden", "loss hidden", "grad", "gate"])
@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_looking_at_values_between_changes_nothing(kind, looks, setenv):
    def train():
        w, v = leaf(W), leaf(np.ones((2, 2), np.float32))
        optimizer = getattr(nn.optim, kind)([w, v], lr=0.1)
        losses = []
        for _ in range(3):
            optimizer.zero_grad()
            gate = Tensor(X) > 0
            hidden = gate.where(Tensor(X), 0.1) @ w
            loss = ((hidden.relu() + hidden.detach()) @ v).square().mean()
            if "hidden" in looks:
                hidden.realize()
            loss.backward()
            if "loss" in looks:
                loss.item()
            if "grad" in looks:
                w.grad.realize()
            if "gate" in looks:
                gate.realize()
            optimizer.step()
            losses.append(loss.item())
        return [w.numpy(), v.numpy(), np.array(losses)]

    setenv("INKLE_CHECK", "1")
    expected = train()
    setenv("INKLE_CHECK", "0")

    for found, wanted in zip(train(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("values", [X, X[0], X[:, :1]])
def test_where_a_graph_is_detached_counts(values, unchecked):
    """The values of x * x and x * x.detach() are the same, their gradients are not."""
    found = []
    for cut in (lambda x: x, lambda x: x.detach(), lambda x: x):
        x = leaf(values)
        (x * cut(x)).sum().backward()
        found.append(x.grad.numpy())

    np.testing.assert_allclose(found[0], 2 * values)
    np.testing.assert_allclose(found[1], values)
    np.testing.assert_allclose(found[2], 2 * values)


def test_whose_gradient_it_is_counts(unchecked):
    """Two parameters of one value: the graphs differ in the leaf alone."""
    for wanted in ("a", "b", "a"):
        value = Tensor(X).realize()
        leaves = {name: Tensor(value).requires_grad_() for name in "ab"}
        (leaves["a"] * leaves["b"] * leaves["b"]).sum().backward()
        expected = X * X if wanted == "a" else 2 * X * X

        np.testing.assert_allclose(leaves[wanted].grad.numpy(), expected, rtol=1e-6)


def test_what_is_in_memory_counts(unchecked):
    """Three graphs that differ in what was looked at before the gradient was wanted."""
    for look in (lambda *_: None, lambda h, s: h.realize(), lambda h, s: h.realize(s)):
        w = leaf(W)
        hidden = Tensor(X) @ w
        squares = hidden.exp()
        squares.sum().backward()
        look(hidden, squares)

        np.testing.assert_allclose(w.grad.numpy(), X.T @ np.exp(X @ W), rtol=1e-5)


def test_a_gradient_inside_another_loss(unchecked):
    """The gradient of a loss that holds a gradient, which is a number there."""
    w, v = leaf(W), leaf(np.ones(2, np.float32))
    (Tensor(X) @ w).square().sum().backward()
    (w.grad * w * v).sum().backward()
    first = 2 * X.T @ (X @ W)

    np.testing.assert_allclose(v.grad.numpy(), (first * W).sum(0), rtol=1e-4)
    np.testing.assert_allclose(w.grad.numpy(), 2 * first, rtol=1e-4)


def test_gradients_add_up_over_batches_of_different_values(unchecked):
    w = leaf(W)
    for scale in (1, 2, 3):
        (Tensor(scale * X) @ w).square().sum().backward()

    np.testing.assert_allclose(w.grad.numpy(), 14 * 2 * X.T @ (X @ W), rtol=1e-5)


def test_the_values_are_those_of_the_time_of_the_call(unchecked):
    w = leaf(W)
    (Tensor(X) @ w).square().sum().backward()
    w.assign(w * 0)

    np.testing.assert_allclose(w.grad.numpy(), 2 * X.T @ (X @ W), rtol=1e-5)


def test_what_has_no_gradient_is_an_error_of_backward():
    x = leaf(X)
    copied = x._new(intern(forms.COPY, x.dtype, (x.node,), "CPU", x.shape))

    with pytest.raises(GradientError, match="copy has no gradient"):
        copied.sum().backward()
    assert x.grad is None


def test_backward_inside_a_function_that_is_differentiated(unchecked):
    """The inner gradient does not see that the outer argument depends on its leaf."""
    w = leaf(W)

    def outer(x):
        (x * w).sum().backward()
        return (x * x).sum()

    inkle.grad(outer)(w * 2.0)

    np.testing.assert_allclose(w.grad.numpy(), 2 * W, rtol=1e-6)


def test_a_captured_function_uses_a_gradient_from_outside(unchecked):
    w = leaf(W)
    (Tensor(X) @ w).square().sum().backward()

    found = inkle.jit(lambda g: g * 2)(w.grad)

    np.testing.assert_allclose(found.numpy(), 4 * X.T @ (X @ W), rtol=1e-5)


def test_equal_values_that_happen_to_be_in_memory_are_not_taken_for_the_gradient(unchecked):
    """Two graphs of one outline; what the first one adds is, as a node, equal to the gradient."""
    x = leaf(X)
    (x * x).sum().backward(create_graph=True)
    equal = x.grad.realize()
    x.grad = None
    for added in (equal, Tensor(X * 10).realize()):
        (x * x).sum().backward()
        found = x.grad + added
        x.grad = None

        np.testing.assert_allclose(found.numpy(), 2 * X + added.numpy(), rtol=1e-6)


def test_a_parameter_that_is_realized_between_its_uses_is_one(unchecked):
    w = leaf(Tensor(W) * 2)
    first = (Tensor(X) @ w).sum()
    w.realize()
    (first + (Tensor(X) @ w).square().sum()).backward()

    expected = X.T @ np.ones((4, 2), np.float32) + 2 * X.T @ (X @ (2 * W))
    np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-4)


def random_training(seed, values):
    """Return the parameters after steps of a random program that looks at values here and there."""
    rng = np.random.default_rng(seed)
    params = [leaf(each) for each in values]
    for _ in range(2):
        pool = list(params)
        for _ in range(rng.integers(3, 9)):
            a, b = (pool[i] for i in rng.integers(len(pool), size=2))
            new = [a * b, a + b, a.sin(), a.detach(), a - b.detach(), a[1:].pad((1, 0)), a.clone()]
            pool.append(new[rng.integers(len(new))])
            if rng.random() < 0.2:
                pool[rng.integers(len(pool))].realize()
        loss = (pool[-1] * pool[-2] + sum(params)).sum()
        loss.backward()
        for each in [loss, *pool]:
            if rng.random() < 0.1:
                each.realize()
        for each in params:
            if rng.random() < 0.8 and each.grad is not None:
                each.assign(each.detach() - each.grad * 0.1)
                if rng.random() < 0.8:
                    each.grad = None
    return np.concatenate([each.numpy() for each in params])


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_train_as_in_checked_mode(seed, setenv):
    values = np.random.default_rng(seed).standard_normal((2, 3, 4)).astype(np.float32)
    setenv("INKLE_CHECK", "1")
    expected = [random_training(seed, each) for each in values]
    setenv("INKLE_CHECK", "0")

    for each, wanted in zip(values, expected, strict=True):  # the second one knows all graphs
        np.testing.assert_allclose(random_training(seed, each), wanted, rtol=1e-4, atol=1e-5)


def test_gradients_of_many_losses_that_were_looked_at_take_linear_time(monkeypatch, unchecked):
    calls = []

    def count(*args):
        calls.append(args)
        return outline(*args)

    outline = engine.outline
    monkeypatch.setattr(engine, "outline", count)
    w = leaf(W)
    for scale in range(1, 21):
        loss = (Tensor(scale * X) @ w).square().sum()
        loss.backward()
        loss.item()
    calls.clear()

    expected = sum(scale * scale for scale in range(1, 21)) * 2 * X.T @ (X @ W)
    np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-4)
    assert len(calls) <= 4  # for the key and the canonical form, each once and again
