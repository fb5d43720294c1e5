"""Loads and stores in LLVM IR: contiguous, strided, masked, anywhere."""

from __future__ import annotations

from inkle.errors import RenderError
from inkle.ir.dtype import DType, Kind
from inkle.ir.program import Value
from inkle.render.llvm_text import LlvmText, zero
from inkle.render.llvm_types import memory_type, suffix, type_of


class LlvmMemory(LlvmText):
    """Writes values that load and store; see `inkle.render.llvm`."""

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
        is_row = _side_by_side(memory, value.dtype, value.arg)
        if gate and gate[0].lanes == 1:  # one condition for all lanes: read zeros instead
            condition = self._names[gate[0]]
            if value.arg == 0 or is_row or value.lanes == 1:
                pointer = self._new(f"select i1 {condition}, ptr {pointer}, ptr @zeros")
                gate = []
        kind = memory_type(value.dtype, value.lanes)
        align = memory.dtype.itemsize
        if value.lanes == 1 or (is_row and not gate):
            return self._from_memory(value, self._new(f"load {kind}, ptr {pointer}, align {align}"))
        if is_row:
            mask = [
                ("ptr", pointer),
                ("i32", str(align)),
                self._mask(gate[0], value.lanes),
                (kind, "zeroinitializer"),
            ]
            function = f"@llvm.masked.load.{suffix(value.dtype, value.lanes, memory=True)}.p0"
            return self._from_memory(value, self._new(self._call(kind, function, mask)))
        if value.arg in (-1, 2) and not gate and value.dtype is memory.dtype:
            return self._from_memory(value, self._strided(value, pointer))
        offsets = ", ".join(f"i64 {i * value.arg}" for i in range(value.lanes))
        element = memory_type(memory.dtype, 1)
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

    def _shuffle(self, value: Value) -> str:
        kind = type_of(value.dtype, value.lanes)
        a, b = (self._names[source] for source in value.src)
        places = ", ".join(f"i32 {place}" for place in value.arg)
        return self._new(f"shufflevector {kind} {a}, {kind} {b}, <{value.lanes} x i32> <{places}>")

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
            ("i32", str(value.src[0].dtype.itemsize)),
            mask,
            (kind, "zeroinitializer"),
        ]
        function = f"@llvm.masked.gather.{suffix(value.dtype, lanes, memory=True)}.v{lanes}p0"
        return self._new(self._call(kind, function, args))

    def _from_memory(self, value: Value, raw: str) -> str:
        if value.dtype.kind is not Kind.BOOL:
            return raw
        return self._new(
            f"icmp ne {memory_type(value.dtype, value.lanes)} {raw}, {zero(value.lanes)}"
        )

    def _store(self, value: Value) -> str:
        memory, where, stored, *gate = value.src
        dtype, lanes = stored.dtype, stored.lanes
        kind, name = memory_type(dtype, lanes), self._names[stored]
        if dtype.kind is Kind.BOOL:
            name = self._new(f"zext {type_of(dtype, lanes)} {name} to {kind}")
        is_row = lanes == 1 or _side_by_side(memory, dtype, value.arg)
        if where.lanes > 1 or not is_row:
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
            self._out(f"store {kind} {name}, ptr {pointer}, align {memory.dtype.itemsize}")
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


def _side_by_side(memory: Value, dtype: DType, step: int | None) -> bool:
    """Whether lanes of `dtype`, perhaps words of several elements, lie one after the other."""
    return step is not None and step * memory.dtype.itemsize == dtype.itemsize
