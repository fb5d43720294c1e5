"""Calls of library functions on the host: what a graph leaves to those who do it better.

Sorting, and what LAPACK and FFT libraries do, are no loop nests worth writing. A HOST node is the
array that a function returns, by name; `inkle.check.library` says what the names mean. Its sources
and its value are whole arrays in row-major order, so a call is a launch of its own:

    kernel(A: out, B)     A[...] = host sort(B[...])

As a kernel it is one STORE, of a HOST of LOADs at 0: memory, and who waits for whom, follow from
that as from any kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from inkle.errors import ShapeError
from inkle.ir import forms, loop
from inkle.ir.dtype import BY_NAME, DType, index
from inkle.ir.loop import Kernel
from inkle.ir.node import Node, Shape, const, intern
from inkle.ir.size import is_symbolic
from inkle.ir.tensor import param

Params = tuple[int | float | str | None, ...]


class Call(NamedTuple):
    """What a HOST node calls.

    Attributes:
        name: of the function.
        params: its arguments besides arrays.
        result: which of its results.
        shape, dtype: of the result; the dtype by name.
        sources: shapes of the arrays.
    """

    name: str
    params: Params
    result: int
    shape: Shape
    dtype: str
    sources: tuple[Shape, ...]


def call(
    name: str, src: Sequence[Node], params: Params, shape: Shape, dtype: DType, result: int = 0
) -> Node:
    """Return an array that a library function computes from arrays.

    Every function treats axes in front of those that it knows as a batch.

    Args:
        name: a row of `inkle.check.library.FUNCTIONS`.
        src: arrays.
        params: other arguments.
        shape: of the result.
        dtype: of the result.
        result: which of several results.

    Raises:
        ShapeError: if a size is known at launch only.
    """
    if any(is_symbolic(n) for each in (shape, *[s.shape for s in src]) for n in each):
        raise ShapeError(f"{name} is a library function, which takes arrays of known sizes only")
    arg = Call(name, params, result, tuple(shape), dtype.name, tuple([s.shape for s in src]))
    return intern(forms.HOST, dtype, tuple(src), arg, tuple(shape))


def infer(src: Sequence[Node], arg: Call) -> Node:
    """Return the HOST with these sources and this attribute, checked."""
    name, params, result, shape, dtype, _ = arg
    return call(name, src, params, shape, BY_NAME[dtype], result)


def kernel_of(node: Node) -> Kernel:
    """Return a call as a kernel: memory 0 is its value, the others its sources."""
    at = const(0, index)
    sizes = [prod(node.shape), *[prod(source.shape) for source in node.src]]
    dtypes = [node.dtype, *[source.dtype for source in node.src]]
    memory = [param(i, d, (n,)) for i, (d, n) in enumerate(zip(dtypes, sizes, strict=True))]
    loads = tuple([loop.load(each, at) for each in memory[1:]])
    value = intern(forms.HOST, node.dtype, loads, node.arg, ())
    return Kernel((loop.store(memory[0], at, value),), ())


def call_in(kernel: Kernel) -> Node | None:
    """Return the HOST node of a kernel that is a call."""
    value = kernel.stores[0].src[2]
    return value if value.op is forms.HOST else None
