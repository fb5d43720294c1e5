"""The fuzzer: random tensor programs, run by an executor and by the reference, and compared.

    found = fuzz(execute, seeds=range(200), executor="mypackage.mymodule:execute")
    assert not found, found[0]

A failing program is made smaller before it is reported: outputs are dropped, nodes replaced by
their values or by one of their sources, data by simpler ones, as long as it still fails.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from inkle.check.generate import Program, program_of, random_program, replaced
from inkle.check.numpy_algebra import Array
from inkle.check.reference import evaluate
from inkle.check.show import to_python
from inkle.check.tolerance import bounded_values, mismatch
from inkle.ir import forms, tensor
from inkle.ir.node import Node, toposort

__all__ = ["Executor", "Program", "failure", "fuzz", "minimise", "random_program"]

Executor = Callable[[Sequence[Node], Mapping[Node, Array]], Sequence[Array]]
MOST_TRIES = 400  # programs run while one is made smaller


def failure(program: Program, execute: Executor) -> str | None:
    """Return what goes wrong when `execute` runs a program, or None.

    Args:
        program: graph over PARAM leaves, with data.
        execute: returns one array per output, held as `numpy_dtype` says.
    """
    given = {node: np.array(array) for node, array in program.leaves.items()}
    try:
        got = execute(program.outputs, given)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {place.name} ({place.filename}:{place.lineno}): {error}"
    for node, array in program.leaves.items():
        if not np.array_equal(given[node], array, equal_nan=array.dtype.kind == "f"):
            return f"the data of argument {node.arg[0]} were changed"
    want = bounded_values(program.outputs, program.leaves)
    if len(got) != len(want):
        return f"{len(got)} results, not {len(want)}"
    for i, (node, array, bounded) in enumerate(zip(program.outputs, got, want, strict=True)):
        wrong = mismatch(np.asarray(array), bounded, node.dtype)
        if wrong is not None:
            return f"output {i}: {wrong}"
    return None


def fuzz(
    execute: Executor, seeds: Iterable[int], executor: str, *, size: int = 10, most: int = 1
) -> list[str]:
    """Run random programs; return a report of each failing one, minimised.

    Args:
        execute: what is tested.
        seeds: one program each.
        executor: its import path, "package.module:function", for the code that is printed.
        size: about how many steps a program has.
        most: stop after so many failures.
    """
    found: list[str] = []
    for seed in seeds:
        program = random_program(seed, size)
        first = failure(program, execute)
        if first is not None:
            small = minimise(program, lambda p: failure(p, execute) is not None)
            wrong = failure(small, execute) or f"comes and goes; the whole program: {first}"
            found.append(f"seed {seed}: {wrong}\n\n{to_python(small, executor)}")
            if len(found) >= most:
                break
    return found


def minimise(program: Program, fails: Callable[[Program], bool]) -> Program:
    """Return a smaller program that still fails."""
    tries = 0
    is_smaller = True
    while is_smaller and tries < MOST_TRIES:
        is_smaller = False
        for candidate in _smaller(program):
            tries += 1
            if fails(candidate):
                program, is_smaller = candidate, True
                break
            if tries >= MOST_TRIES:
                break
    return program


def _smaller(program: Program) -> Iterator[Program]:
    """Return programs that are smaller in some way, the smallest first."""
    nodes = [n for n in toposort(program.outputs) if n.op is not forms.CONST]
    inner = [node for node in nodes if node.src]
    if len(program.outputs) > 1:
        yield from (program_of([node], program.leaves) for node in program.outputs)
    if len(inner) > 1:
        yield from (program_of([node], program.leaves) for node in inner[:-1])
    values = dict(zip(nodes, evaluate(nodes, program.leaves), strict=True))
    outputs = set(program.outputs)
    for node in reversed(inner):
        if node not in outputs:
            leaf = tensor.param(len(program.leaves), node.dtype, node.shape)
            leaves = {**program.leaves, leaf: values[node]}
            yield program_of([replaced(root, {node: leaf}) for root in program.outputs], leaves)
    for node in inner:
        for source in node.src:
            if source.dtype is node.dtype and source.shape == node.shape and node not in outputs:
                known = {node: source}
                yield program_of(
                    [replaced(root, known) for root in program.outputs], program.leaves
                )
    yield from _simpler_data(program)


def _simpler_data(program: Program) -> Iterator[Program]:
    for node, array in program.leaves.items():
        for simple in (np.zeros_like(array), np.ones_like(array), _counting(array)):
            if _weight(simple) < _weight(array):
                yield Program(program.outputs, {**program.leaves, node: simple})


def _counting(array: Array) -> Array:
    return (np.arange(array.size) % 100).reshape(array.shape).astype(array.dtype)


def _weight(array: Array) -> int:
    """Return how hard data are to read: 0 all zero, 1 all one, 2 counting, 3 anything."""
    if not array.any():
        return 0
    if (array == 1).all():
        return 1
    return 2 if np.array_equal(array, _counting(array)) else 3
