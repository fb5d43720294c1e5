"""Random expressions over ranges and variables, exact evaluation, and minimal failures."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

from inkle.ir import algebra, forms, ops
from inkle.ir.dtype import DType, Kind, bool_, float32, index, int8, int32, uint8
from inkle.ir.elementwise import Scalar
from inkle.ir.loop import range_
from inkle.ir.node import Node, const, intern, toposort

Point = dict[Node, Scalar]
SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 12, 28, 64)
FACTORS = (1, 2, 3, 4, 6, 8, 12, 16, 24, -1, -2, -3, 0, 5, 7, 64)


def free(name: str, dtype: DType = index) -> Node:
    """Return an expression about which nothing is known."""
    limits = (-math.inf, math.inf) if dtype.kind in (Kind.INDEX, Kind.FLOAT) else dtype.limits()
    return intern(forms.VARIABLE, dtype, (), (name, *limits), ())


class Maker:
    """Makes random expressions; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        pick = self.random.choice
        self.ranges = [range_(number, pick(SIZES)) for number in range(4)]
        bounded = intern(forms.VARIABLE, index, (), ("n", 1, 9), ())
        self.leaves = {
            index: [*self.ranges, *self.ranges, free("x"), free("y"), bounded],
            int32: [free("s", int32), free("t", int32)],
            int8: [free("u", int8), free("v", int8)],
            uint8: [free("b", uint8), free("c", uint8)],
            bool_: [free("p", bool_), free("q", bool_)],
            float32: [free("f", float32), free("g", float32)],
        }

    def expression(self, dtype: DType, depth: int) -> Node:
        """Return a random expression of `dtype`."""
        pick = self.random.choice
        if depth <= 0 or self.random.random() < 0.1:
            if self.random.random() < 0.25:
                return self.constant(dtype)
            return pick(self.leaves[dtype])
        if dtype is bool_:
            return self._condition(depth)
        if self.random.random() < 0.08:
            condition = self.expression(bool_, depth - 1)
            return condition.where(
                self.expression(dtype, depth - 1), self.expression(dtype, depth - 1)
            )
        if dtype is float32:
            return self._float(depth)
        return self._integer(dtype, depth)

    def constant(self, dtype: DType) -> Node:
        """Return a random constant."""
        if dtype is float32:
            return const(self.random.choice((0.0, -0.0, 1.0, -1.0, 2.0, 0.5, math.inf)), dtype)
        return const(self.random.choice((*FACTORS, 100, -7)), dtype)

    def _condition(self, depth: int) -> Node:
        pick = self.random.choice
        kind = pick(("compare", "compare", "compare", "and", "or", "not", "equal"))
        if kind == "compare":
            dtype = pick((index, index, index, int32, uint8, float32))
            compare = pick((Node.less, Node.less_equal, Node.equal, Node.not_equal))
            return compare(self.expression(dtype, depth - 1), self.expression(dtype, depth - 2))
        first = self.expression(bool_, depth - 1)
        if kind == "not":
            return ~first
        return first.apply(
            {"and": ops.AND, "or": ops.OR, "equal": ops.EQUAL}[kind],
            self.expression(bool_, depth - 1),
        )

    def _integer(self, dtype: DType, depth: int) -> Node:
        pick = self.random.choice
        first = self.expression(dtype, depth - 1)
        if dtype is not index and self.random.random() < 0.15:
            other = pick([each for each in (index, int32, int8, uint8, bool_) if each is not dtype])
            return self.expression(other, depth - 1).cast(dtype)
        operations = [
            Node.add, Node.add, Node.sub, Node.floordiv, Node.floormod, Node.floordiv,
            Node.floormod, Node.truncdiv, Node.truncmod, Node.maximum, Node.minimum,
        ]  # fmt: skip
        if dtype is not index:
            operations += [Node.and_, Node.or_, Node.xor, Node.shl, Node.shr]
        operation = pick([Node.mul, *operations, None])
        if operation is None:
            return pick((Node.neg, Node.abs))(first)
        if operation in (Node.mul, Node.floordiv, Node.floormod) and self.random.random() < 0.85:
            return operation(first, const(pick(FACTORS), dtype))
        return operation(first, self.expression(dtype, depth - 1))

    def _float(self, depth: int) -> Node:
        pick = self.random.choice
        first = self.expression(float32, depth - 1)
        operation = pick((
            Node.add, Node.sub, Node.mul, Node.div, Node.maximum, Node.minimum, Node.neg, Node.abs,
            Node.floor,
        ))  # fmt: skip
        if operation in (Node.neg, Node.abs, Node.floor):
            return operation(first)
        return operation(first, self.expression(float32, depth - 1))

    def affine(self) -> Node:
        """Return a sum of multiples of ranges, often the digits of one number."""
        total = const(self.random.randint(-6, 6), index)
        scale = 1
        for r in self.random.sample(self.ranges, self.random.randint(1, 3)):
            total = total + r * (scale * self.random.choice((1, 1, 1, -1, 2)))
            scale *= self.random.choice((r.src[0].arg, r.src[0].arg, 2, 3, 4))
        return total

    def affine_comparison(self) -> Node:
        """Return a comparison of a sum with a number that it can reach."""
        total = self.affine()
        goal = value_of(total, self.point(leaves_of(total)))
        compare = self.random.choice((Node.less, Node.less_equal, Node.equal, Node.not_equal))
        return compare(total, goal + self.random.choice((-1, 0, 0, 1)))

    def digits(self) -> Node:
        """Return a sum of quotients, remainders and the number they are taken from."""
        number = self.random.choice((self.affine(), free("x"), free("x") + free("y") * 2))
        first, second = (self.random.choice((2, 3, 4, 6)) for _ in range(2))
        factor = self.random.choice((1, 2, -1))
        parts = [
            number * factor,
            number % first * factor,
            number // first * (first * factor),
            number // first % second * (first * factor),
            number // (first * second) * (first * second * factor),
            number % (first * second) * factor,
        ]
        chosen = self.random.sample(parts, self.random.randint(2, 4))
        total = const(0, index)
        for part in chosen:
            total = total + part if self.random.random() < 0.7 else total - part
        return total

    def reshaped(self, rank: int) -> list[Node]:
        """Return coordinates after a random sequence of reshapes and flips of the ranges."""
        shape = [r.src[0].arg for r in self.ranges]
        current: list[Node] = list(self.ranges)
        for _ in range(rank):
            if self.random.random() < 0.3:
                axis = self.random.randrange(len(shape))
                current[axis] = shape[axis] - 1 - current[axis]
            flat = const(0, index)
            for each, n in zip(current, shape):
                flat = flat * n + each
            shape = self._factorised(math.prod(shape))
            current = []
            for n in reversed(shape):
                current.append(flat % n)
                flat = flat // n
            current.reverse()
        return current

    def _factorised(self, size: int) -> list[int]:
        shape = []
        while size > 1:
            divisors = [d for d in range(2, size + 1) if size % d == 0]
            shape.append(self.random.choice(divisors))
            size //= shape[-1]
        return shape or [1]

    def point(self, leaves: Sequence[Node]) -> Point:
        """Return a random value for every leaf."""
        return {leaf: self._value(leaf) for leaf in leaves}

    def _value(self, leaf: Node) -> Scalar:
        pick = self.random.choice
        if leaf.op is forms.RANGE:
            return self.random.randrange(leaf.src[0].arg)
        if leaf.dtype is bool_:
            return self.random.random() < 0.5
        if leaf.dtype is float32:
            return const(pick((0.0, -0.0, 1.5, -2.0, 3e38, 1e-45, math.inf, math.nan)), float32).arg
        if leaf.arg[0] == "n":
            return self.random.randint(1, 9)
        small = self.random.randint(-20, 20)
        large = pick((small * 1000 + 7, 2**31 - 1, -(2**31), 127, -128, 255))
        return const(pick((small, small, small, large)), leaf.dtype).arg


