"""Results whose size depends on values: nonzero, masked_select, unique.

Without `size` the tensor is computed at once, to count. With `size` the result has that many
elements whatever the values are, which works inside of captured functions, too: what is missing is
filled, what is too much is left out.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from inkle.engine.storage import from_array
from inkle.errors import DTypeError, OptionError
from inkle.ir import ops, tensor
from inkle.ir.dtype import DType, bfloat16, bool_, float32, int64
from inkle.ir.elementwise import Scalar
from inkle.ir.node import Node
from inkle.tensor.arguments import Flag, as_int, as_number, broadcast_shape, check_axis
from inkle.tensor.base import meet_scalar
from inkle.tensor.masks import check_size, known, nonzero_node, pack_node, places_now
from inkle.tensor.selecting import Selecting
from inkle.tensor.sorting import argsort_node


class Counting(Selecting):
    """Mixin of results whose size depends on values."""

    __slots__ = ()

    def nonzero(
        self, size: int | None = None, fill_value: int = 0, *, as_tuple: Flag = False
    ) -> Any:
        """Return where elements are not zero, in row-major order.

        Args:
            size: number of places; None: as many as there are, which are computed now.
            fill_value: coordinate of what is missing up to `size`.
            as_tuple: one vector of coordinates per axis, instead of one row per element.

        Returns:
            int64 (elements, axes), or a tuple of vectors.

        Raises:
            TraceError: inside of a captured function, without `size`.

        Example:
            >>> Tensor([[0, 1], [2, 0]]).nonzero().tolist()
            [[0, 1], [1, 0]]
            >>> Tensor([0, 3, 0]).nonzero(size=2, fill_value=-1).tolist()
            [[1], [-1]]
        """
        mask = (self if self.shape else self.reshape(1)).bool()
        fill = as_int(fill_value, "fill_value of nonzero")
        if size is None:
            vectors = places_now(mask)
        else:
            vectors = nonzero_node(mask.node, check_size(size, "nonzero"), fill)
        if as_tuple:
            return tuple([self._new(each) for each in vectors])
        rows = [tensor.reshape(each, (*each.shape, 1)) for each in vectors]
        return self._new(tensor.shrink(tensor.cat(rows, 1), 1, 0, self.ndim))

    def nonzero_static(self, *, size: int, fill_value: int = -1) -> Self:
        """Return the first `size` rows of `nonzero`; what is missing is `fill_value`."""
        found: Self = self.nonzero(size, fill_value)
        return found

    def argwhere(self, size: int | None = None, fill_value: int = 0) -> Self:
        """Return where elements are not zero (another name of `nonzero`)."""
        found: Self = self.nonzero(size, fill_value)
        return found

    def masked_select(self, mask: Any, size: int | None = None, fill_value: Scalar = 0) -> Self:
        """Return the elements where `mask` is true, as a vector; the two broadcast.

        Args:
            mask: bool tensor.
            size: length of the result; None: as many as there are, which are computed now.
            fill_value: element that is missing up to `size`.

        Returns:
            Vector of the dtype of self; gradients flow to the elements that were selected.

        Raises:
            TraceError: inside of a captured function, without `size`.

        Example:
            >>> x = Tensor([1.0, -2.0, 3.0])
            >>> x.masked_select(x > 0).tolist()
            [1.0, 3.0]
            >>> x.masked_select(x > 0, size=3).tolist()
            [1.0, 3.0, 0.0]
        """
        if not isinstance(mask, Counting) or mask.dtype is not bool_:
            raise DTypeError(f"masked_select needs a bool tensor as mask, got {mask!r:.60}")
        shape = broadcast_shape(self.shape, mask.shape, "masked_select")
        x, chosen = self.broadcast_to(shape).flatten(), mask.broadcast_to(shape).flatten()
        if size is None:
            return x[chosen]
        check_fill(self.dtype, fill_value, "masked_select")
        length = check_size(size, "masked_select")
        return self._new(pack_node(x.node, chosen.node, length, fill_value))

    def masked_scatter(self, mask: Any, source: Any) -> Self:
        """Return self with the first elements of `source`, in order, where `mask` is true."""
        if not isinstance(mask, Counting) or not isinstance(source, Counting):
            raise DTypeError(f"masked_scatter needs two tensors, got {mask!r:.30}, {source!r:.30}")
        shape = broadcast_shape(self.shape, mask.shape, "masked_scatter")
        chosen = mask.broadcast_to(shape)
        rank = chosen.flatten().long().cumsum(0).reshape(shape) - 1
        (n,) = source.flatten().shape
        if not n:
            return self.broadcast_to(shape)
        values = source.flatten()[rank.clamp(0, n - 1)]
        return self._new(chosen.where(values, self).node)

    def unique(
        self,
        size: int | None = None,
        fill_value: Scalar = 0,
        *,
        sorted: Flag = True,  # noqa: A002  (PyTorch's name)
        return_inverse: Flag = False,
        return_counts: Flag = False,
        dim: int | None = None,
    ) -> Any:
        """Return the different elements, in ascending order; each NaN is one of its own.

        Args:
            size: number of elements; None: as many as there are, which are computed now.
            fill_value: element that is missing up to `size` (its count is 0).
            sorted: PyTorch's option; they are sorted in any case.
            return_inverse: also where each element of self is found in the result.
            return_counts: also how often each occurs.
            dim: compare the slices along this axis, not elements; not together with `size`.

        Returns:
            A vector (or slices along `dim`), or a tuple: the elements, the inverse, the counts.

        Raises:
            TraceError: inside of a captured function, without `size`.

        Example:
            >>> Tensor([3, 1, 3]).unique(return_counts=True)[1].tolist()
            [1, 2]
            >>> Tensor([3, 1, 3]).unique(size=3).tolist()
            [1, 3, 0]
        """
        if size is None:
            parts = self._unique_now(dim)
        elif dim is not None:
            raise OptionError("unique takes a size or a dim, not both")
        else:
            check_fill(self.dtype, fill_value, "unique")
            parts = unique_node(self.flatten().node, check_size(size, "unique"), fill_value)
            parts[1] = tensor.reshape(parts[1], self.shape)
        wanted = (True, return_inverse, return_counts)
        found = [self._new(part) for part, want in zip(parts, wanted, strict=True) if want]
        return found[0] if len(found) == 1 else tuple(found)

    def _unique_now(self, dim: int | None) -> list[Node]:
        """Return the unique elements of the values that this tensor has, inverse and counts."""
        axis = None if dim is None else check_axis(dim, self.ndim, "unique")
        plain = self.cast(float32) if self.dtype is bfloat16 else self
        values, inverse, counts = np.unique(
            known(plain, "unique"),
            return_inverse=True,
            return_counts=True,
            axis=axis,
            equal_nan=False,
        )
        shape = self.shape if axis is None else (self.shape[axis],)
        arrays = (values, inverse.reshape(shape).astype(np.int64), counts.astype(np.int64))
        first, *others = [from_array(np.array(each, order="C")) for each in arrays]
        return [first.cast(self.dtype), *others]

    def unique_consecutive(
        self, size: int | None = None, *, return_inverse: Flag = False, return_counts: Flag = False
    ) -> Any:
        """Return the elements of the flattened tensor that differ from the one before.

        Arguments and results are those of `unique`.

        Example:
            >>> Tensor([1, 1, 2, 1]).unique_consecutive().tolist()
            [1, 2, 1]
        """
        flat = self.flatten()
        starts = self._new(_starts(flat.node))
        inverse = starts.long().cumsum(0) - 1
        values = flat.masked_select(starts, size)
        number = values.shape[0]
        parts = [values, inverse.reshape(self.shape)]
        if return_counts:
            kept = inverse if size is None else inverse.clamp(max=number)
            base = self.full(number + 1, 0, int64)
            parts.append(base.scatter_add(0, kept, self.full(flat.shape, 1, int64))[:number])
        if not return_inverse:
            del parts[1]
        return parts[0] if len(parts) == 1 else tuple(parts)


def check_fill(dtype: DType, value: Scalar, what: str) -> None:
    """Raise DTypeError unless a tensor of `dtype` can hold `value`."""
    if meet_scalar(dtype, as_number(value, f"fill_value of {what}")) is not dtype:
        raise DTypeError(f"{what}: {value!r} does not fit {dtype}")


def _starts(x: Node) -> Node:
    """Return where an element of a vector differs from the one before it."""
    n = x.shape[0]
    first = tensor.full(True, bool_, (min(n, 1),))
    if n <= 1:
        return first
    return tensor.cat([first, tensor.shrink(x, 0, 1, n).ne(tensor.shrink(x, 0, 0, n - 1))], 0)


def unique_node(x: Node, size: int, fill: Scalar) -> list[Node]:
    """Return the first `size` unique elements of a vector, each element's place, and counts.

    The place of an element that is left out is `size`.
    """
    n = x.shape[0]
    if not n:
        return [tensor.full(fill, x.dtype, (size,)), tensor.full(0, int64, (0,)),
                tensor.full(0, int64, (size,))]  # fmt: skip
    order = tensor.contiguous(argsort_node(x, descending=False))
    ordered = tensor.gather(x, [order], (-1,))
    starts = _starts(ordered)
    rank = (tensor.prefix(starts.cast(int64), ops.ADD, 0) - 1).minimum(size)
    blank = tensor.full(0, int64, (size + 1,))
    ones = tensor.full(1, int64, (n,))
    counts = tensor.scatter(blank, ones, [rank], (-1,), ops.ADD)
    places = tensor.scatter(tensor.full(0, int64, (n,)), rank, [order], (-1,), None)
    return [pack_node(ordered, starts, size, fill), places, tensor.shrink(counts, 0, 0, size)]
