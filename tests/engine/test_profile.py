"""What is printed about kernels: lines of the user, loop nests, schedules, rates."""

from __future__ import annotations

import re

import numpy as np
import pytest

from inkle import Context, Tensor
from inkle.engine import profile, roofline
from inkle.engine.pipeline import current_target, current_threads
from inkle.engine.roofline import Peaks, Work, count_work, measure_peaks, peaks
from inkle.errors import DataError


@pytest.fixture
def steps(monkeypatch):
    """All kernels that run."""
    seen = []
    run = profile.run

    def watch(executable, inputs, *sizes):
        seen.extend(executable.steps)
        return run(executable, inputs, *sizes)

    monkeypatch.setattr(profile, "run", watch)
    return seen


@pytest.fixture(autouse=True)
def known_peaks(monkeypatch, request):
    """Rates of an imaginary machine: 100 GFLOP/s, 10 GB/s."""
    if "measured" not in request.fixturenames:
        monkeypatch.setattr(profile, "peaks", lambda: Peaks(1e11, ((1 << 30, 1e10),)))


@pytest.fixture
def plans(monkeypatch):
    """The plan of everything that runs."""
    seen = []
    run = profile.run

    def watch(executable, inputs, *sizes):
        seen.append(executable.plan)
        return run(executable, inputs, *sizes)

    monkeypatch.setattr(profile, "run", watch)
    return seen


def random(*shape):
    return Tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32)).realize()


def work_of(tensor, steps) -> Work:
    steps.clear()
    tensor.realize()
    counts = [count_work(step.compiled.work) for step in steps]
    return Work(sum(each.flops for each in counts), sum(each.bytes for each in counts))


# --- work -----------------------------------------------------------------------------------------


def test_work_of_a_matrix_product(steps):
    a, b = random(30, 40), random(40, 50)

    assert work_of(a @ b, steps) == Work(2 * 30 * 40 * 50, 4 * (30 * 40 + 40 * 50 + 30 * 50))


def test_work_of_elementwise_functions_counts_each_as_one_operation(steps):
    x = random(100)

    assert work_of((x * 2 + 1).exp(), steps) == Work(300, 800)
    assert work_of((x > 0).where(x, 0.5), steps) == Work(0, 800)
    assert work_of(x.cast("float64"), steps) == Work(0, 1200)


def test_work_of_a_reduction_and_of_a_broadcast(steps):
    x, row = random(20, 30), random(30)

    assert work_of(x.sum(1), steps) == Work(600, 4 * (600 + 20))
    assert work_of(x + row, steps) == Work(600, 4 * (600 + 30 + 600))


def test_work_of_a_slice_and_of_a_gather_counts_what_is_read(steps):
    table = random(1000, 8)
    rows = Tensor(np.arange(5)).realize()

    assert work_of(table[10:20] + 1, steps) == Work(80, 4 * 160)
    with Context(INKLE_CHECK=False):  # else a kernel that looks at the rows comes before
        assert work_of(table[rows] + 1, steps).bytes == 8 * 5 + 4 * 80


def test_work_that_a_gate_leaves_out_is_not_counted(steps):
    x = random(4, 8, 20, 20).requires_grad_()
    y = (x * x).conv2d(random(16, 8, 5, 5), padding=2).relu()
    y.sum().backward()
    inside = 20 * 5 - 2 * (2 + 1)  # per axis: windows at the border miss 2 elements and 1
    products = 2 * 4 * 8 * 16 * inside * inside

    x.grad.realize()
    (gradient,) = [
        step.compiled
        for step in steps
        if any("narrow" in each for each in step.compiled.kernel.schedule)
    ]

    assert 0 <= count_work(gradient.work).flops - products <= 5 * 4 * 8 * 20 * 20


def test_work_of_integers_is_memory_only(steps):
    assert work_of(Tensor([1, 2, 3]).realize() * 2, steps) == Work(0, 48)


# --- rates ----------------------------------------------------------------------------------------


