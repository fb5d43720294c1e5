"""Arrangements that follow from movement: tiles, stacks, rotations, triangles, named axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from math import prod
from typing import Any, Self

import numpy as np

from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.tensor.arguments import as_int, as_ints, check_axis, check_shape, flatten_args
from inkle.tensor.dtypes import DTypeLike
from inkle.tensor.statistics import Statistics

MOST_PLACES = 2**28  # of a matrix whose triangle is listed


class Arranging(Statistics):
    """Mixin of arrangements."""

    __slots__ = ()

    # --- shape ------------------------------------------------------------------------------------

    def ravel(self) -> Self:
        """Return a view with all axes merged into one."""
        return self.flatten()

    def swapaxes(self, axis0: int, axis1: int) -> Self:
        """Return a view with two axes exchanged (another name of `transpose`)."""
        return self.transpose(axis0, axis1)

    swapdims = swapaxes

    def moveaxis(self, source: Any, destination: Any) -> Self:
        """Return a view with axes `source` moved to places `destination`, all others in order.

        Example:
            >>> Tensor.zeros(2, 3, 4).moveaxis((0, 1), (2, 0)).shape
            (3, 4, 2)
        """
        froms, tos = as_ints(source, "axis of moveaxis"), as_ints(destination, "place of moveaxis")
        given = [tuple(check_axis(a, self.ndim, "moveaxis") for a in each) for each in (froms, tos)]
        if len(froms) != len(tos) or any(len(set(each)) < len(each) for each in given):
            raise ShapeError(f"moveaxis needs one place per axis, got {froms} and {tos}")
        order = [axis for axis in range(self.ndim) if axis not in given[0]]
        for place, axis in sorted(zip(given[1], given[0], strict=True)):
            order.insert(place, axis)
        return self.permute(order)

    def view_as(self, other: Any) -> Self:
        """Return the same elements in the shape of `other`."""
        return self.reshape(self._given(other, "view_as").shape)

    reshape_as = view_as

    def expand_as(self, other: Any) -> Self:
        """Return a view with axes of length 1 repeated to the shape of `other`."""
        return self.expand(self._given(other, "expand_as").shape)

    def tile(self, *repeats: Any) -> Self:
        """Return copies of the tensor laid side by side; missing counts in front are 1.

        Example:
            >>> Tensor([[1, 2]]).tile(2).tolist()
            [[1, 2, 1, 2]]
        """
        counts = check_shape(repeats, "tile")
        return self.repeat((1,) * (self.ndim - len(counts)) + counts)

    def rearrange(self, formula: Any, **sizes: int) -> Self:
        """Return the elements with axes named, split, merged and moved (as in einops).

        Args:
            formula: names of the axes before and after "->"; parentheses hold the parts of one
                axis, "..." stands for all others, 1 for an axis of length 1.
            sizes: lengths of parts that do not follow.

        Example:
            >>> Tensor.arange(6).rearrange("(h w) -> w h", h=2).tolist()
            [[0, 3], [1, 4], [2, 5]]
        """
        if not isinstance(formula, str) or formula.count("->") != 1:
            raise OptionError(
                f"rearrange needs a formula such as 'a b -> b a', got {formula!r:.60}"
            )
        left, right = (_groups(side, formula) for side in formula.split("->"))
        dots = self.ndim - len(left) + 1
        if (["..."] in left) != (["..."] in right) or (["..."] not in left and dots != 1):
            raise ShapeError(f"rearrange {formula!r} does not describe {self.ndim} axes")
        more = [[f"_{i}"] for i in range(max(dots, 0))]
        left, right = (_spelled_out(side, more) for side in (left, right))
        if len(left) != self.ndim:
            raise ShapeError(f"rearrange {formula!r} does not describe {self.ndim} axes")
        lengths = {name: as_int(n, f"size of {name}") for name, n in sizes.items()}
        for group, n in zip(left, self.shape, strict=True):
            unknown = [name for name in group if name not in lengths]
            known = prod(lengths[name] for name in group if name in lengths)
            if len(unknown) == 1 and known > 0 and n % known == 0:
                lengths[unknown[0]] = n // known
            elif unknown or known != n:
                raise ShapeError(f"rearrange {formula!r}: an axis of {n} is not {group}, {lengths}")
        before, after = (list(chain.from_iterable(side)) for side in (left, right))
        if sorted(before) != sorted(after) or len(set(before)) < len(before):
            raise ShapeError(f"rearrange {formula!r} needs each name once on both sides")
        split = self.reshape([lengths[name] for name in before])
        moved = split.permute([before.index(name) for name in after])
        return moved.reshape([prod(lengths[name] for name in group) for group in right])

    # --- order ------------------------------------------------------------------------------------

    def fliplr(self) -> Self:
        """Return a view with the second axis reversed."""
        return self.flip(1)

    def flipud(self) -> Self:
        """Return a view with the first axis reversed."""
        return self.flip(0)

    def rot90(self, k: int = 1, dims: Sequence[int] = (0, 1)) -> Self:
        """Return the tensor turned by `k` right angles, from the first of `dims` to the second.

        Example:
            >>> Tensor([[1, 2], [3, 4]]).rot90().tolist()
            [[2, 4], [1, 3]]
        """
        axes = [check_axis(axis, self.ndim, "rot90") for axis in as_ints(dims, "axis of rot90")]
        if len(axes) != 2 or axes[0] == axes[1]:
            raise ShapeError(f"rot90 needs two different axes, got {dims!r:.60}")
        turns = as_int(k, "k of rot90") % 4
        if turns == 2:
            return self.flip(axes)
        if not turns:
            return self
        turned = self.transpose(*axes)
        return turned.flip(axes[0] if turns == 1 else axes[1])

    # --- joining and cutting ----------------------------------------------------------------------

    def concat(self, *others: Any, dim: int = 0) -> Self:
        """Return tensors joined along an existing axis (another name of `cat`)."""
        return self.cat(*others, dim=dim)

    concatenate = concat

    def hstack(self, *others: Any) -> Self:
        """Return tensors joined along the second axis; vectors along the only one.

        Example:
            >>> Tensor.hstack(Tensor([1]), Tensor([2, 3])).tolist()
            [1, 2, 3]
        """
        parts = [each.reshape(1) if not each.ndim else each for each in self._all(others, "hstack")]
        return parts[0].cat(*parts[1:], dim=min(1, parts[0].ndim - 1))

    def vstack(self, *others: Any) -> Self:
        """Return tensors joined along the first axis; vectors count as rows.

        Example:
            >>> Tensor.vstack(Tensor([1, 2]), Tensor([3, 4])).tolist()
            [[1, 2], [3, 4]]
        """
        parts = [each if each.ndim > 1 else each.reshape(1, -1)
                 for each in self._all(others, "vstack")]  # fmt: skip
        return parts[0].cat(*parts[1:], dim=0)

    def column_stack(self, *others: Any) -> Self:
        """Return tensors joined along the second axis; vectors count as columns.

        Example:
            >>> Tensor.column_stack(Tensor([1, 2]), Tensor([3, 4])).tolist()
            [[1, 3], [2, 4]]
        """
        parts = [each if each.ndim > 1 else each.reshape(-1, 1)
                 for each in self._all(others, "column_stack")]  # fmt: skip
        return parts[0].cat(*parts[1:], dim=1)

    def _all(self, others: tuple[Any, ...], what: str) -> list[Self]:
        """Return the tensors given one by one or as one list."""
        parts = list(flatten_args((self, *others)))
        if not parts:
            raise ShapeError(f"{what} needs at least one tensor")
        for each in parts:
            if not isinstance(each, Arranging):
                raise DTypeError(f"{what} needs tensors, got {each!r:.60}")
        return parts

    def tensor_split(self, indices_or_sections: Any, dim: int = 0) -> tuple[Self, ...]:
        """Return views that divide axis `dim` at places, or into a number of parts.

        Args:
            indices_or_sections: places (as in slices), or a number of parts, of which the first may
                be longer by one.
            dim: the axis.

        Example:
            >>> [each.tolist() for each in Tensor([1, 2, 3]).tensor_split(2)]
            [[1, 2], [3]]
        """
        axis = check_axis(dim, self.ndim, "tensor_split")
        n = self.shape[axis]
        if isinstance(indices_or_sections, (tuple, list)):
            places = [slice(place).indices(n)[1] for place in as_ints(indices_or_sections, "place")]
            ends = [0, *places, n]
            lengths = [max(stop - start, 0) for start, stop in pairwise(ends)]
        else:
            parts = as_int(indices_or_sections, "number of parts")
            if not 0 < parts <= max(n, 1) * 2**16:
                raise ShapeError(f"tensor_split needs a number of parts above 0, got {parts}")
            lengths = [n // parts + (i < n % parts) for i in range(parts)]
            ends = [0, *accumulate(lengths)]
        pairs = zip(ends, lengths, strict=False)
        return tuple([self.narrow(axis, start, length) for start, length in pairs])

    # --- diagonals, triangles, grids --------------------------------------------------------------

    def diag_embed(self, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Self:
        """Return matrices whose diagonals are the last axis, in two axes `dim1` and `dim2`.

        Example:
            >>> Tensor([1, 2]).diag_embed().tolist()
            [[1, 0], [0, 2]]
        """
        if not self.ndim:
            raise ShapeError("diag_embed needs an axis, got a number")
        shift, n = as_int(offset, "offset of diag_embed"), self.shape[-1]
        first = check_axis(dim1, self.ndim + 1, "diag_embed")
        second = check_axis(dim2, self.ndim + 1, "diag_embed")
        if first == second:
            raise ShapeError(f"diag_embed needs two different axes, got {dim1} and {dim2}")
        size = check_shape((n + abs(shift),), "diag_embed")[0]
        widths = (max(shift, 0), max(-shift, 0))  # column j of the result holds element j - shift
        row = self.pad(widths).unsqueeze(-2).expand(*self.shape[:-1], size, size)
        i = self.arange(size).reshape(size, 1)
        chosen = (i + shift).eq(self.arange(size))
        return chosen.where(row, 0).cast(self.dtype).moveaxis((-2, -1), (first, second))

    def diagflat(self, offset: int = 0) -> Self:
        """Return the matrix with all elements on its diagonal.

        Example:
            >>> Tensor([[1, 2]]).diagflat(1).tolist()
            [[0, 1, 0], [0, 0, 2], [0, 0, 0]]
        """
        return self.flatten().diag_embed(offset)

    def block_diag(self, *others: Any) -> Self:
        """Return the matrix with matrices on its diagonal and 0 elsewhere.

        Example:
            >>> Tensor.block_diag(Tensor([[1]]), Tensor([[2, 3]])).tolist()
            [[1, 0, 0], [0, 2, 3]]
        """
        parts = [each.reshape((1,) * (2 - each.ndim) + each.shape) if each.ndim < 2 else each
                 for each in self._all(others, "block_diag")]  # fmt: skip
        if any(each.ndim != 2 for each in parts):
            raise ShapeError("block_diag needs matrices: tensors of at most two axes")
        width, start, rows = sum(each.shape[1] for each in parts), 0, []
        for each in parts:
            rows.append(each.pad((start, width - start - each.shape[1])))
            start += each.shape[1]
        return rows[0].cat(*rows[1:], dim=0)

    @classmethod
    def tril_indices(cls, row: int, col: int, offset: int = 0) -> Self:
        """Return the places of the lower triangle of a (row, col) matrix, (2, places), int64.

        Example:
            >>> Tensor.tril_indices(2, 2).tolist()
            [[0, 1, 1], [0, 0, 1]]
        """
        return cls._triangle_indices(row, col, offset, "tril")

    @classmethod
    def triu_indices(cls, row: int, col: int, offset: int = 0) -> Self:
        """Return the places of the upper triangle of a (row, col) matrix, (2, places), int64.

        Example:
            >>> Tensor.triu_indices(2, 2).tolist()
            [[0, 0, 1], [0, 1, 1]]
        """
        return cls._triangle_indices(row, col, offset, "triu")

    @classmethod
    def _triangle_indices(cls, row: int, col: int, offset: int, what: str) -> Self:
        n, m = check_shape((row, col), f"{what}_indices")
        if max(n, 1) * max(m, 1) > MOST_PLACES:
            raise ShapeError(f"{what}_indices of ({n}, {m}): more than {MOST_PLACES} places")
        find = np.tril_indices if what == "tril" else np.triu_indices
        shift = max(-n - 1, min(as_int(offset, "offset"), m + 1))  # beyond that all is in or out
        return cls.from_numpy(np.stack(find(n, shift, m)))

    @classmethod
    def cartesian_prod(cls, *tensors: Any) -> Self:
        """Return all combinations of elements of vectors, one from each, as rows.

        Example:
            >>> Tensor.cartesian_prod(Tensor([1, 2]), Tensor([3, 4])).tolist()
            [[1, 3], [1, 4], [2, 3], [2, 4]]
        """
        grids = cls.meshgrid(*tensors)
        if not grids:
            raise ShapeError("cartesian_prod needs at least one vector")
        columns = [each.reshape(-1) for each in grids]
        if len(columns) == 1:
            return columns[0]
        return columns[0].stack(*columns[1:], dim=1)

    @classmethod
    def logspace(
        cls, start: float, end: float, steps: int, base: float = 10.0,
        dtype: DTypeLike | None = None,
    ) -> Self:  # fmt: skip
        """Return `steps` powers of `base`, whose exponents are `start` ... `end` evenly.

        Example:
            >>> Tensor.logspace(0, 2, 3).tolist()
            [1.0, 10.0, 100.0]
        """
        exponents = cls.linspace(start, end, steps, dtype="float64")
        return (cls.full((), float(base), "float64") ** exponents).cast(dtype or "float32")


def _groups(side: str, formula: str) -> list[list[str]]:
    """Return the names of one side of a formula, in groups of one axis each."""
    if not re.fullmatch(r"\s*(?:(?:\w+|\.\.\.|\(\s*(?:\w+\s*)*\))\s*)*", side):
        raise OptionError(f"rearrange {formula!r}: cannot read {side.strip()!r}")
    found = re.findall(r"\(([^)]*)\)|(\w+|\.\.\.)", side)
    return [[name for name in (inside.split() if not single else [single]) if name != "1"]
            for inside, single in found]  # fmt: skip


def _spelled_out(side: list[list[str]], more: list[list[str]]) -> list[list[str]]:
    """Return groups with those of `more` in place of the dots."""
    if ["..."] not in side:
        return side
    at = side.index(["..."])
    return [*side[:at], *more, *side[at + 1 :]]
