"""Optimisers: they move parameters against their gradients.

What changes from step to step is in tensors (the learning rate, the number of steps, moving
averages), so a step is the same computation every time: nothing is compiled again when the learning
rate moves, and `jit` keeps the state. State is float32 whatever the dtype of a parameter.

Formulas and names of the state are PyTorch's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from inkle.errors import DTypeError, GradientError, OptionError
from inkle.ir.dtype import float32, promote
from inkle.ir.node import Node
from inkle.ir.tensor import broadcast_to
from inkle.nn import init, pending
from inkle.nn.state import get_state_dict, load_state_dict
from inkle.tensor import Tensor, no_grad
from inkle.tensor.arguments import as_number
from inkle.tensor.gradients import take_awaited
from inkle.tensor.origin import user_line


class Optimizer:
    """What all optimisers share; a subclass says in `_update` how a parameter moves.

    Attributes:
        params: the parameters, each once. They require gradients from now on.

    Args:
        params: float tensors.
        lr: learning rate, at least 0.
    """

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        self.params = _check_params(params)
        self._lr = init.constant((), _check("lr", lr))
        self.params[0].realize(*self.params[1:])

    @property
    def lr(self) -> Tensor:
        """Learning rate: float32, no axes. Assign a number or a tensor to change it."""
        return self._lr

    @lr.setter
    def lr(self, value: float | Tensor) -> None:
        if not isinstance(value, Tensor):
            # In memory, not a constant of the graph, which would make another graph of each value.
            value = Tensor.from_numpy(np.array(_check("lr", value), np.float32))
        self._lr.assign(value)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for param in self.params:
            param.grad = None

    def step(self) -> None:
        """Move all parameters that have a gradient, now, and compute the loss on the way.

        Raises:
            GradientError: if none has one.
        """
        first, *others = self.schedule_step()
        first.realize(*others, *take_awaited())

    def schedule_step(self) -> list[Tensor]:
        """Assign the new values of parameters and state, and compute nothing yet.

        Returns:
            What to realize, together with the loss: parameters, state, and buffers of layers that
            have been updated since the last step.

        Raises:
            GradientError: if no parameter has a gradient.
        """
        if all(param.grad is None for param in self.params):
            raise GradientError(
                f"none of the {len(self.params)} parameters has a gradient; call loss.backward() "
                "after zero_grad() and before step()"
            )
        line = user_line()
        with no_grad():
            shared = [each._plain_node() for each in self._begin()]
        kept = self._kept()
        # On nodes, not tensors: an optimiser of many parameters is mostly Python.
        for number, param in enumerate(self.params):
            grad = param.grad
            if grad is None:
                continue
            # A subtraction in float32, rounded once: bfloat16 would lose small steps twice.
            value = param._plain_node().cast(promote(param.dtype, float32))
            state = [each[number] for each in kept]
            before = [each._plain_node() for each in state]
            step, *after = self._update(value, grad._plain_node().cast(float32), before, shared)
            param._become(step.cast(param.dtype), line)
            for each, node in zip(state, after, strict=True):
                each._become(node, line)
        return [*self.params, *self._all_state(), *pending.take()]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that continue the training, by name, for `nn.state.safe_save`."""
        return get_state_dict({"lr": self._lr, **self._state()})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` of an optimiser of the same kind and parameters returned.

        Raises:
            StateError: if names or shapes differ.
        """
        load_state_dict({"lr": self._lr, **self._state()}, state)

    def _state(self) -> dict[str, Tensor | list[Tensor]]:
        """Return tensors, or lists with a tensor for each parameter, by name."""
        raise NotImplementedError

    def _all_state(self) -> list[Tensor]:
        """Return the tensors of `state_dict`."""
        found = [self._lr]
        for each in self._state().values():
            found += each if isinstance(each, list) else [each]
        return found

    def _kept(self) -> list[list[Tensor]]:
        """Return the lists of state with a tensor for each parameter."""
        return [each for each in self._state().values() if isinstance(each, list) and each]

    def _begin(self) -> tuple[Tensor, ...]:
        """Do what comes once in a step; return what all parameters need."""
        return (self._lr,)

    def _update(
        self, value: Node, grad: Node, state: Sequence[Node], shared: Sequence[Node]
    ) -> tuple[Node, ...]:
        """Return the new value of a parameter, and its new state.

        Args:
            value: float32 or float64.
            grad: float32, of the same shape.
            state: of the parameter, one node for each list in `_kept`.
            shared: what `_begin` returned; no axes.
        """
        raise NotImplementedError

    def _buffers(self) -> list[Tensor]:
        """Return a buffer of float32 zeros for each parameter."""
        return [init.constant(param.shape, 0) for param in self.params]


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
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        *,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, lr)
        self.momentum = _check("momentum", momentum)
        self.weight_decay = _check("weight_decay", weight_decay)
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
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        self.betas = _check_pair("betas", betas)
        self.eps = _check("eps", eps)
        self.weight_decay = _check("weight_decay", weight_decay)
        self.steps = init.constant((), 0)
        self.exp_avg = self._buffers()
        self.exp_avg_sq = self._buffers()

    def _state(self) -> dict[str, Tensor | list[Tensor]]:
        return {"step": self.steps, "exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}

    def _begin(self) -> tuple[Tensor, ...]:
        """Count the step; return lr / (1 - beta1^t) and sqrt(1 - beta2^t), stored, and lr."""
        self.steps.assign(self.steps + 1)
        first, second = (_one_minus_power(beta, self.steps) for beta in self.betas)
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
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def _decay(self, value: Node, grad: Node, rate: Node) -> tuple[Node, Node]:
        left = (1 - rate * self.weight_decay).cast(value.dtype)
        return value * broadcast_to(left, value.shape), grad


def _one_minus_power(beta: float, steps: Tensor) -> Tensor:
    """Return 1 - beta^steps, to the last bits.

    The float32 next to 0.999 is off by 1.3e-8: a power made of it, subtracted from 1, has a
    relative error of 1.3e-5 in the first step. The logarithm and expm1 lose nothing.
    """
    if beta == 0:
        return steps * 0 + 1
    return -(steps * math.log(beta)).expm1()


def _check_params(params: Iterable[Tensor]) -> list[Tensor]:
    if isinstance(params, Tensor) or not isinstance(params, Iterable):
        raise DTypeError(f"parameters must be a list of tensors, got {type(params).__name__}")
    given = list(params)
    for each in given:
        if not isinstance(each, Tensor):
            raise DTypeError(f"parameters must be tensors, got {type(each).__name__}")
        each.requires_grad_()  # refuses what is not floating point
    if not given:
        raise GradientError("an optimiser needs at least one parameter, got none")
    return list({id(each): each for each in given}.values())


def _check(name: str, value: object, below: float = math.inf) -> float:
    number = float(value) if isinstance(value, Tensor) else as_number(value, name)
    if not 0 <= number < below:
        raise OptionError(f"{name} must be at least 0 and below {below:g}, got {number}")
    return float(number)


def _check_pair(name: str, values: object) -> tuple[float, float]:
    if not isinstance(values, (tuple, list)) or len(values) != 2:
        raise OptionError(f"{name} must be two numbers, got {values!r:.60}")
    first, second = (_check(name.removesuffix("s"), value, below=1) for value in values)
    return first, second
