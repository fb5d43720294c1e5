"""From loop nests to programs: depth is no problem, whatever it consists of."""

import numpy as np
import pytest

from inkle.ir import ops
from inkle.ir.dtype import int32
from inkle.ir.loop import Kernel, load, range_, reduce, store
from inkle.ir.node import as_index, const
from inkle.ir.tensor import param
from tests.kernel.kernels import run

DEPTH = 120
N = 3


def sums_of_sums(x):
    """Return t[DEPTH], where t[k] = sum over r of x[r] + t[k - 1]: each needs the one before."""
    total = const(0, int32)
    for number in range(DEPTH):
        r = range_(number, N)
        total = reduce(ops.ADD, (load(x, r) + total) & 7, [r])
    return total


def loads_of_loads(x):
    """Return x[x[x[...]]]."""
    at = as_index(1)
    for _ in range(DEPTH):
        at = load(x, at).cast(as_index(0).dtype)
    return at.cast(int32)


@pytest.mark.parametrize("build", [sums_of_sums, loads_of_loads])
def test_deep_expressions_do_not_recurse(build):
    x = np.array([2, 0, 1], np.int32)
    value = build(param(1, int32, (N,)))
    kernel = Kernel((store(param(0, int32, (1,)), as_index(0), value),), ())
    kernel = Kernel(kernel.stores, tuple(kernel.ranges()))
    out = np.empty(1, np.int32)

    run(kernel, out, x)

    total, at = 0, 1
    for _ in range(DEPTH):
        total, at = int(sum((x + total) & 7)), x[at]
    assert out[0] == (total if build is sums_of_sums else at)
