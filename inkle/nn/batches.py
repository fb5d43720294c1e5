"""Cutting arrays into batches, in order or shuffled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkle.errors import OptionError, ShapeError
from inkle.tensor.arguments import as_int

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Batches:
    """One pass over some arrays, made by `batches`; a second pass takes the same order."""

    arrays: tuple[Array, ...]
    size: int
    order: NDArray[np.intp] | None
    drop_last: bool

    def __len__(self) -> int:
        rows = len(self.arrays[0])
        return rows // self.size if self.drop_last else -(-rows // self.size)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        for start in range(0, len(self) * self.size, self.size):
            rows = slice(start, start + self.size)
            chosen = rows if self.order is None else self.order[rows]
            yield tuple(array[chosen] for array in self.arrays)


def batches(
    arrays: Sequence[Array],
    size: int,
    *,
    shuffle: bool = False,
    seed: int | Sequence[int] = 0,
    drop_last: bool = False,
) -> Batches:
    """Cut arrays along their first axis into batches; the same rows of each go together.

    Args:
        arrays: one or more arrays, each of shape (n, ...).
        size: rows of a batch, at least 1.
        shuffle: take the rows in a random order, each once.
        seed: chooses that order; give each epoch its own. The same seed and release of NumPy give
            the same order.
        drop_last: leave out the last batch if it has fewer rows.

    Returns:
        A sized iterable of tuples, one array each; without `shuffle` they are views of `arrays`.

    Raises:
        ShapeError: if there are no arrays, they differ in their number of rows, or `size` < 1.
        OptionError: if NumPy takes no such seed.

    Example:
        >>> for image, label in batches((images, labels), 512, shuffle=True, seed=epoch):
        ...     step(image, label)
    """
    if as_int(size, "size of a batch") < 1:
        raise ShapeError(f"size of a batch must be at least 1, got {size}")
    if not arrays:
        raise ShapeError("batches needs at least one array")
    shapes = [array.shape for array in arrays]
    if not all(shapes) or len({shape[0] for shape in shapes}) != 1:
        raise ShapeError(f"arrays must agree in their number of rows, got shapes {shapes}")
    order = _order(shapes[0][0], seed) if shuffle else None
    return Batches(tuple(arrays), size, order, drop_last)


def _order(rows: int, seed: int | Sequence[int]) -> NDArray[np.intp]:
    try:
        return np.random.default_rng(seed).permutation(rows)
    except (TypeError, ValueError):
        raise OptionError(f"a seed is an integer >= 0, or several, got {seed!r:.60}") from None
