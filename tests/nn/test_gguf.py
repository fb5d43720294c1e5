"""GGUF files, written here byte by byte; blocks are decoded element by element in plain Python."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from inkle import dtypes
from inkle.errors import DataError, FormatError
from inkle.nn.formats.gguf import TYPES
from inkle.nn.state import gguf_load
from tests.nn.mutations import check_reader

CODES = {row.name: code for code, row in TYPES.items()}


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def info(name, sizes, code, offset):
    head = text(name) + struct.pack("<I", len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes)
    return head + struct.pack("<IQ", code, offset)


def file_of(pairs=(), infos=(), data=b"", *, version=3, counts=None, alignment=32):
    tensors, metadata = counts or (len(infos), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, metadata) + b"".join([*pairs, *infos])
    return head + b"\0" * (-len(head) % alignment) + data


# The layouts, as loops over elements; Python integers, floats of 64 bits.


def half(b, at):
    return float(np.frombuffer(b, "<f2", 1, at)[0])


def five(b, at, j):
    return (int.from_bytes(b[at : at + 4], "little") >> j & 1) << 4


def nibble(b, at, j):
    return b[at + j] & 15 if j < 16 else b[at + j - 16] >> 4


def scale_min(s, j):
    if j < 4:
        return s[j] & 63, s[j + 4] & 63
    return (s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4


def signed(x):
    return x - 256 if x > 127 else x


def q2(b, i):
    n, j, e = i // 128, i % 128 // 32, i % 32
    s = b[n * 8 + 2 * j + e // 16]
    return half(b, 80) * (s & 15) * (b[16 + 32 * n + e] >> 2 * j & 3) - half(b, 82) * (s >> 4)


def q3(b, i):
    n, j, e = i // 128, i % 128 // 32, i % 32
    k = i // 16
    low = b[96 + k] & 15 if k < 8 else b[96 + k - 8] >> 4
    scale = (low | (b[104 + k % 4] >> 2 * (k // 4) & 3) << 4) - 32
    q = (b[32 + 32 * n + e] >> 2 * j & 3) - (0 if b[e] >> (4 * n + j) & 1 else 4)
    return half(b, 108) * scale * q


def q4(b, i):
    c, j, e = i // 64, i // 32, i % 32
    scale, low = scale_min(b[4:16], j)
    q = b[16 + 32 * c + e] >> 4 * (j % 2) & 15
    return half(b, 0) * scale * q - half(b, 2) * low


def q5(b, i):
    c, j, e = i // 64, i // 32, i % 32
    scale, low = scale_min(b[4:16], j)
    q = (b[48 + 32 * c + e] >> 4 * (j % 2) & 15) + 16 * (b[16 + e] >> j & 1)
    return half(b, 0) * scale * q - half(b, 2) * low


def q6(b, i):
    n, j, e = i // 128, i % 128 // 32, i % 32
    low = b[64 * n + 32 * (j % 2) + e] >> 4 * (j // 2) & 15
    q = (low | (b[128 + 32 * n + e] >> 2 * j & 3) << 4) - 32
    return half(b, 208) * signed(b[192 + 8 * n + 2 * j + e // 16]) * q


ELEMENT = {
    "Q4_0": lambda b, j: half(b, 0) * (nibble(b, 2, j) - 8),
    "Q4_1": lambda b, j: half(b, 0) * nibble(b, 4, j) + half(b, 2),
    "Q5_0": lambda b, j: half(b, 0) * ((nibble(b, 6, j) | five(b, 2, j)) - 16),
    "Q5_1": lambda b, j: half(b, 0) * (nibble(b, 8, j) | five(b, 4, j)) + half(b, 2),
    "Q8_0": lambda b, j: half(b, 0) * signed(b[2 + j]),
    "Q8_1": lambda b, j: half(b, 0) * signed(b[4 + j]),
    "Q2_K": q2,
    "Q3_K": q3,
    "Q4_K": q4,
    "Q5_K": q5,
    "Q6_K": q6,
    "Q8_K": lambda b, i: struct.unpack_from("<f", b)[0] * signed(b[4 + i]),
}
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q8_1": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "Q8_K": [],
}  # fmt: skip


def random_blocks(name, count, seed=0):
    """Return random blocks whose scales are plain numbers."""
    rng, row = np.random.default_rng(seed), TYPES[CODES[name]]
    data = rng.integers(0, 256, (count, row.size_bytes), np.uint8)
    for at in SCALES[name]:
        data[:, at : at + 2] = rng.normal(size=(count, 1)).astype("<f2").view(np.uint8)
    if name == "Q8_K":
        data[:, :4] = rng.normal(size=(count, 1)).astype("<f4").view(np.uint8)
    return data


@pytest.mark.parametrize("name", ELEMENT)
def test_every_element_of_a_block_is_what_its_layout_says(tmp_path, name):
    row, blocks = TYPES[CODES[name]], random_blocks(name, 6)
    path = tmp_path / "x.gguf"
    path.write_bytes(
        file_of([], [info("w", (2 * row.elements, 3), CODES[name], 0)], blocks.tobytes())
    )
    want = [[ELEMENT[name](bytes(b), j) for j in range(row.elements)] for b in blocks]

    _, tensors = gguf_load(path)

    got = tensors["w"]
    assert got.shape == (3, 2 * row.elements)
    assert got.dtype is dtypes.float32
    flat = np.array(want).reshape(3, -1)
    np.testing.assert_allclose(got.numpy(), flat, 1e-5, 1e-5 * np.abs(flat).max())


@pytest.mark.parametrize("name", ["F32", "F16", "F64", "BF16", "I8", "I16", "I32", "I64"])
def test_plain_types_are_views(tmp_path, name):
    kind = {"BF16": "bfloat16"}.get(name, name.replace("F", "float").replace("I", "int"))
    values = np.array([[1, 2, -3], [0, 64, 5]])
    data = (
        (values.astype("<f4").view("<u4") >> 16).astype("<u2")
        if name == "BF16"
        else values.astype(kind)
    )
    path = tmp_path / "x.gguf"
    path.write_bytes(file_of([], [info("w", (3, 2), CODES[name], 0)], data.tobytes()))

    got = gguf_load(path)[1]["w"]

    assert got.dtype.name == kind
    assert got.cast("float64").tolist() == values.tolist()


def test_a_matrix_is_decoded_while_it_is_multiplied(tmp_path):
    blocks = random_blocks("Q4_K", 8)
    path = tmp_path / "x.gguf"
    path.write_bytes(file_of([], [info("w", (512, 4), CODES["Q4_K"], 0)], blocks.tobytes()))
    want = np.array([[q4(bytes(b), j) for j in range(256)] for b in blocks]).reshape(4, 512)
    x = np.random.default_rng(1).normal(size=512).astype("f4")

    got = (gguf_load(path)[1]["w"] * x).sum(1)

    np.testing.assert_allclose(got.numpy(), want @ x, 1e-4, 1e-3)


def test_metadata_of_all_types(tmp_path):
    pairs = [
        pair("u8", 0, b"\xff"),
        pair("i8", 1, b"\xff"),
        pair("u16", 2, struct.pack("<H", 60_000)),
        pair("i16", 3, struct.pack("<h", -2)),
        pair("u32", 4, struct.pack("<I", 2**31)),
        pair("i32", 5, struct.pack("<i", -3)),
        pair("f32", 6, struct.pack("<f", 0.5)),
        pair("bool", 7, b"\1"),
        pair("text", 8, text("ß")),
        pair("u64", 10, struct.pack("<Q", 2**63)),
        pair("i64", 11, struct.pack("<q", -4)),
        pair("f64", 12, struct.pack("<d", 0.1)),
        pair("numbers", 9, struct.pack("<IQ", 4, 2) + struct.pack("<II", 7, 8)),
        pair("bools", 9, struct.pack("<IQ", 7, 2) + b"\0\1"),
        pair("texts", 9, struct.pack("<IQ", 8, 2) + text("a") + text("bc")),
        pair("lists", 9, struct.pack("<IQIQ", 9, 1, 8, 1) + text("d")),
    ]
    path = tmp_path / "x.gguf"
    path.write_bytes(file_of(pairs))

    found, tensors = gguf_load(path)

    assert tensors == {}
    assert found.pop("numbers").tolist() == [7, 8]
    assert found.pop("bools").tolist() == [False, True]
    assert found == {
        "u8": 255, "i8": -1, "u16": 60_000, "i16": -2, "u32": 2**31, "i32": -3, "f32": 0.5,
        "bool": True, "text": "ß", "u64": 2**63, "i64": -4, "f64": 0.1, "texts": ["a", "bc"],
        "lists": [["d"]],
    }  # fmt: skip


def test_the_alignment_is_what_the_file_says(tmp_path):
    pairs = [pair("general.alignment", 4, struct.pack("<I", 128))]
    infos = [info("a", (1,), 0, 0), info("b", (1,), 0, 128)]
    data = struct.pack("<f124xf", 1.5, 2.5)
    path = tmp_path / "x.gguf"
    path.write_bytes(file_of(pairs, infos, data, alignment=128))

    tensors = gguf_load(path)[1]

    assert [tensors["a"].item(), tensors["b"].item()] == [1.5, 2.5]


F32 = CODES["F32"]
DAMAGED = [
    (b"", "the start needs 4 bytes"),
    (b"GGML" + bytes(40), r"it begins with b'GGML'"),
    (b"GGUF", "1 x uint32 needs 4 bytes"),
    (file_of(version=1), "version 1"),
    (file_of(counts=(1, 0)), "the file has 32 in all"),
    (file_of(counts=(0, 2**63)), "the file has 32 in all"),
    (file_of([struct.pack("<Q", 2**64 - 1)]), "a text needs 18446744073709551615 bytes"),
    (file_of([pair("a", 13, b"")]), "no value of type 13"),
    (file_of([pair("a", 9, struct.pack("<IQ", 8, 2**60))]), "array of 1152921504606846976 values"),
    (file_of([pair("a", 9, struct.pack("<IQ", 4, 2**62))]), "4611686018427387904 x uint32 needs"),
    (file_of([pair("a", 9, struct.pack("<IQ", 9, 1) * 9 + bytes(99))]), "type 9, 4 arrays deep"),
    (file_of([pair("a", 7, b"\0")] * 2), "the key 'a' occurs twice"),
    (file_of([], [info("w", (1,), F32, 0)] * 2, bytes(8)), "the tensor 'w' occurs twice"),
    (file_of([], [info("w", (1,) * 5, F32, 0)], bytes(8)), "'w' has 5 axes"),
    (file_of([], [info("w", (1,), 99, 0)], bytes(8)), "unknown type 99"),
    (file_of([], [info("w", (33,), 2, 0)], bytes(99)), r"shape \(33,\) is no number of blocks"),
    (file_of([], [info("w", (2**62, 4), F32, 0)], bytes(8)), "no number of blocks of F32"),
    (file_of([], [info("w", (3,), F32, 0)], bytes(8)), "tensor 'w' needs 12 bytes there"),
    (file_of([], [info("w", (1,), F32, 2**63)], bytes(8)), "tensor 'w' needs 4 bytes there"),
    (file_of([], [info("w", (1,), F32, 1)], bytes(8)), "not at a multiple of 32 bytes"),
    (
        file_of([], [info("v", (9,), F32, 0), info("w", (1,), F32, 32)], bytes(99)),
        "tensor 'w' overlaps",
    ),
    (file_of([pair("general.alignment", 4, struct.pack("<I", 3))]), "must be a power of two"),
]


@pytest.mark.parametrize(("content", "message"), DAMAGED)
def test_damage_is_named_with_file_and_place(tmp_path, content, message):
    path = tmp_path / "x.gguf"
    path.write_bytes(content)

    with pytest.raises(
        FormatError, match=rf"x\.gguf: no valid GGUF file, at byte \d+: .*{message}"
    ):
        gguf_load(path)


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        gguf_load(tmp_path / "none")


SAMPLE = file_of(
    [pair("general.name", 8, text("x")), pair("t", 9, struct.pack("<IQ", 8, 1) + text("a"))],
    [info("w", (32, 2), 2, 0), info("b", (3,), F32, 64)],
    bytes(range(36)) + bytes(28) + bytes(12),
)


def test_mutated_files_are_read_or_refused(tmp_path):
    assert 0 < check_reader(gguf_load, SAMPLE, tmp_path / "fuzz.gguf", 300, seed=0) < 300


@pytest.mark.slow
@pytest.mark.exhaustive
def test_many_mutated_files_are_read_or_refused(tmp_path):
    assert check_reader(gguf_load, SAMPLE, tmp_path / "fuzz.gguf", 100_000, seed=1) > 100
