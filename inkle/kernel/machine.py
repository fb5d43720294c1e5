"""Facts about the processor that the choice of a schedule reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """What a schedule may count on.

    Attributes:
        vector_bytes: width of a vector register: 64 AVX-512, 32 AVX2, 16 NEON and SSE.
        registers: number of vector registers.
        threads: workers that share the chunks of a kernel.
        stage_bytes: size a staged tile may have; about a quarter of the second-level cache.
        masks: whether masked loads and stores are cheap.
        fused: whether there is a fused multiply-add; else sums of products use two instructions.
        instructions: matrix instructions, rows of `inkle.ir.dot`, that beat multiply-adds.
    """

    vector_bytes: int = 64
    registers: int = 32
    threads: int = 1
    stage_bytes: int = 512 * 1024
    masks: bool = True
    fused: bool = True
    instructions: frozenset[str] = frozenset()

    def lanes(self, itemsize: int) -> int:
        """Return the elements of `itemsize` bytes in one register."""
        return max(1, self.vector_bytes // max(1, itemsize))
