"""Tensors of a model to safetensors files and back, ours and PyTorch's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from inkle import Tensor, dtypes, nn
from inkle.errors import DataError, DTypeError, FormatError
from inkle.nn.formats import safetensors
from inkle.nn.state import get_state_dict, load_state_dict, safe_load, safe_save

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [d.name for d in dtypes.BY_NAME.values() if d.bits])
def test_every_dtype_survives_a_file(tmp_path, dtype):
    path = tmp_path / "x.safetensors"
    state = {
        "matrix": Tensor([[1.0, 0.0, 3.0], [0.0, 1.0, 2.0]]).cast(dtype),
        "number": Tensor(1.0).cast(dtype),
        "nothing": Tensor.zeros(0, 3).cast(dtype),
    }

    safe_save(state, path)
    loaded = safe_load(path)

    assert set(loaded) == set(state)
    for name, value in state.items():
        assert loaded[name].dtype is value.dtype
        assert loaded[name].shape == value.shape
        assert loaded[name].cast("float64").tolist() == value.cast("float64").tolist()


def test_a_view_and_an_expression_are_saved_as_what_they_show(tmp_path):
    x = Tensor(np.arange(6.0).reshape(2, 3))

    safe_save({"turned": x.T, "part": x[:, 1], "sum": x + 1}, tmp_path / "x")

    loaded = safe_load(tmp_path / "x")
    assert loaded["turned"].tolist() == x.T.tolist()
    assert loaded["part"].tolist() == [1.0, 4.0]
    assert loaded["sum"].tolist() == (x + 1).tolist()


def test_parameters_are_saved_and_nothing_at_all_is_a_file_too(tmp_path):
    model = nn.Linear(2, 2)
    safe_save(get_state_dict(model), tmp_path / "model")
    safe_save({}, tmp_path / "empty")

    assert np.array_equal(safe_load(tmp_path / "model")["weight"].numpy(), model.weight.numpy())
    assert safe_load(tmp_path / "empty") == {}


def test_loading_reads_and_copies_nothing(tmp_path):
    path = tmp_path / "big"
    safe_save({"x": Tensor(np.zeros(1 << 20, np.float32))}, path)
    resident = _resident_bytes()

    x = safe_load(path)["x"]

    assert _resident_bytes() - resident < 1 << 20
    assert not x._array("").flags.writeable
    assert (x[:3] + 1).tolist() == [1.0, 1.0, 1.0]


def _resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_loaded_tensor_can_be_assigned_and_the_file_stays(tmp_path):
    path = tmp_path / "x"
    safe_save({"x": Tensor([1.0, 2.0])}, path)
    before = path.read_bytes()

    x = safe_load(path)["x"]
    x[0] = 5.0
    x.realize()

    assert x.tolist() == [5.0, 2.0]
    assert path.read_bytes() == before


def test_a_model_does_not_need_the_file_it_was_loaded_from(tmp_path):
    path = tmp_path / "x"
    value = RNG.standard_normal((64, 64)).astype(np.float32)
    safe_save({"weight": Tensor(value)}, path)
    model = nn.Linear(64, 64, bias=False)
    load_state_dict(model, safe_load(path))

    with open(path, "r+b") as file:  # other programs do this; a mapped page behind the end is death
        file.truncate(0)

    assert np.array_equal(model.weight.numpy(), value)


def test_unaligned_tensors_of_other_writers_are_copied(tmp_path):
    path = tmp_path / "x"
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
    header += b'"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}}'
    data = b"\x07" + np.array([1.5, -2.0], "<f4").tobytes()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)

    loaded = safe_load(path)

    assert loaded["a"].tolist() == [7]
    assert (loaded["b"] * 2).tolist() == [3.0, -4.0]


def test_a_network_of_pytorch_loads(torch, tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.ReLU(),
        torch.nn.BatchNorm2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 4 * 4, 3),
        torch.nn.LayerNorm(3),
    )
    x = torch.randn(5, 1, 6, 6)
    theirs(x)  # moves the running statistics
    save_file(theirs.state_dict(), tmp_path / "x")
    ours = nn.Sequential(
        [
            nn.Conv2d(1, 4, 3),
            Tensor.relu,
            nn.BatchNorm(4),
            lambda x: x.flatten(1),
            nn.Linear(4 * 4 * 4, 3),
            nn.LayerNorm(3),
        ]
    )

    load_state_dict(ours, safe_load(tmp_path / "x"))

    want = theirs.eval()(x).detach().numpy()
    np.testing.assert_allclose(ours(Tensor(x.numpy())).numpy(), want, 1e-4, 1e-5)


def test_pytorch_loads_ours(torch, tmp_path):
    load_file = pytest.importorskip("safetensors.torch").load_file
    ours = nn.Sequential([nn.Linear(3, 3), nn.BatchNorm(3)])
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))

    safe_save(get_state_dict(ours), tmp_path / "x", {"made by": "inkle"})
    theirs.load_state_dict(load_file(tmp_path / "x"))

    assert np.array_equal(theirs[0].weight.detach().numpy(), ours[0].weight.numpy())
    assert safetensors.read_header(tmp_path / "x").metadata == {"made by": "inkle"}


@pytest.mark.parametrize("dtype", ["F8_E4M3", "C64"])
def test_element_types_that_we_do_not_have_are_named(tmp_path, dtype):
    bits = {"F8_E4M3": 8, "C64": 64}[dtype]
    raw = safetensors.RawTensor(dtype, (2,), np.zeros(2 * bits // 8, np.uint8))
    safetensors.save(tmp_path / "x", {"scale": raw})

    with pytest.raises(DTypeError, match=f"tensor 'scale' has elements of {dtype}"):
        safe_load(tmp_path / "x")


def test_files_that_are_missing_or_damaged_are_errors_that_say_so(tmp_path):
    (tmp_path / "text").write_text("no tensors in here")
    raw = safetensors.RawTensor("BOOL", (1,), np.array([2], np.uint8))
    safetensors.save(tmp_path / "bool", {"x": raw})

    with pytest.raises(DataError, match=r"cannot read .*none: No such file"):
        safe_load(tmp_path / "none")
    with pytest.raises(FormatError, match="no safetensors file"):
        safe_load(tmp_path / "text")
    with pytest.raises(FormatError, match="BOOL tensor with a byte 2"):
        safe_load(tmp_path / "bool")
    with pytest.raises(DataError, match="cannot write"):
        safe_save({"x": Tensor([1.0])}, tmp_path / "none" / "x")
    with pytest.raises(DTypeError, match="'x' must be a Tensor, got list"):
        safe_save({"x": [1.0]}, tmp_path / "x")
    with pytest.raises(DTypeError, match="a state is a dict of tensors by name, got NoneType"):
        safe_save(None, tmp_path / "x")
    with pytest.raises(DTypeError, match=r"a path is text or a pathlib\.Path, got int 3"):
        safe_load(3)
    with pytest.raises(DTypeError, match=r"a path is text or a pathlib\.Path, got NoneType"):
        safe_save({"x": Tensor([1.0])}, None)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_devices_and_pipes_are_never_replaced_by_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")

    for name in ("pipe", "link"):
        with pytest.raises(DataError, match=f"cannot write .*{name}: it is a device, a pipe"):
            safe_save({"x": Tensor([1.0])}, tmp_path / name)

    assert (tmp_path / "pipe").is_fifo()
