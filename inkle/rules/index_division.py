"""Quotient and remainder of a sum by a constant, in normal form (index arithmetic).

Everything rests on a few identities of floor division by c > 0, each proved as a lemma
(`LEMMAS` in `inkle.rules.index`):

    (c*x + y) // c == x + y // c              multiples of c leave the numerator
    (g*x + y) // (g*c) == x // c              if 0 <= y < g: low digits do not matter
    (g*x + y) % (g*c) == g * (x % c) + y      if 0 <= y < g
    (x // a + y) // c == (x + a*y) // (a*c)   quotients nest
    (x % (a*c)) // a == (x // a) % c          a remainder inside moves out
    (x + a * (y % (b*c))) % c == (x + a*y) % c    if c divides a*b*c: a remainder inside vanishes
    x // c == -1 - (-1 - x) // c              the leading coefficient is made positive
"""

from __future__ import annotations

from math import gcd

from inkle.ir import ops
from inkle.ir.dtype import index
from inkle.ir.forms import CONST
from inkle.ir.node import Node, const, intern
from inkle.ir.op import Op
from inkle.rewrite.affine import Affine, affine_of
from inkle.rewrite.known import Known

_NOTHING = Affine({}, 0)


def quotient(total: Affine, divisor: int, known: Known) -> Affine:
    """Return total // divisor in normal form; the divisor is not 0."""
    if divisor < 0:
        return quotient(total.scaled(-1), -divisor, known)
    whole, _, _, rest, divisor = _split(total, divisor, known)
    return whole.plus(_quotient_atom(rest, divisor, known)) if rest.terms else whole


def remainder(total: Affine, divisor: int, known: Known) -> Affine:
    """Return total % divisor in normal form; the divisor is not 0."""
    if divisor < 0:
        return remainder(total.scaled(-1), -divisor, known).scaled(-1)
    _, low, scale, rest, divisor = _split(total, divisor, known)
    return low.plus(_remainder_atom(rest, divisor, known), scale) if rest.terms else low


def _split(total: Affine, divisor: int, known: Known) -> tuple[Affine, Affine, int, Affine, int]:
    """Take apart what can be divided without a division.

    Returns:
        whole, low, scale, rest, d with divisor == scale * d, 0 <= low < scale and
        total == divisor * whole + scale * rest + low; `rest` has no terms if nothing is left.
    """
    whole, rest = _take_multiples(total, divisor)
    low, scale = _NOTHING, 1
    while rest.terms:
        first, last = known.span(rest)
        if first is not None and last is not None and first // divisor == last // divisor:
            m = first // divisor
            low = low.plus(rest.shifted(-m * divisor), scale)
            return whole.shifted(m), low, scale, _NOTHING, divisor
        digits = _low_digits(rest, divisor, known)
        if digits is None:
            return whole, low, scale, rest, divisor
        unit, digit, upper = digits
        low = low.plus(digit, scale)
        divisor //= unit
        scale *= unit
        more, rest = _take_multiples(upper, divisor)
        whole = whole.plus(more)
    return whole, low.shifted(rest.constant * scale), scale, _NOTHING, divisor


def _take_multiples(total: Affine, divisor: int) -> tuple[Affine, Affine]:
    """Return q, r with total == divisor * q + r, |coefficients of r| < divisor > constant >= 0."""
    whole: dict[Node, int] = {}
    rest: dict[Node, int] = {}
    for atom, k in total.terms.items():
        q = k // divisor if k >= 0 else -(-k // divisor)
        if q:
            whole[atom] = q
        if k - q * divisor:
            rest[atom] = k - q * divisor
    constant, left = divmod(total.constant, divisor)
    return Affine(whole, constant), Affine(rest, left)


def _low_digits(rest: Affine, divisor: int, known: Known) -> tuple[int, Affine, Affine] | None:
    """Return unit, low, upper with rest == unit * upper + low, 0 <= low < unit, unit | divisor."""
    units = {gcd(k, divisor) for k in rest.terms.values()} - {1}
    for unit in sorted(units, reverse=True):
        high = {atom: k // unit for atom, k in rest.terms.items() if k % unit == 0}
        small = {atom: k for atom, k in rest.terms.items() if k % unit}
        low = Affine(small, rest.constant % unit)
        first, last = known.span(low)
        if first is None or last is None or first // unit != last // unit:
            continue
        carry = first // unit
        upper = Affine(high, rest.constant // unit + carry)
        return unit, low.shifted(-carry * unit), upper
    return None


def _quotient_atom(rest: Affine, divisor: int, known: Known) -> Affine:
    """Return rest // divisor, where no multiple of the divisor and no low digit is left."""
    inner = [atom for atom, k in rest.terms.items() if k == 1 and is_quotient(atom)]
    if len(inner) == 1:
        x, a = inner[0].src[0], inner[0].src[1].arg
        numerator = affine_of(x).plus(rest.without(inner[0]), a)
        return quotient(numerator, a * divisor, known)
    if len(rest.terms) == 1 and not rest.constant:
        atom, k = next(iter(rest.terms.items()))
        if k == 1 and is_remainder(atom) and atom.src[1].arg % divisor == 0:
            upper = quotient(affine_of(atom.src[0]), divisor, known)
            return remainder(upper, atom.src[1].arg // divisor, known)
    if rest.ordered()[0][1] < 0:
        mirrored = rest.scaled(-1).shifted(divisor - 1)
        return Affine({_atom(ops.FLOORDIV, mirrored, divisor): -1}, 0)
    return Affine({_atom(ops.FLOORDIV, rest, divisor): 1}, 0)


def _remainder_atom(rest: Affine, divisor: int, known: Known) -> Affine:
    """Return rest % divisor, where no multiple of the divisor and no low digit is left."""
    for atom, k in rest.terms.items():
        if is_remainder(atom) and k * atom.src[1].arg % divisor == 0:
            opened = rest.without(atom).plus(affine_of(atom.src[0]), k)
            return remainder(opened, divisor, known)
    if rest.ordered()[0][1] < 0:
        mirrored = rest.scaled(-1).shifted(divisor - 1)
        return Affine({_atom(ops.FLOORMOD, mirrored, divisor): -1}, divisor - 1)
    return Affine({_atom(ops.FLOORMOD, rest, divisor): 1}, 0)


def _atom(op: Op, total: Affine, divisor: int) -> Node:
    return intern(op, index, (total.node(), const(divisor, index)), None, ())


def is_quotient(atom: Node) -> bool:
    """Whether `atom` is x // c with a constant c > 0."""
    return atom.op is ops.FLOORDIV and atom.src[1].op is CONST and atom.src[1].arg > 0


def is_remainder(atom: Node) -> bool:
    """Whether `atom` is x % c with a constant c > 0."""
    return atom.op is ops.FLOORMOD and atom.src[1].op is CONST and atom.src[1].arg > 0
