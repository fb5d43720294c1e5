"""What a plan is made of while it grows: demands for values inside nests (kernels to be).

A demand says: the value of `node`, at `index`, is wanted in `nest`, as far as `gate` holds. Equal
demands are one object, which is how common subexpressions stay common. A demand is answered inline
(by links to demands on the sources) or by a load, once its node has been stored by another nest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from inkle.ir import forms
from inkle.ir.dtype import DType
from inkle.ir.loop import extent, longest, range_
from inkle.ir.node import NO_RANGES, Node, Shape
from inkle.ir.op import Op
from inkle.ir.size import most
from inkle.rewrite.affine import ZERO, Affine, single
from inkle.schedule.index import Gate, Loops
from inkle.schedule.movement import Index, flatten, reindex

if TYPE_CHECKING:
    from inkle.schedule.scans import Loop

SAME_MEMORY = frozenset({forms.RESHAPE, forms.DETACH, forms.CONTIGUOUS})
TILE = 32  # points of a register tile that share one evaluation of an operand


class Scope(NamedTuple):
    """Where a loop is.

    Attributes:
        depth: how many loops enclose its body.
        enclosing: the loops around it, outermost first, itself last.
        points: product of their extents: how often its body runs.
        is_contraction: whether its body is the body of a contraction.
    """

    depth: int
    enclosing: tuple[Node, ...]
    points: int
    is_contraction: bool


OUTSIDE = Scope(0, (), 1, False)
_depth_of = itemgetter(0)


class Link(NamedTuple):
    """Where a source comes from: `target`, or 0 where not `gate`. A Node stands for a constant."""

    gate: Gate
    target: Demand | Node


class Demand:
    """A value wanted at one place.

    Attributes:
        node: the tensor-form node.
        nest: the kernel it is wanted in.
        view: shape that `index` refers to; it has as many elements as the node.
        index: coordinates in `view`.
        gate: where the index is sure to be inside `view`; empty if it always is.
        depends_on: the loops that the index depends on.
        scope: of the innermost of them.
        is_loaded: read from memory (else computed in place from `links`).
        is_passed_on: the only link is the value itself, which the same kernel stores.
        links: sources, once computed inline; for CAT, one per part.
        choices: for CAT, the condition under which each part but the last is chosen.
        loops: ranges of a REDUCE.
        outer: the REDUCE directly around this one, if they may become one.
        layout: axes of the node from outer to inner, if it is not stored row major.
        users: how many links lead here.
        update: the in-place write that wants this value as its initial contents.
        share: of its points, one in so many lies inside the gates around it.
    """

    __slots__ = (
        "__weakref__", "_position", "choices", "depends_on", "gate", "index", "is_loaded",
        "is_passed_on", "layout", "links", "loops", "nest", "node", "outer", "scope", "share",
        "update", "users", "view",
    )  # fmt: skip

    def __init__(self, node: Node, nest: Nest, view: Shape, index: Index, gate: Gate) -> None:
        self.node, self.nest, self.view, self.index, self.gate = node, nest, view, index, gate
        atoms = [atom for each in index for atom in each.terms]
        self.depends_on: Loops = NO_RANGES.union(*[atom.ranges for atom in atoms])
        scopes = nest.scopes
        self.scope = max([scopes[r] for r in self.depends_on], key=_depth_of, default=OUTSIDE)
        self.is_loaded = self.is_passed_on = False
        self.layout: tuple[int, ...] | None = None
        self._position: Affine | None = None
        self.links: list[Link] = []
        self.choices: list[Gate] = []
        self.loops: list[Node] = []
        self.outer: Demand | None = None
        self.users = 0
        self.share = 1
        self.update: Node | None = None

    def __repr__(self) -> str:
        return f"{self.node!r} in nest {self.nest.number}"  # the same in every process

    def points(self) -> int:
        """Return how often the value is computed if inline: once per point of the loops around it.

        Operands of a contraction are computed once per register tile, not once per point.
        """
        points = self.scope.points
        if self.scope.is_contraction:
            points = max(prod(map(longest, self.depends_on)), points // TILE)
        for condition in self.gate:
            if condition.modulus:  # the loops will run over what counts only (`fold`)
                points //= condition.modulus
        return max(1, points)

    def is_in_contraction(self) -> bool:
        """Whether the value is an operand of a contraction."""
        return self.scope.is_contraction

    def covers(self) -> bool:
        """Whether the nest wants every element once: the axes of the value are all its loops.

        But for inner loops that came later: what they do not matter to is computed outside of them.
        """
        loops = self._axes()
        return loops is not None and self.nest.outer_loops <= set(loops) <= set(self.nest.loops)

    def _axes(self) -> list[Node] | None:
        """Return the loops that run over the axes of the value, if each does over all of one."""
        found: list[Node] = []
        for each, n in zip(self.index, self.view, strict=True):
            if n == 1:
                continue
            terms = list(each.terms.items())
            if each.constant or len(terms) != 1 or terms[0][1] != 1:
                return None
            loop = terms[0][0]
            if loop.op is not forms.RANGE or extent(loop) != n or loop in found:
                return None
            found.append(loop)
        return None if self.gate else found

    def short_loops(self, limit: int) -> list[Node]:
        """Return the loops of a reduction inside of which the nest wants every element once.

        Empty if there are none, or if they have more than `limit` points.
        """
        loops = (self._axes() if self.view == self.node.shape else None) or []
        inner = [r for r in loops if r not in self.nest.loops]
        is_all = set(self.nest.loops) <= set(loops)
        return inner if is_all and prod(map(longest, inner)) <= limit else []

    def is_spread(self) -> bool:
        """Whether the nest wants each element at most once: one loop per axis, or a constant."""
        loops = self.nest.loops
        if self.gate or any(len(each.terms) > 1 for each in self.index):
            return False
        found = [atom for each in self.index for atom in each.terms]
        return len(found) == len(loops) and set(found) == set(loops)

    def row_major(self) -> Affine:
        """Return which element it is."""
        return flatten(self.index, self.view)

    @property
    def position(self) -> Affine:
        """Where the element is in memory, once that is planned."""
        if self._position is None:
            self._position = (
                self.row_major() if self.layout is None else self._laid_out(self.layout)
            )
        return self._position

    def _laid_out(self, layout: tuple[int, ...]) -> Affine:
        shape = self.node.shape
        index = reindex(self.index, self.view, shape)
        return flatten([index[axis] for axis in layout], [shape[axis] for axis in layout])


@dataclass(slots=True)
class Store:
    """One write of a nest: `link` goes to element `at` of the storage of `node`, where `gate`.

    With `combine`, the value is combined with what is there, once per point of `loops`. `reason`
    says why, where that is another one than that of the nest.
    """

    node: Node
    at: Affine
    link: Link
    gate: Gate = ()
    combine: Op | None = None
    loops: tuple[Node, ...] = ()
    reason: str = ""


@dataclass(eq=False, slots=True)
class Nest:
    """One kernel in the making.

    Attributes:
        number: running number.
        shape: extents of the points it runs over, before axes of length 1 are left out.
        index: one coordinate per axis of `shape`.
        loops: the loops of these axes.
        scopes: where its loops are, those of reductions included.
        stores: what it writes.
        before: nests that must run earlier.
        loaded: nodes it reads from memory.
        reductions: REDUCE demands computed in it.
        coordinates: demands that its indices are computed from.
        contraction: the one that is a contraction, if any.
        prefixes: sets of loops that must be the outermost ones, each a subset of the next.
        size: number of demands.
        added: how many of its loops, the last ones, came with a store inside of the others.
        reason: why its value is stored.
        is_open: whether more stores may join.
        is_ordered: whether its stores may collide, so that their order matters.
        is_live: whether it will run.
        repeats: the loop over time that it stands for, if it does; `stores` then only say what is
            stored.
        calls: the call of a library function that it stands for, if it does.
    """

    number: int
    shape: Shape
    index: Index
    loops: tuple[Node, ...]
    reason: str
    scopes: dict[Node, Scope] = field(default_factory=dict)
    stores: list[Store] = field(default_factory=list)
    before: set[Nest] = field(default_factory=set)
    loaded: dict[Node, int] = field(default_factory=dict)
    reductions: list[Demand] = field(default_factory=list)
    coordinates: list[Demand] = field(default_factory=list)
    contraction: Demand | None = None
    prefixes: list[Loops] = field(default_factory=list)
    size: int = 0
    added: int = 0
    is_open: bool = True
    is_ordered: bool = False
    is_live: bool = True
    repeats: Loop | None = None
    calls: Node | None = None

    @property
    def points(self) -> int:
        """How many points the loops have."""
        return most(prod(self.shape))

    @property
    def outer_loops(self) -> set[Node]:
        """The loops that were there from the start."""
        return set(self.loops[: len(self.loops) - self.added])

    def add_loop(
        self, number: int, n: int, around: tuple[Node, ...], *, is_contraction: bool = False
    ) -> Node:
        """Return a new loop of `n` iterations, inside the loops `around`."""
        loop = range_(number, n)
        points = most(n) * (self.scopes[around[-1]].points if around else 1)
        self.scopes[loop] = Scope(len(around) + 1, (*around, loop), points, is_contraction)
        return loop

    def may_grow(self) -> bool:
        """Whether inner loops with more stores may be added."""
        return self.is_open and not self.is_ordered and self.contraction is None

    def grow(self, first_loop: int, extents: Sequence[int]) -> tuple[Node, ...]:
        """Add inner loops, numbered from `first_loop`; what is there now stays outside of them."""
        for number, n in enumerate(extents, first_loop):
            self.loops = (*self.loops, self.add_loop(number, n, self.loops))
            self.shape, self.index = (*self.shape, n), (*self.index, single(self.loops[-1]))
        self.added += len(extents)
        for demand in self.reductions:
            prefix = demand.depends_on & frozenset(self.loops)
            if prefix not in self.prefixes:
                self.prefixes.append(prefix)
        return self.loops[-len(extents) :]


def stored_as(node: Node) -> Node:
    """Return the node whose memory, once stored, holds the elements of `node` in the same order."""
    while node.op in SAME_MEMORY:
        node = node.src[0]
    return node


def new_nest(number: int, shape: Shape, reason: str, first_loop: int) -> Nest:
    """Return an empty nest with a loop per axis of `shape`, numbered from `first_loop`."""
    nest = Nest(number, shape, (), (), reason)
    for n in shape:
        if n != 1:
            loop = nest.add_loop(first_loop + len(nest.loops), n, nest.loops)
            nest.loops = (*nest.loops, loop)
    loops = iter(nest.loops)
    nest.index = tuple([ZERO if n == 1 else single(next(loops)) for n in shape])
    return nest


@dataclass(eq=False, slots=True)
class Storage:
    """Memory of a plan, not yet placed: versions of one array may share it, one after the other.

    Attributes:
        node: the value that was stored there first, for people; of a step of a loop, not known.
        copies: one for each worker, where each needs its own.
    """

    dtype: DType
    size: int
    node: Node | None = None
    is_output: bool = False
    copies: int = 1
