"""Functions of symbolic sizes: one trace, and the values of NumPy for every size."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from inkle import Tensor, Variable, jit, nn, save_captured, scan
from inkle.engine import pipeline
from inkle.errors import DTypeError, IndexRangeError, OptionError, ShapeError, TraceError
from inkle.ir.size import Size

Array = np.ndarray[Any, Any]
MOST = 19  # beyond a vector of 16 lanes
n = Variable("n", 1, MOST)
Function = Callable[..., Any]


def floats(*shape: int, seed: int = 0) -> Array:
    """Return small integers, whose sums are exact."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def agree(
    function: Function, oracle: Function, make: Callable[[int], tuple[Any, ...]],
    axes: dict[str, dict[int, Variable]] | None = None, exact: bool = True,
    sizes: range = range(1, MOST + 1),
) -> None:  # fmt: skip
    """Compare a captured function with NumPy's for every size; it is traced once."""
    captured = jit(function, sizes=axes)
    for size in reversed(sizes):
        given = make(size)
        found = captured(*[Tensor(x) if isinstance(x, np.ndarray) else n.bind(x) for x in given])
        wanted = oracle(*given)
        pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
        for mine, theirs in pairs:
            assert mine.shape == np.shape(theirs), size
            tolerance = 0 if exact else 2e-5
            np.testing.assert_allclose(
                mine.numpy(), theirs, tolerance, tolerance, err_msg=str(size)
            )
    assert captured.stats().traces == 1, captured.explain()


X = floats(MOST, 5)
ROW = floats(6, MOST, seed=1)

OF_ONE: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "elementwise": (lambda x: x * 2 + 1, lambda x: x * 2 + 1),
    "sum of all": (lambda x: x.sum(), lambda x: x.sum()),
    "sum of rows": (lambda x: x.sum(1), lambda x: x.sum(1)),
    "sum of columns": (lambda x: x.sum(0), lambda x: x.sum(0)),
    "maximum": (lambda x: x.max(0), lambda x: x.max(0)),
    "any": (lambda x: (x > 3).any(), lambda x: (x > 3).any()),
    "transposed": (lambda x: x.T + 1, lambda x: x.T + 1),
    "flipped": (lambda x: x.flip(0) * 2, lambda x: x[::-1] * 2),
    "flat": (lambda x: x.reshape(-1) + 1, lambda x: x.reshape(-1) + 1),
    "repeated": (lambda x: x.sum(1, keepdim=True) * x, lambda x: x.sum(1, keepdims=True) * x),
    "size": (lambda x: x * x.shape[0], lambda x: x * x.shape[0]),
    "sliced": (lambda x: x[1:], lambda x: x[1:]),
    "last": (lambda x: x[-1], lambda x: x[-1]),
    "padded": (lambda x: x.pad(((1, 2), (0, 3))), lambda x: np.pad(x, ((1, 2), (0, 3)))),
    "joined": (lambda x: x.cat(x * 2), lambda x: np.concatenate([x, x * 2])),
    "joined to 3": (lambda x: Tensor.ones(3, x.shape[1]).cat(x),
                    lambda x: np.concatenate([np.ones((3, x.shape[1])), x])),
    "joined along the other axis": (lambda x: x.cat(x * 2, dim=1),
                                    lambda x: np.concatenate([x, x * 2], 1)),
    "outer": (lambda x: x.sum(1)[:, None] * x.sum(1)[None], lambda x: np.outer(x.sum(1), x.sum(1))),
    "arange": (lambda x: Tensor.arange(x.shape[0]) * 3, lambda x: np.arange(x.shape[0]) * 3),
    "ones": (lambda x: Tensor.ones(x.shape[0], 2) + 1, lambda x: np.ones((x.shape[0], 2)) + 1),
    "mask": (lambda x: (Tensor.arange(MOST) < x.shape[0]).where(1.0, 0.0),
             lambda x: np.where(np.arange(MOST) < x.shape[0], 1.0, 0.0)),
    "triangle": (lambda x: (x @ x.T).tril(), lambda x: np.tril(x @ x.T)),
    "argmax": (lambda x: x.argmax(0), lambda x: x.argmax(0)),
    "cumulative sum": (lambda x: x.cumsum(0), lambda x: x.cumsum(0)),
    "cumulative sum of rows": (lambda x: x.cumsum(1), lambda x: x.cumsum(1)),
    "gram": (lambda x: x.T @ x, lambda x: x.T @ x),
    "windows": (lambda x: x.T.pad(((0, 0), (2, 0))).unfold(1, 3, 1).sum(-1),
                lambda x: np.lib.stride_tricks.sliding_window_view(
                    np.pad(x.T, ((0, 0), (2, 0))), 3, 1).sum(-1)),
    "stacked": (lambda x: x.stack(x + 1), lambda x: np.stack([x, x + 1])),
    "every other": (lambda x: x[::2], lambda x: x[::2]),
}  # fmt: skip
INEXACT: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "mean": (lambda x: x.mean(), lambda x: x.mean()),
    "mean of columns": (lambda x: x.mean(0), lambda x: x.mean(0)),
    "variance": (lambda x: x.var(0, correction=0), lambda x: x.var(0)),
    "softmax": (lambda x: x.softmax(0), lambda x: np.exp(x) / np.exp(x).sum(0)),
    "softmax of rows": (lambda x: x.softmax(1), lambda x: np.exp(x) / np.exp(x).sum(1)[:, None]),
    "exponential": (lambda x: x.exp(), lambda x: np.exp(x)),
    "norm": (lambda x: x.layernorm(), lambda x: (x - x.mean(1)[:, None])
             / np.sqrt(x.var(1)[:, None] + 1e-5)),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_ONE)
