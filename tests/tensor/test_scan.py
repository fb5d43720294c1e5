"""`scan` and `fold`: what steps may do, what they get, what comes out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

import inkle
from inkle import Tensor
from inkle.engine.realize import canonicalize
from inkle.errors import DTypeError, ShapeError, TraceError
from inkle.schedule import schedule


class Pair(NamedTuple):
    """Two numbers."""

    x: object
    y: object


def test_a_fold_of_numbers():
    assert inkle.fold(lambda s, x: 0.5 * s + x, 0.0, Tensor([1.0, 2.0, 3.0])).item() == 4.25


def test_structures_come_out_as_they_went_in():
    xs = {"a": Tensor([1, 2, 3]), "b": (Tensor([10, 20, 30]), None)}

    def step(carry, x):
        count, (low, high) = carry
        total = x["a"] + x["b"][0]
        assert x["b"][1] is None
        return [count + 1, (low.minimum(total), high.maximum(total))], {"sum": total, "was": count}

    (count, (low, high)), ys = inkle.scan(step, [0, (1000, -1000)], xs)

    assert (count.item(), low.item(), high.item()) == (3, 11, 33)
    assert ys["sum"].tolist() == [11, 22, 33]
    assert ys["was"].tolist() == [0, 1, 2]


def test_a_named_tuple_stays_one():
    found = inkle.fold(lambda p, _: Pair(p.y, p.x + p.y), Pair(0, 1), length=10)

    assert type(found) is Pair
    assert found.x.item() == 55


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
@pytest.mark.parametrize("reverse", [False, True])
def test_every_number_of_steps(steps, reverse):
    x = np.arange(steps * 3, dtype=np.float64).reshape(steps, 3) + 1
    last, (before, after, rows) = inkle.scan(
        lambda s, row: (s * 0.5 + row, (s, s * 0.5 + row, 2 * row)), Tensor(np.ones(3)), Tensor(x),
        reverse=reverse,
    )  # fmt: skip

    state, olds, news = np.ones(3), [], []
    for row in x[::-1] if reverse else x:
        olds.append(state)
        state = state * 0.5 + row
        news.append(state)
    order = slice(None, None, -1 if reverse else 1)
    np.testing.assert_array_equal(last.numpy(), state)
    np.testing.assert_array_equal(before.numpy(), np.array(olds[order]))
    np.testing.assert_array_equal(after.numpy(), np.array(news[order]))
    np.testing.assert_array_equal(rows.numpy(), 2 * x)


def test_no_step_at_all():
    last, ys = inkle.scan(lambda s, x: (s + x, s * x), Tensor([1.0, 2.0]), Tensor.zeros(0, 2))

    assert last.tolist() == [1.0, 2.0]
    assert ys.shape == (0, 2)


def test_values_carried_unchanged_and_swapped():
    last, ys = inkle.scan(
        lambda c, x: ((c[1], c[0], c[2]), (c[2], x, x)), (1.0, 2.0, 5.0), Tensor([1.0, 2.0, 3.0])
    )

    assert [each.item() for each in last] == [2.0, 1.0, 5.0]
    assert [each.tolist() for each in ys] == [[5.0] * 3, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]


def test_a_step_without_a_carry_is_a_map():
    w = Tensor([[1.0, 2.0], [3.0, 4.0]])
    nothing, ys = inkle.scan(lambda c, x: (c, x @ w), (), Tensor([[1.0, 0.0], [0.0, 1.0]]))

    assert nothing == ()
    assert ys.tolist() == w.tolist()


def test_what_does_not_change_is_repeated():
    _, ys = inkle.scan(lambda s, x: (s + x, (7.0, Tensor([1, 2]))), 0.0, Tensor([1.0, 2.0]))

    assert ys[0].tolist() == [7.0, 7.0]
    assert ys[1].tolist() == [[1, 2], [1, 2]]


def test_loops_in_loops():
    x = Tensor(np.arange(12.0).reshape(3, 4))

    def row(total, values):
        return total + inkle.fold(lambda s, v: 0.5 * s + v, 0.0 * total, values), None

    last, _ = inkle.scan(row, Tensor(0.0, dtype="float64"), x)
    w = np.array([0.125, 0.25, 0.5, 1.0])
    assert last.item() == pytest.approx((np.arange(12.0).reshape(3, 4) @ w).sum())

    g = inkle.grad(lambda x: inkle.scan(row, Tensor(0.0, dtype="float64"), x)[0])(x)
    np.testing.assert_allclose(g.numpy(), np.tile(w, (3, 1)))


def test_a_loop_is_no_longer_for_more_steps():
    w = Tensor.randn(8, 8)

    def launches(steps):
        x = Tensor.randn(steps, 4, 8).realize()
        found = inkle.fold(lambda h, row: (row + h @ w).tanh(), Tensor.zeros(4, 8), x)
        return len(schedule(canonicalize([found.node])[0]).launches)

    assert launches(3) == launches(3000)


def test_jit_captures_the_loop_and_the_state_around_it():
    w = Tensor(np.full((2, 2), 0.1, np.float32), requires_grad=True)

    @inkle.jit
    def train(x):
        w.grad = None
        h = inkle.fold(lambda h, row: (row + h @ w).tanh(), Tensor.zeros(3, 2), x)
        loss = (h**2).sum()
        loss.backward()
        with inkle.no_grad():
            w.assign(w - 0.1 * w.grad)
        return loss

    losses = [train(Tensor(np.full((5, 3, 2), 0.3, np.float32))).item() for _ in range(20)]

    assert losses == sorted(losses, reverse=True)
    assert train.stats().captures == 1


def test_state_from_outside_is_read_at_its_time():
    w = Tensor([1.0, 2.0])
    total = inkle.fold(lambda s, x: s + w * x, Tensor.zeros(2), Tensor([1.0, 2.0]))
    w.assign(Tensor([0.0, 0.0]))

    assert total.tolist() == [3.0, 6.0]


def test_a_step_may_ask_for_gradients():
    """Gradient descent as a loop, differentiated again."""

    def descend(start, target):
        def step(x, _):
            return x - 0.25 * inkle.grad(lambda y: ((y - target) ** 2).sum())(x)

        return inkle.fold(step, start, length=3)

    start, target = Tensor([4.0]), Tensor([2.0])
    assert descend(start, target).item() == pytest.approx(2 + 2 * 0.125)
    assert inkle.grad(lambda s: descend(s, target).sum())(start).item() == pytest.approx(0.125)


def test_embedding_in_a_step():
    table = Tensor(np.arange(12.0).reshape(4, 3), requires_grad=True)
    found = inkle.fold(lambda s, i: s * 0.5 + table[i], Tensor(np.zeros(3)), Tensor([1, 3, 1]))
    found.sum().backward()

    expected = 1.25 * np.arange(3, 6) + 0.5 * np.arange(9, 12)
    np.testing.assert_allclose(found.numpy(), expected)
    np.testing.assert_allclose(table.grad.numpy()[:, 0], [0, 1.25, 0, 0.5])


def test_no_gradient_inside_no_grad():
    x = Tensor([1.0, 2.0], requires_grad=True)
    with inkle.no_grad():
        cut = inkle.fold(lambda s, v: s + v, 0.0, x)
    loss = (cut * x).sum()
    loss.backward()

    assert x.grad.tolist() == [3.0, 3.0]


# --- errors ---------------------------------------------------------------------------------------

X = Tensor([1.0, 2.0, 3.0])
OUTSIDE = Tensor([1.0])


def _assign(s, x):
    OUTSIDE.assign(OUTSIDE + 1)
    return s + x


def _backward(s, x):
    w = Tensor([1.0], requires_grad=True)
    (w * x).sum().backward()
    return s + x


WRONG = {
    "looks at a value": (lambda s, x: s + x.item(), TraceError, "differs from step to step"),
    "branches": (lambda s, x: s if x > 0 else s + x, TraceError, "where"),
    "assigns outside": (_assign, TraceError, "changes a tensor of shape \\(1,\\) from outside"),
    "draws": (lambda s, x: s + Tensor.rand(1).sum(), TraceError, "random numbers"),
    "leaves gradients": (_backward, TraceError, "inkle.grad"),
    "changes shape": (lambda s, x: Tensor([1.0, 2.0]) * x, ShapeError, "begins as \\(\\)"),
    "changes dtype": (lambda s, x: (s + x).double(), DTypeError, "float32 and goes on as float64"),
    "changes structure": (lambda s, x: (s, x), ShapeError, "begins as · and goes on as \\(·, ·\\)"),
    "returns a string": (lambda s, x: "sum", DTypeError, "str 'sum'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_step_cannot_do(name):
    step, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        inkle.fold(step, 0.0, X)
    assert OUTSIDE.tolist() == [1.0]
    assert inkle.fold(lambda s, x: s + x, 0.0, X).item() == 6.0


def test_wrong_arguments():
    add = lambda s, x: (s + x, None)
    with pytest.raises(ShapeError, match="needs length"):
        inkle.scan(add, 0.0)
    with pytest.raises(ShapeError, match="first axes 3, 2"):
        inkle.scan(lambda s, x: (s, None), 0.0, (X, Tensor([1, 2])))
    with pytest.raises(ShapeError, match="4 steps"):
        inkle.scan(add, 0.0, X, length=4)
    with pytest.raises(ShapeError, match="no axis"):
        inkle.scan(add, 0.0, Tensor(1.0))
    with pytest.raises(ShapeError, match="0 steps or more"):
        inkle.scan(add, 0.0, length=-1)
    with pytest.raises(ShapeError, match="returns \\(carry, y\\)"):
        inkle.scan(lambda s, x: s + x, 0.0, X)
    with pytest.raises(DTypeError, match="object"):
        inkle.scan(add, object(), X)


def test_a_tensor_kept_from_a_step_has_no_value():
    kept = []
    inkle.fold(lambda s, x: (kept.append(s + x), s + x)[1], 0.0, X)

    with pytest.raises(
        TraceError, match=r"shape \(\) .* step of a loop over time sees, and has no value outside"
    ):
        kept[0].item()
