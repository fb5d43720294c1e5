"""How memory accesses move with a range: the linear part of an index expression."""

from __future__ import annotations

from inkle.ir import forms, ops
from inkle.ir.dtype import index
from inkle.ir.node import Node, const, substitute


def coefficient(at: Node, r: Node) -> int | None:
    """Return c when `at` is `c * r + (terms without r)`, None when it is not of that shape."""
    if r not in at.ranges:
        return 0
    if at is r:
        return 1
    if at.op is ops.ADD or at.op is ops.SUB:
        left, right = (coefficient(source, r) for source in at.src)
        if left is None or right is None:
            return None
        return left + right if at.op is ops.ADD else left - right
    if at.op is ops.MUL:
        for term, factor in (at.src, at.src[::-1]):
            if factor.op is forms.CONST:
                inner = coefficient(term, r)
                return None if inner is None else inner * int(factor.arg)
    if at.op is ops.NEG:
        inner = coefficient(at.src[0], r)
        return None if inner is None else -inner
    return None


def without(at: Node, r: Node) -> Node:
    """Return `at` where `r` is 0; sums and products with zero vanish."""
    if r not in at.ranges:
        return at
    if at is r:
        return const(0, index)
    if at.op is ops.ADD:
        left, right = without(at.src[0], r), without(at.src[1], r)
        return right if is_zero(left) else left if is_zero(right) else left + right
    if at.op is ops.MUL:
        left, right = without(at.src[0], r), without(at.src[1], r)
        return const(0, index) if is_zero(left) or is_zero(right) else left * right
    return substitute([at], {r: const(0, index)})[at]


def is_zero(node: Node) -> bool:
    """Whether `node` is the integer constant 0."""
    return node.op is forms.CONST and node.dtype is index and node.arg == 0
