"""Results taken apart and put together; differences of signatures in words."""

from __future__ import annotations

from collections import namedtuple

import pytest

from inkle import Tensor
from inkle.errors import TraceError
from inkle.tensor.guards import Describer
from inkle.tensor.structure import difference, rebuild, structure

Pair = namedtuple("Pair", "first second")


def test_rebuilt_result_has_the_same_form():
    x, y = Tensor(1.0), Tensor(2.0)
    tensors: list[Tensor] = []

    result = structure({"a": [x, 3], "b": Pair(y, (x, None))}, tensors)

    assert tensors[0] is x
    assert tensors[1] is y
    assert rebuild(result, ["X", "Y"]) == {"a": ["X", 3], "b": Pair("Y", ("X", None))}


def test_containers_of_other_kinds_are_refused():
    with pytest.raises(TraceError, match="returned a set"):
        structure([{1}], [])


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (1, 2, "1 became 2"),
        (0.5, 0.25, "0.5 became 0.25"),
        (1, 1.0, "1 became 1.0"),
        ([1, 2], [1, 3], "2 became 3"),
        (Tensor([1.0]), Tensor([1.0, 2.0]), "(1,) became (2,)"),
        (Tensor([1.0]), Tensor([1]), "'float32' became 'int64'"),
        (Tensor([1.0]), Tensor([1.0], requires_grad=True), "'' became 'leaf'"),
        ({"a": 1}, {"a": 1, "b": 2}, "became"),
        (None, "a", "None became 'a'"),
    ],
)
def test_difference_in_words(old, new, text):
    found = difference(*(Describer(set()).named([("x", each)]) for each in (old, new)))

    assert found.startswith("x: ")
    assert text in found


def test_difference_names_the_path():
    class Inner:
        def __init__(self, rate):
            self.rate = rate

    class Outer:
        def __init__(self, rate):
            self.inner = Inner(rate)

    names = {"inner", "rate"}
    old, new = (Describer(names).named([("self", Outer(rate))]) for rate in (0.1, 0.2))

    assert difference(old, new) == "self.inner.rate: 0.1 became 0.2"


def test_attribute_that_comes_or_goes_is_named():
    class Holder:
        pass

    full, empty = Holder(), Holder()
    full.state = 1
    old, new = (Describer({"state"}).named([("self", each)]) for each in (empty, full))

    assert difference(old, new) == "self: state is new"
    assert difference(new, old) == "self: state is gone"
