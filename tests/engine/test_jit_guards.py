"""Traps of captured functions: what they depend on besides their arguments."""

from __future__ import annotations

import array
import collections
import dataclasses
import enum
import functools
import gc
import importlib
import random
import types

import numpy as np
import pytest

from inkle import Context, Tensor, is_training, jit, training
from inkle.errors import TraceError

SCALE = 2.0
TABLE = {"offset": 1.0}
settings = types.ModuleType("settings_of_the_user")


def helper(x):
    return x * SCALE


def traces(function) -> int:
    return len(function.explain().splitlines())


@pytest.fixture
def x():
    return Tensor([1.0])


def test_python_argument_that_changes_is_traced_anew(x):
    scale = jit(lambda x, factor: x * factor)

    assert [scale(x, f).item() for f in (2.0, 3.0, 2.0, 0.5)] == [2.0, 3.0, 2.0, 0.5]
    assert traces(scale) == 3
    assert "argument 1: 2.0 became 3.0" in scale.explain()


def test_numbers_of_other_types_and_signs_are_other_numbers(x):
    divide = jit(lambda x, zero: 1.0 / (x * zero))

    assert divide(x, 0.0).item() == float("inf")
    assert divide(x, -0.0).item() == -float("inf")
    assert jit(lambda x, flag: x if flag is True else x + 1)(x, 1).item() == 2.0


def test_branch_on_a_python_value(x):
    @jit
    def either(x, negate):
        if negate:
            return -x
        return x

    assert either(x, False).item() == 1
    assert either(x, True).item() == -1
    assert either(x, False).item() == 1


def test_closure_that_changes(x):
    factor = 2.0

    def change(value):
        nonlocal factor
        factor = value

    scale = jit(lambda x: x * factor)

    assert scale(x).item() == 2.0
    change(5.0)
    assert scale(x).item() == 5.0
    change(2.0)
    assert scale(x).item() == 2.0
    assert traces(scale) == 2


def test_closed_over_name_without_a_value_yet(x):
    def outer():
        scale = jit(lambda x: x * late)
        with pytest.raises(NameError):
            scale(x)
        late = 4.0
        return scale

    assert outer()(x).item() == 4.0


def test_global_of_the_function_and_of_functions_it_calls(x, monkeypatch):
    direct = jit(lambda x: x * SCALE)
    indirect = jit(lambda x: helper(x) + TABLE["offset"])

    assert (direct(x).item(), indirect(x).item()) == (2.0, 3.0)
    monkeypatch.setitem(globals(), "SCALE", 10.0)
    assert (direct(x).item(), indirect(x).item()) == (10.0, 11.0)
    monkeypatch.setitem(TABLE, "offset", 5.0)
    assert (direct(x).item(), indirect(x).item()) == (10.0, 15.0)


def test_attribute_of_a_module_of_the_user(x, monkeypatch):
    monkeypatch.setattr(settings, "gain", 2.0, raising=False)
    monkeypatch.setattr(settings, "unused", 0, raising=False)
    scale = jit(lambda x: x * settings.gain)

    assert scale(x).item() == 2.0
    settings.unused = 1
    assert scale(x).item() == 2.0
    settings.gain = 3.0
    assert scale(x).item() == 3.0


def test_mutable_objects_of_all_kinds(x):
    class Color(enum.Enum):
        RED = 1.0
        BLUE = 2.0

    @dataclasses.dataclass
    class Options:
        gain: float = 1.0

    holders = {
        "list": [1.0],
        "deque": collections.deque([1.0]),
        "namespace": types.SimpleNamespace(value=1.0),
        "options": Options(),
        "array": array.array("d", [1.0]),
        "bytes": bytearray(b"\x01"),
        "color": Color.RED,
        "default": collections.defaultdict(lambda: 1.0, value=1.0),
    }

    @jit
    def read(x):
        return (
            x * holders["list"][0] * holders["deque"][0] * holders["namespace"].value
            * holders["options"].gain * holders["array"][0] * float(holders["bytes"][0])
            * holders["color"].value * holders["default"]["value"]
        )  # fmt: skip

    def change(name, action):
        before = read(x).item()
        action(holders[name])
        assert read(x).item() == 2 * before, name

    assert read(x).item() == 1.0
    change("list", lambda value: value.__setitem__(0, 2.0))
    change("deque", lambda value: value.append(value.pop() * 2))
    change("namespace", lambda value: setattr(value, "value", 2.0))
    change("options", lambda value: setattr(value, "gain", 2.0))
    change("array", lambda value: value.__setitem__(0, 2.0))
    change("bytes", lambda value: value.__setitem__(0, 2))
    change("color", lambda _: holders.update(color=Color.BLUE))
    change("default", lambda value: value.update(value=2.0))


