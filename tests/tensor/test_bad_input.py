"""Bad input: a defined result or one clear error, natively; nothing ends the process.

Wrong arguments of single methods are in `test_errors`; here are the sweeps: nonsense for every
method, axes of length 0 through every family of operations and its gradient, values that no formula
likes, and machines that lack something. Indices out of range are in `test_index_range`.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from inkle import Tensor, dtypes
from inkle.check.reference import evaluate
from inkle.engine import storage
from inkle.engine.realize import canonicalize
from inkle.errors import (
    DeviceError,
    DTypeError,
    InkleError,
    InternalError,
    OptionError,
    ShapeError,
)

pytestmark = pytest.mark.compiled
NAN, INF = float("nan"), float("inf")


def floats(*shape):
    values = np.random.default_rng(0).normal(size=shape)
    return Tensor(values.astype(np.float32))


def ints(values):
    return Tensor(np.array(values, np.int64))


def cyclic():
    held: list[object] = []
    held.append(held)
    return held


def same(a, b):
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


# --- nonsense -------------------------------------------------------------------------------------

NONSENSE = [
    None, "a", -1, 0, 10**6, -(2**70), 2**70, 1.5, NAN, INF, [], (), (2, -3), [[1], [2, 3]],
    object(), True, b"x", {}, np.zeros(3), np.float32(2), slice(None), len, "int32", 1 + 2j, int,
]  # fmt: skip
NOT_METHODS = {
    "T",
    "data",
    "device",
    "dtype",
    "grad",
    "mT",
    "ndim",
    "node",
    "requires_grad",
    "shape",
}
METHODS = [
    *sorted({name for name in dir(Tensor) if name[0] != "_"} - NOT_METHODS - {"sequential"}),
    *("__getitem__", "__add__", "__matmul__", "__lshift__", "__floordiv__", "__eq__", "__rpow__"),
]
PLAIN = {name for name in METHODS if isinstance(inspect.getattr_static(Tensor, name), staticmethod)}


def call(name, x, *arguments):
    """Call a method; its own errors and Python's for a wrong number of arguments are fine."""
    method = getattr(Tensor, name)
    given = arguments if inspect.ismethod(method) or name in PLAIN else (x, *arguments)
    try:
        method(*given)
    except InternalError:
        raise
    except InkleError:
        pass
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # not the call itself: a bare error of Python from inside


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings("ignore:.*divide by zero:RuntimeWarning")
def test_nonsense_is_refused_in_our_words(name):
    tensors = [Tensor([[1.0, 2.0], [4.0, 5.0]]), Tensor([1, 2, 3]), Tensor(True), floats(0, 3)]

    for x in tensors:
        call(name, x)
        for value in [*NONSENSE, *tensors]:
            call(name, x, value)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings("ignore:.*divide by zero:RuntimeWarning")
