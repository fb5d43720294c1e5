"""The scheduler as a whole: the list of its passes, and the plan that comes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from math import prod
from types import MappingProxyType

from inkle.ir import forms, spec
from inkle.ir.node import Node
from inkle.ir.plan import Memory, Plan, Role
from inkle.ir.size import is_symbolic, most
from inkle.schedule.blocks import in_blocks
from inkle.schedule.build import Builder
from inkle.schedule.built import Built, BuiltBlocks, Reason
from inkle.schedule.calls import built_call
from inkle.schedule.chains import cut_chains
from inkle.schedule.closed_forms import fold_reductions
from inkle.schedule.cost import Facts
from inkle.schedule.donate import donate, overwrite_at_peak
from inkle.schedule.lower import Planner
from inkle.schedule.memory import place_temporaries
from inkle.schedule.neighbours import join_neighbours
from inkle.schedule.nest import Nest, Storage, stored_as
from inkle.schedule.online import in_one_pass
from inkle.schedule.order import free_early, in_order
from inkle.schedule.pieces import split_into_pieces
from inkle.schedule.pointwise import pointwise_loops
from inkle.schedule.prepare import prepare
from inkle.schedule.recompute import fit
from inkle.schedule.scans import BuiltLoop, one_row_array_each, repeated, without_empty
from inkle.schedule.siblings import fuse_siblings
from inkle.schedule.split_contractions import split_contractions

FACTS = Facts()
NOTHING: Mapping[int, int] = MappingProxyType({})


def schedule(
    outputs: Sequence[Node],
    *,
    facts: Facts = FACTS,
    donated: Mapping[int, int] = NOTHING,
    limit_bytes: int = 0,
) -> Plan:
    """Return the kernels that compute `outputs`, in order, with a place for all memory.

    Args:
        outputs: tensor-form nodes over PARAM leaves; a PARAM's slot is the number of the input.
        facts: of the machine, as far as they decide what to fuse.
        donated: for outputs by number, the slot of an input that they may be written over.
        limit_bytes: most memory that a run may take besides its inputs; 0: no limit.

    Returns:
        Plan with one output memory per output; an output that is an input unchanged is that input.

    Raises:
        MemoryFailure: if there is no way to keep within the limit.
    """
    plan, _ = explain(outputs, facts=facts)
    plan = donate(plan, donated) if donated else plan
    plan = free_early(overwrite_at_peak(plan))
    return fit(plan, limit_bytes) if limit_bytes else place_temporaries(plan)


def explain(outputs: Sequence[Node], *, facts: Facts = FACTS) -> tuple[Plan, list[Reason]]:
    """Return the kernels in the order of the graph, and for each why it is one of its own.

    Every temporary of this plan has memory of its own.
    """
    graph = without_empty(outputs)
    spec.verify(graph, "without_empty")
    graph = pointwise_loops(graph)
    spec.verify(graph, "pointwise_loops")
    graph = fold_reductions(graph)
    spec.verify(graph, "fold_reductions")
    graph = split_into_pieces(graph, facts)
    spec.verify(graph, "split_into_pieces")
    graph = in_one_pass(graph, facts)
    spec.verify(graph, "in_one_pass")
    graph = prepare(graph, facts)
    spec.verify(graph, "prepare")
    graph = split_contractions(graph, facts)
    spec.verify(graph, "split_contractions")
    graph = one_row_array_each(graph)
    spec.verify(graph, "one_row_array_each")
    roots = [stored_as(node) for node in graph]
    planner = Planner(list(dict.fromkeys(roots)), facts)
    planner.run()
    nests = [nest for nest in planner.nests if nest.is_live]
    rank = {node: i for i, node in enumerate(planner.order)}
    ranks = {nest: max(rank.get(store.node, 0) for store in nest.stores) for nest in nests}
    singles = in_order([[nest] for nest in nests], ranks)
    groups = in_order(fuse_siblings([nest for [nest] in singles], facts), ranks)
    return _assemble(roots, planner, groups, facts)


def _assemble(
    roots: Sequence[Node], planner: Planner, groups: Sequence[Sequence[Nest]], facts: Facts
) -> tuple[Plan, list[Reason]]:
    storage = planner.storage
    memory: list[Memory] = []
    fixed: dict[Storage, int] = {}
    inputs = [node for node in planner.order if node.op is forms.PARAM]
    for node in sorted(inputs, key=lambda node: int(node.arg[0])):
        storage[node] = Storage(node.dtype, prod(node.shape), node)
        fixed[storage[node]] = len(memory)
        memory.append(_memory(Role.INPUT, node.arg[0], storage[node]))
    for i, node in enumerate(roots):
        own = storage.setdefault(node, Storage(node.dtype, prod(node.shape), node))
        if own not in fixed:
            fixed[own] = len(memory)
            memory.append(_memory(Role.OUTPUT, i, own))
    launches = [_built(group, planner, facts) for group in groups]
    cut = _in_blocks(launches, fixed, facts)
    place = dict(fixed)
    for own in (used for each in cut for used in each.used):
        if own not in place:
            place[own] = len(memory)
            memory.append(_memory(Role.TEMPORARY, len(place) - len(fixed) - 1, own))
    done = [each.launch([place[used] for used in each.used]) for each in cut]
    places = tuple([fixed[storage[node]] for node in roots])
    return Plan(tuple(memory), tuple(done), places), [each.reason for each in cut]


def _built(group: Sequence[Nest], planner: Planner, facts: Facts) -> Built | BuiltLoop:
    if group[0].calls is not None:
        return built_call(group[0].calls, planner.storage)
    loop = group[0].repeats
    if loop is not None:
        lines = tuple(dict.fromkeys([node.origin for node in loop.results if node.origin]))
        repeat, used = repeated(loop, planner.storage, lambda step: explain(step, facts=facts)[0])
        names = tuple(map(_name, loop.results))
        reason = Reason(names, ("a loop over time writes it",) * len(names))
        return BuiltLoop(repeat, tuple(used), lines, reason)
    builder = Builder(group, planner.storage)
    kernel = builder.run()
    spec.verify(kernel, "schedule")
    reason = _reason(builder, planner.storage)
    return Built(kernel, tuple(builder.memory), _lines(builder, planner), reason)


def _in_blocks(
    built: Sequence[Built | BuiltLoop], fixed: Mapping[Storage, int], facts: Facts
) -> list[Built | BuiltBlocks | BuiltLoop]:
    """Cut chains of kernels into blocks of rows; loops over time stand between chains."""
    runs = [[*run] for _, run in groupby(built, type)]
    users = Counter([s for run in runs for s in {s: None for each in run for s in each.used}])
    shared = {storage: -1 for storage, count in users.items() if count > 1}
    for each in built:  # rows of sizes that are known at launch are not cut
        if isinstance(each, Built) and each.kernel.variables():
            shared |= dict.fromkeys(each.used, -1)
    out: list[Built | BuiltBlocks | BuiltLoop] = []
    for run in runs:
        kernels = [each for each in run if isinstance(each, Built)]
        others = {**shared, **fixed}
        cut = cut_chains(kernels, others, facts, in_blocks)
        cut = join_neighbours(cut, others, facts, in_blocks)
        for made in cut if cut != kernels else ():
            for part in made.launches if isinstance(made, BuiltBlocks) else [made]:
                spec.verify(part.kernel, "in_blocks")
        out += cut if kernels else run
    return out


def _memory(role: Role, number: int, own: Storage) -> Memory:
    shape, line = (own.node.shape, own.node.origin) if own.node is not None else ((own.size,), "")
    exact = own.size if is_symbolic(own.size) else None
    size = most(own.size)
    return Memory(
        role,
        number,
        own.dtype,
        size,
        shape=shape,
        line=line or "",
        exact=exact,
        copies=own.copies,
    )


def _reason(builder: Builder, storage: Mapping[Node, Storage]) -> Reason:
    """Return why each array that a kernel writes is written, in the order of its slots."""
    found = {storage[store.node]: (store, reason) for store, reason in builder.reasons()}
    names = tuple([_name(store.node) for store, _ in found.values()])
    return Reason(names, tuple([reason for _, reason in found.values()]))


def _lines(builder: Builder, planner: Planner) -> tuple[str, ...]:
    """Return the lines of the user's program that a kernel computes, in program order."""
    found = {node.origin: None for node in builder.nodes() if node.origin}
    return tuple([line for line in found if line])


def _name(node: Node) -> str:
    op = node.arg[0] if node.op is forms.REDUCE else node.op
    line = f" of {node.origin}" if node.origin else ""
    return f"{op.name} {node.shape}{line}"
