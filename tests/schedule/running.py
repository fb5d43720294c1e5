"""Runs a schedule on the reference interpreter and compares it with the reference evaluator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from inkle.check.plans import run_plan
from inkle.check.reference import evaluate
from inkle.config import Context
from inkle.ir.node import Node
from inkle.ir.plan import Plan, kernel_calls
from inkle.ir.pseudo import pseudo_code
from inkle.schedule import Facts, schedule

#: No cost, or all cost: what placement does with these must still be right.
FACTS = (
    Facts(),
    Facts(launch=0.0, near=0.0, far=0.0, write=0.0, small=0, cache_bytes=0),
    Facts(launch=1e9, write=1e9),
    Facts(flop=0.0, row_bytes=1 << 40, chunks=1),
    Facts(row_bytes=0, small=0, chunk=4),
    Facts(chunk=4, chunks=1 << 30, small=0),
)


def text(plan: Plan) -> str:
    """Return the kernels of a plan as pseudo-code."""
    launches = [launch for launch, _ in kernel_calls(plan.launches)]
    return "\n".join(pseudo_code(launch.kernel).strip() for launch in launches)


def check(
    outputs: Sequence[Node], arrays: Mapping[Node, np.ndarray], facts: Facts = FACTS[0]
) -> Plan:
    """Schedule, run and compare; return the plan."""
    with Context(INKLE_CHECK=True):
        plan = schedule(outputs, facts=facts)
    slots = {node.arg[0]: array for node, array in arrays.items()}
    inputs = [slots.get(i, np.zeros(0)) for i in range(max(slots, default=-1) + 1)]
    with np.errstate(all="ignore"):
        expected = evaluate(outputs, arrays)
        results = run_plan(plan, inputs)
    for i, (got, want) in enumerate(zip(results, expected, strict=True)):
        message = f"output {i} of\n{text(plan)}"
        np.testing.assert_allclose(got.reshape(want.shape), want, rtol=1e-5, err_msg=message)
    return plan
