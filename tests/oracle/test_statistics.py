"""Order statistics, norms, counts, and writing at computed places, against PyTorch and NumPy."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from inkle.errors import DTypeError, OptionError, ShapeError, TraceError
from inkle.tensor import Tensor
from inkle.tensor.jit import jit
from tests.oracle.compare import agree, check, numbers

NAN, INF = float("nan"), float("inf")
GAPS = np.array([[1.0, NAN, 3.0, 2.0], [4.0, 0.0, -1.0, 5.0], [NAN, NAN, NAN, NAN]])
SAME = [  # written alike in both, of a float64 tensor; the first result is differentiated
    lambda x: x.median(), lambda x: x.median(0), lambda x: x.median(1, keepdim=True),
    lambda x: x.nanmedian(), lambda x: x.nanmedian(-1), lambda x: x.kthvalue(2, 0),
    lambda x: x.kthvalue(1, keepdim=True), lambda x: x.quantile(0.3), lambda x: x.quantile(1.0, 0),
    lambda x: x.quantile(0.0, 1, keepdim=True), lambda x: x.nanquantile(0.7, 1),
    lambda x: x.msort(), lambda x: x.aminmax(dim=1), lambda x: x.nansum(0), lambda x: x.nanmean(1),
    lambda x: x.norm(), lambda x: x.norm(1, 0), lambda x: x.norm(INF, 1), lambda x: x.norm(-INF, 1),
    lambda x: x.norm(3, (0, 1), keepdim=True), lambda x: x.norm(0.5, 1),
    lambda x: x.logcumsumexp(0), lambda x: x.logcumsumexp(1), lambda x: x.diff(),
    lambda x: x.diff(2, 0), lambda x: x.diff(9), lambda x: x.diff(dim=0, prepend=x, append=x),
    lambda x: x.cov(), lambda x: x.corrcoef(), lambda x: x[0].cov(), lambda x: x.cummax(0),
    lambda x: x.cummin(1), lambda x: x.std(1, correction=0), lambda x: x.var(correction=2),
]  # fmt: skip


def several(value):
    return list(value) if isinstance(value, tuple) else [value]


@pytest.mark.parametrize("number", range(len(SAME)))
def test_statistics_and_their_gradients(torch, number):
    function, x = SAME[number], numbers((3, 4))

    check(torch, lambda x: several(function(x))[0], lambda x: several(function(x))[0], [x])
    for mine, theirs in zip(several(function(Tensor(x))), several(function(torch.tensor(x)))):
        agree(mine, theirs)


@pytest.mark.parametrize("number", range(14))
def test_statistics_of_nan(torch, number):
    function = SAME[number]

    for mine, theirs in list(zip(several(function(Tensor(GAPS))),
                                 several(function(torch.tensor(GAPS)))))[:1]:  # fmt: skip
        agree(mine, theirs)


@pytest.mark.parametrize("how", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantiles_of_a_vector(torch, how):
    q, x = np.array([0.0, 0.21, 0.5, 0.9, 1.0]), numbers((5, 3))
    for name in ("quantile", "nanquantile"):
        for dim, keepdim in ((0, False), (1, True), (None, False), (None, True)):
            options = {"dim": dim, "keepdim": keepdim, "interpolation": how}
            ours = functools.partial(lambda n, o, x: getattr(x, n)(Tensor(q), **o), name, options)
            check(torch, ours, functools.partial(
                lambda n, o, x: getattr(x, n)(torch.tensor(q), **o), name, options), [x]
            )  # fmt: skip


@pytest.mark.parametrize("shape", [(), (1,), (5,)])
def test_statistics_of_small_shapes(torch, shape):
    for function in (lambda x: x.median(), lambda x: x.median(0), lambda x: x.quantile(0.5),
                     lambda x: x.mode(0), lambda x: x.norm(), lambda x: x.cummax(0),
                     lambda x: x.logcumsumexp(0), lambda x: x.kthvalue(1, 0)):  # fmt: skip
        x = numbers(shape)
        for mine, theirs in zip(several(function(Tensor(x))), several(function(torch.tensor(x)))):
            agree(mine, theirs)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_mode(torch, dim):
    x = np.random.default_rng(0).integers(0, 3, (5, 7))

    values, places = Tensor(x).mode(dim)

    agree(values, torch.tensor(x).mode(dim)[0])
    assert (np.take_along_axis(x, np.expand_dims(places.numpy(), dim), dim).squeeze(dim)
            == values.numpy()).all()  # fmt: skip


def test_norm_that_counts(torch):
    x = np.array([[0.0, 1.0, -2.0], [0.0, 0.0, NAN]])

    agree(Tensor(x).norm(0, 1), torch.tensor(x).norm(0, 1))


def test_gradient_of_a_norm_of_zeros(torch):
    check(torch, lambda x: x.norm(2, 1), lambda x: x.norm(2, 1), [np.zeros((2, 3))])


def test_log_of_running_sums_at_edges(torch):
    x = np.array([[-INF, -INF, 1.0, 800.0], [-800.0, -801.0, NAN, 2.0], [3.0, INF, 1.0, 2.0]])

    agree(Tensor(x).logcumsumexp(1), torch.tensor(x).logcumsumexp(1))


# --- counts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int32"])
def test_bincount(torch, dtype):
    x = np.array([3, 0, 3, 1, 7], dtype)
    w = numbers((5,))

    agree(Tensor(x).bincount(), torch.tensor(x).bincount())
    agree(Tensor(x).bincount(minlength=11), torch.tensor(x).bincount(minlength=11))
    agree(Tensor(x).bincount(Tensor(w)), torch.tensor(x).bincount(torch.tensor(w)))
    agree(Tensor(x[:0]).bincount(), torch.tensor(x[:0]).bincount())
    agree(jit(lambda x: x.bincount(size=4))(Tensor(x)), np.array([1, 1, 0, 2]))
    with pytest.raises(TraceError, match="how many elements bincount gives"):
        jit(lambda x: x.bincount())(Tensor(x))


@pytest.mark.parametrize("limits", [(0, 0), (-1, 1), (0.5, 0.5), (0, 9)])
def test_histc(torch, limits):
    for x in (numbers((40,)), np.ones(3), np.array([0.0, 1.0, 2.0, 3.0, -1.0])):
        agree(Tensor(x).histc(5, *limits), torch.tensor(x).histc(5, *limits))


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2, 5, 8, 100])
def test_searchsorted_and_bucketize(torch, n, right):
    rng = np.random.default_rng(n)
    a, b = np.sort(rng.integers(0, 20, n)).astype(float), rng.integers(-1, 21, (4, 7)).astype(float)
    b[0, 0] = NAN

    agree(Tensor(a).searchsorted(Tensor(b), right=right),
          torch.searchsorted(torch.tensor(a), torch.tensor(b), right=right))  # fmt: skip
    agree(Tensor(b).bucketize(Tensor(a), right=right),
          torch.bucketize(torch.tensor(b), torch.tensor(a), right=right))  # fmt: skip


def test_searchsorted_in_rows(torch):
    a, b = np.sort(numbers((3, 9)), 1), numbers((3, 4), seed=1)

    agree(Tensor(a).searchsorted(Tensor(b)), torch.searchsorted(torch.tensor(a), torch.tensor(b)))


@pytest.mark.parametrize("m", [0, 3, 200])
def test_isin(torch, m):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 300, (4, 5)), rng.integers(0, 300, m)
    z = np.array([1.0, NAN, 0.0])

    agree(Tensor(x).isin(Tensor(y)), torch.isin(torch.tensor(x), torch.tensor(y)))
    agree(Tensor(x).isin(Tensor(y), invert=True),
          torch.isin(torch.tensor(x), torch.tensor(y), invert=True))  # fmt: skip
    agree(Tensor(z).isin(Tensor(z)), np.isin(z, z))


# --- writing at places ----------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_writing_along_an_axis(torch, dim):
    index, x = np.array([2, 0, 2]), numbers((3, 3, 3))
    unique, source = np.array([2, 0]), numbers((3, 3, 3), seed=1)
    short = np.take(source, [0, 1], dim)

    check(torch, lambda x, s: x.index_add(dim, Tensor(index), s, alpha=2),
          lambda x, s: x.index_add(dim, torch.tensor(index), s, alpha=2), [x, source])  # fmt: skip
    check(torch, lambda x, s: x.index_copy(dim, Tensor(unique), s),
          lambda x, s: x.index_copy(dim, torch.tensor(unique), s), [x, short])  # fmt: skip
    check(torch, lambda x: x.index_fill(dim, Tensor(index), 7.0),
          lambda x: x.index_fill(dim, torch.tensor(index), 7.0), [x])  # fmt: skip
    check(torch, lambda x, s: x.select_scatter(s.select(dim, 0), dim, 1),
          lambda x, s: x.select_scatter(s.select(dim, 0), dim, 1), [x, source])  # fmt: skip
    check(torch, lambda x, s: x.slice_scatter(s, dim, 0, 3, 2),
          lambda x, s: x.slice_scatter(s, dim, 0, 3, 2), [x, short])  # fmt: skip


@pytest.mark.parametrize("accumulate", [False, True])
def test_index_put(torch, accumulate):
    x, v = numbers((3, 4)), numbers((2, 2), seed=1)
    i, j = np.array([[0, 1], [2, 2]]), np.array([1, 3])
    mask = x > 0

    check(torch, lambda x, v: x.index_put((Tensor(i), Tensor(j)), v, accumulate),
          lambda x, v: x.index_put((torch.tensor(i), torch.tensor(j)), v, accumulate),
          [x, v])  # fmt: skip
    check(torch, lambda x, v: x.index_put((Tensor(mask),), v[0, 0], accumulate),
          lambda x, v: x.index_put((torch.tensor(mask),), v[0, 0], accumulate),
          [x, v])  # fmt: skip


def test_index_put_adds_all_that_goes_to_one_place(torch):
    x, i = numbers((3,)), np.array([1, 1, 2, 1])

    agree(Tensor(x).index_put((Tensor(i),), Tensor([1.0, 2.0, 3.0, 4.0]), accumulate=True),
          torch.tensor(x).index_put((torch.tensor(i),), torch.tensor([1.0, 2, 3, 4]).double(),
                                    accumulate=True))  # fmt: skip


@pytest.mark.parametrize("dim", [0, 1, None])
def test_take_along_dim(torch, dim):
    index = np.array([[1, 0, 2]])

    check(torch, lambda x: x.take_along_dim(Tensor(index), dim),
          lambda x: x.take_along_dim(torch.tensor(index), dim), [numbers((3, 3))])  # fmt: skip


X = Tensor([[1.0, 2.0], [3.0, 4.0]])
WRONG = [
    (lambda: Tensor.zeros(0).median(), ShapeError, r"median of \(0,\): axis 0 is empty"),
    (lambda: X.kthvalue(3), ShapeError, r"k must be 1 to 2, got 3"),
    (lambda: X.quantile(1.5), OptionError, r"q must be 0 to 1, got 1.5"),
    (lambda: X.long().quantile(0.5), DTypeError, r"quantile needs floats, got int64"),
    (lambda: X.quantile(0.5, interpolation="cubic"), ShapeError, r"interpolation must be one of"),
    (lambda: X.norm("nuc"), ShapeError, r"p of norm must be one of 'fro'"),
    (lambda: X.diff(-1), OptionError, r"diff needs n >= 0, got -1"),
    (lambda: X.diff(prepend=3), DTypeError, r"prepend and append must be tensors"),
    (lambda: Tensor([-1, 2]).bincount(), OptionError, r"numbers from 0 on, got -1"),
    (lambda: X.bincount(), DTypeError, r"bincount needs an integer tensor"),
    (lambda: X.histc(0), OptionError, r"histc needs bins >= 1"),
    (lambda: X.index_add(0, Tensor([0]), X), ShapeError, r"index and self need \(1, 2\)"),
    (lambda: X.index_add(0, Tensor([0.0]), X), DTypeError, r"integer tensor as index"),
    (lambda: X.index_put(Tensor([0]), X), DTypeError, r"needs a tuple of index tensors"),
    (lambda: X.bool().index_put((Tensor([0]),), True, accumulate=True), DTypeError, r"got bool"),
    (lambda: X.take_along_dim(Tensor([0]), 0), ShapeError, r"differ in rank"),
    (lambda: X.searchsorted(Tensor([1.0])), ShapeError, r"leading axes must be equal"),
    (lambda: X.bucketize(X), DTypeError, r"vector of boundaries"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_arguments(number):
    function, error, message = WRONG[number]

    with pytest.raises(error, match=message):
        function()
