"""Each optimiser moves as PyTorch's does, or as its paper says where PyTorch has none."""

from __future__ import annotations

import numpy as np
import pytest

import inkle
from inkle import Tensor
from inkle.errors import DTypeError, GradientError, OptionError, ShapeError
from inkle.nn import optim
from inkle.nn.state import safe_load, safe_save

STEPS = 20
SHAPES = [(4, 3), (2, 5), (3,), ()]
RNG = np.random.default_rng(0)
START = [RNG.standard_normal(shape).astype(np.float32) for shape in SHAPES]
TARGETS = [[RNG.standard_normal(s).astype(np.float32) for s in SHAPES] for _ in range(STEPS)]
CASES = [
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.5, "eps": 1e-3, "weight_decay": 0.1}),
    ("RMSprop", {"momentum": 0.9, "centered": True, "weight_decay": 0.01}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "eps": 1e-3}),
    ("Adagrad", {"initial_accumulator_value": 0.5}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.1, "betas": (0.5, 0.6), "weight_decay": 0.1, "momentum_decay": 0.1}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.5, "beta2_decay": -0.5, "d": 2.0, "weight_decay": 0.1}),
    ("Adafactor", {"eps": (1e-2, 0.5)}),
]


def loss_of(params, targets):
    """Fourth powers: their gradients have many scales."""
    return sum(((p - t) ** 4).sum() for p, t in zip(params, targets))


def trained(optimizer, params, numbers=TARGETS):
    for targets in numbers:
        optimizer.zero_grad()
        loss_of(params, map(Tensor, targets)).backward()
        optimizer.step()
    return [param.numpy() for param in params]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_twenty_steps_are_pytorchs(torch, name, options):
    ours = [Tensor(value) for value in START]
    theirs = [torch.tensor(value, requires_grad=True) for value in START]
    reference = getattr(torch.optim, name)(theirs, **options)
    for targets in TARGETS:
        reference.zero_grad()
        loss_of(theirs, map(torch.tensor, targets)).backward()
        reference.step()

    got = trained(getattr(optim, name)(ours, **options), ours)

    for a, b in zip(got, theirs):
        np.testing.assert_allclose(a, b.detach().numpy(), 2e-5, 2e-5)


# Formulas of the papers, in float64: what one parameter becomes, and its state.


def norm(x):
    return np.sqrt((x * x).sum())


