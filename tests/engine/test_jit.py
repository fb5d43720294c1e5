"""Traps of captured functions: what goes in and what comes out."""

from __future__ import annotations

import collections
import functools
import threading

import numpy as np
import pytest

from inkle import Tensor, dtypes, jit, no_grad
from inkle.errors import ShapeError, TraceError

Pair = collections.namedtuple("Pair", "first second")


def traces(function) -> int:
    return len(function.explain().splitlines())


def test_first_call_is_right_and_so_are_later_ones():
    double = jit(lambda x: x * 2)

    results = [double(Tensor([float(i), 1.0])).tolist() for i in range(3)]

    assert results == [[0.0, 2.0], [2.0, 2.0], [4.0, 2.0]]
    assert traces(double) == 1


def test_results_of_two_calls_are_independent():
    add = jit(lambda x: x + 1)

    first = add(Tensor([1.0]))
    second = add(Tensor([10.0]))

    assert first.tolist() == [2.0]
    assert second.tolist() == [11.0]
    second.assign(Tensor([0.0]))
    assert first.tolist() == [2.0]


def test_argument_that_is_returned_is_a_tensor_of_its_own():
    give_back = jit(lambda x: x)
    x = Tensor([1.0])

    y = give_back(x)
    y.assign(Tensor([5.0]))

    assert y is not x
    assert x.tolist() == [1.0]


def test_tensor_that_is_returned_twice_is_one_tensor():
    @jit
    def twice(x):
        y = x + 1
        return y, [y]

    first, (second,) = twice(Tensor([1.0]))

    assert first is second


def test_constant_result_is_the_same_at_every_call():
    make = jit(lambda: Tensor([1.0, 2.0]))

    first = make()
    first.assign(Tensor([9.0, 9.0]))

    assert make().tolist() == [1.0, 2.0]


def test_same_tensor_twice_is_not_two_tensors():
    @jit
    def move(a, b):
        a.assign(a + 1)
        return b * 10

    x, y = Tensor([1.0]), Tensor([5.0])

    assert move(x, y).tolist() == [50.0]
    assert move(x, x).tolist() == [30.0]  # x is 3 when it is read
    assert move(y, x).tolist() == [30.0]
    assert traces(move) == 2


def test_argument_that_is_closed_over_too():
    weight = Tensor([2.0])

    @jit
    def move(x):
        weight.assign(weight * 10)
        return x + 0

    assert move(Tensor([1.0])).item() == 1.0
    assert move(weight).item() == 200.0
    assert move(Tensor([3.0])).item() == 3.0
    assert weight.item() == 2000.0
    assert traces(move) == 2


def test_two_tensors_of_one_value_stay_two():
    @jit
    def move(a, b):
        a.assign(a + 1)
        return b + 0

    x = Tensor([1.0]).realize()
    y = x.detach().realize()

    assert move(Tensor([1.0]), y).tolist() == [1.0]
    assert move(x, y).tolist() == [1.0]
    assert x.tolist() == [2.0]


def test_inputs_that_are_not_computed_yet():
    scale = jit(lambda x: x * 3)
    x = Tensor([1.0, 2.0])

    assert scale(x + 1).tolist() == [6.0, 9.0]
    assert scale(x.sum() + x).tolist() == [12.0, 15.0]
    assert scale(Tensor.arange(2).cast(dtypes.float32)).tolist() == [0.0, 3.0]
    assert traces(scale) == 1


def test_views_of_other_places_are_inputs_like_any_other():
    total = jit(lambda x: x.sum())
    data = Tensor(np.arange(12.0, dtype=np.float32).reshape(4, 3))

    found = [total(data[i]).item() for i in range(4)]
    found += [total(data[::-1].T[i, :3]).item() for i in range(3)]

    assert found == [3, 12, 21, 30, 18, 21, 24]
    assert traces(total) == 1


def test_constants_made_inside():
    @jit
    def weighted(x):
        return x * Tensor([1.0, 10.0]) + Tensor.ones(2) * Tensor.full((2,), 5.0)

    assert weighted(Tensor([1.0, 1.0])).tolist() == [6.0, 15.0]
    assert weighted(Tensor([2.0, 2.0])).tolist() == [7.0, 25.0]


