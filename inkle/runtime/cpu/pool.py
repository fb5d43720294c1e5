"""Worker threads that wait in native code for chunks of a kernel.

A worker is a Python daemon thread that enters compiled code once and stays there (`pool_ir` holds
that code, the protocol and the argument for it), so that sharing out a kernel costs no Python and
no lock of the interpreter. Workers spin for SPIN_SECONDS after a job, then sleep and burn nothing;
the first parallel launch starts them, and a pool of one thread has none.

- *Signals* are blocked in workers: Ctrl-C reaches the main thread, which raises KeyboardInterrupt
  when the running native call returns.
- *Fork*: the child has no workers; its pool forgets them and starts its own when it needs them.
- *Exit*: workers are stopped and joined before the interpreter is taken down. One that cannot be,
  because another thread still runs a kernel, ends with the process.
- *Callers* on several threads at once are safe: one gets the workers, the others run alone.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import logging
import mmap
import os
import signal
import threading
import time
from collections.abc import Iterator

from inkle import config
from inkle.errors import DeviceError
from inkle.runtime.cpu import machine, pool_ir
from inkle.runtime.cpu.llvm import compile_ir
from inkle.runtime.locks import fork_safe_lock

SPIN_SECONDS = 40e-6  # a sleeping worker takes 15-60 us to wake: spin about as long, not longer
STACK_BYTES = 16 << 20  # for the kernels' staged tiles; only touched pages exist
STOP_SECONDS = 1.0  # how long the exit of the process waits for a job of another thread
MAX_THREADS = 1024

_logger = logging.getLogger(__name__)
_lock = fork_safe_lock()  # guards starting and stopping
_pools: dict[int, Pool] = {}


def default_pool(threads: int | None = None) -> Pool:
    """Return the pool with that many threads, the same one each time.

    Args:
        threads: how many, the caller included; default: the setting INKLE_THREADS, and if that is
            0, one per core that this process may use.
    """
    count = threads or int(config.get("INKLE_THREADS")) or machine.usable_cores()
    with _lock:
        if count not in _pools:
            _pools[count] = Pool(count)
        return _pools[count]


class Pool:
    """A caller and `threads - 1` workers.

    Attributes:
        threads: how many threads share a kernel, the caller included.
        address: of the native state, first argument of `parfor`; never changes.
        parfor: address of `void parfor(ptr pool, ptr function, ptr args, i64 chunks)`.
        started: whether the workers exist.

    Args:
        threads: at least 1.
        portable: wait as on systems without a futex; for tests.

    Raises:
        DeviceError: if `threads` is out of range, or llvmlite is missing.
    """

    def __init__(self, threads: int, *, portable: bool = False) -> None:
        if not 1 <= threads <= MAX_THREADS:
            raise DeviceError(f"a pool needs 1 to {MAX_THREADS} threads, got {threads}")
        self.threads = threads
        self.started = threads == 1
        self._native = _native(portable)
        self.parfor = self._native["parfor"]
        self._memory = mmap.mmap(-1, mmap.PAGESIZE, **_private_mapping())
        self._words = (ctypes.c_int32 * (pool_ir.STATE_BYTES // 4)).from_buffer(self._memory)
        self.address = ctypes.addressof(self._words)
        self._workers: list[threading.Thread] = []
        self._exit_registered = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget_workers)

    def start(self) -> None:
        """Start the workers if they do not run. Graphs do this before a parallel launch."""
        with _lock:
            if not self.started:
                self._reset()
                self._start_workers()
                self.started = True

    def stop(self, timeout_seconds: float = STOP_SECONDS) -> bool:
        """End the workers; later launches run on their caller's thread until `start` is called.

        Returns:
            Whether all workers have left; False if a job still ran after `timeout_seconds`.
        """
        with _lock:
            deadline = time.monotonic() + timeout_seconds
            stop = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(self._native["stop_workers"])
            while self._workers and not stop(self.address):
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.0002)
            for worker in self._workers:
                worker.join(max(0.0, deadline - time.monotonic()))
            self._workers = [worker for worker in self._workers if worker.is_alive()]
            return not self._workers

    def _start_workers(self) -> None:
        run = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._native["worker"])
        with _signals_blocked(), _stack_size(STACK_BYTES):
            for number in range(1, self.threads):
                name = f"inkle-worker-{number}"
                worker = threading.Thread(target=run, args=(self.address,), name=name, daemon=True)
                try:
                    worker.start()
                except RuntimeError as error:  # out of threads, or the interpreter is shutting down
                    _logger.warning("only %d of %d threads: %s", number, self.threads, error)
                    break
                self._workers.append(worker)
        self._words[pool_ir.WORKERS // 4] = len(self._workers)
        if not self._exit_registered:
            self._exit_registered = True
            atexit.register(self.stop)

    def _reset(self) -> None:
        """Make the state that of an idle pool without workers."""
        ctypes.memset(self.address, 0, pool_ir.STATE_BYTES)
        spins = ctypes.c_int64.from_address(self.address + pool_ir.SPINS)
        spins.value = _spins_per_second(self._native["spin"])

    def _forget_workers(self) -> None:
        """In a forked child: the parent's threads do not exist here, nor does their job."""
        self._workers = []
        ctypes.memset(self.address, 0, pool_ir.STATE_BYTES)
        self.started = self.threads == 1


@functools.cache
def _native(portable: bool) -> dict[str, int]:
    return compile_ir(pool_ir.pool_ir(portable=portable), pool_ir.NAMES)


@functools.cache
def _spins_per_second(spin: int) -> int:
    """Measure how often to pause for SPIN_SECONDS: a pause takes 10 to 140 cycles."""
    run = ctypes.CFUNCTYPE(None, ctypes.c_int64)(spin)
    count = 1000
    seconds = []
    for _ in range(5):  # the fastest counts: the others were interrupted
        start = time.perf_counter()
        run(count)
        seconds.append(time.perf_counter() - start)
    return max(1, int(count * SPIN_SECONDS / min(seconds)))


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Let threads started inside inherit a mask that blocks all but the signals of crashes."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    crashes = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - crashes)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _stack_size(size_bytes: int) -> Iterator[None]:
    before = threading.stack_size(size_bytes)
    try:
        yield
    finally:
        threading.stack_size(before)


def _private_mapping() -> dict[str, int]:
    """Return the arguments that make `mmap` memory of this process alone, not of children too."""
    if hasattr(mmap, "MAP_PRIVATE"):
        return {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
    return {}
