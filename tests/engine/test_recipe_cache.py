"""Schedules on disk: whatever is found there runs as if it had just been made, or is made again."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest

import inkle
from inkle import Context, Tensor, Variable, jit, nn
from inkle.check.generate import random_program
from inkle.engine import build, pipeline, profile, realize, recipe_cache
from inkle.engine.roofline import Peaks
from inkle.errors import InternalError
from inkle.ir import dtype as dt
from inkle.ir import ops, tensor
from inkle.ir.algebra import from_bits
from inkle.ir.node import const
from inkle.ir.size import variable
from inkle.runtime.cpu import llvm
from inkle.runtime.disk_cache import DiskCache
from tests.fuzz.executors import by_engine

ENTRY_NAME = recipe_cache.entry_name  # tests/conftest.py keeps other tests from disk
NEW_ENGINE = llvm._engine.__wrapped__
ENGINES = []  # kept: dropping one would unmap code that somebody may know the address of


class Machine:
    """Where processes start and end, as far as caches can tell.

    Attributes:
        folder: of the cache.
        scheduled: how many graphs have been scheduled since the last start.
    """

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.scheduled = 0
        self._monkeypatch = monkeypatch
        self._schedule = build.schedule
        monkeypatch.setattr(recipe_cache, "entry_name", ENTRY_NAME)
        monkeypatch.setattr(build, "schedule", self.count)
        self.restart()

    def count(self, *args, **options):
        self.scheduled += 1
        return self._schedule(*args, **options)

    def restart(self):
        """Forget all that is in memory."""
        self.scheduled = 0
        engine = NEW_ENGINE()
        ENGINES.append(engine)
        for module, name, value in (
            (realize, "_executables", OrderedDict()),
            (realize, "_graphs", OrderedDict()),
            (pipeline, "_compiled", {}),
            (llvm, "_loaded", {}),
            (llvm, "_engine", lambda: engine),
        ):
            self._monkeypatch.setattr(module, name, value)

    def entries(self):
        """Return the files with schedules."""
        return sorted(self.folder.rglob("*.json"))


@pytest.fixture
def machine(tmp_path, setenv, monkeypatch):
    setenv("INKLE_CACHE", str(tmp_path))
    setenv("INKLE_CHECK", "0")
    return Machine(tmp_path, monkeypatch)


def floats(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- programs -------------------------------------------------------------------------------------


def training_step():
    """Convolution, batch norm, pooling, Adam: state that is written over."""
    inkle.manual_seed(1)
    conv, norm, head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4 * 16, 10)
    parameters = [p for layer in (conv, norm, head) for p in nn.state.get_parameters(layer)]
    optimiser = nn.optim.Adam(parameters, lr=1e-2)

    @jit
    def step(x, y):
        with inkle.training():
            optimiser.zero_grad()
            h = norm(conv(x)).relu().max_pool2d((2, 2)).reshape(-1, 64).dropout(0.2)
            loss = head(h).cross_entropy(y)
            loss.backward()
            optimiser.step()
            return loss

    x, y = Tensor(floats(8, 1, 10, 10)), Tensor(np.arange(8) % 10)
    losses = [step(x, y).item() for _ in range(3)]
    return [*losses, *(p.tolist() for p in parameters)]


def perceptron():
    """State that is written over: a schedule with donations."""
    inkle.manual_seed(3)
    first, second = nn.Linear(8, 16), nn.Linear(16, 1)
    parameters = [p for layer in (first, second) for p in nn.state.get_parameters(layer)]
    optimiser = nn.optim.SGD(parameters, lr=0.1)

    @jit
    def step(x):
        optimiser.zero_grad()
        loss = second(first(x).relu()).square().mean()
        loss.backward()
        optimiser.step()
        return loss

    x = Tensor(floats(4, 8))
    losses = [step(x).item() for _ in range(4)]
    return [*losses, *(p.tolist() for p in parameters)]


def eager_gradients():
    w = Tensor(floats(6, 6)).requires_grad_()
    (Tensor(floats(4, 6, seed=1)) @ w).tanh().square().mean().backward()
    return w.grad.tolist()


def recurrent():
    """A loop over time: launches that move from row to row."""
    w = Tensor(floats(5, 5)).requires_grad_()
    last, rows = inkle.scan(
        lambda h, x: ((h @ w + x).tanh(), h), Tensor(np.zeros((2, 5), "f")), Tensor(floats(7, 2, 5))
    )
    (last.sum() + rows.sum()).backward()
    return [last.tolist(), rows.tolist(), w.grad.tolist()]


def symbolic():
    """Integers and chunks that are known at launch only."""
    n = Variable("n", 1, 300)
    step = jit(lambda x: ((x @ x.T).softmax(-1).sum(0), x[::2] * x.shape[0]), sizes={"x": {0: n}})
    found = [step(Tensor(floats(size, 16, seed=size))) for size in (300, 7, 128)]
    assert step.stats().traces == 1
    return [[each.tolist() for each in pair] for pair in found]


def mutation():
    x = Tensor(np.arange(12, dtype=np.float32)).reshape(3, 4)
    before = x.sum()
    x[1] = x[0] * 2
    x[:, 1:3] += 10
    return [x.tolist(), before.item(), x[::-1].tolist()]


def random_state():
    inkle.manual_seed(7)
    draw = jit(lambda: Tensor.rand(5))
    return [draw().tolist(), draw().tolist(), Tensor.randn(3).tolist()]


def several_kinds():
    """Integers, bools, 16-bit floats, an output that is an input, one that is there twice."""
    x = Tensor(np.arange(20)).realize()
    step = jit(lambda x: (x, x > 3, (x * 2).cast("bfloat16"), x * 2, x * 2))
    return [each.tolist() for each in step(x)]


def attention():
    """A chain of kernels by blocks of rows."""
    q, k, v = [Tensor(floats(1500, 16, seed=seed)) for seed in range(3)]
    return ((q @ k.T).softmax(-1) @ v).sum(0).tolist()


PROGRAMS = {
    program.__name__: program
    for program in (
        training_step, perceptron, eager_gradients, recurrent, symbolic, mutation, random_state,
        several_kinds, attention,
    )
}  # fmt: skip


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(program, id=name, marks=[pytest.mark.slow] * (program is training_step))
        for name, program in PROGRAMS.items()
    ],
)
def test_a_schedule_from_disk_computes_the_same_bits(program, machine):
    first = program()
    made = machine.scheduled
    machine.restart()

    second = program()

    assert made > 0
    assert machine.scheduled == 0
    assert repr(first) == repr(second)


def test_random_programs_from_disk_compute_the_same_bits(machine):
    programs = [random_program(seed) for seed in range(30)]

    first = [by_engine(each.outputs, each.leaves) for each in programs]
    machine.restart()
    second = [by_engine(each.outputs, each.leaves) for each in programs]

    assert machine.scheduled == 0
    for mine, theirs in zip(first, second, strict=True):
        assert [each.tobytes() for each in mine] == [each.tobytes() for each in theirs]


@pytest.mark.slow
def test_limits_of_memory_are_other_schedules(machine):
    def run():
        weights = [Tensor(floats(64, 64, seed=i)).requires_grad_() for i in range(6)]

        @jit
        def step(x):
            for w in weights:
                x = (x @ w).gelu()
            x.sum().backward()
            return [w.grad for w in weights]

        step(Tensor(floats(256, 64)))
        return step.memory_report().needed_bytes

    free = run()
    with Context(INKLE_MEMORY_LIMIT=free - 60_000):
        tight = run()
        machine.restart()
        again = run()

    assert tight < free
    assert again == tight
    assert machine.scheduled == 1  # for the report


# --- the name of an entry -------------------------------------------------------------------------

X = tensor.param(0, dt.float32, (4, 6))
BITS = [from_bits(bits, dt.float64) for bits in (0, 1 << 63, 0x7FF8 << 48, (0x7FF8 << 48) + 1)]
GRAPHS = [
    (X + 1.0,), (X + 2.0,), (X * 1.0,), (X + 1.0, X), (X, X + 1.0),
    (X.cast(dt.float16) + 1.0,), (tensor.param(1, dt.float32, (4, 6)) + 1.0,),
    (tensor.param(0, dt.float32, (6, 4)) + 1.0,), (tensor.reduce(X, ops.ADD, (0,)),),
    (tensor.reduce(X, ops.ADD, (1,)),), (tensor.reduce(X, ops.MUL, (1,)),),
    *[(tensor.param(0, dt.float64, (4,)) + const(value, dt.float64),) for value in BITS],
    *[(const(1, dtype),) for dtype in (dt.int32, dt.bool_, dt.float32, dt.int64)],
    *[
        (tensor.param(0, dt.int8, (variable(name, 1, most), 2)) + 1,)
        for name, most in (("n", 8), ("n", 9), ("m", 8))
    ],
]  # fmt: skip


def test_every_graph_has_a_name_of_its_own(machine):
    names = {ENTRY_NAME(graph, (), 0) for graph in GRAPHS}

    assert len(names) == len(GRAPHS)
    assert names == {ENTRY_NAME(graph, (), 0) for graph in GRAPHS}


def test_whatever_decides_what_is_compiled_is_in_the_name(machine, monkeypatch):
    graph = (X + 1.0,)

    def name(donated=(), limit=0, **settings):
        with Context(**settings):
            return ENTRY_NAME(graph, donated, limit)

    names = [
        name(), name(((0, 0),)), name(((0, 1),)), name((), 1 << 20),
        name(INKLE_THREADS=5), name(INKLE_THREADS=7), name(INKLE_TARGET="sse"),
    ]  # fmt: skip
    monkeypatch.setattr(recipe_cache, "_digest_of_sources", lambda: "of another version")
    names.append(name())
    monkeypatch.setattr(llvm, "CACHE_FORMAT", -1)
    names.append(name())

    assert None not in names
    assert len(set(names)) == len(names)


def test_sources_that_have_changed_since_they_were_loaded_say_nothing(machine, monkeypatch):
    monkeypatch.setattr(recipe_cache, "_LOADED", 0.0)
    recipe_cache._digest_of_sources.cache_clear()
    try:
        name = ENTRY_NAME((X + 1.0,), (), 0)
        (Tensor([1.0]) + 1).tolist()
    finally:
        monkeypatch.undo()
        recipe_cache._digest_of_sources.cache_clear()

    assert name is None
    assert machine.entries() == []


# --- entries that are of no use -------------------------------------------------------------------


def compute():
    return (Tensor(floats(9, 7)) @ Tensor(floats(7, 5, seed=1))).softmax(-1).tolist()


def nothing(content):
    return b""


def half(content):
    return content[: len(content) // 2]


def flipped(content):
    return content[:200] + bytes([content[200] ^ 4]) + content[201:]


def older(content):
    return b"inkle1" + content[6:]


def longer(content):
    return content + b"]"


@pytest.mark.parametrize("damage", [nothing, half, flipped, older, longer])
@pytest.mark.parametrize("suffix", [".json", ".o"])
def test_a_damaged_entry_is_made_again(machine, damage, suffix):
    wanted = compute()
    files = [path for path in machine.folder.rglob("*") if path.suffix == suffix]
    for path in files:
        path.write_bytes(damage(path.read_bytes()))
    machine.restart()

    assert compute() == wanted
    assert machine.scheduled == 1

    machine.restart()

    assert compute() == wanted
    assert machine.scheduled == 0


def test_a_schedule_whose_kernels_are_gone_is_made_again(machine):
    wanted = compute()
    for path in machine.folder.rglob("*.o"):
        path.unlink()
    machine.restart()

    assert compute() == wanted
    assert machine.scheduled == 1


def test_an_entry_with_the_name_of_another_is_made_again(machine):
    wanted = compute()
    (mine,) = machine.entries()
    (Tensor([1.0, 2.0]) * 3).tolist()
    (other,) = {*machine.entries()} - {mine}
    os.replace(other, mine)
    machine.restart()

    assert compute() == wanted
    assert machine.scheduled == 1


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff", b"[]", b"{}", b'{"Recipe":[]}', b'{"Recipe":[1,2,3]}', b'{"Popen":["ls"]}',
        b'{"Size":["outputs"]}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_an_entry_that_is_no_schedule_is_made_again_and_said_so(machine, content, caplog):
    wanted = compute()
    (entry,) = machine.entries()
    DiskCache(entry.parent).put(entry.name, content)
    machine.restart()

    assert compute() == wanted
    assert machine.scheduled == 1
    assert [record.message[:12] for record in caplog.records] == ["the schedule"]


# --- who is not to look there ---------------------------------------------------------------------


def test_checked_mode_makes_everything_anew_and_keeps_nothing(machine):
    with Context(INKLE_CHECK=True):
        compute()
        kept = machine.entries()
        machine.restart()
        compute()

    assert kept == []
    assert machine.scheduled == 1


def test_checked_mode_finds_what_does_not_read_back(monkeypatch):
    read = recipe_cache.from_json
    monkeypatch.setattr(recipe_cache, "from_json", lambda text: replace(read(text), slots=99))

    with pytest.raises(InternalError, match="another one once it is read"):
        (Tensor([1.0]) * 1234.75).tolist()


def test_whoever_wants_the_forms_of_kernels_gets_them(machine, tmp_path):
    compute()
    machine.restart()
    with Context(INKLE_DUMP=tmp_path / "forms"):
        compute()

    assert machine.scheduled == 1
    assert len([*(tmp_path / "forms").iterdir()]) >= 2


# --- what people ask ------------------------------------------------------------------------------


def test_a_schedule_from_disk_is_explained_like_any_other(machine, capsys, monkeypatch):
    monkeypatch.setattr(profile, "peaks", lambda: Peaks(1e11, ((1 << 30, 1e10),)))

    with Context(INKLE_EXPLAIN=True):
        compute()
        first = capsys.readouterr().err
        machine.restart()
        compute()
        second = capsys.readouterr().err

    assert "test_recipe_cache.py" in first
    assert first == second
    assert len(machine.entries()) == 1


def test_memory_of_a_schedule_from_disk_is_reported(machine):
    def report():
        step = jit(lambda x: (x @ x).softmax(-1) @ x)
        step(Tensor(floats(300, 300)))
        return str(step.memory_report())

    first = report()
    machine.restart()

    assert report() == first
    assert "test_recipe_cache.py" in first


def test_a_schedule_that_is_another_one_now_is_found_when_it_is_explained(machine):
    compute()
    (entry,) = machine.entries()
    store = DiskCache(entry.parent)
    other = json.loads(store.get(entry.name))
    other["Recipe"][3] += 1  # a longer table of slots
    store.put(entry.name, json.dumps(other).encode())
    machine.restart()

    with pytest.raises(InternalError, match="another one"), Context(INKLE_EXPLAIN=True):
        compute()


# --- the bound ------------------------------------------------------------------------------------


def test_schedules_and_kernels_together_stay_within_the_bound(machine, monkeypatch):
    cache = DiskCache(machine.folder / "small", limit_bytes=60_000)
    monkeypatch.setattr(recipe_cache, "cache_in_force", lambda: cache)
    monkeypatch.setattr(llvm, "cache_in_force", lambda: cache)
    x = Tensor([1.0, 2.0]).realize()

    for number in range(1, 30):
        assert (x * number + x).tolist() == [number + 1, 2 * number + 2]
        used = sum(path.stat().st_size for path in cache.folder.iterdir())
        assert used <= 60_000
    machine.restart()

    assert (x * 29 + x).tolist() == [30, 60]
    assert machine.scheduled == 0
    assert (x * 1 + x + x).tolist() == [3, 6]
