"""Where the time goes: per kernel, with the user's lines; and what each kernel is."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from inkle import config
from inkle.engine.executable import Executable, Step
from inkle.engine.pipeline import flops_and_bytes
from inkle.ir.pseudo import pseudo_code
from inkle.runtime.device import Buffer


@dataclass(slots=True)
class _Row:
    step: Step
    calls: int = 0
    seconds: float = 0.0


_rows: dict[tuple[str, tuple[str, ...]], _Row] = {}


def run(executable: Executable, inputs: Sequence[Buffer]) -> list[Buffer]:
    """Run an executable; with INKLE_PROFILE=1 time every kernel on the way."""
    if not config.get("INKLE_PROFILE"):
        return executable.run(inputs)
    if not _rows:
        atexit.register(lambda: print(table(), file=sys.stderr))
    buffers, seconds = executable.run_timed(inputs)
    for step, spent in zip(executable.steps, seconds, strict=True):
        row = _rows.setdefault((step.compiled.name, step.lines), _Row(step))
        row.calls += 1
        row.seconds += spent
    return buffers


def clear() -> None:
    """Forget all measurements."""
    _rows.clear()


def table(limit: int = 40) -> str:
    """Return the profile as text: kernels by time, with rates and the user's lines."""
    total = sum(row.seconds for row in _rows.values()) or 1.0
    lines = [f"{'ms':>9} {'share':>6} {'calls':>6} {'GFLOP/s':>8} {'GB/s':>7}  kernel, lines"]
    for row in sorted(_rows.values(), key=lambda row: -row.seconds)[:limit]:
        flops, touched = flops_and_bytes(row.step.compiled.kernel)
        seconds = max(row.seconds / row.calls, 1e-9)
        where = ", ".join(row.step.lines) or "-"
        lines.append(
            f"{1e3 * row.seconds:9.3f} {row.seconds / total:6.1%} {row.calls:6d} "
            f"{1e-9 * flops / seconds:8.1f} {1e-9 * touched / seconds:7.1f}  {row.step.compiled.name} {where}"
        )
    return "\n".join(lines)


def explain(executable: Executable) -> None:
    """With INKLE_EXPLAIN=1 print each kernel: lines, loop nest, schedule, flops and bytes."""
    if config.get("INKLE_EXPLAIN"):
        for number, step in enumerate(executable.steps):
            print(describe(number, step), file=sys.stderr)


def describe(number: int, step: Step) -> str:
    """Return one kernel as text for people."""
    kernel = step.compiled.kernel
    flops, touched = flops_and_bytes(kernel)
    head = f"kernel {number}: {', '.join(step.lines) or 'no line known'}"
    facts = f"{flops / 1e6:.3f} MFLOP, {touched / 1e6:.3f} MB, {step.compiled.chunks} chunks"
    plan = "; ".join(kernel.schedule) or "no transform"
    return f"{head}\n{facts}\nschedule: {plan}\n{pseudo_code(kernel)}\n"
