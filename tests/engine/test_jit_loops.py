"""Loops over time among state that is read and written: eager, captured, saved; against NumPy."""

from __future__ import annotations

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
