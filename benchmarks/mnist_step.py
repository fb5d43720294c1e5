"""Time one training step of the MNIST network beside PyTorch, and what comes before the first one.

    python benchmarks/mnist_step.py               both libraries in turn, batch 512
    python benchmarks/mnist_step.py --profile     kernels of inkle's step by time
    python benchmarks/mnist_step.py --cold        seconds to the first step, cold and warm cache

Each library has a process of its own, so that idle workers of one do not spin beside the other;
they take turns, and the medians are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SHAPES = {"c1": (32, 1, 5, 5), "c2": (32, 32, 5, 5), "c3": (64, 32, 3, 3), "c4": (64, 64, 3, 3)}


def data(batch: int) -> tuple[dict[str, Any], Any, Any]:
    """Return (parameters, images, labels), the same for both libraries."""
    rng = np.random.default_rng(0)
    params = {
        name: rng.standard_normal(shape, dtype=np.float32) * np.float32(np.prod(shape[1:]) ** -0.5)
        for name, shape in SHAPES.items()
    }
    params["fw"] = rng.standard_normal((576, 10), dtype=np.float32) * np.float32(0.04)
    params["fb"] = np.zeros(10, np.float32)
    for i, channels in ((1, 32), (2, 64)):
        params[f"w{i}"], params[f"b{i}"] = np.ones((2, channels), np.float32)
        params[f"b{i}"] = np.zeros(channels, np.float32)
    images = rng.standard_normal((batch, 1, 28, 28), dtype=np.float32)
    return params, images, rng.integers(0, 10, batch)


def inkle_training(batch: int) -> tuple[Any, Any, Any]:
    """Return a function that does one step of inkle, images and labels."""
    import inkle
    from inkle import Tensor, nn

    values, images, labels = data(batch)
    p = {name: Tensor(value).requires_grad_() for name, value in values.items()}
    optimiser = nn.optim.Adam(list(p.values()), lr=1e-3)
    x, y = Tensor(images).realize(), Tensor(labels).realize()

    def norm(h: Any, w: Any, b: Any) -> Any:
        mean = h.mean((0, 2, 3))
        d = h - mean.reshape(-1, 1, 1)
        return h.batchnorm(w, b, mean, ((d * d).mean((0, 2, 3)) + 1e-5).rsqrt())

    def step(x: Any, y: Any) -> Any:
        with inkle.training():
            optimiser.zero_grad()
            h = x.conv2d(p["c1"]).relu().conv2d(p["c2"]).relu()
            h = norm(h, p["w1"], p["b1"]).max_pool2d((2, 2))
            h = h.conv2d(p["c3"]).relu().conv2d(p["c4"]).relu()
            h = norm(h, p["w2"], p["b2"]).max_pool2d((2, 2))
            loss = (h.reshape(-1, 576) @ p["fw"] + p["fb"]).cross_entropy(y)
            loss.backward()
            optimiser.schedule_step()
            return loss

    return step, x, y


def inkle_step(batch: int) -> Any:
    """Return a function that does one jitted step of inkle."""
    import inkle

    function, x, y = inkle_training(batch)
    step = inkle.jit(function)
    return lambda: step(x, y).item()


def torch_step(batch: int) -> Any:
    """Return a function that does one step of PyTorch, eager."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    values, images, labels = data(batch)
    p = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    optimiser = torch.optim.Adam(list(p.values()), lr=1e-3)
    x, y = torch.tensor(images), torch.tensor(labels)

    def step() -> float:
        optimiser.zero_grad()
        h = x
        for i, (first, second) in enumerate((("c1", "c2"), ("c3", "c4")), 1):
            h = functional.conv2d(functional.conv2d(h, p[first]).relu(), p[second]).relu()
            h = functional.batch_norm(h, None, None, p[f"w{i}"], p[f"b{i}"], training=True)
            h = functional.max_pool2d(h, 2)
        loss = functional.cross_entropy(h.reshape(-1, 576) @ p["fw"] + p["fb"], y)
        loss.backward()
        optimiser.step()
        return float(loss.item())

    return step


STEPS = {"inkle": inkle_step, "torch": torch_step}


def worker(library: str, batch: int) -> None:
    """Do one step for every line of standard input; print seconds and loss."""
    start = time.perf_counter()
    step = STEPS[library](batch)
    built = time.perf_counter()
    loss = step()
    print(time.perf_counter() - built, built - start, loss, flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        loss = step()
        print(time.perf_counter() - begun, loss, flush=True)


def start(library: str, options: argparse.Namespace, **variables: str) -> subprocess.Popen[str]:
    """Start a worker process."""
    threads = str(options.threads)
    names = ("INKLE_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", library]
    return subprocess.Popen(
        [*command, "--batch", str(options.batch)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **dict.fromkeys(names, threads), **variables},
    )


def ask(process: subprocess.Popen[str]) -> float:
    """Let a worker do one step; return its seconds."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline().split()[0])


def compare(options: argparse.Namespace) -> None:
    """Print medians of both libraries, and their ratio."""
    workers = {library: start(library, options) for library in STEPS}
    for process in workers.values():
        assert process.stdout is not None
        process.stdout.readline()
    times: dict[str, list[float]] = {library: [] for library in STEPS}
    for _ in range(options.rounds):
        for library, process in workers.items():
            times[library].append(ask(process))
    for process in workers.values():
        process.communicate()
    medians = {library: statistics.median(values) for library, values in times.items()}
    for library, values in times.items():
        middle, best = 1e3 * medians[library], 1e3 * min(values)
        print(f"{library:6} median {middle:7.1f} ms   best {best:7.1f} ms")
    print(f"PyTorch / inkle: {medians['torch'] / medians['inkle']:.2f} (medians)")


def cold(options: argparse.Namespace) -> None:
    """Print seconds to the first finished step with a cold and a warm cache."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "warm", "warm"):
            process = start("inkle", options, INKLE_CACHE=folder)
            begun = time.perf_counter()
            output, _ = process.communicate("")
            total = time.perf_counter() - begun
            first, set_up, _ = map(float, output.split())
            print(f"{name}: first step {first:.2f} s, process {total:.2f} s, set-up {set_up:.2f} s")


def profile(options: argparse.Namespace) -> None:
    """Print the kernels of a step by time, and the seconds of every pass."""
    os.environ["INKLE_PROFILE"] = "1"
    step = inkle_step(options.batch)
    for _ in range(options.rounds):
        step()
    from inkle.engine.pipeline import TIMES

    for name, seconds in TIMES.seconds.items():
        print(f"{name:20} {1e3 * seconds:8.1f} ms  {TIMES.calls[name]} calls")


def main() -> None:
    """Do what the options say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--worker", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.batch)
    elif options.profile:
        profile(options)
    elif options.cold:
        cold(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
