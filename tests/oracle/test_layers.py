"""Softmax, normalisation, losses, attention, gather and scatter against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.tensor import Tensor, training
from tests.oracle.compare import agree, check, numbers


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 5), -1), ((3, 5), 0), ((2, 3, 4), 1), ((1,), 0), ((), 0)]
)
def test_softmax_and_its_gradient(torch, name, shape, axis):
    oracle = getattr(torch.nn.functional, name)

    check(torch, lambda x: getattr(x, name)(axis), lambda x: oracle(x, axis), [numbers(shape)])


def test_softmax_does_not_overflow_and_propagates_nan(torch):
    x = np.array([[1000.0, 1000.0], [-1000.0, 0.0], [np.nan, 0.0], [-np.inf, 0.0]], np.float32)

    check(torch, lambda x: x.softmax(), lambda x: x.softmax(-1), [x], gradients=False)
    check(torch, lambda x: x.log_softmax(), lambda x: x.log_softmax(-1), [x], gradients=False)


def test_softmax_of_integers_and_with_a_dtype(torch):
    x = np.array([[1, 2, 3]])

    agree(Tensor(x).softmax(dtype="float64"), torch.tensor(x).softmax(-1, dtype=torch.float64))
    assert Tensor(x).softmax().dtype.name == "float32"


@pytest.mark.parametrize("shape", [(5,), (4, 5)])
def test_layer_norm_and_its_gradients(torch, shape):
    arrays = [numbers((3, 4, 5)), numbers(shape, seed=1), numbers(shape, seed=2)]

    check(torch, lambda x, w, b: x.layer_norm(shape, w, b),
          lambda x, w, b: torch.nn.functional.layer_norm(x, shape, w, b), arrays)  # fmt: skip


def test_layernorm_as_a_method(torch):
    check(torch, lambda x: x.layernorm(), lambda x: torch.nn.functional.layer_norm(x, (5,)),
          [numbers((3, 5))])  # fmt: skip


def test_rms_norm(torch):
    check(torch, lambda x: x.rms_norm(eps=1e-5),
          lambda x: torch.nn.functional.rms_norm(x, (5,), eps=1e-5), [numbers((3, 5))])  # fmt: skip


def test_group_norm(torch):
    arrays = [numbers((2, 6, 3, 3)), numbers((6,), seed=1), numbers((6,), seed=2)]

    check(torch, lambda x, w, b: x.group_norm(3, w, b),
          lambda x, w, b: torch.nn.functional.group_norm(x, 3, w, b), arrays)  # fmt: skip


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4, 5)])
def test_batch_norm_in_training_updates_running_statistics(torch, shape):
    mean, var = np.zeros(3), np.ones(3)
    arrays = [numbers(shape), numbers((3,), seed=1), numbers((3,), seed=2)]
    ours = Tensor(mean), Tensor(var)
    theirs = torch.tensor(mean), torch.tensor(var)

    with training():
        check(torch, lambda x, w, b: x.batch_norm(*ours, w, b),
              lambda x, w, b: torch.nn.functional.batch_norm(x, *theirs, w, b, training=True),
              arrays)  # fmt: skip

    agree(ours[0], theirs[0])
    agree(ours[1], theirs[1])


def test_batch_norm_outside_training_uses_running_statistics(torch):
    mean, var = numbers((3,)), numbers((3,), low=0.5, seed=1)
    arrays = [numbers((4, 3, 2)), numbers((3,), seed=2), numbers((3,), seed=3)]

    check(torch, lambda x, w, b: x.batch_norm(Tensor(mean), Tensor(var), w, b),
          lambda x, w, b: torch.nn.functional.batch_norm(
              x, torch.tensor(mean), torch.tensor(var), w, b), arrays)  # fmt: skip


def test_batchnorm_with_given_statistics(torch):
    x, mean, var = numbers((4, 3, 2, 2)), numbers((3,), seed=1), numbers((3,), low=0.5, seed=2)

    check(torch, lambda x, m, v: x.batchnorm(None, None, m, (v + 1e-5).rsqrt()),
          lambda x, m, v: torch.nn.functional.batch_norm(x, m.detach(), v.detach()),
          [x, mean, var], gradients=False)  # fmt: skip


def test_normalize(torch):
    check(
        torch,
        lambda x: x.normalize(),
        lambda x: torch.nn.functional.normalize(x),
        [numbers((3, 5))],
    )


# --- losses ---------------------------------------------------------------------------------------

CLASSES = np.array([0, 4, 2, 1])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [False, True])
def test_cross_entropy_of_classes(torch, reduction, smoothing, weighted, ignored):
    classes = CLASSES.copy()
    if ignored:
        classes[1] = -100
    weight = numbers((5,), low=0.5, seed=4) if weighted else None

    check(
        torch,
        lambda x: x.cross_entropy(
            Tensor(classes), reduction, smoothing, weight=None if weight is None else Tensor(weight)
        ),
        lambda x: torch.nn.functional.cross_entropy(
            x, torch.tensor(classes), reduction=reduction, label_smoothing=smoothing,
            weight=None if weight is None else torch.tensor(weight),
        ),
        [numbers((4, 5))],
    )  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_cross_entropy_of_probabilities(torch, reduction, weighted, shape):
    weight = numbers((5,), low=0.5, seed=4) if weighted else None
    arrays = [numbers(shape), numbers(shape, low=0, high=1, seed=1)]

    check(
        torch,
        lambda x, y: x.cross_entropy(
            y, reduction, 0.1, weight=None if weight is None else Tensor(weight)
        ),
        lambda x, y: torch.nn.functional.cross_entropy(
            x, y, reduction=reduction, label_smoothing=0.1,
            weight=None if weight is None else torch.tensor(weight),
        ),
        arrays,
    )  # fmt: skip


def test_cross_entropy_of_images_and_of_one_sample(torch):
    classes = np.random.default_rng(0).integers(0, 5, (2, 3, 3))
    oracle = torch.nn.functional.cross_entropy

    check(torch, lambda x: x.cross_entropy(Tensor(classes)),
          lambda x: oracle(x, torch.tensor(classes)), [numbers((2, 5, 3, 3))])  # fmt: skip
    check(torch, lambda x: x.cross_entropy(Tensor(3)), lambda x: oracle(x, torch.tensor(3)),
          [numbers((5,))])  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_sparse_categorical_crossentropy(torch, dtype):
    classes = CLASSES.astype(dtype)

    check(torch, lambda x: x.sparse_categorical_crossentropy(Tensor(classes)),
          lambda x: torch.nn.functional.cross_entropy(x, torch.tensor(CLASSES)),
          [numbers((4, 5))])  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction")  # PyTorch on the mean of kl_div
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "kl_div"])
def test_loss_of_pairs(torch, name, reduction):
    arrays = [numbers((3, 4)), numbers((3, 4), low=0.1, seed=1)]

    check(torch, lambda x, y: getattr(x, name)(y, reduction),
          lambda x, y: getattr(torch.nn.functional, name)(x, y, reduction=reduction),
          arrays)  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_binary_cross_entropy(torch, reduction):
    oracle = torch.nn.functional
    probabilities, targets = (
        numbers((3, 4), low=0.01, high=0.99),
        numbers((3, 4), low=0, high=1, seed=1),
    )
    scores, weight = numbers((3, 4), low=-5, high=5), numbers((4,), low=0.5, seed=2)

    check(torch, lambda x, y: x.binary_crossentropy(y, reduction),
          lambda x, y: oracle.binary_cross_entropy(x, y, reduction=reduction),
          [probabilities, targets])  # fmt: skip
    check(torch, lambda x, y: x.binary_crossentropy_logits(y, reduction, Tensor(weight)),
          lambda x, y: oracle.binary_cross_entropy_with_logits(
              x, y, reduction=reduction, pos_weight=torch.tensor(weight)),
          [scores, targets])  # fmt: skip


def test_binary_cross_entropy_at_certainty(torch):
    x, y = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])

    check(torch, lambda x, y: x.binary_crossentropy(y, "none"),
          lambda x, y: torch.nn.functional.binary_cross_entropy(x, y, reduction="none"),
          [x, y], gradients=False)  # fmt: skip


def test_nll_loss(torch):
    x = np.log(numbers((4, 5), low=0.1, high=1))

    check(torch, lambda x: x.nll_loss(Tensor(CLASSES)),
          lambda x: torch.nn.functional.nll_loss(x, torch.tensor(CLASSES)), [x])  # fmt: skip


# --- attention ------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (5, 4)])
def test_attention_and_its_gradients(torch, causal, shape):
    arrays = [numbers(shape, seed=i) for i in range(3)]
    oracle = torch.nn.functional.scaled_dot_product_attention

    check(torch, lambda q, k, v: q.scaled_dot_product_attention(k, v, is_causal=causal),
          lambda q, k, v: oracle(q, k, v, is_causal=causal), arrays)  # fmt: skip


@pytest.mark.parametrize("dtype", ["bool", "float64"])
def test_attention_with_a_mask(torch, dtype):
    arrays = [numbers((2, 5, 4), seed=1), numbers((2, 6, 4), seed=2), numbers((2, 6, 3), seed=3)]
    mask = numbers((5, 6), seed=4)
    mask = (mask < 1.5) if dtype == "bool" else mask
    oracle = torch.nn.functional.scaled_dot_product_attention

    check(torch, lambda q, k, v: q.scaled_dot_product_attention(k, v, Tensor(mask)),
          lambda q, k, v: oracle(q, k, v, torch.tensor(mask)), arrays)  # fmt: skip


def test_attention_with_grouped_queries(torch):
    arrays = [
        numbers((2, 6, 5, 4), seed=1),
        numbers((2, 2, 7, 4), seed=2),
        numbers((2, 2, 7, 4), seed=3),
    ]
    oracle = torch.nn.functional.scaled_dot_product_attention

    check(torch, lambda q, k, v: q.scaled_dot_product_attention(k, v, enable_gqa=True, scale=0.3),
          lambda q, k, v: oracle(q, k, v, enable_gqa=True, scale=0.3), arrays)  # fmt: skip


# --- gather and scatter ---------------------------------------------------------------------------

INDEX = np.array([[0, 2, 1, 0], [1, 1, 2, 0]])


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_gather_and_its_gradient(torch, dim):
    x = numbers((3, 4))

    check(
        torch,
        lambda x: x.gather(dim, Tensor(INDEX)),
        lambda x: x.gather(dim, torch.tensor(INDEX)),
        [x],
    )


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include", [True, False])
def test_scatter_reduce(torch, dim, reduce, include):
    arrays = [numbers((3, 4)), numbers((2, 4), seed=1)]

    check(
        torch,
        lambda x, s: x.scatter_reduce(dim, Tensor(INDEX), s, reduce, include_self=include),
        lambda x, s: x.scatter_reduce(dim, torch.tensor(INDEX), s, reduce, include_self=include),
        arrays,
        gradients=reduce in ("sum", "mean", "amax", "amin"),
    )


def test_scatter_with_unique_places_and_its_gradients(torch):
    index = np.array([[0, 1, 2, 0], [1, 0, 0, 2]])
    arrays = [numbers((3, 4)), numbers((2, 4), seed=1)]

    check(torch, lambda x, s: x.scatter(0, Tensor(index), s),
          lambda x, s: x.scatter(0, torch.tensor(index), s), arrays)  # fmt: skip
    arrays[1] = numbers((3, 5), seed=1)  # longer than the index: what is beyond does not count
    check(torch, lambda x, s: x.scatter(0, Tensor(index), s),
          lambda x, s: x.scatter(0, torch.tensor(index), s), arrays, gradients=False)  # fmt: skip
    check(torch, lambda x: x.scatter(0, Tensor(index), 2.5),
          lambda x: x.scatter(0, torch.tensor(index), 2.5), arrays[:1])  # fmt: skip


def test_scatter_add_with_repeated_places_and_its_gradients(torch):
    arrays = [numbers((3, 4)), numbers((2, 4), seed=1)]

    check(torch, lambda x, s: x.scatter_add(1, Tensor(INDEX), s),
          lambda x, s: x.scatter_add(1, torch.tensor(INDEX), s), arrays)  # fmt: skip


def test_gradient_of_scatter_goes_to_the_value_that_won():
    x, values = Tensor([0.0, 0.0]).requires_grad_(), Tensor([5.0, 6.0, 7.0]).requires_grad_()

    x.scatter(0, Tensor([0, 0, 1]), values).sum().backward()

    assert values.grad.tolist() == [0.0, 1.0, 1.0]
    assert x.grad.tolist() == [0.0, 0.0]


def test_embedding_and_its_gradient(torch):
    index = np.array([[0, 3, 3], [1, 0, 3]])

    check(torch, lambda w: Tensor(index).embedding(w),
          lambda w: torch.nn.functional.embedding(torch.tensor(index), w),
          [numbers((4, 5))])  # fmt: skip


def test_index_select_and_take(torch):
    x, index = numbers((4, 5)), np.array([0, 3, 3])

    check(torch, lambda x: x.index_select(1, Tensor(index)),
          lambda x: x.index_select(1, torch.tensor(index)), [x])  # fmt: skip
    check(torch, lambda x: x.take(Tensor(index)), lambda x: x.take(torch.tensor(index)), [x])


def test_one_hot(torch):
    index = np.array([[0, 2], [1, 1]])

    agree(Tensor(index).one_hot(4), torch.nn.functional.one_hot(torch.tensor(index), 4))


def test_narrow_floats_scatter_in_float32():
    ones = Tensor(np.ones(4096)).half()

    total = Tensor([0.0]).half().scatter_add(0, Tensor(np.zeros(4096, np.int64)), ones)

    assert total.tolist() == [4096.0]
