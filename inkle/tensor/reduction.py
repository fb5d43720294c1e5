"""Reductions along axes. Sums of float16 and bfloat16 are accumulated in float32."""

from __future__ import annotations

from typing import Any, Self

from inkle.errors import DTypeError, ShapeError
from inkle.ir import ops, tensor
from inkle.ir.dtype import DType, Kind, bool_, float32, int64, uint8
from inkle.ir.node import Node, Shape
from inkle.ir.op import Op
from inkle.ir.size import is_exactly
from inkle.tensor.arguments import Axes, Flag, check_axes, check_axis
from inkle.tensor.dtypes import DTypeLike, as_dtype
from inkle.tensor.indexing import Indexing
from inkle.tensor.written_out import written_out


def finish(x: Node, shape: Shape, axes: tuple[int, ...], *, keepdim: bool) -> Node:
    """Return a reduced node, with axes of length 1 in place of the reduced ones if `keepdim`."""
    if not keepdim:
        return x
    return tensor.reshape(x, tuple([1 if i in axes else n for i, n in enumerate(shape)]))


def accumulator(dtype: DType) -> DType:
    """Return the dtype in which values of `dtype` are summed."""
    if dtype.is_float:
        return float32 if dtype.bits == 16 else dtype
    return int64


def sum_node(x: Node, axes: tuple[int, ...]) -> Node:
    """Return the sum of floats over `axes` in the dtype of `x`."""
    wide = accumulator(x.dtype)
    return tensor.reduce(x.cast(wide), ops.ADD, axes).cast(x.dtype)


def mean_node(x: Node, axes: tuple[int, ...]) -> Node:
    """Return the mean of floats over `axes` in the dtype of `x`."""
    wide = x.cast(accumulator(x.dtype))
    total = tensor.reduce(wide, ops.ADD, axes)
    return (total / count(x.shape, axes)).cast(x.dtype)


def count(shape: Shape, axes: tuple[int, ...]) -> int:
    """Return how many elements meet in one result."""
    n = 1
    for axis in axes:
        n *= shape[axis]
    return n


