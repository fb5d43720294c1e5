"""Where values live: memory behind BUFFER leaves, and the identity of what can be mutated.

The memory of a leaf lives as long as the leaf does: while a Tensor or an expression refers to it.
Nothing here keeps a leaf alive.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from inkle.engine.trace import current_trace
from inkle.errors import DeviceError, DTypeError, TraceError
from inkle.ir import forms, tensor
from inkle.ir.dtype import BY_NAME, DType, Kind, bfloat16, uint16
from inkle.ir.node import Node
from inkle.runtime.cpu.buffer import Buffer as CpuBuffer
from inkle.runtime.device import Buffer, open_device

Array = npt.NDArray[Any]

_memory: weakref.WeakKeyDictionary[Node, Buffer] = weakref.WeakKeyDictionary()
_realized: weakref.WeakKeyDictionary[Node, Node] = weakref.WeakKeyDictionary()


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
        trace = current_trace()
        if trace is not None:
            trace.born(self)

    @property
    def current(self) -> Node:
        """The node of the latest version, as a capture in progress in this thread sees it."""
        trace = current_trace()
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
    _memory[node] = buffer


def buffer_of(node: Node) -> Buffer:
    """Return the memory of a BUFFER leaf."""
    try:
        return _memory[node]
    except KeyError:
        raise TraceError(
            f"{node!r} is an input of a captured function and has no value outside of it; return "
            f"what you need from the function instead of keeping it elsewhere"
        ) from None


def new_leaf(dtype: DType, shape: tuple[int, ...], buffer: Buffer) -> Node:
    """Return a new BUFFER leaf whose elements are in `buffer`."""
    leaf = tensor.buffer(dtype, shape)
    attach(leaf, buffer)
    return leaf


def is_realized(node: Node) -> bool:
    """Whether the elements of `node` are in memory."""
    return node.op is forms.BUFFER or node in _realized


def realized(node: Node) -> Node | None:
    """Return the leaf that holds the value of `node`, if it has been computed."""
    return node if node.op is forms.BUFFER else _realized.get(node)


def remember(node: Node, leaf: Node) -> None:
    """Say that `leaf` holds the value of `node`, as long as somebody refers to `node`."""
    _realized[node] = leaf


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


def allocate(dtype: DType, size: int) -> Buffer:
    """Return memory for `size` elements."""
    return open_device("CPU").allocate(size * dtype.itemsize)
