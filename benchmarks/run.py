"""Time inkle beside NumPy and PyTorch: the figures of the README.

    python benchmarks/run.py                  all groups, 1 thread and all cores
    python benchmarks/run.py --only matmul    some of them
    python benchmarks/run.py --threads 1      CPU time of one core: hardly disturbed by others

Every library is called in turn, round after round, and the medians are compared: on a shared
machine only ratios within one run mean something. One thread: CPU time. More: wall time. Outputs of
inkle and PyTorch are dropped after each call, so that all allocators recycle their memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Call = Callable[[], object]
TURN_SECONDS = 0.004  # of one library at a time, at least
# Idle workers of one library must not spin on the core that another one needs.
POLITE = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_THREAD_TIMEOUT": "4", "KMP_BLOCKTIME": "0"}


@dataclass(frozen=True, slots=True)
class Case:
    """One workload: a call for every library, and what counts as its size."""

    group: str
    name: str
    calls: dict[str, Call]
    gflop: float = 0.0


def cases() -> list[Case]:
    """Build all workloads; imports are here so that thread counts are set first."""
    return [*matmuls(), *chains(), *reductions(), *rows()]


def tools() -> tuple:  # type: ignore[type-arg]  # modules
    """Return numpy, torch and inkle with the wanted number of threads."""
    import numpy as np
    import torch

    import inkle

    torch.set_num_threads(int(os.environ["INKLE_THREADS"]))
    return np, torch, inkle


def both(np, torch, inkle, *shapes):
    """Return the same random arrays for every library."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
    return arrays, [torch.tensor(x) for x in arrays], [inkle.Tensor(x).realize() for x in arrays]


def matmuls() -> list[Case]:
    """Square products."""
    np, torch, inkle = tools()
    product = inkle.jit(lambda a, b: a @ b)
    found = []
    for n in (64, 256, 512, 768, 1024, 1000):
        (a, b), (ta, tb), (ia, ib) = both(np, torch, inkle, (n, n), (n, n))
        out, tout = np.empty((n, n), np.float32), torch.empty(n, n)
        calls = {
            "inkle": lambda ia=ia, ib=ib: product(ia, ib),
            "numpy": lambda a=a, b=b, out=out: np.matmul(a, b, out=out),
            "torch": lambda ta=ta, tb=tb, tout=tout: torch.matmul(ta, tb, out=tout),
        }
        found.append(Case("matmul", f"matmul {n}", calls, 2e-9 * n**3))
    return found


def chains() -> list[Case]:
    """A fused chain over 16M elements."""
    np, torch, inkle = tools()
    (a, b, c), (ta, tb, tc), (ia, ib, ic) = both(np, torch, inkle, *[(16 << 20,)] * 3)
    chain = inkle.jit(lambda a, b, c: (a * b + c).relu().exp())
    calls = {
        "inkle": lambda: chain(ia, ib, ic),
        "numpy": lambda: np.exp(np.maximum(a * b + c, 0)),
        "torch": lambda: torch.exp(torch.relu(ta * tb + tc)),
    }
    return [Case("elementwise", "exp(relu(a*b+c)) 16M", calls)]


def reductions() -> list[Case]:
    """Sums and maxima along every axis."""
    np, torch, inkle = tools()
    (x,), (tx,), (ix,) = both(np, torch, inkle, (4096, 4096))
    found = []
    for op in ("sum", "max"):
        for axis in (0, 1, None):
            run = inkle.jit(lambda x, op=op, axis=axis: getattr(x, op)(axis))
            torch_op = torch.amax if op == "max" else torch.sum
            axes = (0, 1) if axis is None else axis
            calls = {
                "inkle": lambda run=run: run(ix),
                "numpy": lambda op=op, axis=axis: getattr(x, op)(axis),
                "torch": lambda f=torch_op, axes=axes: f(tx, axes),
            }
            found.append(
                Case("reduce", f"{op} axis {'all' if axis is None else axis} 4096x4096", calls)
            )
    return found


def rows() -> list[Case]:
    """Functions with reductions and their consumers in every row."""
    np, torch, inkle = tools()
    _, (tx, tw, tb), (ix, iw, ib) = both(np, torch, inkle, (4096, 1024), (1024,), (1024,))
    softmax = inkle.jit(lambda x: x.softmax(-1))
    layernorm = inkle.jit(lambda x, w, b: x.layernorm() * w + b)
    return [
        Case("rows", "softmax 4096x1024", {
            "inkle": lambda: softmax(ix), "torch": lambda: torch.softmax(tx, -1)}),
        Case("rows", "layernorm 4096x1024", {
            "inkle": lambda: layernorm(ix, iw, ib),
            "torch": lambda: torch.nn.functional.layer_norm(tx, (1024,), tw, tb)}),
    ]  # fmt: skip


def measure(case: Case, clock: Callable[[], float], seconds: float) -> dict[str, float]:
    """Return the median seconds of every library, taking turns.

    In each turn short calls are repeated for some milliseconds, as in the loop of a program; one
    call after another library's would measure how quickly its code comes back into the caches.
    """
    times: dict[str, list[float]] = {name: [] for name in case.calls}
    slowest = 0.0
    for call in case.calls.values():
        call()
        start = time.perf_counter()
        call()
        slowest = max(slowest, time.perf_counter() - start)
    repeats = max(1, int(TURN_SECONDS / slowest))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, call in case.calls.items():
            start = clock()
            for _ in range(repeats):
                call()
            times[name].append((clock() - start) / repeats)
    return {name: statistics.median(values) for name, values in times.items()}


def worker(only: str, seconds: float) -> None:
    """Measure in this process; print one JSON line per case."""
    clock = time.process_time if os.environ["INKLE_THREADS"] == "1" else time.perf_counter
    for case in cases():
        if only in f"{case.group} {case.name}":
            row = {"name": case.name, "gflop": case.gflop, "seconds": measure(case, clock, seconds)}
            print(json.dumps(row), flush=True)


def report(threads: int, rows: list[dict]) -> str:  # type: ignore[type-arg]
    """Return a table in Markdown: milliseconds, and the ratio of the best peer to inkle."""
    peers = ("inkle", "numpy", "torch")
    clock = "CPU time" if threads == 1 else "wall time"
    lines = [f"### {threads} thread{'s' if threads > 1 else ''}, {clock}, median ms", ""]
    lines.append("| workload | inkle | NumPy | PyTorch | best peer / inkle | GFLOP/s |")
    lines.append("|---|---|---|---|---|---|")
    for row in rows:
        spent = row["seconds"]
        best = min(value for name, value in spent.items() if name != "inkle")
        cells = [f"{1e3 * spent[name]:.3f}" if name in spent else "" for name in peers]
        rate = f"{row['gflop'] / spent['inkle']:.0f}" if row["gflop"] else ""
        cells += [f"{best / spent['inkle']:.2f}", rate]
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Start one process per number of threads, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="part of a group or name")
    parser.add_argument("--threads", type=int, action="append", help="default: 1 and all cores")
    parser.add_argument("--seconds", type=float, default=2.0, help="per workload")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.only, options.seconds)
        return
    for threads in options.threads or sorted({1, len(os.sched_getaffinity(0))}):
        count = str(threads)
        names = ("INKLE_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        variables = {**os.environ, **dict.fromkeys(names, count), **POLITE}
        command = [sys.executable, str(Path(__file__).resolve()), "--worker"]
        command += ["--only", options.only, "--seconds", str(options.seconds)]
        done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
        print(report(threads, [json.loads(line) for line in done.stdout.splitlines()]), end="\n\n")


if __name__ == "__main__":
    main()
