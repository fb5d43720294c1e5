"""Graphs as text: what it looks like, and that it reads back as the very same nodes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkle.errors import FormatError
from inkle.ir import dtype as dt
from inkle.ir import forms, ops, size, tensor
from inkle.ir.algebra import from_bits, to_bits
from inkle.ir.loop import Axis, Kernel, load, range_, reduce, stage, store
from inkle.ir.node import const
from inkle.ir.tensor import buffer, param
from inkle.ir.text import expression, from_text, pseudo_code, to_text
from tests.strategies import integer_expressions, values, variable


def test_a_tensor_graph_as_text():
    x = param(0, dt.float32, (2, 3))
    node = tensor.reduce(x * 2.5 + tensor.full(0.1, dt.float32, (2, 3)), ops.ADD, (1,))

    assert to_text([node]) == (
        "%0 = param:float32[2, 3] (0, (2, 3))\n"
        "%1 = const:float32 2.5\n"
        "%2 = mul:float32[2, 3] %0 %1\n"
        "%3 = const:float32 0.10000000149011612\n"
        "%4 = reshape:float32[1, 1] %3 (1, 1)\n"
        "%5 = expand:float32[2, 3] %4 (2, 3)\n"
        "%6 = add:float32[2, 3] %2 %5\n"
        "%7 = reduce:float32[2] %6 (add, (1,))\n"
        "outputs %7\n"
    )


def example_kernel():
    g, i = range_(0, 8, Axis.GRID), range_(2, 256)
    u, lane = range_(3, 4, Axis.UNROLL), range_(4, 16, Axis.LANE)
    a, b, c = (param(slot, dt.float32, (n,)) for slot, n in enumerate((512, 8192, 4096)))
    value = reduce(ops.ADD, load(b, g * 1024 + u * 256 + i) * load(c, i * 16 + lane), [i])
    at = g * 64 + u * 16 + lane
    return Kernel((store(a, at, value, at < 500),), (g, i), ("split 0 by 8", "it's \\ é"))


def test_a_kernel_reads_back():
    kernel = example_kernel()

    assert from_text(to_text(kernel)) == kernel


def test_a_kernel_as_pseudo_code():
    assert pseudo_code(example_kernel()) == (
        "kernel(A: float32 out, B: float32, C: float32)  u3: unroll 4, l4: lane 16\n"
        "for grid g0 in 8:\n"
        "  acc0[u3, l4] = 0.0\n"
        "  for loop i2 in 256:\n"
        "    acc0[u3, l4] += B[g0 * 1024 + u3 * 256 + i2] * C[i2 * 16 + l4]\n"
        "  A[g0 * 64 + u3 * 16 + l4 if g0 * 64 + u3 * 16 + l4 < 500] = acc0[u3, l4]\n"
    )


def test_pseudo_code_hoists_shares_loops_and_fills_stages():
    i, j, k, t = range_(0, 4), range_(1, 8), range_(2, 8), range_(3, 8, Axis.LANE)
    a, b, c = (param(slot, dt.float32, (32,)) for slot in range(3))
    tile = stage(7, load(b, i * 8 + t), t, [t], 8)
    largest = reduce(ops.MAXIMUM, load(tile, j), [j])
    total = reduce(ops.ADD, load(tile, j), [j])
    value = (load(tile, k) - largest).exp() / total
    kernel = Kernel((store(a, i * 8 + k, value), store(c, i * 8 + k, value * 2.0)), (i, j, k))

    assert pseudo_code(kernel) == (
        "kernel(A: float32 out, B: float32, C: float32 out)  l3: lane 8\n"
        "for loop i0 in 4:\n"
        "  acc0 = 0.0\n"
        "  acc1 = -inf\n"
        "  S7 = stage of 8 float32\n"
        "  S7[l3] = B[i0 * 8 + l3]\n"
        "  for loop i1 in 8:\n"
        "    x2 = S7[i1]\n"
        "    acc0 += x2\n"
        "    acc1 maximum= x2\n"
        "  for loop i2 in 8:\n"
        "    x3 = exp(S7[i2] - acc1) / acc0\n"
        "    A[i0 * 8 + i2] = x3\n"
        "    C[i0 * 8 + i2] = x3 * 2.0\n"
    )


def test_pseudo_code_shows_extents_that_vary_and_variables():
    n = variable("n", 1, 8)
    i = range_(0, n)
    j = range_(1, (n - i).minimum(4))
    a = param(0, dt.int32, (8,))
    kernel = Kernel((store(a, j, const(1, dt.int32), combine=ops.ADD),), (i, j))
    gated = Kernel((store(a, i + j * 0, i.cast(dt.int32)),), (i, j))

    assert "kernel(A: int32 out, n: 1..8)" in pseudo_code(gated)
    assert "  for loop i1 in minimum(n - i0, 4):\n    A[i1] += 1\n" in pseudo_code(kernel)


@pytest.mark.parametrize(
    "build, want",
    [
        (lambda i, j: (i + j) * 2 - i, "(i0 + i1) * 2 - i0"),
        (lambda i, j: i - (j - i), "i0 - (i1 - i0)"),
        (lambda i, j: i + (j + 1), "i0 + i1 + 1"),
        (lambda i, j: -(i + j) % 3, "-(i0 + i1) % 3"),
        (lambda i, j: (i < 3) & (j < i + 1), "(i0 < 3) & (i1 < i0 + 1)"),
        (lambda i, j: ((i < 3) & ~(j < 1)).where(i, j), "where((i0 < 3) & ~(i1 < 1), i0, i1)"),
        (lambda i, j: i.cast(dt.float32) * 0.1, "float32(i0) * 0.1"),
        (lambda i, j: (i * -1).maximum(j), "maximum(i0 * -1, i1)"),
        (lambda i, j: (i - (j + 1)) * (i * j), "(i0 - (i1 + 1)) * i0 * i1"),
    ],
)
def test_infix(build, want):
    assert expression(build(range_(0, 4), range_(1, 4))) == want


def test_float_literals_are_short_and_exact():
    assert expression(const(0.1, dt.float32)) == "0.1"
    assert expression(const(1e30, dt.float32)) == "1e+30"
    assert expression(const(16777216.0, dt.float32)) == "16777216.0"
    assert expression(const(math.inf, dt.float16)) == "inf"


@given(st.data(), st.sampled_from([dt.index, dt.int8, dt.uint64, dt.int32]))
def test_expressions_read_back_identically(data, dtype):
    node = data.draw(integer_expressions(dtype))

    assert from_text(to_text([node]))[0] is node


@given(st.data(), st.sampled_from(dt.ALL))
def test_constants_read_back_bit_for_bit(data, dtype):
    node = const(data.draw(values(dtype)), dtype)

    assert from_text(to_text([node]))[0] is node


def test_nan_payloads_and_signed_zeros_survive():
    for bits in (0x7FF8000000000001, 0xFFF0000000000001, 1 << 63, 0):
        node = const(from_bits(bits, dt.float64), dt.float64)

        assert to_bits(from_text(to_text([node]))[0].arg, dt.float64) == bits


def test_buffers_keep_their_number_and_new_ones_get_larger_ones():
    mine = buffer(dt.int8, (3,))
    number = mine.arg[0]

    again = from_text(to_text([mine + 1]))[0]
    foreign = from_text(f"%0 = buffer:int8[3] ({number + 1000}, (3,))\noutputs %0\n")[0]

    assert again.src[0] is not mine  # its memory is not in the text
    assert again.src[0].arg == mine.arg
    assert buffer(dt.int8, (3,)).arg[0] > foreign.arg[0]


def test_attributes_of_every_kind_read_back():
    x = param(0, dt.float32, (4, 4))
    index = tensor.arange(4)
    spread = tensor.expand(tensor.reshape(index, (4, 1)), (4, 4))
    nodes = [
        tensor.pad(x, [(1, 2, 3), (0, 0, 0)]), tensor.shear(x, 0, 1, -2),
        tensor.scatter(x, x, [spread], [-1, 1], ops.MAXIMUM),
        tensor.scatter(x, x, [spread], [-1, 1], None), tensor.flip(x, [1]), tensor.detach(x),
        x.cast(dt.int16), x.bitcast(dt.uint32) & 1,
        variable("a 'quoted' name", -3, 4),
    ]  # fmt: skip

    assert from_text(to_text(nodes)) == nodes


def test_sizes_that_are_known_at_launch_read_back():
    n, m = size.variable("n", 1, 8), size.variable("it's", 2, 5)
    x = param(0, dt.float32, (n, 4))
    nodes = [
        x, tensor.reshape(x, (2, n * 2)), tensor.shrink(x, 0, 0, n - 1),
        tensor.expand(param(1, dt.int8, (1, 3)), (n * m + n // 2, 3)),
    ]  # fmt: skip

    text = to_text(nodes)

    assert from_text(text) == nodes
    assert text.startswith(
        "%0 = variable:index ('n', 1, 8)\n%1 = param:float32[#0, 4] (0, (#0, 4))\n"
    )


def test_sizes_with_other_bounds_are_other_text():
    texts = [
        to_text([param(0, dt.int8, (size.variable("n", low, high),))])
        for low, high in ((1, 8), (2, 8), (1, 9))
    ]

    assert len(set(texts)) == 3


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "ends with its outputs"),
        ("nonsense", "line 1, 'nonsense': .*unknown word"),
        ("%0 = const:float32 1.0\noutputs %1", "line 2, 'outputs %1'"),
        ("%0 = add:float32 %7 %8\noutputs %0", "line 1"),
        ("%0 = unheard:float32\noutputs %0", "line 1, .*unheard"),
        ("%0 = const:float33 1\noutputs %0", "line 1, .*float33"),
        ("%0 = const:int8 1\n%1 = add:int8 %0 %0\n%2 = param:int8[#9] (0, (#9,))", "line 3"),
        ("%0 = range:index %0\n%1 = param:int8[#0] (0, (#0,))", "line 1"),
        ("%0 = const:int8 (1, (2\noutputs %0", "line 1"),
        ("%0 = const:int8 1 2\noutputs %0", "line 1, .*text after the attribute"),
        ("%0 = const:int8 1$\noutputs %0", "line 1, .*unexpected"),
        ("%0 = reduce:int8 foo\noutputs %0", "line 1"),
        ("%0 = const:float32 'x'\noutputs %0", "line 1"),
    ],
)
def test_other_text_is_refused_with_its_line(text, message):
    with pytest.raises(FormatError, match=message):
        from_text(text)


def test_deep_graphs_are_written_and_read_without_recursion():
    node = param(0, dt.int32, (1,))
    for i in range(3000):
        node = node * 3 + i

    assert from_text(to_text([node]))[0] is node
    assert "…" in expression(node)


def test_long_chains_get_names_in_pseudo_code():
    r = range_(0, 4)
    a = param(0, dt.float32, (4,))
    value = load(a, r)
    for i in range(2000):
        value = value * 2.0 + float(i)

    text = pseudo_code(Kernel((store(a, r, value),), (r,)))

    assert max(len(line) for line in text.splitlines()) < 150
    assert text.count("\n") > 100


def test_no_operation_shares_its_name_with_an_axis():
    assert not {axis.value for axis in Axis} & {*ops.TABLE, *forms.TABLE}
