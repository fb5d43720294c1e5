"""A plan made ready to run: kernels compiled, memory laid out, one native call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inkle.engine.pipeline import Compiled, compile_kernel
from inkle.engine.storage import allocate
from inkle.ir.dtype import uint8
from inkle.ir.plan import Plan, Role
from inkle.runtime.cpu.graph import Graph
from inkle.runtime.device import Buffer, Launch
from inkle.runtime.locks import ProcessLock

ALIGN = 64  # bytes: temporaries start at cache lines


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel of an executable, for profiles and explanations."""

    compiled: Compiled
    memory: tuple[int, ...]
    lines: tuple[str, ...]


class Executable:
    """Runs a plan: input buffers in, output buffers out.

    Memory of the plan is the slot table of one native graph. Temporaries share one arena, taken
    from the caching allocator for each run, so that a cached executable holds no memory while idle.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._lock = ProcessLock()
        self.steps = tuple(
            Step(compile_kernel(launch.kernel), launch.memory, launch.lines)
            for launch in plan.launches
        )
        self._graph = Graph(
            [Launch(s.compiled.function, s.memory, s.compiled.chunks) for s in self.steps],
            slots=len(plan.memory),
        )
        self._inputs = [(i, m.number) for i, m in enumerate(plan.memory) if m.role is Role.INPUT]
        self._fresh = [(i, m) for i, m in enumerate(plan.memory) if m.role is Role.OUTPUT]
        self._offsets: list[tuple[int, int]] = []
        self.arena_bytes = 0
        for i, memory in enumerate(plan.memory):
            if memory.role is Role.TEMPORARY:
                self._offsets.append((i, self.arena_bytes))
                size = memory.size * memory.dtype.itemsize
                self.arena_bytes += -(-size // ALIGN) * ALIGN

    def run(self, inputs: Sequence[Buffer]) -> list[Buffer]:
        """Run all kernels; return the buffers of the outputs, fresh or, where unchanged, inputs."""
        with self._lock:  # the slot table belongs to one thread at a time
            buffers, arena = self._bind(inputs)
            self._graph.run()
            del arena
        return buffers

    def run_timed(self, inputs: Sequence[Buffer]) -> tuple[list[Buffer], list[float]]:
        """Like `run`; also returns the seconds of every step."""
        with self._lock:
            buffers, arena = self._bind(inputs)
            seconds = self._graph.run_timed()
            del arena
        return buffers, seconds

    def _bind(self, inputs: Sequence[Buffer]) -> tuple[list[Buffer], Buffer | None]:
        table = self._graph.slot_table
        bound: dict[int, Buffer] = {}
        for place, number in self._inputs:
            bound[place] = inputs[number]
        for place, memory in self._fresh:
            bound[place] = allocate(memory.dtype, memory.size)
        for place, buffer in bound.items():
            table[place] = buffer.address
        arena = allocate(uint8, self.arena_bytes) if self.arena_bytes else None
        if arena is not None:
            for place, offset in self._offsets:
                table[place] = arena.address + offset
        return [bound[place] for place in self.plan.outputs], arena