def test_a_call_that_looks_like_the_last_one_but_for_one_thing(x):
    outside = Tensor([1.0, 2.0, 3.0]).realize()

    @jit
    def function(a, b, c=None):
        total = (a * b * outside).sum()
        total = total * 10 if a.requires_grad else total
        return total if c is None else total + c.sum()

    def plain(*values):
        return Tensor(list(values)).realize()

    one = plain(1.0, 2.0, 3.0)
    leaf = plain(2.0, 3.0, 4.0).requires_grad_()
    calls = [
        lambda: function(one, plain(1.0, 1.0, 1.0)), lambda: function(one, one),
        lambda: function(one, outside), lambda: function(one, plain(1, 1, 1)),
        lambda: function(one, plain(1.0)), lambda: function(one, b=plain(1.0)),
        lambda: function(one, plain(1.0), plain(1.0)), lambda: function(leaf, plain(1.0)),
        lambda: function(one, plain(1.0), c=plain(1.0)), lambda: function(one, 1.0),
    ]  # fmt: skip

    results = []
    for number, call in enumerate(calls, 1):
        results.append([call().item() for _ in range(2)])
        assert function.stats().traces == number
    assert results == [[call().item()] * 2 for call in calls]
    assert results == [[n] * 2 for n in (14, 36, 36, 14, 14, 14, 15, 200, 15, 14)]
    assert function.stats().traces == len(calls)


def test_containers_of_the_users_own_kind(x):
    class Config(dict):
        factor = 1.0

        def scaled(self, x):
            return x * self["gain"] * self.factor * self.more

    config = Config(gain=2.0)
    config.more = 1.0
    run = jit(lambda x: config.scaled(x))

    assert run(x).item() == 2.0
    config.more = 3.0
    assert run(x).item() == 6.0
    Config.factor = 10.0
    assert run(x).item() == 60.0


def test_function_of_an_installed_package_sees_its_own_package(x, tmp_path, monkeypatch):
    folder = tmp_path / "installed" / "package_of_a_user"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "constants.py").write_text("gain = 2.0\n")
    (folder / "layers.py").write_text(
        "from package_of_a_user import constants\n"
        "bias = 1.0\n"
        "def scale(x):\n"
        "    return x * constants.gain + bias\n"
    )
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setattr("inkle.tensor.guards._LIBRARIES", (str(folder.parent),))
    layers = importlib.import_module("package_of_a_user.layers")
    run = jit(layers.scale)

    assert run(x).item() == 3.0
    layers.constants.gain = 5.0
    assert run(x).item() == 6.0
    layers.bias = 0.0
    assert run(x).item() == 5.0


def test_function_that_is_replaced_by_another(x, monkeypatch):
    run = jit(lambda x: helper(x))

    assert run(x).item() == SCALE
    monkeypatch.setitem(globals(), "helper", lambda x: x * 7)
    assert run(x).item() == 7.0


def test_default_values_are_described(x):
    def scale(x, weight=Tensor([2.0]), *, options=[3.0]):  # noqa: B006, B008
        return x * weight * options[0]

    run = jit(scale)

    assert run(x).item() == 6.0
    scale.__kwdefaults__["options"][0] = 4.0
    assert run(x).item() == 8.0
    scale.__defaults__[0].assign(Tensor([5.0]))
    assert run(x).item() == 20.0
    assert traces(run) == 2


def test_sets_tell_types_of_elements_apart(x):
    kinds = {1}
    scale = jit(lambda x: x * (0.5 if isinstance(next(iter(kinds)), float) else 2.0))

    assert scale(x).item() == 2.0
    kinds.clear()
    kinds.add(1.0)
    assert scale(x).item() == 0.5


def test_closed_over_tensor_that_is_assigned_or_replaced_outside(x):
    weight = Tensor([2.0])
    layers = [weight]
    scale = jit(lambda x: x * weight + layers[0])

    assert scale(x).item() == 4.0
    weight.assign(Tensor([5.0]))
    assert scale(x).item() == 10.0
    layers[0] = Tensor([1.0])
    assert scale(x).item() == 6.0
    layers[0] = Tensor([3.0])
    assert scale(x).item() == 8.0
    weight = Tensor([7.0])
    assert scale(x).item() == 10.0
    assert traces(scale) == 2  # once more when the two were no longer one


def test_objects_that_show_nothing_are_compared_by_identity(x):
    lock, other = object(), object()
    holder = [lock]
    pick = jit(lambda x: x * (2.0 if holder[0] is lock else 3.0))

    assert pick(x).item() == 2.0
    holder[0] = other
    assert pick(x).item() == 3.0


def test_object_at_the_address_of_a_dead_one_is_another(x):
    def run(scale):
        return scale(x, lambda value: value * 2).item()

    scale = jit(lambda x, function: function(x))

    assert run(scale) == 2.0
    for factor in range(3, 8):
        assert scale(x, eval(f"lambda value: value * {factor}")).item() == factor
        gc.collect()


