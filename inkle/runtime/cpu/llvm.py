"""LLVM IR text to callable machine code, by way of a cache on disk.

    text ──parse, verify──► module ──code generation──► object ──load──► addresses
      └────────────────── key ──► cache on disk ───────────┘

No IR passes run: the renderer writes vectors and register tiles itself, and code generation at
level 2 is then as fast as the whole pass pipeline at half the compile time
(docs/decisions/runtime-launch.md). All objects live in one engine that is never dropped, because an
address outlives every Python object that knows it. llvmlite serialises its calls, so one lock here
costs nothing; it is re-entrant because garbage collection may run anybody's code at any time.

Symbols get the key into their names, so that kernels of equal name and different text coexist.
The code model is `jitdefault` (absolute addresses on x86-64): constants may then lie any distance
from the code; relative ones silently read wrong memory beyond 2 GiB.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from typing import Any

from inkle.errors import CompileError
from inkle.runtime.cpu import binding, elf
from inkle.runtime.cpu.target import Target, require_runs_here
from inkle.runtime.disk_cache import DiskCache, cache_in_force
from inkle.runtime.locks import fork_safe_lock

__all__ = ["Target", "compile_ir", "emit_assembly", "emit_object", "load_object"]

CACHE_FORMAT = 1  # raise when objects of older versions must not be used any more
OPTIMISATION = 2  # of code generation: level 0 makes GEMM 10x slower, 3 is no faster than 2

_lock = fork_safe_lock()
_loaded: dict[str, dict[str, int]] = {}  # key -> function name -> address
_line_number = re.compile(r"<string>:(\d+):(?:\d+): error: (.*)")


def compile_ir(
    text: str,
    names: Sequence[str],
    *,
    target: Target | None = None,
    cache: DiskCache | None = None,
    key: str | None = None,
) -> dict[str, int]:
    """Compile LLVM IR and load it into this process.

    Args:
        text: one LLVM module; whatever it defines besides `names` stays private to it.
        names: the functions to export.
        target: processor to compile for, which must be able to run here; default: this one.
        cache: where objects are kept; default: the folder `INKLE_CACHE`.
        key: the `object_key` of all that, if it is known.

    Returns:
        The address of each function. They stay valid until the process ends.

    Raises:
        CompileError: if LLVM rejects the text, or the text does not define one of `names`.
        DeviceError: if llvmlite is missing, or code for `target` does not run here.

    Example:
        >>> addresses = compile_ir("define i64 @seven() { ret i64 7 }", ["seven"])
        >>> ctypes.CFUNCTYPE(ctypes.c_int64)(addresses["seven"])()
        7
    """
    target = target or Target.host()
    require_runs_here(target)
    key = key or object_key(text, names, target)
    cache = cache or cache_in_force()
    with _lock:
        found = load_object(key, names, cache=cache)
        if found is None:
            _loaded[key] = found = _load(_compile(text, names, target, key, cache), names, key)
        return dict(found)


def load_object(
    key: str, names: Sequence[str], *, cache: DiskCache | None = None
) -> dict[str, int] | None:
    """Load what has been compiled earlier, in this process or another one.

    Args:
        key: the `object_key` it was compiled under.
        names: the functions that it exports.
        cache: where objects are kept; default: the folder `INKLE_CACHE`.

    Returns:
        The address of each function, as `compile_ir` does; None if the object is gone.
    """
    with _lock:
        if key not in _loaded:
            content = (cache or cache_in_force()).get(f"{key}.o")
            if content is None or _unknown_symbols(content):
                return None
            _loaded[key] = _load(content, names, key)
        return _loaded[key]


def emit_object(text: str, target: Target) -> bytes:
    """Compile LLVM IR for any target and return a position-independent object file to link.

    Raises:
        CompileError: if LLVM rejects the text.
    """
    _refuse_foreign_assembly(text, target)
    with _lock:
        return bytes(_machine(target, jit=False).emit_object(_parse(text, _title(text), target)))


def emit_assembly(text: str, target: Target) -> str:
    """Compile LLVM IR for any target and return the assembly that `compile_ir` would load.

    Raises:
        CompileError: if LLVM rejects the text.
    """
    _refuse_foreign_assembly(text, target)
    with _lock:
        return str(_machine(target).emit_assembly(_parse(text, _title(text), target)))


def object_key(text: str, names: Sequence[str], target: Target) -> str:
    """Return a digest of everything the object depends on."""
    parts = repr((*compiler_facts(target), list(names), text))
    return hashlib.sha256(parts.encode()).hexdigest()


def compiler_facts(target: Target) -> tuple[object, ...]:
    """Return what objects for `target` depend on besides their text."""
    facts = (CACHE_FORMAT, binding.version(), target.triple, target.cpu, target.features)
    return (*facts, OPTIMISATION)


def _compile(text: str, names: Sequence[str], target: Target, key: str, cache: DiskCache) -> bytes:
    module = _parse(text, " ".join(names), target)
    _export(module, names, key)
    content = bytes(_machine(target).emit_object(module))
    for name in _unknown_symbols(content):
        title = " ".join(names)
        raise CompileError(f"kernel {title} calls {name}, a function that this process lacks")
    cache.put(f"{key}.o", content)
    return content


def _load(content: bytes, names: Sequence[str], key: str) -> dict[str, int]:
    engine = _engine()
    engine.add_object_file(binding.llvm().ObjectFileRef.from_data(content))
    engine.finalize_object()
    return {name: int(engine.get_function_address(_symbol(name, key))) for name in names}


def _unknown_symbols(content: bytes) -> list[str]:
    """Return what the code calls and this process lacks; LLVM would end it when loading that.

    Code generation adds calls of its own, such as `__truncsfbf2` for float32 to bfloat16.
    """
    _engine()  # making it is what shows LLVM the symbols of this process
    address_of = binding.llvm().address_of_symbol
    return [name for name in elf.undefined_symbols(content) if address_of(name) is None]


def _symbol(name: str, key: str) -> str:
    return f"{name}.{key[:32]}"


def _export(module: Any, names: Sequence[str], key: str) -> None:
    """Rename the functions in `names` to unique symbols, and hide all other definitions."""
    defined = [function for function in module.functions if not function.is_declaration]
    missing = sorted(set(names) - {function.name for function in defined})
    if missing:
        found = ", ".join(function.name for function in defined) or "nothing"
        raise CompileError(f"kernel {missing[0]!r} is not defined by its LLVM IR: it has {found}")
    variables = [value for value in module.global_variables if not value.is_declaration]
    for value in [*defined, *variables]:
        if value.name in names:
            value.name = _symbol(value.name, key)
        else:
            value.linkage = "internal"


def _parse(text: str, title: str, target: Target) -> Any:
    """Return the verified module; `title` names the kernel in error messages."""
    library = binding.llvm()
    try:
        module = library.parse_assembly(text, library.create_context())
        module.triple = target.triple
        module.data_layout = str(_machine(target).target_data)
        module.verify()
    except RuntimeError as error:
        raise CompileError(_explain(str(error), text, title)) from None
    return module


def _explain(message: str, text: str, title: str) -> str:
    """Turn LLVM's complaint into one that names the kernel and quotes the line of its IR."""
    lines = text.splitlines()
    match = _line_number.search(message)
    if match:
        number, complaint = int(match[1]), match[2]
    else:
        number, complaint = _find_quoted(message, lines)
    quoted = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    where = f", line {number} of its LLVM IR: {quoted}" if quoted else ""
    return f"LLVM rejects kernel {title}: {complaint}{where}"


