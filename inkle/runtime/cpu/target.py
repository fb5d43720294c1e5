"""A processor as the compiler and the chooser of schedules see it: plain facts, no behaviour."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from dataclasses import dataclass

from inkle.errors import DeviceError
from inkle.ir.dot import INSTRUCTIONS
from inkle.runtime.cpu import binding, machine

# Half an instruction per cycle on Emerald Rapids, hence half the speed of multiply-adds in float32
# (docs/decisions/tensorize.md); AMD's are said to be faster, but nobody has measured them here.
SLOW_INSTRUCTIONS = frozenset({"vdpbf16ps"})
CACHE_LINE_BYTES = 64  # every x86 and every ARM server core; Apple's 128 is a multiple


@dataclass(frozen=True, slots=True)
class Target:
    """Facts about one processor.

    Attributes:
        name: short name for people and for `Target.named`.
        triple: LLVM's architecture, vendor and system.
        cpu: LLVM's processor name.
        features: LLVM's feature string, added to what `cpu` implies.
        vector_bytes: width of the vector registers that kernels should use.
        vector_registers: how many of them there are.
        fused: whether it has fused multiply-add; where not, `llvm.fma` calls libm for each lane.
        cores: how many threads can compute at full speed at once.
        l1_bytes, l2_bytes, l3_bytes: data cache sizes; L1 and L2 belong to one core.
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    vector_registers: int
    fused: bool = True
    cores: int = 1
    l1_bytes: int = machine.DEFAULT_CACHES[1]
    l2_bytes: int = machine.DEFAULT_CACHES[2]
    l3_bytes: int = machine.DEFAULT_CACHES[3]

    @property
    def architecture(self) -> str:
        """Return the first part of the triple: `x86_64`, `aarch64`, ..."""
        first = self.triple.partition("-")[0]
        return "aarch64" if first == "arm64" else first  # Apple's name for it

    def lanes(self, element_bytes: int) -> int:
        """Return how many elements of `element_bytes` fit one vector register."""
        return max(1, self.vector_bytes // element_bytes)

    def has(self, feature: str) -> bool:
        """Tell whether LLVM's `feature` is listed in `features`, for example `avx512bf16`.

        Only the host lists all its features; a named target lists what its cpu does not imply.
        """
        return feature in self.extensions

    @property
    def instructions(self) -> frozenset[str]:
        """Names of the matrix instructions (`inkle.ir.dot`) that beat its multiply-adds."""
        there = {row.name for row in INSTRUCTIONS.values() if self.has(row.feature)}
        return frozenset(there - SLOW_INSTRUCTIONS)

    @property
    def extensions(self) -> frozenset[str]:
        """What `features` lists as present, without the plus signs."""
        return frozenset(each[1:] for each in self.features.split(",") if each.startswith("+"))

    def runs_on(self, machine: Target) -> bool:
        """Tell whether code for this target runs on that machine."""
        return (
            self.architecture == machine.architecture
            and self.vector_bytes <= machine.vector_bytes
            and self.fused <= machine.fused
            and (self.features == machine.features or self.extensions <= machine.extensions)
        )

    @staticmethod
    def host() -> Target:
        """Describe the machine that runs this process.

        Raises:
            DeviceError: if llvmlite is missing.
        """
        return _host()

    @staticmethod
    def named(name: str) -> Target:
        """Return a well-known target, with the cores and caches of this machine.

        Args:
            name: one of `host`, `avx512`, `avx512dot`, `avx2`, `sse`, `neon`.

        Raises:
            DeviceError: if there is no such target, or llvmlite is missing.
        """
        if name == "host":
            return _host()
        if name not in NAMED:
            raise DeviceError(f"no CPU target {name!r}; there are host, {', '.join(NAMED)}")
        row = NAMED[name]
        return dataclasses.replace(
            _host(),
            name=name,
            triple=_triple(row.architecture),
            cpu=row.cpu,
            features=row.features,
            vector_bytes=row.vector_bytes,
            vector_registers=row.vector_registers,
            fused=row.fused,
        )


@dataclass(frozen=True, slots=True)
class _Row:
    architecture: str
    cpu: str
    vector_bytes: int
    vector_registers: int
    fused: bool
    features: str = ""


NAMED: Mapping[str, _Row] = types.MappingProxyType(
    {
        "avx512": _Row("x86_64", "x86-64-v4", 64, 32, True),
        # Intel from Sapphire Rapids on, AMD from Zen 4 on: with products of bytes and of bfloat16.
        "avx512dot": _Row("x86_64", "x86-64-v4", 64, 32, True, "+avx512vnni,+avx512bf16"),
        "avx2": _Row("x86_64", "x86-64-v3", 32, 16, True),
        "sse": _Row("x86_64", "x86-64-v2", 16, 16, False),
        "neon": _Row("aarch64", "neoverse-n1", 16, 32, True),
    }
)


def require_runs_here(target: Target) -> None:
    """Raise DeviceError if this machine cannot run code for `target`: it would end the process."""
    if not target.runs_on(_host()):
        raise DeviceError(f"code for CPU target {target.name} does not run on this {_host().cpu}")


@functools.cache
def _host() -> Target:
    cpu, features = binding.host_cpu()
    triple = binding.host_triple()
    vector_bytes, vector_registers = _vectors(triple, features.split(","))
    return Target(
        name="host",
        triple=triple,
        cpu=cpu,
        features=features,
        vector_bytes=vector_bytes,
        vector_registers=vector_registers,
        fused=not triple.startswith("x86_64") or "+fma" in features.split(","),
        cores=machine.usable_cores(),
        l1_bytes=machine.cache_bytes(1),
        l2_bytes=machine.cache_bytes(2),
        l3_bytes=machine.cache_bytes(3),
    )


def _vectors(triple: str, features: list[str]) -> tuple[int, int]:
    """Return width in bytes and number of vector registers of a processor."""
    if triple.startswith(("aarch64", "arm64")):
        return 16, 32
    if {"+avx512f", "+avx512vl", "+avx512bw", "+avx512dq"} <= set(features):
        return 64, 32
    return (32, 16) if {"+avx2", "+fma"} <= set(features) else (16, 16)


def _triple(architecture: str) -> str:
    """Return this machine's triple if it has that architecture, else the one of Linux."""
    host = binding.host_triple()
    return host if host.startswith(architecture) else f"{architecture}-unknown-linux-gnu"
