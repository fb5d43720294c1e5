# ruff: noqa: D102 - algebra methods are named after the operations of the table that they serve
"""The algebra of NumPy arrays: evaluates one operation on all elements at once.

This is the definition that fuzzers and the reference interpreter rest on, so it is plain, and
accurate rather than quick: transcendental functions of narrow floats are computed in float64 and
rounded once; `fma` rounds once.

How values are held: every dtype as NumPy's own, `index` as int64, and bfloat16 as float32 arrays
that hold bfloat16 values only (`to_array` accepts arrays of `ml_dtypes.bfloat16` or their bits).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from inkle.ir import algebra, ops
from inkle.ir.dtype import DType, Kind, bfloat16, bool_, float32, float64, index, int64
from inkle.ir.elementwise import Scalar
from inkle.ir.interval import INDEX_WIDTH
from inkle.ir.op import Op

Array = np.ndarray[Any, Any]


def numpy_dtype(dtype: DType) -> np.dtype[Any]:
    """Return the NumPy dtype in which values of `dtype` are held."""
    if dtype is bfloat16:
        return np.dtype(np.float32)
    return np.dtype(np.int64 if dtype is index else dtype.name)


@np.errstate(all="ignore")
def to_array(values: Any, dtype: DType) -> Array:
    """Return values of `dtype` (an array in any of its spellings, or numbers) as held here."""
    array = np.asarray(values)
    if dtype is bfloat16:
        if array.dtype == np.uint16:
            return from_bits(array, dtype)
        return round_to(array, dtype)
    return array.astype(numpy_dtype(dtype), copy=False)


def constant(value: Scalar, dtype: DType) -> Array:
    """Return a literal as an array without axes, bit for bit."""
    if dtype.is_float:
        bits = algebra.to_bits(value, dtype)
        return from_bits(np.asarray(bits, f"uint{dtype.bits}"), dtype)
    return np.asarray(value, numpy_dtype(dtype))


def to_bits(array: Array, dtype: DType) -> Array:
    """Return the bits of each element as an unsigned integer."""
    if dtype is bfloat16:
        return (array.view(np.uint32) >> 16).astype(np.uint16)
    bits: Array = array.view(f"uint{dtype.bits}")
    return bits


def from_bits(bits: Array, dtype: DType) -> Array:
    """Return the values of `dtype` that unsigned integers of its width stand for."""
    if dtype is bfloat16:
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype is bool_:
        return np.not_equal(bits, 0)
    return np.asarray(bits.view(numpy_dtype(dtype)))


@np.errstate(all="ignore")
def round_to(array: Array, dtype: DType) -> Array:
    """Return numbers rounded once, to nearest even, in the float type `dtype`."""
    if dtype is not bfloat16:
        return array.astype(numpy_dtype(dtype))
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    # Down to float32 with the last bit set where bits are lost, so that it never looks like a tie.
    narrow = array.astype(np.float32)
    narrow = _to_odd(narrow, np.sign(array - narrow.astype(array.dtype)))
    bits = narrow.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) & np.uint32(0xFFFF0000)
    quiet = (bits | np.uint32(0x00400000)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(narrow), quiet, rounded).view(np.float32)


def _to_odd(nearest: Array, error: Array) -> Array:
    """Return the neighbour with an odd fraction where the sign of `error` says bits were lost."""
    bits: Array = nearest.view(np.uint64 if nearest.dtype == np.float64 else np.uint32)
    is_even = bits % 2 == 0
    towards = np.nextafter(nearest, np.where(error > 0, np.inf, -np.inf).astype(nearest.dtype))
    inexact = (error != 0) & np.isfinite(error)
    return np.where(inexact & is_even, towards, nearest)


def from_integers(array: Array, dtype: DType) -> Array:
    """Return integers rounded once to the float type `dtype`."""
    if dtype in (float32, float64) or array.dtype.itemsize <= 4:
        wide = array if dtype in (float32, float64) else array.astype(np.float64)
        return round_to(wide, dtype)
    wide = array.astype(np.float64)  # may be inexact: then the last bit is set
    back = np.array([int(x) for x in wide.ravel()], object).reshape(array.shape)
    error = np.sign(np.asarray(array.astype(object) - back, np.float64))
    return round_to(_to_odd(wide, error), dtype)


def apply(op: Op, dtype: DType, arrays: list[Array], sources: list[DType]) -> Array:
    """Return an elementwise operation of arrays that broadcast.

    Args:
        op: row of the table.
        dtype: of the result.
        arrays: one per operand, held as `numpy_dtype` says.
        sources: dtype of each operand.
    """
    assert op.meaning is not None, f"{op} is not elementwise"
    with np.errstate(all="ignore"):
        value = np.asarray(op.meaning(NumpyAlgebra(sources[-1], dtype), *arrays))
        if dtype is bfloat16 and op not in _EXACT:
            return round_to(value, dtype)
        return value.astype(numpy_dtype(dtype), copy=False)


_EXACT = frozenset({ops.WHERE, ops.BITCAST, ops.CAST, ops.MAXIMUM, ops.MINIMUM})
_erf = np.frompyfunc(math.erf, 1, 1)
_erfc = np.frompyfunc(math.erfc, 1, 1)


def _widen(function: Callable[..., Any]) -> Callable[..., Array]:
    """Return a method that computes in float64 and rounds once to the dtype of the result."""

    def method(m: NumpyAlgebra, *arrays: Array) -> Array:
        wide = np.asarray(function(*[array.astype(np.float64) for array in arrays]))
        return round_to(wide.astype(np.float64, copy=False), m.target)

    return method


class NumpyAlgebra:
    """What `Op.meaning` needs besides Python's operators.

    Args:
        source: dtype of the operands.
        target: dtype of the result.
    """

    def __init__(self, source: DType, target: DType) -> None:
        self.source, self.target = source, target

    # fmt: off
    def like(self, a: Array, value: int) -> Array: return np.asarray(value).astype(a.dtype)
    def where(self, c: Array, a: Array, b: Array) -> Array: return np.where(c, a, b)
    def less(self, a: Array, b: Array) -> Array: return np.less(a, b)
    def less_equal(self, a: Array, b: Array) -> Array: return np.less_equal(a, b)
    def equal(self, a: Array, b: Array) -> Array: return np.equal(a, b)
    def not_equal(self, a: Array, b: Array) -> Array: return np.not_equal(a, b)
    def isnan(self, a: Array) -> Array: return np.not_equal(a, a)
    def absolute(self, a: Array) -> Array: return np.absolute(a)
    def invert(self, a: Array) -> Array: return np.invert(a)
    def true_divide(self, a: Array, b: Array) -> Array: return np.true_divide(a, b)
    def floor(self, a: Array) -> Array: return np.floor(a)
    def ceil(self, a: Array) -> Array: return np.ceil(a)
    def trunc(self, a: Array) -> Array: return np.trunc(a)
    def rint(self, a: Array) -> Array: return np.rint(a)
    # fmt: on
    sqrt = _widen(np.sqrt)
    rsqrt = _widen(lambda a: 1.0 / np.sqrt(a))
    exp, exp2, expm1 = _widen(np.exp), _widen(np.exp2), _widen(np.expm1)
    log, log2, log10, log1p = (_widen(f) for f in (np.log, np.log2, np.log10, np.log1p))
    sin, cos, tan = _widen(np.sin), _widen(np.cos), _widen(np.tan)
    asin, acos, atan, atan2 = (_widen(f) for f in (np.arcsin, np.arccos, np.arctan, np.arctan2))
    sinh, cosh, tanh = _widen(np.sinh), _widen(np.cosh), _widen(np.tanh)
    asinh, acosh, atanh = _widen(np.arcsinh), _widen(np.arccosh), _widen(np.arctanh)
    erf, erfc, pow = _widen(_erf), _widen(_erfc), _widen(np.power)

    def truncdiv(self, a: Array, b: Array) -> Array:
        """Quotient towards zero; 0 if b is 0."""
        safe = np.where(b == 0, np.ones_like(b), b)
        floor = np.floor_divide(a, safe)
        is_inexact = floor * safe != a
        quotient = floor + (is_inexact & ((a < 0) != (b < 0))).astype(a.dtype)
        return np.asarray(np.where(b == 0, np.zeros_like(quotient), quotient))

    def _count(self, b: Array) -> Array:
        width = self.source.bits or INDEX_WIDTH
        return np.asarray(b & np.asarray(width - 1, b.dtype))

    def shift_left(self, a: Array, b: Array) -> Array:
        """The count is taken modulo the width."""
        return np.asarray(np.left_shift(a, self._count(b)))

    def shift_right(self, a: Array, b: Array) -> Array:
        """Arithmetic for signed types; the count is taken modulo the width."""
        return np.asarray(np.right_shift(a, self._count(b)))

    def bitcast(self, a: Array) -> Array:
        """The same bits as another type."""
        return from_bits(
            to_bits(np.ascontiguousarray(a).reshape(a.shape), self.source), self.target
        )

    def cast(self, a: Array) -> Array:
        """Convert as the table says: saturate from floats, wrap between integers."""
        source, target = self.source, self.target
        if target.kind is Kind.BOOL:
            return np.not_equal(a, 0)
        if target.is_float:
            return round_to(a, target) if source.is_float else from_integers(a, target)
        if not source.is_float:
            return a.astype(numpy_dtype(target))
        low, high = (int64 if target is index else target).limits()
        held, whole = numpy_dtype(target), np.trunc(a.astype(np.float64))
        below, above = whole <= float(low), whole >= float(high)  # the end itself counts: 2**63
        inside = np.where(np.isnan(whole) | below | above, 0.0, whole).astype(held)
        ends = np.where(below, np.asarray(low, held), np.asarray(high, held))
        return np.asarray(np.where(below | above, ends, inside))

    def fma(self, a: Array, b: Array, c: Array) -> Array:
        """Return a * b + c, rounded once."""
        if self.target is float64:
            return _fma_double(a, b, c)
        product = a.astype(np.float64) * b.astype(np.float64)  # exact: 24 + 24 bits
        total, error = _two_sum(product, c.astype(np.float64))
        return round_to(_to_odd(total, error), self.target)


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the rounded sum and its exact error (Knuth, TAOCP 4.2.2, theorem B)."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def _fma_double(a: Array, b: Array, c: Array) -> Array:
    """Return a * b + c rounded once (Boldo and Melquiond 2008), or exactly where that overflows."""
    a, b, c = np.broadcast_arrays(a, b, c)
    high, low = _two_product(a, b)
    first, first_error = _two_sum(c, low)
    second, second_error = _two_sum(high, first)
    rest, rest_error = _two_sum(second_error, first_error)
    out = np.asarray(second + _to_odd(rest, rest_error))
    sizes = [np.abs(x) for x in (a, b, c, high)]
    # Within these sizes nothing overflows, and no error term is subnormal.
    safe = np.all([(s < 2.0**450) & ((s > 2.0**-450) | (s == 0)) for s in sizes], axis=0)
    safe &= out != 0
    if not safe.all():
        out = out.copy()
        scalar = algebra.ScalarAlgebra(float64, float64)
        for i in np.ndindex(*a.shape):
            if not safe[i]:
                out[i] = scalar.fma(float(a[i]), float(b[i]), float(c[i]))
    return out


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the rounded product and its exact error (Dekker 1971, Veltkamp's splitting)."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _split(a), _split(b)
    error = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)
    return product, error


def _split(a: Array) -> tuple[Array, Array]:
    scaled = a * 134217729.0  # 2**27 + 1: halves of 26 bits
    high = scaled - (scaled - a)
    return high, a - high
