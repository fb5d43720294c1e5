"""What a plan is made of while it grows: demands for values inside nests (kernels to be).

A demand says: the value of `node`, at `index`, is wanted in `nest`, as far as `gate` holds. Equal
demands are one object, which is how common subexpressions stay common. A demand is answered inline
(by links to demands on the sources) or by a load, once its node has been stored by another nest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

from inkle.ir.dtype import DType
from inkle.ir.node import Node, Shape
from inkle.ir.op import Op
from inkle.schedule.index import NONE, Affine, Atom, Atoms, Gate, Loop, loops_of, single
from inkle.schedule.movement import Index, flatten, reindex

TILE = 32  # points of a register tile that share one evaluation of an operand


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
        "choices", "gate", "index", "is_loaded", "is_passed_on", "layout", "links", "loops",
        "nest", "node", "outer", "share", "update", "users", "view",
    )  # fmt: skip

    def __init__(self, node: Node, nest: Nest, view: Shape, index: Index, gate: Gate) -> None:
        self.node, self.nest, self.view, self.index, self.gate = node, nest, view, index, gate
        self.is_loaded = self.is_passed_on = False
        self.layout: tuple[int, ...] | None = None
        self.links: list[Link] = []
        self.choices: list[Gate] = []
        self.loops: list[Loop] = []
        self.outer: Demand | None = None
        self.users = 0
        self.share = 1
        self.update: Node | None = None

    def depends_on(self) -> Atoms:
        """Return the loops that the index depends on."""
        return NONE.union(*[loops_of(each) for each in self.index])

    def deepest(self) -> Loop | None:
        """Return the innermost loop that the index depends on."""
        loops = self.depends_on()
        return max(loops, key=lambda loop: len(loop.enclosing)) if loops else None

    def points(self) -> int:
        """Return how often the value is computed if inline: once per point of the loops around it.

        Operands of a contraction are computed once per register tile, not once per point.
        """
        loop = self.deepest()
        if loop is None:
            return 1
        points = loop.points
        if loop.is_contraction:
            points = max(prod([each.extent for each in self.depends_on()]), points // TILE)
        for condition in self.gate:
            if condition.modulus:  # the loops will run over what counts only (`fold`)
                points //= condition.modulus
        return max(1, points)

    def is_in_contraction(self) -> bool:
        """Whether the value is an operand of a contraction."""
        loop = self.deepest()
        return loop is not None and loop.is_contraction

    def covers(self) -> bool:
        """Whether the nest wants every element once: the axes of the value are all its loops."""
        if not self.is_spread():
            return False
        return all(
            n == 1 or (not each.offset and [(t.extent, k) for t, k in each.terms] == [(n, 1)])
            for each, n in zip(self.index, self.view, strict=True)
        )

    def is_spread(self) -> bool:
        """Whether the nest wants each element at most once: one loop per axis, or a constant."""
        found: list[Atom] = []
        for each in self.index:
            if len(each.terms) > 1 or (each.terms and type(each.terms[0][0]) is not Loop):
                return False
            found += [atom for atom, _ in each.terms]
        loops = self.nest.loops
        return not self.gate and len(found) == len(loops) and set(found) == set(loops)

    def position(self) -> Affine:
        """Return where the element is in memory."""
        if self.layout is None:
            return flatten(self.index, self.view)
        shape = self.node.shape
        index = reindex(self.index, self.view, shape)
        return flatten([index[axis] for axis in self.layout], [shape[axis] for axis in self.layout])


@dataclass(slots=True)
class Store:
    """One write of a nest: `link` goes to element `at` of the storage of `node`, where `gate`.

    With `combine`, the value is combined with what is there, once per point of `loops`.
    """

    node: Node
    at: Affine
    link: Link
    gate: Gate = ()
    combine: Op | None = None
    loops: tuple[Loop, ...] = ()


@dataclass(eq=False, slots=True)
class Nest:
    """One kernel in the making.

    Attributes:
        number: running number.
        shape: extents of the points it runs over, before axes of length 1 are left out.
        index: one coordinate per axis of `shape`.
        loops: the loops of these axes.
        stores: what it writes.
        before: nests that must run earlier.
        loaded: nodes it reads from memory.
        reductions: REDUCE demands computed in it.
        contraction: the one that is a contraction, if any.
        prefixes: sets of loops that must be the outermost ones, each a subset of the next.
        size: number of demands.
        reason: why its value is stored.
        is_open: whether more stores may join.
        is_ordered: whether its stores may collide, so that their order matters.
        is_live: whether it will run.
    """

    number: int
    shape: Shape
    index: Index
    loops: tuple[Loop, ...]
    reason: str
    stores: list[Store] = field(default_factory=list)
    before: set[Nest] = field(default_factory=set)
    loaded: dict[Node, int] = field(default_factory=dict)
    reductions: list[Demand] = field(default_factory=list)
    contraction: Demand | None = None
    prefixes: list[Atoms] = field(default_factory=list)
    size: int = 0
    is_open: bool = True
    is_ordered: bool = False
    is_live: bool = True

    @property
    def points(self) -> int:
        """How many points the loops have."""
        return self.loops[-1].points if self.loops else 1


def new_nest(number: int, shape: Shape, reason: str, first_loop: int) -> Nest:
    """Return an empty nest with a loop per axis of `shape`, numbered from `first_loop`."""
    loops: tuple[Loop, ...] = ()
    index = []
    for n in shape:
        if n == 1:
            index.append(Affine(0, ()))
        else:
            loops = (*loops, Loop(first_loop + len(loops), n, loops))
            index.append(single(loops[-1]))
    return Nest(number, shape, tuple(index), loops, reason)


@dataclass(eq=False, slots=True)
class Storage:
    """Memory of a plan, not yet placed: versions of one array may share it, one after the other."""

    dtype: DType
    size: int
    is_output: bool = False
