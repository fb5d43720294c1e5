"""Deep expressions: nothing on the way to a result recurses once per operation."""

from __future__ import annotations

import numpy as np
import pytest

from inkle import Tensor

DEPTH = 150  # with ten frames per operation, Python's stack would hold a hundred


@pytest.fixture
def unchecked(setenv):
    """Indices that are looked at after the run would be stored, and cut the expressions."""
    setenv("INKLE_CHECK", "0")


def test_gathers_from_what_was_gathered(unchecked):
    steps = np.random.default_rng(0).permutation(64).astype(np.int32)
    table = Tensor(steps)
    place, expected = table, steps
    for _ in range(DEPTH):
        place, expected = table[place], steps[expected]

    assert place.tolist() == expected.tolist()


def test_rows_found_by_sums_of_rows_found(unchecked):
    rows = np.random.default_rng(0).integers(0, 4, (16, 4)).astype(np.float32)
    table = Tensor(rows)
    place, expected = Tensor.arange(16), np.arange(16)
    for _ in range(DEPTH):
        place = table[place].sum(1).int()
        expected = rows[expected].sum(1).astype(np.int32)

    assert place.tolist() == expected.tolist()


def test_reductions_of_what_reductions_gave(unchecked):
    values = np.random.default_rng(0).random((4, 8)).astype(np.float32)
    x, expected = Tensor(values), values.astype(np.float64)
    for _ in range(DEPTH):
        x = x - x.mean(1, keepdim=True) * 0.1
        expected = expected - expected.mean(1, keepdims=True) * 0.1

    np.testing.assert_allclose(x.numpy(), expected, atol=1e-5)
