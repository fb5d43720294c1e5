"""Columns that a mask of positions hides from a block of rows: no launch of the block visits them.

With rows 0 .. 63 of causal scores, `where(j <= i, s[i, j], -inf)` is -inf from column 64 on. Their
exponentials are 0 there, and add nothing to any sum:

    for j in 2048: top = max(top, where(j <= i, s[i, j], -inf))        for j in 64: ...
    for j in 2048: w[i, j] = exp(... - top)                       ->   for j in 64: ...
    for j in 2048: out[i, :] += w[i, j] * v[j, :]                      for j in 64: ...

Whether the mask hides a column from all rows of a block, the bounds of its condition decide. What
else is hidden follows from a table of operations that keep a value 0 or -inf. It takes 0 * x for 0,
and -inf - x for -inf: infinities and NaN behind the mask are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum

from inkle.ir import forms, ops
from inkle.ir.bounds import constant_value
from inkle.ir.loop import extent, number_of, range_, running_ranges
from inkle.ir.node import Node
from inkle.ir.op import Op
from inkle.rewrite.affine import affine_of
from inkle.schedule.built import Built
from inkle.schedule.nest import Storage

STEP = 64  # columns are hidden in steps of so many: whole vectors, and few different kernels
LEAST = 256  # columns of a row that is worth it

Columns = tuple[int, int]  # the first one, and the one after the last


class Kept(Enum):
    """What is known of a value in all hidden columns."""

    ZERO = "0"
    LOWEST = "-inf"
    ANYTHING = "anything"


IDENTITY = {ops.ADD: Kept.ZERO, ops.MAXIMUM: Kept.LOWEST}


def visible_columns(
    chain: Sequence[Built], rooms: Sequence[Storage], rows: int
) -> list[Built] | None:
    """Return launches over `rows` rows without the columns that are hidden from all of them.

    None if none are.

    Args:
        chain: launches over `rows` rows.
        rooms: arrays that only they use, with room for these rows.
        rows: how many.
    """
    columns = max(room.size for room in rooms) // rows
    wide = {room for room in rooms if room.size == rows * columns}
    found = [_axes(built, wide, columns) for built in chain]
    axes = [js for js in found if js is not None]
    if len(axes) < len(chain) or columns < LEAST or columns % STEP:
        return None
    tests = [
        (node.src[0], js)
        for built, js in zip(chain, axes, strict=True)
        for node in built.kernel.nodes()
        if node.op is ops.WHERE and any(j in node.src[0].ranges for j in js)
    ]
    if not tests:
        return None
    last = max(_hidden_steps(test, js, columns, at_end=True) for test, js in tests) * STEP
    first = max(_hidden_steps(test, js, columns, at_end=False) for test, js in tests) * STEP
    if last and not _stays_hidden(chain, axes, wide, (columns - last, columns)):
        last = 0
    if first and not _stays_hidden(chain, axes, wide, (0, first)):
        first = 0
    stop = max(columns - last, STEP)  # one step at least: of nothing, the maximum is -inf
    first = min(first, stop - STEP)
    if (first, stop) == (0, columns):
        return None
    return [_over(built, js, first, stop) for built, js in zip(chain, axes, strict=True)]


def _over(built: Built, js: Sequence[Node], first: int, stop: int) -> Built:
    """Return the launch over columns `first` .. `stop` - 1."""
    fresh = {j: range_(number_of(j), stop - first, j.arg[1]) for j in js}
    places = {j: r + first if first else r for j, r in fresh.items()}
    return built.over({j: (r,) for j, r in fresh.items()}, places)


def _axes(built: Built, wide: Collection[Storage], columns: int) -> list[Node] | None:
    """Return the ranges that count columns; None if some access counts them in another way."""
    found: dict[Node, None] = {}
    running = running_ranges(built.kernel.nodes())  # what is hidden would be seen further on
    for access in built.accesses():
        if built.memory_of(access) in wide:
            at = affine_of(access.src[1])
            js = [r for r, k in at.terms.items() if k == 1 and r.op is forms.RANGE]
            others = [k for r, k in at.terms.items() if r not in js]
            if len(js) != 1 or extent(js[0]) != columns or any(k % columns for k in others):
                return None
            if at.constant or js[0] in running:
                return None
            found[js[0]] = None
    return list(found)


def _hidden_steps(test: Node, js: Sequence[Node], columns: int, *, at_end: bool) -> int:
    """Return how many steps of columns, at one end, have one value of `test` for all rows."""

    def is_decided(steps: int) -> bool:
        n = steps * STEP
        span = (columns - n, columns - 1) if at_end else (0, n - 1)
        return constant_value(test, dict.fromkeys(js, span)) is not None

    low, high = 0, columns // STEP
    while low < high:  # decided for `low` steps, not for more than `high`
        middle = (low + high + 1) // 2
        low, high = (middle, high) if is_decided(middle) else (low, middle - 1)
    return low


def _stays_hidden(
    chain: Sequence[Built],
    axes: Sequence[Sequence[Node]],
    wide: Collection[Storage],
    hidden: Columns,
) -> bool:
    """Whether nothing that the chain computes in these columns has an influence elsewhere."""
    known: dict[Storage, Kept] = {}
    for built, js in zip(chain, axes, strict=True):
        span = dict.fromkeys(js, (hidden[0], hidden[1] - 1))
        values: dict[Node, Kept] = {}
        for node in built.kernel.nodes():
            if node.op is forms.LOAD:
                is_plain = node.src[0].op is forms.PARAM and len(node.src) == 2
                storage = built.memory_of(node) if is_plain else None
                values[node] = known.get(storage, Kept.ANYTHING) if storage else Kept.ANYTHING
            elif node.op is forms.REDUCE:
                value = values[node.src[0]]
                is_hidden = value is IDENTITY.get(node.arg[0])
                if any(j in node.src[1:] for j in js):
                    if not is_hidden:
                        return False
                    is_hidden = False  # it may have seen other columns
                values[node] = value if is_hidden else Kept.ANYTHING
            elif node.op is forms.STORE:
                if not any(j in node.ranges for j in js):
                    continue
                storage, value = built.memory_of(node), values[node.src[2]]
                if storage in wide and len(node.src) == 3 and node.arg is None:
                    known[storage] = value
                elif node.arg is None or value is not IDENTITY.get(node.arg):
                    return False
            else:
                values[node] = _kept(node, [values[s] for s in node.src], span)
    return True


def _kept(node: Node, src: Sequence[Kept], span: dict[Node, tuple[int, int]]) -> Kept:
    """Return what is known of a value, given that of its sources, in columns `span`."""
    if node.op is forms.CONST:
        if node.dtype.is_float and node.arg == float("-inf"):
            return Kept.LOWEST
        return Kept.ZERO if node.arg == 0 and node.dtype.bits else Kept.ANYTHING
    if node.op is ops.WHERE:
        test = constant_value(node.src[0], span)
        if test is not None:
            return src[1] if test else src[2]
        return src[1] if src[1] is src[2] else Kept.ANYTHING
    rule = KEEPS.get(node.op)
    return Kept.ANYTHING if rule is None else rule(node, src)


def _product(node: Node, src: Sequence[Kept]) -> Kept:
    if Kept.ZERO in src:
        return Kept.ANYTHING if Kept.LOWEST in src else Kept.ZERO
    for mine, other in zip(src, reversed(node.src), strict=True):
        if mine is Kept.LOWEST and other.op is forms.CONST and other.arg > 0:
            return mine
    return Kept.ANYTHING


def _sum(node: Node, src: Sequence[Kept]) -> Kept:
    if Kept.LOWEST in src:
        return Kept.LOWEST
    return Kept.ZERO if src[0] is src[1] is Kept.ZERO else Kept.ANYTHING


def _difference(node: Node, src: Sequence[Kept]) -> Kept:
    if src[0] is Kept.LOWEST:
        return Kept.ANYTHING if src[1] is Kept.LOWEST else Kept.LOWEST
    return Kept.ZERO if src[0] is src[1] is Kept.ZERO else Kept.ANYTHING


def _cast(node: Node, src: Sequence[Kept]) -> Kept:
    return src[0] if src[0] is Kept.ZERO or node.dtype.is_float else Kept.ANYTHING


def _zero(node: Node, src: Sequence[Kept]) -> Kept:
    return Kept.ZERO if src[0] is Kept.ZERO else Kept.ANYTHING


def _equality(node: Node, src: Sequence[Kept]) -> Kept:
    """The lowest value is no finite one: not the maximum of what is visible."""
    return Kept.ZERO if set(src) == {Kept.LOWEST, Kept.ANYTHING} else Kept.ANYTHING


def _exponential(node: Node, src: Sequence[Kept]) -> Kept:
    return Kept.ZERO if src[0] is Kept.LOWEST else Kept.ANYTHING


#: Operations whose value stays hidden, or becomes so, where a source is.
KEEPS: dict[Op, Callable[[Node, Sequence[Kept]], Kept]] = {
    ops.MUL: _product, ops.ADD: _sum, ops.SUB: _difference, ops.NEG: _zero, ops.DIV: _zero,
    ops.CAST: _cast, ops.EXP: _exponential, ops.EXP2: _exponential,
    ops.EQUAL: _equality,
}  # fmt: skip
