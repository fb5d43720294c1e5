"""How a gradient passes through each structural operation of the tensor form.

An adjoint takes a node and the gradient of its value, and gives the gradient of each source (None:
zero, or none needed because the source holds integers). The movement operations are closed under
this: the adjoint of a SHEAR is a SHEAR with the opposite factor, that of a SLICE with a step is a
PAD with an interior. Hence the backward pass of a convolution is again affine loop nests.

Rules are made of the same operations as any graph, so they can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable

from inkle.errors import GradientError
from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import float32, int32
from inkle.ir.node import Node, const

Parts = tuple[Node | None, ...]
Adjoint = Callable[[Node, Node], Parts]
MOST_TERMS = 8  # of one sum


def sum_axes(x: Node, axes: tuple[int, ...]) -> Node:
    """Return the sum over `axes`, which vanish; floats of 16 bits are summed in float32."""
    if x.dtype.is_float and x.dtype.bits == 16:
        return tensor.reduce(x.cast(float32), ops.ADD, axes).cast(x.dtype)
    return tensor.reduce(x, ops.ADD, axes)


def zeros_like(x: Node) -> Node:
    """Return zeros of the shape and dtype of `x`."""
    return tensor.full(0, x.dtype, x.shape)


# --- movement -------------------------------------------------------------------------------------


def _reshape(node: Node, g: Node) -> Parts:
    return (tensor.reshape(g, node.src[0].shape),)


def _permute(node: Node, g: Node) -> Parts:
    inverse = sorted(range(len(node.arg)), key=node.arg.__getitem__)
    return (tensor.permute(g, inverse),)


def _expand(node: Node, g: Node) -> Parts:
    x = node.src[0]
    grown = tuple([i for i, (n, m) in enumerate(zip(x.shape, node.shape, strict=True)) if n != m])
    return (tensor.reshape(sum_of_products(g, grown), x.shape),)


def sum_of_products(g: Node, axes: tuple[int, ...]) -> Node:
    """Return the sum over `axes`, which vanish; factors that are constant along them stay outside.

    The gradient of a mean is such a sum: of d * v, where d are the distances from it, and v, the
    gradient of their variance, is known only after another pass over d. Outside, v waits for no
    element of d: sum(d) is found in that other pass. With several terms all need such a factor.

    Before: REDUCE(g * EXPAND(s) + d * EXPAND(v))    After: s * REDUCE(g) + v * REDUCE(d)
    """
    terms = _terms(g, axes)
    if len(terms) > MOST_TERMS or not all(factors for _, factors in terms):
        return sum_axes(g, axes)
    total: Node | None = None
    for rest, factors in terms:
        part = tensor.reduce(_wide(tensor.broadcast_to(rest, g.shape)), ops.ADD, axes)
        for factor in factors:
            part = part * _wide(factor)
        total = part if total is None else total + part
    assert total is not None
    return total.cast(g.dtype)


def _wide(x: Node) -> Node:
    return x.cast(float32) if x.dtype.is_float and x.dtype.bits == 16 else x


def _terms(g: Node, axes: tuple[int, ...]) -> list[tuple[Node, list[Node]]]:
    """Return what `g` is a sum of: for each term what varies along `axes`, and what does not."""
    terms: list[tuple[Node, list[Node]]] = []
    stack: list[tuple[Node, list[Node]]] = [(g, [])]
    while stack and len(terms) + len(stack) <= MOST_TERMS:
        node, factors = stack.pop()
        if node.op is ops.ADD:
            stack += [(source, factors) for source in reversed(node.src)]
            continue
        if node.op is ops.NEG:
            stack.append((node.src[0], [*factors, const(-1, node.dtype)]))
            continue
        if node.op is ops.MUL:
            for rest, other in (node.src, node.src[::-1]):
                fixed = _without_axes(other, axes)
                if fixed is not None:
                    stack.append((rest, [*factors, fixed]))
                    break
            else:
                terms.append((node, factors))
            continue
        terms.append((node, factors))
    return terms + stack


def _without_axes(x: Node, axes: tuple[int, ...]) -> Node | None:
    """Return an EXPAND without `axes`, if it repeats its source along all of them, or a number."""
    if not x.shape:
        return x
    if x.op is not forms.EXPAND or any(x.src[0].shape[axis] != 1 for axis in axes):
        return None
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    inner = tensor.reshape(x.src[0], tuple([x.src[0].shape[axis] for axis in kept]))
    return tensor.expand(inner, tuple([x.shape[axis] for axis in kept]))


def _slice(node: Node, g: Node) -> Parts:
    x = node.src[0]
    if 0 in node.shape:  # nothing was taken: there is no last element to measure `high` from
        return (zeros_like(x),)
    spec = [
        (start, n - start - (m - 1) * step - 1, step - 1)
        for (start, _, step), n, m in zip(node.arg, x.shape, node.shape, strict=True)
    ]
    return (tensor.pad(g, spec),)


def _pad(node: Node, g: Node) -> Parts:
    spec = [
        (low, low + (n - 1) * (inner + 1) + 1, inner + 1) if n else (0, 0, 1)
        for (low, _, inner), n in zip(node.arg, node.src[0].shape, strict=True)
    ]
    return (tensor.slice_(g, spec),)


def _flip(node: Node, g: Node) -> Parts:
    return (tensor.flip(g, node.arg),)


def _shear(node: Node, g: Node) -> Parts:
    axis, by, factor = node.arg
    return (tensor.shear(g, axis, by, -factor),)


def _cat(node: Node, g: Node) -> Parts:
    parts: list[Node] = []
    start = 0
    for source in node.src:
        stop = start + source.shape[node.arg]
        parts.append(tensor.shrink(g, node.arg, start, stop))
        start = stop
    return tuple(parts)


def _update(node: Node, g: Node) -> Parts:
    values = node.src[1]
    return tensor.update(g, zeros_like(values), node.arg), tensor.slice_(g, node.arg)


# --- reductions -----------------------------------------------------------------------------------


def _reduce(node: Node, g: Node) -> Parts:
    op, axes = node.arg
    rule = REDUCTIONS.get(op)
    if rule is None:
        raise GradientError(f"a reduction with {op.name} has no gradient")
    x = node.src[0]
    return (rule(x, node, g, axes),)


def _sum(x: Node, out: Node, g: Node, axes: tuple[int, ...]) -> Node:
    return tensor.unreduce(g, x.shape, axes)


def _extremum(x: Node, out: Node, g: Node, axes: tuple[int, ...]) -> Node:
    """All elements that attain the extremum share the gradient equally."""
    mask = x.eq(tensor.unreduce(out, x.shape, axes)).cast(x.dtype)
    share = g / sum_axes(mask, axes)
    return mask * tensor.unreduce(share, x.shape, axes)


def _product(x: Node, out: Node, g: Node, axes: tuple[int, ...]) -> Node:
    """The product of the other elements: out / x, except where zeros are involved.

    With one zero only that zero has a gradient; with two or more nothing has. (The second
    derivative between a zero and another element is not seen by this rule.)
    """
    is_zero = x.eq(0.0)
    zeros = sum_axes(is_zero.cast(x.dtype), axes)
    others = is_zero.where(1.0, x)
    product = tensor.reduce(others, ops.MUL, axes)
    at_zero = tensor.unreduce(zeros.eq(1.0).where(g * product, 0.0), x.shape, axes)
    elsewhere = tensor.unreduce(zeros.eq(0.0).where(g * product, 0.0), x.shape, axes)
    return is_zero.where(at_zero, elsewhere / others)


REDUCTIONS: dict[object, Callable[[Node, Node, Node, tuple[int, ...]], Node]] = {
    ops.ADD: _sum,
    ops.MUL: _product,
    ops.MAXIMUM: _extremum,
    ops.MINIMUM: _extremum,
}


# --- running combinations -------------------------------------------------------------------------


def _prefix(node: Node, g: Node) -> Parts:
    (x,), (op, axis) = node.src, node.arg
    if op is ops.ADD:
        return (_running_back(g, axis),)
    if op is ops.MUL:
        return (_running_product(x, g, axis),)
    if op in (ops.MAXIMUM, ops.MINIMUM):
        return (_running_extremum(x, node, g, axis),)
    raise GradientError(f"a running combination with {op.name} has no gradient")


def _running_back(x: Node, axis: int) -> Node:
    """Return the sum of each element and all behind it."""
    return tensor.flip(tensor.prefix(tensor.flip(x, (axis,)), ops.ADD, axis), (axis,))


def _running_product(x: Node, g: Node, axis: int) -> Node:
    """Before the first zero, out / x counts; at it, the product of the others; then nothing.

    As for `_product`, the second derivative between a zero and another element is not seen.
    """
    is_zero = x.eq(0.0)
    others = is_zero.where(1.0, x)
    terms = g * tensor.prefix(others, ops.MUL, axis)
    zeros = tensor.prefix(is_zero.cast(int32), ops.ADD, axis)
    none, one = zeros.eq(0), zeros.eq(1)
    before = _running_back(none.where(terms, 0.0), axis) / others
    at_zero = _running_back(one.where(terms, 0.0), axis)
    return none.where(before, (one & is_zero).where(at_zero, 0.0))


def _running_extremum(x: Node, out: Node, g: Node, axis: int) -> Node:
    """The last element that attains the extremum gets the gradient, as in PyTorch; so does NaN."""
    n = x.shape[axis]
    ones = tuple([n if i == axis else 1 for i in range(len(x.shape))])
    number = tensor.expand(tensor.reshape(tensor.arange(n, int32), ones), x.shape)
    is_record = x.eq(out) | x.not_equal(x)
    source = tensor.prefix(is_record.where(number, 0), ops.MAXIMUM, axis)
    spec = tuple([-1 if i == axis else i for i in range(len(x.shape))])
    return scatter_add(zeros_like(x), g, [source], spec)


# --- gather and scatter ---------------------------------------------------------------------------


def _gather(node: Node, g: Node) -> Parts:
    x, *indices = node.src
    return (scatter_add(zeros_like(x), g, indices, node.arg), *[None] * len(indices))


def scatter_add(base: Node, values: Node, indices: list[Node], spec: tuple[int, ...]) -> Node:
    """Return `base` with `values` added; floats of 16 bits are added up in float32."""
    if base.dtype.is_float and base.dtype.bits == 16:
        wide = tensor.scatter(base.cast(float32), values.cast(float32), indices, spec, ops.ADD)
        return wide.cast(base.dtype)
    return tensor.scatter(base, values, indices, spec, ops.ADD)


def _scatter(node: Node, g: Node) -> Parts:
    combine, spec = node.arg
    _, values, *indices = node.src
    if combine is ops.ADD:
        parts = g, tensor.gather(g, indices, spec)
    elif combine is None:
        erased = tensor.scatter(g, zeros_like(values), indices, spec, None)
        parts = erased, _winners(node).where(tensor.gather(g, indices, spec), 0.0)
    elif combine in SCATTERED:
        parts = _scatter_extremum(node, g)
    else:
        raise GradientError(f"a scatter that combines with {combine.name} has no gradient")
    return (*parts, *[None] * len(indices))


SCATTERED = frozenset({None, ops.ADD, ops.MAXIMUM, ops.MINIMUM})  # how a SCATTER may combine


def _winners(node: Node) -> Node:
    """Where a value of a plain SCATTER is what its place holds at the end: the last one wins."""
    _, spec = node.arg
    base, values, *indices = node.src
    count = 1
    for n in values.shape:
        count *= n
    number = tensor.reshape(tensor.arange(count), values.shape)
    nobody = tensor.full(-1, number.dtype, base.shape)
    winner = tensor.scatter(nobody, number, indices, spec, None)
    return tensor.gather(winner, indices, spec).eq(number)


def _scatter_extremum(node: Node, g: Node) -> tuple[Node, Node]:
    """The old element and the new values that attain the extremum share the gradient equally."""
    _, spec = node.arg
    base, values, *indices = node.src
    base_mask = base.eq(node).cast(g.dtype)
    value_mask = values.eq(tensor.gather(node, indices, spec)).cast(g.dtype)
    share = g / scatter_add(base_mask, value_mask, indices, spec)
    return base_mask * share, value_mask * tensor.gather(share, indices, spec)


# --- the rest -------------------------------------------------------------------------------------


def _through(node: Node, g: Node) -> Parts:
    return (g,)


def _blocked(node: Node, g: Node) -> Parts:
    return (None,)


ADJOINTS: dict[object, Adjoint] = {
    forms.RESHAPE: _reshape,
    forms.PERMUTE: _permute,
    forms.EXPAND: _expand,
    forms.SLICE: _slice,
    forms.PAD: _pad,
    forms.FLIP: _flip,
    forms.SHEAR: _shear,
    forms.REDUCE: _reduce,
    forms.PREFIX: _prefix,
    forms.GATHER: _gather,
    forms.SCATTER: _scatter,
    forms.CAT: _cat,
    forms.UPDATE: _update,
    forms.CONTIGUOUS: _through,
    forms.DETACH: _blocked,
}


def has_adjoint(node: Node) -> bool:
    """Whether `adjoint` has a rule for `node`, if it is no leaf."""
    op = node.op
    if op is forms.REDUCE:
        return node.arg[0] in REDUCTIONS
    if op is forms.SCATTER:
        return node.arg[0] in SCATTERED
    return op.is_elementwise or not node.src or op in ADJOINTS


def adjoint(node: Node, g: Node) -> Parts:
    """Return the gradient of each source of `node`, given that of its value.

    Raises:
        GradientError: if no gradient is defined through this operation.
    """
    op = node.op
    if op.is_elementwise:
        if op.derivative is None:  # zero everywhere
            return (None,) * len(node.src)
        return op.derivative(g, node, *node.src)
    rule = ADJOINTS.get(op)
    if rule is None:
        raise GradientError(f"{op.name} has no gradient; use detach() where none should flow")
    return rule(node, g)
