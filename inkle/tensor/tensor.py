"""The tensor that users touch: a lazy n-dimensional array.

A tensor denotes a value; nothing is computed until somebody looks at it (`numpy()`, `item()`,
printing) or calls `realize()`. Expressions denote the values at the time they were written: a later
assignment does not change them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from inkle.engine.realize import realize as realize_nodes
from inkle.engine.storage import is_realized, to_array
from inkle.engine.trace import current_trace
from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.ir import forms
from inkle.ir.dtype import BY_NAME, bfloat16, float32
from inkle.ir.elementwise import Scalar
from inkle.ir.node import Shape, intern
from inkle.tensor import leaves
from inkle.tensor.arguments import check_axis
from inkle.tensor.creation import check_device
from inkle.tensor.dtypes import ALIASES
from inkle.tensor.margins import Margins

Array = np.ndarray[Any, Any]

MOST_AXES = 64  # of NumPy's arrays


class Tensor(Margins):
    """A lazy n-dimensional array of numbers on a device.

    Args:
        data: number, nested list, NumPy array or tensor; always copied.
        dtype: type of the elements. By default Python floats become float32, integers int64, and
            arrays keep theirs.
        device: where it lives; None: the default device.
        requires_grad: whether `backward()` accumulates a gradient for it.

    Example:
        >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> (x @ x).sum(1).tolist()
        [17.0, 37.0]
    """

    __slots__ = ()
    __array_ufunc__ = None  # `array + tensor` is ours, not an array of objects

    # --- values -----------------------------------------------------------------------------------

    def realize(self, *others: Any) -> Self:
        """Compute this tensor and `others`, together, now.

        Inside a captured function this does nothing: everything is computed when it is called.

        Returns:
            This tensor.
        """
        if current_trace() is not None:
            return self
        tensors: tuple[Tensor, ...] = (self, *others)
        for each in tensors:
            if not isinstance(each, Tensor):  # `Tensor.realize(a, b)`: self may be anything, too
                raise DTypeError(f"realize needs tensors, got {each!r:.60}")
        pending = [each for each in tensors if each._storage.current.op is not forms.BUFFER]
        found = realize_nodes([each._storage.current for each in pending])
        for each, leaf in zip(pending, found, strict=True):
            each._settle(leaf)
        return self

    def _settle(self, leaf: Any) -> None:
        """Make `leaf`, which holds the value, this tensor's storage; keep the way to leaves."""
        history = self._history
        if history is not None and history.owner:
            self._storage.current = leaf
            return
        graph = self.node
        self._storage.current = leaf
        is_derived = graph is not leaf and leaves.comes_from_leaves(graph)
        self._history = leaves.History(0, graph, leaf) if is_derived else None

    def _array(self, what: str) -> Array:
        """Return the elements as an array that must not be written to."""
        if self.dtype is bfloat16:
            raise DTypeError(f"{what}: NumPy has no bfloat16; convert first: x.float()")
        if self.ndim > MOST_AXES:
            raise ShapeError(f"{what}: arrays have at most {MOST_AXES} axes, got {self.ndim}")
        if current_trace() is not None:  # of a value that depends on no argument
            return to_array(realize_nodes([self._storage.current])[0])
        if not is_realized(self._storage.current):
            self.realize()
        return to_array(self._storage.current)

    def numpy(self) -> Array:
        """Return the elements as a new NumPy array of the same shape and dtype.

        Raises:
            DTypeError: for bfloat16, which NumPy does not have.
        """
        return np.array(self._array("numpy"))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def tolist(self) -> Any:
        """Return the elements as Python numbers in nested lists."""
        plain = self.cast(float32) if self.dtype is bfloat16 else self
        return plain._array("tolist").tolist()

    def item(self) -> Scalar:
        """Return the only element as a Python number.

        Raises:
            ShapeError: if there is more than one, or none.
        """
        if self.numel() != 1:
            raise ShapeError(
                f"item needs exactly one element, got shape {self.shape}; use tolist()"
            )
        value: Scalar = np.asarray(self.tolist()).reshape(()).item()
        return value

    def data(self) -> memoryview:
        """Return the elements as a memoryview."""
        return self.numpy().data

    def __repr__(self) -> str:
        tail = f", dtype={self.dtype}" + (", requires_grad=True" if self._is_leaf() else "")
        if current_trace() is not None:
            return f"<Tensor of {self.shape}{tail}, being captured>"
        values = np.asarray(self.tolist()) if self.dtype is bfloat16 else self._array("repr")
        if 0 in self.shape:
            tail = f", shape={self.shape}{tail}"
        return f"Tensor({np.array2string(values, separator=', ', prefix='Tensor(')}{tail})"

    def _is_leaf(self) -> bool:
        return self._history is not None and self._history.owner != 0

    def __bool__(self) -> bool:
        if self.numel() != 1:
            raise ShapeError(
                f"the truth of {self.numel()} elements, shape {self.shape}, is ambiguous; use "
                f".any() or .all()"
            )
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        value = self.item()
        if isinstance(value, float) and not math.isfinite(value):
            raise OptionError(f"{value} is no integer; cast(int64) has a result for it")
        return int(value)

    def __index__(self) -> int:
        if not self.dtype.is_integer:
            raise DTypeError(f"only integers are indices, got {self.dtype}")
        return int(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise DTypeError("a tensor without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Self]:
        if not self.shape:
            raise DTypeError("a tensor without axes cannot be iterated over")
        for i in range(self.shape[0]):
            yield self[i]

    def __format__(self, spec: str) -> str:
        if not spec:
            return repr(self)
        if self.numel() != 1:
            raise DTypeError(f"format {spec!r} is for one number, got shape {self.shape}")
        return format(self.item(), spec)

    # --- facts ------------------------------------------------------------------------------------

    def numel(self) -> int:
        """Return the number of elements."""
        n = 1
        for size in self.shape:
            n *= size
        return n

    def size(self, dim: int | None = None) -> int | Shape:
        """Return the sizes of the axes, or that of one."""
        shape = self.shape
        return shape if dim is None else shape[check_axis(dim, len(shape), "size")]

    def element_size(self) -> int:
        """Return the bytes of one element."""
        return self.dtype.itemsize

    def nbytes(self) -> int:
        """Return the bytes of all elements."""
        return self.numel() * self.dtype.itemsize

    def is_floating_point(self) -> bool:
        """Return whether elements are floats."""
        return self.dtype.is_float

    # --- copies -----------------------------------------------------------------------------------

    def clone(self) -> Self:
        """Return a copy in memory of its own; gradients flow through it."""
        node = self.node
        return self._new(intern(forms.CONTIGUOUS, node.dtype, (node,), None, node.shape))

    def contiguous(self) -> Self:
        """Return the same values stored in row-major order (self, if they are)."""
        node = self.node
        if node.op in (forms.BUFFER, forms.CONTIGUOUS):
            return self
        return self.clone()

    def to(self, target: Any) -> Self:
        """Return the tensor on another device, or of another dtype (as in PyTorch)."""
        if target is None:
            return self
        if isinstance(target, str) and target.upper() == self.device:
            return self
        if isinstance(target, str) and target not in ALIASES and target not in BY_NAME:
            check_device(target)  # says which devices there are
        return self.cast(target)

    def cpu(self) -> Self:
        """Return the tensor on the CPU."""
        return self.to("CPU")

    def replace(self, other: Tensor) -> Self:
        """Make `other` the new value of this tensor (another name of `assign`)."""
        return self.assign(other)

    def sequential(self, layers: Any) -> Any:
        """Return the tensor after each of `layers` was applied in turn."""
        value: Any = self
        for layer in layers:
            value = layer(value)
        return value

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copy = type(self)(self)
        if self._is_leaf():
            copy._set_leaf()
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        if self.dtype is bfloat16:
            return type(self), (self.cast(float32).numpy(), "bfloat16")
        return type(self), (self.numpy(),)
