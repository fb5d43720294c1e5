"""The core of a tensor: its storage, its node in the graph, and how results are made.

Every operation is a method of one of the mixins above this class; `inkle.tensor.tensor` puts them
together. Mixins form one line, each using the ones below it.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from inkle.engine.storage import Storage
from inkle.engine.trace import current_trace, traces
from inkle.errors import DeviceError, DTypeError, ShapeError
from inkle.ir import forms, tensor
from inkle.ir.dtype import DType, Kind, bool_, float32, int64, promote
from inkle.ir.elementwise import Scalar
from inkle.ir.node import Node, Shape, const, elementwise
from inkle.ir.op import Op
from inkle.ir.size import Size, least, most
from inkle.tensor.arguments import broadcast_shape
from inkle.tensor.leaves import History
from inkle.tensor.modes import modes
from inkle.tensor.origin import stamp
from inkle.tensor.views import View

FAMILY = {Kind.BOOL: 0, Kind.UINT: 1, Kind.INT: 1, Kind.FLOAT: 2}


def meet(a: Node, b: Node) -> DType:
    """Return the dtype in which two nodes meet.

    As in PyTorch, a tensor without axes counts only by its family (bool, integer, float): a float64
    scalar does not widen a float32 matrix.
    """
    if not a.shape and b.shape and FAMILY[a.dtype.kind] <= FAMILY[b.dtype.kind]:
        return b.dtype
    if not b.shape and a.shape and FAMILY[b.dtype.kind] <= FAMILY[a.dtype.kind]:
        return a.dtype
    return promote(a.dtype, b.dtype)


def meet_scalar(dtype: DType, value: Scalar) -> DType:
    """Return the dtype in which a tensor of `dtype` meets a Python number.

    Raises:
        DTypeError: if an integer does not fit the tensor's dtype: it would wrap silently.
    """
    if isinstance(value, float):
        return dtype if dtype.is_float else float32
    if isinstance(value, bool) or dtype.is_float:
        return dtype
    result = int64 if dtype is bool_ else dtype
    low, high = result.limits()
    if not (low <= least(value) and most(value) <= high):
        raise DTypeError(f"{value} does not fit {result} ({low} to {high}); cast the tensor first")
    return result


def spread(a: Node, b: Node, what: str) -> tuple[Node, Node]:
    """Return two nodes repeated to one shape; literals stay scalars."""
    if a.shape == b.shape or a.op is forms.CONST or b.op is forms.CONST:
        return a, b
    shape = broadcast_shape(a.shape, b.shape, what)
    return tensor.broadcast_to(a, shape), tensor.broadcast_to(b, shape)


class Core:
    """Storage, node and identity of a tensor; see `Tensor`."""

    __slots__ = ("_storage", "_view", "_history", "_grad", "__weakref__")

    _storage: Storage
    _view: View | None
    _history: History | None
    _grad: Self | None

    @classmethod
    def _of(cls, node: Node, device: str, view: View | None = None) -> Self:
        """Return a tensor whose value is `node`."""
        if node.origin is None:
            stamp(node)
        if modes.no_grad and node.op is not forms.BUFFER:
            node = tensor.detach(node)
        new = object.__new__(cls)
        new._storage = Storage(node, device)
        new._view = view
        new._history = None
        new._grad = None
        return new

    def _new(self, node: Node) -> Self:
        """Return a tensor on the same device whose value is `node`."""
        return self._of(node, self._storage.device)

    @property
    def node(self) -> Node:
        """The node of the graph that stands for this tensor's value."""
        history = self._history
        if history is not None:
            return history.node(self._storage.current)
        return self._storage.current if traces else self._storage.outside

    def _plain_node(self) -> Node:
        """Return the node of the value, through which no gradient flows."""
        node = self._storage.current
        return node if node.op is forms.BUFFER else tensor.detach(node)

    @property
    def grad(self) -> Self | None:
        """Gradient that `backward()` has left here; None before, and where nothing arrives."""
        trace = current_trace()
        if trace is None:
            return self._grad
        found: Self | None = trace.read_grad(self, self._grad)
        return found

    @grad.setter
    def grad(self, value: Self | None) -> None:
        if value is not None:
            if not isinstance(value, Core):
                raise DTypeError(f"a gradient is a tensor or None, got {value!r:.60}")
            if value.shape != self.shape:
                raise ShapeError(f"a gradient of {value.shape} for a tensor of {self.shape}")
        trace = current_trace()
        if trace is None:
            self._grad = value
        else:
            trace.write_grad(self, value)

    @property
    def shape(self) -> Shape:
        """Sizes of the axes."""
        trace = current_trace()
        if trace is not None and trace.shapes:
            return trace.shapes.get(self._storage, self._storage.outside.shape)
        return self._storage.outside.shape

    @property
    def dtype(self) -> DType:
        """Type of the elements."""
        return self._storage.outside.dtype

    @property
    def device(self) -> str:
        """Name of the device that holds the elements."""
        return self._storage.device

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._storage.outside.shape)

    # --- operands ---------------------------------------------------------------------------------

    def _operand(self, other: Any, what: str) -> Node | Scalar:
        """Return `other` as a node or a Python number."""
        if isinstance(other, Core):
            if other._storage.device != self._storage.device:
                raise DeviceError(
                    f"{what}: one tensor is on {self.device}, the other on {other.device}; "
                    f"move one of them with x.to({self.device!r})"
                )
            return other.node
        if isinstance(other, (bool, int, float)):
            return other
        if isinstance(other, np.generic) and other.dtype.kind in "biuf":
            number: Scalar = other.item()
            return number
        if isinstance(other, np.ndarray):
            return self._from_array(other).node
        symbolic = getattr(other, "now", other)  # of a bound variable
        if isinstance(symbolic, (int, Size)):
            return symbolic
        raise DTypeError(
            f"{what} needs a tensor or a number, got {type(other).__name__} {other!r:.60}"
        )

    @classmethod
    def _from_array(cls, array: np.ndarray[Any, Any]) -> Self:
        """Return a tensor with a copy of `array`; the class that creates tensors overrides this."""
        raise NotImplementedError

    def _array(self, what: str) -> np.ndarray[Any, Any]:
        """Return the elements; the class that looks at values overrides this."""
        raise NotImplementedError

    def _pair(self, other: Any, what: str) -> tuple[Node, Node]:
        """Return self and `other` as nodes of one dtype and one shape (literals stay scalars)."""
        a = self.node
        b = self._operand(other, what)
        if not isinstance(b, Node):
            dtype = meet_scalar(a.dtype, b)
            if isinstance(b, Size):
                return self._pair_with_size(a.cast(dtype), b)
            return (a if dtype is a.dtype else a.cast(dtype)), const(b, dtype)
        if a.dtype is not b.dtype:
            dtype = meet(a, b)
            a, b = a.cast(dtype), b.cast(dtype)
        if a.shape != b.shape:
            return spread(a, b, what)
        return a, b

    @staticmethod
    def _pair_with_size(a: Node, n: Size) -> tuple[Node, Node]:
        """Return a node, and a size as one of the same dtype and shape."""
        return a, tensor.broadcast_to(n.index_node().cast(a.dtype), a.shape)

    def _binary(self, op: Op, other: Any) -> Self:
        return self._new(elementwise(op, self._pair(other, op.name)))

    def _reflected(self, op: Op, other: Any) -> Self:
        a, b = self._pair(other, op.name)
        return self._new(elementwise(op, (b, a)))

    def _float(self) -> Node:
        """Return the node as floats: integers and bools become float32."""
        node = self.node
        return node if node.dtype.is_float else node.cast(float32)

    def _unary(self, op: Op) -> Self:
        """Apply a function of floats."""
        return self._new(elementwise(op, (self._float(),)))
