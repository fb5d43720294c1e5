"""From IR text to code that runs: errors name the kernel, caches never matter, targets differ."""

from __future__ import annotations

import ctypes
import importlib
import json
import threading
from pathlib import Path

import pytest

from inkle.errors import CompileError, DeviceError
from inkle.runtime.cpu import binding, elf, llvm
from inkle.runtime.cpu.llvm import compile_ir, emit_assembly, emit_object
from inkle.runtime.cpu.target import NAMED, Target
from inkle.runtime.disk_cache import DiskCache
from tests.runtime.kernels import ROOT, run_python

X86 = pytest.mark.skipif(
    not binding.host_triple().startswith("x86_64"), reason="this processor is no x86-64"
)
engines = []
VECTOR = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define void @fused(ptr %args, i64 %chunk) {
  %x = load ptr, ptr %args
  %v = load <16 x float>, ptr %x, align 4
  %w = call <16 x float> @llvm.fma.v16f32(<16 x float> %v, <16 x float> %v, <16 x float> %v)
  store <16 x float> %w, ptr %x, align 4
  ret void
}"""


def constant(value: int, name: str = "value") -> str:
    return f"define i64 @{name}() {{ ret i64 {value} }}"


def call(address: int) -> int:
    return int(ctypes.CFUNCTYPE(ctypes.c_int64)(address)())


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "objects")


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch):
    """Forget what this process has loaded, as a new process would."""

    def forget_all() -> None:
        engines.append(llvm._engine.__wrapped__())  # kept: dropping it would unmap running code
        monkeypatch.setattr(llvm, "_loaded", {})
        monkeypatch.setattr(llvm, "_engine", lambda: engines[-1])

    return forget_all


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch):
    """Make compiling an error, so that only the cache can answer."""
    return lambda: monkeypatch.setattr(llvm, "_parse", lambda *_: pytest.fail("compiled again"))


def test_compiled_functions_run():
    addresses = compile_ir(constant(5, "five") + constant(6, "six"), ["five", "six"])

    assert [call(addresses["five"]), call(addresses["six"])] == [5, 6]


def test_equal_names_with_different_text_coexist():
    addresses = [compile_ir(constant(value), ["value"])["value"] for value in range(10)]

    assert [call(address) for address in addresses] == list(range(10))


def test_private_helpers_and_constants_of_equal_name_coexist():
    text = """
    @table = constant i64 {0}
    define i64 @helper() {{
      %x = load i64, ptr @table
      ret i64 %x
    }}
    define i64 @value() {{
      %x = call i64 @helper()
      ret i64 %x
    }}"""

    addresses = [compile_ir(text.format(value), ["value"])["value"] for value in (11, 22)]

    assert [call(address) for address in addresses] == [11, 22]


def test_equal_text_is_compiled_once(cache: DiskCache, no_compiler):
    first = compile_ir(constant(31), ["value"], cache=cache)
    no_compiler()

    assert compile_ir(constant(31), ["value"], cache=cache) == first


def test_object_comes_from_disk_in_the_next_process(cache: DiskCache, forget, no_compiler):
    compile_ir(constant(32), ["value"], cache=cache)
    forget()
    no_compiler()

    assert call(compile_ir(constant(32), ["value"], cache=cache)["value"]) == 32


def test_an_object_is_found_by_its_key_without_its_text(cache: DiskCache, forget, no_compiler):
    key = llvm.object_key(constant(34), ["value"], Target.host())
    before = llvm.load_object(key, ["value"], cache=cache)
    compile_ir(constant(34), ["value"], cache=cache)
    forget()
    no_compiler()

    found = llvm.load_object(key, ["value"], cache=cache)

    assert before is None
    assert found is not None
    assert call(found["value"]) == 34


def test_an_object_that_calls_what_this_process_lacks_is_not_loaded(cache: DiskCache, monkeypatch):
    text = """
    declare i64 @nobody_has_this()
    define i64 @value() {
      %x = call i64 @nobody_has_this()
      ret i64 %x
    }"""
    key = llvm.object_key(text, ["value"], Target.host())
    with monkeypatch.context() as another:  # a process that has it
        another.setattr(llvm, "_unknown_symbols", lambda content: [])
        another.setattr(llvm, "_load", lambda *_: {"value": 1})
        compile_ir(text, ["value"], cache=cache)
    monkeypatch.delitem(llvm._loaded, key)

    assert cache.get(f"{key}.o") is not None
    assert llvm.load_object(key, ["value"], cache=cache) is None
    with pytest.raises(CompileError, match="value calls nobody_has_this, a function that"):
        compile_ir(text, ["value"], cache=cache)


def test_damaged_object_is_compiled_again(cache: DiskCache, forget):
    compile_ir(constant(33), ["value"], cache=cache)
    (path,) = cache.folder.iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    forget()

    assert call(compile_ir(constant(33), ["value"], cache=cache)["value"]) == 33


def test_key_depends_on_text_names_and_target():
    host, sse = Target.host(), Target.named("sse")
    variants = [("a", ["f"], host), ("b", ["f"], host), ("a", ["g"], host), ("a", ["f"], sse)]

    assert len({llvm.object_key(*variant) for variant in variants}) == 4


def test_many_threads_compile_at_once():
    def work(thread: int) -> None:
        for number in range(5):
            value = 1000 * (thread % 3) + number
            found[thread, number] = call(compile_ir(constant(value), ["value"])["value"]) == value

    found: dict[tuple[int, int], bool] = {}
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 30
    assert all(found.values())


def test_syntax_error_names_kernel_and_line():
    text = "define i64 @broken() {\n  %x = ad i64 1, 2\n  ret i64 %x\n}"

    with pytest.raises(CompileError, match=r"kernel broken: .*line 2 .*: %x = ad i64 1, 2"):
        compile_ir(text, ["broken"])


def test_error_of_the_verifier_names_kernel_and_line():
    text = "define i64 @late() {\n  br label %b\nb:\n  ret   i64 %x\nc:\n  %x = add i64 1, 2\n"
    text += "  br label %b\n}"

    with pytest.raises(CompileError, match=r"kernel late: .*dominate.*line 6 .*: %x = add i64 1"):
        compile_ir(text, ["late"])


def test_missing_function_is_named():
    with pytest.raises(CompileError, match="'wanted' is not defined by its LLVM IR: it has found"):
        compile_ir(constant(1, "found"), ["wanted"])


def test_target_without_fused_multiply_add_calls_libm_for_it():
    assert not Target.named("sse").fused
    assert elf.undefined_symbols(emit_object(VECTOR, Target.named("sse"))) == ["fmaf"]


def test_unknown_external_function_is_an_error_not_the_end_of_the_process():
    text = "declare i64 @nowhere()\ndefine i64 @lost() {\n %x = call i64 @nowhere()\n ret i64 %x\n}"

    with pytest.raises(CompileError, match="kernel lost calls nowhere, a function that"):
        compile_ir(text, ["lost"])


def test_function_of_the_compilers_own_library_is_an_error_too():
    text = "define i128 @wide(i128 %x, i128 %y) {\n  %q = udiv i128 %x, %y\n  ret i128 %q\n}"

    with pytest.raises(CompileError, match="kernel wide calls __udivti3"):
        compile_ir(text, ["wide"])


@pytest.mark.parametrize("name", [*NAMED, "host"])
def test_every_target_gives_an_object(name: str):
    target = Target.named(name)
    text = VECTOR if target.fused else VECTOR.replace("llvm.fma.", "llvm.fmuladd.")

    content = emit_object(text, target)

    assert len(content) > 400
    machine = {"x86_64": 62, "aarch64": 183}  # e_machine
    if content.startswith(elf.MAGIC_64_LITTLE):
        assert content[18] == machine[target.architecture]
    assert elf.undefined_symbols(content) == []


@pytest.mark.parametrize(
    ("name", "register", "instruction"),
    [("avx512", "zmm", "vfmadd"), ("avx2", "ymm", "vfmadd"), ("neon", "v0.4s", "fmla")],
)
def test_vectors_have_the_width_of_the_target(name: str, register: str, instruction: str):
    text = VECTOR if Target.named(name).lanes(4) == 16 else VECTOR.replace("16", "8")

    assembly = emit_assembly(text, Target.named(name))

    assert register in assembly
    assert instruction in assembly


@X86
def test_host_with_avx512_uses_whole_registers():
    """LLVM prefers 256 bits on some of these processors, unless vectors are explicit."""
    if Target.host().vector_bytes != 64:
        pytest.skip("this processor has no AVX-512")

    assert "zmm" in emit_assembly(VECTOR, Target.host())


@X86
@pytest.mark.parametrize("name", ["sse", "avx2"])
def test_code_for_a_smaller_target_runs_here(name: str):
    x = (ctypes.c_float * 16)(*range(16))
    argument = ctypes.c_void_p(ctypes.addressof(x))
    text = VECTOR if name == "avx2" else VECTOR.replace("@llvm.fma", "@llvm.fmuladd")
    kernel = compile_ir(text, ["fused"], target=Target.named(name))["fused"]

    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(kernel)(ctypes.byref(argument), 0)

    assert list(x) == [float(i * i + i) for i in range(16)]


def test_inline_assembly_for_another_processor_is_refused():
    foreign = Target.named("neon" if Target.host().architecture == "x86_64" else "avx2")
    text = 'define void @bare() {\n  call void asm sideeffect "nop", ""()\n  ret void\n}'

    with pytest.raises(CompileError, match="kernel bare: inline assembly cannot be compiled for"):
        emit_object(text, foreign)


def test_code_that_cannot_run_here_is_not_loaded():
    foreign = Target.named("neon" if Target.host().architecture == "x86_64" else "avx2")

    with pytest.raises(DeviceError, match=f"code for CPU target {foreign.name} does not run"):
        compile_ir(constant(1), ["value"], target=foreign)


def test_unknown_target_lists_the_known():
    with pytest.raises(DeviceError, match=r"no CPU target 'avx9'; there are host, avx512, "):
        Target.named("avx9")


def test_host_facts_are_plausible():
    host = Target.host()

    assert host.cores >= 1
    assert host.vector_bytes in (16, 32, 64)
    assert 16 << 10 <= host.l1_bytes <= host.l2_bytes <= host.l3_bytes
    assert Target.named("avx2").lanes(4) == 8


def test_missing_llvmlite_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)

    with pytest.raises(DeviceError, match=r"device CPU needs llvmlite, .*pip install llvmlite"):
        binding.llvm.__wrapped__()


def test_runtime_is_imported_without_llvmlite():
    result = run_python(
        """
        import json, sys
        import inkle.runtime.cpu.graph
        print(json.dumps([name for name in sys.modules if name.startswith("llvmlite")]))
        """,
        PYTHONPATH=ROOT,
    )

    assert json.loads(result.stdout) == []
