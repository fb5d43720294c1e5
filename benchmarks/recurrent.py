"""Compare a recurrent network with PyTorch's: forward, and forward with backward.

    python benchmarks/recurrent.py [--steps 200] [--batch 32] [--inputs 64] [--hidden 256]

`inkle.scan` over the steps, captured by `jit`, against `torch.nn.RNN`; medians of 15 in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import inkle
from inkle import Tensor

ROUNDS = 15
Job = Callable[[], Any]


def inkle_jobs(x: np.ndarray[Any, Any], hidden: int) -> tuple[Job, Job]:
    """Return (forward, training step)."""
    rng = np.random.default_rng(1)
    batch, inputs = x.shape[1:]

    def weight(*shape: int) -> Tensor:
        return Tensor((rng.standard_normal(shape) / hidden**0.5).astype("f"), requires_grad=True)

    w, u, b = weight(inputs, hidden), weight(hidden, hidden), weight(hidden)

    def loss_of(x: Tensor) -> Tensor:
        def step(h: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
            h = (row @ w + h @ u + b).tanh()
            return h, h

        _, states = inkle.scan(step, Tensor.zeros(batch, hidden), x)
        return (states**2).mean()

    @inkle.jit
    def train(x: Tensor) -> Tensor:
        w.grad = u.grad = b.grad = None
        loss = loss_of(x)
        loss.backward()
        return loss

    forward, data = inkle.jit(loss_of), Tensor(x)
    return lambda: forward(data).realize(), lambda: train(data).realize()


def torch_jobs(x: np.ndarray[Any, Any], hidden: int) -> tuple[Job, Job]:
    """Return (forward, training step)."""
    import torch

    net, data = torch.nn.RNN(x.shape[2], hidden), torch.tensor(x)

    def forward() -> Any:
        with torch.no_grad():
            return (net(data)[0] ** 2).mean()

    def train() -> Any:
        net.zero_grad()
        loss = (net(data)[0] ** 2).mean()
        loss.backward()
        return loss

    return forward, train


def median_ms(jobs: Sequence[Job]) -> list[float]:
    """Return the median milliseconds of each job, run in turn."""
    for job in jobs:
        job()
    times: list[list[float]] = [[] for _ in jobs]
    for _ in range(ROUNDS):
        for job, found in zip(jobs, times, strict=True):
            start = time.perf_counter()
            job()
            found.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(each) for each in times]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for name, default in (("steps", 200), ("batch", 32), ("inputs", 64), ("hidden", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    shape = options.steps, options.batch, options.inputs
    x = np.random.default_rng(0).standard_normal(shape).astype("f")
    forward, train = inkle_jobs(x, options.hidden)
    try:
        their_forward, their_train = torch_jobs(x, options.hidden)
    except ImportError:
        found = median_ms([forward, train])
        print(f"forward {found[0]:.1f} ms, training {found[1]:.1f} ms; PyTorch is not installed")
        return
    a, b = median_ms([forward, their_forward])
    c, d = median_ms([train, their_train])
    print(f"forward    inkle {a:8.1f} ms  torch {b:8.1f} ms  torch / inkle {b / a:.2f}")
    print(f"training   inkle {c:8.1f} ms  torch {d:8.1f} ms  torch / inkle {d / c:.2f}")


if __name__ == "__main__":
    main()
