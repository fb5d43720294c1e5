"""Gates: where an element exists, as conditions on indices.

`simplified` decides a condition by bounds or makes it simpler, `joined` puts gates together,
`within` says that a coordinate lies on its axis, `needed` keeps what a read needs to stay inside
its memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inkle.rewrite.affine import Affine, depth
from inkle.schedule.index import (
    Condition,
    Gate,
    depth_of,
    is_exact,
    is_never_negative,
    is_symbolic,
    is_within,
    limits,
)


def simplified(condition: Condition) -> bool | Condition:
    """Return whether a condition is certainly true or false, or the condition, made simpler."""
    value, modulus = condition
    low, high = limits(value)
    if modulus is None:
        if low >= 0 or high < 0:
            return low >= 0
        if not is_symbolic(value):
            return condition
        return True if is_never_negative(value) else _unless_never(condition)
    if modulus:
        terms = {atom: k for atom, k in value.terms.items() if k % modulus}
        value = Affine(terms, value.constant % modulus)
        low, high = limits(value)
        first, last = -(-low // modulus), high // modulus
        if first == last:
            return simplified(Condition(value.shifted(-first * modulus), 0))
        return False if first > last else Condition(value, modulus)
    if low == high == 0:
        return True
    return condition if low <= 0 <= high else False


def _unless_never(condition: Condition) -> bool | Condition:
    return condition if not is_never_negative(condition.value.scaled(-1).shifted(-1)) else False


def joined(gate: Gate, more: Gate) -> Gate:
    """Return the conditions of both, each direction once with its strongest bound, in order."""
    if not more or not gate:
        return gate or more
    found: dict[Any, Condition] = {}
    for condition in (*gate, *more):
        value, modulus = condition
        if modulus is None:
            key = frozenset(value.terms.items())
            known = found.get(key)
            if known is not None and known.value.constant <= value.constant:
                continue
            found[key] = condition
        else:
            found[condition] = condition
    return tuple(sorted(found.values(), key=_condition_order))


def _condition_order(condition: Condition) -> Any:
    value, modulus = condition
    terms = sorted([(depth(atom), k) for atom, k in value.terms.items()], reverse=True)
    places, factors = [place for place, _ in terms], [k for _, k in reversed(terms)]
    return depth_of(value), places, factors, value.constant, -1 if modulus is None else modulus


def needed(gate: Gate, index: tuple[Affine, ...], shape: tuple[int, ...]) -> Gate:
    """Return the part of `gate` that may be needed to keep `index` inside `shape`.

    An index that is inside anyway needs no gate. Otherwise, a condition matters only if it is
    linked to a doubtful coordinate by common loops. An exact quotient is doubtful: multiplied
    again, it becomes the dividend, which is inside under the gate only.
    """
    if not gate:
        return gate
    doubtful = [
        each
        for each, n in zip(index, shape, strict=True)
        if not is_within(each, n) or is_exact(each)
    ]
    if not doubtful:
        return ()
    linked = frozenset().union(*[each.ranges for each in doubtful])
    kept: list[Condition] = []
    grows = True
    while grows:
        before = len(kept)
        kept = [each for each in gate if not each.value.ranges or each.value.ranges & linked]
        linked = linked.union(*[each.value.ranges for each in kept])
        grows = len(kept) > before
    return tuple(kept)


def within(i: Affine, n: int) -> Gate | None:
    """Return the conditions for 0 <= i < n that are not certain; None if it never holds."""
    return all_of([Condition(i), Condition(i.scaled(-1).shifted(n - 1))])


def all_of(conditions: Sequence[Condition]) -> Gate | None:
    """Return the conditions that are not certain; None if one never holds."""
    gate: Gate = ()
    for condition in conditions:
        holds = simplified(condition)
        if holds is False:
            return None
        if holds is not True:
            gate = joined(gate, (holds,))
    return gate
