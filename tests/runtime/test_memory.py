"""The allocator: memory is reused, never lost, and never handed out twice."""

from __future__ import annotations

import gc
import itertools
import mmap
import os
import threading

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from inkle.errors import MemoryFailure
from inkle.runtime.cpu import machine, memory
from inkle.runtime.cpu.memory import ALIGNMENT, HUGE_FROM, Allocator, map_memory, size_class

LARGE = 1 << 20


@pytest.fixture
def allocator() -> Allocator:
    return Allocator(cache_limit_bytes=1 << 30)


@pytest.mark.parametrize("size_bytes", [0, 1, 63, 64, 65, 4095, 65536, 65537, LARGE, HUGE_FROM])
def test_allocated_memory_is_aligned_and_writable_to_its_end(allocator: Allocator, size_bytes: int):
    buffer = allocator.allocate(size_bytes)

    buffer.numpy()[:] = 7

    assert buffer.address % ALIGNMENT == 0
    assert buffer.size_bytes == size_bytes
    assert (buffer.numpy() == 7).all()


def test_freed_block_is_used_again(allocator: Allocator):
    for size_bytes in (100, LARGE):
        first = allocator.allocate(size_bytes)
        address = first.address
        del first

        assert allocator.allocate(size_bytes).address == address


@pytest.mark.parametrize("size_bytes", [100, LARGE])
def test_buffer_outlives_its_allocator(size_bytes: int):
    buffer = Allocator().allocate(size_bytes)
    gc.collect()

    buffer.numpy()[:] = 1

    assert buffer.numpy().sum() == size_bytes


def test_live_blocks_never_overlap(allocator: Allocator):
    random = np.random.default_rng(0)
    live = []
    for size_bytes in random.integers(0, 200_000, 300):
        live.append(allocator.allocate(int(size_bytes)))
        if len(live) > 100:
            del live[int(random.integers(100))]

    spans = sorted((buffer.address, buffer.address + buffer.size_bytes) for buffer in live)

    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_steady_loop_maps_nothing_new():
    mapped = []
    allocator = Allocator(map_fresh=lambda size: mapped.append(size) or map_memory(size))
    sizes = (100, 5_000, 70_000, LARGE, 3 * LARGE)

    rounds = []
    for _ in range(5):
        held = [allocator.allocate(size) for size in sizes]
        rounds.append(len(mapped))
        del held

    assert rounds == [rounds[0]] * 5


def test_report_counts_live_cached_and_peak(allocator: Allocator):
    first, second = allocator.allocate(LARGE), allocator.allocate(LARGE)
    del second

    report = allocator.report()

    assert (report.live_bytes, report.cached_bytes, report.peak_bytes) == (LARGE, LARGE, 2 * LARGE)
    assert first.size_bytes == LARGE


def test_trim_gives_free_mappings_back(allocator: Allocator):
    kept, freed = allocator.allocate(LARGE), allocator.allocate(4 * LARGE)
    del freed

    assert allocator.trim() == 4 * LARGE
    assert allocator.report().cached_bytes == 0
    assert kept.numpy().size == LARGE


def test_cache_beyond_its_limit_drops_the_longest_unused_first():
    allocator = Allocator(cache_limit_bytes=3 * LARGE)
    old, middle, new = (allocator.allocate(n * LARGE) for n in (1, 2, 1))
    address = new.address
    del old
    del middle
    del new

    assert allocator.report().cached_bytes == 3 * LARGE  # the oldest is gone
    assert allocator.allocate(LARGE).address == address


def test_out_of_memory_empties_the_cache_and_tries_again():
    room = 3 * LARGE
    allocator = Allocator(map_fresh=lambda size: _map_within(allocator, room, size))
    freed = allocator.allocate(2 * LARGE)
    del freed

    big = allocator.allocate(3 * LARGE)

    assert big.size_bytes == 3 * LARGE
    assert allocator.report().cached_bytes == 0


def test_out_of_memory_names_the_sizes_and_leaves_the_allocator_usable():
    room = 3 * LARGE
    allocator = Allocator(map_fresh=lambda size: _map_within(allocator, room, size))
    held = allocator.allocate(2 * LARGE)

    with pytest.raises(MemoryFailure, match=r"4\.0 MiB on CPU: tensors hold 2\.0 MiB"):
        allocator.allocate(4 * LARGE)

    assert allocator.report().live_bytes == held.size_bytes
    assert allocator.allocate(LARGE).size_bytes == LARGE


@pytest.mark.parametrize("size_bytes", [1 << 50, 1 << 63, 1 << 70])
def test_absurd_size_is_a_memory_error(allocator: Allocator, size_bytes: int):
    with pytest.raises(MemoryError, match="cannot allocate"):
        allocator.allocate(size_bytes)


def test_more_than_the_system_has_left_is_refused_before_pages_are_touched(
    allocator: Allocator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine, "available_memory_bytes", lambda: 100 << 20)

    with pytest.raises(MemoryFailure, match=r"512\.0 MiB.*the system has 100\.0 MiB left"):
        allocator.allocate(512 << 20)


def test_many_threads_allocate_and_free_at_once(allocator: Allocator):
    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        held = {}
        for step in range(300):
            buffer = allocator.allocate(int(random.integers(8, 100_000)))
            mark = seed * 1000 + step
            buffer.numpy(np.int64, (1,))[:] = mark
            held[int(random.integers(20))] = (buffer, mark)
        marks.extend((buffer.numpy(np.int64, (1,))[0], mark) for buffer, mark in held.values())

    marks: list[tuple[int, int]] = []
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(marks) > 100
    assert all(found == written for found, written in marks)
    gc.collect()
    assert allocator.report().live_bytes == 0


def test_destructor_that_allocates_inside_allocate_does_not_deadlock():
    class Allocating:
        def __del__(self) -> None:
            allocator.allocate(100)

    def map_and_collect(size_bytes: int) -> mmap.mmap:
        cycle = Allocating()
        cycle.itself = cycle
        del cycle
        gc.collect()
        return map_memory(size_bytes)

    allocator = Allocator(map_fresh=map_and_collect)

    assert allocator.allocate(LARGE).size_bytes == LARGE
    assert allocator.report().live_bytes == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forked_child_has_memory_of_its_own(allocator: Allocator):
    shared = allocator.allocate(LARGE).numpy(np.int64)
    shared[:] = 1

    child = os.fork()
    if child == 0:
        shared[:] = 2
        fresh = allocator.allocate(LARGE).numpy(np.int64)
        fresh[:] = 3
        os._exit(0 if (shared == 2).all() and (fresh == 3).all() else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (shared == 1).all()


@hypothesis.given(st.integers(0, 1 << 45))
def test_size_class_holds_the_size_with_at_most_a_quarter_of_waste(size_bytes: int):
    rounded = size_class(size_bytes)

    assert size_bytes <= rounded <= max(1.25 * size_bytes, size_bytes + ALIGNMENT)
    assert rounded % ALIGNMENT == 0
    assert size_class(rounded) == rounded


def test_large_size_classes_are_whole_pages():
    sizes = [memory.LARGEST_SMALL + 1 + 1000 * n for n in range(1000)]

    assert all(size_class(size) % mmap.PAGESIZE == 0 for size in sizes)


def _map_within(allocator: Allocator, room: int, size_bytes: int) -> mmap.mmap:
    """Map memory as a system would that has `room` bytes in all."""
    report = allocator.report()
    if report.live_bytes + report.cached_bytes + size_bytes > room:
        raise OSError(12, "Cannot allocate memory")
    return map_memory(size_bytes)