def test_array_made_inside_may_change_afterwards():
    table = np.array([1.0, 2.0], np.float32)

    def build():
        return Tensor(table.copy())

    constant = build()
    add = jit(lambda x: x + constant)

    assert add(Tensor([0.0, 0.0])).tolist() == [1.0, 2.0]
    table[0] = 7.0
    assert add(Tensor([0.0, 0.0])).tolist() == [1.0, 2.0]


def test_other_shapes_dtypes_and_numbers_of_arguments_are_traced_anew():
    @jit
    def total(*xs):
        return sum((x.sum() for x in xs), Tensor(0.0))

    assert total(Tensor([1.0, 2.0])).item() == 3
    assert total(Tensor([1.0, 2.0, 3.0])).item() == 6
    assert total(Tensor([[1.0, 2.0]])).item() == 3
    assert total(Tensor([1.0], dtype=dtypes.float64), Tensor([2.0])).item() == 3
    assert total(Tensor([1.0, 2.0])).item() == 3
    assert traces(total) == 4
    assert "(2,) became (3,)" in total.explain()


def test_dtype_of_the_result_follows_that_of_the_argument():
    halve = jit(lambda x: x / 2)

    assert halve(Tensor([1], dtype=dtypes.int32)).dtype is dtypes.float32
    assert halve(Tensor([1.0], dtype=dtypes.float64)).dtype is dtypes.float64
    assert halve(Tensor([3.0], dtype=dtypes.float16)).dtype is dtypes.float16


def test_keyword_arguments_and_defaults():
    @jit
    def line(x, *, slope=2.0, offset=None):
        return x * slope + (0.0 if offset is None else offset)

    x = Tensor([1.0])

    assert line(x).tolist() == [2.0]
    assert line(x, slope=3.0).tolist() == [3.0]
    assert line(x, offset=Tensor([10.0])).tolist() == [12.0]
    assert line(x=x, slope=3.0).tolist() == [3.0]


def test_containers_of_tensors_go_in_and_come_out():
    @jit
    def swap(pair, table):
        return Pair(pair.second, pair.first * 2), {"sum": table["a"] + table["b"][0]}, [1, None]

    pair, table = Pair(Tensor([1.0]), Tensor([2.0])), {"a": Tensor([3.0]), "b": [Tensor([4.0])]}

    for _ in range(2):
        swapped, sums, rest = swap(pair, table)

        assert isinstance(swapped, Pair)
        assert (swapped.first.item(), swapped.second.item()) == (2.0, 2.0)
        assert sums["sum"].item() == 7.0
        assert rest == [1, None]


def test_containers_in_the_result_are_fresh():
    many = jit(lambda x: {"all": [x + 1]})
    x = Tensor([1.0])

    first = many(x)
    first["all"].append("mine")

    assert len(many(x)["all"]) == 1


def test_container_of_other_length_is_traced_anew():
    @jit
    def total(xs):
        return sum(xs, Tensor(0.0))

    xs = [Tensor(1.0), Tensor(2.0)]

    assert total(xs).item() == 3
    xs.append(Tensor(4.0))
    assert total(xs).item() == 7
    assert total(xs[:2]).item() == 3
    assert traces(total) == 2


@pytest.mark.parametrize("value", [None, 3, 2.5, "text", True, (1, "a"), b"x", float("inf")])
def test_results_that_are_no_tensors(value):
    give = jit(lambda x: (value, x))

    assert give(Tensor(1.0))[0] == value
    assert give(Tensor(2.0))[0] == value


def test_function_without_any_tensor():
    count = jit(lambda a, b: a + b)

    assert count(1, 2) == 3
    assert count(1, 5) == 6


def test_nothing_is_returned():
    store = Tensor([0.0])

    @jit
    def put(x):
        store.assign(x)

    assert put(Tensor([3.0])) is None
    assert put(Tensor([4.0])) is None
    assert store.tolist() == [4.0]


@pytest.mark.parametrize("make", [lambda: np.zeros(2), lambda: {1, 2}, object, lambda: iter([1])])
def test_result_of_a_foreign_kind_is_refused(make):
    give = jit(lambda x: (x, make()))

    with pytest.raises(TraceError, match=r"returned a (ndarray|set|object|list_iterator); it can"):
        give(Tensor([1.0]))


