"""safetensors files: round trips, and agreement with the reference implementation."""

from __future__ import annotations

import json
import os
import struct
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors as reference
import safetensors.numpy as reference_numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from inkle.errors import DataError, DTypeError, FormatError, ShapeError
from inkle.nn.formats.safetensors import RawTensor, load, read_header, save
from inkle.nn.formats.safetensors_header import ELEMENT_TYPES

NUMPY_TYPES = [row.numpy.newbyteorder("=") for row in ELEMENT_TYPES.values() if row.numpy]
SAMPLE = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bias": np.array([0.5, -0.0, np.nan]),
    "mask": np.array([True, False, True]),
    "step": np.array(7, np.int64),
    "none": np.zeros((3, 0, 2), np.float16),
}


def file_bytes(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(
    dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)
) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def assert_same(left, right):
    assert left.dtype == right.dtype
    assert left.shape == right.shape
    assert left.tobytes() == right.tobytes()


# Round trips


def test_what_is_saved_is_loaded(tmp_path):
    save(tmp_path / "a.safetensors", SAMPLE, {"made by": "inkle ✓"})

    got = load(tmp_path / "a.safetensors")

    assert set(got) == set(SAMPLE)
    for name, array in SAMPLE.items():
        assert_same(got[name].numpy(), array)
    assert read_header(tmp_path / "a.safetensors").metadata == {"made by": "inkle ✓"}


@pytest.mark.parametrize("dtype", NUMPY_TYPES, ids=str)
def test_every_numpy_type_equals_the_reference_byte_for_byte(tmp_path, dtype):
    tensors = {"a": np.arange(6).reshape(2, 3).astype(dtype), 'é\n"': np.ones((), dtype)}

    save(tmp_path / "ours", tensors, {"key": "value"})
    reference_numpy.save_file(tensors, tmp_path / "theirs", {"key": "value"})

    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_mixed_types_equal_the_reference_byte_for_byte(tmp_path):
    tensors = {f"t{i}": np.full(i, i, dtype) for i, dtype in enumerate(NUMPY_TYPES)}

    save(tmp_path / "ours", tensors)
    reference_numpy.save_file(tensors, tmp_path / "theirs")

    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_types_that_numpy_lacks_agree_with_the_reference(tmp_path):
    types = {
        "BF16": "bfloat16",
        "F8_E5M2": "float8_e5m2",
        "F8_E4M3": "float8_e4m3fn",
        "F8_E4M3FNUZ": "float8_e4m3fnuz",
        "F8_E5M2FNUZ": "float8_e5m2fnuz",
        "F8_E8M0": "float8_e8m0fnu",
    }
    data = np.arange(6, dtype=np.uint8)
    specs = {
        name: reference.TensorSpec(
            dtype=dtype, shape=[3 if name == "BF16" else 6], data_ptr=data.ctypes.data, data_len=6
        )
        for name, dtype in types.items()
    }
    (tmp_path / "theirs").write_bytes(reference.serialize(specs))

    ours = load(tmp_path / "theirs")
    save(tmp_path / "ours", ours)

    for name, tensor in ours.items():
        assert (tensor.dtype, tensor.shape) == (name, (3,) if name == "BF16" else (6,))
        assert tensor.data.tolist() == data.tolist()
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=8).filter(
            lambda name: name != "__metadata__"
        ),
        st.tuples(st.sampled_from(NUMPY_TYPES), st.lists(st.integers(0, 4), max_size=4)),
        max_size=5,
    ),
    st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))),
)
@settings(max_examples=25, deadline=None)
def test_any_names_types_and_shapes_come_back(tmp_path_factory, specs, metadata):
    rng = np.random.default_rng(0)
    tensors = {
        name: (rng.integers(0, 2, shape).astype(dtype)) for name, (dtype, shape) in specs.items()
    }
    path = tmp_path_factory.getbasetemp() / "any.safetensors"

    save(path, tensors, metadata)

    got, theirs = load(path), reference_numpy.load_file(path)
    assert set(got) == set(tensors) == set(theirs)
    for name, array in tensors.items():
        assert_same(got[name].numpy(), array)
        assert_same(theirs[name], array)
    assert read_header(path).metadata == metadata


def test_layout_in_memory_does_not_matter(tmp_path):
    plain = np.arange(24, dtype=np.float32).reshape(4, 6)
    tensors = {
        "fortran": np.asfortranarray(plain),
        "strided": np.repeat(plain, 2, axis=1)[:, ::2],
        "reversed": plain[::-1, ::-1][::-1, ::-1],
        "big_endian": plain.astype(">f4"),
        "transposed": plain.T.copy().T,
    }

    save(tmp_path / "a", tensors)

    for tensor in load(tmp_path / "a").values():
        assert_same(tensor.numpy(), plain)


def test_lists_and_numbers_are_arrays(tmp_path):
    save(tmp_path / "a", {"list": [1.0, 2.0], "number": 3})

    got = load(tmp_path / "a")

    assert got["list"].numpy().tolist() == [1.0, 2.0]
    assert got["number"].numpy() == 3


def test_data_are_aligned(tmp_path):
    save(
        tmp_path / "a",
        {"n": np.zeros(3, np.int8), "wide": np.zeros(5), "half": np.zeros(3, np.float16)},
    )

    for tensor in load(tmp_path / "a").values():
        assert tensor.numpy().flags.aligned


def test_tensors_that_are_not_aligned_are_read(tmp_path):
    header = {"byte": entry("U8", (1,), (0, 1)), "word": entry("F32", (1,), (1, 5))}
    (tmp_path / "a").write_bytes(file_bytes(header, b"\x01" + struct.pack("<f", 1.5)))

    assert load(tmp_path / "a")["word"].numpy().tolist() == [1.5]


