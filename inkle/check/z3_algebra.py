# ruff: noqa: D102 - algebra methods are named after the operations of the table that they serve
"""The op table over Z3 terms: for proofs about every value at once.

Two readings of integers. `bits`: fixed-width values are bit-vectors of their width (`index` stays
an unbounded integer). `integers`: every value is an unbounded integer, and results of fixed-width
operations are wrapped into range; that suits divisions, which bit-vectors find hard.

Z3's own division of integers is Euclidean and has no fixed value at zero; ours truncates and is 0
there, so it is built from the Euclidean one. Floats are not modelled. Nodes that are not
elementwise (holes, ranges, loads) are free variables of their dtype, within their bounds.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from inkle.errors import InkleError, RewriteError
from inkle.ir import forms, ops
from inkle.ir.bounds import bounds
from inkle.ir.dtype import DType, Kind, bool_
from inkle.ir.node import Node
from inkle.ir.op import Op

try:
    import z3
except ImportError:
    z3 = None

BITWISE = frozenset({ops.AND, ops.OR, ops.XOR, ops.NOT, ops.SHL, ops.SHR, ops.BITCAST})
Term = Any  # a Z3 expression; the package has no types


def require_z3() -> None:
    """Raise an error that says how to get Z3 if it is not there.

    Raises:
        InkleError: if the package z3-solver is not installed.
    """
    if z3 is None:
        raise InkleError("proofs need Z3; install it with: pip install z3-solver")


class Translation:
    """Z3 terms of nodes.

    Args:
        as_integers: read fixed-width values as wrapped unbounded integers instead of bit-vectors.
        opaque: take operations on bits, which integers do not have, as unknown values within their
            bounds: good for proofs, not for counterexamples.

    Attributes:
        limits: what holds for the variables: ranges lie within their extents, and so on.
        variables: the free variables, by node.
    """

    def __init__(self, *, as_integers: bool, opaque: bool = False) -> None:
        require_z3()
        self.context = z3.Context()  # of its own, so that earlier proofs have no influence
        self.as_integers = as_integers
        self.opaque = opaque
        self.limits: list[Term] = []
        self.variables: dict[Node, Term] = {}
        self._terms: dict[Node, Term] = {}

    def term(self, node: Node) -> Term:
        """Return the term of an index, integer or bool node.

        Raises:
            RewriteError: if `node` depends on the value of a float.
        """
        stack = [node]
        while stack:
            top = stack[-1]
            sources = top.src if self._is_followed(top) else self._extents(top)
            missing = [source for source in sources if source not in self._terms]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            if top not in self._terms:
                self._terms[top] = self._translate(top)
        return self._terms[node]

    def outside(self, index: Term, size: int) -> Term:
        """Return the term that says that `index` is not one of 0 .. size - 1."""
        return z3.Or(index < 0, index >= size)

    def _is_followed(self, node: Node) -> bool:
        if self.opaque and node.op in BITWISE and node.dtype is not bool_:
            return False
        return node.op.is_elementwise and not any(source.dtype.is_float for source in node.src)

    def _extents(self, node: Node) -> tuple[Node, ...]:
        return node.src if node.op is forms.RANGE else ()

    def _translate(self, node: Node) -> Term:
        if node.dtype.is_float:
            raise RewriteError(f"floats are not modelled in Z3: {node!r}")
        if node.op is forms.CONST:
            return self._literal(node)
        if not self._is_followed(node):
            return self._variable(node)
        assert node.op.meaning is not None
        source = node.src[-1].dtype
        sources = [self._terms[each] for each in node.src]
        if node.op is ops.CAST:
            return self._cast(sources[0], source, node.dtype)
        if source is bool_:
            return node.op.meaning(_BoolAlgebra(), *sources)
        if source.kind is Kind.INDEX or self.as_integers:
            if node.op in _EUCLIDEAN and node.src[1].op is forms.CONST and node.src[1].arg > 0:
                result = _divide_by_constant(node.op, sources[0], int(node.src[1].arg))
            else:
                result = node.op.meaning(IntegerAlgebra(), *sources)
            return result if node.dtype is bool_ else self._wrapped(result, node.dtype)
        return node.op.meaning(BitAlgebra(source), *sources)

    def _literal(self, node: Node) -> Term:
        if node.dtype is bool_:
            return z3.BoolVal(node.arg, self.context)
        return self._number(node.arg, node.dtype)

    def _number(self, value: int, dtype: DType) -> Term:
        if dtype.kind is Kind.INDEX or self.as_integers:
            return z3.IntVal(value, self.context)
        return z3.BitVecVal(value, dtype.bits, self.context)

    def _variable(self, node: Node) -> Term:
        name = f"v{len(self.variables)}"
        if node.dtype is bool_:
            term = z3.Bool(name, self.context)
        elif node.dtype.kind is Kind.INDEX or self.as_integers:
            term = z3.Int(name, self.context)
            low, high = bounds(node)
            if low is not None:
                self.limits.append(term >= low)
            if high is not None and node.op is not forms.RANGE:
                self.limits.append(term <= high)
            if node.op is forms.RANGE:
                self.limits.append(term < self._terms[node.src[0]])
        else:
            term = z3.BitVec(name, node.dtype.bits, self.context)
        self.variables[node] = term
        return term

    def _wrapped(self, term: Term, dtype: DType) -> Term:
        """Return an unbounded result as the value that `dtype` holds."""
        if dtype.kind is Kind.INDEX:
            return term
        low, size = dtype.limits()[0], 1 << dtype.bits
        return z3.If(z3.And(term >= low, term < low + size), term, (term - low) % size + low)

    def _cast(self, term: Term, source: DType, target: DType) -> Term:
        if target is bool_:
            return term if source is bool_ else term != 0
        unbounded = target.kind is Kind.INDEX or self.as_integers
        if source is bool_:
            one, zero = (
                z3.IntVal(v, term.ctx) if unbounded else z3.BitVecVal(v, target.bits, term.ctx)
                for v in (1, 0)
            )
            return z3.If(term, one, zero)
        if source.kind is Kind.INDEX or self.as_integers:
            wrapped = self._wrapped(term, target)
            return wrapped if unbounded else z3.Int2BV(term, target.bits)
        if target.kind is Kind.INDEX:
            return z3.BV2Int(term, source.kind is Kind.INT)
        more = target.bits - source.bits
        if more <= 0:
            return z3.Extract(target.bits - 1, 0, term) if more else term
        return z3.SignExt(more, term) if source.kind is Kind.INT else z3.ZeroExt(more, term)


class _Algebra:
    """What does not depend on how integers are read."""

    # fmt: off
    def like(self, _: Term, value: int) -> Term: return value
    def isnan(self, a: Term) -> Term: return z3.BoolVal(False, a.ctx)
    def equal(self, a: Term, b: Term) -> Term: return a == b
    def not_equal(self, a: Term, b: Term) -> Term: return a != b
    def less(self, a: Term, b: Term) -> Term: return a < b
    def less_equal(self, a: Term, b: Term) -> Term: return a <= b
    # fmt: on

    def where(self, c: Term, a: Term, b: Term) -> Term:
        """Return `a` where `c`; a Python number takes the sort of the other side."""
        return z3.If(c, a, b)

    def absolute(self, a: Term) -> Term:
        """Distance from zero."""
        return z3.If(self.less(a, 0), -a, a)


class _BoolAlgebra(_Algebra):
    def invert(self, a: Term) -> Term:
        """Logical not."""
        return z3.Not(a)


class IntegerAlgebra(_Algebra):
    """Unbounded integers."""

    def truncdiv(self, a: Term, b: Term) -> Term:
        """Quotient towards zero, 0 if b is 0; Z3 rounds so that the remainder is not negative."""
        b = z3.IntVal(b, a.ctx) if isinstance(b, int) else b
        return z3.If(b == 0, 0, z3.If(a >= 0, a / b, -(-a / b)))

    def invert(self, a: Term) -> Term:
        """Two's complement."""
        return -a - 1


