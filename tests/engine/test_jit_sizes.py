"""What a capture does about sizes that differ from call to call; more in tests/tensor."""

from inkle import Tensor, Variable, jit

N = Variable("n", 1, 9)
X = Tensor([1.0] * 9)


def test_sizes_of_a_variable_are_one_capture():
    @jit(sizes={"x": {0: N}})
    def total(x):
        return x.sum() / x.shape[0]

    assert [total(Tensor([2.0] * n)).item() for n in (4, 9, 1)] == [2.0, 2.0, 2.0]
    assert total.stats().traces == 1


def test_position_in_a_cache_is_one_capture():
    cache = Tensor.zeros(9)

    @jit
    def put(value, at):
        cache[at : at + 1].assign(value)
        return cache[: at + 1].sum()

    at = Variable("at", 0, 8)
    assert [put(Tensor([1.0]), at.bind(i)).item() for i in range(9)] == [
        float(i + 1) for i in range(9)
    ]
    assert put.stats().traces == 1


def test_branch_on_a_symbolic_size_is_traced_for_each_outcome():
    @jit
    def head(x, n):
        return x[:n].sum() if n > 3 else x[0] * 100

    assert [head(X, N.bind(n)).item() for n in (5, 2, 9, 3)] == [5.0, 100.0, 9.0, 100.0]
    assert head.stats().traces == 2


def test_loop_over_a_symbolic_size_is_traced_for_each_value():
    @jit
    def powers(x, n):
        for _ in range(n):
            x = x * 2
        return x[0]

    assert [powers(X, N.bind(n)).item() for n in (3, 1, 3)] == [8.0, 2.0, 8.0]
    assert powers.stats().traces == 2
    assert "needs the value of n" in powers.explain()


def test_sizes_in_a_result_are_those_of_the_call():
    @jit
    def shape(x, n):
        return x[:n].shape, n

    assert [shape(X, N.bind(n)) for n in (3, 5)] == [((3,), 3), ((5,), 5)]
    assert shape.stats().traces == 1
