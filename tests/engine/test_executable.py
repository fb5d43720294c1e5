"""Memory that a captured function keeps between runs belongs to nobody else."""

import numpy as np
import pytest

from inkle import Context, Tensor, jit
from inkle.engine.executable import KEPT_BYTES
from inkle.engine.storage import buffer_of


@pytest.fixture(autouse=True)
def unchecked():
    with Context(INKLE_CHECK=False):
        yield


def address(x):
    return buffer_of(x._storage.outside).address


@jit
def shifted(x):
    return x + 1.5


def numbers(start):
    return np.arange(start, start + 100, dtype=np.float32)


@pytest.mark.parametrize(
    "hold", [lambda x: x, lambda x: x.numpy(), lambda x: x[3:], lambda x: x * 1],
    ids=["itself", "array", "view", "expression"],
)  # fmt: skip
def test_whoever_holds_a_result_keeps_it(hold):
    held = [hold(shifted(Tensor(numbers(n)))) for n in range(6)]

    for n, each in enumerate(held):
        found = each if isinstance(each, np.ndarray) else each.numpy()
        np.testing.assert_array_equal(found, (numbers(n) + 1.5)[-len(found) :])


def test_results_that_nobody_holds_take_turns_in_the_same_memory():
    result = None
    places = []
    for n in range(8):
        result = shifted(Tensor(numbers(n)))
        places.append(address(result))

    assert len(set(places[2:])) == 2
    np.testing.assert_array_equal(result.numpy(), numbers(7) + 1.5)


def test_large_results_are_given_back():
    @jit
    def large(x):
        return x + 1

    x = Tensor(np.zeros(KEPT_BYTES // 4 + 1, np.float32))
    for _ in range(3):
        large(x)

    (entry,) = large._state.entries
    assert entry._captured._executable._former == []


def test_a_large_arena_is_taken_anew_where_the_result_is_kept():
    @jit
    def product(x):
        return ((x @ x) @ x).sum(0)

    array = np.random.default_rng(0).integers(-2, 3, (300, 300)).astype(np.float32)

    for _ in range(4):
        np.testing.assert_array_equal(
            product(Tensor(array)).numpy(), (array @ array @ array).sum(0)
        )


def test_a_result_that_is_the_state_of_another_function_is_kept():
    total = shifted(Tensor(numbers(0)))
    add = jit(lambda y: total.assign(total + y))
    for n in range(4):
        add(shifted(Tensor(numbers(n))))

    expected = numbers(0) + 1.5 + sum(numbers(n) + 1.5 for n in range(4))
    np.testing.assert_array_equal(total.numpy(), expected)
