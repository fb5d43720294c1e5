"""Kernels that pass on a large array run block by block of its rows, with room for one block.

The scores of attention are an array of T*T numbers that one kernel writes and the next ones read,
row by row. Instead of

    scores[i, j] = ...  for all i, j            for each block of rows i:
    weights[i, j] = ... scores[i, :]      ->        scores, weights, out of these rows, with room
    out[i, :] = ... weights[i, :]                   for the scores and weights of one block

The kernels stay as they are, but for the rows that they run over: those from `row0` on (and `row1`,
where one step along the first axis is still too large), arguments of each launch. Nothing here
knows of attention: any chain of kernels is cut that agrees on what a row is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from inkle.ir import forms
from inkle.ir.bounds import bounds
from inkle.ir.dtype import index
from inkle.ir.loop import Kernel, extent, number_of, range_
from inkle.ir.node import Node, const, intern, rebuild, transform
from inkle.ir.plan import Launch
from inkle.ir.tensor import param
from inkle.rewrite.affine import affine_of
from inkle.schedule.nest import Storage

FROM_BYTES = 32 << 20  # arrays of a chain that take less together are left alone
BLOCK_BYTES = 4 << 20  # of a chain: stays in the second or third cache
LEAST_ROWS = 16  # of a block: products of fewer rows are slow
LONGEST = 8  # launches of a chain: the longer, the more blocks would have to agree on


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a launch exists.

    Attributes:
        stores: for each value it stores, what the value is.
        reasons: for each, why it was not computed where it is used.
    """

    stores: tuple[str, ...]
    reasons: tuple[str, ...]

    def sentences(self) -> tuple[str, ...]:
        """Return both as text."""
        pairs = zip(self.stores, self.reasons, strict=True)
        return tuple([f"{what}: {why}" for what, why in pairs])


@dataclass(frozen=True, slots=True)
class Built:
    """A kernel of the plan in the making.

    Attributes:
        kernel: its PARAM slot i is `used[i]`.
        used: memory.
        lines: of the user's program.
        reason: why it is a kernel of its own.
        values: of its VARIABLEs.
    """

    kernel: Kernel
    used: tuple[Storage, ...]
    lines: tuple[str, ...]
    reason: Reason
    values: tuple[tuple[str, int], ...] = ()

    def launch(self, memory: Sequence[int]) -> Launch:
        """Return the launch, given where `used` is."""
        why = self.reason.sentences()
        return Launch(self.kernel, tuple(memory), self.lines, self.values, why=why)


@dataclass(frozen=True, slots=True)
class _Axis:
    """The rows of a chain: `count` of them, `sizes[storage]` elements each."""

    count: int
    sizes: Mapping[Storage, int]


def in_blocks(built: Sequence[Built], fixed: Mapping[Storage, int]) -> list[Built]:
    """Return launches that need less memory between them, where rows allow it."""
    launches = list(built)
    while True:
        found = _largest_chain(launches, fixed)
        if found is None:
            return launches
        start, end, arrays = found
        cut = _cut(launches[start:end], arrays)
        if cut is None:
            return launches
        launches[start:end] = cut


def _largest_chain(
    launches: Sequence[Built], fixed: Mapping[Storage, int]
) -> tuple[int, int, list[Storage]] | None:
    """Return the launches from the first to the last use of the largest array, and its like.

    The like: arrays that live between these launches only.
    """
    first: dict[Storage, int] = {}
    last: dict[Storage, int] = {}
    for i, launch in enumerate(launches):
        for storage in launch.used:
            if storage not in fixed:
                first.setdefault(storage, i)
                last[storage] = i
    whole = [s for s in first if not any(first[s] <= i <= last[s] and launches[i].values
                                         for i in range(len(launches)))]  # fmt: skip
    largest = max(whole, key=_bytes_of, default=None)
    if largest is None:
        return None
    start, end = first[largest], last[largest]
    while True:  # arrays that reach out of the chain by one launch make it longer
        arrays = [s for s in whole if start <= first[s] and last[s] <= end]
        more = [s for s in whole if s not in arrays and start <= first[s] <= end
                and 8 * _bytes_of(s) >= _bytes_of(largest)]  # fmt: skip
        if not more:
            break
        end = max(last[s] for s in more)
    if sum(map(_bytes_of, arrays)) < FROM_BYTES or end - start > LONGEST:
        return None
    return start, end + 1, arrays


