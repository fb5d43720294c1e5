"""Launches of a plan in the making: kernels, and the memory that they read and write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from inkle.ir import forms
from inkle.ir.loop import Kernel, reduce
from inkle.ir.node import Node, rebuild, toposort, transform
from inkle.ir.plan import Blocks, Launch, Run
from inkle.ir.size import variable
from inkle.ir.tensor import param
from inkle.schedule.nest import Storage

Step = Callable[[Node, tuple[Node, ...]], Node]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a launch exists.

    Attributes:
        stores: for each value it stores, what the value is.
        reasons: for each, why it was not computed where it is used.
    """

    stores: tuple[str, ...]
    reasons: tuple[str, ...]

    def sentences(self) -> tuple[str, ...]:
        """Return both as text."""
        pairs = zip(self.stores, self.reasons, strict=True)
        return tuple([f"{what}: {why}" for what, why in pairs])


@dataclass(frozen=True, slots=True)
class Built:
    """A kernel of the plan in the making.

    Attributes:
        kernel: its PARAM slot i is `used[i]`.
        used: memory.
        lines: of the user's program.
        reason: why it is a kernel of its own.
        values: of its VARIABLEs.
    """

    kernel: Kernel
    used: tuple[Storage, ...]
    lines: tuple[str, ...]
    reason: Reason
    values: tuple[tuple[str, int], ...] = ()

    def launch(self, memory: Sequence[int]) -> Launch:
        """Return the launch, given where `used` is."""
        why = self.reason.sentences()
        values = {n.arg[0]: variable(*n.arg) for n in self.kernel.variables()} | dict(self.values)
        return Launch(
            self.kernel, tuple(memory), self.lines, tuple(sorted(values.items())), why=why
        )

    def memory_of(self, access: Node) -> Storage:
        """Return the memory that a LOAD or STORE of the kernel goes to."""
        return self.used[int(access.src[0].arg[0])]

    def accesses(self) -> list[Node]:
        """Return the LOADs and STOREs of memory that the launch was given."""
        found = [n for n in self.kernel.nodes() if n.op in (forms.LOAD, forms.STORE)]
        return [n for n in found if n.src[0].op is forms.PARAM]

    def written(self) -> set[Storage]:
        """Return the memory that it writes."""
        return {self.memory_of(store) for store in self.kernel.stores}

    def loaded(self) -> set[Storage]:
        """Return the memory that it reads."""
        read = {self.memory_of(n) for n in self.accesses() if n.op is forms.LOAD}
        changed = {self.memory_of(s) for s in self.kernel.stores if s.arg is not None}
        return read | changed

    def renamed(self, names: Mapping[Storage, Storage]) -> Built:
        """Return the launch with other memory in place of some."""
        return replace(self, used=tuple([names.get(each, each) for each in self.used]))

    def over(self, ranges: Mapping[Node, Sequence[Node]], places: Mapping[Node, Node]) -> Built:
        """Return the launch with loops over others in place of some ranges, now `places`."""
        kernel = self.kernel
        done = transform(kernel.stores, running_over(ranges), dict(places))
        order = [n for r in kernel.order for n in ranges.get(r, (r,))]
        new = Kernel(tuple([done[store] for store in kernel.stores]), tuple(order))
        return replace(self, kernel=new)

    def with_stores(self, stores: Sequence[Node], used: Sequence[Storage]) -> Built:
        """Return a launch of `stores`, over ranges of this kernel; PARAM i of them is used[i].

        Memory that they do not use is left out, the rest numbered in order of use, outputs first.
        """
        params = [store.src[0] for store in stores]
        params += [n for n in toposort(stores) if n.op is forms.PARAM]
        slots = {p: i for i, p in enumerate(dict.fromkeys(params))}
        mine = tuple([used[p.arg[0]] for p in slots])
        fresh = {p: param(i, p.dtype, (mine[i].size,)) for p, i in slots.items()}
        done = transform(stores, lambda node, src: rebuild(node, src), fresh)
        new = tuple([done[store] for store in stores])
        left = {n for n in toposort(new) if n.op is forms.RANGE}
        kernel = Kernel(new, tuple([r for r in self.kernel.order if r in left]))
        return replace(self, kernel=kernel, used=mine)


@dataclass(frozen=True, slots=True)
class BuiltBlocks:
    """Blocks of rows of the plan in the making, see `ir.plan.Blocks`.

    Attributes:
        variants: chains of launches, with values of a block that runs them.
        names: of the VARIABLEs that tell blocks apart.
        units, rooms: see there.
    """

    variants: tuple[tuple[Built, ...], ...]
    names: tuple[str, ...]
    units: tuple[tuple[Run, ...], ...]
    rooms: frozenset[Storage]

    @property
    def launches(self) -> list[Built]:
        """Those of all variants."""
        return [built for chain in self.variants for built in chain]

    @property
    def used(self) -> tuple[Storage, ...]:
        """Memory."""
        return tuple(dict.fromkeys([own for built in self.launches for own in built.used]))

    @property
    def lines(self) -> tuple[str, ...]:
        """Lines of the user's program."""
        return tuple(dict.fromkeys([line for built in self.launches for line in built.lines]))

    @property
    def reason(self) -> Reason:
        """What its launches store, and why they are apart."""
        reasons = [built.reason for built in self.launches]
        pairs = [zip(each.stores, each.reasons, strict=True) for each in reasons]
        found = dict([pair for each in pairs for pair in each])
        return Reason(tuple(found), tuple(found.values()))

    def written(self) -> set[Storage]:
        """Return the memory that it writes."""
        return set().union(*[built.written() for built in self.launches])

    def loaded(self) -> set[Storage]:
        """Return the memory that it reads."""
        return set().union(*[built.loaded() for built in self.launches])

    def instead_of(self, first: Sequence[Built], chain: Sequence[Built]) -> BuiltBlocks:
        """Return the same blocks of `chain`, which is like the chain `first` that was cut."""
        names = {
            old: new
            for one, other in zip(first, chain, strict=True)
            for old, new in zip(one.used, other.used, strict=True)
        }
        for own in self.used:
            names.setdefault(own, replace(own))
        texts = {id(old.reason): new for old, new in zip(first, chain, strict=True)}

        def named(built: Built) -> Built:
            new = texts.get(id(built.reason), built)
            return replace(built.renamed(names), lines=new.lines, reason=new.reason)

        variants = tuple([tuple(map(named, own)) for own in self.variants])
        rooms = frozenset([names[room] for room in self.rooms])
        return replace(self, variants=variants, rooms=rooms)

    def launch(self, memory: Sequence[int]) -> Blocks:
        """Return the launch, given where `used` is."""
        place = dict(zip(self.used, memory, strict=True))
        variants = [
            tuple([replace(b.launch([place[s] for s in b.used]), is_serial=True) for b in chain])
            for chain in self.variants
        ]
        rooms = frozenset([place[room] for room in self.rooms])
        return Blocks(tuple(variants), self.names, self.units, rooms)


def running_over(ranges: Mapping[Node, Sequence[Node]]) -> Step:
    """Return a step of `transform` in which reductions run over others in place of some ranges."""

    def step(node: Node, src: tuple[Node, ...]) -> Node:
        if node.op is not forms.REDUCE or not any(r in ranges for r in node.src[1:]):
            return rebuild(node, src)
        over = [n for r in node.src[1:] for n in ranges.get(r, (r,))]
        return reduce(node.arg[0], src[0], over)

    return step
