"""Locks that a forked child can use."""

from __future__ import annotations

import os
import threading
from types import TracebackType


def fork_safe_lock() -> threading.RLock:
    """Return a re-entrant lock that is free in the child after `os.fork`.

    Forking waits until no other thread holds the lock: a child that inherits it from a thread that
    does not exist there would wait for ever, before data that were half changed.
    """
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )
    return lock


class ProcessLock:
    """A re-entrant lock for objects that come and go: a forked child finds it free.

    What it guards must not be harmed by a job that another thread was in the middle of.
    """

    __slots__ = ("_lock", "_process")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._process = os.getpid()

    def __enter__(self) -> None:
        if self._process != os.getpid():
            self._lock = threading.RLock()
            self._process = os.getpid()
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()
