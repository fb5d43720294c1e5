"""The program form: straight-line values in registers, nested loops, typed vectors.

Unlike the other forms it is not hash-consed: here position matters. A `Value` is computed once,
where it stands; a `Loop` carries values from one iteration to the next, and after the loop a
carried value stands for its final state. Renderers translate value by value.

Codes of a value that is not an elementwise operation of `inkle.ir.ops`:

    const      the literal `arg` in every lane
    param      memory behind kernel argument `arg`
    variable   integer kernel argument: arg is (name, slot)
    local      fast memory: arg is (number, elements)
    chunk      number of the chunk of GRID points that this call works on
    counter    the index of a loop
    carry      state of a loop: the value of this iteration; after the loop the final one
    splat      a scalar in every lane
    iota       lane number times `arg`
    load       src (memory, index[, mask]), arg = distance between lanes in elements; a vector of
               indices means arbitrary places (arg None); 0 where the mask is false; of a dtype
               wider than that of the memory: a lane is a word of elements side by side
    store      src (memory, index, value[, mask]); arg like load
    shuffle    lanes of src (a, b) in the order of `arg`: i is lane i of a, lanes + i that of b
    unordered  whether either of two floats is a NaN
    across     all lanes combined with the operation `arg`, a scalar
    dot        src (sums, a, b): sums + a @ b by the instruction `arg` of `inkle.ir.dot`; a lane
               of a and b is a word of elements
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from inkle.ir.dtype import DType
from inkle.ir.op import Op


@dataclass(eq=False, slots=True)
class Value:
    """One register: a scalar (`lanes` 1) or a vector."""

    code: str | Op
    dtype: DType
    lanes: int
    src: tuple[Value, ...] = ()
    arg: Any = None


@dataclass(eq=False, slots=True)
class Loop:
    """Runs `body` for counter = 0 .. extent - 1; `extent` is at least 1 unless `may_be_empty`."""

    counter: Value
    extent: Value
    carries: list[Value] = field(default_factory=list)
    initial: list[Value] = field(default_factory=list)
    following: list[Value] = field(default_factory=list)
    body: list[Value | Loop] = field(default_factory=list)
    may_be_empty: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a program."""

    slot: int
    dtype: DType
    written: bool


@dataclass(frozen=True, slots=True)
class Program:
    """Code of one kernel: `chunks` independent calls, each with its own value of `chunk`.

    Attributes:
        parameters: memory.
        chunks: independent calls.
        body: the code.
        locals: fast memory.
        scalars: argument slots of integers, behind those of memory.
    """

    parameters: tuple[Parameter, ...]
    chunks: int
    body: list[Value | Loop]
    locals: tuple[Value, ...]
    scalars: tuple[int, ...] = ()
