"""The cache on disk: whatever happens to its files, it answers right or not at all."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

import pytest

from inkle.runtime.disk_cache import HEADER_BYTES, DiskCache, default_folder


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "cache")


def entry(cache: DiskCache) -> Path:
    (path,) = cache.folder.iterdir()
    return path


@pytest.mark.parametrize("content", [b"", b"x", bytes(100_000)])
def test_content_comes_back(cache: DiskCache, content: bytes):
    cache.put("aa", content)

    assert cache.get("aa") == content
    assert DiskCache(cache.folder).get("aa") == content


def test_unknown_key_is_missing(cache: DiskCache):
    assert cache.get("aa") is None


def test_folder_is_private(cache: DiskCache):
    cache.put("aa", b"code")

    assert cache.folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("length", [0, 5, 30, 41])
def test_truncated_entry_is_missing(cache: DiskCache, length: int):
    cache.put("aa", b"machine code")
    os.truncate(entry(cache), length)

    assert cache.get("aa") is None


@pytest.mark.parametrize("position", [0, 10, 45])
def test_damaged_entry_is_missing_and_can_be_replaced(cache: DiskCache, position: int):
    cache.put("aa", b"machine code")
    damaged = bytearray(entry(cache).read_bytes())
    damaged[position] ^= 1
    entry(cache).write_bytes(damaged)

    assert cache.get("aa") is None
    cache.put("aa", b"machine code")
    assert cache.get("aa") == b"machine code"


def test_entry_under_the_name_of_another_is_missing(cache: DiskCache):
    cache.put("aa", b"machine code")
    os.replace(entry(cache), cache.folder / "bb")

    assert cache.get("bb") is None


def test_full_disk_is_reported_once_and_leaves_nothing_behind(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def full(source: object, destination: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)

    cache.put("aa", b"code")
    cache.put("bb", b"code")

    assert cache.get("aa") is None
    assert list(cache.folder.iterdir()) == []
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "No space left on device" in record.message


def test_folder_that_cannot_be_made_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("in the way")  # root may write to a read-only folder
    cache = DiskCache(tmp_path / "file" / "cache")

    cache.put("aa", b"code")
    cache.put("bb", b"code")

    assert cache.get("aa") is None
    assert len(caplog.records) == 1
    assert "cannot write the cache of kernels" in caplog.text


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_read_only_folder_is_read(cache: DiskCache, caplog: pytest.LogCaptureFixture):
    cache.put("aa", b"code")
    cache.folder.chmod(0o500)

    cache.put("bb", b"code")

    assert cache.get("aa") == b"code"
    assert cache.get("bb") is None
    assert len(caplog.records) == 1
    cache.folder.chmod(0o700)


def test_cache_stays_within_its_limit_and_drops_the_oldest(tmp_path: Path):
    cache = DiskCache(tmp_path, limit_bytes=10_000)
    for number in range(40):
        cache.put(f"{number:02}", bytes(960))
        os.utime(tmp_path / f"{number:02}", (number, number))

    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000
    assert cache.get("00") is None
    assert cache.get("39") == bytes(960)


def test_the_larger_the_cache_the_fewer_entries_have_it_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    counted, sizes = [], []
    count = DiskCache._files
    monkeypatch.setattr(DiskCache, "_files", lambda self: counted.append(1) or count(self))

    for number in range(1200):  # each of a cache that has not written anything yet
        cache = DiskCache(tmp_path, limit_bytes=640_000)
        cache.put(f"{number:04}", bytes(1000 - HEADER_BYTES))
        sizes.append(1000 * len(os.listdir(tmp_path)))

    assert 60 <= len(counted) <= 180  # a tenth: 64 times 1,000 bytes of 640,000
    assert 640_000 <= max(sizes) <= 640_000 * (1 + 4 / 64)


def test_a_limit_of_zero_is_none(tmp_path: Path):
    cache = DiskCache(tmp_path, limit_bytes=0)
    for number in range(20):
        cache.put(f"{number:02}", bytes(1000))

    assert len(os.listdir(tmp_path)) == 20


def test_leftovers_of_a_crash_are_evicted(tmp_path: Path):
    leftover = tmp_path / "aa.1.2.tmp"
    leftover.write_bytes(bytes(9_000))
    os.utime(leftover, (1, 1))
    cache = DiskCache(tmp_path, limit_bytes=10_000)

    for number in range(10):
        cache.put(f"{number:02}", bytes(960))

    assert not leftover.exists()


def test_reading_an_old_entry_marks_it_as_used(cache: DiskCache):
    cache.put("aa", b"code")
    os.utime(entry(cache), (1, 1))

    cache.get("aa")

    assert time.time() - entry(cache).stat().st_mtime < 60


def test_threads_that_write_and_read_one_key_never_see_half_of_it(cache: DiskCache):
    contents = [bytes([number]) * 50_000 for number in range(4)]
    wrong = []

    def work(content: bytes) -> None:
        for _ in range(20):
            cache.put("aa", content)
            if cache.get("aa") not in contents:
                wrong.append(content[0])

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_default_folder_follows_the_setting_then_the_desktop_standard(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_folder("") == Path("/xdg/inkle")
    assert default_folder("/set") == Path("/set")

    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder("") == Path.home() / ".cache/inkle"
