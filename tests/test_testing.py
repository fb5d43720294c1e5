"""assert_close accepts and refuses what PyTorch's does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inkle import Tensor
from inkle.errors import OptionError
from inkle.testing import assert_close

INF, NAN = math.inf, math.nan
PAIRS = [
    ([1.0, 2.0], [1.0, 2.0]),
    ([1.0], [1.00001]),
    ([1.0], [1.0001]),
    ([100.0], [100.0001]),
    ([100.0], [100.001]),
    ([0.0], [9e-6]),
    ([0.0], [2e-5]),
    ([INF], [INF]),
    ([INF], [-INF]),
    ([1.0], [INF]),
    ([INF], [1.0]),
    ([NAN], [NAN]),
    ([NAN], [1.0]),
    ([], []),
]


def accepts(check, *pair, **options):
    try:
        check(*pair, **options)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("equal_nan", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_floats_are_judged_as_by_pytorch(torch, a, b, dtype, equal_nan):
    theirs = [torch.tensor(each, dtype=getattr(torch, dtype)) for each in (a, b)]
    ours = [Tensor(np.array(each, dtype)) for each in (a, b)]

    want = accepts(torch.testing.assert_close, *theirs, equal_nan=equal_nan)

    assert accepts(assert_close, *ours, equal_nan=equal_nan) == want


def test_bfloat16_has_tolerances_of_its_own():
    assert_close(Tensor([1.0]).bfloat16(), Tensor([1.01]).bfloat16())
    with pytest.raises(AssertionError, match="1 of 1 elements"):
        assert_close(Tensor([1.0]).bfloat16(), Tensor([1.03]).bfloat16())


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint64", "bool"])
def test_integers_and_bools_must_be_equal(dtype):
    assert_close(np.array([1, 0], dtype), np.array([1, 0], dtype))
    with pytest.raises(AssertionError, match=r"1 of 2 elements .* most at \[1\]"):
        assert_close(np.array([1, 0], dtype), np.array([1, 1], dtype))


def test_the_message_says_how_many_where_and_what():
    a = Tensor([[1.0, 2.0], [3.0, 4.0]])

    with pytest.raises(
        AssertionError,
        match=r"^loss: 2 of 4 elements differ by more than 0\.1 \+ 0 \* \|expected\|; most at "
        r"\[1, 0\]: 3\.0 is not 5\.0$",
    ):
        assert_close(a, [[1.0, 2.5], [5.0, 4.0]], rtol=0, atol=0.1, msg="loss")


def test_shapes_and_dtypes_must_agree():
    x = Tensor([1.0])

    with pytest.raises(AssertionError, match=r"shapes differ: \(1,\) is not \(\)"):
        assert_close(x, 1.0)
    with pytest.raises(AssertionError, match="dtypes differ: float32 is not float64"):
        assert_close(x, x.double())
    assert_close(x, x.double(), check_dtype=False)
    assert_close(x.double(), [1.0])


def test_tolerances_come_together_and_are_not_negative():
    with pytest.raises(OptionError, match="both of rtol and atol"):
        assert_close(1.0, 1.0, rtol=0.1)
    with pytest.raises(OptionError, match="at least 0, got rtol -1"):
        assert_close(1.0, 1.0, rtol=-1, atol=0)