def test_two_arguments_of_nonsense_are_refused_in_our_words(name):
    for x in (Tensor([[1.0, 2.0], [4.0, 5.0]]), Tensor([1, 2, 3])):
        for first in NONSENSE:
            for second in [*NONSENSE, x]:
                call(name, x, first, second)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Tensor([1.0], device="GPU"), DeviceError, r"no device 'GPU'; there is CPU"),
        (lambda: Tensor([1.0], device=3), DeviceError, r"no device 3; there is CPU"),
        (lambda: Tensor([1.0]).to("TPU"), DeviceError, r"no device 'TPU'; there is CPU"),
        (lambda: Tensor([1.0]).to("cpu:0"), DeviceError, r"no device 'cpu:0'; there is CPU"),
        (lambda: Tensor([1.0]).to(3), DTypeError, r"no element type 3"),
        (lambda: Tensor("text"), DTypeError, r"numbers or bools, got str"),
        (lambda: Tensor([1, "a"]), DTypeError, r"numbers or bools"),
        (lambda: Tensor([[1], [2, 3]]), ShapeError, r"lists of equal lengths"),
        (lambda: Tensor([2**80]), DTypeError, r"beyond int64|numbers or bools"),
        (lambda: Tensor([300], dtype="uint8"), DTypeError, r"300 ... 300 do not fit uint8"),
        (lambda: Tensor([NAN], dtype="int32"), DTypeError, r"nan ... nan do not fit int32"),
        (lambda: Tensor([1.0], dtype="float31"), DTypeError, r"no element type 'float31'"),
        (lambda: Tensor(np.array([1 + 2j])), DTypeError, r"complex128"),
        (lambda: Tensor(np.array(["a"])), DTypeError, r"numbers or bools"),
        (lambda: Tensor(np.ma.array([1.0], mask=[1])), DTypeError, r"array.filled\(value\)"),
        (lambda: Tensor(np.array([1.0], np.longdouble)), DTypeError, r"numbers or bools"),
        (lambda: Tensor(np.array([None])), DTypeError, r"ndarray of object"),
        (lambda: Tensor({1, 2}), DTypeError, r"got set of object"),
        (lambda: Tensor(b"abc"), DTypeError, r"got bytes"),
        (lambda: Tensor(cyclic()), ShapeError, r"lists of equal lengths"),
        (lambda: Tensor.realize(None), DTypeError, r"realize needs tensors, got None"),
        (lambda: Tensor.ones(*[1] * 70).numpy(), ShapeError, r"at most 64 axes, got 70"),
        (lambda: Tensor(None), DTypeError, r"numbers or bools, got NoneType"),
        (lambda: Tensor.zeros(-1), ShapeError, r"zeros: sizes must not be negative, got \(-1,\)"),
        (lambda: Tensor.zeros(2.5), DTypeError, r"size in zeros must be an integer, got 2.5"),
        (lambda: Tensor.zeros(2**40, 2**40), ShapeError, r"more elements than 64 bits can count"),
        (lambda: Tensor.arange(0, 5, 0), ShapeError, r"step other than 0"),
        (lambda: Tensor.arange(0, INF), ShapeError, r"finite bounds"),
        (lambda: Tensor.eye(-2), ShapeError, r"eye: sizes must not be negative"),
        (lambda: Tensor.full((2,), 2.5, dtype="int8"), DTypeError, r"2.5 is no int8"),
        (lambda: Tensor.full((2,), 200, dtype="int8"), DTypeError, r"200 does not fit int8"),
        (lambda: Tensor.rand(2, dtype="int32"), DTypeError, r"rand makes floats, not int32"),
        (lambda: Tensor.randint(3, low=5, high=5), ShapeError, r"low < high, got 5 and 5"),
        (lambda: Tensor.linspace(0, 1, -1), ShapeError, r"steps >= 0, got -1"),
        (lambda: floats(2).normalize(0, 0), OptionError, r"no norm with p = 0"),
        (lambda: setattr(floats(2), "grad", 3), DTypeError, r"a gradient is a tensor or None"),
        (lambda: setattr(floats(2), "grad", floats(3)), ShapeError, r"\(3,\) for .* \(2,\)"),
    ],
)  # fmt: skip
def test_wrong_values_at_creation(make, error, match):
    kinds = error if isinstance(error, type) else error.__args__
    with pytest.raises(kinds, match=match):
        make()


# --- empty tensors --------------------------------------------------------------------------------

