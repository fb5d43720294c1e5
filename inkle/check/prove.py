"""Prove rules: for every value, by Z3 and by trying whole small domains.

- Unbounded integers (`index`): Z3. Where a product or a division involves a variable, Z3 may not
  know; the rule is then proved for each constant of a stated set in that place.
- Integers of fixed width and bool: Z3 on bit-vectors of each width; every value at 4 bits, and at 8
  bits where the variables are few.
- Floats: every combination of edge values, bit for bit. That is a test, not a proof, and says so.

"unknown" is never taken for a proof.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from inkle.check.domains import (
    complete_domains,
    first_difference,
    first_difference_of_scalars,
    leaves_of,
    small_domains,
)
from inkle.check.numpy_algebra import to_array
from inkle.check.reference import evaluate
from inkle.check.z3_algebra import BITWISE, Translation, refute
from inkle.ir import forms, ops
from inkle.ir.algebra import fold
from inkle.ir.bounds import bounds
from inkle.ir.dtype import DType, Kind
from inkle.ir.elementwise import Scalar
from inkle.ir.node import Node, const, substitute, toposort
from inkle.rewrite.engine import RuleSet
from inkle.rewrite.pattern import HOLE
from inkle.rewrite.rule import AnyRule, FunctionRule, Rule

INT4, UINT4 = DType("int4", Kind.INT, 4), DType("uint4", Kind.UINT, 4)
# Constants tried one by one where Z3 cannot treat them as variables.
INDEX_CONSTANTS = (*range(-4, 10), 12, 16, 28, 64, 576)
FIXED_CONSTANTS = (0, 1, 2, 3, 5, 7, 8, 10, 12, 16, 100, 127, -1, -2, -3, -8, -100, -128)
_QUICK, _LONG = 3_000_000, 40_000_000  # steps of Z3


@dataclass(frozen=True, slots=True)
class Proof:
    """A rule holds.

    Attributes:
        rule: its name.
        methods: how many claims were settled how ("z3", "every value", "edge values", ...).
    """

    rule: str
    methods: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Counterexample:
    """Values for which the sides of a rule differ."""

    rule: str
    dtype: str
    values: Mapping[str, Scalar | str]

    def __str__(self) -> str:
        values = ", ".join(f"{name} = {value}" for name, value in self.values.items())
        return f"rule {self.rule} is wrong for {self.dtype}: {values}"


@dataclass(frozen=True, slots=True)
class Unproved:
    """Neither a proof nor a counterexample was found."""

    rule: str
    dtype: str
    reason: str

    def __str__(self) -> str:
        return f"rule {self.rule} is not proved for {self.dtype}: {self.reason}"


Verdict = Proof | Counterexample | Unproved


@dataclass(frozen=True, slots=True)
class Claim:
    """left == right wherever `condition` holds, for all values of the leaves."""

    rule: str
    dtype: str
    left: Node
    right: Node
    condition: Node | None

    def parts(self) -> list[Node]:
        """Return left, right and, if there is one, the condition."""
        return [each for each in (self.left, self.right, self.condition) if each is not None]


def prove(rule: AnyRule) -> Verdict:
    """Prove a rule for every dtype it is stated for (a function: on each of its samples)."""
    methods: Counter[str] = Counter()
    for claim in claims_of(rule):
        verdict = prove_claim(claim)
        if not isinstance(verdict, Proof):
            return verdict
        methods.update(verdict.methods)
    return Proof(rule.name, dict(methods))


def claims_of(rule: AnyRule) -> Iterator[Claim]:
    """Yield what there is to prove about a rule."""
    if isinstance(rule, FunctionRule):
        engine = RuleSet([rule])
        for sample in rule.samples():
            result = engine.simplify(sample)
            assert result is not sample, f"{rule.name} does not apply to its sample {sample!r}"
            yield Claim(rule.name, sample.dtype.name, sample, result, None)
        return
    for dtype in (*rule.dtypes(), *_small_dtypes(rule)):
        sides = rule.sides(dtype)
        yield Claim(rule.name, dtype.name, sides.left, sides.right, sides.condition)


def _small_dtypes(rule: Rule) -> list[DType]:
    return [dtype for dtype in (INT4, UINT4) if dtype.kind in rule.kinds]


def prove_equal(before: Node, after: Node, name: str = "given") -> Verdict:
    """Prove that two graphs over holes, ranges and other leaves are equal."""
    return prove_claim(Claim(name, before.dtype.name, before, after, None))


def prove_claim(claim: Claim) -> Verdict:
    """Prove one claim by all means that apply; the strongest one decides."""
    if claim.left.shape:
        return _by_reference(claim)
    leaves = leaves_of(*claim.parts())
    if any(leaf.dtype.bits == 4 for leaf in leaves):
        return _try_every_value(claim, leaves)
    found = _try_points(claim, leaves)
    if found is not None:
        return _counterexample(claim, found)
    if complete_domains(leaves) is not None:
        return Proof(claim.rule, {"every value": 1})
    if any(node.dtype.is_float for node in toposort((claim.left, claim.right))):
        return Proof(claim.rule, {"edge values": 1})
    return _by_z3(claim)


def _by_reference(claim: Claim) -> Verdict:
    """Compare graphs of the tensor form on edge values."""
    leaves = [node for node in toposort((claim.left, claim.right)) if node.op is forms.PARAM]
    arrays = {
        leaf: np.resize(to_array(list(small_domains([leaf])[leaf]), leaf.dtype), leaf.shape)
        for leaf in leaves
    }
    left, right = evaluate((claim.left, claim.right), arrays)
    if not np.array_equal(left, right, equal_nan=claim.left.dtype.is_float):
        return Counterexample(claim.rule, claim.dtype, {"left": str(left), "right": str(right)})
    return Proof(claim.rule, {"edge values": 1})


def _try_every_value(claim: Claim, leaves: list[Node]) -> Verdict:
    domains = complete_domains(leaves)
    assert domains is not None, f"{claim.rule} has too many variables to try all 4-bit values"
    found = first_difference_of_scalars(claim.left, claim.right, claim.condition, domains)
    return _counterexample(claim, found) if found else Proof(claim.rule, {"every value": 1})


def _try_points(claim: Claim, leaves: list[Node]) -> dict[Node, Scalar] | None:
    domains = complete_domains(leaves) or small_domains(leaves)
    return first_difference(claim.left, claim.right, claim.condition, domains)


def _counterexample(claim: Claim, values: Mapping[Node, Scalar]) -> Counterexample:
    return Counterexample(claim.rule, claim.dtype, {_name(n): v for n, v in values.items()})


def _name(leaf: Node) -> str:
    if leaf.op is HOLE:
        return str(leaf.arg[0])
    return f"range {leaf.arg[0]}" if leaf.op is forms.RANGE else repr(leaf)


def _by_z3(claim: Claim) -> Verdict:
    """Ask Z3: with constants as variables; if it does not know, for each constant of a set."""
    is_hard = _has_division(claim) or _has_product(claim)
    verdict = _ask(claim, _QUICK if is_hard else _LONG)
    if isinstance(verdict, Unproved) and is_hard:
        return _for_each_constant(claim) or verdict
    return verdict


def _ask(claim: Claim, steps: int) -> Verdict:
    verdict: Verdict = Unproved(claim.rule, claim.dtype, "not asked")
    for as_integers, logic in _attempts(claim):
        translation = Translation(as_integers=as_integers)
        wrong = [translation.term(claim.left) != translation.term(claim.right)]
        if claim.condition is not None:
            wrong.append(translation.term(claim.condition))
        status, detail = refute([*wrong, *translation.limits], steps, logic)
        if status == "none":
            return Proof(claim.rule, {"z3": 1})
        if status == "found":
            values = {
                _name(leaf): str(detail.eval(term, model_completion=True))
                for leaf, term in translation.variables.items()
            }
            return Counterexample(claim.rule, claim.dtype, values)
        verdict = Unproved(claim.rule, claim.dtype, f"z3: {detail}")
    return verdict


def _attempts(claim: Claim) -> list[tuple[bool, str]]:
    """Return ways to ask Z3, the most promising first: whether as integers, and in which logic."""
    nodes = _nodes(claim)
    has_index = any(node.dtype.kind is Kind.INDEX for node in nodes)
    if not any(node.dtype.is_integer for node in nodes):
        return [(False, "QF_NIA"), (False, "ALL")] if has_index else [(False, "ALL")]
    if any(node.op in BITWISE and node.dtype.is_integer for node in nodes):
        return [(False, "ALL")]
    integers, bits = (True, "QF_NIA"), (False, "ALL")
    return [integers, bits] if has_index or _has_division(claim) else [bits, integers]


_DIVISIONS = (ops.FLOORDIV, ops.FLOORMOD, ops.TRUNCDIV, ops.TRUNCMOD)


def _nodes(claim: Claim) -> list[Node]:
    return toposort(claim.parts())


def _has_division(claim: Claim) -> bool:
    return any(node.op in _DIVISIONS for node in _nodes(claim))


def _has_product(claim: Claim) -> bool:
    return any(node.op is ops.MUL and node.src[1].op is not forms.CONST for node in _nodes(claim))


def _for_each_constant(claim: Claim) -> Verdict | None:
    """Prove the claim for each constant of a set, in place of the constant holes.

    A variable by which something is divided can hold any value: a set says nothing about it.
    """
    names = _hard_leaves(claim)
    if not all(leaf.op is HOLE and leaf.arg[1] for leaf in names):
        return None
    total = 0
    for values in product(*(_constants_for(leaf) for leaf in names)):
        mapping = {leaf: const(v, leaf.dtype) for leaf, v in zip(names, values, strict=True)}
        special = _specialised(claim, mapping)
        if special is None:
            continue
        verdict = _ask(special, _LONG)
        if not isinstance(verdict, Proof):
            values_text = {_name(leaf): value for leaf, value in zip(names, values, strict=True)}
            return Unproved(claim.rule, claim.dtype, f"{verdict} with {values_text}")
        total += 1
    return Proof(claim.rule, {"z3 per constant": total})


def _hard_leaves(claim: Claim) -> list[Node]:
    """Return the constant holes, and the variables by which something is divided or multiplied."""
    found: dict[Node, None] = {}
    for node in _nodes(claim):
        if node.op is HOLE and node.arg[1]:
            found[node] = None
        if node.op in _DIVISIONS or node.op is ops.MUL:
            found.update(dict.fromkeys(leaves_of(node.src[1])))
    return list(found)


def _constants_for(leaf: Node) -> tuple[int, ...]:
    if leaf.dtype.kind is Kind.INDEX:
        return INDEX_CONSTANTS
    return tuple(sorted({int(const(value, leaf.dtype).arg) for value in FIXED_CONSTANTS}))


def _specialised(claim: Claim, mapping: dict[Node, Node]) -> Claim | None:
    """Return the claim for some constants; None if the condition does not hold for them."""
    parts = claim.parts()
    done = substitute(parts, mapping)
    folded: list[Node] = []
    for part in parts:
        values: dict[Node, Node] = {}
        for node in toposort((done[part],)):
            src = tuple(values[source] for source in node.src)
            values[node] = fold(substitute((node,), dict(zip(node.src, src, strict=True)))[node])
        folded.append(values[done[part]])
    condition = folded[2] if len(folded) > 2 else None
    if condition is not None and bounds(condition)[1] == 0:
        return None
    return Claim(claim.rule, claim.dtype, folded[0], folded[1], condition)
