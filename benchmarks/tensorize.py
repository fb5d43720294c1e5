"""What matrix instructions give: rates of the instructions, and products with and without them.

    python benchmarks/tensorize.py [--quick]

One thread, its CPU time. With and without take turns; each figure is the median of the turns.
docs/decisions/tensorize.md discusses them.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from inkle.engine import pipeline
from inkle.ir.dot import INSTRUCTIONS
from inkle.ir.dtype import DType, bfloat16
from inkle.ir.node import Node
from inkle.ir.plan import Role
from inkle.ir.tensor import param, permute
from inkle.render.llvm_types import DOT, type_of
from inkle.runtime.cpu.llvm import compile_ir
from inkle.runtime.cpu.target import Target
from inkle.schedule import schedule
from inkle.tensor.linear import matmul_node

SHAPES = [(8, 512, 512), (64, 64, 64), (37, 83, 65), (64, 512, 512), (256, 256, 256),
          (512, 512, 512)]  # fmt: skip
IN_FLIGHT = 24  # sums that do not wait for each other
Array = np.ndarray[Any, Any]
FMA = ("llvm.fma.v16f32", "<16 x float>", "<16 x float>")


def main() -> None:
    """Print rates, then one line for each product."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few turns")
    turns = 3 if parser.parse_args().quick else 15
    host = Target.host()
    print(f"{host.cpu}, one thread, {turns} turns\n\n10^9 instructions per second")
    here = [row for row in INSTRUCTIONS.values() if host.has(row.feature) and row.name in DOT]
    rates = {"vfmadd (float32)": FMA}
    for row in here:
        sums = type_of(row.accumulator, row.c.lanes)
        rates[row.name] = (DOT[row.name][0], DOT[row.name][1], sums)
    for name, (function, operand, sums) in rates.items():
        print(f"  {name:18} {rate(function, operand, sums, turns):5.2f}")
    print("\nproduct of (m, k) and (k, n), microseconds")
    for names in (("vpdpbusd",), ("vdpbf16ps",)):
        if names[0] in [row.name for row in here]:
            for shape in SHAPES:
                for transposed in (False, True):
                    compare(names[0], *shape, transposed=transposed, turns=turns)


def rate(function: str, operand: str, sums: str, turns: int) -> float:
    """Return the most that one core does of an instruction, in 10^9 per second."""
    order = f"{operand} %a, {operand} %a"
    args = f"{order}, {sums} C" if function == FMA[0] else f"{sums} C, {order}"
    kinds = ", ".join(part.rpartition(" ")[0] for part in args.split(", "))
    numbers = range(IN_FLIGHT)
    body = [f"%c{i} = phi {sums} [zeroinitializer, %entry], [%d{i}, %loop]" for i in numbers]
    body += [f"%d{i} = call {sums} @{function}({args.replace(' C', f' %c{i}')})" for i in numbers]
    stores = [f"%p{i} = getelementptr {sums}, ptr %x, i64 {i}" for i in numbers]
    stores += [f"store {sums} %d{i}, ptr %p{i}, align 4" for i in numbers]
    text = "\n".join(
        [
            "define void @rate(ptr %x, i64 %n) {", "entry:",
            f"%a = load {operand}, ptr %x, align 4", "br label %loop", "loop:",
            "%i = phi i64 [0, %entry], [%after, %loop]", *body,
            "%after = add i64 %i, 1", "%more = icmp slt i64 %after, %n",
            "br i1 %more, label %loop, label %done", "done:", *stores, "ret void", "}",
            f"declare {sums} @{function}({kinds})",
        ]
    )  # fmt: skip
    code = native(text, "rate")
    memory = np.zeros(64 * IN_FLIGHT, np.uint8)
    rounds = 100_000
    seconds = [timed(lambda: code(memory.ctypes.data, rounds), 1) for _ in range(turns)]
    return IN_FLIGHT * rounds / statistics.median(seconds) / 1e9


def compare(name: str, m: int, n: int, k: int, *, transposed: bool, turns: int) -> None:
    """Print the time of a product without and with an instruction, and their ratio."""
    row = INSTRUCTIONS[name]
    shapes = [(m, k), (n, k) if transposed else (k, n)]
    leaves = [param(i, row.operands[i], shape) for i, shape in enumerate(shapes)]
    left, right = (leaf.cast(row.accumulator) for leaf in leaves)
    product = matmul_node(left, permute(right, (1, 0)) if transposed else right, None)
    arrays = [values(dtype, shape) for dtype, shape in zip(row.operands, shapes, strict=True)]
    arrays.append(np.zeros((m, n), row.accumulator.name))
    runs = [launcher(product, found, arrays) for found in (frozenset(), frozenset({name}))]
    repeat = max(1, int(1e8 / (m * n * k)))
    seconds = [[timed(run, repeat) for run in runs] for _ in range(turns)]
    plain, dots = (statistics.median(each) for each in zip(*seconds, strict=True))
    what = f"{name} ({m}, {k}) and ({k}, {n}){' transposed' * transposed}"
    print(
        f"  {what:46} without {plain * 1e6:7.1f}  with {dots * 1e6:7.1f}  "
        f"ratio {plain / dots:5.2f}  {2 * m * n * k / dots / 1e9:6.0f} Gop/s"
    )


def values(dtype: DType, shape: tuple[int, ...]) -> Array:
    """Return random elements, of a bfloat16 its bits."""
    rng = np.random.default_rng(0)
    if dtype is bfloat16:
        return (rng.standard_normal(shape, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    low, high = dtype.limits()
    return rng.integers(low, high + 1, shape).astype(dtype.name)


def launcher(product: Node, found: frozenset[str], arrays: list[Array]) -> Callable[[], None]:
    """Return a call of the native code of a product, for a machine with some instructions."""
    plan = schedule([product])
    (launch,) = plan.launches
    target = Target.host()
    machine = replace(pipeline.machine_of(target, 1), instructions=found)
    name, text, _, _ = pipeline.to_source(launch.kernel, machine)
    code = native(text, name)
    memory = [plan.memory[place] for place in launch.memory]
    used = [arrays[each.number if each.role is Role.INPUT else -1] for each in memory]
    table = (ctypes.c_void_p * len(used))(*[array.ctypes.data for array in used])
    return lambda: code(table, 0)


def native(text: str, name: str) -> Callable[[Any, int], None]:
    """Return a function of a pointer and a number."""
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(compile_ir(text, [name])[name])


def timed(run: Callable[[], None], repeat: int) -> float:
    """Return seconds of this thread per call."""
    start = time.thread_time()
    for _ in range(repeat):
        run()
    return (time.thread_time() - start) / repeat


if __name__ == "__main__":
    main()
