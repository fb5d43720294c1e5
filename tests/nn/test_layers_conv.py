"""Convolutions of one to three axes and transposed ones are PyTorch's."""

from __future__ import annotations

import pytest

from inkle import Tensor, nn
from inkle.errors import DTypeError, ShapeError
from tests.nn.comparing import compare, floats

IMAGES = {1: (9,), 2: (6, 7), 3: (4, 5, 4)}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1, "bias": False},
        {"groups": 2, "padding": "same", "dilation": 2, "kernel_size": 2},
    ],
    ids=str,
)
def test_convolutions_are_pytorchs(torch, dims, options):
    given = {"kernel_size": 3, **options}
    name = f"Conv{dims}d"

    compare(getattr(nn, name)(4, 6, **given), getattr(torch.nn, name)(4, 6, **given), torch,
            floats(2, 4, *IMAGES[dims]))  # fmt: skip


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "bias": False}],
    ids=str,
)
def test_transposed_convolutions_are_pytorchs(torch, dims, options):
    given = {"kernel_size": 3, **options}
    name = f"ConvTranspose{dims}d"

    compare(getattr(nn, name)(4, 6, **given), getattr(torch.nn, name)(4, 6, **given), torch,
            floats(2, 4, *IMAGES[dims]))  # fmt: skip


def test_first_values_of_transposed_ones_are_within_pytorchs_bounds():
    values = nn.ConvTranspose2d(64, 4, 5).weight.numpy()

    assert 0.099 < abs(values).max() <= 0.1


def test_lists_and_dicts_of_layers_are_walked():
    model = {"a": nn.ModuleList([nn.Linear(2, 3)]), "b": nn.ModuleDict(c=nn.Linear(3, 2))}

    assert list(nn.state.get_state_dict(model)) == [
        "a.0.weight", "a.0.bias", "b.c.weight", "b.c.bias"
    ]  # fmt: skip


def test_sequential_takes_layers_or_a_list_of_them():
    layers = [nn.Flatten(), nn.Identity(), Tensor.relu]
    x = Tensor([[[-1.0, 2.0]]])

    for model in (nn.Sequential(*layers), nn.Sequential(layers), nn.Sequential(iter(layers))):
        assert model(x).tolist() == [[0.0, 2.0]]
    nested = nn.Sequential(nn.Sequential(*layers))
    assert len(nested) == 1
    assert nn.Sequential()(x) is x


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Conv1d(4, 6, (3, 3)), ShapeError, r"kernel_size must be one number or 1.*\(3"),
        (lambda: nn.Conv3d(4, 6, 3, stride=0), ShapeError, "stride must be at least 1, got 0"),
        (lambda: nn.Conv3d(4, 6, 3, groups=4), ShapeError, "Conv3d: 4 groups must divide the 4"),
        (lambda: nn.Conv1d(4, 6, 3, 2, "same"), ShapeError, r"'same' needs stride 1, got \(2,\)"),
        (lambda: nn.ConvTranspose1d(4, 6, 3)([1]), DTypeError, "ConvTranspose1d needs a tensor"),
        (lambda: nn.Conv1d(4, 6, 3)(Tensor.zeros(2, 5, 9)), ShapeError, "conv1d"),
        (lambda: nn.Sequential(nn.Identity(), 3), DTypeError, "Sequential holds layers, got int"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
