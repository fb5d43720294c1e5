"""State that a captured function changes is written over, where nobody can see the old value."""

import gc
import threading

import numpy as np
import pytest

from inkle import Context, Tensor, jit
from inkle.engine.storage import buffer_of
from inkle.runtime.device import open_device


@pytest.fixture(autouse=True)
def unchecked():
    """In checked mode a run may fail after the kernels: nothing is written over there."""
    with Context(INKLE_CHECK=False):
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def address(x):
    return buffer_of(x._storage.outside).address


def state(array):
    """Return a tensor that nobody has looked at: memory of its own."""
    return (Tensor(array) + 0).realize()


def silent(function):
    """Capture a function for what it assigns: a returned state would be held by its caller."""

    @jit
    def step(*args):
        function(*args)

    return step


def add_to(x):
    return silent(lambda y: x.assign(x + y))


def test_an_update_stays_where_it_is():
    x, y = state(np.zeros(1000, np.float32)), Tensor(normal(1000))
    step = add_to(x)
    step(y)
    place = address(x)

    for _ in range(5):
        step(y)

    assert address(x) == place
    np.testing.assert_allclose(x.numpy(), 6 * y.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "hold",
    [lambda x: x.numpy(), lambda x: x * 1, lambda x: x[1:], lambda x: x.detach(), lambda x: x + x],
    ids=["array", "expression", "view", "detached", "twice"],
)
def test_whoever_holds_the_old_value_keeps_it(hold):
    x, y = state(normal(64)), Tensor(normal(64, seed=1))
    step = add_to(x)
    step(y)
    before = x.numpy().copy()
    held = hold(x)
    want = hold(Tensor(before))

    step(y)
    step(y)

    np.testing.assert_array_equal(np.asarray(held.tolist()), np.asarray(want.tolist()))
    np.testing.assert_allclose(x.numpy(), before + 2 * y.numpy(), rtol=1e-6)


def test_memory_from_elsewhere_is_never_written():
    array = normal(64)
    x = Tensor(array)
    step = silent(lambda: x.assign(x * 2))
    step()

    np.testing.assert_array_equal(array, normal(64))
    np.testing.assert_array_equal(x.numpy(), 2 * array)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n", [1, 3, 16, 17, 31, 33, 63, 64, 65, 100, 129, 1023, 300_001])
def test_every_element_changes_once(n, threads):
    with Context(INKLE_THREADS=threads):
        x = state(np.arange(n, dtype=np.float32))
        step = silent(lambda: x.assign(x * 2 + 1))
        for _ in range(3):
            step()
        np.testing.assert_array_equal(x.numpy(), np.arange(n, dtype=np.float32) * 8 + 7)


@pytest.mark.parametrize("shape", [(3, 5, 7), (17, 33, 9), (64, 48, 32), (130, 67, 129)])
def test_an_update_inside_a_contraction(shape):
    m, k, n = shape
    a, b = Tensor(normal(m, k)), Tensor(normal(k, n, seed=1))
    w = state(normal(m, n, seed=2))
    before = w.numpy().copy()
    step = silent(lambda: w.assign(w - (a @ b) * 0.5))
    for _ in range(3):
        step()

    want = before - 1.5 * (a.numpy().astype(np.float64) @ b.numpy())
    np.testing.assert_allclose(w.numpy(), want, rtol=1e-4, atol=1e-4)


def test_what_reads_other_elements_gets_a_copy():
    x = state(np.arange(100, dtype=np.float32))
    step = silent(lambda: x.assign(x.flip(0) + x))
    step()
    step()

    want = np.arange(100, dtype=np.float32)
    for _ in range(2):
        want = want[::-1] + want
    np.testing.assert_array_equal(x.numpy(), want)


def test_two_states_that_swap():
    x, y = state(np.full(50, 1, np.float32)), state(np.full(50, 2, np.float32))

    @jit
    def step():
        old = x * 1
        x.assign(y + 10)
        y.assign(old + 100)

    step()
    step()

    assert x.tolist() == [111 + 0.0] * 50
    assert y.tolist() == [112 + 0.0] * 50


