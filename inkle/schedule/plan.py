"""The scheduler as a whole: the list of its passes, and the plan that comes out."""

from __future__ import annotations

from collections.abc import Sequence

from inkle.ir import forms, spec
from inkle.ir.node import Node
from inkle.ir.plan import Launch, Memory, Plan, Role
from inkle.schedule.blocks import Built, Reason, in_blocks
from inkle.schedule.build import Builder
from inkle.schedule.closed_forms import fold_reductions
from inkle.schedule.cost import Facts, size_of
from inkle.schedule.lower import Planner, stored_as
from inkle.schedule.memory import in_order, place_temporaries
from inkle.schedule.nest import Nest, Storage
from inkle.schedule.prepare import prepare
from inkle.schedule.siblings import fuse_siblings
from inkle.schedule.split_contractions import split_contractions

FACTS = Facts()


def schedule(outputs: Sequence[Node], *, facts: Facts = FACTS) -> Plan:
    """Return the kernels that compute `outputs`.

    Args:
        outputs: tensor-form nodes over PARAM leaves; a PARAM's slot is the number of the input.
        facts: of the machine, as far as they decide what to fuse.

    Returns:
        Plan with one output memory per output; an output that is an input unchanged is that input.
    """
    return explain(outputs, facts=facts)[0]


def explain(outputs: Sequence[Node], *, facts: Facts = FACTS) -> tuple[Plan, list[Reason]]:
    """Return the plan of `outputs`, and for each launch why it is one of its own."""
    graph = fold_reductions(outputs)
    spec.verify(graph, "fold_reductions")
    graph = prepare(graph, facts)
    spec.verify(graph, "prepare")
    graph = split_contractions(graph, facts)
    spec.verify(graph, "split_contractions")
    roots = [stored_as(node) for node in graph]
    planner = Planner(list(dict.fromkeys(roots)), facts)
    planner.run()
    nests = [nest for nest in planner.nests if nest.is_live]
    rank = {node: i for i, node in enumerate(planner.order)}
    ranks = {nest: max(rank[store.node] for store in nest.stores) for nest in nests}
    singles = in_order([[nest] for nest in nests], ranks)
    groups = in_order(fuse_siblings([nest for [nest] in singles], facts), ranks)
    return _assemble(roots, planner, groups)


def _assemble(
    roots: Sequence[Node], planner: Planner, groups: Sequence[Sequence[Nest]]
) -> tuple[Plan, list[Reason]]:
    storage = planner.storage
    memory: list[Memory] = []
    fixed: dict[Storage, int] = {}
    inputs = [node for node in planner.order if node.op is forms.PARAM]
    for node in sorted(inputs, key=lambda node: int(node.arg[0])):
        storage[node] = Storage(node.dtype, size_of(node))
        fixed[storage[node]] = len(memory)
        memory.append(Memory(Role.INPUT, node.arg[0], node.dtype, size_of(node)))
    for i, node in enumerate(roots):
        own = storage.setdefault(node, Storage(node.dtype, size_of(node)))
        if own not in fixed:
            fixed[own] = len(memory)
            memory.append(Memory(Role.OUTPUT, i, node.dtype, size_of(node)))
    built = []
    for group in groups:
        builder = Builder(group, storage)
        kernel = builder.run()
        spec.verify(kernel, "schedule")
        used, lines = tuple(builder.memory), _lines(builder, planner)
        built.append(Built(kernel, used, lines, _reason(group)))
    cut = in_blocks(built, fixed)
    for each in cut if cut != built else ():
        spec.verify(each.kernel, "in_blocks")
    temporaries, place = place_temporaries([each.used for each in cut], fixed, len(memory))
    launches = [
        Launch(each.kernel, tuple([place[used] for used in each.used]), each.lines, each.values)
        for each in cut
    ]
    places = tuple([fixed[storage[node]] for node in roots])
    return Plan((*memory, *temporaries), tuple(launches), places), [each.reason for each in cut]


def _reason(group: Sequence[Nest]) -> Reason:
    return Reason(
        tuple([_name(store.node) for nest in group for store in nest.stores]),
        tuple([nest.reason for nest in group]),
    )


def _lines(builder: Builder, planner: Planner) -> tuple[str, ...]:
    """Return the lines of the user's program that a kernel computes, in program order."""
    found = {node.origin: None for node in builder.nodes() if node.origin}
    return tuple([line for line in found if line])


def _name(node: Node) -> str:
    op = node.arg[0] if node.op is forms.REDUCE else node.op
    return f"{op.name} {node.shape}"
