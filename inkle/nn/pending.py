"""Buffers that layers have updated, and nobody has computed yet.

A running mean moves with every step of a training loop, but no result depends on it: without
anybody to compute it, it would become an expression that is as long as the training and keeps every
batch alive. Hence layers note here what they have updated, and optimisers compute it along with
their step. Without an optimiser, it is computed after a few updates. (A capture by `jit` computes
all state that it assigns; there, notes change nothing.)
"""

from __future__ import annotations

import threading
import weakref

from inkle.engine.trace import current_trace
from inkle.tensor import Tensor

MOST_UPDATES = 4  # each repeats one forward pass; the batches of that many are kept alive


class _Pending(threading.local):
    """The notes of one thread: a buffer and how often it was updated, by id."""

    def __init__(self) -> None:
        # No WeakSet: it would compare tensors with ==, which works element by element.
        self.notes: dict[int, tuple[weakref.ref[Tensor], int]] = {}


_pending = _Pending()


def note(*buffers: Tensor) -> None:
    """Note that `buffers` have been updated."""
    if current_trace() is not None:
        return
    notes = _pending.notes
    for buffer in buffers:
        before, updates = notes.get(id(buffer), (lambda: None, 0))
        updates = updates if before() is buffer else 0  # an id may come again
        notes[id(buffer)] = (weakref.ref(buffer), updates + 1)
    if notes[id(buffers[0])][1] >= MOST_UPDATES:
        first, *others = take()
        first.realize(*others)


def take() -> list[Tensor]:
    """Return what has been noted, and forget it."""
    if current_trace() is not None:
        return []
    alive = [reference() for reference, _ in _pending.notes.values()]
    _pending.notes.clear()
    return [buffer for buffer in alive if buffer is not None]
