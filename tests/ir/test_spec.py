"""Each rule of the specs is broken once."""

from __future__ import annotations

import pytest

from inkle import config
from inkle.errors import SpecError
from inkle.ir import dtype as dt
from inkle.ir import forms, ops, tensor
from inkle.ir.loop import Axis, Kernel, load, prefix, range_, reduce, stage, store
from inkle.ir.node import const, intern
from inkle.ir.spec import check_loop, check_tensor, verify
from inkle.ir.tensor import arange, buffer, param

# Slots that no graph of another test uses: a wrong node would be a living right one, if one exists.
X = param(70, dt.float32, (2, 3))
A, B = (param(slot, dt.float32, (8,)) for slot in (71, 72))
R, S = range_(0, 8), range_(1, 8)


def make(op, dtype, src=(), arg=None, shape=()):
    return intern(op, dtype, tuple(src), arg, shape)


def test_sound_tensor_graphs_pass():
    index = tensor.expand(tensor.reshape(arange(2), (2, 1)), (2, 3))
    check_tensor(
        [
            tensor.reduce(tensor.pad(X * 2.0, [(1, 0, 2), (0, 0, 0)]), ops.MAXIMUM, (0, 1)),
            tensor.gather(X, [index], (-1, 1)), tensor.scatter(X, X, [index], (-1, 1), ops.ADD),
            tensor.cat([X, X], 0),
            tensor.update(X, tensor.shrink(X, 0, 0, 1), [(0, 1, 1), (0, 3, 1)]),
            tensor.shear(X, 0, 1, 2), tensor.flip(X, [1]), tensor.permute(X, (1, 0)),
            buffer(dt.int8, (0,)), X.bitcast(dt.int32), X.cast(dt.bool_), tensor.detach(X),
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    "build, rule",
    [
        (lambda: make(ops.ADD, dt.float32, [X, X], shape=(3, 2)), "sources of its own shape"),
        (lambda: make(ops.ADD, dt.float64, [X, X], shape=(2, 3)),
         "add must be float32, not float64"),
        (lambda: make(ops.ADD, dt.float32, [X, A], shape=(2, 3)), "sources of its own shape"),
        (lambda: make(ops.ADD, dt.float32, [X], shape=(2, 3)), "add needs 2 sources"),
        (lambda: make(ops.AND, dt.float32, [X, X], shape=(2, 3)), "and needs bool, int, uint"),
        (lambda: make(ops.LESS, dt.float32, [X, X], shape=(2, 3)), "less must be bool"),
        (lambda: make(ops.BITCAST, dt.int8, [X], shape=(2, 3)), "equal widths"),
        (lambda: make(forms.RESHAPE, dt.float32, [X], (3, 3), (3, 3)), "refused .*equal products"),
        (lambda: make(forms.RESHAPE, dt.float32, [X], (3, 2), (2, 3)), r"must have shape \(3, 2\)"),
        (lambda: make(forms.RESHAPE, dt.int32, [X], (3, 2), (3, 2)), "reshape must be float32"),
        (lambda: make(forms.PERMUTE, dt.float32, [X], (0, 0), (2, 2)), "refused .*each axis"),
        (lambda: make(forms.EXPAND, dt.float32, [X], (4, 3), (4, 3)), "refused"),
        (lambda: make(forms.SLICE, dt.float32, [X], ((0, 9, 1), (0, 3, 1)), (9, 3)), "refused"),
        (lambda: make(forms.SHEAR, dt.float32, [X], (0, 0, 1), (2, 3)), "refused"),
        (lambda: make(forms.REDUCE, dt.float32, [X], (ops.SUB, (0,)), (3,)),
         "refused .*no identity"),
        (lambda: make(forms.REDUCE, dt.float32, [X], (ops.ADD, (0,)), (2,)),
         r"must have shape \(3,\)"),
        (lambda: make(forms.CAT, dt.float32, [X, A], 0, (10,)), "refused"),
        (lambda: make(forms.PARAM, dt.float32, (), (98765, (4,)), (5,)), "has the shape in arg"),
        (lambda: make(forms.CONST, dt.float32, (), 12345), "a constant float32 holds float"),
        (lambda: make(forms.CONST, dt.bool_, (), 7), "a constant bool holds bool"),
        (lambda: make(forms.CONST, dt.int8, (), 300), "must fit int8"),
        (lambda: make(forms.RANGE, dt.index, [const(3, dt.index)], (0, Axis.LOOP)),
         "no place in the tensor"),
    ],
)  # fmt: skip
def test_unsound_tensor_graphs_are_refused(build, rule):
    with pytest.raises(SpecError, match=rule):
        check_tensor([build()])  # built here: a node like it of another shape would be shared


def kernel(*stores, order=(R,)):
    return Kernel(stores, tuple(order))


def test_sound_kernels_pass():
    lane, tile_range = range_(2, 8, Axis.LANE), range_(3, 8, Axis.LANE)
    tile = stage(0, load(B, tile_range), tile_range, [tile_range], 8)
    inner = range_(4, R + 1)
    sums = [reduce(op, load(B, S), [S]) for op in (ops.ADD, ops.MAXIMUM)]  # one loop, two sums

    check_loop(kernel(store(A, R, sums[0] / sums[1]), order=(R, S)))
    check_loop(kernel(store(A, lane, load(tile, lane)), order=()))
    check_loop(running())
    check_loop(kernel(store(A, inner, load(B, R, R < 3), combine=ops.ADD), order=(R, inner)))


def nested():
    inside = reduce(ops.ADD, load(B, S), [S])
    return store(A, R, reduce(ops.ADD, load(B, S) * inside, [S]))


def fold(op, *ranges):
    return make(forms.REDUCE, dt.float32, [load(B, S), *ranges], (op,))


def running(initial=None, places=(S,), following=None, over=(S,), count=1, outside=False):
    """Return a kernel that folds B along S; each argument can break a rule of it."""
    initial = const(0.0, dt.float32) if initial is None else initial
    state = make(forms.CARRY, initial.dtype, [initial, *places], (0,))
    new = state + load(B, S) if following is None else following
    value = make(forms.FOLD, dt.float32, [load(B, S), state, new, *over], (count,))
    return kernel(store(A, S, value + state if outside else value), order=(S,))


TWO_LANES = store(A, range_(2, 2, Axis.LANE) + range_(3, 4, Axis.LANE), const(0.0, dt.float32))


@pytest.mark.parametrize(
    "build, rule",
    [
        (lambda: kernel(make(forms.STORE, dt.void, [A, R, const(1, dt.int32)])),
         "store of int32 into float32"),
        (lambda: kernel(load(B, R)),
         "roots of a kernel are stores"),
        (lambda: kernel(store(A, R.cast(dt.int32), load(B, R))),
         "position of dtype index"),
        (lambda: kernel(store(A, R, load(B, R, R))),
         "gate of load is bool"),
        (lambda: kernel(store(A, R, make(forms.LOAD, dt.int32, [B, R]).cast(dt.float32))),
         "dtype of its memory"),
        (lambda: kernel(store(A, R, make(ops.NEG, dt.float32, [B]))),
         "memory, used by accesses only"),
        (lambda: kernel(store(A, R, load(B, R), combine=ops.SUB)),
         "associative operation"),
        (lambda: kernel(store(A, R, tensor.reshape(B, (2, 4)))),
         "value of a kernel is a scalar"),
        (lambda: kernel(store(A, R, make(forms.RESHAPE, dt.float32, [load(B, R)], ()))),
         "no place in the loop"),
        (lambda: kernel(store(A, R, load(B, R)), order=()),
         "order misses a range"),
        (lambda: kernel(store(A, R, load(B, R)), order=(R, R)),
         "order holds a range once"),
        (lambda: kernel(store(A, R, load(B, R)), order=(R, S)),
         "order holds the GRID"),
        (lambda: kernel(store(A, range_(5, R + 1), load(B, R)), order=(range_(5, R + 1), R)),
         "after those of its"),
        (lambda: kernel(store(A, R, load(B, range_(0, 4)) + load(B, R)), order=(R, range_(0, 4))),
         "number is used once"),
        (lambda: kernel(store(A, R, load(param(71, dt.float32, (9,)), R) + load(B, R))),
         "a slot has one dtype"),
        (lambda: kernel(nested(), order=(R, S)),
         "bound inside"),
        (lambda: kernel(store(A, R, reduce(ops.ADD, load(B, R), [R]))),
         "a store depends on"),
        (lambda: kernel(store(A, R, fold(ops.ADD, S, S)), order=(R, S)),
         "binds a range once"),
        (lambda: kernel(store(A, R, fold(ops.SUB, S)), order=(R, S)),
         "sub cannot reduce"),
        (lambda: kernel(store(A, reduce(ops.MAXIMUM, S, [S]), load(B, R)), order=(R, S)),
         "no identity for index"),
        (lambda: kernel(TWO_LANES, order=()),
         "at most one LANE"),
        (lambda: running(count=2),
         "fold carries, and runs over ranges"),
        (lambda: running(over=(S + 1,)),
         "fold runs over ranges"),
        (lambda: running(over=(range_(1, 8, Axis.LANE),)),
         "one after the other"),
        (lambda: running(following=load(B, S).cast(dt.int32)),
         "keeps its dtype"),
        (lambda: running(places=()),
         "differs from point to point"),
        (lambda: running(following=load(B, S) * load(B, R)),
         "differs by all that follows"),
        (lambda: running(initial=load(B, S)),
         "begins before its ranges"),
        (lambda: running(outside=True),
         "inside of its fold"),
        (lambda: kernel(store(A, R * 0 + S, prefix(ops.ADD, load(B, R), [R, S])), order=(S, R)),
         "loops nest as a prefix"),
    ],
)  # fmt: skip
def test_unsound_kernels_are_refused(build, rule):
    with pytest.raises(SpecError, match=rule):
        check_loop(build())


def test_verify_names_the_pass_and_can_be_switched_off():
    broken = kernel(store(A, R, load(B, R)), order=())

    with pytest.raises(SpecError, match="after split: order misses a range"):
        verify(broken, "split")
    with config.Context(INKLE_CHECK=False):
        verify(broken, "split")
    verify([X + 1.0], "fuse")
