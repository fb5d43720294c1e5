"""Leaves, accumulation, and where gradients stop."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from inkle.errors import GradientError
from inkle.tensor import Tensor, grad, no_grad, value_and_grad
from inkle.tensor.leaves import owners


def test_backward_returns_the_loss_and_fills_grad():
    x = Tensor([1.0, 2.0]).requires_grad_()

    loss = (x * x).sum().backward()

    assert loss.item() == 5.0
    assert x.grad.tolist() == [2.0, 4.0]


def test_equal_parameters_stay_two():
    x, y = Tensor.zeros(2, requires_grad=True), Tensor.zeros(2, requires_grad=True)

    (x * 2 + y * 3).sum().backward()

    assert (x.grad.tolist(), y.grad.tolist()) == ([2.0, 2.0], [3.0, 3.0])


def test_copies_of_one_buffer_stay_two():
    x = Tensor([1.0])
    y = x.clone()
    x.requires_grad_()
    y.requires_grad_()

    (x * 2 + y * 3).sum().backward()

    assert (x.grad.tolist(), y.grad.tolist()) == ([2.0], [3.0])


def test_gradient_flows_through_a_clone_but_not_a_detached_tensor():
    x = Tensor([2.0]).requires_grad_()

    (x.clone() * x.detach()).sum().backward()

    assert x.grad.tolist() == [2.0]


def test_reading_the_loss_does_not_cut_the_way():
    x = Tensor([1.0, 2.0]).requires_grad_()
    hidden = x * 3
    print(hidden)
    loss = (hidden * hidden).sum()

    assert loss.item() == 45.0
    loss.backward()

    assert x.grad.tolist() == [18.0, 36.0]


def test_gradient_by_a_tensor_that_is_no_leaf():
    x = Tensor([1.0, 2.0]).requires_grad_()
    hidden = x * 3
    loss = (hidden * hidden).sum()

    assert loss.gradient(hidden)[0].tolist() == [6.0, 12.0]
    assert [each.tolist() for each in loss.gradient(x, hidden)] == [[18.0, 36.0], [6.0, 12.0]]


def test_gradient_by_plain_data():
    x, y = Tensor([1.0]), Tensor([1.0])

    assert [each.tolist() for each in (x * 2 + y * 3).gradient(x, y)] == [[2.0], [3.0]]


def test_gradient_after_the_leaf_was_realised():
    x = (Tensor([1.0]) + 1).requires_grad_()
    loss = (x * x).sum()
    x.realize()

    assert loss.gradient(x)[0].tolist() == [4.0]


def test_gradient_of_the_old_version_after_an_assignment():
    x = Tensor([3.0]).requires_grad_()
    loss = (x * x).sum()
    x.assign([5.0])

    loss.backward()

    assert x.grad.tolist() == [6.0]
    assert x.tolist() == [5.0]


def test_training_step_by_step():
    x = Tensor([1.0]).requires_grad_()

    for _ in range(3):
        x.grad = None
        (x * x).sum().backward()
        x.assign(x - 0.25 * x.grad)

    assert x.tolist() == [0.125]
    assert x.requires_grad


def test_graph_does_not_grow_over_training_steps():
    x = Tensor([1.0]).requires_grad_()
    moment = Tensor([0.0])
    sizes = []
    for _ in range(4):
        x.grad = None
        loss = (x * x).sum().backward()
        moment.assign(moment * 0.9 + x.grad)
        x.assign(x - moment * 0.1)
        loss.realize(x, moment)
        sizes.append(len((x * moment).node.toposort()))

    assert len(set(sizes)) == 1


def test_assignment_of_a_state_cuts_the_way():
    x = Tensor([2.0]).requires_grad_()
    state = Tensor([0.0])

    state.assign(x * 3)

    assert not state.requires_grad
    assert state.tolist() == [6.0]


def test_no_grad_cuts_the_way():
    x = Tensor([2.0]).requires_grad_()

    with no_grad():
        y = x * x
    (y * x).sum().backward()

    assert x.grad.tolist() == [4.0]
    assert not y.requires_grad
    assert (y * x).requires_grad


def test_requires_grad_can_be_switched_off():
    x = Tensor([2.0], requires_grad=True)
    assert x.requires_grad
    x.requires_grad = False
    assert not x.requires_grad

    with pytest.raises(GradientError, match="requires_grad_"):
        (x * x).sum().backward()


def test_requires_grad_of_a_computed_tensor_keeps_its_way():
    x = Tensor([2.0]).requires_grad_()
    y = (x * x).requires_grad_()

    y.sum().backward()

    assert x.grad.tolist() == [4.0]
    assert y.grad is None


def test_grad_is_not_part_of_the_graph_unless_asked_for():
    x = Tensor([2.0]).requires_grad_()

    (x**3).sum().backward()
    assert not x.grad.requires_grad
    x.grad = None
    (x**3).sum().backward(create_graph=True)
    first, x.grad = x.grad, None
    first.sum().backward()

    assert x.grad.tolist() == [12.0]


def test_zero_derivatives_give_zeros():
    x = Tensor([1.5]).requires_grad_()

    x.floor().sum().backward()

    assert x.grad.tolist() == [0.0]


def test_dead_parameters_are_forgotten():
    x = Tensor([1.0]).requires_grad_()
    loss = (x * x).sum()
    number = x._history.owner
    del x
    gc.collect()

    assert number not in owners
    with pytest.raises(GradientError):
        loss.backward()


def test_functional_gradient_tells_equal_arguments_apart():
    x = Tensor([3.0])

    value, (a, b) = value_and_grad(lambda a, b: (a * b * b).sum(), (0, 1))(x, x)

    assert (value.item(), a.tolist(), b.tolist()) == (27.0, [9.0], [18.0])


def test_functional_gradient_leaves_captured_tensors_alone():
    x = Tensor([3.0])

    assert grad(lambda a: (a * x).sum())(x).tolist() == [3.0]


def test_functional_gradient_of_an_unused_argument_is_zero():
    assert grad(lambda a, b: a.sum(), 1)(Tensor([1.0]), Tensor([1.0, 2.0])).tolist() == [0.0, 0.0]


def test_nested_functional_gradients_see_the_outer_argument():
    def inner_slope(x):
        return (grad(lambda y: (y * y * x).sum())(x) * x).sum()  # 2 x² x

    assert grad(inner_slope)(Tensor([2.0])).tolist() == [24.0]


def test_functional_gradient_inside_backward():
    x = Tensor([2.0]).requires_grad_()

    grad(lambda y: (y * y * y).sum())(x).sum().backward()

    assert x.grad.tolist() == [12.0]


def test_gradients_of_empty_tensors():
    x = Tensor(np.zeros((0, 3))).requires_grad_()

    (x.sum(0) * 2 + x[:, ::2].sum()).sum().backward()

    assert x.grad.shape == (0, 3)
