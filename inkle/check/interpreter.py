"""The reference interpreter of kernels: runs a loop nest on NumPy arrays. The oracle of backends.

The definition, which every backend has to match:

- A LOAD of an argument gives the element as it was when the kernel started. Whether a backend would
  see the same is checked, not modelled: a kernel in which the order of the points could show (an
  element read at one point and written at another one that may come first) raises `KernelFault`.
- STOREs happen in their order in the kernel; the points of one in the order of the LOOP ranges it
  depends on, UNROLL ranges innermost. With a combining op, memory[at] = op(memory[at], value).
- GRID, WORKER and LANE points run at once: two of them may write one element only if they agree.
- A STAGE is filled before any point inside reads it (the barrier is implied).

Also caught: accesses outside memory where the gate holds, and reads of what was never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from inkle.check.arrays import write_in_order
from inkle.check.conflicts import Access, check_reads, check_same_store, check_two_stores, in_time
from inkle.check.library import value_of
from inkle.check.numpy_algebra import Array
from inkle.check.points import KernelFault, Memory, Points, Space, name_of
from inkle.ir import forms
from inkle.ir.dtype import DType
from inkle.ir.host import call_in
from inkle.ir.loop import Kernel, running_ranges
from inkle.ir.node import Node, bound_ranges, toposort

MOST_POINTS = 1 << 18  # of one value at a time: larger kernels run box by box

__all__ = ["KernelFault", "Memory", "run_kernel"]


def run_kernel(
    kernel: Kernel,
    arrays: Mapping[int, Array | Memory],
    variables: Mapping[str, int] | None = None,
) -> None:
    """Run a kernel; what it writes is written into `arrays`.

    Args:
        kernel: of the loop form, in any stage of scheduling.
        arrays: by PARAM slot, of any shape and of the dtype that `numpy_dtype` says; pass
            `Memory.undefined` for memory that must not be read before it is written.
        variables: values of the VARIABLE nodes.

    Raises:
        KernelFault: if the kernel does what no kernel may do.
    """
    memories = {p.arg[0]: _memory(arrays[p.arg[0]], p.dtype) for p in kernel.params()}
    called = call_in(kernel)
    if called is not None:
        _run_call(called, memories)
        return
    space = Space(kernel, variables or {})
    stores = [Access(node, turn) for turn, node in enumerate(kernel.stores)]
    loads: dict[Node, Access] = {}
    for store in stores:
        _collect(kernel, space, store, loads, memories)
    _check(kernel, space, stores, list(loads.values()))
    for store in stores:
        _commit(kernel, space, store, memories[store.node.src[0].arg[0]])
    for slot in {store.node.src[0].arg[0] for store in stores}:
        given = arrays[slot]
        if not isinstance(given, Memory):
            given[...] = memories[slot].data.reshape(given.shape)


def _run_call(call: Node, memories: Mapping[int, Memory]) -> None:
    """Run a library function on whole arrays; memory 0 gets what it returns."""
    sources = [memories[load.src[0].arg[0]] for load in call.src]
    for load, source in zip(call.src, sources, strict=True):
        if not source.written.all():
            raise KernelFault(f"{call.arg.name} reads {name_of(load.src[0])}, not all written")
    memories[0].data[:] = value_of(call.arg, [each.data for each in sources]).reshape(-1)
    memories[0].written[:] = True


def _memory(given: Array | Memory, dtype: DType) -> Memory:
    return given if isinstance(given, Memory) else Memory.of(given, dtype)


def _collect(
    kernel: Kernel,
    space: Space,
    store: Access,
    loads: dict[Node, Access],
    memories: Mapping[int, Memory],
) -> None:
    """Evaluate a store at all of its points, and note its loads from memory that is written."""
    written = {each.src[0].arg[0] for each in kernel.stores}
    for node in toposort((store.node,)):
        if _reads_any(node, written) and node not in loads:
            loads[node] = Access(node, store.turn)

    def observe(node: Node, at: Array, mask: Array, points: Points) -> None:
        access = loads.get(node)
        if access is not None and access.turn == store.turn:
            access.add(points, at, mask)

    for box in boxes(space, store.node):
        _evaluate(Points(space, box, memories, observe), store)


def _check(kernel: Kernel, space: Space, stores: list[Access], loads: list[Access]) -> None:
    """Raise if the order of the points could show."""
    for i, store in enumerate(stores):
        check_same_store(kernel, space, store)
        for earlier in stores[:i]:
            check_two_stores(kernel, space, earlier, store)
        for load in loads:
            check_reads(kernel, space, load, store)


def _reads_any(node: Node, slots: set[int]) -> bool:
    """Whether `node` loads from an argument among `slots`."""
    memory = node.src[0] if node.op is forms.LOAD else None
    return memory is not None and memory.op is forms.PARAM and memory.arg[0] in slots


def _evaluate(points: Points, store: Access) -> None:
    """Evaluate a store at some points; nothing is written yet."""
    memory, at, value, *gate = store.node.src
    mask = points.active(store.node.ranges)
    if gate:
        mask = mask & points.value(gate[0])
    position, result = points.value(at), points.value(value)
    shape = points.shape(store.node.ranges)
    size = points.memories[memory.arg[0]].data.size
    points.check_inside(
        store.node, np.broadcast_to(position, shape), np.broadcast_to(mask, shape), size
    )
    store.add(points, position, mask, result)


def boxes(space: Space, store: Node) -> list[dict[Node, tuple[int, int]]]:
    """Cut the points of a store into boxes small enough for memory, in loop order."""
    free = [r for r in space.axes if r in store.ranges]
    running = running_ranges(toposort((store,)))  # in one piece: later points need earlier ones
    sizes = {r: space.lengths[r] for r in space.axes}
    everything = {n.ranges | frozenset(bound_ranges(n)) for n in toposort((store,))}
    while True:
        heaviest = max(everything, key=lambda ranges: _count(sizes, ranges))
        if _count(sizes, heaviest) <= MOST_POINTS:
            break
        cut = next((r for r in free if r in heaviest - running and sizes[r] > 1), None)
        if cut is None:
            break
        sizes[cut] = -(-sizes[cut] // 2)
    pieces = []
    for r in free:
        n, size = space.lengths[r], max(sizes[r], 1)
        pieces.append([(low, min(size, n - low)) for low in range(0, n, size)] or [(0, 0)])
    return [dict(zip(free, each, strict=True)) for each in product(*pieces)]


def _count(sizes: Mapping[Node, int], ranges: frozenset[Node]) -> int:
    total = 1
    for r in ranges:
        total *= sizes[r]
    return total


def _commit(kernel: Kernel, space: Space, store: Access, memory: Memory) -> None:
    """Write what a store writes, in the order of its loops."""
    at, values = store.elements(), store.stored()
    order = np.argsort(store.number(space, in_time(kernel, store.node.ranges)), kind="stable")
    at, values = at[order], values[order]
    op = store.node.arg
    if op is not None and not memory.written[at].all():
        raise KernelFault(
            f"store combines with elements of {name_of(store.node.src[0])} that were never written"
        )
    write_in_order(memory.data, at, values, op, memory.dtype)
    memory.written[at] = True
