"""Captured functions in files."""

from __future__ import annotations

import collections
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from inkle import (
    Context,
    Tensor,
    jit,
    load_captured,
    manual_seed,
    nn,
    save_captured,
    training,
)
from inkle.errors import DataError, FormatError, GradientError, StateError, TraceError
from inkle.nn.formats import safetensors

Pair = collections.namedtuple("Pair", "a b")


class Net:
    def __init__(self):
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 3)

    def __call__(self, x):
        return self.second(self.first(x).relu())


def make_training():
    manual_seed(0)
    net = Net()
    optimizer = nn.optim.Adam(nn.state.get_parameters(net), lr=0.01)

    @jit
    def step(x, y):
        optimizer.zero_grad()
        loss = net(x).cross_entropy(y)
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    return net, step


def batch(number):
    rng = np.random.default_rng(number)
    return Tensor(rng.normal(size=(4, 8)).astype(np.float32)), Tensor(rng.integers(0, 3, 4))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "function.safetensors"


@pytest.fixture
def x():
    return Tensor([1.0, 2.0])


def stored(function, path, *calls, **options):
    """Return the function after it has been called, saved and loaded."""
    for args in calls:
        function(*args)
    save_captured(function, path, **options)
    return load_captured(path)


# --- what works -----------------------------------------------------------------------------------


def test_training_goes_on_in_a_fresh_process_without_the_source(path, tmp_path):
    net, step = make_training()
    for i in range(3):
        step(*batch(i))
    save_captured(step, path, state=net)
    for i in range(3, 6):
        np.savez(tmp_path / f"{i}.npz", *[each.numpy() for each in batch(i)])
    program = """if True:
        import sys
        import numpy as np
        from inkle import Tensor, load_captured
        step = load_captured(sys.argv[1] + "/function.safetensors")
        for i in range(3, 6):
            with np.load(f"{sys.argv[1]}/{i}.npz") as data:
                print(step(*[Tensor(data[name]) for name in data])["loss"].item())
        print(step.state["first.weight"].grad.shape)
        """

    found = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.split("\n", 3)

    expected = [step(*batch(i))["loss"].item() for i in range(3, 6)]
    assert [float(each) for each in found[:3]] == expected
    assert found[3] == "(16, 8)\n"


def test_loaded_function_owns_its_state_and_can_be_saved_again(path):
    net, step = make_training()
    first = stored(step, path, batch(0), state=net)
    before = net.first.weight.tolist()

    first(*batch(1))
    second = stored(first, path)

    assert net.first.weight.tolist() == before
    assert list(second.state)[:4] == list(nn.state.get_state_dict(net))
    step(*batch(1))
    for name, tensor in nn.state.get_state_dict(net).items():
        assert second.state[name].tolist() == tensor.tolist()
        assert second.state[name].requires_grad
    assert second(*batch(2))["loss"].item() == step(*batch(2))["loss"].item()


def test_weights_that_lie_in_another_file(path, tmp_path):
    net = Net()
    forward = jit(lambda x: net(x))
    weights = tmp_path / "weights.safetensors"
    nn.state.safe_save(nn.state.get_state_dict(net), weights)

    loaded = stored(forward, path, batch(0)[:1], state=net, weights=weights)

    assert path.stat().st_size < weights.stat().st_size + 4000
    assert safetensors.load(path) == {}
    assert loaded(batch(1)[0]).tolist() == forward(batch(1)[0]).tolist()
    (tmp_path / "moved").mkdir()
    weights.rename(tmp_path / "moved" / "w")
    with pytest.raises(DataError, match="weights"):
        load_captured(path)
    assert load_captured(path, weights=tmp_path / "moved" / "w").state.keys() == loaded.state.keys()
    state = nn.state.get_state_dict(net)
    nn.state.safe_save({**state, "first.bias": state["first.bias"] + 1}, weights)
    with pytest.raises(StateError, match=r"'first.bias' does not have the values"):
        load_captured(path)
    with pytest.raises(StateError, match=r"other values of 'first.bias'"):
        save_captured(forward, path, state=net, weights=weights)
    nn.state.safe_save({"first.weight": state["first.weight"]}, weights)
    with pytest.raises(StateError, match=r"no tensor '\w+\.\w+'"):
        load_captured(path)