def test_function_of_rows(name: str) -> None:
    mine, theirs = OF_ONE[name]

    agree(mine, theirs, lambda size: (X[:size],), {"x": {0: n}})


@pytest.mark.parametrize("name", OF_ONE)
def test_function_of_columns(name: str) -> None:
    mine, theirs = OF_ONE[name]

    agree(lambda x: mine(x.T), lambda x: theirs(x.T), lambda size: (ROW[:, :size].copy(),),
          {"x": {1: n}})  # fmt: skip


@pytest.mark.parametrize("name", INEXACT)
def test_inexact_function_of_rows(name: str) -> None:
    mine, theirs = INEXACT[name]

    agree(mine, theirs, lambda size: (X[:size],), {"x": {0: n}}, exact=False)


@pytest.mark.parametrize("name", INEXACT)
def test_inexact_function_of_columns(name: str) -> None:
    mine, theirs = INEXACT[name]

    agree(lambda x: mine(x.T), lambda x: theirs(x.T), lambda size: (ROW[:, :size].copy(),),
          {"x": {1: n}}, exact=False)  # fmt: skip


@pytest.mark.parametrize("name", OF_ONE)
def test_function_of_a_slice(name: str) -> None:
    mine, theirs = OF_ONE[name]

    agree(lambda x, m: mine(x[:m]), lambda x, m: theirs(x[:m]), lambda size: (X, size))


A, B = floats(7, 21, seed=2), floats(21, 18, seed=3)


@pytest.mark.parametrize("which", ["m", "n", "k", "m of more", "batch"])
def test_matrix_product(which: str) -> None:
    more = floats(MOST, 3, 7, seed=4)
    cases: dict[str, tuple[Callable[[int], tuple[Any, ...]], dict[str, dict[int, Variable]]]] = {
        "m": (lambda size: (floats(size, 21), B), {"a": {0: n}}),
        "n": (lambda size: (A, floats(21, size)), {"b": {1: n}}),
        "k": (lambda size: (floats(7, size), floats(size, 18)), {"a": {1: n}, "b": {0: n}}),
        "m of more": (lambda size: (floats(3, size, 21), B), {"a": {1: n}}),
        "batch": (
            lambda size: (more[:size], floats(MOST, 7, 5)[:size]),
            {"a": {0: n}, "b": {0: n}},
        ),
    }
    make, axes = cases[which]

    agree(lambda a, b: (a @ b).relu(), lambda a, b: np.maximum(a @ b, 0), make, axes)


