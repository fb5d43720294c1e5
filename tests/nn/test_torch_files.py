"""Files of torch.save, as PyTorch itself writes them; hostile ones made by hand."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from inkle import Tensor, dtypes, nn
from inkle.errors import DataError, DTypeError, FormatError
from inkle.nn.formats.content import Content
from inkle.nn.formats.pickles import Name, read_pickle
from inkle.nn.state import get_state_dict, load_state_dict, torch_load
from tests.nn.mutations import check_reader

FORMATS = [True, False]  # zip, legacy


def saved(torch, value, path, zipped=True):
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", FORMATS)
def test_weights_of_a_pytorch_network_are_those_of_ours(torch, tmp_path, zipped):
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    ours = nn.Sequential([nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)])
    path = saved(torch, theirs.state_dict(), tmp_path / "model.pth", zipped)

    load_state_dict(ours, torch_load(path))

    for name, value in theirs.state_dict().items():
        assert np.array_equal(get_state_dict(ours)[name].numpy(), value.numpy())


@pytest.mark.parametrize("zipped", FORMATS)
@pytest.mark.parametrize(
    "dtype",
    [d.name for d in dtypes.BY_NAME.values() if d.bits],
)
def test_every_dtype_arrives(torch, tmp_path, dtype, zipped):
    value = torch.tensor([[1.0, 0.0, 2.0], [3.0, 1.0, 0.0]]).to(getattr(torch, dtype))

    loaded = torch_load(saved(torch, [value, value[1, 2]], tmp_path / "x.pt", zipped))

    assert [each.dtype.name for each in loaded] == [dtype] * 2
    assert [each.shape for each in loaded] == [(2, 3), ()]
    assert loaded[0].cast("float64").tolist() == value.to(torch.float64).tolist()
    assert loaded[1].cast("float64").item() == value[1, 2].to(torch.float64).item()


@pytest.mark.parametrize("zipped", FORMATS)
def test_views_arrive_as_what_they_show(torch, tmp_path, zipped):
    x = torch.arange(24.0).reshape(2, 3, 4)
    views = {
        "turned": x.transpose(0, 2),
        "steps": x[:, ::2, 1::2],
        "part": x[1],
        "expanded": x[:, :1].expand(2, 5, 4),
        "windows": x[0].flatten().unfold(0, 5, 2),
        "number": x[1, 2, 3],
        "nothing": x[:, 3:],
    }

    loaded = torch_load(saved(torch, views, tmp_path / "x.pt", zipped))

    for name, value in views.items():
        assert loaded[name].shape == tuple(value.shape), name
        assert np.array_equal(loaded[name].numpy(), value.numpy()), name


@pytest.mark.parametrize("zipped", FORMATS)
def test_checkpoints_keep_their_structure(torch, tmp_path, zipped):
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    given = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "parameter": model.weight,
        "size": model.weight.shape,
        "epoch": 3,
        "big": 2**70,
        "negative": -5,
        "text": "ß\n",
        "bytes": (1.5, None, True, [1, (2,), {3: "x"}]),
    }

    loaded = torch_load(saved(torch, given, tmp_path / "x.pt", zipped))

    for name in ("epoch", "big", "negative", "text", "bytes"):
        assert loaded[name] == given[name]
    assert loaded["size"] == (2, 2)
    assert loaded["parameter"].tolist() == model.weight.tolist()
    state = optimizer.state_dict()["state"][0]
    assert loaded["optimizer"]["state"][0]["exp_avg"].tolist() == state["exp_avg"].tolist()
    assert loaded["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]


def test_tied_weights_share_their_memory(torch, tmp_path):
    x = torch.arange(4.0)

    loaded = torch_load(saved(torch, {"a": x, "b": x, "c": x[2:]}, tmp_path / "x.pt"))

    addresses = {name: value._storage.outside.memory.address for name, value in loaded.items()}
    assert addresses["a"] == addresses["b"] == addresses["c"] - 8


def test_nothing_is_read_before_it_is_used(torch, tmp_path):
    path = saved(torch, {"x": torch.zeros(1 << 22)}, tmp_path / "x.pt")
    tracemalloc.start()
    try:
        loaded = torch_load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert loaded["x"].shape == (1 << 22,)
    assert peak < 1 << 20


class Hostile:
    """Would make a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", FORMATS)
