"""What the names of HOST nodes mean: functions of NumPy, each with its arrays and arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from inkle.ir.host import Call

Array = Any

#: Each returns its results, in order.
FUNCTIONS: dict[str, Callable[..., Sequence[Array]]] = {
    "sort": lambda x: [np.sort(x, axis=-1)],  # of integers: equal ones cannot be told apart
    "smallest": lambda x, count: [np.sort(np.partition(x, count - 1)[..., :count])],
    "argsort": lambda x: [np.argsort(x, axis=-1, kind="stable")],
}


def value_of(call: Call, arrays: Sequence[Array]) -> Array:
    """Return what a call computes of arrays of any shape with as many elements as its sources."""
    shaped = [x.reshape(shape) for x, shape in zip(arrays, call.sources, strict=True)]
    found = FUNCTIONS[call.name](*shaped, *call.params)[call.result]
    return np.asarray(found, dtype=call.dtype).reshape(call.shape)
