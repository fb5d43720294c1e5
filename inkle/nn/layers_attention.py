"""Attention with several heads, and the blocks of a transformer made of it (Vaswani et al. 2017).

Names, shapes, masks and first values are PyTorch's: in a mask of bools, True hides.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.ir.dtype import bool_
from inkle.nn import init
from inkle.nn.layers import Dropout, Linear
from inkle.nn.layers_norm import LayerNorm
from inkle.tensor import Tensor
from inkle.tensor.arguments import check_choice


class MultiheadAttention:
    """Attention in `num_heads` subspaces at once.

    Attributes:
        in_proj_weight: float32, shape (3 * embed_dim, embed_dim): of queries, keys and values.
        in_proj_bias: float32, shape (3 * embed_dim,), or None.
        out_proj: a `Linear`.

    Args:
        embed_dim: width of queries, keys, values and results.
        num_heads: divides it.
        dropout: probability of dropping a weight, in training.
        bias: whether the projections add one.
        batch_first: inputs are (batch, length, embed_dim), not (length, batch, embed_dim).

    Example:
        >>> x = Tensor.zeros(2, 7, 8)
        >>> out, weights = MultiheadAttention(8, 4, batch_first=True)(x, x, x)
        >>> out.shape, weights.shape
        ((2, 7, 8), (2, 7, 7))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        *,
        bias: bool = True,
        batch_first: bool = False,
    ) -> None:
        self.embed_dim = init.size(embed_dim, "embed_dim", least=1)
        self.num_heads = init.size(num_heads, "num_heads", least=1)
        if embed_dim % num_heads:
            raise ShapeError(f"{num_heads} heads do not divide embed_dim {embed_dim}")
        if not 0 <= dropout <= 1:
            raise OptionError(f"dropout needs a probability from 0 to 1, got {dropout}")
        self.dropout, self.batch_first = dropout, batch_first
        bound = math.sqrt(6 / (4 * embed_dim))  # Glorot & Bengio 2010, of (3 e, e)
        self.in_proj_weight = Tensor.uniform(
            3 * embed_dim, embed_dim, low=-bound, high=bound, requires_grad=True
        )
        self.in_proj_bias = init.constant((3 * embed_dim,), 0).requires_grad_() if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias)
        if self.out_proj.bias is not None:
            self.out_proj.bias = init.constant((embed_dim,), 0).requires_grad_()

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        *,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return what the queries find, and how much each looked at each key.

        Weights that are not read are not computed for that: then attention runs block by block.

        Args:
            query: (queries, batch, embed_dim), without a batch (queries, embed_dim), or as
                `batch_first` says.
            key: (keys, batch, embed_dim) likewise.
            value: like `key`.
            key_padding_mask: (batch, keys): bool, True hides; or float, added to the scores.
            need_weights: False returns None for them.
            attn_mask: (queries, keys) or (batch * heads, queries, keys), likewise.
            average_attn_weights: False returns those of each head.
            is_causal: query i sees keys 0 ... i only; no mask is needed for it.

        Returns:
            The results, like `query`; weights of (batch, queries, keys) or None.

        Raises:
            ShapeError: if shapes do not fit.
        """
        given = [init.given(each, "MultiheadAttention") for each in (query, key, value)]
        is_batch = given[0].ndim == 3
        for each in given:
            if each.ndim not in (2, 3) or each.shape[-1] != self.embed_dim:
                raise ShapeError(
                    f"MultiheadAttention needs (length, batch, {self.embed_dim}) or (length, "
                    f"{self.embed_dim}), got {each.shape}"
                )
        if not is_batch:
            given = [each.unsqueeze(0) for each in given]
        elif not self.batch_first:
            given = [each.transpose(0, 1) for each in given]
        q, k, v = (self._heads(each, number) for number, each in enumerate(given))
        scores = q @ k.transpose(-2, -1) * (self.embed_dim // self.num_heads) ** -0.5
        scores = self._masked(scores, key_padding_mask, attn_mask, is_causal=is_causal)
        weights = scores.softmax(-1)
        if self.dropout:
            weights = weights.dropout(self.dropout)
        found = (weights @ v).transpose(1, 2)
        out = self.out_proj(found.reshape(*found.shape[:2], self.embed_dim))
        shown = weights.mean(1) if average_attn_weights else weights
        if not is_batch:
            out, shown = out[0], shown[0]
        elif not self.batch_first:
            out = out.transpose(0, 1)
        return out, shown if need_weights else None

    def _heads(self, x: Tensor, number: int) -> Tensor:
        """Return queries (0), keys (1) or values (2) as (batch, heads, length, width)."""
        rows = slice(number * self.embed_dim, (number + 1) * self.embed_dim)
        out = x @ self.in_proj_weight[rows].T
        if self.in_proj_bias is not None:
            out = out + self.in_proj_bias[rows]
        return out.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2)

    def _masked(
        self,
        scores: Tensor,
        key_padding_mask: Tensor | None,
        attn_mask: Tensor | None,
        *,
        is_causal: bool,
    ) -> Tensor:
        batch, heads, queries, keys = scores.shape
        if is_causal:
            rows, columns = Tensor.arange(queries).reshape(-1, 1), Tensor.arange(keys)
            scores = (columns <= rows).where(scores, -math.inf)
        if attn_mask is not None:
            shapes = ((queries, keys), (batch * heads, queries, keys))
            if attn_mask.shape not in shapes:
                raise ShapeError(f"attn_mask must be one of {shapes}, got {attn_mask.shape}")
            mask = attn_mask.reshape(-1, heads if attn_mask.ndim == 3 else 1, queries, keys)
            scores = _hide(scores, mask, "attn_mask")
        if key_padding_mask is not None:
            if key_padding_mask.shape not in ((batch, keys), (keys,)):
                raise ShapeError(
                    f"key_padding_mask must be {(batch, keys)}, got {key_padding_mask.shape}"
                )
            mask = key_padding_mask.reshape(batch, 1, 1, keys)
            scores = _hide(scores, mask, "key_padding_mask")
        return scores


def _hide(scores: Tensor, mask: Tensor, what: str) -> Tensor:
    """Return the scores with those hidden where a bool is True, or with a float added."""
    if mask.dtype is bool_:
        return mask.where(-math.inf, scores)
    if not mask.dtype.is_float:
        raise DTypeError(f"{what} must be bool or float, got {mask.dtype}")
    return scores + mask.cast(scores.dtype)


class _Block:
    """What layers of encoder and decoder share: a network of two linear layers, and its norms."""

    def __init__(
        self,
        d_model: int,
        dim_feedforward: int,
        dropout: float,
        activation: str | Callable[[Tensor], Tensor],
        *,
        bias: bool,
        norm_first: bool,
    ) -> None:
        if isinstance(activation, str):
            check_choice(activation, ("relu", "gelu"), "activation")
            activation = Tensor.relu if activation == "relu" else Tensor.gelu
        self.activation, self.norm_first = activation, norm_first
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def _residual(self, x: Tensor, part: Callable[[Tensor], Tensor], norm: LayerNorm) -> Tensor:
        return x + part(norm(x)) if self.norm_first else norm(x + part(x))


class TransformerEncoderLayer(_Block):
    """Attention of a sequence to itself, and a network at each place, each around a residual.

    Attributes:
        self_attn: a `MultiheadAttention`.
        linear1, linear2: `Linear`, from d_model to dim_feedforward and back.
        norm1, norm2: `LayerNorm`.

    Args:
        d_model: width of the sequence.
        nhead: number of heads.
        dim_feedforward: width of the network at each place.
        dropout: probability, in training.
        activation: "relu", "gelu", or a function of tensors.
        layer_norm_eps: added to variances.
        batch_first: the input is (batch, length, d_model), not (length, batch, d_model).
        norm_first: normalise what goes into each part, not what comes out of each sum.
        bias: whether linear layers and norms have one.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        *,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias=bias, batch_first=batch_first
        )
        super().__init__(
            d_model, dim_feedforward, dropout, activation, bias=bias, norm_first=norm_first
        )
        self.norm1, self.norm2 = (LayerNorm(d_model, layer_norm_eps, bias=bias) for _ in range(2))
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)

    def __call__(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        *,
        is_causal: bool = False,
    ) -> Tensor:
        """Return a tensor like `src`; masks are those of `MultiheadAttention`."""

        def attend(x: Tensor) -> Tensor:
            found, _ = self.self_attn(
                x, x, x, src_key_padding_mask, attn_mask=src_mask, is_causal=is_causal
            )
            return self.dropout1(found)

        x = self._residual(init.given(src, "TransformerEncoderLayer"), attend, self.norm1)
        return self._residual(x, lambda x: self.dropout2(self._feed_forward(x)), self.norm2)


