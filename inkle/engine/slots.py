"""From the launches of a plan to those of a native graph: memory becomes slots of its table.

The memory of the plan comes first, then the integers that kernels get, then what loops over time
see of memory, which moves from step to step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from inkle.engine.pipeline import Compiled, current_target, current_threads, machine_of
from inkle.ir.dtype import DType
from inkle.ir.plan import Launch as Call
from inkle.ir.plan import Plan, Repeat, kernel_calls
from inkle.ir.size import most
from inkle.kernel.choose import chunk_weight
from inkle.runtime import device


class Slots:
    """Gives the launches of a plan their slots.

    Attributes:
        constants: slot of every integer that kernels get.
        launches: what the native graph runs.
        count: length of the table.

    Args:
        plan: what runs.
        compiled: its kernels, in the order in which they first run.
    """

    def __init__(self, plan: Plan, compiled: Iterable[Compiled]) -> None:
        calls = [call for call, _ in kernel_calls(plan.launches)]
        values = dict.fromkeys([value for call in calls for _, value in call.values])
        self.count = len(plan.memory)
        self.constants = {value: self._next() for value in values}
        self._compiled = iter(compiled)
        dtypes = [memory.dtype for memory in plan.memory]
        self.launches = [*self._launches(plan.launches, range(len(dtypes)), dtypes)]

    def _next(self) -> int:
        self.count += 1
        return self.count - 1

    def _launches(
        self, launches: Sequence[Call | Repeat], slots: Sequence[int], dtypes: Sequence[DType]
    ) -> Iterator[device.Launch | device.Repeat]:
        """Yield launches, given the slot and the dtype of each place that they see."""
        joining = [isinstance(each, Call) and each.joins for each in launches] + [False]
        for i, each in enumerate(launches):
            if isinstance(each, Repeat):
                yield self._repeat(each, slots, dtypes)
                continue
            kernel = next(self._compiled)
            integers = [self.constants[value] for _, value in each.values]
            memory = [slots[place] for place in each.memory]
            weight = _weight(kernel) if joining[i] or joining[i + 1] else 1.0
            slots_used = (*memory, *integers)
            chunks = most(kernel.chunks)
            yield device.Launch(kernel.function, slots_used, chunks, each.joins, weight)

    def _repeat(self, loop: Repeat, slots: Sequence[int], dtypes: Sequence[DType]) -> device.Repeat:
        inner: list[int] = []
        moves: list[device.Move] = []
        own = [dtypes[place.memory] for place in loop.places]
        for place, dtype in zip(loop.places, own, strict=True):
            source = slots[place.memory]
            inner.append(self._next() if place.width else source)
            if place.width:
                width = place.width * dtype.itemsize
                way = place.start, place.step, place.rows
                moves.append(device.Move(source, inner[-1], width, *way))
        return device.Repeat(loop.steps, moves, [*self._launches(loop.launches, inner, own)])


@cache
def _weight(compiled: Compiled) -> float:
    """Return how much work a chunk is, as a part of what is worth giving to a worker."""
    return chunk_weight(compiled.kernel, machine_of(current_target(), current_threads()))
