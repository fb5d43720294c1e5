"""What it takes to run a plan, in numbers and names: no nodes, no addresses.

A recipe is made from a plan and its compiled kernels, and is all that a run needs of them. Memory
becomes slots of the table of a native graph: first that of the plan, then the integers that kernels
get, then what loops over time see of memory, which moves from step to step. So it can be written
down, and be run by another process (`inkle.engine.recipe_cache`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from types import MappingProxyType

from inkle.engine.pipeline import Compiled, current_target, current_threads, machine_of
from inkle.ir.plan import AnyLaunch, Blocks, Memory, Plan, Repeat, Role, kernel_calls
from inkle.ir.plan import Launch as Call
from inkle.ir.size import is_symbolic, most
from inkle.kernel.choose import chunk_weight
from inkle.runtime import device
from inkle.runtime.cpu.pool import MAX_THREADS

NOTHING: Mapping[str, int] = MappingProxyType({})
ARENA = -1  # in place of a position in `fresh`


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to run a plan.

    Attributes:
        kernels: (key, name) of each, as the device finds it.
        launches: what the native graph runs; a launch's `function` is the number of its kernel.
        chunks: number of a launch, and how many chunks it has, where only a size can say it.
        slots: length of the table.
        constants: slot of every integer that kernels get, and its value.
        inputs: slot and number of each input.
        fresh: slot and bytes of each output that has memory of its own.
        inside: of each temporary the slot, the position in `fresh` of the output in which it lies,
            or `ARENA`, and the offset of its first byte there.
        arena_bytes: of the memory that is for temporaries alone.
        outputs: slot of each output.
        in_place: numbers of the inputs that are written over.
    """

    kernels: tuple[tuple[str, str], ...]
    launches: tuple[device.AnyLaunch, ...]
    chunks: tuple[tuple[int, int], ...]
    slots: int
    constants: tuple[tuple[int, int], ...]
    inputs: tuple[tuple[int, int], ...]
    fresh: tuple[tuple[int, int], ...]
    inside: tuple[tuple[int, int, int], ...]
    arena_bytes: int
    outputs: tuple[int, ...]
    in_place: tuple[int, ...]


def recipe_of(plan: Plan, compiled: Sequence[Compiled]) -> Recipe:
    """Return how to run a plan.

    Args:
        plan: what runs.
        compiled: its kernels, in the order in which they first run.
    """
    slots = _Slots(plan, compiled)
    memory = [*enumerate(plan.memory)]
    fresh = [
        (slot, (each.size if each.exact is None else each.exact) * each.dtype.itemsize)
        for slot, each in memory
        if each.role is Role.OUTPUT
    ]
    hosts: dict[int | None, int] = {slot: position for position, (slot, _) in enumerate(fresh)}
    hosts[None] = ARENA
    spots = [(slot, each.spot) for slot, each in memory if each.spot]
    return Recipe(
        kernels=tuple(slots.kernels),
        launches=slots.launches,
        chunks=tuple([(i, k.chunks) for i, k in enumerate(compiled) if is_symbolic(k.chunks)]),
        slots=slots.count,
        constants=tuple([(slot, value) for value, slot in slots.constants.items()]),
        inputs=tuple([(slot, m.number) for slot, m in memory if m.role is Role.INPUT]),
        fresh=tuple(fresh),
        inside=tuple([(slot, hosts[spot.host], spot.offset) for slot, spot in spots]),
        arena_bytes=plan.arena_bytes,
        outputs=plan.outputs,
        in_place=plan.in_place,
    )


class _Slots:
    """Gives the launches of a plan their slots.

    Attributes:
        kernels: (key, name) -> number of each.
        constants: slot of every integer that kernels get.
        launches: see `Recipe`.
        count: length of the table.
    """

    def __init__(self, plan: Plan, compiled: Sequence[Compiled]) -> None:
        calls = [call for call, _ in kernel_calls(plan.launches)]
        values = dict.fromkeys([value for call in calls for _, value in call.values])
        self.kernels: dict[tuple[str, str], int] = {}
        self.count = len(plan.memory)
        self.constants = {value: self._next() for value in values}
        self._compiled = iter(compiled)
        slots = range(len(plan.memory))
        self.launches = tuple(self._launches(plan.launches, slots, plan.memory))

    def _next(self) -> int:
        self.count += 1
        return self.count - 1

    def _launches(
        self, launches: Sequence[AnyLaunch], slots: Sequence[int], memory: Sequence[Memory]
    ) -> Iterator[device.AnyLaunch]:
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
        number = self.kernels.setdefault((kernel.key, kernel.name), len(self.kernels))
        used = [slots[place] for place in call.memory]
        used += [own.get(name, self.constants[value]) for name, value in call.values]
        weight = _weight(kernel) if is_weighed else 1.0
        return device.Launch(number, tuple(used), most(kernel.chunks), call.joins, weight)

    def _blocks(
        self, blocks: Blocks, slots: Sequence[int], memory: Sequence[Memory]
    ) -> device.Blocks:
        values = {name: self._next() for name in blocks.names}
        ends = [*accumulate(map(len, blocks.variants), initial=0)]
        launches = tuple([self._launch(call, slots, values) for call in blocks.launches])
        units = tuple(
            [
                tuple([device.Run(ends[run[0]], ends[run[0] + 1], run[1:]) for run in unit])
                for unit in blocks.units
            ]
        )
        rooms = tuple([(slots[each], memory[each].copy_bytes) for each in sorted(blocks.rooms)])
        copies = min([memory[place].copies for place in blocks.rooms], default=MAX_THREADS)
        return device.Blocks(launches, units, tuple(values.values()), rooms, copies)

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
        launches = tuple(self._launches(loop.launches, inner, own))
        return device.Repeat(loop.steps, tuple(moves), launches)


@cache
def _weight(compiled: Compiled) -> float:
    """Return how much work a chunk is, as a part of what is worth giving to a worker."""
    return chunk_weight(compiled.kernel, machine_of(current_target(), current_threads()))
