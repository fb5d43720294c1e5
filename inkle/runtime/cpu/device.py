"""The CPU as a device."""

from __future__ import annotations

import time
from collections.abc import Sequence

from inkle import config
from inkle.runtime import device
from inkle.runtime.cpu.graph import Graph
from inkle.runtime.cpu.llvm import compile_ir, compiler_facts, load_object, object_key
from inkle.runtime.cpu.memory import Allocator, Buffer
from inkle.runtime.cpu.target import Target, require_runs_here
from inkle.runtime.device import Blocks, Launch, MemoryReport, Repeat


class Program(device.Program):
    """One compiled kernel, `void kernel(ptr args, i64 chunk)`."""

    __slots__ = ("function", "key", "name")

    def __init__(self, name: str, function: int, key: str = "") -> None:
        self.name = name
        self.function = function
        self.key = key

    def launch(self, arguments: Sequence[device.Buffer | int | float], chunks: int = 1) -> None:
        """Run all chunks and return when they are done."""
        graph = Graph([Launch(self.function, tuple(range(len(arguments))), chunks)])
        for slot, value in enumerate(arguments):
            graph.bind(slot, value)
        graph.run()


class CpuDevice(device.Device):
    """This machine's processor. Launches are synchronous: they are done when they return.

    Args:
        target: what kernels are compiled for; default: this machine with all its features.

    Raises:
        DeviceError: if code for `target` does not run here.
    """

    name = "CPU"

    def __init__(self, target: Target | None = None) -> None:
        self.target = target or Target.host()
        require_runs_here(self.target)
        self.allocator = Allocator()

    def allocate(self, size_bytes: int) -> Buffer:
        """Return a buffer with undefined content, aligned to 64 bytes."""
        return self.allocator.allocate(size_bytes)

    def allocate_all(self, sizes_bytes: Sequence[int]) -> Sequence[Buffer]:
        """Return several buffers, as `allocate` does."""
        return self.allocator.allocate_all(sizes_bytes)

    def compile(self, source: str, name: str) -> Program:
        """Compile the kernel `name` from LLVM IR text."""
        key = object_key(source, [name], self.target)
        return Program(name, compile_ir(source, [name], target=self.target, key=key)[name], key)

    def load(self, key: str, name: str) -> Program | None:
        """Return a kernel that was compiled earlier; None if it is gone."""
        found = load_object(key, [name])
        return None if found is None else Program(name, found[name], key)

    def compiler_facts(self) -> tuple[object, ...]:
        """Return what programs depend on besides their source."""
        return compiler_facts(self.target)

    def graph(self, launches: Sequence[Launch | Repeat | Blocks]) -> Graph:
        """Prepare launches to be run together, again and again."""
        return Graph(launches)

    def synchronize(self) -> None:
        """Do nothing: everything launched is done."""

    def clock(self) -> float:
        """Return seconds of a monotonic clock."""
        return time.perf_counter()

    def memory_report(self) -> MemoryReport:
        """Return how much memory is live, cached, and was live at most."""
        return self.allocator.report()

    def trim(self) -> int:
        """Give cached memory back to the system; return how many bytes."""
        return self.allocator.trim()


def open_backend() -> CpuDevice:
    """Return the device for the target of INKLE_TARGET.

    Raises:
        DeviceError: if llvmlite is missing, or there is no such target, or it does not run here.
    """
    return CpuDevice(Target.named(str(config.get("INKLE_TARGET")) or "host"))