def test_convolution_of_a_batch() -> None:
    def convolve(x: Array, w: Array) -> Array:
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
        return np.einsum("bchwij,ocij->bohw", windows, w)

    agree(lambda x, w: x.conv2d(w, padding=1), convolve,
          lambda size: (floats(size, 3, 6, 5), floats(4, 3, 3, 3)), {"x": {0: n}})  # fmt: skip


def test_pooling_of_a_batch() -> None:
    agree(lambda x: x.max_pool2d(2), lambda x: x.reshape(-1, 3, 3, 2, 2, 2).max((3, 5)),
          lambda size: (floats(size, 3, 6, 4),), {"x": {0: n}})  # fmt: skip


def test_gather_from_and_by_symbolic_sizes() -> None:
    table = floats(MOST, 3)

    def indices(size: int) -> Array:
        return np.arange(size)[::-1].copy() // 2

    agree(lambda t, i: t[i], lambda t, i: t[i], lambda size: (table, indices(size)),
          {"i": {0: n}})  # fmt: skip
    agree(lambda t, i: t[i], lambda t, i: t[i], lambda size: (table[:size], indices(size)),
          {"t": {0: n}, "i": {0: n}})  # fmt: skip
    agree(lambda t, i: t[i], lambda t, i: t[i], lambda size: (table[:size], np.array([0, -1, 0])),
          {"t": {0: n}})  # fmt: skip


def test_scatter_into_symbolic_size() -> None:
    def add(x: Array, i: Array) -> Array:
        out = np.zeros((6, 2), np.float32)
        np.add.at(out, i, x)
        return out

    def mine(x: Tensor, i: Tensor) -> Tensor:
        return Tensor.zeros(6, 2).scatter_add(0, i[:, None].expand(i.shape[0], 2), x)

    agree(
        mine,
        add,
        lambda size: (floats(size, 2), np.arange(size) * 5 % 6),
        {"x": {0: n}, "i": {0: n}},
    )


def test_cross_entropy_with_gradient() -> None:
    torch = pytest.importorskip("torch")

    def step(x: Tensor, w: Tensor, y: Tensor) -> Any:
        w = w.detach()
        w.requires_grad_()
        loss = (x @ w).cross_entropy(y)
        loss.backward()
        return loss, w.grad

    def wanted(x: Array, w: Array, y: Array) -> Any:
        weight = torch.tensor(w, requires_grad=True)
        loss = torch.nn.functional.cross_entropy(torch.tensor(x) @ weight, torch.tensor(y))
        loss.backward()
        return loss.detach().numpy(), weight.grad.numpy()

    agree(step, wanted, lambda size: (floats(size, 5), floats(5, 4), np.arange(size) % 4),
          {"x": {0: n}, "y": {0: n}}, exact=False)  # fmt: skip


def test_cache_of_a_decoder() -> None:
    position = Variable("position", 0, 11)

    @jit
    def decode(cache: Tensor, k: Tensor, q: Tensor, at: Any) -> Tensor:
        cache[:, at : at + 1].assign(k)
        keys = cache[:, : at + 1]
        weights = (q @ keys.transpose(-1, -2) * 0.5).softmax(-1)
        return weights @ keys

    rng = np.random.default_rng(0)
    mine, theirs = Tensor.zeros(2, 12, 4), np.zeros((2, 12, 4))
    for at in [0, 1, 2, 3, 4, 11, 5, 0]:
        k, q = rng.normal(size=(2, 2, 1, 4)).astype(np.float32)
        found = decode(mine, Tensor(k), Tensor(q), position.bind(at))
        theirs[:, at : at + 1] = k
        keys = theirs[:, : at + 1]
        e = np.exp(q @ keys.transpose(0, 2, 1) * 0.5)

        np.testing.assert_allclose(found.numpy(), e / e.sum(-1, keepdims=True) @ keys, 1e-5, 1e-5)
        np.testing.assert_array_equal(mine.numpy(), theirs.astype(np.float32))
    assert decode.stats().traces == 1, decode.explain()


