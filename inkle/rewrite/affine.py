"""Index expressions as sums: constant + coefficient * atom + ...

An atom is any index expression that is not itself a sum or a multiple: a range, a quotient, a
remainder, a product of variables. Equal expressions get equal sums as long as their atoms are
equal, so that adding, subtracting and comparing sums needs no rules. `node` writes a sum back in
one canonical order: first what depends on no range, then by the innermost range, positive terms
before negative ones, the constant last.

This is the index algebra of every pass: rules bring sums to normal forms, `rules.index_division`
divides them, the scheduler plans loops with them. Sums are values: they serve as dictionary keys.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from math import gcd
from zlib import crc32

from inkle.ir import forms, ops
from inkle.ir.dtype import index
from inkle.ir.node import NO_RANGES, Node, const, intern, toposort
from inkle.ir.op import Op
from inkle.ir.size import Size

Direction = frozenset[tuple[Node, int]]
_digests: weakref.WeakKeyDictionary[Node, int] = weakref.WeakKeyDictionary()
SUMS = frozenset({ops.ADD, ops.SUB, ops.NEG, ops.MUL, forms.CONST})


class Affine:
    """A sum. Treat as immutable.

    Attributes:
        terms: coefficient of each atom, never 0.
        constant: what is added to them.
    """

    __slots__ = ("_hash", "constant", "terms")

    def __init__(self, terms: dict[Node, int], constant: int) -> None:
        self.terms = terms
        self.constant = constant

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Affine):
            return NotImplemented
        return self.constant == other.constant and self.terms == other.terms

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:  # most are never asked
            self._hash: int = hash((frozenset(self.terms.items()), self.constant))
            return self._hash

    def __repr__(self) -> str:
        return " + ".join(
            [*[f"{k}*{atom!r}" for atom, k in self.terms.items()], str(self.constant)]
        )

    @property
    def ranges(self) -> frozenset[Node]:
        """The ranges it depends on."""
        return NO_RANGES.union(*[atom.ranges for atom in self.terms])

    def plus(self, other: Affine, factor: int = 1) -> Affine:
        """Return self + factor * other."""
        if isinstance(factor, Size):
            return self.plus(other.scaled(factor))
        terms = dict(self.terms)
        for atom, k in other.terms.items():
            total = terms.get(atom, 0) + k * factor
            if total:
                terms[atom] = total
            else:
                del terms[atom]
        return Affine(terms, self.constant + other.constant * factor)

    def scaled(self, factor: int) -> Affine:
        """Return factor * self."""
        if isinstance(factor, Size):
            return multiplied(self, affine_of_size(factor))
        if not factor or factor == 1:
            return self if factor else ZERO
        return Affine({a: k * factor for a, k in self.terms.items()}, self.constant * factor)

    def shifted(self, by: int) -> Affine:
        """Return self + by."""
        if isinstance(by, Size):
            return self.plus(affine_of_size(by))
        return Affine(self.terms, self.constant + by) if by else self

    def divided(self, divisor: int) -> Affine:
        """Return self / divisor, which must divide every number in it."""
        terms = {atom: k // divisor for atom, k in self.terms.items()}
        return Affine(terms, self.constant // divisor)

    def without(self, *atoms: Node) -> Affine:
        """Return self without the terms of `atoms`."""
        terms = {atom: k for atom, k in self.terms.items() if atom not in atoms}
        return Affine(terms, self.constant)

    def divisor(self) -> int:
        """Return the greatest common divisor of the coefficients; 0 if there are none."""
        return gcd(*self.terms.values())

    def direction(self) -> Direction:
        """Return the terms, divided by their common divisor, as a key."""
        divisor = self.divisor()
        if divisor == 1:
            return frozenset(self.terms.items())
        return frozenset([(atom, k // divisor) for atom, k in self.terms.items()])

    def ordered(self) -> list[tuple[Node, int]]:
        """Return the terms in canonical order."""
        return in_order(self.terms.items())

    def node(self) -> Node:
        """Return the sum as a graph."""
        constant = self.constant
        total: Node | None = None
        negative = []
        for atom, k in self.ordered() if len(self.terms) > 1 else self.terms.items():
            if k < 0:
                negative.append((atom, k))
                continue
            term = atom if k == 1 else _index(ops.MUL, atom, const(k, index))
            total = term if total is None else _index(ops.ADD, total, term)
        if total is None:
            if constant > 0 or not negative:
                total, constant = const(constant, index), 0
            else:
                atom, k = negative.pop(0)
                factor = const(k, index)
                total = _index(ops.MUL, atom, factor)
        for atom, k in negative:
            term = atom if k == -1 else _index(ops.MUL, atom, const(-k, index))
            total = _index(ops.SUB, total, term)
        return _index(ops.ADD, total, const(constant, index)) if constant else total


ZERO = Affine({}, 0)


def single(atom: Node) -> Affine:
    """Return the sum that is `atom`."""
    return Affine({atom: 1}, 0)


def total_of(parts: Iterable[tuple[Affine, int]], constant: int = 0) -> Affine:
    """Return constant + factor * sum + ..., for every (sum, factor) of `parts`."""
    terms: dict[Node, int] = {}
    for each, factor in parts:
        if isinstance(factor, Size):
            each, factor = each.scaled(factor), 1
        constant += each.constant * factor
        for atom, k in each.terms.items():
            terms[atom] = terms.get(atom, 0) + k * factor
    if 0 in terms.values():
        terms = {atom: k for atom, k in terms.items() if k}
    return Affine(terms, constant)


def affine_of_size(n: int) -> Affine:
    """Return a size as a sum."""
    return affine_of(n.index_node()) if isinstance(n, Size) else Affine({}, n)


def multiplied(a: Affine, b: Affine) -> Affine:
    """Return a * b: products of atoms are atoms."""
    parts = [(b, a.constant)]
    for atom, k in a.terms.items():
        both = {product(atom, other): k * m for other, m in b.terms.items()}
        parts += [(Affine(both, 0), 1), (single(atom), k * b.constant)]
    return total_of(parts)


def factors_of(atom: Node) -> list[Node]:
    """Return the factors of an atom that is a product; of another one, itself."""
    return _factors(atom)


def _index(op: Op, a: Node, b: Node) -> Node:
    return intern(op, index, (a, b), None, ())


def affine_of(node: Node) -> Affine:
    """Return the index expression `node` as a sum."""
    if node.op not in SUMS:
        return Affine({node: 1}, 0)
    terms: dict[Node, int] = {}
    constant = 0
    stack = [(node, 1)]
    while stack:
        node, k = stack.pop()
        op = node.op
        if op is forms.CONST:
            constant += k * node.arg
        elif op is ops.ADD:
            stack += [(node.src[1], k), (node.src[0], k)]
        elif op is ops.MUL and node.src[1].op is forms.CONST:
            stack.append((node.src[0], k * node.src[1].arg))
        elif op is ops.SUB:
            stack += [(node.src[1], -k), (node.src[0], k)]
        elif op is ops.NEG:
            stack.append((node.src[0], -k))
        else:
            terms[node] = terms.get(node, 0) + k
    if 0 in terms.values():
        terms = {atom: k for atom, k in terms.items() if k}
    return Affine(terms, constant)


def product(x: Node, y: Node) -> Node:
    """Return the product of two atoms; its factors are in canonical order."""
    factors = in_order([(factor, 1) for each in (x, y) for factor in _factors(each)])
    total = factors[0][0]
    for factor, _ in factors[1:]:
        total = _index(ops.MUL, total, factor)
    return total


def _factors(node: Node) -> list[Node]:
    factors = []
    while node.op is ops.MUL:
        factors.append(node.src[1])
        node = node.src[0]
    return [*factors, node]


def in_order(terms: Iterable[tuple[Node, int]]) -> list[tuple[Node, int]]:
    """Return terms sorted by their innermost ranges, then by what they look like."""
    keyed = [(depth(atom), i, atom, k) for i, (atom, k) in enumerate(terms)]
    if len({key[0] for key in keyed}) == len(keyed):
        keyed.sort()
        return [(atom, k) for _, _, atom, k in keyed]
    ties = [(depth, -abs(k), digest(atom), i, atom, k) for depth, i, atom, k in keyed]
    ties.sort()
    return [(each[4], each[5]) for each in ties]


def depth(atom: Node) -> tuple[int, ...]:
    """Return the numbers of the ranges that `atom` depends on, innermost first."""
    if atom.op is forms.RANGE:
        return (atom.arg[0],)
    return tuple(sorted([r.arg[0] for r in atom.ranges], reverse=True))


def digest(node: Node) -> int:
    """Return a number that depends on the look of `node` alone, the same in every process."""
    found = _digests.get(node)
    if found is not None:
        return found
    for each in toposort((node,)):
        if each not in _digests:
            sources = [_digests[source] for source in each.src]
            text = f"{each.op.name} {each.dtype.name} {each.arg!r} {sources}"
            _digests[each] = crc32(text.encode())
    return _digests[node]
