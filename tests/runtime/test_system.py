"""The native support code: valid on every platform, and it does here what it says."""

from __future__ import annotations

import ctypes
import dataclasses
import time

import pytest

from inkle.runtime.cpu import elf, pool_ir
from inkle.runtime.cpu.graph import Graph, Launch
from inkle.runtime.cpu.graph_ir import graph_ir
from inkle.runtime.cpu.llvm import compile_ir, emit_object
from inkle.runtime.cpu.pool import Pool
from inkle.runtime.cpu.system import Platform, system_ir
from inkle.runtime.cpu.target import Target
from tests.runtime.kernels import address

PLATFORMS = {
    "x86_64-unknown-linux-gnu": Platform("linux", "x86_64"),
    "aarch64-unknown-linux-gnu": Platform("linux", "aarch64"),
    "riscv64-unknown-linux-gnu": Platform("linux", "riscv64"),
    "arm64-apple-macosx12.0": Platform("darwin", "aarch64"),
    "x86_64-pc-windows-msvc": Platform("win32", "x86_64"),
    "aarch64-pc-windows-msvc": Platform("win32", "aarch64"),
}
X86 = pytest.mark.skipif(Platform.host().machine != "x86_64", reason="MXCSR is x86's")
FLUSH_SUBNORMALS = 0x8040  # MXCSR: FTZ and DAZ

SET_MODES = """
declare void @llvm.x86.sse.ldmxcsr(ptr)
define void @set_modes(i32 %modes) {
  %word = alloca i32
  store i32 %modes, ptr %word
  call void @llvm.x86.sse.ldmxcsr(ptr %word)
  ret void
}"""
GET_MODES = """
declare void @llvm.x86.sse.stmxcsr(ptr)
define i32 @get_modes() {
  %word = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %word)
  %modes = load i32, ptr %word
  ret i32 %modes
}"""
# Halves the double at x[chunk].
HALVE = """
define void @halve(ptr %args, i64 %chunk) {
  %x = load ptr, ptr %args
  %at = getelementptr double, ptr %x, i64 %chunk
  %value = load double, ptr %at
  %half = fmul double %value, 0.5
  store double %half, ptr %at
  ret void
}"""


@pytest.mark.parametrize("triple", PLATFORMS)
def test_support_code_compiles_for_every_platform(triple: str):
    target = dataclasses.replace(Target.host(), triple=triple, cpu="", features="")
    if triple.startswith("riscv64"):
        target = dataclasses.replace(target, features="+m,+a,+f,+d")
    where = PLATFORMS[triple]

    objects = [emit_object(text(where), target) for text in (pool_ir.pool_ir, graph_ir)]

    assert min(len(content) for content in objects) > 1000
    if where.system == "linux":
        assert set(elf.undefined_symbols(objects[0])) == {"syscall", "clock_gettime"}


def test_polling_uses_no_futex():
    object_file = emit_object(pool_ir.pool_ir(portable=True), Target.host())

    assert "syscall" not in elf.undefined_symbols(object_file)


def test_clock_counts_nanoseconds():
    now = ctypes.CFUNCTYPE(ctypes.c_int64)(compile_ir(system_ir(), ["now"])["now"])
    start, start_python = now(), time.monotonic_ns()

    time.sleep(0.005)

    assert now() - start == pytest.approx(time.monotonic_ns() - start_python, abs=2_000_000)


@X86
@pytest.mark.parametrize("threads", [1, 3])
def test_kernels_keep_subnormals_whatever_the_caller_does(threads: int):
    smallest = 2.0**-1022  # normal; its half is not
    x = (ctypes.c_double * 8)(*[smallest] * 8)
    set_modes = ctypes.CFUNCTYPE(None, ctypes.c_int32)(address(SET_MODES))
    get_modes = ctypes.CFUNCTYPE(ctypes.c_int32)(address(GET_MODES))
    before = get_modes()
    set_modes(before | FLUSH_SUBNORMALS)  # workers are started in these modes too
    try:
        pool = Pool(threads)
        graph = Graph([Launch(address(HALVE), (0,), 8)], pool=pool)
        graph.bind(0, ctypes.addressof(x))
        graph.run()
        graph.run_timed()
        after = get_modes()
    finally:
        set_modes(before)

    assert list(x) == [2.0**-1024] * 8
    assert after & FLUSH_SUBNORMALS == FLUSH_SUBNORMALS
    assert pool.stop()


def test_spinning_longer_takes_longer():
    spin = ctypes.CFUNCTYPE(None, ctypes.c_int64)(compile_ir(system_ir(), ["spin"])["spin"])

    def seconds(count: int) -> float:
        start = time.perf_counter()
        spin(count)
        return time.perf_counter() - start

    assert min(seconds(50_000) for _ in range(3)) > 5 * min(seconds(1_000) for _ in range(3))


def test_undefined_symbols_of_other_formats_are_not_looked_for():
    assert elf.undefined_symbols(b"MZ\x90\x00") == []
    assert elf.undefined_symbols(b"") == []
