"""Reductions and scans against PyTorch and NumPy: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.tensor import Tensor
from tests.oracle.compare import agree, check, numbers

SHAPES = [(3, 4, 5), (1,), (1, 1), (7,)]
AXES = [None, 0, -1, (0, 1), (0, 2)]


def _fitting(shape, axis):
    axes = () if axis is None else (axis,) if isinstance(axis, int) else axis
    return all(-len(shape) <= each < len(shape) for each in axes)


CASES = [(shape, axis) for shape in SHAPES for axis in AXES if _fitting(shape, axis)]


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize(("shape", "axis"), CASES)
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "logsumexp"])
def test_reduction_and_its_gradient(torch, name, shape, axis, keepdim):
    def oracle(x):
        dims = tuple(range(len(shape))) if axis is None else axis
        return getattr(torch, name)(x, dims, keepdim=keepdim)

    check(torch, lambda x: getattr(x, name)(axis, keepdim=keepdim), oracle, [numbers(shape)])


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("name", ["var", "std"])
@pytest.mark.parametrize("axis", AXES)
def test_variance_and_its_gradient(torch, name, axis, correction):
    x = numbers((3, 4, 5))

    check(torch, lambda x: getattr(x, name)(axis, correction=correction),
          lambda x: getattr(torch, name)(x, axis, correction=correction), [x])  # fmt: skip


def test_variance_with_mean(torch):
    x = numbers((3, 4))

    for ours, theirs in zip(Tensor(x).var_mean(1), torch.var_mean(torch.tensor(x), 1)):
        agree(ours, theirs)
    for ours, theirs in zip(Tensor(x).std_mean(1), torch.std_mean(torch.tensor(x), 1)):
        agree(ours, theirs)


@pytest.mark.filterwarnings("ignore:var")
def test_variance_of_one_element_is_nan(torch):
    agree(Tensor(np.ones((1, 2))).var(0), torch.ones(1, 2, dtype=torch.float64).var(0))


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_product_and_its_gradient_with_zeros(torch, axis, zeros):
    x = numbers((3, 4), low=0.5)
    x[0, :zeros] = 0.0

    def oracle(x):
        return x.prod() if axis is None else x.prod(axis)

    check(torch, lambda x: x.prod(axis), oracle, [x])


def test_equal_extremes_share_the_gradient(torch):
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])

    check(torch, lambda x: x.max(1), lambda x: x.amax(1), [x])
    check(torch, lambda x: x.min(), lambda x: x.amin((0, 1)), [x])


@pytest.mark.parametrize("name", ["amax", "amin", "sum", "logsumexp"])
def test_nan_propagates(torch, name):
    x = np.array([[1.0, np.nan], [2.0, 3.0], [np.nan, np.nan]])

    check(torch, lambda x: getattr(x, name)(1), lambda x: getattr(torch, name)(x, 1), [x],
          gradients=False)  # fmt: skip


def test_logsumexp_at_infinity(torch):
    x = np.array([[1.0, np.inf], [-np.inf, -np.inf], [-np.inf, 0.0], [1000.0, 1000.0]])

    check(torch, lambda x: x.logsumexp(1), lambda x: x.logsumexp(1), [x], gradients=False)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int32", "int64"])
def test_sum_and_product_of_integers_are_int64(torch, dtype):
    x = np.array([[1, 0, 1], [1, 1, 1]]).astype(dtype)

    check(torch, lambda x: x.sum(0), lambda x: x.sum(0), [x])
    check(torch, lambda x: x.prod(1), lambda x: x.prod(1), [x])
    check(torch, lambda x: x.sum(dtype="float32"), lambda x: x.sum(dtype=torch.float32), [x])


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_narrow_floats_accumulate_in_float32(name):
    x = Tensor(np.ones(4096)).cast(name)

    assert x.sum().tolist() == 4096  # 2048 + 1 is 2048 in float16
    assert x.sum().dtype.name == name
    assert x.mean().tolist() == 1


@pytest.mark.parametrize("name", ["all", "any"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_logic(torch, name, axis):
    x = np.array([[True, False, True], [True, True, True]])

    def oracle(x):
        return getattr(x, name)() if axis is None else getattr(x, name)(axis)

    check(torch, lambda x: getattr(x, name)(axis), oracle, [x])


def test_count_nonzero(torch):
    x = np.array([[0.0, 1.0, np.nan], [0.0, 0.0, -0.0]])

    check(torch, lambda x: x.count_nonzero(1), lambda x: x.count_nonzero(1), [x], gradients=False)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_place_of_extreme(name, axis):
    x = np.array([[1.0, 3.0, 3.0], [2.0, -1.0, -1.0]])

    agree(getattr(Tensor(x), name)(axis), getattr(np, name)(x, axis))
    agree(getattr(Tensor(x), name)(axis, keepdim=True), getattr(np, name)(x, axis, keepdims=True))


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_place_of_extreme_is_that_of_the_first_nan(name):
    x = np.array([[1.0, np.nan, np.nan, 5.0]])

    assert getattr(Tensor(x), name)(1).tolist() == [1]


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_extremes_of_integers(torch, dtype):
    x = np.array([[1, 0, 1], [0, 0, 0]]).astype(dtype)

    check(torch, lambda x: x.max(1), lambda x: x.amax(1), [x])
    check(torch, lambda x: x.min(), lambda x: x.amin((0, 1)), [x])
    check(torch, lambda x: x.argmax(1), lambda x: x.to(torch.int64).argmax(1), [x])


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
@pytest.mark.parametrize("axis", [None, 0])
def test_empty_reductions_give_the_identity(torch, shape, axis):
    x = np.zeros(shape)

    def oracle(name):
        return lambda x: getattr(x, name)() if axis is None else getattr(x, name)(axis)

    for name in ("sum", "prod", "mean"):
        check(torch, lambda x, n=name: getattr(x, n)(axis), oracle(name), [x])
    for name in ("all", "any"):
        check(torch, lambda x, n=name: getattr(x > 0, n)(axis),
              lambda x, n=name: oracle(n)(x > 0), [x])  # fmt: skip


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "prod", "logsumexp"])
def test_reduction_of_a_number(torch, name):
    x = np.array(2.5)

    axis = [0] if name == "logsumexp" else []
    check(torch, lambda x: getattr(x, name)(), lambda x: getattr(x, name)(*axis), [x])


@pytest.mark.parametrize("n", [0, 1, 2, 31, 32, 33, 70, 1100])
@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_running_sums_and_their_gradients(torch, name, n):
    x = numbers((2, n), low=0.9, high=1.1)

    check(torch, lambda x: getattr(x, name)(1), lambda x: getattr(x, name)(1), [x])
    check(torch, lambda x: getattr(x.T, name)(0), lambda x: getattr(x.T, name)(0), [x])


@pytest.mark.parametrize("name", ["cummax", "cummin"])
@pytest.mark.parametrize("n", [1, 33, 70])
def test_running_extremes(torch, name, n):
    x = numbers((3, n))

    check(torch, lambda x: getattr(x, name)(1)[0], lambda x: getattr(x, name)(1).values, [x])
    agree(getattr(Tensor(x), name)(1)[1], getattr(torch.tensor(x), name)(1).indices)


SPECIAL = {
    "ties": [1.0, 1.0, 0.0, 2.0, 2.0, 1.0],
    "NaN": [1.0, np.nan, 3.0, np.nan, 0.0],
    "infinities": [-np.inf, 1.0, np.inf, 0.0, np.inf],
    "falling": [3.0, 2.0, 1.0],
}


@pytest.mark.parametrize("name", ["cummax", "cummin"])
@pytest.mark.parametrize("values", SPECIAL)
def test_running_extremes_of_special_values(torch, name, values):
    x = np.array(SPECIAL[values])

    check(torch, lambda x: getattr(x, name)(0)[0], lambda x: getattr(x, name)(0).values, [x])
    agree(getattr(Tensor(x), name)(0)[1], getattr(torch.tensor(x), name)(0).indices)


@pytest.mark.parametrize("x", [[2.0, 0.0, 3.0, 4.0], [0.0, 2.0, 0.0, 1.0], [3.0, 2.0, 0.0], [0.0]])
def test_running_products_over_zeros(torch, x):
    check(torch, lambda x: x.cumprod(0), lambda x: x.cumprod(0), [np.array(x)])


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_running_sums_of_rows_too_long_for_one_worker(torch, name):
    x = numbers((1 << 18,), low=0.9999, high=1.0001)

    check(torch, lambda x: getattr(x, name)(0), lambda x: getattr(x, name)(0), [x])


def test_running_sum_of_integers_and_bools(torch):
    x = np.array([1, 200, 100], np.uint8)

    check(torch, lambda x: x.cumsum(0), lambda x: x.cumsum(0), [x])
    check(torch, lambda x: (x > 1).cumsum(0), lambda x: (x > 1).cumsum(0), [x])


def test_running_sum_of_a_number(torch):
    check(torch, lambda x: x.cumsum(0), lambda x: x.cumsum(0), [np.array(3.0)])


@pytest.mark.parametrize("n", [0, 1, 2, 5, 32, 33, 64, 65, 200])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int8", "uint8", "bool"])
def test_sort(torch, n, descending, dtype):
    x = np.random.default_rng(n).integers(0, 20, (2, n)).astype(dtype)
    values, places = torch.sort(torch.tensor(x), dim=1, descending=descending, stable=True)

    ours, mine = Tensor(x).sort(1, descending=descending)

    agree(ours, values)
    agree(mine, places)


def test_sort_of_special_floats(torch):
    x = np.array([np.nan, 1.0, -0.0, 0.0, np.inf, -np.inf, np.nan, -1.0])

    for descending in (False, True):
        values, places = torch.sort(torch.tensor(x), descending=descending, stable=True)
        agree(Tensor(x).sort(descending=descending)[0], values)
        agree(Tensor(x).sort(descending=descending)[1], places)


def test_sort_along_any_axis_and_its_gradient(torch):
    x = numbers((4, 3, 2))

    for axis in (0, 1, 2):
        check(torch, lambda x, a=axis: x.sort(a)[0], lambda x, a=axis: x.sort(a).values, [x])


def test_topk(torch):
    x = numbers((3, 40))

    for largest in (True, False):
        ours = Tensor(x).topk(5, 1, largest=largest)
        theirs = torch.topk(torch.tensor(x), 5, 1, largest=largest)
        agree(ours[0], theirs.values)
        agree(ours[1], theirs.indices)
