"""Reductions of 16-bit floats accumulate in float32, and round once at the end."""

from __future__ import annotations

from dataclasses import replace

from inkle.ir import forms, loop
from inkle.ir.dtype import float32
from inkle.ir.loop import Kernel
from inkle.ir.node import Node, rebuild, transform
from inkle.kernel.machine import Machine


def widen(kernel: Kernel, machine: Machine) -> Kernel:
    """Let every reduction of float16 or bfloat16 run in float32.

    Before: for i: total = half(total + x[i])    After: for i: total += float32(x[i])
                                                        half(total)
    """

    def step(node: Node, src: tuple[Node, ...]) -> Node:
        if node.op is forms.REDUCE and node.dtype.is_float and node.dtype.bits == 16:
            return loop.reduce(node.arg[0], src[0].cast(float32), src[1:]).cast(node.dtype)
        if node.op is forms.PREFIX and node.dtype.is_float and node.dtype.bits == 16:
            return loop.prefix(node.arg[0], src[0].cast(float32), src[1:]).cast(node.dtype)
        return rebuild(node, src)

    done = transform(kernel.stores, step)
    return replace(kernel, stores=tuple([done[s] for s in kernel.stores]))
