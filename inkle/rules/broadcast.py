"""Rules of the tensor form about constants that were given a shape.

A constant stays a scalar as long as an operation beside it has the shape; where it must have one,
`full` is the only spelling.
"""

from __future__ import annotations

from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import float32
from inkle.ir.node import Node, intern
from inkle.rewrite.known import Known
from inkle.rewrite.rule import function_rule

_X = tensor.param(0, float32, (2, 3))
_ONE = tensor.full(1.0, float32, (2, 3))
_BROADCASTS = frozenset({forms.EXPAND, forms.RESHAPE})
_KEEP_CONSTANTS = (
    forms.RESHAPE, forms.EXPAND, forms.PERMUTE, forms.SLICE, forms.FLIP, forms.CONTIGUOUS,
    forms.DETACH,
)  # fmt: skip


def constant_below(node: Node) -> Node | None:
    """Return the CONST that `node` repeats, or None."""
    while node.op in _BROADCASTS:
        node = node.src[0]
    return node if node.op is forms.CONST else None


@function_rule(
    "scalar_constant",
    tuple(op for op in ops.TABLE.values() if op.arity > 1),
    None,
    lambda: [_X * _ONE, _ONE - _X, (_X < 0.0).where(_ONE, _X)],
)
def scalar_constant(node: Node, known: Known) -> Node | None:
    """Use constants as scalars in operations that have their shape from another source."""
    if not node.shape:
        return None
    constants = [constant_below(source) if source.shape else None for source in node.src]
    if not any(each is not None for each in constants):
        return None
    src = tuple(old if new is None else new for new, old in zip(constants, node.src, strict=True))
    if not any(source.shape for source in src):
        result = intern(node.op, node.dtype, src, node.arg, ())
        return tensor.broadcast_to(result, node.shape)
    return intern(node.op, node.dtype, src, node.arg, node.shape)


@function_rule(
    "constant_of_shape",
    _KEEP_CONSTANTS,
    None,
    lambda: [
        tensor.permute(_ONE, (1, 0)),
        tensor.slice_(_ONE, [(0, 2, 1), (1, 3, 1)]),
        tensor.reshape(_ONE, (6,)),
        tensor.expand(tensor.reshape(_ONE, (6, 1)), (6, 2)),
    ],
)
def constant_of_shape(node: Node, known: Known) -> Node | None:
    """Spell a constant of any shape as `full`, whatever moved its elements."""
    value = constant_below(node.src[0])
    if value is None:
        return None
    new = tensor.full(value.arg, node.dtype, node.shape)
    return None if new is node else new


RULES = (scalar_constant, constant_of_shape)
