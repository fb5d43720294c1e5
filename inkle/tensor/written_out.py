"""Functions of nodes, written out for sources of known dtype and shape.

What `softmax` makes of a node depends on the dtype and the shape of that and on the axes, as long
as no size is symbolic: the checks and the arithmetic on shapes come out the same every time. So the
second call of a function with such sources notes the nodes that it makes of stand-ins, as a
function of Python with a line for each, and later calls run that:

    def make(line, x0):
        n0 = intern(o0, d0, (x0,), a0, s0)    # REDUCE
        if n0.origin is None:
            n0.origin = line
        n1 = intern(o1, d1, (n0,), a1, s1)    # RESHAPE
        ...

A constructor may look at what it is applied to: a RESHAPE of a RESHAPE is one. Where it would do so
with a source, that is left to the function itself; and so are sources without axes, such as
literals. In checked mode the function is called every time, and must agree.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType
from typing import Any, NamedTuple, TypeVar

from inkle import config
from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import DType
from inkle.ir.node import Node, intern
from inkle.ir.op import Op
from inkle.tensor.origin import user_line

F = TypeVar("F", bound=Callable[..., Node])
MOST_KNOWN = 1000  # signatures of one function; then all are forgotten
_PLAIN = (int, float, str, DType, type(None))  # arguments that are what they are equal to
_LOOKS_FOR = {  # what constructors look for in what they are applied to; all look for literals
    forms.RESHAPE: (forms.RESHAPE,),
    forms.PERMUTE: (forms.PERMUTE,),
    forms.DETACH: (forms.DETACH,),
    forms.CONTIGUOUS: (forms.BUFFER, forms.PARAM, forms.CONTIGUOUS),
}


class _Written(NamedTuple):
    """A function written out.

    Attributes:
        make: takes the line of the user and the sources, returns the result.
        refused: operations of sources that it is not valid for.
    """

    make: Callable[..., Node]
    refused: frozenset[Op]


def written_out(function: F) -> F:
    """Write `function` out for sources of known dtype and shape.

    It takes nodes and plain arguments, and depends on nothing else.
    """
    known: dict[tuple[object, ...], _Written | None] = {}  # None: has been called once

    @functools.wraps(function)
    def call(*args: Any) -> Node:
        key = tuple([(a.dtype, a.shape) if a.__class__ is Node else (a.__class__, a) for a in args])
        try:
            written = known.get(key)
        except TypeError:  # an argument without a hash, which may be nonsense
            return function(*args)
        if written is None:
            if key in known:
                known[key] = _write(function, args)
            elif _is_fixed(args):
                if len(known) >= MOST_KNOWN:
                    known.clear()
                known[key] = None  # a program that calls it once has nothing of it
            return function(*args)
        sources = [a for a in args if a.__class__ is Node]
        for each in sources:
            if each.op in written.refused:
                return function(*args)
        made = written.make(user_line(2), *sources)
        if config.get("INKLE_CHECK"):
            direct = function(*args)
            assert made is direct, (function, args, made, direct)
        return made

    return call  # type: ignore[return-value]  # of the same signature


def _is_fixed(args: tuple[Any, ...]) -> bool:
    """Whether equal arguments, and sources that look alike, are always treated alike."""
    for each in args:
        if each.__class__ is Node:
            if not each.shape or {*map(type, each.shape)} != {int}:
                return False
        elif each.__class__ is tuple:
            if not {*map(type, each)} <= {int}:
                return False
        elif each.__class__ not in _PLAIN or (each.__class__ is float and not each):
            return False  # 0.0 equals -0.0
    return True


def _write(function: Callable[..., Node], args: tuple[Any, ...]) -> _Written:
    """Return a function written out for arguments like these."""
    leaves = {i: tensor.buffer(a.dtype, a.shape) for i, a in enumerate(args) if type(a) is Node}
    # No constructor looks for NEG.
    stand_ins = {i: intern(ops.NEG, x.dtype, (x,), None, x.shape) for i, x in leaves.items()}
    result = function(*[stand_ins.get(i, a) for i, a in enumerate(args)])
    places, sources = {node: f"x{i}" for i, node in stand_ins.items()}, {*stand_ins.values()}
    names: dict[str, Any] = {"intern": intern}
    lines = [f"def make(line, {', '.join(places.values())}):"]
    refused = {forms.CONST}
    for number, node in enumerate(result.toposort()):
        if node in places or node in leaves.values():
            continue
        place = places[node] = f"n{number}"
        if node.op is forms.CONST:
            names[place] = node
            continue
        # Nothing else without sources is there at every call. To hold it would hold its value, too.
        assert node.src or node.op is forms.ARANGE, node
        if not sources.isdisjoint(node.src):
            refused.update(_LOOKS_FOR.get(node.op, ()))
        names |= {f"o{number}": node.op, f"d{number}": node.dtype}
        names |= {f"a{number}": node.arg, f"s{number}": node.shape}
        src = "".join([f"{places[each]}, " for each in node.src])
        fields = f"o{number}, d{number}, ({src}), a{number}, s{number}"
        lines += (f"{place} = intern({fields})", f"if {place}.origin is None:")
        lines.append(f"    {place}.origin = line")
    lines.append(f"return {places[result]}")
    exec(_compiled("\n    ".join(lines)), names)
    return _Written(names.pop("make"), frozenset(refused))


@functools.lru_cache(maxsize=256)  # of many shapes, the text is the same
def _compiled(text: str) -> CodeType:
    return compile(text, "<written out>", "exec")
