"""The tensors of a model by name, and how they go to files and come back.

A model is any object. Its tensors are found by walking attributes (`__dict__` and `__slots__`),
lists, tuples and dicts. The name is the path, "layers.0.weight"; so names are those of PyTorch for
the same network. A tensor that only a closure holds is not found.
"""

from __future__ import annotations

import math
import types
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inkle.engine import storage
from inkle.engine.storage import Storage
from inkle.errors import StateError
from inkle.ir.dtype import DType
from inkle.ir.node import Node
from inkle.nn.tensor_files import (
    bytes_of,
    check_tensors,
    gguf_load,
    npy_load,
    npz_load,
    realized_leaves,
    safe_load,
    safe_save,
    tar_extract,
    torch_load,
    zip_extract,
)
from inkle.tensor import Tensor
from inkle.tensor.jit import Jit

# Of other files; `tests/docs` lists them as names of this one.
__all__ = [
    "gguf_load",
    "npy_load",
    "npz_load",
    "safe_load",
    "safe_save",
    "tar_extract",
    "torch_load",
    "zip_extract",
]

# Have attributes, but hold no model.
_OPAQUE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.MethodType,
    np.ndarray,
    DType,
    Node,
    Storage,
    Jit,
)
Part = tuple[object, object]  # name, value
_SHOWN = 8  # names in one line of a message


# --- finding ------------------------------------------------------------------------------------


def get_state_dict(obj: object, prefix: str = "") -> dict[str, Tensor]:
    """Return every tensor of `obj` by name, parameters and buffers alike, in order of definition.

    Args:
        obj: a layer, an object that holds layers, or lists and dicts of them.
        prefix: put before each name.

    Returns:
        The tensors themselves. One that is held twice (tied weights) has two names.

    Raises:
        StateError: if two tensors have one name, as in {"a.b": x, "a": {"b": y}}.

    Example:
        >>> list(get_state_dict(nn.Linear(2, 3)))
        ['weight', 'bias']
    """
    found: dict[str, Tensor] = {}
    for name, tensor in _walk(obj, prefix):
        if name in found:
            raise StateError(f"two tensors are called {name!r}; rename one of their attributes")
        found[name] = tensor
    return found


def get_parameters(obj: object) -> list[Tensor]:
    """Return the tensors of `obj` that require a gradient, each once, in order of definition."""
    unique = {id(tensor): tensor for _, tensor in _walk(obj, "")}
    return [tensor for tensor in unique.values() if tensor.requires_grad]


def _walk(root: object, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Yield names and tensors, depth first; iterative, so that depth has no limit."""
    if isinstance(root, Tensor):
        yield prefix, root
        return
    holders = _find_holders(root)
    on_path: set[int] = set()  # an object that leads back to itself is not entered again
    stack: list[tuple[str, object, bool]] = [(prefix, root, False)]
    while stack:
        path, value, done = stack.pop()
        number = id(value)
        if done:
            on_path.discard(number)
        elif isinstance(value, Tensor):
            yield path, value
        elif number in holders and number not in on_path:
            on_path.add(number)
            stack.append((path, value, True))
            dot = "." if path and not path.endswith(".") else ""
            parts = reversed(holders[number])
            stack.extend((f"{path}{dot}{key}", part, False) for key, part in parts)


def _find_holders(root: object) -> dict[int, list[Part]]:
    """Return the parts of every object that leads to a tensor, by id.

    Others are not walked path by path: a logger leads to all loggers in more ways than one can
    count.
    """
    parts: dict[int, list[Part]] = {}
    parents: defaultdict[int, list[int]] = defaultdict(list)
    leading: list[int] = []
    pending = [root]
    while pending:
        value = pending.pop()
        if id(value) in parts:
            continue
        parts[id(value)] = _parts(value)
        for _, part in parts[id(value)]:
            if isinstance(part, Tensor):
                leading.append(id(value))
            else:
                parents[id(part)].append(id(value))
                pending.append(part)
    holders: dict[int, list[Part]] = {}
    while leading:
        number = leading.pop()
        if number not in holders:
            holders[number] = parts[number]
            leading.extend(parents[number])
    return holders


def _parts(value: object) -> list[Part]:
    """Return what `value` holds, with a name for each."""
    if isinstance(value, _OPAQUE):
        return []
    parts: list[Part] = []
    if isinstance(value, Mapping):
        parts.extend(value.items())
    elif isinstance(value, (list, tuple)):
        parts.extend(enumerate(value))
    for cls in reversed(type(value).__mro__):
        slots = cls.__dict__.get("__slots__", ())
        names = (slots,) if isinstance(slots, str) else slots
        parts.extend((name, getattr(value, name)) for name in names if hasattr(value, name))
    parts.extend(getattr(value, "__dict__", {}).items())
    return parts


# --- loading ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateDifference:
    """How a state dict differs from an object's; names in order.

    Attributes:
        missing: the object has them, the dict does not.
        unexpected: the other way round.
        misfits: for people, "name: (3, 2) float32 in the object, (2, 3) float32 in the state".
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misfits: tuple[str, ...]

    def __str__(self) -> str:
        rows = (
            ("missing", self.missing, ", "),
            ("unexpected", self.unexpected, ", "),
            ("do not fit", self.misfits, "; "),
        )
        return "\n".join(
            f"  {len(names)} {what}: {_shorten(names, comma)}"
            for what, names, comma in rows
            if names
        )


def load_state_dict(
    obj: object, state: Mapping[str, Tensor], *, strict: bool = True
) -> StateDifference:
    """Give the tensors of `obj` the values in `state`.

    Values are copied, and converted to the dtype of the tensor that they go to. Nothing is changed
    if anything does not fit.

    Args:
        obj: as for `get_state_dict`.
        state: values by name.
        strict: False leaves out names that are only on one side.

    Returns:
        What was left out.

    Raises:
        StateError: lists names that are missing or unexpected (unless told otherwise), and tensors
            of other shapes.
    """
    own = get_state_dict(obj)
    check_tensors(state, "state ")
    shared = [name for name in own if name in state]
    difference = StateDifference(
        tuple(name for name in own if name not in state),
        tuple(name for name in state if name not in own),
        tuple(filter(None, (_misfit(name, own[name], state[name]) for name in shared))),
    )
    if difference.misfits or (strict and (difference.missing or difference.unexpected)):
        raise StateError(f"state does not fit this {type(obj).__name__}:\n{difference}")
    _assign_copies([(own[name], state[name]) for name in shared])
    return difference


def _assign_copies(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Assign the second of each pair to the first, in memory of its own.

    A value may lie in a mapped file, which others can shorten: a model must not read from it later.
    """
    values = [
        value if value.dtype is target.dtype else value.detach().cast(target.dtype)
        for target, value in pairs
    ]
    leaves = realized_leaves(values, "load_state_dict")
    for (target, _), leaf in zip(pairs, leaves, strict=True):
        memory = storage.allocate(leaf.dtype, math.prod(leaf.shape))
        memory.copyin(bytes_of(leaf))
        leaf = storage.new_leaf(leaf.dtype, leaf.shape, memory)
        target.assign(Tensor._of(leaf, target.device))
    realized_leaves([target for target, _ in pairs], "load_state_dict")


def _misfit(name: str, own: Tensor, new: Tensor) -> str:
    loses = own.dtype is not new.dtype and new.dtype.is_float and not own.dtype.is_float
    if own.shape == new.shape and not loses:
        return ""
    return f"{name}: {own.shape} {own.dtype} in the object, {new.shape} {new.dtype} in the state"


def _shorten(names: tuple[str, ...], comma: str) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return comma.join(names[:_SHOWN]) + more
