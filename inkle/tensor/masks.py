"""What a bool mask selects: a number of elements that is known when its values are.

Outside of a captured function the mask is computed where it is used, and its places are numbers.
Inside of one the number of elements must be given: `size`. Places are then computed by rank,

    mask  F T T F T        size = 4, fill = -1:  places 1 2 4 -1
    rank -1 0 1 1 2

and what does not fit goes to one more slot that nobody reads.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from inkle.engine.storage import from_array
from inkle.errors import ShapeError, TraceError
from inkle.ir import ops, tensor
from inkle.ir.dtype import bool_, int64
from inkle.ir.elementwise import Scalar
from inkle.ir.node import Node, Shape
from inkle.tensor.arguments import MOST_ELEMENTS, as_int
from inkle.tensor.base import Core
from inkle.tensor.origin import user_line

Array = np.ndarray[Any, Any]


def known(x: Core, what: str) -> Array:
    """Return the values of `x` now, which `what` needs to tell the size of its result.

    Raises:
        TraceError: if they depend on arguments of a captured function.
    """
    try:
        return x._array(what)
    except TraceError as error:
        raise TraceError(
            f"{user_line()}: how many elements {what} gives depends on values that a captured "
            f"function does not have; say how many there are at most, as in x.nonzero(size=n), "
            f"x.masked_select(mask, size=n) or x.unique(size=n), or use mask.where(x, y)"
        ) from error


def is_mask(entry: object) -> bool:
    """Whether an entry of an index is a tensor or an array of bools."""
    return (isinstance(entry, Core) and entry.dtype is bool_) or (
        isinstance(entry, np.ndarray) and entry.dtype.kind == "b"
    )


def mask_node(mask: Any) -> Node:
    """Return a mask as a node."""
    return mask.node if isinstance(mask, Core) else from_array(mask)


def places_now(mask: Any) -> list[Node]:
    """Return, for each axis of a mask, the coordinates of the elements that are true."""
    values = known(mask, "a bool mask as index") if isinstance(mask, Core) else mask
    return [from_array(np.ascontiguousarray(each)) for each in np.nonzero(values)]


def count_now(mask: Any) -> int:
    """Return how many elements of a mask are true."""
    return int(np.count_nonzero(known(mask, "a mask") if isinstance(mask, Core) else mask))


def rank_node(mask: Node) -> Node:
    """Return how many elements up to each one are true, less one: a vector, in row-major order."""
    flat = tensor.reshape(mask, (prod(mask.shape),)).cast(int64)
    return tensor.prefix(flat, ops.ADD, 0) - 1


def pack_node(values: Node, mask: Node, size: int, fill: Scalar) -> Node:
    """Return the elements of the vector `values` where `mask` is true, and `fill` up to `size`."""
    rank = rank_node(mask)
    slot = (mask & (rank < size)).where(rank, size)
    base = tensor.full(fill, values.dtype, (size + 1,))
    return tensor.shrink(tensor.scatter(base, values, [slot], (-1,), None), 0, 0, size)


def nonzero_node(mask: Node, size: int, fill: int) -> list[Node]:
    """Return the first `size` places where `mask` is true, a vector of coordinates per axis."""
    n = prod(mask.shape)
    flat = tensor.reshape(mask, (n,))
    place = pack_node(tensor.arange(n), flat, size, 0)
    count = tensor.reduce(flat.cast(int64), ops.ADD, (0,))
    found = tensor.arange(size) < tensor.broadcast_to(count, (size,))
    out = []
    for length in reversed(mask.shape):
        width = max(length, 1)
        out.append(found.where(place % width, fill))
        place = place // width
    return out[::-1]


def check_size(size: Any, what: str) -> int:
    """Return the number of elements that a result shall have."""
    number = as_int(size, f"size of {what}")
    if not 0 <= number < MOST_ELEMENTS:
        raise ShapeError(f"size of {what} must be 0 to {MOST_ELEMENTS - 1}, got {number}")
    return number


def check_mask(mask: Any, shape: Shape, axis: int) -> None:
    """Raise ShapeError unless a mask that starts at `axis` has the lengths of a tensor's axes."""
    found = tuple(mask.shape)
    if found != shape[axis : axis + len(found)]:
        raise ShapeError(
            f"a mask of {found} at axis {axis} does not fit a tensor of {shape}: it needs "
            f"{shape[axis : axis + len(found)]}"
        )
