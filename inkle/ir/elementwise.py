"""The arithmetic surface of graph nodes: Python operators and one method per operation.

Written out, not generated, so that editors, mypy and grep see it. A test checks that every row of
`inkle.ir.ops.TABLE` has a method here. Python scalars take the dtype of the node beside them.
"""

from __future__ import annotations

from typing import Self

from inkle.ir import ops
from inkle.ir.dtype import DType
from inkle.ir.op import Op

Scalar = bool | int | float


class Elementwise:
    """Mixin. A host class provides `apply`, `wrap` and `convert`."""

    __slots__ = ()

    def apply(self, op: Op, *others: Self) -> Self:
        """Apply `op` to self and `others`."""
        raise NotImplementedError

    def wrap(self, other: Self | Scalar) -> Self:
        """Return `other` as an operand next to self; a scalar takes the dtype of self."""
        raise NotImplementedError

    def convert(self, op: Op, dtype: DType) -> Self:
        """Apply `op` (cast or bitcast) towards `dtype`."""
        raise NotImplementedError

    def _binary(self, op: Op, other: Self | Scalar) -> Self:
        return self.apply(op, self.wrap(other))

    def _reflected(self, op: Op, other: Self | Scalar) -> Self:
        return self.wrap(other).apply(op, self)

    # fmt: off
    def add(self, other: Self | Scalar) -> Self: return self._binary(ops.ADD, other)
    def sub(self, other: Self | Scalar) -> Self: return self._binary(ops.SUB, other)
    def mul(self, other: Self | Scalar) -> Self: return self._binary(ops.MUL, other)
    def div(self, other: Self | Scalar) -> Self: return self._binary(ops.DIV, other)
    def truncdiv(self, other: Self | Scalar) -> Self: return self._binary(ops.TRUNCDIV, other)
    def truncmod(self, other: Self | Scalar) -> Self: return self._binary(ops.TRUNCMOD, other)
    def floordiv(self, other: Self | Scalar) -> Self: return self._binary(ops.FLOORDIV, other)
    def floormod(self, other: Self | Scalar) -> Self: return self._binary(ops.FLOORMOD, other)
    def maximum(self, other: Self | Scalar) -> Self: return self._binary(ops.MAXIMUM, other)
    def minimum(self, other: Self | Scalar) -> Self: return self._binary(ops.MINIMUM, other)
    def atan2(self, other: Self | Scalar) -> Self: return self._binary(ops.ATAN2, other)
    def pow(self, other: Self | Scalar) -> Self: return self._binary(ops.POW, other)
    def and_(self, other: Self | Scalar) -> Self: return self._binary(ops.AND, other)
    def or_(self, other: Self | Scalar) -> Self: return self._binary(ops.OR, other)
    def xor(self, other: Self | Scalar) -> Self: return self._binary(ops.XOR, other)
    def shl(self, other: Self | Scalar) -> Self: return self._binary(ops.SHL, other)
    def shr(self, other: Self | Scalar) -> Self: return self._binary(ops.SHR, other)
    def less(self, other: Self | Scalar) -> Self: return self._binary(ops.LESS, other)
    def less_equal(self, other: Self | Scalar) -> Self: return self._binary(ops.LESS_EQUAL, other)
    def equal(self, other: Self | Scalar) -> Self: return self._binary(ops.EQUAL, other)
    def not_equal(self, other: Self | Scalar) -> Self: return self._binary(ops.NOT_EQUAL, other)
    def neg(self) -> Self: return self.apply(ops.NEG)
    def abs(self) -> Self: return self.apply(ops.ABS)
    def sign(self) -> Self: return self.apply(ops.SIGN)
    def floor(self) -> Self: return self.apply(ops.FLOOR)
    def ceil(self) -> Self: return self.apply(ops.CEIL)
    def trunc(self) -> Self: return self.apply(ops.TRUNC)
    def rint(self) -> Self: return self.apply(ops.RINT)
    def sqrt(self) -> Self: return self.apply(ops.SQRT)
    def rsqrt(self) -> Self: return self.apply(ops.RSQRT)
    def exp(self) -> Self: return self.apply(ops.EXP)
    def exp2(self) -> Self: return self.apply(ops.EXP2)
    def expm1(self) -> Self: return self.apply(ops.EXPM1)
    def log(self) -> Self: return self.apply(ops.LOG)
    def log2(self) -> Self: return self.apply(ops.LOG2)
    def log10(self) -> Self: return self.apply(ops.LOG10)
    def log1p(self) -> Self: return self.apply(ops.LOG1P)
    def sin(self) -> Self: return self.apply(ops.SIN)
    def cos(self) -> Self: return self.apply(ops.COS)
    def tan(self) -> Self: return self.apply(ops.TAN)
    def asin(self) -> Self: return self.apply(ops.ASIN)
    def acos(self) -> Self: return self.apply(ops.ACOS)
    def atan(self) -> Self: return self.apply(ops.ATAN)
    def sinh(self) -> Self: return self.apply(ops.SINH)
    def cosh(self) -> Self: return self.apply(ops.COSH)
    def tanh(self) -> Self: return self.apply(ops.TANH)
    def asinh(self) -> Self: return self.apply(ops.ASINH)
    def acosh(self) -> Self: return self.apply(ops.ACOSH)
    def atanh(self) -> Self: return self.apply(ops.ATANH)
    def erf(self) -> Self: return self.apply(ops.ERF)
    def erfc(self) -> Self: return self.apply(ops.ERFC)
    def not_(self) -> Self: return self.apply(ops.NOT)
    def cast(self, dtype: DType) -> Self: return self.convert(ops.CAST, dtype)
    def bitcast(self, dtype: DType) -> Self: return self.convert(ops.BITCAST, dtype)

    def fma(self, other: Self | Scalar, addend: Self | Scalar) -> Self:
        """Return `self * other + addend`, rounded once."""
        return self.apply(ops.FMA, self.wrap(other), self.wrap(addend))

    def where(self, a: Self | Scalar, b: Self | Scalar) -> Self:
        """Return `a` where self is true, else `b`; one of them must not be a Python scalar."""
        if isinstance(a, Elementwise):
            return self.apply(ops.WHERE, a, a.wrap(b))
        if isinstance(b, Elementwise):
            return self.apply(ops.WHERE, b.wrap(a), b)
        raise TypeError(f"where({a!r}, {b!r}): one branch must not be a Python scalar, so that "
                        f"the result has a dtype; wrap one of them with const()")

    eq, ne = equal, not_equal      # not __eq__: equality of nodes is identity
    __add__, __sub__, __mul__, __truediv__ = add, sub, mul, div
    __floordiv__, __mod__, __neg__, __invert__, __abs__ = floordiv, floormod, neg, not_, abs
    __and__, __or__, __xor__, __lshift__, __rshift__ = and_, or_, xor, shl, shr
    __lt__, __le__ = less, less_equal
    def __gt__(self, other: Self | Scalar) -> Self: return self._reflected(ops.LESS, other)
    def __ge__(self, other: Self | Scalar) -> Self: return self._reflected(ops.LESS_EQUAL, other)
    def __radd__(self, other: Scalar) -> Self: return self._reflected(ops.ADD, other)
    def __rsub__(self, other: Scalar) -> Self: return self._reflected(ops.SUB, other)
    def __rmul__(self, other: Scalar) -> Self: return self._reflected(ops.MUL, other)
    def __rtruediv__(self, other: Scalar) -> Self: return self._reflected(ops.DIV, other)
    # fmt: on
