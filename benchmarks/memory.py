"""Compare the peak memory of training steps and of attention with PyTorch's.

    python benchmarks/memory.py

Each library trains in a process of its own. What counts is the growth of the resident memory from
before the first step (weights and data are there) to the highest point of three steps, as the
operating system sees it: gradients, activations, temporaries, caches and compiled code included.

The second table is about limits: what a step is planned to take ("plan") compared with the most
that lives at a time in the order of its kernels ("bound"), without a limit and with one of so many
percent; there, steps do not leave their gradients behind. Seconds are medians of process time.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

MB = 1 << 20
Job = Callable[[], Any]


def resnet18_inkle() -> Job:
    """Return a training step of ResNet-18."""
    step, images = resnet18_step()
    return lambda: step(images).item()


def resnet18_step(**options: Any) -> tuple[Any, Any]:
    """Return a captured training step of ResNet-18, and images."""
    from compile import ready, trained
    from networks import ResNet

    import inkle
    from inkle import Tensor, nn

    model = ResNet(18)
    images = Tensor(np.random.default_rng(0).normal(size=(16, 3, 224, 224)).astype(np.float32))
    labels = Tensor(np.arange(16)).realize()
    ready(nn, model, images)
    return inkle.jit(dropping(trained(nn, model, labels), nn, model, options), **options), images


def dropping(step: Any, nn: Any, model: Any, options: Any) -> Any:
    """Return a step that leaves no gradients, if there are options."""

    def without_gradients(x: Any) -> Any:
        loss = step(x)
        for each in nn.state.get_parameters(model):
            each.grad = None
        return loss

    return without_gradients if options else step


def gpt2_inkle() -> Job:
    """Return a training step of GPT-2 small."""
    step, tokens = gpt2_step()
    return lambda: step(tokens).item()


def gpt2_step(**options: Any) -> tuple[Any, Any]:
    """Return a captured training step of GPT-2 small, and tokens."""
    from compile import ready, trained
    from networks import GPT2

    import inkle
    from inkle import Tensor, nn

    model = GPT2()
    tokens = Tensor(np.random.default_rng(0).integers(0, 50_257, (2, 256)))
    labels = tokens.reshape(-1).realize()
    ready(nn, model, tokens)
    return inkle.jit(dropping(trained(nn, model, labels), nn, model, options), **options), tokens


def attention_inkle() -> Job:
    """Return causal attention."""
    import inkle
    from inkle import Tensor

    q, k, v = (Tensor(each) for each in attention_inputs())
    run = inkle.jit(lambda q, k, v: q.scaled_dot_product_attention(k, v, is_causal=True))
    return lambda: run(q, k, v).realize()


def attention_training_inkle() -> Job:
    """Return causal attention and its gradients."""
    import inkle
    from inkle import Tensor

    def loss(q: Any, k: Any, v: Any) -> Any:
        return q.scaled_dot_product_attention(k, v, is_causal=True).square().sum()

    inputs = [Tensor(each) for each in attention_inputs()]
    step = inkle.jit(inkle.value_and_grad(loss, (0, 1, 2)))

    def run() -> Any:
        value, gradients = step(*inputs)
        return value.item(), [each.realize() for each in gradients]

    return run


def attention_inputs() -> list[Any]:
    """Return queries, keys and values of 8 heads, 4,096 places, 64 numbers each."""
    random = np.random.default_rng(0)
    return [random.normal(size=(1, 8, 4096, 64)).astype(np.float32) for _ in range(3)]


def resnet18_torch() -> Job:
    """Return a training step of ResNet-18."""
    import torch
    from torch import nn

    def convolution(inside: int, outside: int, size: int, stride: int) -> nn.Module:
        layer = nn.Conv2d(inside, outside, size, stride, size // 2, bias=False)
        return nn.Sequential(layer, nn.BatchNorm2d(outside))

    class Residual(nn.Module):
        def __init__(self, inside: int, outside: int, stride: int) -> None:
            super().__init__()
            self.one = convolution(inside, outside, 3, stride)
            self.two = convolution(outside, outside, 3, 1)
            same = inside == outside
            self.shortcut = nn.Identity() if same else convolution(inside, outside, 1, stride)

        def forward(self, x: Any) -> Any:
            return (self.two(self.one(x).relu()) + self.shortcut(x)).relu()

    layers: list[nn.Module] = [convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inside = 64
    for stage in range(4):
        for i in range(2):
            outside = 64 << stage
            layers.append(Residual(inside, outside, 2 if stage and not i else 1))
            inside = outside
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))
    images = torch.randn(16, 3, 224, 224)
    return torch_step(model, images, torch.arange(16))


def gpt2_torch() -> Job:
    """Return a training step of GPT-2 small."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            batch, time, width = x.shape
            parts = self.into(self.norm1(x)).reshape(batch, time, 3, self.heads, -1)
            q, k, v = (each.transpose(1, 2) for each in parts.unbind(2))
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).reshape(batch, time, width))
            return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class GPT2(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(50_257, 768), nn.Embedding(1024, 768)
            self.blocks = nn.Sequential(*[Block(768, 12) for _ in range(12)])
            self.norm = nn.LayerNorm(768)

        def forward(self, tokens: Any) -> Any:
            x = self.words(tokens) + self.places.weight[: tokens.shape[1]]
            y = self.norm(self.blocks(x)) @ self.words.weight.T
            return y.reshape(-1, y.shape[-1])

    tokens = torch.randint(0, 50_257, (2, 256))
    return torch_step(GPT2(), tokens, tokens.reshape(-1))


def torch_step(model: Any, x: Any, labels: Any) -> Job:
    """Return a step of SGD."""
    import torch

    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step() -> Any:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def attention_torch() -> Job:
    """Return causal attention."""
    import torch

    q, k, v = (torch.from_numpy(each) for each in attention_inputs())
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def attention_training_torch() -> Job:
    """Return causal attention and its gradients."""
    import torch

    inputs = [torch.from_numpy(each).requires_grad_() for each in attention_inputs()]

    def run() -> Any:
        mixed = torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=True)
        loss = mixed.square().sum()
        return loss.item(), torch.autograd.grad(loss, inputs)

    return run


