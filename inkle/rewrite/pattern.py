"""Patterns: the left side of a rule, compiled once to a Python function that recognises it.

A pattern is a graph whose leaves are holes (pattern variables) and constants. Its matcher is
generated as source text, a straight line of identity checks:

    (x // a) // b       def match(n, known):
                            n0, n1 = n.src
                            if n0.op is not floordiv: return None
                            n00, n01 = n0.src
                            if n01.op is not const: return None
                            if n1.op is not const: return None
                            ... condition, then the right side ...

Commutative operations match in both orders; one matcher is generated per order. Constants stand on
the right of a commutative operation (the rule `constant_right` sees to it), so that a pattern that
holds a constant there is tried in one order only. The text does not depend on dtypes, so it is
compiled once and run with the constants of each.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from inkle.errors import RewriteError
from inkle.ir import forms, ops
from inkle.ir.algebra import fold
from inkle.ir.dtype import DType, Kind, bool_
from inkle.ir.node import Node, elementwise, intern, toposort
from inkle.ir.op import Op
from inkle.rewrite.known import Known

Matcher = Callable[[Node, Known], Node | None]

HOLE = Op("hole", 0, text="A pattern variable: arg is (name, whether only constants fit).")
EXPRESSIONS = "xyzw"  # any expression of the dtype of the rule
CONSTANTS = "abcd"  # a constant of the dtype of the rule
CONDITIONS = "pqr"  # any bool expression, whatever the dtype of the rule
_codes: dict[str, CodeType] = {}


def hole(name: str, dtype: DType) -> Node:
    """Return the pattern variable `name` in a rule over `dtype`; the name says what fits.

    Raises:
        RewriteError: if the name is none of x y z w (expressions), a b c d (constants) and
            p q r (conditions).
    """
    if len(name) != 1 or name not in EXPRESSIONS + CONSTANTS + CONDITIONS:
        raise RewriteError(
            f"pattern variable {name!r}: x y z w stand for expressions, a b c d for constants, "
            f"p q r for bool expressions"
        )
    is_condition = name in CONDITIONS
    return intern(HOLE, bool_ if is_condition else dtype, (), (name, name in CONSTANTS), ())


def holes(*roots: Node) -> set[Node]:
    """Return the pattern variables below `roots`."""
    return {node for node in toposort(roots) if node.op is HOLE}


def operand_dtype(node: Node) -> DType:
    """Return the dtype that rules about `node` are written for: that of its last source."""
    return node.src[-1].dtype if node.src else node.dtype


def compile_rule(
    left: Node, right: Node, condition: Node | None, name: str = "rule"
) -> list[Matcher]:
    """Return one matcher per order in which commutative parts of `left` can occur."""
    matchers = []
    seen = set()
    for variant in _orders(left):
        if variant in seen:
            continue
        seen.add(variant)
        matchers.append(_Writer(variant, right, condition).compile(name))
    return matchers


def _orders(pattern: Node) -> Iterator[Node]:
    """Yield `pattern` with its commutative operations in every order worth trying."""
    if not pattern.src:
        yield pattern
        return
    for sources in itertools.product(*(list(_orders(source)) for source in pattern.src)):
        if not pattern.op.commutative:
            yield _with(pattern, sources)
            continue
        first, second = sources
        if not _is_constant(first):
            yield _with(pattern, (first, second))
        if not _is_constant(second) or _is_constant(first):
            yield _with(pattern, (second, first))


def _with(pattern: Node, sources: tuple[Node, ...]) -> Node:
    return intern(pattern.op, pattern.dtype, sources, pattern.arg, ())


def _is_constant(pattern: Node) -> bool:
    return pattern.op is forms.CONST or (pattern.op is HOLE and bool(pattern.arg[1]))


def _is_fixed(node: Node) -> bool:
    """Whether `node` is known once the constant holes are bound."""
    return all(_is_constant(leaf) for leaf in toposort((node,)) if not leaf.src)


class _Writer:
    """Writes the source text of one matcher."""

    def __init__(self, left: Node, right: Node, condition: Node | None) -> None:
        self.left, self.right, self.condition = left, right, condition
        self.lines = ["def match(n, known):"]
        self.names: dict[str, Any] = {"CONST": forms.CONST, "intern": intern, "fold": fold}
        self.values: dict[Node, str] = {}

    def compile(self, name: str) -> Matcher:
        """Return the function that the lines define."""
        self._match_sources(self.left, "n")
        if self.condition is not None:
            for part in _conjuncts(self.condition):
                self._require(part)
        self._construct()
        text = "\n".join(self.lines)
        code = _codes.get(text)
        if code is None:
            code = _codes[text] = compile(text, f"<rule {name}>", "exec")
        exec(code, self.names)
        matcher: Matcher = self.names["match"]
        return matcher

    def _line(self, text: str) -> None:
        self.lines.append("    " + text)

    def _name(self, prefix: str, value: Any) -> str:
        for name, known in self.names.items():
            if known is value:
                return name
        name = f"{prefix}{len(self.names)}"
        self.names[name] = value
        return name

    def _fail_if(self, test: str) -> None:
        self._line(f"if {test}: return None")

    def _match_sources(self, pattern: Node, name: str) -> None:
        """Match the sources of `pattern`, whose own operation and operand dtype are checked."""
        parts = [f"{name}{i}" for i in range(len(pattern.src))]
        self._line(f"{', '.join(parts)}, = {name}.src")
        for part, source in zip(parts, pattern.src, strict=True):
            if source.op is not HOLE and source.op is not forms.CONST:
                self._fail_if(f"{part}.op is not {self._name('op_', source.op)}")
        for part, source in zip(parts, pattern.src, strict=True):
            self._match(source, part)

    def _match(self, pattern: Node, name: str) -> None:
        if pattern in self.values:
            self._fail_if(f"{name} is not {self.values[pattern]}")
        elif pattern.op is forms.CONST:
            self._fail_if(f"{name} is not {self._name('const_', pattern)}")
        elif pattern.op is HOLE:
            if pattern.arg[1]:
                self._fail_if(f"{name}.op is not CONST")
            self.values[pattern] = name
        else:
            if pattern.op is ops.CAST or pattern.op is ops.BITCAST:
                self._fail_if(f"{name}.dtype is not {self._name('dtype_', pattern.dtype)}")
            if operand_dtype(pattern) is not pattern.dtype:
                wanted = self._name("dtype_", operand_dtype(pattern))
                self._fail_if(f"{name}.src[-1].dtype is not {wanted}")
            self.values[pattern] = name
            self._match_sources(pattern, name)

    def _require(self, part: Node) -> None:
        """Fail unless the condition `part` is proved true."""
        if _is_fixed(part):
            self._fail_if(f"not {self._constant(part)}.arg")
        elif part.op in (ops.LESS, ops.LESS_EQUAL, ops.EQUAL, ops.NOT_EQUAL):
            sides = ", ".join(self._value(source) for source in part.src)
            self._fail_if(f"not known.{part.op.name}({sides})")
        else:
            self._fail_if(f"not known.true({self._value(part)})")

    def _construct(self) -> None:
        """Return the right side; nodes of tensor form need their shape inferred."""
        result = self._value(self.right)
        if "intern(" in result.replace("fold(intern(", ""):
            self.names["shaped"] = _shaped
            self._line(f"if n.shape: return {result.replace('intern(', 'shaped(')}")
        self._line(f"return {result}")

    def _constant(self, node: Node) -> str:
        """Return an expression for the constant that `node` is once constant holes are bound."""
        if node.op is forms.CONST:
            return self._name("const_", node)
        if node in self.values:
            return self.values[node]
        sources = ", ".join(self._constant(source) for source in node.src)
        op, dtype = self._name("op_", node.op), self._name("dtype_", node.dtype)
        return f"fold(intern({op}, {dtype}, ({sources},), None, ()))"

    def _value(self, node: Node) -> str:
        """Return an expression that builds `node`."""
        if _is_fixed(node):
            return self._constant(node)
        if node in self.values:
            return self.values[node]
        sources = ", ".join(self._value(source) for source in node.src)
        op, dtype = self._name("op_", node.op), self._name("dtype_", node.dtype)
        return f"intern({op}, {dtype}, ({sources},), None, ())"


def _shaped(op: Op, dtype: DType, src: tuple[Node, ...], arg: None, shape: tuple[()]) -> Node:
    """Like `intern` for an elementwise operation, with the shape inferred from the sources."""
    if all(source.op is forms.CONST for source in src):
        return fold(intern(op, dtype, src, None, ()))
    return src[0].convert(op, dtype) if op in (ops.CAST, ops.BITCAST) else elementwise(op, src)


def _conjuncts(condition: Node) -> list[Node]:
    if condition.op is ops.AND and condition.dtype.kind is Kind.BOOL:
        return [part for source in condition.src for part in _conjuncts(source)]
    return [condition]
