"""Compare loops over time with PyTorch's: forward, and forward with backward.

    python benchmarks/recurrent.py [--steps 200] [--batch 32] [--inputs 64] [--hidden 256]

`inkle.scan` over the steps, captured by `jit`, against `torch.nn.RNN`; then elementwise recurrences
of 1,024 steps of (32, 512) against the same loop in PyTorch and NumPy. Medians of 15, then of 5.
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
FEW = 5  # rounds of what takes PyTorch a second
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


def linear(s: Any, a: Any, x: Any) -> Any:
    """A step of a linear recurrence, as in state space models."""
    return a * s + x


def average(s: Any, a: Any, x: Any) -> Any:
    """A step of an exponential moving average."""
    return 0.9 * s + 0.1 * x


def gates(s: Any, a: Any, x: Any) -> Any:
    """A step of a gated unit without products."""
    keep = (a + s).sigmoid()
    return keep * s + (1 - keep) * (x - s).tanh()


def elementwise_jobs(step: Any, arrays: Sequence[np.ndarray[Any, Any]]) -> tuple[Job, Job]:
    """Return (forward, training step) of all values that `inkle.scan` gives."""
    a, x = (Tensor(each, requires_grad=True) for each in arrays)

    def run(a: Tensor, x: Tensor) -> Tensor:
        start = Tensor.zeros(*x.shape[1:])
        return inkle.scan(lambda s, row: (step(s, *row),) * 2, start, (a, x))[1]

    @inkle.jit
    def train(a: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        a.grad = x.grad = None
        (run(a, x) ** 2).sum().backward()
        return tuple(each.grad for each in (a, x) if each.grad is not None)

    forward = inkle.jit(run)
    return lambda: forward(a, x).realize(), lambda: [g.realize() for g in train(a, x)]


def elementwise_torch_jobs(step: Any, arrays: Sequence[np.ndarray[Any, Any]]) -> tuple[Job, Job]:
    """Return the same as loops of PyTorch."""
    import torch

    a, x = (torch.tensor(each, requires_grad=True) for each in arrays)

    def run() -> Any:
        s, rows = torch.zeros(x.shape[1:]), []
        for each in zip(a, x, strict=True):
            s = step(s, *each)
            rows.append(s)
        return torch.stack(rows)

    def forward() -> Any:
        with torch.no_grad():
            return run()

    def train() -> None:
        a.grad = x.grad = None
        (run() ** 2).sum().backward()

    return forward, train


def numpy_job(step: Any, arrays: Sequence[np.ndarray[Any, Any]]) -> Job:
    """Return a loop of NumPy."""
    a, x = arrays

    def forward() -> Any:
        s, out = np.zeros_like(x[0]), np.empty_like(x)
        for t in range(len(x)):
            out[t] = s = step(s, a[t], x[t])
        return out

    return forward


def elementwise_rows(shape: tuple[int, ...]) -> None:
    """Print the rows of elementwise recurrences."""
    rng = np.random.default_rng(0)
    arrays = [rng.random(shape, dtype=np.float32) for _ in range(2)]
    for name, step in (("linear", linear), ("average", average), ("gates", gates)):
        theirs = elementwise_torch_jobs(step, arrays)
        for what, job, other in zip(
            ("forward", "training"), elementwise_jobs(step, arrays), theirs, strict=True
        ):
            others = [numpy_job(step, arrays)] if what == "forward" and step is not gates else []
            a, b, *c = median_ms([job, other, *others], FEW)
            more = "".join(f"  numpy {each:8.1f} ms" for each in c)
            print(
                f"{name:8} {what:8} inkle {a:8.1f} ms  torch {b:8.1f} ms  "
                f"torch / inkle {b / a:5.2f}{more}"
            )


def median_ms(jobs: Sequence[Job], rounds: int = ROUNDS) -> list[float]:
    """Return the median milliseconds of each job, run in turn."""
    for job in jobs:
        job()
    times: list[list[float]] = [[] for _ in jobs]
    for _ in range(rounds):
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
    elementwise_rows((1024, 32, 512))


if __name__ == "__main__":
    main()
