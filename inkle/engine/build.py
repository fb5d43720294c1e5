"""From a canonical graph to what runs it: found on disk, or made by the whole pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from inkle import config
from inkle.engine import recipe_cache
from inkle.engine.executable import Executable, Step
from inkle.engine.pipeline import (
    Compiled,
    compile_kernel,
    current_threads,
    timed,
    uncollected,
)
from inkle.engine.recipe import Recipe, recipe_of
from inkle.errors import InternalError
from inkle.ir import spec
from inkle.ir.node import Node
from inkle.ir.plan import Launch, Plan, kernel_calls
from inkle.runtime.locks import fork_safe_lock
from inkle.schedule import Facts, schedule, side_by_side

LIMIT = "INKLE_MEMORY_LIMIT"
SETTINGS = ("INKLE_TARGET", "INKLE_THREADS", LIMIT)  # that decide what is made
Donated = tuple[tuple[int, int], ...]

tables = fork_safe_lock()  # guards what exists; taken while `building`, and hence made before it
_building = fork_safe_lock()  # nothing is built twice; who needs what exists does not wait


@contextmanager
def building() -> Iterator[None]:
    """Let no other thread build anything meanwhile."""
    with _building, uncollected():
        yield


@dataclass(frozen=True, slots=True)
class Order:
    """A graph to be compiled, and how.

    Attributes:
        outputs: the graph.
        donated: pairs of an output and the PARAM slot of an input that it may be written over.
        settings: values of `SETTINGS`.
    """

    outputs: tuple[Node, ...]
    donated: Donated
    settings: tuple[Any, ...]

    def plan(self) -> Plan:
        """Schedule the graph."""
        with building(), self._settings():
            return timed("schedule", lambda: side_by_side(self._scheduled()))

    def _scheduled(self) -> Plan:
        facts = Facts(threads=current_threads())
        limit = int(config.get(LIMIT))
        return schedule(self.outputs, facts=facts, donated=dict(self.donated), limit_bytes=limit)

    def steps(self, plan: Plan, recipe: Recipe | None = None) -> tuple[Step, ...]:
        """Compile the kernels of the plan, which are those of `recipe`."""
        with building(), self._settings():
            steps = tuple(
                Step(_compiled(launch), launch.lines, times, launch.why)
                for launch, times in kernel_calls(plan.launches)
            )
            if recipe is not None and recipe_of(plan, [each.compiled for each in steps]) != recipe:
                raise InternalError(
                    "the schedule that was found on disk is another one than the same graph gets "
                    "now, or the cache has been tampered with; INKLE_CHECK=1 does without it"
                )
            return steps

    def _settings(self) -> config.Context:
        return config.Context(**dict(zip(SETTINGS, self.settings, strict=True)))


def _compiled(launch: Launch) -> Compiled:
    return compile_kernel(launch.kernel, 1 if launch.is_serial else current_threads())


def build(outputs: tuple[Node, ...], donated: Donated) -> Executable:
    """Return what runs a canonical graph under the settings in force.

    It is found on disk if it has been built before. In checked mode it is built in any case, and so
    it is where the forms of kernels are to be written to files.
    """
    if config.get("INKLE_CHECK"):
        spec.check_tensor(outputs)
    order = Order(outputs, donated, tuple([config.get(each) for each in SETTINGS]))
    name = None
    if not (config.get("INKLE_CHECK") or config.get("INKLE_DUMP")):
        limit = int(config.get(LIMIT))
        name = timed("key", lambda: recipe_cache.entry_name(outputs, donated, limit))
    found = timed("read from disk", lambda: recipe_cache.read(name)) if name else None
    if found is not None:
        recipe, functions = found
        return Executable(recipe, functions, order.plan, lambda plan: order.steps(plan, recipe))
    plan = order.plan()
    steps = order.steps(plan)
    recipe = recipe_of(plan, [step.compiled for step in steps])
    if name:
        timed("write to disk", lambda: recipe_cache.write(name, recipe))
    elif config.get("INKLE_CHECK"):
        recipe_cache.require_readable(outputs, recipe)
    functions = list({step.compiled.key: step.compiled.function for step in steps}.values())
    return Executable(recipe, functions, lambda: plan, lambda _: steps)
