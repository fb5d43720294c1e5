"""Time what comes before the first result of large networks: tracing, scheduling, lowering, LLVM.

    python benchmarks/compile.py                      all networks, kernels from an empty cache
    python benchmarks/compile.py gpt2 --passes        one of them, with the time of every pass

Each network runs in a process of its own with a cache of its own. "Python" is scheduling and
lowering; "cold" is the time from the call to the result with all compilation, "warm" with the
kernels on disk, "again" a third call.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

NATIVE = "native code"  # the pass that is LLVM's; all others are Python's


Job = tuple[Callable[[Any], Any], Any]  # a function and its argument


def gpt2(*, train: bool) -> Job:
    """Return GPT-2 small, or a step of its training, and a text of 64 tokens."""
    import numpy as np
    from networks import GPT2

    from inkle import Tensor, nn

    model = GPT2()
    tokens = Tensor(np.random.default_rng(0).integers(0, 50_257, (1, 64)))
    ready(nn, model, tokens)
    labels = tokens.reshape(-1).realize()
    return (trained(nn, model, labels) if train else model.__call__), tokens


def resnet50(*, train: bool) -> Job:
    """Return ResNet-50, or a step of its training, and two images of 224 by 224."""
    import numpy as np
    from networks import ResNet

    from inkle import Tensor, nn

    model = ResNet(50)
    images = Tensor(np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32))
    ready(nn, model, images)
    return (trained(nn, model, Tensor([1, 2])) if train else model.__call__), images


def ready(nn: Any, model: Any, x: Any) -> None:
    """Compute weights and inputs: their random numbers are no part of what is measured."""
    for each in (x, *nn.state.get_state_dict(model).values()):
        each.realize()


def trained(nn: Any, model: Any, labels: Any) -> Callable[[Any], Any]:
    """Return one step of training with SGD."""
    from inkle import training

    optimiser = nn.optim.SGD(nn.state.get_parameters(model), lr=1e-3)

    def step(x: Any) -> Any:
        with training():
            optimiser.zero_grad()
            y = model(x)
            loss = y.reshape(-1, y.shape[-1]).cross_entropy(labels)
            loss.backward()
            optimiser.step()
        return loss

    return step


NETWORKS: dict[str, Callable[[], Job]] = {
    "gpt2": lambda: gpt2(train=False),
    "resnet50": lambda: resnet50(train=False),
    "gpt2-train": lambda: gpt2(train=True),
    "resnet50-train": lambda: resnet50(train=True),
}


def measure(name: str) -> dict[str, Any]:
    """Run one network twice; return seconds, and those of every pass."""
    import inkle
    from inkle.engine.pipeline import TIMES

    function, x = NETWORKS[name]()
    step = inkle.jit(function)
    TIMES.clear()
    start = time.perf_counter()
    first(step(x))
    cold = time.perf_counter() - start
    passes = dict(TIMES.seconds)
    for _ in range(2):  # gradients exist from the first step on, which is another signature
        start = time.perf_counter()
        first(step(x))
    return {"cold": cold, "again": time.perf_counter() - start, "passes": passes,
            "calls": dict(TIMES.calls)}  # fmt: skip


def first(result: Any) -> float:
    """Wait for the result."""
    return float(result.reshape(-1)[0].item())


def in_process(name: str, cache: str) -> dict[str, Any]:
    """Measure in a process of its own."""
    environment = {**os.environ, "INKLE_CACHE": cache}
    command = [sys.executable, __file__, name, "--one"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", choices=[*NETWORKS, []])
    parser.add_argument("--passes", action="store_true", help="print the time of every pass")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.networks[0])))
        return
    print(
        f"{'network':16} {'kernels':>8} {'Python':>8} {'LLVM':>8} {'cold':>8} {'warm':>8} again, s"
    )
    for name in options.networks or NETWORKS:
        with tempfile.TemporaryDirectory() as cache:
            cold, warm = in_process(name, cache), in_process(name, cache)
        passes = cold["passes"]
        native = passes.get(NATIVE, 0.0)
        python = sum(passes.values()) - native
        kernels = cold["calls"].get("choose schedule", 0)
        print(f"{name:16} {kernels:8d} {python:8.2f} {native:8.2f} {cold['cold']:8.2f} "
              f"{warm['cold']:8.2f} {cold['again']:8.3f}", flush=True)  # fmt: skip
        if options.passes:
            for each, seconds in sorted(passes.items(), key=lambda item: -item[1]):
                print(f"    {each:24} {seconds:8.3f} s {cold['calls'][each]:6d} calls")


if __name__ == "__main__":
    main()
