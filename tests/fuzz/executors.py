"""What runs tensor programs in the fuzz tests: the real pipeline, cut off at several depths.

Each takes (outputs, leaves) and returns arrays, as `inkle.check.fuzz` wants.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inkle.check.numpy_algebra import numpy_dtype, to_array, to_bits
from inkle.check.plans import run_plan
from inkle.engine import pipeline, realize, storage
from inkle.ir import spec
from inkle.ir.dtype import bfloat16
from inkle.ir.node import substitute
from inkle.ir.plan import AnyLaunch, Blocks, Plan, Repeat, kernel_calls
from inkle.kernel.machine import Machine
from inkle.runtime.cpu.buffer import Buffer
from inkle.schedule import schedule

AVX512 = Machine(vector_bytes=64, registers=32, threads=2)
NEON = Machine(vector_bytes=16, registers=32, threads=3, masks=False)


def by_schedule(outputs, leaves):
    """Kernels as the scheduler makes them, run by the reference interpreter."""
    return _interpret(schedule(outputs), outputs, leaves)


def by_avx512(outputs, leaves):
    """Kernels with axes bound and operations expanded for AVX-512, on the interpreter."""
    return _interpret(_lowered(schedule(outputs), AVX512), outputs, leaves)


def by_neon(outputs, leaves):
    """The same for short vectors without masks."""
    return _interpret(_lowered(schedule(outputs), NEON), outputs, leaves)


def by_engine(outputs, leaves):
    """Native code. Indices out of range are part of these programs, so nothing looks for them."""
    held = {node: _leaf(node.dtype, array) for node, array in leaves.items()}
    done = substitute(outputs, held)
    graph, slots = realize.canonicalize([done[node] for node in outputs])
    computed = [
        storage.new_leaf(node.dtype, node.shape, buffer)
        for node, buffer in zip(outputs, realize.run(graph, slots), strict=True)
    ]
    return [to_array(storage.to_array(leaf), leaf.dtype) for leaf in computed]


def _leaf(dtype, array):
    if dtype is not bfloat16:
        return storage.from_array(array)
    bits = np.ascontiguousarray(to_bits(array, dtype))
    return storage.new_leaf(dtype, array.shape, Buffer.wrap(bits))


def _lowered(plan: Plan, machine: Machine) -> Plan:
    def lower(each: AnyLaunch) -> AnyLaunch:
        if isinstance(each, Repeat):
            return replace(each, launches=tuple(map(lower, each.launches)))
        if isinstance(each, Blocks):
            variants = [tuple(map(lower, chain)) for chain in each.variants]
            return replace(each, variants=tuple(variants))
        one = replace(machine, threads=1) if each.is_serial else machine
        return replace(each, kernel=pipeline.lower(each.kernel, one))

    return replace(plan, launches=tuple(map(lower, plan.launches)))


def _interpret(plan, outputs, leaves):
    for launch, _ in kernel_calls(plan.launches):
        spec.check_loop(launch.kernel)
    slots = {int(node.arg[0]): array for node, array in leaves.items()}
    arrays = [slots.get(i) for i in range(max(slots, default=-1) + 1)]
    flat = run_plan(plan, arrays)
    return [
        array.reshape(node.shape).astype(numpy_dtype(node.dtype))
        for array, node in zip(flat, outputs, strict=True)
    ]
