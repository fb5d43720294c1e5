"""Arrays of NumPy and archives, as NumPy and Python write them; damaged ones are refused."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from inkle.errors import DataError, FormatError
from inkle.nn.state import npy_load, npz_load, tar_extract, zip_extract
from tests.nn.mutations import check_reader

ARRAYS = {
    "plain": np.arange(6.0).reshape(2, 3),
    "column-major": np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
    "number": np.float32(1.5),
    "nothing": np.zeros((3, 0), np.uint16),
    "bools": np.array([True, False]),
    "half": np.array([1.5, -2], np.float16),
    "other order": np.array([1, 2], ">i4"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_arrive(tmp_path, name):
    np.save(tmp_path / "x.npy", ARRAYS[name])

    got = npy_load(tmp_path / "x.npy")

    assert got.dtype.name == ARRAYS[name].dtype.name
    assert got.shape == ARRAYS[name].shape
    assert np.array_equal(got.numpy(), ARRAYS[name])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_several_arrays_arrive(tmp_path, save):
    save(tmp_path / "x.npz", **ARRAYS)

    got = npz_load(tmp_path / "x.npz")

    assert list(got) == list(ARRAYS)
    for name, value in ARRAYS.items():
        assert np.array_equal(got[name].numpy(), value)


def npy(header, data=b"", version=1):
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


def described(descr="'<f4'", order="False", shape="(2,)"):
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"
    return npy(text.encode(), bytes(8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "at byte 0: the start needs 8 bytes"),
        (b"PK345678", r"at byte 0: it begins with b'PK3456'"),
        (npy(b"", version=9), r"version 9\.0"),
        (npy(b"x" * 20_000), "a header of 20000 bytes"),
        (npy(b"{}")[:-1], "the header needs 2 bytes there"),
        (npy(b"__import__('os').mkdir('made')"), "no literal of Python"),
        (npy(b"(" * 9000, version=2), "no literal of Python"),
        (npy(b"[1]"), "exactly descr, fortran_order and shape"),
        (described("'|O'"), r"elements of type '\|O'"),
        (described("[('a', '<f4')]"), "elements of type"),
        (described("'<c8'"), "elements of type '<c8'"),
        (described("'<f2,'"), "elements of type"),
        (described(shape="[2]"), r"shape \[2\] or order False is none"),
        (described(shape="(-2,)"), "is none"),
        (described(order="0"), "order 0 is none"),
        (described(shape="(2**40,)"), "no literal"),
        (described(shape="(4611686018427387904, 4)"), "no array can have shape"),
        (described(shape="(3,)"), r"shape \(3,\) of float32 needs 12 bytes, 8 follow"),
        (described(shape="(1,)"), "needs 4 bytes, 8 follow"),
        (described("'|b1'", shape="(8,)")[:-1] + b"\2", "a bool is a byte other than 0 and 1"),
    ],
)
def test_damaged_arrays_are_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.npy"
    path.write_bytes(content)

    with pytest.raises(FormatError, match=rf"x\.npy: no valid npy file.*{message}"):
        npy_load(path)

    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_of_a_zip_archive_arrive(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
        archive.mkdir("folder") if hasattr(archive, "mkdir") else None
        archive.writestr("folder/ä.txt", b"hello" * 100)
        archive.writestr("empty", b"")

    got = zip_extract(tmp_path / "x.zip")

    assert {name: x.numpy().tobytes() for name, x in got.items()} == {
        "folder/ä.txt": b"hello" * 100,
        "empty": b"",
    }


def test_an_archive_with_64_bit_sizes_is_read(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "x.zip", "w") as archive,
        archive.open("a", "w", force_zip64=True) as file,
    ):
        file.write(b"hello")

    assert zip_extract(tmp_path / "x.zip")["a"].numpy().tobytes() == b"hello"


def test_a_zip_bomb_is_refused_and_takes_no_memory(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small", b"1")
        archive.writestr("bomb", bytes(1 << 22))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=r"'bomb' inflates to 4194304 bytes, above 999"):
            zip_extract(path, limit=1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 1 << 20
    assert len(zip_extract(path)["bomb"]) == 1 << 22


def test_a_member_that_inflates_to_more_than_it_says_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(5000))
    content = path.read_bytes()
    path.write_bytes(content.replace((5000).to_bytes(4, "little"), (50).to_bytes(4, "little")))

    with pytest.raises(FormatError, match="inflates to 51 bytes or more, not to 50"):
        zip_extract(path)


def directory_with(path, change):
    """Write an archive of two files and change its directory."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"1234")
        archive.writestr("b", b"5678")
        archive.filelist[1].header_offset, archive.filelist[1].flag_bits = change
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((0, 0), "member 'b' overlaps the one before"),
        ((35, 1), "member 'b' is encrypted"),
        ((36, 0), "the header of a member begins with"),
        ((10**6, 0), "the header of a member needs 30 bytes"),
    ],
)
def test_directories_that_lie_are_refused(tmp_path, change, message):
    with pytest.raises(FormatError, match=rf"x\.zip: no valid zip archive, at byte \d+: {message}"):
        zip_extract(directory_with(tmp_path / "x.zip", change))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_of_a_tar_archive_arrive(tmp_path, form):
    names = ["a.txt", "folder/" + "b" * 90, "folder/" * 12 + "c.txt"]
    names += [] if form == tarfile.USTAR_FORMAT else ["ä" * 150]
    with tarfile.open(tmp_path / "x.tar", "w", format=form) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = 600 * number
            archive.addfile(info, io.BytesIO(bytes([number]) * info.size))

    got = tar_extract(tmp_path / "x.tar")

    assert list(got) == names
    for number, name in enumerate(names):
        assert got[name].numpy().tobytes() == bytes([number]) * 600 * number


