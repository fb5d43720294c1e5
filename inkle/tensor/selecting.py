"""Reading and writing at computed places: gather, scatter, embedding, one-hot, sorting.

Negative indices wrap once. Where an index that is only known at run time lies outside its axis,
reads give 0 and writes are dropped; in checked mode (INKLE_CHECK=1) that is an error.
"""

from __future__ import annotations

from typing import Any, Self

from inkle.autodiff.adjoints import scatter_add
from inkle.errors import DTypeError, ShapeError
from inkle.ir import ops, tensor
from inkle.ir.dtype import bool_, int64
from inkle.ir.node import Node, const
from inkle.ir.op import Op
from inkle.tensor.arguments import Flag, as_int, check_axis, check_choice
from inkle.tensor.base import meet_scalar
from inkle.tensor.creation import check_fits
from inkle.tensor.dtypes import DTypeLike, as_dtype
from inkle.tensor.gradients import Gradients
from inkle.tensor.sorting import argsort_node
from inkle.tensor.written_out import written_out

COMBINE = {"add": ops.ADD, "sum": ops.ADD, "multiply": ops.MUL, "prod": ops.MUL,
           "amax": ops.MAXIMUM, "amin": ops.MINIMUM}  # fmt: skip


class Selecting(Gradients):
    """Mixin of gather, scatter and sorting."""

    __slots__ = ()

    def _index(self, index: Any, what: str) -> Node:
        node = self._operand(index, what)
        if not isinstance(node, Node) or not node.dtype.is_integer:
            found = node.dtype if isinstance(node, Node) else repr(index)
            raise DTypeError(f"{what} needs an integer tensor as index, got {found}")
        return node

    def gather(self, dim: int, index: Any) -> Self:
        """Return out[i][j][k] = x[index[i][j][k]][j][k] (for dim 0, and so on).

        Args:
            dim: the axis that `index` selects from.
            index: integer tensor of as many axes; along axes other than `dim` not longer than self.

        Returns:
            Tensor of the shape of `index`.
        """
        x = self.node
        axis, places = self._place_map(x, dim, self._index(index, "gather"), "gather")
        spec = [-1 if i == axis else i for i in range(len(x.shape))]
        return self._new(tensor.gather(x, [places], spec))

    def _place_map(self, x: Node, dim: int, places: Node, what: str) -> tuple[int, Node]:
        axis = check_axis(dim, len(x.shape), what)
        fits = len(places.shape) == len(x.shape) and all(
            i == axis or m <= n for i, (m, n) in enumerate(zip(places.shape, x.shape, strict=True))
        )
        if not fits:
            raise ShapeError(
                f"{what} along axis {axis}: an index of {places.shape} does not fit {x.shape}; it "
                f"needs as many axes, not longer except along axis {axis}"
            )
        return axis, places

    def scatter(self, dim: int, index: Any, src: Any, reduce: str | None = None) -> Self:
        """Return self with out[index[i][j][k]][j][k] = src[i][j][k] (for dim 0, and so on).

        Args:
            dim: the axis that `index` selects from.
            index: integer tensor of as many axes as self.
            src: number, or tensor at least as long as `index` along each axis.
            reduce: "add" or "multiply" combine with what is there; None: the last one wins.

        Returns:
            Tensor of the shape of self.
        """
        combine = None
        if reduce is not None:
            combine = COMBINE[check_choice(reduce, ("add", "multiply"), "reduce")]
        return self._scattered(dim, index, src, combine, "scatter")

    def scatter_add(self, dim: int, index: Any, src: Any) -> Self:
        """Return self with `src` added at the places of `index`; see `scatter`."""
        return self._scattered(dim, index, src, ops.ADD, "scatter_add")

    def scatter_reduce(
        self, dim: int, index: Any, src: Any, reduce: str, *, include_self: Flag = True
    ) -> Self:
        """Return self combined with `src` at the places of `index`; see `scatter`.

        Args:
            dim: the axis that `index` selects from.
            index: integer tensor of as many axes as self.
            src: tensor at least as long as `index` along each axis.
            reduce: "sum", "prod", "mean", "amax" or "amin".
            include_self: whether the element of self takes part.

        Returns:
            Tensor of the shape of self.
        """
        check_choice(reduce, ("sum", "prod", "mean", "amax", "amin"), "reduce")
        op = COMBINE["sum" if reduce == "mean" else reduce]
        start = self
        if not include_self:  # whatever is hit starts from the identity
            assert op.identity is not None, op
            start = self._scattered(dim, index, op.identity(self.dtype), None, "scatter_reduce")
        result = start._scattered(dim, index, src, op, "scatter_reduce")
        if reduce != "mean":
            return result
        base = self.full(self.shape, 1, self.dtype)
        if not include_self:
            base = base._scattered(dim, index, 0, None, "scatter_reduce")
        hits = base._scattered(dim, index, 1, ops.ADD, "scatter_reduce").clamp(min=1)
        return result / hits if self.dtype.is_float else result // hits

    def _scattered(self, dim: int, index: Any, src: Any, combine: Op | None, what: str) -> Self:
        x = self.node
        axis, places = self._place_map(x, dim, self._index(index, what), what)
        given = self._operand(src, what)
        if isinstance(given, Node):
            if given.dtype is not x.dtype:
                raise DTypeError(
                    f"{what}: values are {given.dtype}, the target is {x.dtype}; cast one"
                )
            if len(given.shape) != len(places.shape) or any(
                n < m for n, m in zip(given.shape, places.shape, strict=True)
            ):
                raise ShapeError(
                    f"{what}: values {given.shape} are smaller than index {places.shape}"
                )
            values = tensor.slice_(given, [(0, m, 1) for m in places.shape])
        else:
            if meet_scalar(x.dtype, given) is not x.dtype:
                raise DTypeError(f"{what}: {given!r} does not fit {x.dtype}; cast the tensor first")
            values = tensor.full(given, x.dtype, places.shape)
        if x.dtype is bool_ and combine is not None:
            raise DTypeError(f"{what} combines numbers, got bool; convert first: x.int()")
        spec = tuple([-1 if i == axis else i for i in range(len(x.shape))])
        if combine is ops.ADD:
            return self._new(scatter_add(x, values, [places], spec))
        return self._new(tensor.scatter(x, values, [places], spec, combine))

    def index_select(self, dim: int, index: Any) -> Self:
        """Return the elements of axis `dim` at the places of a vector `index`."""
        places = self._index(index, "index_select")
        axis = check_axis(dim, self.ndim, "index_select")
        if len(places.shape) > 1:
            raise ShapeError(f"index_select needs a vector of indices, got {places.shape}")
        return self[(slice(None),) * axis + (index,)]

    def take(self, index: Any) -> Self:
        """Return the elements of the flattened tensor at the places of `index`."""
        self._index(index, "take")
        return self.flatten()[index]

    def one_hot(self, num_classes: int) -> Self:
        """Return int64 rows that are 1 at the class and 0 elsewhere; a new last axis of classes.

        A class outside 0 ... num_classes - 1 gives a row of zeros.
        """
        n = as_int(num_classes, "num_classes")
        return self._new(one_hot_node(self._index(self, "one_hot"), n).cast(int64))

    def embedding(self, weight: Any) -> Self:
        """Return row self[i] of the table `weight`, (rows, width), for each element."""
        if not isinstance(weight, Selecting) or weight.ndim != 2:
            raise ShapeError(f"embedding needs a table of two axes, got {weight!r:.60}")
        self._index(self, "embedding")
        return self._new(weight[self].node)

    @classmethod
    def randperm(cls, n: int, dtype: DTypeLike | None = None, device: str | None = None) -> Self:
        """Return 0 ... n - 1 in random order, int64 by default."""
        result = int64 if dtype is None else as_dtype(dtype)
        places = cls.randint(n, low=-(2**62), high=2**62).argsort().node
        if n and not result.is_float:
            check_fits((n - 1,), result, "randperm")
        return cls._created(places.cast(result), device)

    # --- order ------------------------------------------------------------------------------------

    def argsort(self, dim: int = -1, *, descending: Flag = False, stable: Flag = True) -> Self:
        """Return the int64 places of the elements in order along `dim`.

        Equal elements keep their order; NaN comes last (first if `descending`).
        """
        return self._new(self._order(dim, descending=descending))

    def sort(
        self, dim: int = -1, *, descending: Flag = False, stable: Flag = True
    ) -> tuple[Self, Self]:
        """Return the elements in order along `dim`, and their places; see `argsort`.

        `stable` is PyTorch's option: equal elements keep their order in any case.
        """
        places = self._new(self._order(dim, descending=descending))
        return self.gather(dim, places) if self.shape else self + 0, places

    def _order(self, dim: int, *, descending: Flag, first: int | None = None) -> Node:
        x = self.node
        if not x.shape:
            check_axis(dim, 1, "sort")
            return const(0, int64)
        axis = check_axis(dim, len(x.shape), "sort")
        order = [*[i for i in range(len(x.shape)) if i != axis], axis]
        places = argsort_node(tensor.permute(x, order), descending=descending, first=first)
        return tensor.permute(places, sorted(range(len(order)), key=order.__getitem__))

    def topk(
        self,
        k: int,
        dim: int = -1,
        *,
        largest: Flag = True,
        sorted: Flag = True,  # noqa: A002  (PyTorch's name)
    ) -> tuple[Self, Self]:
        """Return the `k` largest (or smallest) elements along `dim`, in order, and their places.

        `sorted` is PyTorch's option: they are in order in any case.
        """
        axis = check_axis(dim, self.ndim, "topk")
        if not 0 <= as_int(k, "k of topk") <= self.shape[axis]:
            raise ShapeError(f"topk: axis {axis} of {self.shape} has no {k} elements")
        places = self._new(self._order(axis, descending=largest, first=as_int(k, "k of topk")))
        return self.gather(axis, places), places


@written_out
def one_hot_node(index: Node, classes: int) -> Node:
    """Return where each class equals the index: bool, a new last axis."""
    if classes < 0:
        raise ShapeError(f"one_hot needs num_classes >= 0, got {classes}")
    shape = (*index.shape, classes)
    left = tensor.expand(tensor.reshape(index, (*index.shape, 1)), shape)
    right = tensor.broadcast_to(tensor.arange(classes, index.dtype), shape)
    return left.eq(right)
