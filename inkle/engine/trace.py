"""The hook by which a capture (`jit`) sees, and shapes, what a traced function does.

While a thread traces a function, storages and gradients show it values of their own, kept by the
trace. What other threads see does not change, and a trace that fails leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

from inkle.ir.node import Node, Shape

if TYPE_CHECKING:
    from inkle.engine.storage import Storage


class Trace(Protocol):
    """A capture in progress."""

    @property
    def shapes(self) -> Mapping[Storage, Shape]:
        """Return the shapes of inputs that have symbolic sizes."""

    def born(self, target: Storage) -> None:
        """Note a storage that the traced function has made."""

    def read(self, target: Storage) -> Node:
        """Return the value that the traced function sees in `target`."""

    def write(self, target: Storage, node: Node) -> None:
        """Let the traced function see `node` in `target` from now on."""

    def read_grad(self, owner: Any, outside: Any) -> Any:
        """Return the gradient that the function sees in a tensor, given the one outside."""

    def write_grad(self, owner: Any, grad: Any) -> None:
        """Let the traced function see `grad` as the gradient of `owner` from now on."""

    def resolve(self, nodes: Sequence[Node]) -> list[Node]:
        """Return nodes outside of the trace that have the values of `nodes`.

        Raises:
            TraceError: if they depend on inputs of the traced function: they have no value yet.
        """

    def random_counter(self, count: int) -> Node:
        """Return a leaf that holds the first of `count` random counters at each later call."""


traces: dict[int, Trace] = {}  # thread -> the capture in progress there


def current_trace() -> Trace | None:
    """Return the capture in progress in this thread."""
    return traces.get(get_ident()) if traces else None


@contextmanager
def tracing(trace: Trace | None) -> Iterator[None]:
    """Let `trace` see what this thread does inside a `with` block; None: nobody."""
    thread = get_ident()
    before = traces.pop(thread, None)
    if trace is not None:
        traces[thread] = trace
    try:
        yield
    finally:
        traces.pop(thread, None)
        if before is not None:
            traces[thread] = before
