"""Time what a line of a program costs before anything is computed: Python, per operation.

    python benchmarks/tracing.py

A primitive is one node of the graph, a composite a function of several. Each is called many times
on fresh expressions, so that no node is there already. CPU time; the least of some rounds, because
a neighbour on the other half of a core takes a third of its speed. The targets are 5 microseconds a
node, and 15 a composite.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from inkle import Tensor

Function = Callable[[Tensor, Tensor], Any]
CALLS = 200  # of one function, in a row
X = Tensor(np.ones((32, 64), np.float32)).realize()
ROW = Tensor(np.ones(64, np.float32)).realize()
W = Tensor(np.ones((64, 64), np.float32)).realize()
IMAGE = Tensor(np.ones((1, 8, 16, 16), np.float32)).realize()
KERNELS = Tensor(np.ones((8, 8, 3, 3), np.float32)).realize()
LABELS = Tensor(np.zeros(32, np.int64)).realize()
INDEX = Tensor(np.arange(32)).realize()

PRIMITIVE: dict[str, Function] = {
    "x + y": lambda x, y: x + y,
    "x * 2": lambda x, y: x * 2.0,
    "x < y": lambda x, y: x < y,
    "exp": lambda x, y: x.exp(),
    "sqrt": lambda x, y: x.sqrt(),
    "maximum": lambda x, y: x.maximum(y),
    "cast": lambda x, y: x.half(),
    "sum": lambda x, y: x.sum(1),
    "max": lambda x, y: x.max(1),
    "reshape": lambda x, y: x.reshape(64, 32),
    "permute": lambda x, y: x.permute(1, 0),
    "flip": lambda x, y: x.flip(0),
    "x[3:7]": lambda x, y: x[3:7],
}
COMPOSITE: dict[str, Function] = {
    "x + row": lambda x, y: x + ROW,
    "relu": lambda x, y: x.relu(),
    "sigmoid": lambda x, y: x.sigmoid(),
    "gelu": lambda x, y: x.gelu(),
    "tanh": lambda x, y: x.tanh(),
    "mean": lambda x, y: x.mean(1),
    "var": lambda x, y: x.var(1),
    "softmax": lambda x, y: x.softmax(),
    "log_softmax": lambda x, y: x.log_softmax(),
    "layernorm": lambda x, y: x.layernorm(),
    "matmul": lambda x, y: x @ W,
    "linear": lambda x, y: x.linear(W, ROW) if hasattr(x, "linear") else x @ W + ROW,
    "cross_entropy": lambda x, y: x.cross_entropy(LABELS),
    "conv2d": lambda x, y: (IMAGE + x[0, 0]).conv2d(KERNELS, padding=1),
    "max_pool2d": lambda x, y: (IMAGE + x[0, 0]).max_pool2d((2, 2)),
    "x[index]": lambda x, y: x[INDEX],
    "cat": lambda x, y: x.cat(y),
    "pad": lambda x, y: x.pad(((1, 1), (0, 0))),
}


def measure(function: Function, rounds: int) -> tuple[float, int]:
    """Return the least seconds of one call, and how many nodes it makes."""
    times = []
    for number in range(rounds):
        # Nodes are kept while they are used: each call gets sources that nobody has seen.
        fresh = [(X + (CALLS * number + i + 0.5), X * (i + 1.5)) for i in range(CALLS)]
        kept = []
        start = time.process_time()
        for x, y in fresh:
            kept.append(function(x, y))
        times.append((time.process_time() - start) / CALLS)
    x, y = fresh[0]
    before = {*x.node.toposort(), *y.node.toposort()}
    new = [n for n in kept[0].node.toposort() if n not in before and n.src]
    return min(times), len(new)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    for title, table in (("primitive", PRIMITIVE), ("composite", COMPOSITE)):
        print(f"{title:16} {'us':>6} {'nodes':>6} {'us/node':>8}")
        for name, function in table.items():
            seconds, nodes = measure(function, rounds)
            us = 1e6 * seconds
            print(f"  {name:14} {us:6.1f} {nodes:6d} {us / max(nodes, 1):8.1f}", flush=True)


if __name__ == "__main__":
    main()
