"""A lock that a forked child can use."""

from __future__ import annotations

import os
import threading


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
