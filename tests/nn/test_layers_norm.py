"""Group, instance and root-mean-square norms are PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

from inkle import Tensor, nn
from inkle.errors import ShapeError
from inkle.nn.state import get_parameters
from tests.nn.comparing import compare, floats


def spread(layer):
    """Give parameters values other than 0 and 1."""
    for each in get_parameters(layer):
        each.assign(Tensor(floats(*each.shape)))
    return layer


@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 5), (2, 6, 3, 4)])
@pytest.mark.parametrize("options", [{}, {"affine": False, "eps": 0.1}], ids=str)
def test_group_norm_is_pytorchs(torch, shape, options):
    ours = spread(nn.GroupNorm(3, 6, **options))

    compare(ours, torch.nn.GroupNorm(3, 6, **options), torch, floats(*shape))


@pytest.mark.parametrize("options", [{}, {"affine": True, "eps": 0.1}], ids=str)
def test_instance_norm_is_pytorchs(torch, options):
    compare(
        spread(nn.InstanceNorm2d(6, **options)),
        torch.nn.InstanceNorm2d(6, **options),
        torch,
        floats(2, 6, 3, 4),
    )
    compare(
        nn.InstanceNorm1d(6, **options),
        torch.nn.InstanceNorm1d(6, **options),
        torch,
        floats(2, 6, 5),
    )


@pytest.mark.parametrize(
    ("sizes", "options"), [(6, {}), ((5, 6), {"eps": 0.1}), (6, {"elementwise_affine": False})]
)
def test_rms_norm_is_pytorchs(torch, sizes, options):
    ours = spread(nn.RMSNorm(sizes, **options))

    compare(ours, torch.nn.RMSNorm(sizes, **options), torch, floats(3, 5, 6))


def test_rms_norm_without_eps_adds_that_of_the_dtype(torch):
    tiny = np.full((2, 4), 1e-4, np.float32)

    got = nn.RMSNorm(4)(Tensor(tiny)).numpy()

    np.testing.assert_allclose(got, torch.nn.RMSNorm(4)(torch.tensor(tiny)).detach().numpy(), 1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.GroupNorm(4, 6), "4 groups do not divide 6 channels"),
        (lambda: nn.GroupNorm(2, 6)(Tensor.zeros(2, 4)), r"needs shape \(batch, 6, ...\), got"),
        (lambda: nn.RMSNorm(6)(Tensor.zeros(2, 4)), r"RMSNorm over \(6,\) does not fit \(2, 4\)"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ShapeError, match=message):
        make()
