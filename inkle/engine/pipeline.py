"""The pipeline of one kernel: every pass, by name, in order; each timed, counted and dumpable."""

from __future__ import annotations

import gc
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TypeVar

from inkle import config
from inkle.engine import library
from inkle.errors import CompileError, DataError, InternalError, SpecError
from inkle.ir import spec
from inkle.ir.host import call_in
from inkle.ir.loop import Kernel, number_of
from inkle.ir.program import Program
from inkle.ir.pseudo import pseudo_code
from inkle.kernel.choose import choose_schedule
from inkle.kernel.linearize import linearize
from inkle.kernel.machine import Machine
from inkle.kernel.share import share
from inkle.kernel.widen import widen
from inkle.render.llvm import render_llvm
from inkle.render.llvm_types import supports
from inkle.rules.decompose import decompose
from inkle.runtime.cpu.device import CpuDevice
from inkle.runtime.cpu.target import Target
from inkle.runtime.device import open_device
from inkle.runtime.locks import fork_safe_lock


@dataclass(frozen=True, slots=True)
class Compiled:
    """A kernel that can be launched.

    Attributes:
        name: unique, derived from the code.
        function: native handle.
        key: what the device finds it by, in another process, too.
        chunks: independent parts of the work.
        work: the loop nest as the scheduler made it, which says what is to be done.
        kernel: the loop nest bound to lanes, registers and workers, which says how.
        source: the text that the compiler of the device got.
    """

    name: str
    function: int
    key: str
    chunks: int
    work: Kernel
    kernel: Kernel
    source: str


@dataclass(slots=True)
class PassTimes:
    """Seconds and calls of every pass since the start, for `explain` and benchmarks."""

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        """Count one run of a pass."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.calls[name] = self.calls.get(name, 0) + 1

    def clear(self) -> None:
        """Forget everything."""
        self.seconds.clear()
        self.calls.clear()


Result = TypeVar("Result")
TIMES = PassTimes()
clock = time.perf_counter  # or another function, where a busy machine is measured


def timed(name: str, action: Callable[[], Result]) -> Result:
    """Run a pass and count its time under `name`."""
    start = clock()
    result = action()
    TIMES.add(name, clock() - start)
    return result


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python's collector of cycles from running meanwhile, in any thread.

    It would look at all nodes again and again, a tenth of the time of compiling, and find little.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@cache
def machine_of(target: Target, threads: int) -> Machine:
    """Return what the choice of a schedule may count on for `target`."""
    return Machine(
        vector_bytes=target.vector_bytes,
        registers=target.vector_registers,
        threads=threads,
        stage_bytes=min(768 * 1024, max(128 * 1024, target.l2_bytes // 2)),
        masks=target.vector_bytes == 64,
        fused=target.fused,
        instructions=target.instructions,
    )


def current_target() -> Target:
    """Return the CPU that kernels are compiled for: this machine, or INKLE_TARGET."""
    name = config.get("INKLE_TARGET")
    return Target.named(name) if name else Target.host()


def current_threads() -> int:
    """Return how many workers a kernel may count on."""
    return int(config.get("INKLE_THREADS")) or len(os.sched_getaffinity(0))


def expand_operations(kernel: Kernel, machine: Machine) -> Kernel:
    """Write a kernel with the operations that the target has."""
    expanded = replace(kernel, stores=tuple(decompose(kernel.stores, supports)))
    used = {number_of(r): r for r in expanded.ranges()}  # simplification may have removed some
    order = [used[number_of(r)] for r in kernel.order if number_of(r) in used]
    return replace(expanded, order=tuple(order))


LOWERING: tuple[tuple[str, Callable[[Kernel, Machine], Kernel]], ...] = (
    ("widen reductions", widen),
    ("expand operations", expand_operations),
    ("share values", share),
    ("choose schedule", choose_schedule),
)


def lower(kernel: Kernel, machine: Machine) -> Kernel:
    """Return `kernel` with operations the target has, bound to its lanes, registers and workers."""
    spec.verify(kernel, after="schedule")
    for name, step in LOWERING:
        start = clock()
        kernel = step(kernel, machine)
        TIMES.add(name, clock() - start)
        spec.verify(kernel, after=name)
    if config.get("INKLE_CHECK"):
        _require_proofs(kernel)
    return kernel


def _require_proofs(kernel: Kernel) -> None:
    """Raise SpecError unless every access of a scheduled kernel is proved to be in bounds."""
    from inkle.check.accesses import prove_in_bounds  # noqa: PLC0415  (loads Z3: checked mode only)

    unproved = prove_in_bounds(kernel)
    if unproved:
        raise SpecError("; ".join(map(str, unproved)))


def to_source(kernel: Kernel, machine: Machine) -> tuple[str, str, Program, Kernel]:
    """Return (name, text, program, scheduled kernel) of a kernel."""
    scheduled = lower(kernel, machine)
    program = timed("linearize", lambda: linearize(scheduled, machine))
    text = timed("render", lambda: render_llvm(program, "KERNEL"))
    name = "k" + hashlib.sha256(text.encode()).hexdigest()[:16]
    return name, text.replace("@KERNEL", f"@{name}"), program, scheduled


_compiled: dict[tuple[object, ...], Compiled] = {}
_lock = fork_safe_lock()


def compile_kernel(kernel: Kernel, threads: int | None = None) -> Compiled:
    """Compile a kernel once: equal kernels are the same nodes, hence the same entry.

    Args:
        kernel: loop nest, not scheduled.
        threads: workers to share it out to; default: all that there are.

    Raises:
        CompileError: if the target's compiler rejects it (our bug).
    """
    target, threads = current_target(), threads or current_threads()
    key = (kernel.stores, kernel.order, target, threads)
    with _lock:
        found = _compiled.get(key)
        if found is None:
            found = _compiled[key] = _compile(kernel, target, threads)
        return found


def _compile(kernel: Kernel, target: Target, threads: int) -> Compiled:
    call = call_in(kernel)
    if call is not None:
        key = library.key_of(call)
        return Compiled(call.arg.name, library.address_of(key), key, 1, kernel, kernel, "")
    try:
        return _build(kernel, target, threads)
    except (InternalError, CompileError) as error:
        error.add_note(f"while compiling this kernel:\n{pseudo_code(kernel)}")
        raise


def _build(kernel: Kernel, target: Target, threads: int) -> Compiled:
    name, text, program, scheduled = to_source(kernel, machine_of(target, threads))
    _dump(name, scheduled, text)
    device = device_of(target)
    built = timed("native code", lambda: device.compile(text, name))
    return Compiled(name, built.function, built.key, program.chunks, kernel, scheduled, text)


@cache
def device_of(target: Target) -> CpuDevice:
    """Return the device that compiles for `target`."""
    if target == Target.host():
        device = open_device("CPU")
        assert isinstance(device, CpuDevice)
        return device
    return CpuDevice(target)


def _dump(name: str, kernel: Kernel, text: str) -> None:
    """With INKLE_DUMP write the loop nest of a kernel and its source.

    Raises:
        DataError: if they cannot be written: nobody who asks for files wants to go on without them.
    """
    folder = config.get("INKLE_DUMP")
    if not folder:
        return
    try:
        os.makedirs(folder, exist_ok=True)
        for suffix, content in (("txt", pseudo_code(kernel) + "\n"), ("ll", text)):
            with open(os.path.join(folder, f"{name}.{suffix}"), "w") as file:
                file.write(content)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"INKLE_DUMP={folder}: cannot write {name}: {reason}") from None
