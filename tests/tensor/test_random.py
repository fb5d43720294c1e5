"""Random tensors: the generator against its published vectors, and the shape of distributions."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.check.reference import evaluate
from inkle.ir import tensor
from inkle.ir.dtype import uint32
from inkle.tensor import Tensor, dtypes, manual_seed, training
from inkle.tensor.random import next_key
from inkle.tensor.threefry import mix64, threefry

# Known answers of Threefry-2x32-20, file kat_vectors of the authors' library Random123:
# key, counter, result.
VECTORS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.fixture(autouse=True)
def _seeded():
    manual_seed(1)


@pytest.mark.parametrize(("key", "counter", "expected"), VECTORS)
def test_threefry_gives_the_published_answers(key, counter, expected):
    words = [tensor.full(word, uint32, (1,)) for word in (*key, *counter)]

    found = evaluate(threefry((words[0], words[1]), (words[2], words[3])), {})

    assert tuple(int(each[0]) for each in found) == expected


def test_keys_differ_and_are_a_bijection_of_the_draw():
    keys = [next_key() for _ in range(1000)]

    assert len(set(keys)) == 1000
    assert mix64(0) == 0
    assert (
        mix64(1) == 0x5692161D100B05E5
    )  # the finaliser's value, computed by hand with its formula


def test_equal_seeds_give_equal_streams():
    manual_seed(5)
    first = Tensor.rand(4).tolist(), Tensor.randn(3).tolist()
    manual_seed(5)
    second = Tensor.rand(4).tolist(), Tensor.randn(3).tolist()
    manual_seed(6)

    assert first == second
    assert Tensor.rand(4).tolist() != first[0]


def test_one_draw_keeps_its_values():
    x = Tensor.rand(5)

    assert x.tolist() == x.tolist() == (x + 0).tolist()
    assert Tensor.rand(5).tolist() != x.tolist()


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_uniform_numbers_lie_in_the_half_open_interval(name):
    x = np.array(Tensor.rand(20_000, dtype=name).double().tolist())

    assert x.min() >= 0
    assert x.max() < 1
    assert abs(x.mean() - 0.5) < 0.01
    assert abs(x.var() - 1 / 12) < 0.005
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.02


def test_uniform_numbers_use_all_bits_of_the_fraction():
    x = Tensor.rand(20_000).numpy().astype(np.float64) * 2**24

    assert (x == x.round()).all()
    assert 0.45 < (x % 2).mean() < 0.55


def test_normal_numbers():
    x = Tensor.randn(50_000, dtype="float64").numpy()

    assert np.isfinite(x).all()
    assert abs(x.mean()) < 0.02
    assert abs(x.std() - 1) < 0.02
    assert abs((x**3).mean()) < 0.05
    assert abs((x**4).mean() - 3) < 0.15


def test_normal_with_mean_and_deviation():
    x = Tensor.normal(20_000, mean=3, std=2).numpy()

    assert abs(x.mean() - 3) < 0.05
    assert abs(x.std() - 2) < 0.05


def test_randint_covers_its_range():
    x = Tensor.randint(10_000, low=-2, high=3)

    assert x.dtype is dtypes.int64
    counts = np.bincount(x.numpy() + 2)
    assert counts.shape == (5,)
    assert (abs(counts - 2000) < 200).all()
    assert Tensor.randint(0, 7, (2, 3)).shape == (2, 3)


def test_bernoulli_and_permutation():
    assert abs(Tensor.bernoulli(0.3, 10_000).mean().item() - 0.3) < 0.02
    order = Tensor.randperm(500).tolist()
    assert sorted(order) == list(range(500))
    assert order != list(range(500))
    assert Tensor.randperm(0).shape == (0,)


def test_initialisers_have_their_bounds():
    bound = (6 / ((1 + 5) * 32)) ** 0.5
    x = Tensor.kaiming_uniform(64, 32, a=5**0.5).numpy()
    assert 0.98 * bound < abs(x).max() <= bound
    assert abs(Tensor.kaiming_normal(200, 50, a=0).numpy().std() - (2 / 50) ** 0.5) < 0.01
    assert abs(Tensor.glorot_uniform(30, 50).numpy()).max() <= (6 / 80) ** 0.5
    assert abs(Tensor.scaled_uniform(30, 50).numpy()).max() <= 1500**-0.5


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3)])
def test_odd_shapes(shape):
    for make in (Tensor.rand, Tensor.randn, Tensor.randint):
        assert make(*shape).shape == shape
        assert make(*shape).numpy().shape == shape


def test_dropout_drops_in_training_only():
    x = Tensor.ones(10_000)

    assert x.dropout(0.3) is x
    with training():
        y = x.dropout(0.3)
        assert x.dropout(0.0) is x
        assert not x.dropout(1.0).numpy().any()
    values = y.numpy()
    assert abs((values == 0).mean() - 0.3) < 0.02
    np.testing.assert_allclose(values[values != 0], 1 / 0.7, rtol=1e-6)


def test_dropout_passes_the_gradient_of_what_it_keeps():
    x = Tensor.ones(100).requires_grad_()

    with training():
        y = x.dropout(0.5)
    y.sum().backward()

    assert x.grad.tolist() == y.tolist()
