"""Tensors in files: safetensors, and what PyTorch writes. Nothing in a file is executed.

Loaded tensors are views of the mapped file, and expressions of such views.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkle.engine import storage
from inkle.engine.trace import current_trace
from inkle.errors import DTypeError, FormatError, TraceError
from inkle.ir.node import Node
from inkle.nn.dequantize import DEQUANTIZE
from inkle.nn.formats import gguf, safetensors, torch_file
from inkle.nn.formats.content import Content, map_file
from inkle.nn.formats.files import PathLike
from inkle.nn.formats.gguf import BlockTensor
from inkle.nn.formats.npy import parse_npy
from inkle.nn.formats.safetensors import RawTensor
from inkle.nn.formats.safetensors_header import ELEMENT_TYPES
from inkle.nn.formats.tars import tar_members
from inkle.nn.formats.torch_file import RawStorage, StridedTensor
from inkle.nn.formats.zips import MOST_INFLATED, STORED, member_content, zip_members
from inkle.runtime.cpu.buffer import Buffer
from inkle.tensor import Tensor, dtypes
from inkle.tensor.arguments import as_int

_TO_DTYPE = {
    name: dtypes.as_dtype(row.numpy)
    for name, row in ELEMENT_TYPES.items()
    if row.numpy is not None and row.numpy.kind != "c"
} | {"BF16": dtypes.bfloat16}
_TO_NAME = {dtype: name for name, dtype in _TO_DTYPE.items()}


def check_tensors(state: Mapping[str, Tensor], what: str) -> None:
    """Raise DTypeError unless `state` is a dict of tensors; `what` stands before a name."""
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


def torch_load(path: PathLike) -> Any:
    """Return what `torch.save` wrote, in the zip format or the legacy one; no code is executed.

    Tensors are views of the mapped file, nothing of them is read yet: the file must not become
    shorter while they live. Gradients are not asked for; PyTorch's parameters are plain tensors.

    Args:
        path: a file of tensors in dicts, lists and tuples, with numbers and texts between them, as
            of `torch.save(model.state_dict(), path)`.

    Returns:
        The same structure. Ordered dicts are dicts, sizes tuples, devices texts.

    Raises:
        DataError: if the file cannot be opened or mapped.
        FormatError: if it is damaged, or names other classes or functions, such as a whole model.
        DTypeError: if a tensor has an element type that inkle does not have.

    Example:
        >>> load_state_dict(model, torch_load("model.pth"))
    """
    whole: dict[tuple[RawStorage, str], Node] = {}

    def make(tensor: StridedTensor) -> Tensor:
        key = (tensor.storage, tensor.dtype)
        if key not in whole:
            whole[key] = _leaf(f"a tensor of {path}", tensor.dtype, tensor.storage.data)
        return _strided(tensor, whole[key])

    return torch_file.load(path, make)


def _strided(tensor: StridedTensor, whole: Node) -> Tensor:
    """Return a tensor that lies in the storage `whole`, a leaf of one axis."""
    if tensor.is_contiguous:
        width = whole.dtype.itemsize
        memory = storage.buffer_of(whole)
        part = memory.view(tensor.offset * width, math.prod(tensor.shape) * width)
        return Tensor._of(storage.new_leaf(whole.dtype, tensor.shape, part), "CPU")
    # Not cut out of the file here: a small file can describe many large tensors.
    index = Tensor(tensor.offset)
    for axis, (size, stride) in enumerate(zip(tensor.shape, tensor.stride, strict=True)):
        row = [size if i == axis else 1 for i in range(len(tensor.shape))]
        index = index + Tensor.arange(size).reshape(row) * stride
    return Tensor._of(whole, "CPU")[index]


def _view(name: str, raw: RawTensor) -> Tensor:
    leaf = _leaf(f"tensor {name!r}", raw.dtype, raw.data)
    return Tensor._of(storage.new_leaf(leaf.dtype, raw.shape, storage.buffer_of(leaf)), "CPU")


def _leaf(what: str, type_name: str, data: NDArray[np.uint8]) -> Node:
    """Return a leaf of one axis over bytes: without a copy, if they are aligned."""
    dtype = _TO_DTYPE.get(type_name)
    if dtype is None:
        raise DTypeError(f"{what} has elements of {type_name}, which inkle does not have")
    if dtype is dtypes.bool_:
        try:
            RawTensor(type_name, data.shape, data).numpy()  # checks that each is 0 or 1
        except FormatError as error:
            raise FormatError(f"{what}: {error}") from None
    width = max(1, dtype.itemsize)
    if data.ctypes.data % width:
        data = data.copy()  # other programs may write files whose tensors are not aligned
    return storage.new_leaf(dtype, (data.size // width,), Buffer.wrap(data))


def gguf_load(path: PathLike) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return metadata and tensors of a GGUF file; nothing of the tensors is read yet.

    Quantised tensors are float32 expressions of views of the mapped file: what is computed from
    them decodes the blocks on the way. `realize()` decodes a tensor once and for all. The file must
    not become shorter while they live.

    Args:
        path: a file of version 2 or 3, with plain numbers or blocks of type Q4_0, Q4_1, Q5_0, Q5_1,
            Q8_0, Q8_1, Q2_K ... Q6_K and Q8_K.

    Returns:
        Metadata by key, texts, numbers, lists of texts and NumPy arrays of numbers; and tensors by
        name, the slowest axis first (the file names it last).

    Raises:
        DataError: if the file cannot be opened or mapped.
        FormatError: if it is damaged, or has tensors of other types.

    Example:
        >>> metadata, weights = gguf_load("model.gguf")
        >>> metadata["general.architecture"], weights["output_norm.weight"].shape
        ('llama', (576,))
    """
    metadata, tensors = gguf.load(path)
    return metadata, {name: _decoded(name, each) for name, each in tensors.items()}


