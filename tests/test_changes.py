"""Change notes have names and contents that a release can be made of (changes/README.md)."""

from __future__ import annotations

import re
from pathlib import Path

CHANGES = Path(__file__).resolve().parents[1] / "changes"
NAME = re.compile(r"[a-z0-9-]+\.(added|changed|fixed|removed|faster)\.md")


def test_names_say_topic_and_kind():
    names = [path.name for path in CHANGES.iterdir() if path.name != "README.md"]

    assert [name for name in names if not NAME.fullmatch(name)] == []


def test_notes_say_something():
    texts = {path.name: path.read_text(encoding="utf-8").strip() for path in CHANGES.iterdir()}

    assert [name for name, text in texts.items() if not text] == []
