"""Interpolation, pixels that move, and windows as columns against PyTorch, with gradients."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.tensor import Tensor
from tests.oracle.compare import agree, check, numbers

IMAGE = {1: (5,), 2: (4, 5), 3: (3, 4, 2)}
SIZES = {1: [(5,), (12,), (3,), (1,)], 2: [(8, 10), (3, 7), (1, 1), (4, 5)], 3: [(6, 3, 5)]}
CASES = [
    (dims, mode, size, corners)
    for mode, axes in [("nearest", (1, 2, 3)), ("nearest-exact", (1, 2, 3)), ("area", (1, 2, 3)),
                       ("linear", (1,)), ("bilinear", (2,)), ("bicubic", (2,)), ("trilinear", (3,))]
    for dims in axes
    for size in SIZES[dims]
    for corners in ((None, False, True) if "linear" in mode or "cubic" in mode else (None,))
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_interpolate_to_a_size(torch, case):
    dims, mode, size, corners = case

    check(torch, lambda x: x.interpolate(size, mode=mode, align_corners=corners),
          lambda x: torch.nn.functional.interpolate(x, size, mode=mode, align_corners=corners),
          [numbers((2, 3, *IMAGE[dims]))])  # fmt: skip


@pytest.mark.parametrize("factor", [2, 0.5, 1.5, 0.7, (2.0, 0.6)], ids=str)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize("again", [None, True])
def test_interpolate_by_a_factor(torch, mode, factor, again):
    options = {"scale_factor": factor, "mode": mode, "recompute_scale_factor": again}

    check(torch, lambda x: x.interpolate(**options),
          lambda x: torch.nn.functional.interpolate(x, **options),
          [numbers((1, 2, 6, 7))])  # fmt: skip


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_interpolate_of_half_precision(torch, mode):
    x = numbers((1, 2, 4, 5), dtype="float16")

    expected = torch.nn.functional.interpolate(torch.tensor(x), 7, mode=mode)

    agree(Tensor(x).interpolate(7, mode=mode), expected, tolerance=2e-3)


def test_nearest_keeps_integers(torch):
    x = np.arange(6).reshape(1, 1, 2, 3).astype(np.uint8)

    agree(Tensor(x).interpolate(5), torch.nn.functional.interpolate(torch.tensor(x), 5))


@pytest.mark.parametrize("name", ["pixel_shuffle", "pixel_unshuffle"])
def test_pixels_between_channels_and_places(torch, name):
    check(torch, lambda x: getattr(x, name)(2), lambda x: getattr(torch, name)(x, 2),
          [numbers((2, 8, 4, 6))])  # fmt: skip
    check(torch, lambda x: getattr(x, name)(2), lambda x: getattr(torch, name)(x, 2),
          [numbers((4, 2, 2))])  # fmt: skip


def test_channel_shuffle(torch):
    check(torch, lambda x: x.channel_shuffle(3), lambda x: torch.channel_shuffle(x, 3),
          [numbers((2, 6, 3, 2))])  # fmt: skip


# kernel, dilation, padding, stride
WINDOWS = [(2, 1, 0, 1), ((3, 2), 1, 1, 2), (2, 2, (1, 0), (1, 3)), (1, 1, 0, 1), (3, 1, 0, 3)]


@pytest.mark.parametrize("case", WINDOWS, ids=str)
@pytest.mark.parametrize("lead", [(2,), ()])
def test_windows_as_columns_and_back(torch, case, lead):
    functional = torch.nn.functional
    x = numbers((*lead, 3, 6, 7))
    columns = functional.unfold(torch.tensor(x), *case).numpy()

    check(torch, lambda x: x.im2col(*case), lambda x: functional.unfold(x, *case), [x])
    check(torch, lambda x: x.col2im((6, 7), *case), lambda x: functional.fold(x, (6, 7), *case),
          [columns])  # fmt: skip


X = Tensor.ones(1, 4, 6, 6)
WRONG = [
    (lambda: X.interpolate(), OptionError, r"a size or a scale_factor"),
    (lambda: X.interpolate(3, 2.0), OptionError, r"a size or a scale_factor, and not both"),
    (lambda: X.interpolate(3, mode="linear"), ShapeError, r"'linear' resizes 1 axes"),
    (lambda: X.interpolate(3, mode="cubic"), ShapeError, r"must be one of 'nearest'"),
    (lambda: X.interpolate(3, align_corners=True), OptionError, r"not for mode 'nearest'"),
    (lambda: X.interpolate(scale_factor=-1), OptionError, r"must be above 0, got -1"),
    (lambda: X.interpolate(0), ShapeError, r"size must be at least 1"),
    (lambda: X.long().interpolate(3, mode="bilinear"), DTypeError, r"needs floats, got int64"),
    (lambda: X.pixel_shuffle(3), ShapeError, r"a multiple of 9, got \(1, 4, 6, 6\)"),
    (lambda: X.pixel_unshuffle(4), ShapeError, r"multiples of 4"),
    (lambda: X.channel_shuffle(3), ShapeError, r"3 groups do not fit axis 1"),
    (lambda: Tensor.ones(4).im2col(2), ShapeError, r"im2col needs"),
    (lambda: Tensor.ones(4, 5).col2im(3, 2), ShapeError, r"channels \* 4, 4\), got \(4, 5\)"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_arguments(number):
    function, error, message = WRONG[number]

    with pytest.raises(error, match=message):
        function()
