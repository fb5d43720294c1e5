"""Rules that bring conditions on a range to one spelling, before a loop over it is folded.

    1 - cast(r == x)              ->  cast(not (r == x))
    cast(r) - x == y              ->  cast(r) == y + x       (wrapping: the same values)
    cast(r) == x                  ->  r == cast(x)           as unbounded integers
    cast(r) < x  as floats        ->  r < cast(ceil(x))      while cast(r) is exact

They are no part of SIMPLIFY: outside of a fold they would only move work around.
"""

from __future__ import annotations

from collections.abc import Iterable

from inkle.ir import dtype as dtypes
from inkle.ir import forms, ops
from inkle.ir.dtype import bool_, float32, index, int8, int32, uint8
from inkle.ir.loop import range_
from inkle.ir.node import Node, const
from inkle.ir.op import FLOAT, NUMBER
from inkle.rewrite.affine import affine_of
from inkle.rewrite.engine import RuleSet
from inkle.rewrite.known import Known
from inkle.rewrite.pattern import hole
from inkle.rewrite.rule import FIXED, INDEX, function_rule
from inkle.rules.cast import fits
from inkle.rules.simplify import SIMPLIFY

_R = range_(0, 10)
_X = hole("x", index)
_P, _Q = hole("p", bool_), hole("q", bool_)
_COMPARISONS = (ops.LESS, ops.LESS_EQUAL, ops.EQUAL, ops.NOT_EQUAL)
_SAMPLED = (float32, dtypes.float64, int8, uint8, int32)


def _is_mask(node: Node) -> bool:
    return node.op is ops.CAST and node.src[0].dtype is bool_


def _is_range(node: Node) -> bool:
    """Whether a number is an index expression that depends on loops, in another type."""
    return node.op is ops.CAST and node.src[0].dtype is index and bool(node.src[0].ranges)


@function_rule(
    "mask_complement",
    (ops.SUB,),
    NUMBER,
    lambda: [const(1, dtype) - _P.cast(dtype) for dtype in _SAMPLED],
)
def mask_complement(node: Node, known: Known) -> Node | None:
    """Write 1 minus a mask as the opposite mask."""
    one, mask = node.src
    if one is not const(1, node.dtype) or not _is_mask(mask):
        return None
    return (~mask.src[0]).cast(node.dtype)


@function_rule(
    "mask_product",
    (ops.MUL,),
    NUMBER,
    lambda: [_P.cast(dtype) * _Q.cast(dtype) for dtype in _SAMPLED],
)
def mask_product(node: Node, known: Known) -> Node | None:
    """Write the product of two masks as one mask."""
    first, second = node.src
    if not _is_mask(first) or not _is_mask(second):
        return None
    return (first.src[0] & second.src[0]).cast(node.dtype)


@function_rule(
    "mask_factor",
    (ops.MUL,),
    FIXED,
    lambda: [_P.cast(dtype) * hole("x", dtype) for dtype in (int8, uint8, int32)],
)
def mask_factor(node: Node, known: Known) -> Node | None:
    """Select instead of multiplying by a mask; not floats, where 0 * inf is NaN."""
    for mask, x in (node.src, node.src[::-1]):
        if _is_mask(mask):
            return mask.src[0].where(x, const(0, node.dtype))
    return None


def _moved_samples() -> Iterable[Node]:
    for dtype in (int8, uint8, int32):
        r, x, y = _R.cast(dtype), hole("x", dtype), hole("y", dtype)
        yield from ((r + x).eq(y), (x + r).ne(y), (r - x).eq(y), (x - r).ne(y), y.eq(r - x))


@function_rule("equal_moved", (ops.EQUAL, ops.NOT_EQUAL), FIXED, _moved_samples)
def equal_moved(node: Node, known: Known) -> Node | None:
    """Leave the range alone on its side of an equality; sums may wrap, on both sides alike."""
    for left, right in (node.src, node.src[::-1]):
        if left.op not in (ops.ADD, ops.SUB) or _is_range(right):
            continue
        x, y = left.src
        if _is_range(x) and not _is_range(y):
            return x.apply(node.op, right - y if left.op is ops.ADD else right + y)
        if _is_range(y) and not _is_range(x):
            return y.apply(node.op, right - x if left.op is ops.ADD else x - right)
    return None


@function_rule(
    "compare_in_index",
    _COMPARISONS,
    FIXED,
    lambda: [
        compare(*sides)
        for dtype in (int8, uint8, int32)
        for compare in (Node.less, Node.less_equal, Node.equal, Node.not_equal)
        for sides in (
            (_R.cast(dtype), hole("x", dtype)),
            (hole("x", dtype), _R.cast(dtype)),
        )
    ],
)
def compare_in_index(node: Node, known: Known) -> Node | None:
    """Compare a range with a number as unbounded integers."""
    if not any(_is_range(each) and fits(each.src[0], each.dtype, known) for each in node.src):
        return None
    src = [_unbounded(each, known) for each in node.src]
    return src[0].apply(node.op, src[1])


