"""Values that two passes over a row need are computed once, if they are dear and the row fits."""

import numpy as np

from inkle.ir import forms, ops
from inkle.ir.loop import Kernel, load, range_, reduce, store
from inkle.kernel.choose import choose_schedule
from inkle.kernel.machine import Machine
from inkle.kernel.share import share
from tests.kernel.kernels import flat, numbers, run

ROWS, COLUMNS = 7, 45


def dear(x):
    return (x * x + 1.0).sqrt() / (x.abs() + 2.0)


def cheap(x):
    return x + 1.0


def shares_of_row(value):
    """out[i, j] = value(x[i, j]) / sum over k of value(x[i, k])."""
    i, j, k = range_(0, ROWS), range_(1, COLUMNS), range_(2, COLUMNS)
    x = flat(1, ROWS * COLUMNS)
    total = reduce(ops.ADD, value(load(x, i * COLUMNS + k)), (k,))
    out = value(load(x, i * COLUMNS + j)) / total
    return Kernel((store(flat(0, ROWS * COLUMNS), i * COLUMNS + j, out),), (i, j, k))


def staged(kernel):
    return [node for node in kernel.nodes() if node.op is forms.STAGE]


def test_a_dear_value_is_staged_once_and_the_result_is_the_same():
    kernel = share(shares_of_row(dear), Machine())
    x, out = numbers(ROWS, COLUMNS), np.empty((ROWS, COLUMNS), np.float32)

    run(choose_schedule(kernel, Machine()), out, x)

    assert len(staged(kernel)) == 1
    value = np.sqrt(x * x + 1) / (np.abs(x) + 2)
    np.testing.assert_allclose(out, value / value.sum(axis=1, keepdims=True), rtol=1e-5)


def test_a_cheap_value_is_computed_twice():
    assert not staged(share(shares_of_row(cheap), Machine()))


def test_a_row_that_does_not_fit_is_left_alone():
    assert not staged(share(shares_of_row(dear), Machine(stage_bytes=4 * COLUMNS)))


def test_a_gate_is_not_staged_however_dear():
    """What is proved of a load is proved from its gate, which memory would hide."""
    i, j, k = range_(0, ROWS), range_(1, COLUMNS), range_(2, COLUMNS)
    x = flat(1, ROWS * COLUMNS)

    def value(c, shift):
        at = (i * COLUMNS + c).truncdiv(6).truncmod(11) * 2 - 2
        gate = at > -1
        for d in range(1, 5):
            gate = gate & (at + d * c < 16)
        return load(x, at + shift, gate)

    total = reduce(ops.ADD, value(k, 0), (k,))
    out = value(j, 1) / total
    kernel = Kernel((store(flat(0, ROWS * COLUMNS), i * COLUMNS + j, out),), (i, j, k))

    loads = [node for node in share(kernel, Machine()).nodes() if node.op is forms.LOAD]
    assert all(gate.op is ops.AND for node in loads for gate in node.src[2:])
