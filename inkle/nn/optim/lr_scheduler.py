"""Learning rates that change from step to step, as a function of the number of steps.

A schedule belongs to an optimiser, or to a group of them; `step()` after each step (or epoch)
assigns the next learning rate. Names, formulas and defaults are PyTorch's; there it is called
`torch.optim.lr_scheduler`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkle.errors import OptionError, StateError
from inkle.nn.optim.base import Optimizer, OptimizerGroup
from inkle.tensor import Tensor
from inkle.tensor.arguments import as_int, as_number, check_choice


class LRScheduler:
    """What all schedules share; a subclass says in `rate` what the learning rate is.

    Attributes:
        steps: how often `step` was called.
        base_lrs: the learning rates to start from, one for each optimiser.

    Args:
        optimizer: an optimiser, or a group. The first schedule made for it notes its learning rate.
    """

    def __init__(self, optimizer: Optimizer | OptimizerGroup) -> None:
        if not isinstance(optimizer, (Optimizer, OptimizerGroup)):
            raise OptionError(f"a schedule needs an optimiser, got {type(optimizer).__name__}")
        self._optimizers = (
            optimizer.optimizers if isinstance(optimizer, OptimizerGroup) else [optimizer]
        )
        self.base_lrs = [each.initial_lr() for each in self._optimizers]
        self.steps = 0
        self._assign()

    def rate(self, steps: int, base: float) -> float:
        """Return the learning rate after so many steps, where it was `base` at first."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each optimiser."""
        return [self.rate(self.steps, base) for base in self.base_lrs]

    def step(self) -> None:
        """Count a step, and assign the learning rates."""
        self.steps += 1
        self._assign()

    def state_dict(self) -> dict[str, Tensor]:
        """Return what continues the schedule, for `nn.state.safe_save`."""
        return {name: Tensor.from_numpy(np.array(value)) for name, value in self._numbers().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` of a schedule of the same kind returned.

        Raises:
            StateError: if names differ.
        """
        names = list(self._numbers())
        if sorted(names) != sorted(state):
            raise StateError(f"the state of a schedule has {names}, got {list(state)[:8]}")
        self._take({name: value.numpy() for name, value in state.items()})
        self._assign()

    def _numbers(self) -> dict[str, object]:
        return {"steps": self.steps, "base_lrs": self.base_lrs}

    def _take(self, numbers: Mapping[str, NDArray[Any]]) -> None:
        self.steps = int(numbers["steps"])
        self.base_lrs = numbers["base_lrs"].tolist()

    def _assign(self) -> None:
        for optimizer, lr in zip(self._optimizers, self.get_last_lr(), strict=True):
            optimizer.lr = lr


class LambdaLR(LRScheduler):
    """The first learning rate times a function of the number of steps.

    Example:
        >>> LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 100))
    """

    def __init__(
        self, optimizer: Optimizer | OptimizerGroup, lr_lambda: Callable[[int], float]
    ) -> None:
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def rate(self, steps: int, base: float) -> float:
        """Return base * lr_lambda(steps)."""
        return base * float(as_number(self.lr_lambda(steps), "what lr_lambda returns"))


class StepLR(LRScheduler):
    """Times `gamma` every `step_size` steps."""

    def __init__(
        self, optimizer: Optimizer | OptimizerGroup, step_size: int, gamma: float = 0.1
    ) -> None:
        self.step_size = _at_least_one(step_size, "step_size")
        self.gamma = _factor(gamma, "gamma")
        super().__init__(optimizer)

    def rate(self, steps: int, base: float) -> float:
        """Return base * gamma^(steps // step_size)."""
        return float(base * self.gamma ** (steps // self.step_size))


class MultiStepLR(LRScheduler):
    """Times `gamma` when each of the `milestones` is reached."""

    def __init__(
        self, optimizer: Optimizer | OptimizerGroup, milestones: Sequence[int], gamma: float = 0.1
    ) -> None:
        self.milestones = sorted(as_int(each, "milestones") for each in milestones)
        self.gamma = _factor(gamma, "gamma")
        super().__init__(optimizer)

    def rate(self, steps: int, base: float) -> float:
        """Return base * gamma^(milestones reached)."""
        return float(base * self.gamma ** sum(steps >= each for each in self.milestones))


class ExponentialLR(LRScheduler):
    """Times `gamma` at every step."""

    def __init__(self, optimizer: Optimizer | OptimizerGroup, gamma: float) -> None:
        self.gamma = _factor(gamma, "gamma")
        super().__init__(optimizer)

    def rate(self, steps: int, base: float) -> float:
        """Return base * gamma^steps."""
        return float(base * self.gamma**steps)


class LinearLR(LRScheduler):
    """From `start_factor` to `end_factor` times the first rate, in `total_iters` steps: warm-up."""

    def __init__(
        self,
        optimizer: Optimizer | OptimizerGroup,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        self.start_factor = _factor(start_factor, "start_factor")
        self.end_factor = _factor(end_factor, "end_factor")
        self.total_iters = _at_least_one(total_iters, "total_iters")
        super().__init__(optimizer)

    def rate(self, steps: int, base: float) -> float:
        """Return base times a factor between the two."""
        share = min(steps / self.total_iters, 1.0)
        return base * (self.start_factor + (self.end_factor - self.start_factor) * share)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine, from the first rate to `eta_min` in `T_max` steps (Loshchilov & Hutter 2017).

    Afterwards it goes back in the same way, and so on.
    """

    def __init__(
        self,
        optimizer: Optimizer | OptimizerGroup,
        T_max: int,  # noqa: N803  PyTorch's name
        eta_min: float = 0.0,
    ) -> None:
        self.T_max = _at_least_one(T_max, "T_max")
        self.eta_min = _factor(eta_min, "eta_min")
        super().__init__(optimizer)

    def rate(self, steps: int, base: float) -> float:
        """Return eta_min + (base - eta_min) * (1 + cos(pi * steps / T_max)) / 2."""
        return _cosine(base, self.eta_min, steps / self.T_max)


class OneCycleLR(LRScheduler):
    """Up to `max_lr` for a part of all steps, and down to almost nothing (Smith & Topin 2018).

    Args:
        optimizer: an optimiser, or a group.
        max_lr: the highest rate.
        total_steps: of the whole cycle, at least 2.
        pct_start: share of them on the way up.
        anneal_strategy: "cos" or "linear".
        div_factor: the first rate is max_lr / div_factor.
        final_div_factor: the last one is the first / final_div_factor.

    PyTorch also moves the momentum, unless told otherwise; ours does not move.
    """

    def __init__(
        self,
        optimizer: Optimizer | OptimizerGroup,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self.max_lr = _factor(max_lr, "max_lr")
        self.total_steps = _at_least_one(total_steps, "total_steps")
        if total_steps < 2 or not 0 <= pct_start <= 1:
            raise OptionError(
                f"OneCycleLR needs total_steps of at least 2 and pct_start from 0 to 1, got "
                f"{total_steps} and {pct_start}"
            )
        self.pct_start = pct_start
        self.anneal_strategy = check_choice(anneal_strategy, ("cos", "linear"), "anneal_strategy")
        if not div_factor > 0 or not final_div_factor > 0:
            raise OptionError("OneCycleLR needs div_factor and final_div_factor above 0")
        self.first = self.max_lr / div_factor
        self.last = self.first / final_div_factor
        super().__init__(optimizer)

    def rate(self, steps: int, base: float) -> float:
        """Return a rate between `first`, `max_lr` and `last`; `base` plays no part.

        Raises:
            OptionError: after the last step.
        """
        if steps >= self.total_steps:
            raise OptionError(
                f"OneCycleLR has {self.total_steps} learning rates; step() may be called "
                f"{self.total_steps - 1} times"
            )
        top = self.pct_start * self.total_steps - 1
        anneal = _cosine if self.anneal_strategy == "cos" else _linear
        if steps <= top:
            return anneal(self.first, self.max_lr, steps / top if top else 1.0)
        return anneal(self.max_lr, self.last, (steps - top) / (self.total_steps - 1 - top))


class SequentialLR(LRScheduler):
    """One schedule after the other, each from its own first step.

    Args:
        optimizer: that of all schedules.
        schedulers: two or more.
        milestones: the steps at which the next one begins, one fewer.

    Example:
        >>> warm_up = LinearLR(optimizer, 0.01, total_iters=100)
        >>> SequentialLR(optimizer, [warm_up, CosineAnnealingLR(optimizer, 900)], [100])
    """

    def __init__(
        self,
        optimizer: Optimizer | OptimizerGroup,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
    ) -> None:
        if len(schedulers) != len(milestones) + 1 or sorted(milestones) != list(milestones):
            raise OptionError(
                f"SequentialLR needs one milestone between two schedules, in order; got "
                f"{len(schedulers)} schedules and milestones {list(milestones)}"
            )
        self.schedulers = list(schedulers)
        self.milestones = [0, *(as_int(each, "milestones") for each in milestones)]
        super().__init__(optimizer)

    def rate(self, steps: int, base: float) -> float:
        """Return what the schedule in force gives."""
        number = sum(steps >= each for each in self.milestones) - 1
        return self.schedulers[number].rate(steps - self.milestones[number], base)


class ReduceLROnPlateau(LRScheduler):
    """Times `factor` when a measure has not got better for more than `patience` steps.

    Args:
        optimizer: an optimiser, or a group.
        mode: "min" if smaller is better, else "max".
        factor: below 1.
        patience: steps without improvement that are borne.
        threshold: how much better is better.
        threshold_mode: "rel": in proportion to the best so far; "abs": as a difference.
        cooldown: steps after a reduction that are not judged.
        min_lr: no rate falls below it.
        eps: smaller changes are not made.
    """

    def __init__(
        self,
        optimizer: Optimizer | OptimizerGroup,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self.mode = check_choice(mode, ("min", "max"), "mode")
        self.threshold_mode = check_choice(threshold_mode, ("rel", "abs"), "threshold_mode")
        self.factor, self.threshold = _factor(factor, "factor"), _factor(threshold, "threshold")
        if not self.factor < 1:
            raise OptionError(f"factor must be below 1, got {factor}")
        self.patience, self.cooldown = as_int(patience, "patience"), as_int(cooldown, "cooldown")
        self.min_lr, self.eps = _factor(min_lr, "min_lr"), _factor(eps, "eps")
        self.best = math.inf if mode == "min" else -math.inf
        self.bad_steps = self.cooling = 0
        self.reduced: list[float] | None = None
        super().__init__(optimizer)

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each optimiser."""
        return self.base_lrs if self.reduced is None else self.reduced

    def step(self, metrics: float | Tensor | None = None) -> None:
        """Judge a measure, such as the loss on data that are not trained on.

        Raises:
            OptionError: if there is none.
        """
        if metrics is None:
            raise OptionError("ReduceLROnPlateau judges a measure: step(loss)")
        value = metrics.item() if isinstance(metrics, Tensor) else as_number(metrics, "metrics")
        self.steps += 1
        if self._is_better(float(value)):
            self.best, self.bad_steps = float(value), 0
        else:
            self.bad_steps += 1
        if self.cooling:
            self.cooling, self.bad_steps = self.cooling - 1, 0
        if self.bad_steps > self.patience:
            lower = [(old, max(old * self.factor, self.min_lr)) for old in self.get_last_lr()]
            self.reduced = [new if old - new > self.eps else old for old, new in lower]
            self.cooling, self.bad_steps = self.cooldown, 0
        self._assign()

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if math.isinf(self.best):
            return sign * value < sign * self.best
        margin = self.threshold * (self.best if self.threshold_mode == "rel" else 1)
        return sign * value < sign * self.best - margin

    def _numbers(self) -> dict[str, object]:
        return {
            "steps": self.steps,
            "base_lrs": self.base_lrs,
            "lrs": self.get_last_lr(),
            "best": self.best,
            "bad_steps": self.bad_steps,
            "cooling": self.cooling,
        }

    def _take(self, numbers: Mapping[str, NDArray[Any]]) -> None:
        super()._take(numbers)
        self.best, self.reduced = float(numbers["best"]), numbers["lrs"].tolist()
        self.bad_steps, self.cooling = int(numbers["bad_steps"]), int(numbers["cooling"])


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _linear(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _factor(value: float, what: str) -> float:
    number = float(as_number(value, what))
    if not 0 <= number < math.inf:
        raise OptionError(f"{what} must be at least 0 and finite, got {number}")
    return number


def _at_least_one(value: int, what: str) -> int:
    number = as_int(value, what)
    if number < 1:
        raise OptionError(f"{what} must be at least 1, got {number}")
    return number
