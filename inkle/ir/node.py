"""The graph: immutable, hash-consed nodes, in all forms of a program.

Two nodes with the same operation, dtype, sources and attribute are the same object, so equality is
identity and common subexpressions never exist twice. The intern table is weak: it keeps nothing
alive. Threads share it. Constants are keyed by dtype and bits (0.0 is not -0.0, NaN payloads
count). Leaves with identity (buffers) carry a unique number in `arg` and so never merge.

`shape` is that of a tensor-form value; in the loop form every value is a scalar and `ranges` holds
the RANGE nodes it depends on. Graphs are deep: nothing here recurses.
"""

from __future__ import annotations

import math
import numbers
import struct
import weakref
from _weakref import _remove_dead_weakref  # type: ignore[attr-defined]  # no stub knows it
from collections.abc import Callable, Iterable
from typing import Any

from inkle.errors import DTypeError, ShapeError
from inkle.ir import forms, ops
from inkle.ir.dtype import DType, Kind, index, int64
from inkle.ir.elementwise import Elementwise, Scalar
from inkle.ir.op import Op

Shape = tuple[int, ...]
NO_RANGES: frozenset[Any] = frozenset()
_BINDERS = frozenset({forms.REDUCE, forms.STAGE, forms.DOT})
_CONVERSIONS = frozenset({ops.CAST, ops.BITCAST})
_LITERALS = frozenset({forms.CONST, forms.VARIABLE})


class Node(Elementwise):
    """One value in a graph.

    Build with `const`, constructors of `inkle.ir.tensor` or `inkle.ir.loop`, and Python operators.

    Attributes:
        origin: the user's line that made it; no part of its identity.
        memory: where the engine keeps the value, if it has been computed; no part of its identity,
            and nobody else's business.
    """

    __slots__ = ("__weakref__", "arg", "dtype", "memory", "op", "origin", "ranges", "shape", "src")

    op: Op
    dtype: DType
    src: tuple[Node, ...]
    arg: Any
    shape: Shape
    ranges: frozenset[Node]
    origin: str | None
    memory: Any

    def apply(self, op: Op, *others: Node) -> Node:
        """Apply the elementwise operation `op` to self and `others`."""
        return elementwise(op, (self, *others))

    def wrap(self, other: Node | Scalar) -> Node:
        """Return `other` as a node; a scalar takes the dtype of self."""
        if isinstance(other, Node):
            return other
        symbolic = getattr(other, "index_node", None)  # a `Size`, which this module cannot know
        return const(other, self.dtype) if symbolic is None else symbolic().cast(self.dtype)

    def convert(self, op: Op, dtype: DType) -> Node:
        """Apply CAST or BITCAST."""
        if dtype is self.dtype:
            return self
        if op.name == "bitcast" and dtype.bits != self.dtype.bits:
            raise DTypeError(f"bitcast needs equal widths, got {self.dtype} and {dtype}")
        return intern(op, dtype, (self,), None, self.shape)

    def toposort(self) -> list[Node]:
        """Return every node below and including self, sources before users."""
        return toposort((self,))

    def __repr__(self) -> str:
        if self.op is forms.CONST:
            return f"{self.arg}:{self.dtype}"
        shape = f" {self.shape}" if self.shape else ""
        return f"<{self.op.name}:{self.dtype}{shape} {len(self.src)} sources, arg {self.arg!r}>"

    def __bool__(self) -> bool:
        raise TypeError("a graph node has no truth value; use .where(), and `is` for identity")


class _Entry(weakref.ref[Node]):
    """Weak reference that knows its key, so that a dead node can leave the table."""

    __slots__ = ("key",)
    key: tuple[Any, ...]


_table: dict[tuple[Any, ...], _Entry] = {}  # no lock: each look and each change is one call of C


def _forget(entry: Any) -> None:
    # Only a dead entry is removed, by one call of C code: a new node may have taken the key.
    _remove_dead_weakref(_table, entry.key)


def intern(op: Op, dtype: DType, src: tuple[Node, ...], arg: Any, shape: Shape) -> Node:
    """Return the unique node with these fields. Checks nothing: use constructors."""
    key: tuple[Any, ...]
    if op.meaning is not None and op not in _CONVERSIONS:
        key = (op, None, src, None)  # sources decide the dtype; `elementwise` looks up untyped
    elif op is forms.CONST and dtype.kind is Kind.FLOAT and (arg == 0 or arg != arg):
        key = (op, dtype, src, struct.pack("<d", arg))
    else:
        key = (op, dtype, src, arg)
    entry = _table.get(key)
    if entry is not None:
        found = entry()
        if found is not None:
            return found
    made = object.__new__(Node)
    made.op = op
    made.dtype = dtype
    made.src = src
    made.arg = arg
    made.shape = shape
    made.origin = made.memory = None
    made.ranges = NO_RANGES
    for source in src:
        if source.ranges or op is forms.RANGE:
            made.ranges = _ranges(made)
            break
    new = _Entry(made, _forget)
    new.key = key
    while True:
        entry = _table.setdefault(key, new)  # atomic: of two threads one finds the other's
        if entry is new:
            return made
        found = entry()
        if found is not None:
            return found
        _forget(entry)  # it is dead, and its callback has not come yet


