"""Loops of a sum that a divisibility condition pins down.

    sum over k < 5 of (x[(p - k) / 2] where (p - k) % 2 == 0)

has terms only where k and p are both even or both odd: with k = 2*j + p % 2 it is

    sum over j < 3 of (x[p // 2 - j] where 2*j + p % 2 < 5)

which, once p is split by 2, has neither divisions nor remainders. This is the gradient of a
convolution or pooling with a stride.
"""

from __future__ import annotations

from typing import NamedTuple

from inkle.ir import forms, ops
from inkle.ir.loop import extent
from inkle.ir.node import Node
from inkle.rewrite.affine import Affine
from inkle.schedule.index import Condition, Gate, divide
from inkle.schedule.nest import Demand


class Fold(NamedTuple):
    """A loop k of which only k = remainder, remainder + step, ... count.

    Attributes:
        step: distance of the values that count.
        remainder: the first one, less than `step`.
        condition: what says so; it holds for all values that are left.
        limit: condition that k is within its extent, where that needs saying.
    """

    step: int
    remainder: Affine
    condition: Condition
    limit: Condition | None


def folds_of(demand: Demand) -> dict[Node, Fold]:
    """Return what the gates around the body of a sum say about its loops."""
    found: dict[Node, Fold] = {}
    if not demand.loops or demand.node.arg[0] is not ops.ADD:
        return found
    for condition in _gates(demand):
        if condition.modulus:
            for loop, k in condition.value.ordered():
                is_counted = loop in demand.loops and loop.src[0].op is forms.CONST
                if is_counted and loop not in found and abs(k) == 1:
                    fold = _fold(condition, condition.modulus, loop, k, found)
                    if fold is not None:
                        found[loop] = fold
                        break
    return found


def _gates(demand: Demand) -> Gate:
    """Return the conditions outside which the whole body is 0."""
    conditions: list[Condition] = []
    while demand.node.op is forms.REDUCE and len(demand.links) == 1:
        gate, target = demand.links[0]
        conditions += gate
        if not isinstance(target, Demand) or target.loops or target.outer is None:
            break
        demand = target
    return tuple(conditions)


def _fold(
    condition: Condition, step: int, loop: Node, k: int, found: dict[Node, Fold]
) -> Fold | None:
    """Solve k * loop + others = 0 modulo step: loop is -k * others."""
    others = condition.value.without(loop)
    for atom, factor in others.terms.items():
        if factor % step == 0:
            continue
        # Only loops that split evenly: a remainder that stays would cost more than the gate.
        if atom.op is not forms.RANGE or atom in found or abs(factor) != 1:
            return None
        if atom.src[0].op is not forms.CONST or extent(atom) % step:
            return None
    remainder = divide(others.scaled(-k), step)[1]
    last = Condition(Affine({loop: -1}, extent(loop) - 1))
    return Fold(step, remainder, condition, last if extent(loop) % step else None)
