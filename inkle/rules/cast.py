"""Rules about changes of type, exact ones only."""

from __future__ import annotations

from collections.abc import Iterable

from inkle.ir import dtype as dtypes
from inkle.ir import ops
from inkle.ir.algebra import fold
from inkle.ir.dtype import DType, Kind, bool_, index, int32
from inkle.ir.forms import CONST
from inkle.ir.loop import range_
from inkle.ir.node import Node, const
from inkle.ir.op import ANY
from inkle.rewrite.known import Known
from inkle.rewrite.pattern import hole
from inkle.rewrite.rule import FIXED, function_rule

_R, _S = range_(0, 10), range_(1, 7)
_P = hole("p", bool_)
_INTEGRAL = frozenset({Kind.INT, Kind.UINT, Kind.BOOL})


def holds_all(wide: DType, narrow: DType) -> bool:
    """Whether every value of `narrow` has an equal one in `wide`."""
    if narrow is wide or narrow is bool_ or (narrow.kind in _INTEGRAL and wide is index):
        return True
    if narrow is index or wide is index or wide is bool_:
        return False
    if narrow.is_float:
        return wide.is_float and wide.bits > narrow.bits and wide.mantissa >= narrow.mantissa
    low, high = narrow.limits()
    if wide.is_float:
        return high <= 1 << (wide.mantissa + 1)  # also the range: float16 ends at 65504 > 2**11
    return wide.limits()[0] <= low and high <= wide.limits()[1]


def fits(x: Node, dtype: DType, known: Known) -> bool:
    """Whether every value of the integer `x` has an equal one in the integer type `dtype`."""
    if dtype is index or (x.dtype is not index and holds_all(dtype, x.dtype)):
        return True
    if dtype.kind not in _INTEGRAL or x.dtype.is_float:
        return False
    low, high = known.bounds(x)
    least, most = dtype.limits()
    return low is not None and high is not None and least <= low and high <= most


def _cast_samples() -> Iterable[Node]:
    for dtype in dtypes.ALL:
        x = hole("x", dtype)
        for middle in (*dtypes.ALL, index):
            for target in (*dtypes.ALL, index):
                if middle is dtype or target is middle:
                    continue
                if (dtype.is_float and middle is index) or (middle.is_float and target is index):
                    continue
                if _is_exact(dtype, middle, target) or _wraps_twice(dtype, middle, target):
                    yield x.cast(middle).cast(target)
    yield _R.cast(int32).cast(index)
    yield _R.cast(int32).cast(dtypes.int8)
    yield hole("x", index).cast(dtypes.int64).cast(int32)


def _is_exact(source: DType, middle: DType, target: DType) -> bool:
    """Whether source -> middle loses nothing, and target takes both for the same number."""
    # Integers wrap, floats saturate: -1 as int8 is 255 as uint8, and -1.0 is 0.
    saturates = middle.is_float and not source.is_float and target.is_integer
    return holds_all(middle, source) and (not saturates or holds_all(target, source))


def _wraps_twice(source: DType, middle: DType, target: DType) -> bool:
    """Whether source -> middle -> target keeps low bits only, as source -> target does."""
    integers = all(each.is_integer for each in (middle, target))
    return integers and (source.is_integer or source is index) and target.bits <= middle.bits


@function_rule("cast_of_cast", (ops.CAST,), ANY, _cast_samples)
def cast_of_cast(node: Node, known: Known) -> Node | None:
    """Cast once, where the first of two casts loses nothing that the second one keeps."""
    middle = node.src[0]
    if middle.op is not ops.CAST:
        return None
    x = middle.src[0]
    if x.dtype.is_float and node.dtype is index:
        return None
    exact = (
        fits(x, middle.dtype, known)
        if x.dtype is index
        else _is_exact(x.dtype, middle.dtype, node.dtype)
    )
    if exact or _wraps_twice(x.dtype, middle.dtype, node.dtype):
        return x.cast(node.dtype)
    return None


_LIFTED = (
    ops.ADD, ops.SUB, ops.MUL, ops.NEG, ops.FLOORDIV, ops.FLOORMOD, ops.TRUNCDIV, ops.TRUNCMOD,
    ops.MAXIMUM, ops.MINIMUM,
)  # fmt: skip


@function_rule(
    "index_below_cast",
    _LIFTED,
    FIXED,
    lambda: [
        _R.cast(int32) * 3 + _S.cast(int32),
        _R.cast(dtypes.uint8) // _S.cast(dtypes.uint8),
        -_R.cast(dtypes.int8),
        (_R.cast(int32) - 4) % 3,
    ],
)
def index_below_cast(node: Node, known: Known) -> Node | None:
    """Compute with index expressions first and cast then, where bounds show that nothing wraps."""
    operands = _index_operands(node.src, known)
    if operands is None:
        return None
    result = operands[0].apply(node.op, *operands[1:])
    return result.cast(node.dtype) if fits(result, node.dtype, known) else None


@function_rule(
    "compare_below_cast",
    (ops.LESS, ops.LESS_EQUAL, ops.EQUAL, ops.NOT_EQUAL),
    FIXED,
    lambda: [_R.cast(int32) < 3, _R.cast(int32).eq(_S.cast(int32)), _R.cast(dtypes.uint8).ne(9)],
)
def compare_below_cast(node: Node, known: Known) -> Node | None:
    """Compare index expressions instead of their casts, where bounds show that nothing wraps."""
    operands = _index_operands(node.src, known)
    return None if operands is None else operands[0].apply(node.op, operands[1])


def _index_operands(sources: tuple[Node, ...], known: Known) -> list[Node] | None:
    """Return the index expressions below casts; at least one source must be one."""
    found = []
    casts = 0
    for source in sources:
        if source.op is CONST:
            found.append(const(source.arg, index))
        elif source.op is ops.CAST and source.src[0].dtype is index:
            if not fits(source.src[0], source.dtype, known):
                return None
            found.append(source.src[0])
            casts += 1
        else:
            return None
    return found if casts else None


@function_rule(
    "compare_cast_of_bool",
    (ops.LESS, ops.LESS_EQUAL, ops.EQUAL, ops.NOT_EQUAL),
    ANY,
    lambda: [
        compare(_P.cast(dtype), const(value, dtype))
        for dtype in (int32, dtypes.uint8, dtypes.float32)
        for value in (0, 1, 2)
        for compare in (Node.less, Node.less_equal, Node.equal, Node.not_equal)
    ],
)
def compare_cast_of_bool(node: Node, known: Known) -> Node | None:
    """Decide the comparison of a bool, cast to a number, with a constant."""
    x, c = node.src
    if c.op is not CONST or x.op is not ops.CAST or x.src[0].dtype is not bool_:
        return None
    p = x.src[0]
    if_true, if_false = (
        bool(fold(const(value, x.dtype).apply(node.op, c)).arg) for value in (1, 0)
    )
    return const(if_true, bool_) if if_true is if_false else p if if_true else ~p


RULES = (
    cast_of_cast,
    index_below_cast,
    compare_below_cast,
    compare_cast_of_bool,
)
