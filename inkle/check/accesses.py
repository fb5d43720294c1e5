"""Prove that every memory access of a kernel lies within its memory, whatever the data are.

Interval reasoning under the gate first, then Z3. What is loaded from memory counts as unknown. The
extents of ranges are facts too: in `for k in range(min(5, y + 1))`, k <= y holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from inkle.check.z3_algebra import Translation, refute
from inkle.ir import forms, ops
from inkle.ir.dtype import bool_
from inkle.ir.loop import Kernel
from inkle.ir.node import Node, toposort
from inkle.ir.pseudo import expression
from inkle.rewrite.known import Known
from inkle.rules.boolean import parts_of
from inkle.rules.gates import facts_of, simplify_under

_STEPS = 20_000_000  # of Z3, about five seconds


@dataclass(frozen=True, slots=True)
class UnprovedAccess:
    """An access that may lie outside its memory.

    Attributes:
        node: the LOAD, STORE or STAGE.
        at: its index.
        size: elements of the memory.
        gate: when it happens; None: always.
        reason: values for which it lies outside, or why nothing could be shown.
    """

    node: Node
    at: Node
    size: int
    gate: Node | None
    reason: str

    def __str__(self) -> str:
        gate = "" if self.gate is None else f" if {expression(self.gate)}"
        where = f"{self.node.op} at {expression(self.at)}{gate}"
        return f"{where}: not proved to lie within 0 .. {self.size - 1}; {self.reason}"


def prove_in_bounds(kernel: Kernel) -> list[UnprovedAccess]:
    """Return the accesses of `kernel` that are not proved to lie within their memory."""
    found = []
    for node in kernel.nodes():
        access = _access(node)
        if access is not None:
            reason = why_unproved(*access)
            if reason is not None:
                found.append(UnprovedAccess(node, *access, reason))
    return found


def _access(node: Node) -> tuple[Node, int, Node | None] | None:
    """Return index, size of the memory and gate of an access."""
    if node.op is forms.STAGE:
        return node.src[1], node.arg[1], None
    if node.op not in (forms.LOAD, forms.STORE):
        return None
    memory, at = node.src[:2]
    gate = node.src[-1] if len(node.src) == (3 if node.op is forms.LOAD else 4) else None
    size = prod(memory.arg[1]) if memory.op is forms.PARAM else memory.arg[1]
    return at, int(size), gate


def why_unproved(at: Node, size: int, gate: Node | None) -> str | None:
    """Return None if 0 <= at < size is proved wherever `gate` holds, else what is missing."""
    parts = [] if gate is None else parts_of(gate, ops.AND)
    if any(part.op is forms.CONST and not part.arg for part in parts):
        return None  # never happens
    parts += range_facts([at, *parts])
    if _is_within(Known(facts_of(parts)).bounds(at), size):
        return None
    simple = simplify_under(at, _all(parts)) if parts else at
    if _is_within(Known(facts_of(parts)).bounds(simple), size):
        return None
    return _ask_z3(at, size, parts)


def _is_within(bounds: tuple[int | None, int | None], size: int) -> bool:
    low, high = bounds
    return low is not None and high is not None and low >= 0 and high < size


def _all(parts: list[Node]) -> Node:
    total = parts[0]
    for part in parts[1:]:
        total = total & part
    return total


def range_facts(roots: Iterable[Node]) -> list[Node]:
    """Return `r < extent` for the ranges below `roots` whose extent is no constant."""
    facts = []
    for node in toposort(roots):
        if node.op is forms.RANGE and node.src[0].op is not forms.CONST:
            limits = [node.src[0]]
            while limits:
                limit = limits.pop()
                if limit.op is ops.MINIMUM:
                    limits.extend(limit.src)
                else:
                    facts.append(node < limit)
    return facts


def _ask_z3(at: Node, size: int, parts: list[Node]) -> str | None:
    translation = Translation(as_integers=True, opaque=True)
    index = translation.term(at)
    holds = [translation.term(part) for part in parts]
    outside = [translation.outside(index, size), *holds, *translation.limits]
    status, detail = refute(outside, _STEPS)
    if status == "none":
        return None
    if status == "unknown":
        return f"Z3 gave up ({detail})"
    values = [
        f"{expression(node)} = {detail.eval(term, model_completion=True)}"
        for node, term in translation.variables.items()
        if node.dtype is not bool_
    ]
    return "outside for " + ", ".join(values) if values else "always outside"
