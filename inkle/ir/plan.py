"""What the scheduler hands to the engine: kernels in order, and the memory between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from inkle.ir.dtype import DType
from inkle.ir.loop import Kernel

ALIGN = 64  # bytes of a cache line: two of anything that threads write do not share one


class Role(Enum):
    """Who owns a piece of memory of a plan."""

    INPUT = "input"
    OUTPUT = "output"
    TEMPORARY = "temporary"


class Spot(NamedTuple):
    """Where a temporary lies.

    Attributes:
        host: position in the plan's memory of an output that is written after the last use of the
            temporary, and has room for it until then; None: the arena, which is for temporaries.
        offset: of its first byte there.
    """

    host: int | None
    offset: int


@dataclass(frozen=True, slots=True)
class Memory:
    """One array that kernels of a plan read or write.

    Attributes:
        role: input (given by the caller), output (fresh, returned), or temporary.
        number: for inputs the PARAM slot of the graph; for outputs the position among the outputs;
            for temporaries a running number.
        dtype: element type.
        size: number of elements.
        spot: of a temporary, once that is planned; others may lie there before and after.
        shape: of the value in it, for people; a block of its rows may be all that is there.
        line: of the user's program that made the value, if that is known.
        exact: number of elements where that is known at launch only; `size` is the largest then.
        copies: how many there are, one for each worker that may run a unit of `Blocks`; they lie
            `copy_bytes` apart.
    """

    role: Role
    number: int
    dtype: DType
    size: int
    spot: Spot | None = None
    shape: tuple[int, ...] = ()
    line: str = ""
    exact: int | None = None
    copies: int = 1

    @property
    def copy_bytes(self) -> int:
        """How much memory one copy takes; of several, whole cache lines."""
        size = self.size * self.dtype.itemsize
        return size if self.copies == 1 else -(-size // ALIGN) * ALIGN

    @property
    def size_bytes(self) -> int:
        """How much memory it takes."""
        return self.copy_bytes * self.copies


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel call: PARAM slot i of the kernel is memory `memory[i]` of the plan.

    Attributes:
        kernel: what runs.
        memory: places in the plan's memory.
        lines: of the user's program.
        values: of the kernel's VARIABLEs, with their names, sorted.
        joins: whether it runs side by side with the launch before it.
        why: for each array that it writes, by slot, what that is and why it is stored, for people.
        is_serial: whether one thread runs all of it.
    """

    kernel: Kernel
    memory: tuple[int, ...]
    lines: tuple[str, ...] = ()
    values: tuple[tuple[str, int], ...] = ()
    joins: bool = False
    why: tuple[str, ...] = ()
    is_serial: bool = False

    @property
    def written(self) -> frozenset[int]:
        """Places in the plan's memory that it writes."""
        return frozenset([self.memory[store.src[0].arg[0]] for store in self.kernel.stores])

    def at(self, memory: Sequence[int] | Mapping[int, int]) -> Launch:
        """Return the same where place m of the memory around has become `memory[m]`."""
        return replace(self, memory=tuple([memory[place] for place in self.memory]))


@dataclass(frozen=True, slots=True)
class Place:
    """What a repeated launch sees of some memory: at step k, from element `width` * r on.

    Row r is (start + step * k) modulo `rows`.

    Attributes:
        memory: place in the memory around: of the plan, or of the repetition around this one.
        width: elements of a row; 0: all of the memory, at every step.
        start: row at the first step.
        step: rows from one step to the next.
        rows: how many there are.
    """

    memory: int
    width: int = 0
    start: int = 0
    step: int = 0
    rows: int = 1

    def offset(self, k: int) -> int:
        """Return the first element seen at step `k`."""
        return self.width * ((self.start + self.step * k) % self.rows)


