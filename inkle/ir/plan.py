"""What the scheduler hands to the engine: kernels in order, and the memory between them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from inkle.ir.dtype import DType
from inkle.ir.loop import Kernel


class Role(Enum):
    """Who owns a piece of memory of a plan."""

    INPUT = "input"
    OUTPUT = "output"
    TEMPORARY = "temporary"


@dataclass(frozen=True, slots=True)
class Memory:
    """One array that kernels of a plan read or write.

    Attributes:
        role: input (given by the caller), output (fresh, returned), or temporary.
        number: for inputs the PARAM slot of the graph; for outputs the position among the outputs;
            for temporaries a running number.
        dtype: element type.
        size: number of elements.
    """

    role: Role
    number: int
    dtype: DType
    size: int


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel call: PARAM slot i of the kernel is memory `memory[i]` of the plan.

    Attributes:
        kernel: what runs.
        memory: places in the plan's memory.
        lines: of the user's program.
        values: of the kernel's VARIABLEs, with their names, sorted.
    """

    kernel: Kernel
    memory: tuple[int, ...]
    lines: tuple[str, ...] = ()
    values: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole program.

    Attributes:
        memory: every array, addressed by position.
        launches: kernels in the order in which they run.
        outputs: for each output of the graph, its position in `memory` (an input where the output
            is an input unchanged, or has been written over).
        in_place: PARAM slots of the inputs that are written over.
    """

    memory: tuple[Memory, ...]
    launches: tuple[Launch, ...]
    outputs: tuple[int, ...]
    in_place: tuple[int, ...] = ()
