"""Where the time goes: per kernel, with the user's lines; and what each kernel is."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from inkle import config
from inkle.engine.executable import NOTHING, Executable, Step
from inkle.engine.roofline import count_work, peaks
from inkle.ir.plan import Blocks, Launch, Plan, kernel_calls
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


def run(
    executable: Executable, inputs: Sequence[Buffer], sizes: Mapping[str, int] = NOTHING
) -> list[Buffer]:
    """Run an executable, timed if the settings ask for it; return the buffers of its outputs."""
    with executable.lock:
        outputs = executable.bind(inputs, sizes=sizes)
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
    steps = executable.steps  # perhaps made now, which takes a lock
    with _lock:
        for step, spent in zip(steps, seconds, strict=True):
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
    """With INKLE_EXPLAIN=1 print each kernel: lines, what it stores and why, how, loop nest."""
    if config.get("INKLE_EXPLAIN"):
        found = neighbours(executable.plan)
        for number, step in enumerate(executable.steps):
            print(describe(number, step, found.get(number, ALONE)), file=sys.stderr)


class Neighbours(NamedTuple):
    """What a kernel has to do with others of its plan.

    Attributes:
        joins: whether it runs side by side with the kernel before.
        readers: for each array that it writes, the numbers of the kernels that read it.
        units: parts of a launch that consists of blocks of rows, if it belongs to one.
    """

    joins: bool
    readers: Sequence[Sequence[int]]
    units: int = 0


ALONE = Neighbours(False, ())


def neighbours(plan: Plan) -> dict[int, Neighbours]:
    """Return them for each kernel outside of loops over time; a loop reads as its first kernel."""
    found: dict[int, Neighbours] = {}
    readers: dict[int, list[int]] = {}  # of what was last written into each memory
    number = 0
    for each in plan.launches:
        for place in each.memory:
            readers.get(place, []).append(number)
        if isinstance(each, Launch):
            written = each.memory[: len(each.why)]
            readers |= {place: [] for place in written}
            found[number] = Neighbours(each.joins, [readers[place] for place in written])
        elif isinstance(each, Blocks):
            for i in range(len(each.launches)):
                found[number + i] = Neighbours(joins=False, readers=(), units=len(each.units))
        number += sum(1 for _ in kernel_calls([each]))
    return found


def describe(number: int, step: Step, found: Neighbours = ALONE) -> str:
    """Return one kernel as text for people."""
    compiled = step.compiled
    work = count_work(compiled.work)
    often = f", {step.times} times" if step.times > 1 else ""
    lines = [
        f"kernel {number}{often}: {', '.join(step.lines) or 'no line known'} ({compiled.name})"
    ]
    if found.joins:
        lines.append("side by side with the kernel before, in one launch")
    if found.units:
        lines.append(f"by blocks of rows, in one launch of {found.units} units")
    for why, readers in zip_longest(step.why, found.readers, fillvalue=()):
        lines.append(f"stores {why}{_read_by([*dict.fromkeys(readers)])}")
    lines.append(
        f"work: {work.flops / 1e6:.3f} MFLOP, {work.bytes / 1e6:.3f} MB in {compiled.chunks} "
        f"chunks; this machine needs at least {1e6 * peaks().seconds(work):.1f} µs"
    )
    lines.append(f"schedule: {'; '.join(compiled.kernel.schedule) or 'no transform'}")
    return "\n".join([*lines, pseudo_code(compiled.kernel), ""])


def _read_by(kernels: Sequence[int]) -> str:
    if len(kernels) > 1:
        return f"; kernels {', '.join(map(str, kernels))} read it"
    return f"; kernel {kernels[0]} reads it" if kernels else ""
