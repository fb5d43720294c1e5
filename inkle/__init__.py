"""inkle: lazy tensors, compiled into a few fast kernels.

>>> from inkle import Tensor
>>> (Tensor([1.0, 2.0, 3.0]) * 2).sum().item()
12.0
"""

import importlib
from typing import TYPE_CHECKING, Any

from inkle.config import Context
from inkle.engine.realize import memory_report, synchronize
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
from inkle.tensor.scan import fold, scan
from inkle.tensor.variable import Variable

if TYPE_CHECKING:
    from inkle import nn, testing
    from inkle.nn.captured import load_captured, save_captured

__version__ = "0.1.0"
__all__ = [
    "Context",
    "Tensor",
    "Variable",
    "dtypes",
    "fold",
    "grad",
    "is_training",
    "jit",
    "load_captured",
    "manual_seed",
    "memory_report",
    "nn",
    "no_grad",
    "save_captured",
    "scan",
    "synchronize",
    "testing",
    "training",
    "value_and_grad",
]


def __getattr__(name: str) -> Any:
    """Load `inkle.nn`, and what is built on it, when it is first used; tensors do not need it."""
    if name in ("nn", "testing"):
        return importlib.import_module(f"inkle.{name}")
    if name in ("load_captured", "save_captured"):
        return getattr(importlib.import_module("inkle.nn.captured"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
