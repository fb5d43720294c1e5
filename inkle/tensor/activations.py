"""Activation functions. Formulas are those of PyTorch, and so are the gradients at kinks."""

from __future__ import annotations

import math
from typing import Any, Self

from inkle.errors import OptionError
from inkle.ir.dtype import float16, float32
from inkle.ir.node import Node
from inkle.tensor.arguments import as_number, check_choice
from inkle.tensor.special import Special

SQRT_HALF = math.sqrt(0.5)
SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017


def _above_underflow(x: Node) -> Node:
    """Return x, but no number so low that exp(-x) is infinite.

    An infinite exponential would give the right sigmoid, 0, and a gradient of 0 * inf = NaN.
    """
    low = -709.0 if x.dtype.bits == 64 else -88.0  # exp(-low) is just below the largest float
    return (x < low).where(low, x)


def sigmoid(x: Node) -> Node:
    """Return 1 / (1 + exp(-x)); floats of 16 bits compute in float32."""
    if x.dtype.bits == 16:
        return sigmoid(x.cast(float32)).cast(x.dtype)
    return 1 / (1 + (-_above_underflow(x)).exp())


def silu(x: Node) -> Node:
    """Return x * sigmoid(x), which tends to 0 at -inf."""
    if x.dtype.bits == 16:
        return silu(x.cast(float32)).cast(x.dtype)
    bounded = _above_underflow(x)
    return bounded / (1 + (-bounded).exp())


def softplus(x: Node, threshold: float | None = None) -> Node:
    """Return log(1 + exp(x)), which is x itself above `threshold` (None: where floats agree)."""
    if threshold is None:
        threshold = 10.0 if x.dtype is float16 else 40.0  # exp(-threshold) is below half an ulp
    large = x > threshold
    return large.where(x, large.where(0, x).exp().log1p())


def relu(x: Node) -> Node:
    """Return max(x, 0); NaN stays NaN, the gradient at 0 is 0."""
    return (x <= 0).where(0, x)


def elu(x: Node, alpha: float) -> Node:
    """Return x, or alpha * (exp(x) - 1) where x is not positive."""
    negative = x <= 0
    # exp of a large x is inf, although it is not chosen: the gradient would be 0 * inf.
    return negative.where(negative.where(x, 0).expm1() * alpha, x)


def mish(x: Node) -> Node:
    """Return x * tanh(log(1 + e)) = x * n / (n + 2) with e = exp(x) and n = e * (e + 2).

    For large x, where the quotient rounds to 1, it is x itself; n would overflow.
    """
    large = x > (5.0 if x.dtype is float16 else 20.0)
    small = large.where(0, x)
    e = small.exp()
    n = e * (e + 2)
    return large.where(x, small * n / (n + 2))


