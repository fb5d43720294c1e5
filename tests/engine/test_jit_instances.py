"""Traps of captured functions: methods, the attributes of their instance, models."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest

from inkle import Tensor, jit
from inkle.errors import TraceError

SCALE = 2.0


def traces(function) -> int:
    return len(function.explain().splitlines())


@pytest.fixture
def x():
    return Tensor([1.0])


class Layer:
    gain = 1.0
    table = (1.0, 2.0)

    def __init__(self, weight):
        self.weight = Tensor([weight])
        self.options = {"power": 1}
        self.epoch = 0

    @property
    def doubled(self):
        return self.weight * 2 * SCALE

    @jit
    def forward(self, x):
        for _ in range(self.options["power"]):
            x = x * self.weight * self.gain
        return x

    @jit
    def through_a_property(self, x):
        return x * self.doubled


def test_method_sees_attributes_of_its_instance(x):
    layer = Layer(3.0)

    assert layer.forward(x).item() == 3.0
    layer.options["power"] = 2
    assert layer.forward(x).item() == 9.0
    layer.weight = Tensor([2.0])
    assert layer.forward(x).item() == 4.0
    layer.gain = 0.5
    assert layer.forward(x).item() == 1.0
    assert traces(layer.forward) == 3  # another tensor of the same kind is no reason
    assert "forward.options" in layer.forward.explain() or "options" in layer.forward.explain()


def test_method_sees_its_class(x, monkeypatch):
    layer = Layer(3.0)

    assert layer.forward(x).item() == 3.0
    monkeypatch.setattr(Layer, "gain", 10.0)
    assert layer.forward(x).item() == 30.0


def test_globals_of_a_property_count(x, monkeypatch):
    layer = Layer(3.0)

    assert layer.through_a_property(x).item() == 12.0
    monkeypatch.setitem(globals(), "SCALE", 1.0)
    assert layer.through_a_property(x).item() == 6.0


def test_attribute_that_no_code_names_does_not_matter(x):
    layer = Layer(3.0)

    for layer.epoch in range(5):
        layer.forward(x)

    assert traces(layer.forward) == 1


def test_each_instance_has_captures_of_its_own(x):
    first, second = Layer(3.0), Layer(5.0)

    assert (first.forward(x).item(), second.forward(x).item()) == (3.0, 5.0)
    assert traces(first.forward) == traces(second.forward) == 1
    assert Layer.forward(first, x).item() == 3.0  # the plain function, too


def test_copy_of_an_instance_uses_its_own_weights(x):
    layer = Layer(3.0)
    layer.forward(x)

    twin = copy.deepcopy(layer)
    twin.weight.assign(Tensor([7.0]))

    assert twin.forward(x).item() == 7.0
    assert layer.forward(x).item() == 3.0


def test_instance_with_captures_can_die(x):
    layer = Layer(3.0)
    layer.forward(x)
    alive = weakref.ref(layer)

    del layer
    gc.collect()

    assert alive() is None


def test_instances_that_cannot_be_referred_to_weakly_are_refused(x):
    class Bare:
        __slots__ = ()

        @jit
        def forward(self, x):
            return x

    with pytest.raises(TraceError, match=r"__weakref__.*Bare"):
        Bare().forward(x)


def test_model_as_an_argument(x):
    @jit
    def apply(model, x):
        return x * model.weight

    assert apply(Layer(3.0), x).item() == 3.0
    assert apply(Layer(4.0), x).item() == 4.0
    assert traces(apply) == 1
