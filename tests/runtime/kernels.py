"""Small kernels in LLVM IR, and helpers that run them and other Python processes."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap
from pathlib import Path

from inkle.runtime.cpu.llvm import compile_ir

ROOT = str(Path(__file__).parents[2])  # of the repository, for PYTHONPATH

# counts[chunk] += 1, atomically: shows which chunks ran and how often.
COUNT = """
define void @count(ptr %args, i64 %chunk) {
  %counts = load ptr, ptr %args
  %at = getelementptr i64, ptr %counts, i64 %chunk
  %old = atomicrmw add ptr %at, i64 1 monotonic
  ret void
}"""

# x[0] += 1.0, for a graph's order and its slots.
INCREMENT = """
define void @increment(ptr %args, i64 %chunk) {
  %x = load ptr, ptr %args
  %value = load float, ptr %x
  %sum = fadd float %value, 1.0
  store float %sum, ptr %x
  ret void
}"""

# x[0] = x[0] * factor (int64), arguments x and factor.
SCALE = """
define void @scale(ptr %args, i64 %chunk) {
  %at = getelementptr i64, ptr %args, i64 1
  %x = load ptr, ptr %args
  %factor = load i64, ptr %at
  %value = load i64, ptr %x
  %product = mul i64 %value, %factor
  store i64 %product, ptr %x
  ret void
}"""

# Busy for `steps` dependent steps, then counts[chunk] += 1; arguments counts and steps.
BUSY = """
define void @busy(ptr %args, i64 %chunk) {
entry:
  %at.steps = getelementptr i64, ptr %args, i64 1
  %counts = load ptr, ptr %args
  %steps = load i64, ptr %at.steps
  br label %next
next:
  %i = phi i64 [0, %entry], [%i1, %next]
  %x = phi i64 [1, %entry], [%x3, %next]
  %x1 = mul i64 %x, 6364136223846793005
  %x2 = mul i64 %x1, 6364136223846793005
  %x3 = add i64 %x2, 1442695040888963407
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %steps
  br i1 %more, label %next, label %done
done:
  %odd = or i64 %x3, 1
  %is = icmp ne i64 %odd, 0
  %one = zext i1 %is to i64
  %at = getelementptr i64, ptr %counts, i64 %chunk
  %old = atomicrmw add ptr %at, i64 %one monotonic
  ret void
}"""

# arrived[0] += 1, then waits until three chunks have arrived.
RENDEZVOUS = """
define void @rendezvous(ptr %args, i64 %chunk) {
entry:
  %arrived = load ptr, ptr %args
  %old = atomicrmw add ptr %arrived, i64 1 seq_cst
  br label %look
look:
  %n = load atomic i64, ptr %arrived seq_cst, align 8
  %all = icmp eq i64 %n, 3
  br i1 %all, label %done, label %look
done:
  ret void
}"""

# Runs a job inside a job: parfor(pool, count, args + 3 words, 4); arguments pool, parfor, count.
NESTED = """
define void @nested(ptr %args, i64 %chunk) {
  %at.parfor = getelementptr i64, ptr %args, i64 1
  %at.count = getelementptr i64, ptr %args, i64 2
  %rest = getelementptr i64, ptr %args, i64 3
  %pool = load ptr, ptr %args
  %parfor = load ptr, ptr %at.parfor
  %count = load ptr, ptr %at.count
  call void %parfor(ptr %pool, ptr %count, ptr %rest, i64 4)
  ret void
}"""


def address(text: str) -> int:
    """Compile the one function that `text` defines and return its address."""
    name = text.partition("define ")[2].partition("@")[2].partition("(")[0]
    return compile_ir(text, [name])[name]


def words(count: int) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * count)()


def run_python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a new interpreter, with `environment` as its only variables but PATH."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **environment},
    )
