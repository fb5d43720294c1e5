"""Traps of captured functions: modules, clocks, files, copies, and whatever hides its contents."""

from __future__ import annotations

import contextvars
import copy
import ctypes
import pickle
import sys
import threading
import time
import types
import warnings
import weakref

import pytest

from inkle import Tensor, grad, jit
from inkle.errors import GradientError, TraceError


@pytest.fixture
def x():
    return Tensor([1.0, 2.0])


@pytest.fixture
def module(monkeypatch):
    """Return a module of the user, with a number and a tensor in it."""
    made = types.ModuleType("settings_of_user")
    made.factor, made.weight = 2.0, Tensor([1.0, 1.0])
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def times(factor):
    return [factor, 2.0 * factor]


def triple(x):
    return x * 3


captured_triple = jit(triple)


@jit
def decorated(x):
    return x * 4


class Scaler:
    """Has a captured method, and its method captured."""

    def __init__(self):
        self.weight = Tensor([1.0, 1.0])
        self.run = jit(self.scale)

    def scale(self, x):
        return x * self.weight

    @jit
    def twice(self, x):
        return x * self.weight * 2


# --- imports and globals --------------------------------------------------------------------------


def test_names_imported_inside_the_function(x, module):
    @jit
    def scale(x):
        from settings_of_user import factor  # noqa: PLC0415

        return x * factor

    assert scale(x).tolist() == times(2)
    module.factor = 3.0
    assert scale(x).tolist() == times(3)
    assert scale.stats().traces == 2


def test_tensor_of_a_module_imported_inside(x, module):
    @jit
    def scale(x):
        import settings_of_user  # noqa: PLC0415

        return x * settings_of_user.weight

    scale(x)
    module.weight.assign(Tensor([5.0, 5.0]))
    assert scale(x).tolist() == times(5)
    module.weight = Tensor([6.0, 6.0])
    assert scale(x).tolist() == times(6)
    assert scale.stats().traces == 1  # another tensor in the same place


