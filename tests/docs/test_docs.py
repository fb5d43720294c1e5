"""Everything the README and the docs show as Python runs and prints what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import run_page

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("changes/*.md"))
)
LINK = re.compile(r"\]\((?!https?://|mailto:|#)(?P<target>[^)#\s]+)")


@pytest.mark.parametrize("page", PAGES)
def test_code_of_page_runs_and_prints_what_the_page_says(
    page: str, update_cases: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    run_page(ROOT / page, update=update_cases)


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_of_page_lead_to_files(page: str):
    path = ROOT / page

    targets = LINK.findall(path.read_text(encoding="utf-8"))

    assert [target for target in targets if not (path.parent / target).exists()] == []
