"""What the worker pool needs of the operating system and the processor, as LLVM IR.

Every platform defines the same functions:

    @pause()                      tell the processor that this is a spin loop
    @spin(i64 count)              pause `count` times, to measure how long a pause takes
    @wait(ptr word, i32 value, i32 us) -> i1
                                  sleep while *word == value; whether somebody woke us, or may have
    @wake(ptr word, i32 count)    wake up to `count` threads that sleep at `word`
    @now() -> i64                 monotonic nanoseconds
    @use_plain_floats() -> i64    round to nearest, keep subnormals; returns the modes before
    @restore_floats(i64 modes)    undo that

Linux sleeps on a futex (`man 2 futex`). Elsewhere `wait` polls: it sleeps `us` microseconds, and
`wake` does nothing, so that idle workers cost a little instead of nothing. That is always correct,
because every caller of `wait` looks again; tests run it on Linux too.

Floating-point modes belong to a thread, and libraries change them (loading one that was linked with
GCC's -ffast-math is enough). Without plain modes a chunk would flush subnormals or not, depending
on the thread that took it.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

FUTEX_WAIT, FUTEX_WAKE = 128, 129  # both with FUTEX_PRIVATE_FLAG: no other process shares the word
FUTEX_CALL = {"x86_64": 202, "aarch64": 98, "riscv64": 98}  # number of the system call
CLOCK_MONOTONIC = {"linux": 1, "darwin": 6}
# ARM's own hint, yield, does nothing on most cores; isb waits for the pipeline to drain.
PAUSE = {
    "x86_64": """
declare void @llvm.x86.sse2.pause()
define internal void @pause() nounwind {
  call void @llvm.x86.sse2.pause()
  ret void
}""",
    "aarch64": """
declare void @llvm.aarch64.isb(i32)
define internal void @pause() nounwind {
  call void @llvm.aarch64.isb(i32 15)
  ret void
}""",
}
PAUSE_ANY = """
define internal void @pause() nounwind {
  ret void
}"""
PLAIN_MXCSR = 0x1F80  # round to nearest, keep subnormals, no traps; the state after a reset


@dataclass(frozen=True, slots=True)
class Platform:
    """A system as `sys.platform` calls it, and a processor: `x86_64`, `aarch64` or another."""

    system: str
    machine: str

    @staticmethod
    def host() -> Platform:
        """Return where this process runs."""
        machine = platform.machine().lower()
        return Platform(sys.platform, {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine))


def system_ir(platform: Platform | None = None, *, portable: bool = False) -> str:
    """Return the definitions for a platform.

    Args:
        platform: default: this one.
        portable: poll instead of sleeping on a futex even where there is one.
    """
    where = platform or Platform.host()
    has_futex = where.system == "linux" and where.machine in FUTEX_CALL and not portable
    waiting = _futex_ir(FUTEX_CALL[where.machine]) if has_futex else _polling_ir(where.system)
    floats = {"x86_64": _FLOATS_X86, "aarch64": _FLOATS_ARM}.get(where.machine, _FLOATS_ANY)
    return "\n".join((_pause_ir(where.machine), waiting, _now_ir(where.system), floats))


def _pause_ir(machine: str) -> str:
    return f"""{PAUSE.get(machine, PAUSE_ANY)}
define void @spin(i64 %count) nounwind {{
entry:
  br label %next
next:
  %i = phi i64 [0, %entry], [%i1, %next]
  call void @pause()
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %count
  br i1 %more, label %next, label %done
done:
  ret void
}}"""


def _futex_ir(call: int) -> str:
    """Sleep in the kernel. An interrupted or mistaken call returns early, which is allowed."""
    return f"""
