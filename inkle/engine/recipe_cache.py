"""Recipes on disk: a graph that has been compiled before need not be scheduled again.

The name of an entry is a digest of whatever decides what a graph is compiled to: its text, the
processor, threads, the limit of memory, what may be written over, the compiler, and inkle's own
sources. So an entry is never out of date; it is not found any more. It names kernels, and is as
good as missing without one of them. Lines of the user's program are no part of it: they may be
others by now, and who asks for them lets the graph be scheduled again.

An entry is JSON. The cache checks that it is what was written under this name; what it says is not
checked again, as little as machine code is. So the folder belongs to the user alone.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from inkle import config
from inkle.engine import library
from inkle.engine.pipeline import current_target, current_threads, device_of
from inkle.engine.recipe import Recipe
from inkle.errors import InternalError
from inkle.ir.node import Node
from inkle.ir.size import Size, size_of_node
from inkle.ir.text import from_text, to_text
from inkle.runtime.device import Blocks, Launch, Move, Repeat
from inkle.runtime.disk_cache import cache_in_force

_LOADED = time.time()  # sources that are younger are not what runs here
_logger = logging.getLogger(__name__)


def entry_name(
    outputs: Sequence[Node], donated: tuple[tuple[int, int], ...], limit_bytes: int
) -> str | None:
    """Return what the recipe of a canonical graph is called on disk; None if that is not safe."""
    sources = _digest_of_sources()
    if sources is None:
        return None
    target = current_target()
    facts = (
        sources, sys.implementation.cache_tag, target, current_threads(),
        device_of(target).compiler_facts(), limit_bytes, donated,
    )  # fmt: skip
    return hashlib.sha256((repr(facts) + to_text(outputs)).encode()).hexdigest() + ".json"


def read(name: str) -> tuple[Recipe, list[int]] | None:
    """Return a recipe, and the native handles of its kernels; None if any of it is missing."""
    content = cache_in_force().get(name)
    if content is None:
        return None
    try:
        recipe = from_json(content)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        _logger.warning("the schedule %s on disk cannot be read (%s); made again", name, error)
        return None
    device = device_of(current_target())
    functions = []
    for key, kernel in recipe.kernels:
        if key.startswith(library.PREFIX):
            functions.append(library.address_of(key))
            continue
        program = device.load(key, kernel)
        if program is None:
            return None
        functions.append(program.function)
    return recipe, functions


def write(name: str, recipe: Recipe) -> None:
    """Keep a recipe for other processes."""
    cache_in_force().put(name, to_json(recipe))


def require_readable(outputs: Sequence[Node], recipe: Recipe) -> None:
    """Check that a graph and a recipe are told from all others by what is written of them.

    Raises:
        InternalError: if they do not read back.
    """
    if from_text(to_text(outputs)) != list(outputs) or from_json(to_json(recipe)) != recipe:
        raise InternalError("a graph or its schedule is another one once it is read from disk")


def to_json(recipe: Recipe) -> bytes:
    """Return a recipe as text: an object of a class is {name of the class: its fields}."""
    return json.dumps(recipe, default=_plain, separators=(",", ":")).encode()


def from_json(content: bytes) -> Recipe:
    """Return what `to_json` wrote.

    Raises:
        ValueError, TypeError, LookupError, RecursionError: if it is anything else.
    """
    found = json.loads(content, object_hook=_made)
    if not isinstance(found, Recipe):
        raise ValueError("no recipe")
    return found


def _plain(value: Any) -> dict[str, list[Any]]:
    if isinstance(value, Size):
        return {"Size": [to_text([value.index_node()])]}
    return {type(value).__name__: [getattr(value, each.name) for each in fields(value)]}


def _made(row: dict[str, list[Any]]) -> Any:
    ((kind, parts),) = row.items()
    return _KINDS[kind](*[_tuples(part) for part in parts])


def _tuples(value: Any) -> Any:
    return tuple([_tuples(each) for each in value]) if isinstance(value, list) else value


def _size(text: str) -> int:
    graph = from_text(text)
    assert isinstance(graph, list)
    return size_of_node(graph[0])


_KINDS: dict[str, Any] = {
    "Size": _size,
    **{k.__name__: k for k in (Recipe, Launch, Repeat, Move, Blocks)},
}


@functools.cache
def _digest_of_sources() -> str | None:
    """Return a digest of the sources of inkle; None if they are not those that run here."""
    package = os.path.dirname(config.__file__)
    digest = hashlib.sha256()
    try:
        for folder, folders, names in os.walk(package):
            folders.sort()
            for name in sorted(names):
                if name.endswith(".py"):
                    path = os.path.join(folder, name)
                    with open(path, "rb") as file:
                        status, content = os.fstat(file.fileno()), file.read()
                    if status.st_mtime > _LOADED:
                        return None
                    digest.update(f"{path[len(package) :]} {len(content)}\n".encode() + content)
    except OSError:
        return None
    return digest.hexdigest()
