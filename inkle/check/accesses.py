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
from inkle.ir.dtype import Kind, bool_
from inkle.ir.loop import Kernel
from inkle.ir.node import Node, toposort
from inkle.ir.pseudo import expression
from inkle.ir.size import Size
from inkle.rewrite.affine import Affine, affine_of, affine_of_size
from inkle.rewrite.known import Known
from inkle.rewrite.nonnegative import extent_facts, is_nonnegative
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
        last = self.size - 1
        return f"{where}: not proved to lie within 0 .. {last}; {self.reason}"


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
    return at, size, gate


def why_unproved(at: Node, size: int, gate: Node | None) -> str | None:
    """Return None if 0 <= at < size is proved wherever `gate` holds, else what is missing."""
    parts = [] if gate is None else parts_of(gate, ops.AND)
    if any(part.op is forms.CONST and not part.arg for part in parts):
        return None  # never happens
    if isinstance(size, Size) or _has_products(at):
        if _is_within_symbolic(at, size, parts):
            return None
        if isinstance(size, Size):
            return "it may lie outside for some value of the variables"
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


def _has_products(at: Node) -> bool:
    return any(n.op is ops.MUL and n.src[1].op is not forms.CONST for n in toposort((at,)))


def _is_within_symbolic(at: Node, size: int, parts: list[Node]) -> bool:
    """Whether 0 <= at < size is proved by eliminating ranges and variables."""
    index = affine_of(at)
    facts = [fact for part in parts for fact in _as_sums(part)]
    facts += extent_facts(index, *facts)
    last = affine_of_size(size).shifted(-1)
    return is_nonnegative(index, facts) and is_nonnegative(last.plus(index, -1), facts)


def _as_sums(part: Node) -> list[Affine]:
    """Return what a comparison of indices says is not negative."""
    if part.op not in (ops.LESS, ops.LESS_EQUAL) or part.src[0].dtype.kind is not Kind.INDEX:
        return []
    difference = affine_of(part.src[1]).plus(affine_of(part.src[0]), -1)
    return [difference.shifted(-1 if part.op is ops.LESS else 0)]


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
