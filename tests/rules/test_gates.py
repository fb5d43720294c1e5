"""What gates say, and what they must not be used for."""

from inkle.ir import tensor
from inkle.ir.dtype import bool_, index, int32
from inkle.ir.loop import load, range_
from inkle.ir.node import const
from inkle.ir.pseudo import expression
from inkle.rules import simplify_gate, simplify_under
from inkle.rules.gates import facts_of
from tests.rules.expressions import free

R0, R1, R2 = range_(0, 28), range_(1, 3), range_(2, 64)
X, Y, P = free("x"), free("y"), free("p", bool_)
TABLE = tensor.param(0, int32, (100,))
INDICES = tensor.param(1, int32, (28,))


def test_facts_are_bounds_of_sums_in_both_directions():
    facts = facts_of([R0 + R1 < 29, const(0, index) < R0 + R1, (X * 2).eq(Y * 2 + 6), P])

    assert facts[frozenset({(R0, 1), (R1, 1)})] == (1, 28)
    assert facts[frozenset({(R0, -1), (R1, -1)})] == (-28, -1)
    assert facts[frozenset({(X, 1), (Y, -1)})] == (3, 3)
    assert len(facts) == 4


def test_index_under_a_gate():
    gate = (R0 + R1 - 1 >= 0) & (R0 + R1 - 1 < 28)

    assert simplify_under((R0 + R1 - 1) % 28, gate) is R0 + R1 + -1
    assert simplify_under((R0 + R1 - 1) // 28, gate) is const(0, index)
    assert simplify_under(R2 % 16, (R2 < 16) & P) is R2
    assert simplify_under(R2, R2.eq(7)) is const(7, index)


def test_conditions_that_the_gate_states_are_decided():
    assert simplify_under(P.where(X, Y), P & (R0 < 3)) is X
    assert simplify_under(P.where(X, Y), ~P) is Y
    assert simplify_under((R0 < 5).where(X, Y), R0 < 3) is X


def test_facts_that_contradict_decide_anything():
    assert simplify_gate((R0 < 3) & (R0 > 5)) is const(False, bool_)


def test_parts_that_follow_from_others_vanish():
    gate = (R0 * 4 + R1 < 13) & (R0 < 3) & (R0 < 9)

    assert simplify_gate(gate) is (R0 < 3)
    assert (
        expression(simplify_gate((R0 + R1 < 29) & (R0 + R1 > 0)))
        == "(i0 + i1 < 29) & (0 < i0 + i1)"
    )


def test_parts_that_follow_from_each_other_do_not_both_vanish():
    assert simplify_gate((R0 < 3) & (R0 * 2 < 6)) is (R0 < 3)
    assert expression(simplify_gate((R0 <= R1) & (R0 < R1 + 1) & P)) == "(i0 <= i1) & p"


def test_gate_that_always_holds_is_true():
    assert simplify_gate((R0 < 28) & (R1 < 3)) is const(True, bool_)


def test_loads_inside_keep_their_own_gate_and_index():
    # The LOAD happens where R0 >= 20 as well: only its own gate keeps it in bounds.
    inner = load(INDICES, R0 % 20, R0 < 20)

    result = simplify_under(inner.cast(index) + R0 % 20, R0 < 20)

    assert result is inner.cast(index) + R0


def test_what_is_loaded_may_narrow_an_index():
    position = load(INDICES, R0).cast(index)
    gate = (position >= 0) & (position < 10)

    assert simplify_under(position % 10, gate) is position


def test_memory_read_under_a_gate_never_weakens_that_gate():
    guarded = load(INDICES, R0, R0 < 20).cast(index)
    gate = (R0 < 20) & (R0 + guarded < 10) & (guarded >= 0)

    # With guarded >= 0, R0 + guarded < 10 says R0 < 10: but guarded is 0 where R0 < 20 fails.
    assert (R0 < 20) in set(simplify_gate(gate).toposort())
    without = (R0 + guarded < 10) & (guarded >= 0)
    assert simplify_under(R0 < 20, without) is (R0 < 20)


def test_unrelated_gates_change_nothing():
    assert simplify_under(X % 4, Y < 3) is X % 4
    assert simplify_under(X % 4, const(True, bool_)) is X % 4