def test_a_pickle_that_calls_a_function_is_refused_and_not_run(torch, tmp_path, zipped):
    path = saved(torch, {"x": Hostile(tmp_path / "made")}, tmp_path / "x.pt", zipped)

    with pytest.raises(FormatError, match=r"x\.pt.*at byte \d+: the file names posix\.mkdir, "):
        torch_load(path)

    assert not (tmp_path / "made").exists()


def test_a_whole_model_is_refused_with_advice(torch, tmp_path):
    path = saved(torch, torch.nn.Linear(2, 2), tmp_path / "x.pt")

    with pytest.raises(FormatError, match=r"torch\.save\(model\.state_dict\(\), path\)"):
        torch_load(path)


def test_element_types_that_inkle_does_not_have_are_named(torch, tmp_path):
    path = saved(torch, [torch.zeros(2, dtype=torch.complex64)], tmp_path / "x.pt")

    with pytest.raises(DTypeError, match=r"x\.pt has elements of C64"):
        torch_load(path)


def zipped(members, path, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tensor_pickle(offset=0, shape=(2,), stride=(1,), elements=2, kind="FloatStorage", key="0"):
    """Return a pickle of one tensor, spelt as PyTorch spells it, with any numbers."""
    name = b"ctorch._utils\n_rebuild_tensor_v2\n"
    storage = b"(" + pickle.dumps("storage", 2)[2:-1] + f"ctorch\n{kind}\n".encode()
    storage += b"".join(pickle.dumps(x, 2)[2:-1] for x in (key, "cpu", elements)) + b"tQ"
    numbers = b"".join(pickle.dumps(x, 2)[2:-1] for x in (offset, shape, stride, False))
    return b"\x80\x02" + name + b"(" + storage + numbers + b"}tR."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (3,)}, r"shape \(3,\), strides \(1,\) and offset 0 lies outside of its storage"),
        ({"offset": 1}, "offset 1 lies outside"),
        ({"stride": (2,)}, "lies outside"),
        ({"stride": (-1,)}, "strides, all at least 0"),
        ({"shape": (-2,)}, "strides, all at least 0"),
        ({"offset": 2**63}, "strides, all at least 0"),
        ({"shape": (2**40, 2**40), "stride": (0, 0)}, "no tensor can have shape"),
        ({"shape": (1,) * 65, "stride": (1,) * 65}, "65 sizes"),
        ({"shape": (2, 2)}, "2 sizes and 1 strides"),
        ({"shape": [2]}, "needs an offset, a shape"),
        ({"elements": 3}, "is 8 bytes of F32, not 3 elements of F32"),
        ({"kind": "DoubleStorage"}, "not 2 elements of F64"),
        ({"kind": "Storage"}, r"torch\.Storage is no known storage"),
        ({"key": "7"}, "no storage '7'"),
        ({"key": 7}, "a key, which is a text"),
    ],
    ids=str,
)
def test_claims_about_tensors_are_checked(tmp_path, options, message):
    members = {"a/data.pkl": tensor_pickle(**options), "a/data/0": bytes(8)}

    with pytest.raises(FormatError, match=rf"x\.pt.*at byte \d+: .*{message}"):
        torch_load(zipped(members, tmp_path / "x.pt"))


