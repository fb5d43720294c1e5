"""What things cost, in nanoseconds of one core: the numbers behind `place`.

Rough on purpose: decisions hang on factors, not on percents. Measured on a 3.6 GHz Zen 4 core with
512-bit vectors and two cores sharing 20 GB/s.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import NamedTuple

from inkle.ir import forms, ops
from inkle.ir.node import Node, Shape
from inkle.ir.op import Op
from inkle.ir.size import most
from inkle.schedule.movement import grouped


@dataclass(frozen=True, slots=True)
class Facts:
    """The machine, as far as placement depends on it.

    Attributes:
        flop: one vectorised arithmetic operation, per element.
        near: one element from the first cache levels.
        far: four bytes from memory.
        write: four bytes to memory (which are read first).
        launch: starting a kernel.
        call: starting one that is too short to be shared out.
        row_bytes: what may be kept in cache between two passes over a row.
        cache_bytes: arrays up to this size are read from cache, not from memory.
        chunks: independent parts of the work needed to keep the workers busy.
        small: points of work below which parallelism does not matter.
        chunk: elements that one chunk of a long reduction combines.
        threads: workers.
    """

    flop: float = 0.02
    near: float = 0.04
    far: float = 0.25
    write: float = 0.4
    launch: float = 2000.0
    call: float = 200.0
    row_bytes: int = 512 * 1024
    cache_bytes: int = 512 * 1024
    chunks: int = 8
    small: int = 32 * 1024
    chunk: int = 64 * 1024
    threads: int = 1


#: Arithmetic operations that one of these takes once decomposed; all others count as one.
HEAVY: dict[Op, float] = {
    ops.CAST: 0.25, ops.BITCAST: 0.0, ops.DIV: 4.0, ops.SQRT: 6.0, ops.RSQRT: 8.0,
    ops.FLOORDIV: 12.0, ops.FLOORMOD: 12.0, ops.TRUNCDIV: 10.0, ops.TRUNCMOD: 10.0,
    ops.EXP: 14.0, ops.EXP2: 12.0, ops.EXPM1: 20.0, ops.LOG: 18.0, ops.LOG2: 18.0, ops.LOG10: 18.0,
    ops.LOG1P: 20.0, ops.SIN: 25.0, ops.COS: 25.0, ops.TAN: 35.0, ops.ASIN: 25.0, ops.ACOS: 25.0,
    ops.ATAN: 25.0, ops.ATAN2: 35.0, ops.SINH: 25.0, ops.COSH: 20.0, ops.TANH: 20.0, ops.ASINH:
    30.0, ops.ACOSH: 30.0, ops.ATANH: 30.0, ops.ERF: 25.0, ops.ERFC: 35.0, ops.POW: 45.0,
}  # fmt: skip
LIMIT = 1e12
MOST_REPEATED = 32.0  # arithmetic operations that are worth a store and two loads
MOST_CARRIED = 3  # contractions that meet in one expression
MOST_LEAVES = 24  # told apart in one expression


class Work(NamedTuple):
    """What it takes to compute a node from memory.

    Attributes:
        flops: arithmetic operations per element.
        leaves: the stored nodes that are read.
        bytes: of these, all in all.
    """

    flops: float
    leaves: frozenset[Node]
    bytes: int


NO_WORK = Work(0.0, frozenset(), 0)


def size_of(node: Node) -> int:
    """Return the number of elements, of a size known at launch the largest one."""
    return _elements(node.shape)


@lru_cache(maxsize=4096)  # graphs have few shapes
def _elements(shape: Shape) -> int:
    return most(prod(shape))


def bytes_of(node: Node) -> int:
    """Return the size in memory."""
    return size_of(node) * node.dtype.itemsize


def reduced_extent(node: Node) -> int:
    """Return how many elements a REDUCE combines into one."""
    shape = node.src[0].shape
    return most(prod([shape[axis] for axis in node.arg[1]]))


def work_of(order: Sequence[Node], stored: Collection[Node]) -> dict[Node, Work]:
    """Return the work of every node (`order`: sources first).

    Reductions, scatters, updates and what is in `stored` count as stored; so does what is used
    twice and takes so much work that it probably will be.
    """
    users = users_of(order)
    found: dict[Node, Work] = {}
    for node in order:
        flops = max([found[source].flops for source in node.src], default=0.0)
        if flops > MOST_REPEATED and users.get(node, 0) > 1 and node.dtype.bits:
            found[node] = Work(0.0, frozenset((node,)), bytes_of(node))
            continue
        op = node.op
        if op in (forms.CONST, forms.ARANGE, forms.VARIABLE):
            found[node] = NO_WORK
        elif op.is_elementwise and node not in stored:
            found[node] = work_here(node, found)
        elif op is forms.EXPAND:
            work = found[node.src[0]]
            share = size_of(node.src[0]) / max(1, size_of(node))
            found[node] = work._replace(flops=work.flops * share)
        elif op in forms.MOVEMENT or op is forms.DETACH:
            found[node] = found[node.src[0]]
        elif op is forms.CAT:
            found[node] = _joined(2.0, [found[source] for source in node.src])
        elif op is forms.GATHER:
            work = _joined(2.0, [found[source] for source in node.src])
            if work.bytes > bytes_of(node):  # of a large table it reads no more than it takes
                work = Work(work.flops, frozenset((node,)), bytes_of(node))
            found[node] = work
        else:
            found[node] = Work(0.0, frozenset((node,)), bytes_of(node))
    return found


def users_of(order: Sequence[Node]) -> dict[Node, int]:
    """Return how many nodes use each node that is used."""
    users: dict[Node, int] = {}
    for node in order:
        for source in set(node.src):
            users[source] = users.get(source, 0) + 1
    return users


def work_here(node: Node, found: dict[Node, Work]) -> Work:
    """Return the work of an elementwise node, given that of its sources."""
    return _joined(HEAVY.get(node.op, 1.0), [found[source] for source in node.src])


def _joined(flops: float, works: list[Work]) -> Work:
    """Return the work of an operation on distinct sources; a leaf that both read is read once."""
    works = list(dict.fromkeys(works))
    flops = min(LIMIT, flops + sum([work.flops for work in works]))
    if len(works) == 1:
        return works[0]._replace(flops=flops)
    leaves = frozenset().union(*[work.leaves for work in works])
    if len(leaves) > MOST_LEAVES:
        return Work(flops, works[0].leaves, max([work.bytes for work in works]) * 2)
    return Work(flops, leaves, sum([bytes_of(leaf) for leaf in leaves]))


def carried(order: Sequence[Node], contractions: set[Node], outputs: set[Node]) -> set[Node]:
    """Return elementwise nodes through which alone the result of a contraction reaches the rest.

    If such a node is not computed where the contraction is, the contraction has to be stored, which
    takes as much memory as the node itself. Relu of a convolution plus a bias is one, although the
    sum is used twice: in the comparison and in the selection.
    """
    users = users_of(order)
    for node in outputs:
        users[node] = users.get(node, 0) + 1
    below: dict[Node, tuple[Node, ...]] = {}  # contractions whose results a node carries
    uses: dict[Node, int] = {}  # of a contraction: of its result and of what carries it
    found: set[Node] = set()
    for node in order:
        if node.op is forms.REDUCE and node in contractions:
            below[node] = (node,)
            uses[node] = users.get(node, 0)
        elif node.op.is_elementwise or node.op is forms.RESHAPE or node.op is forms.PERMUTE:
            sources = [source for source in dict.fromkeys(node.src) if source in below]
            carries = dict.fromkeys([each for source in sources for each in below[source]])
            for contraction in carries:
                taken = sum(contraction in below[source] for source in sources)
                uses[contraction] += users.get(node, 0) - taken
                if uses[contraction] == users.get(node, 0):
                    found.add(node)
            if sources:
                below[node] = tuple(carries)[-MOST_CARRIED:]
    return found


Varying = dict[Node, frozenset[int]]  # of every node, the axes along which it may vary


def contractions_of(order: Sequence[Node], varying: Varying) -> set[Node]:
    """Return the REDUCEs that are contractions, and the products that they sum.

    A contraction sums products of two values that vary along different axes, so that every element
    is used many times (matmul, convolution).
    """
    found: set[Node] = set()
    for node in order:
        if node.op is forms.REDUCE and node.arg[0] is ops.ADD:
            body = node.src[0]
            while body.op in forms.MOVEMENT or body.op is ops.CAST:
                body = body.src[0]
            if body in found:
                found.add(node)
            elif body.op is ops.MUL:
                left, right = (varying[source] for source in body.src)
                if left - right and right - left:
                    found |= {node, body}
    return found


def varying_axes(order: Sequence[Node], known: Varying | None = None) -> Varying:
    """Return the axes along which each node may vary, added to `known`; `order`: sources first."""
    varying: Varying = {} if known is None else known
    for node in order:
        varying[node] = _varying(node, varying)
    return varying


def _varying(node: Node, varying: Varying) -> frozenset[int]:
    """Return the axes along which a node may vary."""
    shape, op = node.shape, node.op
    if op is forms.CONST:
        return frozenset()
    if op.is_elementwise:
        return frozenset().union(*[varying[source] for source in node.src])
    if op is forms.EXPAND:
        return varying[node.src[0]]
    if op is forms.PERMUTE:
        inner = varying[node.src[0]]
        return frozenset([axis for axis, source in enumerate(node.arg) if source in inner])
    if op in (forms.SLICE, forms.PAD, forms.FLIP, forms.DETACH):
        return varying[node.src[0]]
    if op is forms.SHEAR:
        axis, by, _ = node.arg
        inner = varying[node.src[0]]
        return inner | {by} if axis in inner else inner
    if op is forms.RESHAPE:
        return _varying_reshaped(node, varying[node.src[0]])
    return frozenset([axis for axis, n in enumerate(shape) if n != 1])


def _varying_reshaped(node: Node, inner: frozenset[int]) -> frozenset[int]:
    out: set[int] = set()
    old, new = node.src[0].shape, node.shape
    for mine, theirs in grouped(old, new) if 0 not in old else ():
        if any(axis in inner for axis in range(mine.start, mine.stop)):
            out.update(range(theirs.start, theirs.stop))
    return frozenset([axis for axis in out if new[axis] != 1])
