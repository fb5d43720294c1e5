"""Loss functions of margins, distances and distributions. `reduction` as for all losses."""

from __future__ import annotations

import math
from typing import Any, Self

from inkle.errors import OptionError, ShapeError
from inkle.ir.dtype import int64
from inkle.tensor.arguments import Flag, as_int, as_number
from inkle.tensor.losses import Losses, reduce_loss


class Margins(Losses):
    """Mixin of further loss functions."""

    __slots__ = ()

    def _reduced(self, losses: Any, reduction: str) -> Self:
        return self._new(reduce_loss(losses.node, reduction))

    def huber_loss(self, target: Any, reduction: str = "mean", delta: float = 1.0) -> Self:
        """Return d² / 2 where d = |x - target| is at most `delta`, else delta * (d - delta / 2).

        Example:
            >>> Tensor([0.0, 3.0]).huber_loss(Tensor([1.0, 0.0]), "none").tolist()
            [0.5, 2.5]
        """
        bound = as_number(delta, "delta of huber_loss")
        if not 0 < bound < math.inf:
            raise OptionError(f"huber_loss needs a finite delta > 0, got {delta}")
        a, b = self._same_shape(target, "huber_loss")
        d = (a - b).abs()
        return self._new(
            reduce_loss((d < bound).where(d * d * 0.5, (d - 0.5 * bound) * bound), reduction)
        )

    def poisson_nll_loss(
        self, target: Any, *, log_input: Flag = True, full: Flag = False, eps: float = 1e-8,
        reduction: str = "mean",
    ) -> Self:  # fmt: skip
        """Return exp(x) - target * x, the loss of counts of mean exp(x).

        Args:
            target: counts, of the shape of self.
            log_input: False: self is the mean itself.
            full: add Stirling's approximation of log(target!) where target > 1.
            eps: added to the mean before its logarithm.
            reduction: "mean", "sum" or "none".

        Example:
            >>> Tensor([0.0]).poisson_nll_loss(Tensor([2.0])).item()
            1.0
        """
        a, b = (self._new(each) for each in self._same_shape(target, "poisson_nll_loss"))
        loss = a.exp() - b * a if log_input else a - b * (a + as_number(eps, "eps")).log()
        if full:
            safe = (b > 1).where(b, 1)
            rest = safe * safe.log() - safe + (safe * (2 * math.pi)).log() * 0.5
            loss = loss + (b > 1).where(rest, 0)
        return self._reduced(loss, reduction)

    def gaussian_nll_loss(
        self, target: Any, var: Any, *, full: Flag = False, eps: float = 1e-6,
        reduction: str = "mean",
    ) -> Self:  # fmt: skip
        """Return (log v + (x - target)² / v) / 2 with v = max(var, eps).

        Args:
            target: of the shape of self.
            var: variances, which broadcast to it; the bound takes no part in gradients.
            full: add log(2 pi) / 2.
            eps: least variance.
            reduction: "mean", "sum" or "none".

        Example:
            >>> Tensor([1.0]).gaussian_nll_loss(Tensor([3.0]), Tensor([1.0])).item()
            2.0
        """
        a, b = (self._new(each) for each in self._same_shape(target, "gaussian_nll_loss"))
        v = self._given(var, "gaussian_nll_loss")
        v = v + (v.detach().clamp(min=as_number(eps, "eps")) - v.detach())
        loss = (v.log() + (a - b).square() / v) * 0.5
        return self._reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)

    def soft_margin_loss(self, target: Any, reduction: str = "mean") -> Self:
        """Return log(1 + exp(-target * x)) for targets 1 and -1.

        Example:
            >>> round(Tensor([0.0]).soft_margin_loss(Tensor([1.0])).item(), 4)
            0.6931
        """
        a, b = (self._new(each) for each in self._same_shape(target, "soft_margin_loss"))
        return self._reduced((-b * a).softplus(threshold=math.inf), reduction)

    def hinge_embedding_loss(
        self, target: Any, margin: float = 1.0, reduction: str = "mean"
    ) -> Self:
        """Return x where the target is 1, and max(0, margin - x) where it is -1.

        Example:
            >>> Tensor([0.25, 0.25]).hinge_embedding_loss(Tensor([1.0, -1.0]), 1.0, "none").tolist()
            [0.25, 0.75]
        """
        a, b = (self._new(each) for each in self._same_shape(target, "hinge_embedding_loss"))
        far = (-a + as_number(margin, "margin")).relu()
        return self._reduced(b.eq(-1).where(far, 0) + b.eq(1).where(a, 0), reduction)

    def margin_ranking_loss(
        self, other: Any, target: Any, margin: float = 0.0, reduction: str = "mean"
    ) -> Self:
        """Return max(0, -target * (x - other) + margin): x should be larger where target is 1.

        Example:
            >>> Tensor([1.0]).margin_ranking_loss(Tensor([3.0]), Tensor([1.0])).item()
            2.0
        """
        sign = self._given(target, "margin_ranking_loss")
        distance = self - self._given(other, "margin_ranking_loss")
        return self._reduced((-sign * distance + as_number(margin, "margin")).relu(), reduction)

    def cosine_embedding_loss(
        self, other: Any, target: Any, margin: float = 0.0, reduction: str = "mean"
    ) -> Self:
        """Return 1 - cos(x, other) where the target is 1, max(0, cos - margin) where it is -1.

        Example:
            >>> x = Tensor([[1.0, 0.0]])
            >>> x.cosine_embedding_loss(x, Tensor([-1.0]), 0.5).round(decimals=3).item()
            0.5
        """
        sign, b = self._given(target, "target"), self._given(other, "cosine_embedding_loss")
        # PyTorch's definition: eps is added to the squares.
        squares = (self.square().sum(-1) + 1e-12) * (b.square().sum(-1) + 1e-12)
        cosine = (self * b).sum(-1) / squares.sqrt()
        near, far = 1 - cosine, (cosine - as_number(margin, "margin")).relu()
        return self._reduced(sign.eq(1).where(near, 0) + sign.eq(-1).where(far, 0), reduction)

    def triplet_margin_loss(
        self, positive: Any, negative: Any, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6,
        *, swap: Flag = False, reduction: str = "mean",
    ) -> Self:  # fmt: skip
        """Return max(0, d(x, positive) - d(x, negative) + margin) of distances of last axes.

        Args:
            positive: what x should be near to.
            negative: what it should be far from.
            margin: by how much.
            p: norm of the distance.
            eps: see `pairwise_distance`.
            swap: take the distance of positive and negative where it is smaller.
            reduction: "mean", "sum" or "none".

        Example:
            >>> x = Tensor([[0.0]])
            >>> round(x.triplet_margin_loss(Tensor([[1.0]]), Tensor([[3.0]]), 3.0).item(), 4)
            1.0
        """
        near, far = self._given(positive, "positive"), self._given(negative, "negative")
        apart = self.pairwise_distance(far, p, eps)
        if swap:
            apart = apart.minimum(near.pairwise_distance(far, p, eps))
        loss = self.pairwise_distance(near, p, eps) - apart + as_number(margin, "margin")
        return self._reduced(loss.relu(), reduction)

    def multi_margin_loss(
        self, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None,
        reduction: str = "mean",
    ) -> Self:  # fmt: skip
        """Return the mean over other classes of max(0, margin - x[target] + x[class]) ** p.

        Args:
            target: class numbers, (batch,), for self of (batch, classes); or one for (classes,).
            p: 1 or 2.
            margin: how much larger the score of the right class should be.
            weight: (classes,): factor of each class, or None.
            reduction: "mean", "sum" or "none".

        Example:
            >>> Tensor([[0.5, 1.0]]).multi_margin_loss(Tensor([1])).item()
            0.25
        """
        if as_int(p, "p of multi_margin_loss") not in (1, 2):
            raise OptionError(f"multi_margin_loss: p must be 1 or 2, got {p!r:.60}")
        rows = self if self.ndim == 2 else self.reshape(1, -1)
        index = self._new(self._index(target, "multi_margin_loss")).reshape(-1)
        if self.ndim not in (1, 2) or index.shape != rows.shape[:1]:
            raise ShapeError(
                f"multi_margin_loss: classes of {index.shape} do not fit scores of {self.shape}"
            )
        right = rows.gather(1, index.unsqueeze(1).cast(int64))
        loss = (rows - right + as_number(margin, "margin")).relu()
        loss = loss.square() if p == 2 else loss
        if weight is not None:
            loss = loss * self._given(weight, "weight")[index].unsqueeze(1)
        classes = self.arange(rows.shape[1])
        loss = index.unsqueeze(1).ne(classes).where(loss, 0).mean(1)
        return self._reduced(loss if self.ndim == 2 else loss.reshape(()), reduction)

    def multilabel_soft_margin_loss(
        self, target: Any, weight: Any = None, reduction: str = "mean"
    ) -> Self:
        """Return the mean over classes of `binary_crossentropy_logits`.

        Example:
            >>> y = Tensor([[1.0, 0.0]])
            >>> round(Tensor([[0.0, 0.0]]).multilabel_soft_margin_loss(y).item(), 4)
            0.6931
        """
        loss = self.binary_crossentropy_logits(target, "none")
        if weight is not None:
            loss = loss * self._given(weight, "weight")
        return self._reduced(loss.mean(-1), reduction)
