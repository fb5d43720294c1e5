"""Functions of floats, element by element. Integers and bools become float32 first."""

from __future__ import annotations

import math
from typing import Any, Self

from inkle.ir import ops
from inkle.tensor.comparison import Comparison


class Functions(Comparison):
    """Mixin of roots, exponentials, logarithms and trigonometry."""

    __slots__ = ()

    def sqrt(self) -> Self:
        """Return the square root; NaN below 0."""
        return self._unary(ops.SQRT)

    def rsqrt(self) -> Self:
        """Return one over the square root."""
        return self._unary(ops.RSQRT)

    def exp(self) -> Self:
        """Return e to the power of each element."""
        return self._unary(ops.EXP)

    def exp2(self) -> Self:
        """Return 2 to the power of each element."""
        return self._unary(ops.EXP2)

    def expm1(self) -> Self:
        """Return exp(x) - 1, accurate near 0."""
        return self._unary(ops.EXPM1)

    def log(self) -> Self:
        """Return the natural logarithm; -inf at 0, NaN below."""
        return self._unary(ops.LOG)

    def log2(self) -> Self:
        """Return the logarithm to base 2."""
        return self._unary(ops.LOG2)

    def log10(self) -> Self:
        """Return the logarithm to base 10."""
        return self._unary(ops.LOG10)

    def log1p(self) -> Self:
        """Return log(1 + x), accurate near 0."""
        return self._unary(ops.LOG1P)

    def sin(self) -> Self:
        """Return the sine of radians."""
        return self._unary(ops.SIN)

    def cos(self) -> Self:
        """Return the cosine of radians."""
        return self._unary(ops.COS)

    def tan(self) -> Self:
        """Return the tangent of radians."""
        return self._unary(ops.TAN)

    def asin(self) -> Self:
        """Return the angle in radians whose sine this is; NaN outside -1 ... 1."""
        return self._unary(ops.ASIN)

    def acos(self) -> Self:
        """Return the angle in radians whose cosine this is; NaN outside -1 ... 1."""
        return self._unary(ops.ACOS)

    def atan(self) -> Self:
        """Return the angle in radians whose tangent this is."""
        return self._unary(ops.ATAN)

    def atan2(self, x: Any) -> Self:
        """Return the angle in radians of the point (x, self), in -pi ... pi."""
        a, b = self._divisible(x, "atan2")
        return self._new(a.atan2(b))

    def sinh(self) -> Self:
        """Return the hyperbolic sine."""
        return self._unary(ops.SINH)

    def cosh(self) -> Self:
        """Return the hyperbolic cosine."""
        return self._unary(ops.COSH)

    def tanh(self) -> Self:
        """Return the hyperbolic tangent."""
        return self._unary(ops.TANH)

    def asinh(self) -> Self:
        """Return the inverse of `sinh`."""
        return self._unary(ops.ASINH)

    def acosh(self) -> Self:
        """Return the inverse of `cosh`; NaN below 1."""
        return self._unary(ops.ACOSH)

    def atanh(self) -> Self:
        """Return the inverse of `tanh`; NaN outside -1 ... 1."""
        return self._unary(ops.ATANH)

    def erf(self) -> Self:
        """Return the error function."""
        return self._unary(ops.ERF)

    def erfc(self) -> Self:
        """Return 1 - erf(x), accurate for large x."""
        return self._unary(ops.ERFC)

    arcsin, arccos, arctan, arctan2 = asin, acos, atan, atan2
    arcsinh, arccosh, arctanh = asinh, acosh, atanh

    def logaddexp(self, other: Any) -> Self:
        """Return log(exp(x) + exp(y)) without overflow."""
        a, b = self._divisible(other, "logaddexp")
        high, low = a.maximum(b), a.minimum(b)
        # Equal infinities: their difference is NaN, their sum is themselves.
        gap = high.eq(low).where(0.0, low - high)
        return self._new(high + gap.exp().log1p())

    def hypot(self, other: Any) -> Self:
        """Return sqrt(x * x + y * y)."""
        a, b = self._divisible(other, "hypot")
        return self._new((a * a + b * b).sqrt())

    def deg2rad(self) -> Self:
        """Return degrees as radians."""
        return self._new(self._float() * (math.pi / 180))

    def rad2deg(self) -> Self:
        """Return radians as degrees."""
        return self._new(self._float() * (180 / math.pi))
