"""The MNIST examples: they train, draw, save, read a picture, and say what is missing."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inkle import Tensor, nn
from inkle.errors import DataError, FormatError, StateError
from inkle.nn import datasets
from inkle.nn.state import get_parameters, get_state_dict, safe_save

Image = pytest.importorskip("PIL.Image", reason="needs Pillow: pip install 'inkle[demo]'")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'inkle[demo]'")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def mnist(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("mnist")


@pytest.fixture
def network(mnist):
    return importlib.import_module("mnist_network").build_network()


@pytest.fixture
def picture(tmp_path):
    """A digit like a 1: dark on light."""
    grey = np.full((60, 50), 250, np.uint8)
    grey[10:50, 22:28] = 10
    path = tmp_path / "one.png"
    Image.fromarray(grey).save(path)
    return path


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, EXAMPLES / script, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.slow
def test_training_draws_saves_and_reads_a_digit(tmp_path):
    try:
        digits = datasets.mnist(download=False)
    except DataError:
        pytest.skip("MNIST is not on this machine: run `make data`")

    trained = run("mnist.py", "--quick", "--out", tmp_path)

    assert trained.returncode == 0, trained.stderr
    assert float(re.search(r"test accuracy ([\d.]+)%", trained.stdout)[1]) > 70
    assert re.search(r"epoch 1 .*2,560/2,560 .*images/s .*loss", trained.stderr)
    with Image.open(tmp_path / "mnist.png") as drawn:
        assert drawn.size == (1400, 600)

    Image.fromarray(255 - digits.test_images[0]).save(tmp_path / "seven.png")
    weights = tmp_path / "mnist.safetensors"
    read = run("classify_digit.py", tmp_path / "seven.png", "--weights", weights)

    assert read.returncode == 0, read.stderr
    assert read.stdout.splitlines()[-1].endswith("seven.png: 7")
    assert re.search(r"^7 +\d+\.\d% +█+  <$", read.stdout, re.MULTILINE)


def test_the_network_has_the_names_of_pytorchs(torch, network):
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 5),
        torch.nn.ReLU(),
        torch.nn.Conv2d(32, 32, 5),
        torch.nn.ReLU(),
        torch.nn.BatchNorm2d(32),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(32, 64, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(64, 64, 3),
        torch.nn.ReLU(),
        torch.nn.BatchNorm2d(64),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(576, 10),
    )

    assert {name: value.shape for name, value in get_state_dict(network).items()} == {
        name: tuple(value.shape) for name, value in theirs.state_dict().items()
    }
    assert sum(parameter.numel() for parameter in get_parameters(network)) == 87_850


def test_the_network_scores_ten_digits(network):
    score_digits = importlib.import_module("mnist_network").score_digits

    assert score_digits(network, Tensor(np.zeros((3, 28, 28), np.uint8))).shape == (3, 10)


@pytest.mark.slow
@pytest.mark.parametrize("mistakes", [0, 3, 50])
def test_any_number_of_mistakes_is_drawn(tmp_path, mnist, mistakes):
    images, labels = np.zeros((60, 28, 28), np.uint8), np.arange(60) % 10
    answers = np.where(np.arange(60) < mistakes, (labels + 1) % 10, labels)
    probabilities = np.eye(10, dtype=np.float32)[answers]

    figure = mnist.draw(
        [2.0, 0.5], [0.8, 0.9], probabilities, datasets.Mnist(images, labels, images, labels)
    )

    figure.savefig(tmp_path / "drawn.png")
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == min(mistakes, 40)
    assert all(re.fullmatch(r"\d → \d \(100%\)", axes.get_title()) for axes in shown)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--out", "/dev/null/x", "--quick"], "error: .*Not a directory: '/dev/null"),
    ],
)
def test_training_says_what_is_wrong(arguments, message):
    done = run("mnist.py", *arguments)

    assert done.returncode != 0
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "weights", "error", "message"),
    [
        ("none.png", "good", DataError, "cannot read .*none.png: No such file"),
        ("text.png", "good", FormatError, "text.png is no picture that can be read"),
        ("one.png", "none", DataError, "there are no weights at .*none; `make demo` trains them"),
        ("one.png", "text.png", FormatError, "text.png: no safetensors file"),
        (
            "one.png",
            "other",
            StateError,
            r"does not fit this Sequential:\n  20 missing: 0\.weight, ",
        ),
    ],
)
def test_reading_says_what_is_wrong(
    tmp_path, mnist, network, picture, name, weights, error, message
):
    (tmp_path / "text.png").write_text("no picture")
    safe_save(get_state_dict(nn.Linear(2, 2)), tmp_path / "other")
    reader = importlib.import_module("classify_digit")

    with pytest.raises(error, match=message):
        reader.classify(tmp_path / name, tmp_path / weights)
