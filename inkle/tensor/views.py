"""Views: how a tensor was cut out of another one, and how a write to it reaches that one.

A view remembers the storage that it was taken from (the base), the base's value at that time (the
version), and the movement steps in between. A write goes back through the steps and becomes one
UPDATE of the base wherever the steps allow it:

    cache.permute(1, 0)[2:4].assign(v)  ->  cache := UPDATE(cache, permute(v), [:, 2:4])
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from inkle.engine.storage import Storage, realized
from inkle.engine.trace import current_trace
from inkle.errors import MutationError, TraceError
from inkle.ir import forms, tensor
from inkle.ir.node import Node, Shape
from inkle.ir.op import Op
from inkle.ir.size import count, most
from inkle.ir.tensor import Slice

Step = tuple[Op, object]  # a movement operation and its `arg`
Region = tuple[Slice, ...]

# The line that last wrote to a storage, for messages.
written_at: weakref.WeakKeyDictionary[Storage, str] = weakref.WeakKeyDictionary()


class View:
    """Where a tensor was cut out of.

    Attributes:
        base: the storage that a write must reach.
        version: the value of the base's storage when the view was taken.
        source: the node that stood for it (with its way back to leaves, for gradients).
        steps: movement operations from the base's value to the view's.
        line: the user's line that took the view.
    """

    __slots__ = ("base", "version", "source", "steps", "line")  # one per view: kept cheap to make

    def __init__(
        self, base: Storage, version: Node, source: Node, steps: tuple[Step, ...], line: str
    ) -> None:
        self.base, self.version, self.source = base, version, source
        self.steps, self.line = steps, line

    def check_current(self, line: str) -> None:
        """Raise MutationError if the base has been written to since the view was taken."""
        now = self.base.current
        if now is self.version or now is realized(self.version):
            return  # realising a storage changes its node, not its value
        if current_trace() is not None and self.base.outside in (
            self.version, realized(self.version)
        ):  # fmt: skip
            raise TraceError(
                f"{line}: a captured function writes through a view that was taken outside of it, "
                f"at {self.line}; take the view inside, of a tensor of shape {now.shape}"
            )
        where = written_at.get(self.base, "a captured function")
        raise MutationError(
            f"{line}: write through a view of {now.shape} taken at {self.line}, but "
            f"the tensor it views was changed at {where}; take the view again after that change"
        )


def apply_step(x: Node, step: Step) -> Node:
    """Return `x` moved by one step."""
    op, arg = step
    return _BUILD[op](x, arg)


def apply_steps(x: Node, steps: tuple[Step, ...]) -> Node:
    """Return `x` moved by all steps."""
    for step in steps:
        x = apply_step(x, step)
    return x


_BUILD: dict[Op, Callable[[Node, Any], Node]] = {
    forms.RESHAPE: tensor.reshape,
    forms.PERMUTE: tensor.permute,
    forms.EXPAND: tensor.expand,
    forms.SLICE: tensor.slice_,
    forms.FLIP: tensor.flip,
    forms.DETACH: lambda x, _: tensor.detach(x),
}


def write_back(base: Node, steps: tuple[Step, ...], values: Node) -> Node:
    """Return `base` with what the view `steps` shows of it replaced by `values`.

    Raises:
        MutationError: if the view shows elements of the base more than once.
    """
    nodes = [base]
    for step in steps:
        nodes.append(apply_step(nodes[-1], step))
    region: Region | None = None  # of the view after the steps still to undo; None: all of it
    for (op, arg), before, after in zip(
        reversed(steps), reversed(nodes[:-1]), reversed(nodes[1:]), strict=True
    ):
        if after is before or op is forms.DETACH:
            continue
        if op is forms.EXPAND:
            raise MutationError(
                f"cannot write through an expanded view {after.shape} of {before.shape}: several "
                f"places would be one element; write to a copy, x.expand(...).clone()"
            )
        if (
            op is forms.RESHAPE
            and region is not None
            and _ones_moved(region, before, after) is None
        ):
            values, region = tensor.update(after, values, region), None
        values, region = _undo(op, arg, before, after, values, region)
    return values if region is None else tensor.update(base, values, region)


def _undo(
    op: Op, arg: object, before: Node, after: Node, values: Node, region: Region | None
) -> tuple[Node, Region | None]:
    """Turn a write to `region` of `after` into a write to a region of `before`."""
    if op is forms.RESHAPE:
        if region is None:
            return tensor.reshape(values, before.shape), None
        moved = _ones_moved(region, before, after)
        assert moved is not None, f"{after.shape} of {before.shape}"
        return tensor.reshape(values, _lengths(moved)), moved
    if op is forms.PERMUTE:
        assert isinstance(arg, tuple)
        inverse = sorted(range(len(arg)), key=arg.__getitem__)
        back = None if region is None else tuple([region[axis] for axis in inverse])
        return tensor.permute(values, inverse), back
    if op is forms.FLIP:
        assert isinstance(arg, tuple)
        flipped = tensor.flip(values, arg)
        if region is None:
            return flipped, None
        return flipped, tuple(
            [_mirror(each, n) if i in arg else each
             for i, (each, n) in enumerate(zip(region, before.shape, strict=True))]
        )  # fmt: skip
    assert op is forms.SLICE, op
    assert isinstance(arg, tuple), arg
    inner = region or tuple([(0, n, 1) for n in after.shape])
    return values, tuple([_compose(a, b) for a, b in zip(arg, inner, strict=True)])


def _lengths(region: Region) -> Shape:
    return tuple([count(*each) for each in region])


def _exact(start: int, length: int, step: int) -> Slice:
    """Return the range with `length` elements in the one spelling of `tensor.slice_`."""
    if not most(length):
        return (0, 0, 1)
    return (start, start + (length - 1) * step + 1, step if most(length) > 1 else 1)


def _mirror(each: Slice, n: int) -> Slice:
    """Return the range that covers, counted from the other end of an axis of n, the same places."""
    start, _, step = each
    length = count(*each)
    return _exact(n - 1 - (start + (length - 1) * step), length, step)


def _compose(outer: Slice, inner: Slice) -> Slice:
    """Return the range of an axis that `inner` takes of what `outer` takes of it."""
    length = count(*inner)
    return _exact(outer[0] + inner[0] * outer[2], length, outer[2] * inner[2])


def _ones_moved(region: Region, before: Node, after: Node) -> Region | None:
    """Return `region` of `after` as one of `before` if the two differ in axes of length 1 only."""
    kept = [each for each, n in zip(region, after.shape, strict=True) if n != 1]
    if [n for n in before.shape if n != 1] != [n for n in after.shape if n != 1]:
        return None
    rest = iter(kept)
    return tuple([(0, 1, 1) if n == 1 else next(rest) for n in before.shape])
