"""Reductions without their loops: golden pairs, the lemmas, and random bodies at random points."""

import random

import pytest

from inkle.check.prove import Proof, claims_of, prove_claim
from inkle.ir import algebra, ops, tensor
from inkle.ir.dtype import bool_, float32, index, int8, int32
from inkle.ir.forms import GATHER, REDUCE
from inkle.ir.loop import extent, range_
from inkle.ir.node import Node, const, intern, toposort
from inkle.ir.op import FLOAT
from inkle.ir.pseudo import expression
from inkle.rewrite.rule import FunctionRule
from inkle.rules.closed_forms import LEMMAS
from inkle.rules.folding import folded, written_at
from inkle.rules.masks import RULES
from tests.rules.expressions import free, leaves_of, value_of

R, S = range_(0, 10), range_(1, 6)
X, Y, P = free("x"), free("y"), free("p", bool_)
N, F, G = free("n", int32), free("f", float32), free("g", float32)


@pytest.mark.parametrize("each", [*RULES, *LEMMAS], ids=lambda each: each.name)
def test_rule_is_proved(each):
    verdicts = [prove_claim(claim) for claim in claims_of(each)]

    assert all(isinstance(verdict, Proof) for verdict in verdicts), str(verdicts)
    methods = {method for verdict in verdicts for method in verdict.methods}
    if isinstance(each, FunctionRule) or each.kinds & FLOAT:
        methods.discard("edge values")
    assert methods <= {"z3", "z3 per constant", "every value"}


# --- golden pairs ---------------------------------------------------------------------------------


def one(dtype=int32):
    return const(1, dtype)


def zero(dtype=int32):
    return const(0, dtype)


def array(at):
    """Return an element of an array, as a reduction sees it."""
    return intern(GATHER, float32, (tensor.param(0, float32, (10,)), at), (-1,), ())


