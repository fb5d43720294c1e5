"""Settings: where a value comes from, and what is no value."""

from __future__ import annotations

import threading

import pytest

from inkle import Context
from inkle.config import get, size_bytes
from inkle.errors import InkleError


def test_context_counts_before_the_environment(setenv):
    setenv("INKLE_THREADS", "3")

    with Context(INKLE_THREADS=2):
        assert get("INKLE_THREADS") == 2
        with Context(INKLE_THREADS=1, INKLE_CHECK=False):
            assert (get("INKLE_THREADS"), get("INKLE_CHECK")) == (1, False)
        assert get("INKLE_CHECK") is True
    assert get("INKLE_THREADS") == 3


def test_context_is_of_its_thread_only():
    seen = []
    with Context(INKLE_CHECK=False):
        thread = threading.Thread(target=lambda: seen.append(get("INKLE_CHECK")))
        thread.start()
        thread.join()

    assert seen == [True]


def test_context_takes_paths(tmp_path):
    with Context(INKLE_CACHE=tmp_path):
        assert get("INKLE_CACHE") == str(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"INKLE_FAST": 1}, "no setting INKLE_FAST; there are INKLE_CHECK, "),
        ({"INKLE_THREADS": "many"}, "INKLE_THREADS='many': must be int; worker threads"),
        ({"INKLE_THREADS": -1}, "INKLE_THREADS=-1: must not be negative"),
        ({"INKLE_THREADS": 1.5}, "INKLE_THREADS=1.5: must be int"),
        ({"INKLE_CHECK": 2}, "INKLE_CHECK=2: must be 0 or 1"),
        ({"INKLE_TARGET": None}, "INKLE_TARGET=None: must be str or PathLike"),
    ],
)
def test_what_is_no_value_is_refused_at_once(values, message):
    with pytest.raises(InkleError, match=message):
        Context(**values)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("2GB", 2 * 10**9), ("1.5 gib", 3 << 29), ("10k", None), ("7B", 7),
     ("1 MiB", 1 << 20), ("3KB", 3000), ("GB", None), ("-1", None), ("1e9", None)],
)  # fmt: skip
def test_sizes(text, size):
    if size is None:
        with pytest.raises(ValueError, match="number of bytes"):
            size_bytes(text)
    else:
        assert size_bytes(text) == size
