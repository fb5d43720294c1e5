"""The engine: applies a set of rules to a graph, bottom-up, until none applies.

Iterative, so that deep graphs are fine; each node is looked at once, and what a replacement brings
in is rewritten in turn. Results are remembered per rule set for as long as the node lives, so that
shared expressions and repeated kernels are simplified once.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from inkle.errors import RewriteError
from inkle.ir import forms
from inkle.ir.algebra import fold
from inkle.ir.dtype import DType
from inkle.ir.node import Node, rebuild, toposort
from inkle.ir.op import Op
from inkle.ir.tensor import broadcast_to
from inkle.rewrite.known import Known
from inkle.rewrite.pattern import Matcher
from inkle.rewrite.rule import AnyRule, FunctionRule

_FREE = 10_000  # rewrites in one call before the size of the graph is asked for
_PER_NODE = 100  # rewrites allowed per node of the graph
_EVERYWHERE = Known()
_local = threading.local()
NestOf = Callable[[Node], object]


@dataclass(frozen=True, slots=True)
class Step:
    """One rewrite, as recorded: rule `rule` replaced `before` by `after`."""

    rule: str
    before: Node
    after: Node


@contextmanager
def record() -> Iterator[list[Step]]:
    """Collect every rewrite of this thread in the list that the `with` block gets."""
    outer = getattr(_local, "steps", None)
    steps: list[Step] = []
    _local.steps = steps
    try:
        yield steps
    finally:
        _local.steps = outer


class RuleTimes:
    """What rules cost, by name: seconds, how often they were tried, and how often they applied."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.tried: Counter[str] = Counter()
        self.applied: Counter[str] = Counter()

    def first(
        self, table: Sequence[tuple[str, Matcher]], node: Node, known: Known
    ) -> tuple[str, Node | None]:
        """Return the first rule of `table` that applies to `node` and what it makes of it."""
        for name, matcher in table:
            start = time.perf_counter()
            result = matcher(node, known)
            self.seconds[name] += time.perf_counter() - start
            self.tried[name] += 1
            if result is not None:
                self.applied[name] += 1
                return name, result
        return "", None


@contextmanager
def time_rules() -> Iterator[RuleTimes]:
    """Measure every rule that is tried in this thread, which then takes longer."""
    outer = getattr(_local, "times", None)
    times = _local.times = RuleTimes()
    try:
        yield times
    finally:
        _local.times = outer


class RuleSet:
    """Rules, and the memory of what they did.

    Args:
        rules: tried in this order on each node; names are unique.
        nest_of: names the nest that a node belongs to, such as a sum within a sum; None: no nest.
            Rules are tried on the outermost node of a nest only; they must look through the rest.
            That keeps long sums and conjunctions linear.

    Attributes:
        rules: the rules.
        fired: how often each rule was applied, by name.
    """

    def __init__(self, rules: Iterable[AnyRule], nest_of: NestOf | None = None) -> None:
        self.rules = tuple(rules)
        self.nest_of = nest_of
        self.fired: Counter[str] = Counter()
        names = Counter(each.name for each in self.rules)
        twice = sorted(name for name, count in names.items() if count > 1)
        if twice:
            raise RewriteError(f"rules need unique names; more than one is called {twice}")
        self._by_root: dict[Op, list[AnyRule]] = {}
        for each in self.rules:
            for root in each.roots if isinstance(each, FunctionRule) else (each.root,):
                self._by_root.setdefault(root, []).append(each)
        self._tables: dict[tuple[Op, DType], list[tuple[str, Matcher]]] = {}
        self._memo: weakref.WeakKeyDictionary[Node, weakref.ref[Node]] = weakref.WeakKeyDictionary()

    def simplify(self, node: Node, known: Known | None = None) -> Node:
        """Return `node` with every rule applied as often as possible."""
        return self.rewrite((node,), known)[0]

    def rewrite(
        self,
        roots: Sequence[Node],
        known: Known | None = None,
        fixed: Mapping[Node, Node] | None = None,
    ) -> list[Node]:
        """Return `roots` with every rule applied as often as possible.

        Args:
            roots: nodes of tensor or loop form.
            known: facts to use besides what holds everywhere; results then are not remembered.
            fixed: replacements decided beforehand; nothing below these nodes is looked at.

        Raises:
            RewriteError: if the rules run in circles or without end; it names them.
        """
        run = _Run(self, known, fixed)
        run.visit(roots)
        return [run.done[root] for root in roots]

    def table(self, op: Op, operand: DType) -> list[tuple[str, Matcher]]:
        """Return the matchers to try on nodes of `op` whose last source has dtype `operand`."""
        found = self._tables.get((op, operand))
        if found is None:
            found = self._tables[op, operand] = [
                (each.name, matcher)
                for each in self._by_root.get(op, ())
                for matcher in each.matchers(operand)
            ]
        return found

    def remembered(self, node: Node) -> Node | None:
        """Return the result for `node` from an earlier call, if it is still alive."""
        entry = self._memo.get(node)
        return entry() if entry is not None else None

    def remember(self, done: dict[Node, Node]) -> None:
        """Keep results for later calls; they keep nothing alive."""
        for node, result in done.items():
            self._memo[node] = weakref.ref(result)


