"""Library functions as kernels: native code calls back into Python.

A launch of a HOST call is a call of `void f(ptr args, i64 chunk)` like any other. What it raises
cannot pass through native code: it is kept, and raised when the launches are over.
"""

from __future__ import annotations

import ctypes
import functools
import json
import threading
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from inkle.check.library import value_of
from inkle.ir.host import Call
from inkle.ir.node import Node

PREFIX = "host "  # of the keys of calls among those of kernels
_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
_failures: dict[int, BaseException] = {}  # by thread


def key_of(call: Node) -> str:
    """Return what a call is found by, in another process, too."""
    return PREFIX + json.dumps([*call.arg, [source.dtype.name for source in call.src]])


def address_of(key: str) -> int:
    """Return the native handle of a call."""
    return ctypes.cast(_callback(key), ctypes.c_void_p).value or 0


@functools.cache  # callbacks live as long as the process: graphs hold their addresses
def _callback(key: str) -> Any:
    name, params, result, shape, dtype, sources, dtypes = _tuples(json.loads(key[len(PREFIX) :]))
    call = Call(name, params, result, shape, dtype, sources)

    def run(args: int, _chunk: int) -> None:
        pointers = (ctypes.c_void_p * (1 + len(sources))).from_address(args)
        try:
            out, *arrays = map(_array, pointers, (shape, *sources), (dtype, *dtypes))
            out[...] = value_of(call, arrays)
        except BaseException as error:  # noqa: BLE001  (raised by `raise_failure`)
            _failures.setdefault(threading.get_ident(), error)

    return _FUNCTION(run)


def raise_failure() -> None:
    """Raise what calls of this thread have raised since the last look."""
    if _failures:
        error = _failures.pop(threading.get_ident(), None)
        if error is not None:
            raise error


def _array(pointer: int | None, shape: Sequence[int], dtype: str) -> Any:
    """Return the memory at an address as an array."""
    kind = np.dtype(dtype)
    room = (ctypes.c_char * (prod(shape) * kind.itemsize)).from_address(pointer or 0)
    return np.ndarray(tuple(shape), kind, buffer=memoryview(room))


def _tuples(value: Any) -> Any:
    return tuple([_tuples(each) for each in value]) if isinstance(value, list) else value
