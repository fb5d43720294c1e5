"""Compare functions compiled once for all sizes with the same compiled for each size.

    python benchmarks/symbolic.py [--quick] [--threads N] [NAME ...]

For each function and size: medians of calls in turn, in microseconds, and their ratio (above 1, the
symbolic one is slower). Afterwards every symbolic function has been traced once.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import inkle
from inkle import Tensor, Variable, jit, nn

Function = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One function.

    Attributes:
        symbolic: compiled once.
        fixed: compiled for each size.
        make: arguments for a size: of the symbolic one, of the other one.
        sizes: to measure.
    """

    symbolic: Any
    fixed: Function
    make: Callable[[int], tuple[tuple[Any, ...], tuple[Any, ...]]]
    sizes: tuple[int, ...]


def array(*shape: int) -> Tensor:
    """Return normal numbers."""
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype("f"))


def of_axis(
    function: Function, sizes: dict[str, dict[int, Variable]], make: Callable[[int], Any],
    measured: tuple[int, ...],
) -> Case:  # fmt: skip
    """Return a case whose arguments have symbolic axes."""

    def both(size: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        arguments = make(size)
        return arguments, arguments

    return Case(jit(function, sizes=sizes), jit(function), both, measured)


def matmul(which: str) -> Case:
    """Return a product of which m, n or k is symbolic, and the others 512."""
    v = Variable(which, 1, 1024)
    axes = {"m": {"a": {0: v}}, "n": {"b": {1: v}}, "k": {"a": {1: v}, "b": {0: v}}}[which]

    def make(size: int) -> Any:
        m, n, k = [size if name == which else 512 for name in "mnk"]
        return array(m, k), array(k, n)

    return of_axis(lambda a, b: a @ b, axes, make, (1, 7, 32, 100, 512, 1000))


def training() -> Case:
    """Return a training step of a network for MNIST with symbolic batches."""

    def step_of() -> Function:
        model = nn.Sequential([nn.Linear(784, 128), Tensor.relu, nn.Linear(128, 10)])
        parameters = nn.state.get_parameters(model)
        optimizer = nn.optim.SGD(parameters, lr=0.01)

        def step(x: Tensor, y: Tensor) -> Tensor:
            loss = model(x).cross_entropy(y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return step

    batch = Variable("batch", 1, 512)
    symbolic = jit(step_of(), sizes={"x": {0: batch}, "y": {0: batch}})

    def make(size: int) -> Any:
        arguments = array(size, 784), Tensor(np.arange(size) % 10)
        return arguments, arguments

    return Case(symbolic, jit(step_of()), make, (1, 10, 32, 100, 512))


def decoding() -> Case:
    """Return one step of attention over a cache that it writes to."""
    heads, width, most = 12, 64, 1024

    def step_of(cache: tuple[Tensor, Tensor]) -> Function:
        keys, values = cache

        def decode(q: Tensor, k: Tensor, v: Tensor, at: Any) -> Tensor:
            keys[:, at : at + 1].assign(k)
            values[:, at : at + 1].assign(v)
            weights = (q @ keys[:, : at + 1].transpose(-1, -2) * width**-0.5).softmax(-1)
            return weights @ values[:, : at + 1]

        return decode

    at = Variable("at", 0, most - 1)
    jobs = [jit(step_of((array(heads, most, width), array(heads, most, width)))) for _ in range(2)]
    qkv = array(heads, 1, width), array(heads, 1, width), array(heads, 1, width)
    return Case(jobs[0], jobs[1], lambda size: ((*qkv, at.bind(size)), (*qkv, size)),
                (0, 15, 100, 511, 1023))  # fmt: skip


def rows(axis: int) -> Case:
    """Return a softmax of 512 rows or columns."""
    n = Variable("n", 1, 2048)

    def make(size: int) -> Any:
        return (array(512, size) if axis else array(size, 512),)

    return of_axis(lambda x: x.softmax(-1), {"x": {axis: n}}, make, (1, 10, 100, 513, 2048))


CASES: dict[str, Callable[[], Case]] = {
    "matmul m": lambda: matmul("m"),
    "matmul n": lambda: matmul("n"),
    "matmul k": lambda: matmul("k"),
    "training step": training,
    "decoding": decoding,
    "softmax, rows": lambda: rows(0),
    "softmax, columns": lambda: rows(1),
}


def compare(case: Case, size: int, *, quick: bool) -> tuple[float, float]:
    """Return the medians of calls of both functions in turn, in microseconds."""
    symbolic, fixed = case.make(size)
    jobs = [lambda: case.symbolic(*symbolic), lambda: case.fixed(*fixed)]
    times: list[list[float]] = [[], []]
    for job in jobs:
        job()
        job()
    start = time.perf_counter()
    while len(times[0]) < 9 or (time.perf_counter() - start < (0.1 if quick else 1.0)):
        for job, spent in zip(jobs, times, strict=True):
            begin = time.perf_counter()
            job()
            spent.append(time.perf_counter() - begin)
    first, second = map(statistics.median, times)
    return first * 1e6, second * 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("names", nargs="*", help=", ".join(CASES))
    given = parser.parse_args(arguments)
    print(f"{'':18} {'size':>6} {'symbolic':>10} {'fixed':>10} {'ratio':>6}")
    with inkle.Context(INKLE_THREADS=given.threads):
        for name, make in CASES.items():
            if given.names and name not in given.names:
                continue
            case = make()
            for size in case.sizes:
                symbolic, fixed = compare(case, size, quick=given.quick)
                ratio = symbolic / fixed
                print(f"{name:18} {size:6} {symbolic:10.1f} {fixed:10.1f} {ratio:6.2f}", flush=True)
            stats = case.symbolic.stats()
            assert stats.traces == 1, case.symbolic.explain()


if __name__ == "__main__":
    main()