def _first(
    table: Sequence[tuple[str, Matcher]], node: Node, known: Known
) -> tuple[str, Node | None]:
    """Return the first rule of `table` that applies to `node` and what it makes of it."""
    for name, matcher in table:
        result = matcher(node, known)
        if result is not None:
            return name, result
    return "", None


_Task = tuple[Node, Node | None]


class _Run:
    """One call of `rewrite`."""

    def __init__(
        self, rules: RuleSet, known: Known | None, fixed: Mapping[Node, Node] | None
    ) -> None:
        self.rules = rules
        self.known = known or _EVERYWHERE
        self.shared = known is None and not fixed
        self.done: dict[Node, Node] = dict(fixed or {})
        self.inner: dict[Node, Node] = {}  # nodes inside nests: their sources replaced, no more
        self.inside: set[Node] = set()
        self.outside: set[Node] = set()
        self.nests: dict[Node, object] = {}
        self.roots: Sequence[Node] = ()
        self.limit = _FREE
        self.busy: dict[Node, str] = {}  # nodes whose replacement is under way, and by which rule
        self.fired: Counter[str] = Counter()
        self.steps: list[Step] | None = getattr(_local, "steps", None)
        times: RuleTimes | None = getattr(_local, "times", None)
        self._first = _first if times is None else times.first

    def visit(self, roots: Sequence[Node]) -> None:
        """Fill `done` for everything below `roots`."""
        done, rules = self.done, self.rules
        use_memory = self.shared and self.steps is None
        if use_memory:
            for root in roots:
                found = rules.remembered(root)
                if found is not None:
                    done[root] = found
        self.roots = [root for root in roots if root not in done]
        self._find_inside()
        # (node, None): rewrite it. (node, other): `other` has become its replacement.
        stack: list[_Task] = [(root, None) for root in reversed(self.roots)]
        while stack:
            node, other = stack[-1]
            if other is not None:
                stack.pop()
                done[node] = done[other]
                self.busy.pop(node, None)
                continue
            if node in done or (node in self.inner and node in self.inside):
                stack.pop()
                continue
            waiting = self._missing(node)
            if waiting:
                if use_memory and (found := rules.remembered(node)) is not None:
                    done[node] = found
                    stack.pop()
                    continue
                if self.busy:
                    self._check_circle(waiting)
                stack.extend(waiting)
                continue
            stack.pop()
            self._step(node, stack)
        rules.fired.update(self.fired)
        if self.shared:
            rules.remember(done)

    def _find_inside(self) -> None:
        """Fill `inside`: the nodes all of whose users belong to the same nest as they do."""
        nest_of = self.rules.nest_of
        if nest_of is None:
            return
        inside, outside, nests = self.inside, self.outside, self.nests
        outside.update(self.roots)
        for node in toposort(self.roots):
            nests[node] = nest = nest_of(node)
            for source in node.src:
                if nest is not None and nests[source] is nest:
                    inside.add(source)
                else:
                    outside.add(source)
        inside -= outside

    def _find_inside_of(self, result: Node) -> None:
        """Add to `inside` what a replacement holds of the nest at whose top it stands."""
        self.inside.discard(result)
        nest_of = self.rules.nest_of
        nest = nest_of(result) if nest_of is not None else None
        if nest is None:
            return
        assert nest_of is not None
        self.nests[result] = nest
        stack = list(result.src)
        while stack:
            node = stack.pop()
            if node not in self.done and node not in self.outside and nest_of(node) is nest:
                self.inside.add(node)
                self.nests[node] = nest
                stack.extend(node.src)

    def _missing(self, node: Node) -> list[_Task]:
        """Return the sources of `node` that must be rewritten first."""
        done, inside = self.done, self.inside
        if not inside:
            return [(source, None) for source in node.src if source not in done]
        missing: list[_Task] = []
        for source in node.src:
            if source in done:
                continue
            if source in inside:
                if self.nests.get(node) is not self.nests[source]:
                    inside.discard(source)  # a replacement uses it on its own after all
                    self.outside.add(source)
                elif source in self.inner:
                    continue
            missing.append((source, None))
        return missing

    def _step(self, node: Node, stack: list[_Task]) -> None:
        """Rewrite `node`, whose sources are done, once; queue what that brings in."""
        done = self.done
        new = self._with_new_sources(node)
        if node in self.inside:
            self.inner[node] = new
            return
        if new is not node and new in done:
            done[node] = done[new]
            return
        name, result = self._apply(new)
        if result is None:
            done[node] = done[new] = new
            return
        self.fired[name] += 1
        if self.steps is not None:
            self.steps.append(Step(name, new, result))
        if result in done:
            done[node] = done[new] = done[result]
            return
        self.limit -= 1
        if self.limit < 0:
            self._extend_limit()
        if result in self.busy or result is new:
            self._circle(name, result)
        self.busy[node] = self.busy[new] = name
        stack.append((node, result))
        if new is not node:
            stack.append((new, result))
        self._find_inside_of(result)
        stack.append((result, None))

    def _with_new_sources(self, node: Node) -> Node:
        done = self.done
        changed = False
        sources = []
        for source in node.src:
            result = done.get(source)
            if result is None:
                result = self.inner[source]
            changed = changed or result is not source
            sources.append(result)
        return rebuild(node, tuple(sources)) if changed else node

    def _apply(self, node: Node) -> tuple[str, Node | None]:
        """Return the first rule that applies to `node` and what it makes of it."""
        src = node.src
        if not src:
            return "", None
        if src[-1].op is forms.CONST and all(source.op is forms.CONST for source in src):
            folded = fold(node)
            if folded is not node:
                return "constant_folding", folded
        table = self.rules.table(node.op, src[-1].dtype)
        name, result = self._first(table, node, self.known)
        if result is None:
            return "", None
        assert result.dtype is node.dtype, f"{name} made {result!r} of {node!r}"
        return name, broadcast_to(result, node.shape)

    def _check_circle(self, waiting: list[_Task]) -> None:
        for source, _ in waiting:
            if source in self.busy:
                self._circle(self.busy[source], source)

    def _circle(self, name: str, node: Node) -> None:
        names = ", ".join(sorted({name, *self.busy.values()}))
        raise RewriteError(f"rules run in a circle at {node!r}; those under way: {names}")

    def _extend_limit(self) -> None:
        """Raise if there were more rewrites than a graph of this size can need."""
        size = len(toposort(self.roots))
        self.limit = size * _PER_NODE - self.fired.total()
        if self.limit < 0:
            worst = ", ".join(f"{name} ({n}x)" for name, n in self.fired.most_common(4))
            raise RewriteError(
                f"no end after {self.fired.total()} rewrites of a graph of {size} nodes; "
                f"most active: {worst}"
            )
