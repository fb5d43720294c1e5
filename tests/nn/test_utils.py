"""Clipping is PyTorch's; scaled losses give the steps of plain ones; bad steps do nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

import inkle
from inkle import Tensor, nn
from inkle.errors import DTypeError, GradientError, OptionError
from inkle.nn import optim
from inkle.nn.utils import GradScaler, clip_grad_norm_, clip_grad_value_

RNG = np.random.default_rng(0)
GRADS = [RNG.standard_normal(shape).astype(np.float32) * 3 for shape in ((4, 3), (3,), ())]


def with_gradients(make):
    params = [make(np.zeros_like(each)) for each in GRADS]
    for param, grad in zip(params, GRADS):
        param.grad = make(grad)
    return params


@pytest.mark.parametrize("max_norm", [0.5, 1000.0])
@pytest.mark.parametrize("norm_type", [1, 2, 3.0, math.inf])
def test_norms_are_clipped_as_pytorchs(torch, max_norm, norm_type):
    ours, theirs = with_gradients(Tensor), with_gradients(torch.tensor)

    got = clip_grad_norm_([*ours, Tensor([1.0])], max_norm, norm_type)
    want = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)

    assert got.item() == pytest.approx(want.item(), rel=1e-5)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), 1e-5, 1e-6)


def test_values_are_clipped_as_pytorchs(torch):
    ours, theirs = with_gradients(Tensor), with_gradients(torch.tensor)

    clip_grad_value_(ours, 0.5)
    torch.nn.utils.clip_grad_value_(theirs, 0.5)

    for a, b in zip(ours, theirs):
        assert np.array_equal(a.grad.numpy(), b.grad.numpy())


def test_without_gradients_the_norm_is_zero():
    assert clip_grad_norm_(Tensor([1.0]), 1.0).item() == 0.0


def test_a_norm_that_is_not_finite_is_refused_on_demand():
    param = Tensor([1.0, 2.0])
    param.grad = Tensor([math.nan, 1.0])

    with pytest.raises(GradientError, match="norm of 1 gradients is nan"):
        clip_grad_norm_([param], 1.0, error_if_nonfinite=True)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: clip_grad_norm_([], 0), OptionError, "above 0, got 0 and 2.0"),
        (lambda: clip_grad_norm_([1], 1), DTypeError, "must be tensors, got int"),
        (lambda: clip_grad_value_([], -1), OptionError, "at least 0, got -1"),
        (lambda: GradScaler(0), OptionError, "init_scale above 0"),
        (lambda: GradScaler(backoff_factor=1), OptionError, "between 0 and 1"),
        (lambda: GradScaler(growth_factor=1), OptionError, "growth_factor above 1"),
        (
            lambda: GradScaler().step(optim.SGD([Tensor([1.0])])),
            GradientError,
            r"call scale\(loss\)\.backward\(\) first",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_scaled_steps_are_those_of_the_plain_loss():
    results = []
    for scaler in (None, GradScaler()):
        param = Tensor(GRADS[0])
        optimizer = optim.Adam([param], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss = (param**2).sum()
            if scaler is None:
                loss.backward()
                optimizer.step()
            else:
                scaler.scale(loss).backward()
                scaler.step(optimizer)
        results.append(param.numpy())

    np.testing.assert_allclose(results[1], results[0], 1e-6)


@pytest.mark.parametrize("wrap", [lambda f: f, inkle.jit], ids=["eager", "jit"])
def test_a_step_that_overflows_changes_nothing_but_the_scale(wrap):
    param = Tensor([1.0, 2.0])
    optimizer = optim.Adam([param], lr=0.5)
    scaler = GradScaler(8.0, growth_interval=2)

    @wrap
    def step(x):
        optimizer.zero_grad()
        scaler.scale((param * x).sum()).backward()
        scaler.step(optimizer)

    seen = []
    for value in (1.0, math.inf, 1.0, 1.0, 1.0):
        before = param.numpy()
        step(Tensor([value, 1.0]))
        moved = bool((param.numpy() != before).all())
        seen.append((moved, scaler.scale_value.item(), optimizer.steps.item()))

    assert seen == [(True, 8.0, 1), (False, 4.0, 1), (True, 4.0, 2), (True, 8.0, 3), (True, 8.0, 4)]


def test_gradients_can_be_clipped_between_unscaling_and_the_step():
    param = Tensor([0.0, 0.0])
    optimizer, scaler = optim.SGD([param], lr=1.0), GradScaler()
    scaler.scale((param * Tensor([3.0, 4.0])).sum()).backward()

    found = scaler.unscale_(optimizer)
    norm = clip_grad_norm_(optimizer.params, 1.0)
    scaler.step(optimizer, found)

    assert norm.item() == pytest.approx(5.0)
    assert param.tolist() == pytest.approx([-0.6, -0.8])


@pytest.mark.parametrize("scale", [None, 2.0**16])
def test_small_gradients_survive_float16_with_a_scale(scale):
    """They are 1e-8; the smallest number above 0 is 6e-8."""
    param = Tensor(np.ones(2, np.float16))
    optimizer = optim.SGD([param], lr=1e6, master_weights=True)
    loss = (param * Tensor([1e-3, 1e-3]).half()).float().sum() * 1e-5

    if scale is None:
        loss.backward()
        optimizer.step()
    else:
        scaler = GradScaler(scale)
        scaler.scale(loss).backward()
        scaler.step(optimizer)

    want = 1.0 if scale is None else 1 - 0.01
    assert param.float().tolist() == pytest.approx([want] * 2, abs=1e-3)


def test_the_scale_is_saved_and_comes_back():
    scaler = GradScaler(4.0)
    other = GradScaler()

    other.load_state_dict(scaler.state_dict())

    assert other.scale_value.item() == 4.0
    assert list(nn.utils.GradScaler(1.0).state_dict()) == ["scale", "good_steps"]
