"""The loop form: ranges with axis kinds, memory accesses, reductions, and the kernel around them.

A kernel is a set of STOREs whose values are expressions over RANGEs. Nothing says "loop here": a
node is emitted once per point of the UNROLL ranges it depends on, at the depth of the deepest loop
it depends on, as a vector if it depends on a LANE range. Hoisting, common subexpressions, row
fusion and register tiles follow from this one rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from math import prod

from inkle.ir import forms
from inkle.ir.bounds import bounds
from inkle.ir.dot import Instruction
from inkle.ir.dtype import DType, index, void
from inkle.ir.node import Node, as_index, const, intern, toposort
from inkle.ir.op import Op
from inkle.ir.size import size_of_node


class Axis(Enum):
    """What the iterations of a range become."""

    GRID = "grid"  # blocks of a GPU; chunks shared out to worker threads of a CPU
    WORKER = "worker"  # warps of one block; a CPU has one
    LANE = "lane"  # lanes of a warp; lanes of a SIMD register
    UNROLL = "unroll"  # copies in registers
    LOOP = "loop"  # one after the other


def range_(number: int, extent: Node | int, axis: Axis = Axis.LOOP) -> Node:
    """Return range `number`: an index that runs over 0 .. extent - 1."""
    return intern(forms.RANGE, index, (as_index(extent),), (number, axis), ())


def extent(r: Node) -> int:
    """Return the length of a range: a number, or a size known at launch."""
    size = r.src[0]
    return int(size.arg) if size.op is forms.CONST else size_of_node(size)


def longest(r: Node) -> int:
    """Return the extent of a range, or the most it can be."""
    size = r.src[0]
    if size.op is forms.CONST:
        return int(size.arg)
    _, high = bounds(size)
    assert high is not None, f"range {r.arg} has no limit"
    return high


def axis_of(r: Node) -> Axis:
    """Return the axis kind of a range."""
    axis: Axis = r.arg[1]
    return axis


def number_of(r: Node) -> int:
    """Return the number of a range, unique within its kernel."""
    number: int = r.arg[0]
    return number


def load(memory: Node, at: Node, gate: Node | None = None) -> Node:
    """Return the element of `memory` (PARAM or STAGE) at the index `at`; 0 where not `gate`."""
    src = (memory, at) if gate is None else (memory, at, gate)
    return intern(forms.LOAD, memory.dtype, src, None, ())


def store(
    memory: Node, at: Node, value: Node, gate: Node | None = None, combine: Op | None = None
) -> Node:
    """Return the write of `value` to `memory` at the flat index `at`, where `gate` holds."""
    src = (memory, at, value) if gate is None else (memory, at, value, gate)
    return intern(forms.STORE, void, src, combine, ())


def reduce(op: Op, value: Node, ranges: Sequence[Node]) -> Node:
    """Return `value` combined over all points of `ranges`; `value` itself if there are none."""
    return intern(forms.REDUCE, value.dtype, (value, *ranges), (op,), ()) if ranges else value


def prefix(op: Op, value: Node, ranges: Sequence[Node]) -> Node:
    """Return `value` combined with those at all earlier points of `ranges`, outer ones first."""
    return intern(forms.PREFIX, value.dtype, (value, *ranges), (op,), ()) if ranges else value


def carry(number: int, initial: Node, places: Sequence[Node]) -> Node:
    """Return what a FOLD carries: `initial` before its first point; differs by `places` alone."""
    return intern(forms.CARRY, initial.dtype, (initial, *places), (number,), ())


def fold(
    value: Node, carries: Sequence[Node], following: Sequence[Node], ranges: Sequence[Node]
) -> Node:
    """Return `value` at each point of `ranges`, where `carries` become `following` in between."""
    src = (value, *carries, *following, *ranges)
    return intern(forms.FOLD, value.dtype, src, (len(carries),), ())


def carried(node: Node) -> list[tuple[Node, Node]]:
    """Return the carries of a FOLD, each with what it becomes."""
    (count,) = node.arg
    return list(zip(node.src[1 : 1 + count], node.src[1 + count :][:count], strict=False))


def runs_over(node: Node) -> tuple[Node, ...]:
    """Return the ranges that a PREFIX or FOLD runs along (none for other nodes)."""
    if node.op is forms.FOLD:
        return node.src[1 + 2 * node.arg[0] :]
    return node.src[1:] if node.op is forms.PREFIX else ()


def running_ranges(nodes: Iterable[Node]) -> frozenset[Node]:
    """Return the ranges whose points come one after the other, for a PREFIX or FOLD."""
    found = [runs_over(node) for node in nodes]
    return frozenset([r for ranges in found for each in ranges for r in each.ranges])


def stage(number: int, value: Node, at: Node, ranges: Sequence[Node], size: int) -> Node:
    """Return fast memory of `size` elements, filled with `value` at index `at` over `ranges`."""
    return intern(forms.STAGE, value.dtype, (value, at, *ranges), (number, size), ())


def dot(
    instruction: Instruction, a: Node, b: Node, at: tuple[Node, Node], ranges: Sequence[Node]
) -> Node:
    """Return the element at (lane, register) of the product of two tiles.

    Args:
        instruction: what multiplies them.
        a: element of the first tile at lane ranges[0] and register ranges[1].
        b: element of the second tile at lane ranges[0] and register ranges[2].
        at: lane and register of the result.
        ranges: a LANE and two UNROLL ranges, which this binds.
    """
    return intern(forms.DOT, instruction.accumulator, (a, b, *at, *ranges), instruction.name, ())


def flat_index(indices: Sequence[Node], shape: Sequence[int]) -> Node:
    """Return the row-major position of `indices` in an array of `shape`."""
    total = const(0, index)
    for i, (each, n) in enumerate(zip(indices, shape, strict=True)):
        scale = prod(shape[i + 1 :])
        if n != 1:
            term = each if scale == 1 else each * scale
            total = term if total.op is forms.CONST and total.arg == 0 else total + term
    return total


@lru_cache(maxsize=256)  # every pass asks; a kernel goes through a dozen of them
def _nodes(stores: tuple[Node, ...]) -> tuple[Node, ...]:
    return tuple(toposort(stores))


@dataclass(frozen=True, slots=True)
class Kernel:
    """One loop nest.

    Attributes:
        stores: the STORE nodes; they write disjoint memory or the same memory in order.
        order: every GRID, WORKER and LOOP range, outermost first (UNROLL and LANE ranges have no
            place in the order).
        schedule: the transforms applied so far, as text; printable and replayable.
    """

    stores: tuple[Node, ...]
    order: tuple[Node, ...]
    schedule: tuple[str, ...] = ()

    def nodes(self) -> tuple[Node, ...]:
        """Return all nodes, sources before users."""
        return _nodes(self.stores)

    def params(self) -> list[Node]:
        """Return the PARAM nodes by slot."""
        found = {node for node in self.nodes() if node.op is forms.PARAM}
        return sorted(found, key=lambda node: int(node.arg[0]))

    def variables(self) -> list[Node]:
        """Return the VARIABLE nodes by name."""
        found = [node for node in self.nodes() if node.op is forms.VARIABLE]
        return sorted(found, key=lambda node: str(node.arg[0]))

    def ranges(self) -> list[Node]:
        """Return all RANGE nodes by number."""
        return sorted((n for n in self.nodes() if n.op is forms.RANGE), key=number_of)

    def dtype_of(self, slot: int) -> DType:
        """Return the element dtype of PARAM `slot`."""
        return next(p.dtype for p in self.params() if p.arg[0] == slot)
