"""Modes of a thread: training or inference, with or without gradients."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Modes(threading.local):
    """What holds in this thread; class attributes are the defaults of a new thread."""

    training: bool = False
    no_grad: bool = False


modes = _Modes()


@contextmanager
def training(on: bool = True) -> Iterator[None]:  # noqa: FBT002  (reads as `training(False)`)
    """Let dropout drop and batch norm use batch statistics inside a `with` block.

    Args:
        on: False switches back to inference for the block.

    Example:
        >>> with training():
        ...     is_training()
        True
    """
    before, modes.training = modes.training, on
    try:
        yield
    finally:
        modes.training = before


@contextmanager
def no_grad() -> Iterator[None]:
    """Let no gradient flow through what is computed inside a `with` block."""
    before, modes.no_grad = modes.no_grad, True
    try:
        yield
    finally:
        modes.no_grad = before


def is_training() -> bool:
    """Say whether the code runs inside `training()`."""
    return modes.training
