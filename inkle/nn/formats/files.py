"""Opening files, judging the sizes that they claim, and replacing them without loss."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from inkle.errors import DataError, DTypeError

PathLike = str | os.PathLike[str]
MAX_AXES = 64  # NumPy's limit
MAX_EXTENT = 2**63 - 1  # NumPy's limit for the product of the sizes above zero, in bytes


def is_representable(shape: tuple[int, ...], itemsize: int) -> bool:
    """Tell whether NumPy can make an array of this shape, zero sizes included."""
    extent = itemsize
    for size in shape:
        extent *= max(size, 1)  # (0, 2**40, 2**40) has no elements, and yet NumPy refuses it
        if extent > MAX_EXTENT:  # inside the loop: hostile shapes must not make huge products
            return False
    return len(shape) <= MAX_AXES


def open_to_read(path: PathLike) -> BinaryIO:
    """Open a file for reading bytes.

    Raises:
        DataError: if there is no such file, or it may not be read.
        DTypeError: if `path` is no path; a number would name a file that is open already.
    """
    _check_path(path)
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error


def write_atomically(path: PathLike, chunks: Iterable[bytes | memoryview]) -> None:
    """Write a file in full, or leave what was at `path` untouched.

    The bytes go to a temporary file in the same folder, reach the disk, and then take the name.
    A program that has the old file mapped keeps the old bytes.

    Args:
        path: file to make or replace; a symbolic link is followed.
        chunks: what to write, in order.

    Raises:
        DataError: if the folder is missing or read-only, the disk is full, and so on; or if `path`
            is a device or a pipe, which must not be replaced by a file.
        DTypeError: if `path` is no path.
    """
    _check_path(path)
    target = Path(os.path.realpath(path))
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise DataError(f"cannot write {os.fspath(path)}: it is a device, a pipe or a socket")
    # A short name of its own: the name of `path` may already be as long as names can be.
    temporary = target.parent / f".inkle-{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise DataError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
    finally:  # after Ctrl-C too; nothing is left to remove when all went well
        with suppress(OSError):
            temporary.unlink()


def _check_path(path: object) -> None:
    if not isinstance(path, (str, os.PathLike)):
        raise DTypeError(
            f"a path is text or a pathlib.Path, got {type(path).__name__} {path!r:.60}"
        )
