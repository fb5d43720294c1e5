"""Matrix instructions: their layouts, the transform, the code, and when they are chosen."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle.check.accesses import prove_in_bounds
from inkle.check.interpreter import run_kernel
from inkle.check.numpy_algebra import numpy_dtype, to_array, to_bits
from inkle.errors import InternalError, OptionError, RenderError, SpecError
from inkle.ir import forms, loop, ops, spec
from inkle.ir.dot import INSTRUCTIONS
from inkle.ir.dtype import bfloat16, float32, index, int8, int32, int64, uint8
from inkle.ir.loop import Axis, Kernel, load, range_, reduce, store
from inkle.ir.node import const
from inkle.ir.program_text import program_text
from inkle.ir.text import from_text, to_text
from inkle.kernel.choose import choose_schedule
from inkle.kernel.linearize import linearize
from inkle.kernel.machine import Machine
from inkle.kernel.tensorize import tensorize
from inkle.kernel.transforms import bind, reorder, split, stage
from inkle.render.llvm import render_llvm
from inkle.render.llvm_types import DOT
from inkle.runtime.cpu.target import Target
from tests.kernel.kernels import flat, run

BYTES, HALVES, MMA = (INSTRUCTIONS[n] for n in ("vpdpbusd", "vdpbf16ps", "mma_m16n8k16_f16"))
HERE = [row for row in INSTRUCTIONS.values() if Target.host().has(row.feature)]
NATIVE = [row for row in HERE if row.name in DOT]
WITH_DOTS = Machine(instructions=frozenset({"vpdpbusd"}))
every_row = pytest.mark.parametrize("row", INSTRUCTIONS.values(), ids=lambda row: row.name)
native_rows = pytest.mark.parametrize("row", NATIVE, ids=lambda row: row.name)
native = pytest.mark.skipif(not NATIVE, reason="this processor has no such instruction")


def product(row, m, n, k, *, transposed=False):
    """out[i, j] = sum over l of a[i, l] * b[l, j] in the types of `row`; b may be transposed."""
    i, j, inner = range_(0, m), range_(1, n), range_(2, k)
    a, b = (load(flat(slot, size, dtype), at).cast(row.accumulator) for slot, size, dtype, at in (
        (1, m * k, row.operands[0], i * k + inner),
        (2, k * n, row.operands[1], j * k + inner if transposed else inner * n + j),
    ))  # fmt: skip
    out = store(flat(0, m * n, row.accumulator), i * n + j, reduce(ops.ADD, a * b, (inner,)))
    return Kernel((out,), (i, j, inner)), i, j, inner


def tensorized(row, kernel, i, j, inner, tail="peel"):
    """The kernel with the instruction applied, sums over the rest of the depth by `tail`."""
    m, n, k = row.shape
    kernel, _, columns = split(kernel, j, n, Axis.LOOP, Axis.LOOP)
    rows = None
    if m > 1:
        kernel, _, rows = split(kernel, i, m, Axis.LOOP, Axis.LOOP)
    kernel, _, depth = split(kernel, inner, k, Axis.LOOP, Axis.LOOP, tail)
    return tensorize(kernel, row, columns, depth, rows)


def integers(dtype, *shape, seed=0):
    """Small integers of which sums are exact in any order, as any type holds them."""
    low = 0 if dtype is uint8 else -8
    return np.random.default_rng(seed).integers(low, 9, shape)


def held(array, dtype):
    """An array in the bytes of `dtype`."""
    array = to_array(array, dtype)
    return np.ascontiguousarray(to_bits(array, dtype) if dtype is bfloat16 else array)


def interpret(kernel, row, a, b, shape):
    out = np.full(shape, -1, numpy_dtype(row.accumulator))
    tiles = [to_array(x, dtype) for x, dtype in zip((a, b), row.operands, strict=True)]
    run_kernel(kernel, {0: out, 1: tiles[0], 2: tiles[1]})
    return out


def execute(kernel, row, a, b, shape):
    out = np.full(shape, -1, numpy_dtype(row.accumulator))
    run(kernel, out, *(held(x, dtype) for x, dtype in zip((a, b), row.operands, strict=True)))
    return out


def dots(kernel):
    return [node.arg for node in kernel.nodes() if node.op is forms.DOT]


# --- the table ------------------------------------------------------------------------------------


@every_row
def test_every_element_of_every_tile_is_somewhere_and_all_lanes_agree_on_how_many(row):
    m, n, k = row.shape

    for layout, shape in ((row.a, (m, k)), (row.b, (k, n)), (row.c, (m, n))):
        held = [(i, j) for i in range(layout.lanes) for j in range(layout.registers)]
        places = {layout.place(*each) for each in held}

        assert places == {(i, j) for i in range(shape[0]) for j in range(shape[1])}
        assert layout.lanes == row.c.lanes
    assert row.c.lanes * row.c.registers == m * n, "each sum is in one place"


@every_row
@given(data=st.data())
def test_the_interpreter_gets_the_product_from_the_layouts(row, data):
    m, n, k = (size * data.draw(st.integers(1, 2)) for size in row.shape)
    a, b = integers(row.operands[0], m, k), integers(row.operands[1], k, n, seed=m + k)

    kernel = tensorized(row, *product(row, m, n, k))

    spec.check_loop(kernel)
    assert dots(kernel) == [row.name]
    np.testing.assert_array_equal(interpret(kernel, row, a, b, (m, n)), a @ b)


def test_lanes_that_hold_different_values_of_one_element_are_a_fault():
    i, lane, u, v = (range_(n, size, axis) for n, (size, axis) in enumerate(
        [(16, Axis.LANE), (16, Axis.LANE), (4, Axis.UNROLL), (4, Axis.UNROLL)]
    ))  # fmt: skip
    a = load(flat(1, 64, uint8), lane * 4 + u)  # another row in every lane
    b = load(flat(2, 64, int8), lane * 4 + v)
    value = loop.dot(BYTES, a, b, (i, const(0, index)), (lane, u, v))
    kernel = Kernel((store(flat(0, 16, int32), i, value),), ())

    with pytest.raises(InternalError, match=r"lanes hold different values of one element: vpdpb"):
        interpret(kernel, BYTES, np.arange(64), np.ones(64), (16,))


def test_the_spec_wants_the_types_and_the_sizes_of_the_instruction():
    lane, u, v = range_(0, 16, Axis.LANE), range_(1, 4, Axis.UNROLL), range_(2, 2, Axis.UNROLL)
    at = (range_(3, 16, Axis.LANE), const(0, index))

    def kernel(dtype):
        a, b = load(flat(1, 64, dtype), u), load(flat(2, 64, int8), lane * 4 + v)
        value = loop.dot(BYTES, a, b, at, (lane, u, v))
        return Kernel((store(flat(0, 16, int32), at[0], value),), ())

    with pytest.raises(SpecError, match=r"dot of \(uint8, int8\)"):
        spec.check_loop(kernel(int8))
    with pytest.raises(SpecError, match="dot binds its lanes and registers"):
        spec.check_loop(kernel(uint8))


# --- the transform --------------------------------------------------------------------------------


def test_a_tensorized_kernel_says_what_was_done_and_reads_back():
    kernel = tensorized(BYTES, *product(BYTES, 2, 32, 8))

    assert kernel.schedule[-1] == "tensorize i4 i6 by vpdpbusd into lane 7"
    assert to_text(from_text(to_text(kernel))) == to_text(kernel)


@every_row
@pytest.mark.parametrize("tail", ["peel", "mask"])
def test_a_depth_that_the_instruction_does_not_divide_is_summed_exactly_once(row, tail):
    m, n, k = row.shape[0], row.shape[1], 2 * row.shape[2] + 1
    a, b = integers(row.operands[0], m, k), integers(row.operands[1], k, n, seed=1)

    kernel = tensorized(row, *product(row, m, n, k), tail=tail)

    spec.check_loop(kernel)
    np.testing.assert_array_equal(interpret(kernel, row, a, b, (m, n)), a @ b)


def test_a_gate_of_the_depth_keeps_infinity_out():
    a, b = np.ones((1, 3)), np.ones((3, 16))
    big = np.concatenate([b, np.full((1, 16), np.inf)])
    i, j, inner = range_(0, 1), range_(1, 16), range_(2, 4)
    left, right = (load(flat(slot, size, bfloat16), at).cast(float32) for slot, size, at in (
        (1, 3, inner.minimum(2)), (2, 64, inner * 16 + j)
    ))  # fmt: skip
    term = (inner < 3).where(left * right, const(0.0, float32))
    out = store(flat(0, 16), j, reduce(ops.ADD, term, (inner,)))

    kernel = tensorized(HALVES, Kernel((out,), (j, inner)), i, j, inner)

    np.testing.assert_array_equal(interpret(kernel, HALVES, a, big, (16,)), a[0] @ b)


def test_a_gate_of_rows_stays_around_the_instruction():
    kernel, i, j, inner = product(BYTES, 4, 16, 8)
    (old,) = kernel.stores
    total = old.src[2]
    gated = reduce(ops.ADD, (i < 3).where(total.src[0], const(0, int32)), total.src[1:])
    kernel = Kernel((store(*old.src[:2], gated),), kernel.order)
    a, b = integers(uint8, 4, 8), integers(int8, 8, 16, seed=1)

    kernel = tensorized(BYTES, kernel, i, j, inner)

    expected = (a @ b) * (np.arange(4) < 3)[:, None]
    np.testing.assert_array_equal(interpret(kernel, BYTES, a, b, (4, 16)), expected)
    if BYTES in NATIVE:
        np.testing.assert_array_equal(execute(kernel, BYTES, a, b, (4, 16)), expected)


def test_accesses_of_the_tiles_are_proved_to_be_in_bounds():
    for row in INSTRUCTIONS.values():
        m, n, k = row.shape

        assert prove_in_bounds(tensorized(row, *product(row, m, n, 2 * k + 1))) == []


def refused(**changes):
    """Arguments of `tensorize` that differ in one thing from what it takes."""
    row = changes.get("row", BYTES)
    m, n, k = changes.get("shape", (2, 16, 4))
    kernel, i, j, inner = product(changes.get("types", row), m, n, k)
    if changes.get("by") is not None:
        (old,) = kernel.stores
        kernel = Kernel((store(*old.src[:2], changes["by"](old.src[2])),), kernel.order)
    if changes.get("turned"):
        i, j = j, i
    return kernel, row, j, inner, (i if changes.get("rows") else None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (2, 16, 8)}, "i2 has length 8, vpdpbusd needs 4; split it first"),
        ({"shape": (2, 32, 4)}, "i1 has length 32, vpdpbusd needs 16; split it first"),
        ({"row": MMA, "shape": (16, 8, 16)}, "mma_m16n8k16_f16 needs a range of 16 rows"),
        ({"types": HALVES}, "vpdpbusd sums int32, this is float32"),
        (
            {"types": INSTRUCTIONS["vpdpbusd_swapped"]},
            r"int32\(B\[.*\]\), as A, must be a cast from uint8 for vpdpbusd",
        ),
        ({"by": lambda total: total + reduce(ops.ADD, total.src[0] * 2, total.src[1:])},
         "i2 belongs to 2 reductions, not to one"),
        ({"by": lambda total: reduce(ops.MAXIMUM, total.src[0], total.src[1:])},
         "i2 is no range of a sum"),
        ({"by": lambda total: reduce(ops.ADD, total.src[0] + 1, total.src[1:])},
         "is no product of two factors"),
        ({"by": lambda total: reduce(ops.ADD, total.src[0].src[0] * total.src[0].src[0],
                                     total.src[1:])},
         r"int32\(B\[.*\]\), as B, must depend on i1"),
        ({"by": lambda total: reduce(
            ops.ADD,
            (total.src[1] < range_(1, 16)).where(total.src[0], const(0, int32)), total.src[1:])},
         "gate i2 < i1 depends on a row or column"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_in_the_way(changes, message):
    kernel, row, columns, inner, rows = refused(**changes)

    with pytest.raises(OptionError, match=message):
        tensorize(kernel, row, columns, inner, rows)


def test_memory_that_is_filled_for_one_column_at_a_time_is_refused():
    kernel, _, j, inner = product(BYTES, 2, 16, 4)
    (b,) = (n for n in kernel.nodes() if n.op is forms.LOAD and n.dtype is int8)

    with pytest.raises(OptionError, match="S4 is filled for a part of the tile"):
        tensorize(stage(kernel, b, [inner]), BYTES, j, inner)


def test_a_kernel_that_has_lanes_already_is_refused():
    kernel, i, j, inner = product(BYTES, 16, 16, 4)
    kernel, lane = bind(kernel, i, Axis.LANE)

    with pytest.raises(OptionError, match=f"l{lane.arg[0]} has the lanes already"):
        tensorize(kernel, BYTES, j, inner)


# --- the code -------------------------------------------------------------------------------------


@native
@native_rows
@given(
    m=st.integers(1, 5), n=st.integers(1, 3), k=st.integers(1, 20),
    transposed=st.booleans(), unrolled=st.booleans(), staged=st.booleans(),
)  # fmt: skip
def test_native_code_computes_the_product(row, m, n, k, transposed, unrolled, staged):
    n *= row.shape[1]
    k = max(k, row.shape[2])
    kernel = tensorized(row, *product(row, m, n, k, transposed=transposed))
    if unrolled:
        kernel, _ = bind(kernel, kernel.order[0], Axis.UNROLL)
    if staged:
        (dot,) = (node for node in kernel.nodes() if node.op is forms.DOT)
        lanes, _, register = dot.src[4:]
        panel = dot.src[1]
        kernel = stage(kernel, panel, [*(r for r in kernel.order if r in panel.ranges),
                                       lanes, register])  # fmt: skip
        kernel = reorder(kernel, kernel.order)
    a, b = integers(row.operands[0], m, k), integers(row.operands[1], k, n, seed=1)

    found = execute(kernel, row, a, b.T if transposed else b, (m, n))

    np.testing.assert_array_equal(found, a @ b)


@native
@pytest.mark.parametrize("value", [127, -128])
def test_sums_of_bytes_do_not_saturate(value):
    a, b = np.full((1, 64), 255), np.full((64, 16), value)

    found = execute(tensorized(BYTES, *product(BYTES, 1, 16, 64)), BYTES, a, b, (1, 16))

    np.testing.assert_array_equal(found, a @ b)


@pytest.mark.skipif(HALVES not in NATIVE, reason="this processor has no vdpbf16ps")
@pytest.mark.parametrize("depth", [2, 50, 513])
def test_products_of_bfloat16_are_as_accurate_as_float32_sums(depth):
    rng = np.random.default_rng(0)
    a, b = (to_array(rng.standard_normal(s), bfloat16) for s in ((3, depth), (depth, 32)))
    kernel = tensorized(HALVES, *product(HALVES, 3, 32, depth))
    exact = a.astype(np.float64) @ b
    allowed = 2**-23 * depth * (np.abs(a).astype(np.float64) @ np.abs(b))

    for found in (interpret(kernel, HALVES, a, b, (3, 32)), execute(kernel, HALVES, a, b, (3, 32))):
        assert (np.abs(found - exact) <= allowed).all()


@pytest.mark.skipif(HALVES not in NATIVE, reason="this processor has no vdpbf16ps")
def test_bfloat16_keeps_nan_and_infinity_and_loses_subnormal_numbers():
    a, b = np.ones((1, 4)), np.ones((4, 16))
    b[0, 0], b[0, 1], b[0, 2], b[0, 3], b[1, 3] = np.nan, np.inf, -np.inf, np.inf, -np.inf
    b[:, 4] = 2.0**-130
    kernel = tensorized(HALVES, *product(HALVES, 1, 16, 4))

    found = execute(kernel, HALVES, a, b, (1, 16))[0]
    defined = interpret(kernel, HALVES, a, b, (1, 16))[0]

    assert defined[4] == 2.0**-128
    assert found[4] == 0.0
    np.testing.assert_array_equal(np.delete(found, 4), np.delete(defined, 4))


def test_an_instruction_that_the_target_has_no_words_for_is_refused(monkeypatch):
    with pytest.raises(RenderError, match="no word holds 8 elements of float16"):
        linearize(tensorized(MMA, *product(MMA, 16, 8, 16)))
    monkeypatch.delitem(DOT, "vpdpbusd")
    with pytest.raises(RenderError, match="no spelling for the instruction vpdpbusd"):
        render_llvm(linearize(tensorized(BYTES, *product(BYTES, 1, 16, 4))), "kernel")


# --- the choice -----------------------------------------------------------------------------------


@native
@native_rows
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(64, 64, 64), (37, 83, 65), (7, 200, 301), (4, 16, 33)])
def test_chosen_kernels_use_the_instruction_and_are_exact(row, shape, transposed):
    m, n, k = shape
    a, b = integers(row.operands[0], m, k), integers(row.operands[1], k, n, seed=1)

    machine = Machine(4 * row.shape[1], instructions=frozenset({row.name}))

    kernel = choose_schedule(product(row, m, n, k, transposed=transposed)[0], machine)

    spec.check_loop(kernel)
    assert dots(kernel) == [row.name]
    found = execute(kernel, row, a, b.T if transposed else b, (m, n))
    np.testing.assert_array_equal(found, a @ b)


def test_panels_are_staged_as_words_of_the_elements_that_a_lane_holds():
    kernel = choose_schedule(product(BYTES, 64, 64, 64)[0], WITH_DOTS)
    text = program_text(linearize(kernel, WITH_DOTS))

    assert "uint32x16 = load S" in text
    assert ", step 4] = " in text
    assert text.count("int32x16 = dot vpdpbusd acc") == 16


@pytest.mark.parametrize(
    ("row", "shape", "machine"),
    [
        (BYTES, (64, 64, 64), Machine()),  # the processor lacks it
        (HALVES, (64, 64, 64), WITH_DOTS),
        (BYTES, (3, 64, 64), WITH_DOTS),  # too few rows to re-lay the panel for
        (BYTES, (64, 8, 64), WITH_DOTS),  # fewer columns than lanes
        (BYTES, (64, 64, 3), WITH_DOTS),  # not deep enough
        (BYTES, (8, 64, 16384), WITH_DOTS),  # a panel that does not fit
    ],
)
def test_the_instruction_is_not_chosen_where_it_does_not_pay(row, shape, machine):
    assert dots(choose_schedule(product(row, *shape)[0], machine)) == []


def test_chunks_for_several_workers_use_the_instruction():
    machine = replace(WITH_DOTS, threads=2)

    kernel = choose_schedule(product(BYTES, 256, 256, 256)[0], machine)

    assert dots(kernel) == ["vpdpbusd"]
    assert any(r.arg[1] is Axis.GRID for r in kernel.order)
    if BYTES in NATIVE:
        a, b = integers(uint8, 256, 256), integers(int8, 256, 256, seed=1)
        np.testing.assert_array_equal(execute(kernel, BYTES, a, b, (256, 256)), a @ b)


def test_two_sums_that_share_their_depth_are_left_alone():
    kernel, _, j, inner = product(BYTES, 64, 64, 64)
    (old,) = kernel.stores
    other = load(flat(3, 64 * 64, int8), inner * 64 + j).cast(int32)
    both = old.src[2] * reduce(ops.ADD, old.src[2].src[0].src[0] * other, (inner,))
    kernel = Kernel((store(*old.src[:2], both),), kernel.order)

    assert dots(choose_schedule(kernel, WITH_DOTS)) == []


def test_rows_looked_up_by_wide_indices_have_the_lanes_of_the_instruction():
    i, j, inner = range_(0, 64), range_(1, 64), range_(2, 64)
    row = load(flat(3, 64, int64), i).cast(index).maximum(0).minimum(63)
    a = load(flat(1, 64 * 64, uint8), row * 64 + inner).cast(int32)
    b = load(flat(2, 64 * 64, int8), inner * 64 + j).cast(int32)
    out = store(flat(0, 64 * 64, int32), i * 64 + j, reduce(ops.ADD, a * b, (inner,)))

    kernel = choose_schedule(Kernel((out,), (i, j, inner)), WITH_DOTS)

    spec.check_loop(kernel)
    assert dots(kernel) == ["vpdpbusd"]
