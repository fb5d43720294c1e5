"""Capture of a function: a trace, compiled into one call from inputs and state to outputs.

What the trace has seen is in its `Recorder`. Storages given as inputs may be others at each call.
Any other one is an implicit input, known by identity, never by version: the capture reads what is
in it when it runs. Nothing runs during a trace, except what does not depend on inputs.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import starmap
from types import MappingProxyType

import numpy as np

from inkle.engine import profile, storage
from inkle.engine.executable import NOTHING
from inkle.engine.hoist import Kept, hoist
from inkle.engine.memory_use import MemoryUse, memory_use
from inkle.engine.pipeline import timed
from inkle.engine.program import Draws, Origins, Place, Program
from inkle.engine.realize import Prepared, executable_for, prepare, realize, results, run
from inkle.engine.specialise import Limits, narrowed
from inkle.engine.storage import Storage
from inkle.ir import forms
from inkle.ir.node import Node
from inkle.ir.plan import Plan
from inkle.ir.size import is_symbolic, value_of
from inkle.runtime.cpu.graph import Call
from inkle.runtime.device import Buffer
from inkle.runtime.locks import Locked

RandomCounter = Callable[[int], int]
NO_LIMITS: Limits = MappingProxyType({})
NO_FORMERS: Mapping[int, Storage] = MappingProxyType({})


class Captured(Locked):
    """A compiled trace: inputs and state in, outputs and state out, by one native call.

    Attributes:
        lock: held by whoever runs it, from reading the state to changing it.
        reads: numbers of the inputs that are read.
        program: what it computes.

    Args:
        recorder: saw the trace.
        inputs: the storages in the places where `run` gets others.
        outputs: nodes of the trace.
        closed_over: places of the inputs that the function refers to: mostly the same ones.
        limits: narrower bounds of variables.
        n_results: how many outputs, of the first, are never among the `reusable` of `run`.
    """

    def __init__(
        self,
        recorder: Origins,
        inputs: Sequence[Storage],
        outputs: Sequence[Node],
        closed_over: range = range(0),
        limits: Limits = NO_LIMITS,
        n_results: int | None = None,
    ) -> None:
        super().__init__()
        assigned = recorder.assigned()
        roots = [*outputs, *assigned.values()]
        self._prepared = _specialised(timed("canonicalize", lambda: prepare(roots)), limits)
        self._like = [(node.dtype, node.shape) for node in roots]
        self._symbolic = [i for i, node in enumerate(roots) if any(map(is_symbolic, node.shape))]
        self._shapes = [node.shape for node in roots]
        self._sizes = NOTHING
        places = {each: number for number, each in enumerate(inputs)}
        self._keys: list[tuple[storage.Array, int]] = []
        self._sources = [self._source(recorder, leaf, places) for leaf in self._prepared.leaves]
        self.reads = sorted({each for each in self._sources if isinstance(each, int)})
        self._targets = {
            len(outputs) + i: places.get(each, each) for i, each in enumerate(assigned)
        }
        self._pinned = [(places.get(each, each), leaf) for each, leaf in recorder.pinned.items()]
        self.program = self._program(recorder)
        self._kept: list[tuple[Kept, list[Place]]] = []
        graph = timed("hoist", lambda: self._hoist(recorder, closed_over))
        donated = self._donated()
        self._executable = executable_for(graph, donated) if graph else None
        if self._executable is not None:
            self._executable.keep(range(len(outputs) if n_results is None else n_results))
        taken = self._executable.in_place if self._executable else ()
        pairs = [(slot, output) for output, slot in donated if slot in taken]
        self._in_place = [output for _, output in pairs]
        self._fresh = [i for i in range(len(roots)) if i not in self._in_place]
        slots = [slot for slot, _ in pairs]
        others = [slot for slot in range(len(self._sources)) if slot not in slots]
        self._over = [s for s in (self._sources[i] for i in slots) if not isinstance(s, Node)]
        self._plain = [self._sources[i] for i in others]
        self._order = [[*others, *slots].index(i) for i in range(len(self._sources))]
        self._reused: tuple[int, ...] | None = (
            None  # outputs that were written over in the last run
        )

    def _donated(self) -> tuple[tuple[int, int], ...]:
        """Return pairs of an output and the input whose next version it is.

        None in checked mode, where the outputs may turn out to be wrong after the run.
        """
        slots = {s: slot for slot, s in enumerate(self._sources) if not isinstance(s, Node)}
        pairs = [(output, slots.get(target, -1)) for output, target in self._targets.items()]
        return () if self._prepared.checks else tuple([pair for pair in pairs if pair[1] >= 0])

    def _program(self, recorder: Origins) -> Program:
        """Return what is computed, before anything is hoisted."""
        counts = [recorder.source(leaf) for leaf in self._prepared.leaves]
        pairs = zip(counts, self._sources, strict=True)
        return Program(
            self._prepared.outputs[: len(self._like)],
            tuple([Draws(n) if isinstance(n, int) else source for n, source in pairs]),
            tuple(self._targets.values()),
            tuple([place for place, _ in self._pinned]),
        )

    def _hoist(self, recorder: Origins, closed_over: range) -> tuple[Node, ...]:
        """Return the graph without what is computed ahead; `_sources` are those of that graph.

        Nothing is in checked mode, where the values of indices are looked at after the run.
        """
        stable = [
            slot
            for slot, (leaf, source) in enumerate(
                zip(self._prepared.leaves, self._sources, strict=True)
            )
            if recorder.is_stable(leaf) and (not isinstance(source, int) or source in closed_over)
        ]
        found = None if self._prepared.checks else hoist(self._prepared.outputs, stable)
        if found is None:
            return self._prepared.outputs
        old = self._sources
        self._kept = [(each, [old[slot] for slot in each.slots]) for each in found.kept]
        self._sources = [old[s] if isinstance(s, int) else s for s in found.slots]
        return found.outputs

    def _refresh(self, inputs: Sequence[Storage]) -> None:
        """Compute what is kept ahead anew, if it comes from other values now."""
        for kept, places in self._kept:
            now = [p if isinstance(p, Node) else _pick(p, inputs).outside for p in places]
            if not kept.is_fresh(now):
                leaves = [self._leaf(place, inputs) for place in places]
                buffers = run(kept.nodes, leaves)
                pairs = zip(kept.nodes, buffers, strict=True)
                kept.keep(now, [storage.new_leaf(n.dtype, n.shape, b) for n, b in pairs])

    def _source(self, recorder: Origins, leaf: Node, places: dict[Storage, int]) -> Place:
        """Return the number of an input, another storage to read, or the leaf of a constant."""
        source = recorder.source(leaf)
        if isinstance(source, Storage):
            return places.get(source, source)
        if source is not None:
            leaf = storage.from_array(np.zeros(1, np.uint64))
            self._keys.append((storage.to_array(leaf), source))
        return leaf

    def holds(self, inputs: Sequence[Storage]) -> bool:
        """Whether all values that the traced function has looked at are still the same."""
        return all(
            storage.realized(_pick(place, inputs).outside) is leaf for place, leaf in self._pinned
        )

    def run(
        self,
        inputs: Sequence[Storage],
        counter: RandomCounter,
        reusable: Mapping[int, Storage] = NO_FORMERS,
        sizes: Mapping[str, int] = NOTHING,
    ) -> dict[int, Node]:
        """Run on these inputs; update the state; return the leaves of the outputs, by number.

        Args:
            inputs: in the order of the trace.
            counter: draws random numbers.
            reusable: storages with a former value of an output, by number. If nobody else can see
                it, the output is written over it: its leaf is the one that is there, and is not
                among those returned.
            sizes: value of each variable.
        """
        if self._executable is None:
            return {}
        self._sizes = sizes
        for i in self._symbolic:
            shape = tuple([value_of(n, sizes) for n in self._shapes[i]])
            self._like[i] = self._like[i][0], shape
            self._reused = None
        for key, count in self._keys:
            key[0] = counter(count)
        if self._kept:
            self._refresh(inputs)
        if self._prepared.checks:
            return self._run_checked(inputs)
        if not self._over and not reusable:
            return self._run_plainly(inputs)
        return self._run_over(inputs, reusable)

    def _run_checked(self, inputs: Sequence[Storage]) -> dict[int, Node]:
        """Run; nothing changes if an index turns out to be wrong afterwards."""
        assert self._executable is not None
        values = [self._leaf(source, inputs) for source in self._sources]
        inputs_now = [*map(storage.buffer_of, values)]
        buffers = profile.run(self._executable, inputs_now, self._sizes)
        buffers = results(self._prepared, buffers, values, self._sizes)
        leaves = self._leaves(buffers, range(len(buffers)))
        deque(starmap(operator.call, self._publish(leaves, inputs)), maxlen=0)
        return leaves

    def _run_over(
        self, inputs: Sequence[Storage], reusable: Mapping[int, Storage]
    ) -> dict[int, Node]:
        """Run; write the next version of a state over this one where nobody else can see it."""
        assert self._executable is not None
        plain = [*map(storage.buffer_of, [self._leaf(each, inputs) for each in self._plain])]
        targets = [inputs[each] if isinstance(each, int) else each for each in self._over]
        numbers, formers = tuple(reusable), [*reusable.values()]
        if not self._fit(numbers, formers):
            numbers = tuple([i for i in numbers if self._fit((i,), [reusable[i]])])
            formers = [reusable[i] for i in numbers]
            self._prepare_for(numbers)
        fresh = self._others
        taken = storage.take([*targets, *formers], self)
        if taken is None:  # somebody may look at one of the old values
            taken, copied = self._take_some(targets, formers)
            numbers = tuple([i for i in numbers if reusable[i].outside in taken])
            over = [copied.get(each) or taken[each.outside] for each in targets]
            again = [self._in_place[i] for i, each in enumerate(targets) if each in copied]
            fresh = [*[i for i in self._fresh if i not in numbers], *again]
            known = [taken[reusable[i].outside] for i in numbers]
        else:
            memory = [*taken.values()]
            over, known = memory[: len(targets)], memory[len(targets) :]
        pool = [*plain, *over]
        with self._executable.lock:
            buffers = [pool[k] for k in self._order]
            bound = self._executable.bind(buffers, numbers, known, self._sizes)
            leaves = self._leaves(bound, fresh)
            after = self._publish(leaves, inputs)
            if storage.Followers.exist:
                after += _followed(targets, taken)
            profile.launch(self._executable, after)
            storage.give_back(taken)
        return leaves

    def _take_some(
        self, targets: list[Storage], formers: list[Storage]
    ) -> tuple[dict[Node, Buffer], dict[Storage, Buffer]]:
        """Return the memory of leaves to write over, and copies where that is not possible."""
        taken, copied = dict[Node, Buffer](), dict[Storage, Buffer]()
        for each in targets:
            found = storage.take([each], self)
            if found is None:
                copied[each] = storage.copy_of(storage.buffer_of(self._leaf(each, ())))
            taken |= found or {}
        for each in formers:
            taken |= storage.take([each], self) or {}
        return taken, copied

    def _run_plainly(self, inputs: Sequence[Storage]) -> dict[int, Node]:
        """Run; nothing is written over, so that nobody else need be asked."""
        assert self._executable is not None
        leaf, buffer_of = self._leaf, storage.buffer_of
        buffers = [buffer_of(leaf(source, inputs)) for source in self._sources]
        with self._executable.lock:
            bound = self._executable.bind(buffers, sizes=self._sizes)
            leaves = self._leaves(bound, self._fresh)
            profile.launch(self._executable, self._publish(leaves, inputs) if self._targets else ())
        return leaves

    def _fit(self, numbers: tuple[int, ...], formers: list[Storage]) -> bool:
        """Whether these outputs may be written where former values of them are."""
        assert self._executable is not None
        if numbers != self._reused:
            self._prepare_for(numbers)
        leaves = [each.outside for each in formers]
        if [(each.dtype, each.shape) for each in leaves] != self._wanted:
            return False
        if storage.Followers.exist and any(map(storage.is_followed, leaves)):
            return False  # it would be another value behind the same leaf
        return self._executable.alone.issuperset(numbers)

    def _prepare_for(self, numbers: tuple[int, ...]) -> None:
        """Note what these outputs look like, and which others need memory: mostly as before."""
        self._reused = numbers
        self._wanted = [self._like[i] for i in numbers]
        self._others = [i for i in self._fresh if i not in numbers]

    def _leaves(self, buffers: Sequence[Buffer], outputs: Iterable[int]) -> dict[int, Node]:
        return {i: storage.new_leaf(*self._like[i], buffers[i]) for i in outputs}

    def _publish(self, leaves: Mapping[int, Node], inputs: Sequence[Storage]) -> list[Call]:
        """Return the calls of C functions that make leaves the values of the state."""
        return [
            (setattr, _pick(self._targets[i], inputs), "outside", leaf)
            for i, leaf in leaves.items()
            if i in self._targets
        ]

    def memory_use(self) -> MemoryUse:
        """Return what the memory of a run is for."""
        return memory_use(self._executable.plan if self._executable else Plan((), (), ()))

    @property
    def kept_bytes(self) -> int:
        """Memory of the values that are computed ahead."""
        return sum(kept.bytes for kept, _ in self._kept)

    @staticmethod
    def _leaf(source: Place, inputs: Sequence[Storage]) -> Node:
        if isinstance(source, Node):
            return source
        node = _pick(source, inputs).outside
        if node.op is forms.BUFFER:
            return node
        leaf = storage.realized(node)
        return realize([node])[0] if leaf is None else leaf


def _followed(targets: Iterable[Storage], taken: Mapping[Node, Buffer]) -> list[Call]:
    """Return calls that give other leaves to those in `taken` that somebody remembers.

    He must see that there is another value.
    """
    calls: list[Call] = []
    for each in targets:
        leaf = each.outside
        if leaf in taken and storage.is_followed(leaf):
            new = storage.new_leaf(leaf.dtype, leaf.shape, taken[leaf])
            calls.append((setattr, each, "outside", new))
    return calls


def _pick(place: int | Storage, inputs: Sequence[Storage]) -> Storage:
    return inputs[place] if isinstance(place, int) else place


def _specialised(prepared: Prepared, limits: Limits) -> Prepared:
    """Return a prepared graph whose variables lie within `limits`; some may be numbers then."""
    if not limits:
        return prepared
    indices = [check.index for check in prepared.checks]
    count = len(prepared.outputs)
    nodes = narrowed([*prepared.outputs, *indices], limits)
    checks = [replace(c, index=i) for c, i in zip(prepared.checks, nodes[count:], strict=True)]
    return Prepared(tuple(nodes[:count]), prepared.leaves, tuple(checks))