def npy_load(path: PathLike) -> Tensor:
    """Return the array of a .npy file: a view of the mapped file, nothing is read yet.

    Raises:
        DataError: if the file cannot be opened or mapped.
        FormatError: if it is damaged, or holds objects or other than bools and numbers.

    Example:
        >>> np.save("x.npy", np.arange(3))
        >>> npy_load("x.npy").tolist()
        [0, 1, 2]
    """
    return _of_array(parse_npy(map_file(path, "npy file")))


def npz_load(path: PathLike, *, limit: int = MOST_INFLATED) -> dict[str, Tensor]:
    """Return the arrays of a .npz file by name: views of it, unless they are compressed.

    Args:
        path: a file of `numpy.savez` or `numpy.savez_compressed`.
        limit: most bytes that compressed arrays may take together.

    Raises:
        DataError: if the file cannot be opened or mapped.
        FormatError: if it is damaged, holds other than arrays of bools and numbers, or inflates to
            more than `limit`.

    Example:
        >>> np.savez("x.npz", a=np.arange(3), b=np.ones(2))
        >>> {name: x.shape for name, x in npz_load("x.npz").items()}
        {'a': (3,), 'b': (2,)}
    """
    parts = _unpacked(path, "npy file", limit)
    return {name.removesuffix(".npy"): _of_array(parse_npy(part)) for name, part in parts}


def zip_extract(path: PathLike, *, limit: int = MOST_INFLATED) -> dict[str, Tensor]:
    """Return the files in a zip archive by name, as uint8: views of it, unless compressed.

    Args:
        path: the archive.
        limit: most bytes that compressed files may take together.

    Raises:
        DataError: if the file cannot be opened or mapped.
        FormatError: if it is damaged, encrypted, or inflates to more than `limit`.

    Example:
        >>> zip_extract("x.zip")["notes.txt"].numpy().tobytes()
        b'hello'
    """
    parts = _unpacked(path, "file", limit)
    return {name: _of_array(np.frombuffer(part.data, np.uint8)) for name, part in parts}


def tar_extract(path: PathLike) -> dict[str, Tensor]:
    """Return the files in a tar archive by name, as uint8: views of it.

    Raises:
        DataError: if the file cannot be opened or mapped.
        FormatError: if it is damaged or compressed.

    Example:
        >>> tar_extract("x.tar")["notes.txt"].numpy().tobytes()
        b'hello'
    """
    content = map_file(path, "tar archive")
    return {
        name: _of_array(content.array(start, size, name))
        for name, (start, size) in tar_members(content).items()
    }


def _unpacked(path: PathLike, kind: str, limit: int) -> Iterator[tuple[str, Content]]:
    """Yield the members of a zip archive; together they inflate to at most `limit` bytes."""
    content = map_file(path, "zip archive")
    left = as_int(limit, "limit")
    for name, member in zip_members(content).items():
        yield name, member_content(content, name, member, kind, left)
        left -= 0 if member.method == STORED else member.size


def _of_array(array: NDArray[Any]) -> Tensor:
    """Return a view of an array in row- or column-major order."""
    is_row_major = array.flags.c_contiguous
    rows = array if is_row_major else array.T
    flat = rows.reshape(-1).view(np.uint8)
    name = "BOOL" if array.dtype == np.bool_ else f"{array.dtype.kind}{8 * array.itemsize}".upper()
    found = _view("array", RawTensor(name, rows.shape, flat))
    return found if is_row_major else found.permute(tuple(range(array.ndim))[::-1])


def _decoded(name: str, tensor: BlockTensor) -> Tensor:
    decode = DEQUANTIZE.get(tensor.type)
    if decode is None:
        return _view(name, RawTensor(tensor.type, tensor.shape, tensor.data))
    size = next(row.size_bytes for row in gguf.TYPES.values() if row.name == tensor.type)
    blocks = _view(name, RawTensor("U8", (tensor.data.size // size, size), tensor.data))
    return decode(blocks).reshape(tensor.shape)


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
    check_tensors(state, "")
    leaves = realized_leaves(list(state.values()), "safe_save")
    raw = {
        name: RawTensor(_TO_NAME[leaf.dtype], leaf.shape, bytes_of(leaf))
        for name, leaf in zip(state, leaves, strict=True)
    }
    safetensors.save(path, raw, metadata)


def realized_leaves(tensors: Sequence[Tensor], what: str) -> list[Node]:
    """Compute tensors, all at once; return the leaves that hold their values."""
    if current_trace() is not None:
        raise TraceError(f"{what} inside a captured function; call it outside of it")
    if tensors:
        tensors[0].realize(*tensors[1:])
    return [tensor._storage.outside for tensor in tensors]


def bytes_of(leaf: Node) -> NDArray[np.uint8]:
    """Return the memory of a leaf."""
    buffer = storage.buffer_of(leaf)
    assert isinstance(buffer, Buffer)
    return buffer.numpy()
