"""What a nest consists of: its demands, in the order in which they can be computed."""

from __future__ import annotations

from collections.abc import Sequence

from inkle.schedule.index import Affine, Gate, Loop, Part
from inkle.schedule.nest import Demand, Link, Nest


def sources(demand: Demand) -> list[Demand]:
    """Return the demands that must be computed before `demand`."""
    found: list[Demand] = []
    if demand.is_loaded or not demand.links:
        for each in demand.index:
            _computed_in(each, found)
        _computed_in_gate(demand.gate, found)
        return found
    for gate in demand.choices:
        _computed_in_gate(gate, found)
    for link in demand.links:
        found += linked(link)
    return found


def linked(link: Link) -> list[Demand]:
    """Return the demands that a link needs."""
    found: list[Demand] = []
    _computed_in_gate(link.gate, found)
    if isinstance(link.target, Demand):
        found.append(link.target)
    return found


def _computed_in_gate(gate: Gate, found: list[Demand]) -> None:
    for condition in gate:
        _computed_in(condition.value, found)


def _computed_in(a: Affine, found: list[Demand]) -> None:
    for atom, _ in a.terms:
        if type(atom) is Part:
            _computed_in(atom.of, found)
        elif type(atom) is not Loop:
            found.append(atom.demand)
            _computed_in_gate(atom.gate, found)


def post_order(nests: Sequence[Nest]) -> list[Demand]:
    """Return every demand that the stores of `nests` need, sources first."""
    seen: set[Demand] = set()
    out: list[Demand] = []
    for nest in nests:
        for store in nest.stores:
            roots = linked(store.link)
            _computed_in(store.at, roots)
            _computed_in_gate(store.gate, roots)
            _visit(roots, seen, out)
    return out


def _visit(roots: list[Demand], seen: set[Demand], out: list[Demand]) -> None:
    stack = [(demand, False) for demand in reversed(roots)]
    while stack:
        demand, done = stack.pop()
        if done:
            out.append(demand)
        elif demand not in seen:
            seen.add(demand)
            stack.append((demand, True))
            stack += [(each, False) for each in reversed(sources(demand)) if each not in seen]
