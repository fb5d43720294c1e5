"""Making tensors: from data, of a constant, of a sequence of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from inkle.engine.storage import from_array, from_copy
from inkle.errors import DeviceError, DTypeError, ShapeError
from inkle.ir import tensor
from inkle.ir.dtype import BY_NAME, DType, bfloat16, bool_, float32, int64
from inkle.ir.elementwise import Scalar
from inkle.ir.node import Node, const
from inkle.ir.size import Size, count, least, most
from inkle.tensor import leaves
from inkle.tensor.arguments import as_int, as_number, check_shape
from inkle.tensor.base import Core
from inkle.tensor.dtypes import DTypeLike, as_dtype
from inkle.tensor.resizing import Resizing

DEVICES = ("CPU",)


class Creation(Resizing):
    """Mixin of constructors. Shapes are numbers or one tuple; floats are float32 by default."""

    __slots__ = ()

    def __init__(
        self,
        data: Any,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        *,
        requires_grad: bool = False,
    ) -> None:
        """Make a tensor from data.

        Args:
            data: number, nested list, NumPy array or tensor; always copied.
            dtype: type of the elements. By default Python floats become float32, integers int64,
                and arrays keep theirs.
            device: where it lives; None: the default device.
            requires_grad: whether `backward()` accumulates a gradient for it.

        Raises:
            ShapeError: if a list is ragged.
            DTypeError: if elements are no numbers.
        """
        target = None if dtype is None else as_dtype(dtype)
        if isinstance(data, Core):
            node = tensor.detach(data.node)
            node = node if target is None else node.cast(target)
            device = device or data.device
        else:
            node = node_from(data, target)
        made = self._created(node, device, requires_grad=requires_grad)
        self._storage, self._view, self._history = made._storage, None, None
        self._grad = None
        if requires_grad:
            self._set_leaf()

    @classmethod
    def _created(cls, node: Node, device: str | None, *, requires_grad: bool = False) -> Self:
        made = cls._of(node, check_device(device))
        if requires_grad:
            made._set_leaf()
        return made

    def _set_leaf(self) -> None:
        """Make this tensor one at which gradients arrive."""
        current = self._storage.current
        if not current.dtype.is_float:
            raise DTypeError(f"only floats have gradients, got {current.dtype}; convert first")
        owner = next(leaves.numbers)
        leaves.owners[owner] = self
        self._history = leaves.History(owner, tensor.detach(current, owner), current)

    @classmethod
    def _from_array(cls, array: np.ndarray[Any, Any]) -> Self:
        return cls._created(node_from(array, None), None)

    @classmethod
    def from_numpy(cls, array: np.ndarray[Any, Any]) -> Self:
        """Return a tensor that shares the memory of a C-contiguous array: do not write to it later.

        Any other array is copied.
        """
        if not isinstance(array, np.ndarray):
            raise DTypeError(f"from_numpy needs a NumPy array, got {type(array).__name__}")
        if array.dtype.name not in BY_NAME or not array.dtype.isnative:
            raise DTypeError(
                f"no element type for a NumPy array of {array.dtype}; convert it first"
            )
        return cls._created(from_array(array), None)

    # --- constants --------------------------------------------------------------------------------

    @classmethod
    def full(
        cls,
        shape: int | Sequence[int],
        fill_value: Scalar,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        *,
        requires_grad: bool = False,
    ) -> Self:
        """Return a tensor with `fill_value` everywhere.

        Example:
            >>> Tensor.full((2,), 7).tolist()
            [7, 7]
        """
        fill_value = getattr(fill_value, "now", fill_value)  # of a bound variable
        if not isinstance(fill_value, (bool, int, float, Size)):
            raise DTypeError(f"full needs a number, got {fill_value!r:.60}")
        result = as_dtype(type(fill_value)) if dtype is None else as_dtype(dtype)
        node = tensor.full(_fitting(fill_value, result), result, check_shape((shape,), "full"))
        return cls._created(node, device, requires_grad=requires_grad)

    @classmethod
    def zeros(
        cls,
        *shape: Any,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        requires_grad: bool = False,
    ) -> Self:
        """Return a tensor of zeros."""
        sizes = check_shape(shape, "zeros")
        return cls.full(
            sizes, 0, float32 if dtype is None else dtype, device, requires_grad=requires_grad
        )

    @classmethod
    def ones(
        cls,
        *shape: Any,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        requires_grad: bool = False,
    ) -> Self:
        """Return a tensor of ones."""
        sizes = check_shape(shape, "ones")
        return cls.full(
            sizes, 1, float32 if dtype is None else dtype, device, requires_grad=requires_grad
        )

    @classmethod
    def empty(
        cls,
        *shape: Any,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        requires_grad: bool = False,
    ) -> Self:
        """Return a tensor whose elements do not matter (they are 0)."""
        return cls.zeros(*shape, dtype=dtype, device=device, requires_grad=requires_grad)

    def full_like(self, fill_value: Scalar, dtype: DTypeLike | None = None) -> Self:
        """Return `full` of the shape, dtype and device of self."""
        return self.full(self.shape, fill_value, self._dtype_or(dtype), self.device)

    def zeros_like(self, dtype: DTypeLike | None = None) -> Self:
        """Return zeros of the shape, dtype and device of self."""
        return self.full(self.shape, 0, self._dtype_or(dtype), self.device)

    def ones_like(self, dtype: DTypeLike | None = None) -> Self:
        """Return ones of the shape, dtype and device of self."""
        return self.full(self.shape, 1, self._dtype_or(dtype), self.device)

    def empty_like(self, dtype: DTypeLike | None = None) -> Self:
        """Return `empty` of the shape, dtype and device of self."""
        return self.zeros_like(dtype)

    def _dtype_or(self, dtype: DTypeLike | None) -> DTypeLike:
        return self.dtype if dtype is None else dtype

    # --- sequences --------------------------------------------------------------------------------

    @classmethod
    def arange(
        cls,
        start: Scalar,
        stop: Scalar | None = None,
        step: Scalar = 1,
        dtype: DTypeLike | None = None,
        device: str | None = None,
    ) -> Self:
        """Return start, start + step, ... before `stop`; with one argument 0 ... start - 1.

        int64 if all arguments are integers, else float32.
        """
        first, last = (0, start) if stop is None else (start, stop)
        first, last, step = [as_number(x, "argument of arange") for x in (first, last, step)]
        if any(isinstance(x, Size) for x in (first, last, step)):
            return cls._symbolic_arange(first, last, step, dtype, device)
        if step == 0 or any(x != x or abs(x) == float("inf") for x in (first, last, step)):
            raise ShapeError(f"arange needs finite bounds and a step other than 0, got {step}")
        whole = all(isinstance(x, int) for x in (first, last, step))
        length = max(0, int(-((first - last) // step)))
        standard = int64 if whole else float32
        result = standard if dtype is None else as_dtype(dtype)
        if length and not result.is_float:
            check_fits((first, first + (length - 1) * step), result, "arange")
        if whole:
            node = tensor.arange(length, int64)
            node = node * step if step != 1 else node
            node = (node + first if first else node).cast(result)
        else:
            node = (tensor.arange(length).cast(BY_NAME["float64"]) * step + first).cast(result)
        return cls._created(node, device)

    @classmethod
    def _symbolic_arange(
        cls, first: Scalar, last: Scalar, step: Scalar, dtype: DTypeLike | None, device: str | None
    ) -> Self:
        """Return `arange` between sizes that are known at launch only."""
        given: tuple[Any, ...] = (first, last, step)
        sizes = [as_int(x, "argument of an arange of symbolic size") for x in given]
        if isinstance(step, Size) or sizes[2] <= 0:
            raise ShapeError(f"arange of symbolic size needs a step above 0, got {step}")
        result = int64 if dtype is None else as_dtype(dtype)
        if not result.is_float:
            check_fits((least(sizes[0]), max(most(n) for n in sizes)), result, "arange")
        node = tensor.arange(count(*sizes), int64) * sizes[2] + sizes[0]
        return cls._created(node.cast(result), device)

    @classmethod
    def linspace(
        cls,
        start: float,
        stop: float,
        steps: int,
        dtype: DTypeLike | None = None,
        device: str | None = None,
    ) -> Self:
        """Return `steps` numbers from `start` to `stop`, both included, at equal distances."""
        number = as_int(steps, "steps of linspace")
        if number < 0:
            raise ShapeError(f"linspace needs steps >= 0, got {number}")
        result = float32 if dtype is None else as_dtype(dtype)
        wide = tensor.arange(number).cast(BY_NAME["float64"])
        step = (stop - start) / (number - 1) if number > 1 else 0.0
        # From both ends towards the middle, so that the last number is exactly `stop`.
        back = (wide - (number - 1)) * step + stop
        node = (wide < number / 2).where(wide * step + start, back if number > 1 else wide + start)
        return cls._created(node.cast(result), device)

    @classmethod
    def eye(
        cls, n: int, m: int | None = None, dtype: DTypeLike | None = None, device: str | None = None
    ) -> Self:
        """Return ones on the diagonal of an (n, m) matrix (m by default n), else zeros."""
        rows, columns = check_shape((n, n if m is None else m), "eye")
        i, j = _grid(rows, columns)
        return cls._created(i.eq(j).cast(float32 if dtype is None else as_dtype(dtype)), device)

    def tril(self, diagonal: int = 0) -> Self:
        """Return the lower triangle of the last two axes: zeros where j > i + diagonal."""
        return self._triangle(diagonal, "tril")

    def triu(self, diagonal: int = 0) -> Self:
        """Return the upper triangle of the last two axes: zeros where j < i + diagonal."""
        return self._triangle(diagonal, "triu")

    def _triangle(self, diagonal: int, what: str) -> Self:
        node = self.node
        if len(node.shape) < 2:
            raise ShapeError(f"{what} needs at least two axes, got {node.shape}")
        i, j = _grid(*node.shape[-2:])
        shifted = i + as_int(diagonal, "diagonal")
        keep = j <= shifted if what == "tril" else shifted <= j
        return self._new(tensor.broadcast_to(keep, node.shape).where(node, const(0, node.dtype)))

    def diag(self) -> Self:
        """Return the matrix with this vector as its diagonal, or the diagonal of a matrix."""
        if self.ndim == 2:
            return self.diagonal()
        if self.ndim != 1:
            raise ShapeError(f"diag needs one or two axes, got {self.shape}")
        (n,) = self.shape
        i, j = _grid(n, n)
        column = tensor.expand(tensor.reshape(self.node, (n, 1)), (n, n))
        return self._new(i.eq(j).where(column, const(0, column.dtype)))

    @classmethod
    def meshgrid(cls, *tensors: Any, indexing: str = "ij") -> tuple[Self, ...]:
        """Return for each vector its values along its own axis of one common grid."""
        if indexing not in ("ij", "xy"):
            raise ShapeError(f"indexing must be 'ij' or 'xy', got {indexing!r}")
        for each in tensors:
            if not isinstance(each, Creation):
                raise DTypeError(f"meshgrid needs tensors, got {each!r:.60}")
        shape = [each.numel() for each in tensors]
        swap = indexing == "xy" and len(tensors) > 1
        out = []
        for axis, each in enumerate(tensors):
            row = [shape[axis] if i == axis else 1 for i in range(len(shape))]
            grid = each.reshape(row).expand(shape)
            out.append(grid.transpose(0, 1) if swap else grid)
        return tuple(out)


def check_fits(values: Sequence[Scalar], dtype: DType, what: str) -> None:
    """Raise DTypeError if one of `values` lies outside of the range of an integer or bool dtype."""
    low, high = dtype.limits()
    for value in values:
        if not low <= int(value) <= high:
            raise DTypeError(f"{what}: {value} does not fit {dtype} ({low} to {high})")


def check_device(device: object) -> str:
    """Return the name of a device that exists."""
    if device is None:
        return DEVICES[0]
    if not isinstance(device, str) or device.upper() not in DEVICES:
        raise DeviceError(f"no device {device!r}; there is {', '.join(DEVICES)}")
    return device.upper()


def node_from(data: Any, dtype: DType | None) -> Node:
    """Return a leaf with a copy of numbers, a nested list or a NumPy array."""
    if isinstance(data, np.ma.MaskedArray):
        raise DTypeError("a tensor has no mask; fill the masked array first: array.filled(value)")
    if isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
    else:
        array = _array_from_python(data, dtype)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.name not in BY_NAME:
        raise DTypeError(
            f"a tensor holds numbers or bools, got {type(data).__name__} of {array.dtype}; "
            f"convert it first"
        )
    if dtype is not None and dtype is not bfloat16:
        array = _converted(array, dtype)
    leaf = from_copy(array)  # what happens to the user's array later is not our value
    return leaf.cast(bfloat16) if dtype is bfloat16 else leaf


def _converted(array: np.ndarray[Any, Any], dtype: DType) -> np.ndarray[Any, Any]:
    """Return an array of another dtype; numbers that it cannot hold are an error, not wrapped."""
    if dtype.is_integer and array.size and array.dtype.kind in "iuf":
        low, high = dtype.limits()
        if not (low <= array.min() and array.max() <= high):  # NaN, too
            raise DTypeError(
                f"{array.min()} ... {array.max()} do not fit {dtype} ({low} to {high}); "
                f"make the tensor without a dtype and cast it, if wrapping is what you want"
            )
    with np.errstate(over="ignore"):  # to inf, as every conversion to a narrower float
        return array.astype(bool if dtype is bool_ else dtype.name)


def _array_from_python(data: Any, dtype: DType | None) -> np.ndarray[Any, Any]:
    """Return numbers or nested lists as an array, in full width where a dtype is wanted."""
    try:
        array = np.array(data)
    except (ValueError, OverflowError) as error:
        raise ShapeError(f"a tensor needs lists of equal lengths at each level: {error}") from None
    if dtype is not None:
        return array
    if array.dtype == np.float64:
        return _converted(array, float32)
    if array.dtype == np.uint64:
        raise DTypeError(f"{data!r:.60} has numbers beyond int64; give a dtype or a NumPy array")
    return array


def _fitting(value: Scalar, dtype: DType) -> Scalar:
    """Return `value` if `dtype` holds it; integers never wrap unasked."""
    if dtype.is_float or dtype is bool_:
        return value
    low, high = dtype.limits()
    if isinstance(value, float) and not value.is_integer():
        raise DTypeError(f"{value} is no {dtype}; round it first")
    if not low <= value <= high:
        raise DTypeError(f"{value} does not fit {dtype} ({low} to {high})")
    return value


def _grid(rows: int, columns: int) -> tuple[Node, Node]:
    """Return the row number and the column number of each element of a matrix."""
    i = tensor.expand(tensor.reshape(tensor.arange(rows), (rows, 1)), (rows, columns))
    j = tensor.expand(tensor.reshape(tensor.arange(columns), (1, columns)), (rows, columns))
    return i, j
