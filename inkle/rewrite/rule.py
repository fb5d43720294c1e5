"""Rules: facts of the form "this may be replaced by that", as data.

    rule("div_of_div", lambda x, a, b: ((x // a) // b, x // (a * b), (a > 0) & (b > 0)), INDEX)

Both sides and the condition are ordinary expressions over pattern variables. What a variable stands
for is in its name: x y z w for any expression of the rule's dtype, a b c d for constants of that
dtype, p q r for bool expressions. The condition must be *proved* where the rule is applied: from
constants by folding, from expressions by their bounds (`x < a` holds if the highest x does).

The few rules that need code are functions; they ship samples, so that they can be proved as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from inkle.errors import RewriteError
from inkle.ir import dtype as dtypes
from inkle.ir.dtype import DType, Kind, bool_
from inkle.ir.node import Node
from inkle.ir.op import Op
from inkle.rewrite.known import Known
from inkle.rewrite.pattern import HOLE, Matcher, compile_rule, hole, holes, operand_dtype

INDEX = frozenset({Kind.INDEX})
FIXED = frozenset({Kind.INT, Kind.UINT})
_ALL = (*dtypes.ALL, dtypes.index)


@dataclass(frozen=True, slots=True)
class Sides:
    """A rule written out for one dtype; the leaves are pattern variables."""

    left: Node
    right: Node
    condition: Node | None


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """`left` becomes `right` where `condition` is proved.

    Attributes:
        name: unique noun in snake case.
        build: pattern variables to (left, right) or (left, right, condition).
        kinds: the dtype families of the variables x y z w a b c d for which it holds.
        names: the pattern variables.
        root: operation at the root of the left side.
    """

    name: str
    build: Callable[..., tuple[Node, ...]]
    kinds: frozenset[Kind]
    names: tuple[str, ...]
    root: Op
    _sides: dict[DType, Sides] = field(default_factory=dict)

    def dtypes(self) -> tuple[DType, ...]:
        """Return the dtypes that the rule holds for."""
        return tuple([dtype for dtype in _ALL if dtype.kind in self.kinds])

    def sides(self, dtype: DType) -> Sides:
        """Return both sides and the condition over variables of `dtype`."""
        found = self._sides.get(dtype)
        if found is None:
            found = self._sides[dtype] = _sides(self.name, self.build, self.names, dtype)
        return found

    def matchers(self, operand: DType) -> list[Matcher]:
        """Return functions that apply the rule to nodes whose last source is of dtype `operand`."""
        found = []
        dtypes = self.dtypes()
        if all(operand_dtype(self.sides(each).left) is each for each in dtypes[-2:]):
            # what holds for two holds for all: no need to write the rule out for the others
            dtypes = (operand,) if operand in dtypes else ()
        for dtype in dtypes:
            sides = self.sides(dtype)
            if operand_dtype(sides.left) is operand:
                found += compile_rule(sides.left, sides.right, sides.condition, self.name)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class FunctionRule:
    """A rule that needs code: `apply(node, known)` returns the replacement, or None.

    Attributes:
        name: unique noun in snake case.
        roots: operations of the nodes it is tried on.
        kinds: dtype families of the last source of those nodes; None: any, for structural
            operations.
        apply: the code.
        samples: nodes over `hole` leaves on which the rule must apply; tests prove before == after.
    """

    name: str
    roots: tuple[Op, ...]
    kinds: frozenset[Kind] | None
    apply: Matcher
    samples: Callable[[], Iterable[Node]]

    def matchers(self, operand: DType) -> list[Matcher]:
        """Return the function, if the rule is about nodes whose last source has dtype `operand`."""
        return [self.apply] if self.kinds is None or operand.kind in self.kinds else []


AnyRule = Rule | FunctionRule


def rule(name: str, build: Callable[..., tuple[Any, ...]], kinds: frozenset[Kind]) -> Rule:
    """Return a rule.

    Args:
        name: unique noun in snake case, such as "add_zero".
        build: takes pattern variables (see the module), returns (left, right[, condition]).
        kinds: dtype families it holds for: INDEX, FIXED, INTEGER, BOOL, FLOAT, NUMBER ...

    Raises:
        RewriteError: if the right side or the condition has a variable that the left side has not,
            if the sides differ in dtype, or if a variable has no meaning.
    """
    names = build.__code__.co_varnames[: build.__code__.co_argcount]
    dtype = next(each for each in reversed(_ALL) if each.kind in kinds)
    sides = _sides(name, build, names, dtype)
    return Rule(name, build, kinds, names, sides.left.op, {dtype: sides})


def function_rule(
    name: str,
    roots: tuple[Op, ...],
    kinds: frozenset[Kind] | None,
    samples: Callable[[], Iterable[Node]],
) -> Callable[[Callable[[Node, Known], Node | None]], FunctionRule]:
    """Return a decorator that makes a rule of `apply(node, known) -> replacement or None`."""

    def decorate(apply: Callable[[Node, Known], Node | None]) -> FunctionRule:
        return FunctionRule(name, roots, kinds, apply, samples)

    return decorate


def _sides(
    name: str, build: Callable[..., tuple[Node, ...]], names: tuple[str, ...], dtype: DType
) -> Sides:
    parts = build(*[hole(each, dtype) for each in names])
    if len(parts) not in (2, 3) or not all(isinstance(part, Node) for part in parts):
        raise RewriteError(f"rule {name} must give (left, right[, condition]), got {parts!r}")
    left, right = parts[:2]
    condition = parts[2] if len(parts) == 3 else None
    bound = holes(left)
    unbound = sorted(each.arg[0] for each in holes(*parts[1:]) - bound)
    if unbound:
        raise RewriteError(
            f"rule {name}: {', '.join(unbound)} must occur on the left side, which binds variables"
        )
    if left.dtype is not right.dtype or (condition is not None and condition.dtype is not bool_):
        raise RewriteError(
            f"rule {name}: sides of dtype {left.dtype} and {right.dtype}; both must agree, and the "
            f"condition must be bool"
        )
    if left.op is HOLE or not left.src:
        raise RewriteError(f"rule {name}: the left side must be an operation, not a leaf")
    return Sides(left, right, condition)
