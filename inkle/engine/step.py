"""The trace of one step of a loop over time: a function is run once, on stand-ins.

What it makes stays in the trace; what is outside it may read, but not change: it runs once, while
the loop runs many times.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn

from inkle.engine import storage
from inkle.engine.storage import Storage
from inkle.engine.trace import Trace
from inkle.errors import TraceError
from inkle.ir.node import Node, Shape, toposort


class StepTrace:
    """Sees what a step does; see `inkle.engine.trace.Trace`.

    Args:
        leaves: stand for what changes from step to step.
        outer: the capture in progress, if there is one.
        line: says which line of the user's program is running.
    """

    def __init__(
        self, leaves: Collection[Node], outer: Trace | None, line: Callable[[], str]
    ) -> None:
        self._leaves = frozenset(leaves)
        self._outer = outer
        self._line = line
        self._first = next(storage.serials)

    @property
    def shapes(self) -> Mapping[Storage, Shape]:
        """Return the shapes of inputs that have symbolic sizes."""
        return {} if self._outer is None else self._outer.shapes

    def _refuse(self, what: str) -> NoReturn:
        raise TraceError(f"{self._line()}: the step of a loop over time {what}")

    def born(self, target: Storage) -> None:
        """Do nothing: what a step makes and nobody returns is never looked at."""

    def read(self, target: Storage) -> Node:
        """Return the value that the step sees in `target`."""
        if self._outer is None or target.serial > self._first:
            return target.outside
        return self._outer.read(target)

    def write(self, target: Storage, node: Node) -> None:
        """Let the step see `node` in what it has made itself."""
        if target.serial < self._first:
            self._refuse(
                f"changes a tensor of shape {target.outside.shape} from outside; carry it from "
                f"step to step instead"
            )
        target.outside = node

    def read_grad(self, owner: Any, outside: Any) -> Any:
        """Return the gradient that the step sees in a tensor, given the one outside."""
        return outside if self._outer is None else self._outer.read_grad(owner, outside)

    def write_grad(self, owner: Any, grad: Any) -> None:
        """Refuse: the gradient of one step would be left, not that of all."""
        self._refuse("leaves gradients in .grad; use inkle.grad inside, or backward() outside")

    def resolve(self, nodes: Sequence[Node]) -> list[Node]:
        """Return nodes outside of the trace that have the values of `nodes`.

        Raises:
            TraceError: if they depend on what changes from step to step.
        """
        if not self._leaves.isdisjoint(toposort(nodes)):
            self._refuse(
                "needs the value of a tensor that differs from step to step, and has none while "
                "it is traced; compute with the tensor, with where() instead of `if`"
            )
        return list(nodes) if self._outer is None else self._outer.resolve(nodes)

    def random_counter(self, count: int) -> Node:
        """Refuse: every step would get the same numbers."""
        self._refuse(
            "draws random numbers, the same ones for every step; draw them outside, with a first "
            "axis of one row per step, and pass them in xs"
        )
