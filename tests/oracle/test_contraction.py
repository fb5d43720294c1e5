"""Matrix products, einsum, convolution and pooling against PyTorch: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.tensor import Tensor
from tests.oracle.compare import agree, check, numbers

PRODUCTS = [
    ((3, 4), (4, 5)), ((4,), (4,)), ((4,), (4, 5)), ((3, 4), (4,)), ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((3, 4), (2, 4, 5)), ((1, 1), (1, 1)),
    ((3, 0), (0, 5)), ((0, 4), (4, 5)), ((3, 4), (4, 0)), ((2, 3, 4), (4,)), ((4,), (2, 4, 5)),
    ((0, 3, 4), (0, 4, 5)), ((17, 33), (33, 9)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("a", "b"), PRODUCTS)
def test_matmul_and_its_gradients(torch, a, b, dtype):
    check(torch, lambda a, b: a @ b, lambda a, b: a @ b,
          [numbers(a, dtype=dtype), numbers(b, seed=1, dtype=dtype)])  # fmt: skip


def test_matmul_of_int8_accumulates_in_int32():
    a = np.random.default_rng(0).integers(-128, 128, (5, 300), dtype=np.int8)
    b = np.random.default_rng(1).integers(-128, 128, (300, 7), dtype=np.int8)

    found = Tensor(a).matmul(Tensor(b), dtype="int32")

    agree(found, a.astype(np.int32) @ b.astype(np.int32))


def test_matmul_of_integers(torch):
    a, b = np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4)

    check(torch, lambda a, b: a @ b, lambda a, b: a @ b, [a, b])


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_matmul_of_narrow_floats_accumulates_in_float32(name):
    a = Tensor(np.ones((1, 4096))).cast(name)

    product = a @ a.T

    assert product.tolist() == [[4096.0]]
    assert product.dtype.name == name
    assert a.matmul(a.T, dtype="float32").dtype.name == "float32"


FORMULAS = [
    ("ij,jk->ik", (3, 4), (4, 5)), ("ij,jk", (3, 4), (4, 5)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("ij->ji", (3, 4)), ("ij->", (3, 4)), ("ij->j", (3, 4)), ("ii->i", (3, 3)), ("ii", (3, 3)),
    ("i,j->ij", (3,), (4,)), ("ij,ij->", (3, 4), (3, 4)),
    ("...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)),
    ("...ij,jk->...ik", (2, 3, 4), (4, 5)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)), ("iij,jk->ik", (3, 3, 2), (2, 4)),
    ("ij,i->ij", (3, 4), (3,)), ("...->...", (2, 3)), ("i...->...", (2, 3)),
    ("ab,cd->", (2, 3), (4, 1)),
    ("ij,ij,ij->ij", (2, 3), (2, 3), (2, 3)), ("ij,kj->ik", (0, 4), (3, 4)), ("ji", (2, 3)),
]  # fmt: skip


@pytest.mark.parametrize("case", FORMULAS, ids=lambda case: case[0])
def test_einsum_and_its_gradients(torch, case):
    formula, *shapes = case
    arrays = [numbers(shape, seed=i) for i, shape in enumerate(shapes)]

    check(
        torch,
        lambda *xs: Tensor.einsum(formula, *xs),
        lambda *xs: torch.einsum(formula, *xs),
        arrays,
    )


def test_outer(torch):
    check(torch, lambda a, b: a.outer(b), torch.outer, [numbers((3,)), numbers((4,), seed=1)])


# batch, channels in, channels out, height, width, kernel, stride, padding, dilation, groups
CONVOLUTIONS = [
    (2, 3, 4, 8, 9, (3, 3), 1, 1, 1, 1),
    (1, 2, 3, 9, 10, (3, 3), 2, 1, 1, 1),
    (2, 2, 2, 11, 8, (2, 2), 3, 0, 2, 1),
    (1, 2, 2, 7, 7, (1, 1), 2, 0, 1, 1),
    (1, 1, 2, 12, 12, (5, 5), 1, 2, 2, 1),
    (2, 4, 6, 6, 5, (3, 2), 1, (1, 0), 1, 2),
    (1, 4, 4, 6, 6, (3, 3), (2, 1), 1, (1, 2), 4),
    (1, 1, 1, 1, 1, (1, 1), 1, 0, 1, 1),
    (1, 3, 2, 5, 5, (5, 5), 1, 0, 1, 1),
    (0, 3, 2, 5, 5, (3, 3), 1, 1, 1, 1),
    (2, 3, 2, 4, 7, (4, 1), 4, 3, 1, 1),
    (1, 2, 2, 8, 8, (3, 3), 3, 1, 3, 1),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution_and_its_gradients(torch, case, dtype):
    b, c, o, h, w, kernel, stride, padding, dilation, groups = case
    arrays = [
        numbers((b, c, h, w), dtype=dtype),
        numbers((o, c // groups, *kernel), seed=1, dtype=dtype),
        numbers((o,), seed=2, dtype=dtype),
    ]

    check(
        torch,
        lambda x, w, b: x.conv2d(
            w, b, stride=stride, padding=padding, dilation=dilation, groups=groups
        ),
        lambda x, w, b: torch.conv2d(x, w, b, stride, padding, dilation, groups),
        arrays,
        tolerance=1e-4 if dtype == "float32" else 1e-9,
    )


def test_convolution_without_a_batch_axis(torch):
    check(
        torch, lambda x, w: x.conv2d(w), torch.conv2d, [numbers((2, 5, 5)), numbers((3, 2, 3, 3))]
    )


def test_convolution_with_four_paddings(torch):
    x, w = numbers((1, 2, 5, 6)), numbers((3, 2, 3, 3), seed=1)

    check(
        torch,
        lambda x, w: x.conv2d(w, padding=(1, 2, 0, 3)),
        lambda x, w: torch.conv2d(torch.nn.functional.pad(x, (1, 2, 0, 3)), w),
        [x, w],
    )


# stride, padding, dilation, groups, output padding
TRANSPOSED = [(1, 0, 1, 1, 0), (2, 1, 1, 1, 1), (2, 0, 2, 1, 0), (3, 1, 1, 2, 2), (1, 2, 1, 1, 0)]


@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_transposed_convolution_and_its_gradients(torch, case):
    stride, padding, dilation, groups, extra = case
    arrays = [numbers((2, 4, 5, 4)), numbers((4, 3, 3, 3), seed=1), numbers((3 * groups,), seed=2)]

    check(
        torch,
        lambda x, w, b: x.conv_transpose2d(w, b, stride, padding, extra, groups, dilation),
        lambda x, w, b: torch.conv_transpose2d(x, w, b, stride, padding, extra, groups, dilation),
        arrays,
    )


# kernel, stride, padding, dilation, ceil mode
POOLS = [
    (2, None, 0, 1, False), (3, 2, 1, 1, False), ((2, 3), 1, 0, 1, False), (2, 3, 0, 2, False),
    (3, 2, 0, 1, True), (3, 2, 1, 1, True), (2, 2, 0, 1, True), (1, 1, 0, 1, False),
    (3, (2, 1), (1, 0), 1, False), (2, 5, 1, 1, True),
]  # fmt: skip


@pytest.mark.parametrize("case", POOLS, ids=str)
def test_max_pool_and_its_gradient(torch, case):
    kernel, stride, padding, dilation, ceil = case

    check(
        torch,
        lambda x: x.max_pool2d(kernel, stride, padding, dilation, ceil_mode=ceil),
        lambda x: torch.max_pool2d(x, kernel, stride or kernel, padding, dilation, ceil_mode=ceil),
        [numbers((2, 3, 7, 8))],
    )


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("case", [case for case in POOLS if case[3] == 1], ids=str)
def test_average_pool_and_its_gradient(torch, case, include):
    kernel, stride, padding, _, ceil = case

    check(
        torch,
        lambda x: x.avg_pool2d(kernel, stride, padding, ceil_mode=ceil, count_include_pad=include),
        lambda x: torch.nn.functional.avg_pool2d(
            x, kernel, stride, padding, ceil_mode=ceil, count_include_pad=include
        ),
        [numbers((2, 3, 7, 8))],
    )


def test_max_pool_of_integers_and_of_nan(torch):
    x = np.arange(16).reshape(1, 4, 4)[:, ::-1].copy()

    agree(
        Tensor(x).max_pool2d(2, 1, padding=1),
        torch.max_pool2d(torch.tensor(x).double(), 2, 1, 1).long(),
    )
    assert np.isnan(Tensor([[1.0, float("nan")]]).max_pool2d((1, 2)).item())
