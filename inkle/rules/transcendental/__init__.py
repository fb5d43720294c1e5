"""Transcendental functions as graphs of primitive operations, with stated accuracy."""

from __future__ import annotations

from collections.abc import Callable

from inkle.ir.node import Node
from inkle.rules.transcendental import circular, error_function, exponential, logarithm

DECOMPOSITIONS: dict[str, Callable[..., Node]] = {
    "exp": exponential.exp,
    "exp2": exponential.exp2,
    "expm1": exponential.expm1,
    "log": logarithm.log,
    "log2": logarithm.log2,
    "log10": logarithm.log10,
    "log1p": logarithm.log1p,
    "sin": circular.sin,
    "cos": circular.cos,
    "tan": circular.tan,
    "sinh": exponential.sinh,
    "cosh": exponential.cosh,
    "tanh": exponential.tanh,
    "erf": error_function.erf,
}
