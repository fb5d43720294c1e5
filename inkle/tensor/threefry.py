"""Random bits from a counter: Threefry-2x32 with 20 rounds.

Salmon, Moraes, Dror & Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011, section 3.3.
Element i is a function of (key, i) alone, so the stream does not depend on what is fused with what,
on threads, or on the machine. A call draws a fresh key: no two calls of a seed share one.
"""

from __future__ import annotations

from inkle.ir import tensor
from inkle.ir.dtype import uint32
from inkle.ir.node import Node, Shape, const

PARITY = 0x1BD11BDA  # the constant of the key schedule (Skein 1.3)
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # by groups of four rounds, which alternate
GROUPS = 5

MASK64 = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, odd
_TURNS = {
    r: (const(r, uint32), const(32 - r, uint32)) for row in ROTATIONS for r in row
}  # kept alive: made once, not per call


def threefry(key: tuple[Node, Node], counter: tuple[Node, Node]) -> tuple[Node, Node]:
    """Return two words of random bits per element.

    Args:
        key: two uint32 nodes.
        counter: two uint32 nodes; all four of one shape.

    Returns:
        Two uint32 nodes of that shape.
    """
    k0, k1 = key
    keys = (k0, k1, k0 ^ k1 ^ PARITY)
    x0, x1 = counter[0] + k0, counter[1] + k1
    for group in range(GROUPS):
        for turn in ROTATIONS[group % 2]:
            left, right = _TURNS[turn]
            x0 = x0 + x1
            x1 = (x1.shl(left) | x1.shr(right)) ^ x0
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + (group + 1)
    return x0, x1


def random_words(leaf: Node, shape: Shape) -> tuple[Node, Node]:
    """Return two words of random bits for each element of `shape`.

    Args:
        leaf: uint64 node of shape (1,): the key of this call.
        shape: sizes of the result.

    Returns:
        Two uint32 nodes of `shape`.
    """
    size = 1
    for n in shape:
        size *= n
    words = (leaf.cast(uint32), leaf.shr(32).cast(uint32))
    k0, k1 = (tensor.expand(word, (size,)) for word in words)
    # More than 2**32 elements: the high half of the position is the second counter.
    low = tensor.arange(size, uint32)
    high = const(0, uint32) if size <= 1 << 32 else (tensor.arange(size) >> 32).cast(uint32)
    counter = (low, tensor.broadcast_to(high, (size,)))
    x0, x1 = threefry((k0, k1), counter)
    return tensor.reshape(x0, shape), tensor.reshape(x1, shape)


def mix64(x: int) -> int:
    """Return a bijection of 64 bits in which every input bit affects every output bit.

    Steele, Lea & Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014, figure 13.
    """
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK64
    return x ^ (x >> 31)
