"""The hooks by which a capture (`jit`) sees what a traced function does."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from inkle.engine.storage import Storage
from inkle.ir.node import Node


class Trace(Protocol):
    """What a capture in progress wants to know."""

    def on_assign(self, target: Storage) -> None:
        """Note that `target` is about to get another version."""

    def on_realize(self, nodes: Sequence[Node]) -> None:
        """Raise TraceError if `nodes` depend on inputs of the traced function."""

    def random_counter(self, count: int) -> Node | None:
        """Return a leaf that holds the first of `count` random counters at each later call."""


_local = threading.local()


def current_trace() -> Trace | None:
    """Return the innermost capture of this thread, if one is in progress."""
    stack = getattr(_local, "stack", None)
    return stack[-1] if stack else None


def push(trace: Trace) -> None:
    """Begin a capture."""
    if not hasattr(_local, "stack"):
        _local.stack = []
    _local.stack.append(trace)


def pop() -> None:
    """End the innermost capture."""
    _local.stack.pop()