# --- what Python asks about sizes -----------------------------------------------------------------

NUMBERS = np.arange(MOST, dtype=np.float32)


def values_and_traces(function: Function, sizes: list[int]) -> tuple[list[Any], int]:
    """Return the results of a captured function of a vector and a size, and the traces it took."""
    captured = jit(function)
    found = [captured(Tensor(NUMBERS), n.bind(size)) for size in sizes]
    return [np.asarray(each).tolist() for each in found], captured.stats().traces


def test_branch_that_bounds_decide_is_no_condition() -> None:
    found, traces = values_and_traces(lambda x, m: x[:m].sum() if m > 0 else x, [1, 5])

    assert (found, traces) == ([0.0, 10.0], 1)


def test_branch_that_bounds_do_not_decide_is_traced_for_each_outcome() -> None:
    def function(x: Tensor, m: Any) -> Tensor:
        return x[:m].sum() if m > 3 else x[:m].sum() * 100

    found, traces = values_and_traces(function, [5, 2, 4, 3, 19, 1])

    assert (found, traces) == ([10.0, 100.0, 6.0, 300.0, 171.0, 0.0], 2)


def test_equality_is_asked_of_the_value() -> None:
    def function(x: Tensor, m: Any) -> Tensor:
        return x[:m].sum() * 2 if m == 5 else x[:m].sum()

    found, traces = values_and_traces(function, [3, 5, 7, 5, 4, 6])

    assert (found, traces) == ([3.0, 20.0, 21.0, 20.0, 6.0, 15.0], 3)


@pytest.mark.parametrize(
    "look",
    [lambda m: {3: 30, 4: 40}.get(m, 50), lambda m: {"3": 30, "4": 40}.get(f"{m}", 50),
     lambda m: {"3": 30, "4": 40}.get(str(m), 50), lambda m: (0, 0, 0, 30, 40, 50)[m],
     lambda m: 10 * len([0] * int(m)), lambda m: 10 * sum(1 for _ in range(m)),
     lambda m: 10 * float(m), lambda m: 20 * (m / 2), lambda m: [30, 40, 50][[3, 4, 5].index(m)],
     lambda m: 10 * hash(m)],
)  # fmt: skip
def test_value_of_a_size_is_a_condition(look: Callable[[Any], Any]) -> None:
    found, traces = values_and_traces(lambda x, m: x[0] + look(m), [3, 4, 5, 3])

    assert (found, traces) == ([30.0, 40.0, 50.0, 30.0], 3)


def test_condition_narrows_what_is_compiled() -> None:
    found, traces = values_and_traces(lambda x, m: x[:m][:5].sum(), [7, 19, 5, 4, 2])

    assert (found, traces) == ([10.0, 10.0, 10.0, 6.0, 1.0], 2)


def test_reasons_name_the_line_and_the_question() -> None:
    captured = jit(lambda x, m: x[:m].sum() if m > 3 else x[0])
    for size in (5, 2):
        captured(Tensor(NUMBERS), n.bind(size))

    assert "asks whether 3 < n, and was traced for n = 4 to 19" in captured.explain()
    assert "test_symbolic.py:" in captured.explain()


def test_sizes_are_returned_as_numbers() -> None:
    captured = jit(lambda x, m: (x[:m].shape, m + 1, {"twice": m * 2}))

    assert [captured(Tensor(NUMBERS), n.bind(size)) for size in (3, 4)] == [
        ((3,), 4, {"twice": 6}),
        ((4,), 5, {"twice": 8}),
    ]
    assert captured.stats().traces == 1


