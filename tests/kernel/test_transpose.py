"""Lane transposes: blocks that are read along one axis and written along another."""

import numpy as np
import pytest

from inkle.check.interpreter import run_kernel
from inkle.ir import forms, tensor
from inkle.ir.dtype import float32
from inkle.ir.loop import Axis, Kernel, load, range_, store
from inkle.ir.program import Loop
from inkle.kernel.choose import choose_schedule
from inkle.kernel.linearize import linearize
from inkle.kernel.machine import Machine
from inkle.kernel.transpose import transposed
from inkle.schedule import schedule
from tests.schedule.graphs import matmul


def codes(body):
    for item in body:
        if isinstance(item, Loop):
            yield from codes(item.body)
        else:
            yield item.code


def kernel_of(output):
    [launch] = schedule([output]).launches
    return choose_schedule(launch.kernel, Machine())


class Shuffles:
    """Emits shuffles by doing them, on lists."""

    def emit(self, _scope, code, _dtype, lanes, pair, picks):
        assert code == "shuffle"
        both = [*pair[0].arg, *pair[1].arg]
        return Row([both[pick] for pick in picks], lanes)


class Row:
    dtype = float32

    def __init__(self, values, lanes):
        self.arg, self.lanes = values, lanes


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
def test_rounds_of_shuffles_transpose_a_block(lanes):
    block = np.arange(lanes * lanes).reshape(lanes, lanes)

    columns = transposed(Shuffles(), [Row(list(row), lanes) for row in block], None)

    np.testing.assert_array_equal([column.arg for column in columns], block.T)


def test_a_copy_of_a_transposed_matrix_is_made_of_blocks():
    x = tensor.param(0, float32, (48, 80))
    kernel = kernel_of(tensor.permute(x, (1, 0)) + 1.0)

    found = list(codes(linearize(kernel).body))

    assert found.count("shuffle") == 64
    assert found.count("load") == 16


@pytest.mark.parametrize("shape", [(16, 16), (48, 80), (17, 33), (31, 100), (3, 40), (40, 3)])
def test_blocks_that_do_not_fit_overlap(shape):
    x = tensor.param(0, float32, shape)
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    kernel = kernel_of(tensor.permute(x, (1, 0)) + 1.0)
    out = np.zeros(array.size, np.float32)

    run_kernel(kernel, [out, array.reshape(-1)])

    np.testing.assert_array_equal(out.reshape(shape[::-1]), array.T + 1)


def test_a_panel_of_a_transposed_operand_is_staged_in_blocks():
    a, b = tensor.param(0, float32, (128, 256)), tensor.param(1, float32, (192, 256))

    kernel = kernel_of(matmul(a, tensor.permute(b, (1, 0))))

    found = list(codes(linearize(kernel).body))
    assert any(node.op is forms.STAGE for node in kernel.nodes())
    assert found.count("shuffle") == 64
    steps = [v.arg for v in walk(linearize(kernel).body) if v.code == "load" and v.lanes > 1]
    assert set(steps) == {1}


def walk(body):
    for item in body:
        if isinstance(item, Loop):
            yield from walk(item.body)
        else:
            yield item


def test_gated_loads_and_short_blocks_are_gathered():
    x = tensor.param(1, float32, (64 * 64,))
    out = tensor.param(0, float32, (64 * 64,))
    for count, gated in ((16, True), (4, False)):
        u, lane = range_(0, count, Axis.UNROLL), range_(1, 16, Axis.LANE)
        at = lane * 64 + u
        value = load(x, at, at < 1000) if gated else load(x, at)
        kernel = Kernel((store(out, u * 16 + lane, value),), ())

        assert "shuffle" not in codes(linearize(kernel).body)