# Each gets a float tensor of shape (0, 3), (3, 0) or (0, 0).
EMPTY = {
    "pointwise": lambda x: (x * 2 + 1).exp().tanh(),
    "where": lambda x: (x > 0).where(x, -x),
    "cast": lambda x: x.cast("float64") * 1,
    "sum of one axis": lambda x: x.sum(0),
    "sum of the other": lambda x: x.sum(1),
    "sum": lambda x: x.sum(),
    "mean": lambda x: x.mean(1),
    "product": lambda x: x.prod(0),
    "variance": lambda x: x.var(1),
    "log sum exp": lambda x: x.logsumexp(1),
    "softmax": lambda x: x.softmax(1) + x.softmax(0),
    "log softmax": lambda x: x.log_softmax(1),
    "running sums": lambda x: x.cumsum(0) + x.cumsum(1) + x.cumprod(1) + x.cummax(0)[0],
    "transpose and flip": lambda x: x.T.flip(0, 1) + 0,
    "reshape": lambda x: x.reshape(0, 5),
    "pad": lambda x: x.pad((1, 2, 1, 0)),
    "pad between": lambda x: x.pad((0, 0, 2, 0)),
    "cat and stack": lambda x: x.cat(x, dim=1).stack(x.cat(x, dim=1)),
    "expand": lambda x: x.unsqueeze(1).expand(x.shape[0], 4, x.shape[1]) * 1,
    "roll and repeat": lambda x: x.roll(1, 0).repeat(2, 3).repeat_interleave(2, 0),
    "triangle and diagonal": lambda x: x.tril().diagonal(),
    "slices": lambda x: x[0:0] + x[5:, :][:0] if x.shape[1] else x[::2] * 1,
    "product outside": lambda x: x @ floats(x.shape[1], 4),
    "product inside": lambda x: x.T @ floats(x.shape[0], 4),
    "products": lambda x: x.unsqueeze(1) @ floats(x.shape[1], 2),
    "einsum": lambda x: Tensor.einsum("ij,kj->ik", x, floats(5, x.shape[1])),
    "outer": lambda x: x.reshape(-1).outer(floats(3)),
    "gather nothing": lambda x: x[ints([])],
    "gather along": lambda x: x.gather(0, ints(np.zeros((0, x.shape[1])))),
    "scatter nothing": lambda x: floats(3, 3).scatter_add(0, ints(np.zeros(x.shape)), x),
    "take nothing": lambda x: x.take(ints([])),
    "sort": lambda x: x.sort(1)[0] + x.argsort(1),
    "top of none": lambda x: x.topk(0, 1)[0],
    "classes": lambda x: ints([]).one_hot(4).float(),
    "embedding": lambda x: ints([]).embedding(floats(5, 3)),
    "layer norm": lambda x: x.layer_norm(x.shape[1]),
    "batch norm": lambda x: x.batch_norm(None, None, training=True),
    "batch norm at rest": lambda x: x.batch_norm(floats(x.shape[1]), floats(x.shape[1]).abs()),
    "group norm": lambda x: x.group_norm(1),
    "mean loss": lambda x: x.mse_loss(x * 2),
    "sum loss": lambda x: x.l1_loss(x * 2, "sum"),
    "dropout": lambda x: x.dropout(0.5, training=True),
    "clone": lambda x: x.clone(),
    "convolution of no images": lambda x: x.reshape(0, 2, 5, 5).conv2d(floats(3, 2, 3, 3)),
    "convolution of no channels": lambda x: floats(1, 0, 5, 5).conv2d(floats(3, 0, 3, 3)),
    "convolution to no channels": lambda x: floats(1, 2, 5, 5).conv2d(floats(0, 2, 3, 3)),
    "transposed convolution": lambda x: x.reshape(0, 2, 4, 4).conv_transpose2d(floats(2, 3, 3, 3)),
    "pools": lambda x: x.reshape(0, 2, 4, 4).max_pool2d(2) + x.reshape(0, 2, 4, 4).avg_pool2d(2),
    "attention": lambda x: x.reshape(0, 2, 3, 4).scaled_dot_product_attention(
        x.reshape(0, 2, 3, 4), x.reshape(0, 2, 3, 4)
    ),
    "attention to nothing": lambda x: floats(1, 2, 3, 4).scaled_dot_product_attention(
        floats(1, 2, 0, 4), floats(1, 2, 0, 4)
    ),
    "questions": lambda x: (x > 0).any().float() + (x > 0).all(1).float().sum(),
    "assignment": lambda x: floats(4, 3).assign(floats(4, 3))[2:2] * 1,
}


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)], ids=str)
@pytest.mark.parametrize("name", EMPTY)
def test_empty_tensor_goes_through_and_so_does_its_gradient(name, shape):
    x = floats(*shape).requires_grad_()

    y = EMPTY[name](x)
    (root,), leaves = canonicalize([y.node])
    params = [node for node in root.toposort() if node.op.name == "param"]
    (want,) = evaluate((root,), {n: storage.to_array(leaves[n.arg[0]]) for n in params})

    assert y.shape == want.shape
    same(y.numpy(), want)
    if y.requires_grad:
        y.sum().backward()
        assert x.grad.numpy().shape == shape


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda x: x.max(0), r"max of \(0, 3\): axis 0 is empty"),
        (lambda x: x.argmin(0), r"argmin of \(0, 3\): axis 0 is empty"),
        (lambda x: x.reshape(-1, 0), r"cannot infer -1"),
        (lambda x: x.topk(1, 0), r"no 1 elements"),
        (lambda x: x.item(), r"exactly one element, got shape \(0, 3\)"),
        (lambda x: bool(x), r"truth of 0 elements"),
        (lambda x: x[0], r"index 0 is out of range for axis 0 with 0 elements"),
        (lambda x: x.backward(), r"no tensor that requires a gradient|cotangent"),
    ],
)
def test_questions_that_nothing_answers(ask, match):
    with pytest.raises(InkleError, match=match):
        ask(floats(0, 3))