def _bytes_of(storage: Storage) -> int:
    return storage.size * storage.dtype.itemsize


def _cut(chain: Sequence[Built], arrays: Sequence[Storage]) -> list[Built] | None:
    """Return the chain, block by block; None if its kernels do not agree on rows."""
    written = {s for b in chain for s in _written(b)}
    if any(s in written and s not in arrays for b in chain for s in _loaded(b)):
        return None  # one kernel reads what another block may still have to write
    if any(store.arg is not None for b in chain for store in b.kernel.stores):
        return None  # rows that two blocks share would be added twice
    blocks: list[tuple[str, list[int]]] = []
    here, rooms = list(chain), list(arrays)
    for name in ("row0", "row1"):
        axis = _rows(here, rooms)
        if axis is None:
            return None
        total = sum(axis.sizes[s] * s.dtype.itemsize for s in rooms)
        rows = min(axis.count, max(1, BLOCK_BYTES // total))
        if rows < LEAST_ROWS:
            rows = LEAST_ROWS if total * LEAST_ROWS < FROM_BYTES else 1
        cut = _over_rows(here, rooms, axis, rows, name)
        if cut is None:
            return None
        here, rooms = cut
        starts = [min(start, axis.count - rows) for start in range(0, axis.count, rows)]
        blocks.append((name, starts))
        if rows > 1 or total < BLOCK_BYTES:
            break
    names = [name for name, _ in blocks]
    return [
        replace(launch, values=tuple(zip(names, values, strict=True)))
        for values in product(*[starts for _, starts in blocks])
        for launch in here
    ]


def _written(built: Built) -> list[Storage]:
    return [built.used[int(store.src[0].arg[0])] for store in built.kernel.stores]


def _loaded(built: Built) -> list[Storage]:
    loads = [n for n in built.kernel.nodes() if n.op is forms.LOAD and n.src[0].op is forms.PARAM]
    return [built.used[int(load.src[0].arg[0])] for load in loads]


# --- rows -----------------------------------------------------------------------------------------


def _rows(chain: Sequence[Built], arrays: Sequence[Storage]) -> _Axis | None:
    """Return the outermost axis that all arrays have in common, as their writers see them."""
    counts = []
    for storage in arrays:
        writer = next((b for b in chain if storage in _written(b)), None)
        if writer is None:
            return None
        stores = [s for s in writer.kernel.stores if writer.used[s.src[0].arg[0]] is storage]
        terms = [(abs(k), r) for r, k in affine_of(stores[0].src[1]).terms.items()]
        if not terms or any(r.op is not forms.RANGE for _, r in terms):
            return None
        step, r = max(terms, key=lambda term: term[0])
        if step * extent(r) != storage.size:
            return None
        counts.append(extent(r))
    count = min(counts)
    if count < 2 or any(storage.size % count for storage in arrays):
        return None
    return _Axis(count, {storage: storage.size // count for storage in arrays})


def _over_rows(
    chain: Sequence[Built], arrays: Sequence[Storage], axis: _Axis, rows: int, name: str
) -> tuple[list[Built], list[Storage]] | None:
    """Return the chain over `rows` rows from VARIABLE `name` on, and the arrays of such a block."""
    rooms = {s: Storage(s.dtype, axis.sizes[s] * rows) for s in arrays}
    start = intern(forms.VARIABLE, index, (), (name, 0, axis.count - rows), ())
    out = []
    for built in chain:
        aligned = _aligned(built, axis)
        if aligned is None:
            return None
        kernel, r = aligned
        fresh = range_(number_of(r), rows, r.arg[1]) if rows > 1 else const(0, index)
        slots = {slot for slot, storage in enumerate(built.used) if storage in rooms}
        stores = tuple([_moved(store, r, fresh, start, slots) for store in kernel.stores])
        used = tuple([rooms.get(storage, storage) for storage in built.used])
        swap = {p: param(p.arg[0], p.dtype, (used[p.arg[0]].size,)) for p in kernel.params()}
        done = transform(stores, lambda node, src: rebuild(node, src), swap)
        order = [fresh if each is r else each for each in kernel.order]
        new = Kernel(tuple([done[s] for s in stores]), tuple([n for n in order if n.ranges]))
        out.append(replace(built, kernel=new, used=used))
    return out, [rooms[storage] for storage in arrays]


def _aligned(built: Built, axis: _Axis) -> tuple[Kernel, Node] | None:
    """Return the kernel with its range of rows as one range; None if there is none."""
    kernel = built.kernel
    accesses = [
        (node.src[1], axis.sizes[built.used[node.src[0].arg[0]]])
        for node in kernel.nodes()
        if node.op in (forms.LOAD, forms.STORE)
        and node.src[0].op is forms.PARAM
        and built.used[node.src[0].arg[0]] in axis.sizes
    ]
    found = None
    for at, size in accesses:
        here = _row_of(at, size, axis.count)
        if here is None or (found is not None and found != here):
            return None
        found = here
    if found is None:
        return None
    r, inner = found
    fixed = forms.REDUCE, forms.PREFIX
    bound = {each for n in kernel.nodes() if n.op in fixed for each in n.src[1:]}
    if r in bound or not all(r in store.ranges for store in kernel.stores):
        return None
    return (kernel, r) if inner == 1 else _split(kernel, r, inner)


def _row_of(at: Node, size: int, count: int) -> tuple[Node, int] | None:
    """Return the range that counts rows of `size` elements in an index, and its points per row.

    None if there is none, or if the rest of the index may lead into another row.
    """
    terms = affine_of(at)
    for r, step in terms.terms.items():
        if r.op is forms.RANGE and step * extent(r) == size * count and size % step == 0:
            low, high = bounds(terms.without(r).node())
            is_inside = low is not None and high is not None and low >= 0 and high < step
            return (r, size // step) if is_inside else None
    return None


def _split(kernel: Kernel, r: Node, inner: int) -> tuple[Kernel, Node]:
    """Return the kernel with `r` as outer * inner + rest."""
    number = 1 + max(number_of(each) for each in kernel.ranges())
    outer, rest = range_(number, extent(r) // inner), range_(number + 1, inner)
    done = transform(kernel.stores, lambda node, src: rebuild(node, src), {r: outer * inner + rest})
    order = [n for each in kernel.order for n in ((outer, rest) if each is r else (each,))]
    return Kernel(tuple([done[s] for s in kernel.stores]), tuple(order)), outer


def _moved(store: Node, r: Node, fresh: Node, start: Node, slots: set[int]) -> Node:
    """Return `store` over `fresh` rows from `start` on; arrays in `slots` have room for these."""
    there = {r: start if fresh.op is forms.CONST else fresh + start}
    here = {r: fresh}

    def step(node: Node, src: tuple[Node, ...]) -> Node:
        is_access = node.op in (forms.LOAD, forms.STORE) and node.src[0].op is forms.PARAM
        if is_access and node.src[0].arg[0] in slots:
            at = transform([node.src[1]], lambda n, s: rebuild(n, s), here)[node.src[1]]
            src = (src[0], affine_of(at).node(), *src[2:])
        return rebuild(node, src)

    return transform([store], step, there)[store]
