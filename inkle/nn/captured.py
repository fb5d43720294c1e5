"""Captured functions in files: saved with their state, and run elsewhere without their source.

The file is a safetensors file. Its tensors are the state and the constants; its metadata hold what
the function computes, as graphs in the text form of `inkle.ir.text`, with checksums of everything.
State may lie in another safetensors file instead, to which the file refers by name and checksum.
Loading runs no code: a graph is read, checked against the spec of the tensor form, and compiled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from inkle.engine import storage
from inkle.engine.trace import current_trace
from inkle.errors import FormatError, SpecError, StateError, TraceError
from inkle.nn.captured_json import Names, read_capture
from inkle.nn.formats import safetensors
from inkle.nn.formats.files import PathLike
from inkle.nn.state import get_state_dict, safe_load, safe_save
from inkle.tensor import Tensor
from inkle.tensor.jit import Jit
from inkle.tensor.modes import modes
from inkle.tensor.portable import Kind, Plain, Portable, Replay, kinds_of, plain, tree
from inkle.tensor.structure import structure

FORMAT = "inkle captured function"
VERSION = 1
CHECKSUM = "sha256"


class LoadedFunction:
    """A captured function from a file. It is called like the one that was saved.

    Attributes:
        state: the tensors that it reads and changes, by name; assign to them, or save them.
    """

    def __init__(self, captures: list[Portable], state: dict[str, Tensor]) -> None:
        self.state = state
        self.portable = captures
        self._replays = {_key(each): Replay(each) for each in captures}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the capture that was made for such arguments.

        Raises:
            TraceError: if there is none: Python code, to capture another, is not in the file.
        """
        if current_trace() is not None:
            raise TraceError("a captured function from a file cannot be called while another is "
                             "captured; call it outside")  # fmt: skip
        found: list[Tensor] = []
        arguments = plain(structure((args, kwargs), found))
        key = arguments, kinds_of(found), modes.training
        replay = self._replays.get(key)
        if replay is None:
            known = "; ".join(_describe(*each) for each in self._replays)
            raise TraceError(f"no capture in the file fits {_describe(*key)}; there are: {known}")
        return replay.run(found)


def save_captured(
    function: Callable[..., Any],
    path: PathLike,
    *,
    state: Mapping[str, Tensor] | object = None,
    weights: PathLike | None = None,
) -> None:
    """Write a captured function to a file, with all captures that it has made and its state.

    Args:
        function: made by `jit` and called at least once, or loaded from a file.
        path: file to make or replace.
        state: tensors by name, or an object that holds them; names those in the file.
        weights: a safetensors file that holds some of them already; the new file refers to it.

    Raises:
        TraceError: if the function cannot be saved.
        StateError: if `weights` holds other values than the function uses.
        DataError: if the file cannot be written.
    """
    if not isinstance(function, (Jit, LoadedFunction)):
        raise TraceError(f"save_captured needs a function made by jit, got {function!r:.60}")
    captures = function.portables() if isinstance(function, Jit) else function.portable
    if state is None:
        state = function.state if isinstance(function, LoadedFunction) else {}
    names = Names(state if isinstance(state, Mapping) else get_state_dict(state))
    programs = [names.write(each) for each in captures]
    tensors = names.snapshot()
    outside = [] if weights is None else _held_elsewhere(tensors, weights)
    text = json.dumps({
        "captures": programs,
        "tensors": {
            name: {CHECKSUM: _digest(each), "requires_grad": name in names.leaves}
            for name, each in tensors.items()
        },
        "outside": outside,
        "weights": None if weights is None else _relative(weights, path),
    })  # fmt: skip
    included = {name: each for name, each in tensors.items() if name not in outside}
    safe_save(included, path, _metadata(text))


def _metadata(text: str) -> dict[str, str]:
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return {"format": FORMAT, "version": str(VERSION), "program": text, CHECKSUM: checksum}


