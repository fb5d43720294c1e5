"""Buffers: views and arrays share memory and keep it alive; foreign memory is used in place."""

from __future__ import annotations

import gc
import mmap
import weakref
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from inkle.errors import DeviceError
from inkle.runtime.cpu.buffer import Buffer
from inkle.runtime.cpu.memory import Allocator

SIZE = 1 << 20


@pytest.fixture
def allocator() -> Allocator:
    return Allocator()


def test_view_shares_memory_and_keeps_it_alive(allocator: Allocator):
    whole = allocator.allocate(SIZE)
    part = whole.view(16, 32)
    whole.numpy()[:] = np.arange(SIZE) % 251
    del whole

    assert part.numpy().tolist() == list(range(16, 48))
    assert allocator.report().live_bytes == SIZE
    del part
    assert allocator.report().live_bytes == 0


@pytest.mark.parametrize(("offset", "size"), [(-1, 4), (0, SIZE + 1), (SIZE, 1), (0, -1)])
def test_view_outside_its_buffer_is_refused(allocator: Allocator, offset: int, size: int):
    with pytest.raises(DeviceError, match=f"no {size} bytes at {offset} in a buffer of {SIZE}"):
        allocator.allocate(SIZE).view(offset, size)


def test_array_shares_memory_and_keeps_it_alive(allocator: Allocator):
    array = allocator.allocate(SIZE).numpy(np.float32, (2, 3), offset_bytes=8)
    array[:] = 5
    derived = array[1:]
    del array

    gc.collect()
    others = [allocator.allocate(SIZE) for _ in range(3)]
    for other in others:
        other.numpy()[:] = 0

    assert derived.tolist() == [[5.0, 5.0, 5.0]]


@pytest.mark.parametrize("dtype", [np.bool_, np.float16, np.complex128, ml_dtypes.bfloat16])
def test_array_of_any_dtype(allocator: Allocator, dtype: type):
    buffer = allocator.allocate(SIZE)

    buffer.numpy(dtype, (3,))[:] = np.array([0, 1, 1], dtype)

    assert buffer.numpy(dtype, (3,)).dtype == dtype
    assert buffer.numpy(dtype, (3,)).tolist() == [0, 1, 1]


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2)])
def test_array_of_zero_or_no_axes(allocator: Allocator, shape: tuple[int, ...]):
    array = allocator.allocate(8).numpy(np.float32, shape)

    assert array.shape == shape


def test_array_beyond_the_buffer_is_refused(allocator: Allocator):
    with pytest.raises(DeviceError, match="no 12 bytes at 0 in a buffer of 8 bytes"):
        allocator.allocate(8).numpy(np.float32, (3,))


def test_wrapped_array_is_used_in_place_and_kept_alive():
    array = np.arange(10.0)
    alive = weakref.ref(array)
    buffer = Buffer.wrap(array)

    array[3] = 42
    del array

    assert alive() is not None
    assert buffer.numpy(np.float64, (10,))[3] == 42
    del buffer
    assert alive() is None


def test_wrapped_read_only_array_stays_read_only():
    array = np.arange(10.0)
    array.flags.writeable = False
    buffer = Buffer.wrap(array)

    assert buffer.read_only
    assert buffer.view(0, 8).read_only
    assert not buffer.numpy(np.float64, (10,)).flags.writeable
    with pytest.raises(DeviceError, match="read-only"):
        buffer.copyin(np.zeros(10))


def test_wrapped_file_is_read_in_place_after_the_map_is_forgotten(tmp_path: Path):
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(100)))
    with path.open("rb") as file:
        buffer = Buffer.wrap(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    part = buffer.view(10, 5)
    del buffer
    gc.collect()

    assert part.read_only
    assert part.numpy().tolist() == [10, 11, 12, 13, 14]


def test_memory_that_is_not_contiguous_is_refused():
    with pytest.raises(DeviceError, match=r"contiguous, got shape \(5,\) with strides \(16,\)"):
        Buffer.wrap(np.arange(10.0)[::2])


@pytest.mark.parametrize("memory", [np.zeros(0), np.zeros((3, 0)), b"", bytearray()])
def test_empty_memory_can_be_wrapped(memory: object):
    assert Buffer.wrap(memory).size_bytes == 0


def test_copies_go_both_ways(allocator: Allocator):
    values = np.arange(6, dtype=ml_dtypes.bfloat16).reshape(2, 3)
    buffer = allocator.allocate(values.nbytes)
    found = np.zeros_like(values)

    buffer.copyin(values)
    buffer.copyout(found)

    assert found.tolist() == values.tolist()


def test_copy_of_another_size_is_refused(allocator: Allocator):
    buffer = allocator.allocate(16)

    with pytest.raises(DeviceError, match="between 8 bytes and a buffer of 16"):
        buffer.copyin(bytes(8))
    with pytest.raises(DeviceError, match="between 8 bytes and a buffer of 16"):
        buffer.copyout(bytearray(8))
    with pytest.raises(DeviceError, match="read-only memory"):
        buffer.copyout(bytes(16))
