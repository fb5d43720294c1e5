"""Comparison, logic, bits and selection, element by element."""

from __future__ import annotations

from typing import Any, Self

from inkle.errors import DTypeError
from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import Kind, bool_, int16, int32, int64, uint8
from inkle.ir.elementwise import Scalar
from inkle.ir.node import Node, elementwise
from inkle.ir.op import Op
from inkle.tensor.arguments import Flag, broadcast_shape
from inkle.tensor.arithmetic import Arithmetic
from inkle.tensor.base import Core, meet
from inkle.tensor.dtypes import as_dtype


class Comparison(Arithmetic):
    """Mixin of comparison, logic and selection."""

    __slots__ = ()

    # --- comparison -------------------------------------------------------------------------------

    def _compare(self, op: Op, other: Any, *, reflected: Flag = False) -> Self:
        a, b = self._pair(other, op.name)
        if a.dtype is bool_ and Kind.BOOL not in op.kinds:
            a, b = a.cast(uint8), b.cast(uint8)
        return self._new(elementwise(op, (b, a) if reflected else (a, b)))

    def eq(self, other: Any) -> Self:
        """Return where both sides are equal (NaN equals nothing)."""
        return self._compare(ops.EQUAL, other)

    def ne(self, other: Any) -> Self:
        """Return where the sides differ."""
        return self._compare(ops.NOT_EQUAL, other)

    def __eq__(self, other: object) -> Self:  # type: ignore[override]  # elementwise, as in NumPy
        if other is None or isinstance(other, str):
            return NotImplemented
        return self._compare(ops.EQUAL, other)

    def __ne__(self, other: object) -> Self:  # type: ignore[override]  # elementwise, as in NumPy
        if other is None or isinstance(other, str):
            return NotImplemented
        return self._compare(ops.NOT_EQUAL, other)

    __hash__ = object.__hash__  # identity: tensors are keys of dictionaries, whatever they hold

    def lt(self, other: Any) -> Self:
        """Return where self is less than `other`."""
        return self._compare(ops.LESS, other)

    def le(self, other: Any) -> Self:
        """Return where self is not above `other` (and neither is NaN)."""
        return self._compare(ops.LESS_EQUAL, other)

    def gt(self, other: Any) -> Self:
        """Return where self is greater than `other`."""
        return self._compare(ops.LESS, other, reflected=True)

    def ge(self, other: Any) -> Self:
        """Return where self is not below `other` (and neither is NaN)."""
        return self._compare(ops.LESS_EQUAL, other, reflected=True)

    def isnan(self) -> Self:
        """Return where elements are NaN."""
        node = self.node
        if not node.dtype.is_float:
            return self._new(tensor.full(False, bool_, node.shape))
        return self._new(node.ne(node))

    def isinf(self, *, detect_positive: Flag = True, detect_negative: Flag = True) -> Self:
        """Return where elements are infinite, of either sign or of the chosen one."""
        node = self._float()
        positive, negative = node.eq(float("inf")), node.eq(-float("inf"))
        if detect_positive and detect_negative:
            return self._new(positive | negative)
        if detect_positive or detect_negative:
            return self._new(positive if detect_positive else negative)
        return self._new(tensor.full(False, bool_, node.shape))

    def isfinite(self) -> Self:
        """Return where elements are neither infinite nor NaN."""
        node = self._float()
        return self._new(node.abs() < float("inf"))

    def isclose(
        self, other: Any, rtol: Any = 1e-5, atol: Any = 1e-8, *, equal_nan: Flag = False
    ) -> Self:
        """Return where `|x - y| <= atol + rtol * |y|`; equal infinities are close."""
        a, b = self._divisible(other, "isclose")
        bound = b.abs() * rtol + atol
        close = (((a - b).abs() <= bound) & (bound < float("inf"))) | a.eq(b)
        return self._new(close | (a.ne(a) & b.ne(b)) if equal_nan else close)

    # --- bits and logic ---------------------------------------------------------------------------

    def bitwise_and(self, other: Any) -> Self:
        """Return the bits set on both sides; of bools, whether both are true."""
        return self._binary(ops.AND, other)

    def bitwise_or(self, other: Any) -> Self:
        """Return the bits set on either side; of bools, whether one is true."""
        return self._binary(ops.OR, other)

    def bitwise_xor(self, other: Any) -> Self:
        """Return the bits set on exactly one side."""
        return self._binary(ops.XOR, other)

    def bitwise_not(self) -> Self:
        """Return every bit flipped; of bools, the opposite."""
        return self._new(elementwise(ops.NOT, (self.node,)))

    def lshift(self, count: Any) -> Self:
        """Return the bits moved left by `count`, taken modulo the width."""
        return self._binary(ops.SHL, count)

    def rshift(self, count: Any) -> Self:
        """Return the bits moved right by `count`, taken modulo the width; signed: arithmetic."""
        return self._binary(ops.SHR, count)

    def __rlshift__(self, other: Scalar) -> Self:
        return self._reflected(ops.SHL, other)

    def __rrshift__(self, other: Scalar) -> Self:
        return self._reflected(ops.SHR, other)

    def logical_not(self) -> Self:
        """Return where elements are zero."""
        return self._new(~self.node.cast(bool_))

    def logical_and(self, other: Any) -> Self:
        """Return where neither side is zero."""
        a, b = self._pair(other, "logical_and")
        return self._new(a.cast(bool_) & b.cast(bool_))

    def logical_xor(self, other: Any) -> Self:
        """Return where exactly one side is not zero."""
        a, b = self._pair(other, "logical_xor")
        return self._new(a.cast(bool_) ^ b.cast(bool_))

    def logical_or(self, other: Any) -> Self:
        """Return where at least one side is not zero."""
        a, b = self._pair(other, "logical_or")
        return self._new(a.cast(bool_) | b.cast(bool_))

    # --- selection --------------------------------------------------------------------------------

    def where(self, x: Any, y: Any) -> Self:
        """Return `x` where self is true, else `y`.

        Args:
            x: tensor or number.
            y: tensor or number.

        Returns:
            Tensor of the common shape of the three, in the common dtype of `x` and `y`.

        Raises:
            DTypeError: if self is not bool.
        """
        condition = self.node
        if condition.dtype is not bool_:
            raise DTypeError(
                f"where needs a bool condition, got {condition.dtype}; compare it first"
            )
        a, b = self._branches(x, y)
        shape = broadcast_shape(
            condition.shape, broadcast_shape(a.shape, b.shape, "where"), "where"
        )
        sources = [n if n.op is forms.CONST else tensor.broadcast_to(n, shape)
                   for n in (condition, a, b)]  # fmt: skip
        return self._new(elementwise(ops.WHERE, tuple(sources)))

    def _branches(self, x: Any, y: Any) -> tuple[Node, Node]:
        if isinstance(x, Core):
            return x._pair(y, "where")
        if isinstance(y, Core):
            b, a = y._pair(x, "where")
            return a, b
        first, second = self._operand(x, "where"), self._operand(y, "where")
        a, b = (
            each if isinstance(each, Node) else tensor.full(each, as_dtype(type(each)), ())
            for each in (first, second)
        )
        dtype = meet(a, b)
        return a.cast(dtype), b.cast(dtype)

    def masked_fill(self, mask: Any, value: Any) -> Self:
        """Return `value` where `mask` is true, else self."""
        if not isinstance(mask, Comparison):
            raise DTypeError(f"masked_fill needs a bool tensor as mask, got {mask!r:.60}")
        return self._new(mask.where(value, self).node.cast(self.dtype))

    def copysign(self, other: Any) -> Self:
        """Return the size of each element of self with the sign of `other` (that of -0.0 too)."""
        a, b = self._divisible(other, "copysign")
        bits = {64: int64, 32: int32, 16: int16}[b.dtype.bits]
        negative = b.bitcast(bits) < 0
        return self._new(negative.where(-a.abs(), a.abs()))

    __lt__, __le__, __gt__, __ge__ = lt, le, gt, ge
    less, less_equal, greater, greater_equal = lt, le, gt, ge
    not_equal = ne
    bitwise_left_shift, bitwise_right_shift = lshift, rshift
    __invert__ = bitwise_not
    __and__ = __rand__ = bitwise_and
    __or__ = __ror__ = bitwise_or
    __xor__ = __rxor__ = bitwise_xor
    __lshift__, __rshift__ = lshift, rshift