class TransformerDecoderLayer(_Block):
    """As `TransformerEncoderLayer`, with attention to another sequence in between.

    Attributes:
        self_attn, multihead_attn: `MultiheadAttention` to itself and to the other sequence.
        linear1, linear2: `Linear`, from d_model to dim_feedforward and back.
        norm1, norm2, norm3: `LayerNorm`.

    Args: as for `TransformerEncoderLayer`.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        *,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        self.self_attn, self.multihead_attn = (
            MultiheadAttention(d_model, nhead, dropout, bias=bias, batch_first=batch_first)
            for _ in range(2)
        )
        super().__init__(
            d_model, dim_feedforward, dropout, activation, bias=bias, norm_first=norm_first
        )
        self.norm1, self.norm2, self.norm3 = (
            LayerNorm(d_model, layer_norm_eps, bias=bias) for _ in range(3)
        )
        self.dropout1, self.dropout2, self.dropout3 = (Dropout(dropout) for _ in range(3))

    def __call__(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        *,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Return a tensor like `tgt`, which attends to itself and to `memory`."""

        def attend(x: Tensor) -> Tensor:
            found, _ = self.self_attn(
                x, x, x, tgt_key_padding_mask, attn_mask=tgt_mask, is_causal=tgt_is_causal
            )
            return self.dropout1(found)

        def look_up(x: Tensor) -> Tensor:
            found, _ = self.multihead_attn(
                x,
                memory,
                memory,
                memory_key_padding_mask,
                attn_mask=memory_mask,
                is_causal=memory_is_causal,
            )
            return self.dropout2(found)

        x = self._residual(init.given(tgt, "TransformerDecoderLayer"), attend, self.norm1)
        x = self._residual(x, look_up, self.norm2)
        return self._residual(x, lambda x: self.dropout3(self._feed_forward(x)), self.norm3)


