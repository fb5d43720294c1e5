"""What the class offers: every operation of the table, documented examples that hold."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import inkle.tensor
from inkle.ir import ops
from inkle.tensor import Tensor, grad, training, value_and_grad
from inkle.tensor.jit import jit

# Operations whose method has another name than their row; fma is left to the compiler.
NAMES = {
    "truncdiv": "div", "truncmod": "fmod", "floormod": "mod", "and": "bitwise_and",
    "or": "bitwise_or", "xor": "bitwise_xor", "not": "bitwise_not", "shl": "lshift",
    "shr": "rshift",
    "less": "__lt__", "less_equal": "__le__", "equal": "eq", "not_equal": "ne", "rint": "round",
}  # fmt: skip
MODULES = [module.name for module in pkgutil.iter_modules(inkle.tensor.__path__)]


def test_every_operation_of_the_table_has_a_method():
    missing = [name for name in ops.TABLE if not hasattr(Tensor, NAMES.get(name, name))]

    assert missing == ["fma"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name):
    module = importlib.import_module(f"inkle.tensor.{name}")
    names = {"Tensor": Tensor, "grad": grad, "value_and_grad": value_and_grad, "np": np,
             "training": training, "jit": jit}  # fmt: skip

    failed, _ = doctest.testmod(module, extraglobs=names)

    assert failed == 0


def test_every_public_method_has_a_docstring():
    public = {name: getattr(Tensor, name) for name in dir(Tensor) if not name.startswith("_")}

    assert [name for name, each in public.items() if callable(each) and not each.__doc__] == []
