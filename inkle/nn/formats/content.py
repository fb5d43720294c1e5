"""The bytes of a file as its reader sees them: mapped, read-only, with errors that say where."""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkle.errors import DataError, FormatError
from inkle.nn.formats.files import PathLike, open_to_read


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """Bytes, what to call them, and what they are meant to be.

    Attributes:
        data: the bytes; read-only where they are a mapped file.
        name: of the file, for errors.
        kind: of the file, for errors: "zip archive".
    """

    data: memoryview
    name: str
    kind: str

    def __len__(self) -> int:
        return len(self.data)

    def wrong(self, offset: int, reason: str) -> FormatError:
        """Return the error that says what is wrong at byte `offset`."""
        return FormatError(f"{self.name}: no valid {self.kind}, at byte {offset}: {reason}")

    def take(self, offset: int, size: int, what: str) -> memoryview:
        """Return `size` bytes from `offset` on, without a copy.

        Raises:
            FormatError: if they are not all there.
        """
        if offset < 0 or size < 0 or offset + size > len(self.data):
            raise self.wrong(
                offset, f"{what} needs {size} bytes there, and the file has {len(self.data)} in all"
            )
        return self.data[offset : offset + size]

    def unpack(self, form: str, offset: int, what: str) -> tuple[Any, ...]:
        """Return numbers, laid out as `struct` describes them."""
        return struct.unpack(form, self.take(offset, struct.calcsize(form), what))

    def array(self, offset: int, size: int, what: str) -> NDArray[np.uint8]:
        """Return `size` bytes from `offset` on as an array that views them."""
        return np.frombuffer(self.take(offset, size, what), np.uint8)

    def part(self, offset: int, size: int, name: str, kind: str) -> Content:
        """Return a part as the content of a file of its own, a member of this one."""
        return Content(self.take(offset, size, name), f"{self.name}[{name}]", kind)


def map_file(path: PathLike, kind: str) -> Content:
    """Map a file into memory; nothing of it is read yet, and it must not be shortened.

    Raises:
        DataError: if it cannot be opened or mapped.
    """
    with open_to_read(path) as file:
        name = os.fspath(path)
        if os.fstat(file.fileno()).st_size == 0:  # which cannot be mapped
            return Content(memoryview(b""), name, kind)
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot map {name} into memory: {error}") from error
    return Content(memoryview(mapped), name, kind)
