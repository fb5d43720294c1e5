"""What all optimisers share, and several of them as one.

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
        master_weights: keep a float32 copy of each parameter of 16 bits, and move that: steps too
            small for 16 bits add up. The copies are made now; load weights before.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, *, master_weights: bool = False
    ) -> None:
        self.params = _check_params(params)
        self._lr = init.constant((), check_number("lr", lr))
        self._initial_lr: float | None = None
        self.params[0].realize(*self.params[1:])
        halves = [param.dtype.bits == 16 and master_weights for param in self.params]
        self.masters = {
            i: Tensor(param.detach().cast(float32)).realize()
            for i, (param, wanted) in enumerate(zip(self.params, halves, strict=True))
            if wanted
        }

    @property
    def lr(self) -> Tensor:
        """Learning rate: float32, no axes. Assign a number or a tensor to change it."""
        return self._lr

    @lr.setter
    def lr(self, value: float | Tensor) -> None:
        if not isinstance(value, Tensor):
            # In memory, not a constant of the graph, which would make another graph of each value.
            value = Tensor.from_numpy(np.array(check_number("lr", value), np.float32))
        self._lr.assign(value)

    def initial_lr(self) -> float:
        """Return the learning rate that it had when this was first asked, by a schedule."""
        if self._initial_lr is None:
            self._initial_lr = float(self._lr.item())
        return self._initial_lr

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
            self._move(shared, line)
        return [*self.params, *self._all_state(), *pending.take()]

    def _move(self, shared: Sequence[Node], line: str) -> None:
        """Give parameters and state their new values, without computing them."""
        kept = self._kept()
        # On nodes, not tensors: an optimiser of many parameters is mostly Python.
        for number, param in enumerate(self.params):
            grad = param.grad
            if grad is None:
                continue
            # A subtraction in float32, rounded once: bfloat16 would lose small steps twice.
            master = self.masters.get(number, param)
            value = master._plain_node().cast(promote(param.dtype, float32))
            state = [each[number] for each in kept]
            before = [each._plain_node() for each in state]
            step, *after = self._update(value, grad._plain_node().cast(float32), before, shared)
            param._become(step.cast(param.dtype), line)
            if master is not param:
                master._become(step, line)
            for each, node in zip(state, after, strict=True):
                each._become(node, line)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that continue the training, by name, for `nn.state.safe_save`."""
        return get_state_dict(self._named_state())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` of an optimiser of the same kind and parameters returned.

        Raises:
            StateError: if names or shapes differ.
        """
        load_state_dict(self._named_state(), state)

    def _named_state(self) -> dict[str, object]:
        masters = {"master": self.masters} if self.masters else {}
        return {"lr": self._lr, **self._state(), **masters}

    def _state(self) -> dict[str, Tensor | list[Tensor]]:
        """Return tensors, or lists with a tensor for each parameter, by name."""
        raise NotImplementedError

    def _all_state(self) -> list[Tensor]:
        """Return the tensors of `state_dict`."""
        found = [self._lr, *self.masters.values()]
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


class OptimizerGroup:
    """Several optimisers that step together: parameters that move in different ways.

    Attributes:
        optimizers: in order; each has a learning rate of its own.

    Args:
        optimizers: one or more, with no parameter in common.

    Raises:
        OptionError: if there is none, or two move the same parameter.

    Example:
        >>> OptimizerGroup(SGD(weights, lr=0.1, weight_decay=1e-4), SGD(biases, lr=0.2))
    """

    def __init__(self, *optimizers: Optimizer) -> None:
        for each in optimizers:
            if not isinstance(each, Optimizer):
                raise DTypeError(f"a group holds optimisers, got {type(each).__name__}")
        params = [param for each in optimizers for param in each.params]
        if not optimizers or len({id(param) for param in params}) < len(params):
            raise OptionError("a group needs optimisers that have no parameter in common")
        self.optimizers = list(optimizers)

    @property
    def params(self) -> list[Tensor]:
        """The parameters of all."""
        return [param for each in self.optimizers for param in each.params]

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for each in self.optimizers:
            each.zero_grad()

    def step(self) -> None:
        """Move all parameters that have a gradient, now, and compute the loss on the way.

        Raises:
            GradientError: if none has one.
        """
        first, *others = self.schedule_step()
        first.realize(*others, *take_awaited())

    def schedule_step(self) -> list[Tensor]:
        """Assign the new values, and compute nothing yet; see `Optimizer.schedule_step`."""
        moving = [each for each in self.optimizers if any(p.grad is not None for p in each.params)]
        return [found for each in moving or self.optimizers for found in each.schedule_step()]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state of all, each name after the number of the optimiser."""
        return get_state_dict([each._named_state() for each in self.optimizers])

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` of a group of the same kind returned.

        Raises:
            StateError: if names or shapes differ.
        """
        load_state_dict([each._named_state() for each in self.optimizers], state)


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


def as_tensors(*nodes: Node) -> list[Tensor]:
    """Return nodes as tensors, for updates that are more than a few operations."""
    return [Tensor._of(node, "CPU") for node in nodes]


def norm(x: Tensor) -> Tensor:
    """Return the root of the sum of all squares."""
    return (x * x).sum().sqrt()


def check_number(name: str, value: object, below: float = math.inf) -> float:
    """Return a number of an option, which must be at least 0 and below `below`."""
    number = float(value) if isinstance(value, Tensor) else as_number(value, name)
    if not 0 <= number < below:
        raise OptionError(f"{name} must be at least 0 and below {below:g}, got {number}")
    return float(number)


def check_numbers(name: str, values: object) -> tuple[float, float]:
    """Return the two numbers of an option, which must be at least 0 and below 1."""
    if not isinstance(values, (tuple, list)) or len(values) != 2:
        raise OptionError(f"{name} must be two numbers, got {values!r:.60}")
    first, second = (check_number(name.removesuffix("s"), value, below=1) for value in values)
    return first, second
