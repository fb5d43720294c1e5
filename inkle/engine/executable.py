"""A recipe made ready to run: kernels in memory, one native call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from sys import getrefcount
from types import MappingProxyType
from typing import Any

from inkle.engine.library import raise_failure
from inkle.engine.pipeline import Compiled
from inkle.engine.recipe import Recipe
from inkle.ir.plan import Plan
from inkle.ir.size import Size
from inkle.runtime.cpu.graph import Call, Graph
from inkle.runtime.device import AnyLaunch, Buffer, Launch, open_device
from inkle.runtime.locks import Locked

NOTHING: Mapping[str, int] = MappingProxyType({})
KEPT_BYTES = 256 << 10  # most memory that an executable keeps: to get it anew takes 2 to 5 us a run


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


class Executable(Locked):
    """Runs a recipe: input buffers in, output buffers out. Who runs it holds `lock` meanwhile.

    Memory of the plan is the slot table of one native graph. Temporaries lie in outputs that are
    written later, and in one arena, taken from the caching allocator for each run, so that a cached
    executable holds no memory while idle; only one that will run often keeps a little, see `keep`.

    Attributes:
        in_place: numbers of the inputs that are written over.

    Args:
        recipe: what runs.
        functions: native handles of its kernels.
        plan: says what the recipe was made from, to whoever wants to know.
        steps: says what the launches of the plan are.
    """

    def __init__(
        self,
        recipe: Recipe,
        functions: Sequence[int],
        plan: Callable[[], Plan],
        steps: Callable[[Plan], tuple[Step, ...]],
    ) -> None:
        super().__init__()
        self._plan, self._steps = plan, steps
        self.in_place = recipe.in_place
        self._device = open_device("CPU")
        self._graph = Graph(_bound(recipe.launches, functions), slots=recipe.slots)
        self._variables: list[tuple[int, Size]] = []
        for slot, value in recipe.constants:
            if isinstance(value, Size):
                self._variables.append((slot, value))
            else:
                self._graph.bind(slot, value)
        self._chunks = [(launch, n) for launch, n in recipe.chunks if isinstance(n, Size)]
        self._numbers = [number for _, number in recipe.inputs]
        self._places = [place for place, _ in (*recipe.inputs, *recipe.fresh)]
        self._sizes: list[int] = [size for _, size in recipe.fresh]
        self._symbolic = [(i, n) for i, n in enumerate(self._sizes) if isinstance(n, Size)]
        self._is_symbolic = bool(self._symbolic or self._variables)
        self._now: Mapping[str, int] = {}
        numbers = dict(recipe.inputs)
        outputs = [(numbers.get(place, -1), place) for place in recipe.outputs]
        counts = Counter(place for _, place in outputs)
        self.alone = frozenset(
            i for i, (k, place) in enumerate(outputs) if k < 0 and counts[place] == 1
        )
        positions = {place: k for k, (place, _) in enumerate(recipe.fresh)}
        self._picks = [(i, positions.get(place, -1)) for i, place in outputs]
        self.arena_bytes = recipe.arena_bytes
        if self.arena_bytes:
            self._sizes.append(self.arena_bytes)
        inside: dict[int, list[tuple[int, int]]] = {}
        for place, host, offset in recipe.inside:
            inside.setdefault(host, []).append((place, offset))  # the arena comes last: at -1
        self._inside = [*inside.items()] if self._sizes else []
        self._addresses: list[int] = []  # of the last run: inputs, outputs, arena
        self._arena: Sequence[Buffer] = ()
        self._keeps = False
        self._results: frozenset[int] = frozenset()
        self._former: list[Sequence[Buffer]] = []  # memory of results of the last two runs
        self._reused: tuple[int, ...] = ()  # outputs in the last run
        self._missing = self._order = [*range(len(self._sizes))]

    @cached_property
    def plan(self) -> Plan:
        """What runs."""
        return self._plan()

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The kernels, in the order in which they first run."""
        return self._steps(self.plan)

    def bind(
        self,
        inputs: Sequence[Buffer],
        reused: tuple[int, ...] = (),
        memory: Sequence[Buffer] = (),
        sizes: Mapping[str, int] = NOTHING,
    ) -> list[Buffer]:
        """Get ready to run on these inputs; return what will be the outputs.

        Args:
            inputs: one buffer per PARAM slot.
            reused: numbers of outputs that get no fresh memory, but `memory`.
            memory: for them.
            sizes: value of each variable.
        """
        if self._is_symbolic and sizes != self._now:
            self._resize(sizes)
        memory = self._allocate(reused, memory)
        addresses = [inputs[number].address for number in self._numbers]
        addresses += [buffer.address for buffer in memory]
        if addresses != self._addresses:  # mostly the same as in the last run
            self._write(addresses)
        return [memory[k] if i < 0 else inputs[i] for i, k in self._picks]

    def _write(self, addresses: list[int]) -> None:
        """Tell the graph where inputs, outputs and the arena are."""
        table = self._graph.slot_table
        for place, address in zip(self._places, addresses, strict=False):
            table[place] = address
        memory = addresses[len(self._numbers) :]
        for k, temporaries in self._inside:
            for place, offset in temporaries:
                table[place] = memory[k] + offset
        self._addresses = addresses

    def _resize(self, sizes: Mapping[str, int]) -> None:
        """Take other values of the variables from now on."""
        for slot, size in self._variables:
            self._graph.slot_table[slot] = size.at(sizes)
        for launch, chunks in self._chunks:
            self._graph.set_chunks(launch, chunks.at(sizes))
        for i, size in self._symbolic:
            self._sizes[i] = size.at(sizes)
        self._former = []
        self._now = dict(sizes)

    def _allocate(self, reused: tuple[int, ...], memory: Sequence[Buffer]) -> Sequence[Buffer]:
        """Return memory of all sizes, of which some is there already."""
        if reused != self._reused:
            self._reused = reused
            known = [self._picks[number][1] for number in reused]
            self._missing = [k for k in range(len(self._sizes)) if k not in known]
            order = [*known, *self._missing]
            self._order = [order.index(k) for k in range(len(order))]
            self._former = []
        for outputs in self._former:
            if max(map(getrefcount, outputs), default=0) <= _ALONE:
                break  # nobody looks at these results any more
        else:
            outputs = self._fresh()
        if self.arena_bytes and not self._arena:
            self._arena = self._device.allocate_all([self.arena_bytes])
        if not reused:
            return [*outputs, *self._arena]
        pool = [*memory, *outputs, *self._arena]
        return [pool[k] for k in self._order]

    def _fresh(self) -> Sequence[Buffer]:
        """Return new memory for the outputs that are missing.

        Results of a run are mostly held while the next one runs: those of two are kept.
        """
        wanted = self._missing[: len(self._missing) - (self.arena_bytes > 0)]
        sizes = [self._sizes[k] for k in wanted]
        outputs = self._device.allocate_all(sizes)
        if self._results.issuperset(wanted) and sum(sizes) <= KEPT_BYTES:
            self._former = [*self._former[-1:], outputs]
        return outputs

    def keep(self, results: Iterable[int]) -> None:
        """Say that this will run often: small memory stays here between runs.

        Args:
            results: outputs whose memory may; nobody wants to write over others, given to `bind`.
        """
        places = frozenset([self._picks[i][1] for i in results if i in self.alone])
        self._results = self._results & places if self._keeps else places
        self._keeps = True

    def launch(self, then: Iterable[Call] = ()) -> None:
        """Run what is bound, then make the calls `then`; Ctrl-C comes before or after all that."""
        self._graph.run(then)
        self._let_go()
        raise_failure()

    def launch_timed(self, then: Iterable[Call] = ()) -> list[float]:
        """Like `launch`; returns the seconds of every step."""
        seconds = self._graph.run_timed(then)
        self._let_go()
        raise_failure()
        return seconds

    def _let_go(self) -> None:
        """Give the arena back, unless it is kept."""
        if not (self._keeps and self.arena_bytes <= KEPT_BYTES):
            self._arena = ()


def _bound(launches: Sequence[AnyLaunch], functions: Sequence[int]) -> list[Any]:
    """Return launches of kernels for those of numbers of kernels; classes stay what they are."""
    return [
        replace(each, function=functions[each.function])
        if isinstance(each, Launch)
        else replace(each, launches=_bound(each.launches, functions))
        for each in launches
    ]


def _count_alone() -> int:
    """Return what `getrefcount` gives in `_allocate` for memory that nobody else has."""
    outputs = [object()]
    return max(map(getrefcount, outputs))


_ALONE = _count_alone()
