"""Products of matrices and vectors by name, and distances."""

from __future__ import annotations

from typing import Any, Self

from inkle.errors import OptionError, ShapeError
from inkle.tensor.arguments import as_int, as_ints, as_number, check_axis
from inkle.tensor.arranging import Arranging


class Products(Arranging):
    """Mixin of products and distances."""

    __slots__ = ()

    def _ranked(self, other: Any, ranks: tuple[int, int], what: str) -> Self:
        """Return `other`, after a look at the number of axes of both."""
        given = self._given(other, what)
        if (self.ndim, given.ndim) != ranks:
            raise ShapeError(
                f"{what} needs tensors of {ranks[0]} and {ranks[1]} axes, got {self.shape} and "
                f"{given.shape}; matmul takes any"
            )
        return given

    def mm(self, mat2: Any) -> Self:
        """Return the product of two matrices."""
        return self.matmul(self._ranked(mat2, (2, 2), "mm"))

    def bmm(self, mat2: Any) -> Self:
        """Return the products of two batches of matrices, of equal length."""
        other = self._ranked(mat2, (3, 3), "bmm")
        if self.shape[0] != other.shape[0]:
            raise ShapeError(f"bmm: batches of {self.shape} and {other.shape} differ")
        return self.matmul(other)

    def mv(self, vec: Any) -> Self:
        """Return the product of a matrix and a vector."""
        return self.matmul(self._ranked(vec, (2, 1), "mv"))

    def vdot(self, other: Any) -> Self:
        """Return the product of two vectors, a number."""
        return self.matmul(self._ranked(other, (1, 1), "vdot"))

    def inner(self, other: Any) -> Self:
        """Return the sum of products along the last axes of both.

        Example:
            >>> Tensor([[1, 2], [3, 4]]).inner(Tensor([1, 1])).tolist()
            [3, 7]
        """
        given = self._given(other, "inner")
        if not self.ndim or not given.ndim:
            return self.mul(given)
        return self.tensordot(given, ((-1,), (-1,)))

    def tensordot(self, other: Any, dims: Any = 2) -> Self:
        """Return the sum of products along several axes of both.

        Args:
            other: tensor.
            dims: how many: the last of self with the first of `other`; or the axes of both, as two
                lists.

        Returns:
            Tensor of the other axes of self, then of `other`.

        Example:
            >>> Tensor.ones(2, 3, 4).tensordot(Tensor.ones(3, 4, 5)).shape
            (2, 5)
        """
        b = self._given(other, "tensordot")
        if isinstance(dims, (tuple, list)) and len(dims) == 2:
            ours, theirs = (as_ints(each, "axis of tensordot") for each in dims)
        else:
            n = as_int(dims, "dims of tensordot")
            if not 0 <= n <= min(self.ndim, b.ndim):
                raise ShapeError(f"tensordot of {self.shape} and {b.shape} has no {n} axes to sum")
            ours, theirs = tuple(range(self.ndim - n, self.ndim)), tuple(range(n))
        first = [check_axis(axis, self.ndim, "tensordot") for axis in ours]
        second = [check_axis(axis, b.ndim, "tensordot") for axis in theirs]
        lengths = [self.shape[axis] for axis in first], [b.shape[axis] for axis in second]
        if lengths[0] != lengths[1] or len(set(first)) < len(first) > len(set(second)):
            raise ShapeError(
                f"tensordot: axes {ours} of {self.shape} and {theirs} of {b.shape} do not fit"
            )
        letters = [chr(ord("a") + i) for i in range(self.ndim)]
        others = [chr(ord("A") + i) for i in range(b.ndim)]
        for i, j in zip(first, second, strict=True):
            others[j] = letters[i]
        kept = [x for i, x in enumerate(letters) if i not in first]
        kept += [x for j, x in enumerate(others) if j not in second]
        formula = f"{''.join(letters)},{''.join(others)}->{''.join(kept)}"
        out: Self = self.einsum(formula, self, b)
        return out

    def kron(self, other: Any) -> Self:
        """Return Kronecker's product: each element of self times all of `other`.

        Example:
            >>> Tensor([1, 2]).kron(Tensor([1, 10])).tolist()
            [1, 10, 2, 20]
        """
        b = self._given(other, "kron")
        rank = max(self.ndim, b.ndim)
        n, m = ((1,) * (rank - each.ndim) + each.shape for each in (self, b))
        left = self.reshape([k for size in n for k in (size, 1)])
        right = b.reshape([k for size in m for k in (1, size)])
        return (left * right).reshape([i * j for i, j in zip(n, m, strict=True)])

    def cross(self, other: Any, dim: int = -1) -> Self:
        """Return the vector product along an axis of length 3.

        Example:
            >>> Tensor([1, 0, 0]).cross(Tensor([0, 1, 0])).tolist()
            [0, 0, 1]
        """
        b = self._given(other, "cross")
        axis = check_axis(dim, self.ndim, "cross")
        if b.ndim != self.ndim or self.shape[axis] != 3 or b.shape[axis] != 3:
            raise ShapeError(f"cross needs axis {dim} of length 3, got {self.shape} and {b.shape}")
        following = self.roll(-1, axis) * b.roll(-2, axis)
        return following - self.roll(-2, axis) * b.roll(-1, axis)

    def trace(self) -> Self:
        """Return the sum of the diagonal of a matrix.

        Example:
            >>> Tensor([[1, 2], [3, 4]]).trace().item()
            5
        """
        if self.ndim != 2:
            raise ShapeError(f"trace needs a matrix, got {self.shape}")
        return self.diagonal().sum()

    def matrix_power(self, n: int) -> Self:
        """Return the product of `n` equal square matrices, by repeated squaring.

        Example:
            >>> Tensor([[1, 1], [0, 1]]).matrix_power(5).tolist()
            [[1, 5], [0, 1]]
        """
        power = as_int(n, "n of matrix_power")
        if self.ndim < 2 or self.shape[-1] != self.shape[-2]:
            raise ShapeError(f"matrix_power needs square matrices, got {self.shape}")
        if not 0 <= power < 2**31:
            raise OptionError(f"matrix_power needs 0 <= n < 2**31, got {n}; there is no inverse")
        if not power:
            return self.eye(self.shape[-1], dtype=self.dtype).expand(self.shape)
        result, square = None, self
        while power:
            if power & 1:
                result = square if result is None else result.matmul(square)
            power >>= 1
            square = square.matmul(square) if power else square
        assert result is not None
        return result

    def linear(self, weight: Any, bias: Any = None) -> Self:
        """Return x @ weight.T + bias.

        Args:
            weight: (out, in).
            bias: (out,) or None.

        Example:
            >>> Tensor([1.0, 2.0]).linear(Tensor([[3.0, 4.0]]), Tensor([1.0])).tolist()
            [12.0]
        """
        w = self._given(weight, "linear")
        if w.ndim != 2:
            raise ShapeError(f"linear needs a weight of (out, in), got {w.shape}")
        out = self.matmul(w.T)
        return out if bias is None else out + bias

    def addmm(self, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1) -> Self:
        """Return beta * self + alpha * (mat1 @ mat2)."""
        product = self._given(mat1, "addmm").mm(mat2)
        out: Self = self * beta + product * alpha
        return out

    def baddbmm(self, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Self:
        """Return beta * self + alpha * (batch1 @ batch2), of batches of matrices."""
        product = self._given(batch1, "baddbmm").bmm(batch2)
        out: Self = self * beta + product * alpha
        return out

    # --- distances --------------------------------------------------------------------------------

    def cosine_similarity(self, other: Any, dim: int = 1, eps: float = 1e-8) -> Self:
        """Return x . y / (|x| |y|) along `dim`; each norm is at least `eps`.

        Example:
            >>> round(Tensor([[3.0, 4.0]]).cosine_similarity(Tensor([[4.0, 3.0]])).item(), 4)
            0.96
        """
        b, least = self._given(other, "cosine_similarity"), as_number(eps, "eps")
        norms = [each.norm(2, dim, keepdim=True).clamp(min=least) for each in (self, b)]
        return (self / norms[0] * (b / norms[1])).sum(dim)

    def pairwise_distance(self, other: Any, p: float = 2.0, eps: float = 1e-6) -> Self:
        """Return the p-norm of x - y + eps along the last axis.

        Example:
            >>> round(Tensor([0.0, 0.0]).pairwise_distance(Tensor([3.0, 4.0])).item(), 4)
            5.0
        """
        return (self - self._given(other, "pairwise_distance") + as_number(eps, "eps")).norm(p, -1)

    def cdist(self, other: Any, p: float = 2.0) -> Self:
        """Return the p-norms of the differences of all rows of self and of `other`.

        Args:
            other: (..., m, width) for self of (..., n, width).
            p: of the norm.

        Returns:
            (..., n, m).

        Example:
            >>> Tensor([[0.0], [1.0]]).cdist(Tensor([[3.0]])).tolist()
            [[3.0], [2.0]]
        """
        b = self._given(other, "cdist")
        if self.ndim < 2 or b.ndim < 2:
            raise ShapeError(f"cdist needs rows, got {self.shape} and {b.shape}")
        return (self.unsqueeze(-2) - b.unsqueeze(-3)).norm(p, -1)
