"""Networks as tensor graphs, as the Tensor API and `autodiff` build them."""

from __future__ import annotations

from math import prod

from inkle.autodiff.reverse import gradient
from inkle.ir import ops, tensor
from inkle.ir.dtype import DType, float32, int32
from inkle.ir.node import Node, const
from tests.schedule.graphs import conv2d, matmul, window


class Leaves:
    """Hands out PARAM leaves."""

    def __init__(self) -> None:
        self.all: list[Node] = []

    def new(self, *shape: int, dtype: DType = float32) -> Node:
        self.all.append(tensor.param(len(self.all), dtype, shape))
        return self.all[-1]


def spread(x: Node, shape: tuple[int, ...], axis: int) -> Node:
    """Return a vector along `axis` repeated to `shape`."""
    ones = tuple([n if i == axis else 1 for i, n in enumerate(shape)])
    return tensor.expand(tensor.reshape(x, ones), shape)


def reduced(x: Node, op: ops.Op, axes: tuple[int, ...]) -> Node:
    """Return a reduction, repeated again along the reduced axes."""
    return tensor.unreduce(tensor.reduce(x, op, axes), x.shape, axes)


def mean(x: Node, axes: tuple[int, ...]) -> Node:
    return tensor.reduce(x, ops.ADD, axes) * (1.0 / prod(x.shape[axis] for axis in axes))


def relu(x: Node) -> Node:
    return (x <= 0.0).where(0.0, x)


def softmax(x: Node) -> Node:
    last = (len(x.shape) - 1,)
    e = (x - reduced(x, ops.MAXIMUM, last)).exp()
    return e / reduced(e, ops.ADD, last)


def log_softmax(x: Node) -> Node:
    last = (len(x.shape) - 1,)
    shifted = x - reduced(x, ops.MAXIMUM, last)
    return shifted - tensor.unreduce(
        tensor.reduce(shifted.exp(), ops.ADD, last).log(), x.shape, last
    )


def layer_norm(x: Node, gain: Node, bias: Node) -> Node:
    last = (len(x.shape) - 1,)
    centred = x - tensor.unreduce(mean(x, last), x.shape, last)
    scale = (mean(centred * centred, last) + 1e-5).rsqrt()
    normal = centred * tensor.unreduce(scale, x.shape, last)
    return normal * spread(gain, x.shape, last[0]) + spread(bias, x.shape, last[0])


def batch_norm(x: Node, gain: Node, bias: Node) -> tuple[Node, Node, Node]:
    axes = (0, 2, 3)
    m = mean(x, axes)
    centred = x - tensor.unreduce(m, x.shape, axes)
    variance = mean(centred * centred, axes)
    scale = (variance + 1e-5).rsqrt()
    normal = centred * tensor.unreduce(scale, x.shape, axes)
    return normal * spread(gain, x.shape, 1) + spread(bias, x.shape, 1), m, variance


def max_pool(x: Node, size: int = 2) -> Node:
    x = window(window(x, 3, size, size), 2, size, size)
    return tensor.reduce(x, ops.MAXIMUM, (3, 5))


def cross_entropy(logits: Node, labels: Node) -> Node:
    """Return the mean negative log-likelihood; `labels` are int32 of shape (rows,)."""
    index = tensor.reshape(labels, (*labels.shape, 1))
    picked = tensor.gather(log_softmax(logits), [index], [0, -1])
    return -mean(tensor.reshape(picked, labels.shape), (0,))


def adam(p: Node, g: Node, m: Node, v: Node, step: Node, rate: float = 1e-3) -> list[Node]:
    """Return the new parameter and moments; `step` is a float32 scalar, already counted up."""
    m = m * 0.9 + g * 0.1
    v = v * 0.999 + g * g * 0.001
    one = const(1.0, float32)
    first = one - const(0.9, float32).pow(step)
    second = one - const(0.999, float32).pow(step)
    up = m / tensor.broadcast_to(first, p.shape)
    down = (v / tensor.broadcast_to(second, p.shape)).sqrt() + 1e-8
    return [p - up / down * rate, m, v]


def mnist_step(batch: int = 512) -> list[Node]:
    """Return loss, new parameters, moments and running statistics of one training step."""
    leaves = Leaves()
    x, labels = leaves.new(batch, 1, 28, 28), leaves.new(batch, dtype=int32)
    shapes = [(32, 1, 5, 5), (32,), (32, 32, 5, 5), (32,), (32,), (32,), (64, 32, 3, 3), (64,)]
    shapes += [(64, 64, 3, 3), (64,), (64,), (64,), (10, 576), (10,)]
    params = [leaves.new(*shape) for shape in shapes]
    w1, b1, w2, b2, g1, s1, w3, b3, w4, b4, g2, s2, w5, b5 = params

    def conv(x: Node, w: Node, b: Node) -> Node:
        y = conv2d(x, w)
        return relu(y + spread(b, y.shape, 1))

    y = conv(conv(x, w1, b1), w2, b2)
    y, mean1, var1 = batch_norm(y, g1, s1)
    y = max_pool(y)
    y = conv(conv(y, w3, b3), w4, b4)
    y, mean2, var2 = batch_norm(y, g2, s2)
    y = tensor.reshape(max_pool(y), (batch, 576))
    logits = matmul(y, tensor.permute(w5, (1, 0)))
    logits = logits + spread(b5, logits.shape, 1)
    loss = cross_entropy(logits, labels)
    grads = gradient([loss], [const(1.0, float32)], params)
    outputs = [loss]
    step = leaves.new() + 1.0
    for p, g in zip(params, grads):
        outputs += adam(p, g, leaves.new(*p.shape), leaves.new(*p.shape), step)
    for old, new in ((32, mean1), (32, var1), (64, mean2), (64, var2)):
        outputs.append(leaves.new(old) * 0.9 + new * 0.1)
    return [*outputs, step]