def leaves_of(*roots: Node) -> list[Node]:
    """Return the ranges and variables below `roots`."""
    return [n for n in toposort(roots) if n.op in (forms.RANGE, forms.VARIABLE)]


def value_of(root: Node, point: Mapping[Node, Scalar]) -> Scalar:
    """Return the exact value of an expression at a point."""
    values: dict[Node, Scalar] = dict(point)
    for node in toposort((root,)):
        if node in values:
            continue
        if node.op is forms.CONST:
            values[node] = node.arg
        else:
            operands = [values[source] for source in node.src]
            values[node] = algebra.evaluate(node.op, node.dtype, node.src[-1].dtype, *operands)
    return values[root]


def same(a: Scalar, b: Scalar) -> bool:
    """Whether two values are equal, bit for bit except for NaN."""
    if a != a or b != b:
        return a != a and b != b
    return a == b and math.copysign(1, a) == math.copysign(1, b)


def smallest_failure(root: Node, fails: Callable[[Node], bool]) -> Node:
    """Return the smallest expression below `root` that fails, with sources cut to leaves."""
    for node in toposort((root,)):
        if node.src and fails(node):
            return _cut(node, fails)
    return root


def _cut(node: Node, fails: Callable[[Node], bool]) -> Node:
    """Replace sources by leaves or constants as long as the failure stays."""
    for i, source in enumerate(node.src):
        if not source.src:
            continue
        for leaf in [*leaves_of(source), const(0, source.dtype), const(1, source.dtype)]:
            if leaf.dtype is source.dtype:
                src = (*node.src[:i], leaf, *node.src[i + 1 :])
                smaller = intern(node.op, node.dtype, src, node.arg, ())
                if fails(smaller):
                    return _cut(smaller, fails)
    return node
