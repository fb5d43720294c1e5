"""Index expressions while a kernel is being planned: sums of multiples of atoms, as plain values.

An `Affine` is offset + c1*atom1 + c2*atom2 + ..., with atoms in one order, so equal expressions are
equal values: they serve as dictionary keys, and adding, scaling and dividing them needs no
rewriting. Atoms are loops, quotients and remainders that do not divide out, and values read from
memory. They become graph nodes only when a kernel is finished (`build`), after loops were merged
and split.

All division here is exact integer arithmetic: `floor(a / n)` and `a - n * floor(a / n)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import gcd
from operator import itemgetter
from typing import Any, NamedTuple

Atoms = frozenset[Any]
NONE: Atoms = frozenset()


class Atom:
    """A quantity that index expressions are made of.

    Attributes:
        order: place among the terms of a sum; for people and for canonical sums.
        low, high: bounds, both included.
        loops: the loops it depends on.
        depth: how deep divisions nest; 0 for a loop.
        is_exact: whether it is what it says only under the gate in force.
    """

    __slots__ = ("depth", "high", "is_exact", "loops", "low", "order")
    order: tuple[int, int]
    low: int
    high: int
    loops: Atoms
    depth: int
    is_exact: bool


class Loop(Atom):
    """A loop over 0 .. extent - 1 of a kernel that is being planned.

    Attributes:
        enclosing: the loops around it, outermost first, itself last.
        points: product of the extents of `enclosing`: how often its body runs.
        is_contraction: whether its body is the body of a contraction.
    """

    __slots__ = ("enclosing", "extent", "is_contraction", "points")

    def __init__(self, number: int, extent: int, around: tuple[Loop, ...] = ()) -> None:
        self.order, self.low, self.high, self.depth = (0, number), 0, extent - 1, 0
        self.loops = frozenset((self,))
        self.extent = extent
        self.enclosing: tuple[Loop, ...] = (*around, self)
        self.points: int = (around[-1].points if around else 1) * extent
        self.is_contraction = self.is_exact = False

    def __repr__(self) -> str:
        return f"i{self.order[1]}"


class Part(Atom):
    """floor(of / by), the remainder of that, or the exact quotient where only multiples matter.

    kind is "quotient", "remainder", or "exact": under a gate that `by` divides `of`.
    """

    __slots__ = ("by", "hash", "key", "kind", "of")

    def __init__(self, kind: str, of: Affine, by: int) -> None:
        self.kind, self.of, self.by = kind, of, by
        self.key = (kind, of, by)
        self.hash = hash(self.key)  # once: parts nest
        self.loops = loops_of(of)
        self.depth = 1 + depth_of(of)
        self.is_exact = kind == "exact" or any(atom.is_exact for atom, _ in of.terms)
        low, high = bounds(of)
        self.low, self.high = (0, by - 1) if kind == "remainder" else (low // by, high // by)
        self.order = (1 + self.depth, max([loop.order[1] for loop in self.loops], default=0))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Part) and self.hash == other.hash and self.key == other.key

    def __hash__(self) -> int:
        return self.hash

    def __repr__(self) -> str:
        return f"({self.of} {'%' if self.kind == 'remainder' else '//'} {self.by})"


class Computed(Atom):
    """A coordinate that is computed from memory; negative ones wrap once around `length`.

    `demand` is what the scheduler plans the value by.
    """

    __slots__ = ("demand", "gate", "key", "length")

    def __init__(
        self, demand: Any, gate: Gate, length: int, limits: tuple[int, int], loops: Atoms
    ) -> None:
        self.demand, self.gate, self.length, self.loops = demand, gate, length, loops
        self.key = (demand, gate, length)
        low, high = limits
        self.low, self.high = (
            (low, high) if low >= 0 else (min(0, low + length), max(high, length - 1))
        )
        self.depth, self.is_exact = 0, False
        self.order = (1, max([loop.order[1] for loop in loops], default=0))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Computed) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class Affine(NamedTuple):
    """offset + sum of coefficient * atom; terms are sorted by atom.order, none is zero."""

    offset: int
    terms: tuple[tuple[Any, int], ...]

    def __repr__(self) -> str:
        parts = [f"{atom}" if k == 1 else f"{k}*{atom}" for atom, k in self.terms]
        return " + ".join([*parts, str(self.offset)] if self.offset or not parts else parts)


class Condition(NamedTuple):
    """A test on an index: value >= 0 if modulus is None, else value % modulus == 0.

    x % 0 is x by the rules of the op table, so that modulus 0 says value == 0.
    """

    value: Affine
    modulus: int | None = None


Gate = tuple[Condition, ...]  # all of them hold
ZERO = Affine(0, ())
_first = itemgetter(0)


def number(value: int) -> Affine:
    """Return a constant index."""
    return Affine(value, ()) if value else ZERO


def single(atom: Atom) -> Affine:
    """Return the index that is `atom`."""
    return Affine(0, ((atom, 1),))


def bounds(a: Affine) -> tuple[int, int]:
    """Return the smallest and largest value that `a` can take, as far as its atoms tell."""
    low = high = a.offset
    for atom, k in a.terms:
        if k > 0:
            low += k * atom.low
            high += k * atom.high
        else:
            low += k * atom.high
            high += k * atom.low
    return low, high


def is_within(a: Affine, n: int) -> bool:
    """Whether 0 <= a < n is certain."""
    low, high = bounds(a)
    return low >= 0 and high < n


def loops_of(a: Affine) -> Atoms:
    """Return the loops that `a` depends on."""
    terms = a.terms
    if len(terms) == 1:
        found: Atoms = terms[0][0].loops
        return found
    return NONE.union(*[atom.loops for atom, _ in terms]) if terms else NONE


def depth_of(a: Affine) -> int:
    """Return how deep divisions nest in `a`."""
    return max([atom.depth for atom, _ in a.terms], default=0)


def add(a: Affine, b: Affine) -> Affine:
    """Return a + b."""
    if not b.terms:
        return Affine(a.offset + b.offset, a.terms) if b.offset else a
    if not a.terms:
        return Affine(a.offset + b.offset, b.terms) if a.offset else b
    merged = dict(a.terms)
    for atom, k in b.terms:
        merged[atom] = merged.get(atom, 0) + k
    return _normal(a.offset + b.offset, merged)


def shift(a: Affine, by: int) -> Affine:
    """Return a + by."""
    return Affine(a.offset + by, a.terms) if by else a


def scale(a: Affine, factor: int) -> Affine:
    """Return a * factor."""
    if factor == 1 or a is ZERO:
        return a
    if factor == 0:
        return ZERO
    terms = tuple([(atom, k * factor) for atom, k in a.terms])
    if any(atom.depth for atom, _ in terms):
        return _normal(a.offset * factor, dict(terms))
    return Affine(a.offset * factor, terms)


def subtract(a: Affine, b: Affine) -> Affine:
    """Return a - b."""
    return add(a, scale(b, -1))


def _by_order(term: tuple[Any, int]) -> tuple[int, int]:
    order: tuple[int, int] = term[0].order
    return order


def _normal(offset: int, merged: dict[Any, int]) -> Affine:
    """Sort, drop zeros, and join quotients with their remainders."""
    for atom in merged:
        if atom.depth:
            joined = _joined(offset, merged)
            if joined is not None:
                return joined
            break
    terms = [term for term in merged.items() if term[1]]
    if len(terms) > 1:
        terms.sort(key=_by_order)
    return Affine(offset, tuple(terms))


def _joined(offset: int, merged: dict[Any, int]) -> Affine | None:
    """c*n*(a // n) + c*(a % n) is c*a; so is c*n times the exact quotient of a by n."""
    for atom, k in merged.items():
        if not atom.depth or not k:
            continue
        if atom.kind == "exact" and k % atom.by == 0:
            rest = _normal(offset, {each: c for each, c in merged.items() if each is not atom})
            return add(rest, scale(atom.of, k // atom.by))
        if atom.kind == "quotient" and k % atom.by == 0:
            other = Part("remainder", atom.of, atom.by)
            share = k // atom.by
            if merged.get(other) == share:
                left = {each: c for each, c in merged.items() if each not in (atom, other)}
                return add(_normal(offset, left), scale(atom.of, share))
    return None


def divide(a: Affine, n: int) -> tuple[Affine, Affine]:
    """Return (floor(a / n), a - n * floor(a / n)) for n > 0.

    Multiples of n leave the division; what remains is dropped where its bounds say it is constant.

    Example:
        >>> i, j = single(Loop(0, 8)), single(Loop(1, 4))
        >>> divide(add(scale(i, 4), j), 4)
        (i0, i1)
    """
    if n == 1:
        return a, ZERO
    whole = [(atom, k // n) for atom, k in a.terms if k % n == 0]
    rest = Affine(a.offset, tuple([term for term in a.terms if term[1] % n]))
    low, high = bounds(rest)
    out = Affine(0, tuple(whole))
    if low // n == high // n:
        return shift(out, low // n), shift(rest, -(low // n) * n)
    if len(rest.terms) == 1 and high - low == abs(rest.terms[0][1]):
        # An atom of two values: whatever depends on it alone is linear in it.
        atom, k = rest.terms[0]
        first, last = (low, high) if k > 0 else (high, low)
        slope = last // n - first // n
        quotient = Affine(first // n - slope * atom.low, ((atom, slope),))
        return add(out, quotient), subtract(rest, scale(quotient, n))
    out, rest = shift(out, rest.offset // n), Affine(rest.offset % n, rest.terms)
    common = gcd(n, *[k for _, k in rest.terms])
    fine = rest.offset % common
    if (
        common > 1
    ):  # floor((c*x + r) / (c*m)) is floor((x + r // c) / m), and r % c joins the remainder
        terms = tuple([(atom, k // common) for atom, k in rest.terms])
        rest, n = Affine(rest.offset // common, terms), n // common
    return add(out, _quotient(rest, n)), shift(scale(_remainder(rest, n), common), fine)


def _only(a: Affine) -> Any:
    """Return the atom that `a` is, or None."""
    return a.terms[0][0] if len(a.terms) == 1 and not a.offset and a.terms[0][1] == 1 else None


def _quotient(a: Affine, n: int) -> Affine:
    atom = _only(a)
    if isinstance(atom, Part) and atom.kind == "quotient":
        return divide(atom.of, atom.by * n)[0]
    return single(Part("quotient", a, n))


def _remainder(a: Affine, n: int) -> Affine:
    atom = _only(a)
    if isinstance(atom, Part) and atom.kind == "remainder" and atom.by % n == 0:
        return divide(atom.of, n)[1]
    return single(Part("remainder", a, n))


def divide_exactly(a: Affine, n: int) -> Affine:
    """Return a / n, for use where `a` is known to be a multiple of n (under that gate)."""
    if n == 1:
        return a
    whole = [(atom, k // n) for atom, k in a.terms if k % n == 0]
    rest = Affine(a.offset % n, tuple([term for term in a.terms if term[1] % n]))
    out = Affine(a.offset // n, tuple(whole))
    low, high = bounds(rest)
    if -(-low // n) == high // n:  # one multiple of n within the bounds: that is the value
        return shift(out, high // n)
    return add(out, single(Part("exact", rest, n)))


def replace(a: Affine, mapping: Mapping[Any, Affine], computed: Callable[[Any], Any]) -> Affine:
    """Return `a` with loops replaced; `computed` maps Computed atoms."""
    total = Affine(a.offset, ())
    for atom, k in a.terms:
        if type(atom) is Loop:
            new = mapping.get(atom)
            new = single(atom) if new is None else new
        elif type(atom) is Part:
            inner = replace(atom.of, mapping, computed)
            if atom.kind == "exact":
                new = divide_exactly(inner, atom.by)
            else:
                new = divide(inner, atom.by)[atom.kind == "remainder"]
        else:
            new = single(computed(atom))
        total = add(total, scale(new, k))
    return total
