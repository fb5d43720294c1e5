"""First values of parameters and buffers, as PyTorch's layers have them.

Random ones are lazy: weights that a file replaces before they are used are never computed. Constant
ones are memory from the start, so that no kernel is compiled for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inkle.errors import DTypeError, ShapeError
from inkle.ir.dtype import DType, float32
from inkle.tensor import Tensor
from inkle.tensor.arguments import as_int


def uniform(shape: Sequence[int], fan_in: int) -> Tensor:
    """Return a parameter spread evenly over ± 1 / sqrt(fan_in).

    That is what Kaiming initialisation with a = sqrt(5) comes to (He et al. 2015, and PyTorch's
    `reset_parameters`), for weights and for biases.

    Args:
        shape: sizes of the axes.
        fan_in: how many inputs an output sums over; with none, PyTorch's biases are 0.
    """
    if not fan_in:
        return constant(shape, 0).requires_grad_()
    bound = fan_in**-0.5
    return Tensor.uniform(*shape, low=-bound, high=bound, requires_grad=True)


def normal(shape: Sequence[int]) -> Tensor:
    """Return a parameter of the standard normal distribution."""
    return Tensor.randn(*shape, requires_grad=True)


def constant(shape: Sequence[int], value: float, dtype: DType = float32) -> Tensor:
    """Return a tensor with `value` everywhere, in memory of its own; not a parameter."""
    return Tensor.from_numpy(np.full(tuple(shape), value, dtype.name))


def size(value: int, what: str, *, least: int = 0) -> int:
    """Return a size that a user gave.

    Raises:
        DTypeError: if it is no integer.
        ShapeError: if it is below `least`.
    """
    number = as_int(value, what)
    if number < least:
        raise ShapeError(f"{what} must be at least {least}, got {number}")
    return number


def given(x: object, layer: str) -> Tensor:
    """Return the input of a layer as a tensor; arrays of NumPy become one.

    Raises:
        DTypeError: if it is neither.
    """
    if isinstance(x, Tensor):
        return x
    if isinstance(x, np.ndarray):
        return Tensor(x)
    raise DTypeError(f"{layer} needs a tensor, got {type(x).__name__}; make one first: Tensor(x)")
