"""What a row is, for kernels that pass arrays on: the axis that blocks are cut along.

Sums over that axis are added up from block to block, in memory of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from inkle.ir import forms
from inkle.ir.bounds import bounds
from inkle.ir.loop import (
    Kernel,
    extent,
    flat_index,
    load,
    number_of,
    range_,
    running_ranges,
    store,
)
from inkle.ir.node import Node, bound_ranges, const, convert_scalar, rebuild, transform
from inkle.ir.op import Op
from inkle.ir.tensor import param
from inkle.rewrite.affine import Affine, affine_of
from inkle.schedule.built import Built, Reason
from inkle.schedule.nest import Storage


@dataclass(frozen=True, slots=True)
class Axis:
    """The rows of a chain: `count` of them, `sizes[storage]` elements each."""

    count: int
    sizes: Mapping[Storage, int]


@dataclass(frozen=True, slots=True)
class Part:
    """A launch of a chain, ready to run over some of the rows.

    Attributes:
        built: the launch; what it sums over rows, it adds to memory.
        row: its range that counts rows.
        fills: launches before all blocks, which set what is added to.
        finals: launches after all blocks, which use the sums.
    """

    built: Built
    row: Node
    fills: tuple[Built, ...] = ()
    finals: tuple[Built, ...] = ()


def common_rows(chain: Sequence[Built], spans: Mapping[Storage, int]) -> Axis | None:
    """Return the outermost axis that all arrays have in common, as their writers see them."""
    counts = []
    for storage, span in spans.items():
        writer = next((b for b in chain if storage in b.written()), None)
        if writer is None:
            return None
        stores = [each for each in writer.kernel.stores if writer.memory_of(each) is storage]
        at = _within_block(stores[0].src[1])
        terms = [(abs(k), r) for r, k in at.terms.items()]
        if not terms or any(r.op is not forms.RANGE for _, r in terms):
            return None
        step, r = max(terms, key=lambda term: term[0])
        if step * extent(r) != span:
            return None
        counts.append(extent(r))
    count = min(counts)
    if count < 2 or any(span % count for span in spans.values()):
        return None
    return Axis(count, {storage: span // count for storage, span in spans.items()})


def _within_block(at: Node) -> Affine:
    """Return an index without the place of the block."""
    found = affine_of(at)
    return Affine(
        {r: k for r, k in found.terms.items() if r.op is not forms.VARIABLE}, found.constant
    )


def parts_of(chain: Sequence[Built], axis: Axis) -> list[Part] | None:
    """Return the launches with their rows as ranges of their own; None if one has none."""
    parts: list[Part] = []
    for built in chain:
        part = _part(built, axis)
        if part is None:
            return None
        parts.append(part)
    return parts


def _part(built: Built, axis: Axis) -> Part | None:
    """Return the launch with its rows as a range of its own; None if there is none."""
    found: tuple[Node, int] | None = None
    for access in built.accesses():
        size = axis.sizes.get(built.memory_of(access))
        if size is not None:
            here = _row_of(_within_block(access.src[1]), size, axis.count)
            if here is None or (found is not None and found != here):
                return None
            found = here
    if found is None:
        return None
    r, inner = found
    if r in running_ranges(built.kernel.nodes()):
        return None  # its points come one after the other
    return _added_up(Part(*((built, r) if inner == 1 else _split(built, r, inner))))


def _row_of(at: Affine, size: int, count: int) -> tuple[Node, int] | None:
    """Return the range that counts rows of `size` elements in an index, and its points per row.

    None if there is none, or if the rest of the index may lead into another row.
    """
    for r, step in at.terms.items():
        if r.op is forms.RANGE and step * extent(r) == size * count and size % step == 0:
            low, high = bounds(at.without(r).node())
            is_inside = low is not None and high is not None and low >= 0 and high < step
            return (r, size // step) if is_inside else None
    return None


def _split(built: Built, r: Node, inner: int) -> tuple[Built, Node]:
    """Return the launch with `r` as outer * inner + rest."""
    number = 1 + max(number_of(each) for each in built.kernel.ranges())
    outer, rest = range_(number, extent(r) // inner), range_(number + 1, inner)
    return built.over({r: (outer, rest)}, {r: outer * inner + rest}), outer


# --- sums over rows -------------------------------------------------------------------------------


def _added_up(part: Part) -> Part | None:
    """Let every store run over rows, or add its sums over rows to memory of their own.

    Before: dk[j] = f(sum over i of a[i, j])
    After:  sums[j] = 0;   for each block: sums[j] += sum over i of a[i, j];   dk[j] = f(sums[j])

    None if a store repeats for every block what does not depend on it.
    """
    built, row = part.built, part.row
    kept: list[Node] = []
    final: list[Node] = []
    sums: dict[Node, Node] = {}
    used = list(built.used)
    for each in built.kernel.stores:
        if row in each.ranges:
            if row not in affine_of(each.src[1]).terms:
                return None
            kept.append(each)
            continue
        over_rows = [n for n in Kernel((each,), ()).nodes() if row in bound_ranges(n)]
        if not over_rows:
            return None
        if each.arg is not None:  # one that an axis outside has made so
            kept.append(each)
            continue
        for total in over_rows:
            if total not in sums:
                order = [r for r in built.kernel.order if r in total.ranges]
                shape = [extent(r) for r in order]
                memory = param(len(used), total.dtype, (prod(shape),))
                used.append(Storage(total.dtype, prod(shape)))
                sums[total] = load(memory, flat_index(order, shape))
        final.append(each)
    if not sums:
        return part
    for total, back in sums.items():
        kept.append(store(back.src[0], back.src[1], total, combine=total.arg[0]))
    done = transform(final, lambda node, src: rebuild(node, src), sums)
    return Part(
        built.with_stores(kept, used),
        row,
        tuple([_filled(built, used[b.src[0].arg[0]], t.arg[0]) for t, b in sums.items()]),
        (built.with_stores([done[each] for each in final], used),),
    )


def _filled(built: Built, storage: Storage, op: Op) -> Built:
    """Return a launch that sets all of an array to the identity of `op`."""
    assert op.identity is not None
    r = range_(0, storage.size)
    value = const(convert_scalar(op.identity(storage.dtype), storage.dtype), storage.dtype)
    first = store(param(0, storage.dtype, (storage.size,)), r, value)
    name = f"{op.name} ({storage.size},)"
    reason = Reason((name,), ("what blocks of rows are added to",))
    return Built(Kernel((first,), (r,)), (storage,), built.lines, reason)


def shared_bytes(parts: Sequence[Part]) -> int:
    """Return how much of what the launches touch is the same in all blocks."""
    found: dict[Storage, int] = {}
    for part in parts:
        for access in part.built.accesses():
            terms = affine_of(access.src[1]).terms
            if part.row not in terms:
                inside = prod([extent(r) for r in terms if r.op is forms.RANGE])
                storage = part.built.memory_of(access)
                found[storage] = max(found.get(storage, 0), min(inside, storage.size))
    return sum([n * storage.dtype.itemsize for storage, n in found.items()])