@pytest.mark.parametrize("make", [lambda: iter([1.0, 2.0]), lambda: (f for f in (1.0, 2.0)),
                                  lambda: zip([1.0], [2.0]), lambda: enumerate([1.0])])  # fmt: skip
def test_iterator_is_refused(x, make):
    batches = make()
    draw = jit(lambda x: x * next(batches))

    with pytest.raises(TraceError, match=r"batches, a \w+: an iterator, whose position"):
        draw(x)


def test_numpy_array_of_an_attribute_is_refused_with_its_path(x):
    layer = types.SimpleNamespace(inner=[types.SimpleNamespace(images=np.zeros((2, 3)))])
    look = jit(lambda x: x + layer.inner[0].images.sum())

    with pytest.raises(TraceError, match=r"layer\.inner\.images, a NumPy array of shape \(2, 3\)"):
        look(x)


def test_huge_object_is_refused(x):
    many = [[] for _ in range(20_001)]

    with pytest.raises(TraceError, match="many, which leads to more than 20000 objects"):
        jit(lambda x: x * len(many))(x)


def test_deeply_nested_argument_is_refused(x):
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]

    with pytest.raises(TraceError, match="nested too deeply"):
        jit(lambda x, more: x)(x, nested)


def test_object_that_holds_itself(x):
    ring: list[object] = [2.0]
    ring.append(ring)
    scale = jit(lambda x: x * ring[0])

    assert scale(x).item() == 2.0
    ring[0] = 3.0
    assert scale(x).item() == 3.0


def test_modes_are_part_of_the_signature(x):
    pick = jit(lambda x: x * (2.0 if is_training() else 3.0))

    assert pick(x).item() == 3.0
    with training():
        assert pick(x).item() == 2.0
    assert pick(x).item() == 3.0
    assert traces(pick) == 2
    assert "training: False became True" in pick.explain()


def test_settings_are_part_of_the_signature(x):
    double = jit(lambda x: x * 2)

    assert double(x).item() == 2.0
    with Context(INKLE_THREADS=2):
        assert double(x).item() == 2.0
    with Context(INKLE_TARGET="avx2"):
        assert double(x).item() == 2.0
    assert traces(double) == 3


def test_python_side_effects_happen_at_every_call(x):
    calls: list[float] = []

    @jit
    def note(x):
        calls.append(1.0)
        return x * len(calls)

    assert [note(x).item() for _ in range(3)] == [1.0, 2.0, 3.0]
    assert "not kept: it changes note.calls" in note.explain()


def test_counter_in_an_attribute_counts(x):
    counter = types.SimpleNamespace(steps=0)

    @jit
    def step(x):
        counter.steps += 1
        return x * counter.steps

    assert [step(x).item() for _ in range(3)] == [1.0, 2.0, 3.0]
    assert counter.steps == 3


def test_tensor_stored_outside_has_the_value_of_the_last_call(x):
    kept: dict[str, Tensor] = {}
    holder = types.SimpleNamespace(last=None)

    @jit
    def double(x):
        kept["y"] = holder.last = x * 2
        return kept["y"] + 1

    for value in (1.0, 2.0, 3.0):
        assert double(Tensor([value])).item() == 2 * value + 1
        assert kept["y"].item() == holder.last.item() == 2 * value


def test_random_numbers_of_python_and_numpy_are_drawn_at_every_call(x):
    generator = np.random.default_rng(0)
    own = random.Random(1)
    draws = [
        jit(lambda x: x * random.random()),
        jit(lambda x: x * float(np.random.rand())),
        jit(lambda x: x * float(generator.normal())),
        jit(lambda x: x * own.random()),
    ]

    for draw in draws:
        assert len({draw(x).item() for _ in range(4)}) == 4


def test_cached_function_and_decorators(x):
    @functools.lru_cache
    def table(n):
        return Tensor([float(n)])

    def decorate(function):
        @functools.wraps(function)
        def inner(*args):
            return function(*args) + 1

        return inner

    @jit
    @decorate
    def add(x):
        return x + table(10)

    assert [add(x).item() for _ in range(4)] == [12.0] * 4
    assert traces(add) <= 2


def test_many_traces_are_reported_once(x, caplog):
    scale = jit(lambda x, factor: x * factor)

    for factor in range(20):
        scale(x, float(factor))

    (record,) = caplog.records
    assert "traced 16 times" in record.getMessage()
    assert "argument 1: 14.0 became 15.0" in record.getMessage()


def test_number_of_signatures_kept_is_bounded(x):
    scale = jit(lambda x, factor: x.shape[0] * factor)

    for factor in range(200):
        assert scale(x, factor) == factor

    assert len(scale._state.entries) <= 64
