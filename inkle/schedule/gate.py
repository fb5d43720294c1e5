"""Gates: where an element exists, as conditions on indices.

`simplified` decides a condition by bounds or makes it simpler, `joined` puts gates together,
`within` says that a coordinate lies on its axis, `needed` keeps what a read needs to stay inside
its memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inkle.schedule.index import (
    NONE,
    Affine,
    Condition,
    Gate,
    bounds,
    is_within,
    loops_of,
    number,
    shift,
    subtract,
)


def simplified(condition: Condition) -> bool | Condition:
    """Return whether a condition is certainly true or false, or the condition, made simpler."""
    value, modulus = condition
    low, high = bounds(value)
    if modulus is None:
        return True if low >= 0 else False if high < 0 else condition
    if modulus:
        terms = tuple([term for term in value.terms if term[1] % modulus])
        value = Affine(value.offset % modulus, terms)
        low, high = bounds(value)
        first, last = -(-low // modulus), high // modulus
        if first == last:
            return simplified(Condition(shift(value, -first * modulus), 0))
        return False if first > last else Condition(value, modulus)
    if low == high == 0:
        return True
    return condition if low <= 0 <= high else False


def joined(gate: Gate, more: Gate) -> Gate:
    """Return the conditions of both, each direction once with its strongest bound, in order."""
    if not more or not gate:
        return gate or more
    found: dict[Any, Condition] = {}
    for condition in (*gate, *more):
        value, modulus = condition
        if modulus is None:
            key = value.terms
            known = found.get(key)
            if known is not None and known.value.offset <= value.offset:
                continue
            found[key] = condition
        else:
            found[condition] = condition
    return tuple(sorted(found.values(), key=_condition_order))


def _condition_order(condition: Condition) -> Any:
    terms = condition.value.terms
    return (
        [atom.order for atom, _ in reversed(terms)],
        [k for _, k in terms],
        condition.value.offset,
        -1 if condition.modulus is None else condition.modulus,
    )


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
        if not is_within(each, n) or any(atom.is_exact for atom, _ in each.terms)
    ]
    if not doubtful:
        return ()
    linked = NONE.union(*[loops_of(each) for each in doubtful])
    rest, kept = list(gate), set[Condition]()
    grown = True
    while grown:
        grown = False
        for condition in list(rest):
            loops = loops_of(condition.value)
            if not loops or loops & linked:
                linked = linked | loops
                kept.add(condition)
                rest.remove(condition)
                grown = True
    return tuple([condition for condition in gate if condition in kept])


def within(i: Affine, n: int) -> Gate | None:
    """Return the conditions for 0 <= i < n that are not certain; None if it never holds."""
    return all_of([Condition(i), Condition(subtract(number(n - 1), i))])


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
