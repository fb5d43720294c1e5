"""Processes and signals: forks, interrupts, and the end of a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from inkle import Tensor


def array(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def run_program(text):
    command = [sys.executable, "-c", textwrap.dedent(text)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_after_use():
    x = Tensor(array(64, 64))
    want = (x @ x).tolist()

    child = os.fork()
    if child == 0:
        try:
            known, new = (x @ x + 0).tolist() == want, (x * 3).mean().item()
            os._exit(0 if known and abs(new) < 1 else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert (x @ x + 0).tolist() == want


FORKED_WHILE_BUSY = """
    import os, threading
    from inkle import Tensor, jit

    x = Tensor.ones(20, 20).realize()
    scale = jit(lambda x, factor: x * factor)

    def compute(number):
        product = (x @ x + float(number % 5)).sum().item()
        return product, scale(x, number % 3).sum().item(), Tensor.rand(2).numpy().shape

    def keep_busy():
        number = 0
        while not done:
            number += 1
            compute(number)

    want, done, codes = compute(1), [], []
    threads = [threading.Thread(target=keep_busy) for _ in range(2)]
    for each in threads:
        each.start()
    for _ in range(15):
        child = os.fork()
        if not child:
            os._exit(0 if compute(1) == want else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    done.append(True)
    for each in threads:
        each.join()
    print(codes == [0] * 15)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork_while_other_threads_compile_and_run():
    done = run_program(FORKED_WHILE_BUSY)

    assert done.stdout == "True\n", done.stderr


INTERRUPTED = """
    import random, signal, time
    import numpy as np
    from inkle import Tensor
    from inkle.runtime.device import open_device

    def interrupt(*_):
        raise KeyboardInterrupt

    array = np.random.default_rng(0).normal(size=(100, 100)).astype(np.float32)
    weight, total = Tensor(array), Tensor([0.0])
    (weight @ weight + 1.0).sum().item()
    live = open_device("CPU").memory_report().live_bytes
    interrupts = done = 0
    signal.signal(signal.SIGALRM, interrupt)
    end = time.monotonic() + 20
    while interrupts < 50 and time.monotonic() < end:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, 0.002))
            (weight @ weight + float(done % 3)).sum().item()
            total, done = total + 1, done + 1
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            interrupts += 1
    lost = open_device("CPU").memory_report().live_bytes - live
    right = np.allclose((weight @ weight).numpy(), array @ array, rtol=1e-3, atol=1e-4)
    print(interrupts > 5, total.item() == done, right, lost < 1 << 20)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
def test_interrupts_lose_nothing():
    done = run_program(INTERRUPTED)

    assert done.stdout == "True True True True\n", done.stderr


@pytest.mark.slow
def test_ctrl_c_ends_a_program_as_usual():
    program = """
        import os, signal, threading, time
        from inkle import Tensor
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
        x = Tensor.ones(700, 700).realize()
        threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            while True:
                (x @ x).sum().item()
        except KeyboardInterrupt:
            print((x @ x)[0, 0].item(), flush=True)
            raise
    """

    done = run_program(program)

    assert done.stdout == "700.0\n"
    assert done.returncode == -signal.SIGINT or done.returncode == 130
    assert "KeyboardInterrupt" in done.stderr
