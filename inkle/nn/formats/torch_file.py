"""Files of `torch.save`: a pickle that describes tensors, and the memory they lie in.

    zip (since 1.6)   NAME/data.pkl     the pickle; storages are named by persistent ids
                      NAME/data/KEY     the bytes of a storage, stored as they are
                      NAME/byteorder    "little"
    legacy            five pickles, one after the other: a magic number, the version, the machine,
                      the object, and the keys of the storages; then for each key its number of
                      elements (int64) and its bytes

The pickles are read, never run (`inkle.nn.formats.pickles`): what they name is looked up in the
table of this module, and nowhere else.

Source: PyTorch's documentation, "Serialization semantics", and files that it wrote.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from inkle.errors import FormatError
from inkle.nn.formats.content import Content, map_file
from inkle.nn.formats.files import MAX_AXES, MAX_EXTENT, PathLike
from inkle.nn.formats.pickles import Name, read_pickle
from inkle.nn.formats.safetensors_header import ELEMENT_TYPES
from inkle.nn.formats.zips import STORED, zip_members

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
# PyTorch's names of element types: of dtypes, and of the classes of storages. The values are those
# of `safetensors_header.ELEMENT_TYPES`.
DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "int32": "I32",
    "uint32": "U32", "int64": "I64", "uint64": "U64", "float16": "F16", "bfloat16": "BF16",
    "float32": "F32", "float64": "F64", "complex64": "C64", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}  # fmt: skip
STORAGES = {
    "BoolStorage": "BOOL", "ByteStorage": "U8", "CharStorage": "I8", "ShortStorage": "I16",
    "IntStorage": "I32", "LongStorage": "I64", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "FloatStorage": "F32", "DoubleStorage": "F64", "ComplexFloatStorage": "C64",
    "UntypedStorage": "U8",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class RawStorage:
    """Bytes in which tensors lie, of elements of one type."""

    dtype: str
    data: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class StridedTensor:
    """Elements `offset + sum(i * stride)` of a storage; all of them are inside of it.

    Attributes:
        dtype: name of the element type as in safetensors.
        storage: shared by all tensors that lie in it.
        offset: of the first element, in elements.
        shape: sizes of the axes.
        stride: distance of neighbours along each axis, in elements, at least 0.
    """

    dtype: str
    storage: RawStorage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie one behind the other in row-major order."""
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if size != 1 and stride != expected:
                return 0 in self.shape
            expected *= size
        return True


Make = Callable[[StridedTensor], Any]


def load(path: PathLike, make: Make) -> Any:
    """Read a file of `torch.save`; no tensor's elements are read yet.

    Args:
        path: the file, in zip or legacy format.
        make: what to put in place of a tensor.

    Returns:
        The object that was saved: dicts, lists, tuples, sets, numbers, texts, bytes, and tensors.
        Ordered dicts are dicts, sizes tuples, devices texts, parameters tensors.

    Raises:
        DataError: if the file cannot be opened or mapped.
        FormatError: if it is damaged, or holds objects of other classes; names file, offset and
            reason.
    """
    content = map_file(path, "file of torch.save")
    if bytes(content.data[:4]) == b"PK\x03\x04":
        return _load_zip(content, make)
    return _load_legacy(content, make)


def _load_zip(content: Content, make: Make) -> Any:
    members = zip_members(content)
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise content.wrong(0, f"it has {len(pickles)} members called data.pkl instead of one")
    folder = pickles[0].removesuffix("data.pkl")
    packed = [name for name, member in members.items() if member.method != STORED]
    if packed:
        raise content.wrong(members[packed[0]].start, f"member {packed[0]!r:.80} is compressed")

    def part(name: str) -> Content:
        member = members[folder + name]
        return content.part(member.start, member.packed, folder + name, content.kind)

    if folder + "byteorder" in members and bytes(part("byteorder").data) != b"little":
        raise content.wrong(0, "it was saved with the most significant byte first")
    storages: dict[str, RawStorage] = {}

    def find(dtype: str, key: str, elements: int) -> RawStorage:
        if key not in storages:
            if f"{folder}data/{key}" not in members:
                raise FormatError(f"there is no storage {key!r:.40}")
            data = part(f"data/{key}").data
            storages[key] = RawStorage(dtype, np.frombuffer(data, np.uint8))
        storage = storages[key]
        if storage.dtype != dtype or storage.data.size != elements * _bytes(dtype):
            raise FormatError(
                f"storage {key!r:.40} is {storage.data.size} bytes of {storage.dtype}, not "
                f"{elements} elements of {dtype}"
            )
        return storage

    reader = _Reader(find, make)
    return read_pickle(part("data.pkl"), 0, reader.call, reader.persistent)[0]


