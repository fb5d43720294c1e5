"""Casts and arithmetic, element by element.

Two tensors meet in a common dtype and a common shape (axes align at the end, length 1 repeats). A
Python number takes the dtype of the tensor beside it, as long as its family fits: a float makes
float32 of integers.
"""

from __future__ import annotations

from typing import Any, Self

from inkle.errors import DTypeError, OptionError
from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import Kind, bool_, float16, float32, float64, int16, int32, int64
from inkle.ir.dtype import bfloat16 as bfloat16_
from inkle.ir.elementwise import Scalar
from inkle.ir.node import Node, const, elementwise
from inkle.ir.op import Op
from inkle.tensor.arguments import Flag, Int, as_int, check_choice
from inkle.tensor.base import Core
from inkle.tensor.dtypes import DTypeLike, as_dtype

WHOLE_POWERS = (0, 1, 2, 3, 4)  # x ** n is a product: exact, and quicker than pow


class Arithmetic(Core):
    """Mixin of casts and arithmetic."""

    __slots__ = ()

    # --- dtype ------------------------------------------------------------------------------------

    def cast(self, dtype: DTypeLike) -> Self:
        """Return the elements converted to `dtype`.

        Floats become integers by truncation, out of range by saturation, NaN by 0; integers wrap.

        Example:
            >>> Tensor([1.9, -1.9]).cast("int32").tolist()
            [1, -1]
        """
        node = self.node
        target = as_dtype(dtype)
        return self if node.dtype is target else self._new(node.cast(target))

    def bitcast(self, dtype: DTypeLike) -> Self:
        """Return the same bits read as another dtype of the same width."""
        node = self.node
        target = as_dtype(dtype)
        if node.dtype is not target and bool_ in (node.dtype, target):
            raise DTypeError(f"bitcast of {node.dtype} to {target}: a bool has no bits; use cast")
        return self if node.dtype is target else self._new(node.bitcast(target))

    def float(self) -> Self:
        """Return the elements as float32."""
        return self.cast(float32)

    def double(self) -> Self:
        """Return the elements as float64."""
        return self.cast(float64)

    def half(self) -> Self:
        """Return the elements as float16."""
        return self.cast(float16)

    def bfloat16(self) -> Self:
        """Return the elements as bfloat16."""
        return self.cast(bfloat16_)

    def int(self) -> Self:
        """Return the elements as int32."""
        return self.cast(int32)

    def long(self) -> Self:
        """Return the elements as int64."""
        return self.cast(int64)

    def short(self) -> Self:
        """Return the elements as int16."""
        return self.cast(int16)

    def bool(self) -> Self:
        """Return whether each element is not zero (NaN is not)."""
        return self.cast(bool_)

    # --- arithmetic -------------------------------------------------------------------------------

    def _arithmetic(self, op: Op, logical: Op, other: Any, *, reflected: Flag = False) -> Self:
        """Apply `op`, or `logical` where both sides are bool, as PyTorch does."""
        a, b = self._pair(other, op.name)
        if a.dtype is bool_:
            op = logical
        return self._new(elementwise(op, (b, a) if reflected else (a, b)))

    def add(self, other: Any) -> Self:
        """Return the sum; of bools, their "or"."""
        return self._arithmetic(ops.ADD, ops.OR, other)

    def mul(self, other: Any) -> Self:
        """Return the product; of bools, their "and"."""
        return self._arithmetic(ops.MUL, ops.AND, other)

    def sub(self, other: Any) -> Self:
        """Return the difference.

        Raises:
            DTypeError: for two bools; use `x ^ y` or `x & ~y`.
        """
        return self._binary(ops.SUB, other)

    def __rsub__(self, other: Scalar) -> Self:
        return self._reflected(ops.SUB, other)

    def _divisible(self, other: Any, what: str) -> tuple[Node, Node]:
        a, b = self._pair(other, what)
        return (a, b) if a.dtype.is_float else (a.cast(float32), b.cast(float32))

    def div(self, other: Any, rounding_mode: str | None = None) -> Self:
        """Return the quotient as a float (integers become float32 first).

        Args:
            other: tensor or number.
            rounding_mode: "floor" is `//`; "trunc" rounds towards zero. Both keep integers.

        Returns:
            Tensor of the common shape.
        """
        if rounding_mode is None:
            return self._new(elementwise(ops.DIV, self._divisible(other, "div")))
        check_choice(rounding_mode, ("floor", "trunc"), "rounding_mode")
        if rounding_mode == "floor":
            return self.floordiv(other)
        a, b = self._pair(other, "div")
        return self._new((a / b).trunc() if a.dtype.is_float else a.truncdiv(b))

    def __rtruediv__(self, other: Scalar) -> Self:
        a, b = self._divisible(other, "div")
        return self._new(elementwise(ops.DIV, (b, a)))

    def floordiv(self, other: Any) -> Self:
        """Return the quotient rounded towards minus infinity; integers: `x // 0 == 0`."""
        return self._new(_floordiv(*self._pair(other, "floordiv")))

    def __rfloordiv__(self, other: Scalar) -> Self:
        a, b = self._pair(other, "floordiv")
        return self._new(_floordiv(b, a))

    def mod(self, other: Any) -> Self:
        """Return the remainder of `//`, with the sign of the divisor; integers: `x % 0 == x`."""
        return self._new(_floormod(*self._pair(other, "mod")))

    def __rmod__(self, other: Scalar) -> Self:
        a, b = self._pair(other, "mod")
        return self._new(_floormod(b, a))

    def fmod(self, other: Any) -> Self:
        """Return the remainder of division rounded towards zero, with the sign of self."""
        a, b = self._pair(other, "fmod")
        return self._new(_fmod(a, b) if a.dtype.is_float else a.truncmod(b))

    def neg(self) -> Self:
        """Return `-x`."""
        return self._new(elementwise(ops.NEG, (self.node,)))

    def abs(self) -> Self:
        """Return the absolute value; its gradient at 0 is 0."""
        node = self.node
        unsigned = node.dtype.kind in (Kind.UINT, Kind.BOOL)
        return self._new(node if unsigned else elementwise(ops.ABS, (node,)))

    def sign(self) -> Self:
        """Return 1, -1, or the element itself where it is 0 or NaN."""
        return self._new(elementwise(ops.SIGN, (self.node,)))

    def square(self) -> Self:
        """Return `x * x`."""
        return self.mul(self)

    def reciprocal(self) -> Self:
        """Return `1 / x`."""
        node = self._float()
        return self._new(elementwise(ops.DIV, (const(1, node.dtype), node)))

    def pow(self, exponent: Any) -> Self:
        """Return `x ** exponent`; integers take whole, non-negative exponents as numbers only."""
        if isinstance(exponent, (bool, int, float)):
            return self._new(_power(self.node, exponent))
        a, b = self._pair(exponent, "pow")
        if not a.dtype.is_float:
            raise DTypeError(f"pow of {a.dtype} with a tensor needs floats; use x.float() ** y")
        return self._new(elementwise(ops.POW, (a, b)))

    def __rpow__(self, base: Scalar) -> Self:
        node = self._float()
        return self._new(tensor.full(base, node.dtype, node.shape).pow(node))

    def maximum(self, other: Any) -> Self:
        """Return the larger of each pair; NaN if either is. Equal ones share the gradient."""
        return self._arithmetic(ops.MAXIMUM, ops.OR, other)

    def minimum(self, other: Any) -> Self:
        """Return the smaller of each pair; NaN if either is. Equal ones share the gradient."""
        return self._arithmetic(ops.MINIMUM, ops.AND, other)

    def clamp(self, min: Any = None, max: Any = None) -> Self:  # noqa: A002  (PyTorch's names)
        """Return each element moved into `min` ... `max`, either of which may be missing."""
        if min is None and max is None:
            raise DTypeError("clamp needs min, max or both")
        result = self
        if min is not None:
            a, low = result._pair(min, "clamp")
            # Of floats: at a bound the whole gradient goes to the element. NaN is a bound, too.
            below = a < low if _is_number(low) else (a < low) | low.ne(low)
            result = result._new(below.where(low, a) if a.dtype.is_float else a.maximum(low))
        if max is not None:
            a, high = result._pair(max, "clamp")
            above = high < a if _is_number(high) else (high < a) | high.ne(high)
            result = result._new(above.where(high, a) if a.dtype.is_float else a.minimum(high))
        return result

    def clip(self, min: Any = None, max: Any = None) -> Self:  # noqa: A002
        """Return each element moved into `min` ... `max` (another name of `clamp`)."""
        return self.clamp(min, max)

    def lerp(self, end: Any, weight: Any) -> Self:
        """Return `x + weight * (end - x)`."""
        return self.add(self._reflected(ops.SUB, end).mul(weight))

    # --- rounding ---------------------------------------------------------------------------------

    def _rounded(self, op: Op) -> Self:
        node = self.node
        return self._new(elementwise(op, (node,)) if node.dtype.is_float else node)

    def floor(self) -> Self:
        """Return the largest whole number not above each element."""
        return self._rounded(ops.FLOOR)

    def ceil(self) -> Self:
        """Return the smallest whole number not below each element."""
        return self._rounded(ops.CEIL)

    def trunc(self) -> Self:
        """Return each element without its fraction."""
        return self._rounded(ops.TRUNC)

    def round(self, decimals: Int = 0) -> Self:
        """Return the nearest whole number, the even one of two.

        Args:
            decimals: places behind the point to keep; below 0: in front of it.

        Returns:
            Tensor like self.

        Example:
            >>> Tensor([1.25, 12.0]).round(decimals=1).tolist()
            [1.2000000476837158, 12.0]
        """
        places = as_int(decimals, "decimals of round")
        if not places:
            return self._rounded(ops.RINT)
        if abs(places) > 300:
            raise OptionError(f"round: decimals must be -300 to 300, got {places}")
        node = self._float() if self.dtype.is_float else None
        if node is None:
            raise DTypeError(f"round to decimals needs floats, got {self.dtype}")
        factor = 10.0 ** abs(places)
        scaled = node * factor if places > 0 else node / factor
        whole = elementwise(ops.RINT, (scaled,))
        return self._new(whole / factor if places > 0 else whole * factor)

    multiply, subtract, divide, true_divide = mul, sub, div, div
    floor_divide, remainder, negative, absolute = floordiv, mod, neg, abs  # noqa: A003
    __add__ = __radd__ = add
    __mul__ = __rmul__ = mul
    __sub__, __truediv__, __floordiv__, __mod__ = sub, div, floordiv, mod
    __pow__, __neg__, __abs__ = pow, neg, abs  # noqa: A003  (the methods are meant)


