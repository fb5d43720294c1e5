"""Gradients: `backward()`, `gradient()`, and the functional `grad` and `value_and_grad`."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Self

from inkle.autodiff import differentiable_below, has_adjoint
from inkle.autodiff import gradient as gradient_nodes
from inkle.engine.trace import current_trace
from inkle.errors import DTypeError, GradientError, ShapeError
from inkle.ir import forms, tensor
from inkle.ir.node import Node, substitute
from inkle.tensor import leaves
from inkle.tensor.arguments import Flag, as_int
from inkle.tensor.modes import modes
from inkle.tensor.random import Random


class _Awaited(threading.local):
    """Tensors that this thread has called `backward()` on, and not computed yet."""

    def __init__(self) -> None:
        self.references: list[weakref.ref[Any]] = []


_awaited = _Awaited()
MOST_AWAITED = 64  # the latest: who accumulates more never looks at all of them


def take_awaited() -> list[Any]:
    """Return the living tensors that `backward()` was called on since the last call of this.

    An optimiser computes them together with its step: they share the whole forward pass, and the
    user looks at them next.
    """
    found = [reference() for reference in _awaited.references]
    _awaited.references.clear()
    return [each for each in found if each is not None]


class Gradients(Random):
    """Mixin of differentiation."""

    __slots__ = ()

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor: it is a leaf that wants them, or comes of one."""
        history = self._history
        if history is not None and history.owner:
            return True
        return leaves.comes_from_leaves(self.node)

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        self.requires_grad_(on)

    def requires_grad_(self, on: bool = True) -> Self:  # noqa: FBT002  (PyTorch's signature)
        """Let `backward()` accumulate a gradient for this tensor, or stop it.

        The tensor becomes a leaf: gradients arrive here and flow no further. A tensor that comes
        from other leaves has gradients already, and stays as it is.

        Raises:
            DTypeError: if it is not floating point.
        """
        if not isinstance(on, Flag):
            raise DTypeError(f"requires_grad_ needs True or False, got {on!r:.60}")
        is_leaf = self._history is not None and self._history.owner != 0
        if on and not is_leaf and not leaves.comes_from_leaves(self.node):
            self._set_leaf()
        elif not on and is_leaf:
            self._history = None
        return self

    def detach(self) -> Self:
        """Return a view of the same values, through which no gradient flows."""
        return self._moved((forms.DETACH, None))

    def backward(self, gradient: Any = None, *, create_graph: bool = False) -> Self:
        """Add to `.grad` of every leaf that requires it the gradient of this tensor.

        Args:
            gradient: cotangent of the shape of self; may be missing for a single number.
            create_graph: let gradients flow through the new `.grad`, for second derivatives.

        Returns:
            This tensor, so that `loss = f(x).backward()` works.

        Raises:
            GradientError: if no leaf is in reach: call `requires_grad_()` on a parameter first.
        """
        node = self.node
        below = differentiable_below(node)
        found = leaves.leaves_among(below)
        if not found:
            raise GradientError(
                "backward: no tensor that requires a gradient is in reach; call requires_grad_() "
                "on the parameters before using them (detach and no_grad cut the way, too)"
            )
        if any(leaf.arg == leaves.CUT for leaf in found):
            raise GradientError(
                "backward: no gradient flows into or out of a captured function; call backward() "
                "on the same side of it as the parameters are used, or detach() what it returned"
            )
        cotangent = self._cotangent(gradient, "backward")
        is_late = not create_graph and not leaves.functional and current_trace() is None
        parts: list[Node | None]
        if is_late and all(map(has_adjoint, below)):
            parts = [tensor.gradient(node, cotangent, leaf) for leaf in found]
        else:
            parts = gradient_nodes([node], [cotangent], found)
        totals: dict[int, Node] = {}
        for leaf, part in zip(found, parts, strict=True):
            if part is not None:
                before = totals.get(leaf.arg)
                totals[leaf.arg] = part if before is None else before + part
        for number, total in totals.items():
            owner = leaves.owners.get(number)
            if owner is not None:
                new = owner._new(total if create_graph else tensor.detach(total))
                owner.grad = new if owner.grad is None else owner.grad + new
        if current_trace() is None:
            _awaited.references = [*_awaited.references[1 - MOST_AWAITED :], weakref.ref(self)]
        return self

    def _cotangent(self, gradient: Any, what: str) -> Node:
        node = self.node
        if not node.dtype.is_float:
            raise GradientError(f"{what} needs a float tensor, got {node.dtype}")
        if gradient is None:
            if node.shape and any(n != 1 for n in node.shape):
                raise GradientError(
                    f"{what} of a tensor of shape {node.shape} needs a cotangent of that shape; "
                    f"usually one differentiates a single number: x.sum().backward()"
                )
            return tensor.full(1, node.dtype, node.shape)
        if not isinstance(gradient, Gradients):
            raise DTypeError(f"{what}: the cotangent must be a tensor, got {gradient!r:.60}")
        if gradient.shape != node.shape:
            raise ShapeError(f"{what}: cotangent of {gradient.shape} for a tensor of {node.shape}")
        return gradient.node.cast(node.dtype)

    def gradient(self, *targets: Any, gradient: Any = None) -> list[Self]:
        """Return the gradients of this tensor with respect to `targets`, which need not be leaves.

        Gradients flow through the result, so second derivatives are `y.gradient(x)[0].gradient(x)`.

        Args:
            targets: float tensors that this tensor was computed from. A tensor is known by its
                expression here: equal expressions are one. `requires_grad_()` makes it unique.
            gradient: cotangent of the shape of self; may be missing for a single number.

        Returns:
            One tensor per target, of its shape and dtype.

        Raises:
            GradientError: if this tensor does not depend on a target.
        """
        if not targets:
            raise GradientError("gradient needs the tensors to differentiate by: y.gradient(x)")
        node = self.node
        below = leaves.leaves_below(node)
        wrt: list[list[Node]] = []
        for target in targets:
            if not isinstance(target, Gradients):
                raise DTypeError(f"gradient is by tensors, got {target!r:.60}")
            history = target._history
            owner = history.owner if history is not None else 0
            # A leaf may have been used in several versions.
            wrt.append([leaf for leaf in below if owner and leaf.arg == owner] or [target.node])
        flat = [each for group in wrt for each in group]
        parts = iter(gradient_nodes([node], [self._cotangent(gradient, "gradient")], flat))
        results = []
        for number, (target, group) in enumerate(zip(targets, wrt, strict=True)):
            total = None
            for part in [next(parts) for _ in group]:
                total = part if total is None or part is None else total + part
            if total is None:
                raise GradientError(
                    f"gradient: the tensor does not depend on target {number} of shape "
                    f"{target.shape} (any more): detach, no_grad, an integer or a comparison cut "
                    f"the way, or the target was changed or realised after it was used; "
                    f"x.requires_grad_() before the first use keeps the way"
                )
            results.append(target._new(total))
        return results


