"""Random tensor programs: graphs over PARAM leaves, with data.

A program is built from a seed, node by node, and evaluated along the way: a node is dropped where
different right answers would be too far apart to be compared (a rounded value that decides a
branch, numbers that grow without end). Data are mostly small integers: most results are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from random import Random

import numpy as np

from inkle.check.loops import Made, Seen, Sight
from inkle.check.numpy_algebra import Array, to_array
from inkle.check.patterns import MAKERS, POINTWISE, SIZES
from inkle.check.tolerance import Bounded, bounded_values
from inkle.check.unroll import rebuilt
from inkle.errors import InkleError
from inkle.ir import dtype as dt
from inkle.ir import tensor
from inkle.ir.dtype import DType, Kind
from inkle.ir.node import Node, Shape, toposort

MOST_ELEMENTS = 1 << 13  # of one value
DTYPES = (
    *[dt.float32] * 8, *[dt.int32] * 4, *[dt.int64] * 2, *[dt.bool_] * 2, dt.int8, dt.uint8,
    dt.int16, dt.uint32, dt.uint64, dt.float64, dt.float64, dt.float16, dt.bfloat16,
)  # fmt: skip


@dataclass(frozen=True, eq=False, slots=True)
class Program:
    """A tensor graph with data.

    Attributes:
        outputs: nodes of the tensor form.
        leaves: the value of every PARAM below them; slots are 0, 1, 2, ...
    """

    outputs: tuple[Node, ...]
    leaves: dict[Node, Array]

    def arrays(self) -> list[Array]:
        """Return the data by slot."""
        return [self.leaves[node] for node in sorted(self.leaves, key=lambda n: int(n.arg[0]))]

    def size(self) -> int:
        """Return the number of nodes."""
        return len(toposort(self.outputs))


def program_of(outputs: Sequence[Node], leaves: dict[Node, Array]) -> Program:
    """Return a program with only the leaves it uses, numbered from 0."""
    used = [node for node in toposort(outputs) if node in leaves]
    renamed = {node: tensor.param(slot, node.dtype, node.shape) for slot, node in enumerate(used)}
    known = dict(renamed)
    outputs = [replaced(node, known) for node in outputs]
    return Program(tuple(outputs), {renamed[node]: leaves[node] for node in used})


def replaced(root: Node, known: dict[Node, Node]) -> Node:
    """Return `root` with the nodes in `known` replaced; `known` is extended."""
    for node in toposort((root,)):
        if node not in known:
            src = tuple(known[source] for source in node.src)
            known[node] = rebuilt(node, src)
    return known[root]


def random_data(random: Random, dtype: DType, shape: Shape) -> Array:
    """Return small integers in most cases, now and then any values, with special ones."""
    rng = np.random.default_rng(random.getrandbits(64))
    if dtype.kind is Kind.BOOL:
        return rng.random(shape) < 0.5
    if random.random() < 0.8:
        return to_array(rng.integers(0 if dtype.kind is Kind.UINT else -4, 5, shape), dtype)
    if not dtype.is_float:
        low, high = dtype.limits()
        return rng.integers(low, high, shape, dtype=dtype.name, endpoint=True)
    data = rng.standard_normal(shape)
    if random.random() < 0.3:
        special = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30], shape)
        data = np.where(rng.random(shape) < 0.1, special, data)
    return to_array(data, dtype)


def fitted(random: Random, x: Node, shape: Shape) -> Node:
    """Return `x` brought to `shape` by movement operations."""
    if x.shape == shape:
        return x
    ones = (1,) * (len(shape) - len(x.shape)) + x.shape
    if len(ones) == len(shape) and all(n in (1, m) for n, m in zip(ones, shape, strict=True)):
        return tensor.broadcast_to(x, shape)
    n, m = prod(x.shape), prod(shape)
    if n == 0:  # nothing to take from: zeros
        x, n = tensor.pad(tensor.reshape(x, (0,)), [(1, 0, 0)]), 1
    flat = tensor.reshape(x, (n,))
    if n < m:
        if random.random() < 0.5 or n == 0:
            flat = tensor.pad(flat, [(0, m - n, 0)])
        else:
            times = -(-m // n)
            rows = tensor.expand(tensor.reshape(flat, (1, n)), (times, n))
            flat = tensor.reshape(rows, (times * n,))
    start = random.randint(0, flat.shape[0] - m)
    return tensor.reshape(tensor.shrink(flat, 0, start, start + m), shape)


class Generator:
    """Makes one program; the workshop of `inkle.check.patterns`."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.leaves: dict[Node, Array] = {}
        self.values: dict[Node, Bounded] = {}
        self.pool: list[Node] = []
        self.loops: list[Made] = []
        self.depth = 0
        self.makers = MAKERS

    def leaf(self, dtype: DType, shape: Shape) -> Node:
        """Return a new PARAM with data."""
        node = tensor.param(len(self.leaves), dtype, shape)
        self.leaves[node] = random_data(self.random, dtype, shape)
        self.accept(node)
        return node

    def random_shape(self) -> Shape:
        """Return few axes of small lengths, rarely an empty one."""
        rank = self.random.choice((0, 1, 1, 2, 2, 2, 3, 3, 4))
        shape = [self.random.choice(SIZES if rank < 3 else SIZES[:6]) for _ in range(rank)]
        if rank and self.random.random() < 0.04:
            shape[self.random.randrange(rank)] = 0
        return tuple(shape)

    def pick(self, kinds: frozenset[Kind] | None = None) -> Node:
        """Return a value made so far, of one of these kinds; later ones are likelier."""
        fitting = [node for node in self.pool if kinds is None or node.dtype.kind in kinds]
        if not fitting:
            dtypes = [d for d in DTYPES if kinds is None or d.kind in kinds]
            return self.leaf(self.random.choice(dtypes), self.random_shape())
        recent = fitting[-3:] if self.random.random() < 0.6 else fitting
        return self.random.choice(recent)

    def of(self, dtype: DType, shape: Shape) -> Node:
        """Return some value of this dtype and shape."""
        same = [node for node in self.pool if node.dtype is dtype]
        exact = [node for node in same if node.shape == shape]
        choice = self.random.random()
        if exact and choice < 0.5:
            return self.random.choice(exact)
        if same and choice < 0.75:
            return fitted(self.random, self.random.choice(same[-5:]), shape)
        if choice > 0.95:
            return tensor.full(self.random.choice([0, 1, 2]), dtype, shape)
        return self.leaf(dtype, shape)

    def indices(self, shape: Shape, n: int) -> Node:
        """Return integers, most of which are positions in an axis of length `n`."""
        dtype = self.random.choice((dt.int32, dt.int64, dt.uint8, dt.int8))
        if len(shape) == 1 and self.random.random() < 0.2:
            return (tensor.arange(shape[0]) * self.random.choice((1, 2, 3))) % max(n, 1)
        low, high = dtype.limits()
        node = tensor.param(len(self.leaves), dtype, shape)
        rng = np.random.default_rng(self.random.getrandbits(64))
        at = rng.integers(max(low, -n) if self.random.random() < 0.5 else 0, max(n, 1), shape)
        if self.random.random() < 0.3:
            at = np.where(rng.random(shape) < 0.2, rng.choice([low, high, n, -n - 1], shape), at)
        self.leaves[node] = np.clip(at, low, high).astype(dtype.name)
        return node

    def accept(self, node: Node) -> bool:
        """Add a node to the pool if its value can be compared."""
        if any(prod(each.shape) > 4 * MOST_ELEMENTS for each in toposort((node,))):
            return False
        if prod(node.shape) > MOST_ELEMENTS:
            return False
        found = bounded_values([node], self.leaves, self.values)[0]
        size = np.abs(np.where(np.isfinite(found.value), found.value, 0).astype(np.float64))
        if node.dtype.is_float and size.max(initial=0.0) > 1e6:
            return False
        if np.any(found.error > 1e-2 * (1 + size)):  # also: a discrete value that is not certain
            return False
        if node not in self.pool:
            self.pool.append(node)
        return True

    def run(self, size: int) -> Program:
        """Make about `size` nodes that matter."""
        self.grow(size)
        outputs = [self.pool[-1]]
        outputs += [self.pick() for _ in range(self.random.choice((0, 0, 1, 2)))]
        return program_of(list(dict.fromkeys(outputs)), self.leaves)

    def grow(self, size: int) -> None:
        """Make about `size` nodes, and at least one leaf."""
        makers, weights = zip(*self.makers, strict=True)
        self.leaf(self.random.choice(DTYPES), self.random_shape())
        made = 0
        for _ in range(size * 6):
            maker = self.random.choices(makers, weights)[0]
            try:
                node = maker(self)
            except InkleError:  # a mixture that the constructors refuse
                continue
            made += node is not None and self.accept(node)
            if made >= size:
                break

    def step(self, steps: int) -> StepGenerator:
        """Return the workshop of a step of a new loop."""
        return StepGenerator(self, steps)