class BitAlgebra(_Algebra):
    """Bit-vectors of one dtype."""

    def __init__(self, dtype: DType) -> None:
        self.signed = dtype.kind is Kind.INT
        self.bits = dtype.bits

    # fmt: off
    def less(self, a: Term, b: Term) -> Term: return a < b if self.signed else z3.ULT(a, b)
    def less_equal(self, a: Term, b: Term) -> Term: return a <= b if self.signed else z3.ULE(a, b)
    def invert(self, a: Term) -> Term: return ~a
    def bitcast(self, a: Term) -> Term: return a
    # fmt: on

    def absolute(self, a: Term) -> Term:
        """Distance from zero; unsigned values have no sign."""
        return z3.If(a < 0, -a, a) if self.signed else a

    def truncdiv(self, a: Term, b: Term) -> Term:
        """Quotient towards zero; 0 if b is 0."""
        quotient = a / b if self.signed else z3.UDiv(a, b)
        return z3.If(b == 0, z3.BitVecVal(0, self.bits, b.ctx), quotient)

    def _count(self, b: Term) -> Term:
        return b & (self.bits - 1)

    def shift_left(self, a: Term, b: Term) -> Term:
        """The count is modulo the width."""
        return a << self._count(b)

    def shift_right(self, a: Term, b: Term) -> Term:
        """Arithmetic if signed; the count is modulo the width."""
        return a >> self._count(b) if self.signed else z3.LShR(a, self._count(b))


_EUCLIDEAN = {ops.FLOORDIV: lambda a, c: a / c, ops.FLOORMOD: lambda a, c: a % c}


def _divide_by_constant(op: Op, a: Term, divisor: int) -> Term:
    """Return a floor division by c > 0 as Z3's own, which is much easier for it."""
    _check_euclidean(op, divisor)
    return _EUCLIDEAN[op](a, divisor)


@cache
def _check_euclidean(op: Op, divisor: int) -> None:
    """Prove that Z3's division by this constant is that of the op table."""
    a, c = z3.Int("a"), z3.IntVal(divisor)
    assert op.meaning is not None
    status, _ = refute([op.meaning(IntegerAlgebra(), a, c) != _EUCLIDEAN[op](a, c)], 10_000_000)
    assert status == "none", f"{op} by {divisor} is not Z3's"


def refute(claims: Iterable[Term], steps: int, logic: str = "ALL") -> tuple[str, Any]:
    """Look for values that make all `claims` true.

    Args:
        claims: Z3 terms of sort bool.
        steps: Z3's own measure of work after which it gives up; unlike a time, it gives the same
            answer on every machine. A million is about a quarter of a second.
        logic: what Z3 specialises in: "QF_NIA" for products and quotients of integers.

    Returns:
        ("none", None) if there are none for certain, ("found", model), or ("unknown", reason).
    """
    require_z3()
    claims = list(claims)
    solver = z3.SolverFor(logic, ctx=claims[0].ctx)
    solver.set("rlimit", steps)
    solver.add(*claims)
    verdict = solver.check()
    if verdict == z3.unsat:
        return "none", None
    if verdict == z3.sat:
        return "found", solver.model()
    return "unknown", solver.reason_unknown()
