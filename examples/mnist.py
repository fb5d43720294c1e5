"""Train a convolutional network on MNIST, and look at what it gets wrong.

    make demo                           all of it, in a few minutes
    python examples/mnist.py --quick    a few steps with a part of the data

Writes into the folder --out: mnist.safetensors, the weights that classify_digit.py uses, and
mnist.png, a picture of the training and of the worst mistakes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
from mnist_network import build_network, score_digits
from numpy.typing import NDArray

import inkle
from inkle import Tensor, nn
from inkle.errors import InkleError
from inkle.nn.datasets import Mnist

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError("drawing needs matplotlib: pip install 'inkle[demo]'") from error

BATCH = 512
PEAK_RATE = 5e-3  # learning rate at its highest
WARM_UP = 0.2  # share of the training in which it rises to that; then it falls to 0
TEST_BATCH = 500
MISTAKES = (5, 8)  # rows and columns of the picture


def main() -> None:
    """Read the command line; load, train, save and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="20 steps with a part of the data")
    parser.add_argument("--data", default="", metavar="FOLDER", help="where MNIST's files are")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the data (2)")
    parser.add_argument("--out", type=Path, default=Path("build/mnist"), metavar="FOLDER")
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")
    options.out.mkdir(parents=True, exist_ok=True)  # rather now than after the training
    with inkle.Context(**{"INKLE_DATA": options.data} if options.data else {}):
        data = nn.datasets.mnist()
    if options.quick:
        data = Mnist(*(part[: 20 * 128 if i < 2 else 1000] for i, part in enumerate(data)))

    start = time.perf_counter()
    network = build_network()
    batch, epochs = (128, 1) if options.quick else (BATCH, options.epochs)
    losses, accuracies = train(network, data, batch, epochs)
    probabilities = classify(network, data.test_images)
    print(f"test accuracy {accuracies[-1]:.2%}, {time.perf_counter() - start:.0f} s")
    weights, picture = options.out / "mnist.safetensors", options.out / "mnist.png"
    nn.state.safe_save(nn.state.get_state_dict(network), weights)
    draw(losses, accuracies, probabilities, data).savefig(picture)
    reader = f"{os.path.relpath(sys.executable)} examples/classify_digit.py"
    print(f"wrote {picture} and {weights}\nnext: {reader} PICTURE --weights {weights}")


def train(
    network: nn.Sequential, data: Mnist, batch: int, epochs: int
) -> tuple[list[float], list[float]]:
    """Train; return the loss of each step and the test accuracy after each epoch."""
    optimizer = nn.optim.Adam(nn.state.get_parameters(network))

    @inkle.jit
    def train_step(images: Tensor, labels: Tensor) -> Tensor:
        with inkle.training():
            optimizer.zero_grad()
            loss = score_digits(network, images).cross_entropy(labels)
            loss.backward()
            optimizer.step()
        return loss

    steps = epochs * (len(data.train_images) // batch)
    losses: list[Tensor] = []
    accuracies = []
    for epoch in range(1, epochs + 1):
        order = nn.batches(
            (data.train_images, data.train_labels), batch, shuffle=True, seed=epoch, drop_last=True
        )
        with nn.Progress(batch * len(order), unit="images", label=f"epoch {epoch}") as progress:
            for images, labels in order:
                done = (len(losses) + 1) / (steps + 1)
                optimizer.lr = PEAK_RATE * min(done / WARM_UP, (1 - done) / (1 - WARM_UP))
                losses.append(train_step(Tensor(images), Tensor(labels)))
                progress.update(batch, loss=losses[-1])
        found = classify(network, data.test_images).argmax(1)
        accuracies.append(float((found == data.test_labels).mean()))
    return [float(loss) for loss in losses], accuracies


def classify(network: nn.Sequential, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the probabilities of the ten digits for each image."""
    step = inkle.jit(lambda pixels: score_digits(network, pixels).softmax())
    parts = [step(Tensor(part)).numpy() for (part,) in nn.batches([images], TEST_BATCH)]
    return np.concatenate(parts)


def draw(
    losses: list[float], accuracies: list[float], probabilities: NDArray[np.float32], data: Mnist
) -> Figure:
    """Draw the course of the training, and mistakes, least likely right digit first."""
    figure = Figure(figsize=(14, 6), layout="constrained")
    left, right = figure.subfigures(1, 2)
    plot = left.subplots()
    plot.semilogy(range(1, len(losses) + 1), losses, label="loss")
    plot.set(xlabel="step", ylabel="training loss", title=f"test accuracy {accuracies[-1]:.2%}")
    ends = np.arange(1, len(accuracies) + 1) * len(losses) // len(accuracies)
    scale = plot.twinx()
    scale.plot(ends, np.array(accuracies) * 100, "o-", color="tab:green")
    scale.set_ylabel("test accuracy, %", color="tab:green")

    found, labels = probabilities.argmax(1), data.test_labels
    right_digit = probabilities[np.arange(len(labels)), labels]
    worst = np.argsort(np.where(found == labels, 2, right_digit))[: (found != labels).sum()]
    right.suptitle("the worst mistakes: digit → answer (its probability)")
    cells = right.subplots(*MISTAKES)
    for cell in cells.flat:
        cell.set_axis_off()
    for cell, i in zip(cells.flat, worst, strict=False):
        cell.imshow(data.test_images[i], cmap="gray_r")
        cell.set_title(f"{labels[i]} → {found[i]} ({probabilities[i].max():.0%})", fontsize=8)
    return figure


if __name__ == "__main__":
    try:
        main()
    except (InkleError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; nothing was saved")
