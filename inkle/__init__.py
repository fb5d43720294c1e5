"""inkle: lazy tensors, compiled into a few fast kernels.

    >>> from inkle import Tensor
    >>> (Tensor([1.0, 2.0, 3.0]) * 2).sum().item()
    12.0
"""

from inkle.config import Context
from inkle.engine.realize import synchronize
from inkle.tensor import (
    Tensor,
    dtypes,
    grad,
    is_training,
    manual_seed,
    no_grad,
    training,
    value_and_grad,
)
from inkle.tensor.jit import jit

__version__ = "0.1.0"
__all__ = [
    "Context",
    "Tensor",
    "dtypes",
    "grad",
    "is_training",
    "jit",
    "manual_seed",
    "no_grad",
    "synchronize",
    "training",
    "value_and_grad",
]
