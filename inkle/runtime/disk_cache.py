"""What has been compiled, on disk: a bounded folder of small files, safe to lose.

An entry is MAGIC, the SHA-256 of its name and its content, then the content. It is written to a
temporary file and renamed, so that a reader, a crash or a second process never sees half of one; an
entry that does not fit its checksum counts as missing. The cache only ever saves time: whatever
goes wrong on disk is logged once, and work goes on without.

Names are a digest of whatever the content depends on, and a suffix for its kind. Kernels and the
schedules that run them (`inkle.engine.recipe_cache`) share one folder and one bound: a kernel that
has gone takes a schedule with it, and both are marked as used when they are.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import threading
import time
from pathlib import Path

from inkle import config

MAGIC = b"inkle2\n\0"
HEADER_BYTES = len(MAGIC) + hashlib.sha256().digest_size
KEEP_AFTER_EVICTION = 0.75  # of the limit: so that a full cache does not evict at every look
COUNTS = 64  # how often all entries are counted while the limit is filled: it is passed by as much
STALE_SECONDS = 24 * 3600  # an entry read after this long is marked as used again

_logger = logging.getLogger(__name__)


def default_folder(setting: str) -> Path:
    """Return the folder that `INKLE_CACHE` names; if it names none, the user's cache folder."""
    if setting:
        return Path(setting).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "inkle"


def cache_in_force() -> DiskCache:
    """Return where kernels and schedules are kept, as the settings say."""
    return _cache_at(str(config.get("INKLE_CACHE")), int(config.get("INKLE_CACHE_MB")))


class DiskCache:
    """A folder of byte strings under names.

    Args:
        folder: created at the first write, readable by this user only.
        limit_bytes: bound on the size of all entries, give or take one or two parts in `COUNTS`;
            the oldest go first. 0 means no bound.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = 512 << 20) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._warned = False

    def get(self, name: str) -> bytes | None:
        """Return the content stored under `name`; None if there is none, or it is damaged."""
        path = self.folder / name
        try:
            entry = path.read_bytes()
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn("read", error)
            return None
        content = entry[HEADER_BYTES:]
        return content if entry[:HEADER_BYTES] == _header(name, content) else None

    def put(self, name: str, content: bytes) -> None:
        """Store `content` under `name`; evict old entries if the cache outgrows its limit."""
        path = self.folder / name
        temporary = path.with_name(f"{name}.{os.getpid()}.{threading.get_ident()}.tmp")
        header = _header(name, content)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(temporary, header + content)
            os.replace(temporary, path)
            if self._is_to_be_counted(header, len(header) + len(content)):
                self._evict()
        except OSError as error:
            self._warn("write", error)
            _remove(temporary)

    def _is_to_be_counted(self, header: bytes, size_bytes: int) -> bool:
        """Whether to look how large all entries are, now that there is one more.

        Looking at 50,000 files takes 0.2 s, and other processes write, too. So the digest of each
        entry decides, such that all of them together look `COUNTS` times while the limit is filled.
        """
        chance = int.from_bytes(header[-8:], "big") / 2**64
        return chance * self.limit_bytes < COUNTS * size_bytes and self.limit_bytes > 0

    def _evict(self) -> None:
        """If there is too much, remove what was not used for longest, leftovers of crashes, too."""
        files = self._files()
        size_bytes = sum(size for _, size, _ in files)
        if size_bytes <= self.limit_bytes:
            return
        for _, file_bytes, path in sorted(files):
            if size_bytes <= KEEP_AFTER_EVICTION * self.limit_bytes:
                break
            _remove(path)
            size_bytes -= file_bytes

    def _files(self) -> list[tuple[float, int, str]]:
        """Return (time of last use, size in bytes, path) of each file in the folder."""
        files = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                try:
                    status = entry.stat()
                except FileNotFoundError:  # another process evicted it meanwhile
                    continue
                files.append((status.st_mtime, status.st_size, entry.path))
        return files

    def _warn(self, verb: str, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning("cannot %s the cache of kernels in %s: %s", verb, self.folder, error)


@functools.cache
def _cache_at(folder: str, limit_mb: int) -> DiskCache:
    return DiskCache(default_folder(folder) / "cpu", limit_bytes=limit_mb << 20)


def _header(name: str, content: bytes) -> bytes:
    return MAGIC + hashlib.sha256(name.encode() + b"\0" + content).digest()


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _remove(path: Path | str) -> None:
    with contextlib.suppress(OSError):  # it never existed, or another process was faster
        os.remove(path)
