"""Making tensors."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

from inkle.errors import DeviceError, DTypeError, ShapeError
from inkle.tensor import Tensor, dtypes


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (1, "int64", ()), (1.5, "float32", ()), (True, "bool", ()), ([1, 2], "int64", (2,)),
        ([[1.0], [2]], "float32", (2, 1)), ([True, False], "bool", (2,)), ([], "float32", (0,)),
        ([[], []], "float32", (2, 0)), (np.float64(1.5), "float64", ()), ((1, 2), "int64", (2,)),
        (np.zeros((2, 3), np.float16), "float16", (2, 3)), (np.zeros(2, ">i4"), "int32", (2,)),
        (range(3), "int64", (3,)), (np.arange(6).reshape(2, 3).T, "int64", (3, 2)),
    ],
)  # fmt: skip
def test_tensor_of_data(data, dtype, shape):
    x = Tensor(data)

    assert (x.dtype.name, x.shape) == (dtype, shape)
    assert x.tolist() == np.asarray(data).tolist()


@pytest.mark.parametrize(
    "data", [[[1, 2], [3]], [1, [2]], "abc", ["a"], None, [None], 1j, {}, object()]
)
def test_tensor_of_what_is_no_array_is_an_error(data):
    with pytest.raises((ShapeError, DTypeError), match="a tensor"):
        Tensor(data)


def test_numbers_beyond_int64_are_an_error():
    with pytest.raises(DTypeError, match="int64"):
        Tensor([2**63])
    with pytest.raises(DTypeError, match=r"int64|numbers"):
        Tensor([2**80])


@pytest.mark.parametrize(
    "name", ["float16", "bfloat16", "float64", "int8", "uint64", "bool", "half", "int"]
)
def test_dtype_by_name(name):
    assert Tensor([0, 1], name).dtype is dtypes.as_dtype(name)


def test_dtype_by_our_numpys_and_pythons_types():
    assert Tensor([0, 1], dtypes.float64).dtype is dtypes.float64
    assert Tensor([0, 1], np.int8).dtype is dtypes.int8
    assert Tensor([0, 1], np.dtype("uint16")).dtype is dtypes.uint16
    assert Tensor([0, 1], float).dtype is dtypes.float32
    assert Tensor([0, 1], bool).dtype is dtypes.bool


@pytest.mark.parametrize("name", ["float128", "complex64", "index", "void", "str", object])
def test_unknown_dtype_is_an_error(name):
    with pytest.raises(DTypeError, match="no element type"):
        Tensor([0], name)


def test_numbers_that_a_dtype_cannot_hold_are_an_error():
    with pytest.raises(DTypeError, match=r"300.*uint8 \(0 to 255\)"):
        Tensor([1, 300], "uint8")
    with pytest.raises(DTypeError, match="int32"):
        Tensor([float("nan")], "int32")
    with pytest.raises(DTypeError, match="-1 does not fit uint8"):
        Tensor.full((2,), -1, "uint8")


def test_unknown_device_is_an_error():
    with pytest.raises(DeviceError, match="no device 'GPU'; there is CPU"):
        Tensor([1], device="GPU")
    assert Tensor([1], device="cpu").device == "CPU"


@pytest.mark.parametrize("shape", [(), (0,), (2, 3), (1, 0, 2)])
def test_constants(shape):
    assert Tensor.zeros(*shape).tolist() == np.zeros(shape).tolist()
    assert Tensor.ones(shape).tolist() == np.ones(shape).tolist()
    assert Tensor.full(shape, 7).tolist() == np.full(shape, 7).tolist()
    assert Tensor.full(shape, 7).dtype is dtypes.int64
    assert Tensor.zeros(shape, dtype="int8").dtype is dtypes.int8
    assert Tensor.empty(shape).shape == shape


def test_like():
    x = Tensor(np.ones((2, 3), np.int16))

    for made in (x.zeros_like(), x.ones_like(), x.full_like(3), x.empty_like()):
        assert (made.shape, made.dtype) == (x.shape, x.dtype)
    assert x.ones_like("float32").dtype is dtypes.float32


@pytest.mark.parametrize(
    "args",
    [(5,), (0,), (2, 7), (7, 2, -2), (0, 10, 3), (1, 2, 5), (2.5,), (0, 1, 0.3),
     (5, -1, -1), (0.0, 3.0), (3, 3)],
)  # fmt: skip
def test_arange(torch, args):
    found, expected = Tensor.arange(*args), torch.arange(*args)

    assert found.dtype.name == str(expected.dtype).removeprefix("torch.")
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6)


def test_arange_without_numbers():
    assert Tensor.arange(-3).shape == Tensor.arange(7, 2).shape == (0,)


@pytest.mark.parametrize("args", [(0, 1, 5), (3, -3, 4), (0, 1, 1), (0, 1, 0), (-1.5, 2.5, 100)])
def test_linspace(torch, args):
    np.testing.assert_allclose(
        Tensor.linspace(*args).numpy(), torch.linspace(*args).numpy(), rtol=1e-6, atol=1e-7
    )


def test_eye():
    assert Tensor.eye(3).tolist() == np.eye(3).tolist()
    assert Tensor.eye(2, 3, "int32").tolist() == np.eye(2, 3).tolist()
    assert Tensor.eye(0).shape == (0, 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tensor.zeros(2, -1), lambda: Tensor.zeros(1.5), lambda: Tensor.arange(0, 5, 0),
        lambda: Tensor.arange(math.inf), lambda: Tensor.linspace(0, 1, -1), lambda: Tensor.eye(-1),
        lambda: Tensor.rand(-1), lambda: Tensor.randint(3, low=2, high=2),
        lambda: Tensor.full((2,), "a"), lambda: Tensor.rand(2, dtype="int32"),
        lambda: Tensor.kaiming_uniform(), lambda: Tensor.zeros(True),
    ],
)  # fmt: skip
def test_impossible_requests_are_errors(make):
    with pytest.raises((ShapeError, DTypeError)):
        make()


def test_from_numpy_shares_memory():
    array = np.zeros(3)

    assert np.shares_memory(Tensor.from_numpy(array)._array("test"), array)
    assert Tensor.from_numpy(array[::2]).tolist() == [0, 0]


def test_copies_and_pickles_keep_value_and_dtype():
    x = Tensor([1.5, 2.5]).requires_grad_()

    assert pickle.loads(pickle.dumps(x)).tolist() == [1.5, 2.5]
    twin = copy.deepcopy(x)
    assert twin.requires_grad
    twin.assign(0)
    assert x.tolist() == [1.5, 2.5]
    assert pickle.loads(pickle.dumps(x.bfloat16())).dtype is dtypes.bfloat16
