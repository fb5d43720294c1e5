"""Count the code of inkle per layer, and compare it with the budgets of the design.

    python tools/size.py [folder of the package]

A code line holds at least one token that is neither comment nor documentation; documentation is
every string that stands alone as a statement. Tokens are what Python's `tokenize` yields, without
comments, documentation, line ends and indentation. Counting both keeps us honest: lines can be
packed, tokens cannot. Exits with 1 if a budget is exceeded; a decision page may raise a budget.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

FILE_LINES = 500  # physical lines; a longer file is split by meaning
TOP = "(top)"  # modules directly in the package that are no layer: __init__, __main__
LAYOUT = frozenset(("COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER"))


@dataclass(frozen=True, slots=True)
class Size:
    """How much code there is."""

    files: int = 0
    lines: int = 0
    tokens: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.files + other.files, self.lines + other.lines, self.tokens + other.tokens)


@dataclass(frozen=True, slots=True)
class Budget:
    """The most code that some layers may have together; `tokens` None: not limited."""

    name: str
    layers: tuple[str, ...]
    lines: int
    tokens: int | None = None


# The design's budgets were 6,000 lines and 55,000 tokens, and 10,000 lines: docs/decisions/size.md
# says why there is more, and has a row for whatever raised them.
MIDDLE = ("ir", "rewrite", "rules", "autodiff", "schedule", "kernel")
BUDGETS = (
    Budget("ir to kernel", MIDDLE, lines=15_230, tokens=175_400),
    Budget(
        "errors to engine, CPU",
        ("errors", "config", *MIDDLE, "render", "runtime", "check", "engine"),
        lines=22_980,
    ),
    Budget("tensor and nn", ("tensor", "nn"), lines=12_100),
)
LAYERS = tuple(dict.fromkeys(layer for budget in BUDGETS[1:] for layer in budget.layers))


def is_documentation(node: ast.AST) -> TypeGuard[ast.Expr]:
    """Say whether `node` is a string that stands alone as a statement."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def code_tokens(source: str) -> Iterator[range]:
    """Yield for each token of `source` that counts the lines it stands on."""
    documentation = set[int]()
    for node in filter(is_documentation, ast.walk(ast.parse(source))):
        documentation.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    opened: list[int] = []  # first lines of the f-strings around the token
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind, first, last = tokenize.tok_name[token.type], token.start[0], token.end[0]
        if kind in LAYOUT or (kind == "STRING" and first in documentation):
            continue
        # An f-string is one token before Python 3.12, and many since: count it as one everywhere.
        if kind.endswith("STRING_START"):
            opened.append(first)
            continue
        if kind.endswith("STRING_END"):
            first = opened.pop()
        if not opened:
            yield range(first, last + 1)


def measure(source: str) -> Size:
    """Return the size of one file."""
    tokens = list(code_tokens(source))
    return Size(1, len(set().union(*tokens)), len(tokens))


def layer_of(path: Path) -> str:
    """Return the layer of the file `path`, relative to the package."""
    if len(path.parts) > 1:
        return path.parts[0]
    return TOP if path.stem.startswith("_") else path.stem


def sizes(package: Path) -> dict[str, Size]:
    """Return the size of each layer of `package`, the layers of the budgets first."""
    found = dict.fromkeys(LAYERS, Size())
    for path in sorted(package.rglob("*.py")):
        layer = layer_of(path.relative_to(package))
        found[layer] = found.get(layer, Size()) + measure(path.read_text(encoding="utf-8"))
    return {layer: size for layer, size in found.items() if size.files}


def total(sizes: Iterable[Size]) -> Size:
    """Add up `sizes`."""
    return sum(sizes, Size())


def excesses(found: dict[str, Size], budgets: Iterable[Budget] = BUDGETS) -> list[str]:
    """Return one sentence for each budget that `found` exceeds."""
    messages = []
    for budget in budgets:
        used = total(found.get(layer, Size()) for layer in budget.layers)
        for what, count, limit in (
            ("lines", used.lines, budget.lines),
            ("tokens", used.tokens, budget.tokens),
        ):
            if limit is not None and count > limit:
                messages.append(f"{budget.name}: {count:,} {what}, {count - limit:,} over budget")
    return messages


def long_files(package: Path) -> list[str]:
    """Return one sentence for each file of more than FILE_LINES lines."""
    counts = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in package.rglob("*.py")}
    return [
        f"{path}: {count} lines, more than {FILE_LINES}: split it by meaning"
        for path, count in sorted(counts.items())
        if count > FILE_LINES
    ]


def table(found: dict[str, Size]) -> str:
    """Format the sizes of the layers, and how much of each budget they use."""
    rows = [f"{'layer':24}{'files':>8}{'code lines':>18}{'tokens':>20}"]
    for layer, size in (*found.items(), ("all", total(found.values()))):
        rows.append(f"{layer:24}{size.files:8,}{size.lines:18,}{size.tokens:20,}")
    rows.append(f"{'budget':32}{'code lines':>18}{'tokens':>20}")
    for budget in BUDGETS:
        used = total(found.get(layer, Size()) for layer in budget.layers)
        lines = f"{used.lines:,} / {budget.lines:,}"
        tokens = f"{used.tokens:,}" + (f" / {budget.tokens:,}" if budget.tokens else "")
        rows.append(f"{budget.name:32}{lines:>18}{tokens:>20}")
    return "\n".join(rows)


def main(arguments: list[str]) -> int:
    """Print the table; return 1 if something is too large."""
    package = Path(arguments[0] if arguments else Path(__file__).parent.parent / "inkle")
    found = sizes(package)
    print(table(found))
    messages = [*excesses(found), *long_files(package)]
    print(*messages, sep="\n", end="\n" if messages else "", file=sys.stderr)
    return int(bool(messages))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