def load_captured(path: PathLike, *, weights: PathLike | None = None) -> LoadedFunction:
    """Return the function that `save_captured` has written to a file.

    It owns a copy of the state, and takes random numbers from the stream of this program.

    Args:
        path: the file.
        weights: where the file is to which it refers; default: where it was, seen from `path`.

    Raises:
        DataError: if a file cannot be read.
        FormatError: if it is truncated, changed, of another version, or no such file at all.
        StateError: if the file of weights holds other values than when the function was saved.

    Example:
        >>> step = inkle.load_captured("step.safetensors")
        >>> step(x, y).item()
        0.25
    """
    name = os.fspath(path)
    content = _read_content(path, name)
    try:
        tensors, outside = _load_tensors(content, path, weights)
        for each, about in content["tensors"].items():
            if _digest(tensors[each]) != about[CHECKSUM]:
                raise (StateError if each in outside else FormatError)(
                    f"tensor {each!r} does not have the values that were saved"
                )
        return _restore(content, tensors)
    except StateError as error:
        raise StateError(f"{name}: {error}") from None
    except (FormatError, SpecError, KeyError, TypeError, ValueError, IndexError, AttributeError,
            RecursionError) as error:  # fmt: skip
        raise FormatError(f"{name}: no valid captured function: {error}") from None


def _read_content(path: PathLike, name: str) -> dict[str, Any]:
    metadata = safetensors.read_header(path).metadata
    if metadata.get("format") != FORMAT:
        raise FormatError(f"{name}: a safetensors file, but no captured function is in it")
    if metadata.get("version") != str(VERSION):
        raise FormatError(
            f"{name}: a captured function of version {metadata.get('version')!r:.20}, this inkle "
            f"reads version {VERSION}; save it again"
        )
    text = metadata.get("program", "")
    if hashlib.sha256(text.encode()).hexdigest() != metadata.get(CHECKSUM):
        raise FormatError(f"{name}: the captured function in it has been changed or damaged")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name}: no valid captured function: {error}") from None
    if not isinstance(content, dict):
        raise FormatError(f"{name}: no valid captured function: {content!r:.40}")
    return content


def _digest(tensor: Tensor) -> str:
    array = storage.to_array(tensor._storage.outside)
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return hashlib.sha256(content.data).hexdigest()


def _held_elsewhere(tensors: Mapping[str, Tensor], weights: PathLike) -> list[str]:
    """Return the names of the tensors that a file holds already."""
    held = safe_load(weights)
    names = [name for name in tensors if name in held]
    for name in names:
        if not _alike(held[name], tensors[name]) or _digest(held[name]) != _digest(tensors[name]):
            raise StateError(
                f"{os.fspath(weights)} holds other values of {name!r} than the function uses now; "
                f"save them first, or leave `weights` out"
            )
    return names


def _relative(weights: PathLike, path: PathLike) -> str:
    folder = os.path.dirname(os.path.realpath(path))
    return os.path.relpath(os.path.realpath(weights), folder)


def _load_tensors(
    content: Mapping[str, Any], path: PathLike, weights: PathLike | None
) -> tuple[dict[str, Tensor], list[str]]:
    """Return all tensors, and the names of those that another file holds."""
    tensors, outside = safe_load(path), content["outside"]
    if outside:
        place = os.path.join(os.path.dirname(os.path.realpath(path)), content["weights"])
        where = os.fspath(weights) if weights is not None else place
        held = safe_load(where)
        for name in outside:
            if name not in held:
                raise StateError(f"{where} has no tensor {name!r}, which the function needs")
            tensors[name] = held[name]
    return tensors, outside


def _restore(content: Mapping[str, Any], tensors: dict[str, Tensor]) -> LoadedFunction:
    """Return the function; state becomes tensors of its own, which nothing in a file shares."""
    names = list(content["tensors"])
    found = {name: (tensors[name].clone() if tensors[name].numel() else tensors[name])
             for name in names}  # fmt: skip
    if found:
        Tensor.realize(*found.values())
    for name, about in content["tensors"].items():
        found[name].requires_grad_(about["requires_grad"] is True)
    captures = [read_capture(each, found) for each in content["captures"]]
    used = {id(each) for capture in captures for each in capture.state()}
    return LoadedFunction(captures, {n: each for n, each in found.items() if id(each) in used})


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype is b.dtype


def _key(what: Portable) -> tuple[Plain, tuple[Kind, ...], bool]:
    return what.arguments, what.kinds, what.training


def _describe(arguments: Plain, kinds: tuple[Kind, ...], training: bool) -> str:
    """Return a signature for people."""
    words = [f"{shape} {dtype}{' with ' + flow if flow else ''}" for shape, dtype, flow in kinds]
    args, kwargs = tree(arguments)
    values = (*args, *kwargs.values())
    words += [repr(v) for v in values if isinstance(v, (bool, int, float, str, type(None)))]
    words += [f"training={training}"] if training else []
    return f"({', '.join([*words, *(f'{name}=' for name in kwargs)])})"
