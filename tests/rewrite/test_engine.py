"""The engine: fixed points, deep graphs, memory, statistics, records, and rules without end."""

import gc
import time
import weakref

import pytest

from inkle.errors import RewriteError
from inkle.ir import ops, tensor
from inkle.ir.dtype import bool_, float32, index, int32
from inkle.ir.loop import range_
from inkle.ir.node import Node, const
from inkle.ir.op import INTEGER
from inkle.rewrite.engine import RuleSet, record, time_rules
from inkle.rewrite.known import Known
from inkle.rewrite.rule import FIXED, INDEX, function_rule, rule
from inkle.rules import SIMPLIFY
from tests.rules.expressions import free

N, M, X = free("n", int32), free("m", int32), free("x")
ADD_ZERO = rule("add_zero", lambda x: (x + 0, x), FIXED)
ADD_CONSTANTS = rule("add_constants", lambda x, a, b: ((x + a) + b, x + (a + b)), FIXED)
SUB_SELF = rule("sub_self", lambda x: (x - x, x.wrap(0)), FIXED)


def test_replacements_are_rewritten_in_turn():
    rules = RuleSet([ADD_ZERO, ADD_CONSTANTS])

    assert rules.simplify((N + 3) + -3) is N


def test_constants_are_folded():
    assert RuleSet([]).simplify(N * (const(3, int32) + 4)) is N * 7


def test_shared_parts_are_rewritten_once():
    rules = RuleSet([ADD_ZERO])
    shared = (N * M) + 0

    assert rules.simplify(shared * shared - shared) is (N * M) * (N * M) - N * M
    assert rules.fired["add_zero"] == 1


def test_several_roots_keep_their_order():
    assert RuleSet([ADD_ZERO]).rewrite([M, N + 0, M + 0]) == [M, N, M]


def test_ten_thousand_operations_take_linear_time():
    node = M
    for _ in range(5_000):
        node = (node * N) ^ M
    start = time.perf_counter()

    assert SIMPLIFY.simplify(node) is node
    assert time.perf_counter() - start < 5


def test_a_chain_that_shrinks_takes_linear_time():
    node = N
    for _ in range(3_000):
        node = node + 1
    start = time.perf_counter()

    assert SIMPLIFY.simplify(node) is N + 3_000
    assert time.perf_counter() - start < 5


def test_long_sums_of_different_terms_take_linear_time():
    terms = [range_(number, 7) for number in range(1000)]
    total = const(0, index)
    for each in terms:
        total = total + each * 3
    start = time.perf_counter()

    result = SIMPLIFY.simplify(total)

    assert len(result.toposort()) <= 3004
    assert time.perf_counter() - start < 2


def test_results_are_remembered_while_the_node_lives():
    rules = RuleSet([ADD_ZERO])
    node = (N * M) + 0
    rules.simplify(node)
    rules.simplify(node)
    rules.simplify(node - M)

    assert rules.fired["add_zero"] == 1


def test_memory_keeps_nothing_alive():
    rules = RuleSet([ADD_ZERO, SUB_SELF])
    leaf = tensor.buffer(int32, ())
    gone = weakref.ref(leaf)
    rules.simplify((leaf + 0) * 3)
    del leaf
    gc.collect()

    assert gone() is None


def test_circles_are_found_and_named():
    rules = RuleSet([
        rule("there", lambda x, y: (x - y, x + -y), FIXED),
        rule("back", lambda x, y: (x + -y, x - y), FIXED),
    ])  # fmt: skip

    with pytest.raises(RewriteError, match=r"circle.*back, there"):
        rules.simplify(N - M)


def test_a_replacement_that_contains_the_node_is_a_circle():
    rules = RuleSet([rule("wrap", lambda x, y: (x * y, abs(x * y)), FIXED)])

    with pytest.raises(RewriteError, match=r"circle at .*wrap"):
        rules.simplify(N * M)


def test_growth_without_end_is_found_and_named():
    @function_rule("count", (ops.ADD,), INTEGER, list)
    def count(node: Node, known: Known) -> Node | None:
        return node.src[0] + (node.src[1].arg + 1)

    with pytest.raises(RewriteError, match=r"no end after \d+ rewrites .*count \(\d+x\)"):
        RuleSet([count]).simplify(N + 1)


def test_rule_names_must_be_unique():
    with pytest.raises(RewriteError, match="add_zero"):
        RuleSet([ADD_ZERO, ADD_ZERO])


def test_record_lists_every_step():
    with record() as steps:
        RuleSet([ADD_ZERO, ADD_CONSTANTS]).simplify((N + 3) + -3)

    assert [step.rule for step in steps] == ["add_constants", "add_zero"]
    assert steps[0].before is (N + 3) + -3
    assert steps[-1].after is N


def test_nothing_is_recorded_outside_and_what_is_remembered_is_recorded_again():
    rules = RuleSet([ADD_ZERO])
    rules.simplify(N + 0)
    with record() as outer, record() as inner:
        rules.simplify(N + 0)

    assert len(inner) == 1
    assert outer == []


def test_rules_are_timed_where_that_is_asked_for():
    rules = RuleSet([ADD_ZERO, ADD_CONSTANTS])
    with time_rules() as times:
        rules.simplify((N + 3) + -3)
    rules.simplify((M + 3) + -3)

    assert times.applied == {"add_zero": 1, "add_constants": 1}
    assert times.tried["add_zero"] >= times.tried["add_constants"] >= 1
    assert all(times.seconds[name] > 0 for name in times.tried)


def test_facts_narrow_and_are_not_remembered():
    rules = RuleSet([rule("small", lambda x, a: (x % a, x, (x >= 0) & (x < a)), INDEX)])
    facts = Known({frozenset({(X, 1)}): (0, 3)})

    assert rules.simplify(X % 4, facts) is X
    assert rules.simplify(X % 4) is X % 4


def test_fixed_nodes_are_taken_as_they_are():
    rules = RuleSet([ADD_ZERO])
    opaque = N + 0

    assert rules.rewrite([opaque * M], fixed={opaque: opaque}) == [opaque * M]
    assert rules.rewrite([opaque * M], fixed={opaque: M}) == [M * M]
    assert rules.rewrite([opaque * M]) == [N * M]


def test_results_keep_the_shape_of_tensors():
    t = tensor.param(0, int32, (2, 3))
    zero = SIMPLIFY.simplify(t - t)

    assert zero.shape == (2, 3)
    assert zero is tensor.full(0, int32, (2, 3))
    assert SIMPLIFY.simplify((t - t) + t) is t
    assert SIMPLIFY.simplify(tensor.reduce(t * 0, ops.ADD, [0])).shape == (3,)


def test_right_sides_are_built_with_the_shape_of_tensors():
    t = tensor.param(0, float32, (4,))

    result = SIMPLIFY.simplify((t < 0.0).where(t, (t < 1.0).where(t, 2.0)))

    assert result.shape == (4,)
    assert result.src[0].shape == (4,)
    assert result.src[0].dtype is bool_


def test_inner_nodes_of_nests_are_simplified_where_they_are_used_alone():
    i, j = range_(0, 6), range_(1, 4)
    inner = (i + j) - i

    total, alone = SIMPLIFY.rewrite([inner + i, inner // 2])

    assert total is i + j
    assert alone is j // 2
