"""Where values live: memory behind BUFFER leaves, and the identity of what can be mutated.

A node's `memory` is the buffer of a BUFFER leaf; of any other node the leaf that holds its value,
once it has been computed. So memory lives as long as a Tensor or an expression refers to it.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Mapping, Sequence
from sys import getrefcount
from typing import Any
from weakref import getweakrefcount

import numpy as np
import numpy.typing as npt

from inkle.engine.trace import current_trace, traces
from inkle.errors import DeviceError, DTypeError, TraceError
from inkle.ir import forms, tensor
from inkle.ir.dtype import BY_NAME, DType, Kind, bfloat16, uint16
from inkle.ir.node import Node
from inkle.runtime.cpu.buffer import AllocatedBuffer
from inkle.runtime.cpu.buffer import Buffer as CpuBuffer
from inkle.runtime.device import Buffer, open_device
from inkle.runtime.locks import Locked

Array = npt.NDArray[Any]

serials = itertools.count()


class Storage:
    """Something that can be assigned to: `current` is the node of its latest version.

    Attributes:
        outside: the node of the latest version outside of any capture in progress. All versions
            have one shape and one dtype, so these may always be read here.
        device: where it lives.
        serial: running number; storages made during a capture have greater ones than older ones.
    """

    __slots__ = ("__weakref__", "device", "outside", "serial")

    def __init__(self, current: Node, device: str = "CPU") -> None:
        self.outside = current
        self.device = device
        self.serial = next(serials)
        if traces:  # a capture in progress, here or elsewhere
            trace = current_trace()
            if trace is not None:
                trace.born(self)

    @property
    def current(self) -> Node:
        """The node of the latest version, as a capture in progress in this thread sees it."""
        trace = current_trace() if traces else None
        return self.outside if trace is None else trace.read(self)

    @current.setter
    def current(self, node: Node) -> None:
        trace = current_trace()
        if trace is None:
            self.outside = node
        else:
            trace.write(self, node)


def attach(node: Node, buffer: Buffer) -> None:
    """Say that `buffer` holds the elements of BUFFER leaf `node`."""
    node.memory = buffer


def buffer_of(node: Node) -> Buffer:
    """Return the memory of a BUFFER leaf."""
    buffer: Buffer | Taken | None = node.memory
    if type(buffer) is AllocatedBuffer or type(buffer) is CpuBuffer:
        return buffer  # to ask an abstract class takes 0.3 us
    if isinstance(buffer, Taken):
        with buffer.runner.lock:  # until another thread has written it, or has failed to
            if node.memory is buffer:
                node.memory = buffer.buffers[node]
            buffer = node.memory
    if not isinstance(buffer, Buffer):
        raise TraceError(
            f"a tensor of shape {node.shape} and dtype {node.dtype} stands for an argument of a "
            f"captured function, or for what a step of a loop over time sees, and has no value "
            f"outside of it; return what you need instead of keeping it elsewhere"
        )
    return buffer


def new_leaf(dtype: DType, shape: tuple[int, ...], buffer: Buffer) -> Node:
    """Return a new BUFFER leaf whose elements are in `buffer`."""
    leaf = tensor.buffer(dtype, shape)
    leaf.memory = buffer
    return leaf


def is_realized(node: Node) -> bool:
    """Whether the elements of `node` are in memory."""
    return node.op is forms.BUFFER or node.memory is not None


def realized(node: Node) -> Node | None:
    """Return the leaf that holds the value of `node`, if it has been computed."""
    return node if node.op is forms.BUFFER else node.memory


def remember(node: Node, leaf: Node) -> None:
    """Say that `leaf` holds the value of `node`, as long as somebody refers to `node`."""
    node.memory = leaf


def from_array(array: Array) -> Node:
    """Return a BUFFER leaf over a NumPy array: without a copy where it is C-contiguous.

    Raises:
        DTypeError: if inkle has no such element type.
    """
    name = array.dtype.name
    if name not in BY_NAME or not array.dtype.isnative:
        raise DTypeError(f"no element type for a NumPy array of {array.dtype}; convert it first")
    flat = np.ascontiguousarray(array)
    return new_leaf(BY_NAME[name], tuple(array.shape), CpuBuffer.wrap(flat))


def from_copy(array: Array) -> Node:
    """Return a BUFFER leaf with a copy of a NumPy array, aligned as vector registers like it."""
    dtype = BY_NAME[array.dtype.name]
    buffer = allocate(dtype, array.size)
    assert isinstance(buffer, CpuBuffer)
    buffer.numpy(array.dtype, array.shape)[...] = array
    return new_leaf(dtype, tuple(array.shape), buffer)


def numpy_dtype(dtype: DType) -> npt.DTypeLike:
    """Return NumPy's type for `dtype`; bfloat16 appears as its bits in uint16."""
    if dtype is bfloat16:
        return np.dtype(uint16.name)
    return np.dtype(np.bool_ if dtype.kind is Kind.BOOL else dtype.name)