def lion(p, g, state, t, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
    m = state.get("m", 0 * g)
    state["m"] = betas[1] * m + (1 - betas[1]) * g
    return p - lr * (np.sign(betas[0] * m + (1 - betas[0]) * g) + weight_decay * p)


def lamb(p, g, state, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0):
    m = state["m"] = betas[0] * state.get("m", 0) + (1 - betas[0]) * g
    v = state["v"] = betas[1] * state.get("v", 0) + (1 - betas[1]) * g * g
    u = (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps) + weight_decay * p
    return p - lr * (norm(p) / norm(u) if norm(p) and norm(u) else 1) * u


def lars(p, g, state, t, lr=1e-3, momentum=0.9, weight_decay=1e-4, trust_coefficient=1e-3):
    size, slope = norm(p), norm(g)
    trust = trust_coefficient * size / (slope + weight_decay * size) if size and slope else 1
    v = state["v"] = momentum * state.get("v", 0) + lr * trust * (g + weight_decay * p)
    return p - v


def muon(p, g, state, t, lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True, ns_steps=5):
    v = state["v"] = momentum * state.get("v", 0) + (1 - momentum) * g
    x = momentum * v + (1 - momentum) * g if nesterov else v
    x = (x.T if len(x) > len(x[0]) else x) / max(norm(x), 1e-7)
    for _ in range(ns_steps):
        y = x @ x.T
        x = 3.4445 * x + (-4.775 * y + 2.0315 * y @ y) @ x
    x = x if x.shape == p.shape else x.T
    return p * (1 - lr * weight_decay) - lr * max(1, len(p) / len(p[0])) ** 0.5 * x


PAPERS = [
    ("Lion", lion, {"lr": 0.01, "weight_decay": 0.1}),
    ("Lion", lion, {"lr": 0.1, "betas": (0.5, 0.8)}),
    ("LAMB", lamb, {"lr": 0.1, "weight_decay": 0.1}),
    ("LAMB", lamb, {"lr": 0.01, "betas": (0.5, 0.8), "eps": 1e-3}),
    ("LARS", lars, {"lr": 10.0}),
    ("LARS", lars, {"lr": 1.0, "momentum": 0.5, "trust_coefficient": 0.1, "weight_decay": 0.1}),
    ("Muon", muon, {"lr": 0.1}),
    ("Muon", muon, {"lr": 0.1, "nesterov": False, "momentum": 0.5, "ns_steps": 3}),
]


@pytest.mark.parametrize(("name", "formula", "options"), PAPERS)
def test_twenty_steps_are_those_of_the_paper(name, formula, options):
    count = 2 if name == "Muon" else len(START)
    want, states = [value.astype(np.float64) for value in START[:count]], [{} for _ in START]
    for t, targets in enumerate(TARGETS, 1):
        slopes = [4 * (p - target) ** 3 for p, target in zip(want, targets)]
        want = [formula(p, g, s, t, **options) for p, g, s in zip(want, slopes, states)]
    ours = [Tensor(value) for value in START[:count]]

    got = trained(getattr(optim, name)(ours, **options), ours)

    for a, b in zip(got, want):
        np.testing.assert_allclose(a, b, 2e-4, 2e-4)


def test_muon_moves_as_pytorchs_up_to_its_bfloat16(torch):
    ours, theirs = Tensor(START[0]), torch.tensor(START[0], requires_grad=True)
    reference = torch.optim.Muon([theirs], lr=0.1)
    for target, *_ in TARGETS[:5]:
        reference.zero_grad()
        loss_of([theirs], [torch.tensor(target)]).backward()
        reference.step()

    (got,) = trained(optim.Muon([ours], lr=0.1), [ours], TARGETS[:5])

    np.testing.assert_allclose(got, theirs.detach().numpy(), 0.02, 0.02)


@pytest.mark.parametrize("name", ["LAMB", "LARS"])
def test_a_parameter_of_zeros_moves_and_one_without_slope_stays(name):
    params = [Tensor(np.zeros(2, np.float32)), Tensor(np.ones(2, np.float32))]
    optimizer = getattr(optim, name)(params, lr=0.5, weight_decay=0.0)
    (params[0] * 2 + params[1] * 0).sum().backward()

    optimizer.step()

    assert (params[0].numpy() < 0).all()
    assert params[1].tolist() == [1.0, 1.0]


KINDS = ["SGD", "LARS", "Lion", "Muon", "Adam", "AdamW", "NAdam", "LAMB", "RMSprop", "Adagrad",
         "Adafactor"]  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_thousand_tiny_steps_in_float16_follow_float32(name):
    options = {"lr": {"SGD": 1e-5, "LARS": 1e-3, "Muon": 1e-5, "Adafactor": 1e-5}.get(name, 2e-5)}
    start = np.array([[1.0, 1.25], [1.5, 1.75]], np.float32)
    slope = Tensor(np.array([[1.0, 0.5], [0.25, 1.0]], np.float32))
    values = []
    for dtype in ("float32", "float16"):
        param = Tensor(start).cast(dtype).realize()
        optimizer = getattr(optim, name)([param], **options, master_weights=True)

        @inkle.jit
        def step(param=param, optimizer=optimizer, dtype=dtype):
            param.grad = slope.cast(dtype)
            optimizer.schedule_step()

        for _ in range(1000):
            step()
        values.append(param.float().numpy())

    moved = np.abs(values[0] - start).max()
    assert moved > 1e-3  # one step is lost in float16, a thousand are not
    np.testing.assert_allclose(values[1], values[0], 0, 2.0**-11 + 1e-5)


def test_without_master_weights_tiny_steps_are_lost():
    param = Tensor(np.ones(2, np.float16))
    optimizer = optim.SGD([param], lr=1e-5)
    for _ in range(3):
        param.grad = Tensor(np.ones(2, np.float16))
        optimizer.step()

    assert param.tolist() == [1.0, 1.0]
    assert "master.0" not in optimizer.state_dict()


def test_master_weights_are_state_and_only_of_halves(tmp_path):
    half, whole = Tensor(np.ones(2, np.float16)), Tensor(np.ones(2, np.float32))
    optimizer = optim.SGD([whole, half], lr=1e-5, master_weights=True)
    half.grad = whole.grad = Tensor(np.ones(2, np.float32))
    optimizer.step()
    safe_save(optimizer.state_dict(), tmp_path / "state")

    again = optim.SGD([whole, half], master_weights=True)
    again.load_state_dict(safe_load(tmp_path / "state"))

    assert [name for name in again.state_dict() if "master" in name] == ["master.1"]
    assert again.masters[1].tolist() == pytest.approx([1 - 1e-5] * 2)


@pytest.mark.parametrize("name", KINDS)
def test_a_captured_step_is_the_same_as_an_eager_one(name):
    results = []
    for wrap in (lambda f: f, inkle.jit):
        params = [Tensor(value) for value in START[:2]]
        optimizer = getattr(optim, name)(params, lr=0.1)

        @wrap
        def step(a, b, params=params, optimizer=optimizer):
            optimizer.zero_grad()
            loss_of(params, [a, b]).backward()
            optimizer.step()

        for a, b, *_ in TARGETS[:4]:
            step(Tensor(a), Tensor(b))
        results.append([param.numpy() for param in params])

    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, 1e-5, 1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_training_goes_on_from_saved_state_bit_for_bit(tmp_path, name):
    def made(values):
        params = [Tensor(value) for value in values]
        return params, getattr(optim, name)(params, lr=0.1)

    params, optimizer = made(START[:2])
    half = trained(optimizer, params, [t[:2] for t in TARGETS[:3]])
    safe_save(optimizer.state_dict(), tmp_path / "state")
    want = trained(optimizer, params, [t[:2] for t in TARGETS[3:5]])

    params, optimizer = made(half)
    optimizer.load_state_dict(safe_load(tmp_path / "state"))
    got = trained(optimizer, params, [t[:2] for t in TARGETS[3:5]])

    for a, b in zip(got, want):
        assert np.array_equal(a, b)


def test_a_group_moves_each_parameter_in_its_own_way(torch):
    ours = [Tensor(value) for value in START[:3]]
    group = optim.OptimizerGroup(
        optim.SGD(ours[:2], lr=0.01, momentum=0.9), optim.Adam(ours[2:], lr=0.1)
    )
    theirs = [torch.tensor(value, requires_grad=True) for value in START[:3]]
    references = [
        torch.optim.SGD(theirs[:2], lr=0.01, momentum=0.9), torch.optim.Adam(theirs[2:], lr=0.1)
    ]  # fmt: skip
    for targets in TARGETS[:5]:
        for each in theirs:
            each.grad = None
        loss_of(theirs, map(torch.tensor, targets)).backward()
        for each in references:
            each.step()

    got = trained(group, ours, TARGETS[:5])

    for a, b in zip(got, theirs):
        np.testing.assert_allclose(a, b.detach().numpy(), 1e-4, 1e-5)
    assert [id(p) for p in group.params] == [id(p) for p in ours]
    assert "1.exp_avg.0" in group.state_dict()


def test_a_group_goes_on_from_saved_state(tmp_path):
    def made(values):
        params = [Tensor(value) for value in values]
        adam = optim.Adam(params[:1], lr=0.1)
        return params, optim.OptimizerGroup(adam, optim.SGD(params[1:], lr=0.1, momentum=0.5))

    params, group = made(START[:2])
    half = trained(group, params, [t[:2] for t in TARGETS[:3]])
    safe_save(group.state_dict(), tmp_path / "state")
    want = trained(group, params, [t[:2] for t in TARGETS[3:5]])

    params, group = made(half)
    group.load_state_dict(safe_load(tmp_path / "state"))

    for a, b in zip(trained(group, params, [t[:2] for t in TARGETS[3:5]]), want):
        assert np.array_equal(a, b)


def test_in_a_group_only_those_with_gradients_step():
    a, b = Tensor([1.0]), Tensor([1.0])
    group = optim.OptimizerGroup(optim.SGD([a], lr=0.5), optim.SGD([b], lr=0.5))
    with pytest.raises(GradientError, match="none of the 1 parameters has a gradient"):
        group.step()
    a.sum().backward()

    group.step()

    assert [a.item(), b.item()] == [0.5, 1.0]


def leaf(shape=(2, 2)):
    return Tensor(np.ones(shape, np.float32))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.RMSprop([leaf()], alpha=1), OptionError, "alpha must .* below 1, got 1"),
        (lambda: optim.RMSprop([leaf()], momentum=-1), OptionError, "momentum must be at least 0"),
        (lambda: optim.Adagrad([leaf()], lr_decay=-1), OptionError, "lr_decay must be at least 0"),
        (lambda: optim.NAdam([leaf()], momentum_decay=-1), OptionError, "momentum_decay must"),
        (lambda: optim.Adafactor([leaf()], beta2_decay=1), OptionError, "at most 0, got 1"),
        (lambda: optim.Adafactor([leaf()], eps=(1e-3,)), OptionError, r"two numbers, got \(0.001"),
        (lambda: optim.Adafactor([leaf()], d=0.5), OptionError, "d must be at least 1, got 0.5"),
        (lambda: optim.Lion([leaf()], betas=(1, 0)), OptionError, "beta must .* below 1, got 1"),
        (lambda: optim.LARS([leaf()], trust_coefficient=-1), OptionError, "trust_coefficient must"),
        (lambda: optim.Muon([leaf((3,))]), ShapeError, r"matrices, got a parameter of .*\(3,\)"),
        (lambda: optim.Muon([leaf()], ns_steps=0), OptionError, "ns_steps must be 1 to 99, got 0"),
        (lambda: optim.Muon([leaf()], ns_coefficients=(1, 2)), OptionError, "three numbers, got"),
        (lambda: optim.OptimizerGroup(), OptionError, "no parameter in common"),
        (lambda: optim.OptimizerGroup(leaf()), DTypeError, "holds optimisers, got Tensor"),
    ],
)  # fmt: skip
def test_options_outside_their_range_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_group_does_not_move_a_parameter_twice():
    param = leaf()

    with pytest.raises(OptionError, match="no parameter in common"):
        optim.OptimizerGroup(optim.SGD([param]), optim.Adam([param]))
