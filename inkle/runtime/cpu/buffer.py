"""A piece of memory that kernels on the CPU read and write."""

from __future__ import annotations

import ctypes
import mmap
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from inkle.errors import DeviceError
from inkle.runtime import device


class Block:
    """Memory as the allocator knows it: reused by one buffer after another.

    Attributes:
        address: of the first byte.
        size_bytes: length, a size class.
        mapping: what holds the memory, for this block alone or for a slab of many.
        freed_at: number of the moment when it was last freed.
    """

    __slots__ = ("address", "freed_at", "mapping", "size_bytes")

    def __init__(self, address: int, size_bytes: int, mapping: Any) -> None:
        self.address = address
        self.size_bytes = size_bytes
        self.mapping = mapping
        self.freed_at = 0


class Buffer(device.Buffer):
    """Memory of this process, from the allocator or from somebody else (`Buffer.wrap`).

    Views, NumPy arrays and whoever else uses the memory refer to the buffer, which lives as long as
    any of them. Allocated buffers are aligned to 64 bytes; wrapped ones and views only to what
    their address says.
    """

    __slots__ = ("_owner",)

    def __init__(self, address: int, size_bytes: int, read_only: bool, owner: Any) -> None:
        self.address = address
        self.size_bytes = size_bytes
        self.read_only = read_only
        self._owner = owner

    @staticmethod
    def wrap(memory: npt.NDArray[Any] | mmap.mmap | bytes | bytearray | memoryview) -> Buffer:
        """Make a buffer of memory that exists, without a copy, and keep it alive.

        A mapped file must not be shorter when a kernel reads it than when it was mapped.

        Raises:
            DeviceError: if the memory is not contiguous.
        """
        array = _as_array(memory)
        return Buffer(array.ctypes.data, array.nbytes, not array.flags.writeable, array)

    def view(self, offset_bytes: int, size_bytes: int) -> Buffer:
        """Return a part of this buffer that shares its memory and keeps it alive.

        Raises:
            DeviceError: if the part is not inside this buffer.
        """
        if offset_bytes < 0 or size_bytes < 0 or offset_bytes + size_bytes > self.size_bytes:
            raise DeviceError(
                f"no {size_bytes} bytes at {offset_bytes} in a buffer of {self.size_bytes} bytes"
            )
        return Buffer(self.address + offset_bytes, size_bytes, self.read_only, self)

    def numpy(
        self,
        dtype: npt.DTypeLike = np.uint8,
        shape: Sequence[int] | None = None,
        offset_bytes: int = 0,
    ) -> npt.NDArray[Any]:
        """Return an array that shares this memory and keeps it alive.

        Args:
            dtype: element type, one of NumPy's or of a package that extends it.
            shape: default: one axis with all elements that fit behind the offset.
            offset_bytes: where the first element is.

        Raises:
            DeviceError: if the array does not lie inside this buffer.
        """
        element_bytes = np.dtype(dtype).itemsize
        if shape is None:
            shape = (max(0, self.size_bytes - offset_bytes) // element_bytes,)
        size_bytes = element_bytes * int(np.prod(shape, dtype=object))
        window = self.view(offset_bytes, size_bytes)
        return np.asarray(_Interface(window)).view(dtype).reshape(shape)

    def copyin(self, data: Any) -> None:
        """Fill the whole buffer from contiguous memory of the same size.

        Raises:
            DeviceError: if the sizes differ, or this buffer is read-only.
        """
        source = Buffer.wrap(data)
        if self.read_only:
            raise DeviceError("cannot write to a read-only buffer; copy it first")
        self._check_size(source)
        ctypes.memmove(self.address, source.address, self.size_bytes)

    def copyout(self, destination: Any) -> None:
        """Copy the whole buffer to contiguous writable memory of the same size.

        Raises:
            DeviceError: if the sizes differ, or the destination is read-only.
        """
        target = Buffer.wrap(destination)
        if target.read_only:
            raise DeviceError("cannot copy to read-only memory")
        self._check_size(target)
        ctypes.memmove(target.address, self.address, self.size_bytes)

    def _check_size(self, other: Buffer) -> None:
        if other.size_bytes != self.size_bytes:
            raise DeviceError(
                f"cannot copy between {other.size_bytes} bytes and a buffer of {self.size_bytes}"
            )


class AllocatedBuffer(Buffer):
    """A buffer that gives its block back when it dies."""

    __slots__ = ("_returned",)

    def __init__(self, block: Block, size_bytes: int, returned: deque[Block]) -> None:
        self.address = block.address
        self.size_bytes = size_bytes
        self.read_only = False
        self._owner = block
        self._returned = returned

    def __del__(self) -> None:
        self._returned.append(self._owner)


class _Interface:
    """What NumPy needs to make an array of a buffer; the array refers to it, it to the buffer."""

    __slots__ = ("__array_interface__", "_buffer")

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "shape": (buffer.size_bytes,),
            "data": (buffer.address, buffer.read_only),
        }


def _as_array(memory: Any) -> npt.NDArray[Any]:
    array = memory if isinstance(memory, np.ndarray) else np.frombuffer(memory, np.uint8)
    if not array.flags.c_contiguous:
        raise DeviceError(
            f"memory must be contiguous, got shape {array.shape} with strides {array.strides}"
        )
    return array
