"""Promises of the architecture that import-linter cannot check (its contracts: pyproject.toml)."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.size import LAYERS, MIDDLE

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "inkle"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OPTIONAL = ("hypothesis", "llvmlite", "ml_dtypes", "mpmath", "torch", "z3")


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level packages that the file `path` imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("layer", ["errors", "config", *MIDDLE])
def test_layer_imports_the_standard_library_only(layer: str):
    files = [PACKAGE / f"{layer}.py", *(PACKAGE / layer).rglob("*.py")]

    foreign = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        if path.exists()
        for name in imported(path)
        if name != "inkle" and name not in sys.stdlib_module_names
    }

    assert foreign == set()


def test_every_layer_with_a_budget_stands_in_the_contract():
    contract = PROJECT["tool"]["importlinter"]["contracts"][0]

    rows = [name.strip(" ()") for row in contract["layers"] for name in row.split("|")]

    assert set(LAYERS) <= set(rows)


def test_every_layer_without_packages_stands_in_the_contract():
    contract = PROJECT["tool"]["importlinter"]["contracts"][1]

    assert contract["source_modules"] == [f"inkle.{layer}.**" for layer in MIDDLE]


def test_import_of_inkle_loads_no_package_that_can_wait():
    program = "import sys, inkle; print(*{name.partition('.')[0] for name in sys.modules})"

    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert set(run.stdout.split()) & set(OPTIONAL) == set()
