"""What gates say, and what they must not be used for."""

from inkle.ir import tensor
from inkle.ir.dtype import bool_, index, int32
from inkle.ir.loop import load, range_
from inkle.ir.node import const
from inkle.ir.pseudo import expression
from inkle.rules import simplify_gate, simplify_under
from inkle.rules.gates import facts_of
from tests.rules.expressions import free

I, J, K = range_(0, 28), range_(1, 3), range_(2, 64)
X, Y, P = free("x"), free("y"), free("p", bool_)
TABLE = tensor.param(0, int32, (100,))
INDICES = tensor.param(1, int32, (28,))


def test_facts_are_bounds_of_sums_in_both_directions():
    facts = facts_of([I + J < 29, const(0, index) < I + J, (X * 2).eq(Y * 2 + 6), P])

    assert facts[frozenset({(I, 1), (J, 1)})] == (1, 28)
    assert facts[frozenset({(I, -1), (J, -1)})] == (-28, -1)
    assert facts[frozenset({(X, 1), (Y, -1)})] == (3, 3)
    assert len(facts) == 4


def test_index_under_a_gate():
    gate = (I + J - 1 >= 0) & (I + J - 1 < 28)

    assert simplify_under((I + J - 1) % 28, gate) is I + J + -1
    assert simplify_under((I + J - 1) // 28, gate) is const(0, index)
    assert simplify_under(K % 16, (K < 16) & P) is K
    assert simplify_under(K, K.eq(7)) is const(7, index)


def test_conditions_that_the_gate_states_are_decided():
    assert simplify_under(P.where(X, Y), P & (I < 3)) is X
    assert simplify_under(P.where(X, Y), ~P) is Y
    assert simplify_under((I < 5).where(X, Y), I < 3) is X


def test_facts_that_contradict_decide_anything():
    assert simplify_gate((I < 3) & (I > 5)) is const(False, bool_)


def test_parts_that_follow_from_others_vanish():
    gate = (I * 4 + J < 13) & (I < 3) & (I < 9)

    assert simplify_gate(gate) is (I < 3)
    assert expression(simplify_gate((I + J < 29) & (I + J > 0))) == "(i0 + i1 < 29) & (0 < i0 + i1)"


def test_parts_that_follow_from_each_other_do_not_both_vanish():
    assert simplify_gate((I < 3) & (I * 2 < 6)) is (I < 3)
    assert expression(simplify_gate((I <= J) & (I < J + 1) & P)) == "(i0 <= i1) & p"


def test_gate_that_always_holds_is_true():
    assert simplify_gate((I < 28) & (J < 3)) is const(True, bool_)


def test_loads_inside_keep_their_own_gate_and_index():
    # The LOAD happens where I >= 20 as well: only its own gate keeps it in bounds.
    inner = load(INDICES, I % 20, I < 20)

    result = simplify_under(inner.cast(index) + I % 20, I < 20)

    assert result is inner.cast(index) + I


def test_what_is_loaded_may_narrow_an_index():
    position = load(INDICES, I).cast(index)
    gate = (position >= 0) & (position < 10)

    assert simplify_under(position % 10, gate) is position


def test_memory_read_under_a_gate_never_weakens_that_gate():
    guarded = load(INDICES, I, I < 20).cast(index)
    gate = (I < 20) & (I + guarded < 10) & (guarded >= 0)

    # With guarded >= 0, I + guarded < 10 says I < 10: but guarded is 0 where I < 20 fails.
    assert (I < 20) in set(simplify_gate(gate).toposort())
    without = (I + guarded < 10) & (guarded >= 0)
    assert simplify_under(I < 20, without) is (I < 20)


def test_unrelated_gates_change_nothing():
    assert simplify_under(X % 4, Y < 3) is X % 4
    assert simplify_under(X % 4, const(True, bool_)) is X % 4
