"""Structural operations of the tensor form and of the loop form, one sentence of semantics each.

Elementwise operations (`inkle.ir.ops`) belong to both forms. Constructors that check and infer live
in `inkle.ir.tensor` and `inkle.ir.loop`; which operation is legal where, in `inkle.ir.spec`.
"""

from __future__ import annotations

from inkle.ir.op import Op

# --- leaves ---------------------------------------------------------------------------------------

CONST = Op("const", 0, text="A literal `arg`; scalar; an elementwise op broadcasts it.")
BUFFER = Op("buffer", 0, text="The elements of storage number arg[0], of shape arg[1], row major.")
PARAM = Op("param", 0, text="Argument number arg[0] of a program or kernel, of shape arg[1].")
VARIABLE = Op("variable", 0, text="An integer known at launch: arg is (name, lowest, highest).")
ARANGE = Op("arange", 0, text="0, 1, ..., arg - 1.")

# --- tensor form ----------------------------------------------------------------------------------

RESHAPE = Op("reshape", 1, text="The same elements in row-major order, of shape `arg`.")
PERMUTE = Op("permute", 1, text="Axis i of the result is axis arg[i] of the source.")
EXPAND = Op("expand", 1, text="Axes of length 1 are repeated to the lengths in `arg`.")
SLICE = Op("slice", 1, text="Along axis i, elements range(*arg[i]); each step is positive.")
PAD = Op("pad", 1, text="Zeros around and between: arg[i] is (low, high, interior), all >= 0.")
FLIP = Op("flip", 1, text="Axes in `arg` are reversed.")
SHEAR = Op(
    "shear", 1,
    text="arg is (axis, by, factor): out[.., i, .., j, ..] = x[.., i + factor*j, .., j, ..]; "
    "0 outside.",
)  # fmt: skip
REDUCE = Op(
    "reduce", -1,
    text="Combine with the op arg[0]. Tensor form: over the axes arg[1], which vanish. "
    "Loop form: arg is (op,) and src is (value, *ranges).",
)  # fmt: skip
PREFIX = Op(
    "prefix", -1,
    text="The running combination with the op arg[0]: of each element and all before it. Tensor "
    "form: along the axis arg[1]. Loop form: arg is (op,) and src is (value, *ranges), the ranges "
    "from outer to inner; unlike those of a REDUCE they stay open.",
)  # fmt: skip
GATHER = Op(
    "gather", -1,
    text="src is (x, *indices), indices of the result's shape; axis i of x is read at index arg[i] "
    "if arg[i] < 0 (indices[-arg[i] - 1]), else at result coordinate arg[i]. Negative indices wrap "
    "once; others outside read 0.",
)  # fmt: skip
SCATTER = Op(
    "scatter", -1,
    text="src is (base, values, *indices), arg is (combine or None, map): base with values put "
    "where GATHER with this map would read; duplicates combine in row-major order; outside is "
    "dropped.",
)  # fmt: skip
CAT = Op("cat", -1, text="Sources one after the other along axis `arg`.")
UPDATE = Op(
    "update", 2,
    text="src is (base, values); arg is one (start, stop, step) per axis: base with that region "
    "replaced. The next version of a storage.",
)  # fmt: skip
SCAN = Op(
    "scan", -1,
    text="A loop over time; arg is (recurrence, result, rows), src the initial values of what is "
    "carried, arrays of which each step sees one row, and what all steps share. The result: all or "
    "the last two of the values of carried number `result`, or its value at each step for a node "
    "of the recurrence (`inkle.ir.scan`).",
)  # fmt: skip
HOST = Op(
    "host", -1,
    text="What a library function makes of arrays; arg says which (`inkle.ir.host.Call`). Loop "
    "form: the value of the only STORE, of LOADs at 0, which stand for whole arrays.",
)  # fmt: skip
CONTIGUOUS = Op("contiguous", 1, text="The source, stored in memory in row-major order.")
DETACH = Op(
    "detach", 1,
    text="The source, through which no gradient flows; arg is None or the number of the parameter "
    "whose value it is, so that equal parameters stay different leaves.",
)  # fmt: skip
COPY = Op("copy", 1, text="The source on device `arg`.")
GRADIENT = Op(
    "gradient", 3,
    text="src is (y, g, x): the gradient of the sum of y * g by x, which y was computed from; "
    "written out when a graph is made canonical.",
)  # fmt: skip

# --- loop form ------------------------------------------------------------------------------------

RANGE = Op("range", 1, text="Runs over 0 .. src[0] - 1; arg is (number, Axis).")
LOAD = Op("load", -1, text="src is (memory, index[, gate]): the element, or 0 where not gate.")
STORE = Op(
    "store", -1,
    text="src is (memory, index, value[, gate]); writes where gate; arg is None or a combining op, "
    "then memory[index] = op(memory[index], value).",
)  # fmt: skip
STAGE = Op(
    "stage", -1,
    text="Fast memory filled once its outer loops are open: src is (value, index, *ranges), "
    "arg is (number, size).",
)  # fmt: skip
CARRY = Op(
    "carry", -1,
    text="What a FOLD hands on from point to point, before this one: src is (initial, *places), "
    "the places being all that it differs by; arg is (number,).",
)  # fmt: skip
FOLD = Op(
    "fold", -1,
    text="A loop with a state: src is (value, *carries, *following, *ranges), arg is (how many "
    "carries,). At each point of the ranges, one after the other, outer to inner, the value; then "
    "each CARRY becomes what follows. The ranges stay open, as those of a PREFIX.",
)  # fmt: skip
DOT = Op(
    "dot", -1,
    text="The product of two tiles by the instruction `arg` (`inkle.ir.dot`), its element at "
    "(lane, register): src is (a, b, lane, register, *ranges); a and b run over the lanes ranges[0]"
    " and the registers ranges[1] and ranges[2].",
)  # fmt: skip

TABLE: dict[str, Op] = {op.name: op for op in list(globals().values()) if isinstance(op, Op)}
MOVEMENT = frozenset({RESHAPE, PERMUTE, EXPAND, SLICE, PAD, FLIP, SHEAR})
