"""Programs print as text that shows every value, loop and access."""

from __future__ import annotations

from inkle.ir import loop, ops
from inkle.ir.dtype import float32, index, void
from inkle.ir.loop import Axis, Kernel, range_
from inkle.ir.program import Loop, Parameter, Program, Value
from inkle.ir.program_text import program_text
from inkle.ir.tensor import param
from inkle.kernel.linearize import linearize

A, B = Value("param", float32, 1, (), 0), Value("param", float32, 1, (), 1)
ZERO, NEGATIVE = Value("const", index, 1, (), 0), Value("const", float32, 1, (), -0.0)
SIZE = Value("variable", index, 1, (), ("n", 0, 9))
PARAMETERS = (Parameter(0, float32, written=True), Parameter(1, float32, written=False))


def body_of(*items, chunks=1, memory=()):
    """Return the lines of a program with these items, without the first one."""
    body = [A, B, ZERO, NEGATIVE, SIZE, *items]
    text = program_text(Program(PARAMETERS, chunks, body, tuple(memory)))
    return text.splitlines()[1:]


def test_head_has_arguments_and_chunks():
    text = program_text(Program(PARAMETERS, 3, [], ()))

    assert text == "program(A: float32 out, B: float32), 3 chunks\n"


def test_literals_and_arguments_stand_where_they_are_used():
    total = Value(ops.ADD, float32, 1, (NEGATIVE, NEGATIVE))

    assert body_of(total) == ["x0: float32 = add -0.0, -0.0"]


def test_vectors_say_how_many_lanes_they_have():
    lanes = Value("iota", index, 8, (), 3)
    spread = Value("splat", float32, 8, (NEGATIVE,))
    total = Value("across", float32, 1, (spread,), ops.ADD)

    assert body_of(lanes, spread, total) == [
        "x0: indexx8 = iota 3",
        "x1: float32x8 = splat -0.0",
        "x2: float32 = across add x1",
    ]


def test_accesses_show_distance_between_lanes_and_mask():
    mask = Value(ops.LESS, float32, 4, (NEGATIVE, NEGATIVE))
    side_by_side = Value("load", float32, 4, (B, ZERO), 1)
    apart = Value("load", float32, 4, (B, ZERO, mask), 2)
    one = Value("load", float32, 1, (B, ZERO), 0)
    store = Value("store", void, 4, (A, ZERO, apart, mask), -1)

    assert body_of(mask, side_by_side, apart, one, store)[1:] == [
        "x1: float32x4 = load B[0]",
        "x2: float32x4 = load B[0, step 2 if x0]",
        "x3: float32 = load B[0]",
        "store A[0, step -1 if x0] = x2",
    ]


def test_loop_shows_what_it_carries():
    counter = Value("counter", index, 1)
    carries = [Value("carry", float32, 1) for _ in range(2)]
    swapped = Loop(counter, SIZE, carries, [NEGATIVE] * 2, carries[::-1], may_be_empty=True)
    store = Value("store", void, 1, (A, ZERO, carries[0]), 0)

    assert body_of(swapped, store) == [
        "acc0, acc1: float32 = -0.0",
        "for i0 in n (may be 0):",
        "  next acc0, acc1 = acc1, acc0",
        "store A[0] = acc0",
    ]


def test_many_carried_values_take_several_lines():
    carries = [Value("carry", float32, 1) for _ in range(9)]
    loop = Loop(Value("counter", index, 1), SIZE, carries, [NEGATIVE] * 9, carries)

    lines = body_of(loop)

    assert [line.strip().partition(" ")[0] for line in lines[1:]] == ["for", "next", "next"]
    assert lines[-1] == "  next acc8 = acc8"


def test_fast_memory_is_listed():
    tile = Value("local", float32, 1, (), (5, 64))
    load = Value("load", float32, 1, (tile, ZERO), 0)

    assert body_of(load, memory=[tile]) == ["S5: 64 float32", "x0: float32 = load S5[0]"]


def test_chunk_number_is_named():
    chunk = Value("chunk", index, 1)

    assert body_of(chunk, Value(ops.MUL, index, 1, (chunk, ZERO)), chunks=2) == [
        "x0: index = mul chunk, 0"
    ]


def test_program_of_a_kernel():
    i, lane = range_(0, 4, Axis.LOOP), range_(1, 8, Axis.LANE)
    out, source = param(0, float32, (32,)), param(1, float32, (32,))
    at = i * 8 + lane
    kernel = Kernel((loop.store(out, at, loop.load(source, at) + 1.0),), (i,))

    assert program_text(linearize(kernel)).splitlines() == [
        "program(A: float32 out, B: float32), 1 chunk",
        "for i0 in 4:",
        "  x0: index = mul i0, 8",
        "  x1: float32x8 = load B[x0]",
        "  x2: float32x8 = add x1, 1.0",
        "  store A[x0] = x2",
    ]
