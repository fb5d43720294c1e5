"""The rules of each form, executable: what a graph must look like between two passes.

`verify` runs after every pass when INKLE_CHECK is set, so that a broken pass is caught where it
breaks, by name. Tensor form: every node has the dtype and shape that its constructor would infer.
Loop form, besides typing:

- PARAM and STAGE are memory: only LOAD and STORE use them, at `index` positions, with bool gates.
- STOREs are the roots, and nothing but roots.
- A range is either free (of a store) or bound (by REDUCE, STAGE and DOT), and never bound twice
  around one value: two reductions may share a range, but not one inside the other.
- `order` has every GRID, WORKER and LOOP range once, after the ranges that its extent depends on.
- A value depends on at most one LANE range; a DOT turns one into another.
- Numbers of ranges and of stages are unique; a PARAM slot has one dtype and shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from inkle import config
from inkle.errors import InkleError, SpecError
from inkle.ir import forms, host, ops, scan, tensor
from inkle.ir.dot import INSTRUCTIONS
from inkle.ir.dtype import Kind, bool_, index, void
from inkle.ir.loop import Axis, Kernel, axis_of, carried, running_ranges, runs_over
from inkle.ir.node import Node, bound_ranges, toposort
from inkle.ir.op import Op
from inkle.ir.pseudo import expression

LEAVES = frozenset({forms.BUFFER, forms.PARAM, forms.VARIABLE})
ORDERED = frozenset({Axis.GRID, Axis.WORKER, Axis.LOOP})
IN_TURN = (Axis.LOOP, Axis.UNROLL, Axis.LANE)
MEMORY = frozenset({forms.PARAM, forms.STAGE})


def verify(form: Sequence[Node] | Kernel, after: str = "") -> None:
    """Check a tensor graph (its outputs) or a kernel against its spec, if INKLE_CHECK is set.

    Args:
        form: what the pass returned.
        after: name of the pass, for the message.

    Raises:
        SpecError: names the pass, the rule and the node.
    """
    if not config.get("INKLE_CHECK"):
        return
    try:
        if isinstance(form, Kernel):
            check_loop(form)
        else:
            check_tensor(form)
    except SpecError as error:
        raise SpecError(f"after {after}: {error}" if after else str(error)) from None


def _fail(rule: str, node: Node) -> SpecError:
    text = expression(node)
    return SpecError(f"{rule}: {text if len(text) < 400 else text[:400] + '…'} is {node!r}")


def _require(condition: object, rule: str, node: Node) -> None:
    if not condition:
        raise _fail(rule, node)


def _check_typing(node: Node) -> None:
    """Check the number of sources, and the dtype of an elementwise node."""
    op = node.op
    _require(op.arity in (-1, len(node.src)), f"{op} needs {op.arity} sources", node)
    if op is ops.CAST or op is ops.BITCAST:
        _require(node.src[0].dtype is not void, f"{op} needs a value", node)
        same_bits = node.dtype.bits == node.src[0].dtype.bits
        _require(op is ops.CAST or same_bits, "bitcast needs equal widths", node)
    elif op.is_elementwise:
        try:
            expected = op.dtype_rule(op, tuple([source.dtype for source in node.src]))
        except InkleError as error:
            raise _fail(str(error), node) from None
        _require(node.dtype is expected, f"{op} must be {expected}, not {node.dtype}", node)
    elif op is forms.CONST:
        _check_const(node)


def _check_const(node: Node) -> None:
    kinds = {Kind.BOOL: bool, Kind.FLOAT: float}
    expected = kinds.get(node.dtype.kind, int)
    _require(type(node.arg) is expected, f"a constant {node.dtype} holds {expected.__name__}", node)
    if node.dtype.is_integer:
        low, high = node.dtype.limits()
        _require(low <= node.arg <= high, f"a constant must fit {node.dtype}", node)


# --- tensor form ----------------------------------------------------------------------------------

_INFER: dict[Op, Callable[[Sequence[Node], Any], Node]] = {
    forms.RESHAPE: lambda src, arg: tensor.reshape(src[0], arg),
    forms.PERMUTE: lambda src, arg: tensor.permute(src[0], arg),
    forms.EXPAND: lambda src, arg: tensor.expand(src[0], arg),
    forms.SLICE: lambda src, arg: tensor.slice_(src[0], arg),
    forms.PAD: lambda src, arg: tensor.pad(src[0], arg),
    forms.FLIP: lambda src, arg: tensor.flip(src[0], arg),
    forms.SHEAR: lambda src, arg: tensor.shear(src[0], *arg),
    forms.REDUCE: lambda src, arg: tensor.reduce(src[0], *arg),
    forms.PREFIX: lambda src, arg: tensor.prefix(src[0], *arg),
    forms.GATHER: lambda src, arg: tensor.gather(src[0], src[1:], arg),
    forms.SCATTER: lambda src, arg: tensor.scatter(src[0], src[1], src[2:], arg[1], arg[0]),
    forms.CAT: lambda src, arg: tensor.cat(src, arg),
    forms.UPDATE: lambda src, arg: tensor.update(src[0], src[1], arg),
    forms.SCAN: scan.infer,
    forms.HOST: host.infer,
    forms.CONTIGUOUS: lambda src, arg: src[0],
    forms.DETACH: lambda src, arg: src[0],
    forms.COPY: lambda src, arg: src[0],
}


def infer(op: Op, src: Sequence[Node], arg: Any) -> Node:
    """Return what the constructor of `op` makes of sources and attribute."""
    return _INFER[op](src, arg)


def check_tensor(roots: Sequence[Node]) -> None:
    """Check a graph of the tensor form.

    Raises:
        SpecError: names the rule and the node.
    """
    for node in toposort(roots):
        _check_typing(node)
        if node.op.is_elementwise:
            _check_elementwise_shape(node)
        elif node.op is forms.CONST or node.op is forms.VARIABLE:
            _require(node.shape == (), f"{node.op} is a scalar", node)
        elif node.op in LEAVES:
            _require(node.arg[1] == node.shape, f"{node.op} has the shape in arg", node)
        elif node.op is forms.ARANGE:
            _require(node.shape == (node.arg,), "arange has the length in arg", node)
        else:
            _check_inferred(node)
        if node.op is forms.SCAN:
            _check_step(node)


def _check_step(node: Node) -> None:
    """Check the graph of one step of a SCAN, and that its arguments are the sources."""
    recurrence, inner = node.arg[0], scan.step_of(node)
    check_tensor(inner)
    for each in toposort(inner):
        _require(each.op is not forms.BUFFER, "a step is a graph over PARAM leaves", each)
        if each.op is forms.PARAM:
            slot = each.arg[0]
            _require(0 <= slot < len(node.src), "a PARAM of a step is a source", each)
            source = node.src[slot]
            shape = recurrence.shape_in_step(slot, source)
            same = (each.dtype, each.shape) == (source.dtype, shape)
            _require(same, f"a step sees {shape} of source {slot}", each)


def _check_elementwise_shape(node: Node) -> None:
    shapes = {source.shape for source in node.src if source.op is not forms.CONST} or {()}
    _require(shapes == {node.shape}, f"{node.op} needs sources of its own shape", node)


def _check_inferred(node: Node) -> None:
    """Check dtype and shape against what the constructor infers.

    It gets stand-ins for the sources: from the sources themselves it would return this very node,
    because nodes are interned without their shape.
    """
    infer = _INFER.get(node.op)
    if infer is None:
        raise _fail(f"{node.op} has no place in the tensor form", node)
    src = [tensor.param(-1 - i, source.dtype, source.shape) for i, source in enumerate(node.src)]
    try:
        inferred = infer(src, node.arg)
    except (InkleError, ValueError, TypeError, IndexError) as error:
        raise _fail(f"{node.op} refused by its constructor ({error})", node) from None
    _require(inferred.shape == node.shape, f"{node.op} must have shape {inferred.shape}", node)
    _require(inferred.dtype is node.dtype, f"{node.op} must be {inferred.dtype}", node)


# --- loop form ------------------------------------------------------------------------------------


def check_loop(kernel: Kernel) -> None:
    """Check a kernel.

    Raises:
        SpecError: names the rule and the node.
    """
    nodes = kernel.nodes()
    for node in nodes:
        _check_typing(node)
        _require(node.op in MEMORY or node.shape == (), "a value of a kernel is a scalar", node)
        rule = _LOOP.get(node.op)
        _require(rule or node.op.is_elementwise, f"{node.op} has no place in the loop form", node)
        if rule:
            rule(node)
        _check_uses(node)
        lanes = [r for r in node.ranges if axis_of(r) is Axis.LANE]
        _require(len(lanes) <= 1, "a value depends on at most one LANE range", node)
    for root in kernel.stores:
        _require(root.op is forms.STORE, "the roots of a kernel are stores", root)
    _check_unique(nodes, forms.RANGE, lambda n: n.arg[0], "a range number is used once")
    _check_unique(nodes, forms.CARRY, lambda n: n.arg[0], "a carry number is used once")
    _check_unique(nodes, forms.STAGE, lambda n: n.arg[0], "a stage number is used once")
    _check_unique(nodes, forms.PARAM, lambda n: n.arg[0], "a slot has one dtype and shape")
    _check_binding(kernel, nodes)
    _check_carries(kernel, nodes)
    _check_order(kernel)


def _check_uses(node: Node) -> None:
    """Check that memory and stores are used where they may be."""
    for i, source in enumerate(node.src):
        _require(source.op is not forms.STORE, "nothing uses the value of a store", node)
        if source.op in MEMORY:
            may = node.op is forms.LOAD or (node.op is forms.STORE and source.op is forms.PARAM)
            _require(may and i == 0, f"{source.op} is memory, used by accesses only", node)


def _is_gated(node: Node, count: int) -> None:
    _require(len(node.src) in (count, count + 1), f"{node.op} needs {count} sources", node)
    _require(node.src[1].dtype is index, f"{node.op} needs a position of dtype index", node)
    for gate in node.src[count:]:
        _require(gate.dtype is bool_, f"the gate of {node.op} is bool", node)


def _check_load(node: Node) -> None:
    _is_gated(node, 2)
    _require(node.src[0].op in MEMORY, "load reads from PARAM or STAGE", node)
    _require(node.dtype is node.src[0].dtype, "load has the dtype of its memory", node)


def _check_store(node: Node) -> None:
    _is_gated(node, 3)
    memory, _, value, *_ = node.src
    _require(memory.op is forms.PARAM, "store writes to PARAM", node)
    _require(node.dtype is void, "store has no value", node)
    _require(value.dtype is memory.dtype, f"store of {value.dtype} into {memory.dtype}", node)
    if node.arg is not None:
        is_binary = isinstance(node.arg, Op) and node.arg.arity == 2 and node.arg.associative
        _require(is_binary, "store combines with an associative operation", node)


def _check_reduce(node: Node) -> None:
    _require(isinstance(node.arg, tuple) and len(node.arg) == 1, "reduce has arg (op,)", node)
    op: Op = node.arg[0]
    _require(op.associative and op.identity is not None, f"{op} cannot reduce", node)
    _require(node.dtype.kind in op.kinds, f"{op} does not take {node.dtype}", node)
    has_identity = node.dtype is not index or op in (ops.ADD, ops.MUL, ops.OR, ops.XOR)
    _require(has_identity, f"{op} has no identity for index", node)
    _require(node.dtype is node.src[0].dtype, "reduce has the dtype of its value", node)
    _require(len(node.src) > 1, "reduce needs a range", node)
    _check_bound(node)


def _check_prefix(node: Node) -> None:
    _require(isinstance(node.arg, tuple) and len(node.arg) == 1, "prefix has arg (op,)", node)
    op: Op = node.arg[0]
    _require(op.associative and op.identity is not None, f"{op} cannot run", node)
    _require(node.dtype.kind in op.kinds, f"{op} does not take {node.dtype}", node)
    _require(node.dtype is node.src[0].dtype, "prefix has the dtype of its value", node)
    ranges = node.src[1:]
    _require(ranges and all(r.op is forms.RANGE for r in ranges), "prefix runs over ranges", node)
    turns = [IN_TURN.index(axis_of(r)) if axis_of(r) in IN_TURN else -1 for r in ranges]
    _require(-1 not in turns, "the points of a prefix come one after the other", node)
    _require(turns == sorted(turns), "lanes of a prefix lie in its copies, these in loops", node)


def _check_carry(node: Node) -> None:
    _require(isinstance(node.arg, tuple) and len(node.arg) == 1, "carry has arg (number,)", node)
    _require(
        node.src and node.dtype is node.src[0].dtype, "carry has the dtype it begins with", node
    )
    _require(all(each.dtype is index for each in node.src[1:]), "carry differs by places", node)


def _check_fold(node: Node) -> None:
    _require(isinstance(node.arg, tuple) and len(node.arg) == 1, "fold has arg (count,)", node)
    count, ranges = node.arg[0], runs_over(node)
    _require(
        count > 0 and len(node.src) > 1 + 2 * count, "fold carries, and runs over ranges", node
    )
    _require(node.dtype is node.src[0].dtype, "fold has the dtype of its value", node)
    _require(all(r.op is forms.RANGE for r in ranges), "fold runs over ranges", node)
    turns = [IN_TURN.index(axis_of(r)) if axis_of(r) in IN_TURN[:2] else -1 for r in ranges]
    _require(-1 not in turns, "the points of a fold come one after the other", node)
    _require(turns == sorted(turns), "copies of a fold lie in its loops", node)
    for each, following in carried(node):
        _require(each.op is forms.CARRY, "fold hands on what it carries", node)
        _require(each.dtype is following.dtype, "what is carried keeps its dtype", node)
        _require(set(ranges) <= each.ranges, "what is carried differs from point to point", node)
        _require(following.ranges <= each.ranges, "carry differs by all that follows", node)
        _require(not each.src[0].ranges & set(ranges), "a fold begins before its ranges", node)


def _check_host(node: Node) -> None:
    is_whole = all(s.op is forms.LOAD and s.src[1].op is forms.CONST for s in node.src)
    _require(is_whole, "host takes whole arrays", node)


def _check_stage(node: Node) -> None:
    _require(len(node.src) >= 2, "stage needs a value and a position", node)
    _require(node.src[1].dtype is index, "stage needs a position of dtype index", node)
    _require(node.dtype is node.src[0].dtype, "stage has the dtype of its value", node)
    number, size = node.arg
    _require(isinstance(number, int) and isinstance(size, int) and size > 0, "stage size", node)
    _check_bound(node)


def _check_dot(node: Node) -> None:
    row = INSTRUCTIONS.get(node.arg)
    _require(row, "dot names an instruction", node)
    assert row is not None
    _require(len(node.src) == 7, "dot needs two tiles, a place and three ranges", node)
    dtypes = tuple([source.dtype for source in node.src[:4]])
    _require(dtypes == (*row.operands, index, index), f"dot of {row.operands}", node)
    _require(node.dtype is row.accumulator, f"dot gives {row.accumulator}", node)
    _check_bound(node)
    sizes = (row.c.lanes, row.a.registers, row.b.registers)
    expected = zip(sizes, (Axis.LANE, Axis.UNROLL, Axis.UNROLL), strict=True)
    found = [(r.src[0].arg, axis_of(r)) for r in bound_ranges(node)]
    _require(found == list(expected), "dot binds its lanes and registers", node)


def _check_bound(node: Node) -> None:
    ranges = bound_ranges(node)
    _require(all(r.op is forms.RANGE for r in ranges), f"{node.op} binds ranges only", node)
    _require(len(set(ranges)) == len(ranges), f"{node.op} binds a range once", node)


def _check_range(node: Node) -> None:
    number, axis = node.arg
    _require(isinstance(number, int) and isinstance(axis, Axis), "range has (number, Axis)", node)
    _require(node.dtype is index and node.src[0].dtype is index, "range has dtype index", node)


def _check_nothing(node: Node) -> None:
    pass


_LOOP: dict[Op, Callable[[Node], None]] = {
    forms.HOST: _check_host,
    forms.CONST: _check_nothing,
    forms.VARIABLE: _check_nothing,
    forms.PARAM: _check_nothing,
    forms.RANGE: _check_range,
    forms.LOAD: _check_load,
    forms.STORE: _check_store,
    forms.REDUCE: _check_reduce,
    forms.PREFIX: _check_prefix,
    forms.CARRY: _check_carry,
    forms.FOLD: _check_fold,
    forms.STAGE: _check_stage,
    forms.DOT: _check_dot,
}


def _check_unique(nodes: Sequence[Node], op: Op, key: Callable[[Node], object], rule: str) -> None:
    seen: dict[object, Node] = {}
    for node in nodes:
        if node.op is op:
            first = seen.setdefault(key(node), node)
            _require(first is node, f"{rule}, also by {first!r}", node)


def _check_binding(kernel: Kernel, nodes: Sequence[Node]) -> None:
    """Check that a range is free or bound, and not bound inside itself."""
    free = frozenset().union(*(root.ranges for root in kernel.stores))
    below: dict[Node, frozenset[Node]] = {}
    for node in nodes:
        inside = frozenset().union(*(below[source] for source in node.src))
        bound = frozenset(bound_ranges(node))
        if bound:
            _require(not bound & inside, f"{node.op} binds a range that is bound inside", node)
            _require(not bound & free, f"{node.op} binds a range that a store depends on", node)
        below[node] = inside | bound


def _check_carries(kernel: Kernel, nodes: Sequence[Node]) -> None:
    """Check that what is carried is used inside of its FOLD, and becomes one and the same."""
    below: dict[Node, frozenset[Node]] = {}
    known: dict[Node, tuple[Node, tuple[Node, ...]]] = {}
    for node in nodes:
        inside = frozenset().union(*[below[source] for source in node.src])
        if node.op is forms.FOLD:
            for each, following in carried(node):
                same = known.setdefault(each, (following, runs_over(node)))
                _require(same == (following, runs_over(node)), "a carry becomes one value", node)
                inside -= {each}
        below[node] = inside | {node} if node.op is forms.CARRY else inside
    for root in kernel.stores:
        _require(not below[root], "what is carried is used inside of its fold", root)


def _check_order(kernel: Kernel) -> None:
    ordered = {r for r in kernel.ranges() if axis_of(r) in ORDERED}
    for i, r in enumerate(kernel.order):
        _require(r in ordered, "order holds the GRID, WORKER and LOOP ranges in use", r)
        _require(r not in kernel.order[:i], "order holds a range once", r)
        outer = {each for each in r.src[0].ranges if axis_of(each) in ORDERED}
        _require(outer <= set(kernel.order[:i]), "a range comes after those of its extent", r)
    running = running_ranges(kernel.nodes())
    free = frozenset().union(*[store.ranges for store in kernel.stores])
    inside = [r in running for r in kernel.order if r in free]
    if inside != sorted(inside):
        raise _fail("the loops of a prefix are the innermost ones of its stores", kernel.order[0])
    for node in kernel.nodes():
        turns = [kernel.order.index(r) for r in runs_over(node) if r in kernel.order]
        _require(turns == sorted(turns), "loops nest as a prefix or fold runs over them", node)
    for r in sorted(ordered - set(kernel.order), key=lambda each: int(each.arg[0])):
        raise _fail("order misses a range", r)