def test_bound_variables_outside_of_captures_are_numbers() -> None:
    four = n.bind(4)

    assert (four + 1, 2 * four, four // 3, -four, four == 4, [*range(four)]) == (
        5, 8, 1, -4, True, [0, 1, 2, 3],
    )  # fmt: skip
    assert Tensor(NUMBERS)[:four].shape == (4,)
    assert repr(four) == "Variable('n', 1, 19).bind(4)"


def test_bound_variables_in_containers_attributes_and_globals() -> None:
    class Model:
        size = n.bind(3)

        @jit
        def run(self, given: dict[str, Any]) -> Tensor:
            total: Tensor = given["x"][: given["n"]].sum() + given["x"][: self.size].sum()
            return total

    model = Model()
    found = []
    for size in (2, 5):
        model.size = n.bind(size)
        found.append(model.run({"x": Tensor(NUMBERS), "n": n.bind(size)}).item())

    assert (found, model.run.stats().traces) == ([2.0, 20.0], 1)


def test_no_recompilation_for_another_size() -> None:
    captured = jit(lambda x: (x @ x.T).softmax(-1).sum(0), sizes={"x": {0: n}})
    captured(Tensor.ones(3, 4))
    before = dict(pipeline.TIMES.calls)

    for size in range(1, MOST + 1):
        captured(Tensor.ones(size, 4).realize())

    assert pipeline.TIMES.calls.get("native code") == before.get("native code")


def test_size_of_zero() -> None:
    some = Variable("some", 0, 5)
    captured = jit(lambda x: (x * 2, x.sum(0), x.max(1)), sizes={"x": {0: some}})

    for size in (2, 0, 5):
        twice, total, largest = captured(Tensor.ones(size, 3))
        assert twice.shape == (size, 3)
        assert total.tolist() == [size] * 3
        assert largest.tolist() == [1.0] * size
    assert captured.stats().traces == 1


# --- what is refused ------------------------------------------------------------------------------

b = Variable("b", 2, 8)


@jit(sizes={"x": {0: b}, "y": {0: b}})
def of_two(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).mean()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: of_two(Tensor.ones(3, 2), Tensor.ones(4, 2)),
         r"test_symbolic.py:\d+: b is one size, but 4 in y, and 3 in x"),
        (lambda: of_two(Tensor.ones(9, 2), Tensor.ones(9, 2)),
         r"test_symbolic.py:\d+: axis 0 of x is 9, but Variable\('b', 2, 8\) is 2 to 8"),
        (lambda: of_two(Tensor(1.0), Tensor(1.0)), r"x has shape \(\), and no axis 0 to be b"),
        (lambda: jit(lambda x, i, j: x[:i] + x[:j])(Tensor(NUMBERS), n.bind(3), b.bind(3)),
         r"cannot broadcast \(n,\) with \(b,\).* one Variable in both places"),
        (lambda: jit(lambda x, i, j: x[:i])(Tensor(NUMBERS), n.bind(3), n.bind(4)),
         "n is one size, but 4 in a bound variable, and 3 in a bound variable"),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        call()


