"""Runs graphs on the reference evaluator instead of compiled kernels.

Tests of the front end use it: they ask what a graph means, not how it runs, and need no compiler.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pytest

from inkle.check.numpy_algebra import to_bits
from inkle.check.reference import evaluate
from inkle.engine import storage
from inkle.ir.dtype import bfloat16
from inkle.ir.node import Node
from inkle.ir.spec import check_tensor
from inkle.runtime.cpu.buffer import Buffer


def run(outputs: tuple[Node, ...], leaves: Sequence[Node]) -> list[Buffer]:
    """Stand in for `inkle.engine.realize.run`."""
    check_tensor(outputs)
    values = {}
    for output in outputs:
        for node in output.toposort():
            if node.op.name == "param":
                values[node] = storage.to_array(leaves[node.arg[0]])
    found = []
    for node, array in zip(outputs, evaluate(outputs, values), strict=True):
        stored = to_bits(array, bfloat16) if node.dtype is bfloat16 else array
        found.append(Buffer.wrap(np.ascontiguousarray(stored).reshape(array.shape)))
    return found


@pytest.fixture(autouse=True)
def reference_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the reference evaluator; compiled kernels with `INKLE_TEST_COMPILED=1` or the mark."""
    marked = request.node.get_closest_marker("compiled") is not None
    if not marked and os.environ.get("INKLE_TEST_COMPILED") != "1":
        monkeypatch.setattr("inkle.engine.realize.run", run)
