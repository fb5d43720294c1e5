"""Loops over time among state that is read and written: eager, captured, saved; against NumPy."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import inkle
from inkle import Tensor

ROWS, N = 3, 4
MOST = 1 << 20  # values are kept below by a remainder


class Ours:
    """State and loops of inkle."""

    def __init__(self, arrays):
        self.state = [Tensor(array.copy()) for array in arrays]

    def read(self, i):
        return self.state[i]

    def write(self, i, value, rows=slice(None)):
        self.state[i][rows] = value

    def replace(self, i, value):
        self.state[i].assign(value)

    def scan(self, step, carry, xs, reverse):
        return inkle.scan(step, carry, xs, reverse=reverse)


class Numpy:
    """The same as a Python loop over arrays, copied at every read."""

    def __init__(self, arrays):
        self.state = [array.copy() for array in arrays]

    def read(self, i):
        return self.state[i].copy()

    def write(self, i, value, rows=slice(None)):
        self.state[i][rows] = value

    def replace(self, i, value):
        self.state[i] = np.array(value)

    def scan(self, step, carry, xs, reverse):
        found = []
        for row in xs[::-1] if reverse else xs:
            carry, y = step(carry, row)
            found.append(y)
        return carry, np.stack(found[::-1] if reverse else found)


def add(_, s, x):
    return s + x, s


def shared(w, s, x):
    return (s * w[0] + x) % MOST, s + w[1]


def product(w, s, x):
    return ((s[None] * w).sum(1) + x.sum()) % 7 + 0 * s[:ROWS].sum(), x - s.sum()


def swap(w, s, x):
    a, b = s
    return (b + x, (a * 3 + w[2]) % MOST), a - b


def random_program(rng):
    """Return a function of (world, x) that does a few random things to two states."""
    choices = [
        (rng.choice(["loop", "loop", "pair", "rows", "write", "keep", "whole"]),
         bool(rng.integers(2)), int(rng.integers(1, ROWS)), rng.choice([add, shared]))
        for _ in range(rng.integers(2, 6))
    ]  # fmt: skip

    def run(world, x):
        kept = [x + 1]
        for what, flag, k, step in choices:
            if what == "loop":  # the vector goes through rows of the matrix
                w = world.read(1)
                last, ys = world.scan(
                    lambda s, r, w=w, step=step: step(w, s, r), world.read(0), kept[-1], flag
                )
                world.replace(0, last)
                kept.append(ys)
            elif what == "pair":
                w = world.read(1)
                h = world.read(0)
                last, ys = world.scan(lambda s, r, w=w: swap(w, s, r), (h, h), x, flag)
                world.replace(0, last[k % 2])
                kept.append(ys)
            elif what == "rows":  # the matrix is what the loop reads, and what it makes
                w = kept[-1]
                rows = world.read(1)
                _, ys = world.scan(
                    lambda s, r, w=w, step=step: step(w, s, r), world.read(0), rows, flag
                )
                world.replace(1, ys)
            elif what == "write":
                world.write(1, world.read(0)[None] * 2, slice(0, k))
            elif what == "keep":
                kept.append((world.read(1) + k) % MOST)
            else:
                world.replace(0, (world.read(0) + world.read(1).sum(0)) % MOST)
        return kept[-1], kept[len(kept) // 2]

    return run


def arrays_of(rng):
    return [rng.integers(-4, 5, N), rng.integers(-4, 5, (ROWS, N))]


def check_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), b)


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_of_state_and_loops(seed, tmp_path):
    rng = np.random.default_rng(seed)
    program, arrays = random_program(rng), arrays_of(rng)
    numpy, eager, captured = Numpy(arrays), Ours(arrays), Ours(arrays)
    compiled = inkle.jit(lambda x: program(captured, x))

    for _ in range(3):
        x = rng.integers(-4, 5, (ROWS, N))
        expected = program(numpy, x)

        check_same(program(eager, Tensor(x)), expected)
        check_same(compiled(Tensor(x)), expected)
        check_same(eager.state, numpy.state)
        check_same(captured.state, numpy.state)
    inkle.save_captured(compiled, tmp_path / "program")
    loaded = inkle.load_captured(tmp_path / "program")
    x = rng.integers(-4, 5, (ROWS, N))
    check_same(loaded(Tensor(x)), program(numpy, x))


@pytest.mark.parametrize("reverse", [False, True])
def test_rows_written_over_by_the_loop_that_reads_them(reverse):
    """The new rows are stored before the state of the next step was computed from the old ones."""
    rows, h = np.arange(1, 7).reshape(3, 2), np.array([5, 7])
    state, start = Tensor(rows.copy()), Tensor(h)

    @inkle.jit
    def turn():
        _, ys = inkle.scan(lambda s, x: (s * 2 + x, s), start, state, reverse=reverse)
        state.assign(ys)

    for _ in range(3):
        turn()
        s, new = h, []
        for row in rows[::-1] if reverse else rows:
            new.append(s)
            s = s * 2 + row
        rows = np.stack(new[::-1] if reverse else new)
        np.testing.assert_array_equal(state.numpy(), rows)


# --- arguments of every kind ----------------------------------------------------------------------


def same_in_jit(function, *args):
    """Return what a function gives, which has to be the same when captured, and called again."""
    compiled = inkle.jit(function)
    expected = function(*args)
    for _ in range(2):
        for a, b in zip(compiled(*args), expected, strict=True):
            assert (a.dtype, a.shape, a.tolist()) == (b.dtype, b.shape, b.tolist())
    return expected


def running(start, xs):
    return inkle.scan(lambda s, x: (s + x * 2, s), start, xs)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("shape", [(3, 2), (1, 2), (0, 2), (3, 0), (3,), (0,)])
def test_carries_of_every_dtype_and_shape(dtype, shape):
    xs = Tensor(np.arange(np.prod(shape)).reshape(shape)).cast(dtype)
    start = Tensor(np.ones(shape[1:])).cast(dtype)

    last, before = same_in_jit(running, start, xs)

    rows = [np.ones(shape[1:])]
    for row in np.arange(np.prod(shape)).reshape(shape):
        rows.append(rows[-1] + row * 2)
    assert last.tolist() == rows[-1].tolist()
    assert before.tolist() == np.array(rows[:-1]).reshape(shape).tolist()


def test_bools_are_carried():
    xs = Tensor([[True, False], [True, True]])

    last, before = same_in_jit(lambda x: inkle.scan(lambda s, r: (s ^ r, s), x[1], x), xs)

    assert last.tolist() == [True, False]
    assert before.tolist() == [[True, True], [False, True]]


def test_one_tensor_as_carry_twice_as_rows_and_outside():
    x = np.arange(4.0).reshape(2, 2)

    def run(h):
        def step(carry, row):
            a, b = carry
            return (b + row.sum(), a * h), (a, 7)

        (a, b), (ys, sevens) = inkle.scan(step, (h, h), h)
        return a, b, ys, sevens

    a, b, ys, sevens = same_in_jit(run, Tensor(x))
    first = x + 1.0, x * x
    second = first[1] + 5.0, first[0] * x
    assert (a.tolist(), b.tolist()) == tuple(each.tolist() for each in second)
    assert ys.tolist() == [x.tolist(), first[0].tolist()]
    assert sevens.tolist() == [7, 7]


def test_constants_as_carry_and_carries_that_nothing_uses():
    def run(xs):
        unused, doubled = inkle.scan(lambda s, x: (s, x * 2), 3.0, xs)
        ones, zeros = inkle.scan(lambda s, x: (Tensor.ones(2), s), Tensor.zeros(2), xs)
        dead = inkle.fold(lambda s, x: x, Tensor.zeros(()), xs)
        return unused, doubled, ones, zeros, dead

    unused, doubled, ones, zeros, dead = same_in_jit(run, Tensor([1.0, 2.0]))
    assert (unused.item(), doubled.tolist(), dead.item()) == (3.0, [2.0, 4.0], 2.0)
    assert (ones.tolist(), zeros.tolist()) == ([1.0, 1.0], [[0.0, 0.0], [1.0, 1.0]])


def test_another_number_of_steps_is_another_capture():
    total = inkle.jit(lambda xs: inkle.fold(lambda s, x: s + x, 0.0, xs))

    assert [total(Tensor.ones(n)).item() for n in (3, 0, 5, 3, 0)] == [3, 0, 5, 3, 0]
    assert total.stats().captures == 3


def test_a_hundred_thousand_steps_and_their_gradients():
    xs = Tensor(np.ones(100_000), requires_grad=True)
    last, before = inkle.scan(lambda s, x: (s * 0.5 + x, s), Tensor(np.zeros(())), xs)
    (last + before.sum()).backward()

    assert last.item() == 2.0
    assert xs.grad[:2].tolist() == [2.0, 2.0]
    assert xs.grad[-2:].tolist() == [1.5, 1.0]


def test_an_exception_in_a_step_leaves_state_as_it_was():
    state, broken = Tensor([1.0, 2.0]), [True]

    @inkle.jit
    def run(xs):
        state.assign(state + 1)

        def step(s, x):
            if broken:
                raise ValueError("in the step")
            return s + x * state

        return inkle.fold(step, Tensor.zeros(2), xs)

    with pytest.raises(ValueError, match="in the step"):
        run(Tensor.ones(3, 2))
    assert state.tolist() == [1.0, 2.0]
    broken.clear()
    assert run(Tensor.ones(3, 2)).tolist() == [6.0, 9.0]
    assert state.tolist() == [2.0, 3.0]


def test_gradients_stop_where_they_are_told_to():
    w = Tensor([1.0, 2.0], requires_grad=True)

    def step(s, x):
        with inkle.no_grad():
            cut = s * w
        return cut + x * w

    inkle.fold(step, Tensor.zeros(2), Tensor.ones(3, 2)).sum().backward()

    assert w.grad.tolist() == [1.0, 1.0]


def test_threads_run_one_captured_loop():
    w = Tensor(np.random.default_rng(0).normal(size=(4, 4)).astype("f"))
    run = inkle.jit(lambda xs: inkle.fold(lambda s, x: (s @ w + x).tanh(), Tensor.zeros(2, 4), xs))
    inputs = [Tensor.ones(n, 2, 4) for n in (2, 3, 5)]
    expected = [run(x).tolist() for x in inputs]
    wrong = []

    def work(first):
        calls = range(first, first + 30)
        wrong.extend([k for k in calls if run(inputs[k % 3]).tolist() != expected[k % 3]])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong
