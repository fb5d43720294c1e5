"""Loops over time: a step that is written once, traced once, and repeated by the compiled program.

    h = inkle.fold(lambda h, x: (x @ w + h @ u).tanh(), h0, xs)

is a loop of kernels, whatever the length of xs; gradients are another one, backwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from inkle.engine.step import StepTrace
from inkle.engine.trace import current_trace, tracing
from inkle.errors import DTypeError, ShapeError
from inkle.ir import tensor
from inkle.ir.node import Node
from inkle.ir.size import is_symbolic
from inkle.tensor.arguments import as_int
from inkle.tensor.base import Core
from inkle.tensor.origin import user_line
from inkle.tensor.recurrence import Step
from inkle.tensor.structure import flatten, rebuild
from inkle.tensor.tensor import Tensor


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    xs: Any = None,
    *,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Run `carry, y = step(carry, x)` for every row x of `xs`.

    Args:
        step: called once, with tensors that stand for those of any step. It may use tensors from
            outside, and gradients flow to them; it may not change them, draw random numbers, or
            look at values.
        carry: tensor or number, or tuple, list or dict of them: the value before the first step.
            The step returns the same structure, shapes and dtypes.
        xs: tensor or structure of tensors of shape (length, ...); None: the step gets None.
        length: number of steps, where `xs` is None; else it may be left out.
        reverse: begin with the last row.

    Returns:
        The last carry, and the ys of all steps, stacked along a new first axis, in the order of
        the rows of `xs`.

    Raises:
        ShapeError: if lengths differ, or the carry changes its structure or shape.
        DTypeError: if it changes its dtype, or something is no tensor.
        TraceError: if the step does what a step cannot do.

    Example:
        >>> total, sums = scan(lambda s, x: (s + x, s + x), 0.0, Tensor([1.0, 2.0, 3.0]))
        >>> total.item(), sums.tolist()
        (6.0, [1.0, 3.0, 6.0])
    """
    rows_tree, rows = flatten(xs, lambda each: _tensor(each, "xs"))
    carry_tree, start = flatten(carry, lambda each: _tensor(each, "the carry"))
    _know_sizes([*rows, *start])
    steps = _length(rows, length)
    old = [_stand_in(each, each.shape) for each in start]
    row = [_stand_in(each, each.shape[1:]) for each in rows]
    new, (out_tree, out) = _traced(step, (carry_tree, old), (rows_tree, row))
    if not steps:
        empty = [tensor.full(0, each.dtype, (0, *each.shape)) for each in out]
        return rebuild(carry_tree, start), rebuild(out_tree, [Tensor._of(x, "CPU") for x in empty])
    traced = Step(
        {a.node: b.node for a, b in zip(old, start, strict=True)},
        {a.node: b.node for a, b in zip(row, rows, strict=True)},
        new, out, steps, reverse,
    )  # fmt: skip
    final, stacked = traced.run()
    last = [each._new(node) for each, node in zip(start, final, strict=True)]
    return rebuild(carry_tree, last), rebuild(out_tree, [Tensor._of(x, "CPU") for x in stacked])


def _traced(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: tuple[Any, list[Tensor]],
    row: tuple[Any, list[Tensor]],
) -> tuple[list[Node], tuple[Any, list[Node]]]:
    """Run a step on stand-ins; return the nodes of the new carry, and the tree and nodes of y."""
    leaves = [each.node for each in (*carry[1], *row[1])]
    with tracing(StepTrace(leaves, current_trace(), user_line)):
        found = step(rebuild(*carry), rebuild(*row))
        if not _is_pair(found):
            raise ShapeError(
                f"the step of a scan returns (carry, y), got {type(found).__name__} {found!r:.60}"
            )
        new = flatten(found[0], lambda each: _tensor(each, "the new carry"))
        tree, out = flatten(found[1], lambda each: _tensor(each, "y"))
        _check_carry(carry, new)
        return [each.node for each in new[1]], (tree, [each.node for each in out])


def fold(
    step: Callable[[Any, Any], Any],
    carry: Any,
    xs: Any = None,
    *,
    length: int | None = None,
    reverse: bool = False,
) -> Any:
    """Run `carry = step(carry, x)` for every row x of `xs`; return the last carry. See `scan`.

    Example:
        >>> fold(lambda s, x: 0.5 * s + x, 0.0, Tensor([1.0, 2.0, 3.0])).item()
        4.25
    """
    last, _ = scan(lambda c, x: (step(c, x), None), carry, xs, length=length, reverse=reverse)
    return last


def _know_sizes(tensors: list[Tensor]) -> None:
    """Let the values of symbolic sizes be conditions of the capture: loops are made of numbers."""
    for each in tensors:
        for n in each.shape:
            if is_symbolic(n):
                int(n)


def _is_pair(found: object) -> bool:
    return isinstance(found, tuple) and len(found) == 2


def _tensor(value: Any, what: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (bool, int, float, np.ndarray, np.generic)):
        return Tensor(value)
    raise DTypeError(
        f"{what} of a scan holds tensors and numbers, in tuples, lists and dicts; got "
        f"{type(value).__name__} {value!r:.60}"
    )


def _stand_in(like: Core, shape: tuple[int, ...]) -> Tensor:
    return Tensor._of(tensor.buffer(like.dtype, shape), like.device)


def _length(rows: list[Tensor], length: int | None) -> int:
    """Return the number of steps."""
    if length is not None:
        steps = as_int(length, "length")
        if steps < 0:
            raise ShapeError(f"a scan has 0 steps or more, got length {steps}")
    elif not rows:
        raise ShapeError("a scan without xs needs length, the number of steps")
    for each in rows:
        if not each.shape:
            raise ShapeError("a scan runs over the first axis of xs; a tensor in it has no axis")
    sizes = [each.shape[0] for each in rows]
    wanted = sizes[0] if length is None else steps
    if any(n != wanted for n in sizes):
        lengths = ", ".join(map(str, sizes))
        raise ShapeError(f"a scan of {wanted} steps over tensors of first axes {lengths}")
    return wanted


def _check_carry(old: tuple[Any, list[Tensor]], new: tuple[Any, list[Tensor]]) -> None:
    """Raise unless the carry goes on as it began."""
    if repr(old[0]) != repr(new[0]):
        raise ShapeError(f"the carry of a scan begins as {old[0]!r} and goes on as {new[0]!r}")
    for number, (a, b) in enumerate(zip(old[1], new[1], strict=True)):
        if a.shape != b.shape:
            raise ShapeError(
                f"the carry of a scan keeps its shape: tensor {number} begins as {a.shape} and "
                f"goes on as {b.shape}"
            )
        if a.dtype is not b.dtype:
            raise DTypeError(
                f"the carry of a scan keeps its dtype: tensor {number} begins as {a.dtype} and "
                f"goes on as {b.dtype}; cast one of them"
            )
