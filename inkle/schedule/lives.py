"""When the memory of a plan is in use, and how much that is at a time."""

from __future__ import annotations

from itertools import accumulate

from inkle.ir.plan import Plan, Role

FROM_BYTES = 1 << 20  # plans that need less at a time are left as they are


class Lives:
    """From the first to the last use of each memory of a plan; outputs live to the end.

    Inputs belong to the caller, and do not count.

    Attributes:
        first: for each position in the plan's memory, the number of the first launch that uses it.
        last: of the last launch that does; of an output, the number of launches.
        live_bytes: at each launch, what is in use.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.first: dict[int, int] = {}
        self.last: dict[int, int] = {}
        for step, launch in enumerate(plan.launches):
            for place in launch.memory:
                self.first.setdefault(place, step)
                self.last[place] = step
        change = [0] * (len(plan.launches) + 2)
        for place, step in self.first.items():
            memory = plan.memory[place]
            if memory.role is Role.OUTPUT:
                self.last[place] = len(plan.launches)
            if memory.role is not Role.INPUT:
                change[step] += memory.size_bytes
                change[self.last[place] + 1] -= memory.size_bytes
        self.live_bytes = [*accumulate(change)][: len(plan.launches)]

    @property
    def peak_bytes(self) -> int:
        """The most that is in use at a time: no layout of memory needs less."""
        return max(self.live_bytes, default=0)

    @property
    def peak(self) -> int:
        """The first launch at which it is."""
        return self.live_bytes.index(self.peak_bytes)

    def at(self, step: int) -> list[int]:
        """Return the positions of what lives at a launch, but for inputs."""
        return [
            place
            for place, first in self.first.items()
            if first <= step <= self.last[place] and self._plan.memory[place].role is not Role.INPUT
        ]
