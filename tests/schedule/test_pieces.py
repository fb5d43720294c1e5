"""Functions of a CAT: each element is computed once, and comes out the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inkle.engine.roofline import count_work
from inkle.ir import ops, tensor
from inkle.ir.dtype import float16
from inkle.ir.node import Node
from inkle.ir.plan import kernel_calls
from inkle.schedule import Facts, schedule
from tests.schedule.graphs import arrays_for
from tests.schedule.networks import Leaves, relu, softmax, spread
from tests.schedule.running import FACTS, check

ROWS, WIDTH = 64, 1024


def forced(number: int) -> Facts:
    """Return facts under which small pieces move, too."""
    return replace(FACTS[number], launch=0.0, near=1.0)


def flops(*outputs: Node) -> int:
    return sum(count_work(call.kernel).flops * times
               for call, times in kernel_calls(schedule(outputs).launches))  # fmt: skip


def pieces(count: int, rows: int = ROWS, width: int = WIDTH) -> list[Node]:
    leaves = Leaves()
    return [leaves.new(rows + i, width) * float(i + 2) for i in range(count)]


def test_a_function_of_many_pieces_computes_each_element_once() -> None:
    """A product in the piece, a sum and a comparison with selection behind it: at most 4 each."""
    parts = pieces(8)
    elements = sum(part.shape[0] for part in parts) * WIDTH

    assert flops(relu(tensor.cat(parts, 0) + 1.0)) <= 4 * elements


def test_heavy_pieces_are_not_computed_for_each_other() -> None:
    leaves = Leaves()
    a, b = leaves.new(ROWS, WIDTH), leaves.new(ROWS, WIDTH)
    alone = flops(a.exp() * 2.0, b.log() * 2.0)

    assert flops(tensor.cat([a.exp(), b.log()], 1) * 2.0) <= 1.05 * alone


def test_a_sum_over_a_stack_of_many_is_a_sum_of_each() -> None:
    parts = pieces(1) + [Leaves().new(ROWS, WIDTH) * float(i) for i in range(2, 9)]
    stack = tensor.cat([tensor.reshape(part, (1, ROWS, WIDTH)) for part in parts], 0)

    assert flops(tensor.reduce(stack, ops.ADD, (0,))) <= 2 * 8 * ROWS * WIDTH


def test_nested_cats_and_pads_stay_linear() -> None:
    """Eight levels of cat with a function in between: no level repeats those below."""
    x = Leaves().new(ROWS, WIDTH)
    elements = ROWS * WIDTH
    for _ in range(5):
        x = relu(tensor.cat([x * 0.5, x + 1.0], 0)) * 1.5
    whole = elements * 2**5

    assert flops(x) <= 12 * whole  # all levels together have two times as many


@pytest.mark.parametrize("steps", [1, 4])
def test_rolls_and_pads_are_one_kernel(steps: int) -> None:
    """Two masked loads, and no arithmetic but the sum."""
    x = y = Leaves().new(ROWS, WIDTH)
    for _ in range(steps):
        tail = tensor.shrink(y, 1, WIDTH - 1, WIDTH)
        y = tensor.pad(tensor.cat([tail, tensor.shrink(y, 1, 0, WIDTH - 1)], 1), [(0, 0, 0)] * 2)
        y = y + x

    plan = schedule([y])

    assert len(plan.launches) <= steps
    assert flops(y) <= 8 * steps * steps * ROWS * WIDTH


@pytest.mark.parametrize("facts", range(len(FACTS)))
@pytest.mark.parametrize("axis", [0, 1])
def test_values_stay_the_same(axis: int, facts: int) -> None:
    leaves = Leaves()
    shapes = [(3, 4), (3, 4), (2, 4), (3, 4)] if axis == 0 else [(3, 4), (3, 2), (3, 1), (3, 5)]
    parts = [leaves.new(*shape).exp() for shape in shapes]
    cat = tensor.cat(parts, axis)
    other, row = leaves.new(*cat.shape), leaves.new(cat.shape[1])
    lifted = relu(cat * other + spread(row, cat.shape, 1))
    outputs = [
        lifted,
        tensor.reduce(cat * other, ops.ADD, (axis,)),
        tensor.reduce(cat * other, ops.MAXIMUM, (1 - axis,)),
        softmax(cat * 2.0),
        cat.eq(other).where(cat, 1.0),
    ]
    arrays = arrays_for(outputs, 1)

    for output in outputs:  # alone: then everything that may move does
        check([output], arrays, forced(facts))
    check(outputs, arrays, forced(facts))


def test_halves_are_added_up_in_float32() -> None:
    """2048 + 1 is 2048 in float16: added up in pieces, the ones would be lost."""
    leaves = Leaves()
    parts = [leaves.new(1, 600, dtype=float16).exp() for _ in range(64)]
    values = {leaf: np.zeros(leaf.shape, np.float16) for leaf in leaves.all}
    values[leaves.all[0]][:] = np.log(np.float16(2048))

    check([tensor.reduce(tensor.cat(parts, 0), ops.ADD, (0,))], values)
