"""Programs to LLVM IR text: explicit vectors, no IR passes needed afterwards.

Every kernel is `void name(ptr args, i64 chunk)`: `args` is an array of 64-bit slots, one per
parameter. The body is an inner function with `noalias` pointers, so that LLVM knows without analysis
that stores do not disturb loads.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from inkle.errors import RenderError
from inkle.ir import ops
from inkle.ir.dtype import DType, Kind
from inkle.ir.op import Op
from inkle.ir.program import Loop, Program, Value
from inkle.render.llvm_types import (
    COMPARISON,
    INSTRUCTION,
    INTRINSIC,
    REGISTER,
    literal,
    memory_type,
    suffix,
    type_of,
)

ZERO_BYTES = 512  # at least the widest vector that a gated load can ask for
LOCAL_ALIGN = 64  # bytes: one cache line, one AVX-512 register


class LlvmRenderer:
    """Writes one program; see `render_llvm`."""

    def __init__(self, program: Program, name: str) -> None:
        self._program, self._name = program, name
        self._lines: list[str] = []
        self._names: dict[Value, str] = {}
        self._declared: set[str] = set()
        self._count = itertools.count()
        self._block = "entry"

    def render(self) -> str:
        """Return the module's text."""
        for memory in self._program.locals:
            size = memory.arg[1]
            kind = memory_type(memory.dtype, 1)
            self._names[memory] = self._new(f"alloca [{size} x {kind}], align {LOCAL_ALIGN}")
        self._body(self._program.body)
        slots = [p.slot for p in self._program.parameters]
        inner = ", ".join([*(f"ptr noalias %p{slot}" for slot in slots), "i64 %chunk"])
        loads = [
            f"  %a{slot} = getelementptr i64, ptr %args, i64 {slot}\n  %p{slot} = load ptr, ptr %a{slot}"
            for slot in slots
        ]
        passed = ", ".join([*(f"ptr %p{slot}" for slot in slots), "i64 %chunk"])
        return "\n".join(
            [
                f"@zeros = private constant [{ZERO_BYTES} x i8] zeroinitializer, align 64",
                f"define internal void @{self._name}.body({inner}) nounwind {{",
                "entry:",
                *self._lines,
                "  ret void",
                "}",
                f"define void @{self._name}(ptr %args, i64 %chunk) nounwind {{",
                *loads,
                f"  call void @{self._name}.body({passed})",
                "  ret void",
                "}",
                *sorted(self._declared),
                "",
            ]
        )

    # --- text ---------------------------------------------------------------------------------------

    def _out(self, text: str) -> None:
        self._lines.append("  " + text)

    def _new(self, text: str) -> str:
        name = f"%v{next(self._count)}"
        self._lines.append(f"  {name} = {text}")
        return name

    def _label(self, name: str) -> None:
        self._lines.append(f"{name}:")
        self._block = name

    def _call(
        self, result: str, function: str, args: Sequence[tuple[str, str]], flags: str = ""
    ) -> str:
        self._declared.add(f"declare {result} {function}({', '.join(kind for kind, _ in args)})")
        passed = ", ".join(f"{kind} {value}" for kind, value in args)
        return f"call {flags}{result} {function}({passed})"

    # --- blocks and loops ---------------------------------------------------------------------------

    def _body(self, body: list[Value | Loop]) -> None:
        for item in body:
            if isinstance(item, Loop):
                self._loop(item)
            else:
                self._names[item] = self._value(item)

    def _loop(self, loop: Loop) -> None:
        extent = self._names[loop.extent]
        if extent == "1":
            self._names[loop.counter] = "0"
            self._names.update(
                zip(loop.carries, [self._names[v] for v in loop.initial], strict=True)
            )
            self._body(loop.body)
            self._finish(loop)
            return
        number = next(self._count)
        before, head, done = self._block, f"loop{number}", f"done{number}"
        starts = [self._names[value] for value in loop.initial]
        if loop.may_be_empty:
            enter = self._new(f"icmp sgt i64 {extent}, 0")
            self._out(f"br i1 {enter}, label %{head}, label %{done}")
        else:
            self._out(f"br label %{head}")
        self._label(head)
        slot = len(self._lines)
        counter = self._names[loop.counter] = f"%i{number}"
        for i, carry in enumerate(loop.carries):
            self._names[carry] = f"%c{number}_{i}"
        self._body(loop.body)
        after = self._new(f"add nuw nsw i64 {counter}, 1")
        more = self._new(f"icmp slt i64 {after}, {extent}")
        latch = self._block
        self._out(f"br i1 {more}, label %{head}, label %{done}")
        header = [f"  {counter} = phi i64 [0, %{before}], [{after}, %{latch}]"]
        for carry, start, following in zip(loop.carries, starts, loop.following, strict=True):
            kind, value = type_of(carry.dtype, carry.lanes), self._names[following]
            header.append(
                f"  {self._names[carry]} = phi {kind} [{start}, %{before}], [{value}, %{latch}]"
            )
        self._lines[slot:slot] = header
        self._label(done)
        self._finish(loop)
        if loop.may_be_empty:
            for carry, start in zip(loop.carries, starts, strict=True):
                kind, value = type_of(carry.dtype, carry.lanes), self._names[carry]
                self._names[carry] = self._new(
                    f"phi {kind} [{start}, %{before}], [{value}, %{latch}]"
                )

    def _finish(self, loop: Loop) -> None:
        """After a loop its carried values are those of the last iteration."""
        final = [self._names[value] for value in loop.following]
        self._names.update(zip(loop.carries, final, strict=True))

    # --- values -------------------------------------------------------------------------------------

    def _value(self, value: Value) -> str:
        if isinstance(value.code, Op):
            return self._operation(value)
        match value.code:
            case "const":
                return literal(value.arg, value.dtype, value.lanes)
            case "param":
                return f"%p{value.arg}"
            case "chunk":
                return "%chunk"
            case "splat":
                return self._splat(value)
            case "iota":
                return self._iota(value)
            case "load":
                return self._load(value)
            case "store":
                return self._store(value)
            case "across":
                return self._across(value)
            case _:
                raise RenderError(f"LLVM: no spelling for {value.code}")

    def _splat(self, value: Value) -> str:
        kind = type_of(value.dtype, value.lanes)
        scalar = f"{type_of(value.dtype, 1)} {self._names[value.src[0]]}"
        one = self._new(f"insertelement {kind} poison, {scalar}, i64 0")
        zeros = f"<{value.lanes} x i32> zeroinitializer"
        return self._new(f"shufflevector {kind} {one}, {kind} poison, {zeros}")

    def _iota(self, value: Value) -> str:
        base = type_of(value.dtype, 1)
        return "<" + ", ".join(f"{base} {i * value.arg}" for i in range(value.lanes)) + ">"

    def _operation(self, value: Value) -> str:
        op, first = value.code, value.src[0]
        assert isinstance(op, Op)
        operand = value.src[-1]
        dtype, kind = operand.dtype, type_of(operand.dtype, operand.lanes)
        args = [self._names[source] for source in value.src]
        if op is ops.WHERE:
            return self._select(value, args)
        if op is ops.CAST:
            return self._cast(first, value, args[0])
        if op is ops.BITCAST:
            return self._new(f"bitcast {kind} {args[0]} to {type_of(value.dtype, value.lanes)}")
        if op in INTRINSIC and dtype.is_float:
            return self._intrinsic(INTRINSIC[op], dtype, operand.lanes, args)
        table = INSTRUCTION.get(op) or COMPARISON.get(op)
        if table is not None and dtype.kind in table:
            return self._new(f"{table[dtype.kind]} {kind} {', '.join(args)}")
        return self._spelled(op, dtype, operand.lanes, args)

    def _intrinsic(self, name: str, dtype: DType, lanes: int, args: Sequence[str]) -> str:
        kind = type_of(dtype, lanes)
        function = f"@llvm.{name}.{suffix(dtype, lanes)}"
        return self._new(self._call(kind, function, [(kind, arg) for arg in args]))

    def _select(self, value: Value, args: list[str]) -> str:
        condition = type_of(value.src[0].dtype, value.src[0].lanes)
        kind = type_of(value.dtype, value.lanes)
        return self._new(f"select {condition} {args[0]}, {kind} {args[1]}, {kind} {args[2]}")

    def _spelled(self, op: Op, dtype: DType, lanes: int, args: list[str]) -> str:
        """Operations that take a few instructions."""
        kind = type_of(dtype, lanes)
        if op is ops.NEG:
            return self._new(
                f"fneg {kind} {args[0]}"
                if dtype.is_float
                else f"sub {kind} {_zero(lanes)}, {args[0]}"
            )
        if op is ops.NOT:
            ones = (
                literal(True, dtype, lanes)
                if dtype.kind is Kind.BOOL
                else literal(-1, dtype, lanes)
            )
            return self._new(f"xor {kind} {args[0]}, {ones}")
        if op in (ops.MAXIMUM, ops.MINIMUM):
            return self._extremum(op, dtype, lanes, args)
        if op in (ops.SHL, ops.SHR):
            count = self._new(f"and {kind} {args[1]}, {literal(dtype.bits - 1, dtype, lanes)}")
            code = "shl" if op is ops.SHL else "ashr" if dtype.kind is Kind.INT else "lshr"
            return self._new(f"{code} {kind} {args[0]}, {count}")
        if op in (ops.TRUNCDIV, ops.TRUNCMOD):
            return self._division(op, dtype, lanes, args)
        raise RenderError(f"LLVM: no spelling for {op} on {dtype}; it should have been decomposed")

    def _extremum(self, op: Op, dtype: DType, lanes: int, args: list[str]) -> str:
        """`where(b < a or a is NaN, a, b)`: `b < a or unordered`, unless only b is NaN."""
        kind = type_of(dtype, lanes)
        if not dtype.is_float:
            name = ("u" if dtype.kind is Kind.UINT else "s") + (
                "max" if op is ops.MAXIMUM else "min"
            )
            return self._intrinsic(name, dtype, lanes, args)
        a, b = args
        code = "ogt" if op is ops.MAXIMUM else "olt"
        mask = type_of_mask(lanes)
        larger = self._new(f"fcmp {code} {kind} {a}, {b}")
        chosen = self._new(f"select {mask} {larger}, {kind} {a}, {kind} {b}")  # one vmaxps
        unordered = self._new(f"fcmp uno {kind} {a}, {a}")
        return self._new(f"select {mask} {unordered}, {kind} {a}, {kind} {chosen}")

    def _division(self, op: Op, dtype: DType, lanes: int, args: list[str]) -> str:
        """Total division: x // 0 == 0, x % 0 == x, and lowest // -1 wraps; nothing traps."""
        kind, mask = type_of(dtype, lanes), type_of_mask(lanes)
        unsigned = dtype.kind is Kind.UINT
        code = ("u" if unsigned else "s") + ("div" if op is ops.TRUNCDIV else "rem")
        a, b = args
        if _is_safe_divisor(b):
            return self._new(f"{code} {kind} {a}, {b}")
        zero, one = literal(0, dtype, lanes), literal(1, dtype, lanes)
        bad = self._new(f"icmp eq {kind} {b}, {zero}")
        safe = self._new(f"select {mask} {bad}, {kind} {one}, {kind} {b}")
        if not unsigned:
            minus = self._new(f"icmp eq {kind} {b}, {literal(-1, dtype, lanes)}")
            safe = self._new(f"select {mask} {minus}, {kind} {one}, {kind} {safe}")
        plain = self._new(f"{code} {kind} {a}, {safe}")
        if op is ops.TRUNCDIV and not unsigned:
            negated = self._new(f"sub {kind} {zero}, {a}")
            plain = self._new(f"select {mask} {minus}, {kind} {negated}, {kind} {plain}")
        other = zero if op is ops.TRUNCDIV else a
        return self._new(f"select {mask} {bad}, {kind} {other}, {kind} {plain}")

    def _cast(self, source: Value, value: Value, arg: str) -> str:
        """Casts as the op table defines them: truncating, saturating, NaN to 0."""
        old, new, lanes = source.dtype, value.dtype, value.lanes
        from_kind, to_kind = type_of(old, lanes), type_of(new, lanes)
        if REGISTER[old.name] == REGISTER[new.name]:
            return arg
        if new.kind is Kind.BOOL:
            zero = literal(0, old, lanes)
            return self._new(
                f"{'fcmp une' if old.is_float else 'icmp ne'} {from_kind} {arg}, {zero}"
            )
        if old.is_float and new.is_float:
            if old.bits == new.bits:  # float16 and bfloat16 meet in float32
                arg = self._new(f"fpext {from_kind} {arg} to {_floats(lanes)}")
                return self._new(f"fptrunc {_floats(lanes)} {arg} to {to_kind}")
            code = "fpext" if new.bits > old.bits else "fptrunc"
            return self._new(f"{code} {from_kind} {arg} to {to_kind}")
        if old.is_float:
            name = "fptoui" if new.kind is Kind.UINT else "fptosi"
            function = f"@llvm.{name}.sat.{suffix(new, lanes)}.{suffix(old, lanes)}"
            return self._new(self._call(to_kind, function, [(from_kind, arg)]))
        unsigned = old.kind in (Kind.UINT, Kind.BOOL)
        if new.is_float:
            return self._new(f"{'ui' if unsigned else 'si'}tofp {from_kind} {arg} to {to_kind}")
        wide, narrow = new.bits or 64, 1 if old.kind is Kind.BOOL else old.bits or 64
        code = "trunc" if wide < narrow else "zext" if unsigned else "sext"
        return self._new(f"{code} {from_kind} {arg} to {to_kind}")

    def _across(self, value: Value) -> str:
        """Combine all lanes in a tree of halves: log2(lanes) steps, one fixed order."""
        op, source = value.arg, value.src[0]
        dtype, lanes, name = value.dtype, source.lanes, self._names[source]
        while lanes > 1:
            half = lanes // 2
            kind = type_of(dtype, lanes)
            parts = []
            for start in (0, half):
                places = ", ".join(f"i32 {start + i}" for i in range(half))
                picked = f"shufflevector {kind} {name}, {kind} poison, <{half} x i32> <{places}>"
                parts.append(self._new(picked))
            if half == 1:
                parts = [
                    self._new(f"extractelement <1 x {type_of(dtype, 1)}> {p}, i64 0") for p in parts
                ]
            table = INSTRUCTION.get(op)
            if table is not None and dtype.kind in table:
                name = self._new(
                    f"{table[dtype.kind]} {type_of(dtype, half)} {parts[0]}, {parts[1]}"
                )
            else:
                name = self._spelled(op, dtype, half, parts)
            lanes = half
        return name

    # --- memory -------------------------------------------------------------------------------------

    def _pointer(self, memory: Value, index: str) -> str:
        base = self._names[memory]
        if index == "0":
            return base
        return self._new(
            f"getelementptr inbounds {memory_type(memory.dtype, 1)}, ptr {base}, i64 {index}"
        )

    def _load(self, value: Value) -> str:
        memory, where, *gate = value.src
        if where.lanes > 1:
            return self._from_memory(
                value, self._gather(value, self._pointers(memory, where), gate)
            )
        pointer = self._pointer(memory, self._names[where])
        if gate and gate[0].lanes == 1:  # one condition for all lanes: read zeros instead
            condition = self._names[gate[0]]
            if value.arg in (0, 1) or value.lanes == 1:
                pointer = self._new(f"select i1 {condition}, ptr {pointer}, ptr @zeros")
                gate = []
        kind = memory_type(value.dtype, value.lanes)
        align = value.dtype.itemsize
        if value.lanes == 1 or (value.arg == 1 and not gate):
            return self._from_memory(value, self._new(f"load {kind}, ptr {pointer}, align {align}"))
        if value.arg == 1:
            mask = [
                ("ptr", pointer),
                ("i32", str(align)),
                self._mask(gate[0], value.lanes),
                (kind, "zeroinitializer"),
            ]
            function = f"@llvm.masked.load.{suffix(value.dtype, value.lanes, memory=True)}.p0"
            return self._from_memory(value, self._new(self._call(kind, function, mask)))
        if value.arg in (-1, 2) and not gate:
            return self._from_memory(value, self._strided(value, pointer))
        offsets = ", ".join(f"i64 {i * value.arg}" for i in range(value.lanes))
        element = memory_type(value.dtype, 1)
        pointers = self._new(
            f"getelementptr inbounds {element}, ptr {pointer}, <{value.lanes} x i64> <{offsets}>"
        )
        return self._from_memory(value, self._gather(value, pointers, gate))

    def _strided(self, value: Value, pointer: str) -> str:
        """Lanes at distance -1 or 2 from two or one contiguous loads and a shuffle."""
        lanes, element = value.lanes, memory_type(value.dtype, 1)
        kind, align = memory_type(value.dtype, lanes), value.dtype.itemsize
        if value.arg == -1:
            start = self._new(f"getelementptr inbounds {element}, ptr {pointer}, i64 {1 - lanes}")
            raw = self._new(f"load {kind}, ptr {start}, align {align}")
            places = ", ".join(f"i32 {lanes - 1 - i}" for i in range(lanes))
            return self._new(
                f"shufflevector {kind} {raw}, {kind} poison, <{lanes} x i32> <{places}>"
            )
        # The second load ends at the last lane exactly: nothing beyond it is read.
        later = self._new(f"getelementptr inbounds {element}, ptr {pointer}, i64 {lanes - 1}")
        low = self._new(f"load {kind}, ptr {pointer}, align {align}")
        high = self._new(f"load {kind}, ptr {later}, align {align}")
        half = lanes // 2
        picks = [2 * i if i < half else lanes + 2 * i - (lanes - 1) for i in range(lanes)]
        places = ", ".join(f"i32 {pick}" for pick in picks)
        return self._new(f"shufflevector {kind} {low}, {kind} {high}, <{lanes} x i32> <{places}>")

    def _pointers(self, memory: Value, where: Value) -> str:
        element = memory_type(memory.dtype, 1)
        base, kind = self._names[memory], type_of(where.dtype, where.lanes)
        return self._new(
            f"getelementptr inbounds {element}, ptr {base}, {kind} {self._names[where]}"
        )

    def _mask(self, gate: Value | None, lanes: int) -> tuple[str, str]:
        kind = f"<{lanes} x i1>"
        if gate is None:
            return kind, "splat (i1 true)"
        if gate.lanes == 1:
            one = self._new(f"insertelement {kind} poison, i1 {self._names[gate]}, i64 0")
            return kind, self._new(
                f"shufflevector {kind} {one}, {kind} poison, <{lanes} x i32> zeroinitializer"
            )
        return kind, self._names[gate]

    def _gather(self, value: Value, pointers: str, gate: list[Value]) -> str:
        lanes, kind = value.lanes, memory_type(value.dtype, value.lanes)
        mask = self._mask(gate[0] if gate else None, lanes)
        args = [
            (f"<{lanes} x ptr>", pointers),
            ("i32", str(value.dtype.itemsize)),
            mask,
            (kind, "zeroinitializer"),
        ]
        function = f"@llvm.masked.gather.{suffix(value.dtype, lanes, memory=True)}.v{lanes}p0"
        return self._new(self._call(kind, function, args))

    def _from_memory(self, value: Value, raw: str) -> str:
        if value.dtype.kind is not Kind.BOOL:
            return raw
        return self._new(
            f"icmp ne {memory_type(value.dtype, value.lanes)} {raw}, {_zero(value.lanes)}"
        )

    def _store(self, value: Value) -> str:
        memory, where, stored, *gate = value.src
        dtype, lanes = stored.dtype, stored.lanes
        kind, name = memory_type(dtype, lanes), self._names[stored]
        if dtype.kind is Kind.BOOL:
            name = self._new(f"zext {type_of(dtype, lanes)} {name} to {kind}")
        if where.lanes > 1 or (lanes > 1 and value.arg != 1):
            self._scatter(value, kind, name, gate)
            return ""
        pointer = self._pointer(memory, self._names[where])
        if gate and lanes == 1:
            self._conditional_store(kind, name, pointer, self._names[gate[0]], dtype)
        elif gate:
            args = [
                (kind, name),
                ("ptr", pointer),
                ("i32", str(dtype.itemsize)),
                self._mask(gate[0], lanes),
            ]
            function = f"@llvm.masked.store.{suffix(dtype, lanes, memory=True)}.p0"
            self._out(self._call("void", function, args))
        else:
            self._out(f"store {kind} {name}, ptr {pointer}, align {dtype.itemsize}")
        return ""

    def _conditional_store(
        self, kind: str, name: str, pointer: str, condition: str, dtype: DType
    ) -> None:
        number = next(self._count)
        self._out(f"br i1 {condition}, label %then{number}, label %join{number}")
        self._label(f"then{number}")
        self._out(f"store {kind} {name}, ptr {pointer}, align {dtype.itemsize}")
        self._out(f"br label %join{number}")
        self._label(f"join{number}")

    def _scatter(self, value: Value, kind: str, name: str, gate: list[Value]) -> None:
        memory, where, stored = value.src[:3]
        lanes, element = stored.lanes, memory_type(stored.dtype, 1)
        if where.lanes > 1:
            pointers = self._pointers(memory, where)
        else:
            if not value.arg:
                raise RenderError("all lanes of a store go to one place")
            pointer = self._pointer(memory, self._names[where])
            offsets = ", ".join(f"i64 {i * value.arg}" for i in range(lanes))
            pointers = self._new(
                f"getelementptr inbounds {element}, ptr {pointer}, <{lanes} x i64> <{offsets}>"
            )
        mask = self._mask(gate[0] if gate else None, lanes)
        args = [
            (kind, name),
            (f"<{lanes} x ptr>", pointers),
            ("i32", str(stored.dtype.itemsize)),
            mask,
        ]
        function = f"@llvm.masked.scatter.{suffix(stored.dtype, lanes, memory=True)}.v{lanes}p0"
        self._out(self._call("void", function, args))


def type_of_mask(lanes: int) -> str:
    """Return the type of a condition over `lanes` lanes."""
    return "i1" if lanes == 1 else f"<{lanes} x i1>"


def _zero(lanes: int) -> str:
    return "0" if lanes == 1 else "zeroinitializer"


def _floats(lanes: int) -> str:
    return "float" if lanes == 1 else f"<{lanes} x float>"


def _is_safe_divisor(text: str) -> bool:
    """Whether a divisor is a literal other than 0 and -1."""
    digits = text.removeprefix("splat (").rstrip(")").split()[-1] if text else ""
    return digits.lstrip("-").isdigit() and int(digits) not in (0, -1)


def render_llvm(program: Program, name: str) -> str:
    """Return LLVM IR text of `program` as function `name` (ptr args, i64 chunk)."""
    return LlvmRenderer(program, name).render()
