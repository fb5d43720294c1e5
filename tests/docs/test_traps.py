"""Each row of the list of traps of captured functions has a test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.docs.test_docs import ROOT

PAGE = ROOT / "docs" / "how-to" / "jit-traps.md"
TESTS = ROOT / "tests" / "engine"
ROW = re.compile(r"\| (.+) \| (.+) \| `(test_\w+\.py)::(test_\w+)` \|")
MANY = 30  # traps that the list promises at least


def rows() -> Iterator[re.Match[str]]:
    """Yield the rows of the tables, without their heads."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| trap"):
            match = ROW.fullmatch(line)
            assert match, f"no row of a trap, what happens here, and `file::test`: {line}"
            yield match


def names_in(name: str) -> set[str]:
    tree = ast.parse((TESTS / name).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_trap_has_a_test():
    missing = [f"{row[3]}::{row[4]}" for row in rows() if row[4] not in names_in(row[3])]

    assert missing == []


def test_traps_are_many_and_different():
    named = [row[4] for row in rows()]

    assert len(named) >= MANY
    assert len(set(named)) == len(named)