def test_empty_tensors_print_and_leave():
    x = floats(0, 3)

    assert repr(x) == "Tensor([], dtype=float32, shape=(0, 3))" or "shape=(0, 3)" in repr(x)
    assert x.tolist() == []
    assert list(x) == []
    assert x.numpy().shape == (0, 3)


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values", [[NAN, 1.0, 2.0], [INF, -INF, 0.0], [-0.0, 0.0, NAN], [NAN, INF, 1.0]]
)
def test_nan_and_infinity_go_where_numpy_lets_them_go(values):
    x, a = Tensor(values), np.array(values, np.float32)

    with np.errstate(all="ignore"):
        same(x.max().item(), a.max())
        same(x.min().item(), a.min())
        same(x.sum().item(), a.sum())
        same(x.sort()[0].numpy(), np.sort(a))
        same(x.maximum(Tensor([0.0, NAN, -1.0])).numpy(), np.maximum(a, np.float32([0, NAN, -1])))
        same(x.argmax().item(), a.argmax())
        same((x > 0).numpy(), a > 0)
        same((x == x).numpy(), a == a)
        same((x * 0).numpy(), a * 0)
        same(x.sqrt().numpy(), np.sqrt(a))
        same((1 / x).numpy(), 1 / a)
        same(np.signbit((-x).numpy()), np.signbit(-a))
        assert np.isnan(x.softmax(0).numpy()).any() == bool(np.isnan(a).any() or (a == INF).any())


def test_bounds_that_are_nan_are_not_ignored():
    x = Tensor([1.0, NAN, 3.0])

    same(x.clamp(NAN).numpy(), np.full(3, NAN, np.float32))
    same(x.clamp(max=Tensor([NAN, 1.0, 2.0])).numpy(), np.float32([NAN, NAN, 2]))
    same(x.clamp(2, 1).numpy(), np.float32([1, NAN, 1]))


def test_losses_at_the_ends_of_their_options():
    x, y = Tensor([[1.0, 2.0], [3.0, 5.0]]), Tensor([[2.0, 2.0], [3.0, 1.0]])

    assert x.smooth_l1_loss(y, beta=0).item() == x.l1_loss(y).item() == 1.25
    assert np.isnan(x.cross_entropy(ints([-100, -100])).item())
    assert np.isnan(Tensor.zeros(0, 3).cross_entropy(ints([])).item())
    nothing = Tensor.ones(3, 0).scaled_dot_product_attention(Tensor.ones(3, 0), Tensor.ones(3, 2))
    same(nothing.numpy(), np.ones((3, 2)))


def test_arrays_on_the_left_become_tensors():
    array, x = np.array([[1.0, 2.0]]), Tensor([[1.0, 2.0], [3.0, 4.0]], dtype="float64")

    assert (array @ x).tolist() == [[7.0, 10.0]]
    assert (array - x).tolist() == [[0.0, 0.0], [-2.0, -2.0]]
    with pytest.raises(TypeError):
        "a" @ x


def test_masked_elements_never_leak_into_results():
    x = Tensor([[0.0, 1.0], [2.0, 3.0]])

    padded = (1 / x).pad((1, 1, 1, 1))
    summed = (x.pad((1, 1)) * Tensor([INF, 1.0, 1.0, NAN]))[:, 1:3].sum()

    assert padded[0].tolist() == [0.0] * 4
    assert padded[1].tolist() == [0.0, INF, 1.0, 0.0]
    assert summed.item() == 6.0


