"""Replace operations that a target does not have by operations it has.

A composite operation is replaced by its own definition, run over graph nodes; a transcendental one
by its decomposition; arithmetic of half precision by that of float32, rounded after each operation;
division by a power of two by a shift.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from inkle.errors import RenderError
from inkle.ir import ops
from inkle.ir.dtype import DType, Kind, bool_, float32, int32
from inkle.ir.elementwise import Scalar
from inkle.ir.forms import CONST
from inkle.ir.node import Node, const, toposort
from inkle.ir.op import Op
from inkle.rewrite.engine import RuleSet
from inkle.rewrite.known import Known
from inkle.rewrite.pattern import hole
from inkle.rewrite.rule import FunctionRule
from inkle.rules import arithmetic, bits, boolean, floats, select
from inkle.rules.cast import cast_of_cast
from inkle.rules.half import fma_of_half, from_half, to_half
from inkle.rules.transcendental import DECOMPOSITIONS

Supported = Callable[[Op, DType], bool]
HALVES = ("float16", "bfloat16")
_CLEANING = (
    *arithmetic.RULES,
    *bits.RULES,
    *boolean.RULES,
    *select.RULES,
    *floats.RULES,
    cast_of_cast,
)
_rule_sets: weakref.WeakKeyDictionary[Supported, RuleSet] = weakref.WeakKeyDictionary()


class NodeAlgebra:
    """What `Op.meaning` needs besides Python's operators, over graph nodes.

    Primitives that are operations of the table apply that operation.
    """

    _NAMES = {  # noqa: RUF012 - a table
        "absolute": ops.ABS, "invert": ops.NOT, "true_divide": ops.DIV,
        "shift_left": ops.SHL, "shift_right": ops.SHR,
    }  # fmt: skip

    def __getattr__(self, name: str) -> Callable[..., Node]:
        op = self._NAMES.get(name) or ops.TABLE[name]
        return lambda first, *others: first.apply(op, *[first.wrap(each) for each in others])

    @staticmethod
    def like(a: Node, value: Scalar) -> Node:
        """Return `value` as a constant of the dtype of `a`."""
        return const(value, a.dtype)

    @staticmethod
    def where(condition: Node, a: Node, b: Node) -> Node:
        """Return `a` where `condition`, else `b`."""
        return condition.where(a, b)

    @staticmethod
    def less(a: Node | Scalar, b: Node | Scalar) -> Node:
        """Return a < b; either may be a Python number."""
        if isinstance(a, Node):
            return a.less(b)
        assert isinstance(b, Node)
        return b.wrap(a).less(b)

    @staticmethod
    def isnan(a: Node) -> Node:
        """Return whether `a` is not a number."""
        return a.ne(a) if a.dtype.is_float else const(False, bool_)


_ALGEBRA: Any = NodeAlgebra()


def decompose(roots: Sequence[Node], supported: Supported) -> list[Node]:
    """Return `roots` with operations the target has.

    Args:
        roots: nodes of tensor or loop form.
        supported: whether the target has an operation on operands of a dtype; a cast must be
            supported on both of its dtypes. The same function gives the same remembered results.

    Raises:
        RenderError: if an operation that is neither composite nor transcendental is not supported.
    """
    rules = _rule_sets.get(supported)
    if rules is None:
        rules = _rule_sets[supported] = RuleSet((_expansion(supported), *_CLEANING))
    results = rules.rewrite(roots)
    for node in toposort(results):
        if node.op.is_elementwise and not is_supported(node, supported):
            raise RenderError(
                f"the target has no {node.op} on {node.src[-1].dtype}, and no definition makes it "
                f"from other operations"
            )
    return results


def is_supported(node: Node, supported: Supported) -> bool:
    """Whether the target has the elementwise operation of `node`."""
    if not supported(node.op, node.src[-1].dtype):
        return False
    return node.op is not ops.CAST or supported(ops.CAST, node.dtype)


def expand(node: Node, supported: Supported) -> Node | None:
    """Return an equal graph of other operations, or None if there is none."""
    op, dtype = node.op, node.src[-1].dtype
    if op is ops.CAST:
        return _expand_cast(node, supported)
    if dtype.name in HALVES:
        return _in_float32(node)
    if op.name in DECOMPOSITIONS:
        return DECOMPOSITIONS[op.name](*node.src)
    if dtype.kind is not Kind.FLOAT and op in (ops.FLOORDIV, ops.FLOORMOD):
        simple = _simple_division(node, supported)
        if simple is not None:
            return simple
    if op.composite and op.meaning is not None:
        result = op.meaning(_ALGEBRA, *node.src)
        assert isinstance(result, Node)
        return result
    return None


def _expand_cast(node: Node, supported: Supported) -> Node | None:
    x = node.src[0]
    if x.dtype.name in HALVES and not supported(ops.CAST, x.dtype):
        wide = from_half(x)
        return wide if node.dtype is float32 else wide.cast(node.dtype)
    if node.dtype.name in HALVES and not supported(ops.CAST, node.dtype):
        return to_half(x, node.dtype)
    return None


def _in_float32(node: Node) -> Node | None:
    """Compute in float32 and round: its 24 bits are enough that rounding twice rounds once.

    (2 * 11 + 2 <= 24 covers + - * / and sqrt; fma needs more and has its own way.)
    """
    if node.op is ops.FMA:
        return fma_of_half(node)
    if node.op is ops.BITCAST:
        return None
    sources = [each.cast(float32) if each.dtype is not bool_ else each for each in node.src]
    wide = sources[0].apply(node.op, *sources[1:])
    return wide.cast(node.dtype) if node.dtype.is_float else wide


def _simple_division(node: Node, supported: Supported) -> Node | None:
    """Return a floor division by shift or mask, or by truncation where both sides are positive."""
    x, y = node.src
    is_quotient = node.op is ops.FLOORDIV
    if y.op is CONST and y.arg > 0 and y.arg & (y.arg - 1) == 0 and x.dtype.bits:
        divisor = int(y.arg)
        if is_quotient and supported(ops.SHR, x.dtype):
            return x >> (divisor.bit_length() - 1)
        if not is_quotient and supported(ops.AND, x.dtype):
            return x & (divisor - 1)
    known = Known()
    zero = x.wrap(0)
    if known.less_equal(zero, x) and known.less_equal(zero, y):
        return x.truncdiv(y) if is_quotient else x.truncmod(y)
    return None


def _expansion(supported: Supported) -> FunctionRule:
    def apply(node: Node, known: Known) -> Node | None:
        return None if is_supported(node, supported) else expand(node, supported)

    return FunctionRule("expansion", tuple(ops.TABLE.values()), None, apply, _samples)


def _samples() -> Iterable[Node]:
    x, y = hole("x", int32), hole("y", int32)
    return [x // y, x % y, x.truncmod(y), x.maximum(y), x.minimum(y), x.sign(), x // 8, x % 8]