def _floordiv(a: Node, b: Node) -> Node:
    return (a / b).floor() if a.dtype.is_float else a // b


def _floormod(a: Node, b: Node) -> Node:
    if not a.dtype.is_float:
        return a % b
    rest = _fmod(a, b)
    wrong = rest.ne(0.0) & (rest < 0.0).ne(b < 0.0)
    return wrong.where(rest + b, rest)


def _fmod(a: Node, b: Node) -> Node:
    """Return a - trunc(a / b) * b.

    A quotient beyond the fraction's bits is a rounded one, so a second step takes what the first
    one left: exact for float32 up to |a / b| = 2**48, for float64 up to 2**106. The last unit may
    be one too much, which shows as the wrong sign.
    """
    rest = _remainder_step(_remainder_step(a, b), b)
    overshot = rest.ne(0.0) & (rest < 0.0).ne(a < 0.0)
    return overshot.where(rest + (a < 0.0).where(-b.abs(), b.abs()), rest)


def _remainder_step(a: Node, b: Node) -> Node:
    quotient = (a / b).trunc()
    # Where it is 0 the rest is a itself: 0 * inf would make NaN of 5 % inf.
    return quotient.eq(0.0).where(a, (-quotient).fma(b, a))


def _power(x: Node, exponent: Scalar) -> Node:
    """Return x ** exponent for a Python number; small whole exponents become products."""
    if x.dtype is bool_:
        x = x.cast(int64)
    if isinstance(exponent, float) and not x.dtype.is_float:
        x = x.cast(float32)
    if not x.dtype.is_float:
        if exponent < 0:
            raise DTypeError(f"{x.dtype} ** {exponent} is no integer; use x.float() ** {exponent}")
        return _whole_power(x, int(exponent))
    if exponent in WHOLE_POWERS:
        return _whole_power(x, int(exponent))
    if exponent == -1:
        return const(1, x.dtype) / x
    if exponent == 0.5:
        return x.sqrt()
    return x.pow(tensor.full(exponent, x.dtype, x.shape))


def _whole_power(x: Node, n: int) -> Node:
    """Return the product of n factors x, by repeated squaring."""
    if n == 0:
        return tensor.full(1, x.dtype, x.shape)
    result: Node | None = None
    square = x
    while n:
        if n & 1:
            result = square if result is None else result * square
        n >>= 1
        if n:
            square = square * square
    assert result is not None, n
    return result


def _is_number(bound: Node) -> bool:
    """Whether a bound is certainly not NaN."""
    return not bound.dtype.is_float or (bound.op is forms.CONST and bound.arg == bound.arg)