def _find_quoted(message: str, lines: list[str]) -> tuple[int, str]:
    """Find the line that the verifier quotes below its complaint; 0 if it is not in the text."""
    complaints = [line for line in message.splitlines() if line.strip()]
    numbers = {" ".join(line.split()): number for number, line in enumerate(lines, 1)}
    found = [numbers.get(" ".join(line.split()), 0) for line in complaints]
    return max(found, default=0), "; ".join(line.strip() for line in complaints)


def _refuse_foreign_assembly(text: str, target: Target) -> None:
    """Raise if there is inline assembly for another processor; LLVM would end the process.

    llvmlite 0.50 contains the assembler of its own processor only.
    """
    if target.architecture != Target.host().architecture and re.search(r"\basm\b", text):
        raise CompileError(
            f"kernel {_title(text)}: inline assembly cannot be compiled for {target.triple} here"
        )


def _title(text: str) -> str:
    """Return the names of the functions that `text` defines."""
    return " ".join(re.findall(r"^define [^@]*@([\w.$]+)", text, re.MULTILINE)) or "(empty)"


@functools.cache
def _machine(target: Target, *, jit: bool = True) -> Any:
    """Return LLVM's code generator for `target`, of code to load here or to link elsewhere."""
    if target.triple == binding.host_triple():
        library = binding.llvm()
    else:
        library = binding.llvm_for_all_targets()
    return library.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=OPTIMISATION,
        jit=jit,
        reloc="default" if jit else "pic",
        codemodel="jitdefault" if jit else "default",
    )


@functools.cache
def _engine() -> Any:
    """Return the engine that holds all loaded code. The cache keeps it for ever: see above."""
    library = binding.llvm()
    owned_by_engine = library.Target.from_triple(binding.host_triple()).create_target_machine(
        opt=OPTIMISATION, jit=True, codemodel="jitdefault"
    )
    return library.create_mcjit_compiler(library.parse_assembly(""), owned_by_engine)
