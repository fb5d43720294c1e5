"""What a nest consists of: its demands, in the order in which they can be computed."""

from __future__ import annotations

from collections.abc import Sequence

from inkle.ir import forms
from inkle.rewrite.affine import factors_of, single
from inkle.schedule.index import Computed, Condition, Gate, division
from inkle.schedule.nest import Demand, Nest, Store


def conditions_of(user: Demand | Store) -> Gate:
    """Return the indices that a value or a store needs; where it is in memory, as one of them."""
    if isinstance(user, Store):
        return (Condition(user.at), *user.gate, *user.link.gate)
    if user.is_loaded or not user.links:
        return (Condition(user.position), *user.gate)
    gates = [*user.choices, *[link.gate for link in user.links if link.gate]]
    return tuple([condition for gate in gates for condition in gate])


def computed_in(gate: Gate) -> list[Computed]:
    """Return what indices take from memory, and what that needs in turn."""
    found: list[Computed] = []
    for value, _ in gate:
        for atom in value.terms:
            if atom.op is forms.RANGE:
                continue
            inside = division(atom)
            if inside is not None:
                found += computed_in((Condition(inside[0]),))
                continue
            for factor in factors_of(atom):
                if factor.op is forms.VARIABLE and isinstance(factor.arg[0], Computed):
                    found += [factor.arg[0], *computed_in(factor.arg[0].gate)]
                elif factor is not atom:
                    found += computed_in((Condition(single(factor)),))
    return found


def sources(user: Demand | Store) -> list[Demand]:
    """Return the demands that must be computed before a value or a store."""
    links = [user.link] if isinstance(user, Store) else () if user.is_loaded else user.links
    found = [link.target for link in links if isinstance(link.target, Demand)]
    return found + [each.demand for each in computed_in(conditions_of(user))]


def post_order(nests: Sequence[Nest]) -> dict[Demand, list[Demand]]:
    """Return every demand that the stores of `nests` need, and its sources; sources first."""
    found: dict[Demand, list[Demand]] = {}
    out: dict[Demand, list[Demand]] = {}
    for nest in nests:
        for store in nest.stores:
            stack = sources(store)[::-1]
            while stack:
                demand = stack[-1]
                if demand not in found:
                    found[demand] = sources(demand)
                    stack += [each for each in reversed(found[demand]) if each not in found]
                else:
                    out.setdefault(stack.pop(), found[demand])
    return out
