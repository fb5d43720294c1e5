"""Matrix instructions of processors, as data.

An instruction multiplies a tile A of m by k elements by a tile B of k by n, in the precision of its
accumulator, and adds the product C. Each tile is spread over the registers of its lanes; a `Layout`
says which element of the tile is where. B of `vpdpbusd`, 4 by 16 bytes:

                 lane 0   lane 1   ...  lane 15
    register 0   B[0,0]   B[0,1]        B[0,15]        the 4 bytes of a lane lie
    register 3   B[3,0]   B[3,1]        B[3,15]        side by side in one word

Every element is somewhere, and may be in several places: A of `vpdpbusd` is one row, the same in
all lanes. A row of the table says nothing about how a target writes it, or whether it has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from inkle.ir.dtype import DType, bfloat16, float16, float32, int8, int32, uint8

Digit = tuple[int, int, int]  # size, and what one step adds to the row and to the column


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the elements of a tile are: affine in the digits of the lane and of the register.

    Attributes:
        lane: digits of the number of the lane, the fastest first.
        register: digits of the number of the element within its lane, the fastest first.
    """

    lane: tuple[Digit, ...]
    register: tuple[Digit, ...] = ()

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return prod(size for size, _, _ in self.lane)

    @property
    def registers(self) -> int:
        """How many elements a lane holds."""
        return prod(size for size, _, _ in self.register)

    def place(self, lane: Any, register: Any) -> tuple[Any, Any]:
        """Return row and column of an element; of numbers, arrays or index expressions alike."""
        row = _along(self.lane, lane, 1) + _along(self.register, register, 1)
        column = _along(self.lane, lane, 2) + _along(self.register, register, 2)
        return _total(row), _total(column)


def _along(digits: tuple[Digit, ...], number: Any, axis: int) -> list[Any]:
    """Return what the digits of `number` add to a coordinate, without terms that are zero."""
    terms, below = [], 1
    for place, digit in enumerate(digits, 1):
        size, step = digit[0], digit[axis]
        if step:
            value = number // below if below > 1 else number
            value = value % size if place < len(digits) else value
            terms.append(value * step if step > 1 else value)
        below *= size
    return terms


def _total(terms: list[Any]) -> Any:
    total = terms[0] if terms else 0
    for term in terms[1:]:
        total = total + term
    return total


@dataclass(frozen=True, slots=True)
class Instruction:
    """One matrix instruction: `accumulator += A @ B`.

    Attributes:
        name: of the row, unique.
        operands: element types of A and B.
        accumulator: element type of C, and of the products.
        shape: m, n and k: A is m by k, B is k by n, C is m by n.
        a, b, c: where the elements of the tiles are.
        feature: what a processor that has it lists, in LLVM's words.
    """

    name: str
    operands: tuple[DType, DType]
    accumulator: DType
    shape: tuple[int, int, int]
    a: Layout
    b: Layout
    c: Layout
    feature: str


def _row_by_panel(
    name: str, a: DType, b: DType, accumulator: DType, lanes: int, k: int, feature: str
) -> Instruction:
    """Return an instruction of CPUs: a row of A in every lane, and a column of B in each."""
    row = Layout(((lanes, 0, 0),), ((k, 0, 1),))
    panel, sums = Layout(((lanes, 0, 1),), ((k, 1, 0),)), Layout(((lanes, 0, 1),))
    return Instruction(name, (a, b), accumulator, (1, lanes, k), row, panel, sums, feature)


_ROWS = (
    # Intel's manual, volume 2: sums wrap (vpdpbusds would saturate). It has only unsigned by signed
    # bytes; which of them is the row is a matter of the order in which the target passes them.
    _row_by_panel("vpdpbusd", uint8, int8, int32, 16, 4, "avx512vnni"),
    _row_by_panel("vpdpbusd_swapped", int8, uint8, int32, 16, 4, "avx512vnni"),
    _row_by_panel("vpdpbusd_8", uint8, int8, int32, 8, 4, "avxvnni"),  # of cores without AVX-512
    _row_by_panel("vpdpbusd_8_swapped", int8, uint8, int32, 8, 4, "avxvnni"),
    # Rounds after each product, to nearest even; takes and gives 0 for subnormal numbers.
    _row_by_panel("vdpbf16ps", bfloat16, bfloat16, float32, 16, 2, "avx512bf16"),
    # PTX manual, "Matrix Fragments for mma.m16n8k16"; no renderer writes it yet.
    Instruction(
        "mma_m16n8k16_f16", (float16, float16), float32, (16, 8, 16),
        a=Layout(((4, 0, 2), (8, 1, 0)), ((2, 0, 1), (2, 8, 0), (2, 0, 8))),
        b=Layout(((4, 2, 0), (8, 0, 1)), ((2, 1, 0), (2, 8, 0))),
        c=Layout(((4, 0, 2), (8, 1, 0)), ((2, 0, 1), (2, 8, 0))),
        feature="sm_80",
    ),
)  # fmt: skip
INSTRUCTIONS = {row.name: row for row in _ROWS}