class Reduction(Indexing):
    """Mixin of reductions. `axis` and PyTorch's `dim` are the same; None means all axes."""

    __slots__ = ()

    def _fold(self, node: Node, op: Op, axis: Axes, dim: Axes, *, keepdim: Flag, what: str) -> Self:
        axes = check_axes(axis if dim is None else dim, len(node.shape), what)
        return self._new(finish(tensor.reduce(node, op, axes), node.shape, axes, keepdim=keepdim))

    def sum(
        self,
        axis: Axes = None,
        *,
        keepdim: Flag = False,
        dtype: DTypeLike | None = None,
        dim: Axes = None,
    ) -> Self:
        """Return the sum along `axis`; 0 along an empty one.

        Args:
            axis: axes that vanish; None: all.
            keepdim: leave axes of length 1 in their place.
            dtype: convert to this first. By default bools and integers are summed as int64.
            dim: PyTorch's name of `axis`.

        Returns:
            Tensor without the reduced axes.

        Example:
            >>> Tensor([[1, 2], [3, 4]]).sum(0).tolist()
            [4, 6]
        """
        node = self.node
        axes = check_axes(axis if dim is None else dim, len(node.shape), "sum")
        result = _sum_dtype(node.dtype, dtype, "sum")
        wide = accumulator(result) if result.is_float else result
        total = tensor.reduce(node.cast(wide), ops.ADD, axes).cast(result)
        return self._new(finish(total, node.shape, axes, keepdim=keepdim))

    def prod(
        self,
        axis: Axes = None,
        *,
        keepdim: Flag = False,
        dtype: DTypeLike | None = None,
        dim: Axes = None,
    ) -> Self:
        """Return the product along `axis`; 1 along an empty one. Arguments as for `sum`."""
        node = self.node
        axes = check_axes(axis if dim is None else dim, len(node.shape), "prod")
        result = _sum_dtype(node.dtype, dtype, "prod")
        wide = accumulator(result) if result.is_float else result
        total = tensor.reduce(node.cast(wide), ops.MUL, axes).cast(result)
        return self._new(finish(total, node.shape, axes, keepdim=keepdim))

    def mean(self, axis: Axes = None, *, keepdim: Flag = False, dim: Axes = None) -> Self:
        """Return the mean of floats along `axis`; NaN along an empty one.

        Raises:
            DTypeError: for integers and bools; convert first.
        """
        node = self._floats_only("mean")
        axes = check_axes(axis if dim is None else dim, len(node.shape), "mean")
        return self._new(finish(mean_node(node, axes), node.shape, axes, keepdim=keepdim))

    def _floats_only(self, what: str) -> Node:
        node = self.node
        if not node.dtype.is_float:
            raise DTypeError(f"{what} needs floats, got {node.dtype}; convert first: x.float()")
        return node

    def var(
        self,
        axis: Axes = None,
        *,
        keepdim: Flag = False,
        correction: int = 1,
        dim: Axes = None,
    ) -> Self:
        """Return the variance along `axis`.

        Args:
            axis: axes that vanish; None: all.
            keepdim: leave axes of length 1 in their place.
            correction: the sum of squares is divided by n - correction (1: unbiased estimate).
            dim: PyTorch's name of `axis`.

        Returns:
            Float tensor; NaN where n <= correction and the sum of squares is 0.
        """
        node = self._floats_only("var")
        axes = check_axes(axis if dim is None else dim, len(node.shape), "var")
        value = var_node(node, mean_node(node, axes), axes, correction)
        return self._new(finish(value, node.shape, axes, keepdim=keepdim))

    def std(
        self,
        axis: Axes = None,
        *,
        keepdim: Flag = False,
        correction: int = 1,
        dim: Axes = None,
    ) -> Self:
        """Return the standard deviation along `axis`. Arguments as for `var`."""
        return self.var(axis, keepdim=keepdim, correction=correction, dim=dim).sqrt()

    def var_mean(
        self, axis: Axes = None, *, keepdim: Flag = False, correction: int = 1, dim: Axes = None
    ) -> tuple[Self, Self]:
        """Return variance and mean along `axis`. Arguments as for `var`."""
        axis = axis if dim is None else dim
        mean = self.mean(axis, keepdim=keepdim)
        return self.var(axis, keepdim=keepdim, correction=correction), mean

    def std_mean(
        self, axis: Axes = None, *, keepdim: Flag = False, correction: int = 1, dim: Axes = None
    ) -> tuple[Self, Self]:
        """Return standard deviation and mean along `axis`. Arguments as for `var`."""
        axis = axis if dim is None else dim
        mean = self.mean(axis, keepdim=keepdim)
        return self.std(axis, keepdim=keepdim, correction=correction), mean

    # --- extremes ---------------------------------------------------------------------------------

    def max(self, axis: Axes = None, *, keepdim: Flag = False, dim: Axes = None) -> Self:
        """Return the largest element along `axis`; NaN if there is one.

        Equal largest elements share the gradient. For the place, see `argmax`.

        Raises:
            ShapeError: if an axis is empty.
        """
        return self._extreme(ops.MAXIMUM, ops.OR, axis, dim, keepdim=keepdim, what="max")

    def min(self, axis: Axes = None, *, keepdim: Flag = False, dim: Axes = None) -> Self:
        """Return the smallest element along `axis`; NaN if there is one. See `max`."""
        return self._extreme(ops.MINIMUM, ops.AND, axis, dim, keepdim=keepdim, what="min")

    amax, amin = max, min  # noqa: A003  (the methods are meant)

    def _extreme(
        self, op: Op, logical: Op, axis: Axes, dim: Axes, *, keepdim: Flag, what: str
    ) -> Self:
        node = self.node
        axes = check_axes(axis if dim is None else dim, len(node.shape), what)
        _check_not_empty(node.shape, axes, what)
        op = logical if node.dtype is bool_ else op
        return self._new(finish(tensor.reduce(node, op, axes), node.shape, axes, keepdim=keepdim))

    def argmax(
        self, axis: int | None = None, *, keepdim: Flag = False, dim: int | None = None
    ) -> Self:
        """Return the int64 place of the first largest element (or NaN) along `axis`.

        Without an axis: its place in the flattened tensor.
        """
        return self._place(
            ops.MAXIMUM, axis if dim is None else dim, keepdim=keepdim, what="argmax"
        )

    def argmin(
        self, axis: int | None = None, *, keepdim: Flag = False, dim: int | None = None
    ) -> Self:
        """Return the int64 place of the first smallest element (or NaN) along `axis`."""
        return self._place(
            ops.MINIMUM, axis if dim is None else dim, keepdim=keepdim, what="argmin"
        )

    def _place(self, op: Op, axis: int | None, *, keepdim: Flag, what: str) -> Self:
        node = self.node
        shape = node.shape
        if axis is None:
            flat = tensor.reshape(node, (count(shape, tuple(range(len(shape)))),))
            place = place_of(flat, op, 0, what)
            return self._new(tensor.reshape(place, (1,) * len(shape)) if keepdim else place)
        number = check_axis(axis, len(shape), what)
        place = place_of(node, op, number, what)
        return self._new(finish(place, shape, (number,), keepdim=keepdim))

    def all(self, axis: Axes = None, *, keepdim: Flag = False, dim: Axes = None) -> Self:
        """Return whether no element along `axis` is zero; True along an empty one."""
        node = self.node.cast(bool_)
        return self._fold(node, ops.AND, axis, dim, keepdim=keepdim, what="all")

    def any(self, axis: Axes = None, *, keepdim: Flag = False, dim: Axes = None) -> Self:
        """Return whether some element along `axis` is not zero; False along an empty one."""
        node = self.node.cast(bool_)
        return self._fold(node, ops.OR, axis, dim, keepdim=keepdim, what="any")

    def allclose(
        self, other: Any, rtol: float = 1e-5, atol: float = 1e-8, *, equal_nan: Flag = False
    ) -> Self:
        """Return whether all elements are close, as one bool; see `isclose`."""
        return self.isclose(other, rtol, atol, equal_nan=equal_nan).all()

    def count_nonzero(self, axis: Axes = None, *, dim: Axes = None) -> Self:
        """Return how many elements along `axis` are not zero, as int64."""
        return self.bool().sum(axis, dim=dim)

    # --- exponentials -----------------------------------------------------------------------------

    def logsumexp(self, axis: Axes = None, *, keepdim: Flag = False, dim: Axes = None) -> Self:
        """Return log(sum(exp(x))) along `axis` without overflow; -inf along an empty one."""
        node = self._float()
        axes = check_axes(axis if dim is None else dim, len(node.shape), "logsumexp")
        value = logsumexp_node(node, axes)
        return self._new(finish(value, node.shape, axes, keepdim=keepdim))