@dataclass(frozen=True, slots=True)
class Repeat:
    """A loop over time: the same launches, step after step, on rows of memory that move on.

    Attributes:
        steps: how often.
        places: what the launches see as their memory.
        launches: of one step; their `memory` counts `places`.
    """

    steps: int
    places: tuple[Place, ...]
    launches: tuple[AnyLaunch, ...]

    @property
    def memory(self) -> tuple[int, ...]:
        """Places in the memory around."""
        return tuple([place.memory for place in self.places])

    @property
    def written(self) -> frozenset[int]:
        """Places in the memory around that it writes."""
        inside = [place for launch in self.launches for place in launch.written]
        return frozenset([self.places[place].memory for place in inside])

    def at(self, memory: Sequence[int] | Mapping[int, int]) -> Repeat:
        """Return the same where place m of the memory around has become `memory[m]`."""
        moved = [replace(place, memory=memory[place.memory]) for place in self.places]
        return replace(self, places=tuple(moved))


Run = tuple[int, ...]  # of Blocks: the number of a variant, and the values of all names


@dataclass(frozen=True, slots=True)
class Blocks:
    """One launch for the machine that consists of many small ones: blocks of rows of a chain.

    A unit is what one worker does: runs of one of the variants, one after the other. Units do not
    need each other, and are done in any order.

    Attributes:
        variants: chains of launches, each run in order by one thread.
        names: of the VARIABLEs that tell runs apart, sorted.
        units: for each its runs.
        rooms: places in the plan's memory of which every worker uses its own copy.
    """

    variants: tuple[tuple[Launch, ...], ...]
    names: tuple[str, ...]
    units: tuple[tuple[Run, ...], ...]
    rooms: frozenset[int]

    @property
    def launches(self) -> tuple[Launch, ...]:
        """Those of all variants."""
        return tuple([launch for chain in self.variants for launch in chain])

    @property
    def memory(self) -> tuple[int, ...]:
        """Places in the plan's memory."""
        return tuple(dict.fromkeys([place for each in self.launches for place in each.memory]))

    @property
    def written(self) -> frozenset[int]:
        """Places in the plan's memory that it writes."""
        return frozenset([place for each in self.launches for place in each.written])

    def at(self, memory: Sequence[int] | Mapping[int, int]) -> Blocks:
        """Return the same where place m of the memory around has become `memory[m]`."""
        variants = [tuple([each.at(memory) for each in chain]) for chain in self.variants]
        rooms = frozenset([memory[place] for place in self.rooms])
        return replace(self, variants=tuple(variants), rooms=rooms)

    def values(self, run: Run) -> dict[str, int]:
        """Return the values of the VARIABLEs in a run."""
        return dict(zip(self.names, run[1:], strict=True))


AnyLaunch = Launch | Repeat | Blocks


def kernel_calls(launches: Iterable[AnyLaunch], times: int = 1) -> Iterator[tuple[Launch, int]]:
    """Yield every launch of a kernel and how often it runs, those of loops and blocks once each."""
    for each in launches:
        if isinstance(each, Repeat):
            yield from kernel_calls(each.launches, times * each.steps)
        elif isinstance(each, Blocks):
            often = Counter([number for unit in each.units for number, *_ in unit])
            for number, chain in enumerate(each.variants):
                yield from kernel_calls(chain, times * often[number])
        else:
            yield each, times


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole program.

    Attributes:
        memory: every array, addressed by position.
        launches: kernels, and loops over time, in the order in which they run.
        outputs: for each output of the graph, its position in `memory` (an input where the output
            is an input unchanged, or has been written over).
        in_place: PARAM slots of the inputs that are written over.
    """

    memory: tuple[Memory, ...]
    launches: tuple[AnyLaunch, ...]
    outputs: tuple[int, ...]
    in_place: tuple[int, ...] = ()

    def groups(self) -> list[list[AnyLaunch]]:
        """Return the launches, those that run side by side together."""
        found: list[list[AnyLaunch]] = []
        for each in self.launches:
            if isinstance(each, Launch) and each.joins and found:
                found[-1].append(each)
            else:
                found.append([each])
        return found

    @property
    def needed_bytes(self) -> int:
        """Memory that a run takes: the arena and the outputs."""
        return self.arena_bytes + self.output_bytes

    @property
    def output_bytes(self) -> int:
        """Size of all outputs that are no inputs."""
        return sum(m.size_bytes for m in self.memory if m.role is Role.OUTPUT)

    @property
    def arena_bytes(self) -> int:
        """Size of the arena."""
        inside = [m for m in self.memory if m.spot is not None and m.spot.host is None]
        return max([m.spot.offset + m.size_bytes for m in inside if m.spot], default=0)
