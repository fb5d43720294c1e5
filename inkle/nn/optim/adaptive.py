"""Optimisers whose steps follow the sizes of past gradients, element by element."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from inkle.errors import OptionError
from inkle.ir.dtype import float32
from inkle.ir.node import Node
from inkle.ir.tensor import broadcast_to
from inkle.nn import init
from inkle.nn.optim.base import Optimizer, as_tensors, check_number, check_numbers, norm
from inkle.tensor import Tensor
from inkle.tensor.arguments import as_number


class Adam(Optimizer):
    """Adam: steps of about `lr`, whatever the scale of a gradient (Kingma & Ba 2015).

        g = gradient + weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        p = p - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Attributes:
        steps: t, the number of steps so far; float32, no axes.

    Args:
        params: float tensors.
        lr: learning rate.
        betas: how much of the two moving averages is kept in a step.
        eps: keeps the quotient finite.
        weight_decay: factor of the L2 penalty.
        master_weights: as for `Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        master_weights: bool = False,
    ) -> None:
        super().__init__(params, lr, master_weights=master_weights)
        self.betas = check_numbers("betas", betas)
        self.eps = check_number("eps", eps)
        self.weight_decay = check_number("weight_decay", weight_decay)
        self.steps = init.constant((), 0)
        self.exp_avg = self._buffers()
        self.exp_avg_sq = self._buffers()

    def _state(self) -> dict[str, Tensor | list[Tensor]]:
        return {"step": self.steps, "exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}

    def _begin(self) -> tuple[Tensor, ...]:
        """Count the step; return lr / (1 - beta1^t) and sqrt(1 - beta2^t), stored, and lr."""
        self.steps.assign(self.steps + 1)
        first, second = (one_minus_power(beta, self.steps) for beta in self.betas)
        return (self._lr / first).contiguous(), second.sqrt().contiguous(), self._lr

    def _update(
        self, value: Node, grad: Node, state: Sequence[Node], shared: Sequence[Node]
    ) -> tuple[Node, ...]:
        if self.weight_decay:
            value, grad = self._decay(value, grad, shared[2])
        step_size, root_correction = [broadcast_to(each, grad.shape) for each in shared[:2]]
        beta1, beta2 = self.betas
        average = state[0] * beta1 + grad * (1 - beta1)
        square = state[1] * beta2 + grad * grad * (1 - beta2)
        spread = square.sqrt() / root_correction + self.eps
        return value - (step_size * (average / spread)).cast(value.dtype), average, square

    def _decay(self, value: Node, grad: Node, rate: Node) -> tuple[Node, Node]:
        """Return value and gradient with the penalty on large weights."""
        return value, grad + value.cast(float32) * self.weight_decay


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself (Loshchilov & Hutter 2019).

        p = p * (1 - lr * weight_decay), then as Adam without weight decay

    Args: as for `Adam`; `weight_decay` is 0.01 if not given.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        master_weights: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, master_weights=master_weights)

    def _decay(self, value: Node, grad: Node, rate: Node) -> tuple[Node, Node]:
        left = (1 - rate * self.weight_decay).cast(value.dtype)
        return value * broadcast_to(left, value.shape), grad


class NAdam(Adam):
    """Adam that looks ahead along its momentum (Dozat 2016).

        mu(t) = beta1 * (1 - 0.96^(t * momentum_decay) / 2), M(t) = mu(1) * ... * mu(t)
        p = p - lr * (1 - mu(t)) / (1 - M(t)) * g / d - lr * mu(t + 1) / (1 - M(t + 1)) * m / d
        with m, v as in Adam, and d = sqrt(v / (1 - beta2^t)) + eps

    Args: as for `Adam`; and
        momentum_decay: how fast mu grows to beta1.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        *,
        master_weights: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, master_weights=master_weights)
        self.momentum_decay = check_number("momentum_decay", momentum_decay)
        self.mu_product = init.constant((), 1)

    def _state(self) -> dict[str, Tensor | list[Tensor]]:
        return {**super()._state(), "mu_product": self.mu_product}

    def _begin(self) -> tuple[Tensor, ...]:
        """Count the step; return the rates of gradient and momentum, and sqrt(1 - beta2^t)."""
        self.steps.assign(self.steps + 1)
        mu, later = (self._mu(self.steps + ahead) for ahead in (0, 1))
        product = (self.mu_product * mu).contiguous()
        self.mu_product.assign(product)
        return (
            (self._lr * (1 - mu) / (1 - product)).contiguous(),
            (self._lr * later / (1 - product * later)).contiguous(),
            one_minus_power(self.betas[1], self.steps).sqrt().contiguous(),
        )

    def _mu(self, steps: Tensor) -> Tensor:
        decay = (steps * (self.momentum_decay * math.log(0.96))).exp()
        return (1 - decay * 0.5) * self.betas[0]

    def _update(
        self, value: Node, grad: Node, state: Sequence[Node], shared: Sequence[Node]
    ) -> tuple[Node, ...]:
        if self.weight_decay:
            grad = grad + value.cast(float32) * self.weight_decay
        now, ahead, root_correction = [broadcast_to(each, grad.shape) for each in shared]
        beta1, beta2 = self.betas
        average = state[0] * beta1 + grad * (1 - beta1)
        square = state[1] * beta2 + grad * grad * (1 - beta2)
        spread = square.sqrt() / root_correction + self.eps
        step = (now * grad + ahead * average) / spread
        return value - step.cast(value.dtype), average, square


class LAMB(Adam):
    """Adam whose step in each layer is as large as its weights say (You et al. 2020).

        u = (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay * p
        p = p - lr * |p| / |u| * u, the quotient 1 where either is 0

    Args: as for `Adam`; `eps` is 1e-6 if not given, and `weight_decay` is in the step above.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        master_weights: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, master_weights=master_weights)

    def _update(
        self, value: Node, grad: Node, state: Sequence[Node], shared: Sequence[Node]
    ) -> tuple[Node, ...]:
        p, g, m, v = as_tensors(value.cast(float32), grad, *state)
        step_size, root_correction, rate = as_tensors(*shared)
        beta1, beta2 = self.betas
        m = m * beta1 + g * (1 - beta1)
        v = v * beta2 + g * g * (1 - beta2)
        # step_size is lr / (1 - beta1^t): what is left of it without lr corrects the mean.
        correction = (rate > 0).where(step_size / rate, 0.0)
        step = m * correction / (v.sqrt() / root_correction + self.eps) + p * self.weight_decay
        size, length = norm(p), norm(step)
        trust = ((size > 0) & (length > 0)).where(size / length, 1.0)
        return value - (step * (rate * trust)).node.cast(value.dtype), m.node, v.node


class RMSprop(Optimizer):
    """Steps divided by a running root mean square of the gradient (Tieleman & Hinton 2012).

        g = gradient + weight_decay * p
        v = alpha * v + (1 - alpha) * g * g;  a = alpha * a + (1 - alpha) * g  if centered
        u = g / (sqrt(v - a * a) + eps)
        b = momentum * b + u
        p = p - lr * (b  if momentum else  u)

    Args:
        params: float tensors.
        lr: learning rate.
        alpha: how much of the running mean of squares is kept in a step.
        eps: keeps the quotient finite.
        weight_decay: factor of the L2 penalty.
        momentum: share of the last movement that is kept.
        centered: divide by an estimate of the deviation instead (Graves 2013).
        master_weights: as for `Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        *,
        centered: bool = False,
        master_weights: bool = False,
    ) -> None:
        super().__init__(params, lr, master_weights=master_weights)
        self.alpha = check_number("alpha", alpha, below=1)
        self.eps = check_number("eps", eps)
        self.weight_decay = check_number("weight_decay", weight_decay)
        self.momentum = check_number("momentum", momentum)
        self.square_avg = self._buffers()
        self.grad_avg = self._buffers() if centered else []
        self.momentum_buffer = self._buffers() if momentum else []

    def _state(self) -> dict[str, Tensor | list[Tensor]]:
        return {
            "square_avg": self.square_avg,
            "grad_avg": self.grad_avg,
            "momentum_buffer": self.momentum_buffer,
        }

    def _update(
        self, value: Node, grad: Node, state: Sequence[Node], shared: Sequence[Node]
    ) -> tuple[Node, ...]:
        if self.weight_decay:
            grad = grad + value.cast(float32) * self.weight_decay
        new = [state[0] * self.alpha + grad * grad * (1 - self.alpha)]
        spread = new[0]
        if self.grad_avg:
            new.append(state[1] * self.alpha + grad * (1 - self.alpha))
            spread = spread - new[1] * new[1]
        step = grad / (spread.sqrt() + self.eps)
        if self.momentum:
            step = state[-1] * self.momentum + step
            new.append(step)
        return value - (broadcast_to(shared[0], grad.shape) * step).cast(value.dtype), *new


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients (Duchi et al. 2011).

        g = gradient + weight_decay * p
        s = s + g * g
        p = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)

    Args:
        params: float tensors.
        lr: learning rate.
        lr_decay: how fast it falls.
        weight_decay: factor of the L2 penalty.
        initial_accumulator_value: s before the first step.
        eps: keeps the quotient finite.
        master_weights: as for `Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        master_weights: bool = False,
    ) -> None:
        super().__init__(params, lr, master_weights=master_weights)
        self.lr_decay = check_number("lr_decay", lr_decay)
        self.weight_decay = check_number("weight_decay", weight_decay)
        self.eps = check_number("eps", eps)
        first = check_number("initial_accumulator_value", initial_accumulator_value)
        self.steps = init.constant((), 0)
        self.sum = [init.constant(param.shape, first) for param in self.params]

    def _state(self) -> dict[str, Tensor | list[Tensor]]:
        return {"step": self.steps, "sum": self.sum}

    def _begin(self) -> tuple[Tensor, ...]:
        self.steps.assign(self.steps + 1)
        return ((self._lr / (1 + (self.steps - 1) * self.lr_decay)).contiguous(),)

    def _update(
        self, value: Node, grad: Node, state: Sequence[Node], shared: Sequence[Node]
    ) -> tuple[Node, ...]:
        if self.weight_decay:
            grad = grad + value.cast(float32) * self.weight_decay
        total = state[0] + grad * grad
        step = broadcast_to(shared[0], grad.shape) * grad / (total.sqrt() + self.eps)
        return value - step.cast(value.dtype), total


class Adafactor(Optimizer):
    """Adam without momentum, whose squares are kept per row and column (Shazeer & Stern 2018).

        b = t^beta2_decay, rate = max(eps2, rms(p)) * min(lr, 1 / sqrt(t))
        v = (1 - b) * v + b * g * g, of a matrix as (row means) (column means) / their mean
        u = g / sqrt(max(v, eps1²))
        p = p * (1 - lr * weight_decay) - rate * u / max(1, rms(u) / d)

    Args:
        params: float tensors.
        lr: most that a parameter moves in a step, relative to its size.
        beta2_decay: exponent, below 0: how fast old squares begin to count.
        eps: eps1, or None for the distance of numbers at 1 (1.2e-7); and eps2.
        d: largest root mean square of u.
        weight_decay: shrinks the parameter itself.
        master_weights: as for `Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: Sequence[float | None] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        master_weights: bool = False,
    ) -> None:
        super().__init__(params, lr, master_weights=master_weights)
        self.beta2_decay = as_number(beta2_decay, "beta2_decay")
        if not self.beta2_decay <= 0:
            raise OptionError(f"beta2_decay must be at most 0, got {beta2_decay}")
        if len(eps) != 2:
            raise OptionError(f"eps must be two numbers, got {eps!r:.60}")
        self.eps1 = 2.0**-23 if eps[0] is None else check_number("eps", eps[0])
        self.eps2 = check_number("eps", eps[1])
        self.d = check_number("d", d)
        if self.d < 1:
            raise OptionError(f"d must be at least 1, got {d}")
        self.weight_decay = check_number("weight_decay", weight_decay)
        self.steps = init.constant((), 0)
        # Vectors have no columns: `row_var` holds their v, and `column_var` a number nobody uses.
        shapes = [param.shape for param in self.params]
        rows = [(*s[:-1], 1) if len(s) > 1 else s for s in shapes]
        self.row_var = [init.constant(shape, 0) for shape in rows]
        columns = [(*s[:-2], 1, s[-1]) if len(s) > 1 else () for s in shapes]
        self.column_var = [init.constant(shape, 0) for shape in columns]

    def _state(self) -> dict[str, Tensor | list[Tensor]]:
        return {"step": self.steps, "row_var": self.row_var, "column_var": self.column_var}

    def _begin(self) -> tuple[Tensor, ...]:
        self.steps.assign(self.steps + 1)
        share = (self.steps.log() * self.beta2_decay).exp()
        return share.contiguous(), self._lr.minimum(self.steps.rsqrt()).contiguous(), self._lr

    def _update(
        self, value: Node, grad: Node, state: Sequence[Node], shared: Sequence[Node]
    ) -> tuple[Node, ...]:
        p, g, row, column = as_tensors(value.cast(float32), grad, *state)
        share, most, rate = as_tensors(*shared)
        square = g * g
        if g.ndim > 1:
            row = row + (square.mean(-1, keepdim=True) - row) * share
            column = column + (square.mean(-2, keepdim=True) - column) * share
            square = row * column / row.mean(-2, keepdim=True).clamp(min=self.eps1)
        else:
            square = row = row + (square - row) * share
        step = g * square.clamp(min=self.eps1**2).rsqrt()
        roots = max(1, g.numel()) ** 0.5
        most = most * (norm(p) / roots).clamp(min=self.eps2)
        step = step * (most / (norm(step) / (roots * self.d)).clamp(min=1.0))
        left = (1 - rate * self.weight_decay).node.cast(value.dtype)
        kept = value * broadcast_to(left, value.shape) if self.weight_decay else value
        return kept - step.node.cast(value.dtype), row.node, column.node


def one_minus_power(beta: float, steps: Tensor) -> Tensor:
    """Return 1 - beta^steps, to the last bits.

    The float32 next to 0.999 is off by 1.3e-8: a power made of it, subtracted from 1, has a
    relative error of 1.3e-5 in the first step. The logarithm and expm1 lose nothing.
    """
    if beta == 0:
        return steps * 0 + 1
    return -(steps * math.log(beta)).expm1()
