"""Sizes that are known when a program runs: polynomials of variables with bounds.

A `Size` stands in shapes where integers stand. Adding, multiplying and dividing give sizes, in one
normal form, so that equal polynomials are equal; what is constant is a Python integer again. Bounds
of the variables decide comparisons. Where they do not, the answer is asked of whoever traces the
user's program (`Questions`), who notes it as a condition of the trace; with nobody to ask, it is an
error. Equality is the exception: inside of inkle, sizes that are not known to be equal are not, as
everything that holds for any size holds for equal ones.

To the type checker a size is an integer: it serves wherever one may be in a shape.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from itertools import product
from math import gcd, prod
from typing import TYPE_CHECKING, Any, Protocol

from inkle.errors import ShapeError
from inkle.ir import forms, ops
from inkle.ir.bounds import bounds
from inkle.ir.dtype import index
from inkle.ir.node import Node, const, intern

Monomial = tuple[Node, ...]  # product of atoms: variables, and quotients of sizes by numbers
Terms = dict[Monomial, int]
_FORWARDING = "inkle.tensor.variable"  # operators there are called by the user
MOST_CORNERS = 6  # variables of one polynomial whose bounds are exact
_thread = threading.local()

if TYPE_CHECKING:
    _Base = int
else:
    _Base = object


class Questions(Protocol):
    """Who answers what bounds do not decide."""

    def holds(self, size: Size, relation: str) -> bool:
        """Return whether `size` is "< 0" or "== 0" (the relation), and note that it is asked."""

    def value(self, size: Size) -> int:
        """Return the value of `size`, and note that it is asked."""


@contextmanager
def answering(questions: Questions | None) -> Iterator[None]:
    """Let `questions` answer in this thread."""
    before = getattr(_thread, "questions", None)
    _thread.questions = questions
    try:
        yield
    finally:
        _thread.questions = before


def asked() -> Questions | None:
    """Return who answers in this thread."""
    return getattr(_thread, "questions", None)


class Size(_Base):
    """A polynomial of variables that is no constant.

    Attributes:
        terms: coefficient of each product of atoms, never 0.
        constant: what is added to them.
    """

    __slots__ = ("_hash", "_span", "constant", "terms")

    terms: Terms
    constant: int
    _hash: int
    _span: tuple[int, int] | None

    def __new__(cls, terms: Terms, constant: int) -> Size:
        """Return a polynomial; use `size_of_terms` where all terms may be gone."""
        made = object.__new__(cls)
        made.terms, made.constant = terms, constant
        made._hash = hash((frozenset(terms.items()), constant))
        made._span = None
        return made

    # --- identity ---------------------------------------------------------------------------------

    def __hash__(self) -> int:
        if asked() is not None and not _is_internal(sys._getframe(1)):
            return hash(int(self))  # a key of the user's own table, beside plain numbers
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Size):
            if self.constant == other.constant and self.terms == other.terms:
                return True
        elif not isinstance(other, int):
            return NotImplemented
        difference: Any = self - other
        if not isinstance(difference, Size):
            return bool(difference == 0)
        low, high = difference.span()
        if low > 0 or high < 0 or _is_internal(sys._getframe(1)):
            return False
        return _ask("== 0", difference)

    def __repr__(self) -> str:
        parts = [_product(name, k) for name, k in _sorted(self.terms)]
        if self.constant:
            parts.append(str(self.constant))
        return " + ".join(parts).replace("+ -", "- ")

    def __str__(self) -> str:
        return repr(self) if _is_internal(sys._getframe(1)) else str(int(self))

    def __format__(self, spec: str) -> str:
        return format(repr(self) if _is_internal(sys._getframe(1)) else int(self), spec)

    # --- arithmetic -------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Any:
        if isinstance(other, int):
            return Size(self.terms, self.constant + other) if other else self
        if not isinstance(other, Size):
            return NotImplemented
        terms = dict(self.terms)
        for each, k in other.terms.items():
            terms[each] = terms.get(each, 0) + k
        return size_of_terms(terms, self.constant + other.constant)

    __radd__ = __add__

    def __neg__(self) -> int:
        return Size({each: -k for each, k in self.terms.items()}, -self.constant)

    def __sub__(self, other: Any) -> Any:
        return self + -other if isinstance(other, (int, Size)) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return -self + other if isinstance(other, (int, Size)) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, int):
            scaled = {each: k * other for each, k in self.terms.items()}
            return Size(scaled, self.constant * other) if other else 0
        if not isinstance(other, Size):
            return NotImplemented
        terms: Terms = {}
        for mine, k in [*self.terms.items(), ((), self.constant)]:
            for theirs, m in [*other.terms.items(), ((), other.constant)]:
                both = tuple(sorted((*mine, *theirs), key=_name))
                terms[both] = terms.get(both, 0) + k * m
        return size_of_terms(terms, terms.pop((), 0))

    __rmul__ = __mul__

    def __floordiv__(self, by: int) -> int:
        return divided(self, by)

    def __rfloordiv__(self, other: int) -> int:
        return divided(other, self)

    def __mod__(self, by: int) -> Any:
        return self - divided(self, by) * by

    def __rmod__(self, other: int) -> Any:
        return other - divided(other, self) * self

    def __divmod__(self, by: int) -> tuple[int, int]:
        whole = divided(self, by)
        return whole, self - whole * by

    def __pow__(self, exponent: Any, modulus: Any = None) -> Any:
        if type(exponent) is int and exponent >= 0:
            return prod([self] * exponent)
        return int(self) ** exponent

    def __truediv__(self, other: Any) -> Any:
        return int(self) / other if isinstance(other, (int, float, Size)) else NotImplemented

    def __rtruediv__(self, other: Any) -> Any:
        return other / int(self) if isinstance(other, (int, float)) else NotImplemented

    # --- questions --------------------------------------------------------------------------------

    def __lt__(self, other: int) -> bool:
        return _is_negative(self - other)

    def __gt__(self, other: int) -> bool:
        return _is_negative(other - self)

    def __le__(self, other: int) -> bool:
        return not _is_negative(other - self)

    def __ge__(self, other: int) -> bool:
        return not _is_negative(self - other)

    def __bool__(self) -> bool:
        low, high = self.span()
        return low > 0 or high < 0 or not _ask("== 0", self)

    def __int__(self) -> int:
        questions = asked()
        if questions is None:
            raise ShapeError(f"the value of the size {self} is not known here")
        return questions.value(self)

    __index__ = __int__

    def __float__(self) -> float:
        return float(int(self))

    # --- facts ------------------------------------------------------------------------------------

    def span(self) -> tuple[int, int]:
        """Return the smallest and the largest value."""
        if self._span is None:
            low, high = self._bounds()
            if any(atom.op is ops.FLOORDIV for each in self.terms for atom in each):
                low = max(low, _end(self._without_quotients(upper=False), self, 0))
                high = min(high, _end(self._without_quotients(upper=True), self, 1))
            self._span = (low, high)
        return self._span

    def _bounds(self) -> tuple[int, int]:
        """Return bounds: where no variable is multiplied by itself, the values at the corners."""
        corners_of: dict[Node, Any] = {a: bounds(a) for each in self.terms for a in each}
        is_linear_in_each = all(len(set(each)) == len(each) for each in self.terms)
        if len(corners_of) <= MOST_CORNERS and is_linear_in_each:
            corners = [dict(zip(corners_of, c, strict=True)) for c in product(*corners_of.values())]
            values = [self._value_at(corner) for corner in corners]
            return min(values), max(values)
        low = high = self.constant
        for each, k in self.terms.items():
            ends = [k * prod(c) for c in product(*[corners_of[atom] for atom in each])]
            low, high = low + min(ends), high + max(ends)
        return low, high

    def _value_at(self, atoms: Mapping[Node, Any]) -> int:
        parts = [k * prod([atoms[a] for a in each]) for each, k in self.terms.items()]
        return self.constant + int(sum(parts))

    def _without_quotients(self, *, upper: bool) -> int:
        """Return a bound that knows that k * (x // k) is x, or at most k - 1 less."""
        total: int = self.constant
        for each, k in self.terms.items():
            by = each[0].src[1].arg if each[0].op is ops.FLOORDIV else 0
            if len(each) > 1 or not by or k % by:
                total = total + size_of_terms({each: k}, 0)
                continue
            left = 0 if (k > 0) == upper else by - 1
            total = total + (size_of_node(each[0].src[0]) - left) * (k // by)
        return total

    def index_node(self) -> Node:
        """Return the size as an index expression."""
        total: Node | None = None
        for atoms, k in _sorted(self.terms):
            term = atoms[0]
            for atom in atoms[1:]:
                term = intern(ops.MUL, index, (term, atom), None, ())
            if k != 1:
                term = intern(ops.MUL, index, (term, const(k, index)), None, ())
            total = term if total is None else intern(ops.ADD, index, (total, term), None, ())
        assert total is not None
        return total + const(self.constant, index) if self.constant else total

    def variables(self) -> set[Node]:
        """Return the VARIABLE nodes below."""
        return {n for atoms in self.terms for a in atoms for n in _below(a)}

    def at(self, values: Mapping[str, int]) -> int:
        """Return the value for these values of the variables, by name."""
        total = self.constant
        for atoms, k in self.terms.items():
            for atom in atoms:
                k *= _atom_at(atom, values)
            total += k
        return total


def _end(n: int, instead_of: Size, which: int) -> int:
    """Return the lower or upper bound of what is no longer `instead_of`."""
    if not isinstance(n, Size):
        return n
    is_same = n.constant == instead_of.constant and n.terms == instead_of.terms
    return n._bounds()[which] if is_same else n.span()[which]


def size_of_terms(terms: Terms, constant: int) -> int:
    """Return a polynomial; an integer if it is one."""
    kept = {each: k for each, k in terms.items() if k}
    return Size(kept, constant) if kept else constant


def variable(name: str, minimum: int, maximum: int) -> int:
    """Return the size that is the variable `name` with these bounds, both included."""
    if minimum == maximum:
        return minimum
    return Size({(intern(forms.VARIABLE, index, (), (name, minimum, maximum), ()),): 1}, 0)


def most(n: int) -> int:
    """Return the largest value of a size."""
    return n.span()[1] if isinstance(n, Size) else n


def least(n: int) -> int:
    """Return the smallest value of a size."""
    return n.span()[0] if isinstance(n, Size) else n


def is_symbolic(n: object) -> bool:
    """Whether a size is not known before the program runs."""
    return isinstance(n, Size)


def is_exactly(n: int, k: int) -> bool:
    """Whether a size is `k`, asked where that decides what a program means, not only how."""
    return not (n < k or n > k)


def value_of(n: int, values: Mapping[str, int]) -> int:
    """Return a size for these values of the variables."""
    return n.at(values) if isinstance(n, Size) else n


def relation_text(n: Size, relation: str) -> str:
    """Return "n < 0" or "n == 0" for people, without negative numbers."""
    word = relation.split()[0]
    right = size_of_terms({e: -k for e, k in n.terms.items() if k < 0}, max(0, -n.constant))
    left = size_of_terms({e: k for e, k in n.terms.items() if k > 0}, max(0, n.constant))
    return f"{left} {word} {right}"


def count(start: int, stop: int, step: int) -> int:
    """Return how many numbers are in range(start, stop, step), step being positive."""
    if not (isinstance(start, Size) or isinstance(stop, Size)):
        return len(range(start, stop, step))
    n = (stop - start + (step - 1)) // step
    return n if least(n) >= 0 else max(n, 0)


def divided(a: int, b: int) -> int:
    """Return a // b.

    Raises:
        ShapeError: if that is no polynomial of variables and of quotients by numbers.
    """
    if not isinstance(b, Size):
        return _divided_by_number(a, b) if isinstance(a, Size) else a // b
    whole = _exactly_divided(a, b) if isinstance(a, Size) else None
    if whole is not None and least(b) > 0:
        return whole
    if least(a) >= 0 and most(a) < least(b):
        return 0
    return int(a) // int(b)


def is_multiple(a: int, b: int) -> bool:
    """Whether `a` is a multiple of `b` for all values of the variables, as its form shows."""
    if isinstance(a, Size):
        return _exactly_divided(a, b) is not None if isinstance(b, Size) else not a % b
    return not a if isinstance(b, Size) else a % b == 0


def _exactly_divided(a: Size, b: Size) -> int | None:
    """Return a / b if b divides a as a polynomial, by long division; else None."""
    lead = max(b.terms, key=_degree)
    whole: int = 0
    rest: int = a
    while isinstance(rest, Size):
        first = max(rest.terms, key=_degree)
        k, left = divmod(rest.terms[first], b.terms[lead])
        factor = _without(first, lead)
        if left or factor is None:
            return None
        step = size_of_terms({factor: k}, 0) if factor else k
        whole, rest = whole + step, rest - b * step
    return whole if rest == 0 else None


def _degree(atoms: Monomial) -> tuple[int, list[str]]:
    return len(atoms), [_name(atom) for atom in atoms]


def _without(atoms: Monomial, taken: Monomial) -> Monomial | None:
    left = list(atoms)
    for atom in taken:
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left)


def _divided_by_number(a: Size, by: int) -> int:
    if by <= 0:
        return int(a) // by
    whole = size_of_terms({t: k // by for t, k in a.terms.items() if k % by == 0}, 0)
    rest = size_of_terms({t: k for t, k in a.terms.items() if k % by}, a.constant % by)
    whole = whole + a.constant // by
    if not isinstance(rest, Size):
        return whole
    low, high = rest.span()
    if low // by == high // by:
        return whole + low // by
    divisor = gcd(by, rest.constant, *rest.terms.values())
    inner = size_of_terms(
        {t: k // divisor for t, k in rest.terms.items()}, rest.constant // divisor
    )
    assert isinstance(inner, Size)
    src = (inner.index_node(), const(by // divisor, index))
    quotient: int = whole + Size({(intern(ops.FLOORDIV, index, src, None, ()),): 1}, 0)
    return quotient


@lru_cache(maxsize=1024)
def size_of_node(node: Node) -> int:
    """Return an index expression of variables as a size.

    Raises:
        ShapeError: if it is none.
    """
    if node.op is forms.CONST:
        return int(node.arg)
    if node.op is forms.VARIABLE:
        return Size({(node,): 1}, 0)
    apply = _OPERATIONS.get(node.op)
    if apply is None:
        raise ShapeError(f"{node!r} is no size")
    size: int = apply(*[size_of_node(source) for source in node.src])
    return size


_OPERATIONS: Mapping[Any, Any] = {
    ops.ADD: lambda a, b: a + b,
    ops.SUB: lambda a, b: a - b,
    ops.NEG: lambda a: -a,
    ops.MUL: lambda a, b: a * b,
    ops.FLOORDIV: divided,
    ops.TRUNCDIV: divided,  # sizes are not negative
}


def _is_negative(n: int) -> bool:
    if not isinstance(n, Size):
        return n < 0
    low, high = n.span()
    return high < 0 or (low < 0 and _ask("< 0", n))


def _ask(relation: str, size: Size) -> bool:
    questions = asked()
    if questions is None:
        what = relation_text(size, relation)
        hint = "where that cannot be, let int() make a number of a size"
        raise ShapeError(f"whether {what} depends on sizes that are known at launch only; {hint}")
    return questions.holds(size, relation)


def _is_internal(frame: Any) -> bool:
    """Whether code of inkle asks, not the user's."""
    name: str = frame.f_globals.get("__name__", "")
    while name == _FORWARDING:
        frame = frame.f_back
        name = frame.f_globals.get("__name__", "")
    return asked() is None or name == "inkle" or name.startswith("inkle.")


def _below(atom: Node) -> list[Node]:
    return [n for n in atom.toposort() if n.op is forms.VARIABLE]


def _atom_at(atom: Node, values: Mapping[str, int]) -> int:
    if atom.op is forms.VARIABLE:
        return values[atom.arg[0]]
    of = size_of_node(atom.src[0])
    return value_of(of, values) // int(atom.src[1].arg)


@lru_cache(maxsize=1024)
def _name(atom: Node) -> str:
    if atom.op is forms.VARIABLE:
        return str(atom.arg[0])
    return f"({size_of_node(atom.src[0])})//{atom.src[1].arg}"


def _sorted(terms: Terms) -> list[tuple[Monomial, int]]:
    return sorted(terms.items(), key=lambda term: [_name(atom) for atom in term[0]])


def _product(atoms: Monomial, k: int) -> str:
    names = "*".join(map(_name, atoms))
    return names if k == 1 else f"{k}*{names}"