def to_array(node: Node) -> Array:
    """Return the elements of a realized node as an array that shares its memory."""
    leaf = realized(node)
    if leaf is None:
        raise DeviceError(f"{node!r} has not been computed; realize it first")
    buffer = buffer_of(leaf)
    assert isinstance(buffer, CpuBuffer)
    return buffer.numpy(numpy_dtype(leaf.dtype), leaf.shape)


class Taken:
    """Stands for the memory of leaves while a run writes over it; who reads it waits for that."""

    __slots__ = ("buffers", "runner")

    def __init__(self, buffers: dict[Node, Buffer], runner: Locked) -> None:
        self.buffers = buffers
        self.runner = runner


def take(targets: Sequence[Storage], runner: Locked) -> dict[Node, Buffer] | None:
    """Take the memory of all `targets` to write over it, if nobody else can see their values.

    An expression, a view, a pinned value or another tensor refers to the leaf; a NumPy array, a
    view of memory or a run in another thread to the buffer. Memory that came from elsewhere is
    never taken. The runner gives it back, see `give_back`; if something stops it before, the next
    reader does.

    Args:
        targets: storages, each once.
        runner: has locked itself until the memory is given back.

    Returns:
        The memory of each leaf, in order; None if that of one cannot be taken: then none is.
    """
    leaves = [each.outside for each in targets]
    taken = {leaf: leaf.memory for leaf in leaves}
    if not leaves:
        return taken
    if not _ALLOCATED.issuperset(map(type, taken.values())):
        return None
    # First: from now on nobody can get hold of it.
    mark = Taken(taken, runner)
    for leaf in leaves:
        leaf.memory = mark
    del leaf  # it would be counted
    counts = max(map(getrefcount, leaves)), max(map(getrefcount, taken.values()))
    if counts[0] <= _ALONE[0] and counts[1] <= _ALONE[1]:
        return taken
    give_back(taken)
    return None


def give_back(taken: Mapping[Node, Buffer]) -> None:
    """Undo `take`."""
    for leaf, buffer in taken.items():
        leaf.memory = buffer


class Followers:
    """Whoever remembers leaves by weak references, because something came from their values.

    Attributes:
        exist: whether there ever was one; who sets it has not looked at a leaf yet.
    """

    exist = False


def is_followed(leaf: Node) -> bool:
    """Whether somebody remembers a leaf by a weak reference."""
    return getweakrefcount(leaf) > _UNFOLLOWED


def copy_of(buffer: Buffer) -> Buffer:
    """Return fresh memory with the same content."""
    new = open_device("CPU").allocate(buffer.size_bytes)
    ctypes.memmove(new.address, buffer.address, buffer.size_bytes)
    return new


def allocate(dtype: DType, size: int) -> Buffer:
    """Return memory for `size` elements."""
    return open_device("CPU").allocate(size * dtype.itemsize)


def _count_alone() -> tuple[int, int]:
    """Return what `getrefcount` gives in `take` for a leaf and a buffer that nobody else has.

    Measured, because versions of Python count their own references differently.
    """
    target = Storage(tensor.buffer(BY_NAME["int8"], (1,)))
    target.outside.memory = CpuBuffer(0, 0, read_only=False, owner=None)
    leaves = [each.outside for each in (target,)]
    taken = {leaf: leaf.memory for leaf in leaves}
    leaves[0].memory = None
    return max(map(getrefcount, leaves)), max(map(getrefcount, taken.values()))


_ALLOCATED = frozenset((AllocatedBuffer,))
_ALONE = _count_alone()
_UNFOLLOWED = getweakrefcount(tensor.buffer(BY_NAME["int8"], (1,)))  # that of the table of nodes
