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
from inkle.ir.node import Node, intern
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


def test_finalizer_may_make_the_same_node_while_a_node_is_made(monkeypatch):
    entry, made = node_module._Entry, []
    x = param(3, dt.float32, (2,))

    def collect(node, forget):  # as if the collector ran in the middle of `intern`
        monkeypatch.setattr(node_module, "_Entry", entry)
        made.append(x + x)
        return entry(node, forget)

    monkeypatch.setattr(node_module, "_Entry", collect)

    assert intern(ADD, dt.float32, (x, x), None, (2,)) is made[0]


def test_node_takes_the_place_of_a_dead_one_whose_entry_is_still_there():
    x = param(4, dt.float32, (2,))
    key = (ADD, None, (x, x), None)
    dead = node_module._Entry(object.__new__(Node), lambda _: None)
    dead.key = key
    node_module._table[key] = dead

    made = x + x
    node_module._forget(dead)  # its callback comes late

    assert made is x + x


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
