"""What a device is: memory, a compiler, programs, and graphs of launches run by one call.

A backend implements the four classes below in a package of its own; `open_device` loads it when it
is asked for, never before. Nothing here knows about any backend but its name.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from inkle.config import readable
from inkle.errors import DeviceError
from inkle.runtime.locks import fork_safe_lock

# Device name -> module with a function `open_backend() -> Device`. A new backend is one row.
BACKENDS: Mapping[str, str] = {"CPU": "inkle.runtime.cpu.device"}

_open: dict[str, Device] = {}
_lock = fork_safe_lock()


def open_device(name: str) -> Device:
    """Return the device called `name`, loading its backend the first time.

    Raises:
        DeviceError: if there is no such device, or it is unavailable here; the message says why.
    """
    if name not in BACKENDS:
        raise DeviceError(f"no device {name!r}; there are {', '.join(sorted(BACKENDS))}")
    with _lock:
        if name not in _open:
            _open[name] = importlib.import_module(BACKENDS[name]).open_backend()
        return _open[name]


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """What an allocator holds, in bytes.

    Attributes:
        live_bytes: in buffers that somebody can still reach.
        cached_bytes: freed, and kept for the next allocation of that size.
        peak_bytes: the most that was ever live at once.
    """

    live_bytes: int
    cached_bytes: int
    peak_bytes: int

    def __str__(self) -> str:
        """Return a line for people."""
        live, peak, cached = map(readable, (self.live_bytes, self.peak_bytes, self.cached_bytes))
        return f"{live} in use, at most {peak} so far; {cached} kept for reuse"


@dataclass(frozen=True, slots=True)
class Launch:
    """One run of a program inside a graph.

    Attributes:
        function: the program's native handle, `Program.function`.
        slots: for each argument, its place in the graph's slot table.
        chunks: how many independent parts the work has, the GRID; 0 does nothing.
        joins: whether it may run side by side with the launch before, and with those that that one
            joins: none of them writes what another one uses.
        weight: how much work a chunk is, as a part of what is worth giving to a worker.
    """

    function: int
    slots: tuple[int, ...]
    chunks: int = 1
    joins: bool = False
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Move:
    """A slot of a repeated launch that points at another row of some memory at each step.

    At step k it is the address in slot `source` plus `width` bytes times row (start + step * k)
    modulo `rows`.
    """

    source: int
    slot: int
    width: int
    start: int
    step: int
    rows: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """Launches of a graph that run again and again.

    Attributes:
        steps: how often; each begins with the `moves`, in order.
        moves: of slots.
        launches: of one step; may be repeated themselves.
    """

    steps: int
    moves: Sequence[Move]
    launches: Sequence[AnyLaunch]


class Run(NamedTuple):
    """Some launches of `Blocks`, one after the other.

    Attributes:
        first, last: the first of these launches, and the one after the last.
        values: of the slots that tell runs apart.
    """

    first: int
    last: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Many runs of a few launches, shared out among workers.

    Attributes:
        launches: of all runs; a run makes some that follow each other, each with a single chunk.
        units: lists of runs for one worker; they do not need each other.
        values: slots of which each run has values of its own.
        strides: slots of memory of which each worker uses a copy, and bytes from one to the next.
        rooms: how many copies there are.
    """

    launches: Sequence[Launch]
    units: Sequence[Sequence[Run]]
    values: Sequence[int]
    strides: Sequence[tuple[int, int]]
    rooms: int


AnyLaunch = Launch | Repeat | Blocks


class Buffer(ABC):
    """A contiguous piece of device memory, freed when nobody refers to it or to a view of it.

    Attributes:
        address: of the first byte, as kernels on this device understand it.
        size_bytes: length; may be 0.
        read_only: whether writing is an error.
    """

    __slots__ = ("__weakref__", "address", "read_only", "size_bytes")

    address: int
    size_bytes: int
    read_only: bool

    @abstractmethod
    def view(self, offset_bytes: int, size_bytes: int) -> Buffer:
        """Return a part of this buffer that shares its memory and keeps it alive."""

    @abstractmethod
    def copyin(self, data: Any) -> None:
        """Fill the whole buffer from contiguous host memory (anything with a buffer interface)."""

    @abstractmethod
    def copyout(self, destination: Any) -> None:
        """Copy the whole buffer to contiguous writable host memory of the same size."""


class Program(ABC):
    """Compiled code of one kernel.

    Attributes:
        name: of the kernel, for people.
        function: native handle for `Launch`.
        key: what `Device.load` finds it by, later or in another process.
    """

    __slots__ = ()

    name: str
    function: int
    key: str

    @abstractmethod
    def launch(self, arguments: Sequence[Buffer | int | float], chunks: int = 1) -> None:
        """Run once and wait. For many launches build a `Graph`."""


class Graph(ABC):
    """A list of launches that runs as a whole, in order, by one native call."""

    @abstractmethod
    def bind(self, slot: int, value: Buffer | int | float) -> None:
        """Set what launches get from `slot`; a buffer is kept alive until the slot is rebound."""

    @abstractmethod
    def run(self) -> None:
        """Run all launches and return when they are done or, on other devices, queued."""

    @abstractmethod
    def run_timed(self) -> list[float]:
        """Run all launches and return the seconds that each took."""


class Device(ABC):
    """One processor with its memory.

    Attributes:
        name: as `open_device` knows it.
    """

    name: str

    @abstractmethod
    def allocate(self, size_bytes: int) -> Buffer:
        """Return a buffer with undefined content.

        Raises:
            MemoryFailure: if there is no room, even after giving cached memory back.
        """

    def allocate_all(self, sizes_bytes: Sequence[int]) -> Sequence[Buffer]:
        """Return several buffers, as `allocate` does; backends may do it quicker.

        Raises:
            MemoryFailure: if there is no room for all of them.
        """
        return [self.allocate(each) for each in sizes_bytes]

    @abstractmethod
    def compile(self, source: str, name: str) -> Program:
        """Compile the kernel `name` from the text that this device's renderer wrote.

        Raises:
            CompileError: if the compiler rejects the text.
        """

    @abstractmethod
    def load(self, key: str, name: str) -> Program | None:
        """Return the kernel `name`, compiled earlier under `key`; None if it is not kept."""

    @abstractmethod
    def compiler_facts(self) -> tuple[object, ...]:
        """Return what compiled programs depend on besides their source, as text would say it."""

    @abstractmethod
    def graph(self, launches: Sequence[AnyLaunch]) -> Graph:
        """Prepare launches to be run together, again and again."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until everything launched so far is done."""

    @abstractmethod
    def clock(self) -> float:
        """Return seconds of a monotonic clock, after everything launched so far is done."""

    @abstractmethod
    def memory_report(self) -> MemoryReport:
        """Return how much memory is live, cached, and was live at most."""

    @abstractmethod
    def trim(self) -> int:
        """Give cached memory back to the system; return how many bytes."""