def _sum_dtype(dtype: DType, wanted: DTypeLike | None, what: str) -> DType:
    if wanted is None:
        return dtype if dtype.is_float else int64
    result = as_dtype(wanted)
    if result is bool_:
        raise DTypeError(f"{what} has no result of bools; use any() or all()")
    return result


def _check_not_empty(shape: Shape, axes: tuple[int, ...], what: str) -> None:
    for axis in axes:
        if is_exactly(shape[axis], 0):
            raise ShapeError(f"{what} of {shape}: axis {axis} is empty, so there is no {what}")


@written_out
def var_node(x: Node, mean: Node, axes: tuple[int, ...], correction: int) -> Node:
    """Return the sum of squared distances from `mean`, over n - correction (never below 0)."""
    distance = x - tensor.unreduce(mean, x.shape, axes)
    wide = distance.cast(accumulator(x.dtype))
    total = tensor.reduce(wide * wide, ops.ADD, axes)
    return (total / max(count(x.shape, axes) - correction, 0)).cast(x.dtype)


def place_of(x: Node, op: Op, axis: int, what: str) -> Node:
    """Return where along `axis` the extreme (or the first NaN) stands first."""
    _check_not_empty(x.shape, (axis,), what)
    if x.dtype is bool_:
        x = x.cast(uint8)
    n = x.shape[axis]
    extreme = tensor.unreduce(tensor.reduce(x, op, (axis,)), x.shape, (axis,))
    found = x.eq(extreme)
    if x.dtype.kind is Kind.FLOAT:
        found = found | x.ne(x)
    row = tuple([n if i == axis else 1 for i in range(len(x.shape))])
    places = tensor.expand(tensor.reshape(tensor.arange(n), row), x.shape)
    return tensor.reduce(found.where(places, n), ops.MINIMUM, (axis,))


@written_out
def logsumexp_node(x: Node, axes: tuple[int, ...]) -> Node:
    """Return log(sum(exp(x - m))) + m, with m the maximum, or 0 where that is infinite.

    m takes no part in the gradient: it cancels (Blanchard et al. 2021, algorithm 3.2).
    """
    top = tensor.detach(tensor.reduce(x, ops.MAXIMUM, axes))
    top = (top.abs() < float("inf")).where(top, 0)
    shifted = x - tensor.unreduce(top, x.shape, axes)
    return sum_node(shifted.exp(), axes).log() + top
