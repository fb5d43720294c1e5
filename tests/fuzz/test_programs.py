"""Random tensor programs through the pipeline, cut off at several depths, against the reference.

200 programs for each executor in `make test`, 2,000 more in `make test-all`. A failure prints a
small program as Python code.
"""

from __future__ import annotations

import pytest

from inkle.check.fuzz import fuzz
from tests.fuzz import executors

NAMES = ("by_schedule", "by_avx512", "by_neon", "by_engine")
BATCH = 10


def run(name, seeds, size=10):
    execute = getattr(executors, name)
    found = fuzz(execute, seeds, f"tests.fuzz.executors:{name}", size=size)
    assert not found, found[0]


@pytest.mark.parametrize("first", range(0, 200, BATCH))
@pytest.mark.parametrize("name", NAMES)
def test_random_programs_give_what_the_reference_gives(name, first):
    run(name, range(first, first + BATCH))


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", range(1000, 3000, 100))
@pytest.mark.parametrize("name", NAMES)
def test_many_random_programs_give_what_the_reference_gives(name, first):
    run(name, range(first, first + 100))


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", range(5000, 5200, 50))
@pytest.mark.parametrize("name", NAMES)
def test_long_random_programs_give_what_the_reference_gives(name, first):
    run(name, range(first, first + 50), size=40)
