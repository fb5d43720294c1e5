"""idx files: what is valid is read, all else is one clear error that allocates nothing."""

from __future__ import annotations

import math
import random
import struct
import tracemalloc

import numpy as np
import pytest

from inkle.errors import DataError, FormatError
from inkle.nn.formats.idx import parse_idx, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def header(code: int, *sizes: int) -> bytes:
    return struct.pack(f">HBB{len(sizes)}I", 0, code, len(sizes), *sizes)


def idx_bytes(array: np.ndarray) -> bytes:
    big_endian = array.astype(array.dtype.newbyteorder(">"))
    return header(CODES[array.dtype.str[1:]], *array.shape) + big_endian.tobytes()


@pytest.fixture(params=["parse", "read"])
def reader(request, tmp_path):
    """Both ways to read: from bytes and from a file."""

    def read_file(content: bytes) -> np.ndarray:
        path = tmp_path / "some.idx"
        path.unlink(missing_ok=True)  # ext4 waits for the disk when a file is written over
        path.write_bytes(content)
        return read_idx(path)

    return read_file if request.param == "read" else lambda content: parse_idx(content, "some.idx")


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (2, 0, 3), (1, 2, 3, 4)])
def test_every_type_and_shape_is_read_in_native_order(reader, dtype, shape):
    values = np.arange(math.prod(shape)).reshape(shape).astype(dtype) * np.dtype(dtype).type(3)

    got = reader(idx_bytes(values))

    assert got.dtype == np.dtype(dtype)
    assert got.dtype.isnative
    assert got.shape == shape
    assert np.array_equal(got, values)


def test_bytes_are_viewed_not_copied():
    content = idx_bytes(np.arange(10, dtype=np.uint8))

    assert np.shares_memory(parse_idx(content, "x"), np.frombuffer(content, np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"at byte 0: the header is cut off, the file has 0 bytes"),
        (b"\0\0\x08", r"at byte 3: the header is cut off"),
        (b"PNG\0", r"at byte 0: begins with 50 4e, not with 00 00"),
        (b"\x1f\x8b\x08\0", r"at byte 0: this is a gzip file; decompress it first"),
        (b"\0\0\x07\x01\0\0\0\0", r"at byte 2: unknown element type 0x07"),
        (b"\0\0\x08\x03" + b"\0" * 11, r"at byte 15: the sizes of 3 axes end at byte 16"),
        (header(8, 3) + b"ab", r"at byte 10: the file has 10 bytes, but shape \(3,\).* needs 11"),
        (header(8, 3) + b"abcd", r"at byte 11: the file has 12 bytes, but shape \(3,\).* needs 11"),
        (header(8), r"at byte 4: the file has 4 bytes, but shape \(\) of uint8 needs 5"),
        (
            header(8, 2**31, 2**31),
            r"at byte 12: .* shape \(2147483648, 2147483648\) of uint8 needs 46116860184",
        ),
        (header(14, *[2**32 - 1] * 255), r"at byte 4: no array can have shape"),
        (header(8, 0, 2**32 - 1, 2**32 - 1), r"at byte 4: no array can have shape \(0, 4294967295"),
        (header(8, *[1] * 65) + b"a", r"at byte 4: no array can have shape"),
    ],
)
def test_damage_is_named_with_file_offset_and_reason(reader, content, message):
    with pytest.raises(FormatError, match=rf"some\.idx: no valid idx file, {message}"):
        reader(content)


def test_hostile_sizes_allocate_nothing(tmp_path):
    path = tmp_path / "hostile.idx"
    path.write_bytes(header(8, 2**30))

    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            read_idx(path)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak_bytes < 1 << 20


def test_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*none\.idx: No such file"):
        read_idx(tmp_path / "none.idx")


def test_mutated_files_are_read_or_refused(reader):
    rng = random.Random(0)
    original = idx_bytes(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    for _ in range(200):
        content = bytearray(original)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(20)] = rng.choice((0, 1, 2, 8, 9, 11, 127, 255))
        del content[rng.randint(0, len(content)) :]
        try:
            array = reader(bytes(content))
        except FormatError:
            continue
        assert 4 + 4 * array.ndim + array.nbytes == len(content)
