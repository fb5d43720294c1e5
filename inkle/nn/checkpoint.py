"""All of a training in one file: it goes on where it was, bit for bit.

The file is safetensors: the tensors of each part as "part.name", and in its metadata the state of
the random numbers and whatever else JSON can hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from inkle.errors import DTypeError, FormatError, StateError
from inkle.nn.formats import safetensors
from inkle.nn.formats.files import PathLike
from inkle.nn.state import get_state_dict, load_state_dict
from inkle.nn.tensor_files import safe_load, safe_save
from inkle.tensor import Tensor
from inkle.tensor.random import random_state, restore_random_state

VERSION = "1"
_KEY = "inkle.checkpoint"


def save_checkpoint(
    path: PathLike, parts: Mapping[str, Any], values: Mapping[str, Any] | None = None
) -> None:
    """Write all that a training needs to go on to one file, in full or not at all.

    The state of the random numbers is always part of it.

    Args:
        path: file to make or replace.
        parts: by name: models, optimisers, schedules, scalers, whatever has `state_dict` and
            `load_state_dict`; of anything else the tensors are found as by `get_state_dict`.
        values: what else to keep, such as {"step": 100}: numbers, texts, lists and dicts of them.

    Raises:
        DataError: if the file cannot be written.
        DTypeError: if `values` cannot be written as JSON.

    Example:
        >>> save_checkpoint(path, {"model": model, "optimizer": optimizer}, {"step": 100})
    """
    seed, draws = random_state()
    try:
        text = json.dumps({"values": dict(values or {}), "random": [str(seed), str(draws)]})
    except (TypeError, ValueError, RecursionError) as error:
        raise DTypeError(f"values of a checkpoint must be JSON: {error}") from None
    tensors = {
        f"{name}.{inner}" if inner else name: tensor
        for name, part in _checked(parts).items()
        for inner, tensor in _state_of(part).items()
    }
    safe_save(tensors, path, {_KEY: VERSION, "training": text})


def load_checkpoint(path: PathLike, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Put a training back to where `save_checkpoint` wrote it down; all parts, or none.

    Args:
        path: the file.
        parts: new objects of the same kinds, under the same names.

    Returns:
        The `values` that were saved.

    Raises:
        DataError: if the file cannot be opened.
        FormatError: if it is damaged, or no checkpoint.
        StateError: if names or shapes differ; nothing is changed then.

    Example:
        >>> values = load_checkpoint(path, {"model": model, "optimizer": optimizer})
        >>> for step in range(values["step"], 1000): ...
    """
    values, seed, draws = _read_training(path)
    saved: dict[str, dict[str, Tensor]] = {name: {} for name in _checked(parts)}
    for full, tensor in safe_load(path).items():
        name, _, inner = full.partition(".")
        saved.setdefault(name, {})[inner] = tensor
    if set(saved) != set(parts):
        raise StateError(
            f"{path} has the parts {', '.join(sorted(saved))}; given {', '.join(sorted(parts))}"
        )
    for name, part in parts.items():
        _check_fits(name, _state_of(part), saved[name])
    for name, part in parts.items():
        if hasattr(part, "load_state_dict"):
            part.load_state_dict(saved[name])
        else:
            load_state_dict(part, saved[name])
    restore_random_state(seed, draws)
    return values


def _checked(parts: Mapping[Any, Any]) -> Mapping[str, Any]:
    if not isinstance(parts, Mapping):
        raise DTypeError(f"parts of a checkpoint are a dict, got {type(parts).__name__}")
    for name in parts:
        if not isinstance(name, str) or not name or "." in name:
            raise DTypeError(f"a part needs a name without dots, got {name!r:.40}")
    return parts


def _state_of(part: Any) -> dict[str, Tensor]:
    found: dict[str, Tensor] = (
        part.state_dict() if hasattr(part, "state_dict") else get_state_dict(part)
    )
    return found


def _check_fits(name: str, own: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> None:
    differing = sorted(set(own) ^ set(new))
    differing += [
        f"{key}: {own[key].shape} {own[key].dtype} here, {new[key].shape} {new[key].dtype} there"
        for key in own
        if key in new and (own[key].shape, own[key].dtype) != (new[key].shape, new[key].dtype)
    ]
    if differing:
        raise StateError(
            f"{name!r} of the checkpoint does not fit: {len(differing)} names differ, "
            f"{'; '.join(differing[:8])}"
        )


def _read_training(path: PathLike) -> tuple[dict[str, Any], int, int]:
    """Return the values, and seed and number of draws of the random numbers."""
    metadata = safetensors.read_header(path).metadata
    if metadata.get(_KEY) != VERSION:
        raise FormatError(f"{path}: no checkpoint of version {VERSION}: its metadata do not say so")
    try:
        training = json.loads(metadata["training"])
        values, (seed, draws) = training["values"], map(int, training["random"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: no valid checkpoint, in its metadata: {error!r:.80}") from None
    if not isinstance(values, dict) or min(seed, draws) < 0 or max(seed, draws) >= 1 << 64:
        raise FormatError(f"{path}: no valid checkpoint: its metadata are not as written")
    return values, seed, draws
