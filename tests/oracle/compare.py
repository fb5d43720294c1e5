"""Compares values and gradients with PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from inkle.tensor import Tensor

TOLERANCE = {"float64": 1e-10, "float32": 2e-5}


def agree(ours: Any, theirs: Any, *, tolerance: float = 1e-10, what: str = "value") -> None:
    """Assert equal shape, dtype and values (NaN equals NaN)."""
    expected = theirs.detach().numpy() if hasattr(theirs, "detach") else np.asarray(theirs)
    found = ours.numpy()
    assert found.shape == expected.shape, f"{what}: {found.shape} instead of {expected.shape}"
    assert found.dtype == expected.dtype, f"{what}: {found.dtype} instead of {expected.dtype}"
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=what)
        return
    finite = np.abs(expected[np.isfinite(expected)])
    scale = finite.max() if finite.size else 1.0
    np.testing.assert_allclose(
        found, expected, rtol=tolerance, atol=tolerance * max(scale, 1e-300), err_msg=what
    )


def check(
    torch: ModuleType,
    function: Callable[..., Any],
    oracle: Callable[..., Any],
    arrays: Sequence[np.ndarray[Any, Any]],
    *,
    tolerance: float | None = None,
    gradients: bool = True,
) -> None:
    """Assert that `function` of tensors equals `oracle` of PyTorch tensors, gradients included.

    The cotangent is random, so that a gradient in the wrong place shows.
    """
    floats = [i for i, array in enumerate(arrays) if array.dtype.kind == "f"]
    if tolerance is None:
        tolerance = max([TOLERANCE[arrays[i].dtype.name] for i in floats], default=0.0)
    mine = [Tensor(array) for array in arrays]
    theirs = [torch.tensor(array) for array in arrays]
    if gradients:
        for i in floats:
            mine[i].requires_grad_()
            theirs[i].requires_grad_()
    ours, expected = function(*mine), oracle(*theirs)
    agree(ours, expected, tolerance=tolerance)
    if not gradients or not expected.requires_grad:
        return
    seed = np.random.default_rng(7)
    cotangent = seed.standard_normal(expected.shape).astype(expected.detach().numpy().dtype)
    ours.backward(Tensor(cotangent))
    expected.backward(torch.tensor(cotangent))
    for i in floats:
        if theirs[i].grad is None:
            assert mine[i].grad is None, f"gradient of argument {i} should not exist"
        elif mine[i].grad is None:  # PyTorch has zeros where nothing flows
            assert not theirs[i].grad.any(), f"gradient of argument {i} is missing"
        else:
            agree(mine[i].grad, theirs[i].grad, tolerance=tolerance, what=f"gradient {i}")


def numbers(
    shape: Sequence[int], *, seed: int = 0, dtype: str = "float64", low: float = -2, high: float = 2
) -> np.ndarray[Any, Any]:
    """Return random floats of `low` ... `high`."""
    return np.random.default_rng(seed).uniform(low, high, tuple(shape)).astype(dtype)
