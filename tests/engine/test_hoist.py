"""What a captured function computes from things that stay the same runs once, and again in time."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from inkle import Context, Tensor, jit, nn
from inkle.engine import hoist
from inkle.engine.storage import buffer_of


@pytest.fixture
def x():
    return tensor(4, 32, seed=1)


@pytest.fixture
def w():
    return tensor(64, 32, seed=2)


def tensor(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (Tensor(rng.integers(-4, 5, shape).astype(np.float32)) + 0).realize()


def hoisted(function):
    return function.stats().hoisted_bytes


def address(x):
    return buffer_of(x._storage.outside).address


@pytest.fixture
def computed(monkeypatch):
    """Count how often values are computed ahead."""
    counts = []
    keep = hoist.Kept.keep

    def counted(self, leaves, values):
        counts.append(len(self.storages))
        keep(self, leaves, values)

    monkeypatch.setattr(hoist.Kept, "keep", counted)
    return counts


# --- right ----------------------------------------------------------------------------------------


def test_hoisted_values_follow_their_sources(x, w, computed):
    class Model:
        weight = w

    def forward(x):
        return x @ Model.weight.T.contiguous()

    captured = jit(forward)

    assert captured(x).tolist() == captured(x).tolist() == forward(x).tolist()
    assert computed == [1]
    w.assign(w * 2)
    assert captured(x).tolist() == captured(x).tolist() == forward(x).tolist()
    assert computed == [1, 1]
    Model.weight = tensor(64, 32, seed=3)
    assert captured(x).tolist() == captured(x).tolist() == forward(x).tolist()
    assert computed == [1, 1, 1]
    assert captured.stats().traces == 1
    assert hoisted(captured) == 64 * 32 * 4


def test_parameters_that_another_capture_trains(x):
    layer = nn.Linear(32, 8)
    optimizer = nn.optim.SGD(nn.state.get_parameters(layer), lr=0.01)

    @jit
    def train(x):
        optimizer.zero_grad()
        loss = (layer(x) ** 2).sum()
        loss.backward()
        optimizer.step()

    def evaluate(x):
        return x @ layer.weight.detach().T.contiguous()

    captured = jit(evaluate)
    with Context(INKLE_CHECK=False):
        for _ in range(4):
            train(x)
            np.testing.assert_array_equal(captured(x).numpy(), evaluate(x).numpy())
    assert hoisted(captured) == 8 * 32 * 4


def test_kept_values_do_not_stop_others_from_writing_over_their_sources(x, w):
    read = jit(lambda x: x @ w.T.contiguous())

    @jit
    def write(y):
        w.assign(w + y)

    with Context(INKLE_CHECK=False):
        read(x)
        write(1.0)
        read(x)
        place = address(w)
        for i in range(3):
            write(1.0)
            np.testing.assert_array_equal(read(x).numpy(), x.numpy() @ w.numpy().T, str(i))
        assert address(w) == place
    assert hoisted(read)


def test_results_of_hoisted_values_are_fresh(w):
    captured = jit(lambda: w.T.contiguous().reshape(-1))
    expected = w.numpy().T.reshape(-1)

    found = captured()
    found.assign(found * 0)
    jit(lambda: found.assign(found + 1))()

    assert hoisted(captured)
    np.testing.assert_array_equal(captured().numpy(), expected)


def test_result_that_does_not_depend_on_arguments(w):
    captured = jit(lambda: w.T.contiguous())

    first = captured()
    first.assign(first * 0)

    np.testing.assert_array_equal(captured().numpy(), w.numpy().T)
    w.assign(w + 1)
    np.testing.assert_array_equal(captured().numpy(), w.numpy().T)


def test_several_sources_are_told_apart(x, w, computed):
    other = tensor(64, 32, seed=5)

    def forward(x):
        both = (w + other).sum(0)
        return x @ w.T.contiguous() @ other.contiguous().flip(0) + both

    captured = jit(forward)
    captured(x)
    before = len(computed)

    for change in (w, other, w):
        change.assign(change - 1)
        assert captured(x).tolist() == captured(x).tolist() == forward(x).tolist()
    assert len(computed) - before >= 3


def test_source_that_has_not_been_computed(x):
    w = tensor(64, 32) * 2
    captured = jit(lambda x: x @ w.T.contiguous())

    assert captured(x).tolist() == captured(x).tolist() == (x @ w.T).tolist()
    w.assign(w + tensor(64, 32, seed=9))
    assert captured(x).tolist() == (x @ w.T).tolist()


def test_random_programs_with_changes_between_calls():
    rng = np.random.default_rng(0)
    steps = (
        lambda a, b: a.T.contiguous().T + b,
        lambda a, b: (a * b).sum(0).expand(8, 8),
        lambda a, b: a @ b,
        lambda a, b: a.flip(1).contiguous() - b,
        lambda a, b: a.maximum(b).cumsum(0),
    )
    for _ in range(20):
        state = [tensor(8, 8, seed=int(rng.integers(1000))) for _ in range(3)]
        plan = [(steps[rng.integers(len(steps))], *rng.integers(4, size=2)) for _ in range(4)]
        writes = bool(rng.integers(2))

        def program(x, state=state, plan=plan, writes=writes):
            values = [*state, x]
            for step, i, j in plan:
                values.append(step(values[i], values[j]).clip(-50, 50))
            if writes:
                state[0].assign(values[-1].round())
            return sum(values[4:], x)

        captured = jit(program)
        for call in range(4):
            argument = tensor(8, 8, seed=call)
            before = [each.numpy() for each in state]
            found = captured(argument).numpy()
            after = [each.numpy() for each in state]
            for each, value in zip(state, before, strict=True):
                each.assign(Tensor(value))
            np.testing.assert_array_equal(found, program(argument).numpy())
            for each, value in zip(state, after, strict=True):
                np.testing.assert_array_equal(each.numpy(), value)
            changed = state[rng.integers(3)]
            changed.assign(changed + 1)


def test_threads_that_read_and_write(x, w):
    read = jit(lambda x: (x @ w.T.contiguous()).sum() - (x @ w.T).sum())
    write = jit(lambda y: (w.assign(w + y), None)[1])
    found = []

    def reader():
        found.extend(read(x) for _ in range(30))

    threads = [threading.Thread(target=reader) for _ in range(2)]
    for each in threads:
        each.start()
    for _ in range(30):
        write(1.0)
    for each in threads:
        each.join()

    assert len(found) == 60
    assert read(x).item() == 0.0


# --- worth it -------------------------------------------------------------------------------------


def test_what_fuses_for_free_is_not_kept(x, w):
    for function in (
        lambda x: x @ (w * 2).T,
        lambda x: (x @ w.T).relu() + w.sum().exp() * 0,
        lambda x: x * w[:4],
        lambda x: x + Tensor.ones(4, 32),
    ):
        captured = jit(function)
        captured(x)
        assert hoisted(captured) <= 4  # the sum of all weights


def test_light_dequantisation_is_not_kept_and_a_heavy_one_is(x):
    codes = Tensor(np.arange(64 * 32).reshape(64, 32) % 15 - 7).cast("int8").realize()
    light = jit(lambda x: x @ (codes.cast("float32") * 0.1).T)
    heavy = jit(lambda x: x @ (codes.cast("float32").abs() ** 1.5 * codes.sign()).T)

    light(x)
    heavy(x)

    assert (hoisted(light), hoisted(heavy)) == (0, 64 * 32 * 4)


def test_tables_are_computed_once(computed):
    def rotate(x):
        angles = (
            Tensor.arange(128).cast("float32").reshape(128, 1)
            * (Tensor.arange(32).cast("float32") * -0.3).exp()
        )
        return x * angles.cos() + x.flip(1) * angles.sin()

    captured = jit(rotate)
    x = tensor(128, 32)

    for _ in range(3):
        np.testing.assert_allclose(captured(x).numpy(), rotate(x).numpy(), rtol=1e-6, atol=1e-6)
    assert computed == [2]
    assert hoisted(captured) == 2 * 128 * 32 * 4


def test_state_and_random_numbers_are_not_hoisted(x, w):
    @jit
    def step(x):
        w.assign((w.T.contiguous() @ w).sum(0).expand(64, 32) * 0.01)
        return x @ Tensor.rand(32, 8).exp().contiguous()

    assert step(x).tolist() != step(x).tolist()
    assert hoisted(step) == 0


def test_memory_of_all_captures_together_is_bounded(x, w, monkeypatch):
    gc.collect()
    used = sum(each.bytes for each in list(hoist._alive))
    monkeypatch.setattr(hoist, "MOST_BYTES", used + 10_000)
    first, second = (jit(lambda x: x @ w.T.contiguous()) for _ in range(2))

    for each in (first, second):
        assert each(x).tolist() == (x @ w.T).tolist()

    assert (hoisted(first), hoisted(second)) == (64 * 32 * 4, 0)
    del first, each
    gc.collect()
    third = jit(lambda x: x @ w.T.contiguous())
    third(x)
    assert hoisted(third) == 64 * 32 * 4
