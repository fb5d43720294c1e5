"""Time what comes before the first result of large networks: tracing, scheduling, lowering, LLVM.

    python benchmarks/compile.py                      all networks, kernels from an empty cache
    python benchmarks/compile.py gpt2 --passes        one of them, by pass and by rewrite rule
    python benchmarks/compile.py --deep               graphs of n and of 2n operations
    python benchmarks/compile.py --warm               with everything on disk, by part

Each network runs in a process of its own with a cache of its own. "Python" is tracing, scheduling
and lowering; "cold" is the time from the call to the result with all compilation, "warm" that of a
second process, which finds schedules and kernels on disk, "again" a third call.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

NATIVE = "native code"  # the pass that is LLVM's; all others are Python's


MOST_RULES = 15  # of a table
WARM_PROCESSES = 5
WARM_PARTS = ("trace", "canonicalize", "hoist", "key", "read from disk")
STEPS = (
    "fold_reductions", "split_into_pieces", "prepare", "split_contractions", "in_order",
    "fuse_siblings", "_assemble", "_in_blocks", "donate", "overwrite_at_peak", "free_early",
    "place_temporaries",
)  # fmt: skip
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


def mnist() -> Job:
    """Return a step of training on MNIST with Adam, and 512 images."""
    from mnist_step import inkle_training

    step, images, labels = inkle_training(512)
    return lambda x: step(x, labels), images


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
    "mnist-train": mnist,
    "resnet50-train": lambda: resnet50(train=True),
}


def chain(steps: int) -> list[Any]:
    """Return a vector after that many operations."""
    from inkle import Tensor

    x = Tensor([0.5] * 64)
    for number in range(steps // 2):
        x = x * 0.5 + number % 7
    return [x]


def gathers(steps: int) -> list[Any]:
    """Return what was found in what was found ... in a table."""
    from inkle import Tensor

    table = x = Tensor([*range(1, 64), 0]).realize()
    for _ in range(steps):
        x = table[x]
    return [x]


def softmaxes(steps: int) -> list[Any]:
    """Return rows after that many softmaxes."""
    from inkle import Tensor

    x = Tensor([[0.5] * 32] * 8)
    for _ in range(steps):
        x = x.softmax(-1)
    return [x]


def rnn(steps: int) -> list[Any]:
    """Return the loss and gradients of a recurrent network, unrolled."""
    import numpy as np

    from inkle import Tensor

    rng = np.random.default_rng(0)
    u, w = [Tensor(rng.standard_normal((64, 64), np.float32) / 8).requires_grad_() for _ in "uw"]
    xs, h = Tensor(rng.standard_normal((steps, 8, 64), np.float32)), Tensor(np.zeros((8, 64), "f"))
    xs.realize(u, w)
    for number in range(steps):
        h = (xs[number] @ u + h @ w).tanh()
    loss = h.square().mean().backward()
    return [loss, u.grad, w.grad]


def training(steps: int) -> list[Any]:
    """Return the loss and gradients of that many residual layers."""
    from inkle import Tensor

    w = Tensor([[0.1] * 32] * 32).requires_grad_().realize()
    x = Tensor([[0.5] * 32] * 8)
    for _ in range(steps):
        x = x + (x.layernorm() @ w).relu()
    loss = x.square().mean().backward()
    return [loss, w.grad]


DEEP = {chain: 10_000, gathers: 2_000, softmaxes: 200, rnn: 200, training: 100}


def measure_deep(build: Callable[[int], list[Any]], steps: int) -> dict[str, Any]:
    """Compute a deep graph; return seconds."""
    from inkle.engine import pipeline
    from inkle.engine.pipeline import TIMES
    from inkle.ir.node import toposort

    if "COMPILE_CPU_TIME" in os.environ:
        pipeline.clock = time.thread_time
    build(2)[0].realize()
    start = time.perf_counter()
    wanted = build(steps)
    traced = time.perf_counter() - start
    size = len(toposort([each.node for each in wanted]))
    TIMES.clear()
    start = time.perf_counter()
    wanted[0].realize(*wanted[1:])
    seconds = time.perf_counter() - start
    native = TIMES.seconds.get(NATIVE, 0.0)
    python = sum(TIMES.seconds.values()) - native
    return {"trace": traced, "Python": python, "LLVM": native, "all": traced + seconds,
            "nodes": size, "kernels": TIMES.calls.get("choose schedule", 0)}  # fmt: skip


def print_deep() -> None:
    """Print a table of graphs of n and 2n operations, each from an empty cache."""
    print(f"{'graph':12} {'n':>7} {'nodes':>8} {'kernels':>8} {'trace':>8} {'Python':>8} "
          f"{'LLVM':>8} all, s")  # fmt: skip
    for build, steps in DEEP.items():
        for n in (steps, 2 * steps):
            with tempfile.TemporaryDirectory() as cache:
                row = in_process(f"{build.__name__}:{n}", cache)
            print(f"{build.__name__:12} {n:7d} {row['nodes']:8d} {row['kernels']:8d} "
                  f"{row['trace']:8.2f} {row['Python']:8.2f} {row['LLVM']:8.2f} {row['all']:6.2f}",
                  flush=True)  # fmt: skip


def time_steps(module: Any, names: Sequence[str]) -> None:
    """Count the time of functions of a module as that of passes, "module: name"."""
    from inkle.engine.pipeline import timed

    for name in names:
        function = getattr(module, name)
        title = f"  {module.__name__.rpartition('.')[2]}: {name.strip('_')}"
        setattr(module, name, lambda *args, f=function, t=title: timed(t, lambda: f(*args)))


def measure(name: str, *, rules: bool) -> dict[str, Any]:
    """Run one network; return seconds, and those of every pass, and of every rule if asked for."""
    from inkle.engine import pipeline
    from inkle.schedule import plan

    if "COMPILE_CPU_TIME" in os.environ:
        pipeline.clock = time.thread_time
    time_steps(plan, STEPS)
    import inkle
    from inkle.engine.pipeline import TIMES
    from inkle.rewrite.engine import time_rules

    function, x = NETWORKS[name]()
    step = inkle.jit(function)
    TIMES.clear()
    if rules:  # measuring them takes time: in a process of its own
        with time_rules() as times:
            first(step(x))
        rows = sorted(times.seconds.items(), key=lambda row: -row[1])
        return {"rules": [(each, s, times.tried[each], times.applied[each]) for each, s in rows]}
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


def in_process(name: str, cache: str, *options: str) -> dict[str, Any]:
    """Measure in a process of its own."""
    environment = {**os.environ, "INKLE_CACHE": cache}
    command = [sys.executable, __file__, "--one", name, *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def print_warm(names: Sequence[str]) -> None:
    """Print the medians of what comes before the first result where everything is on disk."""
    print(f"{'network':16} {'schedules':>9} {'trace':>8} {'canonical':>9} {'hoist':>8} {'key':>8} "
          f"{'read':>8} {'sum':>8} {'first result':>12}, ms")  # fmt: skip
    for name in names:
        with tempfile.TemporaryDirectory() as cache:
            in_process(name, cache)
            rows = [in_process(name, cache) for _ in range(WARM_PROCESSES)]
        passes = [row["passes"] for row in rows]
        made = sum(row["calls"].get("schedule", 0) for row in rows)
        parts = [1e3 * median([each.get(part, 0.0) for each in passes]) for part in WARM_PARTS]
        first = 1e3 * median([row["cold"] for row in rows])
        cells = [f"{each:8.1f}" for each in (*parts, sum(parts))]
        print(f"{name:16} {made:9d} {cells[0]} {cells[1]:>9} {' '.join(cells[2:])} {first:12.1f}",
              flush=True)  # fmt: skip


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", choices=[*NETWORKS, []])
    parser.add_argument("--passes", action="store_true", help="print the time of every pass")
    parser.add_argument("--cpu", action="store_true", help="CPU time of passes: on busy machines")
    parser.add_argument("--deep", action="store_true", help="graphs of n and of 2n operations")
    parser.add_argument("--warm", action="store_true", help="with everything on disk, by part")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--rules", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure_one(options.one, rules=options.rules)))
        return
    if options.cpu:
        os.environ["COMPILE_CPU_TIME"] = "1"  # of the processes that measure
    if options.deep:
        print_deep()
        return
    if options.warm:
        print_warm(options.networks or [*NETWORKS])
        return
    print(
        f"{'network':16} {'kernels':>8} {'Python':>8} {'LLVM':>8} {'cold':>8} {'warm':>8} again, s"
    )
    for name in options.networks or NETWORKS:
        with tempfile.TemporaryDirectory() as cache:
            cold, warm = in_process(name, cache), in_process(name, cache)
        passes = cold["passes"]
        native = passes.get(NATIVE, 0.0)
        python = sum(s for each, s in passes.items() if not each.startswith(" ")) - native
        kernels = cold["calls"].get("choose schedule", 0)
        print(f"{name:16} {kernels:8d} {python:8.2f} {native:8.2f} {cold['cold']:8.2f} "
              f"{warm['cold']:8.2f} {cold['again']:8.3f}", flush=True)  # fmt: skip
        if options.passes:
            for each, seconds in sorted(
                passes.items(), key=lambda item: -item[1]
            ):  # parts: indented
                print(f"    {each:24} {seconds:8.3f} s {cold['calls'][each]:6d} calls")
            print_rules(name)


def measure_one(name: str, *, rules: bool) -> dict[str, Any]:
    """Measure a network, or a deep graph: "name:n"."""
    if ":" not in name:
        return measure(name, rules=rules)
    kind, steps = name.split(":")
    return measure_deep(next(each for each in DEEP if each.__name__ == kind), int(steps))


def print_rules(name: str) -> None:
    """Print the rewrite rules that take most time; that of trying them counts."""
    with tempfile.TemporaryDirectory() as cache:
        rows = in_process(name, cache, "--rules")["rules"]
    total = sum(seconds for _, seconds, _, _ in rows)
    print(f"    {len(rows)} rules were tried, which took {total:.3f} s; most of it:")
    for rule, seconds, tried, applied in rows[:MOST_RULES]:
        print(f"    {rule:36} {seconds:8.4f} s {tried:8d} tried {applied:8d} applied")


if __name__ == "__main__":
    main()