def _load_legacy(content: Content, make: Make) -> Any:
    # The keys and places of the storages come behind the object: it is read twice.
    claimed: dict[str, RawStorage] = {}
    sizes: dict[str, int] = {}

    def claim(dtype: str, key: str, elements: int) -> RawStorage:
        storage = claimed.setdefault(key, RawStorage(dtype, np.empty(0, np.uint8)))
        if sizes.setdefault(key, elements) != elements or storage.dtype != dtype:
            raise FormatError(f"storage {key!r:.40} is described in two ways")
        return storage

    start = _check_head(content)
    first = _Reader(claim, None)
    _, end = read_pickle(content, start, first.call, first.persistent)
    keys, at = read_pickle(content, end, _no_call, _no_id)
    if not isinstance(keys, list) or len(keys) != len(claimed) or not _are_keys(keys, claimed):
        raise content.wrong(end, "the keys of the storages are not those of the object")
    storages = {}
    for key in keys:
        (elements,) = content.unpack("<q", at, f"the size of storage {key!r:.40}")
        size = elements * _bytes(claimed[key].dtype)
        if elements != sizes[key]:
            raise content.wrong(
                at, f"storage {key!r:.40} has {elements} elements, not {sizes[key]}"
            )
        data = content.array(at + 8, size, f"storage {key!r:.40}")
        storages[key] = RawStorage(claimed[key].dtype, data)
        at += 8 + size
    second = _Reader(lambda dtype, key, elements: storages[key], make)
    return read_pickle(content, start, second.call, second.persistent)[0]


def _check_head(content: Content) -> int:
    """Check the three pickles before the object; return where that begins."""
    magic, at = read_pickle(content, 0, _no_call, _no_id)
    if magic != MAGIC:
        raise content.wrong(0, "it begins neither as a zip archive nor with PyTorch's number")
    version, after = read_pickle(content, at, _no_call, _no_id)
    if version != VERSION:
        raise content.wrong(at, f"version {version!r:.40} of the format, not {VERSION}")
    machine, start = read_pickle(content, after, _no_call, _no_id)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise content.wrong(after, "it was saved with the most significant byte first")
    return start


def _are_keys(keys: list[Any], known: Mapping[str, object]) -> TypeGuard[list[str]]:
    return all(isinstance(key, str) for key in keys) and set(keys) == set(known)


def _no_call(name: Name, arguments: tuple[Any, ...]) -> Any:
    raise FormatError(f"a call of {name} where there is none in a file of torch.save")


def _no_id(value: Any) -> Any:
    raise FormatError("a storage where there is none in a file of torch.save")


def _bytes(dtype: str) -> int:
    return ELEMENT_TYPES[dtype].bits // 8


