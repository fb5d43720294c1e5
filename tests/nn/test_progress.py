"""The progress line: what it says, when it says it, and that it never stops the work."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys

import pytest

from inkle.nn.progress import Progress


class Clock:
    """Time that passes when the test says so, in seconds."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Stream(io.StringIO):
    """A stream that claims to be a terminal or not."""

    def __init__(self, *, terminal, encoding="utf-8"):
        super().__init__()
        self._terminal = terminal
        self._encoding = encoding

    def isatty(self):
        return self._terminal

    @property
    def encoding(self):
        return self._encoding


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def columns(monkeypatch):
    def resize(count):
        monkeypatch.setenv("COLUMNS", str(count))
        assert shutil.get_terminal_size().columns == count

    resize(120)
    return resize


def screen(text):
    """Return the lines that a terminal shows after `text`."""
    lines = []
    for line in text.split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


def test_a_terminal_shows_one_line_that_changes(clock, columns):
    stream = Stream(terminal=True)
    with Progress(100, unit="images", label="epoch 1", stream=stream, clock=clock) as progress:
        clock.now = 5.0
        progress.update(10, loss=2.0)
        clock.now = 6.0
        progress.update(40, loss=0.12345)
        assert screen(stream.getvalue()) == [
            f"epoch 1  {'━' * 15}{'─' * 15}   50 %  50/100  40 images/s  ETA 0:01  loss 0.1235"
        ]
        clock.now = 7.0
        progress.update(50)

    assert screen(stream.getvalue()) == [
        f"epoch 1  {'━' * 30}  100 %  100/100  45 images/s  in 0:07  loss 0.1235",
        "",
    ]


def test_the_rate_leaves_out_the_first_update(clock):
    stream = Stream(terminal=False)
    with Progress(1000, stream=stream, clock=clock) as progress:
        clock.now = 100.0  # compiling
        progress.update(100)
        assert "1.00 items/s" in stream.getvalue()  # nothing better is known yet
        clock.now = 110.0
        progress.update(100)

    assert "10 items/s  ETA 1:20" in stream.getvalue()


def test_a_log_gets_a_line_every_ten_seconds_and_a_last_one(clock):
    stream = Stream(terminal=False)
    with Progress(100, label="epoch 1", stream=stream, clock=clock) as progress:
        for _ in range(100):
            clock.now += 0.25
            progress.update(1, loss=1.0)

    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0] == "epoch 1   40 %  40/100  4.00 items/s  ETA 0:15  loss 1.000"
    assert lines[-1] == "epoch 1  100 %  100/100  4.00 items/s  in 0:25  loss 1.000"
    assert "\r" not in stream.getvalue()


def test_values_become_numbers_only_when_shown(clock, columns):
    class Lazy:
        computed = 0

        def __float__(self):
            Lazy.computed += 1
            return 1.0

    with Progress(1000, stream=Stream(terminal=True), clock=clock) as progress:
        for _ in range(1000):
            clock.now += 0.001
            progress.update(1, loss=Lazy())

    assert 5 <= Lazy.computed <= 12


def test_shorter_lines_wipe_out_longer_ones(clock, columns):
    stream = Stream(terminal=True)
    with Progress(10, stream=stream, clock=clock) as progress:
        clock.now = 1.0
        progress.update(1, loss=-1.2345e-300)
        clock.now = 2.0
        progress.update(1, loss=1.0)
        assert screen(stream.getvalue())[0].endswith("loss 1.000")


@pytest.mark.parametrize("width", [1, 10, 40, 60, 75, 80, 200])
def test_a_line_never_wraps(clock, columns, width):
    columns(width)
    stream = Stream(terminal=True)
    with Progress(10**9, unit="images", label="epoch 1", stream=stream, clock=clock) as progress:
        clock.now = 1.0
        progress.update(123_456_789, loss=0.5)

    assert all(len(line) < width for line in screen(stream.getvalue()))


def test_streams_without_unicode_get_ascii(clock, columns):
    stream = Stream(terminal=True, encoding="ascii")
    with Progress(4, stream=stream, clock=clock) as progress:
        progress.update(1)

    stream.getvalue().encode("ascii")
    assert f"{'#' * 7}{'-' * 23}" in stream.getvalue()


@pytest.mark.parametrize(
    ("total", "done", "text"),
    [
        (0, 0, "100 %  0/0  0.00 items/s  in 0:00"),
        (10, 0, "  0 %  0/10  0.00 items/s  ETA ?"),
        (10, 15, "100 %  15/10  0.00 items/s  in 0:00"),
    ],
)
def test_odd_amounts_are_shown(clock, total, done, text):
    stream = Stream(terminal=False)
    with Progress(total, stream=stream, clock=clock) as progress:
        if done:
            progress.update(done)

    assert stream.getvalue() == text + "\n"


def test_hours_and_missing_numbers_are_shown(clock):
    stream = Stream(terminal=False)
    with Progress(2, stream=stream, clock=clock) as progress:
        clock.now = 3723.0
        progress.update(1, loss=float("nan"), gain=float("inf"))

    assert "ETA 1:02:03  loss nan  gain inf" in stream.getvalue()


def test_after_an_exception_the_line_is_left_as_it_is(clock, columns):
    class Failing:
        def __float__(self):
            raise AssertionError("must not be computed")

    def work(progress):
        progress.update(1, loss=Failing())
        raise ValueError("the work failed")

    stream = Stream(terminal=True)
    with (
        pytest.raises(ValueError, match="the work failed"),
        Progress(10, stream=stream, clock=clock) as progress,
    ):
        work(progress)

    assert stream.getvalue() == "\n"


def test_a_stream_that_fails_does_not_stop_the_work(clock):
    class Broken(Stream):
        def write(self, text):
            raise BrokenPipeError

    with Progress(2, stream=Broken(terminal=False), clock=clock) as progress:
        clock.now = 20.0
        progress.update(1)
        progress.update(1)

    assert progress.done == 2


def test_without_standard_error_nothing_is_shown(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)

    with Progress(1) as progress:
        progress.update(1)

    assert progress.done == 1


def test_a_pipe_gets_plain_lines():
    code = "from inkle.nn.progress import Progress\nwith Progress(3) as p: p.update(3, loss=1)"

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout == ""
    assert result.stderr.startswith("100 %  3/3  ")
    assert result.stderr.endswith("loss 1.000\n")