def test_division_and_remainder_by_zero_are_defined_for_integers():
    a = np.array([5, -5, 0, -(2**31), 7], np.int32)
    b = np.array([0, 0, 0, -1, -2], np.int32)
    x, y = Tensor(a), Tensor(b)

    assert (x // y).tolist() == [0, 0, 0, -(2**31), -4]
    assert (x % y).tolist() == [5, -5, 0, 0, -1]
    assert x.div(y, rounding_mode="trunc").tolist() == [0, 0, 0, -(2**31), -3]
    assert x.fmod(y).tolist() == [5, -5, 0, 0, 1]
    assert ((x // y) * y + x % y).tolist() == a.tolist()


@pytest.mark.parametrize("name", ["int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"])
def test_integers_wrap(name):
    low, high = dtypes.as_dtype(name).limits()
    x = Tensor(np.array([low, high], name))

    assert (x + 1).tolist() == [low + 1, low]
    assert (x - 1).tolist() == [high, high - 1]
    assert (x * 2).tolist() == [0, (high * 2) & high if low == 0 else -2]
    assert x.sum(dtype=name).item() == (-1 if low else high)


def test_shifts_take_the_count_modulo_the_width():
    x = Tensor(np.array([1, 2, -4], np.int32))

    assert (x << Tensor(np.array([33, -1, 0], np.int32))).tolist() == [2, 0, -4]
    assert (x >> Tensor(np.array([32, 31, 33], np.int32))).tolist() == [1, 0, -2]


def test_floats_become_the_nearest_integer_that_exists():
    x = Tensor([NAN, 1e30, -1e30, 3.9, -3.9, INF, -INF])

    assert x.cast("int32").tolist() == [0, 2**31 - 1, -(2**31), 3, -3, 2**31 - 1, -(2**31)]
    assert x.cast("uint8").tolist() == [0, 255, 0, 3, 0, 255, 0]


def test_numbers_of_python_keep_their_precision_where_a_dtype_asks_for_it():
    assert Tensor([0.1], dtype="float64").item() == 0.1
    assert Tensor(2**63, dtype="uint64").item() == 2**63
    assert Tensor([2049.0], dtype="float16").item() == 2048.0
    assert Tensor(1 + 2**-8 + 2**-30, dtype="bfloat16").item() == 1 + 2**-7


def test_floats_overflow_to_infinity():
    assert (Tensor([60000.0], dtype="float16") * 2).tolist() == [INF]
    assert Tensor([1e39], dtype="float64").cast("float32").tolist() == [INF]
    assert Tensor([-1e39]).tolist() == [-INF]
    assert Tensor([1000.0]).exp().tolist() == [INF]


# --- machines that lack something -----------------------------------------------------------------


def run(program, **settings):
    environment = {**os.environ, "INKLE_CHECK": "0", **settings}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=60, env=environment,
    )  # fmt: skip


def test_without_llvmlite_there_is_one_sentence():
    done = run("""
        import sys
        sys.modules["llvmlite"] = None
        from inkle import Tensor
        from inkle.errors import DeviceError
        try:
            (Tensor([1.0]) + 1).numpy()
        except DeviceError as error:
            print(error)
    """)

    assert done.returncode == 0, done.stderr
    assert "llvmlite" in done.stdout
    assert len(done.stdout.splitlines()) == 1


PROGRAM = """
    from inkle import Tensor
    print((Tensor([1.0, 2.0]) * 3.25).tolist())
"""


@pytest.mark.parametrize("kind", ["a file in the way", "read-only", "a folder that is not there"])
def test_cache_that_cannot_be_written_costs_time_only(tmp_path, kind):
    folder = tmp_path / "cache"
    if kind == "a file in the way":
        folder.write_text("no folder")
    elif kind == "read-only":
        folder.mkdir()
        folder.chmod(0o500)
    else:
        folder = folder / "deep" / "er"

    done = run(PROGRAM, INKLE_CACHE=str(folder))

    assert done.returncode == 0, done.stderr
    assert done.stdout == "[3.25, 6.5]\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_full_disk_costs_time_only(tmp_path):
    full = """
    import inkle.runtime.disk_cache as cache
    def write(path, content):
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(content)
    cache._write = write
    """

    done = run(full + PROGRAM, INKLE_CACHE=str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert done.stdout == "[3.25, 6.5]\n"
    assert done.stderr.count("No space left on device") == 1


@pytest.mark.slow
def test_damaged_cache_is_rebuilt(tmp_path):
    first = run(PROGRAM, INKLE_CACHE=str(tmp_path))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for number, path in enumerate(files):
        content = path.read_bytes()
        path.write_bytes([b"", content[: len(content) // 2], b"x" * len(content)][number % 3])

    second = run(PROGRAM, INKLE_CACHE=str(tmp_path))

    assert files
    assert first.stdout == second.stdout == "[3.25, 6.5]\n"
    assert second.returncode == 0, second.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("INKLE_THREADS", "many"), ("INKLE_THREADS", "-1"), ("INKLE_TARGET", "abacus"),
     ("INKLE_CHECK", "yes")],
)  # fmt: skip
def test_wrong_settings_are_one_error(name, value):
    done = run(PROGRAM, **{name: value})

    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("inkle.errors.")
    assert value in last


def test_llvmlite_is_the_only_dependency_besides_numpy():
    needed = importlib.metadata.requires("inkle") or []

    assert {each.split(">")[0] for each in needed if "extra" not in each} == {"numpy", "llvmlite"}
