"""Loss functions. `reduction` is "mean", "sum" or "none"."""

from __future__ import annotations

from typing import Any, Self

from inkle.engine.index_checks import expect_classes
from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.ir import tensor
from inkle.ir.node import Node, const
from inkle.tensor.activations import softplus
from inkle.tensor.arguments import Flag, as_int, as_number, check_choice
from inkle.tensor.normalization import Normalization, log_softmax_node
from inkle.tensor.reduction import count, mean_node, sum_node
from inkle.tensor.selecting import one_hot_node

REDUCTIONS = ("mean", "sum", "none")


def reduce_loss(x: Node, reduction: str) -> Node:
    """Return the mean, the sum or all of the losses."""
    check_choice(reduction, REDUCTIONS, "reduction")
    axes = tuple(range(len(x.shape)))
    if reduction == "none":
        return x
    return sum_node(x, axes) if reduction == "sum" else mean_node(x, axes)


class Losses(Normalization):
    """Mixin of loss functions."""

    __slots__ = ()

    def cross_entropy(
        self,
        target: Any,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        ignore_index: int = -100,
        weight: Any = None,
    ) -> Self:
        """Return -log(softmax(x)[target]), with x the scores of classes.

        Args:
            target: class numbers, (batch, ...), or probabilities of the shape of self.
            reduction: "mean" divides by the number (or weight) of targets that are not ignored.
            label_smoothing: this share of the target is spread evenly over all classes.
            ignore_index: targets of this number do not count.
            weight: (classes,): factor of each class, or None.

        Returns:
            A number, or losses of (batch, ...) for reduction "none". The loss of a class that does
            not exist is 0, or in checked mode an IndexRangeError.

        Raises:
            ShapeError: if self is not (batch, classes, ...) or (classes,), or the target does not
                fit.
        """
        x = self._float()
        if not x.shape:
            raise ShapeError(
                "cross_entropy needs (batch, classes, ...) or (classes,), got a number"
            )
        axis = 1 if len(x.shape) > 1 else 0
        return self._cross_entropy(
            x, target, axis, reduction, label_smoothing, ignore_index, weight, "cross_entropy"
        )

    def sparse_categorical_crossentropy(
        self,
        target: Any,
        ignore_index: int = -1,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> Self:
        """Return `cross_entropy` with classes on the last axis and class numbers of (...)."""
        x = self._float()
        if not x.shape:
            raise ShapeError(
                "sparse_categorical_crossentropy needs an axis of classes, got a number"
            )
        return self._cross_entropy(
            x, target, len(x.shape) - 1, reduction, label_smoothing, ignore_index, None,
            "sparse_categorical_crossentropy",
        )  # fmt: skip

    def nll_loss(
        self,
        target: Any,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> Self:
        """Return -x[target] for log-probabilities x; arguments as for `cross_entropy`."""
        x = self._float()
        if not x.shape:
            raise ShapeError("nll_loss needs (batch, classes, ...) or (classes,), got a number")
        axis = 1 if len(x.shape) > 1 else 0
        index = self._class_numbers(target, x, axis, ignore_index, "nll_loss")
        return self._new(self._nll(x, index, axis, reduction, 0.0, ignore_index, weight))

    def _cross_entropy(
        self,
        x: Node,
        target: Any,
        axis: int,
        reduction: str,
        smoothing: float,
        ignore: int,
        weight: Any,
        what: str,
    ) -> Self:
        check_choice(reduction, REDUCTIONS, "reduction")
        if not 0 <= as_number(smoothing, "label_smoothing") <= 1:
            raise ShapeError(f"{what}: label_smoothing must be 0 ... 1, got {smoothing}")
        logs = log_softmax_node(x, (axis,))
        given = self._operand(target, what)
        if isinstance(given, Node) and given.dtype.is_float:
            if given.shape != x.shape:
                raise ShapeError(f"{what}: probabilities {given.shape} for scores {x.shape}")
            wanted = given.cast(x.dtype)
            if smoothing:
                wanted = wanted * (1 - smoothing) + smoothing / max(1, x.shape[axis])
            if weight is not None:
                wanted = wanted * self._class_weight(weight, x, axis)
            losses = -sum_node(wanted * logs, (axis,))
            if (reduction == "mean" and weight is None) or reduction != "mean":
                return self._new(reduce_loss(losses, reduction))
            total = sum_node(losses, tuple(range(len(losses.shape))))
            return self._new(total / max(1, count(losses.shape, tuple(range(len(losses.shape))))))
        index = self._class_numbers(target, x, axis, ignore, what)
        return self._new(self._nll(logs, index, axis, reduction, smoothing, ignore, weight))

    def _class_numbers(self, target: Any, x: Node, axis: int, ignore: int, what: str) -> Node:
        index = self._operand(target, what)
        if not isinstance(index, Node) or not index.dtype.is_integer:
            found = index.dtype if isinstance(index, Node) else repr(target)
            raise DTypeError(f"{what}: classes must be an integer tensor, got {found}")
        wanted = x.shape[:axis] + x.shape[axis + 1 :]
        if index.shape != wanted:
            raise ShapeError(
                f"{what}: scores {x.shape} need classes of {wanted}, got {index.shape}"
            )
        return expect_classes(index, x.shape[axis], as_int(ignore, "ignore_index"), what)

    def _class_weight(self, weight: Any, x: Node, axis: int) -> Node:
        node = self._operand(weight, "class weight")
        n = x.shape[axis]
        if not isinstance(node, Node) or node.shape != (n,):
            raise ShapeError(f"class weight needs shape ({n},), got {getattr(node, 'shape', node)}")
        row = tuple([n if i == axis else 1 for i in range(len(x.shape))])
        return tensor.expand(tensor.reshape(node.cast(x.dtype), row), x.shape)

    def _nll(
        self,
        logs: Node,
        index: Node,
        axis: int,
        reduction: str,
        smoothing: float,
        ignore: int,
        weight: Any,
    ) -> Node:
        """Return the loss of class numbers, given log-probabilities.

        The chosen class is summed under a mask: the pass over the row is there anyway, and so is
        the dense gradient; the compiler turns the mask into direct indexing where that is better.
        """
        check_choice(reduction, REDUCTIONS, "reduction")
        n = logs.shape[axis]
        last = len(logs.shape) - 1
        order = [*range(axis), last, *range(axis, last)]
        chosen = tensor.permute(one_hot_node(index, n), order)
        per_class = None if weight is None else self._class_weight(weight, logs, axis)
        weighted = logs if per_class is None else logs * per_class
        losses = -sum_node(chosen.where(weighted, 0), (axis,))
        if smoothing:
            even = -sum_node(weighted, (axis,)) / max(1, n)
            losses = losses * (1 - smoothing) + even * smoothing
        valid = index.ne(const(ignore, index.dtype)) if _holds(index, ignore) else None
        if valid is not None:
            losses = valid.where(losses, 0)
        everything = tuple(range(len(losses.shape)))
        if reduction != "mean":
            return reduce_loss(losses, reduction)
        if valid is None and per_class is None:
            return mean_node(losses, everything)
        if per_class is None:
            assert valid is not None
            share = valid.cast(losses.dtype)
        else:
            share = sum_node(chosen.where(per_class, 0), (axis,))
            share = share if valid is None else valid.where(share, 0)
        return sum_node(losses, everything) / sum_node(share, everything)

    def mse_loss(self, target: Any, reduction: str = "mean") -> Self:
        """Return (x - target)²."""
        a, b = self._same_shape(target, "mse_loss")
        return self._new(reduce_loss((a - b) * (a - b), reduction))

    def l1_loss(self, target: Any, reduction: str = "mean") -> Self:
        """Return |x - target|."""
        a, b = self._same_shape(target, "l1_loss")
        return self._new(reduce_loss((a - b).abs(), reduction))

    def smooth_l1_loss(self, target: Any, reduction: str = "mean", beta: float = 1.0) -> Self:
        """Return d² / (2 beta) where d = |x - target| is below `beta`, else d - beta / 2."""
        a, b = self._same_shape(target, "smooth_l1_loss")
        if not 0 <= as_number(beta, "beta") < float("inf"):
            raise OptionError(f"smooth_l1_loss needs a finite beta >= 0, got {beta}")
        d = (a - b).abs()
        if not beta:
            return self._new(reduce_loss(d, reduction))
        return self._new(
            reduce_loss((d < beta).where(d * d * (0.5 / beta), d - beta / 2), reduction)
        )

    def _same_shape(self, target: Any, what: str) -> tuple[Node, Node]:
        a, b = self._divisible(target, what)
        if isinstance(target, Losses) and target.shape != self.shape:
            raise ShapeError(f"{what}: values {self.shape} and targets {target.shape} differ")
        return a, b

    def binary_crossentropy(self, target: Any, reduction: str = "mean") -> Self:
        """Return -(y log x + (1 - y) log(1 - x)) for probabilities x; logs are at least -100."""
        a, b = self._same_shape(target, "binary_crossentropy")
        logs = a.log()
        others = (1 - a).log()
        bounded = (logs < -100).where(-100, logs), (others < -100).where(-100, others)
        return self._new(reduce_loss(-(b * bounded[0] + (1 - b) * bounded[1]), reduction))

    def binary_crossentropy_logits(
        self, target: Any, reduction: str = "mean", pos_weight: Any = None
    ) -> Self:
        """Return `binary_crossentropy` of sigmoid(x), without overflow.

        Args:
            target: probabilities of the shape of self.
            reduction: "mean", "sum" or "none".
            pos_weight: factor of the positive class, or None.

        Returns:
            The loss.
        """
        a, b = self._same_shape(target, "binary_crossentropy_logits")
        positive = b * softplus(-a)
        if pos_weight is not None:
            positive = self._new(positive).mul(pos_weight).node
        return self._new(reduce_loss(positive + (1 - b) * softplus(a), reduction))

    binary_cross_entropy = binary_crossentropy
    binary_cross_entropy_with_logits = binary_crossentropy_logits

    def kl_div(self, target: Any, reduction: str = "mean", *, log_target: Flag = False) -> Self:
        """Return y (log y - x) for log-probabilities x and probabilities y; 0 where y is 0.

        Args:
            target: probabilities, of the shape of self.
            reduction: "mean", "sum", "none", or "batchmean": the sum over the length of axis 0.
            log_target: the target holds logarithms, too.

        Returns:
            The loss.
        """
        check_choice(reduction, (*REDUCTIONS, "batchmean"), "reduction")
        a, b = self._same_shape(target, "kl_div")
        some = b > 0
        losses = b.exp() * (b - a) if log_target else (
            some.where(b * (some.where(b, 1).log() - a), 0)
        )  # fmt: skip
        if reduction == "batchmean" and losses.shape:
            return self._new(reduce_loss(losses, "sum") / max(1, losses.shape[0]))
        return self._new(reduce_loss(losses, reduction))

    # --- attention --------------------------------------------------------------------------------

    def scaled_dot_product_attention(
        self,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        *,
        is_causal: bool = False,
        enable_gqa: bool = False,
        scale: float | None = None,
    ) -> Self:
        """Return softmax(q kᵀ / sqrt(width) + mask) v, with self as q (Vaswani et al. 2017).

        Args:
            key: (..., keys, width).
            value: (..., keys, width of values).
            attn_mask: bool (True takes part) or float (added), broadcasts to (..., queries, keys).
            dropout_p: dropout of the weights, in training.
            is_causal: query i sees keys 0 ... i only.
            enable_gqa: groups of query heads (axis -3) share one head of keys and values.
            scale: factor of the scores; by default 1 / sqrt(width).

        Returns:
            (..., queries, width of values). A query that sees no key gives NaN.
        """
        least = 3 if enable_gqa else 2
        for each, name in ((self, "query"), (key, "key"), (value, "value")):
            if not isinstance(each, Losses) or each.ndim < least:
                raise ShapeError(f"attention: {name} must be a tensor of at least {least} axes")
        if attn_mask is not None and not isinstance(attn_mask, type(self)):
            raise DTypeError(f"attention: attn_mask must be a tensor, got {attn_mask!r:.60}")
        if enable_gqa:
            heads = self.shape[-3]
            if heads % key.shape[-3]:
                raise ShapeError(f"attention: {heads} heads are no multiple of {key.shape[-3]}")
            key = key.repeat_interleave(heads // key.shape[-3], -3)
            value = value.repeat_interleave(heads // value.shape[-3], -3)
        if scale is None:
            scale = max(1, self.shape[-1]) ** -0.5
        scores = self.matmul(key.transpose(-2, -1)) * scale
        if is_causal:
            n, m = scores.shape[-2:]
            i = tensor.reshape(tensor.arange(n), (n, 1))
            j = tensor.broadcast_to(tensor.arange(m), (n, m))
            scores = self._new(j <= tensor.expand(i, (n, m))).where(scores, -float("inf"))
        if attn_mask is not None:
            is_bool = attn_mask.dtype.kind.value == "bool"
            scores = attn_mask.where(scores, -float("inf")) if is_bool else scores + attn_mask
        return scores.softmax(-1).dropout(dropout_p).matmul(value)


def _holds(index: Node, value: int) -> bool:
    """Whether the dtype of `index` can hold `value`: -100 is never the class of a uint8 target."""
    low, high = index.dtype.limits()
    return low <= value <= high