declare i64 @syscall(i64, ...)
define internal i1 @wait(ptr %word, i32 %value, i32 %us) nounwind {{
  %v = sext i32 %value to i64
  %r = call i64 (i64, ...) @syscall(i64 {call}, ptr %word, i64 {FUTEX_WAIT}, i64 %v, ptr null)
  ret i1 true
}}
define internal void @wake(ptr %word, i32 %count) nounwind {{
  %c = sext i32 %count to i64
  %r = call i64 (i64, ...) @syscall(i64 {call}, ptr %word, i64 {FUTEX_WAKE}, i64 %c)
  ret void
}}"""


def _polling_ir(system: str) -> str:
    name, unit_us = ("Sleep", 1000) if system == "win32" else ("usleep", 1)  # Sleep(0) yields
    return f"""
declare i32 @{name}(i32)
define internal i1 @wait(ptr %word, i32 %value, i32 %us) nounwind {{
  %before = load atomic i32, ptr %word seq_cst, align 4
  %same = icmp eq i32 %before, %value
  br i1 %same, label %sleep, label %changed
sleep:
  %time = udiv i32 %us, {unit_us}
  %r = call i32 @{name}(i32 %time)
  %after = load atomic i32, ptr %word seq_cst, align 4
  %different = icmp ne i32 %after, %value
  ret i1 %different
changed:
  ret i1 true
}}
define internal void @wake(ptr %word, i32 %count) nounwind {{
  ret void
}}"""


def _now_ir(system: str) -> str:
    if system == "win32":
        return _NOW_WINDOWS
    return f"""
declare i32 @clock_gettime(i32, ptr)
define i64 @now() nounwind {{
  %time = alloca [2 x i64]
  %r = call i32 @clock_gettime(i32 {CLOCK_MONOTONIC.get(system, 1)}, ptr %time)
  %fraction = getelementptr i64, ptr %time, i64 1
  %seconds = load i64, ptr %time
  %nanoseconds = load i64, ptr %fraction
  %scaled = mul i64 %seconds, 1000000000
  %result = add i64 %scaled, %nanoseconds
  ret i64 %result
}}"""


_NOW_WINDOWS = """
declare i32 @QueryPerformanceCounter(ptr)
declare i32 @QueryPerformanceFrequency(ptr)
define i64 @now() nounwind {
  %count = alloca i64
  %frequency = alloca i64
  %r1 = call i32 @QueryPerformanceCounter(ptr %count)
  %r2 = call i32 @QueryPerformanceFrequency(ptr %frequency)
  %c = load i64, ptr %count
  %f = load i64, ptr %frequency
  %cf = uitofp i64 %c to double
  %ff = uitofp i64 %f to double
  %seconds = fdiv double %cf, %ff
  %nanoseconds = fmul double %seconds, 1.0e9
  %result = fptoui double %nanoseconds to i64
  ret i64 %result
}"""

_FLOATS_X86 = f"""
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define internal i64 @use_plain_floats() nounwind {{
  %word = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %word)
  %old = load i32, ptr %word
  store i32 {PLAIN_MXCSR}, ptr %word
  call void @llvm.x86.sse.ldmxcsr(ptr %word)
  %modes = zext i32 %old to i64
  ret i64 %modes
}}
define internal void @restore_floats(i64 %modes) nounwind {{
  %word = alloca i32
  %old = trunc i64 %modes to i32
  store i32 %old, ptr %word
  call void @llvm.x86.sse.ldmxcsr(ptr %word)
  ret void
}}"""

_FLOATS_ARM = """
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
define internal i64 @use_plain_floats() nounwind {
  %modes = call i64 @llvm.aarch64.get.fpcr()
  call void @llvm.aarch64.set.fpcr(i64 0)
  ret i64 %modes
}
define internal void @restore_floats(i64 %modes) nounwind {
  call void @llvm.aarch64.set.fpcr(i64 %modes)
  ret void
}"""

_FLOATS_ANY = """
define internal i64 @use_plain_floats() nounwind {
  ret i64 0
}
define internal void @restore_floats(i64 %modes) nounwind {
  ret void
}"""
