"""Pages can be found, and the files that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_docs import PAGES, ROOT

DECISIONS = ROOT / "docs" / "decisions"
INDEX = DECISIONS / "README.md"
HEAD = "| decision | page |\n|---|---|\n"
NAMED_FILE = re.compile(r"`((?:inkle|tests|tools|examples|benchmarks|docs|changes)/[\w./-]+\.\w+)`")
# Made by whoever follows the page that names it.
EXAMPLES = {"changes/bell.added.md"}


def test_every_page_but_decisions_is_in_the_navigation():
    listed = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))

    pages = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}

    assert listed == {page for page in pages if not re.match("decisions/(?!README)", page)}


def test_index_of_decisions_lists_them_all(update_cases: bool):
    rows = []
    for page in sorted(DECISIONS.glob("*.md")):
        if page != INDEX:
            title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
            rows.append(f"| {title} | [{page.stem}]({page.name}) |\n")
    text = INDEX.read_text(encoding="utf-8")
    expected = text.partition(HEAD)[0] + HEAD + "".join(rows)

    if update_cases:
        INDEX.write_text(expected, encoding="utf-8")

    assert INDEX.read_text(encoding="utf-8") == expected, "pytest tests/docs --update-cases"


@pytest.mark.parametrize("page", [page for page in PAGES if "decisions" not in page])
def test_files_that_a_page_names_exist(page: str):
    named = set(NAMED_FILE.findall((ROOT / page).read_text(encoding="utf-8")))

    assert {name for name in named - EXAMPLES if not (ROOT / Path(name)).exists()} == set()
