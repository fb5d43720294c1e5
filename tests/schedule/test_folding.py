"""One-hot sums, masks, counts and the like: no loop over positions remains, however it is spelled.

Each row of `SPELLINGS` has how often the innermost statements of the kernels run (stores and terms
of sums), which is the number of results wherever nothing but the results is left to compute.
"""

import numpy as np
import pytest

from inkle import Tensor
from inkle.check.accesses import prove_in_bounds
from inkle.check.plans import run_plan
from inkle.config import Context
from inkle.engine import storage
from inkle.engine.realize import canonicalize
from inkle.engine.trip_counts import trip_count
from inkle.ir import forms
from inkle.ir.pseudo import pseudo_code
from inkle.kernel.narrow import narrow
from inkle.schedule import schedule

N, D, B = 40, 8, 6  # rows of the table, its width, number of indices
RANDOM = np.random.default_rng(7)
x = RANDOM.normal(size=N).astype(np.float32)
w = RANDOM.normal(size=(N, D)).astype(np.float32)
a = RANDOM.normal(size=(N, N)).astype(np.float32)
i = np.array([3, -1, 0, N, N - 1, 17])  # two of them are no rows: they give zeros
pos = np.array([3, 0, 39, 17, 17, 5])
X, W, A, CHOICE, P = (Tensor(each) for each in (x, w, a, i, pos))
hn, gn = np.meshgrid(np.arange(N), np.arange(N))
h, g = Tensor.arange(N).reshape(1, N), Tensor.arange(N).reshape(N, 1)
rows = CHOICE.reshape(B, 1)
arange = Tensor.arange


def one_hot(index, n=N):
    return (np.asarray(index)[..., None] == np.arange(n)).astype(np.float32)


def counted(plan):
    """Return how often stores and terms of reductions run."""
    total = 0
    for launch in plan.launches:
        for node in narrow(launch.kernel).nodes():
            if node.op is forms.STORE:
                total += trip_count(node.ranges)
            elif node.op is forms.REDUCE:
                total += trip_count(node.src[0].ranges)
    return total


def run(*tensors):
    """Return the results of scheduled kernels, and how often their statements run."""
    outputs, leaves = canonicalize([each.node for each in tensors])
    with Context(INKLE_CHECK=True):
        plan = schedule(outputs)
    for launch in plan.launches:
        assert prove_in_bounds(launch.kernel) == []
    arrays = [np.array(storage.to_array(leaf)) for leaf in leaves]
    results = run_plan(plan, arrays)
    found = [got.reshape(each.shape) for got, each in zip(results, tensors, strict=True)]
    return found, counted(plan)


