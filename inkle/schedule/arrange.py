"""The loops of a finished kernel: which are one, which are two, in which order.

    share   reductions of equal extents at the same place run in one loop, if none needs the other
    split   i // 4 and i % 4 of a loop i become two loops
    merge   two loops that every index uses as i*n + j become one
    order   outermost first: loops that inner reductions depend on, other outputs, reductions

All of it maps loops to sums of new loops, applied when indices are written out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from inkle.schedule.fold import Fold, folds_of
from inkle.schedule.index import (
    ZERO,
    Affine,
    Atoms,
    Condition,
    Gate,
    Loop,
    Part,
    add,
    loops_of,
    replace,
    scale,
    single,
)
from inkle.schedule.nest import Demand, Nest
from inkle.schedule.walk import sources


@dataclass(slots=True)
class Arrangement:
    """The loops of a kernel.

    Attributes:
        mapping: each planned loop, as a sum of final loops.
        ranges: each planned loop of a reduction, as the final loops that it runs over.
        order: final loops, outermost first.
        limits: for a planned loop that may now run too far, where it does not.
        settled: conditions that always hold, by the choice of loops.
    """

    mapping: dict[Loop, Affine]
    ranges: dict[Loop, Atoms]
    order: list[Loop]
    limits: dict[Loop, Condition]
    settled: set[Condition]


class Group(NamedTuple):
    """Where a loop belongs: loops that agree in all but `place` may be merged; sorted, they nest.

    Attributes:
        is_reduction: outputs come first.
        depth: rank of the smallest prefix that an output is in, or how deep a reduction nests.
        which: number of the reduction, the last one in the graph first.
        place: among the loops of one output or reduction.
    """

    is_reduction: bool
    depth: int
    which: int
    place: float


class Arranger:
    """Arranges the loops of the nests that make up one kernel.

    Args:
        nests: nests of equal extents, to run in one set of loops.
        demands: their demands, sources first.
    """

    def __init__(self, nests: Sequence[Nest], demands: Sequence[Demand]) -> None:
        self._nests = nests
        self._demands = demands
        self._mapping: dict[Loop, Affine] = {}
        self._runs: dict[Loop, Affine] = {}  # like _mapping, without what a fold adds
        self._groups: dict[Loop, Group] = {}
        self._divided: list[tuple[Affine, int]] = []
        self._folds: dict[Loop, Fold] = {}
        for demand in demands:
            self._folds.update(folds_of(demand))

    def run(self) -> Arrangement:
        """Return the arrangement."""
        loops = [*self._share_outputs(), *self._share_reductions()]
        indices = self._indices()
        if self._divided:
            loops = self._split(loops, indices)
            indices = self._indices()
        loops = self._merge(loops, indices)
        final: dict[Loop, Affine] = {}
        order: list[Loop] = []
        for number, loop in enumerate(sorted(loops, key=self._groups.__getitem__)):
            order.append(Loop(number, loop.extent))
            final[loop] = single(order[-1])
        mapping = {old: replace(new, final, _same) for old, new in self._mapping.items()}
        ranges = {loop: loops_of(replace(a, final, _same)) for loop, a in self._runs.items()}
        limits = {k: fold.limit for k, fold in self._folds.items() if fold.limit is not None}
        settled = {fold.condition for fold in self._folds.values()}
        return Arrangement(mapping, ranges, order, limits, settled)

    # --- share ------------------------------------------------------------------------------------

    def _share_outputs(self) -> list[Loop]:
        first = self._nests[0]
        for nest in self._nests:
            for mine, theirs in zip(nest.loops, first.loops, strict=True):
                self._mapping[mine] = single(theirs)
        found = {
            frozenset([self._stands_for(loop) for loop in prefix])
            for nest in self._nests
            for prefix in nest.prefixes
        }
        prefixes = sorted(found, key=len)
        for place, loop in enumerate(first.loops):
            rank = next((i for i, prefix in enumerate(prefixes) if loop in prefix), len(prefixes))
            self._groups[loop] = Group(False, rank, 0, place)
        return list(first.loops)

    def _share_reductions(self) -> list[Loop]:
        """Give reductions of equal extents, at the same place and level, the same loops.

        The level counts reductions below; of two on one level, neither needs the other.
        """
        levels: dict[Demand, int] = {}
        for demand in self._demands:
            level = max([levels[each] for each in sources(demand)], default=0)
            levels[demand] = level + 1 if demand.loops else level
        loops: list[Loop] = []
        depths: dict[Loop, int] = {}
        found: dict[object, list[Loop]] = {}
        for demand in reversed(self._demands):  # outer ones before inner ones
            if not demand.loops:
                continue
            around = frozenset([self._stands_for(loop) for loop in demand.depends_on()])
            key = (tuple([loop.extent for loop in demand.loops]), around, levels[demand])
            folded = any(loop in self._folds for loop in demand.loops)
            shared = demand.loops if folded else found.setdefault(key, demand.loops)
            for mine, theirs in zip(demand.loops, shared, strict=True):
                self._mapping[mine] = self._runs[mine] = single(theirs)
            if shared is demand.loops:
                depth = 1 + max([depths.get(loop, 0) for loop in around], default=0)
                for place, loop in enumerate(demand.loops):
                    depths[loop] = depth
                    self._groups[loop] = Group(True, depth, -len(found), place)
                loops += self._folded(demand.loops) if folded else demand.loops
        return loops

    def _folded(self, loops: list[Loop]) -> list[Loop]:
        """Let loops that a remainder pins down take only the values that count."""
        out = []
        for loop in loops:
            fold = self._folds.get(loop)
            if fold is None:
                out.append(loop)
                continue
            rest = replace(fold.remainder, self._mapping, _same)
            rounds = -(-loop.extent // fold.step)
            self._runs[loop] = ZERO
            if rounds > 1:
                out.append(self._new_loop(rounds, self._groups[loop]))
                self._runs[loop] = single(out[-1])
                rest = add(rest, scale(single(out[-1]), fold.step))
            self._mapping[loop] = rest
        return out

    def _stands_for(self, loop: Loop) -> Loop:
        found = self._mapping[loop]
        atom: Loop = found.terms[0][0] if len(found.terms) == 1 else loop
        return atom

    # --- what the kernel's indices are ------------------------------------------------------------

    def _indices(self) -> list[Affine]:
        """Return every index expression of the kernel, in terms of the loops chosen so far."""
        found: dict[Affine, None] = {}
        self._divided = []
        for nest in self._nests:
            for store in nest.stores:
                self._note(store.at, found)
                self._note_gate(store.gate, found)
                self._note_gate(store.link.gate, found)
        for demand in self._demands:
            if demand.is_loaded or not demand.links:
                self._note(demand.position(), found)
                self._note_gate(demand.gate, found)
            for gate in demand.choices:
                self._note_gate(gate, found)
            for link in demand.links:
                self._note_gate(link.gate, found)
        return list(found)

    def _note_gate(self, gate: Gate, found: dict[Affine, None]) -> None:
        for value, modulus in gate:
            self._note(value, found)
            if modulus:
                self._divided.append((replace(value, self._mapping, _same), modulus))

    def _note(self, a: Affine, found: dict[Affine, None]) -> None:
        self._note_parts(replace(a, self._mapping, _same), found)

    def _note_parts(self, a: Affine, found: dict[Affine, None]) -> None:
        if a in found:
            return
        found[a] = None
        for atom, _ in a.terms:
            if type(atom) is Part:
                self._divided.append((atom.of, atom.by))
                self._note_parts(atom.of, found)
            elif type(atom) is not Loop:
                self._note_gate(atom.gate, found)

    # --- split ------------------------------------------------------------------------------------

    def _split(self, loops: list[Loop], indices: list[Affine]) -> list[Loop]:
        """Split loops at the numbers they are divided by: quotients and remainders vanish."""
        factors: dict[Loop, set[int]] = {}
        for a, by in self._divided:
            for loop, k in a.terms:
                if type(loop) is Loop and by % k == 0:
                    factors.setdefault(loop, set()).add(by // abs(k))
        out: list[Loop] = []
        pieces: dict[Loop, Affine] = {}
        for loop in loops:
            steps = [*_chain(loop.extent, factors.get(loop, set())), 1]
            if len(steps) == 1:
                out.append(loop)
                continue
            total, extent, group = ZERO, loop.extent, self._groups[loop]
            for i, step in enumerate(steps):
                part = self._new_loop(extent // step, group._replace(place=group.place + i / 16))
                total = add(total, scale(single(part), step))
                extent = step
                out.append(part)
            pieces[loop] = total
        for mapping in (self._mapping, self._runs):
            for old, new in mapping.items():
                mapping[old] = replace(new, pieces, _same)
        return out

    def _new_loop(self, extent: int, group: Group) -> Loop:
        loop = Loop(-len(self._groups) - 1, extent)
        self._groups[loop] = group
        return loop

    # --- merge ------------------------------------------------------------------------------------

    def _merge(self, loops: list[Loop], indices: list[Affine]) -> list[Loop]:
        """Join pairs (i, j) that occur only as k*(i*n + j): i becomes 0, and j the joined loop."""
        uses: dict[Loop, list[tuple[int, int]]] = {loop: [] for loop in loops}
        for number, a in enumerate(indices):
            for atom, k in a.terms:
                if type(atom) is Loop:
                    uses[atom].append((number, k))
        loops = sorted(loops, key=self._groups.__getitem__)
        joined: dict[Loop, Affine] = {}
        pair = _mergeable(loops, uses, self._groups)
        while pair is not None:
            outer, inner = pair
            one = self._new_loop(outer.extent * inner.extent, self._groups[inner])
            uses[one] = uses[inner]
            joined[outer], joined[inner] = ZERO, single(one)
            loops[loops.index(inner)] = one
            loops.remove(outer)
            pair = _mergeable(loops, uses, self._groups)
        for mapping in (self._mapping, self._runs) if joined else ():
            for old, new in mapping.items():
                while loops_of(new) & joined.keys():
                    new = replace(new, joined, _same)
                mapping[old] = new
        return loops


def _mergeable(
    loops: list[Loop], uses: dict[Loop, list[tuple[int, int]]], groups: dict[Loop, Group]
) -> tuple[Loop, Loop] | None:
    for inner in reversed(loops):
        wanted = [(number, k * inner.extent) for number, k in uses[inner]]
        for outer in loops:
            alike = outer is not inner and groups[outer][:-1] == groups[inner][:-1]
            if alike and uses[outer] == wanted:
                return outer, inner
    return None


def _same(atom: object) -> object:
    return atom


def _chain(extent: int, factors: set[int]) -> list[int]:
    """Return factors that divide one another and the extent, largest first."""
    steps: list[int] = []
    for factor in sorted(factors):
        if 1 < factor < extent and extent % factor == 0 and (not steps or factor % steps[-1] == 0):
            steps.append(factor)
    return steps[::-1]
