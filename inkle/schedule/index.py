"""Index expressions while a kernel is being planned: sums, and what planning adds to them.

An index is an `Affine`: a sum of multiples of loops, of quotients and of remainders, in the normal
form of the rules. Loops are RANGE nodes with numbers of their own; they become those of the kernel
when it is finished, after loops were merged and split. Two kinds of atoms exist until then only,
as leaves that stand for what will be known later:

    Exact      a quotient without remainder, where a gate says so
    Computed   a coordinate that is read from memory
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from inkle.errors import ShapeError
from inkle.ir import forms, ops
from inkle.ir.dtype import index
from inkle.ir.loop import number_of
from inkle.ir.node import Node, intern
from inkle.ir.size import Size, least
from inkle.rewrite.affine import (
    ZERO,
    Affine,
    affine_of,
    affine_of_size,
    factors_of,
    multiplied,
    single,
    total_of,
)
from inkle.rewrite.known import Known
from inkle.rewrite.nonnegative import is_nonnegative
from inkle.rules.index_division import quotient, remainder
from inkle.rules.index_sums import normalised

KNOWN = Known()
FAR = 1 << 80  # stands for no limit: no index that memory could have gets there
Loops = frozenset[Node]


class Condition(NamedTuple):
    """A test on an index: value >= 0 if modulus is None, else value % modulus == 0.

    x % 0 is x by the rules of the op table, so that modulus 0 says value == 0.
    """

    value: Affine
    modulus: int | None = None


Gate = tuple[Condition, ...]  # all of them hold


class Exact(NamedTuple):
    """of / by, where a gate says that `by` divides `of`: times `by`, it is `of` again."""

    of: Affine
    by: int


class Computed(NamedTuple):
    """A coordinate that is computed from memory; negative ones wrap once around `length`.

    Outside `gate`, it is 0. The reference is weak: a node is found by what it holds, so a strong
    one would keep it, and the whole plan, for ever.
    """

    reference: weakref.ref[Any]
    gate: Gate
    length: int

    @property
    def demand(self) -> Any:
        """What the scheduler plans the value by."""
        demand = self.reference()
        assert demand is not None, "the nest keeps what its indices are computed from"
        return demand

    def __repr__(self) -> str:
        return f"{self.reference()!r} on {self.length}"  # the same in every process


def leaf(what: Exact | Computed, low: int, high: int, loops: Loops) -> Affine:
    """Return the index that stands for `what`, which lies within `low` .. `high`."""
    src = tuple(sorted(loops, key=number_of))
    return single(intern(forms.VARIABLE, index, src, (what, low, high), ()))


def is_clamped(node: Node, n: int) -> bool:
    """Whether `node` is written as a coordinate that is kept within 0 .. n - 1."""
    if node.op is not ops.MINIMUM or node.src[0].op is not ops.MAXIMUM:
        return False
    low, high = node.src[0].src[1], node.src[1]
    return low.op is high.op is forms.CONST and low.arg >= 0 and high.arg < least(n)


def division(atom: Node) -> tuple[Affine, int] | None:
    """Return what is divided by what in `atom`; None if it is a loop, computed, or a product."""
    if atom.op is forms.RANGE or atom.op is ops.MUL:
        return None
    if atom.op is forms.VARIABLE:
        what: Exact | Computed | str = atom.arg[0]
        return what if isinstance(what, Exact) else None
    return affine_of(atom.src[0]), atom.src[1].arg


def depth_of(a: Affine) -> int:
    """Return how deep divisions nest in `a`."""
    inside = [division(atom) for atom in a.terms if atom.op is not forms.RANGE]
    return max([1 + depth_of(each[0]) for each in inside if each is not None], default=0)


def is_exact(a: Affine) -> bool:
    """Whether `a` has exact quotients: it is what it says only under the gate in force."""
    for atom in a.terms:
        inside = division(atom)
        if inside is not None and (isinstance(inside, Exact) or is_exact(inside[0])):
            return True
    return False


def limits(a: Affine) -> tuple[int, int]:
    """Return the smallest and largest value that `a` can take, as far as its atoms tell."""
    low, high = KNOWN.span(a)
    return -FAR if low is None else low, FAR if high is None else high


def is_never_negative(a: Affine) -> bool:
    """Whether a >= 0 is certain."""
    return limits(a)[0] >= 0 or (is_symbolic(a) and is_nonnegative(a))


def is_symbolic(a: Affine) -> bool:
    """Whether sizes that are known at launch only have to do with `a`."""
    return any(
        atom.op is forms.VARIABLE
        or atom.op is ops.MUL
        or any(r.src[0].op is not forms.CONST for r in atom.ranges)
        for atom in a.terms
    )


def is_within(a: Affine, n: int) -> bool:
    """Whether 0 <= a < n is certain."""
    if isinstance(n, Size) or is_symbolic(a):
        return is_never_negative(a) and is_never_negative(a.scaled(-1).shifted(n).shifted(-1))
    low, high = limits(a)
    return low >= 0 and high < n


def tidy(a: Affine) -> Affine:
    """Join quotients and remainders that belong together; multiply exact quotients out."""
    others = [atom for atom in a.terms if atom.op is not forms.RANGE]
    for atom in others:
        what, k = atom.arg, a.terms[atom]
        if atom.op is forms.VARIABLE and isinstance(what[0], Exact) and k % what[0].by == 0:
            return tidy(a.without(atom).plus(what[0].of, k // what[0].by))
    return normalised(a, KNOWN) if others else a


def divide(a: Affine, n: int) -> tuple[Affine, Affine]:
    """Return (floor(a / n), a - n * floor(a / n)) for n > 0.

    Example:
        >>> i, j = single(range_(0, 8)), single(range_(1, 4))
        >>> divide(i.scaled(4).plus(j), 4) == (i, j)
        True
    """
    if isinstance(n, Size):
        return _divide_by_size(a, n)
    inexact = [atom for atom, k in a.terms.items() if k % n]
    low, high = KNOWN.bounds(inexact[0]) if len(inexact) == 1 else (None, None)
    if low is not None and high == low + 1:
        whole = _linear(a, n, inexact[0], low)
    else:
        whole = tidy(quotient(a, n, KNOWN))
    if whole.terms.keys() <= a.terms.keys():
        return whole, a.plus(whole, -n)
    return whole, tidy(remainder(a, n, KNOWN))


def _divide_by_size(a: Affine, n: Size) -> tuple[Affine, Affine]:
    """Divide by a size that is one product, k * n * m: what has these factors, and what has not."""
    if n.constant or len(n.terms) > 1:
        raise _no_division(n)
    [(wanted, k)] = n.terms.items()
    whole = ZERO
    for atom, factor in a.terms.items():
        left = factors_of(atom)
        if factor % k or any(each not in left for each in wanted):
            continue
        for each in wanted:
            left.remove(each)
        quotient_of = Affine({}, factor // k)
        for each in left:
            quotient_of = multiplied(quotient_of, single(each))
        whole = whole.plus(quotient_of)
    rest = a.plus(multiplied(whole, affine_of_size(n)), -1)
    if not is_within(rest, n):
        raise _no_division(n)
    return whole, rest


def _no_division(n: Size) -> ShapeError:
    return ShapeError(
        f"elements would have to be found by dividing by the size {n}, which inkle cannot do; "
        f"keep axes with symbolic sizes apart when you reshape"
    )


def _linear(a: Affine, n: int, atom: Node, low: int) -> Affine:
    """Return floor(a / n) where `atom`, low or low + 1, alone is no multiple of n.

    Whatever depends on an atom of two values alone is linear in it.
    """
    rest, k = a.without(atom), a.terms[atom]
    first = (rest.constant + k * low) // n
    slope = (rest.constant + k * (low + 1)) // n - first
    whole = Affine(rest.terms, 0).divided(n).shifted(first - slope * low)
    return whole.plus(single(atom), slope) if slope else whole


def divide_exactly(a: Affine, n: int, *, final: bool = False) -> Affine:
    """Return a / n, for use where `a` is known to be a multiple of n (under that gate).

    What does not divide out is an exact quotient, or a common one if the expression is `final`.
    """
    rest = Affine({atom: k for atom, k in a.terms.items() if k % n}, a.constant % n)
    whole = a.plus(rest, -1).divided(n)
    low, high = limits(rest)
    if -(-low // n) == high // n:  # one multiple of n within the bounds: that is the value
        return whole.shifted(high // n)
    if final:
        return tidy(whole.plus(divide(rest, n)[0]))
    return whole.plus(leaf(Exact(rest, n), low // n, high // n, rest.ranges))


class Replacement:
    """Replaces loops by sums, and computed coordinates by what they are.

    Args:
        mapping: what loops become; others stay.
        computed: what a computed coordinate becomes, in a final expression; without it, they stay.
    """

    def __init__(
        self,
        mapping: Mapping[Node, Affine],
        computed: Callable[[Computed], Affine] | None = None,
    ) -> None:
        self._done = dict(mapping)
        self._computed = computed

    def __call__(self, a: Affine) -> Affine:
        """Return `a` with its atoms replaced."""
        done = self._done
        for atom in a.terms:
            if atom not in done:
                done[atom] = self._replaced(atom)
        if len(a.terms) == 1:
            [(atom, k)] = a.terms.items()
            return tidy(done[atom].scaled(k).shifted(a.constant))
        return tidy(total_of([(done[atom], k) for atom, k in a.terms.items()], a.constant))

    def _replaced(self, atom: Node) -> Affine:
        inside = division(atom)
        if inside is None:
            if atom.op is ops.MUL:
                total = Affine({}, 1)
                for factor in factors_of(atom):
                    total = multiplied(total, self(single(factor)))
                return total
            if not isinstance(atom.arg[0], Computed) or self._computed is None:
                return single(atom)
            return self._computed(atom.arg[0])
        of, by = self(inside[0]), inside[1]
        if isinstance(inside, Exact):
            return divide_exactly(of, by, final=self._computed is not None)
        return divide(of, by)[atom.op is ops.FLOORMOD]
