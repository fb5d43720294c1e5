"""Convolution and pooling of one, two and three dimensions against PyTorch, with gradients."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.tensor import Tensor
from tests.oracle.compare import agree, check, numbers

IMAGE = {1: (9,), 2: (7, 6), 3: (5, 4, 6)}


def different(shape, seed=0):
    """Return numbers of which no two are equal, so that one of each window is the largest."""
    order = np.random.default_rng(seed).permutation(int(np.prod(shape)))
    return order.reshape(shape).astype(np.float64)


# dimensions, kernel, stride, padding, dilation, groups
CONVOLUTIONS = [
    (1, 3, 1, 0, 1, 1), (1, 3, 2, 1, 2, 2), (1, 1, 1, 0, 1, 1), (1, (2,), (3,), (1,), (1,), 4),
    (2, (3, 2), (2, 1), (1, 0), (1, 2), 2),
    (3, 2, 1, 0, 1, 1), (3, (1, 2, 3), (1, 2, 1), (0, 1, 1), 1, 2), (3, 2, 2, 1, 2, 1),
]  # fmt: skip


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution_of_any_dimension(torch, case):
    dims, kernel, stride, padding, dilation, groups = case
    size = kernel if isinstance(kernel, tuple) else (kernel,) * dims
    arrays = [numbers((2, 4, *IMAGE[dims])), numbers((4, 4 // groups, *size), seed=1),
              numbers((4,), seed=2)]  # fmt: skip
    options = (stride, padding, dilation, groups)
    name, functional = f"conv{dims}d", torch.nn.functional

    check(torch, lambda x, w, b: getattr(x, name)(w, b, *options),
          lambda x, w, b: getattr(functional, name)(x, w, b, *options), arrays)  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("kernel", "dilation"), [(2, 1), (3, 1), (2, 2), (1, 1)])
def test_convolution_with_padding_by_name(torch, dims, padding, kernel, dilation):
    arrays = [numbers((3, *IMAGE[dims])), numbers((2, 3, *[kernel] * dims), seed=1)]
    name = f"conv{dims}d"

    check(torch, lambda x, w: getattr(x, name)(w, padding=padding, dilation=dilation),
          lambda x, w: getattr(torch.nn.functional, name)(x, w, padding=padding, dilation=dilation),
          arrays)  # fmt: skip


# dimensions, stride, padding, output padding, groups, dilation, batch
TRANSPOSED = [
    (1, 2, 1, 1, 1, 1, (2,)), (1, 3, 0, 2, 2, 1, ()), (2, (2, 1), (1, 0), (1, 0), 2, (1, 2), ()),
    (3, 1, 0, 0, 1, 1, (1,)), (3, 2, 1, 1, 2, 2, (1,)),
]  # fmt: skip


@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_transposed_convolution_of_any_dimension(torch, case):
    dims, *options, batch = case
    arrays = [numbers((*batch, 4, *IMAGE[dims])), numbers((4, 2, *[3] * dims), seed=1),
              numbers((2 * options[3],), seed=2)]  # fmt: skip
    name, functional = f"conv_transpose{dims}d", torch.nn.functional

    check(torch, lambda x, w, b: getattr(x, name)(w, b, *options),
          lambda x, w, b: getattr(functional, name)(x, w, b, *options), arrays)  # fmt: skip


# dimensions, kernel, stride, padding, dilation, ceil mode
POOLS = [
    (1, 2, None, 0, 1, False), (1, 3, 2, 1, 2, True), (2, (3, 2), (1, 2), (1, 0), 1, True),
    (2, 3, 3, 1, 1, False), (3, 2, None, 0, 1, False), (3, (2, 3, 1), 2, (1, 1, 0), 1, True),
]  # fmt: skip


@pytest.mark.parametrize("case", POOLS, ids=str)
def test_max_pool_and_its_places(torch, case):
    dims, kernel, stride, padding, dilation, ceil = case
    x = different((2, 3, *IMAGE[dims]))
    name, options = f"max_pool{dims}d", (kernel, stride, padding, dilation)

    def ours(x):
        return getattr(x, name)(*options, ceil_mode=ceil)

    def theirs(x):
        return getattr(torch.nn.functional, name)(x, *options, ceil_mode=ceil)

    check(torch, ours, theirs, [x])
    found = getattr(Tensor(x), name)(*options, ceil_mode=ceil, return_indices=True)
    expected = getattr(torch.nn.functional, name)(
        torch.tensor(x), *options, ceil_mode=ceil, return_indices=True
    )
    for mine, other in zip(found, expected):
        agree(mine, other)


def test_places_of_maxima_of_the_least_number_lie_in_the_window(torch):
    x = np.full((1, 4, 4), -np.inf)

    found = Tensor(x).max_pool2d(3, 2, 1, return_indices=True)[1]

    agree(found, torch.nn.functional.max_pool2d_with_indices(torch.tensor(x), 3, 2, 1)[1])


@pytest.mark.parametrize(("dims", "kernel", "stride", "padding"), [
    (1, 2, None, 0), (2, 2, 2, 1), (2, (2, 3), (2, 3), 0), (3, 2, None, 0),
])  # fmt: skip
def test_unpool(torch, dims, kernel, stride, padding):
    x = different((2, 3, *IMAGE[dims]))
    options = (kernel, stride, padding)
    _, places = getattr(torch.nn.functional, f"max_pool{dims}d")(
        torch.tensor(x), *options, return_indices=True
    )
    y = numbers(places.shape)
    indices = places.numpy()

    name = f"max_unpool{dims}d"
    for size in (IMAGE[dims],) if padding else (None, IMAGE[dims]):
        check(torch, lambda y, s=size: getattr(y, name)(Tensor(indices), *options, s),
              lambda y, s=size: getattr(torch.nn.functional, name)(y, places, *options, s),
              [y])  # fmt: skip


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("case", [case for case in POOLS if case[4] == 1], ids=str)
def test_average_pool_of_any_dimension(torch, case, include):
    dims, kernel, stride, padding, _, ceil = case
    name, options = f"avg_pool{dims}d", (kernel, stride, padding)
    flags = {"ceil_mode": ceil, "count_include_pad": include}

    check(torch, lambda x: getattr(x, name)(*options, **flags),
          lambda x: getattr(torch.nn.functional, name)(x, *options, **flags),
          [numbers((2, 3, *IMAGE[dims]))])  # fmt: skip


@pytest.mark.parametrize("dims", [2, 3])
def test_average_pool_by_another_number(torch, dims):
    name = f"avg_pool{dims}d"

    check(torch, lambda x: getattr(x, name)(2, divisor_override=3),
          lambda x: getattr(torch.nn.functional, name)(x, 2, divisor_override=3),
          [numbers((1, 2, *IMAGE[dims]))])  # fmt: skip


@pytest.mark.parametrize("ceil", [True, False])
@pytest.mark.parametrize("p", [1, 2, 3.5])
@pytest.mark.parametrize("dims", [1, 2])
def test_pool_by_a_norm(torch, dims, p, ceil):
    name = f"lp_pool{dims}d"

    check(torch, lambda x: getattr(x, name)(p, 2, ceil_mode=ceil),
          lambda x: getattr(torch.nn.functional, name)(x, p, 2, ceil_mode=ceil),
          [numbers((2, 3, *IMAGE[dims]), low=0.5)])  # fmt: skip


@pytest.mark.parametrize(
    ("dims", "size"), [(1, 4), (1, 3), (1, 9), (1, 12), (2, (3, 6)), (2, 1), (2, (None, 4)), (3, 3)]
)
def test_adaptive_pools(torch, dims, size):
    x = different((2, 3, *IMAGE[dims]))
    functional = torch.nn.functional

    for name in (f"adaptive_avg_pool{dims}d", f"adaptive_max_pool{dims}d"):
        check(torch, lambda x, n=name: getattr(x, n)(size),
              lambda x, n=name: getattr(functional, n)(x, size), [x])  # fmt: skip
    found = getattr(Tensor(x), f"adaptive_max_pool{dims}d")(size, return_indices=True)[1]
    agree(found, getattr(functional, f"adaptive_max_pool{dims}d_with_indices")(
        torch.tensor(x), size)[1])  # fmt: skip


IMAGES, KERNELS = Tensor.ones(1, 2, 6, 6), Tensor.ones(1, 2, 3, 3)
WRONG = [
    (lambda: IMAGES.conv1d(Tensor.ones(1, 2, 3)), ShapeError, r"\(batch, channels, length\)"),
    (lambda: IMAGES.conv2d(KERNELS, padding="same", stride=2), ShapeError,
     r"padding 'same' needs a stride of 1, got \(2, 2\)"),
    (lambda: IMAGES.conv2d(KERNELS, padding="full"), ShapeError, r"'same', 'valid'"),
    (lambda: IMAGES.conv_transpose3d(KERNELS), ShapeError, r"conv_transpose3d needs"),
    (lambda: IMAGES.conv2d(KERNELS, stride=(1, 2, 3)), ShapeError,
     r"stride must be one number or 2, got \(1, 2, 3\)"),
    (lambda: Tensor.ones(3).max_pool2d(2), ShapeError, r"max_pool2d needs at least 2 axes"),
    (lambda: IMAGES.max_pool2d(2, padding=2), ShapeError, r"must be at most half the window"),
    (lambda: IMAGES.max_unpool2d(IMAGES), DTypeError, r"integer tensor of indices"),
    (lambda: IMAGES.avg_pool2d(2, divisor_override=0), OptionError, r"must not be 0"),
    (lambda: IMAGES.long().avg_pool2d(2), DTypeError, r"avg_pool2d needs floats, got int64"),
    (lambda: IMAGES.lp_pool2d(0, 2), OptionError, r"no norm with p = 0"),
    (lambda: IMAGES.adaptive_avg_pool2d((1, 2, 3)), ShapeError, r"output_size needs 2 numbers"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_arguments(number):
    function, error, message = WRONG[number]

    with pytest.raises(error, match=message):
        function()
