"""Captured functions that fit a limit compute the same, bit for bit; and memory reports."""

import copy
import pickle

import numpy as np
import pytest

import inkle
from inkle import Context, Tensor, jit, nn
from inkle.errors import InkleError, MemoryFailure, OptionError

WIDTH = 64


def increased(x):
    return x + 1


class Perceptron:
    """Layers with dropout: random numbers take part."""

    def __init__(self):
        self.layers = [nn.Linear(WIDTH, WIDTH) for _ in range(8)]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x).gelu().dropout(0.2)
        return x


class Convolutions:
    """Batch norm: running statistics are assigned."""

    def __init__(self):
        self.layers = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(5)]
        self.norms = [nn.BatchNorm2d(4) for _ in range(5)]

    def __call__(self, x):
        x = x.reshape(-1, 4, 4, 4)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(layer(x)).relu()
        return x.reshape(-1, WIDTH)


class Attention:
    """Rows with softmax, and layer norm."""

    def __init__(self):
        self.layers = [[nn.Linear(WIDTH, WIDTH) for _ in range(3)] for _ in range(3)]
        self.norm = nn.LayerNorm(WIDTH)

    def __call__(self, x):
        for layer in self.layers:
            q, k, v = (each(self.norm(x)) for each in layer)
            x = x + q.scaled_dot_product_attention(k, v)
        return x


class Recurrent:
    """A loop over time between layers."""

    def __init__(self):
        self.into, self.step, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def __call__(self, x):
        def step(h, x):
            h = (self.step(h) + x).tanh()
            return h, h * 2

        for layer in (self.into, self.out, self.into):
            x = layer(x).gelu()
        _, y = inkle.scan(step, Tensor.zeros(8, WIDTH), x.reshape(16, 8, WIDTH))
        return self.out(y.reshape(-1, WIDTH)).gelu()


def training(model, optimiser, x):
    def step(y):
        with inkle.training():
            optimiser.zero_grad()
            loss = ((model(x * 1.5) - y) ** 2).mean()
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        return loss

    return step


def trained(kind, optimiser, limit=None, steps=3):
    """Return the losses and the state after some steps, and the captured step."""
    inkle.manual_seed(0)
    model = kind()
    x = Tensor(np.random.default_rng(0).normal(size=(128, WIDTH)).astype(np.float32))
    y = Tensor(np.random.default_rng(1).normal(size=(128, WIDTH)).astype(np.float32))
    step = jit(training(model, optimiser(nn.state.get_parameters(model)), x), memory_limit=limit)
    losses = [step(y).numpy().tobytes() for _ in range(steps)]
    state = nn.state.get_state_dict(model)
    return losses, {name: each.numpy().tobytes() for name, each in state.items()}, step


OPTIMISERS = {"sgd": lambda p: nn.optim.SGD(p, lr=0.01), "adam": lambda p: nn.optim.Adam(p)}


@pytest.mark.parametrize("optimiser", [*OPTIMISERS])
@pytest.mark.parametrize("kind", [Perceptron, Convolutions, Attention, Recurrent])
def test_a_limit_does_not_change_a_bit(kind, optimiser):
    losses, state, step = trained(kind, OPTIMISERS[optimiser])
    whole = step.memory_report()

    limit = int(whole.needed_bytes * 0.75)
    limited, limited_state, again = trained(kind, OPTIMISERS[optimiser], limit)

    found = again.memory_report()
    assert found.needed_bytes <= limit
    assert found.kernels > whole.kernels
    assert limited == losses
    assert limited_state == state


def test_a_limit_that_cannot_be_met_leaves_everything_as_it_was():
    model = Perceptron()
    before = {k: v.numpy().copy() for k, v in nn.state.get_state_dict(model).items()}
    x = Tensor(np.ones((128, WIDTH), np.float32))
    step = training(model, nn.optim.SGD(nn.state.get_parameters(model), lr=0.1), x)
    inkle.manual_seed(5)
    expected = Tensor.rand(4).numpy()
    inkle.manual_seed(5)

    with pytest.raises(MemoryFailure, match=r"test_memory_limit.py:\d+: a memory limit of 1000 b"):
        jit(step, memory_limit=1000)(x)

    np.testing.assert_array_equal(Tensor.rand(4).numpy(), expected)
    for name, each in nn.state.get_state_dict(model).items():
        np.testing.assert_array_equal(each.numpy(), before[name])
    assert jit(step)(x).item() > 0


def test_the_setting_holds_for_what_is_not_captured():
    x = Tensor(np.ones((256, 256), np.float32)).realize()

    with Context(INKLE_MEMORY_LIMIT="100 KB"), pytest.raises(MemoryFailure, match=r"97.7 KiB"):
        (x + 1).realize()

    assert (x + 1).sum().item() == 2 * 256 * 256


def test_another_limit_is_another_capture():
    double = jit(lambda x: x * 2)
    x = Tensor([1.0])
    double(x)

    with Context(INKLE_MEMORY_LIMIT="1GB"):
        double(x)

    assert "INKLE_MEMORY_LIMIT" in double.explain()


def test_methods_and_copies_keep_their_limit():
    class Model:
        @jit(memory_limit=64)
        def call(self, x):
            return x + 1

    x = Tensor(np.ones(1000, np.float32))

    with pytest.raises(MemoryFailure):
        Model().call(x)
    with pytest.raises(MemoryFailure):
        copy.copy(jit(lambda x: x + 1, memory_limit=64))(x)
    with pytest.raises(MemoryFailure):
        jit(jit(lambda x: x + 1), memory_limit=64)(x)
    with pytest.raises(MemoryFailure):
        pickle.loads(pickle.dumps(jit(increased, memory_limit=64)))(x)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "much", "2 QB", "0"])
def test_what_is_no_size_is_refused_at_once(limit):
    with pytest.raises(OptionError, match=f"memory_limit={limit!r}"):
        jit(lambda x: x, memory_limit=limit)


def test_a_report_names_shapes_types_and_lines():
    w = Tensor(np.ones((32, 1000), np.float32)).realize()

    @jit
    def f(x):
        scores = x @ w
        return scores.softmax(-1) @ w.transpose(0, 1)

    with pytest.raises(InkleError, match="call the function first"):
        f.memory_report()
    f(Tensor(np.ones((8, 32), np.float32)))
    report = f.memory_report()

    assert report.values[0].shape == (8, 1000)
    assert report.values[0].dtype.name == "float32"
    assert report.values[0].role == "temporary"
    assert "test_memory_limit.py" in report.values[0].line
    assert report.result_bytes == 8 * 32 * 4
    assert report.needed_bytes >= report.peak_bytes >= 8 * 1000 * 4
    assert "float32 (8, 1000)  test_memory_limit.py" in str(report)


def test_a_report_of_a_function_that_computes_nothing():
    f = jit(lambda x: x)
    f(Tensor([1.0]))

    assert f.memory_report().needed_bytes == 0


def test_memory_in_use_is_known():
    before = inkle.memory_report().live_bytes
    x = Tensor(np.ones(1 << 20, np.float32)) + 1
    x.realize()

    report = inkle.memory_report()

    assert report.live_bytes >= before + (4 << 20)
    assert report.peak_bytes >= report.live_bytes
    assert "in use, at most" in str(report)
