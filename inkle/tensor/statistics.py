"""Order statistics, norms, counts and differences along axes."""

from __future__ import annotations

import math
from typing import Any, Self

from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.ir import ops, tensor
from inkle.ir.dtype import int64
from inkle.tensor.arguments import (
    Axes,
    Flag,
    as_int,
    as_number,
    check_axis,
    check_choice,
)
from inkle.tensor.cutting import pad_node
from inkle.tensor.masks import check_size, known
from inkle.tensor.placing import Placing

INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


class Statistics(Placing):
    """Mixin of order statistics, norms, counts and differences."""

    __slots__ = ()

    # --- order ------------------------------------------------------------------------------------

    def _rows(self, dim: int | None, what: str) -> tuple[Self, int]:
        """Return self with axis `dim` last (None: flattened), which is not empty, and the axis."""
        x = self.flatten() if dim is None else self
        if not x.shape:
            check_axis(-1 if dim is None else dim, 1, what)
            x = x.reshape(1)
        axis = check_axis(0 if dim is None or not self.shape else dim, x.ndim, what)
        if x.shape[axis] == 0:
            raise ShapeError(f"{what} of {self.shape}: axis {axis} is empty, so there is no {what}")
        return x.movedim(axis, -1), axis

    def _at_place(
        self, rows: Self, place: Self, dim: int | None, axis: int, *, keepdim: Flag
    ) -> tuple[Self, Self]:
        """Return the elements of rows at one place each, and the places."""
        found = [rows.gather(-1, place), place]
        if dim is None or not self.shape:
            return tuple([each.reshape(()) for each in found])  # type: ignore[return-value]
        moved = [each.movedim(-1, axis) if keepdim else each.squeeze(-1) for each in found]
        return moved[0], moved[1]

    def kthvalue(self, k: int, dim: int = -1, *, keepdim: Flag = False) -> tuple[Self, Self]:
        """Return the `k`-th smallest element along `dim` (the first is 1), and its place.

        Example:
            >>> Tensor([3, 1, 2]).kthvalue(2)[0].item()
            2
        """
        rows, axis = self._rows(dim, "kthvalue")
        n = rows.shape[-1]
        if not 1 <= as_int(k, "k of kthvalue") <= n:
            raise ShapeError(f"kthvalue: k must be 1 to {n}, got {k}")
        place = rows.argsort(-1).narrow(-1, k - 1, 1)
        return self._at_place(rows, place, dim, axis, keepdim=keepdim)

    def median(self, dim: int | None = None, *, keepdim: Flag = False) -> Any:
        """Return the median along `dim`, the lower one of two; NaN if there is a NaN.

        Args:
            dim: the axis that vanishes; None: of all elements.
            keepdim: leave an axis of length 1 in its place.

        Returns:
            The values and their places; without `dim` the value only.

        Example:
            >>> Tensor([3.0, 1.0, 2.0, 4.0]).median().item()
            2.0
        """
        rows, axis = self._rows(dim, "median")
        n, order = rows.shape[-1], rows.argsort(-1)
        numbers = (~rows.isnan()).long().sum(-1, keepdim=True)
        middle = (numbers < n).where(numbers.clamp(max=n - 1), (n - 1) // 2)
        found = self._at_place(rows, order.gather(-1, middle), dim, axis, keepdim=keepdim)
        return found[0] if dim is None else found

    def nanmedian(self, dim: int | None = None, *, keepdim: Flag = False) -> Any:
        """Return the median of what is not NaN; see `median`.

        Example:
            >>> Tensor([3.0, 1.0, float("nan")]).nanmedian().item()
            1.0
        """
        rows, axis = self._rows(dim, "nanmedian")
        numbers = (~rows.isnan()).long().sum(-1, keepdim=True)
        middle = (numbers - 1).clamp(min=0).floordiv(2)
        found = self._at_place(
            rows, rows.argsort(-1).gather(-1, middle), dim, axis, keepdim=keepdim
        )
        return found[0] if dim is None else found

    def mode(self, dim: int = -1, *, keepdim: Flag = False) -> tuple[Self, Self]:
        """Return the most frequent element along `dim`, the least of several, and its last place.

        Example:
            >>> Tensor([3, 1, 3, 1, 2]).mode()[0].item()
            1
        """
        rows, axis = self._rows(dim, "mode")
        order = rows.argsort(-1)
        ordered, n = rows.gather(-1, order), rows.shape[-1]
        places = self.arange(n).broadcast_to(rows.shape)
        starts = ordered.narrow(-1, 1, n - 1).ne(ordered.narrow(-1, 0, n - 1))
        starts = starts.pad((1, 0))
        first = self._new(tensor.prefix(starts.where(places, 0).node, ops.MAXIMUM, rows.ndim - 1))
        best = (places - first).argmax(-1, keepdim=True)
        return self._at_place(rows, order.gather(-1, best), dim, axis, keepdim=keepdim)

    def quantile(
        self, q: Any, dim: int | None = None, *, keepdim: Flag = False,
        interpolation: str = "linear",
    ) -> Self:  # fmt: skip
        """Return the `q`-quantiles along `dim`; NaN where there is a NaN.

        Args:
            q: number, or vector of numbers, 0 ... 1.
            dim: the axis that vanishes; None: of all elements.
            keepdim: leave an axis of length 1 in its place.
            interpolation: between two elements: "linear", "lower", "higher", "midpoint" or
                "nearest".

        Returns:
            Float tensor; quantiles of a vector `q` are along a new first axis.

        Example:
            >>> Tensor([1.0, 2.0, 3.0, 4.0]).quantile(0.5).item()
            2.5
        """
        return self._quantile(q, dim, interpolation, "quantile", keepdim=keepdim)

    def nanquantile(
        self, q: Any, dim: int | None = None, *, keepdim: Flag = False,
        interpolation: str = "linear",
    ) -> Self:  # fmt: skip
        """Return the `q`-quantiles of what is not NaN; see `quantile`.

        Example:
            >>> Tensor([1.0, float("nan"), 3.0]).nanquantile(0.5).item()
            2.0
        """
        return self._quantile(q, dim, interpolation, "nanquantile", keepdim=keepdim)

    def _quantile(self, q: Any, dim: int | None, how: str, what: str, *, keepdim: Flag) -> Self:
        self._floats_only(what)
        check_choice(how, INTERPOLATIONS, "interpolation")
        rows, axis = self._rows(dim, what)
        if isinstance(q, Statistics):
            if q.ndim > 1 or not q.dtype.is_float:
                raise ShapeError(f"{what} needs a number or a vector of floats, got {q.shape}")
            wanted = q.cast(self.dtype).reshape(-1)
        else:
            if not 0 <= as_number(q, f"q of {what}") <= 1:
                raise OptionError(f"{what}: q must be 0 to 1, got {q}")
            wanted = self.full((1,), float(q), self.dtype)
        ordered, missing = rows.sort(-1)[0], rows.isnan()
        n = rows.shape[-1]
        numbers: Any = n
        if what == "nanquantile":
            numbers = (~missing).long().sum(-1, keepdim=True).clamp(min=1)
        at = (wanted * (numbers - 1)).broadcast_to((*rows.shape[:-1], wanted.shape[0]))
        if how == "nearest":
            at = at.round()
        low, high = at.floor(), at.ceil()
        a, b = (ordered.gather(-1, each.long().clamp(0, n - 1)) for each in (low, high))
        share = {"lower": 0.0, "higher": 1.0, "midpoint": 0.5}.get(how, at - low)
        # Where both are one element there is nothing in between: inf - inf would be NaN.
        value: Self = low.eq(high).where(a, a + (b - a) * share)
        if what == "quantile":
            value = missing.any(-1, keepdim=True).where(float("nan"), value)
        value = value.movedim(-1, 0)
        if keepdim:
            kept = [1] * self.ndim if dim is None else list(self.shape)
            kept[axis : axis + 1] = [1] if self.ndim else []
            value = value.reshape(wanted.shape[0], *kept)
        is_vector = isinstance(q, Statistics) and q.ndim == 1
        return value if is_vector else value.squeeze(0)

    def msort(self) -> Self:
        """Return the elements in order along the first axis.

        Example:
            >>> Tensor([3, 1, 2]).msort().tolist()
            [1, 2, 3]
        """
        return self.sort(0)[0]

    def aminmax(self, *, dim: int | None = None, keepdim: Flag = False) -> tuple[Self, Self]:
        """Return the smallest and the largest element along `dim`.

        Example:
            >>> [each.item() for each in Tensor([3, 1, 2]).aminmax()]
            [1, 3]
        """
        return self.min(dim, keepdim=keepdim), self.max(dim, keepdim=keepdim)

    # --- sums that leave out NaN, norms -----------------------------------------------------------

    def nansum(self, axis: Axes = None, *, keepdim: Flag = False, dim: Axes = None) -> Self:
        """Return the sum of what is not NaN along `axis`.

        Example:
            >>> Tensor([1.0, float("nan")]).nansum().item()
            1.0
        """
        return self.isnan().where(0, self).sum(axis, keepdim=keepdim, dim=dim)

    def nanmean(self, axis: Axes = None, *, keepdim: Flag = False, dim: Axes = None) -> Self:
        """Return the mean of what is not NaN along `axis`; NaN if nothing is left.

        Example:
            >>> Tensor([1.0, 3.0, float("nan")]).nanmean().item()
            2.0
        """
        self._floats_only("nanmean")
        number = (~self.isnan()).sum(axis, keepdim=keepdim, dim=dim)
        return self.nansum(axis, keepdim=keepdim, dim=dim) / number.cast(self.dtype)

    def norm(
        self, p: float | str | None = "fro", dim: Axes = None, *, keepdim: Flag = False,
    ) -> Self:  # fmt: skip
        """Return the p-norm along `dim`: the sum of |x| ** p to the power 1 / p.

        Args:
            p: number; inf and -inf: the largest and smallest |x|; 0: how many are not 0; "fro": 2.
            dim: axes that vanish; None: all.
            keepdim: leave axes of length 1 in their place.

        Returns:
            Float tensor; the gradient where the norm is 0 is 0.

        Example:
            >>> Tensor([3.0, 4.0]).norm().item()
            5.0
        """
        self._floats_only("norm")
        if isinstance(p, str):
            check_choice(p, ("fro",), "p of norm")
        power = 2.0 if p is None or isinstance(p, str) else as_number(p, "p of norm")
        a = self.abs()
        if power == math.inf:
            return a.max(dim, keepdim=keepdim)
        if power == -math.inf:
            return a.min(dim, keepdim=keepdim)
        if power == 0:
            return a.ne(0).sum(dim, keepdim=keepdim).cast(self.dtype)
        if power == 1:
            return a.sum(dim, keepdim=keepdim)
        total = (self * self if power == 2 else a**power).sum(dim, keepdim=keepdim)
        if power == 2:  # its gradient at 0 would be 0 * inf
            zero = total.eq(0)
            return zero.where(0, zero.where(1, total).sqrt())
        return total ** (1 / power)

    # --- running ----------------------------------------------------------------------------------

    def logcumsumexp(self, axis: int = 0, *, dim: int | None = None) -> Self:
        """Return the logarithm of the running sum of exp(x) along `axis`, without overflow.

        Each of log2(n) rounds adds the sum of twice as many elements before.

        Example:
            >>> Tensor([0.0, 0.0]).logcumsumexp().exp().round(decimals=3).tolist()
            [1.0, 2.0]
        """
        x = self._new(self._float())
        if not x.shape:
            check_axis(axis if dim is None else dim, 1, "logcumsumexp")
            return x
        number = check_axis(axis if dim is None else dim, x.ndim, "logcumsumexp")
        n, step = x.shape[number], 1
        while step < n:
            widths = [(step, -step) if i == number else (0, 0) for i in range(x.ndim)]
            x = x.logaddexp(self._new(pad_node(x.node, widths, -math.inf)))
            step *= 2
        return x

    def diff(self, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Self:
        """Return the differences of neighbours along `dim`, `n` times; of bools, where they differ.

        Args:
            n: how often.
            dim: the axis.
            prepend: tensor to put in front first, or None.
            append: tensor to put behind first, or None.

        Example:
            >>> Tensor([1, 4, 9]).diff().tolist()
            [3, 5]
        """
        axis = check_axis(dim, self.ndim, "diff")
        if as_int(n, "n of diff") < 0:
            raise OptionError(f"diff needs n >= 0, got {n}")
        x = self
        if prepend is not None:
            x = self._joined(prepend, x, axis)
        if append is not None:
            x = self._joined(x, append, axis)
        for _ in range(min(n, x.shape[axis])):
            m = x.shape[axis]
            later, earlier = (
                x.narrow(axis, min(1, m), max(m - 1, 0)),
                x.narrow(axis, 0, max(m - 1, 0)),
            )
            x = later ^ earlier if x.dtype.name == "bool" else later - earlier
        return x

    def _joined(self, first: Any, second: Any, axis: int) -> Self:
        if not isinstance(first, Statistics) or not isinstance(second, Statistics):
            raise DTypeError("diff: prepend and append must be tensors or None")
        joined: Any = first.cat(second, dim=axis)
        return joined  # type: ignore[no-any-return]

    # --- counts -----------------------------------------------------------------------------------

    def bincount(self, weights: Any = None, minlength: int = 0, *, size: int | None = None) -> Self:
        """Return how often each of 0, 1, ... occurs in a vector, or the sum of its weights.

        Args:
            weights: tensor like self, or None for 1.
            minlength: length of the result if all elements are smaller.
            size: length of the result, whatever the elements are: larger ones do not count. None:
                what the elements need, which are computed now.

        Raises:
            TraceError: inside of a captured function, without `size`.

        Example:
            >>> Tensor([1, 1, 3]).bincount().tolist()
            [0, 2, 0, 1]
        """
        index = self._index(self, "bincount")
        if len(index.shape) != 1:
            raise ShapeError(f"bincount needs a vector, got {index.shape}")
        if size is None:
            values = known(self, "bincount")
            if values.size and values.min() < 0:
                raise OptionError(f"bincount needs numbers from 0 on, got {values.min()}")
            size = max(as_int(minlength, "minlength"), int(values.max()) + 1 if values.size else 0)
        length = check_size(size, "bincount")
        given: Any = self.full(self.shape, 1, int64) if weights is None else weights
        if not isinstance(given, Statistics) or given.shape != self.shape:
            raise ShapeError(f"bincount: weights must be a tensor of {self.shape}")
        wide = self.long()
        slot = ((wide >= 0) & (wide < length)).where(wide, length)
        total: Self = self.full(length + 1, 0, given.dtype).scatter_add(0, slot, given)
        return total.narrow(0, 0, length)

    def histc(self, bins: int = 100, min: float = 0, max: float = 0) -> Self:  # noqa: A002
        """Return how many elements lie in each of `bins` equal parts of `min` ... `max`.

        Args:
            bins: number of parts.
            min: where the first begins; if equal to `max`, the least element.
            max: where the last ends, which it includes; if equal to `min`, the largest element.

        Returns:
            Vector of the dtype of self; NaN and what lies outside does not count.

        Example:
            >>> Tensor([1.0, 2.0, 2.0, 4.0]).histc(3, 1, 4).tolist()
            [1.0, 2.0, 1.0]
        """
        x = self._new(self._floats_only("histc")).flatten().detach()
        number = check_size(bins, "histc")
        low, high = as_number(min, "min of histc"), as_number(max, "max of histc")
        if not number or high < low:
            raise OptionError(f"histc needs bins >= 1 and min <= max, got {bins}, {min}, {max}")
        first: Any = low
        last: Any = high
        if low == high and x.shape[0]:
            first, last = x.aminmax()
            one = last.eq(first)
            first, last = first - one.cast(x.dtype), last + one.cast(x.dtype)
        inside = (x >= first) & (x <= last)
        part = ((x - first) / (last - first) * number).floor().clamp(0, number - 1)
        slot = inside.where(part, number).long()
        counts: Self = slot.bincount(size=number).cast(self.dtype)
        return counts

    def cov(self, *, correction: int = 1) -> Self:
        """Return the covariance of variables (rows) over observations (columns).

        Example:
            >>> Tensor([[1.0, 2.0], [1.0, 4.0]]).cov().tolist()
            [[0.5, 1.5], [1.5, 4.5]]
        """
        self._floats_only("cov")
        if self.ndim not in (1, 2):
            raise ShapeError(f"cov needs one or two axes, got {self.shape}")
        x = self if self.ndim == 2 else self.unsqueeze(0)
        x = x - x.mean(1, keepdim=True)
        n = x.shape[1] - as_int(correction, "correction of cov")
        out = x.matmul(x.T) / (n if n > 0 else 0)
        return out if self.ndim == 2 else out.reshape(())

    def corrcoef(self) -> Self:
        """Return the correlation of variables (rows) over observations (columns).

        Example:
            >>> Tensor([[1.0, 2.0], [1.0, 4.0]]).corrcoef().round(decimals=3).tolist()
            [[1.0, 1.0], [1.0, 1.0]]
        """
        c = self.cov()
        if not c.shape:
            return c / c
        deviation = c.diagonal().sqrt()
        return (c / deviation.unsqueeze(1) / deviation.unsqueeze(0)).clamp(-1.0, 1.0)
