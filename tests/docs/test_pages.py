"""The runner of the docs' code catches what it promises to catch."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from tests.docs.pages import PageError, read_blocks, run_page


@pytest.fixture
def page(tmp_path: Path):
    """Write a page; `'''` stands for a fence, so that this file can be shown in Markdown."""

    def write(text: str) -> Path:
        path = tmp_path / "page.md"
        path.write_text(text.replace("'''", "```"), encoding="utf-8")
        return path

    return write


def test_block_knows_its_language_words_text_and_place(page):
    (block,) = read_blocks(
        page("# title\n\n- item\n\n  ''' python output\n  a = 1\n    b\n  '''\n")
    )

    assert (block.language, block.words, block.text) == ("python", "output", "a = 1\n  b\n")
    assert (block.line, block.end, block.indent) == (5, 8, "  ")


def test_longer_fence_may_contain_a_shorter_one(page):
    (block,) = read_blocks(
        page("'''' markdown\n'''python\n1 / 0\n'''\n''''\n".replace("''''", "````"))
    )

    assert block.language == "markdown"


def test_inline_code_is_no_fence(page):
    assert read_blocks(page("'''python''' is inline\n")) == []


def test_unclosed_fence_is_an_error(page):
    with pytest.raises(PageError, match=r"page\.md:2: .*never closed"):
        read_blocks(page("\n'''python\n1\n"))


def test_blocks_share_a_namespace_in_order(page):
    run_page(page("'''python\na = 1\n'''\n\n'''python\na += 1\nassert a == 2\n'''\n"))


def test_pages_do_not_share_a_namespace(page):
    run_page(page("'''python\nfirst_page = 1\n'''\n"))

    with pytest.raises(NameError, match="first_page"):
        run_page(page("'''python\nfirst_page\n'''\n"))


def test_dataclass_with_text_annotations_works(page):
    run_page(
        page(
            "'''python\nfrom dataclasses import dataclass\n\n"
            "@dataclass\nclass Point:\n    x: 'int'\n'''\n"
        )
    )


def test_annotations_are_those_of_plain_python(page):
    run_page(
        page("'''python\ndef f(x: int): pass\n\nassert f.__annotations__ == {'x': int}\n'''\n")
    )


def test_failing_block_is_shown_with_its_line_in_the_page(page):
    path = page("text\n\n'''python\na = 1\n1 / 0\n'''\n")

    with pytest.raises(ZeroDivisionError) as failure:
        run_page(path)

    frame = traceback.extract_tb(failure.value.__traceback__)[-1]
    assert (frame.filename, frame.lineno, frame.line) == (str(path), 5, "1 / 0")


def test_page_without_code_passes(page):
    run_page(page("# title\n\nwords\n"))


def test_other_languages_do_not_run(page):
    run_page(page("'''sh\nfalse\n'''\n\n'''\n1 / 0\n'''\n"))


def test_no_run_needs_a_reason(page):
    run_page(page("'''python no-run: needs a GPU\n1 / 0\n'''\n"))

    with pytest.raises(PageError, match=r"page\.md:1: .*no-run: REASON"):
        run_page(page("'''python no-run:\n1 / 0\n'''\n"))


@pytest.mark.parametrize("spelling", ["py", "python3", "pycon"])
def test_other_spelling_of_python_is_an_error(page, spelling: str):
    with pytest.raises(PageError, match=f"page\\.md:1: write ```python, not ```{spelling}"):
        run_page(page(f"'''{spelling}\n1\n'''\n"))


def test_unknown_word_is_an_error(page):
    with pytest.raises(PageError, match=r"page\.md:1: ```python outptu"):
        run_page(page("'''python outptu\n1\n'''\n"))


@pytest.mark.parametrize("expected", ["1\n2\n", "1  \n2\n\n", "1\n...\n", "...2\n"])
def test_output_that_agrees_passes(page, expected: str):
    run_page(page(f"'''python output\nprint(1)\nprint(2)\n'''\n\n'''text\n{expected}'''\n"))


@pytest.mark.parametrize("expected", ["", "1\n", "2\n1\n", "1 2\n", "1\n\n2\n"])
def test_output_that_differs_fails(page, expected: str):
    with pytest.raises(PageError, match=r"(?s)page\.md:5: the page says\n.*prints\n1\n2"):
        run_page(page(f"'''python output\nprint(1)\nprint(2)\n'''\n'''text\n{expected}'''\n"))


@pytest.mark.parametrize(
    "text",
    [
        "'''python output\nprint(1)\n'''\n",
        "'''python output\nprint(1)\n'''\nsome words\n'''text\n1\n'''\n",
        "'''python output\nprint(1)\n'''\n'''sh\n1\n'''\n",
        "'''python\nprint(1)\n'''\n'''text\n1\n'''\n",
    ],
)
def test_output_and_its_text_go_together(page, text: str):
    with pytest.raises(PageError, match=r"page\.md:1: .*go together"):
        run_page(page(text))


def test_update_writes_the_output_into_the_page(page):
    stale = (
        "- item\n\n  '''python output\n  print('a')\n  print()\n  print('  b')\n  '''\n\n"
        "  '''text\n{}  '''\nend\n"
    )
    path = page(stale.format("  old\n") + "\n'''python output\nprint(3)\n'''\n'''text\n'''\n")

    run_page(path, update=True)

    fresh = stale.format("  a\n\n    b\n") + "\n'''python output\nprint(3)\n'''\n'''text\n3\n'''\n"
    assert path.read_text(encoding="utf-8") == fresh.replace("'''", "```")
    run_page(path)


def test_update_leaves_a_page_that_agrees_as_it_is(page):
    path = page("'''python output\nprint(1, 2)\n'''\n'''text\n1 ...\n'''\n")
    before = path.read_bytes()

    run_page(path, update=True)

    assert path.read_bytes() == before
