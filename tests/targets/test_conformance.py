"""One suite for every target: the same programs, executed where this machine can, else compiled."""

from dataclasses import replace

import numpy as np
import pytest

import inkle
from inkle import Tensor
from inkle.engine import pipeline
from inkle.engine.realize import canonicalize
from inkle.runtime.cpu.llvm import emit_assembly, emit_object
from inkle.runtime.cpu.target import Target
from inkle.schedule import schedule
from tests.targets.programs import PROGRAMS

X86 = ("avx512dot", "avx512", "avx2", "sse")
EXECUTED = [name for name in X86 if Target.named(name).runs_on(Target.host())]
programs = pytest.mark.parametrize("name", PROGRAMS)


GAPS = {("sse", "float16"): "SSE has no conversion of float16; that came with F16C"}


def cases():
    """Every program on every target that runs here; known gaps are strict expected failures."""
    for target in EXECUTED:
        for name in PROGRAMS:
            reason = GAPS.get((target, name))
            marks = [pytest.mark.xfail(strict=True, reason=reason)] if reason else []
            yield pytest.param(target, name, marks=marks)


@pytest.mark.parametrize(("target", "name"), list(cases()))
def test_target_computes_what_numpy_does(target, name):
    arrays, program, meaning = PROGRAMS[name]

    with inkle.Context(INKLE_TARGET=target):
        found = program(*[Tensor(array) for array in arrays]).numpy()

    np.testing.assert_allclose(found, meaning(*arrays), rtol=3e-5, atol=1e-5)


@programs
def test_neon_code_is_generated_for_every_program(name):
    arrays, program, _ = PROGRAMS[name]
    target = Target.named("neon")
    outputs, _ = canonicalize([program(*[Tensor(array) for array in arrays]).node])

    for launch in schedule(outputs).launches:
        machine = pipeline.machine_of(target, 2)
        _, text, _, _ = pipeline.to_source(launch.kernel, machine)

        assert emit_object(text, target)[:4] == b"\x7fELF"


def test_wide_registers_are_not_used_on_narrow_targets():
    outputs, _ = canonicalize([(Tensor([1.0] * 64) + 1).node])
    kernel = schedule(outputs).launches[0].kernel

    for name, lanes in (("avx512", 16), ("avx2", 8), ("neon", 4)):
        _, text, _, _ = pipeline.to_source(kernel, pipeline.machine_of(Target.named(name), 1))

        assert f"<{lanes} x float>" in text
        assert f"<{2 * lanes} x float>" not in text


def test_products_of_bytes_use_the_instruction_of_targets_that_have_one():
    arrays, program, _ = PROGRAMS["product of bytes"]
    outputs, _ = canonicalize([program(*[Tensor(array) for array in arrays]).node])
    (launch,) = schedule(outputs).launches

    for name, expected in (("avx512dot", True), ("avx512", False)):
        target = Target.named(name)
        machine = pipeline.machine_of(target, 1)
        machine = replace(machine, instructions=target.instructions)
        _, text, _, _ = pipeline.to_source(launch.kernel, machine)

        assert ("vpdpbusd" in emit_assembly(text, target)) is expected


def test_code_for_instructions_runs_only_where_they_are_all_listed():
    dots, plain = Target.named("avx512dot"), Target.named("avx512")

    assert dots.instructions == {"vpdpbusd", "vpdpbusd_swapped"}, "vdpbf16ps is slow"
    assert plain.instructions == frozenset()
    assert plain.runs_on(dots)
    assert not dots.runs_on(plain)
