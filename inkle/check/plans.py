"""The reference interpreter of plans: runs kernels one after the other, on NumPy arrays.

Units of `Blocks` need each other in no way: they run last to first, each on the memory as it was
before all of them, in rooms that nobody has written to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from inkle.check.interpreter import run_kernel
from inkle.check.numpy_algebra import Array, to_array
from inkle.check.points import KernelFault, Memory
from inkle.ir.plan import AnyLaunch, Blocks, Place, Plan, Repeat, Role


def run_plan(
    plan: Plan, inputs: Sequence[Array], variables: Mapping[str, int] | None = None
) -> list[Array]:
    """Run a whole plan.

    Args:
        plan: kernels and the memory between them.
        inputs: one array per input number; not changed.
        variables: values of the VARIABLE nodes.

    Returns:
        One flat array per output.

    Raises:
        KernelFault: if a kernel faults, or reads a temporary after another memory has been written
            that lies in the same place, or leaves an element of an output unwritten.
    """
    overlaps = _overlaps(plan)
    memories = []
    for each in plan.memory:
        if each.role is Role.INPUT:
            array = to_array(inputs[each.number], each.dtype).reshape(-1)
            assert array.size == each.size, f"input {each.number} has {array.size} elements"
            memories.append(Memory.of(np.array(array), each.dtype))
        else:
            memories.append(Memory.undefined(each.size, each.dtype))
    for launch in plan.launches:
        for other in {other for place in launch.written for other in overlaps.get(place, ())}:
            memories[other].written[:] = False
        _run_launches([launch], memories, variables or {})
    for number, position in enumerate(plan.outputs):
        if not memories[position].written.all():
            missing = int(np.flatnonzero(~memories[position].written)[0])
            raise KernelFault(f"output {number}: element {missing} was never written")
    return [np.array(memories[position].data) for position in plan.outputs]


def _run_launches(
    launches: Sequence[AnyLaunch], memories: Sequence[Memory], variables: Mapping[str, int]
) -> None:
    for launch in launches:
        if isinstance(launch, Repeat):
            for step in range(launch.steps):
                seen = [_seen(place, memories[place.memory], step) for place in launch.places]
                _run_launches(launch.launches, seen, variables)
        elif isinstance(launch, Blocks):
            _run_blocks(launch, memories, variables)
        else:
            slots = {slot: memories[position] for slot, position in enumerate(launch.memory)}
            run_kernel(launch.kernel, slots, {**variables, **dict(launch.values)})


def _run_blocks(blocks: Blocks, memories: Sequence[Memory], variables: Mapping[str, int]) -> None:
    shared = [memories[place] for place in sorted(blocks.written - blocks.rooms)]
    before = [(np.array(each.data), np.array(each.written)) for each in shared]
    after = [(np.array(each.data), np.array(each.written)) for each in shared]
    for number, unit in reversed([*enumerate(blocks.units)]):
        for place in blocks.rooms:
            memories[place].written[:] = False
        for memory, (data, written) in zip(shared, before, strict=True):
            memory.data[:], memory.written[:] = data, written
        for run in unit:
            values = {**variables, **blocks.values(run)}
            for launch in blocks.variants[run[0]]:
                slots = {slot: memories[place] for slot, place in enumerate(launch.memory)}
                run_kernel(launch.kernel, slots, {**dict(launch.values), **values})
        for memory, old, done in zip(shared, before, after, strict=True):
            _merge(memory, old, done, number)
    for memory, (data, written) in zip(shared, after, strict=True):
        memory.data[:], memory.written[:] = data, written


def _merge(
    memory: Memory, before: tuple[Array, Array], done: tuple[Array, Array], unit: int
) -> None:
    """Add what a unit has changed to what others have; where both did, it must be the same."""
    changed = memory.written & (~before[1] | ~_same(memory.data, before[0]))
    others = done[1] & (~before[1] | ~_same(done[0], before[0]))
    clash = changed & others & ~_same(memory.data, done[0])
    if clash.any():
        place = int(np.flatnonzero(clash)[0])
        raise KernelFault(f"unit {unit} of blocks and another write element {place} differently")
    done[0][changed], done[1][changed] = memory.data[changed], True


def _same(a: Array, b: Array) -> Array:
    found: Array = (a == b) | ((a != a) & (b != b))
    return found


def _seen(place: Place, memory: Memory, step: int) -> Memory:
    """Return what a step of a loop over time sees of some memory."""
    if not place.width:
        return memory
    start = place.offset(step)
    part = slice(start, start + place.width)
    return Memory(memory.data[part], memory.dtype, memory.written[part])


def _overlaps(plan: Plan) -> dict[int, list[int]]:
    """Return for temporaries, and outputs they lie in, the others that share some bytes."""
    rooms: dict[int | None, list[tuple[int, int, int]]] = {}  # start, end, position
    for i, each in enumerate(plan.memory):
        if each.spot is not None and each.size:
            host, start = each.spot
            if host is not None and host not in rooms:
                rooms[host] = [(0, plan.memory[host].size_bytes, host)]
            rooms.setdefault(host, []).append((start, start + each.size_bytes, i))
    found: dict[int, list[int]] = {}
    for room in rooms.values():
        active: list[tuple[int, int]] = []  # end, position
        for start, end, i in sorted(room):
            active = [(until, j) for until, j in active if until > start]
            found[i] = [j for _, j in active]
            for _, j in active:
                found[j].append(i)
            active.append((end, i))
    return found
