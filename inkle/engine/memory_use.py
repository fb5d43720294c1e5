"""What the memory of a plan is for, where most of it is in use."""

from __future__ import annotations

from dataclasses import dataclass

from inkle.config import readable
from inkle.ir.dtype import DType
from inkle.ir.plan import Plan, Role
from inkle.schedule.lives import Lives
from inkle.schedule.recompute import lines_of

WORDS = {Role.OUTPUT: "result", Role.TEMPORARY: "temporary"}


@dataclass(frozen=True, slots=True)
class Value:
    """A value that is in memory at the peak.

    Attributes:
        role: "result", or "temporary" for what is dropped before the end.
        dtype: of its elements.
        shape: as the program sees it.
        size_bytes: what it takes; less than the shape says where only some rows are kept at a time.
        line: of the program that made it; empty if that is not known.
    """

    role: str
    dtype: DType
    shape: tuple[int, ...]
    size_bytes: int
    line: str


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """The memory that a run takes besides what exists before: temporaries and results.

    Attributes:
        needed_bytes: taken by a run.
        peak_bytes: of values at the moment when there are most; no layout could need less.
        result_bytes: of the results.
        kernel: number of the kernel that runs at that moment.
        kernels: how many there are.
        lines: of the program that this kernel computes.
        values: what is in memory then, largest first.
    """

    needed_bytes: int
    peak_bytes: int
    result_bytes: int
    kernel: int
    kernels: int
    lines: tuple[str, ...]
    values: tuple[Value, ...]

    def __str__(self) -> str:
        """Return a table for people."""
        return self.table()

    def table(self, limit: int = 20) -> str:
        """Return a table of the `limit` largest values."""
        where = f" ({', '.join(self.lines)})" if self.lines else ""
        rows = [
            f"a run takes {readable(self.needed_bytes)}, of which {readable(self.result_bytes)} "
            f"are results",
            f"{readable(self.peak_bytes)} at the peak, kernel {self.kernel} of {self.kernels}"
            f"{where}:",
        ]
        rows += [
            f"{readable(each.size_bytes):>12}  {each.role:9}  {each.dtype} {each.shape}  "
            f"{each.line or '-'}"
            for each in self.values[:limit]
        ]
        rest = self.values[limit:]
        if rest:
            total = readable(sum(each.size_bytes for each in rest))
            rows.append(f"{total:>12}  {len(rest)} more")
        return "\n".join(rows)


def memory_use(plan: Plan) -> MemoryUse:
    """Return what the memory of a plan is for."""
    lives = Lives(plan)
    step = lives.peak if plan.launches else 0
    values = []
    for place in lives.at(step):
        each = plan.memory[place]
        values.append(Value(WORDS[each.role], each.dtype, each.shape, each.size_bytes, each.line))
    return MemoryUse(
        plan.needed_bytes,
        lives.peak_bytes,
        plan.output_bytes,
        step,
        len(plan.launches),
        lines_of(plan, step),
        tuple(sorted(values, key=lambda value: -value.size_bytes)),
    )
