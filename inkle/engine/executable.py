"""A plan made ready to run: kernels compiled, memory laid out, one native call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from inkle.engine.pipeline import Compiled, compile_kernel, current_threads
from inkle.engine.slots import Slots
from inkle.ir.plan import Launch, Plan, Role, kernel_calls
from inkle.ir.size import Size
from inkle.runtime.cpu.graph import Call, Graph
from inkle.runtime.device import Buffer, open_device
from inkle.runtime.locks import Locked

NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel of an executable, for profiles and explanations.

    Attributes:
        compiled: the kernel.
        lines: of the user's program.
        times: how often it runs; more than once in a loop over time.
        why: of the launch, see there.
    """

    compiled: Compiled
    lines: tuple[str, ...]
    times: int = 1
    why: tuple[str, ...] = ()


def _compiled(launch: Launch) -> Compiled:
    return compile_kernel(launch.kernel, 1 if launch.is_serial else current_threads())


class Executable(Locked):
    """Runs a plan: input buffers in, output buffers out. Who runs it holds `lock` meanwhile.

    Memory of the plan is the slot table of one native graph. Temporaries lie in outputs that are
    written later, and in one arena, taken from the caching allocator for each run, so that a cached
    executable holds no memory while idle.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        super().__init__()
        self.steps = tuple(
            Step(_compiled(launch), launch.lines, times, launch.why)
            for launch, times in kernel_calls(plan.launches)
        )
        self._device = open_device("CPU")
        slots = Slots(plan, [step.compiled for step in self.steps])
        self._graph = Graph(slots.launches, slots=slots.count)
        self._variables: list[tuple[int, Size]] = []
        for value, slot in slots.constants.items():
            if isinstance(value, Size):
                self._variables.append((slot, value))
            else:
                self._graph.bind(slot, value)
        chunks = enumerate([step.compiled.chunks for step in self.steps])
        self._chunks = [(launch, n) for launch, n in chunks if isinstance(n, Size)]
        self._inputs = [(i, m.number) for i, m in enumerate(plan.memory) if m.role is Role.INPUT]
        fresh = [(i, m) for i, m in enumerate(plan.memory) if m.role is Role.OUTPUT]
        self._fresh = [place for place, _ in fresh]
        self._sizes: list[int] = [
            (memory.size if memory.exact is None else memory.exact) * memory.dtype.itemsize
            for _, memory in fresh
        ]
        self._symbolic = [(i, n) for i, n in enumerate(self._sizes) if isinstance(n, Size)]
        self._is_symbolic = bool(self._symbolic or self._variables)
        self._now: Mapping[str, int] = {}
        numbers = dict(self._inputs)
        self._outputs = [(numbers.get(place, -1), place) for place in plan.outputs]
        counts = Counter(place for _, place in self._outputs)
        self._alone = frozenset(
            i for i, (k, place) in enumerate(self._outputs) if k < 0 and counts[place] == 1
        )
        positions = {place: k for k, place in enumerate(self._fresh)}
        self._picks = [(i, positions.get(place, -1)) for i, place in self._outputs]
        self.arena_bytes = plan.arena_bytes
        if self.arena_bytes:
            self._sizes.append(self.arena_bytes)
        inside: dict[int, list[tuple[int, int]]] = {}
        for i, memory in enumerate(plan.memory):
            if memory.spot is not None:
                host, offset = memory.spot
                k = -1 if host is None else positions[host]
                inside.setdefault(k, []).append((i, offset))
        self._inside = [*inside.items()] if self._sizes else []
        self._addresses = dict.fromkeys(inside, 0)  # of the last run
        self._arena: Buffer | None = None

    def bind(
        self,
        inputs: Sequence[Buffer],
        reused: Mapping[int, Buffer] | None = None,
        sizes: Mapping[str, int] = NOTHING,
    ) -> list[Buffer]:
        """Get ready to run on these inputs; return what will be the outputs.

        Args:
            inputs: one buffer per PARAM slot.
            reused: memory for some outputs, by number, where fresh memory would be taken.
            sizes: value of each variable.
        """
        table = self._graph.slot_table
        if self._is_symbolic and sizes != self._now:
            self._resize(sizes)
        for place, number in self._inputs:
            table[place] = inputs[number].address
        memory = self._allocate(reused) if reused else self._device.allocate_all(self._sizes)
        for place, buffer in zip(self._fresh, memory, strict=False):
            table[place] = buffer.address
        if self.arena_bytes:
            self._arena = memory[-1]
        for k, temporaries in self._inside:
            address = memory[k].address
            if address != self._addresses[k]:  # mostly the same as in the last run
                self._addresses[k] = address
                for place, offset in temporaries:
                    table[place] = address + offset
        return [memory[k] if i < 0 else inputs[i] for i, k in self._picks]

    def _resize(self, sizes: Mapping[str, int]) -> None:
        """Take other values of the variables from now on."""
        for slot, size in self._variables:
            self._graph.slot_table[slot] = size.at(sizes)
        for launch, chunks in self._chunks:
            self._graph.set_chunks(launch, chunks.at(sizes))
        for i, size in self._symbolic:
            self._sizes[i] = size.at(sizes)
        self._now = dict(sizes)

    def _allocate(self, reused: Mapping[int, Buffer]) -> Sequence[Buffer]:
        """Return memory of all sizes, of which some is there already."""
        places = {self._outputs[number][1]: buffer for number, buffer in reused.items()}
        found = [places.get(place) for place in self._fresh]
        found += [None] * (len(self._sizes) - len(found))
        missing = [size for size, buffer in zip(self._sizes, found, strict=True) if buffer is None]
        fresh = iter(self._device.allocate_all(missing))
        return [next(fresh) if buffer is None else buffer for buffer in found]

    def is_fresh(self, number: int) -> bool:
        """Whether an output has memory of its own."""
        return number in self._alone

    def launch(self, then: Iterable[Call] = ()) -> None:
        """Run what is bound, then make the calls `then`; Ctrl-C comes before or after all that."""
        self._graph.run(then)
        self._arena = None

    def launch_timed(self, then: Iterable[Call] = ()) -> list[float]:
        """Like `launch`; returns the seconds of every step."""
        seconds = self._graph.run_timed(then)
        self._arena = None
        return seconds
