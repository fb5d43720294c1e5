"""Optimisers that follow the gradient, or a running mean of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inkle.errors import OptionError, ShapeError
from inkle.ir.dtype import float32
from inkle.ir.node import Node
from inkle.ir.tensor import broadcast_to
from inkle.nn.optim.base import Optimizer, as_tensors, check_number, check_numbers, norm
from inkle.tensor import Tensor
from inkle.tensor.arguments import as_int, as_number


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if wanted.

        g = gradient + weight_decay * p
        v = momentum * v + g
        p = p - lr * (g + momentum * v  if nesterov else  v)

    Args:
        params: float tensors.
        lr: learning rate.
        momentum: share of the last movement that is kept.
        weight_decay: factor of the L2 penalty.
        nesterov: look ahead along the momentum (Sutskever et al. 2013).
        master_weights: as for `Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        *,
        nesterov: bool = False,
        master_weights: bool = False,
    ) -> None:
        super().__init__(params, lr, master_weights=master_weights)
        self.momentum = check_number("momentum", momentum)
        self.weight_decay = check_number("weight_decay", weight_decay)
        self.nesterov = nesterov
        if nesterov and not momentum:
            raise OptionError("nesterov needs a momentum above 0")
        self.momentum_buffer = self._buffers() if momentum else []

    def _state(self) -> dict[str, Tensor | list[Tensor]]:
        return {"momentum_buffer": self.momentum_buffer}

    def _update(
        self, value: Node, grad: Node, state: Sequence[Node], shared: Sequence[Node]
    ) -> tuple[Node, ...]:
        if self.weight_decay:
            grad = grad + value.cast(float32) * self.weight_decay
        rate = broadcast_to(shared[0], grad.shape)
        if not self.momentum:
            return (value - (rate * grad).cast(value.dtype),)
        buffer = state[0] * self.momentum + grad
        step = grad + buffer * self.momentum if self.nesterov else buffer
        return value - (rate * step).cast(value.dtype), buffer


class LARS(Optimizer):
    """Momentum whose rate in each layer follows the size of its weights (You et al. 2017).

        r = trust_coefficient * |p| / (|gradient| + weight_decay * |p|), 1 where either is 0
        v = momentum * v + lr * r * (gradient + weight_decay * p)
        p = p - v

    Args:
        params: float tensors.
        lr: learning rate.
        momentum: share of the last movement that is kept.
        weight_decay: factor of the L2 penalty.
        trust_coefficient: how far a layer may move, as a share of its size.
        master_weights: as for `Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        trust_coefficient: float = 1e-3,
        *,
        master_weights: bool = False,
    ) -> None:
        super().__init__(params, lr, master_weights=master_weights)
        self.momentum = check_number("momentum", momentum)
        self.weight_decay = check_number("weight_decay", weight_decay)
        self.trust_coefficient = check_number("trust_coefficient", trust_coefficient)
        self.momentum_buffer = self._buffers()

    def _state(self) -> dict[str, Tensor | list[Tensor]]:
        return {"momentum_buffer": self.momentum_buffer}

    def _update(
        self, value: Node, grad: Node, state: Sequence[Node], shared: Sequence[Node]
    ) -> tuple[Node, ...]:
        p, g, v, rate = as_tensors(value.cast(float32), grad, state[0], shared[0])
        size, slope = norm(p), norm(g)
        trust = self.trust_coefficient * size / (slope + self.weight_decay * size)
        trust = ((size > 0) & (slope > 0)).where(trust, 1.0)
        v = v * self.momentum + (g + p * self.weight_decay) * (rate * trust)
        return value - v.node.cast(value.dtype), v.node


class Lion(Optimizer):
    """Steps of `lr` in every element, along the sign of a running mean (Chen et al. 2023).

        p = p - lr * (sign(beta1 * m + (1 - beta1) * gradient) + weight_decay * p)
        m = beta2 * m + (1 - beta2) * gradient

    Args:
        params: float tensors.
        lr: learning rate, a third to a tenth of Adam's.
        betas: how much of the mean counts in a step, and how much of it is kept.
        weight_decay: shrinks the parameter itself, three to ten times Adam's.
        master_weights: as for `Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        master_weights: bool = False,
    ) -> None:
        super().__init__(params, lr, master_weights=master_weights)
        self.betas = check_numbers("betas", betas)
        self.weight_decay = check_number("weight_decay", weight_decay)
        self.exp_avg = self._buffers()

    def _state(self) -> dict[str, Tensor | list[Tensor]]:
        return {"exp_avg": self.exp_avg}

    def _update(
        self, value: Node, grad: Node, state: Sequence[Node], shared: Sequence[Node]
    ) -> tuple[Node, ...]:
        p, g, m, rate = as_tensors(value.cast(float32), grad, state[0], shared[0])
        beta1, beta2 = self.betas
        step = rate * ((m * beta1 + g * (1 - beta1)).sign() + p * self.weight_decay)
        m = m * beta2 + g * (1 - beta2)
        return value - step.node.cast(value.dtype), m.node


