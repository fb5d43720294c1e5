"""Kernels that pass on a large array run block by block of its rows, with room for one block.

The scores of attention are an array of T*T numbers that one kernel writes and the next ones read,
row by row. Instead of

    scores[i, j] = ...  for all i, j            for each block of rows i:
    weights[i, j] = ... scores[i, :]      ->        scores, weights, out of these rows, with room
    out[i, :] = ... weights[i, :]                   for the scores and weights of one block
    dk[j, :] = sum over i ... weights[i, j]         and a part of dk, added to what there is

The kernels stay as they are, but for the rows that they run over: those from `row0` on (and `row1`,
`row2` where one step along the axes outside is still too large), arguments of each run. Nothing
here knows of attention: any chain of kernels is cut that agrees on what a row is.

Blocks that do not need each other are one launch (`ir.plan.Blocks`): a worker takes a block and
runs the whole chain over it, in a room of its own. Where too few are left that do not, because
sums are passed on from block to block, each kernel of each block is a launch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from inkle.ir import forms
from inkle.ir.dtype import index
from inkle.ir.loop import Kernel, number_of, range_
from inkle.ir.node import Node, const, intern, rebuild, transform
from inkle.rewrite.affine import affine_of
from inkle.schedule.built import Built, BuiltBlocks, running_over
from inkle.schedule.cost import Facts
from inkle.schedule.hidden import visible_columns
from inkle.schedule.nest import Storage
from inkle.schedule.rows import Axis, Part, common_rows, parts_of, shared_bytes

BLOCK_BYTES = 1 << 20  # of a chain: stays in the second cache of the core that runs it
LEAST_ROWS = 64  # of products in a block, if they fit: each block reads all of the other factor
LARGEST_BYTES = 32 << 20  # of a block of so many rows
SHARED_BYTES = 16 << 20  # what every block reads or adds to should stay in a cache
GROUPS = 4  # of blocks, each with kernels for the columns that it sees; of MANY, twice as many
MANY = 32
UNITS = 16  # blocks that do not need each other: enough to keep workers of unequal speed busy
IN_TURN_BYTES = 8 << 20  # of rooms: below, a launch for each kernel of each block is not worth it
NAMES = ("row0", "row1", "row2", "row3")

Run = tuple[tuple[Built, ...], dict[str, int]]  # a chain, and the values of its VARIABLEs


@dataclass(frozen=True, slots=True)
class _Cut:
    """A chain by blocks of one axis.

    Attributes:
        name: of the VARIABLE that is the first row of a block.
        groups: launches of a block, or blocks of the next axis, with the first rows of the blocks
            that have these.
        fills: before all blocks; if there are any, blocks need each other.
        finals: after all blocks.
    """

    name: str
    groups: tuple[Group, ...]
    fills: tuple[Built, ...]
    finals: tuple[Built, ...]

    def runs(self) -> Iterator[Run]:
        """Yield all that runs, in order."""
        if self.fills:
            yield self.fills, {}
        for inside, starts in self.groups:
            for start in starts:
                for chain, values in inside.runs() if isinstance(inside, _Cut) else [(inside, {})]:
                    yield chain, {**values, self.name: start}
        if self.finals:
            yield self.finals, {}

    def units(self) -> list[list[Run]]:
        """Return what runs in parts that do not need each other."""
        if self.fills:
            return [list(self.runs())]
        found = []
        for inside, starts in self.groups:
            units = inside.units() if isinstance(inside, _Cut) else [[(inside, {})]]
            found += [
                [(chain, {**values, self.name: start}) for chain, values in unit]
                for start in starts
                for unit in units
            ]
        return found


Group = tuple[tuple[Built, ...] | _Cut, Sequence[int]]


def in_blocks(
    chain: Sequence[Built], rooms: Sequence[Storage], facts: Facts
) -> list[Built | BuiltBlocks] | None:
    """Return a chain of launches, block by block; None if its kernels do not agree on rows.

    Args:
        chain: launches, one after the other.
        rooms: arrays that only these use; they get room for a block.
        facts: of the machine.
    """
    if not rooms or any(each.arg is not None for b in chain for each in b.kernel.stores):
        return None  # rows that two blocks share would be added twice
    agreed = _agreed(chain, rooms)
    if agreed is None:
        return None
    cut = _cut(chain, rooms, {storage: storage.size for storage in agreed}, NAMES, UNITS)
    if cut is None:
        return None
    units = cut.units()
    if len(units) >= max(UNITS // 2, 2 * facts.threads):
        return [_together(chain, units, facts)]
    if sum([storage.size * storage.dtype.itemsize for storage in rooms]) < IN_TURN_BYTES:
        return None
    return [_at(built, values) for launches, values in cut.runs() for built in launches]


def _together(chain: Sequence[Built], units: Sequence[Sequence[Run]], facts: Facts) -> BuiltBlocks:
    """Return blocks that do not need each other as one launch."""
    names = sorted({name for unit in units for _, values in unit for name in values})
    first: dict[tuple[Built, ...], tuple[int, dict[str, int]]] = {}
    numbered: list[list[tuple[int, ...]]] = []
    for unit in units:
        numbered.append([])
        for launches, values in unit:
            number, _ = first.setdefault(launches, (len(first), values))
            numbered[-1].append((number, *[values.get(name, 0) for name in names]))
    variants = [tuple([_at(each, values) for each in own]) for own, (_, values) in first.items()]
    known = {storage for built in chain for storage in built.used}
    used = {storage for own in variants for built in own for storage in built.used}
    rooms = frozenset(used - known)
    for room in rooms:
        room.copies = facts.threads
    return BuiltBlocks(tuple(variants), tuple(names), tuple(map(tuple, numbered)), rooms)


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


def _cut(
    chain: Sequence[Built],
    rooms: Sequence[Storage],
    spans: Mapping[Storage, int],
    names: Sequence[str],
    wanted: int,
) -> _Cut | None:
    """Return the chain by blocks of the outermost axis, and of the next one where that is needed.

    Args:
        chain: launches.
        rooms: arrays with room for a block.
        spans: elements, within the blocks of the axes outside, of each array to agree on.
        names: of the VARIABLEs left.
        wanted: how many blocks there should be at least.
    """
    axis = common_rows(chain, spans) if names else None
    parts = parts_of(chain, axis) if axis is not None else None
    if axis is None or parts is None:
        return None
    adds = any(store.arg is not None for part in parts for store in part.built.kernel.stores)
    here, swap = _over_rows(parts, rooms, axis, 1, names[0], [0])
    is_innermost = common_rows(here, {swap.get(s, s): axis.sizes[s] for s in spans}) is None
    wanted = 1 if adds else wanted
    rows = _block_of(parts, axis, rooms, wanted, is_innermost=is_innermost)
    if rows is None:
        return None
    groups = None
    if not rows or (axis.count < wanted and not is_innermost):
        groups = _by_next_axis(parts, rooms, axis, spans, names, wanted)
    if groups is None and rows:
        pieces = _pieces(axis.count, rows, adds=adds)
        found = [_visible(parts, rooms, axis, n, names[0], starts) for n, starts in pieces]
        groups = [group for each in found for group in each]
    if groups is None:
        return None
    fills = [fill for part in parts for fill in part.fills]
    finals = [final for part in parts for final in part.finals]
    return _Cut(names[0], tuple(groups), tuple(fills), tuple(finals))


def _by_next_axis(
    parts: Sequence[Part],
    rooms: Sequence[Storage],
    axis: Axis,
    spans: Mapping[Storage, int],
    names: Sequence[str],
    wanted: int,
) -> list[Group] | None:
    """Return each row of an axis by blocks of the axis inside; None if there is no such."""
    here, swap = _over_rows(parts, rooms, axis, 1, names[0], range(axis.count))
    inner = {swap.get(s, s): axis.sizes[s] for s in spans}
    more = -(-wanted // axis.count)
    inside = _cut(here, [swap[s] for s in rooms], inner, names[1:], more)
    return [(inside, range(axis.count))] if inside is not None else None


def _visible(
    parts: Sequence[Part],
    rooms: Sequence[Storage],
    axis: Axis,
    rows: int,
    name: str,
    starts: Sequence[int],
) -> list[Group]:
    """Return launches over `rows` rows, and from which rows on: without columns hidden from them.

    Each group of blocks has kernels of its own, over the columns that some row of it can see.
    """
    everything, swap = _over_rows(parts, rooms, axis, rows, name, starts)
    groups = GROUPS if len(starts) < MANY else 2 * GROUPS
    size = -(-len(starts) // groups) if len(starts) >= 2 * GROUPS else len(starts)
    found: list[Group] = []
    is_less = False
    for i in range(0, len(starts), size):
        group = starts[i : i + size]
        here, _ = _over_rows(parts, rooms, axis, rows, name, group, swap)
        less = visible_columns(here, [swap[s] for s in rooms], rows)
        is_less = is_less or less is not None
        found.append((tuple(less or here), group))
    return found if is_less else [(tuple(everything), starts)]


def _block_of(
    parts: Sequence[Part],
    axis: Axis,
    rooms: Sequence[Storage],
    wanted: int,
    *,
    is_innermost: bool,
) -> int | None:
    """Return how many rows make a block: 0 if one is too much already, None if no block will do."""
    each = sum(axis.sizes[s] * s.dtype.itemsize for s in rooms)
    shared = shared_bytes(parts)
    most = LARGEST_BYTES // each
    rows = min(BLOCK_BYTES // each, -(-axis.count // wanted))
    if is_innermost:
        rows = max(rows, min(LEAST_ROWS, most))
    elif not rows:
        return 0
    if shared > each * rows:  # most of the traffic would be what all blocks read again
        rows = min(-(-shared // each), most)
    return rows if 0 < rows < axis.count and shared <= SHARED_BYTES else None


def _at(built: Built, values: Mapping[str, int]) -> Built:
    """Return the launch with values of the VARIABLEs that its kernel depends on."""
    names = [variable.arg[0] for variable in built.kernel.variables()]
    mine = {name: values[name] for name in names if name in values}
    return replace(built, values=tuple(sorted({**dict(built.values), **mine}.items())))


def _pieces(count: int, rows: int, *, adds: bool) -> list[tuple[int, list[int]]]:
    """Return (rows of a block, first rows of the blocks); a tail overlaps if nothing is added."""
    rows = -(-count // -(-count // rows))  # as many blocks, of one size if that can be
    if count % rows:
        rows = max([n for n in range(rows // 2 + 1, rows) if count % n == 0], default=rows)
    if count % rows and adds:
        whole = count - count % rows
        return [(rows, list(range(0, whole, rows))), (count - whole, [whole])]
    return [(rows, [min(start, count - rows) for start in range(0, count, rows)])]


def _over_rows(
    parts: Sequence[Part],
    rooms: Sequence[Storage],
    axis: Axis,
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
