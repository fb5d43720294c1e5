"""Calls of library functions: launches of their own, with whole arrays before and behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from inkle.ir import host
from inkle.ir.node import Node
from inkle.rewrite.affine import ZERO
from inkle.schedule.built import Built, Reason
from inkle.schedule.cost import size_of
from inkle.schedule.nest import Link, Nest, Storage, Store, stored_as

if TYPE_CHECKING:
    from inkle.schedule.lower import Planner


def store_call(plan: Planner, node: Node, reason: str) -> list[Nest]:
    """Return the nest that stands for a call; its sources are stored before it."""
    nest = plan.add_nest((), reason)
    nest.is_open, nest.calls = False, node
    plan.storage.setdefault(node, Storage(node.dtype, size_of(node), node))
    nest.stores.append(Store(node, ZERO, Link((), node)))
    for source in dict.fromkeys(map(stored_as, node.src)):
        plan.demand(nest, source, source.shape, (ZERO,) * len(source.shape), ())
    return [nest]


def built_call(node: Node, storage: Mapping[Node, Storage]) -> Built:
    """Return the launch of a call."""
    used = (storage[node], *[storage[stored_as(source)] for source in node.src])
    line = f" of {node.origin}" if node.origin else ""
    name = f"{node.arg.name} {node.shape}{line}"
    reason = Reason((name,), ("a library function computes it",))
    return Built(host.kernel_of(node), used, (node.origin,) if node.origin else (), reason)
