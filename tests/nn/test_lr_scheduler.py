"""Learning rates over many steps are PyTorch's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from inkle import Tensor
from inkle.errors import DTypeError, OptionError, ShapeError, StateError
from inkle.nn import optim
from inkle.nn.optim import lr_scheduler
from inkle.nn.state import safe_load, safe_save

CASES = [
    ("StepLR", {"step_size": 3}),
    ("StepLR", {"step_size": 1, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 7, 7], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.5, "total_iters": 8}),
    ("CosineAnnealingLR", {"T_max": 10}),
    ("CosineAnnealingLR", {"T_max": 4, "eta_min": 0.02}),
    ("LambdaLR", {"lr_lambda": lambda step: 1 / (1 + step)}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 20}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 13, "pct_start": 0.5, "div_factor": 10.0,
                    "anneal_strategy": "linear", "final_div_factor": 10.0}),
]  # fmt: skip


def ours(lr=0.1):
    return optim.SGD([Tensor([1.0])], lr=lr)


def theirs(torch, lr=0.1):
    return torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=lr)


def rates(schedule, steps, *measures):
    """Return the rates before and after so many steps."""
    found = [schedule.get_last_lr()[0]]
    for number in range(steps):
        schedule.step(*[each[number] for each in measures])
        found.append(schedule.get_last_lr()[0])
    return found


@pytest.fixture(autouse=True)
def no_warnings_of_pytorch():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of")
        warnings.filterwarnings("ignore", ".*epoch parameter")
        yield


@pytest.mark.parametrize(("name", "options"), CASES)
def test_rates_are_pytorchs(torch, name, options):
    optimizer = ours()
    given = {"cycle_momentum": False} if name == "OneCycleLR" else {}
    reference = getattr(torch.optim.lr_scheduler, name)(theirs(torch), **options, **given)

    got = rates(getattr(lr_scheduler, name)(optimizer, **options), 12)

    np.testing.assert_allclose(got, rates(reference, 12), 1e-6, 1e-9)
    assert optimizer.lr.item() == pytest.approx(got[-1])


def test_warm_up_and_then_another_is_pytorchs(torch):
    def schedule(module, optimizer):
        warm = module.LinearLR(optimizer, 0.01, total_iters=4)
        later = module.CosineAnnealingLR(optimizer, 8)
        return module.SequentialLR(optimizer, [warm, later], [4])

    got = rates(schedule(lr_scheduler, ours()), 11)

    reference = rates(schedule(torch.optim.lr_scheduler, theirs(torch)), 11)
    np.testing.assert_allclose(got, reference, 1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 1, "factor": 0.5, "cooldown": 2},
        {"patience": 0, "mode": "max"},
        {"patience": 1, "threshold": 0.05, "threshold_mode": "abs", "min_lr": 0.03, "factor": 0.5},
        {"patience": 0, "factor": 0.5, "eps": 0.02},
    ],
    ids=str,
)
def test_rates_fall_on_a_plateau_as_pytorchs_do(torch, options):
    measures = [1.0, 0.9, 0.91, 0.92, 0.93, 0.93, 0.8, 0.81, 0.82, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs(torch), **options)

    got = rates(lr_scheduler.ReduceLROnPlateau(ours(), **options), 15, measures)

    np.testing.assert_allclose(got, rates(reference, 15, measures), 1e-6)


def test_negative_measures_can_get_better():
    schedule = lr_scheduler.ReduceLROnPlateau(ours(), patience=0, threshold=0.0)

    assert rates(schedule, 3, [-1.0, -2.0, -3.0]) == pytest.approx([0.1] * 4)


def test_a_measure_may_be_a_tensor_and_nan_is_no_improvement():
    schedule = lr_scheduler.ReduceLROnPlateau(ours(), patience=0)

    assert rates(schedule, 2, [Tensor(1.0), Tensor(float("nan"))])[-1] == pytest.approx(0.01)


def test_each_optimiser_of_a_group_keeps_its_own_rate():
    group = optim.OptimizerGroup(ours(0.1), ours(0.4))
    schedule = lr_scheduler.StepLR(group, 1, gamma=0.5)

    schedule.step()

    assert [each.lr.item() for each in group.optimizers] == pytest.approx([0.05, 0.2])


@pytest.mark.parametrize("plateau", [False, True])
def test_a_schedule_goes_on_from_saved_state(tmp_path, plateau):
    def made():
        if plateau:
            return lr_scheduler.ReduceLROnPlateau(ours(), patience=1, cooldown=1)
        return lr_scheduler.CosineAnnealingLR(ours(), 9)

    def run(schedule, steps):
        return rates(schedule, steps, *[[1.0] * steps] * plateau)

    first, whole = made(), run(made(), 9)
    run(first, 4)
    safe_save(first.state_dict(), tmp_path / "state")

    second = made()
    second.load_state_dict(safe_load(tmp_path / "state"))

    assert run(second, 5) == pytest.approx(whole[4:])


def test_state_of_another_schedule_is_refused():
    state = lr_scheduler.ReduceLROnPlateau(ours()).state_dict()

    with pytest.raises(StateError, match=r"has \['steps', 'base_lrs'\], got"):
        lr_scheduler.StepLR(ours(), 1).load_state_dict(state)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: lr_scheduler.StepLR(1, 2), OptionError, "needs an optimiser, got int"),
        (lambda: lr_scheduler.StepLR(ours(), 0), OptionError, "step_size must be at least 1"),
        (lambda: lr_scheduler.StepLR(ours(), 1.5), DTypeError, "step_size must be an integer"),
        (lambda: lr_scheduler.StepLR(ours(), 1, -1), OptionError, "gamma must be at least 0"),
        (lambda: lr_scheduler.LambdaLR(ours(), lambda s: None), DTypeError, "lr_lambda returns"),
        (lambda: lr_scheduler.OneCycleLR(ours(), 1.0, 1), OptionError, "total_steps of at least 2"),
        (lambda: lr_scheduler.OneCycleLR(ours(), 1, 9, div_factor=0), OptionError, "above 0"),
        (lambda: lr_scheduler.ReduceLROnPlateau(ours(), "best"), ShapeError, "mode must"),
        (lambda: lr_scheduler.ReduceLROnPlateau(ours(), factor=1), OptionError, "below 1, got 1"),
        (lambda: lr_scheduler.ReduceLROnPlateau(ours()).step(), OptionError, r"step\(loss\)"),
        (lambda: lr_scheduler.SequentialLR(ours(), [], [1]), OptionError, "one milestone between"),
    ],
)
def test_options_outside_their_range_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_one_cycle_ends():
    schedule = lr_scheduler.OneCycleLR(ours(), 1.0, 3)
    rates(schedule, 2)

    with pytest.raises(OptionError, match="3 learning rates; step\\(\\) may be called 2 times"):
        schedule.step()