def _unbounded(node: Node, known: Known) -> Node:
    if node.op is ops.CAST and node.src[0].dtype is index and fits(node.src[0], node.dtype, known):
        return node.src[0]
    return node.cast(index)


def is_exact_float(node: Node, known: Known) -> bool:
    """Whether a float is an index expression without rounding."""
    if node.op is not ops.CAST or node.src[0].dtype is not index or not node.dtype.is_float:
        return False
    low, high = known.bounds(node.src[0])
    most = 1 << min(node.dtype.mantissa + 1, 15 if node.dtype.bits == 16 else 99)  # float16: 65504
    return low is not None and high is not None and -most <= low and high <= most


def _float_samples() -> Iterable[Node]:
    for dtype in (float32, dtypes.float16, dtypes.float64):
        r, x = _R.cast(dtype), hole("x", dtype)
        for compare in (Node.less, Node.less_equal, Node.equal, Node.not_equal):
            yield from (compare(r, x), compare(x, r))


@function_rule("compare_floats_in_index", _COMPARISONS, FLOAT, _float_samples)
def compare_floats_in_index(node: Node, known: Known) -> Node | None:
    """Compare a range with a float as integers; casts saturate, and NaN is never equal or less."""
    x, y = node.src
    first, second = is_exact_float(x, known), is_exact_float(y, known)
    if first and second:
        return x.src[0].apply(node.op, y.src[0])
    if not (first and x.src[0].ranges) and not (second and y.src[0].ranges):
        return None
    if node.op is ops.EQUAL or node.op is ops.NOT_EQUAL:
        r, other = (x.src[0], y) if first else (y.src[0], x)
        whole = other.trunc().cast(dtypes.int64)
        same = r.eq(whole.cast(index)) & other.trunc().eq(other)
        return same if node.op is ops.EQUAL else ~same
    if first:
        whole = y.ceil() if node.op is ops.LESS else y.floor()
        return x.src[0].apply(node.op, whole.cast(dtypes.int64).cast(index)) & y.eq(y)
    whole = x.floor() if node.op is ops.LESS else x.ceil()
    return whole.cast(dtypes.int64).cast(index).apply(node.op, y.src[0]) & x.eq(x)


@function_rule(
    "float_sum_below_cast",
    (ops.ADD, ops.SUB, ops.MUL, ops.NEG, ops.MAXIMUM, ops.MINIMUM),
    FLOAT,
    lambda: [
        _R.cast(float32) + 3.0,
        _R.cast(float32) * 2.0 - range_(1, 7).cast(float32),
        _R.cast(dtypes.float16).maximum(4.0),
    ],
)
def float_sum_below_cast(node: Node, known: Known) -> Node | None:
    """Compute with index expressions first and cast then, where floats would not round either."""
    operands = []
    for source in node.src:
        if source.op is forms.CONST and float(source.arg).is_integer() and abs(source.arg) < 1e15:
            operands.append(const(int(source.arg), index))
        elif is_exact_float(source, known):
            operands.append(source.src[0])
        else:
            return None
    low = [known.bounds(each)[0] for each in operands]
    if all(each.op is forms.CONST for each in operands):
        return None
    # Integers have one zero: a product or a negation of floats could be -0.0.
    signed = (ops.MUL, ops.NEG)
    if node.op in signed and (node.op is ops.NEG or any(k is None or k < 0 for k in low)):
        return None
    if any(each.op is forms.CONST and str(each.arg) == "-0.0" for each in node.src):
        return None
    result = operands[0].apply(node.op, *operands[1:]).cast(node.dtype)
    return result if is_exact_float(result, known) else None


@function_rule(
    "extreme_by_difference",
    (ops.MAXIMUM, ops.MINIMUM),
    INDEX,
    lambda: [_X.maximum(_X + 3), (_X * 2 + _R).minimum(_X * 2), (_X + _R).maximum(_X + 9)],
)
def extreme_by_difference(node: Node, known: Known) -> Node | None:
    """Decide between two sums whose difference has one sign."""
    x, y = node.src
    low, high = known.span(affine_of(x).plus(affine_of(y), -1))
    if low is not None and low >= 0:
        return x if node.op is ops.MAXIMUM else y
    if high is not None and high <= 0:
        return y if node.op is ops.MAXIMUM else x
    return None


RULES = (
    mask_complement,
    mask_product,
    mask_factor,
    equal_moved,
    compare_in_index,
    compare_floats_in_index,
    float_sum_below_cast,
    extreme_by_difference,
)


NORMALISE = RuleSet((*SIMPLIFY.rules, *RULES), SIMPLIFY.nest_of)
