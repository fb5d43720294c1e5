"""The allocator of the CPU: freed blocks are kept and reused, because fresh pages are slow.

The first touch of 64 MiB of fresh memory takes 8-20 ms, the second 6 ms, so a block that comes back
from the cache is worth more than most tuning of kernels. Sizes are rounded up to classes, four per
doubling, and each class keeps a stack of free blocks:

    size          where from                          alignment
    ≤ 64 KiB      carved out of slabs of 1 MiB        64 bytes
    larger        a mapping of its own                4096; from 4 MiB on in huge pages if possible

Blocks come back from destructors, which run on any thread at any moment, even inside `allocate`. So
a destructor only appends to a queue (atomic, no lock); `allocate` sorts the queue in. The lock is
re-entrant for the same reason: collecting garbage inside `allocate` may run code that allocates.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

from inkle.config import readable
from inkle.errors import MemoryFailure
from inkle.runtime.cpu import machine
from inkle.runtime.cpu.buffer import AllocatedBuffer, Block, Buffer
from inkle.runtime.device import MemoryReport
from inkle.runtime.locks import fork_safe_lock

__all__ = ["ALIGNMENT", "Allocator", "Buffer"]

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
SLAB_BYTES = 1 << 20
LARGEST_SMALL = 64 << 10  # larger blocks get a mapping of their own, which can be given back
HUGE_FROM = 4 << 20  # huge pages make the first touch 2.5x faster; smaller blocks hardly hold one
CHECKED_FROM = 256 << 20  # below, a wrong guess about free memory cannot end the process alone


def map_memory(size_bytes: int) -> Any:
    """Return fresh zeroed memory of this process as a writable buffer object.

    Raises:
        OSError: if the system has no room for it.
    """
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return mmap.mmap(-1, size_bytes)
    mapping = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size_bytes >= HUGE_FROM and hasattr(mmap, "MADV_HUGEPAGE"):
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping


class Allocator:
    """Hands out buffers and takes their memory back when they die. All methods are thread-safe.

    Args:
        cache_limit_bytes: how much freed memory is kept at most, the longest unused goes first;
            default: a quarter of the machine's memory.
        map_fresh: where fresh memory comes from.
    """

    def __init__(
        self,
        *,
        cache_limit_bytes: int | None = None,
        map_fresh: Callable[[int], Any] = map_memory,
    ) -> None:
        if cache_limit_bytes is None:
            cache_limit_bytes = (machine.total_memory_bytes() or 4 << 30) // 4
        self._cache_limit_bytes = cache_limit_bytes
        self._map_fresh = map_fresh
        self._lock = fork_safe_lock()
        self._returned: deque[Block] = deque()
        self._free: defaultdict[int, list[Block]] = defaultdict(list)
        self._slab: Any = None
        self._slab_used = SLAB_BYTES
        self._moment = 0
        self._live_bytes = self._cached_bytes = self._peak_bytes = 0

    def allocate(self, size_bytes: int) -> Buffer:
        """Return a buffer of `size_bytes` (0 is fine), aligned to 64 bytes, content undefined.

        Raises:
            MemoryFailure: if there is no room, even after giving cached memory back.
        """
        return self.allocate_all([size_bytes])[0]

    def allocate_all(self, sizes_bytes: Sequence[int]) -> list[Buffer]:
        """Return several buffers at once, as `allocate` does, in less time.

        Raises:
            MemoryFailure: if there is no room for all of them.
        """
        found: list[Buffer] = []
        with self._lock:
            if self._returned:
                self._sort_in()
            for size_bytes in sizes_bytes:
                rounded = size_class(size_bytes)
                free = self._free[rounded]
                if free:
                    block = free.pop()
                    self._cached_bytes -= rounded
                else:
                    block = self._fresh(rounded)
                self._live_bytes += rounded
                found.append(AllocatedBuffer(block, size_bytes, self._returned))
            if self._live_bytes > self._peak_bytes:
                self._peak_bytes = self._live_bytes
        return found

    def report(self) -> MemoryReport:
        """Return how many bytes are live, cached, and were live at most; rounded sizes count."""
        with self._lock:
            self._sort_in()
            return MemoryReport(self._live_bytes, self._cached_bytes, self._peak_bytes)

    def trim(self) -> int:
        """Give free mappings back to the system and return their size; slabs are kept."""
        with self._lock:
            self._sort_in()
            before = self._cached_bytes
            self._shrink_cache(0)
            return before - self._cached_bytes

    def _sort_in(self) -> None:
        """Put blocks that destructors returned onto the stacks of free blocks."""
        while self._returned:
            block = self._returned.popleft()
            self._moment += 1
            block.freed_at = self._moment
            self._free[block.size_bytes].append(block)
            self._live_bytes -= block.size_bytes
            self._cached_bytes += block.size_bytes
        if self._cached_bytes > self._cache_limit_bytes:
            self._shrink_cache(self._cache_limit_bytes)

    def _shrink_cache(self, limit_bytes: int) -> None:
        """Unmap free large blocks, the longest unused first, until the cache fits the limit."""
        stacks = [stack for size, stack in self._free.items() if size > LARGEST_SMALL and stack]
        blocks = sorted((b for stack in stacks for b in stack), key=lambda block: block.freed_at)
        for block in blocks:
            if self._cached_bytes <= limit_bytes:
                break
            self._free[block.size_bytes].remove(block)
            self._cached_bytes -= block.size_bytes
            block.mapping = None  # the last reference: this unmaps it

    def _fresh(self, rounded: int) -> Block:
        if rounded <= LARGEST_SMALL:
            return self._carve(rounded)
        mapping = self._map(rounded)
        return Block(_address(mapping), rounded, mapping)

    def _carve(self, rounded: int) -> Block:
        """Return the next `rounded` bytes of a slab."""
        if self._slab_used + rounded > SLAB_BYTES:
            self._slab = self._map(SLAB_BYTES)
            self._slab_used = 0
        block = Block(_address(self._slab) + self._slab_used, rounded, self._slab)
        self._slab_used += rounded
        return block

    def _map(self, size_bytes: int) -> Any:
        """Map fresh memory; if there is no room, empty the cache and try again."""
        if _fits(size_bytes):
            try:
                return self._map_fresh(size_bytes)
            except (OSError, OverflowError, ValueError):
                pass  # the cache may hold what is missing
        self.trim()
        try:
            if _fits(size_bytes):
                return self._map_fresh(size_bytes)
        except (OSError, OverflowError, ValueError):
            pass
        raise MemoryFailure(self._complaint(size_bytes))

    def _complaint(self, size_bytes: int) -> str:
        available = machine.available_memory_bytes()
        rest = "" if available is None else f"; the system has {readable(available)} left"
        return (
            f"cannot allocate {readable(size_bytes)} on CPU: tensors hold "
            f"{readable(self._live_bytes)} (at most {readable(self._peak_bytes)} so far){rest}; "
            "free tensors or use smaller batches"
        )


@functools.lru_cache(maxsize=1024)  # programs ask for few sizes, often
def size_class(size_bytes: int) -> int:
    """Round a size up to a class: multiples of an eighth of the next power of two, at least 64.

    Example:
        >>> [size_class(n) for n in (0, 64, 65, 600, 1025, 1 << 20, (1 << 20) + 1)]
        [64, 64, 128, 640, 1280, 1048576, 1310720]
    """
    step = max(ALIGNMENT, (1 << max(size_bytes - 1, 0).bit_length()) // 8)
    return max(ALIGNMENT, -(-size_bytes // step) * step)


def _fits(size_bytes: int) -> bool:
    """Tell whether the system has that much left, as far as it says.

    Linux hands out addresses for any size and ends the process when it runs out of pages.
    """
    if size_bytes < CHECKED_FROM:
        return True
    available = machine.available_memory_bytes()
    return available is None or size_bytes <= available


def _address(mapping: Any) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))
