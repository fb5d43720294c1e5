"""Schedules on disk, shared by processes: written at once, cut off, read by others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import numpy as np
    from inkle import Tensor
    from inkle.engine.pipeline import TIMES

    x = Tensor(np.arange(36, dtype=np.float32).reshape(6, 6)).realize()
    total = 0.0
    for number in range(12):
        total += ((x + number) @ x).softmax(-1)[0, 5].item() + (x * number).sum().item()
    print(total, TIMES.calls.get("schedule", 0))
"""


def start(program, folder):
    environment = {**os.environ, "INKLE_CACHE": str(folder), "INKLE_CHECK": "0"}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert stderr == ""
    return stdout.split()


@pytest.mark.slow
def test_processes_share_what_each_of_them_makes(tmp_path):
    both = [start(PROGRAM, tmp_path) for _ in range(3)]
    totals = {finish(process)[0] for process in both}

    total, scheduled = finish(start(PROGRAM, tmp_path))

    assert scheduled == "0"
    assert totals == {total}
    assert not [*tmp_path.rglob("*.tmp")]


KILLED = """
    import os, signal
    import inkle.runtime.disk_cache as disk_cache

    write, counted = disk_cache._write, []

    def killed(path, content):
        counted.append(path)
        if len(counted) < NUMBER:
            return write(path, content)
        write(path, content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    disk_cache._write = killed
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")
def test_a_process_that_is_killed_while_it_writes_harms_nobody(tmp_path):
    wanted = finish(start(PROGRAM, tmp_path / "other"))[0]

    for number in (1, 4, 5, 6):
        killed = start(KILLED.replace("NUMBER", str(number)) + PROGRAM, tmp_path)
        killed.communicate(timeout=120)
        assert killed.returncode == -signal.SIGKILL

    assert finish(start(PROGRAM, tmp_path))[0] == wanted
    assert finish(start(PROGRAM, tmp_path)) == [wanted, "0"]


ALL_PROGRAMS = """
    import hashlib, sys
    sys.path.insert(0, ROOT)
    from inkle.engine import realize
    from inkle.engine.pipeline import TIMES
    from tests.engine.test_recipe_cache import PROGRAMS

    text = repr([program() for program in PROGRAMS.values()])
    print(hashlib.sha256(text.encode()).hexdigest(), TIMES.calls.get("schedule", 0))
    for each in realize._executables.values():
        each.steps  # schedules anew: raises if that gives anything else
"""


@pytest.mark.slow
def test_another_process_schedules_nothing_and_computes_the_same_bits(tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    program = ALL_PROGRAMS.replace("ROOT", repr(root))
    first, made = finish(start(program, tmp_path))

    assert int(made) > 10
    assert finish(start(program, tmp_path)) == [first, "0"]


PROFILED = """
    import sys
    from inkle import Context, Tensor, jit
    from inkle.engine import profile
    from inkle.engine.pipeline import TIMES
    from inkle.engine.roofline import Peaks

    profile.peaks = lambda: Peaks(1e11, ((1 << 30, 1e10),))
    step = jit(lambda x: (x @ x).softmax(-1))
    x = Tensor.ones(300, 300).realize()
    step(x).realize()
    before = TIMES.calls.get("schedule", 0)
    with Context(INKLE_PROFILE=True):
        step(x).realize()
    print(before, "<string>:9" in profile.table(), "<string>:10" in profile.table())
    print("<string>:9" in str(step.memory_report()), "<string>:10" in str(step.memory_report()))
    profile.clear()
"""


@pytest.mark.slow
def test_profiles_and_reports_show_the_lines_of_the_program_as_it_is_now(tmp_path):
    first, second = finish(start(PROFILED, tmp_path)), finish(start("\n" + PROFILED, tmp_path))

    assert int(first[0]) > 0
    assert second[0] == "0"
    assert first[1:] == ["True", "False", "True", "False"]
    assert second[1:] == ["False", "True", "False", "True"]
