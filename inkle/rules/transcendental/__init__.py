"""Transcendental functions as graphs of primitive operations, with measured accuracy.

Each takes and gives float16, bfloat16, float32 or float64 nodes, is free of branches (so it runs in
lanes), and uses no operation beyond arithmetic, fma, sqrt, trunc, comparison, selection and the
bits of integers. Infinities, NaN, -0.0 and subnormals are treated as C's Annex F says.
docs/accuracy.md has the largest error of each, docs/decisions/transcendentals.md the reasons.
"""

from __future__ import annotations

from collections.abc import Callable

from inkle.ir.node import Node
from inkle.rules.transcendental import (
    circular,
    error_function,
    exponential,
    hyperbolic,
    inverse_circular,
    logarithm,
    power,
)

DECOMPOSITIONS: dict[str, Callable[..., Node]] = {
    "rsqrt": power.rsqrt,
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
    "asin": inverse_circular.asin,
    "acos": inverse_circular.acos,
    "atan": inverse_circular.atan,
    "atan2": inverse_circular.atan2,
    "sinh": hyperbolic.sinh,
    "cosh": hyperbolic.cosh,
    "tanh": hyperbolic.tanh,
    "asinh": hyperbolic.asinh,
    "acosh": hyperbolic.acosh,
    "atanh": hyperbolic.atanh,
    "erf": error_function.erf,
    "erfc": error_function.erfc,
    "pow": power.pow,
}
