"""Special functions against mpmath and PyTorch, small ones against PyTorch, with gradients."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.tensor import Tensor
from tests.oracle.compare import agree, check, numbers

RANGES = {  # what mpmath says, where, and the error relative to the larger of 1 and the value
    "lgamma": (lambda x: mpmath.log(abs(mpmath.gamma(x))), (-30, 60), 5e-15),
    "digamma": (mpmath.digamma, (-30, 60), 5e-15),
    "erfinv": (mpmath.erfinv, (-1, 1), 1e-15),
    "i0": (lambda x: mpmath.besseli(0, x), (-40, 40), 3e-15),
}
EDGES = np.array([0.0, -0.0, -1, -2, 1, 2, np.inf, -np.inf, np.nan, 0.5, 1e-300, -0.5])


@pytest.mark.parametrize("name", RANGES)
def test_errors_are_as_small_as_promised(name):
    truth, (low, high), bound = RANGES[name]
    x = np.random.default_rng(0).uniform(low, high, 300)

    expected = np.array([float(truth(mpmath.mpf(each))) for each in x])
    found = getattr(Tensor(x), name)().numpy()

    assert np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected))) <= bound


@pytest.mark.parametrize("name", RANGES)
def test_special_functions_at_edges(torch, name):
    ours, theirs = getattr(Tensor(EDGES), name)(), getattr(torch.tensor(EDGES), name)()

    agree(ours, theirs, tolerance=1e-14)
    assert np.array_equal(np.signbit(ours.numpy())[:2], np.signbit(theirs.numpy())[:2])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", RANGES)
def test_special_functions_and_their_gradients(torch, name, dtype):
    x = numbers((3, 4), dtype=dtype, low=0.1, high=0.9)

    check(torch, lambda x: getattr(x, name)(), lambda x: getattr(x, name)(), [x])
    check(torch, lambda x: getattr(x, name)(), lambda x: getattr(x, name)(), [x[:0, 0]])


SAME = [  # written alike in both, of one float64 tensor
    lambda x: x.sinc(), lambda x: x.logit(0.1), lambda x: x.frac(),
    lambda x: x.addcmul(x, x + 1, value=2), lambda x: x.addcdiv(x, x + 5, value=-1),
    lambda x: x.logaddexp2(x * 3), lambda x: x.round(decimals=1), lambda x: x.round(decimals=-1),
    lambda x: x.multiply(x).subtract(1).divide(3), lambda x: x.arcsinh(), lambda x: x.absolute(),
    lambda x: x.negative(),
]  # fmt: skip
FUNCTIONAL = [("hardshrink", (0.4,)), ("softshrink", (0.4,)), ("tanhshrink", ()), ("rrelu", ())]


@pytest.mark.parametrize("number", range(len(SAME)))
@pytest.mark.parametrize("shape", [(3, 4), (), (0, 2)])
def test_small_functions_and_their_gradients(torch, number, shape):
    function = SAME[number]

    check(torch, function, function, [numbers(shape)])


@pytest.mark.parametrize(("name", "options"), FUNCTIONAL)
def test_activations(torch, name, options):
    x = np.concatenate([numbers((20,)), [0.4, -0.4, 0.0]])

    check(torch, lambda x: getattr(x, name)(*options),
          lambda x: getattr(torch.nn.functional, name)(x, *options), [x])  # fmt: skip


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_glu(torch, dim):
    check(torch, lambda x: x.glu(dim), lambda x: torch.nn.functional.glu(x, dim), [numbers((4, 6))])


def test_rrelu_draws_slopes_in_training():
    y = Tensor.full((1000,), -1.0).rrelu(0.25, 0.5, training=True).numpy()

    assert -0.5 <= y.min() < -0.48
    assert -0.27 < y.max() <= -0.25


@pytest.mark.parametrize("name", ["xlogy", "fmax", "fmin"])
def test_functions_of_pairs_at_edges(torch, name):
    values = np.array([0.0, 1.0, -1.0, np.nan, np.inf, 0.5])
    x, y = (each.copy() for each in np.broadcast_arrays(values[:, None], values))

    check(torch, lambda x, y: getattr(x, name)(y), lambda x, y: getattr(torch, name)(x, y), [x, y],
          gradients=False)  # fmt: skip
    check(torch, lambda x, y: getattr(x, name)(y), lambda x, y: getattr(torch, name)(x, y),
          [numbers((5,), low=0.1), numbers((5,), seed=1, low=0.1)])  # fmt: skip


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_to_num(torch, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 1.5], dtype)

    agree(Tensor(x).nan_to_num(), torch.tensor(x).nan_to_num(), tolerance=0)
    agree(Tensor(x).nan_to_num(2, 3, -4), torch.tensor(x).nan_to_num(2, 3, -4), tolerance=0)


def test_heaviside():
    y = EDGES[::-1].copy()

    agree(Tensor(EDGES).heaviside(Tensor(y)), np.heaviside(EDGES, y))
    agree(Tensor([1, 0]).heaviside(Tensor([3, 4])), np.array([1, 4]))


def test_comparisons_by_name(torch):
    x, y = np.array([1, 2, 3]), np.array([3, 2, 1])

    for name in ("lt", "le", "gt", "ge", "less", "greater_equal", "not_equal", "logical_xor"):
        agree(getattr(Tensor(x), name)(Tensor(y)), getattr(torch.tensor(x), name)(torch.tensor(y)))
    agree(Tensor(EDGES).signbit(), torch.tensor(EDGES).signbit())


WRONG = [
    (lambda x: x.softshrink(-1), OptionError, r"softshrink needs lambd >= 0, got -1"),
    (lambda x: x.rrelu(0.5, 0.1), OptionError, r"lower <= upper, got 0.5 and 0.1"),
    (lambda x: x[:1].glu(), ShapeError, r"even number of elements, got \(1,\) along -1"),
    (lambda x: x.addcmul(2, 3), DTypeError, r"addcmul needs a tensor, got 2"),
    (lambda x: x.long().round(decimals=2), DTypeError, r"needs floats, got int64"),
    (lambda x: x.round(decimals=1000), OptionError, r"must be -300 to 300, got 1000"),
]


@pytest.mark.parametrize(("function", "error", "message"), WRONG)
def test_wrong_arguments(function, error, message):
    with pytest.raises(error, match=message):
        function(Tensor([1.0, 2.0]))
