"""The network of the MNIST examples: two blocks of convolutions, and a linear layer."""

from __future__ import annotations

from inkle import Tensor, dtypes, nn

MEAN, STD = 0.1307, 0.3081  # of all pixels of the training images, from 0 to 1


def build_network() -> nn.Sequential:
    """Return the network with random weights, 87,850 of them."""
    return nn.Sequential(
        [
            nn.Conv2d(1, 32, 5),
            Tensor.relu,
            nn.Conv2d(32, 32, 5),
            Tensor.relu,
            nn.BatchNorm(32),
            Tensor.max_pool2d,
            nn.Conv2d(32, 64, 3),
            Tensor.relu,
            nn.Conv2d(64, 64, 3),
            Tensor.relu,
            nn.BatchNorm(64),
            Tensor.max_pool2d,
            lambda x: x.flatten(1),
            nn.Linear(576, 10),
        ]
    )


def score_digits(network: nn.Sequential, pixels: Tensor) -> Tensor:
    """Return the scores of the ten digits, (n, 10), for images of (n, 28, 28), 0 to 255."""
    images = (pixels.cast(dtypes.float32) / 255 - MEAN) / STD
    return network(images.reshape(-1, 1, 28, 28))
