"""Recipes: what is written of them reads back."""

from __future__ import annotations

from inkle.engine import recipe_cache
from inkle.engine.recipe import Recipe
from inkle.ir.size import variable
from inkle.runtime.device import Launch, Move, Repeat


def test_a_recipe_reads_back():
    n = variable("n", 1, 9)
    inner = Repeat(2, (), (Launch(0, (0, 3), 1),))
    recipe = Recipe(
        kernels=(("ab", "k1"), ("cd", "k2")),
        launches=(
            Launch(0, (0, 1), 3), Launch(1, (1, 2), 1, True, 0.1),
            Repeat(5, (Move(0, 4, 64, 1, -1, 6),), (inner, Launch(1, (4,), 7))),
        ),
        chunks=((0, n * n // 4 + 2 * n),), slots=5, constants=((3, 17), (4, n + 1)),
        inputs=((0, 0),), fresh=((1, 4 * n), (2, 8)), inside=((3, -1, 0), (4, 0, 64)),
        arena_bytes=128, outputs=(1, 0, 1), in_place=(0,),
    )  # fmt: skip

    assert recipe_cache.from_json(recipe_cache.to_json(recipe)) == recipe