INSIDE = "(-1 < index(n)) & (index(n) < 10)"
PAIRS = [
    (ops.ADD, (R < X).where(one(), zero()), "int32(maximum(minimum(x, 10), 0))"),
    (ops.ADD, (R < X).where(N, zero()), "n * int32(maximum(minimum(x, 10), 0))"),
    (ops.ADD, R.eq(3).cast(int32), "1"),
    (ops.ADD, R.eq(10).cast(int32), "0"),
    (ops.ADD, (R * 2).eq(S).cast(int32), "where(i1 % 2 == 0, 1, 0)"),
    (ops.ADD, R.cast(int32), "45"),
    (ops.ADD, R.ne(S).cast(int32), "9"),
    (ops.ADD, ((R < 3) | (R >= 8)).cast(int32), "5"),
    (ops.ADD, (R // 3).eq(S // 2).cast(int32), "3"),
    (ops.ADD, R.cast(int32).eq(N).where(N, zero()), f"where({INSIDE}, n, 0)"),
    (ops.OR, (R < X) & P, "p & (0 < maximum(minimum(x, 10), 0))"),
    (ops.OR, R.eq(X), "(-1 < x) & (x < 10)"),
    (ops.MAXIMUM, (R <= S).where(R.cast(int32), zero()), "int32(i1)"),
    (ops.MINIMUM, R.cast(int32), "0"),
    (ops.MUL, (R < 12).cast(int32), "1"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "body", "wanted"), PAIRS, ids=[pair[2] for pair in PAIRS])
def test_pair(op, body, wanted):
    result = folded(op, body, [R])

    assert result is not None
    assert expression(result) == wanted


def test_element_is_selected_by_an_equation():
    result = folded(ops.ADD, array(R) * R.eq(S + 2).cast(float32), [R])

    assert result is array(S + 2) + 0.0


def test_sum_of_zeros_is_no_negative_zero():
    """A sum starts from 0.0; the element alone could be -0.0."""
    result = folded(ops.ADD, R.eq(S).where(array(R), zero(float32)), [R])

    assert result is array(S) + 0.0


def test_value_that_never_counts_adds_nothing_even_if_infinite():
    result = folded(ops.ADD, (R < X).where(F, zero(float32)), [R])

    point = {X: 0, F: float("inf")}
    assert value_of(result, point) == 0.0


REFUSED = [
    (ops.ADD, array(R)),
    (ops.ADD, (R < S).where(array(R), zero(float32))),  # a real sum
    (ops.ADD, (R * S).eq(X).cast(int32)),  # not linear in r
    (ops.ADD, (array(R) < F).cast(int32)),  # depends on memory at r
    (ops.ADD, (N - R.cast(int32) > 0).cast(int32)),  # the difference may wrap
    (ops.ADD, R.cast(float32) * R.cast(float32) * 0.1),
    (ops.MUL, (R < S).where(N, one())),  # a power
    (ops.XOR, (R < S).where(N, zero())),
    (ops.ADD, (X // (R + 1)).eq(S).cast(int32)),
]


@pytest.mark.parametrize(("op", "body"), REFUSED, ids=[expression(each[1]) for each in REFUSED])
def test_other_reductions_stay(op, body):
    assert folded(op, body, [R]) is None


def test_loops_that_stay_keep_their_conditions_only():
    body = (R.eq(X) & (S < Y) & P).where(array(R) * array(S), zero(float32))

    result = folded(ops.ADD, body, [R, S])

    [inner] = [node for node in toposort((result,)) if node.op is REDUCE]
    assert inner.src[1:] == (S,)
    assert not any(each is P for each in toposort((inner,)))


def test_sum_of_rows_where_an_index_says_is_a_scatter():
    index_of_row = intern(GATHER, int32, (tensor.param(1, int32, (6,)), S), (-1,), ())
    body = (R.cast(int32).eq(index_of_row) & P).where(array(S), zero(float32))

    assert written_at(body, R) == (
        index_of_row.cast(index),
        P.where(array(S), zero(float32)),
    )


# --- random bodies --------------------------------------------------------------------------------


class Bodies:
    """Makes random bodies of reductions that often fold."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.r = range_(0, self.random.choice((2, 3, 5, 8)))
        self.s = range_(1, self.random.choice((2, 4)))
        self.dtype = self.random.choice((int32, int32, int8, float32, bool_))
        operations = {
            bool_: (ops.OR, ops.AND),
            float32: (ops.ADD, ops.MAXIMUM, ops.MINIMUM),
        }.get(self.dtype, (ops.ADD, ops.ADD, ops.MAXIMUM, ops.MINIMUM, ops.MUL))
        self.op = self.random.choice(operations)

    def linear(self) -> Node:
        pick = self.random.choice
        total = self.r * pick((1, 1, 1, -1, 2, -3)) + pick((0, 0, 1, -2, 5))
        return pick((total, total, total + self.s, total // pick((2, 3)), total - X))

    def other(self) -> Node:
        pick = self.random.choice
        return pick((X, self.s, self.s * 2 - 1, const(pick((0, 1, 3, 4, 7)), index), X + self.s))

    def condition(self, depth: int) -> Node:
        pick = self.random.choice
        kind = pick(("less", "less", "equal", "unequal", "mod", "number", "and", "or", "not"))
        if kind == "mod":
            return (self.linear() % pick((2, 3))).eq(pick((0, 1)))
        if kind == "number":
            number = pick((self.r.cast(int32), self.r.cast(int32) - N, self.r.cast(float32)))
            return pick((Node.eq, Node.ne, Node.__le__))(
                number, F if number.dtype is float32 else N
            ) if number.op is ops.CAST else number.eq(2)  # fmt: skip
        if depth <= 0 or kind in ("less", "equal", "unequal"):
            sides = [self.linear(), self.other()]
            self.random.shuffle(sides)
            compare = {"equal": Node.eq, "unequal": Node.ne}.get(
                kind, pick((Node.__lt__, Node.__le__))
            )
            return compare(*sides)
        if kind == "not":
            return ~self.condition(depth - 1)
        return self.condition(depth - 1).apply(
            ops.AND if kind == "and" else ops.OR, self.condition(depth - 1)
        )

    def value(self) -> Node:
        pick = self.random.choice
        if self.dtype is bool_:
            return pick((P, const(True, bool_), self.condition(0)))
        constants = [const(k, self.dtype) for k in (0, 1, 1, 3)]
        positions = [self.r.cast(self.dtype), (self.r * 2 - self.s).cast(self.dtype)]
        return pick((*constants, *positions, self.s.cast(self.dtype)))

    def body(self) -> Node:
        if self.dtype is bool_:
            return self.condition(2)
        kind = self.random.random()
        test = self.condition(2)
        if kind < 0.4:
            return test.where(self.value(), const(0, self.dtype))
        if kind < 0.7:
            return test.cast(self.dtype) * self.value()
        if kind < 0.85:
            return test.where(self.value(), self.value())
        return test.cast(self.dtype) - self.condition(0).cast(self.dtype) * self.value()


def reduced(op, body, r, point):
    total = op.identity(body.dtype)
    for i in range(extent(r)):
        value = value_of(body, {**point, r: i})
        total = algebra.evaluate(op, body.dtype, body.dtype, total, value)
    return total


def check(seed: int) -> bool:
    """Compare a random reduction with its closed form; return whether there is one."""
    maker = Bodies(seed)
    body, r = maker.body(), maker.r
    result = folded(maker.op, body, [r])
    if result is None:
        return False
    assert r not in result.ranges
    for _ in range(12):
        pick = maker.random.choice
        values = {
            X: pick(range(-6, 12)),
            P: pick((True, False)),
            F: pick((-1.0, 2.0, 2.5, 4.0, 1e9)),
        }
        values |= {
            N: pick((-(2**31), -1, 0, 2, 3, 2**31 - 1)),
            maker.s: pick(range(extent(maker.s))),
        }
        point = {leaf: values[leaf] for leaf in {*leaves_of(body, result)} - {r}}
        got, wanted = value_of(result, point), reduced(maker.op, body, r, point)
        message = f"seed {seed}: {maker.op} of {expression(body)} over r < {extent(r)}\n"
        message += f" became {expression(result)}\n at {point}: {got}, not {wanted}"
        assert got == wanted, message
    return True


def test_random_bodies():
    done = [check(seed) for seed in range(400)]

    assert sum(done) > 200  # most fold, or the test shows little


@pytest.mark.exhaustive
def test_many_random_bodies():
    for seed in range(400, 20_000):
        check(seed)
