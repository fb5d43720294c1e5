"""Loop nests by hand, their NumPy meaning, and how to run a kernel natively."""

from __future__ import annotations

import ctypes
import hashlib

import numpy as np

from inkle.ir import ops
from inkle.ir.dtype import float32
from inkle.ir.loop import Kernel, load, range_, reduce, store
from inkle.ir.node import const
from inkle.ir.tensor import param
from inkle.kernel.linearize import linearize
from inkle.kernel.machine import Machine
from inkle.render.llvm import render_llvm
from inkle.runtime.cpu.llvm import compile_ir


def run(kernel, *arrays):
    """Compile `kernel` and run all its chunks; arrays by slot, the output first."""
    program = linearize(kernel, Machine())
    text = render_llvm(program, "kernel")
    name = "test" + hashlib.sha256(text.encode()).hexdigest()[:16]
    address = compile_ir(text.replace("@kernel", f"@{name}"), [name])[name]
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(address)
    slots = (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])
    for chunk in range(program.chunks):
        function(slots, chunk)


def numbers(*shape, seed=0, dtype=np.float32):
    """Small integers: sums of them are exact in any order."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def flat(slot, size, dtype=float32):
    return param(slot, dtype, (size,))


def matmul(m, n, k):
    """out[i, j] = sum over l of a[i, l] * b[l, j]; returns (kernel, i, j, l)."""
    i, j, inner = range_(0, m), range_(1, n), range_(2, k)
    product = load(flat(1, m * k), i * k + inner) * load(flat(2, k * n), inner * n + j)
    kernel = Kernel(
        (store(flat(0, m * n), i * n + j, reduce(ops.ADD, product, (inner,))),), (i, j, inner)
    )
    return kernel, i, j, inner


def row_normalize(rows, columns):
    """out[i, j] = x[i, j] - max over l of x[i, l]."""
    i, j, inner = range_(0, rows), range_(1, columns), range_(2, columns)
    x = flat(1, rows * columns)
    largest = reduce(ops.MAXIMUM, load(x, i * columns + inner), (inner,))
    out = store(flat(0, rows * columns), i * columns + j, load(x, i * columns + j) - largest)
    return Kernel((out,), (i, j, inner))


def transposed_convolution(n, k):
    """out[y] = sum over i of g[y - i] * w[i] where 0 <= y - i < n; g has n elements, w has k."""
    y, i = range_(0, n + k - 1), range_(1, k)
    at = y - i
    gate = (at >= 0) & (at < n)
    product = load(flat(1, n), at, gate) * load(flat(2, k), i)
    total = reduce(ops.ADD, gate.where(product, const(0.0, float32)), (i,))
    return Kernel((store(flat(0, n + k - 1), y, total),), (y, i))
