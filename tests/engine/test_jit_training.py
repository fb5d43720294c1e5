"""Traps of captured functions: training steps, gradients, random numbers, modes."""

from __future__ import annotations

import numpy as np
import pytest

from inkle import Tensor, grad, jit, manual_seed, nn, no_grad, training, value_and_grad
from inkle.errors import GradientError, TraceError


def traces(function) -> int:
    return len(function.explain().splitlines())


@pytest.fixture
def x():
    return Tensor([1.0, 2.0])


class Net:
    def __init__(self):
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def __call__(self, x):
        return self.second(self.first(x).relu())


def make_training(optimizer=nn.optim.Adam):
    manual_seed(7)
    net = Net()
    opt = optimizer(nn.state.get_parameters(net), lr=0.1)

    def step(x, y):
        opt.zero_grad()
        loss = net(x).cross_entropy(y)
        loss.backward()
        opt.step()
        return loss

    return net, opt, step


def batch(number):
    rng = np.random.default_rng(number)
    return Tensor(rng.normal(size=(4, 3)).astype(np.float32)), Tensor(rng.integers(0, 2, 4))


@pytest.fixture(scope="module")
def eager_losses():
    _, _, step = make_training()
    return [step(*batch(i)).item() for i in range(4)]


def test_training_step_learns_as_eagerly_and_is_traced_once(eager_losses):
    _, _, step = make_training()
    captured = jit(step)

    losses = [captured(*batch(i)).item() for i in range(4)]

    assert losses == pytest.approx(eager_losses, rel=1e-5)
    assert traces(captured) == 1


def test_learning_rate_is_state(eager_losses):
    net, opt, step = make_training()
    captured = jit(step)
    captured(*batch(0))
    weight = net.first.weight.numpy()

    opt.lr = 0.0
    captured(*batch(1))

    assert (net.first.weight.numpy() == weight).all()
    assert traces(captured) == 1


def test_weights_loaded_between_calls_are_seen(eager_losses):
    net, opt, step = make_training()
    captured = jit(step)
    start = {name: each.clone().realize() for name, each in nn.state.get_state_dict(net).items()}
    state = {name: each.clone().realize() for name, each in opt.state_dict().items()}
    captured(*batch(0))
    captured(*batch(1))

    nn.state.load_state_dict(net, start)
    opt.load_state_dict(state)
    losses = [captured(*batch(i)).item() for i in range(4)]

    assert losses == pytest.approx(eager_losses, rel=1e-5)
    assert traces(captured) == 1


def test_parameters_replaced_by_others_are_seen():
    net = Net()
    run = jit(lambda x: net(x))
    x, _ = batch(0)
    run(x)

    net.first, other = nn.Linear(3, 4), Net()
    want = net(x).numpy()

    np.testing.assert_allclose(run(x).numpy(), want, rtol=1e-5)
    net = other
    np.testing.assert_allclose(run(x).numpy(), other(x).numpy(), rtol=1e-5)
    assert traces(run) == 1


def test_optimizer_created_inside(x):
    weight = Tensor([1.0, 1.0], requires_grad=True)
    made: list[nn.optim.Optimizer] = []

    @jit
    def step(x):
        if not made:
            made.append(nn.optim.SGD([weight], lr=0.5, momentum=0.5))
        made[0].zero_grad()
        (weight * x).sum().backward()
        made[0].step()

    for _ in range(3):
        step(x)

    # Movement by 1, 1.5 and 1.75 times the gradient x, times the learning rate.
    assert weight.tolist() == [1 - 0.5 * 4.25, 1 - 0.5 * 8.5]
    assert traces(step) == 2


def test_gradients_accumulate_across_calls(x):
    weight = Tensor([1.0, 1.0], requires_grad=True)

    @jit
    def backward(x):
        loss = (weight * x).sum()
        loss.backward()
        return loss

    for number in range(1, 4):
        backward(x)
        assert weight.grad.tolist() == [number * 1.0, number * 2.0]
    weight.grad = None
    backward(x)
    assert weight.grad.tolist() == [1.0, 2.0]
    assert traces(backward) == 2


def test_gradients_are_left_as_eagerly(x):
    weight = Tensor([1.0, 1.0], requires_grad=True)

    @jit
    def step(x):
        weight.grad = None
        (weight * weight * x).sum().backward()

    step(x)
    first = weight.grad
    weight.assign(Tensor([3.0, 3.0]))
    step(x)

    assert weight.grad.tolist() == [6.0, 12.0]
    assert first.tolist() == [2.0, 4.0]
    assert traces(step) == 1


def test_gradient_found_outside_is_an_input(x):
    weight = Tensor([1.0, 1.0], requires_grad=True)
    opt = nn.optim.SGD([weight], lr=1.0)

    @jit
    def step():
        opt.step()
        opt.zero_grad()

    for number in range(2):
        (weight * x * (number + 1)).sum().backward()
        step()

    assert weight.grad is None
    assert weight.tolist() == [1 - 3.0, 1 - 6.0]
    assert traces(step) == 1