class _Reader:
    """What the pickle of an object may name, and what it gets for it.

    Args:
        find: the storage of an element type, a key and a number of elements.
        make: what to put in place of a tensor; None: nothing is wanted but the storages.
    """

    def __init__(self, find: Callable[[str, str, int], RawStorage], make: Make | None) -> None:
        self.find, self.make = find, make

    def persistent(self, value: Any) -> RawStorage:
        """Return the storage for ("storage", class, key, device, elements, part of another)."""
        if not isinstance(value, tuple) or len(value) < 5 or value[0] != "storage":
            raise FormatError("a persistent id must name a storage")
        kind, key, elements = value[1], value[2], value[4]
        if not isinstance(kind, Name) or kind.name not in STORAGES or not _is_torch(kind):
            raise FormatError(f"{kind if isinstance(kind, Name) else 'this'} is no known storage")
        if not isinstance(key, str) or not _is_size(elements):
            raise FormatError("a storage needs a key, which is a text, and a number of elements")
        storage = self.find(STORAGES[kind.name], key, elements)
        if len(value) == 5 or value[5] is None:
            return storage
        raise FormatError(f"storage {key!r:.40} is a part of another; save it with PyTorch anew")

    def call(self, name: Name, arguments: tuple[Any, ...]) -> Any:
        """Return the object for a name and its arguments."""
        full = str(name)
        if full in _TENSORS:
            return self._tensor(full, arguments)
        if full in _PARAMETERS and arguments:
            return arguments[0]
        if full in _OTHERS:
            return _OTHERS[full](arguments)
        raise FormatError(
            f"the file names {full}, which is not a part of tensors; nothing was called. Save "
            "tensors alone: torch.save(model.state_dict(), path)"
        )

    def _tensor(self, full: str, arguments: tuple[Any, ...]) -> Any:
        """Return the tensor for (storage, offset, shape, stride, ..., element type)."""
        given: list[Any] = [*arguments, None, None, None, None]
        storage, offset, shape, stride, *rest = given
        if not isinstance(storage, RawStorage):
            raise FormatError("a tensor needs a storage")
        if not _is_size(offset) or not _are_sizes(shape) or not _are_sizes(stride):
            raise FormatError("a tensor needs an offset, a shape and strides, all at least 0")
        dtype = storage.dtype
        if full.endswith("_v3"):
            dtype = _element_type(rest[2] if len(rest) > 2 else None)
        if self.make is None:
            return None
        _check_inside(dtype, storage, offset, shape, stride)
        return self.make(StridedTensor(dtype, storage, offset, shape, stride))


def _check_inside(
    dtype: str, storage: RawStorage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    width = _bytes(dtype)
    if len(shape) != len(stride) or len(shape) > MAX_AXES:
        raise FormatError(f"a tensor of {len(shape)} sizes and {len(stride)} strides")
    elements = math.prod(shape)  # of at most 64 numbers below 2**63
    if elements * width > MAX_EXTENT:
        raise FormatError(f"no tensor can have shape {shape!r:.80}")
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if (elements and last >= storage.data.size // width) or offset > storage.data.size:
        raise FormatError(
            f"a tensor of shape {shape!r:.80}, strides {stride!r:.80} and offset {offset} lies "
            f"outside of its storage of {storage.data.size} bytes"
        )


def _is_size(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MAX_EXTENT


def _are_sizes(value: Any) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and all(map(_is_size, value))


def _is_torch(name: Name) -> bool:
    return name.module in ("torch", "torch.storage", "torch.cuda")


def _element_type(value: object) -> str:
    if isinstance(value, Name) and value.module == "torch" and value.name in DTYPES:
        return DTYPES[value.name]
    raise FormatError("a tensor has an unknown element type")


def _dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """Return an empty dict: PyTorch's pickles fill ordered dicts by instructions."""
    return {}


def _size(arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 1 or not isinstance(arguments[0], tuple):
        raise FormatError("a size needs a tuple")
    return arguments[0]  # not a copy: a thousand sizes may share one long tuple


def _device(arguments: tuple[Any, ...]) -> str:
    if not 1 <= len(arguments) <= 2 or not all(type(each) in (str, int) for each in arguments):
        raise FormatError("a device needs a name and a number")
    return ":".join(str(each)[:40] for each in arguments)


_TENSORS = frozenset(f"torch._utils._rebuild_tensor{v}" for v in ("", "_v2", "_v3"))
_PARAMETERS = frozenset(
    ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
)
_OTHERS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": _dict,
    "collections.defaultdict": _dict,
    "torch.Size": _size,
    "torch.device": _device,
}
