"""Kernels as readable pseudo-code, and expressions in infix form.

    kernel(A: float32 out, B: float32, C: float32)  u3: unroll 4, l4: lane 16
    for grid g0 in 8:
      acc0[u3, l4] = 0.0
      for loop i2 in 256:
        acc0[u3, l4] += B[g0 * 1024 + u3 * 256 + i2] * C[i2 * 16 + l4]
      A[g0 * 64 + u3 * 16 + l4] = acc0[u3, l4]

A line that names UNROLL or LANE ranges runs for all of their values. Lines stand where the one rule
of the loop form puts them: at the depth of the deepest loop that they depend on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from inkle.ir import forms, ops
from inkle.ir.dtype import DType, index
from inkle.ir.elementwise import Scalar
from inkle.ir.loop import Axis, Kernel, axis_of, carried, number_of, runs_over
from inkle.ir.node import Node, bound_ranges, convert_scalar, round_float, toposort
from inkle.ir.op import Op

LONG = 100  # characters: longer expressions get a name of their own
SHORT = 24  # characters: shorter ones are repeated rather than named
ATOM = 9

_INFIX = {
    ops.LESS: ("<", 1), ops.LESS_EQUAL: ("<=", 1), ops.EQUAL: ("==", 1), ops.NOT_EQUAL: ("!=", 1),
    ops.OR: ("|", 2), ops.XOR: ("^", 3), ops.AND: ("&", 4), ops.SHL: ("<<", 5), ops.SHR: (">>", 5),
    ops.ADD: ("+", 6), ops.SUB: ("-", 6), ops.MUL: ("*", 7), ops.DIV: ("/", 7),
    ops.FLOORDIV: ("//", 7), ops.FLOORMOD: ("%", 7),
}  # fmt: skip
_REGROUPED = {ops.ADD: (ops.ADD, ops.SUB), ops.MUL: (ops.MUL,)}
_PREFIX = {ops.NEG: "-", ops.NOT: "~"}
_LETTERS = {Axis.GRID: "g", Axis.WORKER: "w", Axis.LANE: "l", Axis.UNROLL: "u", Axis.LOOP: "i"}
_SHOWN_AS_COPIES = (Axis.UNROLL, Axis.LANE)


class Text(NamedTuple):
    """Source text with the precedence of its outermost operator."""

    text: str
    precedence: int = ATOM


def expression(root: Node) -> str:
    """Return one node in infix form, e.g. "A[i0 * 4 + i1] + 1.0"; long parts become "…"."""
    texts: dict[Node, Text] = {}
    for node in toposort((root,)):
        found = inline(node, texts)
        texts[node] = found if len(found.text) <= 2 * LONG or node is root else Text("…")
    return texts[root].text


def literal(value: Scalar, dtype: DType) -> str:
    """Return the shortest text that reads back as `value` of `dtype`."""
    if not dtype.is_float or value != value:
        return str(value)
    texts = (f"{value:.{digits}g}" for digits in range(1, 18))
    text = next((t for t in texts if round_float(float(t), dtype) == value), repr(value))
    return text if any(c in text for c in ".en") else text + ".0"


def name_of_range(r: Node) -> str:
    """Return the name of a range: a letter for its axis kind, and its number."""
    return f"{_LETTERS[axis_of(r)]}{number_of(r)}"


def name_of_param(slot: int) -> str:
    """Return A, B, ... Z, P26, P27, ..."""
    return chr(ord("A") + slot) if slot < 26 else f"P{slot}"


def inline(node: Node, texts: Mapping[Node, Text]) -> Text:
    """Return the text of one node, given the texts of its sources."""
    op = node.op
    if op.is_elementwise:
        return _elementwise(node, [texts[source] for source in node.src])
    if op is forms.CONST:
        return Text(literal(node.arg, node.dtype), 8 if str(node.arg)[0] == "-" else ATOM)
    if op is forms.RANGE:
        return Text(name_of_range(node))
    if op is forms.VARIABLE:
        return Text(str(node.arg[0]))
    if op is forms.PARAM:
        return Text(name_of_param(node.arg[0]))
    if op is forms.STAGE or op is forms.CARRY:
        return Text(f"{'S' if op is forms.STAGE else 'c'}{node.arg[0]}")
    if op is forms.LOAD:
        return Text(_access(node, texts, 2))
    if op is forms.STORE:
        equals = "=" if node.arg is None else _assign(node.arg)
        return Text(f"{_access(node, texts, 3)} {equals} {texts[node.src[2]].text}", 0)
    sources = ", ".join(texts[source].text for source in node.src)
    if op in (forms.REDUCE, forms.PREFIX) and len(node.arg) == 1:
        over = ", ".join(texts[r].text for r in node.src[1:])
        word = f"{'running ' if op is forms.PREFIX else ''}{node.arg[0]}"
        return Text(f"{word}[{over}]({texts[node.src[0]].text})")
    if op is forms.FOLD:
        return Text(_fold(node, texts))
    if op is forms.DOT:
        return Text(f"{node.arg}({texts[node.src[0]].text}, {texts[node.src[1]].text})")
    return Text(
        f"{op}({sources}{', ' if sources and node.arg is not None else ''}{node.arg or ''})"
    )


def _fold(node: Node, texts: Mapping[Node, Text]) -> str:
    """Return "fold[t](value; c0 = 0 then following)"."""
    over = ", ".join([texts[r].text for r in runs_over(node)])
    state = ", ".join(
        f"{texts[each].text} = {texts[each.src[0]].text} then {texts[following].text}"
        for each, following in carried(node)
    )
    return f"fold[{over}]({texts[node.src[0]].text}; {state})"


def _elementwise(node: Node, sources: list[Text]) -> Text:
    if node.op in _INFIX and len(sources) == 2:
        sign, precedence = _INFIX[node.op]
        left, right = sources
        a = left.text if left.precedence >= precedence > 1 else _wrapped(left, precedence)
        # Only what groups the same either way needs no brackets: not a * (b // c).
        is_exact = node.dtype is index and node.src[1].op in _REGROUPED.get(node.op, ())
        return Text(f"{a} {sign} {_wrapped(right, precedence - is_exact)}", precedence)
    if node.op in _PREFIX and len(sources) == 1:
        return Text(_PREFIX[node.op] + _wrapped(sources[0], 7), 8)
    name = str(node.dtype) if node.op is ops.CAST else str(node.op)
    if node.op is ops.BITCAST:
        name = f"bitcast.{node.dtype}"
    return Text(f"{name}({', '.join(source.text for source in sources)})")


def _wrapped(text: Text, precedence: int) -> str:
    return text.text if text.precedence > precedence else f"({text.text})"


def _access(node: Node, texts: Mapping[Node, Text], gate: int) -> str:
    condition = f" if {texts[node.src[gate]].text}" if len(node.src) > gate else ""
    return f"{texts[node.src[0]].text}[{texts[node.src[1]].text}{condition}]"


def _assign(op: Op) -> str:
    return _INFIX[op][0] + "=" if op in _INFIX else f"{op}="


# --- loop nests -----------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class _Scope:
    """One open loop: its lines, and the texts of the values computed in it."""

    range: Node | None
    lines: list[str] = field(default_factory=list)
    texts: dict[Node, Text] = field(default_factory=dict)


class _Visible(Mapping[Node, Text]):
    """The texts of all open scopes, inner ones first."""

    def __init__(self, scopes: list[_Scope]) -> None:
        self._scopes = scopes

    def __getitem__(self, node: Node) -> Text:
        for scope in reversed(self._scopes):
            if node in scope.texts:
                return scope.texts[node]
        raise KeyError(node)

    def __iter__(self) -> itertools.chain[Node]:
        return itertools.chain(*(scope.texts for scope in self._scopes))

    def __len__(self) -> int:
        return sum(len(scope.texts) for scope in self._scopes)


class _Printer:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.rank = {r: i for i, r in enumerate(kernel.order)}
        self.scopes = [_Scope(None)]
        self.names = itertools.count()
        self.uses: dict[Node, int] = {}
        nodes = kernel.nodes()
        self.reduces = [node for node in nodes if node.op is forms.REDUCE]
        self.below = {r: set(toposort(r.src)) for r in self.reduces}
        for node in nodes:
            for source in node.src:
                self.uses[source] = self.uses.get(source, 0) + 1

    def stores(self, stores: list[Node]) -> None:
        """Open the outermost loop that is still closed around the first stores, in turn."""
        while stores:
            closed = self.closed(stores[0].ranges)
            if not closed:
                store = stores.pop(0)
                self.values(store.src)
                self.line(inline(store, _Visible(self.scopes)).text)
                continue
            inside = [stores.pop(0)]
            while stores and self.closed(stores[0].ranges)[:1] == closed[:1]:
                inside.append(stores.pop(0))
            self.open(closed[0])
            self.stores(inside)
            self.close()

    def closed(self, ranges: Iterable[Node]) -> list[Node]:
        """Return the loops around a value that are not open, outermost first."""
        opened = {scope.range for scope in self.scopes}
        loops = [r for r in ranges if r in self.rank and r not in opened]
        return sorted(loops, key=self.rank.__getitem__)

    def open(self, r: Node) -> None:
        self.values(r.src)
        self.scopes.append(_Scope(r))

    def close(self) -> None:
        scope = self.scopes.pop()
        r = scope.range
        assert r is not None
        size = _Visible(self.scopes)[r.src[0]].text
        self.line(f"for {axis_of(r).value} {name_of_range(r)} in {size}:")
        for line in scope.lines:
            self.line("  " + line)

    def line(self, text: str) -> None:
        self.scopes[-1].lines.append(text)

    def depth(self, node: Node) -> int:
        """Return the scope in which `node` is computed."""
        found = [i for i, scope in enumerate(self.scopes) if scope.range in node.ranges]
        return found[-1] if found else 0

    def values(self, roots: Iterable[Node]) -> None:
        """Write the lines that `roots` need, each in the scope where it belongs."""
        visible = _Visible(self.scopes)
        stack = [(root, False) for root in roots]
        while stack:
            node, is_ready = stack.pop()
            if node in visible:
                continue
            has_own_loops = node.op in (forms.REDUCE, forms.STAGE)
            if is_ready or has_own_loops or not node.src:
                self.value(node)
            else:
                stack.append((node, True))
                stack.extend((source, False) for source in node.src)

    def value(self, node: Node) -> None:
        """Write the line of one value if it needs one, and remember its text."""
        depth = self.depth(node)
        inner = self.scopes[depth + 1 :]
        del self.scopes[depth + 1 :]  # as if those loops were not open yet
        if node.op is forms.REDUCE:
            self.reduce(node)
        elif node.op is forms.STAGE:
            self.stage(node)
        else:
            text = inline(node, _Visible(self.scopes))
            if self.is_named(node, text):
                name = self.copies(f"x{next(self.names)}", node)
                self.line(f"{name} = {text.text}")
                text = Text(name)
            self.scopes[depth].texts[node] = text
        self.scopes.extend(inner)

    def is_named(self, node: Node, text: Text) -> bool:
        if not node.op.is_elementwise and node.op is not forms.LOAD:
            return False
        is_shared = self.uses.get(node, 0) > 1
        return len(text.text) > LONG or (
            is_shared and (node.op is forms.LOAD or len(text.text) > SHORT)
        )

    def copies(self, name: str, node: Node) -> str:
        """Return a name with the UNROLL and LANE ranges that it depends on."""
        ranges = [r for r in node.ranges if axis_of(r) in _SHOWN_AS_COPIES]
        ranges.sort(key=lambda r: (_SHOWN_AS_COPIES.index(axis_of(r)), number_of(r)))
        return f"{name}[{', '.join(map(name_of_range, ranges))}]" if ranges else name

    def reduce(self, first: Node) -> None:
        """Write the loops of `first` and of every reduction that shares them."""
        family = [first, *(other for other in self.reduces if self.is_sibling(first, other))]
        for node in family:
            name = self.copies(f"acc{next(self.names)}", node)
            op: Op = node.arg[0]
            assert op.identity is not None
            start = convert_scalar(op.identity(node.dtype), node.dtype)
            self.line(f"{name} = {literal(start, node.dtype)}")
            self.scopes[-1].texts[node] = Text(name)
        loops = self.closed(bound_ranges(first))
        for r in loops:
            self.open(r)
        for node in family:
            self.values(node.src[:1])
            texts = _Visible(self.scopes)
            self.line(f"{texts[node].text} {_assign(node.arg[0])} {texts[node.src[0]].text}")
        for _ in loops:
            self.close()

    def is_sibling(self, first: Node, other: Node) -> bool:
        return (
            other is not first
            and other not in _Visible(self.scopes)
            and bound_ranges(other) == bound_ranges(first)
            and self.closed(other.ranges) == []
            and self.depth(other) == self.depth(first)
            and first not in self.below[other]
            and other not in self.below[first]
        )

    def stage(self, node: Node) -> None:
        number, size = node.arg
        self.line(f"S{number} = stage of {size} {node.dtype}")
        loops = self.closed(bound_ranges(node))
        for r in loops:
            self.open(r)
        self.values(node.src[:2])
        texts = _Visible(self.scopes)
        self.line(f"S{number}[{texts[node.src[1]].text}] = {texts[node.src[0]].text}")
        for _ in loops:
            self.close()
        self.scopes[-1].texts[node] = Text(f"S{number}")


def pseudo_code(kernel: Kernel) -> str:
    """Return the loop nest of a kernel as readable text."""
    printer = _Printer(kernel)
    printer.stores(list(kernel.stores))
    written = {store.src[0].arg[0] for store in kernel.stores}
    params = [
        f"{name_of_param(p.arg[0])}: {p.dtype}{' out' if p.arg[0] in written else ''}"
        for p in kernel.params()
    ]
    variables = sorted({n.arg for n in kernel.nodes() if n.op is forms.VARIABLE})
    params += [f"{name}: {low}..{high}" for name, low, high in variables]
    copies = ", ".join(
        f"{name_of_range(r)}: {axis_of(r).value} {expression(r.src[0])}"
        for r in kernel.ranges()
        if axis_of(r) in _SHOWN_AS_COPIES
    )
    head = f"kernel({', '.join(params)})" + (f"  {copies}" if copies else "")
    return "\n".join([head, *printer.scopes[0].lines]) + "\n"
