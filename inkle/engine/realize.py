"""From lazy graphs to values: canonical graph, cached executable, one run."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TypeVar

from inkle import config
from inkle.autodiff import differentiable_below, write_out
from inkle.engine import profile, storage
from inkle.engine.build import SETTINGS, build, building, tables
from inkle.engine.executable import NOTHING, Executable
from inkle.engine.index_checks import Check, index_checks
from inkle.engine.pipeline import timed
from inkle.engine.trace import current_trace
from inkle.ir import forms, tensor
from inkle.ir.dtype import DType, int64
from inkle.ir.node import Node, intern, rebuild, transform
from inkle.ir.size import value_of
from inkle.runtime.device import Buffer, MemoryReport, open_device

CACHED_GRAPHS = 1024  # executables and graphs kept; the least recently used goes first
Key = tuple[object, ...]
Value = TypeVar("Value")

_executables: OrderedDict[Key, Executable] = OrderedDict()
# By the outline of a graph: its canonical form, and the places of its leaves among those found.
_graphs: OrderedDict[Key, tuple[tuple[Node, ...], tuple[int, ...]]] = OrderedDict()


def canonicalize(outputs: Sequence[Node]) -> tuple[tuple[Node, ...], list[Node]]:
    """Write gradients out; replace realized values by PARAM leaves, in order of first use.

    Graphs of equal structure become the same nodes, whatever buffers they read.

    Returns:
        The outputs over PARAM leaves, and the BUFFER leaf of every PARAM slot.
    """
    _, _, through = outline(outputs)
    leaves: list[Node] = []
    slots: dict[Node, Node] = {}
    done: dict[Node, Node] = {}
    cuts = itertools.count() if through is not None else None
    stack: list[tuple[Node, bool]] = [(root, False) for root in reversed(outputs)]
    while stack:
        node, expanded = stack.pop()
        if node in done:
            continue
        leaf = _held(node) if not expanded else None
        if leaf is not None and leaf not in slots:
            slots[leaf] = tensor.param(len(leaves), leaf.dtype, leaf.shape)
            leaves.append(leaf)
        if leaf is not None and (through is None or node not in through):
            done[node] = slots[leaf]
        elif expanded or not node.src:
            done[node] = _canonical(node, tuple([done[source] for source in node.src]), cuts)
        else:
            stack.append((node, True))
            stack.extend([(source, False) for source in reversed(node.src) if source not in done])
    roots = [done[root] for root in outputs]
    if through is not None:
        # Written out here, over PARAM leaves: that another node happens to be in memory now, which
        # is equal to one of the gradient, says nothing about the next graph with this outline.
        values = {done[node]: slots[node.memory] for node in through}
        roots = _without_detach(write_out(roots), values)
    return tuple(roots), leaves


def _canonical(node: Node, src: tuple[Node, ...], cuts: Iterator[int] | None) -> Node:
    """Return `node` with canonical sources; without DETACH unless gradients are to be written out.

    Then each DETACH gets a number of its own: two versions of a parameter may have one value.
    """
    if node.op is forms.COPY:
        open_device(node.arg)  # raises unless it is the one where everything is anyway
        return src[0]
    if node.op is forms.DETACH:
        return src[0] if cuts is None else intern(node.op, node.dtype, src, next(cuts), node.shape)
    new = rebuild(node, src)
    if new.origin is None:
        new.origin = node.origin
    return new


def _without_detach(roots: Sequence[Node], values: dict[Node, Node]) -> list[Node]:
    """Return `roots` with some nodes replaced by their values, and each DETACH by its source."""
    done = transform(roots, lambda node, src: _canonical(node, src, None), values)
    return [done[root] for root in roots]


def outline(
    outputs: Sequence[Node], through: frozenset[Node] = frozenset()
) -> tuple[Key, list[Node], frozenset[Node] | None]:
    """Return the structure of a graph as a key, the leaves below it, and `through`.

    Graphs with equal keys have the same canonical form over leaves in the same places of the list;
    making a key costs a third of making that, and gradients need not be written out for it.

    Args:
        outputs: the graph.
        through: realized nodes whose expression matters: gradients pass through them. Finds more
            of them itself; None is returned where there are no gradients to write out.
    """
    numbers: dict[Node, int] = {}
    leaves: list[Node] = []
    passed: set[Node] = set()  # by gradients
    hidden: set[Node] = set()  # those of them whose value is in memory
    key: list[object] = []
    stack = list(reversed(outputs))
    while stack:
        node = stack[-1]
        if node in numbers:
            stack.pop()
            continue
        op = node.op
        leaf = node if op is forms.BUFFER else None if node.memory is None else _held(node)
        if leaf is not None:
            if leaf not in numbers:
                numbers[leaf] = len(key)
                leaves.append(leaf)
                key.append((leaf.dtype, leaf.shape))
            if node not in through:
                numbers[node] = numbers[leaf]
                continue
        missing = [source for source in node.src if source not in numbers]
        if missing:
            stack.extend(reversed(missing))
            continue
        if op is forms.GRADIENT:
            new = differentiable_below(node.src[0], passed)
            hidden.update([each for each in new if _hides(each)])
        numbers[node] = len(key)
        # -0.0 equals 0.0, and NaN nothing; whose value a DETACH is makes no difference.
        arg = node if op is forms.CONST else None if op is forms.DETACH else node.arg
        here = [numbers[source] for source in node.src]
        key.append((op, node.dtype, arg, *here, *([] if leaf is None else [(numbers[leaf],)])))
    if not hidden <= through:  # begin again, once for all gradients that are not inside others
        return outline(outputs, through | hidden)
    key.append(tuple([numbers[root] for root in outputs]))
    return tuple(key), leaves, through if passed else None


def _hides(node: Node) -> bool:
    """Whether the expression of `node` is not looked at for its value: that is in memory."""
    return node.op is not forms.BUFFER and _held(node) is not None


LITERALS = frozenset({forms.CONST, forms.ARANGE})


def _held(node: Node) -> Node | None:
    """Return the leaf that holds the value of a node, if it is in memory.

    A literal stays one, whatever its shape, even where somebody has computed it: it broadcasts, and
    says more than memory does.
    """
    leaf = storage.realized(node)
    if leaf is None or leaf is node:
        return leaf
    while node.op in forms.MOVEMENT:
        node = node.src[0]
    return None if node.op in LITERALS else leaf


@dataclass(frozen=True, slots=True)
class Prepared:
    """A canonical graph, ready to run.

    Attributes:
        outputs: the graph, with one output for each check behind its own.
        leaves: BUFFER leaf of every PARAM slot.
        checks: indices to look at after each run.
    """

    outputs: tuple[Node, ...]
    leaves: list[Node]
    checks: tuple[Check, ...]


def prepare(roots: Sequence[Node]) -> Prepared:
    """Return the canonical graph of `roots`, with the checks that the settings in force ask for."""
    if not config.get("INKLE_CHECK"):
        key, found, _ = outline(roots)
        known = _look_up(_graphs, key)
        if known is None:
            outputs, leaves = canonicalize(roots)
            place = {leaf: number for number, leaf in enumerate(found)}
            known = outputs, tuple([place[leaf] for leaf in leaves])
            _keep(_graphs, key, known)
        outputs, places = known
        return Prepared(outputs, [found[place] for place in places], ())
    roots = write_out(roots)
    checks = index_checks(roots)
    indices = [check.index for check in checks]
    outputs, leaves = canonicalize([*roots, *(check.first() for check in checks), *indices])
    computed = len(roots) + len(checks)
    bound = [replace(c, index=i) for c, i in zip(checks, outputs[computed:], strict=True)]
    return Prepared(outputs[:computed], leaves, tuple(bound))


def results(
    prepared: Prepared,
    buffers: list[Buffer],
    leaves: Sequence[Node],
    sizes: Mapping[str, int] = NOTHING,
) -> list[Buffer]:
    """Return what a run on the memory of `leaves` has computed, without the outputs of checks.

    Raises:
        IndexRangeError: if an index lies outside of its axis.
    """
    if not prepared.checks:
        return buffers
    kept = len(buffers) - len(prepared.checks)
    for check, buffer in zip(prepared.checks, buffers[kept:], strict=True):
        place = _integer(int64, buffer)
        if place < value_of(prod(check.index.shape), sizes):
            check = check.at_sizes(sizes) if sizes else check
            (found,) = run((check.at(place),), leaves)
            raise check.error(place, _integer(check.index.dtype, found))
    return buffers[:kept]


def _integer(dtype: DType, buffer: Buffer) -> int:
    return int(storage.to_array(storage.new_leaf(dtype, (), buffer)))


def executable_for(
    outputs: tuple[Node, ...], donated: tuple[tuple[int, int], ...] = ()
) -> Executable:
    """Return the executable of a canonical graph, building it the first time.

    Args:
        outputs: the graph.
        donated: pairs of an output and the PARAM slot of an input that it may be written over.
    """
    settings = [config.get(name) for name in SETTINGS]
    key = (outputs, donated, *settings)
    found = _look_up(_executables, key)
    if found is None:
        with building():
            found = _look_up(_executables, key)
            if found is None:
                found = build(outputs, donated)
                profile.explain(found)
                _keep(_executables, key, found)
    return found


def _look_up(table: OrderedDict[Key, Value], key: Key) -> Value | None:
    with tables:
        found = table.get(key)
        if found is not None:
            table.move_to_end(key)
        return found


def _keep(table: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    with tables:
        table[key] = value
        if len(table) > CACHED_GRAPHS:
            table.popitem(last=False)


def realize(nodes: Sequence[Node]) -> list[Node]:
    """Compute `nodes`.

    Returns:
        A BUFFER leaf for each node, which pending expressions of that node will read, too.

    Raises:
        IndexRangeError: in checked mode, if an index lies outside of its axis.
    """
    trace = current_trace()
    if trace is not None:
        nodes = trace.resolve(nodes)
    todo = list(dict.fromkeys(node for node in nodes if not storage.is_realized(node)))
    if todo:
        prepared = timed("canonicalize", lambda: prepare(todo))
        buffers = run(prepared.outputs, prepared.leaves)
        buffers = results(prepared, buffers, prepared.leaves)
        for node, buffer in zip(todo, buffers, strict=True):
            storage.remember(node, storage.new_leaf(node.dtype, node.shape, buffer))
    found = [storage.realized(node) for node in nodes]
    return [leaf for leaf in found if leaf is not None]


def run(
    outputs: tuple[Node, ...], leaves: Sequence[Node], sizes: Mapping[str, int] = NOTHING
) -> list[Buffer]:
    """Run a canonical graph on the memory of `leaves`, for these values of its variables."""
    buffers = [storage.buffer_of(leaf) for leaf in leaves]
    return profile.run(executable_for(outputs), buffers, sizes)


def memory_report() -> MemoryReport:
    """Return how much memory tensors and running programs hold, and held at most; it prints well.

    `memory_report()` of a captured function says what a run of it needs memory for.
    """
    return open_device("CPU").memory_report()


def synchronize() -> None:
    """Wait for everything queued on the default device."""
    open_device("CPU").synchronize()
