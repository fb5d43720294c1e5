"""How many kernels: what is fused, what is stored, and that nothing is computed in vain."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.autodiff.reverse import gradient
from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import float32, int32
from inkle.ir.node import Node, const, intern
from inkle.ir.plan import Launch, Plan, Role, kernel_calls
from inkle.schedule import explain, schedule, side_by_side
from tests.schedule import networks as net
from tests.schedule.graphs import conv2d, matmul
from tests.schedule.networks import Leaves, relu, spread
from tests.schedule.running import FACTS, check


def count(*outputs: Node) -> int:
    return len(schedule(outputs).launches)


def stored_bytes(plan: Plan) -> int:
    return sum(m.size * m.dtype.itemsize for m in plan.memory if m.role is Role.TEMPORARY)


def passes_over(slot: int, launch: Launch) -> set[frozenset[Node]]:
    """Return the sets of loops in which a launch reads all of an input."""
    if slot not in launch.memory:
        return set()
    place = launch.memory.index(slot)
    nodes = launch.kernel.nodes()
    loads = [n for n in nodes if n.op is forms.LOAD and n.src[0].arg[0] == place]
    return {load.ranges for load in loads}


@pytest.mark.parametrize("columns", [10, 100, 1024, 4096])
def test_softmax_is_one_kernel(columns: int) -> None:
    assert count(net.softmax(Leaves().new(4096, columns))) == 1


def test_log_softmax_is_one_kernel() -> None:
    assert count(net.log_softmax(Leaves().new(4096, 1000))) == 1


def test_layer_norm_is_one_kernel() -> None:
    leaves = Leaves()
    assert count(net.layer_norm(leaves.new(512, 768), leaves.new(768), leaves.new(768))) == 1


def test_small_cross_entropy_is_one_kernel() -> None:
    leaves = Leaves()
    assert count(net.cross_entropy(leaves.new(512, 10), leaves.new(512, dtype=int32))) == 1


def test_cross_entropy_over_a_large_vocabulary_reads_rows_in_parallel() -> None:
    leaves = Leaves()
    plan = schedule([net.cross_entropy(leaves.new(4096, 50257), leaves.new(4096, dtype=int32))])

    assert len(plan.launches) == 2
    assert stored_bytes(plan) == 2 * 4096 * 4


def test_convolution_with_bias_and_relu_is_one_kernel() -> None:
    leaves = Leaves()
    y = conv2d(leaves.new(8, 16, 32, 32), leaves.new(32, 16, 3, 3), 1, 1)

    assert count(relu(y + spread(leaves.new(32), y.shape, 1))) == 1


def test_adam_is_one_kernel_per_parameter() -> None:
    leaves = Leaves()
    step = leaves.new()
    outputs = []
    for shape in ((300, 20), (40, 50), (777,)):
        outputs += net.adam(*[leaves.new(*shape) for _ in range(4)], step)

    assert count(*outputs) == 3


def test_small_vectors_of_one_size_share_a_kernel() -> None:
    leaves = Leaves()

    assert count(*[leaves.new(32) * float(i) for i in range(8)]) == 1


def test_two_matrix_products_are_two_kernels() -> None:
    leaves = Leaves()
    x, v, w = (leaves.new(64, 64) for _ in range(3))

    assert count(relu(matmul(matmul(x, v), w))) == 2


def test_heavy_operand_of_a_contraction_is_stored_once() -> None:
    leaves = Leaves()
    x, w = leaves.new(512, 512), leaves.new(512, 512)
    plan, reasons = explain([matmul(x.exp(), w)])

    assert len(plan.launches) == 2
    assert "operand of a contraction" in reasons[0].reasons[0]


def test_light_operand_of_small_contractions_is_stored_by_what_computes_it() -> None:
    """The loss of a small network: a launch of what is too short to be shared out is next to free.

    Its gradient, twice the difference by a constant, was computed in the loops of both products:
    each took 1.7 times as long.
    """
    leaves = Leaves()
    x, w, y, v = (leaves.new(*shape) for shape in ((32, 128), (128, 128), (32, 128), (128, 128)))
    difference = matmul(x, w) - y
    g = (difference + difference) * (1 / 4096)
    plan, reasons = explain([difference, matmul(tensor.permute(x, (1, 0)), g), matmul(g, v)])

    assert len(plan.launches) == 3
    assert any("operand of a contraction" in why for why in reasons[0].reasons)


def test_relu_of_a_convolution_is_stored_alone() -> None:
    """The mask of the backward pass comes from the result: the sum before it is not kept."""
    leaves = Leaves()
    x, w, b = leaves.new(16, 8, 24, 24), leaves.new(16, 8, 3, 3), leaves.new(16)
    y = relu(conv2d(x, w) + spread(b, (16, 16, 22, 22), 1))
    v = leaves.new(16, 16, 3, 3)
    z = conv2d(y, v)
    grads = gradient([z], [leaves.new(*z.shape)], [w, b, v])

    plan = schedule([each for each in grads if each is not None])

    image = 16 * 16 * 22 * 22
    assert sum(m.size == image for m in plan.memory if m.role is Role.TEMPORARY) == 2  # y and dy


@pytest.mark.parametrize(("pooled", "most"), [(False, 4), (True, 6)])
def test_batch_norm_takes_one_pass_for_the_sums_of_its_gradient(pooled: bool, most: int) -> None:
    """Mean, variance, y, mask of the maximum; all sums, that of the mean too; gradient of x.

    Without pooling the sums join those of the variance, and the gradient of x joins y.
    """
    leaves = Leaves()
    x, gain, bias = leaves.new(64, 16, 20, 20), leaves.new(16), leaves.new(16)
    y, _, _ = net.batch_norm(x, gain, bias)
    y = net.max_pool(y) if pooled else y
    grads = gradient([y], [leaves.new(*y.shape)], [x, gain, bias])

    plan = schedule([tensor.contiguous(y), *[each for each in grads if each is not None]])

    passes = [loops for launch in plan.launches for loops in passes_over(x.arg[0], launch)]
    assert len(passes) <= most


@pytest.mark.parametrize("facts", range(len(FACTS)))
@pytest.mark.parametrize(
    ("shape", "size"), [((2, 3, 4, 6), 2), ((1, 1, 2, 2), 2), ((3, 2, 5, 7), 2), ((2, 2, 6, 9), 3)]
)
def test_a_maximum_of_windows_and_where_it_is_come_from_one_kernel(
    shape: tuple[int, ...], size: int, facts: int
) -> None:
    """The kernel of the windows stores the maximum, how many attain it, and which ones."""
    leaves = Leaves()
    x = leaves.new(*shape)
    y = net.max_pool(x * 0.5 + 1.0, size)
    (gx,) = gradient([y], [leaves.new(*y.shape)], [x])
    rng = np.random.default_rng(0)
    arrays = {leaf: rng.integers(-2, 3, leaf.shape).astype(np.float32) for leaf in leaves.all}

    check([y, gx], arrays, FACTS[facts])


def test_the_mask_of_a_maximum_takes_no_kernel_of_its_own() -> None:
    """Forward: convolution, pooling with its mask and counts, product. Back: the product divided
    by the counts, and the gradient of the convolution's result.
    """
    leaves = Leaves()
    x, w, v = leaves.new(64, 8, 26, 26), leaves.new(16, 8, 3, 3), leaves.new(16 * 12 * 12, 10)
    y = relu(conv2d(x, w))
    pooled = tensor.reshape(net.max_pool(y), (64, 16 * 12 * 12))
    (grad,) = gradient([matmul(pooled, v)], [leaves.new(64, 10)], [y])
    assert grad is not None

    plan = schedule([matmul(pooled, v), grad])

    calls = kernel_calls(plan.launches)
    assert [len(launch.kernel.stores) for launch, _ in calls] == [1, 3, 1, 1, 1]


def test_a_large_table_does_not_keep_a_gather_out_of_a_row() -> None:
    """What it reads are the rows it takes; the mean and the variance go over them again."""
    leaves = Leaves()
    table, at = leaves.new(50_000, 128), leaves.new(64, dtype=int32)
    rows = tensor.gather(table, [tensor.expand(tensor.reshape(at, (64, 1)), (64, 128))], [-1, 1])

    assert count(net.layer_norm(rows, leaves.new(128), leaves.new(128))) == 1


def test_batch_norm_is_one_kernel_where_its_data_stay_in_cache() -> None:
    leaves = Leaves()
    gain, bias = leaves.new(32), leaves.new(32)

    assert count(net.batch_norm(leaves.new(16, 32, 28, 28), gain, bias)[0]) == 1
    assert count(net.batch_norm(leaves.new(64, 32, 56, 56), gain, bias)[0]) == 2


def test_a_softmax_along_columns_keeps_its_vectors() -> None:
    """One kernel would go down each 16 columns three times, far apart in memory."""
    x = Leaves().new(4096, 1024)
    top = tensor.unreduce(tensor.reduce(x, ops.MAXIMUM, (0,)), x.shape, (0,))
    e = (x - top).exp()

    assert count(e / tensor.unreduce(tensor.reduce(e, ops.ADD, (0,)), x.shape, (0,))) == 2


def test_no_convolution_stores_its_windows() -> None:
    plan = schedule(net.mnist_step(64))

    largest = max(m.size for m in plan.memory if m.role is Role.TEMPORARY)
    assert largest <= 64 * 32 * 24 * 24


@pytest.mark.parametrize("batch", [32, 512])
def test_mnist_training_step_has_few_kernels(batch: int) -> None:
    plan = side_by_side(schedule(net.mnist_step(batch)))

    assert len(plan.launches) <= 36
    assert len(plan.groups()) <= 25


def test_indices_of_a_training_step_have_no_division() -> None:
    plan = schedule(net.mnist_step(512))

    for launch, _ in kernel_calls(plan.launches):
        for node in launch.kernel.nodes():
            if node.dtype.name == "index":
                assert node.op not in (ops.FLOORDIV, ops.FLOORMOD, ops.TRUNCDIV, ops.TRUNCMOD)


def test_long_reductions_go_in_two_stages() -> None:
    plan = schedule([tensor.reduce(Leaves().new(4096, 4096), ops.ADD, (0, 1))])

    assert len(plan.launches) == 2
    assert stored_bytes(plan) <= 4096 * 4


def test_equal_layers_are_equal_kernels() -> None:
    leaves = Leaves()
    x = leaves.new(128, 256)
    for _ in range(6):
        x = net.layer_norm(x, leaves.new(256), leaves.new(256))
        x = relu(matmul(x, leaves.new(256, 256)) + spread(leaves.new(256), (128, 256), 1))

    kernels = [launch.kernel for launch in schedule([x]).launches]

    assert len(kernels) == 12
    assert len({(kernel.stores, kernel.order) for kernel in kernels}) == 2


def test_the_same_graph_gives_the_same_plan() -> None:
    assert schedule(net.mnist_step(32)) == schedule(net.mnist_step(32))


def test_equal_output_nodes_share_memory() -> None:
    x = Leaves().new(10)

    plan = schedule([x + 1.0, x + 1.0, x])

    assert len(plan.launches) == 1
    assert plan.outputs[0] == plan.outputs[1]
    assert plan.memory[plan.outputs[2]].role is Role.INPUT


def test_a_reshaped_output_is_not_copied() -> None:
    x = Leaves().new(4, 6)

    plan = schedule([tensor.reshape(x * 2.0, (24,)), x * 2.0, tensor.reshape(x, (3, 8))])

    assert len(plan.launches) == 1
    assert plan.outputs[0] == plan.outputs[1]


def test_gates_do_not_leak() -> None:
    """0 * inf beside a padded value is NaN only where the graph says so."""
    leaves = Leaves()
    x, y = leaves.new(4), leaves.new(6)
    inner = tensor.pad(x, ((1, 1, 0),)) * y
    outer = tensor.reduce(tensor.pad(inner, ((0, 2, 0),)), ops.MAXIMUM, (0,))
    arrays = {
        x: np.array([1, 2, np.inf, 4], np.float32),
        y: np.array([np.inf, 1, 1, 1, 1, 1], np.float32),
    }

    check([inner, outer], arrays)


def test_kernels_know_the_lines_of_the_program() -> None:
    x = Leaves().new(77)
    y = x * 3.25
    y.origin = "model.py:7"

    [launch] = schedule([y]).launches

    assert launch.lines == ("model.py:7",)


def test_every_launch_has_a_reason() -> None:
    plan, reasons = explain(net.mnist_step(16))

    assert len(plan.launches) == len(reasons)
    assert all(reason.stores and all(reason.reasons) for reason in reasons)


def test_a_constant_needs_no_input() -> None:
    plan = schedule([tensor.full(2.5, float32, (3, 4)), const(1, int32)])

    assert [launch.memory for launch in plan.launches] == [(0,), (1,)]


def test_variables_are_values() -> None:
    n = intern(forms.VARIABLE, int32, (), ("n", 0, 9), ())

    [launch] = schedule([n + 1]).launches

    assert n in launch.kernel.nodes()


def test_kernels_that_wait_for_each_other_are_not_fused() -> None:
    """Small vectors all: a chain leads out of the group and back."""
    leaves = Leaves()
    x, w = leaves.new(8), leaves.new(8, 8)
    late = leaves.new(8)
    for _ in range(4):  # a long way to something else that the group reads
        late = tensor.reshape(matmul(tensor.reshape(late, (1, 8)), w), (8,))
    y = x + 1.0
    z = y
    for _ in range(3):  # contractions cannot join: the chain leaves the group
        z = tensor.reshape(matmul(tensor.reshape(z * 2.0, (1, 8)), w), (8,))
    outputs = [y, late + y, z + y, late * 3.0, z * 2.0 + late]

    check(outputs, {leaf: np.ones(leaf.shape, np.float32) for leaf in leaves.all})


def test_kernels_that_others_joined_wait_for_what_these_wait_for() -> None:
    """The last one, of four elements, must not join the one of four that the second waits for."""
    leaves = Leaves()

    def first(x: Node, n: int) -> Node:
        return tensor.expand(tensor.shrink(x, 0, 0, 1), (n,))

    early = leaves.new(3).exp()
    sums = tensor.reduce(leaves.new(5, 7), ops.ADD, (1,))
    total = tensor.reshape(tensor.reduce(sums.exp(), ops.ADD, (0,)), (1,))
    four = tensor.expand(total, (4,)) + leaves.new(4)
    joins_early = leaves.new(3) + first(four, 3).exp()
    six = first(early, 6) * leaves.new(6)
    last = first(six, 4).exp() + leaves.new(4)

    arrays = {leaf: np.full(leaf.shape, 0.25, np.float32) for leaf in leaves.all}
    check([six, joins_early, last, four, total, sums, early], arrays)
