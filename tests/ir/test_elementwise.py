"""The arithmetic surface of nodes: each operation of the table has a method, and it means that."""

from __future__ import annotations

import inspect

import pytest

from inkle.errors import DTypeError
from inkle.ir import dtype as dt
from inkle.ir import ops
from inkle.ir.elementwise import Elementwise
from inkle.ir.op import Op
from inkle.ir.tensor import param

SPELLED = {"and": "and_", "or": "or_", "not": "not_"}  # words of Python


def method(op: Op):
    return getattr(Elementwise, SPELLED.get(op.name, op.name))


@pytest.mark.parametrize("op", ops.TABLE.values(), ids=lambda op: op.name)
def test_each_operation_has_a_method_that_applies_it(op):
    applied = []
    for dtype in (dt.float32, dt.int32, dt.bool_):
        x = param(0, dtype, (3,))
        condition = param(1, dt.bool_, (3,))
        others = [param(slot, dtype, (3,)) for slot in range(2, op.arity + 1)]
        try:
            if op in (ops.CAST, ops.BITCAST):
                target = dt.float64 if op is ops.CAST else dt.uint32
                applied.append(method(op)(x, target))
            else:
                first = condition if op is ops.WHERE else x
                applied.append(method(op)(first, *others))
        except DTypeError:
            continue  # it is not for numbers of this kind
        assert applied[-1].op is op
        assert len(applied[-1].src) == op.arity

    assert applied


def test_each_operation_takes_as_many_arguments_as_its_method():
    for op in ops.TABLE.values():
        arguments = 2 if op in (ops.CAST, ops.BITCAST) else op.arity

        assert len(inspect.signature(method(op)).parameters) == arguments, op.name


def test_scalars_take_the_dtype_of_the_node_beside_them():
    x = param(0, dt.int8, (3,))

    for node in (x + 1, 1 + x, x.maximum(1), 1 * x, x >= 1, x << 1):
        assert {each.dtype for each in node.src} == {dt.int8}
    assert (1 - x).src[1] is x
    assert x.__gt__(1) is (x.wrap(1) < x)