class Activations(Special):
    """Mixin of activation functions."""

    __slots__ = ()

    def sigmoid(self) -> Self:
        """Return 1 / (1 + exp(-x))."""
        return self._new(sigmoid(self._float()))

    def relu(self) -> Self:
        """Return max(x, 0); NaN stays NaN, the gradient at 0 is 0."""
        return self._new(relu(self.node))

    def relu6(self) -> Self:
        """Return x moved into 0 ... 6."""
        return self.hardtanh(0.0, 6.0)

    def leaky_relu(self, negative_slope: float = 0.01) -> Self:
        """Return x, times `negative_slope` where x is negative."""
        x = self._float()
        return self._new((x <= 0).where(x * negative_slope, x))

    def elu(self, alpha: float = 1.0) -> Self:
        """Return x, or alpha * (exp(x) - 1) where x is negative."""
        return self._new(elu(self._float(), alpha))

    def celu(self, alpha: float = 1.0) -> Self:
        """Return max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))."""
        return self._new(elu(self._float() / alpha, 1.0) * alpha)

    def selu(self) -> Self:
        """Return elu scaled so that layers keep mean 0 and variance 1."""
        return self.elu(SELU_ALPHA).mul(SELU_SCALE)

    def gelu(self, approximate: str = "none") -> Self:
        """Return x times the normal distribution function of x.

        Args:
            approximate: "none" uses erf; "tanh" is 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³))).

        Returns:
            Float tensor of the same shape.
        """
        x = self._float()
        if check_choice(approximate, ("none", "tanh"), "approximate") == "none":
            return self._new(x * 0.5 * ((x * SQRT_HALF).erf() + 1))
        inner = (x + x * x * x * 0.044715) * SQRT_2_OVER_PI
        return self._new(x * 0.5 * (inner.tanh() + 1))

    def quick_gelu(self) -> Self:
        """Return x * sigmoid(1.702 x)."""
        x = self._float()
        return self._new(x * sigmoid(x * 1.702))

    def silu(self) -> Self:
        """Return x * sigmoid(x)."""
        return self._new(silu(self._float()))

    def swish(self) -> Self:
        """Return x * sigmoid(x) (another name of `silu`)."""
        return self.silu()

    def mish(self) -> Self:
        """Return x * tanh(softplus(x))."""
        return self._new(mish(self._float()))

    def softplus(self, beta: float = 1.0, threshold: float = 20.0) -> Self:
        """Return log(1 + exp(beta x)) / beta, and x itself where beta x exceeds `threshold`."""
        x, beta = self._float(), as_number(beta, "beta of softplus")
        if beta == 1.0:
            return self._new(softplus(x, threshold))
        return self._new(softplus(x * beta, threshold) / beta)

    def softsign(self) -> Self:
        """Return x / (1 + |x|)."""
        x = self._float()
        return self._new(x / (x.abs() + 1))

    def logsigmoid(self) -> Self:
        """Return log(sigmoid(x)) = -softplus(-x)."""
        return self._new(-softplus(-self._float()))

    def hardtanh(self, min_val: float = -1.0, max_val: float = 1.0) -> Self:
        """Return x moved into `min_val` ... `max_val`; the gradient at both ends is 0."""
        x = self.node
        return self._new((x <= min_val).where(min_val, (x >= max_val).where(max_val, x)))

    def hardsigmoid(self) -> Self:
        """Return x / 6 + 1/2 moved into 0 ... 1."""
        x = self._float()
        return self._new((x <= -3).where(0, (x >= 3).where(1, x / 6 + 0.5)))

    def hardswish(self) -> Self:
        """Return x times hardsigmoid(x)."""
        x = self._float()
        return self._new((x <= -3).where(0, (x >= 3).where(x, x * (x + 3) / 6)))

    def threshold(self, threshold: float, value: float) -> Self:
        """Return x where it exceeds `threshold`, else `value`."""
        x = self.node
        return self._new((x <= threshold).where(value, x))

    def hardshrink(self, lambd: float = 0.5) -> Self:
        """Return x where |x| > lambd, else 0.

        Example:
            >>> Tensor([0.2, -1.0]).hardshrink().tolist()
            [0.0, -1.0]
        """
        x, bound = self._float(), as_number(lambd, "lambd of hardshrink")
        return self._new(((x >= -bound) & (x <= bound)).where(0, x))

    def softshrink(self, lambd: float = 0.5) -> Self:
        """Return x moved towards 0 by `lambd`, and 0 where |x| <= lambd.

        Example:
            >>> Tensor([0.2, -1.0]).softshrink().tolist()
            [0.0, -0.5]
        """
        x, bound = self._float(), as_number(lambd, "lambd of softshrink")
        if bound < 0:
            raise OptionError(f"softshrink needs lambd >= 0, got {lambd}")
        inner = (x < -bound).where(x + bound, x * 0)
        return self._new((x > bound).where(x - bound, inner))

    def tanhshrink(self) -> Self:
        """Return x - tanh(x).

        Example:
            >>> Tensor([0.0]).tanhshrink().tolist()
            [0.0]
        """
        x = self._float()
        return self._new(x - x.tanh())

    def prelu(self, weight: Any) -> Self:
        """Return x, times the learnt `weight` where x is negative (one per channel, or one)."""
        a, b = self._pair(weight, "prelu")
        return self._new((a <= 0).where(a * b, a))