def leaf(op: Op, dtype: DType, arg: Any, shape: Shape) -> Node:
    """Return a node without sources whose `arg` nobody else has: no table needs to know it."""
    made = object.__new__(Node)
    made.op, made.dtype, made.src, made.arg = op, dtype, (), arg
    made.shape, made.origin, made.memory, made.ranges = shape, None, None, NO_RANGES
    return made


def _ranges(node: Node) -> frozenset[Node]:
    if node.op is forms.RANGE:
        return frozenset((node,)) | node.src[0].ranges
    total = NO_RANGES
    for source in node.src:
        if source.ranges and source.ranges is not total:
            total = total | source.ranges if total else source.ranges
    if total and node.op in _BINDERS:
        total = total - frozenset(bound_ranges(node))
    return total


def bound_ranges(node: Node) -> tuple[Node, ...]:
    """Return the ranges that a loop-form REDUCE, STAGE or DOT runs over (none for other nodes)."""
    if node.op is forms.REDUCE and len(node.arg) == 1:
        return node.src[1:]
    if node.op is forms.DOT:
        return node.src[4:]
    return node.src[2:] if node.op is forms.STAGE else ()


def elementwise(op: Op, src: tuple[Node, ...]) -> Node:
    """Apply `op` to sources of equal shape; scalar constants broadcast.

    Raises:
        DTypeError: if `op` does not accept the dtypes.
        ShapeError: if shapes differ.
    """
    n = len(src)
    dtypes = (src[0].dtype, src[1].dtype) if n == 2 else tuple([each.dtype for each in src])
    dtype = _dtypes.get((op, dtypes)) or _dtype_of(op, dtypes)
    shape: Shape = src[0].shape
    if n == 1 or (n == 2 and (src[1].shape == shape or src[1].op is forms.CONST)):
        return intern(op, dtype, src, None, shape)
    shape = ()
    loose = False
    for source in src:
        if not source.shape:
            loose = loose or source.op is not forms.CONST
        elif source.shape != shape:
            if shape:
                raise ShapeError(_unequal(op, src))
            shape = source.shape
    if loose and shape:
        src = tuple([_spread_literal(op, src, source, shape) for source in src])
    return intern(op, dtype, src, None, shape)


Known = dict[tuple[Op, tuple[DType, ...]], DType]
_dtypes: Known = {}  # of results, by operation and dtypes of sources


def _dtype_of(op: Op, dtypes: tuple[DType, ...]) -> DType:
    found = _dtypes[op, dtypes] = op.dtype_rule(op, dtypes)
    return found


def _spread_literal(op: Op, src: tuple[Node, ...], source: Node, shape: Shape) -> Node:
    """Repeat a scalar computed from constants alone (derivatives make such) to `shape`."""
    if source.shape or source.op is forms.CONST:
        return source
    if any(not each.src and each.op not in _LITERALS for each in toposort((source,))):
        raise ShapeError(_unequal(op, src))
    ones = (1,) * len(shape)
    row = intern(forms.RESHAPE, source.dtype, (source,), ones, ones)
    return row if shape == ones else intern(forms.EXPAND, source.dtype, (row,), shape, shape)


def _unequal(op: Op, src: tuple[Node, ...]) -> str:
    shapes = ", ".join(str(each.shape) for each in src)
    return f"{op.name} needs equal shapes, got {shapes}; expand one of them"


def const(value: Scalar, dtype: DType) -> Node:
    """Return a literal converted to `dtype`: integers wrap, floats round to nearest even."""
    key = (value.__class__, value, dtype)
    try:
        found = _constants.get(key)
    except TypeError:  # no number: those have a hash
        raise DTypeError(f"{value!r:.60} is no number") from None
    if found is None:
        found = intern(forms.CONST, dtype, (), convert_scalar(_as_scalar(value), dtype), ())
        if value != 0 and value == value:  # 0.0 equals -0.0, and NaN nothing: no keys
            if len(_constants) >= CACHED_CONSTANTS:
                _constants.clear()
            _constants[key] = found
    return found


CACHED_CONSTANTS = 4096  # a shortcut past conversion and rounding; programs have few constants
_constants: dict[tuple[Any, ...], Node] = {}


def _as_scalar(value: object) -> Scalar:
    """Return a number, perhaps of another library such as NumPy, as Python's."""
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise DTypeError(f"{value!r:.60} is no number")