def test_a_small_file_with_a_huge_tensor_takes_no_memory(tmp_path):
    pickled = tensor_pickle(shape=(2**20, 2**20), stride=(0, 0))
    path = zipped({"a/data.pkl": pickled, "a/data/0": bytes(8)}, tmp_path / "x.pt")

    assert torch_load(path).shape == (2**20, 2**20)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "at byte 0: the next instruction needs 1 bytes"),
        (b"PK\x03\x04", "no directory at the end; is the file cut off"),
        (pickle.dumps(7), "at byte 0: it begins neither as a zip archive nor with"),
        (b"\x93NUMPY", "at byte 0: the stack is empty"),
        (b"a.", "at byte 0: the stack is empty"),
        (b"(.", "at byte 1: the stack is empty"),
        (b"}N.", "neither"),
        (b"\x8e" + b"\xff" * 8, "at byte 9: an instruction needs 18446744073709551615 bytes"),
        (b"(((t", "at byte 4: the next instruction"),
        (b"t", "no mark"),
        (b"h\x07", "nothing has been kept as number 7"),
        (b"]Na0", "at byte 4"),
        (b"Na", "at byte 1: there is no list"),
        (b"NNa", "no list on the stack"),
        (b"}](u", "no dict on the stack"),
        (b"}]Ns", "a key is a number or a text, not a list"),
        (b"}(Nu", "a key has no value"),
        (b"I" + b"9" * 5000 + b"\n", "is no integer"),
        (b"Fx\n", "is no number"),
        (b"Vx", "does not end"),
        (b"X\x01\0\0\0\xff", "not UTF-8"),
        (b"\xff", "no instruction"),
        (b"NN\x93", "a module and a name are texts"),
        (b"NNR", "needs a name and a tuple"),
        (b"cos\nsystem\n(Vx\ntR", r"a call of os\.system where there is none"),
        (b"]}b", "nothing else takes attributes"),
        (b"NQ", "a storage where there is none"),
    ],
)
def test_damage_is_named_with_file_and_place(tmp_path, content, message):
    path = tmp_path / "x.pt"
    path.write_bytes(content)

    with pytest.raises(FormatError, match=rf"(?s)x\.pt: no valid file of torch\.save.*{message}"):
        torch_load(path)


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        torch_load(tmp_path / "none")


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_of_every_protocol_are_read(protocol):
    shared = [1.5, "text", b"bytes" if protocol > 2 else "bytes"]
    value = [shared, shared, {"a": (1, 2, 3, 4), -7: None, 2**80: True}, (), [], {}, -(2**40)]
    data = pickle.dumps(value, protocol)

    got, end = read_pickle(Content(memoryview(data), "x", "pickle"), 0, None, None)

    assert got == value
    assert got[0] is got[1]
    assert end == len(data)


def test_names_are_values_and_never_looked_up():
    data = b"cno_such_module\nno_such_name\n."

    got, _ = read_pickle(Content(memoryview(data), "x", "pickle"), 0, None, None)

    assert got == Name("no_such_module", "no_such_name")


def test_lists_may_contain_themselves():
    got, _ = read_pickle(Content(memoryview(b"]2a."), "x", "pickle"), 0, None, None)

    assert got[0] is got


ZIP_DAMAGE = [
    ({"a/data.pkl": b"N.", "b/data.pkl": b"N."}, {}, "2 members called data.pkl"),
    ({"a/x": b""}, {}, "0 members called data.pkl"),
    ({"a/data.pkl": b"N.", "a/byteorder": b"big"}, {}, "most significant byte first"),
    ({"a/data.pkl": b"N."}, {"compression": zipfile.ZIP_DEFLATED}, "is compressed"),
    ({"a/data.pkl": b"N."}, {"compression": zipfile.ZIP_BZIP2}, "unknown method 12"),
]


@pytest.mark.parametrize(("members", "options", "message"), ZIP_DAMAGE)
def test_archives_that_pytorch_would_not_write_are_refused(tmp_path, members, options, message):
    with pytest.raises(FormatError, match=rf"x\.pt.*{message}"):
        torch_load(zipped(members, tmp_path / "x.pt", **options))


def sample(torch, zipped):
    value = {"w": torch.arange(6.0).reshape(2, 3).t(), "b": torch.ones(2), "n": (1, "x", None)}
    memory = io.BytesIO()
    torch.save(value, memory, _use_new_zipfile_serialization=zipped)
    return memory.getvalue()


def read_all(path):
    """Load a file; look at small tensors, as nothing of them has been read so far."""
    found = torch_load(path)
    for each in found.values() if isinstance(found, dict) else ():
        if isinstance(each, Tensor) and each.numel() < 1000:
            assert each._storage.current.shape == each.shape


@pytest.mark.parametrize("zipped", FORMATS)
def test_mutated_files_are_read_or_refused(torch, tmp_path, zipped):
    original = sample(torch, zipped)

    assert 0 < check_reader(read_all, original, tmp_path / "fuzz.pt", 300, seed=0) < 300


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("zipped", FORMATS)
def test_many_mutated_files_are_read_or_refused(torch, tmp_path, zipped):
    original = sample(torch, zipped)

    assert check_reader(read_all, original, tmp_path / "fuzz.pt", 100_000, seed=1) > 100
