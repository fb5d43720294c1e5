"""Tensors of a model by name, found and loaded; errors say what differs."""

from __future__ import annotations

import dataclasses
import logging
from typing import NamedTuple

import numpy as np
import pytest

import inkle
from inkle import Tensor, nn
from inkle.engine import storage
from inkle.errors import DTypeError, StateError, TraceError
from inkle.nn.state import (
    get_parameters,
    get_state_dict,
    load_state_dict,
    safe_save,
)

RNG = np.random.default_rng(0)


class Block:
    def __init__(self):
        self.size = 3
        self.linear = nn.Linear(3, 3)
        self.norm = nn.BatchNorm(3)


class Network:
    def __init__(self):
        self.stem = nn.Conv2d(1, 2, 3)
        self.blocks = [Block(), Block()]
        self.heads = {"class": nn.Linear(3, 5), 7: (nn.Embedding(4, 2),)}
        self.name, self.nothing, self.call = "network", None, len


class Slots:
    __slots__ = ("weight", "unset")

    def __init__(self):
        self.weight = Tensor([1.0])


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    scale: Tensor


# --- finding ------------------------------------------------------------------------------------


def test_names_are_paths_in_order_of_definition():
    block = [
        "linear.weight",
        "linear.bias",
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    ]

    assert list(get_state_dict(Network())) == [
        "stem.weight",
        "stem.bias",
        *(f"blocks.{i}.{name}" for i in (0, 1) for name in block),
        "heads.class.weight",
        "heads.class.bias",
        "heads.7.0.weight",
    ]


def test_names_may_have_a_prefix():
    assert list(get_state_dict(nn.Linear(1, 1), "a")) == ["a.weight", "a.bias"]
    assert list(get_state_dict(nn.Linear(1, 1), "a.")) == ["a.weight", "a.bias"]
    assert list(get_state_dict(Tensor(1.0), "a")) == ["a"]


def test_slots_named_tuples_and_data_classes_are_walked():
    x = Tensor([1.0])

    assert list(get_state_dict([Slots(), Pair(x, x), Record(x)])) == [
        "0.weight",
        "1.0",
        "1.1",
        "2.scale",
    ]


def test_tied_weights_have_two_names_and_are_one_parameter():
    model = Network()
    model.blocks[1] = model.blocks[0]
    model.heads["class"].weight = model.stem.weight

    state = get_state_dict(model)

    assert state["blocks.1.linear.weight"] is state["blocks.0.linear.weight"]
    assert state["heads.class.weight"] is state["stem.weight"]
    assert len(get_parameters(model)) == 2 + 4 + 2


def test_parameters_are_what_requires_a_gradient():
    model = Block()
    model.linear.bias.requires_grad_(False)

    assert [id(p) for p in get_parameters(model)] == [
        id(p) for p in (model.linear.weight, model.norm.weight, model.norm.bias)
    ]


def test_an_object_that_leads_back_to_itself_is_walked_once():
    model = Network()
    model.itself = model
    model.blocks[0].parent = model

    assert len(get_state_dict(model)) == 2 + 14 + 3


def test_objects_without_tensors_cost_nothing_however_they_are_linked():
    """A logger leads to all loggers, and they to each other: the paths are too many to walk."""
    model = Block()
    model.log = logging.getLogger("a.b.c")
    crowd = [Block.__new__(Block) for _ in range(30)]
    for each in crowd:
        each.others = crowd
    model.crowd = crowd
    model.captured = inkle.jit(lambda x: x)

    assert len(get_state_dict(model)) == 7


def test_deep_nesting_is_no_problem():
    model = nn.Linear(1, 1)
    for _ in range(5000):
        model = [model]

    assert len(get_state_dict(model)) == 2


def test_two_tensors_of_one_name_are_an_error():
    x = Tensor([1.0])

    with pytest.raises(StateError, match=r"two tensors are called 'a\.b'"):
        get_state_dict({"a.b": x, "a": {"b": x}})


def test_what_holds_no_tensors_has_no_state():
    assert get_state_dict(3) == {}
    assert get_state_dict([Tensor, np, np.zeros(3), len, lambda: 1, None, "text"]) == {}
    assert get_parameters({}) == []


# --- loading ------------------------------------------------------------------------------------


