"""The sweep: what is reached, what is not, and slopes against finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.autodiff import gradient
from inkle.check.reference import evaluate
from inkle.errors import GradientError
from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import float32, float64, int64
from inkle.ir.node import const, intern

STEP = 1e-6
SLOPES = {
    "product": lambda x: tensor.reduce(x, ops.MUL, (1,)),
    "maximum": lambda x: tensor.reduce(x, ops.MAXIMUM, (0,)),
    "minimum": lambda x: tensor.reduce(x, ops.MINIMUM, (0, 1)),
    "power of a literal": lambda x: x.pow(const(2.5, float64)),
    "literal to a power": lambda x: const(2.5, float64).pow(x),
    "angle to a literal": lambda x: x.atan2(0.5),
    "fma": lambda x: x.fma(x, x),
    "shared": lambda x: (x * x + x).exp() * x,
    "scatter maximum, base": lambda x: tensor.scatter(
        tensor.reshape(x, (6,)), tensor.full(1.2, float64, (2,)),
        [tensor.arange(2)], (-1,), ops.MAXIMUM),
    "scatter maximum, values": lambda x: tensor.scatter(
        tensor.full(1.2, float64, (4,)), tensor.reshape(x, (6,)),
        [tensor.arange(6) % 3], (-1,), ops.MAXIMUM),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOPES)
def test_slope_equals_that_of_finite_differences(name):
    x = tensor.buffer(float64, (2, 3))
    out = SLOPES[name](x)
    g = tensor.buffer(float64, out.shape)
    (gx,) = gradient([out], [g], [x])
    at = np.random.default_rng(0).uniform(0.5, 2, (2, 3))
    weights = np.random.default_rng(1).uniform(0.5, 2, out.shape)

    (found,) = evaluate([gx], {x: at, g: weights})

    expected = np.zeros((2, 3))
    for i in np.ndindex(2, 3):
        for sign in (1, -1):
            moved = at.copy()
            moved[i] += sign * STEP
            (value,) = evaluate([out], {x: moved})
            expected[i] += sign * (value * weights).sum() / (2 * STEP)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def _one(x):
    return tensor.full(1.0, x.dtype, x.shape)


def test_several_outputs_add_up():
    x = tensor.buffer(float64, (2,))
    outputs = [x * 2.0, x * x]

    (gx,) = gradient(outputs, [_one(each) for each in outputs], [x])

    assert evaluate([gx], {x: np.array([3.0, 4.0])})[0].tolist() == [8.0, 10.0]


def test_gradient_by_inner_nodes():
    x = tensor.buffer(float64, ())
    inner = x * 3.0
    out = inner * inner

    found = gradient([out], [const(1.0, float64)], [inner, x, out])

    assert [float(each) for each in evaluate(found, {x: np.array(2.0)})] == [12.0, 36.0, 1.0]


@pytest.mark.parametrize(
    "cut",
    [
        lambda x: tensor.detach(x),
        lambda x: x.cast(int64).cast(float64),
        lambda x: (x < 1.0).cast(float64),
        lambda x: tensor.gather(tensor.full(2.0, float64, (3,)), [x.cast(int64)], (-1,)),
        lambda x: tensor.full(1.0, float64, (2,)),
    ],
)
def test_nothing_flows_through_a_cut(cut):
    x = tensor.buffer(float64, (2,))

    assert gradient([cut(x)], [_one(x)], [x]) == [None]


def test_detach_with_an_owner_is_a_leaf():
    value = tensor.buffer(float64, ())
    a, b = tensor.detach(value, 1), tensor.detach(value, 2)

    found = gradient([a * 2.0 + b * 3.0], [const(1.0, float64)], [a, b, value])

    assert found[2] is None
    assert [float(each) for each in evaluate(found[:2], {})] == [2.0, 3.0]


def test_zero_everywhere_gives_zeros():
    x = tensor.buffer(float64, (2,))

    (gx,) = gradient([x.floor()], [_one(x)], [x])

    assert evaluate([gx], {})[0].tolist() == [0.0, 0.0]


def test_operation_without_a_gradient_is_an_error_only_when_it_is_needed():
    x, y = tensor.buffer(float32, (2,)), tensor.buffer(float32, (2,))
    copy = intern(forms.COPY, float32, (x,), "GPU", (2,))
    out = copy + y

    assert gradient([out], [_one(out)], [y])[0] is not None
    with pytest.raises(GradientError, match=r"copy has no gradient.*detach\(\)"):
        gradient([out], [_one(out)], [x])


def test_integers_have_no_gradient():
    x = tensor.buffer(int64, (2,))

    with pytest.raises(GradientError, match="float values, got int64"):
        gradient([x], [x], [x])


def test_deep_graphs_need_no_recursion():
    x = tensor.buffer(float64, ())
    out = x
    for _ in range(20_000):
        out = out + x

    (gx,) = gradient([out], [const(1.0, float64)], [x])

    assert float(evaluate([gx], {})[0]) == 20_001


def test_path_does_not_visit_what_cannot_lead_to_a_target():
    x = tensor.buffer(float64, (2,))
    other = tensor.buffer(float64, (2,)).exp()

    (gx,) = gradient([x * other], [_one(x)], [x])

    assert all(node.op is not ops.EXP or node is other for node in gx.toposort())
