"""Fetching a file over HTTP within bounds of time and size."""

from __future__ import annotations

import http.client
import queue
import threading
import time
import urllib.error
import urllib.request
from typing import BinaryIO

from inkle.errors import DataError

ANSWER_SECONDS = 3.0  # to look up the host, connect and answer: without a network, fail soon
DOWNLOAD_SECONDS = 300.0
CHUNK_BYTES = 1 << 16


def download(url: str, limit_bytes: int) -> bytes:
    """Return what `url` gives.

    Args:
        url: https address; proxies of the environment are used.
        limit_bytes: refuse more than this.

    Raises:
        DataError: if there is no answer in time, it is no success, or it is too long.
    """
    deadline = time.monotonic() + DOWNLOAD_SECONDS
    content = bytearray()
    try:
        with _open_in_time(url) as answer:
            while chunk := answer.read(CHUNK_BYTES):
                content += chunk
                if len(content) > limit_bytes:
                    raise DataError(f"{url}: longer than {limit_bytes} bytes")
                if time.monotonic() > deadline:
                    raise DataError(f"{url}: not complete after {DOWNLOAD_SECONDS:.0f} s")
    except DataError:  # an OSError too; it already says what is wrong
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        raise DataError(f"{url}: {error}") from error
    return bytes(content)


def _open_in_time(url: str) -> BinaryIO:
    """Open `url`, or give up after `ANSWER_SECONDS`.

    A thread does it, because the look-up of a host has no timeout of its own and may take half a
    minute; it is a daemon, so that a program may end meanwhile.
    """
    outcome: queue.SimpleQueue[BinaryIO | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcome.put(urllib.request.urlopen(url, timeout=ANSWER_SECONDS))
        except Exception as error:  # noqa: BLE001 - handed to the caller, who raises it
            outcome.put(error)

    threading.Thread(target=work, name="inkle-download", daemon=True).start()
    try:
        result = outcome.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        raise DataError(f"{url}: no answer within {ANSWER_SECONDS:g} s") from None
    if isinstance(result, Exception):
        raise result
    return result
