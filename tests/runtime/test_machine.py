"""Facts about the machine, read from files that may say anything or be missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from inkle.runtime.cpu import machine


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty system of four processors, to be filled with files."""
    monkeypatch.setattr(machine, "CPU_FOLDER", tmp_path / "cpu")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "CGROUP_FOLDER", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "usable_cpus", lambda: (0, 1, 2, 3))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 4)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_this_machine_has_cores_and_caches():
    assert 1 <= machine.usable_cores() <= len(machine.usable_cpus())
    assert machine.cache_bytes(1) >= 8 << 10


def test_system_that_says_nothing_gets_defaults(system: Path):
    assert machine.usable_cores() == 4
    assert [machine.cache_bytes(level) for level in (1, 2, 3)] == [32 << 10, 512 << 10, 8 << 20]
    assert machine.available_memory_bytes() is None
    assert machine.total_memory_bytes() is None


def test_two_threads_of_one_core_count_once(system: Path):
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        write(system / f"cpu/cpu{cpu}/topology/thread_siblings_list", siblings)

    assert machine.usable_cores() == 2


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000", 4), ("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1), ("?", 4)],
)
def test_quota_of_a_container_limits_the_cores(system: Path, text: str, cores: int):
    write(system / "cgroup/cpu.max", text)

    assert machine.usable_cores() == cores


def test_caches_are_read_and_instruction_caches_are_not(system: Path):
    rows = [(1, "Data", "48K"), (1, "Instruction", "32K"), (2, "Unified", "2048K")]
    for index, (level, kind, size) in enumerate([*rows, (3, "Unified", "260M")]):
        folder = system / f"cpu/cpu0/cache/index{index}"
        write(folder / "level", str(level))
        write(folder / "type", kind)
        write(folder / "size", size)

    sizes = [machine.cache_bytes(level) for level in (1, 2, 3)]

    assert sizes == [48 << 10, 2 << 20, 260 << 20]


def test_least_of_host_and_container_memory_is_available(system: Path):
    write(system / "meminfo", "MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:  800 kB")
    assert machine.available_memory_bytes() == 800 << 10
    assert machine.total_memory_bytes() == 1000 << 10

    write(system / "cgroup/memory.max", str(600 << 10))
    write(system / "cgroup/memory.current", str(100 << 10))
    assert machine.available_memory_bytes() == 500 << 10

    write(system / "cgroup/memory.max", "max")
    assert machine.available_memory_bytes() == 800 << 10
