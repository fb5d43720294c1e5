"""Time training steps of a small network, where Python is what costs, beside PyTorch and JAX.

    python benchmarks/small_steps.py             medians and ratios
    python benchmarks/small_steps.py --phases    where an eager step of inkle spends its time

Three layers of 128, batch 32, mean squared error. "eager" has no jit: the step is traced every
time, and its schedule found by its structure. Libraries take turns in one process of one thread,
and CPU time is compared; PyTorch and JAX are left out where they are not installed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

for _name in ("INKLE_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read when the libraries are loaded

import numpy as np  # noqa: E402  (the settings come first)

import inkle  # noqa: E402
from inkle import Tensor, nn  # noqa: E402

Step = Callable[[], object]
WIDTH, BATCH, LAYERS = 128, 32, 3
TURN = 20  # steps of one library before the next one's
RNG = np.random.default_rng(0)
INPUTS = RNG.standard_normal((2, BATCH, WIDTH), dtype=np.float32)


class Network:
    """Linear layers with ReLU between them."""

    def __init__(self) -> None:
        self.layers = [nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean squared difference between the output for `x` and `y`."""
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        difference = self.layers[-1](x) - y
        return (difference * difference).mean()


def inkle_step(kind: str, *, jit: bool) -> Step:
    """Return one step of inkle."""
    network = Network()
    optimiser = getattr(nn.optim, kind)(nn.state.get_parameters(network), lr=1e-3)
    x, y = (Tensor(each).realize() for each in INPUTS)

    def step(x: Tensor, y: Tensor) -> Tensor:
        with inkle.training():
            optimiser.zero_grad()
            loss = network.loss(x, y)
            loss.backward()
            optimiser.step()
        return loss

    function = inkle.jit(step) if jit else step
    return lambda: function(x, y)


def torch_step(kind: str) -> Step | None:
    """Return one step of PyTorch, eager; None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    layers: list[Any] = [torch.nn.Linear(WIDTH, WIDTH)]
    for _ in range(LAYERS - 1):
        layers += [torch.nn.ReLU(), torch.nn.Linear(WIDTH, WIDTH)]
    network = torch.nn.Sequential(*layers)
    optimiser = getattr(torch.optim, kind)(network.parameters(), lr=1e-3)
    x, y = map(torch.tensor, INPUTS)

    def step() -> object:
        optimiser.zero_grad()
        difference = network(x) - y
        loss = (difference * difference).mean()
        loss.backward()
        optimiser.step()
        return loss

    return step


def jax_step(kind: str) -> Step | None:
    """Return one jitted step of JAX with SGD; None without JAX, or for another optimiser."""
    if kind != "SGD":
        return None
    try:
        import jax
        from jax import numpy as jnp
    except ImportError:
        return None
    state = [(jnp.zeros((WIDTH, WIDTH)), jnp.zeros(WIDTH)) for _ in range(LAYERS)]
    x, y = map(jnp.asarray, INPUTS)

    def loss(params: Any) -> Any:
        h = x
        for w, b in params[:-1]:
            h = jnp.maximum(h @ w + b, 0)
        w, b = params[-1]
        return jnp.mean((h @ w + b - y) ** 2)

    @jax.jit
    def step(params: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(params)
        return value, jax.tree.map(lambda p, g: p - 1e-3 * g, params, grads)

    def run() -> object:
        nonlocal state
        value, state = step(state)
        return value.block_until_ready()

    return run


def measure(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Return the median seconds of one step of each; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 3):
        for name, step in steps.items():
            start = time.process_time()
            for _ in range(TURN):
                step()
            if number >= 3:  # the first rounds compile, and fill caches
                times[name].append((time.process_time() - start) / TURN)
    return {name: statistics.median(each) for name, each in times.items()}


def phases(kind: str, rounds: int) -> dict[str, float]:
    """Return the median seconds of each phase of an eager step."""
    from inkle.engine.pipeline import TIMES

    network = Network()
    optimiser = getattr(nn.optim, kind)(nn.state.get_parameters(network), lr=1e-3)
    x, y = (Tensor(each).realize() for each in INPUTS)
    times: dict[str, list[float]] = {}
    for _ in range(rounds * TURN):
        marks = [("", time.perf_counter())]
        optimiser.zero_grad()
        loss = network.loss(x, y)
        marks.append(("forward", time.perf_counter()))
        loss.backward()
        marks.append(("backward", time.perf_counter()))
        first, *others = optimiser.schedule_step()
        marks.append(("optimiser", time.perf_counter()))
        TIMES.clear()
        first.realize(*others, loss)
        marks.append(("realize", time.perf_counter()))
        for (_, before), (name, now) in itertools.pairwise(marks):
            times.setdefault(name, []).append(now - before)
        times.setdefault("of which: know the graph", []).append(TIMES.seconds["canonicalize"])
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phases", action="store_true", help="where an eager step spends its time")
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    for kind in ("SGD", "Adam"):
        if options.phases:
            for name, seconds in phases(kind, options.rounds).items():
                print(f"{kind:5} {name:25} {1e6 * seconds:8.0f} us")
            continue
        steps = {
            "inkle eager": inkle_step(kind, jit=False), "inkle jit": inkle_step(kind, jit=True),
            "torch eager": torch_step(kind), "jax jit": jax_step(kind),
        }  # fmt: skip
        found = measure({name: each for name, each in steps.items() if each}, options.rounds)
        for name, seconds in found.items():
            ratio = found["torch eager"] / seconds if "torch eager" in found else 0.0
            print(f"{kind:5} {name:12} {1e6 * seconds:8.0f} us   {ratio:5.2f} x PyTorch's speed")


if __name__ == "__main__":
    main()
