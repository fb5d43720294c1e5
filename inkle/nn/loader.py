"""Batches of a data set, epoch after epoch, prepared by a thread while the last one is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.nn.batches import batches
from inkle.tensor import Tensor
from inkle.tensor.arguments import as_int

T = TypeVar("T")
_END = object()


def prefetch(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield the items of an iterable, which a thread takes from it up to `depth` ahead.

    An exception in the iterable is raised where its item would have come. When the loop that reads
    is left early, the thread ends after the item that it is at.

    Args:
        items: anything to iterate over, once.
        depth: how many items may wait, at least 1.

    Example:
        >>> for image, label in prefetch(batches((images, labels), 512)):
        ...     step(image, label)
    """
    if as_int(depth, "depth") < 1:
        raise OptionError(f"prefetch needs a depth of at least 1, got {depth}")
    if not isinstance(items, Iterable):
        raise DTypeError(f"prefetch needs something to iterate over, got {type(items).__name__}")
    return _prefetched(items, depth)


def _prefetched(items: Iterable[T], depth: int) -> Iterator[T]:
    waiting: queue.Queue[Any] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[Any, BaseException | None]) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def run() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((_END, None))
        except BaseException as error:  # noqa: BLE001  raised again by the reader
            put((_END, error))

    thread = threading.Thread(target=run, name="inkle-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
        thread.join()


def default_collate(samples: Sequence[Any]) -> Any:
    """Stack samples along a new first axis: arrays and numbers; tuples and dicts part by part.

    Example:
        >>> default_collate([(np.zeros(3), 1), (np.ones(3), 2)])[1].tolist()
        [1, 2]
    """
    first = samples[0]
    if isinstance(first, dict):
        return {key: default_collate([each[key] for each in samples]) for key in first}
    if isinstance(first, (tuple, list)):
        return tuple(default_collate(part) for part in zip(*samples, strict=True))
    if isinstance(first, Tensor):
        return Tensor.stack(*samples)
    if isinstance(first, str):
        return list(samples)
    arrays = [np.asarray(each) for each in samples]
    if len({each.shape for each in arrays}) > 1:
        raise ShapeError(
            f"samples of one batch must have one shape, got {sorted({a.shape for a in arrays})}"
        )
    return np.stack(arrays)


class DataLoader:
    """Batches of a data set; each pass over it is an epoch, with an order of its own.

    The order depends on `seed` and on the number of the epoch alone: a training that goes on at
    `epoch = 7` sees what it would have seen.

    Attributes:
        epoch: the number of the next pass.

    Args:
        dataset: has `len` and `[number]`; a tuple of arrays is cut along their first axes.
        batch_size: samples of a batch, at least 1.
        shuffle: take them in a random order, each once.
        drop_last: leave out the last batch if it has fewer samples.
        seed: chooses the orders.
        collate_fn: makes a batch of a list of samples; None: `default_collate`.
        prefetch: how many batches a thread prepares ahead; 0: none, without a thread.

    Example:
        >>> loader = DataLoader((images, labels), 64, shuffle=True)
        >>> for epoch in range(10):
        ...     for image, label in loader:
        ...         step(Tensor(image), Tensor(label))
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        prefetch: int = 2,
    ) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise DTypeError(f"a data set has len and [number], got {type(dataset).__name__}")
        if as_int(prefetch, "prefetch") < 0:
            raise OptionError(f"prefetch must be at least 0, got {prefetch}")
        self._is_arrays = isinstance(dataset, tuple) and all(
            isinstance(each, np.ndarray) for each in dataset
        )
        if self._is_arrays and collate_fn is not None:
            raise OptionError("arrays are cut, not collated; give a data set with [number]")
        self.dataset = dataset
        self._arrays = dataset if self._is_arrays else (np.arange(len(dataset)),)
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.seed, self.prefetch, self.epoch = as_int(seed, "seed"), prefetch, 0
        self.collate_fn = collate_fn or default_collate
        len(self)  # refuses what does not fit

    def __len__(self) -> int:
        return len(self._batches())

    def __iter__(self) -> Iterator[Any]:
        made = self._epoch()
        self.epoch += 1
        return prefetch(made, self.prefetch) if self.prefetch else made

    def _batches(self) -> Any:
        return batches(
            self._arrays,
            self.batch_size,
            shuffle=self.shuffle,
            seed=(abs(self.seed), self.epoch),
            drop_last=self.drop_last,
        )

    def _epoch(self) -> Iterator[Any]:
        """Yield the batches of one pass; the order is chosen now, not when the first is asked."""
        order = self._batches()
        if self._is_arrays:
            return iter(order)
        return (self.collate_fn([self.dataset[int(i)] for i in rows]) for (rows,) in order)
