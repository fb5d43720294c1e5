"""How fast a kernel could be: what it must do, and what this machine can do.

The roofline (Williams, Waterman & Patterson 2009) of a kernel is the time that its arithmetic takes
at the highest rate of multiply-adds, or its memory traffic at the highest bandwidth, whichever is
longer. Both rates are measured once per processor by short native kernels, the bandwidth for data
that fit the second cache, the third, and none, and kept in the cache folder.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from dataclasses import asdict, dataclass

from inkle import config
from inkle.engine.pipeline import current_target, current_threads
from inkle.engine.storage import allocate
from inkle.engine.trip_counts import trip_count
from inkle.ir import forms, ops
from inkle.ir.dtype import uint8
from inkle.ir.loop import Kernel
from inkle.ir.node import Node
from inkle.ir.size import most
from inkle.kernel.narrow import narrow
from inkle.runtime.cpu.graph import Graph
from inkle.runtime.cpu.llvm import compile_ir
from inkle.runtime.cpu.target import Target
from inkle.runtime.device import Launch
from inkle.runtime.disk_cache import DiskCache, default_folder

FORMAT = 1  # raise when the measurement changes
MEASURE_SECONDS = 0.1  # for each rate; the fastest run counts: the others were interrupted
LEAST_RUNS = 5
MEMORY_BYTES = 128 << 20  # of the copy that no cache holds, on most machines
ACCUMULATORS = 12  # multiply-adds in flight: latency 4 times 2 per cycle, and some to spare
ITERATIONS = 20_000
CHUNKS = 8  # for each thread, so that waking the others does not count
FREE = frozenset((ops.CAST, ops.BITCAST, ops.WHERE))  # float operations without arithmetic


@dataclass(frozen=True, slots=True)
class Work:
    """What a kernel must do, however it is written.

    Attributes:
        flops: arithmetic operations on floats; a function such as exp counts as one.
        bytes: memory to read and to write, each element of an array once.
    """

    flops: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Peaks:
    """What the machine can do with all its threads.

    Attributes:
        flops_per_second: float32 operations, by multiply-adds.
        bandwidths: pairs (bytes of data, bytes per second) for growing data.
    """

    flops_per_second: float
    bandwidths: tuple[tuple[int, float], ...]

    def seconds(self, work: Work) -> float:
        """Return the least time for `work`."""
        fitting = [speed for size, speed in self.bandwidths if work.bytes <= size]
        bandwidth = (fitting or [self.bandwidths[-1][1]])[0]
        return max(work.flops / self.flops_per_second, work.bytes / bandwidth)


def count_work(kernel: Kernel) -> Work:
    """Count the work of a kernel as the scheduler made it, before its operations are expanded.

    What the gate of a reduction leaves out, such as the padding of a gradient, is no work: kernels
    do not run it either (`inkle.kernel.narrow`).
    """
    kernel = narrow(kernel)
    points: dict[frozenset[Node], int] = {}

    def runs(node: Node) -> int:
        if node.ranges not in points:
            points[node.ranges] = trip_count(node.ranges)
        return points[node.ranges]

    flops = 0
    reads: dict[Node, int] = {}
    writes: dict[Node, int] = {}
    for node in kernel.nodes():
        if node.op in (forms.LOAD, forms.STORE) and node.src[0].op is forms.PARAM:
            table = reads if node.op is forms.LOAD else writes
            table[node.src[0]] = table.get(node.src[0], 0) + runs(node.src[1])
        elif node.dtype.is_float and node.op not in FREE:
            if node.op.is_elementwise:
                flops += runs(node) * (2 if node.op is ops.FMA else 1)
            elif node.op is forms.REDUCE:
                flops += runs(node.src[0])
    touched = sum(
        min(number, most(param.arg[1][0])) * param.dtype.itemsize
        for each in (reads, writes)
        for param, number in each.items()
    )
    return Work(flops, touched)


def peaks(*, again: bool = False) -> Peaks:
    """Return what this machine can do with the threads in force; measured when it is not known.

    Args:
        again: measure in any case: the machine may have been busy the last time.
    """
    if again:
        _peaks.cache_clear()
    return _peaks(current_target(), current_threads(), str(config.get("INKLE_CACHE")), again)


@functools.cache
def _peaks(target: Target, threads: int, folder: str, again: bool) -> Peaks:
    cache = DiskCache(default_folder(folder) / "machine", limit_bytes=1 << 20)
    name = hashlib.sha256(repr((FORMAT, target, threads)).encode()).hexdigest() + ".json"
    known = None if again else cache.get(name)
    if known is not None:
        row = json.loads(known)
        return Peaks(row["flops_per_second"], tuple([(n, each) for n, each in row["bandwidths"]]))
    found = measure_peaks(target, threads)
    cache.put(name, json.dumps(asdict(found)).encode())
    return found


def measure_peaks(target: Target, threads: int) -> Peaks:
    """Measure what the threads in force can do; takes half a second."""
    sizes = (target.l2_bytes // 2 * threads, target.l3_bytes // 4, MEMORY_BYTES)
    native = compile_ir(_ir(target), ("arithmetic", "copy"), target=target)
    width, chunks = target.vector_bytes, CHUNKS * threads
    graph = Graph([Launch(native["arithmetic"], (0,), chunks)])
    graph.bind(0, allocate(uint8, chunks * width))
    flops = 2 * ACCUMULATORS * ITERATIONS * (width // 4) * chunks
    best = flops / _fastest(graph)
    bandwidths = []
    for size in sorted({min(size, MEMORY_BYTES) for size in sizes}):
        part = max(1, size // (2 * chunks * 4 * width))  # steps of 4 vectors for each chunk
        half = part * chunks * 4 * width
        copy = Graph([Launch(native["copy"], (0, 1, 2), chunks)])
        copy.bind(0, allocate(uint8, half))
        copy.bind(1, allocate(uint8, half))
        copy.bind(2, part)
        bandwidths.append((2 * half, 2 * half / _fastest(copy)))
    return Peaks(best, tuple(bandwidths))


def _fastest(graph: Graph) -> float:
    """Return the seconds of the fastest of many runs."""
    best, end = float("inf"), time.perf_counter() + MEASURE_SECONDS
    runs = 0
    while runs < LEAST_RUNS or time.perf_counter() < end:
        best = min(best, graph.run_timed()[0])
        runs += 1
    return best


def _ir(target: Target) -> str:
    """Return two kernels: multiply-adds in registers, and a copy of one chunk of memory."""
    lanes = target.vector_bytes // 4
    vector = f"<{lanes} x float>"
    return (
        f"declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})\n"
        f"{_arithmetic_ir(vector, lanes, fused=target.fused)}\n{_copy_ir(vector)}"
    )


def _arithmetic_ir(vector: str, lanes: int, *, fused: bool) -> str:
    """Return a loop of independent multiply-adds, a <- a * factor + 1, that ends in one store."""
    factor = ", ".join(["float 0x3FEFFFFFE0000000"] * lanes)  # just below 1: nothing overflows
    ones = ", ".join(["float 1.0"] * lanes)
    function = f"{vector} @llvm.fma.v{lanes}f32"
    one = f"  %b# = call {function}({vector} %a#, {vector} <{factor}>, {vector} <{ones}>)"
    two = f"  %m# = fmul {vector} %a#, <{factor}>\n  %b# = fadd {vector} %m#, <{ones}>"
    names = range(ACCUMULATORS)
    steps = "\n".join((one if fused else two).replace("#", str(i)) for i in names)
    starts = "\n".join(f"  %a{i} = phi {vector} [<{ones}>, %entry], [%b{i}, %loop]" for i in names)
    sums = "\n".join(f"  %s{i} = fadd {vector} %{f's{i - 1}' if i else 'b0'}, %b{i}" for i in names)
    return f"""
