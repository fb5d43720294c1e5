"""A graph for one row turned into one for all rows: every value gets a first axis.

    r = REDUCE(x * w)  for rows x of X     ->     R = REDUCE(X * expand(w))

The operations of the tensor form are closed under this: structure moves by one axis, and what does
not depend on the row is repeated where it meets something that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from inkle.ir import forms, host, tensor
from inkle.ir.dtype import BY_NAME
from inkle.ir.node import Node, elementwise, intern, rebuild
from inkle.ir.op import Op


def batched(roots: Iterable[Node], rows: Mapping[Node, Node], n: int) -> dict[Node, Node]:
    """Return, for every node below `roots`, its value for all rows.

    Args:
        roots: a graph for one row; without SCAN.
        rows: nodes of it that have a value per row, with these values, of shape (n, ...).
        n: number of rows.

    Returns:
        New node for every old one; one that no row matters to stays as it is.
    """
    done: dict[Node, Node] = dict(rows)
    has_rows = set(rows)
    for node in _below(roots, rows):
        if node in done:
            continue
        src = [done[source] for source in node.src]
        if not any(source in has_rows for source in node.src):
            done[node] = rebuild(node, tuple(src))
            continue
        has_rows.add(node)
        literal = forms.CONST if node.op.is_elementwise else None  # it broadcasts there
        full = [
            new if old in has_rows or new.op is literal else _repeated(new, n)
            for old, new in zip(node.src, src, strict=True)
        ]
        if node.op is forms.GATHER and node.src[0] not in has_rows:
            done[node] = tensor.gather(src[0], full[1:], _shifted(node.arg))
        elif node.op.is_elementwise:
            done[node] = _elementwise(node, full)
        else:
            done[node] = _RULES[node.op](node.arg, n, *full)
        if done[node].origin is None:
            done[node].origin = node.origin
    return done


def can_batch(roots: Iterable[Node], rows: Mapping[Node, Node]) -> bool:
    """Whether `batched` knows every operation above `rows`."""
    known = {forms.GATHER, *_RULES}
    return all(
        node.op in known or node.op.is_elementwise or not node.src for node in _below(roots, rows)
    )


def _below(roots: Iterable[Node], known: Mapping[Node, Node]) -> list[Node]:
    """Return the nodes below `roots`, sources first, without what is below `known`."""
    out: list[Node] = []
    seen: set[Node] = set()
    stack = [(root, False) for root in roots]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            out.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            if node not in known:
                stack.extend([(source, False) for source in node.src if source not in seen])
    return out


def _repeated(x: Node, n: int) -> Node:
    return tensor.expand(tensor.reshape(x, (1, *x.shape)), (n, *x.shape))


def _elementwise(node: Node, full: list[Node]) -> Node:
    if len(node.src) == 1:  # CAST and BITCAST have a dtype of their own
        return intern(node.op, node.dtype, (full[0],), node.arg, full[0].shape)
    return elementwise(node.op, tuple(full))


def _shifted(spec: Iterable[int]) -> tuple[int, ...]:
    """Return a GATHER's map for indices with one more axis in front."""
    return tuple([entry if entry < 0 else entry + 1 for entry in spec])


def _scatter(arg: Any, n: int, base: Node, values: Node, *indices: Node) -> Node:
    combine, spec = arg
    return tensor.scatter(base, values, indices, (0, *_shifted(spec)), combine)


_RULES: dict[Op, Callable[..., Node]] = {
    forms.RESHAPE: lambda arg, n, x: tensor.reshape(x, (n, *arg)),
    forms.PERMUTE: lambda arg, n, x: tensor.permute(x, (0, *[axis + 1 for axis in arg])),
    forms.EXPAND: lambda arg, n, x: tensor.expand(x, (n, *arg)),
    forms.SLICE: lambda arg, n, x: tensor.slice_(x, ((0, n, 1), *arg)),
    forms.PAD: lambda arg, n, x: tensor.pad(x, ((0, 0, 0), *arg)),
    forms.FLIP: lambda arg, n, x: tensor.flip(x, [axis + 1 for axis in arg]),
    forms.SHEAR: lambda arg, n, x: tensor.shear(x, arg[0] + 1, arg[1] + 1, arg[2]),
    forms.REDUCE: lambda arg, n, x: tensor.reduce(x, arg[0], [axis + 1 for axis in arg[1]]),
    forms.HOST: lambda arg, n, *src: host.call(
        arg.name, src, arg.params, (n, *arg.shape), BY_NAME[arg.dtype], arg.result
    ),
    forms.PREFIX: lambda arg, n, x: tensor.prefix(x, arg[0], arg[1] + 1),
    forms.CAT: lambda arg, n, *parts: tensor.cat(parts, arg + 1),
    forms.UPDATE: lambda arg, n, x, values: tensor.update(x, values, ((0, n, 1), *arg)),
    forms.GATHER: lambda arg, n, x, *indices: tensor.gather(x, indices, (0, *_shifted(arg))),
    forms.SCATTER: _scatter,
    forms.CONTIGUOUS: lambda arg, n, x: tensor.contiguous(x),
    forms.DETACH: lambda arg, n, x: tensor.detach(x, arg),
}