def test_arguments_and_results_of_all_kinds(path, x):
    @jit
    def work(x, flag, *, scale=2.0, parts=()):
        return {"a": [x * scale, -0.0, None], 1: (sum(parts, x), flag, b"\xff", "é\ud800", 1j)}

    work(x, True, scale=3.0, parts=[x + 1, x * 2])
    loaded = stored(work, path, (x, True), (x, 1))

    for args, kwargs in (((x, True), {}), ((x, 1), {}),
                         ((x, True), {"scale": 3.0, "parts": [x * 5, x * 2]})):  # fmt: skip
        found, expected = loaded(*args, **kwargs), work(*args, **kwargs)
        assert str(found) == str(expected)
        assert type(found[1][1]) is type(args[1])
    for args, kwargs in (((x, False), {}), ((x, True), {"scale": 3.0, "parts": [x, x]})):
        with pytest.raises(TraceError, match=r"no capture .* fits .*\(2,\) float32.*there are"):
            loaded(*args, **kwargs)


def test_same_tensor_twice_is_another_signature(path, x):
    both = jit(lambda a, b: a * b)
    loaded = stored(both, path, (x, x), (x, x + 1))

    assert loaded(x, x).tolist() == [1.0, 4.0]
    assert loaded(x, x + 1).tolist() == [2.0, 6.0]


def test_arguments_and_closed_over_tensors_that_are_assigned(path, x):
    count = Tensor([0.0, 0.0])

    @jit
    def step(x):
        count.assign(count + x)
        x.assign(x * 2)
        return count * 10

    loaded = stored(step, path, (Tensor([1.0, 2.0]),), state={"count": count})
    argument = Tensor([1.0, 2.0])

    assert loaded(argument).tolist() == [20.0, 40.0]
    assert argument.tolist() == [2.0, 4.0]
    assert (loaded.state["count"].tolist(), count.tolist()) == ([2.0, 4.0], [1.0, 2.0])
    loaded.state["count"].assign(Tensor([100.0, 100.0]))
    assert loaded(argument).tolist() == [1020.0, 1040.0]


def test_constants_dtypes_and_empty_tensors(path):
    table = Tensor(np.arange(12).reshape(3, 4)).cast("bfloat16").realize()
    empty = Tensor(np.zeros((0, 3), np.float32))
    mask = Tensor([True, False, True])

    @jit
    def work(i):
        made = Tensor(np.array([5, 6, 7], np.int16))
        return table[i].cast("float32"), empty.sum(0), mask.where(made, -made), empty * 2

    loaded = stored(work, path, (Tensor([0, 2]),))

    index = Tensor([1, 1])
    for found, expected in zip(loaded(index), work(index), strict=True):
        assert (found.tolist(), found.dtype) == (expected.tolist(), expected.dtype)


def test_random_numbers_come_from_the_stream_of_the_program(path, x):
    noisy = jit(lambda x: x + Tensor.rand(2))
    loaded = stored(noisy, path, (x,))

    manual_seed(3)
    expected = [noisy(x).tolist() for _ in range(2)]
    manual_seed(3)

    assert [loaded(x).tolist() for _ in range(2)] == expected


def test_training_mode_is_part_of_the_signature(path):
    drop = nn.Dropout(0.5)
    both = jit(lambda x: drop(x))
    x = Tensor.ones(64)
    with training():
        both(x)
    loaded = stored(both, path)

    with training():
        assert 0.0 in loaded(x).tolist()
    with pytest.raises(TraceError, match="training=True"):
        loaded(x)


def test_what_was_hoisted_is_computed_anew(path):
    w = Tensor(np.arange(2048, dtype=np.float32).reshape(64, 32)).realize()
    forward = jit(lambda x: x @ w.T.contiguous())
    x = Tensor.ones(2, 32)
    loaded = stored(forward, path, (x,), state={"w": w})

    assert loaded(x).tolist() == forward(x).tolist()
    loaded.state["w"].assign(w * 2)
    assert loaded(x).tolist() == (x @ (w * 2).T).tolist()


