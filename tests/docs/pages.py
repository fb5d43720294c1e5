"""Run the code of a Markdown page, so that what the docs say stays true.

    ```python                     runs; the blocks of a page share one namespace, in order
    ```python output              runs, and prints exactly the ```text block that follows it
    ```python no-run: REASON      does not run, because of REASON

In expected output, `...` stands for any text, as in doctest.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)")
NO_RUN = re.compile(r"no-run: *\S")
# Would be shown as Python, and silently never run.
OTHER_SPELLINGS = ("py", "python3", "pycon", "ipython")


class PageError(AssertionError):
    """The page is wrong: it cannot be read, or its program prints something else than it says."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        language: first word after the fence, or "".
        words: what follows the language.
        text: the lines inside, without the indentation of the fence.
        line: number of the opening fence, from 1.
        end: number of the closing fence.
        indent: white space before the fence.
    """

    language: str
    words: str
    text: str
    line: int
    end: int
    indent: str


def read_blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of the page `path`.

    Raises:
        PageError: if a fence is never closed.
    """
    blocks = []
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    for number, line in lines:
        opening = FENCE.fullmatch(line)
        if opening is None:
            continue
        body = list(_until_closed(lines, opening["fence"], f"{path}:{number}"))
        language, _, words = opening["info"].strip().partition(" ")
        text = "".join(row.removeprefix(opening["indent"]) + "\n" for row in body)
        end = number + len(body) + 1
        blocks.append(Block(language, words.strip(), text, number, end, opening["indent"]))
    return blocks


def _until_closed(lines: Iterator[tuple[int, str]], fence: str, place: str) -> Iterator[str]:
    for _, line in lines:
        if set(line.strip()) == {fence[0]} and len(line.strip()) >= len(fence):
            return
        yield line
    raise PageError(f"{place}: the block opened here is never closed")


def read_program(path: Path) -> list[tuple[Block, Block | None]]:
    """Return the blocks of `path` that run, each with the block of its output if it is compared.

    Raises:
        PageError: if a block of Python neither runs nor says why not, or a block of text follows
            one of Python without being compared with its output.
    """
    blocks = read_blocks(path)
    between = path.read_text(encoding="utf-8").splitlines()
    program = []
    for block, following in zip(blocks, [*blocks, None][1:], strict=True):
        place = f"{path}:{block.line}"
        if block.language in OTHER_SPELLINGS:
            raise PageError(
                f"{place}: write ```python, not ```{block.language}, which does not run"
            )
        if block.language != "python" or NO_RUN.match(block.words):
            continue
        if block.words not in ("", "output"):
            raise PageError(f"{place}: ```python {block.words}: not `output`, not `no-run: REASON`")
        output = None
        if following is not None and following.language == "text":
            adjacent = not "".join(between[block.end : following.line - 1]).strip()
            output = following if adjacent else None
        if (output is not None) != (block.words == "output"):
            raise PageError(f"{place}: ```python output and a ```text block after it go together")
        program.append((block, output))
    return program


def run_page(path: Path, *, update: bool = False) -> None:
    """Run the blocks of `path` in order and compare what they print with what the page says.

    A traceback names the line of the page, because each block is compiled at its own place.

    Args:
        path: the page.
        update: write the output into the page instead of comparing it.

    Raises:
        PageError: if a block prints something else than the page says.
    """
    changes = []
    page = ModuleType("page")
    sys.modules[page.__name__] = page  # where dataclasses and pickle look for it
    try:
        for block, output in read_program(path):
            printed = _run(block, path, page)
            if output is None or _agree(output.text, printed):
                continue
            if not update:
                raise PageError(
                    f"{path}:{output.line}: the page says\n{output.text}\n"
                    f"and the program prints\n{printed}"
                )
            changes.append((output, printed))
    finally:
        del sys.modules[page.__name__]
    _rewrite(path, changes)


def _run(block: Block, path: Path, page: ModuleType) -> str:
    printed = io.StringIO()
    source = "\n" * block.line + block.text
    code = compile(source, str(path), "exec", dont_inherit=True)  # not our __future__
    with contextlib.redirect_stdout(printed):
        exec(code, page.__dict__)
    return printed.getvalue()


def _agree(expected: str, printed: str) -> bool:
    expected, printed = (_without_trailing_space(text) for text in (expected, printed))
    return doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS)


def _without_trailing_space(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.rstrip().splitlines())


def _rewrite(path: Path, changes: list[tuple[Block, str]]) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    for block, printed in reversed(changes):
        body = _without_trailing_space(printed).splitlines()
        lines[block.line : block.end - 1] = [f"{block.indent}{row}".rstrip() for row in body]
    if changes:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