def test_least_time_is_that_of_arithmetic_or_of_memory():
    machine = Peaks(100.0, ((10, 50.0), (100, 5.0)))

    assert machine.seconds(Work(1000, 1)) == 10.0
    assert machine.seconds(Work(0, 10)) == 10 / 50
    assert machine.seconds(Work(0, 50)) == 50 / 5
    assert machine.seconds(Work(0, 1000)) == 1000 / 5


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Measures quickly, into a cache folder of its own."""
    monkeypatch.setattr("inkle.engine.roofline.MEASURE_SECONDS", 0.0)
    monkeypatch.setattr("inkle.engine.roofline.MEMORY_BYTES", 1 << 20)
    with Context(INKLE_CACHE=str(tmp_path)):
        yield tmp_path


def test_peaks_are_measured_once_and_kept(measured, monkeypatch):
    first = peaks()
    (file,) = (measured / "machine").iterdir()
    monkeypatch.setattr("inkle.engine.roofline.measure_peaks", lambda *_: pytest.fail("again"))

    roofline._peaks.cache_clear()
    assert peaks() == first
    assert 1e8 < first.flops_per_second < 1e15
    assert all(1e7 < rate < 1e14 for _, rate in first.bandwidths)
    file.write_bytes(b"damaged")
    roofline._peaks.cache_clear()
    with pytest.raises(pytest.fail.Exception, match="again"):
        peaks()


@pytest.mark.parametrize("target", ["avx2", "sse"])
def test_peaks_of_other_targets(measured, target):
    with Context(INKLE_TARGET=target):
        found = measure_peaks(current_target(), current_threads())

    assert 1e8 < found.flops_per_second < 1e15


# --- texts ----------------------------------------------------------------------------------------


def test_explanation_shows_line_work_schedule_and_loops(capsys):
    a, b = random(31, 41), random(41, 51)

    with Context(INKLE_EXPLAIN=True):
        (a @ b).relu().realize()  # the line

    text = capsys.readouterr().err
    assert re.search(r"kernel 0: test_profile.py:\d+ \(k[0-9a-f]{16}\)\n", text)
    assert "work: 0.130 MFLOP, 0.020 MB in " in text
    assert "this machine needs at least 2.0 µs" in text
    assert re.search(r"schedule: split loop \d", text)
    assert re.search(r"kernel\(A: float32 out, B: float32, C: float32\)", text)
    assert re.search(r"for (loop|grid) \w+ in ", text)


def test_explanation_is_silent_unless_asked_for(capsys):
    (random(3, 7) * 1.5).realize()

    assert capsys.readouterr().err == ""


def test_profile_shows_rates_lines_and_share_of_the_roof(monkeypatch):
    profile.clear()
    x = random(61, 61)  # nobody else's shape: equal kernels keep the lines of the first one
    monkeypatch.setattr("atexit.register", lambda _: None)

    with Context(INKLE_PROFILE=True):
        for _ in range(3):
            (x @ x).realize()  # line one
        x.exp().sum().realize()
    text = profile.table()
    profile.clear()

    head, *rows = text.splitlines()
    assert head.split() == ["ms", "share", "calls", "GFLOP/s", "GB/s", "roof", "lines,", "kernel"]
    product = next(row for row in rows if row.split()[2] == "3")
    assert re.search(r" \d+\.\d +\d+\.\d +\d+%  test_profile.py:\d+, k[0-9a-f]{16}$", product)
    assert sum(float(row.split()[1].rstrip("%")) for row in rows) == pytest.approx(100, abs=0.3)


def test_kernels_of_the_backward_pass_name_lines(monkeypatch):
    profile.clear()
    monkeypatch.setattr("atexit.register", lambda _: None)
    w = random(16, 16).requires_grad_()
    x = random(8, 16)

    with Context(INKLE_PROFILE=True):
        loss = ((x @ w).tanh() * x).sum()
        loss.backward()
        w.grad.realize()
    rows = profile.table().splitlines()[1:]
    profile.clear()

    assert rows
    assert all("test_profile.py:" in row for row in rows)


def test_long_profile_is_cut(monkeypatch):
    profile.clear()
    monkeypatch.setattr("atexit.register", lambda _: None)
    x = random(4)

    with Context(INKLE_PROFILE=True):
        for i in range(3):
            (x * (1.5 + i)).realize()
    text = profile.table(limit=2)
    profile.clear()

    assert len(text.splitlines()) == 4
    assert text.endswith("and 1 kernels that took less")


# --- dumps ----------------------------------------------------------------------------------------


def test_dump_has_the_loop_nest_and_the_source_of_each_kernel(steps, tmp_path):
    with Context(INKLE_DUMP=tmp_path / "deep" / "er"):
        (random(3) * 2.7182 + 1.4142).realize()

    (name,) = [step.compiled.name for step in steps]
    assert (tmp_path / "deep" / "er" / f"{name}.txt").read_text().startswith("kernel(A: float32")
    assert f"@{name}(" in (tmp_path / "deep" / "er" / f"{name}.ll").read_text()


def test_dump_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "file").write_text("no folder")

    with (
        Context(INKLE_DUMP=tmp_path / "file"),
        pytest.raises(DataError, match=r"INKLE_DUMP=.*file: cannot write k[0-9a-f]+: File exists"),
    ):
        (random(3) * 2.7182 - 1.4142).realize()


# --- why there is more than one kernel ------------------------------------------------------------


def test_each_array_has_a_line_a_reason_and_readers(plans):
    x, w = random(37, 41), random(41, 43)

    y = ((x @ w).relu() @ random(43, 5)).numpy()

    assert y.shape == (37, 5)
    (plan,) = plans
    found = profile.neighbours(plan)
    assert {n: each.readers for n, each in found.items()} == {0: [[1]], 1: [[]]}
    first, second = (launch.why for launch in plan.launches)
    assert len(first) == len(second) == 1
    assert re.fullmatch(
        r"where \(37, 43\) of test_profile.py:\d+: else the contraction .*", first[0]
    )
    assert second[0].endswith(": it is a result")


def test_readers_are_those_of_the_last_writer(plans):
    """Two updates of one array, in place: the second kernel reads nothing of the third."""
    x = random(6, 7)
    y = x * 2
    y[0] = 1.0
    a = y.sum()
    y[1] = 2.0

    a.realize(y)

    found = profile.neighbours(plans[-1])
    total = sum(len(each.readers) for each in found.values())
    assert total == sum(len(launch.why) for launch in plans[-1].launches)
    for number, each in found.items():
        assert all(reader > number for readers in each.readers for reader in readers)


def test_kernels_side_by_side_say_so(plans, capsys):
    x, y = random(3, 5), random(700, 2)

    with Context(INKLE_EXPLAIN=True):
        (x * 3.5).realize(y.exp())

    (plan,) = plans
    assert [each.joins for each in profile.neighbours(plan).values()] == [False, True]
    text = capsys.readouterr().err
    assert text.count("side by side with the kernel before, in one launch") == 1
