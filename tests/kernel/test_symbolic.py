"""Loops whose extent is known at launch: transforms and choices keep what kernels compute."""

import numpy as np
import pytest

from inkle.check.accesses import prove_in_bounds
from inkle.check.interpreter import run_kernel
from inkle.ir import ops, spec
from inkle.ir.dtype import float32
from inkle.ir.loop import Axis, Kernel, load, range_, reduce, store
from inkle.ir.size import variable
from inkle.ir.tensor import param
from inkle.kernel.choose import choose_schedule
from inkle.kernel.machine import Machine
from inkle.kernel.regions import is_parallel
from inkle.kernel.transforms import split
from tests.kernel.kernels import numbers

MOST = 21
SIZES = (1, 2, 3, 4, 5, 8, 16, 17, MOST)
n = variable("n", 1, MOST)
N = n.index_node()


def product(which):
    """Return a matrix product of which m, n or k is symbolic, its ranges, and its shape."""
    m, j, k = [n if name == which else size for name, size in zip("mnk", (7, 18, 5), strict=True)]
    i, c, r = range_(0, m), range_(1, j), range_(2, k)
    out, a, b = (param(s, float32, (size,)) for s, size in enumerate((m * j, m * k, k * j)))
    total = reduce(ops.ADD, load(a, i * k + r) * load(b, r * j + c), [r])
    kernel = Kernel((store(out, i * j + c, total),), (i, c, r))
    return kernel, dict(zip("mnk", (i, c, r), strict=True))


def check(kernel, which):
    spec.check_loop(kernel)
    assert prove_in_bounds(kernel) == []
    for size in SIZES:
        m, j, k = [
            size if name == which else fixed for name, fixed in zip("mnk", (7, 18, 5), strict=True)
        ]
        a, b = numbers(m, k), numbers(k, j, seed=1)
        out = np.full((m, j), np.nan, np.float32)

        run_kernel(kernel, {0: out, 1: a, 2: b}, {"n": size})

        np.testing.assert_array_equal(out, a @ b, err_msg=str(size))


@pytest.mark.parametrize(
    ("tail", "inner"),
    [("bound", Axis.LOOP),
     *[(t, axis) for t in ("overlap", "mask") for axis in (Axis.LOOP, Axis.UNROLL, Axis.LANE)]],
)  # fmt: skip
@pytest.mark.parametrize("which", ["m", "n"])
def test_split_of_an_output_range(which, tail, inner):
    kernel, ranges = product(which)

    kernel, _, _ = split(kernel, ranges[which], 4, Axis.LOOP, inner, tail)

    check(kernel, which)


@pytest.mark.parametrize("tail", ["mask", "bound", "peel"])
def test_split_of_a_reduction(tail):
    kernel, ranges = product("k")

    kernel, _, _ = split(kernel, ranges["k"], 4, Axis.LOOP, Axis.LOOP, tail)

    check(kernel, "k")


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("which", ["m", "n", "k"])
def test_chosen_schedule(which, masks, threads):
    kernel, _ = product(which)
    machine = Machine(vector_bytes=16, registers=16, threads=threads, masks=masks)

    check(choose_schedule(kernel, machine), which)


def test_tile_that_the_shortest_extent_has_room_for_is_not_masked():
    some = variable("some", 8, 30)
    i = range_(0, some)
    out = param(0, float32, (some,))
    kernel = Kernel((store(out, i, i.cast(float32)),), (i,))

    kernel, _, _ = split(kernel, i, 8, Axis.LOOP, Axis.LANE, "overlap")

    assert len(kernel.stores[0].src) == 3


def test_strides_that_are_sizes_write_disjoint_rows():
    kernel, ranges = product("n")
    (written,) = kernel.stores

    assert is_parallel(written, ranges["m"])
    assert is_parallel(written, ranges["n"])
    assert not is_parallel(written, ranges["k"])


def test_rows_that_overlap_are_not_parallel():
    i, j = range_(0, 4), range_(1, N + 1)
    kernel = Kernel((store(param(0, float32, (n * 5,)), i * N + j, i.cast(float32)),), (i, j))

    assert not is_parallel(kernel.stores[0], i)