def test_no_gradient_flows_through_a_loaded_function(path, x):
    weight = Tensor([2.0, 3.0], requires_grad=True)
    loaded = stored(jit(lambda x: x * weight), path, (x,))

    with pytest.raises(GradientError, match="captured function"):
        loaded(x).sum().backward()
    with pytest.raises(TraceError, match="with leaf"):
        loaded(Tensor([1.0, 2.0], requires_grad=True))


def test_loaded_function_inside_of_a_capture_is_refused(path, x):
    loaded = stored(jit(lambda x: x * 2), path, (x,))

    with pytest.raises(TraceError, match="call it outside"):
        jit(lambda x: loaded(x))(x)


# --- what cannot be saved -------------------------------------------------------------------------


def test_what_cannot_be_saved_says_why(path, x):
    weight = Tensor([2.0, 3.0], requires_grad=True)
    seen = []

    def accumulate(x):
        (x * weight).sum().backward()

    def look(x):
        return x * weight if weight.detach().sum().item() > 0 else x

    for function, args, message in (
        (lambda x: x, None, "no capture of it as it is now; call it"),
        (lambda x: (seen.append(1), x)[1], (x,), "no capture .* not kept: it changes"),
        (accumulate, (x,), r"gradients that an earlier call .* zero_grad"),
        (look, (x,), "looked at the value of a tensor"),
        (lambda net, x: net(x), (Net(), batch(0)[0]), "arguments are not only tensors"),
        (lambda p: p.a, (Pair(x, x),), "there is a Pair"),
        (lambda x: Pair(x, x), (x,), "there is a Pair"),
        (lambda x: type("Mine", (Tensor,), {})._of(x.node * 2, "CPU"), (x,), "returns a Mine"),
        (lambda x: ((x * x).sum().backward(), None)[1], (Tensor([1.0], requires_grad=True),),
         "gradient of an argument"),
    ):  # fmt: skip
        captured = jit(function)
        if args is not None:
            captured(*args)
        with pytest.raises(TraceError, match=message):
            save_captured(captured, path)
        assert not path.exists()
    with pytest.raises(TraceError, match="made by jit"):
        save_captured(accumulate, path)


def test_capture_of_another_environment_is_not_saved(path, x):
    factor = 2
    scale = jit(lambda x: x * factor)
    scale(x)
    factor = 3

    with pytest.raises(TraceError, match="as it is now"):
        save_captured(scale, path)
    assert stored(scale, path, (x,))(x).tolist() == [3.0, 6.0]


def test_path_that_cannot_be_written(tmp_path, x):
    scale = jit(lambda x: x * 2)
    scale(x)

    with pytest.raises(DataError, match="missing"):
        save_captured(scale, tmp_path / "missing" / "f")


# --- bad files ------------------------------------------------------------------------------------


def test_files_that_are_none_or_others(path, tmp_path, x):
    with pytest.raises(DataError, match="No such file"):
        load_captured(path)
    path.write_bytes(b"hello")
    with pytest.raises(FormatError, match="no safetensors file"):
        load_captured(path)
    nn.state.safe_save({"a": x}, path)
    with pytest.raises(FormatError, match="no captured function is in it"):
        load_captured(path)


