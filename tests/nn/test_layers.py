"""Layers compute what PyTorch's do, with the same names, shapes, first values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import inkle
from inkle import Tensor, nn
from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.nn import pending
from inkle.nn.state import get_parameters, get_state_dict

RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def copy_to(ours, theirs, torch):
    """Give PyTorch's layer the values of ours; fails if a name or a shape differs."""
    state = get_state_dict(ours)
    assert {name: value.shape for name, value in state.items()} == {
        name: tuple(value.shape) for name, value in theirs.state_dict().items()
    }
    theirs.load_state_dict({name: torch.tensor(value.numpy()) for name, value in state.items()})


def compare(ours, theirs, x, torch, tolerance=1e-4):
    """Compare values and all gradients on one input, in training."""
    copy_to(ours, theirs, torch)
    cotangent = None
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    with inkle.training():
        out = ours(a)
    want = theirs(b)
    cotangent = floats(*out.shape)
    (out * Tensor(cotangent)).sum().backward()
    (want * torch.tensor(cotangent)).sum().backward()
    leaves = get_parameters(ours)
    Tensor.realize(out, a.grad, *(leaf.grad for leaf in leaves))
    np.testing.assert_allclose(out.numpy(), want.detach().numpy(), tolerance, tolerance)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), tolerance, tolerance)
    for leaf, parameter in zip(leaves, theirs.parameters(), strict=True):
        np.testing.assert_allclose(
            leaf.grad.numpy(), parameter.grad.numpy(), tolerance, 10 * tolerance
        )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_linear_is_pytorchs(torch, shape, bias):
    compare(nn.Linear(5, 4, bias=bias), torch.nn.Linear(5, 4, bias=bias), floats(*shape), torch)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1},
        {"stride": (1, 2), "padding": (2, 0), "dilation": (2, 1), "bias": False},
        {"groups": 2, "padding": "same"},
        {"kernel_size": (2, 4), "padding": "same", "dilation": 2},
        {"kernel_size": 1, "padding": "valid"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_conv2d_is_pytorchs(torch, options):
    given = {"kernel_size": 3, **options}

    compare(nn.Conv2d(4, 6, **given), torch.nn.Conv2d(4, 6, **given), floats(2, 4, 9, 8), torch)


def test_layer_norm_is_pytorchs(torch):
    for shape, options in [(6, {}), ((5, 6), {"bias": False}), ([6], {"eps": 0.1})]:
        ours, theirs = nn.LayerNorm(shape, **options), torch.nn.LayerNorm(shape, **options)
        ours.weight.assign(Tensor(floats(*ours.normalized_shape)))

        compare(ours, theirs, floats(3, 5, 6), torch)


def test_layer_norm_without_parameters_has_no_state():
    assert get_state_dict(nn.LayerNorm(6, elementwise_affine=False)) == {}


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 4, 5)])
def test_batch_norm_in_training_is_pytorchs(torch, shape):
    ours, theirs = (
        nn.BatchNorm(3),
        {2: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}.get(len(shape), torch.nn.BatchNorm1d)(3),
    )
    ours.weight.assign(Tensor(floats(3)))

    compare(ours, theirs, floats(*shape), torch)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.3, "eps": 0.1}, {"affine": False}], ids=str)
def test_running_statistics_move_as_pytorchs_do(torch, options):
    ours, theirs = nn.BatchNorm2d(3, **options), torch.nn.BatchNorm2d(3, **options)
    for _ in range(3):
        x = floats(4, 3, 2, 2) * 3 + 1
        with inkle.training():
            ours(Tensor(x))
        theirs(torch.tensor(x))
    theirs.eval()
    x = floats(4, 3, 2, 2)

    got = ours(Tensor(x))

    np.testing.assert_allclose(got.numpy(), theirs(torch.tensor(x)).detach().numpy(), 1e-5, 1e-5)
    for name, value in theirs.state_dict().items():
        mine = get_state_dict(ours)[name]
        assert str(mine.dtype) == str(value.dtype).removeprefix("torch.")
        np.testing.assert_allclose(mine.numpy(), value.numpy(), 1e-5, 1e-6)


def test_without_running_statistics_those_of_the_batch_count_always(torch):
    ours = nn.BatchNorm(3, track_running_stats=False)
    theirs = torch.nn.BatchNorm1d(3, track_running_stats=False).eval()
    x = floats(5, 3)
    copy_to(ours, theirs, torch)

    got = ours(Tensor(x))

    np.testing.assert_allclose(got.numpy(), theirs(torch.tensor(x)).detach().numpy(), 1e-5, 1e-5)


