"""Where the time goes: per kernel, with the user's lines; and what each kernel is."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from inkle import config
from inkle.engine.executable import Executable, Step
from inkle.engine.roofline import count_work, peaks
from inkle.ir.pseudo import pseudo_code
from inkle.runtime.cpu.graph import Call
from inkle.runtime.device import Buffer
from inkle.runtime.locks import fork_safe_lock


@dataclass(slots=True)
class _Row:
    step: Step
    calls: int = 0
    seconds: float = 0.0


_rows: dict[tuple[str, tuple[str, ...]], _Row] = {}
_lock = fork_safe_lock()


def run(executable: Executable, inputs: Sequence[Buffer]) -> list[Buffer]:
    """Run an executable, timed if the settings ask for it; return the buffers of its outputs."""
    with executable.lock:
        outputs = executable.bind(inputs)
        launch(executable)
    return outputs


def launch(executable: Executable, then: Iterable[Call] = ()) -> None:
    """Launch a bound executable, see there; with INKLE_PROFILE=1 time every kernel on the way."""
    if not config.get("INKLE_PROFILE"):
        executable.launch(then)
        return
    if not _rows:
        peaks()  # measured now, if ever, and not between two kernels of the user
        atexit.register(print_table)
    seconds = executable.launch_timed(then)
    with _lock:
        for step, spent in zip(executable.steps, seconds, strict=True):
            row = _rows.setdefault((step.compiled.name, step.lines), _Row(step))
            row.calls += step.times
            row.seconds += spent


def clear() -> None:
    """Forget all measurements."""
    with _lock:
        _rows.clear()


def print_table() -> None:
    """Print the profile to the standard error stream, and forget it."""
    if _rows:
        print(table(), file=sys.stderr)
        clear()


def table(limit: int = 40) -> str:
    """Return the profile as text: kernels by time, with rates and the user's lines.

    The roof is the least time that the work of a kernel takes on this machine (see `roofline`), in
    percent of the time that it took.
    """
    total = sum(row.seconds for row in _rows.values()) or 1.0
    lines = [
        f"{'ms':>9} {'share':>6} {'calls':>6} {'GFLOP/s':>8} {'GB/s':>7} {'roof':>6}  lines, kernel"
    ]
    for row in sorted(_rows.values(), key=lambda row: -row.seconds)[:limit]:
        work = count_work(row.step.compiled.work)
        seconds = max(row.seconds / row.calls, 1e-9)
        where = ", ".join(row.step.lines) or "-"
        lines.append(
            f"{1e3 * row.seconds:9.3f} {row.seconds / total:6.1%} {row.calls:6d} "
            f"{1e-9 * work.flops / seconds:8.1f} {1e-9 * work.bytes / seconds:7.1f} "
            f"{peaks().seconds(work) / seconds:6.0%}  {where}, {row.step.compiled.name}"
        )
    if len(_rows) > limit:
        lines.append(f"and {len(_rows) - limit} kernels that took less")
    return "\n".join(lines)


def explain(executable: Executable) -> None:
    """With INKLE_EXPLAIN=1 print each kernel: lines, loop nest, schedule, flops and bytes."""
    if config.get("INKLE_EXPLAIN"):
        for number, step in enumerate(executable.steps):
            print(describe(number, step), file=sys.stderr)


def describe(number: int, step: Step) -> str:
    """Return one kernel as text for people."""
    compiled = step.compiled
    work = count_work(compiled.work)
    often = f", {step.times} times" if step.times > 1 else ""
    head = f"kernel {number}{often}: {', '.join(step.lines) or 'no line known'} ({compiled.name})"
    facts = (
        f"work: {work.flops / 1e6:.3f} MFLOP, {work.bytes / 1e6:.3f} MB in {compiled.chunks} "
        f"chunks; this machine needs at least {1e6 * peaks().seconds(work):.1f} µs"
    )
    plan = "; ".join(compiled.kernel.schedule) or "no transform"
    return f"{head}\n{facts}\nschedule: {plan}\n{pseudo_code(compiled.kernel)}\n"
