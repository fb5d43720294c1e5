"""Devices by name, and the CPU behind the interface that all devices share."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from inkle.errors import CompileError, DeviceError
from inkle.runtime import device
from inkle.runtime.cpu import target
from inkle.runtime.cpu.target import Target
from inkle.runtime.device import Device, Launch, open_device
from tests.runtime.kernels import INCREMENT, ROOT, SCALE, run_python

X86 = Target.host().architecture == "x86_64"


@pytest.fixture
def cpu() -> Device:
    return open_device("CPU")


def test_device_is_opened_once(cpu: Device):
    assert open_device("CPU") is cpu
    assert cpu.name == "CPU"


def test_unknown_device_lists_the_known():
    with pytest.raises(DeviceError, match="no device 'TPU'; there are CPU"):
        open_device("TPU")


def test_unavailable_device_says_why(monkeypatch: pytest.MonkeyPatch):
    def missing() -> None:
        raise DeviceError("device CPU needs llvmlite")

    monkeypatch.setattr(device, "_open", {})
    monkeypatch.setattr(target, "_host", missing)

    with pytest.raises(DeviceError, match="device CPU needs llvmlite"):
        open_device("CPU")


def test_target_of_the_setting_is_used_if_it_runs_here(monkeypatch: pytest.MonkeyPatch, setenv):
    smaller, foreign = ("sse", "neon") if X86 else ("neon", "sse")
    monkeypatch.setattr(device, "_open", {})

    setenv("INKLE_TARGET", foreign)
    with pytest.raises(DeviceError, match=f"CPU target {foreign} does not run on this"):
        open_device("CPU")
    setenv("INKLE_TARGET", smaller)
    assert open_device("CPU").target.name == smaller


def test_target_with_wider_vectors_than_this_machine_does_not_run():
    wide, narrow = Target.named("avx512"), Target.named("avx2")

    assert narrow.runs_on(wide)
    assert not wide.runs_on(narrow)
    assert not Target.named("avx2").runs_on(Target.named("sse"))


def test_program_runs_with_buffers_and_scalars(cpu: Device):
    program = cpu.compile(SCALE, "scale")
    x = np.array([6])
    buffer = cpu.allocate(8)
    buffer.copyin(x)

    program.launch([buffer, 7])

    buffer.copyout(x)
    assert x.tolist() == [42]
    assert program.name == "scale"


def test_program_is_found_by_its_key(cpu: Device):
    program = cpu.compile(SCALE, "scale")

    again = cpu.load(program.key, "scale")

    assert again is not None
    assert again.function == program.function
    assert cpu.load("0" * 64, "scale") is None


def test_first_kernel_of_a_new_process_with_an_empty_cache_runs(tmp_path: Path):
    program = """
        from inkle.runtime.device import open_device
        from tests.runtime.kernels import COUNT
        cpu = open_device("CPU")
        buffer = cpu.allocate(80)
        buffer.copyin(bytes(80))
        cpu.compile(COUNT, "count").launch([buffer], 10)
        assert buffer.numpy("int64").tolist() == [1] * 10
        """

    result = run_python(program, INKLE_CACHE=str(tmp_path), PYTHONPATH=ROOT, INKLE_THREADS="2")

    assert (result.returncode, result.stderr) == (0, "")
    assert len(list((tmp_path / "cpu").iterdir())) == 3  # kernel, pool, graph


def test_graph_of_launches_runs(cpu: Device):
    program = cpu.compile(INCREMENT, "increment")
    found = np.zeros(1, np.float32)
    buffer = cpu.allocate(4)
    buffer.copyin(found)
    graph = cpu.graph([Launch(program.function, (0,))] * 3)
    graph.bind(0, buffer)

    graph.run()
    graph.run_timed()
    cpu.synchronize()

    buffer.copyout(found)
    assert found.tolist() == [6.0]


def test_text_that_is_no_code_is_a_compile_error(cpu: Device):
    with pytest.raises(CompileError, match="kernel k"):
        cpu.compile("nonsense", "k")


def test_clock_advances(cpu: Device):
    start = cpu.clock()
    time.sleep(0.001)

    assert 0.001 <= cpu.clock() - start < 10


def test_memory_is_reported_and_given_back(cpu: Device):
    buffer = cpu.allocate(8 << 20)
    live = cpu.memory_report().live_bytes
    del buffer

    assert live >= 8 << 20
    assert cpu.trim() >= 8 << 20
    assert cpu.memory_report().live_bytes <= live - (8 << 20)