def test_running_statistics_do_not_become_a_chain_without_an_optimiser():
    layer = nn.BatchNorm(2)
    with inkle.training():
        for _ in range(10 * pending.MOST_UPDATES):
            layer(Tensor(floats(3, 2)))

    nodes = layer.running_mean.node.toposort()

    assert len(nodes) < 30 * pending.MOST_UPDATES
    assert layer.num_batches_tracked.item() == 10 * pending.MOST_UPDATES


def test_running_statistics_need_no_gradient():
    layer = nn.BatchNorm(2)
    with inkle.training():
        layer(Tensor(floats(3, 2), requires_grad=True))

    assert not layer.running_mean.requires_grad
    assert get_parameters(layer) == [layer.weight, layer.bias]


def test_one_value_per_channel_has_no_statistics():
    layer = nn.BatchNorm(3)
    x = Tensor(floats(1, 3, 1, 1))

    assert layer(x).shape == (1, 3, 1, 1)
    with (
        inkle.training(),
        pytest.raises(ShapeError, match=r"one value per channel.*\(1, 3, 1, 1\)"),
    ):
        layer(x)


def test_embedding_is_pytorchs(torch):
    ours, theirs = nn.Embedding(7, 3), torch.nn.Embedding(7, 3)
    copy_to(ours, theirs, torch)
    index = np.array([[1, 6, 1], [0, 1, 2]])
    cotangent = floats(2, 3, 3)

    got, want = ours(Tensor(index)), theirs(torch.tensor(index))
    (got * Tensor(cotangent)).sum().backward()
    (want * torch.tensor(cotangent)).sum().backward()

    assert np.array_equal(got.numpy(), want.detach().numpy())
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), 1e-5, 1e-6)


def test_dropout_works_in_training_only():
    x = Tensor(np.ones(10_000, np.float32))
    layer = nn.Dropout(0.25)

    assert layer(x) is x
    with inkle.training():
        got = layer(x).numpy()
    assert set(got) == {0, np.float32(1 / 0.75)}
    assert abs((got == 0).mean() - 0.25) < 0.02


def test_sequential_applies_layers_and_functions_in_order(torch):
    ours = nn.Sequential([nn.Linear(5, 4), Tensor.relu, nn.Linear(4, 3)])
    theirs = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))

    compare(ours, theirs, floats(2, 5), torch)


def test_sequential_is_a_list():
    model = nn.Sequential([Tensor.relu])
    model.append(lambda x: x * 2)

    assert model(Tensor([-1.0, 3.0])).tolist() == [0.0, 6.0]
    assert len(model) == 2


@pytest.mark.parametrize(
    ("make", "name", "bound"),
    [
        (lambda: nn.Linear(100, 400), "weight", 0.1),
        (lambda: nn.Linear(100, 400), "bias", 0.1),
        (lambda: nn.Conv2d(4, 100, 5), "weight", 0.1),
        (lambda: nn.Conv2d(4, 400, 5), "bias", 0.1),
        (lambda: nn.Conv2d(8, 100, 5, groups=2), "weight", 0.1),
    ],
)
def test_weights_start_as_pytorchs_do(make, name, bound):
    values = getattr(make(), name).numpy()

    assert 0.95 * bound < np.abs(values).max() <= bound
    assert abs(values.std() / (bound / 3**0.5) - 1) < 0.1


def test_embeddings_start_normal():
    values = nn.Embedding(100, 100).weight.numpy()

    assert abs(values.mean()) < 0.05
    assert abs(values.std() - 1) < 0.05


def test_the_seed_chooses_the_weights():
    def first():
        inkle.manual_seed(3)
        return nn.Linear(4, 4).weight.numpy()

    assert np.array_equal(first(), first())
    assert not np.array_equal(nn.Linear(4, 4).weight.numpy(), first())


def test_parameters_of_equal_value_stay_apart():
    model = nn.Sequential([nn.LayerNorm(3), nn.LayerNorm(3)])

    model(Tensor(floats(2, 3))).sum().backward()

    grads = [parameter.grad.numpy() for parameter in get_parameters(model)]
    assert not np.allclose(grads[0], grads[2])


