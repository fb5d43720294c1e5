"""Windows of padded operands: found in indices and gates, staged once for all that overlap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inkle import Context, Tensor
from inkle.check.plans import run_plan
from inkle.engine import pipeline
from inkle.ir import forms, tensor
from inkle.ir.dtype import float32, index
from inkle.ir.loop import Kernel, load, range_
from inkle.ir.node import Node, const
from inkle.ir.tensor import param
from inkle.kernel.machine import Machine
from inkle.kernel.windows import windows_of
from inkle.schedule import schedule
from tests.schedule.graphs import conv2d, matmul
from tests.schedule.networks import Leaves

ARGUMENT = param(0, float32, (1000,))
Y, X, KY, KX = (range_(i, n) for i, n in enumerate((20, 30, 3, 5)))


def spans(at: Node, gate: Node | None, *inner: Node) -> list[int] | None:
    windows = windows_of(load(ARGUMENT, at, gate), inner)
    return None if windows is None else [window.span for window in windows]


def inside(place: Node, n: int) -> Node:
    return (place < n) & (const(-1, index) < place)


def test_ranges_that_are_added_share_a_window() -> None:
    y, x = Y + KY - 1, X + KX - 2
    at, gate = y * 30 + x, inside(y, 20) & inside(x, 30)

    assert spans(at, gate, Y, X, KY, KX) == [22, 34]
    assert spans(at, gate, X, KY, KX) == [3, 34]  # for one Y


@pytest.mark.parametrize(("stride", "dilation"), [(2, 1), (1, 2), (3, 1)])
def test_strides_and_dilations(stride: int, dilation: int) -> None:
    x = X * stride + KX * dilation

    found = spans(x, inside(x, 40), X, KX)

    assert found == [29 * stride + 4 * dilation + 1]


def test_kernels_that_run_backwards() -> None:
    x = X - KX

    assert spans(x, inside(x, 30), X, KX) == [34]


def test_a_gate_that_knows_more_than_the_sum_ends_it() -> None:
    x = X + KX

    assert spans(x, inside(x, 30) & (KX < 3), X, KX) == [5, 30]  # two windows, as of im2col
    assert spans(x, (X * KX < 3), X, KX) is None


def test_values_outside_of_the_tile_do_not_matter() -> None:
    block = range_(9, 7)
    x = block * 4 + X + KX

    assert spans(x, inside(x, 60), X, KX) == [34]


# --- kernels --------------------------------------------------------------------------------------


def lowered(kernel: Kernel, vector_bytes: int = 64) -> Kernel:
    return pipeline.lower(kernel, Machine(vector_bytes=vector_bytes))


def tiles(kernel: Kernel) -> list[int]:
    return [node.arg[1] for node in kernel.nodes() if node.op is forms.STAGE]


def gated_in_reductions(kernel: Kernel) -> list[Node]:
    """Return the gated loads of arguments inside of reductions."""
    found: list[Node] = []
    for node in kernel.nodes():
        if node.op is forms.REDUCE:
            stack = [node.src[0]]
            while stack:
                each = stack.pop()
                if each.op is forms.LOAD and each.src[0].op is forms.PARAM and len(each.src) > 2:
                    found.append(each)
                if each.op is not forms.LOAD:
                    stack += each.src
    return found


def test_a_padded_image_is_staged_without_copies_of_its_windows() -> None:
    leaves = Leaves()
    [launch] = schedule(
        [conv2d(leaves.new(2, 16, 20, 20), leaves.new(32, 16, 3, 3), 1, 1)]
    ).launches

    with Context(INKLE_CHECK=True):
        kernel = lowered(launch.kernel)

    assert not gated_in_reductions(kernel)
    image = [size for size in tiles(kernel) if size != 16 * 9 * 32]
    assert image
    assert max(image) <= 2 * 16 * 22 * 22


@pytest.mark.parametrize("vector_bytes", [64, 32, 16])
@pytest.mark.parametrize(
    ("images", "inside", "outside", "size", "kernel", "stride", "padding"),
    [
        (1, 8, 16, 9, 3, 1, 1),
        (3, 4, 16, 7, 3, 2, 1),
        (2, 3, 32, 12, 5, 1, 2),
        (1, 6, 20, 8, 3, 1, 3),
    ],
)
def test_convolutions_on_the_interpreter(
    vector_bytes: int, images: int, inside: int, outside: int, size: int, kernel: int, stride: int,
    padding: int,
) -> None:  # fmt: skip
    leaves = Leaves()
    x, w = leaves.new(images, inside, size, size), leaves.new(outside, inside, kernel, kernel)
    y = conv2d(x, w, stride, padding)
    plan = schedule([y])
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-3, 4, each.shape).astype(np.float32) for each in (x, w)]
    launches = [replace(each, kernel=lowered(each.kernel, vector_bytes)) for each in plan.launches]

    [found] = run_plan(replace(plan, launches=tuple(launches)), arrays)
    [want] = run_plan(plan, arrays)

    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("size", [7, 14, 29])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 1, 1), (2, 1, 1), (1, 2, 2)])
def test_native_convolutions(size: int, stride: int, padding: int, dilation: int) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 24, size, size)).astype(np.float32)
    w = rng.normal(size=(40, 24, 3, 3)).astype(np.float32)
    options = {"stride": stride, "padding": padding, "dilation": dilation}

    found = Tensor(x).conv2d(Tensor(w), **options).numpy()

    want = torch.nn.functional.conv2d(torch.tensor(x).double(), torch.tensor(w).double(), **options)
    np.testing.assert_allclose(found, want.numpy(), rtol=1e-4, atol=1e-4)


def test_padding_times_infinity_is_still_nan() -> None:
    x, w = np.ones((1, 16, 6, 6), np.float32), np.ones((16, 16, 3, 3), np.float32)
    w[0, 0, 0, 0] = np.inf

    found = Tensor(x).conv2d(Tensor(w), padding=1).numpy()

    assert np.isnan(found[0, 0, 0]).all()  # the upper row multiplies padding
    assert np.isinf(found[0, 0, 1:, 1:]).all()
    assert np.isfinite(found[0, 1:]).all()


# --- rows far apart -------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "n", "k"), [(600, 300, 40), (1000, 257, 130), (513, 1024, 17)])
def test_transposed_left_factors_are_staged_by_blocks_of_rows(m: int, n: int, k: int) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(k, m)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
    [launch] = schedule([matmul_of_turned(k, m, n)]).launches

    kernel = lowered(launch.kernel)
    with Context(INKLE_THREADS=1):
        found = (Tensor(x).T @ Tensor(y)).numpy()

    assert any("stage windows of argument 1" in note for note in kernel.schedule)
    np.testing.assert_allclose(found, x.T.astype(np.float64) @ y, rtol=1e-4, atol=1e-4)


def matmul_of_turned(k: int, m: int, n: int) -> Node:
    leaves = Leaves()
    return matmul(tensor.permute(leaves.new(k, m), (1, 0)), leaves.new(k, n))
