"""What it costs to launch a kernel, to compile one, and to get memory, on the CPU.

    python benchmarks/launch.py [--quick]

Each figure is the median of many runs, with the tenth and ninetieth percentile behind it.
docs/decisions/runtime-launch.md discusses them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from inkle.runtime.cpu.graph import Graph, Launch
from inkle.runtime.cpu.llvm import compile_ir
from inkle.runtime.cpu.memory import Allocator
from inkle.runtime.cpu.pool import Pool
from inkle.runtime.cpu.target import Target
from inkle.runtime.disk_cache import DiskCache

KERNELS = 100
IDLE_SECONDS = 0.003  # long enough for workers to fall asleep
TINY = """
define void @tiny_{0}(ptr %args, i64 %chunk) {{
  %x = load ptr, ptr %args
  %at = getelementptr <16 x float>, ptr %x, i64 %chunk
  %value = load <16 x float>, ptr %at, align 4
  %sum = fadd <16 x float> %value, splat (float {0}.0)
  store <16 x float> %sum, ptr %at, align 4
  ret void
}}"""
COLD_PROCESS = """
import json, time
seconds, start = {}, time.perf_counter()
def lap(name):
    global start
    seconds[name] = time.perf_counter() - start
    start = time.perf_counter()
import numpy
lap("import NumPy")
import inkle.runtime.cpu.graph
lap("import inkle.runtime")
from inkle.runtime.cpu import binding, llvm
binding.llvm()
lap("import llvmlite and prepare LLVM")
llvm.Target.host()
llvm._engine()
lap("describe the host, make the engine")
from inkle.runtime.device import Launch, open_device
device = open_device("CPU")
program = device.compile(%r, "tiny_1")
lap("compile a kernel")
buffer = device.allocate(128)
graph = device.graph([Launch(program.function, (0,), 2)])
graph.bind(0, buffer)
lap("compile pool and graph")
graph.run()
lap("first launch: start workers")
print(json.dumps(seconds))
"""


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    repeat = 20 if parser.parse_args().quick else 1000
    host = Target.host()
    print(f"{host.cpu}, {host.cores} usable cores, load {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory() as folder:
        measure_launches(repeat)
        measure_compiler(DiskCache(Path(folder) / "objects"), max(20, repeat // 10))
        measure_memory(max(20, repeat // 10))
        measure_cold_process(folder)


def measure_launches(repeat: int) -> None:
    """Print the time per kernel of graphs, by number of chunks and threads."""
    buffer = Allocator().allocate(64 * 8)
    for chunks, threads in ((1, 1), (1, 2), (2, 1), (2, 2), (8, 2)):
        graph = tiny_graph(KERNELS, chunks, Pool(threads))
        graph.bind(0, buffer)
        title = f"{KERNELS} kernels of {chunks} chunks on {threads} threads, per kernel"
        report(title, "ns", 1e9 / KERNELS, times(graph.run, repeat))
    pool = Pool(2)
    for kernels, chunks in ((0, 1), (1, 1), (1, 2)):
        graph = tiny_graph(kernels, chunks, pool)
        if kernels:
            graph.bind(0, buffer)
        title = f"one call from Python, {kernels} kernels of {chunks} chunks"
        report(title, "ns", 1e9, times(graph.run, repeat))
        if kernels:
            idle = times(graph.run, max(20, repeat // 10), idle=True)
            report("    the same after 3 ms of idleness", "ns", 1e9, idle)


def tiny_graph(kernels: int, chunks: int, pool: Pool) -> Graph:
    """Return a graph of that many launches of one tiny kernel on slot 0."""
    function = compile_ir(TINY.format(1), ["tiny_1"])["tiny_1"]
    return Graph([Launch(function, (0,), chunks)] * kernels, pool=pool)


def measure_compiler(cache: DiskCache, repeat: int) -> None:
    """Print the time to compile a tiny kernel, and to get it from disk."""
    numbers = itertools.count()

    def compile_new() -> None:
        number = next(numbers)
        compile_ir(TINY.format(number), [f"tiny_{number}"], cache=cache)

    report("compile a tiny kernel, store and load it", "us", 1e6, times(compile_new, repeat))
    keys = itertools.cycle(path.name for path in cache.folder.iterdir())
    report(
        "read an object from the disk cache",
        "us",
        1e6,
        times(lambda: cache.get(next(keys)), repeat),
    )
    report(
        "the same kernel again in one process",
        "us",
        1e6,
        times(lambda: compile_ir(TINY.format(0), ["tiny_0"], cache=cache), repeat),
    )


def measure_memory(repeat: int) -> None:
    """Print the time to allocate, fresh and from the cache."""
    allocator = Allocator()
    for size_bytes in (1 << 10, 1 << 20, 64 << 20):
        report(
            f"allocate and free {size_bytes >> 10} KiB again",
            "ns",
            1e9,
            times(lambda size=size_bytes: allocator.allocate(size), repeat),
        )

    def touch() -> None:
        allocator.allocate(64 << 20).numpy()[:] = 1

    def touch_fresh() -> None:
        allocator.trim()
        touch()

    report("fill 64 MiB, fresh", "ms", 1e3, times(touch_fresh, 10))
    report("fill 64 MiB, reused", "ms", 1e3, times(touch, 10))


def measure_cold_process(folder: str) -> None:
    """Print what a new process pays before its first kernel, without and with a disk cache."""
    environment = {**os.environ, "INKLE_CACHE": os.path.join(folder, "cold")}
    program = [sys.executable, "-c", COLD_PROCESS % TINY.format(1)]
    runs = []
    for _ in range(4):
        output = subprocess.run(program, env=environment, capture_output=True, check=True).stdout
        runs.append(json.loads(output))
    cold, *warm = runs
    print("\nnew process, ms                            no cache   warm cache")
    for name, seconds in cold.items():
        best = min(run[name] for run in warm)
        print(f"  {name:38} {seconds * 1e3:10.2f} {best * 1e3:12.2f}")


def times(work: Callable[[], object], repeat: int, *, idle: bool = False) -> list[float]:
    """Return the seconds of each of `repeat` runs, after a few that do not count."""
    for _ in range(min(3, repeat // 10)):
        work()
    seconds = []
    for _ in range(repeat):
        if idle:
            time.sleep(IDLE_SECONDS)
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def report(title: str, unit: str, scale: float, seconds: Sequence[float]) -> None:
    """Print the median and the outer deciles of `seconds`."""
    tenth, *_, ninetieth = statistics.quantiles(seconds, n=10)
    low, middle, high = (scale * s for s in (tenth, statistics.median(seconds), ninetieth))
    print(f"{title:62} {middle:9.1f} {unit}   ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