def test_every_truncation_is_noticed(path):
    _, step = make_training()
    stored(step, path, batch(0))
    content = path.read_bytes()

    for length in [*range(0, len(content), 997), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(FormatError):
            load_captured(path)


def test_every_changed_byte_is_noticed(path, x):
    weight = Tensor([3.0, 4.0]).realize()
    stored(jit(lambda x: x * weight), path, (x,))
    content = path.read_bytes()
    rng = np.random.default_rng(0)

    for place in [*rng.integers(len(content), size=150), *range(len(content) - 8, len(content))]:
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            found = load_captured(path)
        except FormatError:
            continue
        assert found(x).tolist() == [3.0, 8.0]  # the name of a tensor, which nothing depends on


def forge(path, change, **metadata):
    """Change the program in a file, with the right checksum."""
    old = safetensors.read_header(path).metadata
    content = json.loads(old["program"])
    change(content)
    text = json.dumps(content)
    new = {**old, "program": text, "sha256": hashlib.sha256(text.encode()).hexdigest(), **metadata}
    safetensors.save(path, safetensors.load(path), new)


def test_another_version_is_refused(path, x):
    stored(jit(lambda x: x * 2), path, (x,))
    forge(path, lambda content: None, version="99")

    with pytest.raises(FormatError, match=r"version '99'.*reads version 1"):
        load_captured(path)


GRAPH = "%0 = param:float32[2] (0, (2,))\n{}\noutputs %1\n"
FORGERIES = {
    "no graph": {"graph": "hello"},
    "no node": {"graph": "%0 = nothing:float32[2] 3\noutputs %0\n"},
    "memory from elsewhere": {"graph": "%0 = buffer:float32[2] (99999, (2,))\noutputs %0\n"},
    "a value known at launch": {
        "graph": GRAPH.format("%9 = variable:index ('n', 1, 2)\n%1 = neg:float32[2] %0")
    },
    "a size known at launch": {
        "graph": "%9 = variable:index ('n', 1, 2)\n"
        + GRAPH.format("%1 = slice:float32[#9] %0 ((0, #9, 1),)")
    },
    "a wrong shape": {"graph": GRAPH.format("%1 = tan:float32[2000000] %0")},
    "a larger parameter": {
        "graph": "%0 = param:float32[2000000] (0, (2000000,))\n%1 = neg:float32[2000000] %0\n"
        "outputs %1\n"
    },
    "a wrong dtype": {"graph": GRAPH.format("%1 = tan:float64[2] %0")},
    "an operation of kernels": {"graph": GRAPH.format("%1 = load:float32 %0")},
    "a slice that ends outside": {"graph": GRAPH.format("%1 = slice:float32[9] %0 ((0, 9, 1),)")},
    "a parameter that nothing fills": {
        "graph": "%0 = param:float32[2] (7, (2,))\n%1 = neg:float32[2] %0\noutputs %1\n"
    },
    "deep nesting": {"graph": GRAPH.format("%1 = neg:float32[2] %0 " + "(" * 100_000)},
    "too many results": {
        "graph": GRAPH.format("%1 = neg:float32[2] %0").replace("s %1", "s %1 %1")
    },
    "a source that is none": {"sources": [["argument", 5]]},
    "a source of another kind": {"sources": [["file", "/etc/passwd"]]},
    "a tensor that is not there": {"sources": [["tensor", "w"]]},
    "numbers of draws": {"sources": [["random", 1]]},
    "a kind that is none": {"kinds": [[[-1], "float32", ""]]},
    "another kind": {"kinds": [[[3], "float32", ""]]},
    "a slot that is none": {"result": ["tensor", 4]},
    "a value that is none": {"result": ["code", "print()"]},
    "gradients of nothing": {"grads": [["w", False]]},
    "assignment to nothing": {"assigned": [["argument", 3]]},
    "assignment to an argument": {"assigned": [["argument", 0]]},
    "nothing": {"kinds": None},
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_programs_are_refused(name, path, x):
    stored(jit(lambda x: -x), path, (x,))
    forge(path, lambda content: content["captures"][0].update(FORGERIES[name]))

    with pytest.raises(FormatError, match=r"function\.safetensors: "):
        load_captured(path)


@pytest.mark.parametrize("content", [[], {}, {"captures": 3}, {"captures": [], "tensors": None}])
def test_programs_of_another_form_are_refused(content, path, x):
    stored(jit(lambda x: -x), path, (x,))
    text = json.dumps(content)
    old = safetensors.read_header(path).metadata
    new = {**old, "program": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    safetensors.save(path, {}, new)

    with pytest.raises(FormatError, match="no valid captured function"):
        load_captured(path)


def test_indices_are_checked_in_loaded_functions_too(path):
    table = Tensor([1.0, 2.0, 3.0])
    loaded = stored(jit(lambda i: table[i] * 2), path, (Tensor([1]),))

    assert loaded(Tensor([2])).tolist() == [6.0]
    with pytest.raises(IndexError, match="out of range"):
        loaded(Tensor([3]))
    with Context(INKLE_CHECK=False):
        assert load_captured(path)(Tensor([3])).tolist() == [0.0]
