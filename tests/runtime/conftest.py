"""Fixtures of the runtime's tests: a cache folder of their own, pools that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from inkle.runtime.cpu.pool import Pool


@pytest.fixture(params=[False, True], ids=["futex", "polling"])
def make_pool(request: pytest.FixtureRequest) -> Iterator[Callable[[int], Pool]]:
    """Make pools for one test, with each way of waiting."""
    pools: list[Pool] = []

    def make(threads: int) -> Pool:
        pools.append(Pool(threads, portable=request.param))
        return pools[-1]

    yield make
    for pool in pools:
        assert pool.stop()