def test_generators_and_coroutines_are_refused():
    def generate(x):
        yield x

    async def wait(x):
        return x

    with pytest.raises(TraceError, match="returned a generator"):
        jit(generate)(Tensor([1.0]))
    with pytest.warns(RuntimeWarning, match="never awaited"):  # noqa: SIM117
        with pytest.raises(TraceError, match="returned a coroutine"):
            jit(wait)(Tensor([1.0]))


def test_numpy_array_as_an_argument_is_refused_with_its_name():
    add = jit(lambda x, more: x + more["table"])

    with pytest.raises(TraceError, match=r"argument 1\.\['table'\], a NumPy array of shape \(3,\)"):
        add(Tensor(1.0), {"table": np.zeros(3)})


def test_numbers_of_numpy_are_compared_by_value():
    scale = jit(lambda x, factor: x * float(factor))

    assert scale(Tensor(1.0), np.float32(2)).item() == 2
    assert scale(Tensor(1.0), np.float32(2)).item() == 2
    assert scale(Tensor(1.0), np.float32(3)).item() == 3
    assert traces(scale) == 2


def test_nested_capture_is_part_of_the_outer_one():
    inner = jit(lambda x: x * 2)
    outer = jit(lambda x: inner(inner(x)) + 1)

    assert outer(Tensor(3.0)).item() == 13
    assert outer(Tensor(4.0)).item() == 17
    assert inner(Tensor(1.0)).item() == 2
    assert traces(outer) == traces(inner) == 1


def test_captured_function_that_calls_itself():
    @jit
    def power(x, n):
        return x if n == 0 else power(x * 2, n - 1)

    assert power(Tensor(1.0), 10).item() == 1024
    assert power(Tensor(3.0), 2).item() == 12


def test_functions_of_other_kinds():
    class Line:
        def __init__(self, slope):
            self.slope = slope

        def __call__(self, x):
            return x * self.slope

    line = Line(3.0)
    called = jit(line)
    partial = jit(functools.partial(lambda a, b: a - b, Tensor(10.0)))

    assert called(Tensor(2.0)).item() == 6
    line.slope = 4.0
    assert called(Tensor(2.0)).item() == 8
    assert partial(Tensor(1.0)).item() == 9
    with pytest.raises(TraceError, match="got 3"):
        jit(3)  # type: ignore[arg-type]


def test_no_grad_around_the_call():
    square = jit(lambda x: x * x)
    x = Tensor([3.0], requires_grad=True)

    assert square(x).requires_grad
    with no_grad():
        assert not square(x).requires_grad
    assert square(x).requires_grad
    assert traces(square) == 2


def test_a_long_chain_of_operations():
    @jit
    def chain(x):
        for i in range(1500):
            x = x * 0.5 + float(i % 3)
        return x

    x = want = np.float32(1)
    for i in range(1500):
        want = np.float32(np.float32(want * np.float32(0.5)) + np.float32(i % 3))

    assert chain(Tensor(x)).item() == pytest.approx(want, rel=1e-6)


def test_empty_tensors():
    both = jit(lambda x: (x.sum(), x * 2))

    total, doubled = both(Tensor.zeros(0, 3))

    assert total.item() == 0
    assert doubled.shape == (0, 3)


def test_threads_call_one_function_at_once():
    weight = Tensor([2.0])
    double = jit(lambda x: x * weight)
    found: dict[int, list[list[float]]] = {}

    def work(number):
        found[number] = [double(Tensor([float(number), float(i)])).tolist() for i in range(10)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    for number in range(4):
        assert found[number] == [[2.0 * number, 2.0 * i] for i in range(10)]
    assert traces(double) == 1


def test_threads_share_state_without_losing_updates():
    total = Tensor([0.0])

    @jit
    def add(x):
        total.assign(total + x)

    one = Tensor([1.0]).realize()
    threads = [threading.Thread(target=lambda: [add(one) for _ in range(25)]) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert total.item() == 100


def test_error_of_the_function_is_the_users():
    add = jit(lambda x, y: x + y)

    with pytest.raises(ShapeError, match=r"\(2,\).*\(3,\)"):
        add(Tensor([1.0, 2.0]), Tensor([1.0, 2.0, 3.0]))
    assert add(Tensor([1.0]), Tensor([2.0])).tolist() == [3.0]
