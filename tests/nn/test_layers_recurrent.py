"""Recurrent layers and cells are PyTorch's: outputs, last states and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import inkle
from inkle import Tensor, nn
from inkle.errors import DTypeError, OptionError, ShapeError
from tests.nn.comparing import compare, floats

KINDS = ["RNN", "LSTM", "GRU"]


def layers(torch, name, *sizes, **options):
    theirs = getattr(torch.nn, name)(*sizes, **options)
    return getattr(nn, name)(*sizes, **options), theirs


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "bias": False, "batch_first": True},
        pytest.param({"num_layers": 2, "bidirectional": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_layers_are_pytorchs(torch, name, options):
    ours, theirs = layers(torch, name, 3, 5, **options)

    compare(ours, theirs, torch, floats(4, 2, 3))


@pytest.mark.parametrize("name", KINDS)
def test_layers_begin_with_a_given_state(torch, name):
    ours, theirs = layers(torch, name, 3, 5, num_layers=2)
    state = floats(2, 4, 5)

    compare(
        ours, theirs, torch, floats(6, 4, 3), (state, floats(2, 4, 5)) if name == "LSTM" else state
    )


@pytest.mark.parametrize("name", KINDS)
def test_layers_take_one_sequence_without_a_batch(torch, name):
    ours, theirs = layers(torch, name, 3, 5, batch_first=True)

    compare(ours, theirs, torch, floats(6, 3))


def test_rnn_with_relu_is_pytorchs(torch):
    compare(*layers(torch, "RNN", 3, 5, nonlinearity="relu"), torch, floats(6, 4, 3))


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("shape", [(4, 3), (3,)])
def test_cells_are_pytorchs(torch, name, shape):
    ours, theirs = layers(torch, name, 3, 5)
    state = floats(*shape[:-1], 5)

    compare(ours, theirs, torch, floats(*shape))
    compare(ours, theirs, torch, floats(*shape), (state, -state) if name == "LSTMCell" else state)


def test_cells_without_bias_and_with_relu_are_pytorchs(torch):
    compare(*layers(torch, "RNNCell", 3, 5, nonlinearity="relu", bias=False), torch, floats(4, 3))


def test_a_cell_in_a_loop_is_the_layer():
    layer, cell = nn.LSTM(3, 5), nn.LSTMCell(3, 5)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(cell, name, getattr(layer, name + "_l0"))
    x, state = Tensor(floats(6, 2, 3)), None
    for row in x:
        state = cell(row, state)

    out, (h, c) = layer(x)

    np.testing.assert_allclose(state[0].numpy(), out[-1].numpy(), 1e-5, 1e-6)
    np.testing.assert_allclose(state[1].numpy(), c[0].numpy(), 1e-5, 1e-6)
    np.testing.assert_allclose(h[0].numpy(), out[-1].numpy(), 1e-6)


def test_dropout_is_between_layers_and_in_training_only():
    layer = nn.GRU(3, 5, num_layers=2, dropout=1.0)
    x = Tensor(floats(4, 2, 3))

    quiet = layer(x)[0].numpy()
    with inkle.training():
        dropped = layer(x)[0].numpy()
        other = layer(-x)[0].numpy()

    assert not np.allclose(quiet, dropped)
    np.testing.assert_allclose(dropped, other, 1e-6)  # nothing of x reaches the second layer


def test_first_values_are_within_pytorchs_bounds():
    layer = nn.LSTM(10, 16)

    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        values = getattr(layer, name).numpy()
        assert 0.2 < np.abs(values).max() <= 0.25


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.RNN(3, 0), ShapeError, "hidden_size must be at least 1, got 0"),
        (lambda: nn.RNN(3, 5, num_layers=0), ShapeError, "num_layers must be at least 1"),
        (lambda: nn.RNN(3.0, 5), DTypeError, "input_size must be an integer"),
        (lambda: nn.RNN(3, 5, nonlinearity="sigmoid"), ShapeError, "nonlinearity must be one of"),
        (lambda: nn.LSTM(3, 5, dropout=2), OptionError, "probability from 0 to 1, got 2"),
        (
            lambda: nn.GRU(3, 5)(Tensor.zeros(4, 2, 4)),
            ShapeError,
            r"GRU\(3, 5\) needs \(steps.*4\)",
        ),
        (lambda: nn.GRU(3, 5)([1.0]), DTypeError, "GRU needs a tensor, got list"),
        (
            lambda: nn.GRU(3, 5)(Tensor.zeros(4, 2, 3), Tensor.zeros(2, 5)),
            ShapeError,
            r"1 states of shape \(1, 2, 5\), got \[\(2, 5\)\]",
        ),
        (lambda: nn.GRUCell(3, 5)(Tensor.zeros(2, 4)), ShapeError, "needs 3 values on the last"),
        (
            lambda: nn.LSTMCell(3, 5)(Tensor.zeros(2, 3), (Tensor.zeros(2, 5),)),
            ShapeError,
            r"2 states of shape \(2, 5\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