class Muon(Optimizer):
    """Momentum, made orthogonal: for the matrices inside of a network (Jordan et al. 2024).

        v = momentum * v + (1 - momentum) * gradient
        u = orthogonal(momentum * v + (1 - momentum) * gradient  if nesterov else  v)
        p = p * (1 - lr * weight_decay) - lr * sqrt(max(1, rows / columns)) * u

    `orthogonal` divides by the norm, and brings all singular values near 1 by `ns_steps` steps of
    x = a x + (b y + c y²) x with y = x xᵀ. They are in float32 (PyTorch's in bfloat16). Embeddings,
    biases and the last layer are for another optimiser, see `OptimizerGroup`.

    Args:
        params: float tensors of two axes.
        lr: learning rate.
        weight_decay: shrinks the parameter itself.
        momentum: share of the running mean that is kept.
        nesterov: look ahead along the momentum.
        ns_coefficients: a, b, c.
        eps: least norm to divide by.
        ns_steps: 1 to 99.
        master_weights: as for `Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        *,
        nesterov: bool = True,
        ns_coefficients: Sequence[float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        master_weights: bool = False,
    ) -> None:
        super().__init__(params, lr, master_weights=master_weights)
        for param in self.params:
            if param.ndim != 2:
                raise ShapeError(f"Muon moves matrices, got a parameter of shape {param.shape}")
        self.weight_decay = check_number("weight_decay", weight_decay)
        self.momentum = check_number("momentum", momentum, below=1)
        self.nesterov, self.eps = nesterov, check_number("eps", eps)
        self.ns_coefficients = [as_number(c, "ns_coefficients") for c in ns_coefficients]
        if len(self.ns_coefficients) != 3:
            raise OptionError(f"ns_coefficients must be three numbers, got {ns_coefficients!r:.60}")
        self.ns_steps = as_int(ns_steps, "ns_steps")
        if not 1 <= self.ns_steps < 100:
            raise OptionError(f"ns_steps must be 1 to 99, got {ns_steps}")
        self.momentum_buffer = self._buffers()

    def _state(self) -> dict[str, Tensor | list[Tensor]]:
        return {"momentum_buffer": self.momentum_buffer}

    def _update(
        self, value: Node, grad: Node, state: Sequence[Node], shared: Sequence[Node]
    ) -> tuple[Node, ...]:
        g, v, rate = as_tensors(grad, state[0], shared[0])
        v = v * self.momentum + g * (1 - self.momentum)
        step = v * self.momentum + g * (1 - self.momentum) if self.nesterov else v
        rows, columns = value.shape
        step = self._orthogonal(step) * (rate * max(1, rows / max(1, columns)) ** 0.5)
        left = (1 - rate * self.weight_decay).node.cast(value.dtype)
        kept = value * broadcast_to(left, value.shape)
        return kept - step.node.cast(value.dtype), v.node

    def _orthogonal(self, x: Tensor) -> Tensor:
        """Return the matrix next to `x` whose singular values are all near 1."""
        is_tall = x.shape[0] > x.shape[1]
        x = x.T if is_tall else x
        x = (x / norm(x).clamp(min=self.eps)).contiguous()
        a, b, c = self.ns_coefficients
        for _ in range(self.ns_steps):
            y = x @ x.T
            x = x * a + (y * b + (y @ y) * c) @ x
        return x.T if is_tall else x