def test_a_layer_without_inputs_gives_its_bias():
    got = nn.Linear(0, 3)(Tensor(np.zeros((2, 0), np.float32)))

    assert got.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: nn.Linear(-1, 2), ShapeError, "in_features must be at least 0, got -1"),
        (lambda: nn.Linear(2.5, 2), DTypeError, "in_features must be an integer, got 2.5"),
        (
            lambda: nn.Linear(3, 4)(Tensor(floats(2, 5))),
            ShapeError,
            r"Linear\(3, 4\) needs 3 values along the last axis, got shape \(2, 5\)",
        ),
        (lambda: nn.Linear(3, 4)(Tensor(1.0)), ShapeError, r"got shape \(\)"),
        (lambda: nn.Conv2d(3, 4, 0), ShapeError, "kernel_size must be at least 1, got 0"),
        (lambda: nn.Conv2d(3, 4, (1, 2, 3)), ShapeError, r"one number or 2, got \(1, 2, 3\)"),
        (lambda: nn.Conv2d(3, 4, 1, groups=2), ShapeError, "2 groups must divide the 3 channels"),
        (lambda: nn.Conv2d(3, 4, 1, padding="some"), ValueError, "'same', 'valid'; got 'some'"),
        (
            lambda: nn.Conv2d(3, 4, 3, stride=2, padding="same"),
            ShapeError,
            r"padding 'same' needs stride 1, got \(2, 2\)",
        ),
        (lambda: nn.Conv2d(3, 4, 3)(Tensor(floats(1, 2, 5, 5))), ShapeError, "2 channels"),
        (lambda: nn.BatchNorm(3)(Tensor(floats(3))), ShapeError, r"\(batch, 3, \.\.\.\), got \(3,"),
        (lambda: nn.BatchNorm(3)(Tensor(floats(2, 4))), ShapeError, r"got \(2, 4\)"),
        (lambda: nn.LayerNorm(3)(Tensor(floats(2, 4))), ShapeError, r"\(3,\).*\(2, 4\)"),
        (lambda: nn.Embedding(3, 2)(Tensor([1.0])), DTypeError, "needs integers, got float32"),
        (lambda: nn.Linear(3, 4)(None), DTypeError, "Linear needs a tensor, got NoneType; make"),
        (lambda: nn.Conv2d(3, 4, 3)([1.0]), DTypeError, "Conv2d needs a tensor, got list"),
        (lambda: nn.Embedding(3, 2)([1]), DTypeError, "Embedding needs a tensor, got list"),
        (lambda: nn.BatchNorm(3)(1.0), DTypeError, "BatchNorm needs a tensor, got float"),
        (lambda: nn.LayerNorm(3)("a"), DTypeError, "LayerNorm needs a tensor, got str"),
        (lambda: nn.Dropout(0.5)(2), DTypeError, "Dropout needs a tensor, got int"),
        (lambda: nn.Dropout(1.5), OptionError, "from 0 to 1, got 1.5"),
        (lambda: nn.Dropout(float("nan")), OptionError, "from 0 to 1, got nan"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(action, error, message):
    with pytest.raises(error, match=message):
        action()


def test_layers_take_arrays_of_numpy():
    linear, table = nn.Linear(3, 4), nn.Embedding(5, 2)
    x, rows = floats(2, 3), np.array([[0, 4]])

    assert linear(x).tolist() == linear(Tensor(x)).tolist()
    assert table(rows).tolist() == table(Tensor(rows)).tolist()


def test_captured_batch_norm_moves_its_statistics_at_every_call():
    eager, captured = nn.BatchNorm(3), nn.BatchNorm(3)

    @inkle.jit
    def run(x):
        with inkle.training():
            return captured(x)

    for _ in range(3):
        x = Tensor(floats(4, 3))
        with inkle.training():
            want = eager(x)
        np.testing.assert_allclose(run(x).numpy(), want.numpy(), 1e-5, 1e-6)

    for name, value in get_state_dict(captured).items():
        np.testing.assert_allclose(
            value.numpy(), get_state_dict(eager)[name].numpy(), 1e-6, 1e-6, err_msg=name
        )


def test_captured_dropout_drops_others_at_every_call():
    layer = nn.Dropout(0.5)

    @inkle.jit
    def run(x):
        with inkle.training():
            return layer(x)

    x = Tensor(np.ones(100, np.float32))
    assert run(x).tolist() != run(x).tolist()
