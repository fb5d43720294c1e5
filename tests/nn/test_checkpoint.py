"""A training that is saved and loaded goes on bit for bit; files that do not fit change nothing."""

from __future__ import annotations

import numpy as np
import pytest

import inkle
from inkle import Tensor, nn
from inkle.errors import DataError, DTypeError, FormatError, StateError
from inkle.nn import load_checkpoint, optim, save_checkpoint
from inkle.nn.optim import lr_scheduler
from inkle.nn.state import get_parameters, get_state_dict, safe_save

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 8, 3)).astype(np.float32)


def made():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Dropout(0.5), nn.Linear(4, 2))
    optimizer = optim.Adam(get_parameters(model), lr=0.1)
    return {
        "model": model,
        "optimizer": optimizer,
        "schedule": lr_scheduler.CosineAnnealingLR(optimizer, 6),
        "scaler": nn.utils.GradScaler(),
    }


def train(parts, steps):
    losses = []
    for number in steps:
        parts["optimizer"].zero_grad()
        with inkle.training():
            loss = (parts["model"](Tensor(X[number])) ** 2).mean()
        parts["scaler"].scale(loss).backward()
        parts["scaler"].step(parts["optimizer"])
        parts["schedule"].step()
        losses.append(loss.item())
    return losses


def test_a_training_goes_on_bit_for_bit(tmp_path):
    path = tmp_path / "training.safetensors"
    inkle.manual_seed(7)
    parts = made()
    train(parts, range(3))
    save_checkpoint(path, parts, {"step": 3, "names": ["a", {"b": None}]})
    want = train(parts, range(3, 6))

    inkle.manual_seed(1)
    again = made()
    values = load_checkpoint(path, again)
    got = train(again, range(values["step"], 6))

    assert values == {"step": 3, "names": ["a", {"b": None}]}
    assert got == want
    for name, value in get_state_dict(parts["model"]).items():
        assert np.array_equal(get_state_dict(again["model"])[name].numpy(), value.numpy())


def test_the_stream_of_random_numbers_goes_on(tmp_path):
    inkle.manual_seed(2**63)
    Tensor.rand(3).realize()
    save_checkpoint(tmp_path / "x", {})
    want = Tensor.rand(3).tolist()

    load_checkpoint(tmp_path / "x", {})

    assert Tensor.rand(3).tolist() == want


def test_a_part_may_be_a_single_tensor(tmp_path):
    save_checkpoint(tmp_path / "x", {"w": Tensor([1.0, 2.0])})
    w = Tensor([0.0, 0.0])

    load_checkpoint(tmp_path / "x", {"w": w})

    assert w.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: parts.pop("schedule"), "has the parts model, optimizer, scaler, schedule"),
        (lambda parts: parts.update(more=Tensor(1.0)), "'more' of the checkpoint|given .*more"),
        (lambda parts: parts.update(model=nn.Linear(3, 4)), "'model' of the checkpoint does not"),
        (
            lambda parts: parts.update(optimizer=optim.SGD([Tensor([1.0])])),
            "'optimizer' of the checkpoint does not fit: .* names differ",
        ),
        (
            lambda parts: parts["model"].__setitem__(3, nn.Linear(4, 3)),
            r"3\.weight: \(3, 4\) float32 here, \(2, 4\) float32 there",
        ),
    ],
)
def test_what_does_not_fit_changes_nothing(tmp_path, change, message):
    save_checkpoint(tmp_path / "x", made())
    other = made()
    before = other["model"][0].weight.numpy()
    change(other)

    with pytest.raises(StateError, match=message):
        load_checkpoint(tmp_path / "x", other)

    if isinstance(other["model"], nn.Sequential):
        assert np.array_equal(other["model"][0].weight.numpy(), before)


def test_other_files_are_no_checkpoints(tmp_path):
    safe_save({"a": Tensor([1.0])}, tmp_path / "plain")
    safe_save({}, tmp_path / "odd", {"inkle.checkpoint": "1", "training": "{}"})
    safe_save({}, tmp_path / "later", {"inkle.checkpoint": "2"})

    for name, message in (
        ("plain", "no checkpoint of version 1"),
        ("odd", "no valid checkpoint, in its metadata: KeyError"),
        ("later", "no checkpoint of version 1"),
    ):
        with pytest.raises(FormatError, match=rf"{name}: {message}"):
            load_checkpoint(tmp_path / name, {})
    with pytest.raises(DataError, match="No such file"):
        load_checkpoint(tmp_path / "none", {})


@pytest.mark.parametrize(
    ("parts", "values", "message"),
    [
        ([], {}, "parts of a checkpoint are a dict, got list"),
        ({"a.b": Tensor(1.0)}, {}, "name without dots, got 'a.b'"),
        ({}, {"x": object()}, "must be JSON"),
    ],
)
def test_what_cannot_be_saved_is_refused(tmp_path, parts, values, message):
    with pytest.raises(DTypeError, match=message):
        save_checkpoint(tmp_path / "x", parts, values)
    assert not (tmp_path / "x").exists()
