"""What it costs to simplify the index expressions of typical kernels.

    python benchmarks/simplify.py [--profile]

Per kernel: nodes before and after, and milliseconds for expressions never seen before (best of
many, each with ranges of its own, so that nothing is remembered) and for the same ones again.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import time
from collections.abc import Callable, Sequence

from inkle.ir.loop import flat_index, range_
from inkle.ir.node import Node, toposort
from inkle.rules import SIMPLIFY
from inkle.rules.simplify import RuleSet

ROUNDS = 50
_numbers = itertools.count()


def ranges(*sizes: int) -> list[Node]:
    """Return ranges that no expression has used yet."""
    return [range_(next(_numbers), size) for size in sizes]


def unravelled(flat: Node, shape: Sequence[int]) -> list[Node]:
    """Return the coordinates of a row-major position."""
    coordinates = []
    for n in reversed(shape):
        coordinates.append(flat % n)
        flat = flat // n
    return coordinates[::-1]


def conv2d() -> list[Node]:
    """Padded 3x3 convolution of (8, 32, 28, 28): input with its gate, weight, output."""
    b, o, y, x, c, i, j = ranges(8, 64, 28, 28, 32, 3, 3)
    row, column = y + i - 1, x + j - 1
    gate = (row >= 0) & (row < 28) & (column >= 0) & (column < 28)
    return [
        flat_index([b, c, row, column], (8, 32, 28, 28)),
        gate,
        flat_index([o, c, i, j], (64, 32, 3, 3)),
        flat_index([b, o, y, x], (8, 64, 28, 28)),
    ]


def conv2d_by_shear() -> list[Node]:
    """The same through the reshapes that a framework without windows would need."""
    b, o, y, x, c, i, j = ranges(8, 64, 28, 28, 32, 3, 3)
    position = unravelled(flat_index([y, i, x, j], (28, 3, 28, 3)), (28 * 3, 28 * 3))
    taps = [each % 31 for each in position]
    weight = unravelled(flat_index([o, c, i, j], (64, 32, 3, 3)), (64, 288))
    back = unravelled(flat_index(weight, (64, 288)), (64, 32, 3, 3))
    gate = (taps[0] < 30) & (taps[1] < 30) & (taps[0] > 0) & (taps[1] > 0)
    return [flat_index([b, c, *taps], (8, 32, 31, 31)), gate, flat_index(back, (64, 32, 3, 3))]


def split_matmul() -> list[Node]:
    """A matrix product whose ranges were split for tiles, seen through reshapes."""
    m0, m1, n0, n1, k0, k1 = ranges(16, 64, 32, 32, 8, 128)
    m, n, k = m0 * 64 + m1, n0 * 32 + n1, k0 * 128 + k1
    heads = unravelled(flat_index([m, n], (1024, 1024)), (1024, 16, 64))
    return [
        flat_index([m, k], (1024, 1024)),
        flat_index([k, n], (1024, 1024)),
        flat_index([heads[1], heads[0], heads[2]], (16, 1024, 64)),
    ]


KERNELS: tuple[Callable[[], list[Node]], ...] = (conv2d, conv2d_by_shear, split_matmul)


def measure(make: Callable[[], list[Node]]) -> str:
    """Return one line of the report."""
    first, again = [], []
    for _ in range(ROUNDS):
        roots = make()
        start = time.thread_time()
        results = SIMPLIFY.rewrite(roots)
        middle = time.thread_time()
        SIMPLIFY.rewrite(roots)
        first.append(middle - start)
        again.append(time.thread_time() - middle)
    before, after = len(toposort(roots)), len(toposort(results))
    divisions = sum(node.op.name.startswith("floor") for node in toposort(results))
    return (
        f"{make.__name__:16} {before:4} -> {after:3} nodes ({divisions} divisions)  "
        f"{1e3 * min(first):6.3f} ms, again {1e3 * min(again):6.3f} ms"
    )


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="where the time goes in conv2d")
    options = parser.parse_args()
    start = time.thread_time()
    RuleSet(SIMPLIFY.rules, SIMPLIFY.nest_of).rewrite(conv2d())
    print(f"first kernel of a process, rules compiled: {1e3 * (time.thread_time() - start):.1f} ms")
    for make in KERNELS:
        print(measure(make))
    if options.profile:
        many = [node for _ in range(ROUNDS) for node in conv2d()]
        cProfile.runctx("SIMPLIFY.rewrite(many)", globals(), {"many": many}, sort="tottime")


if __name__ == "__main__":
    main()