@pytest.mark.parametrize(
    ("error", "call", "words"),
    [
        (OptionError, lambda: n.bind(20), r"test_symbolic.py:\d+: 20 is none of the values of Var"),
        (OptionError, lambda: Variable("a b", 1, 2), "is an identifier, got 'a b'"),
        (OptionError, lambda: Variable("a", 3, 2), "got 3 and 2"),
        (OptionError, lambda: Variable("a", -1, 2), "got -1 and 2"),
        (OptionError, lambda: jit(lambda x: x, sizes={"y": {0: n}}), "but the parameters are x"),
        (DTypeError, lambda: n.bind(2.5), "n stands for integers, got 2.5"),
        (DTypeError, lambda: n.bind(True), "n stands for integers, got True"),
        (DTypeError, lambda: Variable(3, 1, 2), "is a string, got 3"),
        (DTypeError, lambda: Variable("a", 1, "x"), "got 'x'"),
        (DTypeError, lambda: jit(lambda x: x, sizes={"x": 3}), "{axis: Variable}, got 3"),
        (DTypeError, lambda: jit(lambda x: x, sizes=[1]), r"got \[1\]"),
        (DTypeError, lambda: of_two(3, Tensor.ones(2)), "list, tuple or dict of tensors; got 3"),
    ],
)
def test_nonsense_is_refused(error: type[Exception], call: Callable[[], Any], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_capture_of_symbolic_sizes_is_not_saved(tmp_path: Any) -> None:
    of_two(Tensor.ones(3, 2), Tensor.ones(3, 2))

    with pytest.raises(TraceError, match="its sizes are symbolic"):
        save_captured(of_two, tmp_path / "of_two.safetensors")


def test_loop_over_time_takes_the_values_of_sizes() -> None:
    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        last, all_ = scan(lambda s, row: (s + row, s * 2), x[0] * 0, x)
        return last, all_ + x

    captured = jit(function, sizes={"x": {0: n}})
    for size in (4, 2, 4):
        x = floats(size, 3)
        before = np.cumsum(x, 0) - x
        last, found = captured(Tensor(x))
        np.testing.assert_array_equal(last.numpy(), x.sum(0))
        np.testing.assert_array_equal(found.numpy(), before * 2 + x)
    assert captured.stats().traces == 2
    assert "needs the value of n" in captured.explain()


def test_training_steps_with_other_batches() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    model = nn.Sequential([nn.Linear(6, 8), Tensor.relu, nn.Linear(8, 4)])
    theirs = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    with torch.no_grad():
        for mine, other in zip(nn.state.get_parameters(model), theirs.parameters(), strict=True):
            other.copy_(torch.tensor(mine.numpy()))
    optimizer = nn.optim.Adam(nn.state.get_parameters(model), lr=0.01)
    reference = torch.optim.Adam(theirs.parameters(), lr=0.01)

    @jit(sizes={"x": {0: n}, "y": {0: n}})
    def step(x: Tensor, y: Tensor) -> Tensor:
        loss = model(x).cross_entropy(y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for size in [*range(1, MOST + 1), 3, 1, 17]:
        x, y = rng.normal(size=(size, 6)).astype(np.float32), rng.integers(0, 4, size)
        found = step(Tensor(x), Tensor(y))
        reference.zero_grad()
        wanted = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        wanted.backward()
        reference.step()
        assert abs(found.item() - wanted.item()) < 1e-4, size
    assert step.stats().traces <= 3, step.explain()


def test_index_out_of_a_symbolic_axis_is_found_with_its_numbers() -> None:
    read = jit(lambda t, i: t[i], sizes={"t": {0: n}, "i": {0: n}})

    assert read(Tensor(NUMBERS[:3]), Tensor([0, 2, -3])).tolist() == [0.0, 2.0, 0.0]
    with pytest.raises(IndexRangeError, match=r"index 2 at position \(1,\).* with 2 elements"):
        read(Tensor(NUMBERS[:2]), Tensor([0, 2]))
    with pytest.raises(IndexRangeError, match=r"index -3 at position \(0,\).* with 2 elements"):
        read(Tensor(NUMBERS[:2]), Tensor([-3, 1]))


def test_value_that_is_needed_begins_the_trace_anew_with_a_number() -> None:
    seen = []

    def function(x: Tensor, m: Any) -> Tensor:
        seen.append(type(m + 0))
        return x[:m].reshape(()) if m == 1 else x[:m].sum()

    found, traces = values_and_traces(function, [1, 4])

    assert (found, traces) == ([0.0, 6.0], 2)
    assert seen == [Size, int, Size]
