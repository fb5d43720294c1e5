"""Nodes that write parts of an array: UPDATE, SCATTER, and CAT when it is stored.

    UPDATE   memory := base; then the region is stored
    SCATTER  memory := base; then values are stored or combined at computed places, in order
    CAT      one store per part

`memory := base` costs nothing where the version before has no reader left: the new version takes
over its memory, and the readers of the old one run first. Otherwise a nest computes base right
into place, which is a copy only if base is an input or is needed for longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inkle.ir import forms
from inkle.ir.node import Node
from inkle.schedule.cost import size_of
from inkle.schedule.movement import flatten, merges, reindex, sliced
from inkle.schedule.nest import Demand, Nest, Store, stored_as

if TYPE_CHECKING:
    from inkle.schedule.lower import Planner


def store_update(plan: Planner, node: Node, reason: str) -> list[Nest]:
    """Add the nest that stores the region of an UPDATE into its memory."""
    base, values = node.src
    nest = plan.add_nest(values.shape, reason)
    nest.is_open = False
    link = plan.want(nest, values, values.shape, nest.index, ())
    nest.stores.append(Store(node, flatten(sliced(nest.index, node.arg), base.shape), link))
    _initialise(plan, node, nest)
    return [nest]


def store_scatter(plan: Planner, node: Node, reason: str) -> list[Nest]:
    """Add the nest that combines the values of a SCATTER with its memory.

    Axes whose coordinate is used directly come first: different points of them write different
    elements. What is left may collide, and runs inside, in order.
    """
    base, values, *indices = node.src
    combine, spec = node.arg
    if 0 in values.shape:
        return [_filled(plan, node, reason)]
    nest = plan.add_nest(values.shape, reason)
    nest.is_open, nest.is_ordered = False, True
    direct = [loop for entry in spec if entry >= 0 for loop in nest.index[entry].terms]
    nest.loops = (*direct, *[loop for loop in nest.loops if loop not in direct])
    place = (values.shape, nest.index, ())
    at, gate = plan.mapped(nest, indices, spec, base.shape, place)
    if gate is None:
        nest.is_live = False
        return [_filled(plan, node, reason)]
    link = plan.want(nest, values, values.shape, nest.index, ())
    nest.stores.append(Store(node, flatten(at, base.shape), link, gate, combine, nest.loops))
    _initialise(plan, node, nest)
    return [nest]


def _filled(plan: Planner, node: Node, reason: str) -> Nest:
    """Add the nest that stores the base of a SCATTER or UPDATE into its memory."""
    nest = plan.add_nest(node.shape, reason)
    link = plan.want(nest, node.src[0], node.shape, nest.index, ())
    nest.stores.append(Store(node, flatten(nest.index, node.shape), link))
    return nest


def _initialise(plan: Planner, node: Node, writer: Nest) -> None:
    """Add the nest that fills the memory with the base; `take_over` may make it vanish later."""
    nest = _filled(plan, node, f"initial contents of an {node.op.name}")
    nest.is_open = False
    writer.before.add(nest)
    store = nest.stores[0]
    gate, target = store.link
    if not isinstance(target, Demand) or gate or size_of(target.node) != size_of(node):
        return  # the base is no stored array, or the beginning of a larger one
    if target.row_major() == store.at:
        target.update = node


def take_over(plan: Planner, base: Node, demands: list[Demand]) -> tuple[list[Demand], Nest | None]:
    """Let an UPDATE or SCATTER of `base` write in place, where no reader of `base` comes later.

    Called when `base` is about to be stored.

    Returns:
        The demands that are left: the nest that would have copied `base` is gone. And the nest that
        writes in place, which must run after everything that has to do with `base`.
    """
    wanting = [demand for demand in demands if demand.update is not None]
    if len(wanting) != 1 or base in plan.outputs or base.op is forms.PARAM:
        return demands, None
    demand = wanting[0]
    node = demand.update
    assert node is not None
    writer = plan.homes[node][-1]
    readers = {each.nest for each in demands if each is not demand}
    if writer in readers or demand.users != 1 or any(plan.reaches(r, {writer}) for r in readers):
        return demands, None
    plan.storage[base] = plan.storage[node]
    demand.nest.is_live = False
    writer.before.discard(demand.nest)
    writer.before.update(readers)
    return [each for each in demands if each is not demand], writer


def store_parts(plan: Planner, node: Node, reason: str) -> list[Nest]:
    """Store every part of a CAT where it belongs."""
    axis, start = node.arg, 0
    homes = []
    for part in node.src:
        root = stored_as(part)
        shape = root.shape if merges(root.shape, part.shape) else part.shape
        nest = plan.add_nest(shape, f"{reason}; part of a cat")
        at = reindex(nest.index, shape, part.shape)
        index = (*at[:axis], at[axis].shifted(start), *at[axis + 1 :])
        link = plan.want(nest, part, shape, nest.index, ())
        nest.stores.append(Store(node, flatten(index, node.shape), link))
        start += part.shape[axis]
        homes.append(nest)
    return homes
