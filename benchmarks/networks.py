"""The networks whose compilation and memory the benchmarks measure, as their papers describe them.

GPT-2 small (Radford et al. 2019): 12 blocks of width 768, 12 heads, 50,257 words.
ResNet-18 and ResNet-50 (He et al. 2015), in the variant with the stride in the 3x3 convolution.
Weights are random: nothing here depends on their values.
"""

from __future__ import annotations

from typing import Any

from inkle import Tensor, nn

# blocks per stage, whether a block is a bottleneck of three convolutions
RESNETS = {18: ((2, 2, 2, 2), False), 50: ((3, 4, 6, 3), True)}


class Block:
    """One transformer block: attention and a hidden layer of four times the width."""

    def __init__(self, width: int, heads: int) -> None:
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def __call__(self, x: Tensor) -> Tensor:
        """Return what follows x of shape (batch, time, width)."""
        batch, time, width = x.shape
        parts = self.into(self.norm1(x)).reshape(batch, time, 3, self.heads, -1)
        q, k, v = (parts[:, :, i].transpose(1, 2) for i in range(3))
        mixed = q.scaled_dot_product_attention(k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, time, width))
        return x + self.down(self.up(self.norm2(x)).gelu(approximate="tanh"))


class GPT2:
    """A language model; returns the logits of the next word at each place."""

    def __init__(
        self, width: int = 768, heads: int = 12, depth: int = 12, words: int = 50_257
    ) -> None:
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(1024, width)
        self.blocks = [Block(width, heads) for _ in range(depth)]
        self.norm = nn.LayerNorm(width)

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return logits of shape (batch, time, words) for token numbers (batch, time)."""
        x = self.words(tokens) + self.places.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.words.weight.transpose(0, 1)


class Residual:
    """Two 3x3 convolutions, or a bottleneck of three, beside a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int, *, bottleneck: bool) -> None:
        final = outside * 4 if bottleneck else outside
        sizes = [(inside, outside, 1, 1), (outside, outside, 3, stride), (outside, final, 1, 1)]
        if not bottleneck:
            sizes = [(inside, outside, 3, stride), (outside, outside, 3, 1)]
        self.layers = [convolution(*each) for each in sizes]
        self.shortcut = convolution(inside, final, 1, stride) if inside != final else None

    def __call__(self, x: Tensor) -> Tensor:
        """Return features of images (batch, channels, height, width)."""
        y = x
        for i, (convolve, norm) in enumerate(self.layers):
            y = norm(convolve(y))
            if i + 1 < len(self.layers):
                y = y.relu()
        if self.shortcut is not None:
            x = self.shortcut[1](self.shortcut[0](x))
        return (x + y).relu()


def convolution(inside: int, outside: int, size: int, stride: int) -> tuple[Any, Any]:
    """Return a convolution without bias and its batch norm."""
    layer = nn.Conv2d(inside, outside, size, stride=stride, padding=size // 2, bias=False)
    return layer, nn.BatchNorm2d(outside)


class ResNet:
    """A classifier of images."""

    def __init__(self, layers: int = 50, classes: int = 1000) -> None:
        counts, bottleneck = RESNETS[layers]
        self.stem = convolution(3, 64, 7, 2)
        self.blocks = []
        inside = 64
        for stage, count in enumerate(counts):
            for i in range(count):
                stride = 2 if stage and not i else 1
                outside = 64 << stage
                self.blocks.append(Residual(inside, outside, stride, bottleneck=bottleneck))
                inside = outside * (4 if bottleneck else 1)
        self.head = nn.Linear(inside, classes)

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, 3, height, width)."""
        x = self.stem[1](self.stem[0](x)).relu().max_pool2d(3, 2, padding=1)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))
