"""Measures the largest error of every transcendental decomposition; prints the table of the docs.

python -m tests.rules.transcendental_accuracy                   all functions, all float32 inputs
python -m tests.rules.transcendental_accuracy --step 1000 exp   one function, every 1000th input
python -m tests.rules.transcendental_accuracy --write           rewrites docs/accuracy.md
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from inkle.ir.dtype import DType, float32, float64, uint64
from inkle.ir.node import Node, toposort
from inkle.rules.transcendental import DECOMPOSITIONS
from tests.rules.transcendental_native import compile_graph, in_chunks, parameter
from tests.rules.transcendental_oracle import errors_in_ulp, exact, reference

BINARY = frozenset({"pow", "atan2"})
SLOW_ORACLE = frozenset({"erf", "erfc"})  # in float64 only mpmath has them
CHUNK = 1 << 22
THREADS = min(os.cpu_count() or 1, 8)
Arrays = Sequence[np.ndarray]


@dataclass(frozen=True, slots=True)
class Worst:
    """The largest error found: ulp by mpmath, where, and among how many inputs."""

    ulp: float
    at: tuple[float, ...]
    inputs: int


def arity(name: str) -> int:
    """Return the number of arguments of a function."""
    return 2 if name in BINARY else 1


def graph_of(name: str, dtype: DType) -> Node:
    """Return the decomposition of `name` over parameters."""
    return DECOMPOSITIONS[name](*[parameter(slot, dtype) for slot in range(arity(name))])


def node_count(name: str, dtype: DType) -> int:
    """Return the operations of the decomposition; constants and reinterpreted bits are free."""
    nodes = toposort((graph_of(name, dtype),))
    return sum(bool(node.src) and node.op.name != "bitcast" for node in nodes)


def judge(name: str, function: Callable[..., np.ndarray], args: Arrays) -> Worst:
    """Return the largest error over `args`; the worst few are judged again by mpmath."""
    got, want = function(*args), reference(name, *args)
    errors = errors_in_ulp(got, want).astype(np.float64)
    suspects = np.argsort(errors)[-4:]
    sure = suspects[np.isfinite(errors[suspects]) & np.isfinite(want[suspects])]
    if sure.size:
        errors[sure] = errors_in_ulp(got[sure], exact(name, *[x[sure] for x in args]))
    worst = suspects[np.argmax(errors[suspects])]
    return Worst(float(errors[worst]), tuple(float(x[worst]) for x in args), args[0].size)


@cache
def rough_error() -> Callable[..., np.ndarray]:
    """Return a native function (float32 got, float64 want) -> error in ulp, to find suspects.

    Zero where `got` is right; infinite or NaN where only `errors_in_ulp` can tell.
    """
    got, want = parameter(0, float32), parameter(1, float64)
    rounded = want.cast(float32)
    right = got.eq(rounded) | (got.ne(got) & want.ne(want))
    exponent = (want.bitcast(uint64) >> 52) & 0x7FF
    smallest = 1023 - 126
    exponent = (exponent < smallest).where(smallest, exponent)
    per_unit = ((2 * 1023 + 23 - exponent) << 52).bitcast(float64)
    error = ((got.cast(float64) - want).abs() * per_unit).cast(float32)
    return compile_graph(right.where(0.0, error))


def find_worst(name: str, function: Callable[..., np.ndarray], x: np.ndarray) -> Worst:
    """Return the largest error of a float32 function of one argument, if one exceeds 1/2."""
    rough = rough_error()(function(x), reference(name, x))
    doubtful = ~(rough < np.inf)
    rough[doubtful] = 0
    suspects = np.argpartition(rough, -4)[-4:]
    odd = np.flatnonzero(doubtful)
    worst = judge(name, function, [x[np.concatenate([suspects, odd[:1000]])]])
    if odd.size > 1000:
        worst = worst_of([worst, judge(name, function, [x[odd]])])
    return Worst(worst.ulp, worst.at, x.size)


def worst_of(results: Sequence[Worst]) -> Worst:
    """Return the worst of several results, with the sum of their inputs."""
    worst = max(results, key=lambda each: each.ulp)
    return Worst(worst.ulp, worst.at, sum(each.inputs for each in results))


def sweep_float32(name: str, step: int = 1) -> Worst:
    """Return the largest error over every `step`-th of all float32 values (one argument)."""
    function = compile_graph(graph_of(name, float32))

    def one(chunk: int) -> Worst:
        first = -(-chunk * CHUNK // step) * step
        inputs = -(-((chunk + 1) * CHUNK - first) // step)
        bits = np.arange(inputs, dtype=np.uint32) * np.uint32(step) + np.uint32(first)
        return find_worst(name, function, bits.view(np.float32))

    return worst_of(in_chunks(one, 2**32 // CHUNK, THREADS))


def sample(name: str, dtype: DType, count: int, seed: int = 0) -> Worst:
    """Return the largest error over `count` random inputs that stress every part of the domain."""
    function = compile_graph(graph_of(name, dtype))
    size = min(count, 1 << 18)

    def one(chunk: int) -> Worst:
        rng = np.random.default_rng((seed, chunk))
        return judge(name, function, arguments(name, rng, np.dtype(dtype.name), size))

    return worst_of(in_chunks(one, -(-count // size), THREADS))


def arguments(name: str, rng: np.random.Generator, dtype: np.dtype, count: int) -> list[np.ndarray]:
    """Return random arguments that stress every part of the domain."""
    if name == "pow":
        return pow_arguments(rng, dtype, count)
    return [scattered(rng, dtype, count) for _ in range(arity(name))]


def scattered(rng: np.random.Generator, dtype: np.dtype, count: int) -> np.ndarray:
    """Return a mixture: bit patterns, log-uniform numbers, some near 1, some where exp ends."""
    info = np.finfo(dtype)
    n = count // 4 + 1
    raw = rng.integers(0, 2**info.bits, n, dtype=f"u{info.bits // 8}").view(dtype)
    signs = rng.choice(np.array([-1, 1]), n)
    usual = np.ldexp(rng.uniform(1, 2, n), rng.integers(-12, 11, n)) * signs
    near_one = (1 + np.ldexp(rng.uniform(-1, 1, n), rng.integers(-info.nmant, 1, n))) * signs
    end = np.log(2.0) * info.maxexp
    ends = rng.uniform(0.9, 1.1, n) * rng.choice(np.array([end, -end, -end - 35]), n)
    mixed = np.concatenate([raw, *[x.astype(dtype) for x in (usual, near_one, ends)]])
    return rng.permutation(mixed)[:count]


def pow_arguments(rng: np.random.Generator, dtype: np.dtype, count: int) -> list[np.ndarray]:
    """Return positive bases, and exponents that spread the results over the whole range."""
    info = np.finfo(dtype)
    x = np.abs(scattered(rng, dtype, count))
    with np.errstate(all="ignore"):
        wanted = rng.uniform(info.minexp - info.nmant - 2, info.maxexp + 2, count)
        y = (wanted / np.log2(x.astype(np.float64))).astype(dtype)
    usual = rng.uniform(-8, 8, count).astype(dtype)
    y = np.where(rng.random(count) < 0.25, usual, y)
    whole = rng.random(count) < 0.1
    return [np.where(whole & (rng.random(count) < 0.5), -x, x), np.where(whole, np.rint(y), y)]


def row(name: str, step: int, samples: int) -> str:
    """Return one line of the table."""
    single = sample(name, float32, samples * 8) if name in BINARY else sweep_float32(name, step)
    double = sample(name, float64, samples // 64 if name in SLOW_ORACLE else samples)
    counts = [node_count(name, dtype) for dtype in (float32, float64)]
    cells = [f"`{name}`", f"{single.ulp:.2f}", inputs_text(single.inputs), place(single)]
    cells += [f"{double.ulp:.2f}", inputs_text(double.inputs), f"{counts[0]}", f"{counts[1]}"]
    return f"| {' | '.join(cells)} |"


def inputs_text(count: int) -> str:
    return "all" if count == 2**32 else f"{count / 1e6:.3g} M"


def place(worst: Worst) -> str:
    return ", ".join(repr(float(str(np.float32(x)))) for x in worst.at)


HEADER = """\
| function | float32: ulp | inputs | worst at | float64: ulp | inputs | ops (32) | ops (64) |
| --- | --- | --- | --- | --- | --- | --- | --- |"""
DOCUMENT = Path(__file__).parents[2] / "docs/accuracy.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(DECOMPOSITIONS))
    parser.add_argument("--step", type=int, default=1, help="float32: take every STEP-th input")
    parser.add_argument("--samples", type=int, default=1 << 24, help="float64: random inputs")
    parser.add_argument("--write", action="store_true", help="rewrite docs/accuracy.md")
    options = parser.parse_args()
    lines = [HEADER]
    print(HEADER, flush=True)
    for name in options.names:
        start = time.perf_counter()
        lines.append(row(name, options.step, options.samples))
        print(lines[-1], f"  ({time.perf_counter() - start:.0f} s)", flush=True)
    if options.write:
        before, rest = DOCUMENT.read_text().split(BEGIN)
        table = "\n".join(lines) + "\n"
        DOCUMENT.write_text(before + BEGIN + table + END + rest.split(END)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
