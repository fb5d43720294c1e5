"""How far a loop is: a bar that moves in a terminal, a line now and then in a log.

epoch 1  ━━━━━━━━━━──────────   50 %  30,000/60,000  12,345 images/s  ETA 0:02  loss 0.1234
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import SupportsFloat, TextIO

REDRAW_SECONDS = 0.1  # more often than the eye can use
LOG_SECONDS = 10.0  # without a terminal, every drawing stays
BAR_WIDTH = 30  # characters


class Progress:
    """Show how much of a known amount of work is done, at what rate, and for how much longer.

    The rate leaves out the first update, in which programs compile.

    Args:
        total: amount of work, such as the number of images.
        unit: what is counted.
        label: text before the bar.
        stream: where to write; None is standard error, if there is one.
        clock: seconds, never running backwards.

    Example:
        >>> with Progress(60_000, unit="images", label="epoch 1") as progress:
        ...     for images, labels in batches((x, y), 512):
        ...         progress.update(len(images), loss=step(images, labels))
    """

    def __init__(
        self,
        total: int,
        *,
        unit: str = "items",
        label: str = "",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.total = total
        self.done = 0
        self._unit = unit
        self._label = label
        self._stream: TextIO | None = sys.stderr if stream is None else stream
        self._clock = clock
        self._is_terminal = self._stream is not None and self._stream.isatty()
        self._values: dict[str, SupportsFloat] = {}
        self._start = self._drawn = clock()
        self._steady: tuple[int, float] | None = None  # amount and time after the first update
        self._width = 0  # of what is on the line now, to wipe it out

    def update(self, amount: int = 1, **values: SupportsFloat) -> None:
        """Count `amount` more as done, and show `values` from now on.

        Values become numbers only when they are shown: a lazy tensor is not computed at each step.
        """
        self.done += amount
        self._values.update(values)
        now = self._clock()
        if self._steady is None:
            self._steady = (self.done, now)
        if now - self._drawn >= (REDRAW_SECONDS if self._is_terminal else LOG_SECONDS):
            self._draw(now)

    def close(self) -> None:
        """Show the final state, and leave the line."""
        self._draw(self._clock())
        if self._is_terminal:
            self._write("\n")

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif self._is_terminal:  # values may be what failed: leave the line as it is
            self._write("\n")

    def _draw(self, now: float) -> None:
        self._drawn = now
        parts = [self._label] * bool(self._label) + self._describe(now)
        if not self._is_terminal:
            self._write("  ".join(parts) + "\n")
            return
        columns = shutil.get_terminal_size().columns - 1  # a full line would wrap
        room = columns - len("  ".join(parts)) - 2
        if room >= 5:
            parts.insert(bool(self._label), self._bar(min(room, BAR_WIDTH)))
        line = "  ".join(parts)[:columns]
        self._write("\r" + line + " " * (self._width - len(line)))
        self._width = len(line)

    def _describe(self, now: float) -> list[str]:
        rate = self._rate(now)
        missing = max(self.total - self.done, 0)
        return [
            f"{100 * self._fraction():3.0f} %",
            f"{self.done:,}/{self.total:,}",
            f"{rate:,.{0 if rate >= 10 else 2}f} {self._unit}/s",
            f"ETA {_duration(missing / rate if rate else math.inf)}"
            if missing
            else f"in {_duration(now - self._start)}",
            *(f"{name} {float(value):#.4g}" for name, value in self._values.items()),
        ]

    def _fraction(self) -> float:
        return min(self.done / self.total, 1.0) if self.total > 0 else 1.0

    def _rate(self, now: float) -> float:
        done, since = self._steady or (0, self._start)
        if self.done == done:  # there is nothing after the first update: it must do
            done, since = 0, self._start
        return (self.done - done) / (now - since) if now > since else 0.0

    def _bar(self, width: int) -> str:
        full, empty = "━─" if self._can_write("━─") else "#-"
        filled = int(width * self._fraction())
        return full * filled + empty * (width - filled)

    def _can_write(self, text: str) -> bool:
        try:
            text.encode(getattr(self._stream, "encoding", None) or "ascii")
        except UnicodeEncodeError:
            return False
        return True

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # closed, or nobody reads it: no reason to stop the training
            self._stream = None


def _duration(seconds: float) -> str:
    """Return hours, minutes and seconds: 0:05, 12:34, 1:02:03.

    Example:
        >>> _duration(3723)
        '1:02:03'
    """
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