def test_arguments_that_require_gradients():
    @jit
    def backward(x, scale):
        (x * x * scale).sum().backward()

    plain = Tensor([3.0])
    first, second = Tensor([1.0], requires_grad=True), Tensor([2.0], requires_grad=True)
    backward(first, plain)
    backward(second, plain)

    assert (first.grad.item(), second.grad.item()) == (6.0, 12.0)
    assert plain.grad is None
    assert traces(backward) == 1
    backward(first, second)
    assert (first.grad.item(), second.grad.item()) == (6.0 + 4.0, 12.0 + 1.0)


def test_gradient_functions_inside_and_around():
    def cube(x):
        return x * x * x

    assert jit(grad(cube))(Tensor(2.0)).item() == 12
    assert jit(grad(grad(cube)))(Tensor(2.0)).item() == 12
    value, slope = jit(value_and_grad(cube))(Tensor(3.0))
    assert (value.item(), slope.item()) == (27, 27)


def test_gradient_through_a_result_is_refused():
    weight = Tensor([2.0], requires_grad=True)
    scale = jit(lambda x: x * weight)
    other = Tensor([1.0], requires_grad=True)

    loss = (scale(Tensor([1.0])) * other).sum()

    with pytest.raises(GradientError, match="captured function; call backward"):
        loss.backward()
    assert other.grad is None
    (scale(Tensor([1.0])).detach() * other).sum().backward()
    assert other.grad.item() == 2.0


@pytest.mark.parametrize("realized", [False, True])
@pytest.mark.parametrize("as_argument", [False, True])
def test_gradient_to_what_was_computed_outside_is_refused(realized, as_argument):
    weight = Tensor([2.0], requires_grad=True)
    hidden = weight * 3
    if realized:
        hidden.realize()

    @jit
    def backward(*args):
        ((args or [hidden])[0] * 2).sum().backward()

    with pytest.raises(GradientError, match="captured function; call backward"):
        backward(*([hidden] if as_argument else []))
    hidden.sum().backward()  # the way is still there
    assert weight.grad.item() == 3.0


def test_result_of_a_training_step_requires_no_memory_of_the_graph():
    _, _, step = make_training()
    loss = jit(step)(*batch(0))

    assert loss.requires_grad
    assert (loss + 1).item() == pytest.approx(loss.item() + 1)
    assert not loss.detach().requires_grad


def test_random_numbers_advance_and_equal_the_eager_stream():
    def draw():
        return Tensor.rand(3), Tensor.randn(2), Tensor.randint(4, high=100)

    manual_seed(3)
    eager = [[each.tolist() for each in draw()] for _ in range(3)]
    captured = jit(draw)
    manual_seed(3)
    found = [[each.tolist() for each in captured()] for _ in range(3)]

    assert found == eager
    assert found[0] != found[1]
    assert traces(captured) == 1


def test_random_numbers_before_and_after_a_capture_are_those_of_the_stream():
    manual_seed(5)
    want = [Tensor.rand(1).item() for _ in range(3)]
    manual_seed(5)
    before = Tensor.rand(1)
    inside = jit(lambda: Tensor.rand(1))()
    after = Tensor.rand(1)

    assert [before.item(), inside.item(), after.item()] == want


def test_seeding_inside_is_refused():
    @jit
    def draw():
        manual_seed(0)
        return Tensor.rand(1)

    with pytest.raises(TraceError, match=r"test_jit_training.py:\d+: manual_seed inside"):
        draw()


def test_dropout_drops_others_at_every_call():
    drop = jit(lambda x: nn.Dropout(0.5)(x))
    x = Tensor.ones(64)

    assert drop(x).tolist() == [1.0] * 64
    with training():
        assert drop(x).tolist() != drop(x).tolist()


def test_batch_norm_moves_its_statistics_in_training_only():
    norm = nn.BatchNorm(2, affine=False)
    run = jit(lambda x: norm(x))
    x = Tensor([[1.0, 2.0], [3.0, 6.0]])

    run(x)
    assert norm.num_batches_tracked.item() == 0
    with training():
        run(x)
        run(x)
    assert norm.num_batches_tracked.item() == 2
    np.testing.assert_allclose(norm.running_mean.numpy(), [2 * 0.19, 4 * 0.19], rtol=1e-5)


def test_no_grad_inside_counts_where_it_stands(x):
    weight = Tensor([1.0, 1.0], requires_grad=True)

    @jit
    def step(x):
        with no_grad():
            factor = weight * 2
        (weight * factor * x).sum().backward()

    step(x)
    assert weight.grad.tolist() == [2.0, 4.0]


def test_gradient_of_a_tensor_that_the_function_makes():
    def step(x):
        w = Tensor.ones(3).detach()
        w.requires_grad_()
        (x * w).sum().backward()
        return w.grad

    assert jit(step)(Tensor([1.0, 2.0, 3.0])).tolist() == [1.0, 2.0, 3.0]
