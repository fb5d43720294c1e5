"""Arrangements, products by name, distances and losses of margins against PyTorch and NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.tensor import Tensor
from tests.oracle.compare import agree, check, numbers

SAME = [  # written alike in both, of a tensor of (2, 3, 4)
    lambda x: x.ravel(), lambda x: x.swapaxes(0, 2), lambda x: x.moveaxis((0, 1), (2, 0)),
    lambda x: x.moveaxis(-1, 0), lambda x: x.reshape_as(x.mT), lambda x: x[:1].expand_as(x),
    lambda x: x.tile(2), lambda x: x.tile((2, 1, 1, 3)), lambda x: x.fliplr(), lambda x: x.flipud(),
    lambda x: x.rot90(), lambda x: x.rot90(2, (1, 2)), lambda x: x.rot90(-1, (2, 0)),
    lambda x: x.tensor_split(2, 2)[1], lambda x: x.tensor_split(3, 0)[2],
    lambda x: x.tensor_split((1, 9), 1)[1], lambda x: x.tensor_split((2, -2), 2)[1],
    lambda x: x.diag_embed(), lambda x: x.diag_embed(1, 0, 2), lambda x: x.diag_embed(-2),
    lambda x: x.diagflat(), lambda x: x[0].diagflat(-1), lambda x: x[0].trace(),
    lambda x: x.select(1, -1), lambda x: x[0, :, :3].matrix_power(3),
    lambda x: x[:, :, :3].matrix_power(1), lambda x: x[..., :3].matrix_power(0) + x[..., :3],
    lambda x: x[0].mm(x[1].T), lambda x: x.bmm(x.mT), lambda x: x[0].mv(x[1, 0]),
    lambda x: x[0, 0].vdot(x[1, 1]), lambda x: x.inner(x[0]), lambda x: x.kron(x[0]),
    lambda x: x[0].kron(x), lambda x: x[..., :3].cross(x[..., 1:], dim=-1),
    lambda x: x.cross(x.flip((0,)), dim=1), lambda x: x[0].addmm(x[1], x[0, :, :].T @ x[0], beta=2),
    lambda x: x.baddbmm(x, x[0].T @ x, alpha=3),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(SAME)))
def test_arrangements_and_products(torch, number):
    function = SAME[number]

    check(torch, function, function, [numbers((2, 3, 4))])


@pytest.mark.parametrize("name", ["hstack", "vstack", "column_stack", "block_diag", "concat"])
@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_joining(torch, name, shape):
    def theirs(x, y):
        return getattr(torch, name)(*([x, y] if name == "block_diag" else [[x, y]]))

    check(torch, lambda x, y: getattr(Tensor, name)(x, y), theirs,
          [numbers(shape), numbers(shape, seed=1)])  # fmt: skip


@pytest.mark.parametrize("name", ["tril_indices", "triu_indices"])
@pytest.mark.parametrize(
    "case", [(3, 4), (4, 3, 1), (3, 3, -2), (2, 5, 9), (0, 3), (3, 0)], ids=str
)
def test_places_of_triangles(torch, name, case):
    agree(getattr(Tensor, name)(*case), getattr(torch, name)(*case))


def test_grids(torch):
    x, y = np.array([1, 2, 3]), np.array([4, 5])

    agree(Tensor.cartesian_prod(Tensor(x), Tensor(y)),
          torch.cartesian_prod(torch.tensor(x), torch.tensor(y)))  # fmt: skip
    agree(Tensor.logspace(-2, 3, 7), torch.logspace(-2, 3, 7), tolerance=1e-6)


@pytest.mark.parametrize("formula, sizes, expected", [
    ("a b c -> c (a b)", {}, lambda x: x.transpose(2, 0, 1).reshape(4, 6)),
    ("a b (c d) -> a d b c", {"d": 2}, lambda x: x.reshape(2, 3, 2, 2).transpose(0, 3, 1, 2)),
    ("... c -> c ...", {}, lambda x: x.transpose(2, 0, 1)),
    ("a ... -> ... a 1", {}, lambda x: x.transpose(1, 2, 0)[..., None]),
    ("a b c -> (c b a)", {}, lambda x: x.transpose(2, 1, 0).reshape(-1)),
])  # fmt: skip
def test_rearrange(formula, sizes, expected):
    x = numbers((2, 3, 4))

    agree(Tensor(x).rearrange(formula, **sizes), expected(x))


@pytest.mark.parametrize(("first", "second", "dims"), [
    ((2, 3), (2,), 0), ((2, 3, 4), (4, 2), 1), ((2, 4, 3), (4, 3, 2), 2),
    ((2, 3), (5, 2), ((0,), (1,))), ((2, 3, 4), (4, 3), ((1, 2), (1, 0))),
    ((2, 4), (4, 1, 2), ((-1,), (-3,))),
])  # fmt: skip
def test_tensordot(torch, first, second, dims):
    check(torch, lambda x, y: x.tensordot(y, dims),
          lambda x, y: torch.tensordot(x, y, dims),
          [numbers(first), numbers(second, seed=1)])  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
def test_linear(torch, bias):
    arrays = [numbers((2, 3, 4)), numbers((5, 4)), numbers((5,))][: 3 if bias else 2]

    check(torch, lambda x, *rest: x.linear(*rest), torch.nn.functional.linear, arrays)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, float("inf")])
def test_distances(torch, p):
    x, y = numbers((2, 5, 3)), numbers((2, 4, 3), seed=1)

    check(torch, lambda x, y: x.cdist(y, p), lambda x, y: torch.cdist(x, y, p), [x, y],
          tolerance=1e-7)  # fmt: skip
    check(torch, lambda x, y: x[:, :4].pairwise_distance(y, p),
          lambda x, y: torch.nn.functional.pairwise_distance(x[:, :4], y, p), [x, y])  # fmt: skip


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cosine_similarity(torch, dim):
    check(torch, lambda x, y: x.cosine_similarity(y, dim),
          lambda x, y: torch.cosine_similarity(x, y, dim),
          [numbers((3, 4)), numbers((3, 4), seed=1)])  # fmt: skip


SIGNS = np.array([1.0, -1.0, 1.0, -1.0])
LOSSES = [  # of (4, 3) and its target, and how both call it
    ("huber_loss", {"delta": 0.7}), ("poisson_nll_loss", {}), ("poisson_nll_loss", {"full": True}),
    ("poisson_nll_loss", {"log_input": False}), ("kl_div", {}), ("kl_div", {"log_target": True}),
    ("multilabel_soft_margin_loss", {}), ("smooth_l1_loss", {}),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_losses(torch, case, reduction):
    name, options = case
    arrays = [numbers((4, 3), low=0.1), numbers((4, 3), seed=1, low=0.1)]
    options = {**options, "reduction": reduction}

    check(torch, lambda x, y: getattr(x, name)(y, **options),
          lambda x, y: getattr(torch.nn.functional, name)(x, y, **options), arrays)  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_of_signs(torch, reduction):
    x, y, sign = numbers((4,)), numbers((4,), seed=1), SIGNS
    rows, others = numbers((4, 3)), numbers((4, 3), seed=1)
    functional, options = torch.nn.functional, {"reduction": reduction, "margin": 0.3}

    check(
        torch,
        lambda x: x.soft_margin_loss(Tensor(sign), reduction),
        lambda x: functional.soft_margin_loss(x, torch.tensor(sign), reduction=reduction),
        [x],
    )
    check(
        torch,
        lambda x: x.hinge_embedding_loss(Tensor(sign), **options),
        lambda x: functional.hinge_embedding_loss(x, torch.tensor(sign), **options),
        [x],
    )
    check(
        torch,
        lambda x, y: x.margin_ranking_loss(y, Tensor(sign), **options),
        lambda x, y: functional.margin_ranking_loss(x, y, torch.tensor(sign), **options),
        [x, y],
    )
    check(torch, lambda x, y: x.cosine_embedding_loss(y, Tensor(sign), **options),
          lambda x, y: functional.cosine_embedding_loss(x, y, torch.tensor(sign), **options),
          [rows, others])  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"p": 1.0, "margin": 2.0}, {"swap": True}], ids=str)
def test_triplets(torch, options):
    arrays = [numbers((4, 3), seed=seed) for seed in range(3)]

    check(torch, lambda x, y, z: x.triplet_margin_loss(y, z, **options),
          lambda x, y, z: torch.nn.functional.triplet_margin_loss(x, y, z, **options),
          arrays)  # fmt: skip


@pytest.mark.parametrize("full", [False, True])
def test_gaussian_loss(torch, full):
    arrays = [numbers((4, 3)), numbers((4, 3), seed=1), np.abs(numbers((4, 3), seed=2))]
    arrays[2][0, 0] = 0.0

    check(torch, lambda x, y, v: x.gaussian_nll_loss(y, v, full=full),
          lambda x, y, v: torch.nn.functional.gaussian_nll_loss(x, y, v, full=full),
          arrays)  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"p": 2, "margin": 0.5}, {"reduction": "none"}], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_multi_margin_loss(torch, options, weighted):
    index, weight = np.array([2, 0, 1, 1]), numbers((3,), low=0.1)
    mine = {**options, "weight": Tensor(weight) if weighted else None}
    theirs = {**options, "weight": torch.tensor(weight) if weighted else None}

    check(torch, lambda x: x.multi_margin_loss(Tensor(index), **mine),
          lambda x: torch.nn.functional.multi_margin_loss(x, torch.tensor(index), **theirs),
          [numbers((4, 3))])  # fmt: skip


X = Tensor.ones(2, 3, 4)
WRONG = [
    (lambda: X.rearrange("a b -> b a"), ShapeError, r"does not describe 3 axes"),
    (lambda: X.rearrange("a b c -> b a"), ShapeError, r"each name once on both sides"),
    (lambda: X.rearrange("a b (c d) -> a b c d"), ShapeError, r"an axis of 4 is not \['c', 'd'\]"),
    (lambda: X.rearrange("a b ( -> a"), OptionError, r"cannot read 'a b \('"),
    (lambda: X.moveaxis((0, 0), (1, 2)), ShapeError, r"one place per axis"),
    (lambda: X.rot90(1, (0, 0)), ShapeError, r"two different axes"),
    (lambda: X.tensor_split(0), ShapeError, r"parts above 0, got 0"),
    (lambda: X.mm(X), ShapeError, r"mm needs tensors of 2 and 2 axes, got \(2, 3, 4\)"),
    (lambda: X.bmm(X[:1]), ShapeError, r"batches of \(2, 3, 4\) and \(1, 3, 4\) differ"),
    (lambda: X.tensordot(X), ShapeError, r"axes \(1, 2\) of \(2, 3, 4\) and \(0, 1\)"),
    (lambda: X.cross(X), ShapeError, r"axis -1 of length 3"),
    (lambda: X.matrix_power(2), ShapeError, r"needs square matrices"),
    (lambda: X.mT.matmul(X).matrix_power(-1), OptionError, r"got -1; there is no inverse"),
    (lambda: X.hstack(3), DTypeError, r"hstack needs tensors, got 3"),
    (lambda: X.block_diag(), ShapeError, r"block_diag needs matrices"),
    (lambda: X.huber_loss(X, delta=0), OptionError, r"finite delta > 0, got 0"),
    (lambda: X[0].multi_margin_loss(Tensor([1, 2]), p=3), OptionError, r"p must be 1 or 2, got 3"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_arguments(number):
    function, error, message = WRONG[number]

    with pytest.raises(error, match=message):
        function()