def test_a_row_is_written_without_copying_the_cache():
    cache = state(np.zeros((64, 512, 8), np.float32))
    rows = [Tensor(normal(64, 1, 8, seed=i)) for i in range(4)]

    def write(at):
        @jit
        def step(row):
            cache[:, at : at + 1] = row
            return cache[:, : at + 1].sum()

        return step

    write(0)(rows[0])
    gc.collect()
    place, peak = address(cache), open_device("CPU").memory_report().live_bytes
    for at in range(1, 4):
        write(at)(rows[at])

    assert address(cache) == place
    assert open_device("CPU").memory_report().live_bytes < peak + cache.numpy().nbytes // 2
    want = np.concatenate([row.numpy() for row in rows], 1)
    np.testing.assert_array_equal(cache.numpy()[:, :4], want)


def test_outputs_that_are_the_new_state_do_not_change_later():
    x = state(np.arange(32, dtype=np.float32))
    step = jit(lambda: x.assign(x + 1))
    results = [step() for _ in range(3)]

    first = x.numpy().copy() - 2
    step()

    for i, each in enumerate(results):
        np.testing.assert_array_equal(each.numpy(), first + i)


def test_random_programs_of_two_states():
    random = np.random.default_rng(3)
    changes = [
        lambda a, b: (a + b, b), lambda a, b: (b * 2, a), lambda a, b: (a.flip(0), b + 1),
        lambda a, b: (a, b.roll(1, 0) + b), lambda a, b: (a * b, a - b),
    ]  # fmt: skip
    for _ in range(20):
        chosen = [changes[i] for i in random.integers(0, len(changes), 3)]
        a, b = state(np.arange(37, dtype=np.float32)), state(np.ones(37, np.float32))

        def program(x, y, chosen=chosen):
            for change in chosen:
                x, y = change(x, y)
            return x, y

        @jit
        def step(a=a, b=b, program=program):
            x, y = program(a, b)
            a.assign(x % 1000)
            b.assign(y % 1000)

        plain = Tensor(a.numpy().copy()), Tensor(b.numpy().copy())
        for _ in range(3):
            step()
            plain = tuple(Tensor((each % 1000).numpy().copy()) for each in program(*plain))
        np.testing.assert_array_equal(a.numpy(), plain[0].numpy())
        np.testing.assert_array_equal(b.numpy(), plain[1].numpy())


def test_another_thread_never_sees_half_of_an_update():
    n = 2_000_000
    x = state(np.zeros(n, np.float32))
    step = silent(lambda: x.assign(x + 1))
    ends = jit(lambda: x[:1].cat(x[n // 2 : n // 2 + 1], x[n - 1 :]))
    step()
    ends()
    seen, stop = [], threading.Event()

    def look():
        while not stop.is_set():
            seen.append(ends().tolist())

    watcher = threading.Thread(target=look)
    watcher.start()
    for _ in range(60):
        step()
    stop.set()
    watcher.join()

    assert all(len(set(each)) == 1 for each in seen), seen
    assert x[:3].tolist() == [61.0] * 3


def training_step(weight):
    @jit
    def step(x):
        weight.grad = None
        loss = (x * weight).sum()
        loss.backward()
        weight.assign(weight - weight.grad * 0.5)
        return loss

    return step


def test_gradients_are_written_over_the_former_ones():
    weight = Tensor(normal(1000), requires_grad=True).realize()
    step = training_step(weight)
    step(Tensor(normal(1000, seed=1)))
    grad, place = weight.grad, address(weight.grad)
    del grad

    for seed in range(2, 5):
        step(Tensor(normal(1000, seed=seed)))

    assert address(weight.grad) == place
    np.testing.assert_array_equal(weight.grad.numpy(), normal(1000, seed=4))


@pytest.mark.parametrize(
    "hold", [lambda g: g, lambda g: g * 1, lambda g: g[:], lambda g: g.detach()],
    ids=["itself", "expression", "view", "detached"],
)  # fmt: skip
def test_whoever_holds_a_gradient_keeps_it(hold):
    weight = Tensor(normal(50), requires_grad=True).realize()
    step = training_step(weight)
    step(Tensor(normal(50, seed=1)))
    held = hold(weight.grad)

    step(Tensor(normal(50, seed=2)))
    step(Tensor(normal(50, seed=3)))

    np.testing.assert_array_equal(np.asarray(held.tolist(), np.float32), normal(50, seed=1))
    np.testing.assert_array_equal(weight.grad.numpy(), normal(50, seed=3))


def test_a_parameter_is_not_copied_by_the_first_step():
    weight = (Tensor(normal(1000)) * 2).realize().requires_grad_()
    _ = (weight * 2).sum().item()  # looked at before
    place = address(weight)

    training_step(weight)(Tensor(normal(1000, seed=1)))

    assert address(weight) == place
