"""Order of launches and reuse of temporaries."""

from __future__ import annotations

from inkle.ir.dtype import float32, int32
from inkle.ir.plan import Role
from inkle.schedule import schedule
from inkle.schedule.memory import place_temporaries
from inkle.schedule.nest import Storage
from tests.schedule.graphs import matmul
from tests.schedule.networks import Leaves


def test_dead_temporaries_are_reused() -> None:
    a, b, c = (Storage(float32, 10) for _ in range(3))

    memory, place = place_temporaries([[a], [a, b], [b, c], [c]], {}, 5)

    assert len(memory) == 2
    assert place[a] == place[c] != place[b]


def test_a_result_never_shares_memory_with_what_it_is_computed_from() -> None:
    a, b = Storage(float32, 10), Storage(float32, 10)

    _, place = place_temporaries([[a], [a, b]], {}, 0)

    assert place[a] != place[b]


def test_the_smallest_block_that_fits_is_taken() -> None:
    big, small, next_one = Storage(float32, 100), Storage(float32, 10), Storage(float32, 8)

    _, place = place_temporaries([[big, small], [next_one]], {}, 0)

    assert place[next_one] == place[small]


def test_a_block_grows_when_none_fits() -> None:
    small, big = Storage(float32, 10), Storage(float32, 100)

    memory, _ = place_temporaries([[small], [big]], {}, 0)

    assert [m.size for m in memory] == [100]


def test_element_types_do_not_share() -> None:
    a, b = Storage(float32, 10), Storage(int32, 10)

    memory, _ = place_temporaries([[a], [b]], {}, 0)

    assert len(memory) == 2


def test_a_chain_of_products_needs_two_temporaries() -> None:
    leaves = Leaves()
    x, w = leaves.new(32, 32), leaves.new(32, 32)
    for _ in range(10):
        x = matmul(x, w)

    plan = schedule([x])

    assert sum(memory.role is Role.TEMPORARY for memory in plan.memory) == 2


def test_outputs_are_fresh_memory() -> None:
    x = Leaves().new(8)

    plan = schedule([x, x + 1.0])

    roles = [plan.memory[place].role for place in plan.outputs]
    assert roles == [Role.INPUT, Role.OUTPUT]
