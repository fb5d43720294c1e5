"""Nodes in several threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import pytest

from inkle.ir import dtype as dt
from inkle.ir import node as node_module
from inkle.ir.node import const, intern
from inkle.ir.ops import ADD
from inkle.ir.tensor import param

FORKS = """
    import os, threading, time
    from inkle.ir import dtype as dt
    from inkle.ir.tensor import buffer, param, reshape

    def build(number):
        x = param(number, dt.float32, (2, 3)) * float(number) + buffer(dt.float32, (2, 3))
        return reshape(x, (6,)).shape == (6,)

    def loop():
        number = 0
        while not done:
            number += 1
            build(number)

    done = []
    threads = [threading.Thread(target=loop, daemon=True) for _ in range(2)]
    for each in threads:
        each.start()
    codes = []
    for number in range(50):
        child = os.fork()
        if not child:
            os._exit(0 if build(10**9 + number) else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    done.append(True)
    print(codes == [0] * 50)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork_while_other_threads_make_nodes():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORKS)],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert done.stdout == "True\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_waits_for_the_thread_that_holds_the_table():
    held, forked = threading.Event(), threading.Event()
    order = []

    def hold():
        with node_module._lock:
            held.set()
            forked.wait(0.05)
            order.append("released")

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        os._exit(0 if const(12345.5, dt.float64).arg == 12345.5 else 1)
    order.append("forked")
    forked.set()
    thread.join()

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert order == ["released", "forked"]


def test_finalizer_may_make_nodes_while_a_node_is_made():
    with node_module._lock:  # as if the collector ran in the middle of `intern`
        x = param(3, dt.float32, (2,))

        assert intern(ADD, dt.float32, (x, x), None, (2,)) is x + x


def test_threads_get_the_same_node():
    x, made = param(5, dt.int32, (7,)), []
    start = threading.Barrier(4)

    def make():
        start.wait()
        made.append([x * number + 1 for number in range(1000, 1500)])

    threads = [threading.Thread(target=make) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert all(a is b for row in made[1:] for a, b in zip(row, made[0], strict=True))
