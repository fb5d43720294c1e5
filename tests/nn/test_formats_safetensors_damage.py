"""safetensors files that are damaged or hostile; the reference implementation is the judge."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors as reference

from inkle.errors import DataError, FormatError
from inkle.nn.formats.safetensors import load, read_header, save
from inkle.nn.formats.safetensors_header import parse_header

SAMPLE = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
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


EIGHT = bytes(8)
DAMAGED = {
    "no bytes": (b"", "it has 0 bytes, fewer than 8"),
    "seven bytes": (b"\0" * 7, "it has 7 bytes, fewer than 8"),
    "no header": (b"\0" * 8, r"it must begin with b'{', got b''"),
    "header beyond the file": (
        file_bytes({})[:-1],
        "announce a header of 2 bytes, but 1 bytes follow",
    ),
    "huge header": (b"\xff" * 8 + b"{}", "announce a header of 18446744073709551615 bytes, but 2"),
    "not JSON": (file_bytes(b"{,}"), "it is no UTF-8 JSON: Expecting property name"),
    "a list": (file_bytes(b"[]"), r"it must begin with b'{', got b'\['"),
    "space first": (file_bytes(b" {}"), r"it must begin with b'{', got b' '"),
    "not UTF-8": (file_bytes(b'{"\xff":1}'), "it is no UTF-8 JSON: 'utf-8' codec"),
    "half a surrogate": (file_bytes(b'{"\\ud800":1}'), "holds half of a surrogate pair"),
    "deep": (file_bytes(b'{"a":' * 100_000), "its JSON is nested too deeply"),
    "long integer": (file_bytes(b'{"a":' + b"9" * 5000 + b"}"), "it is no UTF-8 JSON: Exceeds"),
    "twice the same name": (
        file_bytes(b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2), EIGHT),
        "the name 'a' occurs twice",
    ),
    "no entry": (file_bytes({"a": 1}), "tensor 'a' needs exactly dtype, shape and data_offsets"),
    "unknown field": (file_bytes({"a": {**entry(), "b": 1}}, EIGHT), "tensor 'a' needs exactly"),
    "missing field": (file_bytes({"a": {"dtype": "F32"}}, EIGHT), "tensor 'a' needs exactly"),
    "type": (
        file_bytes({"a": entry("F31")}, EIGHT),
        "tensor 'a' has the unknown element type 'F31'",
    ),
    "type of type": (file_bytes({"a": entry([])}, EIGHT), r"has the unknown element type \[\]"),
    "shape": (file_bytes({"a": entry(shape=2)}, EIGHT), "shape must be a list of sizes, got 2"),
    "negative": (file_bytes({"a": entry(shape=[-2])}, EIGHT), r"list of sizes, got \[-2\]"),
    "float": (file_bytes({"a": entry(shape=[2.0])}, EIGHT), r"list of sizes, got \[2.0\]"),
    "boolean": (file_bytes({"a": entry("F64", [True])}, EIGHT), r"list of sizes, got \[True\]"),
    "minus zero": (
        file_bytes(b'{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}'),
        "-0 is no",
    ),
    "huge size": (file_bytes({"a": entry(shape=[2**63])}, EIGHT), "list of sizes, got"),
    "huge product": (file_bytes({"a": entry(shape=[2**62] * 9)}, EIGHT), "no array can have shape"),
    "huge but empty": (
        file_bytes({"a": entry(shape=[0, 2**62, 2**62], offsets=[0, 0])}),
        "no array can have shape",
    ),
    "too many axes": (
        file_bytes({"a": entry("U8", shape=[1] * 65, offsets=[0, 1])}, b"1"),
        "no array can have shape",
    ),
    "many huge sizes": (
        file_bytes({"a": entry(shape=[2**62] * 100_000)}, EIGHT),
        "no array can have",
    ),
    "one offset": (file_bytes({"a": entry(offsets=[8])}, EIGHT), "must be two offsets, got"),
    "offsets swapped": (
        file_bytes({"a": entry(offsets=[8, 0])}, EIGHT),
        "needs 8 bytes, .* hold -8",
    ),
    "size and offsets": (
        file_bytes({"a": entry(shape=[3])}, EIGHT),
        r"F32 of shape \[3\] needs 12 bytes, its offsets 0 and 8 hold 8",
    ),
    "part of a byte": (file_bytes({"a": entry("F4", [3], [0, 2])}, b"12"), r"needs 1\.5 bytes"),
    "hole at the start": (
        file_bytes({"a": entry(offsets=[4, 12])}, EIGHT + bytes(4)),
        "tensor 'a' leaves a hole before it: it starts at byte 4 of the data instead of 0",
    ),
    "hole in the middle": (
        file_bytes({"a": entry(), "b": entry(offsets=[9, 17])}, bytes(17)),
        "tensor 'b' leaves a hole before it: it starts at byte 9 of the data instead of 8",
    ),
    "overlap": (
        file_bytes({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)),
        "tensor 'b' overlaps the one before: it starts at byte 4 of the data instead of 8",
    ),
    "same place": (file_bytes({"a": entry(), "b": entry()}, EIGHT), "tensor 'b' overlaps"),
    "data missing": (file_bytes({"a": entry()}, b"1234567"), "cover 8 bytes, but 7 bytes of data"),
    "data left over": (file_bytes({"a": entry()}, b"123456789"), "cover 8 bytes, but 9 bytes"),
    "metadata a list": (file_bytes({"__metadata__": []}), "__metadata__ must map text to text"),
    "metadata numbers": (file_bytes({"__metadata__": {"a": 1}}), "__metadata__ must map text to"),
    "metadata surrogate": (
        file_bytes(b'{"__metadata__":{"a":"\\udc00"}}'),
        "must map text to text",
    ),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_named_with_the_file(tmp_path, content, message):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)

    for reader in (read_header, load):
        with pytest.raises(FormatError, match=rf"bad\.safetensors: no (valid )?safe.*{message}"):
            reader(path)


def test_messages_stay_short_for_hostile_names():
    header = json.dumps({"x" * 10_000: entry("y" * 10_000)}).encode()

    with pytest.raises(FormatError) as caught:
        parse_header(header, 8, "file")

    assert len(str(caught.value)) < 400


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*none: No such file"):
        load(tmp_path / "none")


# Fuzzing against the reference implementation


def mutate(rng: random.Random, original: bytes) -> bytes:
    """Change a valid file a little: bytes, pieces of JSON, length."""
    content = bytearray(original)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(content) + 1)
        kind = rng.randrange(6)
        if kind == 0 and content:
            content[place % len(content)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[place:place] = rng.choice(
                (b"0", b"-", b'"', b"{", b",", b"[]", b"\\ud83d", b" ")
            )
        elif kind == 2:
            del content[place : place + rng.randint(1, 4)]
        elif kind == 3 and content:
            content[place % len(content)] = rng.choice(b"0123456789")
        elif kind == 4:
            content[:8] = struct.pack("<Q", rng.choice((0, 2, len(content), 2**63, 2**64 - 1)))
        else:
            start = rng.randrange(len(content) + 1)
            content[place:place] = content[start : start + rng.randint(1, 30)]
    if rng.random() < 0.5:  # a header length that fits reaches deeper
        end = content.rfind(b"}") + 1
        content[:8] = struct.pack("<Q", max(end - 8, 0))
    return bytes(content)


def reference_reading(content: bytes) -> dict[str, tuple[str, list[int], bytes]] | None:
    try:
        items = reference.deserialize(content)
    except reference.SafetensorError:
        return None
    return {name: (item["dtype"], item["shape"], bytes(item["data"])) for name, item in items}


def our_reading(path: Path, content: bytes) -> dict[str, tuple[str, list[int], bytes]] | None:
    # A new file each time: ext4 waits for the disk when a file is shortened and written again.
    path.write_bytes(content)
    try:
        return {
            name: (tensor.dtype, list(tensor.shape), tensor.data.tobytes())
            for name, tensor in load(path).items()
        }
    except FormatError:
        return None
    finally:
        path.unlink()


def check_mutations(path: Path, count: int, seed: int) -> int:
    """Compare readers on mutated files; return how many both accepted."""
    rng = random.Random(seed)
    save(path, SAMPLE, {"key": "value"})
    original, accepted = path.read_bytes(), 0
    path.unlink()
    for _ in range(count):
        content = mutate(rng, original)
        ours = our_reading(path, content)
        if ours is not None:  # we may be stricter than the reference, never laxer
            assert ours == reference_reading(content), content
            accepted += 1
    return accepted


def test_mutated_files_are_refused_or_read_as_the_reference_does(tmp_path):
    assert check_mutations(tmp_path / "fuzz", 200, seed=0) > 0


@pytest.mark.slow
@pytest.mark.exhaustive
def test_many_mutated_files_are_refused_or_read_as_the_reference_does(tmp_path):
    assert check_mutations(tmp_path / "fuzz", 20_000, seed=1) > 200