JOBS: dict[str, Callable[[], Job]] = {
    "ResNet-18, 16 images, inkle": resnet18_inkle,
    "ResNet-18, 16 images, torch": resnet18_torch,
    "GPT-2, 2x256 words, inkle": gpt2_inkle,
    "GPT-2, 2x256 words, torch": gpt2_torch,
    "attention 8x4096x64, inkle": attention_inkle,
    "attention 8x4096x64, torch": attention_torch,
    "attention and back, inkle": attention_training_inkle,
    "attention and back, torch": attention_training_torch,
}


STEPS = {"ResNet-18, 16 images": resnet18_step, "GPT-2, 2x256 words": gpt2_step}
PERCENTS = (80, 60, 40)


def limited(name: str, limit_bytes: int) -> dict[str, Any]:
    """Run a training step under a limit (0: none) in this process."""
    from inkle.errors import MemoryFailure

    step, x = STEPS[name](memory_limit=limit_bytes or "1TB")
    try:
        step(x).item()
    except MemoryFailure as error:
        return {"failure": str(error)}
    seconds = []
    for _ in range(3):
        start = time.process_time()
        step(x).item()
        seconds.append(time.process_time() - start)
    report = step.memory_report()
    return {"plan": report.needed_bytes, "bound": report.peak_bytes / MB,
            "kernels": report.kernels, "seconds": sorted(seconds)[1]}  # fmt: skip


def measure(name: str) -> dict[str, float]:
    """Run one job three times in this process."""
    job = JOBS[name]()
    with open("/proc/self/statm", encoding="ascii") as file:
        before = int(file.read().split()[1]) * resource.getpagesize()
    for _ in range(3):
        job()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"before": before / MB, "growth": (peak - before) / MB}


def in_process(*arguments: str) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failure": done.stderr.strip().splitlines()[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print two tables, in MiB."""
    if len(sys.argv) > 1:
        name, *limit = sys.argv[1:]
        print(json.dumps(limited(name, int(limit[0])) if limit else measure(name)))
        return
    print(f"{'job':32} {'before':>8} {'growth, MiB':>12}")
    for name in JOBS:
        found = in_process(name)
        numbers = found.get("failure") or f"{found['before']:8.0f} {found['growth']:12.0f}"
        print(f"{name:32} {numbers}", flush=True)
    print(f"\n{'limit':32} {'plan':>8} {'bound':>8} {'kernels':>8} {'CPU seconds':>12}")
    for name in STEPS:
        whole = in_process(name, "0")["plan"]
        for percent in (100, *PERCENTS):
            found = in_process(name, str(whole * percent // 100))
            numbers = found.get("failure") or (
                f"{found['plan'] / MB:8.0f} {found['bound']:8.0f} {found['kernels']:8d} "
                f"{found['seconds']:12.2f}"
            )
            print(f"{name + f', {percent} %':32} {numbers}", flush=True)


if __name__ == "__main__":
    main()
