"""Nodes know the user's line that made them."""

from __future__ import annotations

import inspect

from inkle.autodiff import write_out
from inkle.tensor import Tensor
from inkle.tensor.origin import user_line


def _line() -> str:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return f"test_origin.py:{frame.f_back.f_lineno}"


def test_every_node_of_a_composite_has_the_line_that_called_it():
    x = Tensor([[1.0, 2.0]])

    y, line = x.softmax(), _line()

    assert {node.origin for node in y.node.toposort() if node.src} == {line}


def test_nodes_of_a_gradient_have_the_line_of_the_operation_they_belong_to():
    x = Tensor([1.0, 2.0]).requires_grad_()
    y, first = x.exp(), _line()
    z, second = y.sum(), _line()
    z.backward()

    (gradient,) = write_out([x.grad.node])
    lines = {node.origin for node in gradient.toposort() if node.op.name == "mul"}

    assert lines == {first}
    assert second in {node.origin for node in z.node.toposort()}


def test_line_is_that_of_the_innermost_frame_outside_inkle():
    assert user_line() == _line()
