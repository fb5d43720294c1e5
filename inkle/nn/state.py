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
from numpy.typing import NDArray

from inkle.engine import storage
from inkle.engine.storage import Storage
from inkle.engine.trace import current_trace
from inkle.errors import DTypeError, StateError, TraceError
from inkle.ir.dtype import DType
from inkle.ir.node import Node
from inkle.nn.formats import safetensors
from inkle.nn.formats.files import PathLike
from inkle.nn.formats.safetensors import RawTensor
from inkle.nn.formats.safetensors_header import ELEMENT_TYPES
from inkle.runtime.cpu.buffer import Buffer
from inkle.tensor import Tensor, dtypes
from inkle.tensor.jit import Jit

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
    _check_tensors(state, "state ")
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
    leaves = _realized_leaves(values, "load_state_dict")
    for (target, _), leaf in zip(pairs, leaves, strict=True):
        memory = storage.allocate(leaf.dtype, math.prod(leaf.shape))
        memory.copyin(_bytes(leaf))
        leaf = storage.new_leaf(leaf.dtype, leaf.shape, memory)
        target.assign(Tensor._of(leaf, target.device))
    _realized_leaves([target for target, _ in pairs], "load_state_dict")


def _realized_leaves(tensors: Sequence[Tensor], what: str) -> list[Node]:
    """Compute tensors, all at once; return the leaves that hold their values."""
    if current_trace() is not None:
        raise TraceError(f"{what} inside a captured function; call it outside of it")
    if tensors:
        tensors[0].realize(*tensors[1:])
    return [tensor._storage.outside for tensor in tensors]


def _bytes(leaf: Node) -> NDArray[np.uint8]:
    buffer = storage.buffer_of(leaf)
    assert isinstance(buffer, Buffer)
    return buffer.numpy()


def _misfit(name: str, own: Tensor, new: Tensor) -> str:
    loses = own.dtype is not new.dtype and new.dtype.is_float and not own.dtype.is_float
    if own.shape == new.shape and not loses:
        return ""
    return f"{name}: {own.shape} {own.dtype} in the object, {new.shape} {new.dtype} in the state"


def _shorten(names: tuple[str, ...], comma: str) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return comma.join(names[:_SHOWN]) + more


# --- files --------------------------------------------------------------------------------------

_TO_DTYPE = {
    name: dtypes.as_dtype(row.numpy)
    for name, row in ELEMENT_TYPES.items()
    if row.numpy is not None and row.numpy.kind != "c"
} | {"BF16": dtypes.bfloat16}
_TO_NAME = {dtype: name for name, dtype in _TO_DTYPE.items()}


def _check_tensors(state: Mapping[str, Tensor], what: str) -> None:
    if not isinstance(state, Mapping):
        raise DTypeError(f"a state is a dict of tensors by name, got {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise DTypeError(f"{what}{name!r} must be a Tensor, got {type(value).__name__}")


def safe_load(path: PathLike) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file: views of the mapped file, nothing is read yet.

    The file must not be shortened while they live; `load_state_dict` copies, after it they need not
    live. (`safe_save` never shortens a file, it puts a new one in its place.)

    Raises:
        DataError: if the file cannot be opened or mapped.
        FormatError: if it is no valid safetensors file.
        DTypeError: if a tensor has an element type that inkle does not have.
    """
    return {name: _view(name, raw) for name, raw in safetensors.load(path).items()}


def _view(name: str, raw: RawTensor) -> Tensor:
    dtype = _TO_DTYPE.get(raw.dtype)
    if dtype is None:
        raise DTypeError(f"tensor {name!r} has elements of {raw.dtype}, which inkle does not have")
    data = raw.data
    if dtype is dtypes.bool_:
        raw.numpy()  # checks that each is 0 or 1
    if data.ctypes.data % max(1, dtype.itemsize):
        data = data.copy()  # other programs may write files whose tensors are not aligned
    return Tensor._of(storage.new_leaf(dtype, raw.shape, Buffer.wrap(data)), "CPU")


def safe_save(
    state: Mapping[str, Tensor], path: PathLike, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a safetensors file, in full or not at all.

    Args:
        state: tensors by name, as `get_state_dict` returns them.
        path: file to make or replace.
        metadata: free text to keep beside them.

    Raises:
        DataError: if the file cannot be written.
        DTypeError: if something is no tensor.
    """
    _check_tensors(state, "")
    leaves = _realized_leaves(list(state.values()), "safe_save")
    raw = {
        name: RawTensor(_TO_NAME[leaf.dtype], leaf.shape, _bytes(leaf))
        for name, leaf in zip(state, leaves, strict=True)
    }
    safetensors.save(path, raw, metadata)
