"""Kernels that pass on a large array run block by block of its rows, with room for one block.

The scores of attention are an array of T*T numbers that one kernel writes and the next ones read,
row by row. Instead of

    scores[i, j] = ...  for all i, j            for each block of rows i:
    weights[i, j] = ... scores[i, :]      ->        scores, weights, out of these rows, with room
    out[i, :] = ... weights[i, :]                   for the scores and weights of one block
    dk[j, :] = sum over i ... weights[i, j]         and a part of dk, added to what there is

The kernels stay as they are, but for the rows that they run over: those from `row0` on (and `row1`,
`row2` where one step along the axes outside is still too large), arguments of each launch. Nothing
here knows of attention: any chain of kernels is cut that agrees on what a row is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from inkle.ir import forms
from inkle.ir.bounds import bounds
from inkle.ir.dtype import index
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
from inkle.ir.node import Node, bound_ranges, const, convert_scalar, intern, rebuild, transform
from inkle.ir.op import Op
from inkle.ir.tensor import param
from inkle.rewrite.affine import Affine, affine_of
from inkle.schedule.built import Built, Reason, running_over
from inkle.schedule.hidden import visible_columns
from inkle.schedule.nest import Storage

BLOCK_BYTES = 2 << 20  # of a chain: stays in the second cache
LEAST_ROWS = 64  # of products in a block, if they fit: each block reads all of the other factor
LARGEST_BYTES = 32 << 20  # of a block of so many rows
SHARED_BYTES = 16 << 20  # what every block reads or adds to should stay in a cache
GROUPS = 4  # of blocks, each with kernels for the columns that it sees
NAMES = ("row0", "row1", "row2", "row3")


@dataclass(frozen=True, slots=True)
class _Axis:
    """The rows of a chain: `count` of them, `sizes[storage]` elements each."""

    count: int
    sizes: Mapping[Storage, int]


@dataclass(frozen=True, slots=True)
class _Part:
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


def in_blocks(chain: Sequence[Built], rooms: Sequence[Storage]) -> list[Built] | None:
    """Return a chain of launches, block by block; None if its kernels do not agree on rows.

    Args:
        chain: launches, one after the other.
        rooms: arrays that only these use; they get room for a block.
    """
    if not rooms or any(each.arg is not None for b in chain for each in b.kernel.stores):
        return None  # rows that two blocks share would be added twice
    agreed = _agreed(chain, rooms)
    if agreed is None:
        return None
    return _blocks(chain, rooms, {storage: storage.size for storage in agreed}, NAMES)


def _agreed(chain: Sequence[Built], rooms: Sequence[Storage]) -> list[Storage] | None:
    """Return the arrays of which a block may touch its own rows only.

    These are the rooms, and what one launch writes and another reads or writes again. None if such
    an array is read before it is written: a row that two blocks share would be changed twice.
    """
    writers: dict[Storage, int] = {}
    for built in chain:
        for storage in built.written():
            writers[storage] = writers.get(storage, 0) + 1
    agreed = dict.fromkeys(rooms)
    written: set[Storage] = set()
    for built in chain:
        for storage in built.loaded() & writers.keys():
            if storage not in written or storage in built.written():
                return None
            agreed.setdefault(storage)
        written |= built.written()
    return list(agreed) + [s for s, n in writers.items() if n > 1 and s not in agreed]


def _blocks(
    chain: Sequence[Built],
    rooms: Sequence[Storage],
    spans: Mapping[Storage, int],
    names: Sequence[str],
) -> list[Built] | None:
    """Return the chain by blocks of the outermost axis, and of the next one where that is needed.

    Args:
        chain: launches.
        rooms: arrays with room for a block.
        spans: elements, within the blocks of the axes outside, of each array to agree on.
        names: of the VARIABLEs left.
    """
    axis = _rows(chain, spans) if names else None
    if axis is None:
        return None
    parts = []
    for built in chain:
        part = _part(built, axis)
        if part is None:
            return None
        parts.append(part)
    here, swap = _over_rows(parts, rooms, axis, 1, names[0], [0])
    is_innermost = _rows(here, {swap.get(s, s): axis.sizes[s] for s in spans}) is None
    rows = _block_of(parts, axis, rooms, is_innermost=is_innermost)
    if rows is None:
        return None
    adds = any(store.arg is not None for part in parts for store in part.built.kernel.stores)
    out = [fill for part in parts for fill in part.fills]
    for count, starts in _pieces(axis.count, max(1, rows), adds=adds):
        if rows:
            blocks = _visible(parts, rooms, axis, count, names[0], starts)
        else:
            here, swap = _over_rows(parts, rooms, axis, 1, names[0], starts)
            inner = {swap.get(s, s): axis.sizes[s] for s in spans}
            cut = _blocks(here, [swap[s] for s in rooms], inner, names[1:])
            if cut is None:
                return None
            blocks = [(cut, starts)]
        out += [_at(b, names[0], start) for here, group in blocks for start in group for b in here]
    return out + [final for part in parts for final in part.finals]


def _visible(
    parts: Sequence[_Part],
    rooms: Sequence[Storage],
    axis: _Axis,
    rows: int,
    name: str,
    starts: Sequence[int],
) -> list[tuple[list[Built], Sequence[int]]]:
    """Return launches over `rows` rows, and from which rows on: without columns hidden from them.

    Each group of blocks has kernels of its own, over the columns that some row of it can see.
    """
    everything, swap = _over_rows(parts, rooms, axis, rows, name, starts)
    size = -(-len(starts) // GROUPS) if len(starts) >= 2 * GROUPS else len(starts)
    found = []
    is_less = False
    for i in range(0, len(starts), size):
        group = starts[i : i + size]
        here, _ = _over_rows(parts, rooms, axis, rows, name, group, swap)
        less = visible_columns(here, [swap[s] for s in rooms], rows)
        is_less = is_less or less is not None
        found.append((less or here, group))
    return found if is_less else [(everything, starts)]


def _block_of(
    parts: Sequence[_Part], axis: _Axis, rooms: Sequence[Storage], *, is_innermost: bool
) -> int | None:
    """Return how many rows make a block: 0 if one is too much already, None if no block will do."""
    each = sum(axis.sizes[s] * s.dtype.itemsize for s in rooms)
    shared = _shared_bytes(parts)
    most = LARGEST_BYTES // each
    rows = BLOCK_BYTES // each
    if is_innermost:
        rows = max(rows, min(LEAST_ROWS, most))
    elif not rows:
        return 0
    if shared > each * rows:  # most of the traffic would be what all blocks read again
        rows = min(-(-shared // each), most)
    return rows if 0 < rows < axis.count and shared <= SHARED_BYTES else None


def _at(built: Built, name: str, start: int) -> Built:
    """Return the launch with a value of VARIABLE `name`, if its kernel depends on it."""
    if all(variable.arg[0] != name for variable in built.kernel.variables()):
        return built
    return replace(built, values=tuple(sorted((*built.values, (name, start)))))


def _pieces(count: int, rows: int, *, adds: bool) -> list[tuple[int, list[int]]]:
    """Return (rows of a block, first rows of the blocks); a tail overlaps if nothing is added."""
    rows = -(-count // -(-count // rows))  # as many blocks, of one size if that can be
    if count % rows:
        rows = max([n for n in range(rows // 2 + 1, rows) if count % n == 0], default=rows)
    if count % rows and adds:
        whole = count - count % rows
        return [(rows, list(range(0, whole, rows))), (count - whole, [whole])]
    return [(rows, [min(start, count - rows) for start in range(0, count, rows)])]


def _shared_bytes(parts: Sequence[_Part]) -> int:
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


# --- rows -----------------------------------------------------------------------------------------


def _rows(chain: Sequence[Built], spans: Mapping[Storage, int]) -> _Axis | None:
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
    return _Axis(count, {storage: span // count for storage, span in spans.items()})


def _within_block(at: Node) -> Affine:
    """Return an index without the place of the block."""
    found = affine_of(at)
    return Affine(
        {r: k for r, k in found.terms.items() if r.op is not forms.VARIABLE}, found.constant
    )


def _part(built: Built, axis: _Axis) -> _Part | None:
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
    return _added_up(_Part(*((built, r) if inner == 1 else _split(built, r, inner))))


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


def _added_up(part: _Part) -> _Part | None:
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
    return _Part(
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


# --- blocks ---------------------------------------------------------------------------------------


def _over_rows(
    parts: Sequence[_Part],
    rooms: Sequence[Storage],
    axis: _Axis,
    rows: int,
    name: str,
    starts: Sequence[int],
    swap: dict[Storage, Storage] | None = None,
) -> tuple[list[Built], dict[Storage, Storage]]:
    """Return launches over `rows` rows from VARIABLE `name` on, and the room for each array."""
    if swap is None:
        swap = {s: Storage(s.dtype, axis.sizes[s] * rows, s.node) for s in rooms}
    start = intern(forms.VARIABLE, index, (), (name, min(starts), max(starts)), ())
    out = []
    for part in parts:
        built, row = part.built, part.row
        fresh = range_(number_of(row), rows, row.arg[1]) if rows > 1 else const(0, index)
        slots = {slot for slot, storage in enumerate(built.used) if storage in swap}
        moved = [_moved(each, row, fresh, start, slots) for each in built.kernel.stores]
        order = [fresh if r is row else r for r in built.kernel.order]
        new = replace(built, kernel=Kernel(tuple(moved), tuple([r for r in order if r.ranges])))
        out.append(new.with_stores(moved, new.renamed(swap).used))
    return out, swap


def _moved(each: Node, row: Node, fresh: Node, start: Node, slots: set[int]) -> Node:
    """Return a store over `fresh` rows from `start` on; arrays in `slots` have room for these."""
    here = {row: fresh}
    there = {row: fresh + start if fresh.op is forms.RANGE else start}
    over = running_over({row: (fresh,) if fresh.op is forms.RANGE else ()})

    def step(node: Node, src: tuple[Node, ...]) -> Node:
        is_access = node.op in (forms.LOAD, forms.STORE) and node.src[0].op is forms.PARAM
        if is_access and node.src[0].arg[0] in slots:
            at = transform([node.src[1]], lambda n, s: rebuild(n, s), here)[node.src[1]]
            src = (src[0], affine_of(at).node(), *src[2:])
        return over(node, src)

    return transform([each], step, there)[each]
