"""Wrong arguments are found on the line that is run; messages say what, and what to do."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.errors import DTypeError, GradientError, IndexRangeError, OptionError, ShapeError
from inkle.tensor import Tensor, grad

X = np.arange(6.0).reshape(2, 3)
MESSAGES = [
    (lambda x: x + Tensor([1, 2]), ShapeError, r"add: cannot broadcast \(2, 3\) with \(2,\)"),
    (lambda x: x.reshape(4, 2), ShapeError, r"cannot reshape \(2, 3\) with 6 elements to \(4, 2\)"),
    (lambda x: x.reshape(4, -1), ShapeError, r"cannot infer -1.*6 elements.*4"),
    (lambda x: x.reshape(-1, -1), ShapeError, r"at most one -1"),
    (lambda x: x.reshape(2.5, 2), DTypeError, r"size in reshape must be an integer, got 2.5"),
    (lambda x: x.sum(2), IndexRangeError, r"sum: no axis 2 in a tensor of 2 axes"),
    (lambda x: x.sum((0, 0)), ShapeError, r"name an axis twice"),
    (lambda x: x.sum((0, -2)), ShapeError, r"name an axis twice"),
    (lambda x: x.long().mean(), DTypeError, r"mean needs floats, got int64.*x.float\(\)"),
    (lambda x: x[:, :0].max(1), ShapeError, r"max of \(2, 0\): axis 1 is empty"),
    (lambda x: x[:0].argmax(), ShapeError, r"empty"),
    (lambda x: x.permute(0, 0), ShapeError, r"each axis"),
    (lambda x: x.permute(0), ShapeError, r"permute of \(2, 3\) needs 2 axes"),
    (lambda x: x.expand(2, 4), ShapeError, r"cannot expand \(2, 3\) to \(2, 4\)"),
    (lambda x: x.expand(3), ShapeError, r"has more axes"),
    (lambda x: x.cat(x.T), ShapeError, r"cat along axis 0.*\(2, 3\), \(3, 2\)"),
    (lambda x: x.stack(x.T), ShapeError, r"stack needs equal shapes"),
    (lambda x: x.cat(3), DTypeError, r"cat needs tensors, got int 3"),
    (lambda x: x.split(0), ShapeError, r"at least 1 element"),
    (lambda x: x.split((1, 2)), ShapeError, r"must add up to 2"),
    (lambda x: x.chunk(0), ShapeError, r"at least 1 chunk"),
    (lambda x: x.pad((1,)), ShapeError, r"even number"),
    (lambda x: x.pad((-2, -2)), ShapeError, r"less than nothing"),
    (lambda x: x.pad((3, 0), "reflect"), ShapeError, r"pad reflect: widths 3, 0"),
    (lambda x: x.pad((1, 0), "mirror"), ShapeError, r"mode of pad must be one of"),
    (lambda x: x.long().pad((1, 0), value=1.5), DTypeError, r"pad of int64 with 1.5"),
    (lambda x: x.unfold(1, 4, 1), ShapeError, r"windows of 4, 1 apart, do not fit 3"),
    (lambda x: x @ x, ShapeError, r"matmul of \(2, 3\) and \(2, 3\): inner sizes 3 and 2"),
    (lambda x: x @ 2, DTypeError, r"matmul needs a tensor, got 2; use \*"),
    (lambda x: x @ Tensor(2.0), ShapeError, r"at least one axis on both sides"),
    (lambda x: x.bool() @ x.T.bool(), DTypeError, r"bools"),
    (lambda x: x.conv2d(x), ShapeError, r"conv2d needs an image"),
    (lambda x: Tensor.zeros(1, 2, 3, 3).conv2d(Tensor.zeros(1, 2, 4, 4)), ShapeError,
     r"a window of \(4, 4\).*does not fit.*\(3, 3\)"),
    (lambda x: Tensor.zeros(1, 2, 3, 3).conv2d(Tensor.zeros(1, 3, 1, 1)), ShapeError,
     r"2 channels"),
    (lambda x: Tensor.zeros(1, 2, 3, 3).conv2d(Tensor.zeros(3, 1, 1, 1), groups=2), ShapeError,
     r"2 groups do not divide 3"),
    (lambda x: Tensor.zeros(1, 2, 3, 3).conv2d(Tensor.zeros(1, 2, 1, 1), stride=0), ShapeError,
     r"stride must be at least 1, got 0"),
    (lambda x: Tensor.zeros(1, 2, 3, 3).conv2d(Tensor.zeros(1, 2, 1, 1), padding=(1, 2, 3)),
     ShapeError, r"padding must be one number or 2, got"),
    (lambda x: Tensor.zeros(1, 2, 3, 3).conv2d(Tensor.zeros(1, 2, 1, 1), Tensor.zeros(2)),
     ShapeError, r"bias must be \(1,\)"),
    (lambda x: x.max_pool2d(2, padding=2), ShapeError, r"padding \(2, 2\) must be at most half"),
    (lambda x: x.max_pool2d(3), ShapeError, r"does not fit"),
    (lambda x: x[2], IndexRangeError, r"index 2 is out of range for axis 0 with 2 elements"),
    (lambda x: x[0, 0, 0], IndexRangeError, r"3 indices are too many.*\(2, 3\)"),
    (lambda x: x[..., ...], IndexRangeError, r"one Ellipsis"),
    (lambda x: x[1.0], DTypeError, r"index of axis 0 must be an integer"),
    (lambda x: x["a"], DTypeError, r"index of axis 0 must be an integer"),
    (lambda x: x[[0, 2]], IndexRangeError, r"index 2 is out of range for axis 0"),
    (lambda x: x[np.array([0.5])], DTypeError, r"holds float64"),
    (lambda x: x[Tensor([0.5])], DTypeError, r"has dtype float32, not integer or bool"),
    (lambda x: x[:, ::0], DTypeError, r"slice"),
    (lambda x: x.gather(0, Tensor([0])), ShapeError, r"gather along axis 0"),
    (lambda x: x.gather(0, Tensor([[0.5]])), DTypeError, r"gather needs an integer tensor"),
    (lambda x: x.scatter(0, Tensor([[0]]), Tensor([[1]])), DTypeError, r"values are int64"),
    (lambda x: x.scatter(0, Tensor([[0, 0]]), Tensor([[1.0]]).double()), ShapeError, r"smaller"),
    (lambda x: x.where(x, x), DTypeError, r"where needs a bool condition"),
    (lambda x: x & x, DTypeError, r"and needs bool, int, uint, got float64"),
    (lambda x: x.bool() - x.bool(), DTypeError, r"sub needs"),
    (lambda x: x.long() ** -1, DTypeError, r"int64 \*\* -1 is no integer"),
    (lambda x: x.cast("uint8") + 300, DTypeError, r"300 does not fit uint8 \(0 to 255\)"),
    (lambda x: x.cast("uint8") < -1, DTypeError, r"-1 does not fit uint8"),
    (lambda x: x.cast("uint64") + x.long(), DTypeError, r"no integer type holds both"),
    (lambda x: x + "a", DTypeError, r"add needs a tensor or a number, got str 'a'"),
    (lambda x: x + None, DTypeError, r"got NoneType"),
    (lambda x: x.clamp(), DTypeError, r"min, max or both"),
    (lambda x: x.gelu("erf"), ShapeError, r"approximate must be one of"),
    (lambda x: x.cross_entropy(Tensor([0, 1, 2])), ShapeError,
     r"need classes of \(2,\), got \(3,\)"),
    (lambda x: x.cross_entropy(Tensor([True, False])), DTypeError, r"classes must be an integer"),
    (lambda x: x.cross_entropy(Tensor([0, 1]), "avg"), ShapeError, r"reduction must be one of"),
    (lambda x: x.mse_loss(x.T), ShapeError, r"mse_loss: cannot broadcast|differ"),
    (lambda x: x.layer_norm(4), ShapeError, r"layer_norm over \(4,\) does not fit"),
    (lambda x: x.dropout(1.5), ShapeError, r"probability"),
    (lambda x: x.bitcast("int32"), DTypeError, r"equal widths, got float64 and int32"),
    (lambda x: x.diagonal(0, 1, 1), ShapeError, r"two different axes"),
    (lambda x: x.topk(4, 1), ShapeError, r"no 4 elements"),
    (lambda x: Tensor.einsum("ij,jk", x), ShapeError, r"describes 2 operands, got 1"),
    (lambda x: Tensor.einsum("ijk", x), ShapeError, r"does not describe 2 axes"),
    (lambda x: Tensor.einsum("ij,ij", x, x.T), ShapeError, r"axis 'i' is 2 and 3 long"),
    (lambda x: Tensor.einsum("ij->k", x), ShapeError, r"new one"),
    (lambda x: x.backward(), GradientError, r"requires_grad_\(\)"),
    (lambda x: x.requires_grad_().exp().backward(), GradientError,
     r"shape \(2, 3\) needs a cotangent"),
    (lambda x: x.sum().gradient(Tensor(1.0)), GradientError, r"does not depend on target 0"),
    (lambda x: x.sum().gradient(), GradientError, r"y.gradient\(x\)"),
    (lambda x: x.sum().gradient(2), DTypeError, r"gradient is by tensors"),
    (lambda x: x.long().requires_grad_(), DTypeError, r"only floats have gradients, got int64"),
    (lambda x: x.long().sum().gradient(x), GradientError, r"float"),
    (lambda x: grad(lambda y: y)(x), GradientError, r"cotangent"),
    (lambda x: grad(lambda y: 3)(x), GradientError, r"must return a tensor, got 3"),
    (lambda x: grad(lambda y: y.sum(), 1)(x), GradientError, r"no argument number 1"),
    (lambda x: grad(lambda y: y.sum())(3), GradientError, r"must be a float tensor, got 3"),
    (lambda x: x.layernorm("a"), DTypeError, r"integer"),
    (lambda x: x.sum(dtype="bool"), DTypeError, r"sum has no result of bools; use any"),
    (lambda x: x.prod(dtype="bool"), DTypeError, r"prod has no result of bools"),
    (lambda x: x.cumsum(3), IndexRangeError, r"cumsum: no axis 3"),
    (lambda x: x.cast(None), DTypeError, r"no element type None"),
    (lambda x: x.bool().bitcast("uint8"), DTypeError, r"a bool has no bits; use cast"),
    (lambda x: x.cast("uint8").bitcast("bool"), DTypeError, r"a bool has no bits; use cast"),
    (lambda x: int(x[0, 0] / 0), OptionError, r"nan is no integer; cast\(int64\)"),
    (lambda x: int(x[1, 1] / 0), OptionError, r"inf is no integer"),
    (lambda x: f"{x:.2f}", DTypeError, r"'.2f' is for one number, got shape \(2, 3\)"),
    (lambda x: x.long().scatter(0, Tensor([[0]]), 1.5), DTypeError, r"scatter: 1.5 does not fit"),
    (lambda x: x.cast("uint8").scatter(0, Tensor([[0]]), 300), DTypeError, r"not fit uint8"),
    (lambda x: x.bool().scatter_add(0, Tensor([[0]]), x.bool()), DTypeError, r"numbers, got bool"),
    (lambda x: x.bool().scatter_reduce(0, Tensor([[0]]), x.bool(), "amax"), DTypeError,
     r"scatter_reduce combines numbers, got bool"),
    (lambda x: x.smooth_l1_loss(x, beta=-1), OptionError, r"finite beta >= 0, got -1"),
    (lambda x: x.smooth_l1_loss(x, beta="a"), DTypeError, r"beta must be a number"),
    (lambda x: x.cross_entropy(Tensor([0, 1]), label_smoothing="a"), DTypeError,
     r"label_smoothing must be a number"),
    (lambda x: x.cross_entropy(Tensor([0, 1]), ignore_index=0.5), DTypeError,
     r"ignore_index must be an integer"),
    (lambda x: x.sum().nll_loss(Tensor(0)), ShapeError, r"nll_loss needs .* got a number"),
    (lambda x: x[0].scaled_dot_product_attention(x, x), ShapeError, r"query must be a tensor"),
    (lambda x: x.scaled_dot_product_attention(x, x, enable_gqa=True), ShapeError,
     r"at least 3 axes"),
    (lambda x: x.scaled_dot_product_attention(x, x, attn_mask=X), DTypeError,
     r"attn_mask must be a tensor"),
    (lambda x: Tensor.arange(300, dtype="uint8"), DTypeError, r"arange: 299 does not fit uint8"),
    (lambda x: Tensor.arange(-1, 3, dtype="uint8"), DTypeError, r"arange: -1 does not fit uint8"),
    (lambda x: Tensor.arange(2**70), DTypeError, r"does not fit int64"),
    (lambda x: Tensor.randint(2, low=0, high=300, dtype="uint8"), DTypeError,
     r"randint: 299 does not fit uint8"),
    (lambda x: Tensor.randint(2, low=0, high=2**80), DTypeError, r"does not fit int64"),
    (lambda x: Tensor.randperm(300, dtype="uint8"), DTypeError, r"299 does not fit uint8"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MESSAGES)))
def test_message(number):
    function, error, match = MESSAGES[number]

    with pytest.raises(error, match=match):
        function(Tensor(X))


ASSIGNMENTS = [
    (lambda x: x.assign(Tensor([1, 2])), ShapeError, r"assign: cannot broadcast"),
    (lambda x: x.assign(np.zeros((3, 2, 3))), ShapeError, r"do not fit a target of \(2, 3\)"),
    (lambda x: x.long().assign(1.5), DTypeError, r"1.5 does not fit int64"),
    (lambda x: x.long().assign(x), DTypeError, r"float64 to int64 loses values"),
    (lambda x: x.__setitem__(0, Tensor([1, 2])), ShapeError, r"assignment: cannot broadcast"),
    (lambda x: x.__setitem__(5, 1), IndexRangeError, r"index 5 is out of range"),
]


@pytest.mark.parametrize("number", range(len(ASSIGNMENTS)))
def test_wrong_assignment_changes_nothing(number):
    function, error, match = ASSIGNMENTS[number]
    x = Tensor(X)

    with pytest.raises(error, match=match):
        function(x)

    assert x.tolist() == X.tolist()


def test_errors_are_builtin_ones_too():
    x = Tensor(X)

    with pytest.raises(IndexError):
        x[2]
    with pytest.raises(ValueError, match="reshape"):
        x.reshape(4, 2)
    with pytest.raises(TypeError):
        x + "a"
