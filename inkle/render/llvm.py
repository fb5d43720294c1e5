"""Programs to LLVM IR text: explicit vectors, no IR passes needed afterwards.

Every kernel is `void name(ptr args, i64 chunk)`: `args` is an array of 64-bit slots, one per
parameter. The body is an inner function with `noalias` pointers, so that LLVM knows without
analysis that stores do not disturb loads.
"""

from __future__ import annotations

from collections.abc import Callable

from inkle.errors import RenderError
from inkle.ir.op import Op
from inkle.ir.program import Loop, Program, Value
from inkle.render.llvm_arithmetic import LlvmArithmetic
from inkle.render.llvm_memory import LlvmMemory
from inkle.render.llvm_types import literal, memory_type, type_of

ZERO_BYTES = 512  # at least the widest vector that a gated load can ask for
LOCAL_ALIGN = 64  # bytes: one cache line, one AVX-512 register


class LlvmRenderer(LlvmArithmetic, LlvmMemory):
    """Writes one program; see `render_llvm`."""

    def __init__(self, program: Program, name: str) -> None:
        super().__init__()
        self._program, self._name = program, name

    def render(self) -> str:
        """Return the module's text."""
        for memory in self._program.locals:
            size = memory.arg[1]
            kind = memory_type(memory.dtype, 1)
            self._names[memory] = self._new(f"alloca [{size} x {kind}], align {LOCAL_ALIGN}")
        self._body(self._program.body)
        slots = [p.slot for p in self._program.parameters]
        scalars = self._program.scalars
        inner = ", ".join(
            [
                *(f"ptr noalias %p{s}" for s in slots),
                *(f"i64 %scalar{s}" for s in scalars),
                "i64 %chunk",
            ]
        )
        kinds = [*((slot, "ptr", "p") for slot in slots), *((s, "i64", "scalar") for s in scalars)]
        loads = [
            f"  %a{slot} = getelementptr i64, ptr %args, i64 {slot}\n"
            f"  %{word}{slot} = load {kind}, ptr %a{slot}"
            for slot, kind, word in kinds
        ]
        passed = ", ".join([*(f"{kind} %{word}{slot}" for slot, kind, word in kinds),
                            "i64 %chunk"])  # fmt: skip
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

    def _value(self, value: Value) -> str:
        if isinstance(value.code, Op):
            return self._operation(value)
        writer = _WRITERS.get(value.code)
        if writer is None:
            raise RenderError(f"LLVM: no spelling for {value.code}")
        return writer(self, value)

    def _unordered(self, value: Value) -> str:
        operands = ", ".join(self._names[source] for source in value.src)
        first = value.src[0]
        return self._new(f"fcmp uno {type_of(first.dtype, first.lanes)} {operands}")


_WRITERS: dict[str, Callable[[LlvmRenderer, Value], str]] = {
    "const": lambda _, value: literal(value.arg, value.dtype, value.lanes),
    "param": lambda _, value: f"%p{value.arg}",
    "variable": lambda _, value: f"%scalar{value.arg[1]}",
    "chunk": lambda _, value: "%chunk",
    "splat": LlvmRenderer._splat,
    "iota": LlvmRenderer._iota,
    "load": LlvmRenderer._load,
    "store": LlvmRenderer._store,
    "shuffle": LlvmRenderer._shuffle,
    "unordered": LlvmRenderer._unordered,
    "across": LlvmRenderer._across,
    "dot": LlvmRenderer._dot,
}


def render_llvm(program: Program, name: str) -> str:
    """Return LLVM IR text of `program` as function `name` (ptr args, i64 chunk)."""
    return LlvmRenderer(program, name).render()
