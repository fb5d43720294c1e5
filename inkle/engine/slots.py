"""From the launches of a plan to those of a native graph: memory becomes slots of its table.

The memory of the plan comes first, then the integers that kernels get, then what loops over time
see of memory, which moves from step to step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate
from types import MappingProxyType

from inkle.engine.pipeline import Compiled, current_target, current_threads, machine_of
from inkle.ir.plan import AnyLaunch, Blocks, Memory, Plan, Repeat, kernel_calls
from inkle.ir.plan import Launch as Call
from inkle.ir.size import most
from inkle.kernel.choose import chunk_weight
from inkle.runtime import device
from inkle.runtime.cpu.pool import MAX_THREADS

NOTHING: Mapping[str, int] = MappingProxyType({})


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
        self.launches = [*self._launches(plan.launches, range(len(plan.memory)), plan.memory)]

    def _next(self) -> int:
        self.count += 1
        return self.count - 1

    def _launches(
        self, launches: Sequence[AnyLaunch], slots: Sequence[int], memory: Sequence[Memory]
    ) -> Iterator[device.Launch | device.Repeat | device.Blocks]:
        """Yield launches, given the slot and the memory of each place that they see."""
        joining = [isinstance(each, Call) and each.joins for each in launches] + [False]
        for i, each in enumerate(launches):
            if isinstance(each, Repeat):
                yield self._repeat(each, slots, memory)
            elif isinstance(each, Blocks):
                yield self._blocks(each, slots, memory)
            else:
                is_weighed = joining[i] or joining[i + 1]
                yield self._launch(each, slots, is_weighed=is_weighed)

    def _launch(
        self,
        call: Call,
        slots: Sequence[int],
        own: Mapping[str, int] = NOTHING,
        *,
        is_weighed: bool = False,
    ) -> device.Launch:
        """Return a launch; `own` are the slots of VARIABLEs that have values of their own."""
        kernel = next(self._compiled)
        used = [slots[place] for place in call.memory]
        used += [own.get(name, self.constants[value]) for name, value in call.values]
        weight = _weight(kernel) if is_weighed else 1.0
        return device.Launch(kernel.function, tuple(used), most(kernel.chunks), call.joins, weight)

    def _blocks(
        self, blocks: Blocks, slots: Sequence[int], memory: Sequence[Memory]
    ) -> device.Blocks:
        values = {name: self._next() for name in blocks.names}
        ends = [*accumulate(map(len, blocks.variants), initial=0)]
        launches = [self._launch(call, slots, values) for call in blocks.launches]
        units = [
            [device.Run(ends[run[0]], ends[run[0] + 1], run[1:]) for run in unit]
            for unit in blocks.units
        ]
        rooms = {slots[place]: memory[place].copy_bytes for place in sorted(blocks.rooms)}
        copies = min([memory[place].copies for place in blocks.rooms], default=MAX_THREADS)
        return device.Blocks(launches, units, [*values.values()], rooms, copies)

    def _repeat(
        self, loop: Repeat, slots: Sequence[int], memory: Sequence[Memory]
    ) -> device.Repeat:
        inner: list[int] = []
        moves: list[device.Move] = []
        own = [memory[place.memory] for place in loop.places]
        for place, seen in zip(loop.places, own, strict=True):
            source = slots[place.memory]
            inner.append(self._next() if place.width else source)
            if place.width:
                width = place.width * seen.dtype.itemsize
                way = place.start, place.step, place.rows
                moves.append(device.Move(source, inner[-1], width, *way))
        return device.Repeat(loop.steps, moves, [*self._launches(loop.launches, inner, own)])


@cache
def _weight(compiled: Compiled) -> float:
    """Return how much work a chunk is, as a part of what is worth giving to a worker."""
    return chunk_weight(compiled.kernel, machine_of(current_target(), current_threads()))