def test_values_are_copied():
    source, target = Block(), Block()

    left_out = load_state_dict(target, get_state_dict(source))

    assert left_out == nn.state.StateDifference((), (), ())
    for name, value in get_state_dict(source).items():
        assert np.array_equal(get_state_dict(target)[name].numpy(), value.numpy())
        mine = get_state_dict(target)[name]
        assert not np.shares_memory(mine._array(""), value._array(""))


def test_loaded_parameters_are_still_parameters():
    model = nn.Linear(2, 1)
    load_state_dict(model, {"weight": Tensor([[1.0, 2.0]]), "bias": Tensor([3.0])})

    model(Tensor([1.0, 1.0])).sum().backward()

    assert model.weight.grad.tolist() == [[1.0, 1.0]]
    assert model(Tensor([1.0, 1.0])).tolist() == [6.0]


def test_loaded_values_take_the_dtype_of_their_tensor():
    target = {"a": Tensor([0.0]), "b": Tensor([0.0]).cast("bfloat16")}

    load_state_dict(target, {"a": Tensor([1.5]).cast("float16"), "b": Tensor([2])})

    assert [t.dtype.name for t in target.values()] == ["float32", "bfloat16"]
    assert [t.float().tolist() for t in target.values()] == [[1.5], [2.0]]


def test_random_weights_that_are_replaced_are_never_computed(monkeypatch):
    model = nn.Linear(3, 3)
    weight = model.weight.node.src[0]

    load_state_dict(model, {"weight": Tensor(np.eye(3)), "bias": Tensor(np.zeros(3))})

    assert not storage.is_realized(weight)


def test_expressions_made_before_loading_keep_their_values():
    model = {"x": Tensor([1.0])}
    before = model["x"] * 2

    load_state_dict(model, {"x": Tensor([5.0])})

    assert before.tolist() == [2.0]
    assert model["x"].tolist() == [5.0]


def test_an_error_names_everything_that_differs_and_changes_nothing():
    model = nn.Linear(2, 3)
    before = model.weight.numpy()
    state = {"weight": Tensor(np.zeros((2, 3))), "scale": Tensor([1.0])}

    with pytest.raises(StateError) as error:
        load_state_dict(model, {**state, "weight": Tensor(np.zeros((3, 2)))})
    assert str(error.value) == (
        "state does not fit this Linear:\n  1 missing: bias\n  1 unexpected: scale"
    )
    with pytest.raises(StateError) as error:
        load_state_dict(model, state, strict=False)

    assert "1 do not fit: weight: (3, 2) float32 in the object, (2, 3) float64 in" in str(
        error.value
    )
    assert np.array_equal(model.weight.numpy(), before)


def test_state_that_is_none_is_refused():
    with pytest.raises(DTypeError, match="a state is a dict of tensors by name, got NoneType"):
        load_state_dict(nn.Linear(2, 3), None)


def test_long_lists_are_cut():
    with pytest.raises(StateError, match=r"30 missing: 0, .*, 7 and 22 more$"):
        load_state_dict([Tensor([0.0])] * 30, {})


def test_not_strict_loads_what_both_have():
    model = nn.Linear(2, 1)

    left_out = load_state_dict(model, {"bias": Tensor([3.0]), "scale": Tensor([1.0])}, strict=False)

    assert (left_out.missing, left_out.unexpected) == (("weight",), ("scale",))
    assert model.bias.tolist() == [3.0]


def test_floats_do_not_become_integers():
    with pytest.raises(StateError, match=r"n: \(1,\) int64 in the object, \(1,\) float32 in"):
        load_state_dict({"n": Tensor([1])}, {"n": Tensor([1.5])})


def test_state_must_be_tensors():
    with pytest.raises(DTypeError, match=r"state 'x' must be a Tensor, got ndarray"):
        load_state_dict({"x": Tensor([1.0])}, {"x": np.zeros(1)})


def test_loading_and_saving_do_not_belong_into_a_captured_function(tmp_path):
    model = {"x": Tensor([1.0])}

    with pytest.raises(TraceError, match="load_state_dict inside a captured function"):
        inkle.jit(lambda x: load_state_dict(model, {"x": x}))(Tensor([2.0]))
    with pytest.raises(TraceError, match="safe_save inside a captured function"):
        inkle.jit(lambda x: safe_save({"x": x}, tmp_path / "x"))(Tensor([2.0]))

    assert model["x"].tolist() == [1.0]
