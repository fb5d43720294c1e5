"""Reading values: numbers, lists, arrays, text, truth."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.errors import DTypeError, ShapeError
from inkle.tensor import Tensor, dtypes


def test_item_needs_one_element():
    assert Tensor([[2.5]]).item() == 2.5
    assert isinstance(Tensor(3).item(), int)
    assert Tensor(True).item() is True
    with pytest.raises(ShapeError, match=r"exactly one element, got shape \(2,\)"):
        Tensor([1, 2]).item()


def test_conversions():
    assert float(Tensor([1.5])) == 1.5
    assert int(Tensor(3.7)) == 3
    assert [10, 20, 30][Tensor(1)] == 20
    assert bool(Tensor([0])) is False
    with pytest.raises(ShapeError, match=r"2 elements.*any\(\) or .all\(\)"):
        bool(Tensor([1, 2]))
    with pytest.raises(DTypeError, match="integers"):
        range(Tensor(1.0))


def test_arrays():
    x = Tensor([[1, 2], [3, 4]])

    assert np.asarray(x).tolist() == [[1, 2], [3, 4]]
    assert np.asarray(x, dtype=np.float32).dtype == np.float32
    assert (np.ones((2, 2)) + x).tolist() == [[2, 3], [4, 5]]
    assert x.data().tolist() == [[1, 2], [3, 4]]


def test_bfloat16_has_no_array_but_lists():
    x = Tensor([1.0, 2.5]).bfloat16()

    assert x.tolist() == [1.0, 2.5]
    assert x[1].item() == 2.5
    assert x.float().numpy().tolist() == [1.0, 2.5]
    with pytest.raises(DTypeError, match=r"no bfloat16.*x.float\(\)"):
        x.numpy()


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (lambda: Tensor([1.0, 2.5]), "Tensor([1. , 2.5], dtype=float32)"),
        (lambda: Tensor(3), "Tensor(3, dtype=int64)"),
        (lambda: Tensor([[True]]), "Tensor([[ True]], dtype=bool)"),
        (lambda: Tensor([1.0]).bfloat16(), "Tensor([1.], dtype=bfloat16)"),
        (lambda: Tensor.zeros(2, 0), "Tensor([], shape=(2, 0), dtype=float32)"),
        (lambda: Tensor([1.0]).requires_grad_(), "Tensor([1.], dtype=float32, requires_grad=True)"),
    ],
)
def test_text(x, text):
    assert repr(x()) == text


def test_format_of_a_number():
    assert f"{Tensor(1.23456):.2f}" == "1.23"
    assert f"{Tensor([1])}" == "Tensor([1], dtype=int64)"


def test_length_and_iteration():
    x = Tensor([[1, 2], [3, 4]])

    assert len(x) == 2
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    with pytest.raises(DTypeError, match="no length"):
        len(Tensor(1))
    with pytest.raises(DTypeError, match="iterated"):
        list(Tensor(1))


def test_facts():
    x = Tensor.zeros(2, 3, dtype="float64")

    assert (x.ndim, x.shape, x.size(), x.size(-1), x.numel()) == (2, (2, 3), (2, 3), 3, 6)
    assert (x.element_size(), x.nbytes(), x.is_floating_point(), x.device) == (8, 48, True, "CPU")


def test_tensors_are_keys_by_identity():
    x, y = Tensor([1]), Tensor([1])

    assert {x: 1, y: 2}[x] == 1
    assert x != None  # noqa: E711  (what the operator does is the point)
    assert x != "a"


def test_to_converts_dtype_or_device():
    x = Tensor([1.0])

    assert x.to("cpu") is x
    assert x.to(dtypes.int8).dtype is dtypes.int8
    assert x.to("float64").dtype is dtypes.float64
    assert x.float() is x


def test_realize_computes_several_tensors_together():
    x = Tensor([1, 2])
    a, b = x + 1, x * 2

    assert a.realize(b) is a
    assert (a.tolist(), b.tolist()) == ([2, 3], [2, 4])
    assert Tensor.realize(a, b) is a


def test_sequential_applies_layers_in_turn():
    assert Tensor([-1.0, 2.0]).sequential([Tensor.relu, lambda x: x * 2]).tolist() == [0.0, 4.0]


@pytest.mark.parametrize("join", [Tensor.stack, Tensor.cat])
def test_tensors_to_join_may_be_a_list(join):
    a, b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])

    assert join([a, b]).tolist() == join(a, b).tolist()
    assert join([a]).tolist() == join(a).tolist()
