"""Writing and reading at computed places of one axis: index_add, index_put, take_along_dim."""

from __future__ import annotations

from typing import Any, Self

from inkle.autodiff.adjoints import scatter_add
from inkle.errors import DTypeError, ShapeError
from inkle.ir import tensor
from inkle.ir.dtype import bool_
from inkle.ir.node import Node
from inkle.tensor.arguments import Flag, as_int, broadcast_shape, check_axis
from inkle.tensor.counting import Counting
from inkle.tensor.indexing import gather_map, parse
from inkle.tensor.views import apply_steps

ALL = slice(None)


class Placing(Counting):
    """Mixin of functions that return a changed copy."""

    __slots__ = ()

    def _put(self, index: tuple[Any, ...], values: Any, what: str, *, accumulate: Flag) -> Self:
        """Return self with `values` assigned (or added) where `index` selects."""
        selection = parse(index, self)
        if not selection.indices:
            raise ShapeError(f"{what} needs an index tensor, got {index!r:.60}")
        target = apply_steps(self.node, selection.steps)
        if target.shape != self.shape:
            raise ShapeError(f"{what} takes index tensors and full slices only, got {index!r:.60}")
        indices, spec = gather_map(target.shape, selection)
        node = self._values(values, indices[0].shape, what)
        if not accumulate:
            return self._new(tensor.scatter(target, node, indices, spec, None))
        if target.dtype is bool_:
            raise DTypeError(f"{what} adds numbers, got bool; convert first: x.int()")
        return self._new(scatter_add(target, node, indices, tuple(spec)))

    def _along(self, dim: int, index: Any, what: str) -> tuple[Any, ...]:
        """Return the index that selects places `index` of axis `dim`."""
        axis = check_axis(dim, self.ndim, what)
        if len(self._index(index, what).shape) > 1:
            raise ShapeError(f"{what} needs a vector of indices, got {index.shape}")
        return (*[ALL] * axis, index.flatten())

    def _source(self, source: Any, dim: int, index: Any, what: str) -> Self:
        """Return `source`, which must have one slice along `dim` for each index."""
        if not isinstance(source, Placing):
            raise DTypeError(f"{what} needs a tensor of values, got {source!r:.60}")
        axis = check_axis(dim, self.ndim, what)
        wanted = (*self.shape[:axis], index.numel(), *self.shape[axis + 1 :])
        if source.shape != wanted:
            raise ShapeError(f"{what}: values of {source.shape}; index and self need {wanted}")
        return source  # type: ignore[return-value]  # tensors are of one class

    def index_add(self, dim: int, index: Any, source: Any, *, alpha: float = 1) -> Self:
        """Return self with slices of `source`, times `alpha`, added at places of axis `dim`.

        Args:
            dim: the axis.
            index: vector of places; equal ones are added up.
            source: tensor like self, as long along `dim` as `index`.
            alpha: factor.

        Example:
            >>> Tensor([1, 2, 3]).index_add(0, Tensor([0, 0]), Tensor([10, 20])).tolist()
            [31, 2, 3]
        """
        at = self._along(dim, index, "index_add")
        values = self._source(source, dim, index, "index_add")
        return self._put(at, values if alpha == 1 else values * alpha, "index_add", accumulate=True)

    def index_copy(self, dim: int, index: Any, source: Any) -> Self:
        """Return self with slices of `source` at places of axis `dim`; see `index_add`.

        Example:
            >>> Tensor([1, 2, 3]).index_copy(0, Tensor([2]), Tensor([9])).tolist()
            [1, 2, 9]
        """
        at = self._along(dim, index, "index_copy")
        values = self._source(source, dim, index, "index_copy")
        return self._put(at, values, "index_copy", accumulate=False)

    def index_fill(self, dim: int, index: Any, value: Any) -> Self:
        """Return self with `value` at the places `index` of axis `dim`.

        Example:
            >>> Tensor([1, 2, 3]).index_fill(0, Tensor([0, 2]), 0).tolist()
            [0, 2, 0]
        """
        at = self._along(dim, index, "index_fill")
        return self._put(at, value, "index_fill", accumulate=False)

    def index_put(self, indices: Any, values: Any, accumulate: Any = False) -> Self:  # noqa: FBT002
        """Return self with `values` where `x[indices]` reads; see `index_add`.

        Args:
            indices: tuple of index tensors or masks, one for each of the first axes.
            values: tensor or number that broadcasts to `x[indices]`.
            accumulate: add them, also several for one place, instead of replacing what is there.

        Example:
            >>> i = Tensor([0, 0])
            >>> Tensor([1, 2]).index_put((i,), Tensor([5, 6]), accumulate=True).tolist()
            [12, 2]
        """
        if not isinstance(indices, (tuple, list)):
            raise DTypeError(f"index_put needs a tuple of index tensors, got {indices!r:.60}")
        return self._put(tuple(indices), values, "index_put", accumulate=bool(accumulate))

    def take_along_dim(self, indices: Any, dim: int | None = None) -> Self:
        """Return elements of axis `dim` at places that `argsort` or `argmax` found.

        Args:
            indices: integer tensor; all axes but `dim` broadcast with those of self.
            dim: the axis; None: both are flattened first.

        Example:
            >>> x = Tensor([[3, 1, 2]])
            >>> x.take_along_dim(x.argsort(1), 1).tolist()
            [[1, 2, 3]]
        """
        places = self._index(indices, "take_along_dim")
        if dim is None:
            return self.flatten().gather(0, indices.flatten())
        axis = check_axis(dim, self.ndim, "take_along_dim")
        if len(places.shape) != self.ndim:
            raise ShapeError(f"take_along_dim: {self.shape} and {places.shape} differ in rank")
        ours, theirs = list(self.shape), list(places.shape)
        ours[axis] = theirs[axis] = 1
        common = list(broadcast_shape(tuple(ours), tuple(theirs), "take_along_dim"))
        common[axis] = self.shape[axis]
        wide = self.broadcast_to(tuple(common))
        common[axis] = places.shape[axis]
        return wide.gather(axis, indices.broadcast_to(tuple(common)))

    def select(self, dim: int, index: int) -> Self:
        """Return a view of place `index` of axis `dim`, without that axis.

        Example:
            >>> Tensor([[1, 2], [3, 4]]).select(1, 0).tolist()
            [1, 3]
        """
        axis = check_axis(dim, self.ndim, "select")
        return self[(*[ALL] * axis, as_int(index, "index of select"))]

    def select_scatter(self, src: Any, dim: int, index: int) -> Self:
        """Return self with `src` in place of `select(dim, index)`.

        Example:
            >>> Tensor([[1, 2], [3, 4]]).select_scatter(Tensor([7, 8]), 0, 1).tolist()
            [[1, 2], [7, 8]]
        """
        axis = check_axis(dim, self.ndim, "select_scatter")
        return self._with((*[ALL] * axis, as_int(index, "index of select_scatter")), src)

    def slice_scatter(
        self, src: Any, dim: int = 0, start: int | None = None, end: int | None = None,
        step: int = 1,
    ) -> Self:  # fmt: skip
        """Return self with `src` in place of elements start:end:step of axis `dim`.

        Example:
            >>> Tensor([1, 2, 3]).slice_scatter(Tensor([7, 8]), start=1).tolist()
            [1, 7, 8]
        """
        axis = check_axis(dim, self.ndim, "slice_scatter")
        return self._with((*[ALL] * axis, slice(start, end, step)), src)

    def _with(self, index: tuple[Any, ...], values: Any) -> Self:
        """Return a copy to which `values` are assigned."""
        copy = self._new(self.node)
        copy[index] = values
        return copy

    def isin(self, test_elements: Any, *, invert: Flag = False) -> Self:
        """Return where elements are among `test_elements`.

        Args:
            test_elements: tensor; each of its elements counts.
            invert: return where they are not.

        Example:
            >>> Tensor([1, 2, 3]).isin(Tensor([3, 1])).tolist()
            [True, False, True]
        """
        if not isinstance(test_elements, Placing):
            raise DTypeError(f"isin needs a tensor, got {test_elements!r:.60}")
        a, b = self._factors(test_elements, "isin")
        flat = self._new(tensor.reshape(b, (test_elements.flatten().shape[0],)))
        x = self._new(a)
        if flat.shape[0] <= MOST_COMPARED:
            found = x.unsqueeze(-1).eq(flat).any(-1)
        else:
            order = flat.sort()[0]
            place = order.searchsorted(x).clamp(max=flat.shape[0] - 1)
            found = order[place].eq(x)
        return ~found if invert else found

    def searchsorted(self, values: Any, *, right: Flag = False) -> Self:
        """Return where `values` would go in self, which is sorted along its last axis.

        Args:
            values: tensor or number. If self has more axes than one, those in front must be equal.
            right: behind elements that are equal, instead of before them.

        Returns:
            int64 like `values`: how many elements come before each; NaN comes last.

        Example:
            >>> Tensor([1, 3, 5]).searchsorted(Tensor([3, 6])).tolist()
            [1, 3]
        """
        if not self.shape:
            raise ShapeError("searchsorted needs a sorted axis, got a number")
        given: Any = values if isinstance(values, Placing) else self.full((), values)
        a, b = self._factors(given, "searchsorted")
        if len(a.shape) > 1 and (len(b.shape) != len(a.shape) or a.shape[:-1] != b.shape[:-1]):
            raise ShapeError(f"searchsorted of {b.shape} in {a.shape}: leading axes must be equal")
        return self._new(_search(a, b, right=right))

    def bucketize(self, boundaries: Any, *, right: Flag = False) -> Self:
        """Return the number of the interval between sorted `boundaries` in which elements lie.

        Args:
            boundaries: sorted vector.
            right: elements equal to a boundary belong to the interval above it.

        Example:
            >>> Tensor([1, 4, 9]).bucketize(Tensor([2, 4])).tolist()
            [0, 1, 2]
        """
        if not isinstance(boundaries, Placing) or boundaries.ndim != 1:
            raise DTypeError(f"bucketize needs a vector of boundaries, got {boundaries!r:.60}")
        return self._new(boundaries.searchsorted(self, right=right).node)


MOST_COMPARED = 64  # above it sorting is quicker than comparing each with each


def _search(a: Node, b: Node, *, right: bool) -> Node:
    """Return how many elements of the sorted last axis of `a` come before each of `b`.

    One bit of the answer at a time, the highest first: it takes log2(n) reads for each element.
    """
    n, last = a.shape[-1], len(a.shape) - 1
    low = tensor.full(0, tensor.arange(1).dtype, b.shape)
    if not n or 0 in b.shape:
        return low
    step = 1 << (n.bit_length() - 1)
    spec = [*range(last), -1]
    while step:
        probe = low + step
        inside = probe <= n
        at = inside.where(probe - 1, 0).minimum(n - 1).maximum(0)
        there = tensor.gather(a, [at], spec)
        after = b < there if right else b <= there  # False beside NaN, which comes last
        low = (inside & ~after).where(probe, low)
        step //= 2
    return low
