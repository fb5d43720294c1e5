"""The installer finds a usable pip and says what is missing; installing itself needs a network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools import environment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "env"


def test_environment_is_made_without_pip(folder: Path):
    environment.make_environment(folder)

    python = environment.python_of(folder)
    assert environment.works(python)
    assert environment.pip_version([str(python), "-m", "pip"]) == ()


def test_working_environment_is_kept(folder: Path):
    environment.make_environment(folder)
    (folder / "mine").touch()

    environment.make_environment(folder)

    assert (folder / "mine").exists()


def test_broken_environment_is_made_again(folder: Path):
    environment.make_environment(folder)
    environment.python_of(folder).unlink()

    environment.make_environment(folder)

    assert environment.works(environment.python_of(folder))


def test_other_folder_is_never_overwritten(folder: Path):
    folder.mkdir()
    (folder / "thesis.tex").touch()

    with pytest.raises(SystemExit, match="no virtual environment"):
        environment.make_environment(folder)

    assert (folder / "thesis.tex").exists()


@pytest.mark.parametrize(
    "versions, command",
    [
        ({"env": (9, 0)}, ["env", "-m", "pip"]),
        ({"own": (23, 0), "pip3": (24, 0)}, ["own", "-m", "pip", "--python", "env"]),
        ({"own": (22, 2), "pip3": (24, 0)}, ["pip3", "--python", "env"]),
        ({"pip": (22, 3)}, ["pip", "--python", "env"]),
    ],
)
def test_first_usable_pip_is_taken(monkeypatch, versions: dict, command: list[str]):
    monkeypatch.setattr(sys, "executable", "own")
    monkeypatch.setattr(environment, "pip_version", lambda words: versions.get(words[0], ()))

    assert environment.find_pip(Path("env")) == command


def test_missing_pip_is_one_sentence(monkeypatch):
    monkeypatch.setattr(environment, "pip_version", lambda words: (20, 0) * (words[0] == "pip"))

    with pytest.raises(SystemExit, match=r"no pip found \(22\.3 or newer\).*apt install"):
        environment.find_pip(Path("env"))


def test_old_python_is_one_sentence(monkeypatch, folder: Path):
    monkeypatch.setattr(environment, "OLDEST_PYTHON", (99, 0))

    with pytest.raises(SystemExit, match=r"needs Python 99\.0 or newer, and this is \d.*PYTHON="):
        environment.main([str(folder), "test"])
