"""The loops of a finished kernel: split, merged, ordered."""

from __future__ import annotations

import numpy as np

from inkle.ir import ops, tensor
from inkle.ir.dtype import float32
from tests.schedule.running import check


def test_a_quotient_stays_one_when_its_loop_is_joined_to_another() -> None:
    """In memory c, b and t are one loop; b and t are parts of one loop, r // 2 and r % 2."""
    x = tensor.param(0, float32, (2, 3, 8))
    padded = tensor.reshape(tensor.pad(x, ((0, 0, 0), (0, 0, 0), (2, 2, 0))), (2, 3, 12, 1))
    every_other = tensor.slice_(padded, ((0, 2, 1), (0, 3, 1), (0, 11, 2), (0, 1, 1)))
    turned = tensor.permute(tensor.reshape(every_other, (2, 3, 6)), (1, 0, 2))
    rows = tensor.reshape(tensor.slice_(turned, ((0, 3, 1), (0, 2, 1), (1, 4, 2))), (3, 4))

    check([tensor.reduce(rows, ops.ADD, (0, 1))], {x: np.arange(48.0).reshape(2, 3, 8)})
