"""Gradients kept small: PyTorch's `torch.nn.utils`, and loss scaling for 16 bits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from inkle.errors import DTypeError, GradientError, OptionError
from inkle.ir.dtype import float32
from inkle.nn import init
from inkle.nn.optim.base import Optimizer, OptimizerGroup
from inkle.nn.state import load_state_dict
from inkle.tensor import Tensor, no_grad
from inkle.tensor.arguments import as_int, as_number
from inkle.tensor.gradients import take_awaited


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    *,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients together so that their norm is at most `max_norm` (Pascanu et al. 2013).

    Args:
        parameters: those without a gradient are left out.
        max_norm: above 0.
        norm_type: p of the p-norm over all elements; infinity for the largest.
        error_if_nonfinite: look at the norm now, and refuse infinities and NaN.

    Returns:
        The norm before: float32, no axes, not computed yet.

    Raises:
        GradientError: if the norm is not finite, and that was asked for.

    Example:
        >>> loss.backward()
        >>> clip_grad_norm_(get_parameters(model), 1.0)
        >>> optimizer.step()
    """
    if not as_number(max_norm, "max_norm") > 0 or not as_number(norm_type, "norm_type") > 0:
        raise OptionError(
            f"clip_grad_norm_ needs max_norm and norm_type above 0, got {max_norm} and {norm_type}"
        )
    given = _with_gradients(parameters)
    with no_grad():
        wide = [each.grad.detach().cast(float32) for each in given if each.grad is not None]
        if not wide:
            return init.constant((), 0)
        if norm_type == math.inf:
            total = Tensor.stack(*[each.abs().max() for each in wide]).max()
        elif norm_type == 2:
            total = Tensor.stack(*[(each * each).sum() for each in wide]).sum().sqrt()
        else:
            sums = [(each.abs() ** norm_type).sum() for each in wide]
            total = Tensor.stack(*sums).sum() ** (1 / norm_type)
        if error_if_nonfinite and not math.isfinite(total.item()):
            raise GradientError(f"the norm of {len(wide)} gradients is {total.item()}")
        total = total.contiguous()
        factor = (max_norm / (total + 1e-6)).clamp(max=1.0)
        for each, gradient in zip(given, wide, strict=True):
            each.grad = (gradient * factor).cast(each.dtype)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Bring each element of all gradients to the range ± `clip_value`.

    Example:
        >>> clip_grad_value_(get_parameters(model), 0.5)
    """
    if not as_number(clip_value, "clip_value") >= 0:
        raise OptionError(f"clip_grad_value_ needs a value of at least 0, got {clip_value}")
    with no_grad():
        for each in _with_gradients(parameters):
            if each.grad is not None:
                each.grad = each.grad.detach().clamp(-clip_value, clip_value)


def _with_gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for each in given:
        if not isinstance(each, Tensor):
            raise DTypeError(f"parameters must be tensors, got {type(each).__name__}")
    return [each for each in given if each.grad is not None]


class GradScaler:
    """Scale the loss so that small gradients do not vanish in 16 bits (Micikevicius et al. 2018).

    A step with an infinite or NaN gradient changes nothing, and the scale falls; after a number of
    good steps it rises. All of it is part of the computation: nothing waits for a value, and `jit`
    captures it.

    Attributes:
        scale_value: float32, no axes; multiplies the loss.
        good_steps: float32, no axes: steps since the scale last changed.

    Args:
        init_scale: the first scale.
        growth_factor: by which it rises.
        backoff_factor: by which it falls.
        growth_interval: after how many good steps it rises.

    Example:
        >>> optimizer.zero_grad()
        >>> scaler.scale(loss).backward()
        >>> scaler.step(optimizer)
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not as_number(init_scale, "init_scale") > 0 or not 0 < backoff_factor < 1:
            raise OptionError(
                f"GradScaler needs init_scale above 0 and backoff_factor between 0 and 1, got "
                f"{init_scale} and {backoff_factor}"
            )
        if not growth_factor > 1 or as_int(growth_interval, "growth_interval") < 1:
            raise OptionError(
                f"GradScaler needs growth_factor above 1 and growth_interval of at least 1, got "
                f"{growth_factor} and {growth_interval}"
            )
        self.growth_factor, self.backoff_factor = growth_factor, backoff_factor
        self.growth_interval = growth_interval
        self.scale_value = init.constant((), init_scale)
        self.good_steps = init.constant((), 0)

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss times the scale, in float32."""
        return init.given(loss, "GradScaler").cast(float32) * self.scale_value

    def unscale_(self, optimizer: Optimizer | OptimizerGroup) -> Tensor:
        """Divide all gradients by the scale, in float32; say whether one is not finite.

        Call it to clip gradients before `step`, and hand over what it returns.

        Returns:
            bool, no axes, not computed yet.
        """
        bad = []
        with no_grad():
            for param in optimizer.params:
                if param.grad is not None:
                    param.grad = param.grad.detach().cast(float32) / self.scale_value
                    bad.append(param.grad.isfinite().all().logical_not())
        if not bad:
            raise GradientError("no parameter has a gradient; call scale(loss).backward() first")
        return Tensor.stack(*bad).any().contiguous()

    def step(self, optimizer: Optimizer | OptimizerGroup, found_inf: Tensor | None = None) -> None:
        """Step, unless a gradient is not finite; then set the scale for the next step.

        Args:
            optimizer: whose parameters have gradients of a scaled loss.
            found_inf: what `unscale_` returned, if it was called.

        Raises:
            GradientError: if no parameter has a gradient.
        """
        bad = self.unscale_(optimizer) if found_inf is None else found_inf
        tensors = _moving(optimizer)
        with no_grad():
            before = [each.detach() for each in tensors]
            scheduled = optimizer.schedule_step()
            for each, old in zip(tensors, before, strict=True):
                each.assign(bad.where(old, each.detach()))
            good = bad.where(0.0, self.good_steps + 1)
            is_due = good >= self.growth_interval
            risen = is_due.where(self.scale_value * self.growth_factor, self.scale_value)
            self.scale_value.assign(bad.where(self.scale_value * self.backoff_factor, risen))
            self.good_steps.assign(is_due.where(0.0, good))
        self.scale_value.realize(self.good_steps, *scheduled, *take_awaited())

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that continue the scaling."""
        return {"scale": self.scale_value, "good_steps": self.good_steps}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` returned."""
        load_state_dict(self.state_dict(), state)


def _moving(optimizer: Optimizer | OptimizerGroup) -> list[Tensor]:
    """Return what a step of an optimiser changes."""
    each = optimizer.optimizers if isinstance(optimizer, OptimizerGroup) else [optimizer]
    return [tensor for one in each for tensor in (*one.params, *one._all_state())]