SPELLINGS = [
    ("one_hot @ w", B * D, lambda: CHOICE.one_hot(N).float() @ W, one_hot(i, N) @ w),
    (
        "(i[:,None]==arange).float() @ w",
        B * D,
        lambda: (rows == arange(N)).float() @ W,
        one_hot(i, N) @ w,
    ),
    (
        "where one-hot sum",
        B * D,
        lambda: (
            (CHOICE.reshape(B, 1, 1) == arange(N).reshape(1, N, 1))
            .where(W.reshape(1, N, D), 0)
            .sum(1)
        ),
        one_hot(i, N) @ w,
    ),
    (
        "mul one-hot sum, transposed",
        B * D,
        lambda: (
            (arange(N).reshape(N, 1, 1) == CHOICE.reshape(1, B, 1)).float() * W.reshape(N, 1, D)
        ).sum(0),
        one_hot(i, N) @ w,
    ),
    (
        "float arange",
        B * D,
        lambda: (CHOICE.float().reshape(B, 1) == arange(N, dtype="float32")).float() @ W,
        one_hot(i, N) @ w,
    ),
    ("difference == 0", B * D, lambda: ((arange(N) - rows) == 0).float() @ W, one_hot(i, N) @ w),
    ("1 - (ne)", B * D, lambda: (1 - (rows != arange(N)).float()) @ W, one_hot(i, N) @ w),
    ("not ne", B * D, lambda: (~(rows != arange(N))).float() @ W, one_hot(i, N) @ w),
    (
        "<= and >=",
        B * D,
        lambda: ((rows <= arange(N)) & (rows >= arange(N))).float() @ W,
        one_hot(i, N) @ w,
    ),
    (
        "strided one-hot",
        B * D,
        lambda: (rows == arange(0, 3 * N, 3)).float() @ W,
        (i[:, None] == np.arange(0, 3 * N, 3)).astype(np.float32) @ w,
    ),
    (
        "negative arange",
        B * D,
        lambda: ((-CHOICE).reshape(B, 1) == arange(0, -N, -1)).float() @ W,
        one_hot(i, N) @ w,
    ),
    (
        "reversed one-hot",
        B * D,
        lambda: (rows == arange(N - 1, -1, -1)).float() @ W,
        one_hot(i, N)[:, ::-1] @ w,
    ),
    (
        "flipped one-hot",
        B * D,
        lambda: CHOICE.one_hot(N).flip(1).float() @ W,
        one_hot(i, N)[:, ::-1] @ w,
    ),
    ("shifted index", B * D, lambda: ((CHOICE + 2).one_hot(N)).float() @ W, one_hot(i + 2, N) @ w),
    ("eye rows", B * D, lambda: Tensor.eye(N)[P] @ W, w[pos]),
    (
        "int32 one-hot",
        B * D,
        lambda: (CHOICE.int().reshape(B, 1) == arange(N, dtype="int32")).float() @ W,
        one_hot(i, N) @ w,
    ),
    ("eye @ w", N * D, lambda: Tensor.eye(N) @ W, w),
    ("w.T @ eye", N * D, lambda: W.T @ Tensor.eye(N), w.T),
    (
        "eye shifted @ w",
        N * D,
        lambda: (g == h + 3).float() @ W,
        np.eye(N, k=-3, dtype=np.float32) @ w,
    ),
    ("antidiagonal @ w", N * D, lambda: (g + h == N - 1).float() @ W, w[::-1]),
    (
        "permutation 2j+1",
        N * D,
        lambda: (h == 2 * g + 1).float() @ W,
        (hn == 2 * gn + 1).astype(np.float32) @ w,
    ),
    (
        "every third row",
        N * D,
        lambda: (g * 3 == h).float() @ W,
        (gn * 3 == hn).astype(np.float32) @ w,
    ),
    ("trace", N * 1 + 1, lambda: (A * Tensor.eye(N)).sum(), np.trace(a)),
    ("diagonal by eye", N, lambda: (A * Tensor.eye(N)).sum(1), np.diag(a)),
    ("diagonal embed", N * N, lambda: X.reshape(N, 1) * Tensor.eye(N), np.diag(x)),
    (
        "repeat by one-hot of i//4",
        2 * N * D,
        lambda: ((arange(2 * N) // 4).one_hot(N)).float() @ W,
        w[np.arange(2 * N) // 4],
    ),
    ("tril ones sum", N, lambda: Tensor.ones(N, N).tril().sum(1), np.arange(1, N + 1)),
    (
        "triu ones sum rows",
        N,
        lambda: Tensor.ones(N, N).triu(2).sum(0),
        np.triu(np.ones((N, N)), 2).sum(0),
    ),
    ("mask count", N, lambda: (g >= h).sum(1), np.arange(1, N + 1)),
    (
        "causal window count",
        N,
        lambda: ((h <= g) & (h > g - 5)).sum(1),
        ((hn <= gn) & (hn > gn - 5)).sum(1),
    ),
    ("or of masks", N, lambda: ((h < 3) | (h > g)).sum(1), ((hn < 3) | (hn > gn)).sum(1)),
    ("ne count", N, lambda: (g != h).sum(1), np.full(N, N - 1)),
    ("sum arange", 1, lambda: arange(1000).sum(), np.arange(1000).sum()),
    ("sum arange step", 1, lambda: arange(5, 1000, 7).sum(), np.arange(5, 1000, 7).sum()),
    ("sum negative arange", 1, lambda: arange(50, -70, -3).sum(), np.arange(50, -70, -3).sum()),
    ("mean of arange", 1, lambda: arange(100).float().mean(), 49.5),
    ("cumsum ones", N, lambda: Tensor.ones(N).cumsum(0), np.arange(1, N + 1)),
    ("cumsum of full", N, lambda: Tensor.full((N,), 3).cumsum(0), 3 * np.arange(1, N + 1)),
    ("tril @ ones", N, lambda: Tensor.ones(N, N).tril() @ Tensor.ones(N), np.arange(1, N + 1)),
    ("arange as cumsum - 1", N, lambda: Tensor.ones(N).cumsum(0) - 1, np.arange(N)),
    ("cumsum of arange", N, lambda: arange(N).cumsum(0), np.cumsum(np.arange(N))),
    ("masked sum of positions", N, lambda: (h <= g).where(h, 0).sum(1), np.cumsum(np.arange(N))),
    ("count below value", B, lambda: (arange(N) < rows).sum(1), np.clip(i, 0, N)),
    ("count of lengths float", B, lambda: (arange(N) < rows).float().sum(1), np.clip(i, 0, N)),
    ("any equal", B, lambda: (arange(N) == rows).any(1), (i >= 0) & (i < N)),
    ("all below", B, lambda: (arange(N) < rows).all(1), i >= N),
    (
        "max position below",
        B,
        lambda: (arange(N) < rows).where(arange(N), -1).max(1),
        np.where(i > 0, np.minimum(i, N) - 1, -1),
    ),
    (
        "min position above",
        B,
        lambda: (arange(N) > rows).where(arange(N), 99).min(1),
        np.where(i < N - 1, np.maximum(i + 1, 0), 99),
    ),
    ("max of arange", 1, lambda: arange(N).max(), N - 1),
    ("min of arange", 1, lambda: arange(7, N).min(), 7),
    ("prod of masks", B, lambda: (arange(N) < rows).int().prod(1), (i >= N).astype(int)),
    ("even count", N, lambda: ((h % 2 == 0) & (h < g)).sum(1), ((hn % 2 == 0) & (hn < gn)).sum(1)),
    ("block mask count", N, lambda: ((h // 5) == (g // 5)).sum(1), np.full(N, 5)),
    (
        "window of ones",
        N + 1,
        lambda: (
            Tensor.ones(1, 1, N).pad(((0, 0), (0, 0), (2, 2))).unfold(2, 4, 1).sum(-1).reshape(-1)
        ),
        np.convolve(np.pad(np.ones(N), 2), np.ones(4), "valid"),
    ),
    ("constant * masked", N, lambda: ((h <= g).float() * 2.5).sum(1), 2.5 * np.arange(1, N + 1)),
    ("x * count", N, lambda: ((h <= g).float() * X.reshape(N, 1)).sum(1), x * np.arange(1, N + 1)),
    (
        "band of two",
        N,
        lambda: ((g == h).float() - (g == h + 1).float()) @ X,
        x - np.concatenate([[0], x[:-1]]),
    ),
    (
        "nll by one-hot",
        B,
        lambda: -(P.one_hot(D * 5).float() * A[:B]).sum(1),
        -a[np.arange(B), pos],
    ),
    (
        "2d one-hot",
        B,
        lambda: (
            (
                (P.reshape(B, 1, 1) == arange(N).reshape(1, N, 1))
                & (CHOICE.reshape(B, 1, 1) == arange(N).reshape(1, 1, N))
            )
            .where(A, 0)
            .sum((1, 2))
        ),
        np.where((i >= 0) & (i < N), a[pos, np.clip(i, 0, N - 1)], 0),
    ),
    (
        "one-hot times one-hot",
        B,
        lambda: (P.one_hot(N) * CHOICE.one_hot(N)).sum(1),
        (pos == i).astype(int),
    ),
    (
        "embedding table of a function",
        B * D,
        lambda: P.one_hot(N).float() @ (W.exp()),
        np.exp(w)[pos],
    ),
    (
        "one-hot of one-hot positions",
        B * D,
        lambda: ((P.one_hot(N) * arange(N)).sum(1)).one_hot(N).float() @ W,
        w[pos],
    ),
    ("max pool mask", N, lambda: ((h <= g) * h).max(1), np.arange(N)),
    ("var of arange", N + 1, lambda: arange(N).float().var(), np.arange(N).var(ddof=1)),
    (
        "one-hot transposed grad",
        B * D,
        lambda: W.T @ CHOICE.one_hot(N).float().T,
        (one_hot(i, N) @ w).T,
    ),
    (
        "einsum",
        B * D,
        lambda: Tensor.einsum("bn,nd->bd", CHOICE.one_hot(N).float(), W),
        one_hot(i, N) @ w,
    ),
    (
        "batched",
        B * D,
        lambda: CHOICE.reshape(2, 3).one_hot(N).float() @ W,
        (one_hot(i, N) @ w).reshape(2, 3, D),
    ),
    ("roll by permutation", N * D, lambda: (h == (g + 3) % N).float() @ W, np.roll(w, -3, 0)),
    ("bool any of eye", N, lambda: (g == h).any(1), np.ones(N, bool)),
    ("linear positions", 1, lambda: (2 * arange(N) + 1).sum(), N * N),
    (
        "float64 grid",
        B * D,
        lambda: (rows.double() == arange(N).double()).double() @ W.double(),
        one_hot(i, N) @ w,
    ),
]


@pytest.mark.parametrize(
    ("count", "build", "wanted"), [row[1:] for row in SPELLINGS], ids=[row[0] for row in SPELLINGS]
)
def test_spelling(count, build, wanted):
    (got,), statements = run(build())

    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    assert statements == count


def test_list_is_long_enough():
    assert len({row[0] for row in SPELLINGS}) == len(SPELLINGS) >= 40


PLACES = [
    ("strided", lambda: X[arange(0, N, 2)], x[::2], "B[i0 * 2]"),
    ("negative", lambda: X[N - 1 - arange(N)], x[::-1], "B[39 - i0]"),
    ("diagonal", lambda: A[arange(N), arange(N)], np.diag(a), "B[i0 * 41]"),
    ("next diagonal", lambda: A[arange(N - 1), arange(1, N)], np.diag(a, 1), "B[i0 * 41 + 1]"),
    ("rotated", lambda: X[(arange(N) + 3) % N], np.roll(x, -3), None),
    ("wrapped", lambda: X[arange(N) - 1], np.roll(x, 1), None),
    ("repeated", lambda: X[arange(2 * N) // 2], np.repeat(x, 2), None),
]


@pytest.mark.parametrize(
    ("build", "wanted", "element"), [row[1:] for row in PLACES], ids=[row[0] for row in PLACES]
)
def test_indices_that_are_places_become_index_arithmetic(build, wanted, element):
    outputs, _ = canonicalize([build().node])

    (got,), _ = run(build())

    np.testing.assert_array_equal(got, wanted)
    [launch] = schedule(outputs).launches
    assert element is None or element in pseudo_code(launch.kernel)


# --- gradients ------------------------------------------------------------------------------------


def test_backward_of_a_one_hot_product_is_a_scatter():
    """n * width for the zeros, indices * width for the rows: not indices * n * width."""
    weight = Tensor(w, requires_grad=True)
    loss = (CHOICE.one_hot(N).float() @ weight * Tensor(a[:B, :D])).sum()
    loss.backward()

    (got,), statements = run(weight.grad)

    wanted = np.zeros_like(w)
    inside = (i >= 0) & (i < N)
    np.add.at(wanted, i[inside], a[:B, :D][inside])
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    assert statements <= N * D + B * D


def test_rows_wanted_twice_are_summed_in_the_gradient():
    weight = Tensor(w, requires_grad=True)
    (P.one_hot(N).float() @ weight).sum().backward()

    (got,), _ = run(weight.grad)

    assert got[17].tolist() == [2.0] * D


def test_backward_of_few_classes_stays_a_sum():
    weight = Tensor(w[:4], requires_grad=True)
    (P.one_hot(4).float() @ weight).sum().backward()

    (got,), _ = run(weight.grad)

    assert got[:, 0].tolist() == [1.0, 0.0, 0.0, 1.0]


def test_gradient_of_a_chosen_logarithm():
    logits = Tensor(a[:B], requires_grad=True)
    loss = -(P.one_hot(N).float() * logits.log_softmax(-1)).sum()
    loss.backward()

    (got,), _ = run(logits.grad)

    e = np.exp(a[:B] - a[:B].max(1, keepdims=True))
    np.testing.assert_allclose(
        got, e / e.sum(1, keepdims=True) - one_hot(pos), rtol=1e-4, atol=1e-6
    )


# --- corners --------------------------------------------------------------------------------------


def test_mask_selects_even_beside_infinity_and_nan():
    """The documented exception: a factor of zero drops what it multiplies."""
    table = w.copy()
    table[5], table[6] = np.inf, np.nan

    (product, chosen), _ = run(
        P.one_hot(N).float() @ Tensor(table),
        (P.reshape(B, 1, 1) == arange(N).reshape(1, N, 1)).where(Tensor(table), 0.0).sum(1),
    )

    np.testing.assert_array_equal(product, table[pos])
    np.testing.assert_array_equal(chosen, table[pos])


def test_chosen_minus_zero_is_zero_like_any_sum():
    (got,), _ = run((arange(4) == 2).where(Tensor([1.0, 1.0, -0.0, 1.0]), 0.0).sum())

    assert str(float(got)) == "0.0"


def test_sums_of_positions_wrap_like_the_additions_they_replace():
    (got,), statements = run(arange(100, dtype="int8").sum(dtype="int8"))

    assert int(got) == int(np.arange(100).sum().astype(np.int8))
    assert statements == 1


def test_difference_that_may_wrap_is_not_folded():
    far = Tensor(np.array([-(2**31), 3], dtype=np.int32)).reshape(2, 1)

    (got,), _ = run((far - arange(5, dtype="int32") > 0).sum(1))

    assert got.tolist() == [4, 3]


def test_index_out_of_range_is_no_error_in_checked_mode():
    with Context(INKLE_CHECK=True):
        result = (CHOICE.one_hot(N).float() @ W).numpy()

    np.testing.assert_allclose(result, one_hot(i) @ w, rtol=1e-5)


def test_sum_of_real_work_keeps_its_loop():
    (got,), statements = run((h <= g).where(X, 0.0).sum(1))

    np.testing.assert_allclose(got, np.cumsum(x), rtol=1e-4)
    assert statements > N * N // 2


@pytest.mark.parametrize("n", [33, 1000, 5000])
def test_cumulative_sums_of_constants_need_no_blocks(n):
    (got, positions), statements = run(Tensor.ones(n).cumsum(0), arange(n).cumsum(0))

    np.testing.assert_array_equal(got, np.arange(1, n + 1))
    np.testing.assert_array_equal(positions, np.cumsum(np.arange(n)))
    assert statements == 2 * n


def test_padding_makes_a_repeated_index_vary():
    """Behind the padding, the index is 0: it is not the same along the axis, although repeated."""
    index = P.reshape(B, 1).expand(B, 4).pad(((0, 0), (2, 0)))[:, :6]

    (got,), _ = run((index == arange(6)).where(arange(6) + 1, 0).sum(1))

    values = np.pad(np.repeat(pos[:, None], 4, 1), ((0, 0), (2, 0)))
    np.testing.assert_array_equal(got, np.where(values == np.arange(6), np.arange(6) + 1, 0).sum(1))
