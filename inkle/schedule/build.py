"""A planned nest becomes a kernel: graph nodes of the loop form, in canonical numbering.

Demands are visited from the stores, sources first, so equal nests give the very same nodes whatever
surrounds them: ranges are numbered in the order in which they nest, memory in order of first use,
outputs first. Values of 0 outside a gate are written so that the least is masked: a gated load is 0
by itself, masks of masks are one, and a mask between two sums moves inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod

from inkle.errors import InternalError
from inkle.ir import forms, ops, tensor
from inkle.ir import loop as loops
from inkle.ir.dtype import bool_, index
from inkle.ir.loop import Kernel
from inkle.ir.node import Node, const, elementwise, intern, toposort
from inkle.ir.op import Op
from inkle.ir.size import least, most
from inkle.rewrite.affine import Affine, affine_of
from inkle.rules import index_compare
from inkle.schedule.arrange import Arranger
from inkle.schedule.gate import joined, simplified
from inkle.schedule.index import (
    KNOWN,
    Computed,
    Condition,
    Gate,
    Replacement,
    is_clamped,
    is_within,
)
from inkle.schedule.nest import Demand, Link, Nest, Storage, Store
from inkle.schedule.place import running_loop
from inkle.schedule.walk import post_order


class Builder:
    """Builds one kernel from nests that run in the same loops."""

    def __init__(self, nests: Sequence[Nest], storage: dict[Node, Storage]) -> None:
        self._storage = storage
        self._nests = nests
        self._demands = post_order(nests)
        arrangement = Arranger(nests, self._demands).run()
        self._arrangement = arrangement
        self._split = Replacement(arrangement.split)
        self._joined = Replacement(arrangement.joined, self._computed)
        self._stores = [store for nest in nests for store in nest.stores]
        self._values: dict[Demand, Node] = {}
        self._indices: dict[Affine, Node] = {}
        self._gates: dict[Gate, Node | None] = {}
        self._masked: dict[Node, tuple[Gate, Node]] = {}
        self._gated: dict[Node, frozenset[Condition]] = {}
        self._folds: dict[object, int] = {}  # the first of its carries, by what a loop computes
        self._carries = 0
        self.memory: dict[Storage, Node] = {}

    def run(self) -> Kernel:
        """Return the kernel; `memory` then has a PARAM for each storage, in order of slots."""
        stores = sorted(self._stores, key=self._first_use)
        for store in stores:
            self._param(self._storage[store.node])
        for demand in self._demands:
            self._values[demand] = self._value(demand)
        kernel = Kernel(tuple([self._store(store) for store in stores]), ())
        return replace(kernel, order=tuple(kernel.ranges()))

    def reasons(self) -> list[tuple[Store, str]]:
        """Return what is stored and why, in the order of slots."""
        reasons = {id(store): nest.reason for nest in self._nests for store in nest.stores}
        stores = sorted(self._stores, key=self._first_use)
        return [(store, store.reason or reasons[id(store)]) for store in stores]

    def nodes(self) -> list[Node]:
        """Return the tensor-form nodes that the kernel computes, sources first."""
        return [demand.node for demand in self._demands if not demand.is_loaded]

    def _first_use(self, store: Store) -> int:
        target = store.link.target
        return list(self._demands).index(target) if isinstance(target, Demand) else -1

    def _param(self, storage: Storage) -> Node:
        found = self.memory.get(storage)
        if found is None:
            found = tensor.param(len(self.memory), storage.dtype, (storage.size,))
            self.memory[storage] = found
        return found

    # --- values -----------------------------------------------------------------------------------

    def _value(self, demand: Demand) -> Node:
        node = demand.node
        op = node.op
        if demand.is_loaded:
            return self._load(demand)
        if demand.is_passed_on:
            return self._linked(demand.links[0])
        if op.is_elementwise:
            src = tuple([self._linked(link) for link in demand.links])
            if op is ops.CAST or op is ops.BITCAST:
                return src[0].convert(op, node.dtype)
            return intern(op, node.dtype, src, node.arg, ())
        if op is forms.CONST or op is forms.VARIABLE:
            return node
        if op is forms.ARANGE:
            return self._index(demand.position).cast(node.dtype)
        if op is forms.REDUCE and demand.loops:
            return self._reduce(demand)
        if op is forms.PREFIX:
            return self._prefix(demand)
        if op is forms.SCAN:
            return self._fold(demand)
        if op is forms.CAT:
            return self._chosen(demand)
        if len(demand.links) == 1:
            return self._linked(demand.links[0])
        raise InternalError(f"no value for {node!r}")

    def _load(self, demand: Demand) -> Node:
        memory = self._param(self._storage[demand.node])
        position = demand.position
        at = self._index(position)
        gate = joined(demand.gate, self._limits_of(position.ranges))
        if not gate or is_within(self._final(position), self._storage[demand.node].size):
            return loops.load(memory, at)
        load = loops.load(memory, at, self._gate(gate))
        self._gated[load] = frozenset(gate)
        return load

    def _limits_of(self, around: Iterable[Node]) -> Gate:
        """Return the conditions that keep planned loops within their extents."""
        limits = self._arrangement.limits
        limited = sorted([loop for loop in around if loop in limits], key=loops.number_of)
        return tuple([limits[loop] for loop in limited])

    def _linked(self, link: Link) -> Node:
        target = link.target
        value = self._values[target] if isinstance(target, Demand) else target
        return self._masked_by(link.gate, value) if link.gate else value

    def _masked_by(self, gate: Gate, value: Node) -> Node:
        """Return `value` where `gate` holds, else 0."""
        if value.op is forms.CONST and not value.arg and str(value.arg) != "-0.0":
            return value
        if self._gated.get(value, frozenset()).issuperset(gate):
            return value
        known, inner = self._masked.get(value, ((), value))
        gate = joined(gate, known)
        test = self._gate(gate)
        if test is None:
            return inner
        masked = elementwise(ops.WHERE, (test, inner, const(0, value.dtype)))
        self._masked[masked] = (gate, inner)
        return masked

    def _reduce(self, demand: Demand) -> Node:
        op: Op = demand.node.arg[0]
        gate, target = demand.links[0]
        value = self._linked(Link(joined(gate, self._limits_of(demand.loops)), target))
        runs = [self._arrangement.ranges[loop] for loop in demand.loops]
        return _combined(op, value, sorted(frozenset().union(*runs), key=loops.number_of))

    def _prefix(self, demand: Demand) -> Node:
        ranges = frozenset().union(
            *[self._arrangement.mapping[loop].ranges for loop in running_loop(demand)]
        )
        value = self._linked(demand.links[0])
        return loops.prefix(demand.node.arg[0], value, sorted(ranges, key=loops.number_of))

    def _fold(self, demand: Demand) -> Node:
        """Return a value of a step of a loop over time, all of whose steps this kernel runs."""
        recurrence, result, _ = demand.node.arg
        time = [self._arrangement.mapping[r].ranges for r in demand.index[0].ranges]
        ranges = sorted(frozenset().union(*time), key=loops.number_of)
        seen = tuple([self._linked(link) for link in demand.links])
        places = [self._index(each) for each in demand.index if each.ranges]
        first = self._folds.setdefault((recurrence, seen, *places), self._carries)
        if first == self._carries:
            self._carries += recurrence.carried
        carries = [loops.carry(first + i, seen[i], places) for i in range(recurrence.carried)]
        known = [*carries, *seen[recurrence.carried :]]
        done: dict[Node, Node] = {}
        for node in toposort([*recurrence.following, result]):
            if node.op is forms.PARAM:
                done[node] = known[node.arg[0]]
            elif node.op is ops.CAST or node.op is ops.BITCAST:
                done[node] = done[node.src[0]].convert(node.op, node.dtype)
            elif node.op.is_elementwise:
                src = tuple([done[source] for source in node.src])
                done[node] = intern(node.op, node.dtype, src, node.arg, ())
            else:
                done[node] = node
        following = [done[node] for node in recurrence.following]
        return loops.fold(done[result], carries, following, ranges)

    def _chosen(self, demand: Demand) -> Node:
        """Return the parts of a CAT, each under its condition, the last one for all the rest."""
        total = self._linked(demand.links[-1])
        pairs = list(zip(demand.choices, demand.links, strict=True))
        for gate, link in reversed(pairs[:-1]):
            test = self._gate(gate)
            value = self._linked(link)
            total = value if test is None else elementwise(ops.WHERE, (test, value, total))
        return total

    def _store(self, store: Store) -> Node:
        value, gate = self._linked(store.link), self._gate(store.gate)
        memory, at = self._param(self._storage[store.node]), self._index(store.at)
        if store.combine is not None:
            used = value.ranges | at.ranges | (gate.ranges if gate is not None else frozenset())
            value = self._repeated(store.combine, value, store.loops, used)
        return loops.store(memory, at, value, gate, store.combine)

    def _repeated(self, op: Op, value: Node, around: Sequence[Node], used: frozenset[Node]) -> Node:
        """Combine a value with itself as often as loops repeat it that nothing depends on."""
        final = frozenset().union(*[self._arrangement.mapping[loop].ranges for loop in around])
        return _combined(op, value, sorted(final - used, key=loops.number_of))

    # --- indices and gates ------------------------------------------------------------------------

    def _index(self, a: Affine) -> Node:
        found = self._indices.get(a)
        if found is None:
            found = self._indices[a] = self._final(a).node()
        return found

    def _final(self, a: Affine) -> Affine:
        """Return an index in terms of the kernel's own loops."""
        return self._joined(self._split(a))

    def _computed(self, at: Computed) -> Affine:
        """Return a coordinate that is read from memory, in terms of the kernel's own loops."""
        value = self._linked(Link(at.gate, at.demand)).cast(index)
        dtype = at.demand.node.dtype
        if is_clamped(at.demand.node, at.length):
            return affine_of(value)
        if not dtype.bits or dtype.limits()[0] < 0:
            value = (value < 0).where(value + at.length, value)
        return affine_of(value)

    def _gate(self, gate: Gate) -> Node | None:
        if not gate:
            return None
        if gate not in self._gates:
            self._gates[gate] = self._conjunction(gate)
        return self._gates[gate]

    def _conjunction(self, gate: Gate) -> Node | None:
        total: Node | None = None
        for condition in gate:
            if condition in self._arrangement.settled:
                continue
            value, modulus = condition
            holds = simplified(Condition(self._final(value), modulus))
            if holds is True:
                continue
            part = const(False, bool_) if holds is False else self._condition(holds)
            total = part if total is None else total & part
        return total

    def _condition(self, condition: Condition) -> Node:
        node = condition.value.node()
        if condition.modulus is None:
            return index_compare.less(const(-1, index), node, KNOWN)
        if condition.modulus:
            node = node % const(condition.modulus, index)
        return index_compare.equal(node, const(0, index), KNOWN)


def _combined(op: Op, value: Node, ranges: list[Node]) -> Node:
    """Reduce `value` over `ranges`. n equal terms sum to n times the term, where that is exact."""
    used = [r for r in ranges if r in value.ranges]
    n = prod([loops.extent(r) for r in ranges if r not in used])
    if n == 1 or op.idempotent:
        return loops.reduce(op, value, used)
    exact = value.dtype.is_integer or most(n) <= 1 << (value.dtype.mantissa + 1)
    if op is not ops.ADD or not exact or least(n) < 1:
        return loops.reduce(op, value, ranges)
    return loops.reduce(op, value * tensor.full(n, value.dtype, ()), used)
