"""The loops of a finished kernel: which are one, which are two, in which order.

    share   reductions of equal extents at the same place run in one loop, if none needs the other
    split   i // 4 and i % 4 of a loop i become two loops
    merge   two loops that every index uses as i*n + j become one
    order   outermost first: loops that inner reductions depend on, other outputs, reductions

All of it maps loops to sums of new loops, applied when indices are written out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from inkle.ir import forms, ops
from inkle.ir.loop import extent, range_
from inkle.ir.node import Node
from inkle.ir.size import Size, most
from inkle.rewrite.affine import ZERO, Affine, factors_of, single, total_of
from inkle.schedule.fold import Fold, folds_of
from inkle.schedule.index import Condition, Loops, Replacement, division
from inkle.schedule.nest import Demand, Nest, Store
from inkle.schedule.walk import computed_in, conditions_of

Use = tuple[object, int]  # of a loop: in which index (times what), with which coefficient


@dataclass(slots=True)
class Arrangement:
    """The loops of a kernel.

    Attributes:
        split: each planned loop, as a sum of its pieces. An index is written out in terms of
            these first: what divides a loop (r // 4) is a piece then, whatever that is joined to.
        joined: each piece, as a sum of final loops.
        mapping: each planned loop, as a sum of final loops.
        ranges: each planned loop of a reduction, as the final loops that it runs over.
        order: final loops, outermost first.
        limits: for a planned loop that may now run too far, where it does not.
        settled: conditions that always hold, by the choice of loops.
    """

    split: dict[Node, Affine]
    joined: dict[Node, Affine]
    mapping: dict[Node, Affine]
    ranges: dict[Node, Loops]
    order: list[Node]
    limits: dict[Node, Condition]
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
    place: int


class Arranger:
    """Arranges the loops of the nests that make up one kernel.

    Args:
        nests: nests of equal extents, to run in one set of loops.
        demands: their demands with what each needs, sources first.
    """

    def __init__(self, nests: Sequence[Nest], demands: dict[Demand, list[Demand]]) -> None:
        self._nests = nests
        self._demands = demands
        self._mapping: dict[Node, Affine] = {}
        self._runs: dict[Node, Affine] = {}  # like _mapping, without what a fold adds
        self._groups: dict[Node, Group] = {}
        self._divided: list[tuple[Affine, int]] = []
        self._folds: dict[Node, Fold] = {}
        for demand in demands:
            self._folds.update(folds_of(demand))
        self._conditions = dict.fromkeys(self._planned_conditions())

    def run(self) -> Arrangement:
        """Return the arrangement."""
        loops = [*self._share_outputs(), *self._share_reductions()]
        indices = self._indices()
        split = self._split(loops)
        while len(split) > len(loops):  # (i // 4) % 2 splits i at 4, then what is left of it at 2
            loops, indices = split, self._indices()
            split = self._split(loops)
        pieces, planned = loops, dict(self._mapping)
        loops, joins = self._merge(loops, indices)
        loops.sort(key=self._groups.__getitem__)
        order = [range_(number, extent(loop)) for number, loop in enumerate(loops)]
        final = Replacement(dict(zip(loops, map(single, order), strict=True)))
        mapping = {old: final(new) for old, new in self._mapping.items()}
        joined = {piece: final(joins.get(piece, single(piece))) for piece in pieces}
        ranges = {loop: final(a).ranges for loop, a in self._runs.items()}
        limits = {k: fold.limit for k, fold in self._folds.items() if fold.limit is not None}
        settled = {fold.condition for fold in self._folds.values()}
        return Arrangement(planned, joined, mapping, ranges, order, limits, settled)

    # --- share ------------------------------------------------------------------------------------

    def _share_outputs(self) -> list[Node]:
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

    def _share_reductions(self) -> list[Node]:
        """Give reductions of equal extents, at the same place and level, the same loops.

        The level counts reductions below; of two on one level, neither needs the other.
        """
        levels: dict[Demand, int] = {}
        for demand, sources in self._demands.items():
            level = max([levels[each] for each in sources], default=0)
            levels[demand] = level if self._is_one_point(demand) else level + 1
        loops: list[Node] = []
        depths: dict[Node, int] = {}
        found: dict[object, list[Node]] = {}
        for demand in reversed(self._demands):  # outer ones before inner ones
            if not demand.loops:
                continue
            around = frozenset([self._stands_for(loop) for loop in demand.depends_on])
            key = (tuple(map(extent, demand.loops)), around, levels[demand])
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

    def _is_one_point(self, demand: Demand) -> bool:
        """Whether nothing is reduced, or no more than the one point that remainders pin down."""
        return all(
            loop in self._folds and extent(loop) <= self._folds[loop].step for loop in demand.loops
        )

    def _folded(self, loops: list[Node]) -> list[Node]:
        """Let loops that a remainder pins down take only the values that count."""
        out = []
        for loop in loops:
            fold = self._folds.get(loop)
            if fold is None:
                out.append(loop)
                continue
            rounds = -(-extent(loop) // fold.step)
            self._runs[loop] = ZERO
            if rounds > 1:
                out.append(self._new_loop(rounds, self._groups[loop]))
                self._runs[loop] = single(out[-1])
            first = Replacement(self._mapping)(fold.remainder)
            self._mapping[loop] = first.plus(self._runs[loop], fold.step)
        return out

    def _stands_for(self, loop: Node) -> Node:
        found = self._mapping[loop].terms
        return next(iter(found)) if len(found) == 1 else loop

    # --- what the kernel's indices are ------------------------------------------------------------

    def _planned_conditions(self) -> Iterator[Condition]:
        stores = [store for nest in self._nests for store in nest.stores]
        users: list[Demand | Store] = [*stores, *self._demands]
        for user in users:
            conditions = conditions_of(user)
            yield from conditions
            for computed in computed_in(conditions):
                yield from computed.gate

    def _indices(self) -> list[Affine]:
        """Return every index expression of the kernel, in terms of the loops chosen so far."""
        found: dict[Affine, None] = {}
        self._divided = []
        replaced = Replacement(self._mapping)
        for value, modulus in self._conditions:
            index = replaced(value)
            self._note(index, found)
            if modulus:
                self._divided.append((index, modulus))
        return list(found)

    def _note(self, a: Affine, found: dict[Affine, None]) -> None:
        if a in found:
            return
        found[a] = None
        for atom in a.terms:
            inside = division(atom)
            if inside is not None:
                self._divided.append((inside[0], inside[1]))
                self._note(inside[0], found)

    # --- split ------------------------------------------------------------------------------------

    def _split(self, loops: list[Node]) -> list[Node]:
        """Split loops at the numbers they are divided by: quotients and remainders vanish."""
        if not self._divided:
            return loops
        factors: dict[Node, set[int]] = {}
        for a, by in self._divided:
            for loop, k in a.terms.items():
                if loop.op is forms.RANGE and by % k == 0:
                    factors.setdefault(loop, set()).add(by // abs(k))
        out: list[Node] = []
        pieces: dict[Node, Affine] = {}
        for loop in loops:
            whole = extent(loop)
            steps = [*_chain(whole, factors.get(loop, set())), 1]
            if len(steps) == 1:
                out.append(loop)
                continue
            parts = []
            for step in steps:
                out.append(self._new_loop(whole // step, self._groups[loop]))
                parts.append((single(out[-1]), step))
                whole = step
            pieces[loop] = total_of(parts)
        if pieces:
            self._replace(Replacement(pieces))
        for place, loop in enumerate(out):
            self._groups[loop] = self._groups[loop]._replace(place=place)
        return out

    def _replace(self, replacement: Replacement) -> None:
        for mapping in (self._mapping, self._runs):
            for old, new in mapping.items():
                mapping[old] = replacement(new)

    def _new_loop(self, n: int, group: Group) -> Node:
        loop = range_(-len(self._groups) - 1, n)
        self._groups[loop] = group
        return loop

    # --- merge ------------------------------------------------------------------------------------

    def _merge(
        self, loops: list[Node], indices: list[Affine]
    ) -> tuple[list[Node], dict[Node, Affine]]:
        """Join pairs (i, j) that occur only as k*(i*n + j): i becomes 0, and j the joined loop.

        Returns:
            The loops left, and what those that are not have become.
        """
        uses: dict[Node, list[Use]] = {loop: [] for loop in loops}
        for number, a in enumerate(indices):
            for atom, k in a.terms.items():
                if atom.op is forms.RANGE:
                    uses[atom].append((number, k))
                elif atom.op is ops.MUL:  # by a stride that is known at launch
                    for loop in atom.ranges:
                        others = tuple([f for f in factors_of(atom) if f is not loop])
                        uses[loop].append(((number, others), k))
        loops = sorted(loops, key=self._groups.__getitem__)
        joined: dict[Node, Affine] = {}
        pair = _mergeable(loops, uses, self._groups)
        while pair is not None:
            outer, inner = pair
            one = self._new_loop(extent(outer) * extent(inner), self._groups[inner])
            uses[one] = uses[inner]
            joined[outer], joined[inner] = ZERO, single(one)
            loops[loops.index(inner)] = one
            loops.remove(outer)
            pair = _mergeable(loops, uses, self._groups)
        resolved: dict[Node, Affine] = {}
        for old, new in reversed(joined.items()):  # a joined loop may have been joined again
            resolved[old] = Replacement(resolved)(new)
        if joined:
            self._replace(Replacement(resolved))
        return loops, resolved


def _mergeable(
    loops: list[Node], uses: dict[Node, list[Use]], groups: dict[Node, Group]
) -> tuple[Node, Node] | None:
    for inner in reversed(loops):
        n = extent(inner)
        if isinstance(n, Size):
            continue  # coefficients of an outer loop are products then, and no multiples
        wanted = [(number, k * n) for number, k in uses[inner]]
        for outer in loops:
            alike = outer is not inner and groups[outer][:-1] == groups[inner][:-1]
            if alike and uses[outer] == wanted:
                return outer, inner
    return None


def _chain(extent: int, factors: set[int]) -> list[int]:
    """Return factors that divide one another and the extent, largest first."""
    steps: list[int] = []
    for factor in sorted(factors):
        fits = 1 < factor < most(extent) and extent % factor == 0
        if fits and (not steps or factor % steps[-1] == 0):
            steps.append(factor)
    return steps[::-1]
