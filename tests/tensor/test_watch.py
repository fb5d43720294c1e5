"""A watch holds only while describing again would give the same."""

import contextlib
import functools
import gc
import types
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle import Tensor
from inkle.tensor.environment import Environment


class Thing:
    """A user's object; its method names what counts."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def run(self, x):
        return x * self.scale + sum(self.parts) + self.table["key"] + self.inner.scale


class Slotted:
    __slots__ = ("scale",)


def use(thing):
    return lambda x: thing.run(x)


def make():
    return Thing(
        scale=1.5, parts=[1, 2, 3], table={"key": 4, (1, 2): [5]}, unused=[0],
        inner=Thing(scale=2, parts=[], table={}, inner=None), pair=(1, [2]),
    )  # fmt: skip


def describe(function):
    return Environment(function, set(), "tests")


CHANGES = {
    "number": lambda t: setattr(t, "scale", t.scale + 1),
    "same number again": lambda t: setattr(t, "scale", float(str(t.scale))),
    "element": lambda t: t.parts.__setitem__(0, t.parts[0] + 7),
    "longer list": lambda t: t.parts.append(1),
    "shorter list": lambda t: t.parts and t.parts.pop(),
    "another list": lambda t: setattr(t, "parts", [*t.parts]),
    "a tuple": lambda t: setattr(t, "parts", (*t.parts,)),
    "value": lambda t: t.table.__setitem__("key", object()),
    "key": lambda t: t.table.setdefault(len(t.table), 1),
    "deep": lambda t: setattr(t.inner, "scale", t.inner.scale - 1),
    "deleted": lambda t: t.__dict__.pop("pair", None),
    "new attribute": lambda t: setattr(t, f"new{len(vars(t))}", 1),
    "unused": lambda t: t.unused.append(2),
    "aliased": lambda t: setattr(t.inner, "parts", t.parts),
    "cycle": lambda t: setattr(t, "inner", t),
    "tensor": lambda t: setattr(t, "scale", Tensor([1.0, 2.0]).realize()),
    "type of a number": lambda t: setattr(t, "scale", True),
}


@given(st.lists(st.sampled_from(sorted(CHANGES)), max_size=6))
def test_watch_never_holds_where_descriptions_differ(names):
    thing = make()
    function = use(thing)
    environment = describe(function)
    for name in names:
        with contextlib.suppress(
            AttributeError, IndexError, TypeError, ValueError
        ):  # no such change
            CHANGES[name](thing)
        again = describe(function)
        if environment.holds(function, environment.tensors()):
            assert again.description == environment.description, names
        environment = again
        assert environment.holds(function, environment.tensors()), names


@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"unused", "shorter list"}))
def test_watch_sees_each_change(name):
    thing = make()
    function = use(thing)
    environment = describe(function)

    CHANGES[name](thing)

    assert not environment.holds(function, environment.tensors())


def test_what_code_does_not_name_is_not_watched():
    thing = make()
    function = use(thing)
    environment = describe(function)

    thing.unused.append(1)

    assert environment.holds(function, environment.tensors())


def test_an_element_that_moves_to_the_next_list_is_seen():
    first, second = [1.5, 2.5], [3.5]
    function = lambda x: x * first[0] + sum(second)
    environment = describe(function)

    second.insert(0, first.pop())

    assert not environment.holds(function, environment.tensors())


def test_what_took_the_place_of_a_list_is_not_touched():
    thing = make()
    function = use(thing)
    environment = describe(function)

    thing.parts = iter([1, 2, 3])

    assert not environment.holds(function, environment.tensors())
    assert next(thing.parts) == 1


def test_functions_are_watched_with_cells_defaults_and_globals():
    scope = {"factor": 2, "__name__": "user"}
    exec("def inner(x, more=[1], *, last=3):\n    return x * factor", scope)
    inner = scope["inner"]
    count = 0

    def outer(x):
        return inner(x) + count

    def change_default():
        inner.__defaults__[0].append(2)

    def change_cell():
        nonlocal count
        count = 1000

    for change in (
        lambda: None, change_default, change_cell, lambda: scope.update(factor=3),
        lambda: setattr(inner, "__kwdefaults__", {"last": 4}),
        lambda: setattr(inner, "__code__", (lambda x, more: x).__code__),
    ):  # fmt: skip
        environment = describe(outer)
        before = environment.description
        assert environment.holds(outer, environment.tensors())
        change()
        held = environment.holds(outer, environment.tensors())
        assert held == (describe(outer).description == before)


def test_a_function_without_defaults_is_watched():
    scope = {"__name__": "user"}
    exec("def inner(x):\n    return x * factor", scope)
    inner = scope["inner"]
    count = 0

    def outer(x):
        return inner(x) + count

    def forget():
        nonlocal count
        del count

    for change in (
        lambda: scope.update(factor=3), lambda: setattr(inner, "__defaults__", (1,)),
        lambda: setattr(inner, "__code__", (lambda x: x).__code__),
        lambda: setattr(inner, "note", 5), forget,
    ):  # fmt: skip
        environment = describe(outer)
        assert environment.holds(outer, environment.tensors())
        change()
        assert not environment.holds(outer, environment.tensors())


def test_attributes_and_bases_of_classes_are_watched():
    class Base:
        scale = 2

    class Other(Base):
        scale = 3

    class User(Base):
        def run(self, x):
            return x * self.scale

    user = User()
    function = lambda x: user.run(x)
    for change in (
        lambda: setattr(Base, "scale", 4), lambda: setattr(User, "scale", 5),
        lambda: setattr(User, "run", lambda self, x: x), lambda: delattr(User, "scale"),
        lambda: setattr(User, "__bases__", (Other,)), lambda: setattr(user, "__class__", Other),
    ):  # fmt: skip
        environment = describe(function)
        assert environment.holds(function, environment.tensors())
        change()
        assert not environment.holds(function, environment.tensors())


def test_methods_of_classes_slots_partials_and_modules():
    module = types.ModuleType("users_module")
    module.constant = 1
    slotted = Slotted()
    slotted.scale = 1

    class User:
        @property
        def scale(self):
            return module.constant

        @staticmethod
        def double(x):
            return 2 * x

    def run(x, user=None):
        return User.double(x) * User().scale * slotted.scale

    bound = functools.partial(run, user=slotted)
    replaced = staticmethod(lambda x: 3 * x)
    for change in (
        lambda: setattr(slotted, "scale", 2), lambda: setattr(module, "constant", 2),
        lambda: setattr(User, "double", replaced), lambda: setattr(User, "scale", 5),
    ):  # fmt: skip
        environment = describe(bound)
        assert environment.holds(bound, environment.tensors())
        change()
        assert not environment.holds(bound, environment.tensors())


def test_ways_of_gradients_are_watched():
    weight = Tensor([1.0, 2.0])
    environment = describe(lambda: weight)
    function = lambda: weight
    environment = describe(function)
    assert environment.holds(function, environment.tensors())

    weight.requires_grad = True

    assert not environment.holds(function, environment.tensors())


def test_things_that_change_inside_are_never_watched():
    text = bytearray(b"abc")
    function = lambda: text
    environment = describe(function)

    assert not environment.holds(function, environment.tensors())


def test_watch_keeps_no_object_alive_and_is_over_when_one_dies():
    thing = make()
    thing.scale = Tensor([1.0])
    holder = [thing]
    function = lambda x: holder[0].run(x)
    environment = describe(function)
    assert environment.holds(function, environment.tensors())
    seen = [weakref.ref(thing), weakref.ref(thing.scale), weakref.ref(thing.inner)]

    holder[0] = None
    del thing
    gc.collect()

    assert [each() for each in seen] == [None, None, None]
    assert not environment.holds(function, environment.tensors())
