"""A function that is written out makes the very nodes that it makes by itself."""

import gc
import weakref

import pytest

from inkle import Context, Tensor, Variable, jit
from inkle.errors import DTypeError, ShapeError
from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import bool_, float16, float32, int64
from inkle.ir.node import const
from inkle.tensor import written_out as module
from inkle.tensor.convolution import padded_windows
from inkle.tensor.linear import matmul_node
from inkle.tensor.normalization import log_softmax_node, normalized, softmax_node
from inkle.tensor.reduction import logsumexp_node, mean_node, var_node
from inkle.tensor.selecting import one_hot_node
from inkle.tensor.written_out import written_out


@pytest.fixture(autouse=True)
def unchecked():
    """Compare here what checked mode would compare in every call."""
    with Context(INKLE_CHECK=False):
        yield


def sources(dtype, shape):
    """Return nodes of all operations that constructors could look for, as makers of new ones."""

    def leaf(sizes=shape):
        return tensor.buffer(dtype, sizes)

    def flipped():
        return shape[::-1]

    long = (*shape[:-1], 2 * shape[-1] + 1)
    return {
        "buffer": leaf, "param": lambda: tensor.param(0, dtype, shape),
        "elementwise": lambda: leaf() + leaf(), "negated": lambda: -leaf(),
        "cast": lambda: tensor.buffer(int64, shape).cast(dtype),
        "reshape": lambda: tensor.reshape(leaf((*shape, 1)), shape),
        "permute": lambda: tensor.permute(leaf(flipped()), range(len(shape))[::-1]),
        "expand": lambda: tensor.expand(leaf((1,) * len(shape)), shape),
        "slice": lambda: tensor.shrink(leaf(long), len(shape) - 1, 0, shape[-1]),
        "flip": lambda: tensor.flip(leaf(), (len(shape) - 1,)),
        "reduce": lambda: tensor.reduce(leaf((*shape, 3)), ops.MAXIMUM, (len(shape),)),
        "detach": lambda: tensor.detach(leaf()), "leaf": lambda: tensor.detach(leaf(), 12345),
        "contiguous": lambda: tensor.contiguous(leaf() + leaf()),
        "constant": lambda: tensor.full(2, dtype, shape),
        "computed": lambda: tensor.full(2, dtype, shape).exp(),
    }  # fmt: skip


FUNCTIONS = {
    "softmax": lambda x: (softmax_node, x, (len(x.shape) - 1,)),
    "log_softmax": lambda x: (log_softmax_node, x, (0,)),
    "logsumexp": lambda x: (logsumexp_node, x, (0, len(x.shape) - 1)),
    "normalized": lambda x: (normalized, x, (len(x.shape) - 1,), 1e-5),
    "var": lambda x: (var_node, x, mean_node(x, (0,)), (0,), 1),
    "matmul": lambda x: (matmul_node, x, tensor.buffer(x.dtype, (x.shape[-1], 5)), None),
    "matmul from the right": lambda x: (matmul_node, tensor.buffer(x.dtype, (3, x.shape[-2])), x,
                                        float32),
    "windows": lambda x: (padded_windows, x, (1,), (0,), float("-inf"), (2,), (1,), (1,), "pool"),
    "windows of two axes": lambda x: (padded_windows, x, (0, 0), (0, 0), 0, (1, 1), (1, 2), (1, 1),
                                      "conv"),
    "one hot": lambda x: (one_hot_node, x.cast(int64), 7),
    "product with itself": lambda x: (matmul_node, x, x, None),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [float32, float16], ids=str)
@pytest.mark.parametrize("shape", [(4, 4), (1, 1), (3, 1, 1)], ids=str)
def test_it_makes_the_same_nodes(name, dtype, shape):
    for _ in range(2):
        for kind, make in sources(dtype, shape).items():
            function, *args = FUNCTIONS[name](make())
            made = function(*args)
            assert made is function.__wrapped__(*args), kind


def test_constructors_that_look_at_a_source_are_left_to_the_function():
    @written_out
    def function(x, order):
        return tensor.contiguous(tensor.detach(tensor.reshape(tensor.permute(x, order), (6,))))

    @written_out
    def first(x):
        return tensor.contiguous(x)

    for each in (tensor.detach, tensor.contiguous):
        wrapped = written_out(each)
        for _ in range(3):
            for kind, make in sources(float32, (2, 3)).items():
                x = make()
                assert wrapped(x) is each(x), kind
                assert function(x, (1, 0)) is function.__wrapped__(x, (1, 0)), kind
                assert first(x) is tensor.contiguous(x), kind


def test_arguments_that_are_equal_but_not_the_same():
    @written_out
    def function(x, value):
        return x + const(value, float32) if isinstance(value, float) else x * const(value, float32)

    x = tensor.buffer(float32, (3,))
    for _ in range(3):
        for value in (1.0, 1, True, 0.0, -0.0, 0, 2.5, float("nan")):
            found = function(x, value)
            assert found is function.__wrapped__(x, value), value
    assert function(x, 0.0) is not function(x, -0.0)


def test_one_call_writes_nothing(monkeypatch):
    written = []
    write = module._write
    monkeypatch.setattr(module, "_write", lambda *args: written.append(1) or write(*args))

    @written_out
    def function(x):
        return (x + 1).exp()

    for n in (5, 6, 7, 5, 5, 5):
        function(tensor.buffer(float32, (n,)))

    assert len(written) == 1


def test_symbolic_sizes_and_literals_are_never_noted(monkeypatch):
    monkeypatch.setattr(module, "_write", None)
    n = Variable("written_out_n", 1, 10)

    @jit(sizes={"x": {0: n}})
    def function(x):
        return x.softmax(0) + x.layernorm(0)

    for size in (3, 4, 5, 3):
        assert function(Tensor([1.0] * size)).shape == (size,)
    for _ in range(4):
        softmax_node(const(1.0, float32), ())


def test_errors_are_those_of_the_function():
    for _ in range(3):
        with pytest.raises(ShapeError, match=r"inner sizes 3 and 4 differ"):
            Tensor.ones(2, 3).realize() @ Tensor.ones(4, 2).realize()
        with pytest.raises(DTypeError, match=r"eps of layernorm must be a number, got \[\]"):
            Tensor([1.0, 2.0]).layernorm(0, [])
        with pytest.raises(DTypeError, match=r"bools"):
            matmul_node(tensor.buffer(bool_, (2, 2)), tensor.buffer(bool_, (2, 2)), None)


def test_nodes_carry_the_line_of_the_user():
    x = Tensor([[1.0, 2.0]]).realize()
    for _ in range(3):
        y = (x + 1.0).softmax()
    made = [each for each in y.node.toposort() if each.src]

    assert {each.origin.partition(":")[0] for each in made} == {"test_written_out.py"}
    assert sum(each.op is forms.REDUCE for each in made) == 2


def test_sources_are_not_kept():
    node = tensor.buffer(float32, (5, 5))
    gone = weakref.ref(node)
    for _ in range(3):
        softmax_node(node, (1,))

    del node
    gc.collect()

    assert gone() is None


def test_positions_are_not_kept():
    """If somebody computed them, whoever writes them again would read them from memory."""
    for _ in range(3):
        one_hot_node(tensor.buffer(int64, (2,)), 977)
    gone = weakref.ref(tensor.arange(977))

    gc.collect()

    assert gone() is None
