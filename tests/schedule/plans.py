"""Random plans, made of tiny kernels: what passes over plans are tested on."""

from __future__ import annotations

import random

import numpy as np

from inkle.check.plans import run_plan
from inkle.ir import loop, tensor
from inkle.ir.dtype import DType, float32, index, int32
from inkle.ir.loop import Kernel
from inkle.ir.node import const
from inkle.ir.plan import Launch, Memory, Plan, Role

SIZES = (1, 7, 64, 100, 1000, 1024, 4096)


def kernel(own: Memory, sources: list[Memory], scale: int) -> Kernel:
    """Return a kernel that stores scale + the sum of sources, repeated to the size of `own`.

    A source of equal size is read where the kernel writes; of others some elements.
    """
    r = loop.range_(0, own.size)
    total = const(scale, own.dtype)
    for slot, each in enumerate(sources, 1):
        at = r if each.size == own.size else r % const(each.size, index)
        value = loop.load(tensor.param(slot, each.dtype, (each.size,)), at)
        total = total + value.cast(own.dtype)
    return Kernel((loop.store(tensor.param(0, own.dtype, (own.size,)), r, total),), (r,))


def random_plan(seed: int, launches: int = 40, sizes: tuple[int, ...] = SIZES) -> Plan:
    """Return a plan whose temporaries are read by a few later launches; the last ones by many.

    Every launch writes a value of its own; one in six is an output.
    """
    pick = random.Random(seed)
    memory = [Memory(Role.INPUT, i, float32, pick.choice(sizes)) for i in range(2)]
    steps: list[Launch] = []
    outputs: list[int] = []
    for i in range(launches):
        dtype: DType = int32 if pick.random() < 0.2 else float32
        is_output = pick.random() < 1 / 6 or i == launches - 1
        role, number = (Role.OUTPUT, len(outputs)) if is_output else (Role.TEMPORARY, i)
        own = Memory(role, number, dtype, pick.choice(sizes))
        near = range(max(0, len(memory) - 4), len(memory))
        used = {pick.choice(near), pick.randrange(len(memory))}
        read = sorted(used)
        if is_output:
            outputs.append(len(memory))
        body = kernel(own, [memory[place] for place in read], pick.randrange(9))
        steps.append(Launch(body, (len(memory), *read)))
        memory.append(own)
    return Plan(tuple(memory), tuple(steps), tuple(outputs))


def results(plan: Plan) -> list[bytes]:
    """Run a plan on inputs of small integers; return its outputs, bit for bit."""
    arrays = [
        (np.arange(m.size) % 11).astype(np.float32) for m in plan.memory if m.role is Role.INPUT
    ]
    with np.errstate(all="ignore"):
        return [array.tobytes() for array in run_plan(plan, arrays)]