def convert_scalar(value: Scalar, dtype: DType) -> Scalar:
    """Return `value` as the Python number that `dtype` can hold (see the cast row of the table)."""
    if dtype.kind is Kind.FLOAT:
        return round_float(value, dtype)
    if dtype.kind is Kind.BOOL:
        return bool(value != 0)
    if dtype.kind is Kind.INDEX and not isinstance(value, float):
        return int(value)
    low, high = (int64 if dtype.kind is Kind.INDEX else dtype).limits()
    if isinstance(value, float):
        return (
            0 if value != value else low if value <= low else high if value >= high else int(value)
        )
    value = int(value) & ((1 << dtype.bits) - 1)
    return value - (1 << dtype.bits) if value > high else value


def round_float(value: Scalar, dtype: DType) -> float:
    """Return `value` rounded to nearest even in the precision of the float type `dtype`."""
    try:
        wide = float(value if dtype.bits == 64 else _sticky(value))
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    if dtype.bits == 64 or wide == 0 or math.isinf(wide) or wide != wide:
        return wide
    code = {"float32": "<f", "float16": "<e"}.get(dtype.name)
    if code is not None:
        try:
            return float(struct.unpack(code, struct.pack(code, wide))[0])
        except OverflowError:
            return math.copysign(math.inf, wide)
    return _round_bfloat16(wide)


def _round_bfloat16(wide: float) -> float:
    """Round to 8 significant bits; the exponent range is float32's, subnormals included."""
    exponent = max(math.frexp(wide)[1], -125)
    quantum = math.ldexp(1.0, exponent - 8)
    rounded = round(abs(wide) / quantum) * quantum  # Python rounds half to even
    return math.copysign(math.inf if rounded > 3.3895313892515355e38 else rounded, wide)


def _sticky(value: Scalar) -> Scalar:
    """Return a number of at most 53 bits that rounds to fewer bits as the integer `value` does.

    Rounding to double first would turn 2**62 + 2**38 + 1 into a tie for float32: the last bit kept
    is set instead where bits are lost.
    """
    lost = 0 if isinstance(value, float) else abs(value).bit_length() - 53
    if isinstance(value, float) or lost <= 0:
        return value
    kept = abs(value) >> lost
    return math.copysign(float((kept | bool(abs(value) & ((1 << lost) - 1))) << lost), value)


def as_index(value: Node | int) -> Node:
    """Return `value` as an index expression."""
    if isinstance(value, Node):
        return value
    symbolic = getattr(value, "index_node", None)
    return const(value, index) if symbolic is None else symbolic()


def toposort(roots: Iterable[Node]) -> list[Node]:
    """Return every node below and including `roots`, each once, sources before users."""
    seen: set[Node] = set()
    out: list[Node] = []
    stack: list[Any] = [*roots]  # None: the node below it follows its sources
    stack.reverse()
    while stack:
        node = stack.pop()
        if node is None:
            out.append(stack.pop())
        elif node not in seen:
            seen.add(node)
            src = node.src
            if src:
                stack += (node, None)
                stack += src if len(src) == 1 else src[::-1]
            else:
                out.append(node)
    return out


def rebuild(node: Node, src: tuple[Node, ...]) -> Node:
    """Return `node` with other sources; shape of a tensor-form node must not change by that."""
    if src == node.src:
        return node
    if node.op.is_elementwise and not node.shape:
        return intern(node.op, node.dtype, src, node.arg, ())
    return intern(node.op, node.dtype, src, node.arg, node.shape)


def substitute(roots: Iterable[Node], mapping: dict[Node, Node]) -> dict[Node, Node]:
    """Replace nodes everywhere below `roots`.

    Returns:
        New node for every old one below `roots` (an image of `mapping` is not searched again).
    """

    def step(node: Node, src: tuple[Node, ...]) -> Node:
        new = rebuild(node, src)
        if new.origin is None:
            new.origin = node.origin
        return new

    return transform(roots, step, mapping)


def transform(
    roots: Iterable[Node],
    step: Callable[[Node, tuple[Node, ...]], Node],
    done: dict[Node, Node] | None = None,
) -> dict[Node, Node]:
    """Rebuild a graph bottom-up: `step(node, new sources)` gives the new node.

    Nodes in `done` are taken as they are there, and their sources are not visited.
    """
    done = dict(done or {})
    stack: list[Any] = [*roots]  # None: the node below it follows its sources
    while stack:
        node = stack.pop()
        if node is None:
            node = stack.pop()
            if node not in done:
                done[node] = step(node, tuple([done[source] for source in node.src]))
        elif node not in done:
            src = node.src
            if src:
                stack += (node, None)
                stack += src
            else:
                done[node] = step(node, ())
    return done
