"""From lazy graphs to values: canonical graph, cached executable, one run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from inkle import config
from inkle.engine import profile, storage
from inkle.engine.executable import Executable
from inkle.engine.pipeline import timed
from inkle.engine.trace import current_trace
from inkle.ir import forms, spec, tensor
from inkle.ir.node import Node, rebuild
from inkle.runtime.device import Buffer, open_device
from inkle.runtime.locks import fork_safe_lock
from inkle.schedule import schedule

CACHED_GRAPHS = 1024  # executables kept; the least recently used goes first

_executables: OrderedDict[tuple[object, ...], Executable] = OrderedDict()
_lock = fork_safe_lock()  # guards the table
_building = fork_safe_lock()  # nothing is built twice; who needs what exists does not wait


def canonicalize(outputs: Sequence[Node]) -> tuple[tuple[Node, ...], list[Node]]:
    """Replace realized values by PARAM leaves, numbered in order of first use.

    Graphs of equal structure become the same nodes, whatever buffers they read.

    Returns:
        The outputs over PARAM leaves, and the BUFFER leaf of every PARAM slot.
    """
    leaves: list[Node] = []
    slots: dict[Node, Node] = {}
    done: dict[Node, Node] = {}
    stack: list[tuple[Node, bool]] = [(root, False) for root in reversed(outputs)]
    while stack:
        node, expanded = stack.pop()
        if node in done:
            continue
        # A literal stays one, even where its value happens to be in memory: it broadcasts.
        leaf = storage.realized(node) if not expanded and node.op is not forms.CONST else None
        if leaf is not None:
            if leaf not in slots:
                slots[leaf] = tensor.param(len(leaves), leaf.dtype, leaf.shape)
                leaves.append(leaf)
            done[node] = slots[leaf]
        elif expanded and node.op is forms.DETACH:
            done[node] = done[node.src[0]]  # a matter of gradients only
        elif expanded or not node.src:
            new = rebuild(node, tuple([done[source] for source in node.src]))
            if new.origin is None:
                new.origin = node.origin
            done[node] = new
        else:
            stack.append((node, True))
            stack.extend([(source, False) for source in reversed(node.src) if source not in done])
    return tuple([done[root] for root in outputs]), leaves


def executable_for(outputs: tuple[Node, ...]) -> Executable:
    """Return the executable of a canonical graph, building it the first time."""
    key = (outputs, config.get("INKLE_TARGET"), config.get("INKLE_THREADS"))
    found = _look_up(key)
    if found is None:
        with _building:
            found = _look_up(key) or _build(outputs)
            with _lock:
                _executables[key] = found
                if len(_executables) > CACHED_GRAPHS:
                    _executables.popitem(last=False)
    return found


def _look_up(key: tuple[object, ...]) -> Executable | None:
    with _lock:
        found = _executables.get(key)
        if found is not None:
            _executables.move_to_end(key)
        return found


def _build(outputs: tuple[Node, ...]) -> Executable:
    if config.get("INKLE_CHECK"):
        spec.check_tensor(outputs)
    plan = timed("schedule", lambda: schedule(outputs))
    found = Executable(plan)
    profile.explain(found)
    return found


def realize(nodes: Sequence[Node]) -> list[Node]:
    """Compute `nodes`.

    Returns:
        A BUFFER leaf for each node, which pending expressions of that node will read, too.
    """
    trace = current_trace()
    if trace is not None:
        nodes = trace.resolve(nodes)
    todo = list(dict.fromkeys(node for node in nodes if not storage.is_realized(node)))
    if todo:
        outputs, leaves = timed("canonicalize", lambda: canonicalize(todo))
        for node, buffer in zip(todo, run(outputs, leaves), strict=True):
            storage.remember(node, storage.new_leaf(node.dtype, node.shape, buffer))
    found = [storage.realized(node) for node in nodes]
    return [leaf for leaf in found if leaf is not None]


def run(outputs: tuple[Node, ...], leaves: Sequence[Node]) -> list[Buffer]:
    """Run a canonical graph on the memory of `leaves`."""
    return profile.run(executable_for(outputs), [storage.buffer_of(leaf) for leaf in leaves])


def synchronize() -> None:
    """Wait for everything queued on the default device."""
    open_device("CPU").synchronize()
