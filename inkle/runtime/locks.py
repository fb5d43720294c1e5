"""Locks that a forked child can use."""

from __future__ import annotations

import os
import threading
import weakref


def fork_safe_lock() -> threading.RLock:
    """Return a re-entrant lock that is free in the child after `os.fork`.

    Forking waits until no other thread holds the lock: a child that inherits it from a thread that
    does not exist there would wait for ever, before data that were half changed. Forking takes the
    locks that were made last first: one that is taken inside of another must be made before it.
    """
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )
    return lock


class Locked:
    """An object with a lock of its own, which a forked child finds free.

    What the lock guards must not be harmed by a job that another thread of the parent was in the
    middle of.

    Attributes:
        lock: re-entrant.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        _locked.add(self)


_locked: weakref.WeakSet[Locked] = weakref.WeakSet()


def _renew_locks() -> None:
    for each in list(_locked):
        each.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
