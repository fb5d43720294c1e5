"""Which line of the user's program is running: the label of nodes, kernels and error messages.

Looking at the call stack happens for every node, so lines are remembered by code object and
instruction; the text is made once per place.
"""

from __future__ import annotations

import os
import sys
from types import CodeType

from inkle.ir.node import Node

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
MOST_LINES = 20_000  # then programs that make code at run time get a fresh table, not a leak

_lines: dict[tuple[int, int], str] = {}
_codes: dict[int, CodeType] = {}  # keeps them alive, so that their id stays theirs


def user_line(depth: int = 1) -> str:
    """Return "file.py:12" of the innermost frame outside inkle.

    Args:
        depth: how many frames up to begin: the caller knows that those below are inkle's.
    """
    frame = sys._getframe(depth)
    code = frame.f_code
    while code.co_filename.startswith(PACKAGE) and frame.f_back is not None:
        frame = frame.f_back
        code = frame.f_code
    key = (id(code), frame.f_lasti)
    line = _lines.get(key)
    if line is None:
        if len(_lines) >= MOST_LINES:
            _lines.clear()
            _codes.clear()
        _codes[id(code)] = code
        line = _lines[key] = f"{os.path.basename(code.co_filename)}:{frame.f_lineno}"
    return line


def stamp(node: Node, line: str | None = None) -> None:
    """Label `node`, and the unlabelled nodes it was just built from, with the user's line."""
    if node.origin is not None or not node.src:
        return
    node.origin = line = line or user_line(3)
    stack = [source for source in node.src if source.origin is None and source.src]
    for source in stack:
        if source.origin is None:
            source.origin = line
            stack += [each for each in source.src if each.origin is None and each.src]
