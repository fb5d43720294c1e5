"""Settings: where a value comes from, and what is no value."""

from __future__ import annotations

import threading

import pytest

from inkle import Context
from inkle.config import get
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
