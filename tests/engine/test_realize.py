"""From lazy graphs to values: equal graphs share code, results are shared, memory comes back."""

from __future__ import annotations

import gc
import math
import threading

import numpy as np
import pytest

from inkle import Context, Tensor, manual_seed, nn
from inkle.engine import build, profile, realize, storage
from inkle.engine.pipeline import TIMES
from inkle.engine.realize import canonicalize, outline
from inkle.errors import CompileError, DeviceError, ShapeError
from inkle.ir import forms
from inkle.ir.node import intern
from inkle.runtime.device import open_device


def array(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def launches(monkeypatch):
    """The number of kernels of every run."""
    seen: list[int] = []
    run = profile.run

    def watch(executable, inputs, *sizes):
        seen.append(len(executable.steps))
        return run(executable, inputs, *sizes)

    monkeypatch.setattr(profile, "run", watch)
    return seen


def live_bytes():
    gc.collect()
    return open_device("CPU").memory_report().live_bytes


# --- canonical graphs -----------------------------------------------------------------------------


def test_graphs_of_equal_structure_become_the_same_nodes():
    def build(seed):
        x, w = Tensor(array(3, 4, seed=seed)), Tensor(array(4, 2, seed=seed + 1))
        return (x @ w + x.sum()).relu().node

    first, leaves = canonicalize([build(0)])
    second, others = canonicalize([build(5)])

    assert first == second
    assert len(leaves) == len(others) == 2
    assert set(leaves).isdisjoint(others)


def test_slots_are_numbered_in_order_of_first_use():
    a, b = Tensor([1.0]), Tensor([2.0])

    (first,), (leaf_a, leaf_b) = canonicalize([(a * b - a).node])
    (second,), (other_b, other_a) = canonicalize([(b * a - b).node])

    assert first is second
    assert (leaf_a, leaf_b) == (other_a, other_b) == (a.node, b.node)


def test_one_buffer_twice_is_one_slot_and_two_buffers_are_two():
    a, b = Tensor([1.0]), Tensor([1.0])

    assert len(canonicalize([(a + a).node])[1]) == 1
    assert len(canonicalize([(a + b).node])[1]) == 2


def test_realized_parts_of_a_graph_become_leaves():
    y = Tensor(array(8)) * 2
    z = (y + 1).node
    y.realize()

    (root,), (leaf,) = canonicalize([z])

    assert root.op.name == "add"
    assert leaf is y.node
    assert leaf.op is forms.BUFFER


def test_deep_graphs_are_canonical_too():
    x = Tensor([1.0])
    for _ in range(8_000):
        x = x + 1

    (root,), leaves = canonicalize([x.node])

    assert len(leaves) == 1
    assert len(root.toposort()) == 8_002


# --- nothing is compiled twice --------------------------------------------------------------------


def counts():
    return {name: TIMES.calls.get(name, 0) for name in ("schedule", "native code", "render")}


def test_second_model_of_equal_shapes_compiles_nothing():
    def train(seed):
        manual_seed(seed)
        layers = [nn.Linear(5, 7), nn.Linear(7, 3)]
        opt = nn.optim.SGD(nn.state.get_parameters(layers), lr=0.1 + seed)
        x, y = Tensor(array(4, 5, seed=seed)), Tensor([0, 1, 2, 0])
        for _ in range(2):
            opt.zero_grad()
            layers[1](layers[0](x).relu()).cross_entropy(y).backward()
            opt.step()

    train(0)
    before = counts()
    train(1)

    assert counts() == before


def test_number_of_graphs_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(realize, "CACHED_GRAPHS", 3)
    monkeypatch.setattr(realize, "_executables", type(realize._executables)())
    x = Tensor([1.0])

    for factor in range(6):
        assert (x * float(factor)).item() == factor

    assert len(realize._executables) == 3


def test_settings_that_choose_code_have_executables_of_their_own():
    x = array(100)

    values = []
    for target in ("", "avx2", "sse"):
        with Context(INKLE_TARGET=target):
            values.append((Tensor(x) * 3 + 1).tolist())

    assert values[0] == values[1] == values[2]


# --- results are shared ---------------------------------------------------------------------------


def test_pending_expressions_use_what_has_been_computed(launches):
    x = Tensor(array(64, 64))
    y = (x @ x).realize()
    z = y + 1
    launches.clear()

    z.realize()

    assert launches == [1]
    np.testing.assert_allclose(z.numpy(), x.numpy() @ x.numpy() + 1, rtol=1e-4, atol=1e-4)


def test_shared_part_is_computed_once_for_several_results(launches):
    x = Tensor(array(32, 32))
    y = x @ x
    a, b = y.sum(0), y.max(1)

    a.realize(b)

    assert len(launches) == 1
    np.testing.assert_allclose(a.numpy(), (x.numpy() @ x.numpy()).sum(0), rtol=1e-3, atol=1e-3)
    assert len(launches) == 1


def test_value_that_exists_is_not_computed_again(launches):
    y = Tensor(array(8)) + 1
    same = Tensor._of(y.node, "CPU")

    y.numpy()
    y.tolist()
    same.numpy()

    assert len(launches) == 1


def test_result_of_several_names_of_one_expression(launches):
    x = Tensor(array(8))
    a, b = x * 2, x * 2

    a.realize(b, a)

    assert launches == [1]
    assert a.tolist() == b.tolist()


# --- memory ---------------------------------------------------------------------------------------


def test_memory_comes_back_when_tensors_die():
    before = live_bytes()
    x = Tensor(array(256, 256))
    y = (x @ x).relu().softmax(1)
    z = y.sum().realize()
    y.realize()
    assert live_bytes() > before + 2 * 256 * 1024

    del x, y, z

    assert live_bytes() == before


def test_steps_of_a_loop_hold_one_state():
    state = Tensor(array(64, 1024)).realize()
    state = (state * 0.5 + 1).realize()
    before = live_bytes()

    for _ in range(5):
        state = (state * 0.5 + 1).realize()

    assert live_bytes() == before


def test_assigned_tensor_holds_one_version():
    state = Tensor(array(64, 1024)).realize()
    state.assign(state * 0.5).realize()
    before = live_bytes()

    for _ in range(5):
        state.assign(state * 0.5).realize()

    assert live_bytes() == before


def test_training_loop_holds_no_old_graphs():
    weight = Tensor(array(64, 64), requires_grad=True)
    opt = nn.optim.SGD([weight], lr=0.1, momentum=0.9)
    x = Tensor(array(128, 64)).realize()

    def step():
        opt.zero_grad()
        loss = (x @ weight).square().mean()
        loss.backward()
        opt.step()
        return loss.item()

    losses = [step(), step()]
    before = live_bytes()
    losses += [step() for _ in range(5)]

    assert losses == sorted(losses, reverse=True)
    assert live_bytes() == before


def test_idle_executable_holds_no_memory():
    before = live_bytes()
    x = Tensor(array(512, 256))

    ((x @ x.T).relu() @ x).sum().item()
    del x

    assert live_bytes() == before


def test_result_that_is_an_input_shares_its_memory():
    x = Tensor(array(1024)).realize()
    y = x.reshape(32, 32).realize()
    z = x.detach().realize()
    before = live_bytes()

    w = z.detach().realize()

    assert live_bytes() == before
    assert w.tolist() == x.tolist()
    assert y.shape == (32, 32)


# --- threads, processes, interrupts ---------------------------------------------------------------


def test_threads_realize_different_graphs_at_once():
    found: dict[int, list[float]] = {}

    def work(number):
        x = Tensor(array(16, 16, seed=number))
        for i in range(5):
            x = (x @ x).tanh() + float(number + i % 2)
        found[number] = x.numpy()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    for number in range(4):
        x = array(16, 16, seed=number)
        for i in range(5):
            x = np.tanh(x @ x) + np.float32(number + i % 2)
        np.testing.assert_allclose(found[number], x, rtol=1e-3, atol=1e-3)


def test_threads_realize_one_expression_at_once():
    y = Tensor(array(64, 64)).exp().sum(1)
    found: list[list[float]] = []

    threads = [threading.Thread(target=lambda: found.append(y.tolist())) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(found) == 4
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize("seed", range(2))
def test_number_of_threads_does_not_change_bits(seed):
    def compute(threads):
        with Context(INKLE_THREADS=threads):
            x = Tensor(array(300, 70, seed=seed))
            outputs = [(x.T @ x), x.softmax(1), x.sum(), x.exp().mean(0), (x * x).var()]
            return [each.numpy().tobytes() for each in outputs]

    assert compute(1) == compute(2) == compute(2) == compute(3)


# --- errors ---------------------------------------------------------------------------------------


def test_failure_of_the_compiler_leaves_later_work_correct(monkeypatch):
    x = Tensor(array(5, 7))

    def fail(*_):
        raise CompileError("no")

    with monkeypatch.context() as patch:
        patch.setattr("inkle.engine.pipeline._build", fail)
        with pytest.raises(CompileError) as caught:
            (x * 1.2345 + 9.876).numpy()
    assert "while compiling this kernel" in "".join(caught.value.__notes__)

    np.testing.assert_allclose((x * 1.2345 + 9.876).numpy(), x.numpy() * 1.2345 + 9.876, rtol=1e-5)


def test_memory_that_is_not_there_is_one_error_and_nothing_is_lost():
    x = Tensor([1.0])

    with pytest.raises(MemoryError, match="cannot allocate"):
        x.expand(1 << 20, 1 << 20).contiguous().realize()

    assert (x + 1).item() == 2.0


def test_error_in_one_expression_is_found_where_it_is_written():
    with pytest.raises(ShapeError, match=r"\(2,\).*\(3,\)"):
        Tensor([1.0, 2.0]) + Tensor([1.0, 2.0, 3.0])


def test_copy_to_the_device_where_a_value_is_changes_nothing():
    x = Tensor([1.0, 2.0]).node
    there, nowhere = (intern(forms.COPY, x.dtype, (x,), to, x.shape) for to in ("CPU", "TPU"))

    (leaf,) = realize.realize([there + 1.0])

    assert storage.to_array(leaf).tolist() == [2.0, 3.0]
    with pytest.raises(DeviceError, match="no device 'TPU'; there are CPU"):
        realize.realize([nowhere + 1.0])


def test_moving_to_the_same_device_is_the_same_tensor():
    x = Tensor([1.0, 2.0]).requires_grad_()

    assert x.to("cpu") is x.cpu() is x.to(None) is x
    assert x.to("float16").dtype.name == "float16"
    (x.to("CPU") * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


# --- outlines -------------------------------------------------------------------------------------


def test_equal_outlines_mean_equal_canonical_graphs():
    def build(seed):
        a, b = Tensor(array(3, 4, seed=seed)), Tensor(array(3, 4, seed=seed + 1))
        return [(a * b - a).sum(0).node, (b + 2.0).detach().node]

    first, others = build(0), build(5)

    assert outline(first)[0] == outline(others)[0]
    assert outline(first)[1] == canonicalize(first)[1]
    assert canonicalize(first)[0] == canonicalize(others)[0]


@pytest.mark.parametrize(
    "change",
    [lambda a, b: b * a - b, lambda a, b: a * a - a, lambda a, b: (a * b).neg() - a,
     lambda a, b: (a * b - a).cast("float64"), lambda a, b: a.reshape(4, 3) * b.reshape(4, 3)],
)  # fmt: skip
def test_other_graphs_have_other_outlines(change):
    a, b = Tensor(array(3, 4)), Tensor(array(3, 4, seed=1))
    mine, other = outline([(a * b - a).node])[0], outline([change(a, b).node])[0]

    same = canonicalize([(a * b - a).node])[0] == canonicalize([change(a, b).node])[0]

    assert (mine == other) == same


def test_outlines_tell_literals_apart_by_their_bits():
    x = Tensor(array(3))
    keys = [outline([(x + value).node])[0] for value in (0.0, -0.0, math.nan, 1.0)]

    assert len(set(keys)) == 4
    assert outline([(x + math.nan).node])[0] == keys[2]


def test_realized_values_are_leaves_of_an_outline():
    x = Tensor(array(3))
    y = x.exp()
    before, _, _ = outline([(y + 1).node])
    y.realize()

    after, leaves, _ = outline([(y + 1).node])

    assert before != after
    assert leaves == [y._storage.outside]


# --- the collector of cycles ----------------------------------------------------------------------


@pytest.mark.parametrize("is_on", [True, False])
def test_the_collector_is_as_before_after_compiling(is_on, monkeypatch):
    during = []
    monkeypatch.setattr(
        build, "schedule", lambda roots, **_: during.append(gc.isenabled()) or 1 / 0
    )
    before = gc.isenabled()
    (gc.enable if is_on else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError):
            (Tensor([1.0, 2.0]) * 1234.5).realize()
        after = gc.isenabled()
    finally:
        (gc.enable if before else gc.disable)()

    assert during == [False]
    assert after == is_on


def test_a_literal_that_has_been_computed_is_a_literal_still():
    ones = Tensor.ones(3)
    kept = ones.node
    ones.realize()
    again = Tensor.ones(3)
    assert again.node is kept

    outputs, leaves = canonicalize([(again * 2.0).node])

    assert not leaves
    assert (again * 2.0).tolist() == [2.0, 2.0, 2.0]
    assert again.tolist() == [1.0, 1.0, 1.0]
    assert outputs


def test_positions_that_have_been_computed_are_positions_still():
    """Else what is folded would depend on what somebody else has looked at."""
    kept = Tensor.arange(100).realize()

    outputs, leaves = canonicalize([Tensor.arange(100).sum().node])

    assert not leaves
    assert outputs
    assert kept.tolist() == list(range(100))