class TransformerEncoder:
    """Copies of an encoder layer, one after the other.

    Args:
        encoder_layer: copied with its values, as in PyTorch; initialise them anew if that matters.
        num_layers: how many copies.
        norm: applied at the end, or None.
    """

    def __init__(
        self,
        encoder_layer: TransformerEncoderLayer,
        num_layers: int,
        norm: LayerNorm | None = None,
    ) -> None:
        count = init.size(num_layers, "num_layers")
        self.layers = [copy.deepcopy(encoder_layer) for _ in range(count)]
        self.norm = norm

    def __call__(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        *,
        is_causal: bool = False,
    ) -> Tensor:
        """Return a tensor like `src`, after all layers."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, is_causal=is_causal)
        return src if self.norm is None else self.norm(src)


class TransformerDecoder:
    """Copies of a decoder layer, one after the other.

    Args:
        decoder_layer: copied with its values, as in PyTorch.
        num_layers: how many copies.
        norm: applied at the end, or None.
    """

    def __init__(
        self,
        decoder_layer: TransformerDecoderLayer,
        num_layers: int,
        norm: LayerNorm | None = None,
    ) -> None:
        count = init.size(num_layers, "num_layers")
        self.layers = [copy.deepcopy(decoder_layer) for _ in range(count)]
        self.norm = norm

    def __call__(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        *,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Return a tensor like `tgt`, after all layers."""
        for layer in self.layers:
            tgt = layer(
                tgt,
                memory,
                tgt_mask,
                memory_mask,
                tgt_key_padding_mask,
                memory_key_padding_mask,
                tgt_is_causal=tgt_is_causal,
                memory_is_causal=memory_is_causal,
            )
        return tgt if self.norm is None else self.norm(tgt)
