"""The list of public names in docs/api.md is that of the code."""

from __future__ import annotations

import ast
from pathlib import Path

import inkle
from tests.docs import reference

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "api.md"
COMMAND = "pytest tests/docs --update-cases"


def test_page_lists_the_public_names(update_cases: bool):
    if update_cases:
        PAGE.write_text(reference.page(), encoding="utf-8")

    listed = PAGE.read_text(encoding="utf-8").splitlines()
    difference = set(listed) ^ set(reference.page().splitlines())

    assert not difference, f"{COMMAND} writes the page anew; it differs in {sorted(difference)}"


def test_page_is_in_the_order_of_the_code():
    assert PAGE.read_text(encoding="utf-8") == reference.page(), COMMAND


def test_every_public_name_is_documented():
    assert reference.undocumented() == []


def test_what_the_package_imports_of_its_own_is_public():
    source = (ROOT / "inkle" / "__init__.py").read_text(encoding="utf-8")
    imports = [each for each in ast.walk(ast.parse(source)) if isinstance(each, ast.ImportFrom)]

    own = [each for each in imports if str(each.module).partition(".")[0] == "inkle"]

    assert {alias.name for each in own for alias in each.names} <= set(inkle.__all__)


def test_public_names_exist_and_are_sorted():
    assert all(hasattr(inkle, name) for name in inkle.__all__)
    assert sorted(inkle.__all__) == inkle.__all__