def test_module_that_is_loaded_by_the_first_call(x, tmp_path, monkeypatch):
    (tmp_path / "loaded_by_the_first_call.py").write_text("factor = 2.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    @jit
    def scale(x):
        import loaded_by_the_first_call as late  # noqa: PLC0415

        return x * late.factor

    assert scale(x).tolist() == times(2)
    sys.modules["loaded_by_the_first_call"].factor = 3.0
    assert scale(x).tolist() == times(3)
    del sys.modules["loaded_by_the_first_call"]


def test_global_that_hides_a_built_in_function(x):
    scope = {"__name__": "user"}
    exec("def f(x):\n    return x * max(1, 2)", scope)
    scale = jit(scope["f"])

    assert scale(x).tolist() == times(2)
    scope["max"] = min
    assert scale(x).tolist() == times(1)
    del scope["max"]
    assert scale(x).tolist() == times(2)


# --- the world outside ----------------------------------------------------------------------------


def test_time_is_asked_at_every_call(x):
    stamp = jit(lambda x: (x, time.perf_counter_ns()))

    assert stamp(x)[1] < stamp(x)[1]
    assert "not kept: it asks time.perf_counter_ns" in stamp.explain()


def test_clock_that_is_an_argument(x):
    stamp = jit(lambda x, clock: (x, clock()))

    def clock():
        return time.perf_counter_ns()

    assert stamp(x, clock)[1] < stamp(x, clock)[1]


def test_environment_variables_are_asked_at_every_call(x, monkeypatch):
    @jit
    def scale(x):
        import os  # noqa: PLC0415

        return x * float(os.environ["FACTOR_OF_USER"])

    monkeypatch.setenv("FACTOR_OF_USER", "2")
    assert scale(x).tolist() == times(2)
    monkeypatch.setenv("FACTOR_OF_USER", "3")
    assert scale(x).tolist() == times(3)


def test_files_are_read_at_every_call(x, tmp_path):
    path = str(tmp_path / "factor")

    @jit
    def scale(x):
        with open(path) as file:
            return x * float(file.read())

    for factor in (2, 3):
        (tmp_path / "factor").write_text(str(factor))
        assert scale(x).tolist() == times(factor)


# --- objects that hide what they hold -------------------------------------------------------------


def test_values_of_a_thread_and_of_a_context(x):
    local, context = threading.local(), contextvars.ContextVar("context", default=1.0)
    local.factor = 2.0
    scale = jit(lambda x: x * local.factor * context.get())

    assert scale(x).tolist() == times(2)
    local.factor = 3.0
    assert scale(x).tolist() == times(3)
    token = context.set(2.0)
    assert scale(x).tolist() == times(6)
    context.reset(token)


def test_what_a_weak_reference_leads_to(x):
    thing = Scaler()
    thing.factor = 2.0
    reference = weakref.ref(thing)
    scale = jit(lambda x: x * reference().factor)

    assert scale(x).tolist() == times(2)
    thing.factor = 3.0
    assert scale(x).tolist() == times(3)


def test_memory_that_changes_unseen(x):
    number, content = ctypes.c_double(2.0), bytearray(b"\x01")
    window = memoryview(content)
    scale = jit(lambda x: x * number.value * window[0])

    assert scale(x).tolist() == times(2)
    number.value = 3.0
    assert scale(x).tolist() == times(3)
    content[0] = 2
    assert scale(x).tolist() == times(6)


def test_base_class_that_is_replaced(x):
    two = type("Two", (), {"factor": lambda self: 2})
    three = type("Three", (), {"factor": lambda self: 3})
    kind = type("Kind", (two,), {})
    thing = kind()
    scale = jit(lambda x: x * thing.factor())

    assert scale(x).tolist() == times(2)
    kind.__bases__ = (three,)
    assert scale(x).tolist() == times(3)


def test_method_of_an_object_without_attributes(x, monkeypatch):
    class Base:
        def factor(self):
            return 2

    class Derived(Base):
        pass

    thing = Derived()
    scale = jit(lambda x: x * thing.factor())

    assert scale(x).tolist() == times(2)
    monkeypatch.setattr(Base, "factor", lambda self: 3)
    assert scale(x).tolist() == times(3)


# --- copies ---------------------------------------------------------------------------------------


def test_deep_copy_captures_the_method_of_the_copy(x):
    first = Scaler()
    first.run(x)
    second = copy.deepcopy(first)
    second.weight.assign(Tensor([5.0, 5.0]))

    assert (first.run(x).tolist(), second.run(x).tolist()) == (times(1), times(5))
    assert (first.twice(x).tolist(), second.twice(x).tolist()) == (times(2), times(10))


def test_copy_of_a_captured_function_is_another_capture(x):
    assert captured_triple(x).tolist() == copy.copy(captured_triple)(x).tolist() == times(3)
    assert copy.copy(captured_triple).stats().calls == 0


def test_pickle_keeps_the_name_and_no_capture(x):
    assert pickle.loads(pickle.dumps(decorated)) is decorated
    assert pickle.loads(pickle.dumps(captured_triple))(x).tolist() == times(3)
    with pytest.raises((AttributeError, pickle.PicklingError), match="local"):
        pickle.dumps(jit(lambda x: x))


# --- the rest -------------------------------------------------------------------------------------


def test_gradient_around_a_captured_function_is_refused(x):
    square = jit(lambda x: (x * x).sum())

    with pytest.raises(GradientError, match=r"jit\(grad\(f\)\)"):
        grad(square)(x)
    assert grad(lambda x: square(x.detach()) + x.sum())(x).tolist() == [1.0, 1.0]
    assert jit(grad(square))(x).tolist() == times(2)


def test_results_keep_the_class_of_tensors(x):
    class Mine(Tensor):
        factor = 2

        def scaled(self):
            return self * self.factor

    scale = jit(lambda x: x.scaled() if isinstance(x, Mine) else x)

    assert type(scale(Mine([1.0, 2.0]))) is Mine
    assert type(scale(x)) is Tensor
    Mine.factor = 3
    assert scale(Mine([1.0, 2.0])).tolist() == times(3)


def test_warnings_appear_when_a_function_is_traced(x):
    def warn(x):
        warnings.warn("careful", stacklevel=1)
        return x

    captured = jit(warn)
    with pytest.warns(UserWarning, match="careful"):
        captured(x)
    captured(x)  # a warning would be an error here


def test_methods_that_are_no_functions_are_refused():
    for kind in (classmethod, staticmethod, property):
        with pytest.raises(TraceError, match=f"write @{kind.__name__} above @jit"):
            jit(kind(lambda x: x))


def test_capture_of_a_capture_is_the_same():
    assert jit(decorated) is decorated


def test_very_large_results(x):
    spread = jit(lambda x: (x + 1).reshape(2, 1).expand(2, 1 << 20).reshape(-1))

    found = spread(x)

    assert found.shape == (1 << 21,)
    assert (found[0].item(), found[-1].item()) == (2.0, 3.0)


def test_an_interrupt_while_tracing_leaves_all_state_as_it_was(x):
    weight = Tensor([1.0, 1.0])
    stop = True

    @jit
    def step(x):
        weight.assign(weight + x)
        if stop:
            raise KeyboardInterrupt
        return weight * 1

    with pytest.raises(KeyboardInterrupt):
        step(x)
    assert weight.tolist() == [1.0, 1.0]
    stop = False
    assert step(x).tolist() == [2.0, 3.0]


def test_dictionaries_in_another_order(x):
    weigh = jit(lambda **parts: sum(part * i for i, part in enumerate(parts.values())))

    assert weigh(a=x, b=x * 10).tolist() == times(10)
    assert weigh(b=x * 10, a=x).tolist() == times(1)


def test_output_that_is_changed_in_place(x):
    constant = Tensor([7.0, 7.0])
    same = jit(lambda x: (x, constant))

    for found in same(x):
        found.assign(found * 100)

    assert [each.tolist() for each in same(x)] == [[1.0, 2.0], [7.0, 7.0]]


def test_stats_count_calls_traces_and_captures(x):
    scale = jit(lambda x, factor: x * factor)

    assert scale.stats().calls == 0
    for factor in (2, 2, 3, 2):
        scale(x, factor)

    found = scale.stats()
    assert (found.calls, found.traces, found.captures) == (4, 2, 2)
    assert found.reasons == ("first call", "argument 1: 2 became 3")
    assert scale.explain() == "trace 0: first call\ntrace 1: argument 1: 2 became 3"
