"""float16 and bfloat16 in terms of float32, float64 and bits, for targets that lack them.

Rounding is to nearest even, once. Where a wider value passes through an intermediate format on its
way, it is rounded *to odd* there first: the lowest bit records that something was lost, so that no
tie is invented (Boldo and Melquiond 2008).
"""

from __future__ import annotations

from inkle.ir.dtype import (
    DType,
    bfloat16,
    bool_,
    float32,
    float64,
    int32,
    int64,
    uint16,
    uint32,
    uint64,
)
from inkle.ir.node import Node

_INFINITY, _MAGNITUDE = 0x7F800000, 0x7FFFFFFF  # of float32


def from_half(x: Node) -> Node:
    """Return float16 or bfloat16 `x` as float32; exact."""
    stored = x.bitcast(uint16).cast(uint32)
    if x.dtype is bfloat16:
        return (stored << 16).bitcast(float32)
    sign, magnitude = (stored & 0x8000) << 16, stored & 0x7FFF
    # Aligned with float32's fields, the exponent is 112 too small; a product mends subnormals too.
    scaled = ((magnitude << 13).bitcast(float32) * 2.0**112).bitcast(uint32)
    special = (magnitude << 13) | _INFINITY
    return ((magnitude < 0x7C00).where(scaled, special) | sign).bitcast(float32)


def to_half(x: Node, target: DType) -> Node:
    """Return `x` of any dtype as `target`, float16 or bfloat16, rounded once."""
    narrow = _to_float32(x)
    stored = narrow.bitcast(uint32)
    sign, magnitude = (stored >> 16) & 0x8000, stored & _MAGNITUDE
    rounded = _bfloat16_bits(magnitude) if target is bfloat16 else _float16_bits(magnitude)
    return (rounded | sign).cast(uint16).bitcast(target)


def _bfloat16_bits(magnitude: Node) -> Node:
    """Return the 15 low bits of the bfloat16 nearest to a float32 given by its 31 low bits."""
    rounded = (magnitude + 0x7FFF + ((magnitude >> 16) & 1)) >> 16
    return (magnitude <= _INFINITY).where(rounded, 0x7FC0)


def _float16_bits(magnitude: Node) -> Node:
    """Return the 15 low bits of the float16 nearest to a float32 given by its 31 low bits."""
    rounded = (magnitude + 0xFFF + ((magnitude >> 13) & 1) - (112 << 23)) >> 13
    # Added to 0.5, whose last bit is worth 2**-24, a small number is rounded to a subnormal.
    subnormal = (magnitude.bitcast(float32) + 0.5).bitcast(uint32) - 0x3F000000
    finite = (magnitude < 0x38800000).where(subnormal, (rounded < 0x7C00).where(rounded, 0x7C00))
    special = (magnitude <= _INFINITY).where(magnitude.wrap(0x7C00), 0x7E00)
    return (magnitude < _INFINITY).where(finite, special)


def _to_float32(x: Node) -> Node:
    """Return `x` as float32; rounded to odd where it is not exact."""
    if x.dtype is float64:
        return _round_to_odd(x)
    if x.dtype.is_float or x.dtype is bool_ or x.dtype.bits in (8, 16):
        return x.cast(float32)
    if x.dtype is int32 or x.dtype is uint32:
        return _round_to_odd(x.cast(float64))
    # 64 bits do not fit 53: the low 12 bits are folded into one, which is far below any tie.
    if x.dtype is uint64:
        high, low, is_short = x & ~0xFFF, x & 0xFFF, x < 1 << 53
    else:
        x = x if x.dtype is int64 else x.cast(int64)
        high, low, is_short = x & ~0xFFF, x & 0xFFF, (((x >> 53) + 1) >> 1).eq(0)
    folded = high | low.ne(0).where(low.wrap(0x800), 0)
    return _round_to_odd(is_short.where(x, folded).cast(float64))


def _round_to_odd(x: Node) -> Node:
    """Return float64 `x` as float32, with an odd last bit where that is not exact."""
    nearest = x.cast(float32)
    stored = nearest.bitcast(uint32)
    exact = nearest.cast(float64)
    away = abs(x) < abs(exact)
    odd = (stored & 1).ne(0).where(stored, away.where(stored - 1, stored + 1))
    return (exact.eq(x) | x.ne(x)).where(stored, odd).bitcast(float32)


def fma_of_half(node: Node) -> Node:
    """Return the fma of half-precision operands, rounded once.

    The product is exact in float64. What the sum loses is found by Knuth's two-sum, and recorded in
    the last bit.
    """
    a, b, c = (source.cast(float64) for source in node.src)
    product = a * b
    total = product + c
    part = total - product
    error = (product - (total - part)) + (c - part)
    stored = total.bitcast(uint64)
    grows = (error < 0.0).eq(total < 0.0)
    odd = (stored & 1).ne(0).where(stored, grows.where(stored + 1, stored - 1))
    inexact = error.ne(0.0) & error.eq(error) & total.eq(total)
    return inexact.where(odd, stored).bitcast(float64).cast(node.dtype)
