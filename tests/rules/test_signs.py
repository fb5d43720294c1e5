"""Signs of floats: what is claimed holds for every value, and what softmax needs is found."""

import numpy as np
import pytest

from inkle.ir import ops
from inkle.ir.dtype import float32, float64
from inkle.ir.loop import load, range_, reduce
from inkle.ir.node import const
from inkle.ir.tensor import param
from inkle.rules.signs import is_never_negative, is_never_positive
from inkle.rules.transcendental.exponential import exp
from tests.rules.transcendental_native import compile_graph

X = param(0, float32, (6, 8))
ROW, COLUMN, OTHER = range_(0, 6), range_(1, 8), range_(2, 8)


def at(row, i):
    return load(X, row * 8 + i)


def greatest(body, r):
    return reduce(ops.MAXIMUM, body, (r,))


y = at(ROW, COLUMN)
SIGNS = [
    (-(y * y), True, False),
    (y * y, False, True),
    (-y.abs(), True, False),
    (y.minimum(0.0), True, False),
    (y.maximum(0.0), False, True),
    (y.abs() * -2.0, True, False),
    (y.minimum(-1.0) + y.minimum(0.0), True, False),
    (y.minimum(-1.0) - y.abs(), True, False),
    (y - y.abs(), False, False),  # true, and not found: no claim is made
    (y + 1.0, False, False),
    (y.minimum(1.0), False, False),
    (y.maximum(-1.0), False, False),
    (y.minimum(0.0) * y, False, False),
    (y.minimum(0.0).maximum(y), False, False),
    (const(0.0, float32), True, True),
    (const(-0.0, float32), True, True),
    (const(float("nan"), float32), True, True),
    (const(2.0, float32), False, True),
    # the row of a softmax: any point of the range, whatever its name
    (at(ROW, OTHER) - greatest(y, COLUMN), True, False),
    (y - greatest(y, COLUMN), True, False),
    (greatest(y, COLUMN) - at(ROW, OTHER), False, True),
    (at(ROW, OTHER) * 0.5 - greatest(y * 0.5, COLUMN), True, False),
    # what only looks like it
    (at(ROW, OTHER) - greatest(y * 0.5, COLUMN), False, False),
    (at(OTHER, COLUMN) - greatest(y, COLUMN), False, False),
    (at(ROW, range_(3, 7)) - greatest(y, COLUMN), False, False),
    (at(ROW, OTHER) - reduce(ops.MINIMUM, y, (COLUMN,)), False, False),
    (at(ROW, OTHER) - reduce(ops.ADD, y, (COLUMN,)), False, False),
    (at(ROW, OTHER) + greatest(y, COLUMN), False, False),
]


@pytest.mark.parametrize("number", range(len(SIGNS)))
def test_signs(number):
    x, never_positive, never_negative = SIGNS[number]

    assert is_never_positive(x) == never_positive
    assert is_never_negative(x) == never_negative


def test_a_deep_graph_that_shares_its_parts_takes_no_time():
    x = y.minimum(0.0)
    for _ in range(200):
        x = x + x

    assert not is_never_positive(x)


@pytest.mark.parametrize(("dtype", "end"), [(float32, -110.0), (float64, -760.0)])
def test_exp_of_what_is_never_positive_is_as_exact(dtype, end):
    x = param(0, dtype, (200_001,))
    function = compile_graph(exp(-x.abs()))
    values = np.concatenate(
        [np.linspace(end, 0.0, 199_996), [-np.inf, np.nan, -0.0, 0.0, -1e30]]
    ).astype(dtype.name)  # fmt: skip

    found = function(values)

    want = np.exp(values.astype(np.longdouble))
    unit = np.spacing(want.astype(dtype.name))
    with np.errstate(invalid="ignore"):
        off = np.abs(found.astype(np.longdouble) - want) / unit
    assert np.nanmax(off) <= 1.0
    assert np.isnan(found).tolist() == np.isnan(values).tolist()
    assert (found[:-5] > 0).tolist() == (want[:-5].astype(dtype.name) > 0).tolist()
