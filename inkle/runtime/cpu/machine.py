"""What this computer has: usable cores, cache sizes, free memory.

Linux says so under /sys and /proc. Elsewhere, and where a file is missing, a safe default is used.
Nothing here raises.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CPU_FOLDER = Path("/sys/devices/system/cpu")
MEMINFO = Path("/proc/meminfo")
CGROUP_FOLDER = Path("/sys/fs/cgroup")  # version 2; in a container this is its own group
# Used when /sys does not say: the smallest of the x86 and ARM servers of the last ten years.
DEFAULT_CACHES = {1: 32 << 10, 2: 512 << 10, 3: 8 << 20}
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def usable_cpus() -> tuple[int, ...]:
    """Return the numbers of the logical CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def usable_cores() -> int:
    """Return how many threads can compute at full speed at once, at least 1.

    That is the number of physical cores in the affinity mask (two threads of one core share its
    vector units), but not more than the container's processor quota.
    """
    cores = {_siblings(cpu) for cpu in usable_cpus()}
    return max(1, min(len(cores), _cpu_quota()))


def cache_bytes(level: int) -> int:
    """Return the size in bytes of the first core's data cache at `level` 1, 2 or 3."""
    for folder in sorted((CPU_FOLDER / f"cpu{usable_cpus()[0]}" / "cache").glob("index*")):
        if _text(folder / "level") == str(level) and _text(folder / "type") != "Instruction":
            return _size_bytes(_text(folder / "size")) or DEFAULT_CACHES[level]
    return DEFAULT_CACHES[level]


def available_memory_bytes() -> int | None:
    """Return how much memory can still be used without swapping; None if unknown."""
    amounts = [
        amount for amount in (_host_available(), _container_available()) if amount is not None
    ]
    return min(amounts, default=None)


def total_memory_bytes() -> int | None:
    """Return the memory of the machine; None if unknown."""
    return _meminfo("MemTotal:")


def _siblings(cpu: int) -> str:
    return _text(CPU_FOLDER / f"cpu{cpu}" / "topology" / "thread_siblings_list") or str(cpu)


def _cpu_quota() -> int:
    """Return the container's limit in whole processors; `max 100000` means none."""
    quota, _, period = _text(CGROUP_FOLDER / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        return math.ceil(int(quota) / int(period))
    return os.cpu_count() or 1


def _container_available() -> int | None:
    limit, used = _text(CGROUP_FOLDER / "memory.max"), _text(CGROUP_FOLDER / "memory.current")
    if limit.isdigit() and used.isdigit():
        return max(0, int(limit) - int(used))
    return None


def _host_available() -> int | None:
    return _meminfo("MemAvailable:")


def _meminfo(label: str) -> int | None:
    for line in _text(MEMINFO).splitlines():
        name, *rest = line.split()
        if name == label:
            return int(rest[0]) << 10  # the file counts in KiB
    return None


def _size_bytes(text: str) -> int:
    """Read `48K` or `2M`; 0 if it is neither.

    Example:
        >>> _size_bytes("48K")
        49152
    """
    digits, unit = text[:-1], text[-1:]
    return int(digits) * _UNITS[unit] if digits.isdigit() and unit in _UNITS else 0


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
