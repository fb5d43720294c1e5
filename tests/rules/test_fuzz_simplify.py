"""The whole simplifier on random expressions: it keeps values, and is done after one go."""

import pytest

from inkle.ir.dtype import bool_, float32, index, int8, int32, uint8
from inkle.ir.node import Node
from inkle.ir.pseudo import expression
from inkle.rewrite.engine import RuleSet
from inkle.rules import SIMPLIFY, simplify_gate, simplify_under
from tests.rules.expressions import Maker, leaves_of, same, smallest_failure, value_of

DTYPES = (index, index, index, index, bool_, bool_, int32, int8, uint8, float32)
POINTS = 25


def changes_value(node: Node, maker: Maker, gate: Node | None = None) -> str | None:
    """Say where simplification changed the value of `node`, if it did."""
    after = SIMPLIFY.simplify(node) if gate is None else simplify_under(node, gate)
    for _ in range(POINTS):
        point = maker.point(leaves_of(node, after, *([] if gate is None else [gate])))
        if gate is not None and not value_of(gate, point):
            continue
        if not same(value_of(node, point), value_of(after, point)):
            values = {expression(leaf): value for leaf, value in point.items()}
            return f"{expression(node)}\n  became {expression(after)}\n  at {values}"
    return None


def check(seed: int) -> None:
    maker = Maker(seed)
    if seed % 5 == 0:
        nodes = maker.reshaped(1 + seed // 5 % 3)
    elif seed % 5 == 1:
        nodes = [maker.affine_comparison() for _ in range(4)]
    elif seed % 5 == 2:
        nodes = [maker.digits() for _ in range(4)]
    else:
        nodes = [maker.expression(DTYPES[seed // 5 % len(DTYPES)], 2 + seed // 2 % 4)]
    for node in nodes:
        if changes_value(node, maker) is not None:
            small = smallest_failure(node, lambda each: changes_value(each, maker) is not None)
            pytest.fail(f"seed {seed}: {changes_value(small, maker) or expression(node)}")
        once = SIMPLIFY.simplify(node)
        again = RuleSet(SIMPLIFY.rules, SIMPLIFY.nest_of).simplify(
            once
        )  # without the memory of the first run
        if again is not once:
            pytest.fail(f"seed {seed}: {expression(once)} becomes {expression(again)}")


def check_under_gate(seed: int) -> None:
    maker = Maker(seed)
    if seed % 2:
        gate = maker.expression(bool_, 2) & maker.expression(bool_, 2)
        node = maker.expression(index if seed % 3 else bool_, 3)
    else:
        gate = maker.affine_comparison() & maker.affine_comparison()
        number = maker.affine()
        node = maker.random.choice((number // 4, number % 4, number % 7, maker.affine_comparison()))
    problem = changes_value(node, maker, gate)
    if problem is not None:
        pytest.fail(f"seed {seed}: under {expression(gate)}: {problem}")
    simple = simplify_gate(gate)
    for _ in range(POINTS):
        point = maker.point(leaves_of(gate, simple))
        if value_of(gate, point) != value_of(simple, point):
            pytest.fail(f"seed {seed}: {expression(gate)} became {expression(simple)} at {point}")


@pytest.mark.parametrize("block", range(10))
def test_simplified_expressions_keep_their_value(block: int):
    for seed in range(block * 30, block * 30 + 30):
        check(seed)


@pytest.mark.parametrize("block", range(5))
def test_expressions_under_a_gate_keep_their_value_where_it_holds(block: int):
    for seed in range(block * 30, block * 30 + 30):
        check_under_gate(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_many_simplified_expressions_keep_their_value(block: int):
    for seed in range(1000 + block * 1000, 2000 + block * 1000):
        check(seed)
        if seed % 2:
            check_under_gate(seed)
