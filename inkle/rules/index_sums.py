"""Sums of products in normal form; quotients and remainders that belong together (index).

::

    k * (x % c) + k*c * (x // c)        ->  k * x
    k * (x % a) + k*a * ((x // a) % b)  ->  k * (x % (a*b))
    k * x - k*c * (x // c)              ->  k * (x % c)
"""

from __future__ import annotations

from inkle.ir import forms, ops
from inkle.ir.node import Node
from inkle.rewrite.affine import Affine, affine_of, product
from inkle.rewrite.known import Known
from inkle.rules.index_division import is_quotient, is_remainder, quotient, remainder

_MAX_TERMS = 64  # of a sum in which pairs that belong together are looked for
_MAX_PRODUCTS = 16
_DIVISIONS = frozenset({ops.FLOORDIV, ops.FLOORMOD})


def normalised(total: Affine, known: Known) -> Affine:
    """Return `total` with constant atoms folded and divisions recombined."""
    total = _fold_atoms(total, known)
    if len(total.terms) <= _MAX_TERMS and any(atom.op in _DIVISIONS for atom in total.terms):
        better = _recombined(total, known)
        while better is not None:
            total = better
            better = _recombined(total, known)
    return total


def multiplied(x: Affine, y: Affine) -> Affine | None:
    """Return x * y multiplied out, or None if that has too many terms."""
    if not y.terms:
        return x.scaled(y.constant) if y.constant else Affine({}, 0)
    if not x.terms:
        return multiplied(y, x)
    if len(x.terms) * len(y.terms) > _MAX_PRODUCTS:
        return None
    total = Affine({}, x.constant * y.constant)
    if y.constant:
        total = total.plus(Affine(x.terms, 0), y.constant)
    if x.constant:
        total = total.plus(Affine(y.terms, 0), x.constant)
    for a, k in x.terms.items():
        for b, n in y.terms.items():
            total = total.plus(Affine({product(a, b): 1}, 0), k * n)
    return total


def sum_of(node: Node) -> Affine | None:
    """Return the sum that an index node of ADD, SUB, NEG or MUL stands for; None if too long."""
    if node.op is ops.MUL and node.src[1].op is not forms.CONST:
        return multiplied(affine_of(node.src[0]), affine_of(node.src[1]))
    return affine_of(node)


def _fold_atoms(total: Affine, known: Known) -> Affine:
    """Replace atoms that have one possible value."""
    fixed = []
    for atom in total.terms:
        if known.facts:
            low, high = known.bounds(atom)
            if low is not None and low == high:
                fixed.append((atom, low))
        elif atom.op is forms.RANGE and atom.src[0].op is forms.CONST and atom.src[0].arg == 1:
            fixed.append((atom, 0))
    for atom, value in fixed:
        total = total.without(atom).shifted(total.terms[atom] * value)
    return total


def _recombined(total: Affine, known: Known) -> Affine | None:
    for atom, k in total.terms.items():
        if is_remainder(atom):
            found = _with_remainder(total, atom, k, known)
        elif is_quotient(atom):
            found = _with_quotient(total, atom, k, known)
        else:
            found = _with_product(total, atom, k)
        if found is not None:
            return found
    return None


def _with_remainder(total: Affine, atom: Node, k: int, known: Known) -> Affine | None:
    """Combine k * (y % m) with the quotient y // m, or with the next digit, (y // m) % b."""
    m = atom.src[1].arg
    others = [each for each in total.terms if each is not atom]
    if not any(is_quotient(each) or is_remainder(each) for each in others):
        return None
    y = affine_of(atom.src[0])
    upper = quotient(y, m, known)
    for each in upper.terms:
        if is_quotient(each) and total.terms.get(each, 0) == k * m * upper.terms[each]:
            return total.without(atom).plus(y, k).plus(upper, -k * m)
    for each in others:
        if is_remainder(each) and total.terms[each] == k * m:
            digit = affine_of(each.src[0])
            if digit.constant == upper.constant and digit.terms == upper.terms:
                both = remainder(y, m * each.src[1].arg, known)
                return total.without(atom, each).plus(both, k)
    return None


def _with_quotient(total: Affine, atom: Node, k: int, known: Known) -> Affine | None:
    """Combine n * y - n*c * (y // c) to n * (y % c)."""
    c = atom.src[1].arg
    n, inexact = divmod(-k, c)
    if inexact:
        return None
    y = affine_of(atom.src[0])
    if any(total.terms.get(each, 0) != n * factor for each, factor in y.terms.items()):
        return None
    return total.without(atom).plus(y, -n).plus(remainder(y, c, known), n)


def _with_product(total: Affine, atom: Node, k: int) -> Affine | None:
    """Combine k * (y % m) with k * ((y // m) * m) for an m that is no constant."""
    if atom.op is not ops.FLOORMOD or atom.src[1].op is forms.CONST:
        return None
    y, m = atom.src
    whole = product(y.floordiv(m), m)
    if total.terms.get(whole, 0) != k:
        return None
    return total.without(atom, whole).plus(affine_of(y), k)
