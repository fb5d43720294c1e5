"""Random loops over time: a maker of SCANs, whose step is a random program of its own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from random import Random
from typing import Protocol

from inkle.ir import scan
from inkle.ir.node import Node, substitute
from inkle.ir.scan import RING, Recurrence
from inkle.ir.tensor import param

DEEPEST = 2  # loops in each other
STEPS = (1, 2, 2, 3, 3, 4, 5, 6)


class Sight(IntEnum):
    """What a step sees of a source, in the order of the slots."""

    CARRIED = 0
    ROW = 1
    SHARED = 2


@dataclass(frozen=True, slots=True)
class Seen:
    """A leaf of a step: a PARAM, numbered in the order in which they were made.

    Attributes:
        sight: how it is seen.
        leaf: what stands for it in the step.
        source: the value outside.
    """

    sight: Sight
    leaf: Node
    source: Node


@dataclass(frozen=True, slots=True)
class Made:
    """A loop over time made so far.

    Attributes:
        src: its sources.
        recurrence: what its steps do.
        values: nodes of the step that may be asked for.
    """

    src: tuple[Node, ...]
    recurrence: Recurrence
    values: tuple[Node, ...]


class StepWorkshop(Protocol):
    """What makes the step of a loop.

    Attributes:
        pool: values of the step made so far, leaves among them.
        seen: the leaves.
    """

    pool: list[Node]
    seen: list[Seen]

    def grow(self, size: int) -> None:
        """Make about `size` nodes, and at least one leaf."""

    def like(self, node: Node) -> Node:
        """Return a value of the step with the dtype and shape of `node`."""


class Workshop(Protocol):
    """What the maker of loops needs.

    Attributes:
        loops: made so far.
        depth: 0; in the step of a loop one more than outside.
    """

    random: Random
    loops: list[Made]
    depth: int

    def step(self, steps: int) -> StepWorkshop:
        """Return the workshop of a step of a new loop."""


def loop(w: Workshop) -> Node | None:
    """A result of a loop over time, a new one or one made before."""
    if not w.loops or w.random.random() < 0.5:
        if w.depth == DEEPEST:
            return None
        w.loops.append(_new_loop(w))
    made = w.random.choice(w.loops[-2:])
    carried = made.recurrence.carried
    if made.values and (not carried or w.random.random() < 0.4):
        return scan.stack(made.src, made.recurrence, w.random.choice(made.values))
    if not carried:
        return None
    number = w.random.randrange(carried)
    if w.random.random() < 0.5:
        return scan.history(made.src, made.recurrence, number)
    return scan.last_of(made.recurrence, scan.carry(made.src, made.recurrence, number, RING))


def _new_loop(w: Workshop) -> Made:
    """Return a loop over a new step; slots are numbered anew, by how they are seen."""
    steps = w.random.choice(STEPS)
    step = w.step(steps)
    step.grow(w.random.randint(1, 6))
    carried = [each for each in step.seen if each.sight is Sight.CARRIED]
    following = [step.like(each.leaf) for each in carried]
    seen = sorted(step.seen, key=lambda each: each.sight)
    names = {
        each.leaf: param(slot, each.leaf.dtype, each.leaf.shape) for slot, each in enumerate(seen)
    }
    done = substitute([*following, *step.pool], names)
    recurrence = Recurrence(
        tuple([done[node] for node in following]),
        sum(each.sight is Sight.ROW for each in seen),
        steps,
        w.random.random() < 0.3,
    )
    return Made(
        tuple([each.source for each in seen]), recurrence, tuple([done[node] for node in step.pool])
    )