class StepGenerator(Generator):
    """Makes the step of a loop over time; its data are what the first step sees."""

    def __init__(self, outside: Generator, steps: int) -> None:
        super().__init__(0)
        self.random = outside.random
        self.depth = outside.depth + 1
        self.makers = POINTWISE if self.random.random() < 0.4 else MAKERS
        self.seen: list[Seen] = []
        self._outside = outside
        self._steps = steps

    def leaf(self, dtype: DType, shape: Shape) -> Node:
        """Return a new leaf: something carried, a row of an array, or shared by all steps."""
        sight = self.random.choice((Sight.CARRIED, Sight.CARRIED, Sight.ROW, Sight.SHARED))
        rows = (self._steps,) if sight is Sight.ROW else ()
        node = self._see(sight, self._outside.of(dtype, (*rows, *shape)))
        self.accept(node)
        return node

    def indices(self, shape: Shape, n: int) -> Node:
        """Return integers, most of which are positions in an axis of length `n`."""
        sight = self.random.choice((Sight.ROW, Sight.SHARED))
        rows = (self._steps,) if sight is Sight.ROW else ()
        return self._see(sight, self._outside.indices((*rows, *shape), n))

    def like(self, node: Node) -> Node:
        """Return a value of the step with the dtype and shape of `node`, if possible a new one."""
        same = [each for each in self.pool if (each.dtype, each.shape) == (node.dtype, node.shape)]
        computed = [each for each in same if each.src]
        if computed and self.random.random() < 0.8:
            return self.random.choice(computed)
        if self.pool and self.random.random() < 0.8:
            return fitted(self.random, self.random.choice(self.pool).cast(node.dtype), node.shape)
        return self.random.choice([*same, node])

    def _see(self, sight: Sight, source: Node) -> Node:
        """Return a new leaf for a value outside."""
        value = bounded_values([source], self._outside.leaves, self._outside.values)[0]
        shape = source.shape[1:] if sight is Sight.ROW else source.shape
        node = tensor.param(len(self.seen), source.dtype, shape)
        first = Bounded(value.value[0], value.error[0]) if sight is Sight.ROW else value
        self.leaves[node], self.values[node] = first.value, first
        self.seen.append(Seen(sight, node, source))
        return node


def random_program(seed: int, size: int = 10) -> Program:
    """Return the program of this seed, with about `size` steps."""
    return Generator(seed).run(size)
