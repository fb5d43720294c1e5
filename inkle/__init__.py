"""inkle: lazy tensors, compiled into a few fast kernels.

>>> from inkle import Tensor
>>> (Tensor([1.0, 2.0, 3.0]) * 2).sum().item()
12.0
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from inkle import nn

__version__ = "0.1.0"
__all__ = [
    "Context",
    "Tensor",
    "dtypes",
    "grad",
    "is_training",
    "jit",
    "manual_seed",
    "nn",
    "no_grad",
    "synchronize",
    "training",
    "value_and_grad",
]


def __getattr__(name: str) -> ModuleType:
    """Load `inkle.nn` when it is first used; tensors alone do not need it."""
    if name == "nn":
        return importlib.import_module("inkle.nn")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