def tarred():
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        for name in ("a", "b" * 120):
            info = tarfile.TarInfo(name)
            info.size = 5
            archive.addfile(info, io.BytesIO(b"hello"))
    return memory.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "at byte 0: the header of a member is cut off"),
        (b"\x1f\x8b" + bytes(600), "at byte 0: the sum of a header is wrong"),
        (tarred()[:512], "member 'a' needs 5 bytes there"),
        (tarred()[:600], "cut off; is the file compressed"),
        (tarred()[:1024] * 2, "the name 'a' occurs twice"),
    ],
)
def test_damaged_tar_archives_are_refused(tmp_path, content, message):
    path = tmp_path / "x.tar"
    path.write_bytes(content)

    with pytest.raises(FormatError, match=rf"x\.tar: no valid tar archive.*{message}"):
        tar_extract(path)


@pytest.mark.parametrize("load", [npy_load, npz_load, tar_extract, zip_extract])
def test_a_missing_file_is_a_data_error(tmp_path, load):
    with pytest.raises(DataError, match="No such file"):
        load(tmp_path / "none")


def written(save, *arguments, **named):
    memory = io.BytesIO()
    save(memory, *arguments, **named)
    return memory.getvalue()


SAMPLES = {
    "npy": (npy_load, written(np.save, ARRAYS["plain"])),
    "npz": (npz_load, written(np.savez, a=ARRAYS["plain"], b=ARRAYS["bools"])),
    "npz, compressed": (npz_load, written(np.savez_compressed, a=np.zeros(99), b=np.arange(9))),
    "zip": (zip_extract, written(np.savez_compressed, a=np.zeros(99))),
    "tar": (tar_extract, tarred()),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_mutated_files_are_read_or_refused(tmp_path, name):
    load, original = SAMPLES[name]

    assert 0 < check_reader(load, original, tmp_path / "fuzz", 200, seed=0) < 200


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SAMPLES)
def test_many_mutated_files_are_read_or_refused(tmp_path, name):
    load, original = SAMPLES[name]

    assert check_reader(load, original, tmp_path / "fuzz", 100_000, seed=1) > 100