def value_and_grad(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0
) -> Callable[..., tuple[Any, Any]]:
    """Return a function that computes `function` and its gradient.

    Args:
        function: takes tensors, returns a float tensor without axes (or with one element).
        argnums: positions of the arguments to differentiate by; one gives one gradient, several
            give a tuple.

    Returns:
        Function with the same arguments, returning (value, gradient or gradients).

    Example:
        >>> value, slope = value_and_grad(lambda x: x * x)(Tensor(3.0))
        >>> value.item(), slope.item()
        (9.0, 6.0)
    """
    single = isinstance(argnums, int)
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for number in numbers:
        as_int(number, "argnums")

    def differentiated(*args: Any, **options: Any) -> tuple[Any, Any]:
        given = list(args)
        inner: list[tuple[Node, Node]] = []  # the leaf inside the function, the value outside
        before, modes.no_grad = modes.no_grad, False
        try:
            for number in numbers:
                outside = _argument(args, number)
                leaf = tensor.detach(outside.node, next(leaves.numbers))
                given[number] = outside._new(leaf)
                inner.append((leaf, outside.node))
                leaves.functional.add(leaf.arg)
            value = function(*given, **options)
            if not isinstance(value, Gradients):
                raise GradientError(f"grad: the function must return a tensor, got {value!r:.60}")
            cotangent = value._cotangent(None, "grad")
            wrt = [leaf for leaf, _ in inner]
            parts = gradient_nodes([value.node], [cotangent], wrt)
        finally:
            modes.no_grad = before
            leaves.functional.difference_update([leaf.arg for leaf, _ in inner])
        totals = [tensor.full(0, leaf.dtype, leaf.shape) if part is None else part
                  for leaf, part in zip(wrt, parts, strict=True)]  # fmt: skip
        # The leaves were there to tell the arguments apart; outside they are what was passed in, so
        # that an outer `grad` sees through them.
        back = substitute([value.node, *totals], dict(inner))
        results = tuple([value._new(back[total]) for total in totals])
        return value._new(back[value.node]), results[0] if single else results

    return differentiated


def grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Return a function that computes the gradient of `function`; see `value_and_grad`.

    Example:
        >>> grad(grad(lambda x: x * x * x))(Tensor(2.0)).item()
        12.0
    """
    both = value_and_grad(function, argnums)

    def differentiated(*args: Any, **options: Any) -> Any:
        return both(*args, **options)[1]

    return differentiated


def _argument(args: tuple[Any, ...], number: int) -> Any:
    if not -len(args) <= number < len(args):
        raise GradientError(f"grad: no argument number {number}; the call has {len(args)}")
    found = args[number]
    if not isinstance(found, Gradients) or not found.dtype.is_float:
        raise GradientError(f"grad: argument {number} must be a float tensor, got {found!r:.60}")
    return found
