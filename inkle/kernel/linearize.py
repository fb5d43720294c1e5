"""Loop form to program form, by one rule.

A node is emitted once per point of the UNROLL ranges it depends on, at the depth of the deepest
loop it depends on, as a vector if it depends on a LANE range.

The work is demand driven: `value(node, point)` emits into the block of the right depth. A block is
a list, and an inner loop joins the list of its parent when it closes; what an inner loop wants from
an outer depth therefore lands before it. Hoisting, common subexpressions, rows with several
reductions and tiles of accumulators need no other mechanism.

    depth 0   for i            values that depend on i only, reductions over rows of i
    depth 1       for c        the rest
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from inkle.errors import RenderError
from inkle.ir import forms, ops
from inkle.ir.bounds import bounds
from inkle.ir.dtype import DType, bool_, float32, index
from inkle.ir.loop import Axis, Kernel, axis_of, extent
from inkle.ir.node import Node, bound_ranges, convert_scalar, toposort
from inkle.ir.op import Op
from inkle.ir.program import Loop, Parameter, Program, Value
from inkle.ir.size import divided, most
from inkle.kernel.access import coefficient, without
from inkle.kernel.accumulate import Tile, tile_for
from inkle.kernel.machine import Machine
from inkle.kernel.running import RUNNING, Running
from inkle.kernel.scopes import SEQUENTIAL, Scope, Shape
from inkle.kernel.settle import sources_first
from inkle.kernel.transpose import block_of, load_block
from inkle.kernel.words import emit_dot, fill_stage

Point = dict[Node, int]
COMMON = Machine()
MAX_LEVELS = 40  # of nested expressions; each takes four frames of Python's stack


class Linearizer:
    """Turns one kernel into a program; see the module's docstring."""

    def __init__(self, kernel: Kernel, machine: Machine) -> None:
        self._kernel = kernel
        self.machine = machine
        self._rank = {r: i for i, r in enumerate(kernel.order)}
        self._shapes: dict[frozenset[Node], Shape] = {}
        self._scopes = [Scope([], None)]
        self._depth: dict[Node, int] = {}
        self._locals: list[Value] = []
        self._nodes = kernel.nodes()
        self._reduces = [n for n in self._nodes if n.op is forms.REDUCE]
        self._below: dict[Node, set[Node]] = {}
        self._home: dict[Value, Scope] = {}
        self._level = 0
        self._running = Running(self, self._nodes)
        self._affines: dict[tuple[Node, Node | None], Any] = {}

    def run(self) -> Program:
        """Return the program."""
        chunks = self._open_grid()
        self._emit_stores(list(self._kernel.stores), [])
        written = {s.src[0].arg[0] for s in self._kernel.stores}
        parameters = tuple(
            Parameter(p.arg[0], p.dtype, p.arg[0] in written) for p in self._kernel.params()
        )
        first = len(parameters)
        scalars = tuple(range(first, first + len(self._kernel.variables())))
        return Program(parameters, chunks, self._scopes[0].block, tuple(self._locals), scalars)

    @property
    def innermost(self) -> Scope:
        """The innermost open loop."""
        return self._scopes[-1]

    def remember(self, node: Node, point: Sequence[int], value: Value, scope: Scope) -> None:
        """Say that `value`, computed in `scope`, is that of `node` at a point."""
        scope.values[(node, tuple(point))] = value
        self._home[value] = scope

    # --- where things go --------------------------------------------------------------------------

    def shape_of(self, node: Node) -> Shape:
        """Return the loops, UNROLL ranges and lane of a node."""
        shape = self._shapes.get(node.ranges)
        if shape is None:
            shape = self._shapes[node.ranges] = Shape(node.ranges)
        return shape

    def scope_of(self, shape: Shape) -> Scope:
        """Return the scope of the deepest loop of a shape."""
        deepest = 0
        for r in shape.loops:
            depth = self._depth[r]
            if depth > deepest:
                deepest = depth
        return self._scopes[deepest]

    def emit(
        self,
        scope: Scope,
        code: str | Op,
        dtype: DType,
        lanes: int,
        src: tuple[Value, ...] = (),
        arg: Any = None,
    ) -> Value:
        """Append a value to the block of `scope`, once per block."""
        key = (code, dtype, lanes, src, repr(arg) if code == "const" else arg)
        found = scope.values.get(key)
        if found is None:
            found = Value(code, dtype, lanes, src, arg)
            scope.block.append(found)
            scope.values[key] = found
            self._home[found] = scope
        return found

    def literal(self, value: bool | int | float, dtype: DType, lanes: int = 1) -> Value:
        """Return a literal in every lane."""
        return self.emit(self._scopes[0], "const", dtype, lanes, (), value)

    # --- loops ------------------------------------------------------------------------------------

    def _open_grid(self) -> int:
        """Bind GRID ranges to digits of the chunk number, the innermost range the fastest digit."""
        grid = [r for r in self._kernel.order if axis_of(r) is Axis.GRID]
        chunks = 1
        scope = self._scopes[0]
        for r in grid:
            chunks *= extent(r)
        number = self.emit(scope, "chunk", index, 1) if most(chunks) > 1 else self.literal(0, index)
        below = chunks
        for r in grid:
            size = extent(r)
            below = divided(below, size)
            digit = number
            if below > 1:
                digit = self.emit(
                    scope, ops.TRUNCDIV, index, 1, (digit, self.literal(below, index))
                )
            if most(below * size) < most(chunks):
                digit = self.emit(scope, ops.TRUNCMOD, index, 1, (digit, self.literal(size, index)))
            self._bind(r, scope, digit if most(size) > 1 else self.literal(0, index), 0)
        return chunks

    def _bind(self, r: Node, scope: Scope, value: Value, depth: int) -> None:
        scope.values[(r, ())] = value
        self._home[value] = scope
        self._depth[r] = depth

    def _open(self, r: Node) -> Loop:
        """Open a loop over `r` inside the innermost scope."""
        size = self.value(r.src[0], {})
        low, _ = bounds(r.src[0])
        loop = Loop(Value("counter", index, 1), size, may_be_empty=low is None or low < 1)
        scope = Scope(loop.body, r)
        self._scopes.append(scope)
        self._bind(r, scope, loop.counter, len(self._scopes) - 1)
        return loop

    def _close(self, loop: Loop) -> None:
        scope = self._scopes.pop()
        assert scope.range is not None
        del self._depth[scope.range]
        self._scopes[-1].block.append(loop)

    def open_loops(self, ranges: Sequence[Node]) -> list[Loop]:
        """Open loops over the sequential ones of `ranges`, in their order."""
        loops = [r for r in ranges if axis_of(r) in SEQUENTIAL]
        return [self._open(r) for r in sorted(loops, key=self._rank.__getitem__)]

    def close_loops(self, loops: list[Loop]) -> None:
        """Close what `open_loops` opened."""
        for loop in reversed(loops):
            self._close(loop)

    # --- stores -----------------------------------------------------------------------------------

    def _emit_stores(self, stores: list[Node], open_loops: list[Node]) -> None:
        """Open the outermost loop that is still closed around the stores that need it, in turn."""
        while stores:
            first = self._pending(stores[0], open_loops)
            if not first:
                self._emit_store(stores.pop(0))
                continue
            r = first[0]
            inside = []
            while stores and self._pending(stores[0], open_loops)[:1] == [r]:
                inside.append(stores.pop(0))
            loop = self._open(r)
            self._running.begin(r, loop, inside)
            self._emit_stores(list(inside), [*open_loops, r])
            self._running.end(r, loop)
            self._close(loop)

    def _pending(self, store: Node, open_loops: list[Node]) -> list[Node]:
        needed = [r for r in self.shape_of(store).loops if axis_of(r) is not Axis.GRID]
        return sorted((r for r in needed if r not in open_loops), key=self._rank.__getitem__)

    def _emit_store(self, store: Node) -> None:
        memory, at, value, *gate = store.src
        shape = self.shape_of(store)
        lanes = extent(shape.lane) if shape.lane is not None else 1
        for point in self.points(shape.unroll):
            pointer = self.value(memory, {})
            where, stride = self.address(at, point, shape.lane)
            stored = self.spread(self.value(value, point), lanes, self._scopes[-1])
            mask = (
                [self.spread(self.value(gate[0], point), lanes, self._scopes[-1])] if gate else []
            )
            if store.arg is not None:
                stored = self._combine_with_memory(store, pointer, where, stride, stored, mask)
            code = Value("store", store.dtype, lanes, (pointer, where, stored, *mask), stride)
            self._scopes[-1].block.append(code)

    def _combine_with_memory(
        self,
        store: Node,
        pointer: Value,
        where: Value,
        stride: int | None,
        value: Value,
        mask: list[Value],
    ) -> Value:
        """Read, combine and return what goes back; never merged with another read of the memory."""
        if value.lanes > 1 and (stride is None or stride == 0):
            raise RenderError("lanes of a combining store may collide")
        dtype, lanes = value.dtype, value.lanes
        old = Value("load", dtype, lanes, (pointer, where, *mask), stride)
        if dtype.is_float and dtype.bits == 16:  # combined in float32, as all arithmetic of halves
            wide = [Value(ops.CAST, float32, lanes, (each,)) for each in (old, value)]
            total = Value(store.arg, float32, lanes, tuple(wide))
            new = Value(ops.CAST, dtype, lanes, (total,))
            self._scopes[-1].block.extend((old, *wide, total, new))
        else:
            new = Value(store.arg, dtype, lanes, (old, value))
            self._scopes[-1].block.extend((old, new))
        return new

    def points(self, unroll: Sequence[Node]) -> Iterator[Point]:
        """Iterate over all points of UNROLL ranges, the last one fastest."""
        for values in itertools.product(*(range(extent(r)) for r in unroll)):
            yield dict(zip(unroll, values, strict=True))

    # --- values -----------------------------------------------------------------------------------

    def value(self, node: Node, point: Point) -> Value:
        """Return the register that holds `node` at `point` of the UNROLL ranges."""
        if node.op is forms.CONST:
            return self.literal(node.arg, node.dtype)
        if node.op is forms.RANGE and axis_of(node) is Axis.UNROLL:
            return self.literal(point[node], index)
        shape = self.shape_of(node)
        scope = self.scope_of(shape)
        key = (node, tuple([point[r] for r in shape.unroll]))
        found = scope.values.get(key)
        if found is None:
            self._level += 1
            if self._level > MAX_LEVELS:
                self._settle_sources(node, point)
            found = self._compute(node, point, shape, scope)
            self._level -= 1
            scope.values[key] = found
        return found

    def _settle_sources(self, root: Node, point: Point) -> None:
        """Compute what a deep expression needs, sources first: Python's stack is too short."""
        level, self._level = self._level, 0
        for node in sources_first(root, self._base):
            self.value(node, point)
        self._level = level

    def _base(self, access: Node) -> Node:
        """Return the value that the address of a load is computed from."""
        at = access.src[1]
        base, stride, _ = self._affine(at, self.shape_of(access).lane)
        return at if stride is None else base

    def _compute(self, node: Node, point: Point, shape: Shape, scope: Scope) -> Value:
        op = node.op
        if op.is_elementwise:
            return self._elementwise(node, point, shape, scope)
        if op is forms.LOAD:
            block = block_of(node, shape)
            if block is not None:
                load_block(self, node, block, point, shape)
                return scope.values[(node, tuple([point[r] for r in shape.unroll]))]
            return self._load(node, point, shape, scope)
        if op is forms.REDUCE:
            self._at(scope, lambda: self._reduce(node))
            return scope.values[(node, tuple([point[r] for r in shape.unroll]))]
        if op in RUNNING:
            return self._running.value(node, point, scope)
        if op is forms.PARAM:
            return self.emit(scope, "param", node.dtype, 1, (), node.arg[0])
        if op is forms.STAGE:
            staged: Value = self._at(scope, lambda: fill_stage(self, node, point))
            self._locals.append(staged)
            return staged
        if op is forms.DOT:
            return self._dot(node, point, shape, scope)
        if op is forms.RANGE and axis_of(node) is Axis.LANE:
            return self.emit(scope, "iota", index, extent(node), (), 1)
        if op is forms.VARIABLE:
            slot = len(self._kernel.params()) + self._kernel.variables().index(node)
            return self.emit(scope, "variable", index, 1, (), (node.arg[0], slot))
        raise RenderError(f"{op} has no place in a kernel, or its loop is not open: {node}")

    def _at(self, scope: Scope, action: Any) -> Any:
        """Run `action` as if the loops inside `scope` were not open yet."""
        depth = self._scopes.index(scope)
        inner = self._scopes[depth + 1 :]
        hidden = [(s.range, self._depth.pop(s.range)) for s in inner if s.range is not None]
        del self._scopes[depth + 1 :]
        result = action()
        self._scopes.extend(inner)
        self._depth.update(hidden)
        return result

    def _elementwise(self, node: Node, point: Point, shape: Shape, scope: Scope) -> Value:
        lanes = extent(shape.lane) if shape.lane is not None else 1
        if lanes > 1 and node.dtype is index:
            affine = self._affine_vector(node, point, shape.lane, scope)
            if affine is not None:
                return affine
        args = [self.value(source, point) for source in node.src]
        logic = lanes > 1 and node.dtype is bool_ and node.op in (ops.AND, ops.OR)
        if logic and args[0].lanes != args[1].lanes:
            return self._mixed_logic(node.op, args, lanes, scope)
        # A scalar condition of a vector choice stays scalar: one branch-free select.
        keep = {0} if node.op is ops.WHERE and args[0].lanes == 1 else set()
        full = [
            arg if i in keep or lanes == 1 else self.spread(arg, lanes, scope)
            for i, arg in enumerate(args)
        ]
        return self.emit(scope, node.op, node.dtype, lanes, tuple(full), node.arg)

    def _dot(self, node: Node, point: Point, shape: Shape, scope: Scope) -> Value:
        """A product that no loop sums."""
        assert shape.lane is not None
        nothing = convert_scalar(0, node.dtype)
        found = emit_dot(self, node, point, self.literal(nothing, node.dtype, extent(shape.lane)))
        scope.block.append(found)
        self._home[found] = scope
        return found

    def _mixed_logic(self, op: Op, args: list[Value], lanes: int, scope: Scope) -> Value:
        """`scalar & vector` as one select: spreading a bool over lanes is slow."""
        scalar, vector = sorted(args, key=lambda arg: arg.lanes)
        other = self.literal(op is ops.OR, bool_, lanes)
        chosen = (vector, other) if op is ops.AND else (other, vector)
        return self.emit(scope, ops.WHERE, bool_, lanes, (scalar, *chosen))

    def _affine_vector(
        self, node: Node, point: Point, lane: Node | None, scope: Scope
    ) -> Value | None:
        """`base + step * lane` as one splat and one constant, when the index is of that shape."""
        if lane is None:
            return None
        step = coefficient(node, lane)
        if step is None:
            return None
        base = self.spread(self.value(without(node, lane), point), extent(lane), scope)
        steps = self.emit(scope, "iota", index, extent(lane), (), step)
        return self.emit(scope, ops.ADD, index, extent(lane), (base, steps))

    def spread(self, value: Value, lanes: int, scope: Scope) -> Value:
        """Return `value` with `lanes` lanes: a scalar is spread, where it is computed."""
        if value.lanes == lanes:
            return value
        if value.lanes != 1:
            raise RenderError(f"a vector of {value.lanes} lanes meets one of {lanes}")
        if value.code == "const":
            return self.literal(value.arg, value.dtype, lanes)
        return self.emit(self._home.get(value, scope), "splat", value.dtype, lanes, (value,))

    def address(self, at: Node, point: Point, lane: Node | None) -> tuple[Value, int | None]:
        """Return (scalar index, distance between lanes) or (vector of indices, None).

        A scalar index is a base that all points of a tile share, and a constant.
        """
        base, stride, steps = self._affine(at, lane)
        if stride is None:
            return self.value(at, point), None
        offset = 0
        for r, step in steps:
            offset += step * point[r]
        where = self.value(base, point)
        if offset:
            where = self.offset(where, offset, self.scope_of(self.shape_of(base)))
        return where, stride

    def offset(self, where: Value, by: int, scope: Scope) -> Value:
        """Return a scalar index plus a constant."""
        return self.emit(scope, ops.ADD, index, 1, (where, self.literal(by, index)))

    def _affine(
        self, at: Node, lane: Node | None
    ) -> tuple[Node, int | None, list[tuple[Node, int]]]:
        """Return (index without lane and UNROLL ranges, lane stride, strides of UNROLL ranges)."""
        found = self._affines.get((at, lane))
        if found is None:
            stride = 0 if lane is None else coefficient(at, lane)
            base = at if lane is None or stride is None else without(at, lane)
            steps = []
            for r in self.shape_of(base).unroll:
                step = coefficient(base, r)
                if step is not None:
                    base = without(base, r)
                    steps.append((r, step))
            found = self._affines[(at, lane)] = (base, stride, steps)
        return found

    def _load(self, node: Node, point: Point, shape: Shape, scope: Scope) -> Value:
        memory, at, *gate = node.src
        lanes = extent(shape.lane) if shape.lane is not None else 1
        pointer = self.value(memory, point)
        where, stride = self.address(at, point, shape.lane)
        mask = [self.value(gate[0], point)] if gate else []
        return self.emit(scope, "load", node.dtype, lanes, (pointer, where, *mask), stride)

    # --- reductions -------------------------------------------------------------------------------

    def _reduce(self, first: Node) -> None:
        """Emit the loops of `first` and of every reduction that can share them."""
        family = [first, *self._siblings(first)]
        ranges = bound_ranges(first)
        loops = sorted((r for r in ranges if axis_of(r) in SEQUENTIAL), key=self._rank.__getitem__)
        tiles = [tile_for(self, node) for node in family]
        initial = [value for tile in tiles for value in tile.initial()]
        final = self._reduce_loops(loops, tiles, initial)
        scope = self._scopes[-1]
        for tile in tiles:
            count = tile.width
            tile.finish(final[:count], scope)
            del final[:count]

    def _reduce_loops(
        self, loops: list[Node], tiles: list[Tile], state: list[Value]
    ) -> list[Value]:
        if not loops:
            out = []
            for tile in tiles:
                count = tile.width
                out.extend(tile.step(state[:count]))
                state = state[count:]
            return out
        loop = self._open(loops[0])
        loop.initial = state
        loop.carries = [Value("carry", value.dtype, value.lanes) for value in state]
        loop.following = self._reduce_loops(loops[1:], tiles, list(loop.carries))
        self._close(loop)
        return list(loop.carries)

    def _siblings(self, first: Node) -> list[Node]:
        """Other reductions over the same ranges at the same depth that `first` does not need."""
        mine = set(self.shape_of(first).loops)
        done = self._scopes[-1].values
        return [
            other
            for other in self._reduces
            if other is not first
            and (other, tuple([0] * len(self.shape_of(other).unroll))) not in done
            and bound_ranges(other) == bound_ranges(first)
            and set(self.shape_of(other).loops) == mine
            and other not in self._ancestors(first)
            and first not in self._ancestors(other)
        ]

    def _ancestors(self, node: Node) -> set[Node]:
        found = self._below.get(node)
        if found is None:
            found = self._below[node] = {n for n in toposort(node.src) if n.op is forms.REDUCE}
        return found


def linearize(kernel: Kernel, machine: Machine = COMMON) -> Program:
    """Return the program of `kernel`, whose axes are bound.

    Args:
        kernel: loop nest with bound axes.
        machine: whether it has fused multiply-adds and masks.

    Raises:
        RenderError: if a node has no meaning in a program (our bug: a spec check comes first).
    """
    return Linearizer(kernel, machine).run()
