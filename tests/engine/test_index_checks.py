"""Checked mode looks at indices: what is computed besides, and what an error leaves behind."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import inkle
from inkle import Context, Tensor, jit
from inkle.engine import realize
from inkle.engine.index_checks import index_checks
from inkle.errors import IndexRangeError


def ints(*values):
    return Tensor(np.array(values))


def checked(*tensors) -> list[tuple[str, int]]:
    return [
        (each.what.split()[-1], getattr(each, "axis", None))
        for each in index_checks([t.node for t in tensors])
    ]


# --- which indices are looked at ------------------------------------------------------------------


def test_index_that_is_proved_in_range_costs_nothing():
    table, i = Tensor.arange(10), ints(3, 90)

    assert checked(table[i]) == [("gather", 0)]
    assert checked(table[i % 10]) == []
    assert checked(table[i.clamp(-10, 9)]) == []
    assert checked(table[Tensor.arange(4) * 3]) == []
    assert checked(Tensor.arange(256)[i.cast("uint8")]) == []


def test_nothing_is_looked_at_outside_of_checked_mode():
    with Context(INKLE_CHECK=False):
        assert checked(Tensor.arange(10)[ints(90)]) == []


def test_embedding_and_its_gradient_share_a_check():
    weight, i = Tensor.ones(5, 3).requires_grad_(), ints(0, 4)
    loss = (i.embedding(weight) * 2).sum()

    loss.backward()

    assert checked(loss, weight.grad) == [("gather", 0)]


def test_what_has_been_computed_is_not_looked_at_again():
    rows = Tensor.arange(10)[ints(3, 4)].realize()

    assert checked(rows + 1) == []


def test_functions_that_compute_their_own_indices_need_no_check():
    for n in (5, 32, 33, 64, 200):
        x = Tensor(np.zeros((2, n), np.float32))

        assert checked(*x.sort(1), *x.topk(3), x.argsort(1, descending=True)) == []


# --- capture --------------------------------------------------------------------------------------


def test_replay_raises_and_leaves_the_state_as_it_was():
    state, table = Tensor([0.0]), Tensor([1.0, 2.0, 3.0])

    @jit
    def step(i):
        state.assign(state + 1)
        return table[i]

    assert step(ints(0, -1)).tolist() == [1.0, 3.0]
    for _ in range(2):
        with pytest.raises(IndexRangeError, match=r"test_index_checks\.py:\d+: .* index 5 "):
            step(ints(1, 5))

    assert state.tolist() == [1.0]
    assert step(ints(1, 2)).tolist() == [2.0, 3.0]
    assert state.tolist() == [2.0]


def test_first_call_raises_and_leaves_the_state_as_it_was():
    table = Tensor([1.0, 2.0, 3.0])

    @jit
    def write(i, values):
        table[i] = values

    with pytest.raises(IndexRangeError, match=r"scatter: index -4 at position \(1,\)"):
        write(ints(0, -4), Tensor([7.0, 8.0]))

    assert table.tolist() == [1.0, 2.0, 3.0]
    write(ints(0, -1), Tensor([7.0, 8.0]))
    assert table.tolist() == [7.0, 2.0, 8.0]


def test_capture_knows_whether_it_was_made_in_checked_mode():
    read = jit(lambda table, i: table[i])
    table, i = Tensor([1.0, 2.0]), ints(0, 9)

    with Context(INKLE_CHECK=False):
        assert read(table, i).tolist() == [1.0, 0.0]
    with pytest.raises(IndexRangeError):
        read(table, i)
    with Context(INKLE_CHECK=False):
        assert read(table, i).tolist() == [1.0, 0.0]


# --- the message ----------------------------------------------------------------------------------


def test_graphs_of_equal_structure_name_their_own_lines():
    table, i = Tensor([1.0, 2.0]), ints(9)
    first, second = table[i], Tensor([3.0, 4.0])[i]
    messages = []

    for each in (first, second):
        with pytest.raises(IndexRangeError) as caught:
            each.realize()
        messages.append(str(caught.value))

    assert messages[0] == messages[1]  # one line here
    third = table[i + 0]
    with pytest.raises(IndexRangeError) as caught:
        third.realize()
    assert str(caught.value).split(":")[1] != messages[0].split(":")[1]


def test_first_of_several_wrong_indices_is_named():
    values = np.zeros(100_000, np.int64)
    values[[70_000, 70_001, 99_999]] = 12, 13, 14

    with pytest.raises(IndexRangeError, match=r"index 12 at position \(70000,\) of the index"):
        Tensor.arange(10)[Tensor(values)].realize()


def test_threads_get_errors_of_their_own():
    table, failed = Tensor.arange(10), []

    def read(last):
        for _ in range(20):
            try:
                table[ints(0, last)].tolist()
            except IndexRangeError as error:
                failed.append((last, f"index {last} " in str(error)))

    threads = [threading.Thread(target=read, args=(last,)) for last in (5, 10, 11)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert sorted(failed) == [(10, True)] * 20 + [(11, True)] * 20


def test_run_itself_gives_zeros():
    graph, leaves = realize.canonicalize([Tensor.arange(3)[ints(9)].node])

    (buffer,) = realize.run(graph, leaves)

    assert buffer.numpy(np.int64, (1,)).tolist() == [0]


# --- classes of losses ----------------------------------------------------------------------------


def test_classes_that_do_not_exist_are_an_error_in_checked_mode():
    x, nowhere = Tensor([[1.0, 2.0], [3.0, 4.0]]), ints(0, 2)

    with pytest.raises(IndexRangeError, match=r"cross_entropy: class 2 at position \(1,\) of the"):
        x.cross_entropy(nowhere).item()
    with pytest.raises(IndexRangeError, match=r"nll_loss: class -1 .* not the ignored -100"):
        x.nll_loss(ints(0, -1)).item()
    with Context(INKLE_CHECK=False):
        losses = x.cross_entropy(nowhere, reduction="none").tolist()

    assert losses == [pytest.approx(1.3132617), 0.0]


def test_ignored_classes_are_none_of_these():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])

    assert x.cross_entropy(ints(0, -100)).item() == x[:1].cross_entropy(ints(0)).item()
    assert x.cross_entropy(ints(0, 7), ignore_index=7).item() == pytest.approx(1.3132617)
    assert x.sparse_categorical_crossentropy(ints(0, -1)).item() == pytest.approx(1.3132617)
    assert checked(x.cross_entropy(ints(0, 9) % 2)) == []


def test_integers_of_a_loss_may_be_used_elsewhere():
    x, labels = Tensor([[1.0, 2.0], [3.0, 4.0]]), ints(0, 9).detach()
    loss = x.cross_entropy(labels)

    assert labels.one_hot(3).tolist() == [[1, 0, 0], [0, 0, 0]]
    assert (labels + 1).tolist() == [1, 10]
    with pytest.raises(IndexRangeError):
        loss.item()


def test_wrong_class_in_a_captured_training_step_changes_nothing():
    weight = Tensor([[1.0, 2.0], [3.0, 4.0]]).requires_grad_()

    @jit
    def step(labels):
        weight.grad = None
        weight.cross_entropy(labels).backward()
        weight.assign(weight - weight.grad)

    step(ints(0, 1))
    before = weight.tolist()
    with pytest.raises(IndexRangeError, match="class 5 at position"):
        step(ints(5, 1))

    assert weight.tolist() == before
    step(ints(1, 1))
    assert weight.tolist() != before


# --- loops over time ------------------------------------------------------------------------------

TABLE = Tensor(np.arange(12.0).reshape(4, 3))
GOOD, BAD = [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]], [[5.0, 0.0, 0.0], [2.0, 0.0, 0.0]]


def look_up(s, x):
    return s * 0 + x, TABLE[s.sum().cast("int64")]  # s: the row before


def last_look(xs, **options):
    return inkle.scan(look_up, Tensor(np.zeros(3)), xs, **options)[1]


def test_index_in_a_step_is_found_with_its_line_row_and_loop():
    message = (
        r"test_index_checks\.py:\d+: gather in row 1 of the loop over time of "
        r"test_index_checks\.py:\d+: index 5 is out of range for axis 0 with 4 elements"
    )

    assert last_look(Tensor(GOOD)).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(IndexRangeError, match=message):
        last_look(Tensor(BAD)).tolist()
    with pytest.raises(IndexRangeError, match="row 0 of the loop"):
        last_look(Tensor(BAD[::-1]), reverse=True).tolist()


def test_index_in_a_loop_in_a_loop_names_both_rows():
    def outer(total, factor):
        return total + last_look(Tensor(BAD) * factor).sum(), None

    with pytest.raises(IndexRangeError, match=r"in row 1 of the loop .* in row 2 of the loop"):
        inkle.scan(outer, Tensor(0.0).double(), Tensor([0.0, 0.5, 1.0]).double())[0].item()


def test_index_in_a_captured_loop_is_found_at_its_call_and_state_stays():
    state = Tensor(np.zeros(3))

    @jit
    def step(xs):
        last, rows = inkle.scan(look_up, state, xs)
        state.assign(last)
        return rows

    step(Tensor(GOOD))
    with pytest.raises(IndexRangeError, match="row 1 of the loop"):
        step(Tensor(BAD))

    assert state.tolist() == [2, 0, 0]
    assert step(Tensor(GOOD)).tolist() == [[6, 7, 8], [3, 4, 5]]


def test_class_in_a_step_is_found():
    def loss(s, x):
        return s * 0 + x, (s + x)[None].cross_entropy(s.sum().cast("int64")[None])

    with pytest.raises(IndexRangeError, match=r"cross_entropy in row 1 of the loop .* class 5"):
        inkle.scan(loss, Tensor(np.zeros(3)), Tensor(BAD))[1].tolist()


def test_gradients_of_a_loop_share_its_checks():
    start = Tensor(np.zeros(3), requires_grad=True)
    _, rows = inkle.scan(look_up, start, Tensor(GOOD))
    rows.sum().backward()

    assert len(checked(rows, start.grad)) == 1