def test_loading_maps_and_does_not_copy(tmp_path):
    save(tmp_path / "a", {"x": np.zeros(1000), "y": np.ones(1000)})

    got = load(tmp_path / "a")

    assert got["x"].data.base is got["y"].data.base
    assert not got["x"].numpy().flags.writeable
    assert np.shares_memory(got["x"].numpy(), got["x"].data)


def test_sub_byte_types_are_measured_in_bits(tmp_path):
    header = {"x": entry("F4", (3, 2), (0, 3)), "y": entry("F6_E2M3", (4,), (3, 6))}
    (tmp_path / "a").write_bytes(file_bytes(header, bytes(range(6))))

    got = load(tmp_path / "a")

    assert got["x"].data.tolist() == [0, 1, 2]
    assert got["y"].data.tolist() == [3, 4, 5]


def test_an_empty_file_of_tensors_is_valid(tmp_path):
    save(tmp_path / "a", {})

    assert load(tmp_path / "a") == {}
    assert (tmp_path / "a").read_bytes() == reference_numpy.save({})


# Writing


def test_saving_over_a_mapped_file_leaves_the_mapping(tmp_path):
    path = tmp_path / "a"
    save(path, {"x": np.zeros(100_000)})
    old = load(path)

    save(path, {"x": np.ones(5)})

    assert old["x"].numpy().sum() == 0
    assert load(path)["x"].numpy().tolist() == [1] * 5


def test_a_file_can_be_loaded_changed_and_saved_in_place(tmp_path):
    path = tmp_path / "a"
    save(path, SAMPLE)

    save(path, {**load(path), "extra": np.ones(3)})

    assert set(load(path)) == {*SAMPLE, "extra"}


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    resource = pytest.importorskip("resource", reason="needs limits of POSIX")
    path = tmp_path / "a"
    save(path, SAMPLE)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(DataError, match=r"cannot write .*a: File too large"):
            save(path, {"x": np.zeros(1 << 20)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a"]


def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a"
    save(path, SAMPLE)
    before = path.read_bytes()

    def interrupt(file: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(path, {"x": np.zeros(10)})

    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("place", ["missing/a", "file/a", "folder", ""])
def test_places_that_cannot_be_written_are_named(tmp_path, place):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()

    with pytest.raises(DataError, match=r"cannot write .*: (No such|Not a|Is a)"):
        save(tmp_path / place, SAMPLE)

    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.skipif(sys.platform == "win32", reason="modes and links of POSIX")
def test_mode_and_link_of_the_old_file_stay(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    save(real, {})
    real.chmod(0o600)
    link.symlink_to(real)

    save(link, SAMPLE)

    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert set(load(real)) == set(SAMPLE)


@pytest.mark.parametrize(
    ("tensors", "metadata", "error", "message"),
    [
        ({"x": np.array(["a"])}, None, DTypeError, "tensor 'x': safetensors has no type for <U1"),
        ({"x": np.array([None])}, None, DTypeError, "no type for object"),
        (
            {"x": np.zeros(2, ml_dtypes.bfloat16)},
            None,
            DTypeError,
            "no type for bfloat16; .*RawTensor",
        ),
        ({"x": np.zeros(2, "c16")}, None, DTypeError, "no type for complex128"),
        ({3: np.zeros(2)}, None, DTypeError, "names of tensors must be str, got 3"),
        ({"__metadata__": np.zeros(2)}, None, FormatError, "the format reserves this name"),
        ({"\ud800": np.zeros(2)}, None, FormatError, "cannot be written as UTF-8"),
        ({}, {"a": 1}, DTypeError, r"metadata must map str to str, got \('a', 1\)"),
        ({}, {"a": "\udfff"}, FormatError, "cannot be written as UTF-8"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_before_writing(
    tmp_path, tensors, metadata, error, message
):
    with pytest.raises(error, match=message):
        save(tmp_path / "a", tensors, metadata)

    assert not os.listdir(tmp_path)


# Raw tensors


@pytest.mark.parametrize(
    ("dtype", "shape", "data", "error", "message"),
    [
        (
            "F31",
            (1,),
            np.zeros(4, np.uint8),
            DTypeError,
            "no element type 'F31'; there are BOOL, F4",
        ),
        ("F32", (1,), np.zeros(1, np.float32), DTypeError, "contiguous axis of uint8, got float32"),
        ("F32", (1,), np.zeros((2, 2), np.uint8), DTypeError, r"got uint8 of shape \(2, 2\)"),
        ("F32", (1,), np.zeros(8, np.uint8)[::2], DTypeError, r"strides \(2,\)"),
        (
            "F32",
            (3,),
            np.zeros(4, np.uint8),
            ShapeError,
            r"F32 of shape \(3,\) needs 12 bytes, got 4",
        ),
        (
            "F4",
            (3,),
            np.zeros(2, np.uint8),
            ShapeError,
            r"F4 of shape \(3,\) needs 1.5 bytes, got 2",
        ),
        ("U8", (-1, -1), np.zeros(1, np.uint8), ShapeError, r"U8 of shape \(-1, -1\)"),
    ],
)
def test_raw_tensors_that_contradict_themselves_are_refused(dtype, shape, data, error, message):
    with pytest.raises(error, match=message):
        RawTensor(dtype, shape, data)


def test_types_that_numpy_lacks_have_bytes_only():
    with pytest.raises(DTypeError, match=r"NumPy has no type for BF16; use the bytes in \.data"):
        RawTensor("BF16", (1,), np.zeros(2, np.uint8)).numpy()


def test_booleans_other_than_zero_and_one_are_refused():
    with pytest.raises(FormatError, match="BOOL tensor with a byte 2; it must be 0 or 1"):
        RawTensor("BOOL", (2,), np.array([1, 2], np.uint8)).numpy()
