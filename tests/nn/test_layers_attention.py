"""Attention with heads and transformer blocks are PyTorch's, with all masks."""

from __future__ import annotations

import numpy as np
import pytest

import inkle
from inkle import Tensor, nn
from inkle.errors import DTypeError, OptionError, ShapeError
from tests.nn.comparing import compare, copy_to, floats

HIDDEN = np.triu(np.ones((5, 5), bool), 1)
PADDING = np.array([[False] * 5, [False] * 3 + [True] * 2])


def pair(torch, name, *sizes, **options):
    return getattr(nn, name)(*sizes, **options), getattr(torch.nn, name)(*sizes, **options)


@pytest.mark.parametrize("options", [{}, {"bias": False, "batch_first": True}], ids=str)
def test_attention_is_pytorchs(torch, options):
    ours, theirs = pair(torch, "MultiheadAttention", 8, 4, **options)
    q, k, v = floats(3, 3, 8), floats(3, 3, 8), floats(3, 3, 8)

    compare(ours, theirs, torch, q, k, v)
    compare(ours, theirs, torch, q, k, v, average_attn_weights=False)
    compare(ours, theirs, torch, q, k, v, need_weights=False)


def test_attention_over_sequences_of_other_length_is_pytorchs(torch):
    ours, theirs = pair(torch, "MultiheadAttention", 8, 2)

    compare(ours, theirs, torch, floats(3, 2, 8), floats(5, 2, 8), floats(5, 2, 8))
    compare(ours, theirs, torch, floats(3, 8), floats(5, 8), floats(5, 8))


@pytest.mark.parametrize(
    "masks",
    [
        {"attn_mask": HIDDEN},
        {"attn_mask": floats(5, 5)},
        {"attn_mask": floats(8, 5, 5)},
        {"key_padding_mask": PADDING},
        {"attn_mask": HIDDEN, "key_padding_mask": PADDING},
    ],
)
def test_masks_are_pytorchs(torch, masks):
    ours, theirs = pair(torch, "MultiheadAttention", 8, 4, batch_first=True)
    x = floats(2, 5, 8)

    compare(ours, theirs, torch, x, x, x, **masks)


def test_causal_needs_no_mask(torch):
    layer = nn.MultiheadAttention(8, 4)
    x = Tensor(floats(5, 2, 8))

    plain = layer(x, x, x, is_causal=True)[0].numpy()

    np.testing.assert_allclose(
        plain, layer(x, x, x, attn_mask=Tensor(HIDDEN))[0].numpy(), 1e-6, 1e-6
    )


BLOCKS = [{}, {"norm_first": True, "activation": "gelu", "batch_first": True}, {"bias": False}]


@pytest.mark.parametrize("options", BLOCKS, ids=str)
def test_encoder_layers_are_pytorchs(torch, options):
    given = {"dim_feedforward": 16, "dropout": 0.0, **options}
    ours, theirs = pair(torch, "TransformerEncoderLayer", 8, 2, **given)

    compare(ours, theirs, torch, floats(5, 5, 8), tolerance=3e-4)
    compare(ours, theirs, torch, floats(5, 5, 8), HIDDEN, tolerance=3e-4)


@pytest.mark.parametrize("options", BLOCKS[:2], ids=str)
def test_decoder_layers_are_pytorchs(torch, options):
    given = {"dim_feedforward": 16, "dropout": 0.0, **options}
    ours, theirs = pair(torch, "TransformerDecoderLayer", 8, 2, **given)

    compare(ours, theirs, torch, floats(5, 5, 8), floats(5, 5, 8), HIDDEN, tolerance=3e-4)


@pytest.mark.slow
def test_stacks_of_layers_are_pytorchs(torch):
    sizes = {"dim_feedforward": 16, "dropout": 0.0, "batch_first": True}
    ours = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, **sizes), 2, nn.LayerNorm(8))
    theirs = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(8, 2, **sizes), 2, torch.nn.LayerNorm(8)
    )
    compare(ours, theirs, torch, floats(2, 5, 8), None, PADDING, tolerance=3e-4)

    ours = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, **sizes), 2)
    theirs = torch.nn.TransformerDecoder(torch.nn.TransformerDecoderLayer(8, 2, **sizes), 2)
    compare(ours, theirs, torch, floats(2, 5, 8), floats(2, 3, 8), HIDDEN, tolerance=3e-4)


def test_copies_of_a_layer_learn_apart():
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)

    names = nn.state.get_state_dict(stack)
    parameters = nn.state.get_parameters(stack)

    assert len(parameters) == len(names) == 24
    assert np.array_equal(
        names["layers.0.linear1.weight"].numpy(), names["layers.1.linear1.weight"].numpy()
    )


def test_dropout_acts_in_training_only(torch):
    ours, theirs = pair(torch, "TransformerEncoderLayer", 8, 2, 16, dropout=0.5)
    x = floats(5, 2, 8)
    copy_to(ours, theirs, torch)

    quiet = ours(Tensor(x)).numpy()
    with inkle.training():
        noisy = ours(Tensor(x)).numpy()

    want = theirs.eval()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(quiet, want, 1e-4, 1e-5)
    assert not np.allclose(quiet, noisy)


def attend(*shapes, **masks):
    return nn.MultiheadAttention(8, 2)(*[Tensor.zeros(*shape) for shape in shapes], **masks)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.MultiheadAttention(8, 3), ShapeError, "3 heads do not divide embed_dim 8"),
        (lambda: nn.MultiheadAttention(8, 2, -1), OptionError, "from 0 to 1, got -1"),
        (lambda: attend(*[(5, 2, 7)] * 3), ShapeError, r"needs \(length, batch, 8\).*7\)"),
        (
            lambda: attend(*[(5, 2, 8)] * 3, attn_mask=Tensor.zeros(4, 5)),
            ShapeError,
            r"attn_mask must be one of \(\(5, 5\), \(4, 5, 5\)\), got \(4, 5\)",
        ),
        (
            lambda: attend(*[(5, 2, 8)] * 3, key_padding_mask=Tensor.zeros(5, 2)),
            ShapeError,
            r"key_padding_mask must be \(2, 5\), got \(5, 2\)",
        ),
        (
            lambda: attend(*[(5, 2, 8)] * 3, attn_mask=Tensor.zeros(5, 5).int()),
            DTypeError,
            "attn_mask must be bool or float, got int32",
        ),
        (lambda: nn.TransformerEncoderLayer(8, 2, activation="elu"), ShapeError, "activation must"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