define void @arithmetic(ptr %args, i64 %chunk) nounwind {{
entry:
  %out = load ptr, ptr %args
  %to = getelementptr {vector}, ptr %out, i64 %chunk
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%j, %loop]
{starts}
{steps}
  %j = add i64 %i, 1
  %more = icmp ult i64 %j, {ITERATIONS}
  br i1 %more, label %loop, label %done
done:
{sums}
  store {vector} %s{ACCUMULATORS - 1}, ptr %to
  ret void
}}
"""


def _copy_ir(vector: str) -> str:
    """Return a loop that copies the chunk's share of args[0] to args[1], in args[2] steps of 4."""
    moves = "\n".join(
        f"  %p{i} = getelementptr {vector}, ptr %from, i64 {i}\n"
        f"  %q{i} = getelementptr {vector}, ptr %to, i64 {i}\n"
        f"  %v{i} = load {vector}, ptr %p{i}\n  store {vector} %v{i}, ptr %q{i}"
        for i in range(4)
    )
    return COPY_IR.replace("VECTOR", vector).replace("MOVES", moves)


COPY_IR = """
define void @copy(ptr %args, i64 %chunk) nounwind {
entry:
  %source = load ptr, ptr %args
  %second = getelementptr i64, ptr %args, i64 1
  %target = load ptr, ptr %second
  %third = getelementptr i64, ptr %args, i64 2
  %n = load i64, ptr %third
  %first = mul i64 %chunk, %n
  %end = add i64 %first, %n
  br label %loop
loop:
  %i = phi i64 [%first, %entry], [%j, %loop]
  %place = shl i64 %i, 2
  %from = getelementptr VECTOR, ptr %source, i64 %place
  %to = getelementptr VECTOR, ptr %target, i64 %place
MOVES
  %j = add i64 %i, 1
  %more = icmp ult i64 %j, %end
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""
